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

#include <stdatomic.h>
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

struct lb_schedule; /* a policy's shared, immutable part for one group of hosts */
struct lb_policy {
    const char *name;           /* Envoy's enum name: "ROUND_ROBIN" */
    /* Main thread. May return NULL for "nothing prepared". n >= 1. */
    struct lb_schedule *(*build)(const struct lb_policy_spec *spec, struct host *const *hosts, uint32_t n);
    void (*free)(struct lb_schedule *s);
    /* Any worker; n >= 1. `cursor` is shared by all workers. Index of the chosen host. */
    uint32_t (*pick)(const struct lb_policy_spec *spec, const struct lb_schedule *s, struct host *const *hosts,
                     uint32_t n, _Atomic uint64_t *cursor, struct lb_context *ctx);
};
extern const struct lb_policy lb_round_robin, lb_least_request, lb_random;
/* ORIGINAL_DST brings its own choice: the cluster makes the host; the policy is only a name. */
extern const struct lb_policy lb_cluster_provided;

/* ---- shared by the policies (lb/weights.c) ---- */
bool lb_weights_are_equal(struct host *const *hosts, uint32_t n);
/* Cumulative weights; [n-1] is the total. Heap. */
uint64_t *lb_weights_sum(struct host *const *hosts, uint32_t n);
/* build and free of policies that draw in proportion: the sums, or NULL where all weights are equal. */
struct lb_schedule *lb_draw_build(const struct lb_policy_spec *spec, struct host *const *hosts, uint32_t n);
void lb_draw_free(struct lb_schedule *s);
const uint64_t *lb_draw_sums(const struct lb_schedule *s);
/* Index of the host that owns `point` (< total). */
uint32_t lb_weights_find(const uint64_t *sums, uint32_t n, uint64_t point);

#endif
