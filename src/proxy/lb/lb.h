/* SPDX-License-Identifier: Apache-2.0
 *
 * Balancers: one policy a file. Pure: a host set and a context in, a host out. There are two sorts.
 * A policy of groups (ROUND_ROBIN, RING_HASH …) picks among the hosts that priorities, health and
 * localities left to it; it may prepare an immutable schedule for each group, on the main thread.
 * A policy of sets (subset, override_host …) chooses over the whole membership and holds sets of its
 * own with a policy below it: so policies compose. Cursors that must be even over many workers are
 * one relaxed atomic per group, so that equal weights share evenly whatever worker a request lands on.
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

struct stat_scope;
struct hash_policy; /* proxy/route/route.h */
struct cluster_worker;
struct lb_context {          /* what a pick may look at; any pointer but rng may be NULL */
    const struct headers *request;
    const struct addr *downstream_remote, *downstream_local;
    bool local_is_restored;  /* downstream_local is where the client meant to go (original_dst, PROXY protocol) */
    bool has_hash;
    uint64_t hash;
    const struct metadata *metadata_match; /* subset criteria: namespace envoy.lb, merged by the router */
    const struct metadata *dynamic;        /* the request's dynamic metadata */
    struct str override_host;              /* addresses wanted first, comma separated (stateful session); "" none */
    bool override_host_strict;             /* nobody else will do */
    uint64_t skip_priorities;              /* bit n: priority n was tried already (previous_priorities) */
    bool (*skip)(void *arg, const struct host *h); /* retry host predicates */
    void *skip_arg;
    uint32_t skip_max_attempts;
    /* Dynamic forward proxies: whom to go to, where it isn't the request's authority ("" it is); and the port for names
     * without one (0: the scheme's). */
    struct str dynamic_host;
    uint16_t dynamic_port;
    struct rng *rng;
    /* Set by an aggregate cluster for the one that it chose: this priority alone, its healthy or its degraded hosts. */
    bool one_priority, one_degraded;
    uint32_t only_priority;
    /* Set by cluster_pick. */
    struct cluster_worker *owner;          /* whose host it is: not the cluster's that was asked where that one is an aggregate */
    uint32_t priority;                     /* the host's, among all of the cluster's that was asked */
    uint64_t now_ms;
    struct stat_scope *stats;              /* the cluster's */
    uint32_t attempt;                      /* of this choice: skipped hosts so far */
    uint32_t cluster_active;               /* requests running in the whole cluster: bounded load */
};

enum lb_locality_mode { LB_LOCALITY_NONE, LB_ZONE_AWARE, LB_LOCALITY_WEIGHTED };
struct lb_policy_spec {
    const struct lb_policy *policy;
    const struct lb_policy_spec *child;    /* of policies that stand over another */
    uint32_t panic_pct;                    /* healthy_panic_threshold; 50 */

    uint32_t choice_count;                 /* LEAST_REQUEST; 2 */
    double active_request_bias;            /* LEAST_REQUEST; 1.0 */
    bool full_scan;                        /* LEAST_REQUEST */

    uint64_t min_ring, max_ring;           /* RING_HASH; 1024, 8388608 */
    uint64_t table_size;                   /* MAGLEV; 65537, a prime */
    bool murmur2, use_hostname;            /* hash policies */
    uint32_t balance_pct;                  /* hash policies: bounded load; 0 none */
    const struct hash_policy *hashes; uint32_t hash_count; /* instead of the route's */

    enum lb_locality_mode locality;
    uint32_t zone_routing_pct, zone_min_size; /* 100, 6 */
    bool fail_on_panic, zone_force_direct, zone_by_weight;
    uint32_t zone_force_min;               /* zone_force_direct: if the own locality has as many healthy hosts; 1 */

    uint64_t slow_start_ms;                /* 0 none */
    double slow_start_aggression, slow_start_min_pct; /* 1.0, 10 */

    const struct lb_subset_spec *subset;
    const struct lb_override_spec *override;
    const struct lb_orca_spec *orca;

    /* CommonLbConfig's rest: the cluster's, whatever the policy. */
    uint32_t override_statuses;            /* enum lb_status bits that a stateful session's host may have; all but UNHEALTHY */
    bool close_on_set_change, ignore_new_until_checked;
};
enum lb_status { LB_STATUS_HEALTHY = 1, LB_STATUS_UNHEALTHY = 2, LB_STATUS_DEGRADED = 4 };

struct lb_schedule; /* a policy's shared, immutable part for one group of hosts */
struct lb_policy {
    const char *name;           /* Envoy's enum name: "ROUND_ROBIN" */
    bool by_hash;               /* the request's hash chooses priority and host; wants shares */
    /* Main thread. May return NULL for "nothing prepared". g->count >= 1; g->shares is set for policies by hash (a share of
     * 0 is never taken). */
    struct lb_schedule *(*build)(const struct lb_policy_spec *spec, const struct host_group *g);
    void (*free)(struct lb_schedule *s);
    /* Main thread: gauges of what was built. May be NULL. */
    void (*show)(const struct lb_schedule *s, const struct host_group *g, struct stat_scope *stats);
    /* Any worker; g->count >= 1. Index of the chosen host. */
    uint32_t (*pick)(const struct lb_policy_spec *spec, const struct host_group *g, struct lb_context *ctx);

    /* Policies of sets have these instead. build_whole on the main thread; choose on any. */
    void *(*build_whole)(const struct host_set *set, const struct host_set_opts *opts);
    void (*free_whole)(void *whole);
    struct host *(*choose)(const struct host_set *set, struct lb_context *ctx);
};
extern const struct lb_policy lb_round_robin, lb_least_request, lb_random, lb_ring_hash, lb_maglev;
extern const struct lb_policy lb_subset, lb_override_host, lb_client_side_weighted;
/* ORIGINAL_DST and such bring their own choice: the cluster makes the host; the policy is only a name. */
extern const struct lb_policy lb_cluster_provided;

/* ---- choosing (lb/choose.c) ---- */
/* The host for a request, borrowed from the set; NULL: none. */
struct host *host_set_choose(const struct host_set *s, struct lb_context *ctx);
/* The priority that `at` (0 … 99) falls on by the shares, but for those to be skipped. */
uint32_t host_set_priority_at(const struct host_set *s, const struct lb_context *ctx, uint32_t at, bool *degraded);
/* Whether a host that was drawn takes its turn: one in slow start or that fails lately takes only part of its turns. */
bool lb_takes_turn(const struct lb_policy_spec *spec, const struct host_group *g, const struct host *h, struct lb_context *ctx);
/* The part of its weight that a host in slow start has at `now_ms` (0 … 1). */
double lb_slow_start_factor(const struct lb_policy_spec *spec, const struct host *h, uint64_t now_ms);

/* ---- shared by the policies ---- */
/* weights.c */
bool lb_weights_are_equal(const struct host_group *g);
uint64_t *lb_weights_sum(const struct host_group *g); /* cumulative; [n-1] is the total. Heap. */
/* build and free of policies that draw in proportion: the sums, or NULL where all weights are equal. */
struct lb_schedule *lb_draw_build(const struct lb_policy_spec *spec, const struct host_group *g);
void lb_draw_free(struct lb_schedule *s);
const uint64_t *lb_draw_sums(const struct lb_schedule *s);
/* Index of the host that owns `point` (< total). */
uint32_t lb_weights_find(const uint64_t *sums, uint32_t n, uint64_t point);
/* Index of the `at`th turn over summed weights, evenly spread without any state. */
uint32_t lb_weights_turn(const uint64_t *sums, uint32_t n, uint64_t at);

/* How many entries of a table hosts have, at least and at most; those without any don't count. */
struct lb_spread { uint64_t least, most; };
struct lb_spread lb_spread_of(const uint64_t *counts, uint32_t n);

/* hash.c: what a host is hashed by (metadata envoy.lb/hash_key, its name, its address); `text` is scratch. */
struct str lb_hash_key(const struct host *h, bool use_hostname, char text[ADDR_TEXT_BYTES]);
uint64_t lb_murmur2(struct str s, uint64_t seed);
/* Bounded load: `first` unless it runs more than its share; then another, in an order that the hash seeds. */
uint32_t lb_bounded(const struct lb_policy_spec *spec, const struct host_group *g, uint32_t first, uint64_t hash,
                    uint32_t cluster_active);

/* ---- subset ---- */
enum lb_subset_fallback { SUBSET_NO_FALLBACK, SUBSET_ANY, SUBSET_DEFAULT, SUBSET_KEYS, SUBSET_UNDEFINED };
struct lb_subset_selector {
    struct str *keys; uint32_t key_count;          /* sorted */
    bool single_host;
    enum lb_subset_fallback fallback;
    struct str *fallback_keys; uint32_t fallback_key_count; /* sorted */
};
struct lb_subset_spec {
    enum lb_subset_fallback fallback;
    struct meta_value default_subset;              /* META_STRUCT */
    struct lb_subset_selector *selectors; uint32_t selector_count;
    bool locality_weight_aware, scale_locality_weight, panic_mode_any, list_as_any, allow_redundant_keys, fallback_list;
};
struct lb_subset_counts { uint32_t active, created, removed, duplicates; };
/* What changed between two states of a membership; either may be NULL or without subsets. Main thread. */
struct lb_subset_counts lb_subset_compare(const struct host_set *before, const struct host_set *now);

/* ---- override_host ---- */
struct lb_override_spec {
    struct lb_override_source {
        struct str header;                         /* lower case; "" none */
        struct str space, *path; uint32_t path_count; /* of dynamic metadata; none when path_count is 0 */
    } *sources;
    uint32_t source_count;
};
/* The first host of a comma separated list of addresses that is in the set and has one of the statuses; NULL. */
struct host *lb_host_by_address(const struct host_set *s, struct str addresses, uint32_t statuses);

/* ---- client_side_weighted_round_robin ---- */
struct lb_orca_spec {
    uint64_t blackout_ms, expiration_ms, update_ms; /* 10 s, 180 s, 1 s */
    double error_penalty;                          /* 1.0 */
    struct str *metrics; uint32_t metric_count;    /* "named_metrics.foo", "cpu_utilization" … */
};
/* Any worker: takes a load report from an answer's headers or trailers into the host. Cheap where there is none. */
void lb_load_report(const struct lb_policy_spec *spec, struct host *h, const struct headers *headers, uint64_t now_ms);
/* Main thread: weighs hosts by what they reported. True: something changed, a new set is due. */
bool lb_settle_weights(const struct lb_policy_spec *spec, const struct host_set *s, uint64_t now_ms);

#endif
