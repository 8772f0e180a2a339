/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP requests of the proxy's own making to a cluster: rate-limit and authorization services, log and trace
 * collectors, mirrored requests. Through the cluster's balancer, breakers, pools and statistics like any other.
 * On the calling thread (workers, or the main thread), which also gets the events.
 */
#ifndef PROXY_CLUSTER_UPSTREAM_CALL_H
#define PROXY_CLUSTER_UPSTREAM_CALL_H

#include "base/arena.h"
#include "base/buf.h"
#include "http/codec/headers.h"
#include "http/stream.h"
#include "proxy/cluster/cluster.h"

struct upstream_call;
struct upstream_call_handler { /* any may be NULL. Never called from inside upstream_call_start. */
    void (*on_headers)(void *user, struct headers *h, bool end);
    void (*on_data)(void *user, struct buf *data, bool end); /* what isn't taken is dropped */
    void (*on_trailers)(void *user, struct headers *h);
    /* Exactly once, last: STREAM_OK after a whole response. The call is gone after it. Not called after cancel. */
    void (*on_done)(void *user, enum stream_reset why, const char *details);
    /* The peer takes no more for now (above) / again: a streaming caller stops and goes on. */
    void (*on_watermark)(void *user, bool above);
};
struct upstream_call_opts {
    struct cluster *cluster;
    uint64_t timeout_ms;         /* of the whole call; 0 none (streams) */
    uint64_t body_limit_bytes;   /* of what waits to be sent; 1 MiB when 0; more fails the call */
    unsigned priority;
    enum http_protocol protocol; /* for clusters that speak what their client speaks; HTTP/1.1 when 0 */
    const struct lb_context *lb; /* hash, metadata and so on; NULL: none */
};
/* `h` is copied (":method", ":path", ":authority" … given by the caller); `body` is taken. NULL: the call failed at once
 * (no host, breaker open, limits); *why says what. */
struct upstream_call *upstream_call_start(const struct upstream_call_opts *o, const struct headers *h, struct buf *body, bool end,
                                          const struct upstream_call_handler *handler, void *user, enum stream_reset *why);
/* More of the body; false: over the limit or the call is past sending. No event comes from inside; where sending fails the
 * call, on_done follows at the turn's end. */
bool upstream_call_send(struct upstream_call *c, struct buf *data, bool end);
bool upstream_call_send_trailers(struct upstream_call *c, const struct headers *h);
size_t upstream_call_queued(const struct upstream_call *c); /* bytes of the body that aren't handed to the socket yet */
bool upstream_call_has_room(const struct upstream_call *c, size_t n);
/* Nothing more of the response is read while it is on (counted by the stream). No effect before there is a stream. */
void upstream_call_pause(struct upstream_call *c, bool on);
void upstream_call_cancel(struct upstream_call **c); /* resets; no event follows */
struct loop *upstream_call_loop(const struct upstream_call *c);
struct host *upstream_call_host(const struct upstream_call *c); /* borrowed; NULL before it was picked */

#endif
