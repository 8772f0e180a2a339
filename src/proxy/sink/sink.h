/* SPDX-License-Identifier: Apache-2.0
 *
 * Statistics sinks: receivers that are told at every flush what all statistics are and what is new.
 * One file each. Main thread; sending must not block it: what a receiver doesn't take is dropped and
 * counted.
 */
#ifndef PROXY_SINK_SINK_H
#define PROXY_SINK_SINK_H

#include "base/arena.h"
#include "io/addr.h"
#include "proxy/stats/registry.h"

struct server;
struct stats_sink;
struct stats_sink_def {
    const char *name;            /* "envoy.stat_sinks.statsd" */
    int (*start)(struct stats_sink *s, struct server *server, struct err *err);
    void (*sample)(struct stats_sink *s, const struct stat_sample *sample); /* every statistic of a flush */
    void (*flushed)(struct stats_sink *s);                                  /* and that was the last one */
    void (*stop)(struct stats_sink *s);
    /* After the last flush: ends what goes on; true while something is on its way, then asked again. NULL: nothing is. */
    bool (*leave)(struct stats_sink *s);
};
struct cluster;
struct grpc_service;
enum statsd_dialect { STATSD_PLAIN, STATSD_DOG, STATSD_GRAPHITE };
struct stats_sink_spec {         /* by proxy/config; lives as long as the server */
    const struct stats_sink_def *def;
    struct str prefix;           /* statsd family: "envoy"; open_telemetry: "" */
    enum statsd_dialect dialect;
    bool has_addr; struct addr addr;        /* UDP; or … */
    struct str cluster_name; struct cluster_slot *cluster; /* … a TCP cluster */
    uint64_t max_datagram_bytes; /* several lines in one datagram; 0: one a line */
    uint32_t buckets;            /* hystrix: rolling window; 10 */
    struct grpc_service *grpc;   /* metrics_service, open_telemetry */
    struct str node;             /* packed core.v3.Node; metrics_service */
    uint32_t batch_size;         /* families a message; 0: as they come */
    bool counters_as_deltas, tags_as_labels, histograms_whole, histograms_summary; /* metrics_service */
    bool otel_counters_as_deltas, otel_histograms_as_deltas, otel_tags_as_attributes, otel_full_name;
    struct metric_attribute { struct str key, value; } *resource; uint32_t resource_count; /* open_telemetry */
};
struct stats_sink {
    const struct stats_sink_spec *spec;
    struct server *server;
    void *state;
};

/* ---- main thread ---- */
struct stats_sinks;
struct stats_sinks *stats_sinks_new(struct server *s, const struct stats_sink_spec *keep_specs, uint32_t n, uint64_t flush_ms);
void stats_sinks_start(struct stats_sinks *all);
void stats_sinks_flush(struct stats_sinks *all);
/* The last flush, when the workers have ended: what happened since the one before. Waits a second at most. */
void stats_sinks_leave(struct stats_sinks *all);
void stats_sinks_free(struct stats_sinks **all);
struct stats_sink *stats_sinks_find(struct stats_sinks *all, const struct stats_sink_def *def); /* NULL: isn't configured */

extern const struct stats_sink_def statsd_sink, hystrix_sink, metrics_service_sink, open_telemetry_sink;

#endif
