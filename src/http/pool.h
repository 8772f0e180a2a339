/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections to one endpoint on one worker: h1 (one request each, idle ones reused last-in
 * first-out), h2 (multiplexed, ramped), or by ALPN. Bounded by what the owner allows (circuit
 * breakers); requests wait in a bounded queue while connections are being made.
 */
#ifndef HTTP_POOL_H
#define HTTP_POOL_H

#include "http/client.h"

struct http_pool;

struct http_pool_opts {            /* borrowed for the pool's life */
    const struct http_client_opts *client;
    enum http_protocol protocol;   /* HTTP_11 / HTTP_2 */
    bool alpn;                     /* auto_config: by ALPN */
    uint64_t idle_timeout_ms;      /* 0 = none; default 1 h */
    uint32_t max_requests_per_connection; /* 0 = none */
    uint32_t max_concurrent_streams; /* h2: own cap besides the peer's */
    float preconnect_ratio;        /* 1.0 = none */
};

/* What the pool asks of and tells its owner (cluster): makes connections, counts, breakers. All but `connect` may be NULL. */
struct http_pool_events {
    struct conn *(*connect)(void *owner, struct loop *loop); /* a connecting conn with TLS started; handler unset. NULL: refused (no fd, bad config) */
    bool (*may_connect)(void *owner);     /* circuit breaker max_connections */
    bool (*may_pend)(void *owner);        /* circuit breaker max_pending_requests */
    /* Circuit breaker max_requests: asked when a request is to get its stream; false: it fails with STREAM_OVERFLOW. What was
     * granted ends with on_active's step down, or with on_not_started where no stream came of it. NULL: no limit. */
    bool (*may_start)(void *owner);
    void (*on_not_started)(void *owner);
    void (*on_connecting)(void *owner, struct conn *c);
    void (*on_connected)(void *owner, struct http_client_conn *c);
    void (*on_conn_closed)(void *owner, struct http_client_conn *c, bool was_ready, enum conn_close why, uint32_t active_streams);
    void (*on_pending)(void *owner, int delta);
    void (*on_active)(void *owner, int delta);
    void (*on_max_requests)(void *owner);
    void (*on_max_duration)(void *owner);
    void (*on_idle_timeout)(void *owner);
    void (*on_protocol_error)(void *owner, const char *details);
    void (*on_h2_stat)(void *owner, enum h2_stat stat); /* may be NULL */
    /* No connection and no waiting request is left: the owner may drop the pool. */
    void (*on_empty)(void *owner);
};
struct http_pool *http_pool_new(struct loop *loop, const struct http_pool_opts *keep_opts,
                                const struct http_pool_events *events, void *owner);
/* Idle connections close, busy ones finish; waiting requests still get one. on_empty tells when it is over. */
void http_pool_drain(struct http_pool *p);
/* Present connections take no new requests: idle ones close, busy ones finish. The pool goes on with new ones. */
void http_pool_retire_connections(struct http_pool *p);
void http_pool_free(struct http_pool **p); /* closes everything; waiting requests get on_failed */

struct http_pool_request; /* a place in the queue */
struct http_pool_user {
    /* A stream on a ready connection: send headers now, in this call. */
    void (*on_stream)(void *user, struct http_stream *s, struct http_client_conn *c);
    /* OVERFLOW, CONNECT_FAILED, CONNECT_TIMEOUT, LOCAL... text: transport failure reason or "". */
    void (*on_failed)(void *user, enum stream_reset why, const char *transport_failure, struct conn *failed_conn);
};
/* Either calls back before returning (returns NULL) or returns a queue place that may be cancelled. `fresh` asks for a
 * connection that hasn't carried a request (replay after a stale one died). */
struct http_pool_request *http_pool_request(struct http_pool *p, bool fresh, struct http_sink *sink, struct arena *arena,
                                            const struct http_pool_user *user_ops, void *user);
/* Adds what waits, what runs, and what connections that are there or coming could take beside. */
void http_pool_load(struct http_pool *p, uint64_t *pending, uint64_t *active, uint64_t *room);
/* One connection ahead, where `ratio` times what goes on here, and one request that is expected, wants it. False: none. */
bool http_pool_preconnect(struct http_pool *p, float ratio);
void http_pool_cancel(struct http_pool_request *r);
uint32_t http_pool_connection_count(const struct http_pool *p);

#endif
