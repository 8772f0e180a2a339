/* SPDX-License-Identifier: Apache-2.0
 *
 * Client side of HTTP: one connection (h1 or h2) that carries requests. Pools are built of these
 * (http/pool.h).
 */
#ifndef HTTP_CLIENT_H
#define HTTP_CLIENT_H

#include "http/codec/h1.h"
#include "http/codec/h2.h"
#include "http/stream.h"

struct http_client_opts { /* borrowed for the connection's life */
    struct h1_parser_opts h1;      /* is_request false */
    enum h1_name_case h1_name_case;
    bool h1_enable_trailers;
    struct h2_opts h2;
    uint64_t h2_ping_interval_ms, h2_ping_timeout_ms, h2_idle_ping_ms;
    uint32_t h2_ping_jitter_pct;
    size_t buffer_limit_bytes;     /* per_connection_buffer_limit_bytes */
    uint64_t max_connection_ms;
    uint32_t max_response_header_bytes;
};

struct http_client_conn;
struct http_client_handler {
    void (*on_ready)(void *user, struct http_client_conn *c);  /* connected, protocol known; requests may be sent */
    void (*on_capacity)(void *user, struct http_client_conn *c); /* a stream ended or limits changed: look again */
    void (*on_goaway)(void *user, struct http_client_conn *c); /* takes no new requests; drop from the pool */
    /* Last call. `was_ready` false: connecting failed. */
    void (*on_closed)(void *user, struct http_client_conn *c, bool was_ready, enum conn_close why);
    void (*on_protocol_error)(void *user, struct http_client_conn *c, const char *details);
    void (*on_max_duration)(void *user, struct http_client_conn *c); /* old enough: it drains. May be NULL. */
    /* One of Envoy's "http2." counters moved. May be NULL. */
    void (*on_h2_stat)(void *user, struct http_client_conn *c, enum h2_stat stat);
};
/* `protocol`: HTTP_11 or HTTP_2, or by ALPN when `alpn` is true (falls back to HTTP_11). Takes a conn that may still be
 * connecting. */
struct http_client_conn *http_client_conn_new(struct conn *take_conn, enum http_protocol protocol, bool alpn,
                                              const struct http_client_opts *keep_opts,
                                              const struct http_client_handler *handler, void *user);
/* How many more requests may be sent right now (h1: 1 or 0). 0 before on_ready. */
uint32_t http_client_conn_capacity(const struct http_client_conn *c);
uint32_t http_client_conn_active_streams(const struct http_client_conn *c);
uint64_t http_client_conn_requests(const struct http_client_conn *c); /* started so far */
enum http_protocol http_client_conn_protocol(const struct http_client_conn *c);
/* Begins a request: sink gets the response. Headers follow by stream_send_headers. `arena` is the caller's and must outlive
 * on_closed (response headers' text goes there). NULL when capacity is 0. */
struct http_stream *http_client_conn_stream(struct http_client_conn *c, struct http_sink *sink, struct arena *arena);
struct conn *http_client_conn_conn(struct http_client_conn *c);
void http_client_conn_drain(struct http_client_conn *c); /* closes when the last stream ends */
void http_client_conn_close(struct http_client_conn *c);

#endif
