/* SPDX-License-Identifier: Apache-2.0
 *
 * Localities of a priority: cut out of its hosts, weighed (Envoy: "Locality weighted load balancing"),
 * and, against the local cluster's own spread, routed zone-aware ("Zone aware routing"). Built on the
 * main thread with each set; nothing changes after. Shares are counted in ten thousandths, as Envoy does.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "proxy/cluster/cluster.h"

int locality_cmp(const struct locality *a, const struct locality *b)
{
    static const struct locality nowhere;
    a = a ? a : &nowhere;
    b = b ? b : &nowhere;
    int by = str_cmp(a->region, b->region);
    by = by ? by : str_cmp(a->zone, b->zone);
    return by ? by : str_cmp(a->sub_zone, b->sub_zone);
}

bool locality_eq(const struct locality *a, const struct locality *b)
{
    return a == b || locality_cmp(a, b) == 0;
}

struct place {
    struct host *host;
    uint32_t at;
    bool is_here;
};

static int by_locality(const void *x, const void *y)
{
    const struct place *a = x, *b = y;
    if (a->is_here != b->is_here)
        return a->is_here ? -1 : 1;
    int by = locality_cmp(a->host->locality, b->host->locality);
    return by ? by : a->at < b->at ? -1 : a->at > b->at;
}

static void sort(struct host_priority *p, const struct locality *here)
{
    struct place *places = mem_alloc((p->all.count + 1) * sizeof(*places));
    for (uint32_t i = 0; i < p->all.count; i++) {
        struct host *h = p->all.hosts[i];
        places[i] = (struct place){h, i, here && h->locality && locality_eq(h->locality, here)};
    }
    qsort(places, p->all.count, sizeof(*places), by_locality);
    for (uint32_t i = 0; i < p->all.count; i++)
        p->all.hosts[i] = places[i].host;
    p->has_own_locality = p->all.count && places[0].is_here;
    mem_free(places);
}

void localities_settle(struct host_priority *p, const struct host_set_opts *opts)
{
    sort(p, opts->here);
    if (!p->all.count)
        return;
    p->localities = mem_zalloc(p->all.count * sizeof(*p->localities));
    for (uint32_t i = 0; i < p->all.count; i++) {
        struct host *h = p->all.hosts[i];
        if (!i || !locality_eq(h->locality, p->localities[p->locality_count - 1].name))
            p->localities[p->locality_count++] = (struct host_locality){.name = h->locality, .weight = opts->no_locality_weights ? 0 : h->locality_weight};
        struct host_locality *l = &p->localities[p->locality_count - 1];
        l->total++;
        p->has_locality_weights = p->has_locality_weights || l->weight;
        l->excluded += (atomic_load_explicit(&h->health, memory_order_relaxed) & HOST_EXCLUDED) != 0;
    }
}

/* ---- weighted ---- */

/* Ten thousand times the weight where enough of the locality is well, less in proportion where it isn't. */
static uint64_t effective(const struct host_locality *l, uint32_t well, uint32_t overprovisioning_pct)
{
    uint32_t count = l->total - l->excluded;
    if (!count || !well)
        return 0;
    uint64_t ratio = (uint64_t)overprovisioning_pct * 100 * well / count;
    return l->weight * (ratio > 10000 ? 10000 : ratio);
}

static uint64_t *sum(const struct host_priority *p, bool degraded, uint32_t overprovisioning_pct)
{
    uint64_t *sums = mem_alloc(p->locality_count * sizeof(*sums)), total = 0;
    for (uint32_t i = 0; i < p->locality_count; i++) {
        const struct host_locality *l = &p->localities[i];
        sums[i] = total += effective(l, degraded ? l->degraded.count : l->healthy.count, overprovisioning_pct);
    }
    if (total)
        return sums;
    mem_free(sums);
    return NULL;
}

/* Inside a subset: the part of the locality's hosts that the subset has is the part of its weight. */
static void scale(struct host_priority *p, const struct host_set *whole)
{
    for (uint32_t i = 0; i < p->locality_count; i++) {
        struct host_locality *l = &p->localities[i];
        uint32_t all = 0;
        for (uint32_t k = 0; k < whole->count; k++)
            all += whole->hosts[k]->priority == p->all.hosts[0]->priority && locality_eq(whole->hosts[k]->locality, l->name);
        if (all && l->weight) {
            double part = (double)l->weight * l->total / all;
            l->weight = part < 1 ? 1 : (uint32_t)(part + 0.5);
        }
    }
}

void localities_weigh(struct host_priority *p, const struct host_set_opts *opts)
{
    if (!p->locality_count)
        return;
    if (opts->scale_locality_weight && opts->whole_of)
        scale(p, opts->whole_of);
    p->healthy_turns = sum(p, false, opts->overprovisioning_pct);
    p->degraded_turns = sum(p, true, opts->overprovisioning_pct);
}

/* ---- zone-aware ---- */

/* How much there is of a group: its hosts, or their weights (locality_basis). */
static uint64_t size_of(const struct host_group *g, bool by_weight)
{
    uint64_t n = 0;
    for (uint32_t i = 0; by_weight && i < g->count; i++)
        n += g->hosts[i]->weight;
    return by_weight ? n : g->count;
}

static uint64_t healthy_at(const struct host_priority *p, const struct locality *where, bool by_weight)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < p->healthy.count; i++)
        if (locality_eq(p->healthy.hosts[i]->locality, where))
            n += by_weight ? p->healthy.hosts[i]->weight : 1;
    return n;
}

static bool local_is_spread(const struct host_priority *local, const struct locality *here, bool *has_here)
{
    bool spread = false;
    for (uint32_t i = 0; i < local->all.count; i++) {
        spread = spread || !locality_eq(local->all.hosts[i]->locality, local->all.hosts[0]->locality);
        *has_here = *has_here || (local->all.hosts[i]->locality && locality_eq(local->all.hosts[i]->locality, here));
    }
    return spread;
}

/* Whether routing by zone makes sense at all; says why not. */
static bool can_route(const struct host_set *s, const struct host_set_opts *opts)
{
    const struct host_priority *p = &s->priorities[0], *local = &opts->local->priorities[0];
    bool has_here = false;
    if (p->locality_count < 2)
        return false;
    if (!local_is_spread(local, opts->here, &has_here) && !s->lb->zone_force_direct)
        return false;
    if (!opts->here || !has_here) {
        if (opts->stats)
            stat_inc(opts->stats, STAT_CLUSTER_LB_LOCAL_CLUSTER_NOT_OK);
        return false;
    }
    if (p->healthy.count < s->lb->zone_min_size) {
        if (opts->stats)
            stat_inc(opts->stats, STAT_CLUSTER_LB_ZONE_CLUSTER_TOO_SMALL);
        return false;
    }
    return true;
}

static uint64_t permyriad(uint64_t some, uint64_t all)
{
    return all ? 10000 * some / all : 0;
}

/* What other localities have beyond what their own clients need. */
static void sum_residual(struct host_priority *p, const struct host_priority *local, bool by_weight)
{
    uint64_t total = 0, all = size_of(&p->healthy, by_weight), all_ours = size_of(&local->healthy, by_weight);
    p->zone_residual = mem_zalloc(p->locality_count * sizeof(*p->zone_residual));
    for (uint32_t i = 0; i < p->locality_count; i++) {
        const struct host_locality *l = &p->localities[i];
        uint64_t theirs = permyriad(size_of(&l->healthy, by_weight), all);
        uint64_t ours = permyriad(healthy_at(local, l->name, by_weight), all_ours);
        if (!(i == 0 && p->has_own_locality) && theirs > ours)
            total += theirs - ours;
        p->zone_residual[i] = total;
    }
}

void localities_route(struct host_set *s, const struct host_set_opts *opts)
{
    struct host_priority *p = &s->priorities[0];
    bool by_weight = s->lb->zone_by_weight;
    if (!opts->local)
        return;
    const struct host_priority *local = &opts->local->priorities[0];
    uint32_t well = local->healthy.count + local->degraded.count, all = local->all.count - local->excluded;
    if (opts->stats)
        stat_inc(opts->stats, STAT_CLUSTER_LB_RECALCULATE_ZONE);
    p->local_panic = (all ? 100.0 * well / all : 0) < s->lb->panic_pct;
    if (!can_route(s, opts))
        return;
    uint64_t theirs = 0, ours = 0;
    if (p->has_own_locality && p->localities[0].healthy.count) {
        theirs = permyriad(size_of(&p->localities[0].healthy, by_weight), size_of(&p->healthy, by_weight));
        ours = permyriad(healthy_at(local, p->localities[0].name, by_weight), size_of(&local->healthy, by_weight));
    }
    bool forced = s->lb->zone_force_direct && p->has_own_locality && p->localities[0].healthy.count &&
                  p->localities[0].healthy.count >= s->lb->zone_force_min;
    if (p->has_own_locality && ((theirs && theirs >= ours) || forced)) {
        p->zone = ZONE_ROUTING_DIRECT;
        return;
    }
    p->zone = ZONE_ROUTING_RESIDUAL;
    p->zone_local_permyriad = p->has_own_locality && ours ? theirs * 10000 / ours : 0;
    sum_residual(p, local, by_weight);
}

void localities_fini(struct host_priority *p)
{
    mem_free(p->localities);
    mem_free(p->healthy_turns);
    mem_free(p->degraded_turns);
    mem_free(p->zone_residual);
}
