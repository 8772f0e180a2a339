/* SPDX-License-Identifier: Apache-2.0
 *
 * Entries for a collector, gathered on each thread and sent in batches over gRPC, by a stream or by unary calls. Bounded:
 * while the collector doesn't take them, entries are kept up to the buffer's size, then dropped and counted. For this
 * room: access logs (ALS), OpenTelemetry.
 */
#ifndef PROXY_SERVICE_LOG_BATCH_H
#define PROXY_SERVICE_LOG_BATCH_H

#include "proxy/service/grpc_call.h"
#include "proxy/service/wire.h"
#include "proxy/stats/stats.h"

/* "access_logs.grpc_access_log.", "access_logs.open_telemetry_access_log.<stat_prefix>." */
#define LOG_BATCH_STATS(X)                                                                         \
    X(LOG_BATCH_WRITTEN, COUNTER, NONE, "logs_written", "Entries taken for sending")               \
    X(LOG_BATCH_DROPPED, COUNTER, NONE, "logs_dropped", "Entries dropped: the collector took no more")
enum log_batch_stat {
    LOG_BATCH_STATS(STAT_ENUM_ROW)
};

struct log_batch_opts {
    struct grpc_service service;     /* taken; its cluster's place must stay where it is: &batch's */
    uint64_t flush_ms;               /* buffer_flush_interval; 1000 */
    uint32_t buffer_bytes;           /* buffer_size_bytes, 16384; 0: each entry at once */
    uint32_t retries;                /* grpc_stream_retry_policy.num_retries; 0 none */
    uint64_t backoff_base_ms, backoff_max_ms; /* between them */
    struct str stat_prefix;          /* with the last '.'; copied */
    struct str path;                 /* of the method, static */
    bool is_stream;                  /* else a call a batch */
    /* Makes a message of entries as they were added; `first`: of its stream. */
    void (*wrap)(void *owner, bool first, struct str entries, struct strbuf *out);
};
struct log_batch;
/* Main thread. `owner` is what wrap gets. */
struct log_batch *log_batch_new(const struct log_batch_opts *o, void *owner);
struct grpc_service *log_batch_service(struct log_batch *b); /* for the configuration's reader */
void log_batch_free(struct log_batch **b); /* main thread, workers stopped or never started */

/* Any thread: where to append one entry, or NULL: dropped and counted. log_batch_end follows. */
struct strbuf *log_batch_begin(struct log_batch *b);
void log_batch_end(struct log_batch *b);

#endif
