/* SPDX-License-Identifier: Apache-2.0
 *
 * Weighted clusters. total_weight is what it is to Envoy: accepted, and the sum of the weights
 * counts. Main thread.
 */
#include "proxy/config/route_priv.h"

#define RANDOM_FROM(x) ENVOY__CONFIG__ROUTE__V3__WEIGHTED_CLUSTER__RANDOM_VALUE_SPECIFIER_##x

static void read_cluster(struct config_reader *cr, const pb_cluster_weight *m, struct weighted_cluster *w, struct str key_prefix,
                         struct route_reading *rr)
{
    struct str name = TEXT(m, name), header = TEXT(m, cluster_header);
    if (!name.n == !header.n)
        FAULT("", name.n ? "name excludes cluster_header" : "one of name and cluster_header must be set");
    w->name = arena_str(rr->a, name);
    w->cluster_header = header.n ? cfg_lower(rr->a, header) : STR("");
    if (name.n)
        cfg_cluster_ref(cr, "name", w->name, &w->cluster, rr->validate_clusters);
    if (!GET(m, weight))
        FAULT("weight", "must be set");
    w->weight = proto_u32_or(m->weight, 0);
    w->runtime_key = key_prefix.n ? arena_printf(rr->a, "%.*s.%.*s", STR_ARG(key_prefix), STR_ARG(name)) : STR("");
    if (m->host_rewrite_specifier_case)
        w->host_rewrite = arena_str(rr->a, TEXT(m, host_rewrite_literal));
    IN("metadata_match")
        w->metadata_match = cfg_metadata(cr, GET(m, metadata_match), rr->a);
    READ_HEADER_RULES(m, &w->request_rules, &w->response_rules, rr->a);
    READ_OVERRIDES(m, &w->overrides, rr->a);
}

void cfg_weighted_clusters(struct config_reader *cr, const pb_route_weighted *m, struct route_entry *e, struct route_reading *rr)
{
    struct str prefix = TEXT(m, runtime_key_prefix);
    e->weighted_count = LEN(m, clusters);
    e->weighted = ARENA_ARRAY(rr->a, struct weighted_cluster, e->weighted_count);
    (void)GET(m, total_weight);
    if (m->random_value_specifier_case == RANDOM_FROM(HEADER_NAME))
        e->weight_header = cfg_lower(rr->a, TEXT(m, header_name));
    else if (m->random_value_specifier_case == RANDOM_FROM(USE_HASH_POLICY))
        e->weight_by_hash = proto_bool_or(GET(m, use_hash_policy), false);
    for (uint32_t i = 0; i < e->weighted_count; i++) {
        IN("clusters[%u]", i)
            read_cluster(cr, m->clusters[i], &e->weighted[i], prefix, rr);
        e->weight_total += e->weighted[i].weight;
    }
    if (e->weight_total == 0)
        FAULT("clusters", "the sum of weights must be greater than 0");
    else if (e->weight_total > UINT32_MAX)
        FAULT("clusters", "the sum of weights must not be greater than %u", UINT32_MAX);
}
