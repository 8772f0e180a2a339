/* SPDX-License-Identifier: Apache-2.0
 *
 * How traffic is shared between priorities (Envoy: "Priority levels", "Panic threshold", "Degraded
 * endpoints"). Each priority's availability is what part of its hosts is well, overprovisioned; the
 * first ones take all they can. Where too few are well, a priority panics and uses all of its hosts.
 * Whole percents, rounded as Envoy rounds them. Pure.
 */
#include "base/mem.h"
#include "proxy/cluster/host.h"

struct weighed {
    uint64_t healthy, degraded, total;
};

static struct weighed weigh(const struct host_priority *p, bool by_weight)
{
    struct weighed w = {p->healthy.count, p->degraded.count, p->all.count - p->excluded};
    if (!by_weight)
        return w;
    w = (struct weighed){0};
    for (uint32_t i = 0; i < p->healthy.count; i++)
        w.healthy += p->healthy.hosts[i]->weight;
    for (uint32_t i = 0; i < p->degraded.count; i++)
        w.degraded += p->degraded.hosts[i]->weight;
    for (uint32_t i = 0; i < p->all.count; i++)
        if (!(atomic_load_explicit(&p->all.hosts[i]->health, memory_order_relaxed) & HOST_EXCLUDED))
            w.total += p->all.hosts[i]->weight;
    return w;
}

static uint32_t availability_pct(uint64_t some, uint64_t all, uint32_t overprovisioning_pct)
{
    uint64_t pct = all ? overprovisioning_pct * some / all : 0;
    return pct > 100 ? 100 : (uint32_t)pct;
}

static bool skipped(uint64_t skip, uint32_t priority)
{
    return priority < 64 && (skip >> priority & 1);
}

/* Out of `left` percent, to each what it can take of `scale`. Gives the first that can take any, or -1. */
static int give_out(const struct host_set *s, uint64_t skip, bool degraded, uint32_t scale, uint32_t *left, uint32_t *load)
{
    int first = -1;
    for (uint32_t i = 0; i < s->priority_count; i++) {
        const struct host_priority *p = &s->priorities[i];
        uint32_t pct = skipped(skip, i) ? 0 : degraded ? p->degraded_pct : p->healthy_pct;
        uint32_t want = pct * 100 / scale;
        if (first < 0 && pct)
            first = (int)i;
        load[i] = want < *left ? want : *left;
        *left -= load[i];
    }
    return first;
}

bool priorities_share(const struct host_set *s, uint64_t skip, uint32_t *healthy_load, uint32_t *degraded_load)
{
    uint32_t total = 0, left = 100;
    for (uint32_t i = 0; i < s->priority_count; i++)
        if (!skipped(skip, i))
            total += s->priorities[i].healthy_pct + s->priorities[i].degraded_pct;
    if (!total)
        return false;
    uint32_t scale = total > 100 ? 100 : total; /* below 100 all that is available is scaled up to fill it */
    int first_healthy = give_out(s, skip, false, scale, &left, healthy_load);
    int first_degraded = give_out(s, skip, true, scale, &left, degraded_load);
    if (left) /* what rounding left over */
        *(first_healthy >= 0 ? &healthy_load[first_healthy] : &degraded_load[first_degraded]) += left;
    return true;
}

static bool panics(const struct host_priority *p, uint32_t panic_pct)
{
    uint32_t count = p->all.count - p->excluded;
    double well = count ? 100.0 * p->healthy.count / count + 100.0 * p->degraded.count / count : 0;
    return well < panic_pct;
}

/* Everybody panics: by the number of hosts, whatever their health. */
static void share_by_size(struct host_set *s)
{
    uint32_t left = 100, first = UINT32_MAX;
    for (uint32_t i = 0; i < s->priority_count && s->count; i++) {
        struct host_priority *p = &s->priorities[i];
        if (first == UINT32_MAX && p->all.count)
            first = i;
        p->healthy_load = (uint32_t)(100ull * p->all.count / s->count);
        p->degraded_load = 0;
        left -= p->healthy_load;
    }
    s->priorities[first == UINT32_MAX ? 0 : first].healthy_load += left;
}

void priorities_settle(struct host_set *s, const struct host_set_opts *opts, uint32_t panic_pct)
{
    for (uint32_t i = 0; i < s->priority_count; i++) {
        struct host_priority *p = &s->priorities[i];
        struct weighed w = weigh(p, opts->weighted_priority_health);
        p->healthy_pct = availability_pct(w.healthy, w.total, opts->overprovisioning_pct);
        p->degraded_pct = availability_pct(w.degraded, w.total, opts->overprovisioning_pct);
    }
    priorities_balance(s, panic_pct);
}

void priorities_balance(struct host_set *s, uint32_t panic_pct)
{
    uint32_t n = s->priority_count, total = 0;
    uint32_t *loads = mem_zalloc(2 * n * sizeof(*loads));
    for (uint32_t i = 0; i < n; i++)
        total += s->priorities[i].healthy_pct + s->priorities[i].degraded_pct;
    priorities_share(s, 0, loads, loads + n);
    bool all_panic = true;
    for (uint32_t i = 0; i < n; i++) {
        struct host_priority *p = &s->priorities[i];
        p->healthy_load = loads[i];
        p->degraded_load = loads[n + i];
        p->panic = total < 100 && panics(p, panic_pct);
        all_panic = all_panic && p->panic;
    }
    mem_free(loads);
    if (!panic_pct && !total)
        s->priorities[0].healthy_load = 100; /* nobody is there for anybody: the first priority has nobody to give */
    else if (all_panic)
        share_by_size(s);
}
