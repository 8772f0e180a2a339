/* SPDX-License-Identifier: Apache-2.0
 *
 * Packed metrics on their way to a collector over gRPC, by one stream or by unary calls. Bounded: what waits for the
 * collector has a limit, beyond which messages are dropped and counted. Main thread.
 */
#ifndef PROXY_SINK_METRIC_SENDER_H
#define PROXY_SINK_METRIC_SENDER_H

#include "base/str.h"

/* A message is closed when it is this long; collectors take at most 4 MiB unless told otherwise. */
#define METRIC_MESSAGE_BYTES ((size_t)1 << 20)

struct loop;
struct grpc_service;
struct metric_sender;
/* `path` is static; the service is kept. */
struct metric_sender *metric_sender_new(struct loop *loop, struct grpc_service *keep_service, struct str path, bool is_stream);
/* Whether the next message begins a stream (or is a call of its own). */
bool metric_sender_is_first(const struct metric_sender *m);
/* False: dropped and counted. */
bool metric_sender_send(struct metric_sender *m, struct str message);
bool metric_sender_leave(struct metric_sender *m); /* ends the stream; true while the collector hasn't answered all */
void metric_sender_free(struct metric_sender **m); /* nothing is sent any more; the loop has one more turn */

#endif
