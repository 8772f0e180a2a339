/* SPDX-License-Identifier: Apache-2.0
 *
 * Label sets of standard metrics. What varies between requests makes a key; its hash finds, in the
 * calling thread's table, where the request's metrics are counted. A set that is met for the first
 * time is described once (labels as text) and given its statistics scopes by the main thread; until
 * these are there its counts wait. Tables are shared by all configurations, so that a listener that
 * is replaced goes on counting where it was. Their number is bounded: what peers choose (a Host
 * header) must not fill the memory.
 */
#ifndef PROXY_FILTER_ISTIO_SERIES_H
#define PROXY_FILTER_ISTIO_SERIES_H

#include "proxy/stats/stats.h"

#define ISTIO_SERIES_MAX 20000     /* label sets of the process, and of one thread */
#define ISTIO_KEY_MAX 8192
#define ISTIO_METRICS_MAX 64       /* of a configuration: standard ones and its own */

/* Metrics: row, kind, name in configurations, unit. In the order of istio_metric. */
#define ISTIO_METRICS(X)                                                                           \
    X(ISTIO_REQUESTS, COUNTER, LAZY, "istio_requests_total", "Requests")                           \
    X(ISTIO_DURATION, HISTOGRAM, LAZY, "istio_request_duration_milliseconds", "Duration of requests") \
    X(ISTIO_REQUEST_BYTES, HISTOGRAM, LAZY, "istio_request_bytes", "Size of requests")             \
    X(ISTIO_RESPONSE_BYTES, HISTOGRAM, LAZY, "istio_response_bytes", "Size of responses")          \
    X(ISTIO_REQUEST_MESSAGES, COUNTER, LAZY, "istio_request_messages_total", "gRPC messages of requests") \
    X(ISTIO_RESPONSE_MESSAGES, COUNTER, LAZY, "istio_response_messages_total", "gRPC messages of responses") \
    X(ISTIO_TCP_OPENED, COUNTER, LAZY, "istio_tcp_connections_opened_total", "Connections opened") \
    X(ISTIO_TCP_CLOSED, COUNTER, LAZY, "istio_tcp_connections_closed_total", "Connections closed") \
    X(ISTIO_TCP_SENT, COUNTER, LAZY, "istio_tcp_sent_bytes_total", "Bytes sent to the client")     \
    X(ISTIO_TCP_RECEIVED, COUNTER, LAZY, "istio_tcp_received_bytes_total", "Bytes received from the client")
enum istio_metric { ISTIO_METRICS(STAT_ENUM_ROW) ISTIO_METRIC_COUNT };
extern const struct stat_table istio_metric_table;

struct istio_series_set;
struct istio_series;
struct istio_series_set *istio_series_ref(void);            /* main thread */
void istio_series_unref(struct istio_series_set **s);       /* main thread; no worker uses it any more */
void istio_series_link(struct istio_series_set *s);         /* main thread, when statistics stand; idempotent */
/* A number for what a configuration says of labels: equal texts, equal numbers. Main thread. */
uint32_t istio_series_rules_id(struct istio_series_set *s, struct str rules);
/* istio_build{component="proxy",tag=version}. Main thread, when statistics stand; idempotent. */
void istio_series_build(struct istio_series_set *s, struct str version);
/* A table with one row of a name, for metrics that a configuration defines; lives for good. Main thread. */
const struct stat_table *istio_series_own_table(struct str name, enum stat_kind kind);

/* ---- workers ---- */
struct istio_series *istio_series_find(struct istio_series_set *s, const void *key, size_t n); /* NULL: met for the first time */
/* … then: makes it, to be described by istio_series_describe for each of its metrics. NULL: there are too many (counted). */
struct istio_series *istio_series_add(struct istio_series_set *s, const void *key, size_t n);
/* Where metric number `metric` is counted: row `row` of `table`, with these labels (copied). Metrics of one table and equal
 * labels share. */
void istio_series_describe(struct istio_series *x, unsigned metric, const struct stat_table *table, uint32_t row,
                           const struct stat_tag *labels, uint32_t label_count);
void istio_series_ask(struct istio_series_set *s, struct istio_series *x); /* described whole: scopes are wanted */
void istio_series_count(struct istio_series *x, unsigned metric, uint64_t n);  /* nothing for a metric that was not described */
void istio_series_record(struct istio_series *x, unsigned metric, uint64_t value);
void istio_series_gauge(struct istio_series *x, unsigned metric, uint64_t value); /* gauge: this thread's share */

#endif
