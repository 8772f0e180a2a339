/* SPDX-License-Identifier: Apache-2.0
 *
 * Clusters of discovery for /config_dump, as they came. Bytes are borrowed from the cluster manager.
 * Main thread.
 */
#include "proxy/config/dump_clusters.h"

#include <stdlib.h>

#include "proxy/cluster/manager.h"
#include "proxy/config/dump_parts.h"

struct collecting {
    struct proto_arena *arena;
    struct dumped_cluster *items;
    size_t count, cap;
};

static void count(const struct dynamic_cluster *d, void *arg)
{
    (void)d;
    ++*(size_t *)arg;
}

static void add(const struct dynamic_cluster *d, void *arg)
{
    struct collecting *c = arg;
    Envoy__Admin__V3__ClustersConfigDump__DynamicCluster *item =
        PROTO_NEW(c->arena, Envoy__Admin__V3__ClustersConfigDump__DynamicCluster,
                  envoy__admin__v3__clusters_config_dump__dynamic_cluster__descriptor);
    if (!item || c->count == c->cap)
        return;
    item->cluster = dump_any(c->arena, RESOURCE_CLUSTER, d->packed);
    item->version_info = proto_arena_strdup(c->arena, d->version);
    item->last_updated = dump_timestamp(c->arena, d->updated_wall_us);
    c->items[c->count++] = (struct dumped_cluster){d->name, item, d->is_warming};
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct dumped_cluster *)a)->name, ((const struct dumped_cluster *)b)->name);
}

size_t dump_dynamic_clusters(struct proto_arena *a, const struct server *s, struct dumped_cluster **items)
{
    struct collecting c = {.arena = a};
    *items = NULL;
    if (!s->cluster_manager)
        return 0;
    cluster_manager_each_dump(s->cluster_manager, count, &c.cap);
    c.items = proto_arena_alloc(a, (c.cap + 1) * sizeof *c.items);
    if (!c.items)
        return 0;
    cluster_manager_each_dump(s->cluster_manager, add, &c);
    qsort(c.items, c.count, sizeof *c.items, by_name);
    *items = c.items;
    return c.count;
}
