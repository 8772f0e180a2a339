/* SPDX-License-Identifier: Apache-2.0
 *
 * Encoded spans on their way to a collector: gathered on each thread, sent in batches over HTTP or gRPC. Bounded: while the
 * collector doesn't take them, spans_max are kept, further ones are dropped and counted; nobody waits.
 */
#ifndef PROXY_TRACE_SPAN_BATCH_H
#define PROXY_TRACE_SPAN_BATCH_H

#include "proxy/service/grpc_call.h"
#include "proxy/stats/stats.h"

/* What is counted, by what the provider calls it; NULL rows aren't counted. */
enum span_batch_count { SPANS_SENT, SPANS_DROPPED, SPANS_TIMER_FLUSHED, SPANS_REPORTS_SENT, SPANS_REPORTS_DROPPED,
                        SPANS_REPORTS_FAILED, SPANS_REPORTS_SKIPPED };

struct span_batch_opts {
    const struct stat_table *stats; const uint8_t *rows; /* enum span_batch_count -> row of the table + 1; 0 none */
    struct str stat_prefix;          /* static, with the last '.' */
    struct str flush_key, spans_key; /* runtime: flush_interval_ms (5000), min_flush_spans (5); static */
    struct str timeout_key;          /* runtime, over timeout_ms; "" none */
    uint32_t spans_max;              /* kept on a thread */
    /* By HTTP … */
    struct cluster *cluster;         /* resolved later, where it stands: span_batch_cluster() */
    struct str path, authority, content_type, user_agent; /* in memory that outlives the batch */
    struct header_rules *more;       /* request_headers_to_add; NULL */
    uint64_t timeout_ms;
    unsigned accepted_status;        /* 0: any answer counts as taken */
    /* … or by gRPC */
    bool is_grpc;
    struct grpc_service service;
    struct str method;
    void (*wrap)(void *owner, struct str entries, struct strbuf *out);
};
struct span_batch;
struct span_batch *span_batch_new(const struct span_batch_opts *o, void *owner); /* main thread */
struct cluster **span_batch_cluster(struct span_batch *b);          /* for the configuration's reader */
struct grpc_service *span_batch_service(struct span_batch *b);
void span_batch_free(struct span_batch **b);                        /* main thread, workers stopped or never started */

/* Any thread: where to append one span, or NULL: dropped and counted. span_batch_end follows. */
struct strbuf *span_batch_begin(struct span_batch *b);
void span_batch_end(struct span_batch *b);

#endif
