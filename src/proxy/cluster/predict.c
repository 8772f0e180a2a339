/* SPDX-License-Identifier: Apache-2.0
 *
 * Predictive preconnecting (Envoy: preconnect_policy.predictive_preconnect_ratio): before a request goes to its pool, up to
 * three connections are made ahead to the hosts whom the policy would choose next, while the worker has fewer streams ready
 * than the ratio asks for. The choices are kept: the next requests get those hosts, in that order, until the membership
 * changes. Policies by hash and policies of sets can't be asked ahead. On the view's worker; where it is configured a
 * request costs a walk over the worker's pools.
 */
#include "proxy/cluster/cluster_priv.h"

#define AT_ONCE 3

static bool can_predict(const struct cluster_worker *cw)
{
    const struct cluster_spec *spec = cw->cluster->spec;
    const struct lb_policy *policy = spec->lb->policy;
    return spec->predictive_ratio > 1.0f && !policy->by_hash && !policy->choose && policy != &lb_cluster_provided &&
           !spec->transport->proxy_protocol;
}

static uint32_t healthy_count(const struct host_set *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->priority_count; i++)
        n += s->priorities[i].healthy.count;
    return n;
}

static bool wants_more(const struct cluster_worker *cw)
{
    uint64_t pending = 0, active = 0, room = 0;
    for (uint32_t b = 0; b < cw->bucket_count; b++)
        for (const struct upstream_pool *p = cw->buckets[b]; p; p = p->next)
            http_pool_load(p->pool, &pending, &active, &room);
    double wanted = (double)(pending + active + 1) * (double)cw->cluster->spec->predictive_ratio;
    return wanted > (double)(room + active);
}

static struct host *peek(struct cluster_worker *cw)
{
    struct lb_context ctx = {.rng = loop_rng(cw->loop)};
    if (cw->peeked_count >= PEEKED_MAX || cw->peeked_count >= healthy_count(cw->hosts))
        return NULL;
    struct host *h = view_choose(cw, &ctx);
    if (h)
        cw->peeked[(cw->peeked_first + cw->peeked_count++) % PEEKED_MAX] = h;
    return h;
}

void cluster_predict(struct cluster_worker *cw, const struct pool_key *key)
{
    if (__builtin_expect(cw->cluster->spec->predictive_ratio <= 1.0f, 1) || !can_predict(cw))
        return;
    for (int i = 0; i < AT_ONCE && wants_more(cw); i++) {
        struct host *h = peek(cw);
        struct http_pool *pool = h ? view_http_pool(cw, h, key) : NULL;
        if (!pool || !http_pool_preconnect(pool, cw->cluster->spec->predictive_ratio))
            return;
    }
}

struct host *cluster_predicted(struct cluster_worker *cw, const struct lb_context *ctx)
{
    if (__builtin_expect(!cw->peeked_count, 1) || ctx->skip || ctx->skip_priorities)
        return NULL;
    struct host *h = cw->peeked[cw->peeked_first];
    cw->peeked_first = (cw->peeked_first + 1) % PEEKED_MAX;
    cw->peeked_count--;
    return h;
}

void cluster_forget_predictions(struct cluster_worker *cw)
{
    cw->peeked_count = 0;
}
