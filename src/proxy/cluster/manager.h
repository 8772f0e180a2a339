/* SPDX-License-Identifier: Apache-2.0
 *
 * All clusters by name: static ones, and those that discovery adds, changes and removes (Envoy: "Cluster
 * manager"). A changed cluster warms beside the old one, which serves until then and finishes what it
 * has after it. Main thread.
 */
#ifndef PROXY_CLUSTER_MANAGER_H
#define PROXY_CLUSTER_MANAGER_H

#include "base/map.h"
#include "proxy/cluster/cluster.h"

struct config_frame;
struct cluster_manager;
struct cluster_manager *cluster_manager_new(struct config_frame *keep_frame);
void cluster_manager_free(struct cluster_manager **m); /* after the workers have ended */
/* Those that serve: name -> struct cluster. Borrowed; changes between turns. */
const struct map *cluster_manager_active(const struct cluster_manager *m);

/* A static cluster; those added later by discovery don't replace it. Takes the spec. */
int cluster_manager_add(struct cluster_manager *m, struct cluster_spec *take_spec, struct err *err);
/* Starts the static ones; `on_warm` once all of them that are to be waited for are warm. */
void cluster_manager_start(struct cluster_manager *m, void (*on_warm)(void *arg), void *arg);
/* How many of the static ones aren't yet. */
uint32_t cluster_manager_cold_count(const struct cluster_manager *m);

/* ---- discovery ---- */
struct str;
/* The same bytes as what serves or warms, or a static one's name: nothing to do. */
bool cluster_manager_is_settled(const struct cluster_manager *m, struct str name, struct str packed);
/* Takes the spec; `packed` is copied (for /config_dump). */
void cluster_manager_put(struct cluster_manager *m, struct cluster_spec *take_spec, struct str packed, struct str version);
void cluster_manager_remove(struct cluster_manager *m, struct str name);
/* Names of those that discovery brought. fn may remove them. */
void cluster_manager_each_dynamic(struct cluster_manager *m, void (*fn)(struct str name, void *arg), void *arg);
/* on_warm(arg) when nothing that discovery has brought so far is still warming; at once where nothing is. */
void cluster_manager_when_warm(struct cluster_manager *m, void (*on_warm)(void *arg), void *arg);

struct dynamic_cluster { struct str name, packed, version; uint64_t updated_wall_us; bool is_warming; };
void cluster_manager_each_dump(const struct cluster_manager *m, void (*fn)(const struct dynamic_cluster *d, void *arg), void *arg);

/* The frame for assignments. */
struct config_frame *clusters_frame(void);

#endif
