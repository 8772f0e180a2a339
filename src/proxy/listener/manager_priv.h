/* SPDX-License-Identifier: Apache-2.0
 *
 * What manager.c and manager_orders.c share.
 */
#ifndef PROXY_LISTENER_MANAGER_PRIV_H
#define PROXY_LISTENER_MANAGER_PRIV_H

#include "proxy/listener/listener_priv.h"

#define MANAGER_STATS(X)                                                                           \
    X(LM_ADDED, COUNTER, NONE, "listener_added", "Listeners added")                                \
    X(LM_CREATE_FAILURE, COUNTER, NONE, "listener_create_failure",                                 \
      "Listeners that could not be opened, or that a worker could not start")                      \
    X(LM_CREATE_SUCCESS, COUNTER, NONE, "listener_create_success",                                 \
      "Listeners started, a count for each worker")                                                \
    X(LM_IN_PLACE_UPDATED, COUNTER, NONE, "listener_in_place_updated",                             \
      "Updates in which only filter chains differ")                                                \
    X(LM_MODIFIED, COUNTER, NONE, "listener_modified", "Listeners updated")                        \
    X(LM_REMOVED, COUNTER, NONE, "listener_removed", "Listeners removed")                          \
    X(LM_STOPPED, COUNTER, NONE, "listener_stopped", "Listeners stopped")                          \
    X(LM_CHAINS_DRAINING, GAUGE, NONE, "total_filter_chains_draining",                             \
      "Filter chains that updates in place took away")                                             \
    X(LM_ACTIVE, GAUGE, NONE, "total_listeners_active", "Listeners running")                       \
    X(LM_DRAINING, GAUGE, NONE, "total_listeners_draining", "Listeners draining")                  \
    X(LM_WARMING, GAUGE, NONE, "total_listeners_warming", "Listeners waiting for what they need")  \
    X(LM_WORKERS_PINNED, GAUGE, NONE, "workers_pinned", "")                                        \
    X(LM_WORKERS_STARTED, GAUGE, NONE, "workers_started", "1 once the workers run")
enum manager_stat { MANAGER_STATS(STAT_ENUM_ROW) };

struct listener_manager {
    struct server *server;
    struct list listeners; /* serving */
    struct list leaving;   /* followed or removed, until their last connection has gone */
    struct list entries;   /* names */
    struct list faults;
    struct map *by_name;
    struct listen_groups *groups;
    struct warmth *init;   /* what the start waits for; borrowed */
    struct stat_scope *stats;
    uint32_t ordered_to_drain;
    bool is_started, stopped_all, stopped_inbound;
};
void listener_manager_publish(struct listener_manager *m); /* gauges */

#endif
