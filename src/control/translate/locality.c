/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a proxy sends first: priorities of endpoints by how near they are (failover), or shares of localities (distribute). Istio:
 * "Locality Load Balancing".
 */
#include "control/translate/locality_priv.h"

#define DISTRIBUTE Istio__Networking__V1alpha3__LocalityLoadBalancerSetting__Distribute
#define LOCALITY Envoy__Config__Endpoint__V3__LocalityLbEndpoints

/* 0: the proxy's own sub-zone, then its zone, its region, elsewhere; 4: elsewhere, and not where its region fails over to. */
static uint32_t distance(const struct translation *t, const LOCALITY_SETTING *s, const struct endpoint *e)
{
    const struct node *n = t->node;
    if (str_eq(n->region, e->region)) {
        if (!str_eq(n->zone, e->zone))
            return 2;
        return str_eq(n->sub_zone, e->sub_zone) ? 0 : 1;
    }
    for (size_t i = 0; i < s->n_failover; i++)
        if (str_eq(str_from(s->failover[i]->from), n->region))
            return str_eq(str_from(s->failover[i]->to), e->region) ? 3 : 4;
    return 3;
}

static struct str label_of_place(struct str key, struct str region, struct str zone, struct str sub_zone, struct str network, struct str cluster)
{
    if (str_eq(key, STR("topology.kubernetes.io/region")))
        return region;
    if (str_eq(key, STR("topology.kubernetes.io/zone")))
        return zone;
    if (str_eq(key, STR("topology.istio.io/subzone")))
        return sub_zone;
    if (str_eq(key, STR("topology.istio.io/network")))
        return network;
    return str_eq(key, STR("topology.istio.io/cluster")) ? cluster : STR_NULL;
}

static struct str node_label(const struct node *n, struct str key)
{
    struct str v = label_of_place(key, n->region, n->zone, n->sub_zone, n->network, n->cluster_id);
    return v.p ? v : labels_get(&n->labels, key);
}

static struct str endpoint_label(const struct endpoint *e, struct str key)
{
    struct str v = label_of_place(key, e->region, e->zone, e->sub_zone, e->network, e->cluster_id);
    return v.p ? v : labels_get(&e->labels, key);
}

/* How many of the labels at the end of the list aren't reached: 0 where all are the proxy's ("key=value" takes the place of its own). */
static uint32_t labels_apart(const struct translation *t, const LOCALITY_SETTING *s, const struct endpoint *e)
{
    for (size_t i = 0; i < s->n_failover_priority; i++) {
        struct str wanted, key = str_split(str_from(s->failover_priority[i]), '=', &wanted);
        if (!wanted.p)
            wanted = node_label(t->node, key);
        if (!str_eq(wanted, endpoint_label(e, key)))
            return (uint32_t)(s->n_failover_priority - i);
    }
    return 0;
}

uint32_t locality_priority(const struct translation *t, const struct endpoint_purpose *p, const struct endpoint *e)
{
    const LOCALITY_SETTING *s = (const LOCALITY_SETTING *)p->locality;
    if (!s || s->n_distribute || !p->has_outliers || (s->enabled && !s->enabled->value))
        return 0;
    if (s->n_failover_priority == 0)
        return distance(t, s, e);
    uint32_t by_labels = labels_apart(t, s, e);
    return s->n_failover ? by_labels * 5 + distance(t, s, e) : by_labels;
}

/* ---- shares ---- */

/* "region/zone/" and a star, "region", a star alone: what it leaves out is whichever. */
static bool matches(const char *pattern, struct str region, struct str zone, struct str sub_zone)
{
    const struct str own[] = {region, zone, sub_zone};
    struct str rest = str_from(pattern);
    for (int i = 0; i < 3 && rest.p; i++) {
        struct str part = str_split(rest, '/', &rest);
        if (str_eq(part, STR("*")))
            return true;
        if (!str_eq(part, own[i]))
            return false;
    }
    return true;
}

static bool locality_matches(const char *pattern, const LOCALITY *l)
{
    return matches(pattern, str_from(l->locality->region), str_from(l->locality->zone), str_from(l->locality->sub_zone));
}

/* The share of a pattern is divided among its localities by what they weigh; localities that have none get nothing. */
static void apply_shares(const struct translation *t, const DISTRIBUTE *d, ASSIGNMENT *a)
{
    bool *is_taken = arena_zalloc(t->arena, a->n_endpoints + 1);
    for (size_t k = 0; k < d->n_to; k++) {
        uint64_t total = 0;
        bool *is_own = arena_zalloc(t->arena, a->n_endpoints + 1);
        for (size_t i = 0; i < a->n_endpoints; i++) {
            is_own[i] = !is_taken[i] && locality_matches(d->to[k]->key, a->endpoints[i]);
            if (is_own[i])
                total += a->endpoints[i]->load_balancing_weight->value;
        }
        for (size_t i = 0; i < a->n_endpoints; i++) {
            if (!is_own[i])
                continue;
            uint64_t weight = (uint64_t)a->endpoints[i]->load_balancing_weight->value * d->to[k]->value;
            a->endpoints[i]->load_balancing_weight = u32_of(t, total ? (uint32_t)((weight + total - 1) / total) : 0);
            is_taken[i] = true;
        }
    }
    for (size_t i = 0; i < a->n_endpoints; i++)
        if (!is_taken[i])
            a->endpoints[i]->n_lb_endpoints = 0;
}

void locality_distribute(const struct translation *t, const struct endpoint_purpose *p, ASSIGNMENT *a)
{
    const LOCALITY_SETTING *s = (const LOCALITY_SETTING *)p->locality;
    const struct node *n = t->node;
    for (size_t i = 0; s && i < s->n_distribute; i++) {
        if (!matches(s->distribute[i]->from, n->region, n->zone, n->sub_zone))
            continue;
        apply_shares(t, s->distribute[i], a);
        return;
    }
}

/* Envoy wants them from 0 on without a gap. */
void locality_close_gaps(ASSIGNMENT *a)
{
    uint32_t next = 0;
    for (uint32_t i = 0; i < a->n_endpoints; i++) { /* the next higher one each time */
        bool is_found = false;
        uint32_t lowest = UINT32_MAX;
        for (size_t k = 0; k < a->n_endpoints; k++)
            if (a->endpoints[k]->priority >= next && a->endpoints[k]->priority < lowest) {
                lowest = a->endpoints[k]->priority;
                is_found = true;
            }
        if (!is_found)
            return;
        for (size_t k = 0; k < a->n_endpoints; k++)
            if (a->endpoints[k]->priority == lowest)
                a->endpoints[k]->priority = next;
        next++;
    }
}
