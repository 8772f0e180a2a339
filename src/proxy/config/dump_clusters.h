/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to this folder: clusters of discovery for /config_dump.
 */
#ifndef PROXY_CONFIG_DUMP_CLUSTERS_H
#define PROXY_CONFIG_DUMP_CLUSTERS_H

#include "envoy/admin/v3/config_dump_shared.pb-c.h"
#include "proto/arena.h"
#include "proxy/server.h"

struct dumped_cluster { struct str name; Envoy__Admin__V3__ClustersConfigDump__DynamicCluster *item; bool is_warming; };
/* Sorted by name, in the arena; what they point to holds until the clusters change. */
size_t dump_dynamic_clusters(struct proto_arena *a, const struct server *s, struct dumped_cluster **items);

#endif
