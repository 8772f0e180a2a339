/* SPDX-License-Identifier: Apache-2.0
 *
 * Server side of HTTP: turns an accepted connection (TLS already up, or plain) into streams. The
 * codec is fixed, told by ALPN, or sniffed from the first bytes (AUTO). Runs on one loop; used by
 * listeners' connection managers and by the admin server alike.
 */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include "http/codec/h1.h"
#include "http/codec/h2.h"
#include "http/stream.h"

enum http_codec { HTTP_CODEC_AUTO, HTTP_CODEC_H1, HTTP_CODEC_H2 };

/* Borrowed for as long as any connection uses it (owner keeps a snapshot reference). */
struct http_server_opts {
    enum http_codec codec;
    struct h1_parser_opts h1;
    enum h1_name_case h1_name_case;
    bool h1_enable_trailers;
    bool h1_stream_error_on_invalid; /* 400 keeps the connection where framing is still known */
    struct h2_opts h2;
    uint64_t h2_ping_interval_ms, h2_ping_timeout_ms; /* connection_keepalive; 0 = off */
    uint32_t h2_ping_jitter_pct;
    uint64_t h2_idle_ping_ms;        /* connection_idle_interval */
    uint64_t idle_timeout_ms;        /* no active stream; 0 = none (HCM default 1 h) */
    uint64_t (*idle_us)(uint64_t us); /* what that is now (overload shortens it); NULL: as it stands */
    uint64_t request_headers_timeout_ms; /* first byte to end of head; 0 = none */
    uint64_t max_connection_ms;      /* then drain; 0 = none */
    uint64_t drain_timeout_ms;       /* GOAWAY(2^31-1) to final GOAWAY; 5000 */
    uint64_t delayed_close_ms;       /* 1000; 0 = close at once */
    uint32_t max_requests_per_connection; /* 0 = none */
    size_t buffer_limit_bytes;       /* per_connection_buffer_limit_bytes, 1 MiB */
    bool proxy_100_continue;         /* else the codec answers 100 itself when a body is awaited */
};

/* Why a server connection went; for cx_destroy_* statistics and the access log. */
struct http_server_conn;
enum http_server_limit { HTTP_LIMIT_AGE, HTTP_LIMIT_REQUESTS, HTTP_LIMIT_HEAD_TIME };
struct http_server_handler {
    /* A request's head is complete (sink->on_headers follows at once). Sets s->sink. */
    void (*on_stream)(void *user, struct http_server_conn *c, struct http_stream *s);
    /* Bytes that aren't HTTP, too large heads and such, before any stream exists: for statistics and an access-log line.
     * The answer (400/431/414/505/426) is sent by the codec through `local_reply` when non-NULL. */
    void (*on_protocol_error)(void *user, struct http_server_conn *c, unsigned status, const char *details);
    /* Fills headers and body for a codec-level answer (local reply config applies). NULL: a plain one. */
    void (*local_reply)(void *user, struct http_server_conn *c, unsigned status, const char *details, struct headers *h, struct buf *body);
    void (*on_idle_timeout)(void *user, struct http_server_conn *c);
    void (*on_limit)(void *user, enum http_server_limit which); /* what ends the connection (or a slow head); may be NULL */
    void (*on_codec)(void *user, struct http_server_conn *c, enum http_protocol p); /* the protocol is known */
    /* One of Envoy's "http2." counters moved. May be NULL. */
    void (*on_h2_stat)(void *user, struct http_server_conn *c, enum h2_stat stat);
    /* The connection will linger after on_closed, which comes next: conn_on_linger_end tells how that ends. May be NULL. */
    void (*on_delayed_close)(void *user, struct conn *conn);
    /* Last call; connection gone. `local`: we closed it. */
    void (*on_closed)(void *user, struct http_server_conn *c, bool local, enum conn_close why);
};

/* Takes the conn (sets its handler). */
struct http_server_conn *http_server_conn_new(struct conn *take_conn, const struct http_server_opts *keep_opts,
                                              const struct http_server_handler *handler, void *user);
struct conn *http_server_conn_conn(struct http_server_conn *c);
enum http_protocol http_server_conn_protocol(const struct http_server_conn *c);
uint32_t http_server_conn_active_streams(const struct http_server_conn *c);
/* Graceful end: HTTP/1 answers `connection: close` from now on (idle: closed at once), HTTP/2 GOAWAY, then closes
 * when the last stream is done or after drain_timeout_ms. */
void http_server_conn_drain(struct http_server_conn *c);
/* The same where the connection may stay until somebody closes it: an idle one of HTTP/1 is told with its next response, so
 * that no request crosses its end (RFC 9112 section 9.6). */
void http_server_conn_retire(struct http_server_conn *c);
/* An idle connection's timeout is brought forward where idle_us has shortened it. */
void http_server_conn_retime(struct http_server_conn *c);
bool http_server_conn_is_draining(const struct http_server_conn *c);
/* At once; streams get on_closed(TERMINATED). */
void http_server_conn_close(struct http_server_conn *c);

#endif
