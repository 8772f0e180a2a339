/* SPDX-License-Identifier: Apache-2.0
 *
 * Balancers: one policy a file. Pure: a host set and a context in, a host out. A policy has shared
 * state built on the main thread with each host set (immutable schedules, tables), shared between
 * workers, and per-worker state for what moves. Cursor state that must be even over many workers
 * (round robin) is one relaxed atomic per cluster, so that equal weights share evenly whatever
 * worker a request lands on.
 */
#ifndef PROXY_LB_LB_H
#define PROXY_LB_LB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rng.h"
#include "http/codec/headers.h"
#include "proxy/cluster/host.h"

struct lb_context {          /* what a pick may look at; any pointer may be NULL */
    const struct headers *request;
    const struct addr *downstream_remote, *downstream_local;
    bool has_hash;
    uint64_t hash;
    bool (*skip)(void *arg, const struct host *h); /* retry host predicates */
    void *skip_arg;
    uint32_t skip_max_attempts;
    struct rng *rng;
};

struct lb_policy_spec {
    const struct lb_policy *policy;
    uint32_t choice_count;       /* LEAST_REQUEST; 2 */
    double active_request_bias;  /* LEAST_REQUEST; 1.0 */
    uint64_t min_ring, max_ring, table_size; /* RING_HASH, MAGLEV (TRAFFIC) */
    uint32_t panic_pct;          /* healthy_panic_threshold; 50 */
};

struct lb_schedule; /* a policy's shared, immutable part for one host set */
struct lb_policy {
    const char *name;
    /* Main thread. May return NULL for "nothing prepared". */
    struct lb_schedule *(*build)(const struct lb_policy_spec *spec, const struct host_set *hosts);
    void (*free)(struct lb_schedule *s);
    /* Any worker. `cursor` is the cluster's shared relaxed atomic. NULL: no host may be used. */
    struct host *(*pick)(const struct lb_policy_spec *spec, const struct lb_schedule *s, const struct host_set *hosts,
                         uint64_t *cursor, struct lb_context *ctx);
};
extern const struct lb_policy lb_round_robin, lb_least_request, lb_random, lb_cluster_provided;

/* Hosts of the priority and locality to pick from are already narrowed by host_set_healthy_view (panic, degraded). */

#endif
