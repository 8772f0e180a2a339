/* SPDX-License-Identifier: Apache-2.0
 *
 * Drawing one of several weighted clusters: value % total, the first whose cumulative weight lies
 * above. The value is the request's random number, a header's number, or the request's hash; the
 * same value gives the same cluster. Weights that runtime may change are summed anew each time, so
 * that a changed one can't leave a gap. Any worker, no memory.
 */
#include "proxy/route/explain.h"
#include "proxy/route/route_priv.h"

uint64_t weighted_cluster_weight(const struct weighted_cluster *w)
{
    return w->runtime_key.n ? runtime_u64(w->runtime_key, w->weight) : w->weight;
}

/* Several values mean that nobody knows which one counts (Envoy: WeightedCluster.header_name): the random number does. */
static bool header_value(const struct headers *h, struct str name, uint64_t *out)
{
    const struct header *first = headers_find(h, name);
    if (!first || !str_to_u64(first->value, out))
        return false;
    for (const struct header *i = first + 1; i < h->items + h->count; i++)
        if (str_eq(i->name, name))
            return false;
    return true;
}

static uint64_t value_of(const struct route_entry *r, const struct route_request *rq)
{
    uint64_t value;
    if (r->weight_header.n && header_value(rq->headers, r->weight_header, &value))
        return value;
    struct hash_source src = {rq->headers, rq->info};
    if (r->weight_by_hash && route_hash(r->hashes, r->hash_count, &src, NULL, &value, NULL))
        return value;
    return rq->random;
}

const struct weighted_cluster *route_draw_weighted(const struct route_entry *r, const struct route_request *rq)
{
    uint64_t total = r->weight_total, end = 0;
    bool by_runtime = r->weighted[0].runtime_key.n > 0;
    for (uint32_t i = 0; by_runtime && i < r->weighted_count; i++)
        total = (i ? total : 0) + weighted_cluster_weight(&r->weighted[i]);
    if (!total)
        return NULL;
    uint64_t value = value_of(r, rq) % total;
    for (uint32_t i = 0; i < r->weighted_count; i++) {
        end += by_runtime ? weighted_cluster_weight(&r->weighted[i]) : r->weighted[i].weight;
        if (value < end)
            return &r->weighted[i];
    }
    return NULL;
}
