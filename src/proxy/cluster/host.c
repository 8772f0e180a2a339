/* SPDX-License-Identifier: Apache-2.0
 *
 * Hosts and host sets. A set is built once on the main thread: hosts sorted by priority, grouped by
 * health and locality, shares of traffic worked out (priorities.c, localities.c), each group given
 * what the balancing policy prepares. Nothing in it changes after, but the cursors.
 */
#include "proxy/cluster/host.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/mem.h"
#include "proxy/cluster/metadata_pool.h"
#include "proxy/health/health_check.h"
#include "proxy/lb/lb.h"

_Atomic bool host_keeps_times;

struct host *host_new(const struct addr *a, struct str hostname, uint32_t weight, uint32_t priority,
                      const struct locality *l)
{
    struct host *h = NEW(host);
    atomic_init(&h->refs, 1);
    addr_copy(&h->addr, a);
    if (hostname.n)
        h->hostname = str_dup(hostname);
    h->weight = weight ? weight : 1;
    h->priority = priority;
    h->locality = l;
    return h;
}

struct host *host_ref(struct host *h)
{
    atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
    return h;
}

void host_unref(struct host **h)
{
    struct host *host = *h;
    *h = NULL;
    if (!host || atomic_fetch_sub_explicit(&host->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < host->extra_addr_count; i++)
        addr_fini(&host->extra_addrs[i]);
    mem_free(host->extra_addrs);
    if (host->has_pooled_metadata)
        metadata_pool_unref(host->metadata);
    mem_free(host->outlier);
    health_host_free(&host->check);
    str_free(&host->hostname);
    addr_fini(&host->addr);
    mem_free(host);
}

/* ---- sets ---- */

struct ranked {
    struct host *host;
    uint32_t at;
};

static int by_priority(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->host->priority != y->host->priority)
        return x->host->priority < y->host->priority ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static void sort(struct host **hosts, uint32_t n)
{
    bool sorted = true;
    for (uint32_t i = 1; i < n && sorted; i++)
        sorted = hosts[i - 1]->priority <= hosts[i]->priority;
    if (sorted)
        return;
    struct ranked *ranked = mem_alloc(n * sizeof(*ranked));
    for (uint32_t i = 0; i < n; i++)
        ranked[i] = (struct ranked){hosts[i], i};
    qsort(ranked, n, sizeof(*ranked), by_priority);
    for (uint32_t i = 0; i < n; i++)
        hosts[i] = ranked[i].host;
    mem_free(ranked);
}

enum host_class host_class(const struct host *h)
{
    uint32_t health = atomic_load_explicit(&h->health, memory_order_relaxed);
    if (health & (HOST_UNHEALTHY | HOST_EXCLUDED | HOST_EDS_DRAINING))
        return HOST_IS_OUT;
    return health & (HOST_DEGRADED_ACTIVE_HC | HOST_DEGRADED_EDS) ? HOST_IS_DEGRADED : HOST_IS_HEALTHY;
}

/* A group of all hosts given borrows their array; a part of them gets one of its own. */
static void fill_group(struct host_group *g, struct host **hosts, uint32_t count, const uint8_t *classes, enum host_class which)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++)
        n += classes[i] == which;
    g->count = n;
    if (n == count) {
        g->hosts = hosts;
        return;
    }
    if (!n)
        return;
    g->hosts = mem_alloc(n * sizeof(*g->hosts));
    n = 0;
    for (uint32_t i = 0; i < count; i++)
        if (classes[i] == which)
            g->hosts[n++] = hosts[i];
}

/* A host's health may change while a set is built: one look decides. */
static void group_hosts(struct host_priority *p)
{
    uint8_t *classes = mem_alloc(p->all.count + 1);
    for (uint32_t i = 0; i < p->all.count; i++) {
        classes[i] = (uint8_t)host_class(p->all.hosts[i]);
        p->excluded += (atomic_load_explicit(&p->all.hosts[i]->health, memory_order_relaxed) & HOST_EXCLUDED) != 0;
    }
    fill_group(&p->healthy, p->all.hosts, p->all.count, classes, HOST_IS_HEALTHY);
    fill_group(&p->degraded, p->all.hosts, p->all.count, classes, HOST_IS_DEGRADED);
    for (uint32_t i = 0, at = 0; i < p->locality_count; at += p->localities[i++].total) {
        struct host_locality *l = &p->localities[i];
        fill_group(&l->healthy, p->all.hosts + at, l->total, classes + at, HOST_IS_HEALTHY);
        fill_group(&l->degraded, p->all.hosts + at, l->total, classes + at, HOST_IS_DEGRADED);
    }
    mem_free(classes);
}

/* ---- what the policy prepares ---- */

static double share_sum(const struct host_group *g, const struct locality *where, bool any)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < g->count; i++)
        if (any || locality_eq(g->hosts[i]->locality, where))
            sum += g->hosts[i]->weight;
    return (double)sum;
}

/* Weights that add up to 1, over localities by their weights first. The order of operations decides the last bit, which
 * decides where a ring's parts are rounded. */
static double *shares_of(const struct host_group *g, const struct host_priority *p, bool by_locality)
{
    double *shares = mem_zalloc((g->count + 1) * sizeof(*shares));
    uint64_t locality_sum = 0;
    for (uint32_t i = 0; by_locality && i < p->locality_count; i++)
        locality_sum += p->localities[i].weight;
    if (!by_locality) {
        double sum = share_sum(g, NULL, true);
        for (uint32_t i = 0; i < g->count; i++)
            shares[i] = g->hosts[i]->weight * 1.0 / sum;
        return shares;
    }
    for (uint32_t l = 0; l < p->locality_count && locality_sum; l++) {
        const struct host_locality *where = &p->localities[l];
        double part = (double)where->weight / (double)locality_sum, sum = share_sum(g, where->name, false);
        for (uint32_t i = 0; i < g->count && where->weight; i++)
            if (locality_eq(g->hosts[i]->locality, where->name))
                shares[i] = g->hosts[i]->weight * part / sum;
    }
    return shares;
}

struct building {
    const struct lb_policy_spec *lb;
    uint64_t *cursors; /* 8 words each: a cache line */
    uint64_t seed;
    struct stat_scope *stats;
};

static _Atomic uint64_t *take_cursor(struct building *b)
{
    _Atomic uint64_t *cursor = (_Atomic uint64_t *)b->cursors;
    atomic_init(cursor, b->seed);
    b->cursors += 8;
    return cursor;
}

static void build_group(struct building *b, struct host_group *g, const struct host_priority *p)
{
    const struct lb_policy *policy = b->lb->policy;
    if (!g->count || policy->choose)
        return;
    g->cursor = take_cursor(b);
    if (policy->by_hash)
        g->shares = shares_of(g, p, b->lb->locality == LB_LOCALITY_WEIGHTED && p->has_locality_weights);
    if (policy->build)
        g->schedule = policy->build(b->lb, g);
    if (policy->show && g->schedule && b->stats)
        policy->show(g->schedule, g, b->stats);
    for (uint32_t i = 0; b->lb->slow_start_ms && i < g->count; i++) {
        uint64_t since = atomic_load_explicit(&g->hosts[i]->healthy_since_ms, memory_order_relaxed);
        if (since && since + b->lb->slow_start_ms > g->slow_until_ms)
            g->slow_until_ms = since + b->lb->slow_start_ms;
    }
}

static void build_priority(struct building *b, struct host_priority *p)
{
    bool by_hash = b->lb->policy->by_hash;
    if (!by_hash || !p->panic)
        build_group(b, &p->healthy, p);
    if (!by_hash)
        build_group(b, &p->degraded, p);
    if (p->panic)
        build_group(b, &p->all, p);
    if (p->healthy_turns || p->degraded_turns)
        p->locality_cursor = take_cursor(b);
    bool by_locality = p->healthy_turns || p->degraded_turns || p->zone != ZONE_ROUTING_NONE;
    for (uint32_t i = 0; by_locality && !by_hash && i < p->locality_count; i++) {
        build_group(b, &p->localities[i].healthy, p);
        build_group(b, &p->localities[i].degraded, p);
    }
}

static size_t cursor_count(const struct host_set *s)
{
    size_t n = 0;
    for (uint32_t i = 0; i < s->priority_count; i++)
        n += 4 + 2 * s->priorities[i].locality_count;
    return n;
}

static void build(struct host_set *s, const struct host_set_opts *opts)
{
    /* One line more than asked for, so that cursors start on one. */
    if (!s->lb->policy->choose && s->count)
        s->cursors = mem_zalloc((cursor_count(s) + 1) * 64);
    struct building b = {s->lb, (uint64_t *)(((uintptr_t)s->cursors + 63) & ~(uintptr_t)63), opts->seed, opts->stats};
    for (uint32_t p = 0; s->count && p < s->priority_count; p++)
        build_priority(&b, &s->priorities[p]);
    if (s->lb->policy->build_whole)
        s->whole = s->lb->policy->build_whole(s, opts);
}

static void cut_up(struct host_set *s, const struct host_set_opts *opts)
{
    uint32_t i = 0;
    bool want_localities = s->lb->locality == LB_LOCALITY_WEIGHTED || (s->lb->locality == LB_ZONE_AWARE && opts->local);
    for (uint32_t p = 0; p < s->priority_count; p++) {
        struct host_priority *prio = &s->priorities[p];
        uint32_t from = i;
        while (i < s->count && s->hosts[i]->priority == p)
            i++;
        prio->all.hosts = s->count ? s->hosts + from : NULL;
        prio->all.count = i - from;
        if (want_localities)
            localities_settle(prio, opts);
        group_hosts(prio);
        if (s->lb->locality == LB_LOCALITY_WEIGHTED)
            localities_weigh(prio, opts);
    }
}

struct host_set *host_set_new(struct host **take_hosts, uint32_t count, const struct lb_policy_spec *lb,
                              const struct host_set_opts *opts)
{
    struct host_set *s = NEW(host_set);
    atomic_init(&s->refs, 1);
    s->hosts = take_hosts;
    s->count = count;
    s->lb = lb;
    sort(s->hosts, count);
    s->priority_count = count ? s->hosts[count - 1]->priority + 1 : 1;
    s->priorities = mem_zalloc(s->priority_count * sizeof(*s->priorities));
    cut_up(s, opts);
    priorities_settle(s, opts, lb->panic_pct);
    if (lb->locality == LB_ZONE_AWARE)
        localities_route(s, opts);
    build(s, opts);
    return s;
}

struct host_set *host_set_ref(struct host_set *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

static bool is_own_array(const struct host_group *g, const struct host_set *s)
{
    return g->hosts < s->hosts || g->hosts >= s->hosts + s->count;
}

static void group_fini(struct host_group *g, const struct host_set *s)
{
    if (g->schedule && s->lb->policy->free)
        s->lb->policy->free(g->schedule);
    mem_free(g->shares);
    if (g->count && is_own_array(g, s))
        mem_free(g->hosts);
}

static void priority_fini(struct host_priority *p, const struct host_set *s)
{
    group_fini(&p->healthy, s);
    group_fini(&p->degraded, s);
    group_fini(&p->all, s);
    for (uint32_t i = 0; i < p->locality_count; i++) {
        group_fini(&p->localities[i].healthy, s);
        group_fini(&p->localities[i].degraded, s);
    }
    localities_fini(p);
}

void host_set_unref(struct host_set **set)
{
    struct host_set *s = *set;
    *set = NULL;
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (s->whole)
        s->lb->policy->free_whole(s->whole);
    for (uint32_t p = 0; p < s->priority_count; p++)
        priority_fini(&s->priorities[p], s);
    for (uint32_t i = 0; i < s->count; i++)
        host_unref(&s->hosts[i]);
    mem_free(s->hosts);
    mem_free(s->priorities);
    mem_free(s->cursors);
    mem_free(s);
}
