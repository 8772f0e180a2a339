/* SPDX-License-Identifier: Apache-2.0
 *
 * Clusters of discovery for /config_dump, as they came. Bytes are borrowed from the cluster manager.
 * Main thread.
 */
#include "proxy/config/dump_clusters.h"

#include <stdlib.h>

#include "proto/fields.h"
#include "proxy/cluster/manager.h"

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

static Google__Protobuf__Timestamp *timestamp(struct proto_arena *a, uint64_t wall_us)
{
    Google__Protobuf__Timestamp *t = PROTO_NEW(a, Google__Protobuf__Timestamp, google__protobuf__timestamp__descriptor);
    if (t) {
        t->seconds = (int64_t)(wall_us / 1000000);
        t->nanos = (int32_t)(wall_us / 1000 % 1000) * 1000000; /* milliseconds, as Envoy shows */
    }
    return t;
}

static void add(const struct dynamic_cluster *d, void *arg)
{
    static char type[] = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    struct collecting *c = arg;
    Google__Protobuf__Any *any = PROTO_NEW(c->arena, Google__Protobuf__Any, google__protobuf__any__descriptor);
    Envoy__Admin__V3__ClustersConfigDump__DynamicCluster *item =
        PROTO_NEW(c->arena, Envoy__Admin__V3__ClustersConfigDump__DynamicCluster,
                  envoy__admin__v3__clusters_config_dump__dynamic_cluster__descriptor);
    if (!any || !item || c->count == c->cap)
        return;
    any->type_url = type;
    any->value = (ProtobufCBinaryData){.len = d->packed.n, .data = (uint8_t *)(uintptr_t)d->packed.p};
    item->cluster = any;
    item->version_info = proto_arena_strdup(c->arena, d->version);
    item->last_updated = timestamp(c->arena, d->updated_wall_us);
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
