/* SPDX-License-Identifier: Apache-2.0
 *
 * Where access logs go over gRPC (ALS, OpenTelemetry): a batch under a key, so that logs of equal settings share one buffer
 * and one stream per thread. While the collector doesn't take them, entries are kept up to the buffer's size, then dropped
 * and counted. Main thread, but for what is said otherwise.
 */
#ifndef PROXY_SERVICE_LOG_CHANNEL_H
#define PROXY_SERVICE_LOG_CHANNEL_H

#include "proxy/service/batch.h"
#include "proto/wire.h"

/* "access_logs.grpc_access_log.", "access_logs.open_telemetry_access_log.<stat_prefix>." */
#define LOG_CHANNEL_STATS(X)                                                                       \
    X(LOG_CHANNEL_WRITTEN, COUNTER, NONE, "logs_written", "Entries taken for sending")             \
    X(LOG_CHANNEL_DROPPED, COUNTER, NONE, "logs_dropped", "Entries dropped: the collector took no more")

struct log_channel_opts {
    struct batch_opts batch;         /* flush_ms, service, retries; the rest is filled by who knows the messages, and here */
    uint32_t buffer_bytes;           /* buffer_size_bytes, 16384; 0: each entry at once */
    struct cluster_slots take_slots; /* what the service refers to: the channel outlives the resource that it was made for */
};
struct log_channel;
/* A new reference to the channel of that key (the packed settings); NULL: there is none yet. */
struct log_channel *log_channel_find(struct str key);
/* `head` is copied: what every stream or message begins with. The channel is the owner that `wrap` gets. */
struct log_channel *log_channel_new(struct str key, const struct log_channel_opts *o, struct str head);
void log_channel_unref(struct log_channel **c);
struct str log_channel_head(const struct log_channel *c); /* any thread */

/* Any thread: where to append one entry, or NULL: dropped and counted. log_channel_end follows. */
struct strbuf *log_channel_begin(struct log_channel *c);
void log_channel_end(struct log_channel *c);

#endif
