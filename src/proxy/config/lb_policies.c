/* SPDX-License-Identifier: Apache-2.0
 *
 * Balancing policies as extensions (load_balancing_policy): each reader fills a cfg_lb. Of a list the
 * first one that is known counts. Policies over other policies read a list of their own. Main thread.
 */
#include "envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3/client_side_weighted_round_robin.pb-c.h"
#include "envoy/extensions/load_balancing_policies/common/v3/common.pb-c.h"
#include "envoy/extensions/load_balancing_policies/maglev/v3/maglev.pb-c.h"
#include "envoy/extensions/load_balancing_policies/override_host/v3/override_host.pb-c.h"
#include "envoy/extensions/load_balancing_policies/random/v3/random.pb-c.h"
#include "envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash.pb-c.h"
#include "envoy/extensions/load_balancing_policies/round_robin/v3/round_robin.pb-c.h"
#include "envoy/extensions/load_balancing_policies/subset/v3/subset.pb-c.h"
#include "envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality.pb-c.h"
#include "proxy/config/lb.h"
#include "proxy/config/route_priv.h"

#define POLICY(x) Envoy__Extensions__LoadBalancingPolicies__##x
#define LOCALITY(x) ENVOY__EXTENSIONS__LOAD_BALANCING_POLICIES__COMMON__V3__LOCALITY_LB_CONFIG__LOCALITY_CONFIG_SPECIFIER_##x
typedef POLICY(Common__V3__LocalityLbConfig) pb_locality_lb;
typedef POLICY(Common__V3__ConsistentHashingLbConfig) pb_consistent_hashing;

static struct lb_policy_spec *start(void *out, const struct lb_policy *policy)
{
    struct lb_policy_spec *lb = ((struct cfg_lb *)out)->spec;
    *lb = cfg_lb_defaults;
    lb->policy = policy;
    return lb;
}

/* What only the extension form has. */
static void read_zone_extras(struct config_reader *cr, const POLICY(Common__V3__LocalityLbConfig__ZoneAwareLbConfig) *zone,
                             struct lb_policy_spec *lb)
{
    lb->zone_by_weight = GET(zone, locality_basis) ==
        ENVOY__EXTENSIONS__LOAD_BALANCING_POLICIES__COMMON__V3__LOCALITY_LB_CONFIG__ZONE_AWARE_LB_CONFIG__LOCALITY_BASIS__HEALTHY_HOSTS_WEIGHT;
    lb->zone_force_direct = GET(zone, force_locality_direct_routing);
    __auto_type force = GET(zone, force_local_zone);
    if (force)
        IN("force_local_zone") {
            lb->zone_force_direct = true;
            lb->zone_force_min = proto_u32_or(GET(force, min_size), 1);
        }
}

static void read_locality(struct config_reader *cr, const pb_locality_lb *m, struct lb_policy_spec *lb)
{
    if (!m)
        return;
    IN("locality_lb_config") {
        if (m->locality_config_specifier_case == LOCALITY(LOCALITY_WEIGHTED_LB_CONFIG)) {
            (void)GET(m, locality_weighted_lb_config);
            lb->locality = LB_LOCALITY_WEIGHTED;
        } else if (m->locality_config_specifier_case == LOCALITY(ZONE_AWARE_LB_CONFIG)) {
            __auto_type zone = GET(m, zone_aware_lb_config);
            IN("zone_aware_lb_config") {
                CFG_LB_ZONE_AWARE(zone);
                read_zone_extras(cr, zone, lb);
            }
        }
    }
}

static void read_hashing(struct config_reader *cr, const pb_consistent_hashing *m, struct lb_policy_spec *lb, struct arena *a)
{
    if (!m)
        return;
    lb->use_hostname = GET(m, use_hostname_for_hashing);
    lb->balance_pct = proto_u32_or(GET(m, hash_balance_factor), 0);
    uint32_t n = LEN(m, hash_policy);
    lb->hashes = cfg_hash_policies(cr, m->hash_policy, n, a, &lb->hash_count);
}

int cfg_lb_round_robin(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const POLICY(RoundRobin__V3__RoundRobin) *m = (const void *)msg;
    struct lb_policy_spec *lb = start(out, &lb_round_robin);
    CFG_LB_SLOW_START(GET(m, slow_start_config));
    read_locality(cr, GET(m, locality_lb_config), lb);
    return 0;
}

int cfg_lb_random(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const POLICY(Random__V3__Random) *m = (const void *)msg;
    read_locality(cr, GET(m, locality_lb_config), start(out, &lb_random));
    return 0;
}

int cfg_lb_cluster_provided(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    (void)cr, (void)msg;
    start(out, &lb_cluster_provided);
    return 0;
}

int cfg_lb_least_request(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_lb_least_request *m = (const pb_lb_least_request *)msg;
    struct lb_policy_spec *lb = start(out, &lb_least_request);
    lb->choice_count = proto_u32_or(GET(m, choice_count), 2);
    lb->active_request_bias = cfg_lb_bias(cr, GET(m, active_request_bias), "active_request_bias", true);
    lb->full_scan = GET(m, selection_method) ==
                    ENVOY__EXTENSIONS__LOAD_BALANCING_POLICIES__LEAST_REQUEST__V3__LEAST_REQUEST__SELECTION_METHOD__FULL_SCAN;
    if (proto_bool_or(GET(m, enable_full_scan), false))
        lb->full_scan = true;
    CFG_LB_SLOW_START(GET(m, slow_start_config));
    read_locality(cr, GET(m, locality_lb_config), lb);
    return 0;
}

int cfg_lb_ring_hash(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const POLICY(RingHash__V3__RingHash) *m = (const void *)msg;
    struct lb_policy_spec *lb = start(out, &lb_ring_hash);
    cfg_lb_ring_sizes(cr, lb, GET(m, minimum_ring_size), GET(m, maximum_ring_size));
    lb->murmur2 = GET(m, hash_function) ==
                  ENVOY__EXTENSIONS__LOAD_BALANCING_POLICIES__RING_HASH__V3__RING_HASH__HASH_FUNCTION__MURMUR_HASH_2;
    lb->use_hostname = GET(m, use_hostname_for_hashing);
    lb->balance_pct = proto_u32_or(GET(m, hash_balance_factor), 0);
    IN("consistent_hashing_lb_config")
        read_hashing(cr, GET(m, consistent_hashing_lb_config), lb, ((struct cfg_lb *)out)->arena);
    if (GET(m, locality_weighted_lb_config))
        lb->locality = LB_LOCALITY_WEIGHTED;
    return 0;
}

int cfg_lb_maglev(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const POLICY(Maglev__V3__Maglev) *m = (const void *)msg;
    struct lb_policy_spec *lb = start(out, &lb_maglev);
    cfg_lb_table_size(cr, lb, GET(m, table_size));
    IN("consistent_hashing_lb_config")
        read_hashing(cr, GET(m, consistent_hashing_lb_config), lb, ((struct cfg_lb *)out)->arena);
    if (GET(m, locality_weighted_lb_config))
        lb->locality = LB_LOCALITY_WEIGHTED;
    return 0;
}

int cfg_lb_client_side_weighted(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const POLICY(ClientSideWeightedRoundRobin__V3__ClientSideWeightedRoundRobin) *m = (const void *)msg;
    struct arena *a = ((struct cfg_lb *)out)->arena;
    struct lb_policy_spec *lb = start(out, &lb_client_side_weighted);
    struct lb_orca_spec *o = arena_zalloc(a, sizeof *o);
    if (proto_bool_or(GET(m, enable_oob_load_report), false))
        UNSUPPORTED("enable_oob_load_report", NULL);
    o->blackout_ms = proto_ms_or(GET(m, blackout_period), 10000);
    o->expiration_ms = proto_ms_or(GET(m, weight_expiration_period), 180000);
    o->update_ms = proto_ms_or(GET(m, weight_update_period), 1000);
    o->update_ms = o->update_ms < 100 ? 100 : o->update_ms; /* as the proto says */
    __auto_type penalty = GET(m, error_utilization_penalty);
    o->error_penalty = penalty ? (double)penalty->value : 1.0;
    if (!(o->error_penalty >= 0))
        FAULT("error_utilization_penalty", "%g must not be negative", o->error_penalty);
    o->metric_count = LEN(m, metric_names_for_computing_utilization);
    o->metrics = ARENA_ARRAY(a, struct str, o->metric_count);
    for (uint32_t i = 0; i < o->metric_count; i++)
        o->metrics[i] = arena_str(a, str_from(m->metric_names_for_computing_utilization[i]));
    CFG_LB_SLOW_START(GET(m, slow_start_config));
    lb->orca = o;
    return 0;
}

/* ---- over other policies ---- */

static struct lb_policy_spec *read_child(struct config_reader *cr, const char *field, const pb_lb_policies *m, struct arena *a)
{
    struct lb_policy_spec *child = arena_zalloc(a, sizeof *child);
    struct cfg_lb below = {child, a};
    *child = cfg_lb_defaults;
    if (!m)
        FAULT(field, "must be set");
    else
        IN("%s", field)
            cfg_lb_policies(cr, m, &below);
    if (child->policy == &lb_cluster_provided)
        FAULT(field, "CLUSTER_PROVIDED can't stand below another policy");
    return child;
}

int cfg_lb_subset(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const POLICY(Subset__V3__Subset) *m = (const void *)msg;
    struct arena *a = ((struct cfg_lb *)out)->arena;
    struct lb_policy_spec *lb = start(out, &lb_subset);
    struct lb_subset_spec *spec = CFG_LB_SUBSET(m, a);
    spec->allow_redundant_keys = GET(m, allow_redundant_keys);
    lb->child = read_child(cr, "subset_lb_policy", GET(m, subset_lb_policy), a);
    lb->subset = spec;
    return 0;
}

static void read_source(struct config_reader *cr, const POLICY(OverrideHost__V3__OverrideHost__OverrideHostSource) *m, struct arena *a,
                        struct lb_override_source *out)
{
    out->header = cfg_lower(a, TEXT(m, header));
    __auto_type key = GET(m, metadata);
    if (!key)
        return;
    out->space = arena_str(a, TEXT(key, key));
    out->path_count = LEN(key, path);
    out->path = ARENA_ARRAY(a, struct str, out->path_count);
    for (uint32_t i = 0; i < out->path_count; i++)
        out->path[i] = arena_str(a, TEXT(key->path[i], key));
}

int cfg_lb_override_host(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const POLICY(OverrideHost__V3__OverrideHost) *m = (const void *)msg;
    struct arena *a = ((struct cfg_lb *)out)->arena;
    struct lb_policy_spec *lb = start(out, &lb_override_host);
    struct lb_override_spec *o = arena_zalloc(a, sizeof *o);
    o->source_count = LEN(m, override_host_sources);
    o->sources = ARENA_ARRAY(a, struct lb_override_source, o->source_count);
    for (uint32_t i = 0; i < o->source_count; i++)
        IN("override_host_sources[%u]", i)
            read_source(cr, m->override_host_sources[i], a, &o->sources[i]);
    if (!o->source_count)
        FAULT("override_host_sources", "must not be empty");
    lb->child = read_child(cr, "fallback_policy", GET(m, fallback_policy), a);
    lb->override = o;
    return 0;
}

/* Localities by weight, then the policy below inside one: a way of saying locality_weighted_lb_config. */
int cfg_lb_wrr_locality(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const POLICY(WrrLocality__V3__WrrLocality) *m = (const void *)msg;
    struct cfg_lb *to = out;
    struct lb_policy_spec *child = read_child(cr, "endpoint_picking_policy", GET(m, endpoint_picking_policy), to->arena);
    if (child->policy != &lb_client_side_weighted)
        FAULT("endpoint_picking_policy", "must be client_side_weighted_round_robin: no other policy may stand below wrr_locality");
    *to->spec = *child;
    struct lb_policy_spec *lowest = to->spec;
    while (lowest->child)
        lowest = (struct lb_policy_spec *)(uintptr_t)lowest->child;
    lowest->locality = LB_LOCALITY_WEIGHTED;
    return 0;
}

void cfg_lb_policies(struct config_reader *cr, const pb_lb_policies *m, struct cfg_lb *out)
{
    uint32_t n = LEN(m, policies);
    for (uint32_t i = 0; i < n; i++) {
        const pb_typed_extension *ext = GET(m->policies[i], typed_extension_config);
        ProtobufCMessage *msg = NULL;
        if (!ext)
            continue;
        const pb_any *any = GET(ext, typed_config);
        bool is_last = i + 1 == n;
        if (!is_last && any && !cfg_extension_is_known(cr, EXT_LB_POLICY, any)) { /* one behind it may do */
            (void)TEXT(ext, name);
            proto_read_whole(&cr->r, &any->base);
            continue;
        }
        IN("policies[%u].typed_extension_config", i) {
            const struct extension *found = cfg_extension(cr, EXT_LB_POLICY, "typed_config", TEXT(ext, name), any, &msg);
            if (found)
                IN("typed_config")
                    found->read(cr, msg, out);
        }
        for (uint32_t k = i + 1; k < n; k++) /* not needed: not looked at, as in Envoy */
            proto_read_whole(&cr->r, &m->policies[k]->base);
        return;
    }
    FAULT("policies", "must name a policy");
}
