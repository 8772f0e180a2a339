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

struct locality {
    struct str region, zone, sub_zone;
};

/* Health bits; a host is healthy when none is set. DEGRADED alone: used after healthy ones. */
enum host_health {
    HOST_FAILED_ACTIVE_HC = 1, HOST_FAILED_OUTLIER = 2, HOST_FAILED_EDS = 4, HOST_DEGRADED_ACTIVE_HC = 8,
    HOST_DEGRADED_EDS = 16, HOST_PENDING_REMOVAL = 32, HOST_EXCLUDED_IMMEDIATE_HC = 64, HOST_EDS_DRAINING = 128,
    HOST_PENDING_ACTIVE_HC = 256, /* not checked yet, and left out until then (ignore_new_hosts_until_first_hc) */
};
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
    const struct metadata *metadata;  /* the endpoint's, in its cluster's spec; NULL when none */
    struct outlier_host *outlier;     /* health/outlier.h; owned; NULL without outlier detection */
    struct health_host *check;        /* health/health_check.h; owned; NULL where the host isn't actively checked */
    _Atomic uint32_t stats[HOST_STAT_COUNT];
};
struct host *host_new(const struct addr *a, struct str hostname, uint32_t weight, uint32_t priority, const struct locality *l);
struct host *host_ref(struct host *h);
void host_unref(struct host **h);
static inline void host_stat_add(struct host *h, enum host_stat s, int n)
{
    atomic_fetch_add_explicit(&h->stats[s], (uint32_t)n, memory_order_relaxed);
}

/* Hosts among which a policy chooses, with what the policy prepared for them. */
struct host_group {
    struct host **hosts;         /* borrowed from the set */
    uint32_t count;
    struct lb_schedule *schedule;
};
struct host_priority {
    struct host_group healthy, degraded, all;
    uint32_t healthy_load, degraded_load; /* percent of traffic; all priorities' sum is 100 (or 0: none is available) */
    bool panic;                  /* too few are healthy: choose among all */
};
struct lb_policy;
struct host_set {
    _Atomic uint32_t refs;
    uint64_t generation;
    struct host **hosts;         /* all, by priority; each referenced */
    uint32_t count;
    struct host_priority *priorities;
    uint32_t priority_count;     /* >= 1 */
    const struct lb_policy *policy;
};
struct lb_policy_spec;
/* Takes the references in `hosts` (sorted by priority inside). overprovisioning_pct: 140 by default. */
struct host_set *host_set_new(struct host **take_hosts, uint32_t count, const struct lb_policy_spec *lb,
                              uint32_t overprovisioning_pct);
struct host_set *host_set_ref(struct host_set *s);
void host_set_unref(struct host_set **s);

#endif
