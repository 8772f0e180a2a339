/* SPDX-License-Identifier: Apache-2.0
 *
 * A cluster's balancing: lb_policy with its *_lb_config, lb_subset_config and common_lb_config; or
 * load_balancing_policy (lb_policies.c), which wins. One copy for all clusters that say the same: the
 * messages' own bytes are the key. Main thread.
 */
#include "proxy/config/lb.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "proxy/config/shared.h"

#define LB(x) ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__##x
#define LB_CONFIG(x) ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_##x
#define LOCALITY(x) ENVOY__CONFIG__CLUSTER__V3__CLUSTER__COMMON_LB_CONFIG__LOCALITY_CONFIG_SPECIFIER_##x
#define STATUS(x) ENVOY__CONFIG__CORE__V3__HEALTH_STATUS__##x
#define RING_MAX (8u << 20)
#define TABLE_MAX 5000011u

const struct lb_policy_spec cfg_lb_defaults = {
    .policy = &lb_round_robin, .choice_count = 2, .active_request_bias = 1.0, .panic_pct = 50,
    .min_ring = 1024, .max_ring = RING_MAX, .table_size = 65537, .locality = LB_ZONE_AWARE, .zone_routing_pct = 100,
    .zone_min_size = 6, .zone_force_min = 1, .slow_start_aggression = 1.0, .slow_start_min_pct = 10,
    .override_statuses = LB_STATUS_HEALTHY | LB_STATUS_DEGRADED,
};

/* ---- parts that both forms have ---- */

double cfg_lb_bias(struct config_reader *cr, const Envoy__Config__Core__V3__RuntimeDouble *m, const char *field, bool may_be_zero)
{
    double value = m ? GET(m, default_value) : 1.0;
    if (m && cr->is_dynamic) { /* looked up once: such a cluster comes anew with each change */
        struct str text = runtime_get(TEXT(m, runtime_key));
        char *end = NULL;
        double set = text.n ? strtod(text.p, &end) : 0;
        value = end && end == text.p + text.n ? set : value;
    }
    bool bad = !isfinite(value) || value < 0 || (value == 0 && !may_be_zero);
    if (bad)
        IN("%s", field)
            FAULT("default_value", may_be_zero ? "%g must not be negative" : "%g must be greater than 0", value);
    return bad ? 1.0 : value; /* the runtime key of a static cluster stays unread */
}

uint32_t cfg_lb_percent(const Envoy__Type__V3__Percent *p, uint32_t unset)
{
    if (!p)
        return unset;
    return p->value >= 100 ? 100 : p->value > 0 ? (uint32_t)(p->value + 0.5) : 0;
}

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static struct str *sorted(struct arena *a, char **items, size_t n, uint32_t *count)
{
    struct str *keys = ARENA_ARRAY(a, struct str, n);
    *count = 0;
    for (size_t i = 0; i < n; i++)
        keys[i] = arena_str(a, str_from(items[i]));
    if (n)
        qsort(keys, n, sizeof *keys, by_text);
    for (size_t i = 0; i < n; i++)
        if (!*count || !str_eq(keys[*count - 1], keys[i]))
            keys[(*count)++] = keys[i];
    return keys;
}

void cfg_lb_selector(struct config_reader *cr, struct arena *a, char **keys, size_t n, char **fallback_keys, size_t fallback_n,
                     struct lb_subset_selector *out)
{
    out->keys = sorted(a, keys, n, &out->key_count);
    out->fallback_keys = sorted(a, fallback_keys, fallback_n, &out->fallback_key_count);
    uint32_t found = 0;
    for (uint32_t i = 0; i < out->fallback_key_count; i++)
        for (uint32_t k = 0; k < out->key_count; k++)
            found += str_eq(out->fallback_keys[i], out->keys[k]);
    if (out->fallback == SUBSET_KEYS && !fallback_n)
        FAULT("fallback_keys_subset", "must not be empty with KEYS_SUBSET");
    else if (out->fallback != SUBSET_KEYS && fallback_n)
        FAULT("fallback_keys_subset", "is for KEYS_SUBSET only");
    else if (found < out->fallback_key_count || (fallback_n && found == out->key_count))
        FAULT("fallback_keys_subset", "must be some, not all, of the selector's keys");
}

void cfg_lb_ring_sizes(struct config_reader *cr, struct lb_policy_spec *lb, const Google__Protobuf__UInt64Value *least,
                       const Google__Protobuf__UInt64Value *most)
{
    lb->min_ring = least ? least->value : 1024;
    lb->max_ring = most ? most->value : RING_MAX;
    if (lb->min_ring > RING_MAX || lb->max_ring > RING_MAX)
        FAULT("maximum_ring_size", "a ring may have at most %u entries", RING_MAX);
    else if (lb->min_ring > lb->max_ring)
        FAULT("minimum_ring_size", "%llu is more than maximum_ring_size %llu", (unsigned long long)lb->min_ring,
              (unsigned long long)lb->max_ring);
}

static bool is_prime(uint64_t n)
{
    for (uint64_t d = 2; d * d <= n; d++)
        if (n % d == 0)
            return false;
    return n >= 2;
}

void cfg_lb_table_size(struct config_reader *cr, struct lb_policy_spec *lb, const Google__Protobuf__UInt64Value *size)
{
    lb->table_size = size ? size->value : 65537;
    if (lb->table_size > TABLE_MAX || lb->table_size < 3 || !is_prime(lb->table_size)) {
        FAULT("table_size", "%llu must be a prime, at most %u", (unsigned long long)lb->table_size, TABLE_MAX);
        lb->table_size = 65537;
    }
}

/* ---- lb_policy ---- */

static void read_least_request(struct config_reader *cr, const pb_least_request_lb *c, struct lb_policy_spec *lb)
{
    lb->choice_count = proto_u32_or(GET(c, choice_count), 2);
    lb->active_request_bias = cfg_lb_bias(cr, GET(c, active_request_bias), "active_request_bias", true);
    CFG_LB_SLOW_START(GET(c, slow_start_config));
}

static void read_ring_hash(struct config_reader *cr, const pb_cluster *m, struct lb_policy_spec *lb)
{
    if (m->lb_config_case != LB_CONFIG(RING_HASH_LB_CONFIG))
        return;
    __auto_type c = GET(m, ring_hash_lb_config);
    IN("ring_hash_lb_config") {
        cfg_lb_ring_sizes(cr, lb, GET(c, minimum_ring_size), GET(c, maximum_ring_size));
        lb->murmur2 = GET(c, hash_function) == ENVOY__CONFIG__CLUSTER__V3__CLUSTER__RING_HASH_LB_CONFIG__HASH_FUNCTION__MURMUR_HASH_2;
    }
}

static void read_lb_policy(struct config_reader *cr, const pb_cluster *m, struct lb_policy_spec *lb)
{
    switch (GET(m, lb_policy)) {
    case LB(ROUND_ROBIN):
        if (m->lb_config_case == LB_CONFIG(ROUND_ROBIN_LB_CONFIG))
            IN("round_robin_lb_config")
                CFG_LB_SLOW_START(GET(GET(m, round_robin_lb_config), slow_start_config));
        break;
    case LB(LEAST_REQUEST):
        lb->policy = &lb_least_request;
        if (m->lb_config_case == LB_CONFIG(LEAST_REQUEST_LB_CONFIG))
            IN("least_request_lb_config")
                read_least_request(cr, GET(m, least_request_lb_config), lb);
        break;
    case LB(RANDOM):
        lb->policy = &lb_random;
        break;
    case LB(RING_HASH):
        lb->policy = &lb_ring_hash;
        read_ring_hash(cr, m, lb);
        break;
    case LB(MAGLEV):
        lb->policy = &lb_maglev;
        if (m->lb_config_case == LB_CONFIG(MAGLEV_LB_CONFIG))
            IN("maglev_lb_config")
                cfg_lb_table_size(cr, lb, GET(GET(m, maglev_lb_config), table_size));
        break;
    case LB(CLUSTER_PROVIDED):
        lb->policy = &lb_cluster_provided;
        break;
    case LB(LOAD_BALANCING_POLICY_CONFIG):
        FAULT("lb_policy", "LOAD_BALANCING_POLICY_CONFIG needs load_balancing_policy");
        break;
    default:
        proto_unsupported_enum(&cr->r, "lb_policy", &envoy__config__cluster__v3__cluster__lb_policy__descriptor,
                               (int)m->lb_policy);
    }
}

/* ---- common_lb_config ---- */

static uint32_t read_statuses(struct config_reader *cr, const Envoy__Config__Core__V3__HealthStatusSet *m)
{
    uint32_t n = LEN(m, statuses), bits = 0;
    for (uint32_t i = 0; i < n; i++)
        switch (m->statuses[i]) {
        case STATUS(UNKNOWN):
        case STATUS(HEALTHY):
            bits |= LB_STATUS_HEALTHY;
            break;
        case STATUS(DEGRADED):
            bits |= LB_STATUS_DEGRADED;
            break;
        default:
            bits |= LB_STATUS_UNHEALTHY;
        }
    return bits;
}

/* What concerns the cluster whatever its policy. */
static void read_common(struct config_reader *cr, const pb_common_lb *c, struct lb_policy_spec *lb)
{
    __auto_type panic = GET(c, healthy_panic_threshold);
    if (panic)
        (void)GET(panic, value);
    lb->panic_pct = cfg_lb_percent(panic, 50);
    (void)GET(c, update_merge_window); /* every change is published at once: nothing waits to be merged */
    lb->ignore_new_until_checked = GET(c, ignore_new_hosts_until_first_hc);
    lb->close_on_set_change = GET(c, close_connections_on_host_set_change);
    __auto_type statuses = GET(c, override_host_status);
    if (statuses)
        IN("override_host_status")
            lb->override_statuses = read_statuses(cr, statuses);
}

/* What the older form of policies takes from there; policies by extension have their own. */
static void read_common_of_policy(struct config_reader *cr, const pb_common_lb *c, struct lb_policy_spec *lb)
{
    __auto_type hashing = GET(c, consistent_hashing_lb_config);
    if (hashing) {
        lb->use_hostname = GET(hashing, use_hostname_for_hashing);
        lb->balance_pct = proto_u32_or(GET(hashing, hash_balance_factor), 0);
    }
    if (c->locality_config_specifier_case == LOCALITY(LOCALITY_WEIGHTED_LB_CONFIG)) {
        (void)GET(c, locality_weighted_lb_config);
        lb->locality = LB_LOCALITY_WEIGHTED;
    } else if (c->locality_config_specifier_case == LOCALITY(ZONE_AWARE_LB_CONFIG)) {
        IN("zone_aware_lb_config")
            CFG_LB_ZONE_AWARE(GET(c, zone_aware_lb_config));
    }
}

static void add_subset(struct config_reader *cr, const pb_cluster *m, struct cfg_lb *out)
{
    __auto_type subset = GET(m, lb_subset_config);
    if (!subset)
        return;
    IN("lb_subset_config") {
        const struct lb_subset_spec *spec = CFG_LB_SUBSET(subset, out->arena);
        if (out->spec->policy == &lb_cluster_provided) {
            FAULT("", "does not go with CLUSTER_PROVIDED");
        } else if (spec->selector_count) { /* without selectors Envoy has no subsets either */
            struct lb_policy_spec *child = arena_zalloc(out->arena, sizeof *child);
            *child = *out->spec;
            out->spec->policy = &lb_subset;
            out->spec->child = child;
            out->spec->subset = spec;
        }
    }
}

/* ---- the whole ---- */

static void pack_in(struct strbuf *key, const ProtobufCMessage *m)
{
    size_t n = m ? protobuf_c_message_get_packed_size(m) : 0;
    uint8_t *bytes = mem_alloc(n + 1);
    if (m)
        protobuf_c_message_pack(m, bytes);
    strbuf_addf(key, "%zu:%d:", n, m != NULL);
    strbuf_adds(key, str_make((const char *)bytes, n));
    mem_free(bytes);
}

static void make_key(struct strbuf *key, const pb_cluster *m)
{
    bool has_config = m->lb_config_case && m->lb_config_case != LB_CONFIG(ORIGINAL_DST_LB_CONFIG);
    strbuf_addf(key, "lb:%d:%d:", (int)m->lb_policy, (int)m->lb_config_case);
    pack_in(key, has_config ? &m->ring_hash_lb_config->base : NULL);
    pack_in(key, m->common_lb_config ? &m->common_lb_config->base : NULL);
    pack_in(key, m->lb_subset_config ? &m->lb_subset_config->base : NULL);
    pack_in(key, m->load_balancing_policy ? &m->load_balancing_policy->base : NULL);
}

/* Panic belongs to the cluster; policies below others keep to it too. */
static void hand_down(struct lb_policy_spec *lb)
{
    for (struct lb_policy_spec *child = (struct lb_policy_spec *)(uintptr_t)lb->child; child;
         child = (struct lb_policy_spec *)(uintptr_t)child->child)
        child->panic_pct = lb->panic_pct;
}

const struct lb_policy_spec *cfg_cluster_lb(struct config_reader *cr, const pb_cluster *m)
{
    struct lb_policy_spec lb = cfg_lb_defaults;
    struct arena a;
    struct strbuf key = {0};
    arena_init(&a, 0);
    struct cfg_lb out = {&lb, &a};
    const pb_lb_policies *policies = GET(m, load_balancing_policy);
    const pb_common_lb *common = GET(m, common_lb_config);
    if (policies) {
        (void)GET(m, lb_policy); /* Envoy: the newer member wins */
        IN("load_balancing_policy")
            cfg_lb_policies(cr, policies, &out);
    } else {
        if (common)
            IN("common_lb_config")
                read_common_of_policy(cr, common, &lb);
        read_lb_policy(cr, m, &lb);
    }
    if (common)
        IN("common_lb_config")
            read_common(cr, common, &lb);
    if (!policies)
        add_subset(cr, m, &out);
    hand_down(&lb);
    make_key(&key, m);
    const void *shared = shared_get(strbuf_str(&key), &lb, sizeof lb, &a, NULL);
    strbuf_fini(&key);
    return shared;
}
