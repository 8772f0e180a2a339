/* SPDX-License-Identifier: Apache-2.0
 *
 * RouteAction: where a request goes and under which terms. Main thread.
 */
#include "base/mem.h"
#include "proxy/config/route_priv.h"
#include "proxy/filter/rate_limit_actions.h"

#define TO(x) ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_##x
#define NOT_FOUND(x) ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_NOT_FOUND_RESPONSE_CODE__##x
#define TIMEOUT_MS 15000

void cfg_cluster_ref(struct config_reader *cr, const char *field, struct str name, struct cluster_slot **slot, bool must_exist)
{
    struct cluster_slots *all = cr->slots;
    if (must_exist && !cr->is_dynamic && !map_get(cr->cluster_names, name)) {
        FAULT(field, "unknown cluster '%.*s'", STR_ARG(name));
        return;
    }
    all->items = mem_grow(all->items, &all->cap, all->count + 1, sizeof *all->items);
    *slot = all->items[all->count++] = cluster_slot_get(name);
}

static void read_upgrades(struct config_reader *cr, const pb_route_action *m, struct route_entry *e, struct arena *a)
{
    e->upgrade_count = LEN(m, upgrade_configs);
    e->upgrades = ARENA_ARRAY(a, struct upgrade_spec, e->upgrade_count);
    for (uint32_t i = 0; i < e->upgrade_count; i++)
        IN("upgrade_configs[%u]", i) {
            const pb_route_upgrade *u = m->upgrade_configs[i];
            struct upgrade_spec *out = &e->upgrades[i];
            out->type = cfg_lower(a, TEXT(u, upgrade_type));
            out->enabled = proto_bool_or(GET(u, enabled), true);
            out->connect_terminate = GET(u, connect_config) != NULL;
            if (u->connect_config)
                out->connect_allow_post = GET(u->connect_config, allow_post); /* proxy_protocol_config stays unread */
            if (u->connect_config && !str_eq(out->type, STR("connect")))
                FAULT("connect_config", "is for the upgrade_type CONNECT");
            for (uint32_t k = 0; k < i; k++)
                if (str_eq(e->upgrades[k].type, out->type))
                    FAULT("upgrade_type", "stands twice");
        }
}

static uint16_t not_found_status(int code)
{
    switch (code) {
    case NOT_FOUND(NOT_FOUND):
        return 404;
    case NOT_FOUND(INTERNAL_SERVER_ERROR):
        return 500;
    default:
        return 503;
    }
}

static void read_clusters(struct config_reader *cr, const pb_route_action *m, struct route_entry *e, struct route_reading *rr)
{
    switch (m->cluster_specifier_case) {
    case TO(CLUSTER):
        e->cluster_name = arena_str(rr->a, TEXT(m, cluster));
        cfg_cluster_ref(cr, "cluster", e->cluster_name, &e->cluster, rr->validate_clusters);
        break;
    case TO(CLUSTER_HEADER):
        e->cluster_header = cfg_lower(rr->a, TEXT(m, cluster_header));
        break;
    case TO(WEIGHTED_CLUSTERS):
        IN("weighted_clusters")
            cfg_weighted_clusters(cr, GET(m, weighted_clusters), e, rr);
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER__NOT_SET:
        FAULT("", "one of cluster, cluster_header and weighted_clusters must be set");
        break;
    default:
        break; /* cluster specifier plugins stay unread */
    }
    e->cluster_not_found_status = not_found_status(GET(m, cluster_not_found_response_code));
    IN("metadata_match")
        e->metadata_match = cfg_metadata(cr, GET(m, metadata_match), rr->a);
}

static void read_timeouts(struct config_reader *cr, const pb_route_action *m, struct route_entry *e, struct arena *a)
{
    e->timeout_is_default = GET(m, timeout) == NULL;
    e->timeout_ms = (int64_t)proto_ms_or(m->timeout, TIMEOUT_MS);
    e->idle_timeout_ms = GET(m, idle_timeout) ? (int64_t)proto_ms_or(m->idle_timeout, 0) : -1;
    e->flush_timeout_ms = GET(m, flush_timeout) ? (int64_t)proto_ms_or(m->flush_timeout, 0) : -1;
    e->max_stream_duration = cfg_max_stream_duration(cr, m, a);
}

/* The older pair of fields means a policy with Envoy's defaults. */
static void read_internal_redirect(struct config_reader *cr, const pb_route_action *m, struct route_entry *e, struct arena *a)
{
    bool handle = GET(m, internal_redirect_action) ==
                  ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__INTERNAL_REDIRECT_ACTION__HANDLE_INTERNAL_REDIRECT;
    uint32_t most = proto_u32_or(GET(m, max_internal_redirects), 1);
    IN("internal_redirect_policy")
        e->internal_redirect = cfg_internal_redirect(cr, GET(m, internal_redirect_policy), a);
    if (e->internal_redirect || !handle)
        return;
    struct internal_redirect_policy *p = arena_zalloc(a, sizeof *p);
    p->codes = ARENA_ARRAY(a, uint32_t, 1);
    p->codes[p->code_count++] = 302;
    p->max_redirects = most;
    e->internal_redirect = p;
}

static void read_retries(struct config_reader *cr, const pb_route_action *m, struct route_entry *e, struct route_reading *rr)
{
    const pb_retry_policy *retry = GET(m, retry_policy);
    const pb_hedge_policy *hedge = GET(m, hedge_policy);
    e->retry = rr->retry;
    e->hedge = rr->hedge;
    if (retry)
        IN("retry_policy")
            e->retry = cfg_retry_policy(cr, retry, rr);
    if (hedge)
        IN("hedge_policy")
            e->hedge = cfg_hedge_policy(cr, hedge, rr->a);
    uint32_t n = LEN(m, request_mirror_policies);
    e->mirrors = n ? cfg_mirrors(cr, m->request_mirror_policies, n, rr) : rr->mirrors;
    e->mirror_count = n ? n : rr->mirror_count;
}

static void free_rate_limits(void *object)
{
    rate_limit_rules_fini(object);
}

const struct rate_limit_rules *cfg_route_rate_limits(struct config_reader *cr, pb_rate_limit *const *items, uint32_t n,
                                                     struct route_reading *rr)
{
    const struct rate_limit_rules *rules = n ? cfg_rate_limits(cr, "rate_limits", items, n, rr->a) : NULL;
    if (rules)
        route_own(rr->owned, (void *)(uintptr_t)rules, free_rate_limits);
    return rules;
}

void cfg_route_action(struct config_reader *cr, const pb_route_action *m, struct route_entry *e, struct route_reading *rr)
{
    e->action = ROUTE_CLUSTER;
    read_clusters(cr, m, e, rr);
    e->rewrite = cfg_rewrites(cr, m, &e->match, rr->a);
    read_timeouts(cr, m, e, rr->a);
    e->priority = GET(m, priority) == ENVOY__CONFIG__CORE__V3__ROUTING_PRIORITY__HIGH ? PRIORITY_HIGH : PRIORITY_DEFAULT;
    read_upgrades(cr, m, e, rr->a);
    read_retries(cr, m, e, rr);
    read_internal_redirect(cr, m, e, rr->a);
    uint32_t n = LEN(m, hash_policy);
    e->hashes = cfg_hash_policies(cr, m->hash_policy, n, rr->a, &e->hash_count);
    n = LEN(m, rate_limits);
    e->rate_limits = cfg_route_rate_limits(cr, m->rate_limits, n, rr);
    e->include_vhost_rate_limits = proto_bool_or(GET(m, include_vh_rate_limits), false);
}
