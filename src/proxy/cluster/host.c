/* SPDX-License-Identifier: Apache-2.0
 *
 * Hosts and host sets. A set is built once on the main thread: hosts sorted by priority, grouped by
 * health, each group given what the balancing policy prepares, and the share of traffic of every
 * priority worked out (Envoy: "Priority levels", "Panic threshold"). Nothing in it changes after.
 */
#include "proxy/cluster/host.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/mem.h"
#include "proxy/health/health_check.h"
#include "proxy/lb/lb.h"

struct host *host_new(const struct addr *a, struct str hostname, uint32_t weight, uint32_t priority,
                      const struct locality *l)
{
    struct host *h = NEW(host);
    atomic_init(&h->refs, 1);
    addr_copy(&h->addr, a);
    if (hostname.n)
        h->hostname = str_make(mem_strndup(hostname.p, hostname.n), hostname.n);
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
    mem_free(host->outlier);
    health_host_free(&host->check);
    mem_free((char *)(uintptr_t)host->hostname.p);
    addr_fini(&host->addr);
    mem_free(host);
}

/* ---- sets ---- */

static int by_priority(const void *a, const void *b)
{
    const struct host *x = *(struct host *const *)a, *y = *(struct host *const *)b;
    return x->priority < y->priority ? -1 : x->priority > y->priority;
}

enum group { GROUP_HEALTHY, GROUP_DEGRADED, GROUP_OUT };

static enum group group_of(const struct host *h)
{
    uint32_t health = atomic_load_explicit(&h->health, memory_order_relaxed);
    if (health & (HOST_UNHEALTHY | HOST_PENDING_REMOVAL | HOST_EXCLUDED_IMMEDIATE_HC | HOST_PENDING_ACTIVE_HC | HOST_EDS_DRAINING))
        return GROUP_OUT;
    return health & (HOST_DEGRADED_ACTIVE_HC | HOST_DEGRADED_EDS) ? GROUP_DEGRADED : GROUP_HEALTHY;
}

/* A group of all hosts of the priority borrows the set's own array; a part of it gets one of its own. */
static void fill_group(struct host_group *g, const struct host_priority *p, enum group which)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->all.count; i++)
        n += group_of(p->all.hosts[i]) == which;
    g->count = n;
    if (n == p->all.count) {
        g->hosts = p->all.hosts;
        return;
    }
    if (!n)
        return;
    g->hosts = mem_alloc(n * sizeof(*g->hosts));
    n = 0;
    for (uint32_t i = 0; i < p->all.count; i++)
        if (group_of(p->all.hosts[i]) == which)
            g->hosts[n++] = p->all.hosts[i];
}

static void build_group(struct host_group *g, const struct host_set *s, const struct lb_policy_spec *lb)
{
    if (g->count && s->policy->build)
        g->schedule = s->policy->build(lb, g->hosts, g->count);
}

static uint32_t availability_pct(uint32_t some, uint32_t all, uint32_t overprovisioning_pct)
{
    uint64_t pct = all ? (uint64_t)overprovisioning_pct * some / all : 0;
    return pct > 100 ? 100 : (uint32_t)pct;
}

/* Healthy hosts of the priorities in order first, then degraded ones, until 100 % is given out. */
static void share_load(struct host_set *s, uint32_t overprovisioning_pct, uint32_t panic_pct)
{
    uint32_t total = 0, left = 100;
    for (uint32_t i = 0; i < s->priority_count; i++) {
        const struct host_priority *p = &s->priorities[i];
        total += availability_pct(p->healthy.count, p->all.count, overprovisioning_pct);
        total += availability_pct(p->degraded.count, p->all.count, overprovisioning_pct);
    }
    uint32_t scale = total > 100 ? 100 : total; /* below 100 all is available is scaled up to fill it */
    for (uint32_t i = 0; i < s->priority_count && scale; i++) {
        struct host_priority *p = &s->priorities[i];
        uint32_t want = availability_pct(p->healthy.count, p->all.count, overprovisioning_pct) * 100 / scale;
        p->healthy_load = want < left ? want : left;
        left -= p->healthy_load;
    }
    for (uint32_t i = 0; i < s->priority_count && scale; i++) {
        struct host_priority *p = &s->priorities[i];
        uint32_t want = availability_pct(p->degraded.count, p->all.count, overprovisioning_pct) * 100 / scale;
        p->degraded_load = want < left ? want : left;
        left -= p->degraded_load;
    }
    for (uint32_t i = 0; scale && left && i < s->priority_count; i++) { /* what rounding left over */
        struct host_priority *p = &s->priorities[i];
        if (p->healthy_load || p->degraded_load) {
            *(p->healthy_load ? &p->healthy_load : &p->degraded_load) += left;
            left = 0;
        }
    }
    for (uint32_t i = 0; i < s->priority_count; i++) {
        struct host_priority *p = &s->priorities[i];
        p->panic = total < 100 && p->all.count && p->healthy.count * 100 < panic_pct * p->all.count;
        if (!scale && i == 0)
            p->healthy_load = 100; /* nobody is available: the first priority's panic decides */
    }
}

struct host_set *host_set_new(struct host **take_hosts, uint32_t count, const struct lb_policy_spec *lb,
                              uint32_t overprovisioning_pct)
{
    struct host_set *s = NEW(host_set);
    atomic_init(&s->refs, 1);
    s->hosts = take_hosts;
    s->count = count;
    s->policy = lb->policy;
    if (count)
        qsort(s->hosts, count, sizeof(*s->hosts), by_priority);
    s->priority_count = count ? s->hosts[count - 1]->priority + 1 : 1;
    s->priorities = mem_zalloc(s->priority_count * sizeof(*s->priorities));
    for (uint32_t i = 0, p = 0; p < s->priority_count; p++) {
        struct host_priority *prio = &s->priorities[p];
        prio->all.hosts = s->hosts + i;
        while (i < count && s->hosts[i]->priority == p)
            i++;
        prio->all.count = (uint32_t)(s->hosts + i - prio->all.hosts);
        fill_group(&prio->healthy, prio, GROUP_HEALTHY);
        fill_group(&prio->degraded, prio, GROUP_DEGRADED);
    }
    share_load(s, overprovisioning_pct, lb->panic_pct);
    for (uint32_t p = 0; p < s->priority_count; p++) {
        struct host_priority *prio = &s->priorities[p];
        build_group(&prio->healthy, s, lb);
        build_group(&prio->degraded, s, lb);
        if (prio->panic)
            build_group(&prio->all, s, lb);
    }
    return s;
}

struct host_set *host_set_ref(struct host_set *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

static void group_fini(struct host_group *g, const struct host_set *s, const struct host_priority *p)
{
    if (g->schedule && s->policy->free)
        s->policy->free(g->schedule);
    if (g->hosts != p->all.hosts)
        mem_free(g->hosts);
}

void host_set_unref(struct host_set **set)
{
    struct host_set *s = *set;
    *set = NULL;
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t p = 0; p < s->priority_count; p++) {
        struct host_priority *prio = &s->priorities[p];
        group_fini(&prio->healthy, s, prio);
        group_fini(&prio->degraded, s, prio);
        group_fini(&prio->all, s, prio);
    }
    for (uint32_t i = 0; i < s->count; i++)
        host_unref(&s->hosts[i]);
    mem_free(s->hosts);
    mem_free(s->priorities);
    mem_free(s);
}
