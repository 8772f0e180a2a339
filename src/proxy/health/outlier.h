/* SPDX-License-Identifier: Apache-2.0
 *
 * Outlier detection: hosts that do badly with real traffic leave the balancing for a while (Envoy:
 * "Outlier detection", all of v3's OutlierDetection). Every worker counts into each host's
 * `outlier_host` with relaxed atomics, exact over all workers; the detector on the main thread
 * decides, publishes and lets hosts back in. A row of failures is told to it at once by mailbox, the
 * statistical rules run every interval.
 */
#ifndef PROXY_HEALTH_OUTLIER_H
#define PROXY_HEALTH_OUTLIER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct cluster;
struct host;
struct host_set;

/* Members of OutlierDetection that are numbers, with Envoy's defaults; runtime "outlier_detection.<name>" overrides each. */
#define OUTLIER_LIMITS(X)                                                                          \
    X(consecutive_5xx, 5)                                                                          \
    X(consecutive_gateway_failure, 5)                                                              \
    X(consecutive_local_origin_failure, 5)                                                         \
    X(enforcing_consecutive_5xx, 100)                                                              \
    X(enforcing_consecutive_gateway_failure, 0)                                                    \
    X(enforcing_consecutive_local_origin_failure, 100)                                             \
    X(enforcing_success_rate, 100)                                                                 \
    X(enforcing_local_origin_success_rate, 100)                                                    \
    X(enforcing_failure_percentage, 0)                                                             \
    X(enforcing_failure_percentage_local_origin, 0)                                                \
    X(success_rate_minimum_hosts, 5)                                                               \
    X(success_rate_request_volume, 100)                                                            \
    X(success_rate_stdev_factor, 1900)                                                             \
    X(failure_percentage_threshold, 85)                                                            \
    X(failure_percentage_minimum_hosts, 5)                                                         \
    X(failure_percentage_request_volume, 50)                                                       \
    X(max_ejection_percent, 10)
enum outlier_limit {
#define X(name, fallback) OUTLIER_##name,
    OUTLIER_LIMITS(X)
#undef X
    OUTLIER_LIMIT_COUNT
};

struct outlier_spec {
    uint32_t limits[OUTLIER_LIMIT_COUNT];
    uint64_t interval_ms;        /* 10 s */
    uint64_t base_ejection_ms;   /* 30 s */
    uint64_t max_ejection_ms;    /* 300 s, or the base where that is longer */
    uint64_t max_jitter_ms;
    bool split;                  /* split_external_local_origin_errors */
    bool uneject_on_check;       /* successful_active_health_check_uneject_host; true */
    bool always_one;             /* always_eject_one_host */
    struct str log_path;         /* "" none */
};

enum outlier_origin { OUTLIER_EXTERNAL, OUTLIER_LOCAL, OUTLIER_ORIGINS };
/* Why a host is ejected; the order is that of data.cluster.v3.OutlierEjectionType. */
enum outlier_kind {
    OUTLIER_KIND_5XX, OUTLIER_KIND_GATEWAY, OUTLIER_KIND_SUCCESS_RATE, OUTLIER_KIND_LOCAL, OUTLIER_KIND_SUCCESS_RATE_LOCAL,
    OUTLIER_KIND_FAILURES, OUTLIER_KIND_FAILURES_LOCAL, OUTLIER_KINDS
};

/* A host's part. The first group is counted by workers, the rest is the main thread's. */
struct outlier_host {
    _Atomic uint32_t row_5xx, row_gateway, row_local;
    _Atomic uint32_t total[OUTLIER_ORIGINS], good[OUTLIER_ORIGINS]; /* in this interval */

    double success_rate[OUTLIER_ORIGINS]; /* percent of the last interval; -1: too little to say */
    uint32_t ejections;          /* so far */
    uint32_t multiplier;         /* ejection time is that many times the base */
    uint64_t ejected_at_us, unejected_at_us, jitter_ms;
    enum outlier_kind kind;      /* of the last ejection */
};
/* NULL where the cluster has no detection. Freed by mem_free with its host. */
struct outlier_host *outlier_host_new(const struct outlier_spec *spec);

struct outlier_detector;
/* ---- main thread ---- */
struct outlier_detector *outlier_new(struct cluster *c, const struct outlier_spec *keep_spec);
void outlier_free(struct outlier_detector **d);
void outlier_start(struct outlier_detector *d);
void outlier_stop(struct outlier_detector *d); /* main thread: for good, while workers still report to it */
/* Hosts that are gone are no longer counted as ejected. */
void outlier_members_changed(struct outlier_detector *d, const struct host_set *old, const struct host_set *now);
/* A host passed its active health check: lets it back in where the configuration says so. */
void outlier_check_passed(struct outlier_detector *d, struct host *h);
/* For /clusters: the last mean and threshold of an origin's success rate; -1 where there was none. */
double outlier_average(const struct outlier_detector *d, enum outlier_origin o);
double outlier_threshold(const struct outlier_detector *d, enum outlier_origin o);

/* ---- any thread ---- */
/* A status that the host (or, without the split, our trouble with it) amounts to. */
void outlier_count_status(struct outlier_detector *d, struct host *h, unsigned status);
void outlier_count_local(struct outlier_detector *d, struct host *h, bool good);

/* Pure, for the rules and their test: mean - factor x standard deviation of n rates. */
double outlier_rate_threshold(const double *rates, uint32_t n, double factor, double *mean);

#endif
