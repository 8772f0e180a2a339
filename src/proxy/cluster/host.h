/* SPDX-License-Identifier: Apache-2.0
 *
 * Endpoints. A host lives as long as anybody refers to it (atomic references: host sets, pools,
 * running requests). A host_set is one immutable state of a cluster's membership, published to
 * every worker.
 */
#ifndef PROXY_CLUSTER_HOST_H
#define PROXY_CLUSTER_HOST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "io/addr.h"
#include "proxy/metadata.h"

struct stat_scope;
struct locality {
    struct str region, zone, sub_zone;
};

/* Health bits; a host is healthy when none is set. DEGRADED alone: used after healthy ones. */
enum host_health {
    HOST_FAILED_ACTIVE_HC = 1, HOST_FAILED_OUTLIER = 2, HOST_FAILED_EDS = 4, HOST_DEGRADED_ACTIVE_HC = 8,
    HOST_DEGRADED_EDS = 16, HOST_PENDING_REMOVAL = 32, HOST_EXCLUDED_IMMEDIATE_HC = 64, HOST_EDS_DRAINING = 128,
    HOST_ACTIVE_HC_TIMEOUT = 512, /* the last active check of a failed host got no answer in time: for people */
    HOST_PENDING_ACTIVE_HC = 256, /* not checked yet, and left out until then (ignore_new_hosts_until_first_hc) */
};
/* Neither counted among a priority's hosts nor used (unless all are). */
#define HOST_EXCLUDED (HOST_EXCLUDED_IMMEDIATE_HC | HOST_PENDING_ACTIVE_HC)
#define HOST_UNHEALTHY (HOST_FAILED_ACTIVE_HC | HOST_FAILED_OUTLIER | HOST_FAILED_EDS)

/* What /clusters shows of every host: cx_active, cx_connect_fail, cx_total, rq_active, rq_error, rq_pending_active, rq_success, rq_timeout, rq_total.
 * Shared between workers, relaxed atomics (two per request; a cache line of their own). */
#define HOST_STATS(X) X(CX_ACTIVE, "cx_active") X(CX_CONNECT_FAIL, "cx_connect_fail") X(CX_TOTAL, "cx_total") \
    X(RQ_ACTIVE, "rq_active") X(RQ_ERROR, "rq_error") X(RQ_PENDING_ACTIVE, "rq_pending_active") \
    X(RQ_SUCCESS, "rq_success") X(RQ_TIMEOUT, "rq_timeout") X(RQ_TOTAL, "rq_total")
enum host_stat {
#define X(id, name) HOST_##id,
    HOST_STATS(X)
#undef X
    HOST_STAT_COUNT
};

struct outlier_host;
struct health_host;
struct host {
    _Atomic uint32_t refs;
    _Atomic uint32_t health;          /* enum host_health bits */
    uint32_t weight;                  /* 1.. */
    uint32_t priority;
    struct addr addr;
    struct str hostname;              /* from DNS name or endpoint.hostname; owned; null str when none */
    const struct locality *locality;  /* interned, owned by the cluster manager */
    struct addr *extra_addrs;         /* additional_addresses (happy eyeballs); owned */
    uint32_t extra_addr_count;
    const struct metadata *metadata;  /* the endpoint's, in its cluster's spec or pooled; NULL when none */
    bool has_pooled_metadata;
    const struct transport_socket_spec *transport; /* its cluster's choice, in its cluster's spec */
    uint32_t locality_weight;         /* its locality's, for locality-weighted balancing; 0: none */
    bool is_canary;                   /* metadata envoy.lb/canary */
    struct outlier_host *outlier;     /* health/outlier.h; owned; NULL without outlier detection */
    struct health_host *check;        /* health/health_check.h; owned; NULL where the host isn't actively checked */
    _Atomic uint32_t stats[HOST_STAT_COUNT];
    _Atomic uint32_t timed;           /* requests whose time is in time_us; of load reports, 0 where there are none */
    _Atomic uint64_t time_us;
    _Atomic uint32_t failing;         /* decaying share of attempts that failed; HOST_FAILING_ONE is all of them */
    _Atomic uint64_t healthy_since_ms; /* slow start counts from here; 0: not known */
    /* client_side_weighted_round_robin: the weight of the last load report (0 none), when the first and the last came, and
     * the weight that the main thread settled on. */
    _Atomic uint32_t reported_weight, settled_weight;
    _Atomic uint64_t reported_since_ms, reported_at_ms;
};
#define HOST_FAILING_ONE 65536u
/* One attempt's ending. Workers may race: a lost step of a decaying mean does no harm. */
static inline void host_note_attempt(struct host *h, bool failed)
{
    uint32_t was = atomic_load_explicit(&h->failing, memory_order_relaxed);
    if (!failed && was == 0)
        return;
    uint32_t now = failed ? was + (HOST_FAILING_ONE - was) / 16 : was - (was + 15) / 16;
    atomic_store_explicit(&h->failing, now, memory_order_relaxed);
}
struct host *host_new(const struct addr *a, struct str hostname, uint32_t weight, uint32_t priority, const struct locality *l);
struct host *host_ref(struct host *h);
void host_unref(struct host **h);
static inline void host_stat_add(struct host *h, enum host_stat s, int n)
{
    atomic_fetch_add_explicit(&h->stats[s], (uint32_t)n, memory_order_relaxed);
}

/* Times are added up only where somebody reports them: two more writes to a line that workers share. Set before or while they run. */
extern _Atomic bool host_keeps_times;
static inline void host_note_time(struct host *h, uint64_t us)
{
    if (!atomic_load_explicit(&host_keeps_times, memory_order_relaxed))
        return;
    atomic_fetch_add_explicit(&h->time_us, us, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->timed, 1, memory_order_relaxed);
}

enum host_class { HOST_IS_HEALTHY, HOST_IS_DEGRADED, HOST_IS_OUT };
enum host_class host_class(const struct host *h);

/* Hosts among which a policy chooses, with what the policy prepared for them. */
struct host_group {
    struct host **hosts;         /* borrowed from the set */
    uint32_t count;
    struct lb_schedule *schedule;
    double *shares;              /* of policies by hash: each host's part of the whole; owned */
    _Atomic uint64_t *cursor;    /* turns taken, all workers; a cache line of its own in the set */
    uint64_t slow_until_ms;      /* some host may be in slow start until then; 0 none */
};
/* One locality of a priority. Localities stand in order: this proxy's own first, then by name. */
struct host_locality {
    const struct locality *name; /* NULL: hosts without one */
    struct host_group healthy, degraded;
    uint32_t total, excluded, weight;
};
enum zone_routing { ZONE_ROUTING_NONE, ZONE_ROUTING_DIRECT, ZONE_ROUTING_RESIDUAL };
struct host_priority {
    struct host_group healthy, degraded, all;
    uint32_t excluded;
    uint32_t healthy_pct, degraded_pct;   /* availability, overprovisioned, at most 100 */
    uint32_t healthy_load, degraded_load; /* percent of traffic; all priorities' sum is 100 */
    bool panic;                  /* too few are healthy: choose among all */

    struct host_locality *localities; /* only where the policy looks at them */
    uint32_t locality_count;
    bool has_locality_weights;   /* some locality was given one */
    bool has_own_locality;       /* localities[0] is this proxy's */
    /* Running sums of effective weights over localities; NULL without locality weights. */
    uint64_t *healthy_turns, *degraded_turns;
    _Atomic uint64_t *locality_cursor;
    enum zone_routing zone;
    uint64_t zone_local_permyriad; /* RESIDUAL: how much stays in this locality */
    uint64_t *zone_residual;     /* running sums of what other localities have to spare */
    bool local_panic;            /* the local cluster is in panic */
};
struct lb_policy_spec;
struct host_set {
    _Atomic uint32_t refs;
    uint64_t generation;
    uint32_t drop_per_million;   /* of requests (drop_overloads) */
    struct host **hosts;         /* all, by priority; each referenced */
    uint32_t count;
    struct host_priority *priorities;
    uint32_t priority_count;     /* >= 1 */
    const struct lb_policy_spec *lb; /* kept: lives as long as the cluster */
    void *whole;                 /* a set policy's own part */
    void *cursors;
};
struct host_set_opts {
    uint32_t overprovisioning_pct;       /* 140 */
    bool weighted_priority_health;
    bool no_locality_weights, scale_locality_weight; /* sets inside a subset policy */
    const struct locality *here;         /* this proxy's; NULL unknown */
    const struct host_set *local;        /* members of the local cluster, during the call only; NULL none */
    const struct host_set *whole_of;     /* the set that a subset is part of, during the call; NULL */
    uint64_t seed;                       /* where cursors start */
    struct stat_scope *stats;            /* the cluster's; NULL */
};
/* Takes the references in `hosts` (sorted inside by priority, order kept within). */
struct host_set *host_set_new(struct host **take_hosts, uint32_t count, const struct lb_policy_spec *lb,
                              const struct host_set_opts *opts);
struct host_set *host_set_ref(struct host_set *s);
void host_set_unref(struct host_set **s);
bool locality_eq(const struct locality *a, const struct locality *b);
int locality_cmp(const struct locality *a, const struct locality *b); /* region, zone, sub-zone */

/* ---- parts of host_set_new: priorities.c, localities.c ---- */
/* Gives out 100 % over priorities whose bit in `skip` is 0: the healthy first, then the degraded. False: nobody is available. */
bool priorities_share(const struct host_set *s, uint64_t skip, uint32_t *healthy_load, uint32_t *degraded_load);
void priorities_settle(struct host_set *s, const struct host_set_opts *opts, uint32_t panic_pct);
/* Shares and panic alone: each priority's availability stands already. */
void priorities_balance(struct host_set *s, uint32_t panic_pct);
/* Sorts hosts of one priority by locality and cuts them up. */
void localities_settle(struct host_priority *p, const struct host_set_opts *opts);
void localities_weigh(struct host_priority *p, const struct host_set_opts *opts);
void localities_route(struct host_set *s, const struct host_set_opts *opts);
void localities_fini(struct host_priority *p);

#endif
