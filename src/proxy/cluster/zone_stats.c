/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers counted by the zones between which they went: cluster.<name>.zone.<from>.<to>.upstream_rq_* (Envoy: cluster
 * statistics, "per service zone dynamic HTTP statistics"), where both this proxy's zone and the endpoint's are known.
 *
 * The main thread puts a zone's counters at the head of the cluster's list before a host of that zone is published, and
 * takes none away while the cluster lives: workers walk the list without a lock. There are as many as a mesh has zones.
 */
#include "base/mem.h"
#include "proxy/cluster/cluster_priv.h"

static const struct stat_desc rows[] = {ZONE_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

struct zone_stats {
    struct zone_stats *next;
    struct str to; /* owned */
    struct stat_scope *stats;
};

static struct str zone_of(const struct locality *l)
{
    return l ? l->zone : STR_NULL;
}

static struct zone_stats *find(const struct cluster *c, struct str to)
{
    struct zone_stats *z = atomic_load_explicit(&c->zones, memory_order_acquire);
    while (z && !str_eq(z->to, to))
        z = z->next;
    return z;
}

static void add(struct cluster *c, struct str from, struct str to)
{
    struct zone_stats *z = NEW(zone_stats);
    struct strbuf suffix = {0};
    strbuf_addz(&suffix, ".zone.");
    strbuf_adds(&suffix, from);
    strbuf_addc(&suffix, '.');
    strbuf_adds(&suffix, to);
    strbuf_addc(&suffix, '.');
    z->to = str_dup(to);
    z->stats = cluster_scope(c->spec, suffix.p, &table);
    z->next = atomic_load_explicit(&c->zones, memory_order_relaxed);
    atomic_store_explicit(&c->zones, z, memory_order_release);
    strbuf_fini(&suffix);
}

void cluster_zones_note(struct cluster *c, struct host *const *hosts, uint32_t count)
{
    struct str from = zone_of(clusters_here());
    for (uint32_t i = 0; from.n && i < count; i++) {
        struct str to = zone_of(hosts[i]->locality);
        if (to.n && !find(c, to))
            add(c, from, to);
    }
}

void cluster_zones_fini(struct cluster *c)
{
    struct zone_stats *z = atomic_load(&c->zones);
    atomic_store(&c->zones, NULL);
    while (z) {
        struct zone_stats *next = z->next;
        stat_scope_unref(&z->stats);
        str_free(&z->to);
        mem_free(z);
        z = next;
    }
}

struct stat_scope *cluster_zone_stats(const struct cluster *c, const struct host *h)
{
    if (__builtin_expect(!atomic_load_explicit(&c->zones, memory_order_relaxed), 1) || !h || !h->locality)
        return NULL;
    struct zone_stats *z = find(c, h->locality->zone);
    return z ? z->stats : NULL;
}
