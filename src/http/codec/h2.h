/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/2 codec on nghttp2, sans I/O (RFC 9113, 8441): one session of either role. Bytes are fed in;
 * events come as callbacks; bytes to send are pulled into a buf. It adds what nghttp2 lacks: header
 * lists in our form, limits on floods with their names, flow control tied to our back-pressure
 * (windows are given back when the consumer has taken the bytes), and body bytes without a copy on
 * sending.
 *
 * Callbacks run inside h2_session_feed; they may submit, reset and consume, never free the session.
 */
#ifndef HTTP_CODEC_H2_H
#define HTTP_CODEC_H2_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "http/codec/headers.h"

/* Defaults are Envoy's; each stops a named attack. */
struct h2_opts {
    bool is_server;
    uint32_t max_concurrent_streams;  /* what we let the peer open: 1024 in Envoy 1.40's defaults; check */
    uint32_t initial_stream_window;   /* 16 MiB in Envoy 1.40; check */
    uint32_t initial_connection_window; /* 24 MiB; check */
    uint32_t hpack_table_bytes;       /* 4096 */
    uint32_t max_header_bytes;        /* max_request_headers_kb: 431 / stream reset past it */
    uint32_t max_headers;
    bool allow_connect;               /* RFC 8441 SETTINGS_ENABLE_CONNECT_PROTOCOL */
    bool allow_metadata;              /* not supported: refused in configuration */
    uint32_t max_outbound_frames;     /* 10000: replies the peer makes us queue (PING, SETTINGS, RST) */
    uint32_t max_outbound_control_frames; /* 1000 */
    uint32_t max_consecutive_empty_frames; /* 1: empty DATA / HEADERS / CONTINUATION floods */
    uint32_t max_priority_per_stream; /* 100 */
    uint32_t max_window_update_per_data; /* 10 */
    uint32_t max_reset_burst, max_reset_per_s; /* rapid reset: token bucket */
    uint32_t max_continuations;       /* CONTINUATION flood */
    bool stream_error_on_invalid;     /* override_stream_error_on_invalid_http_message */
    uint8_t underscore;               /* enum h1_underscore */
    uint32_t max_frame_bytes;         /* 16384 */
};
struct h2_opts h2_opts_default(bool is_server);

/* Why a connection had to end; the name is used in statistics (http2.<name>) and details. */
#define H2_FAULT_TABLE(X)                                                                          \
    X(NONE, "") X(PROTOCOL, "http2.protocol_error") X(INBOUND_EMPTY_FLOOD, "http2.inbound_empty_frames_flood") \
    X(PRIORITY_FLOOD, "http2.inbound_priority_frames_flood")                                       \
    X(WINDOW_UPDATE_FLOOD, "http2.inbound_window_update_frames_flood")                             \
    X(OUTBOUND_FLOOD, "http2.outbound_flood") X(OUTBOUND_CONTROL_FLOOD, "http2.outbound_control_flood") \
    X(RESET_FLOOD, "http2.rapid_reset") X(CONTINUATION_FLOOD, "http2.continuation_flood")          \
    X(HEADERS_TOO_LARGE, "http2.header_overflow") X(TOO_MANY_HEADERS, "http2.too_many_headers")    \
    X(NO_MEMORY, "http2.no_memory")
enum h2_fault {
#define X(name, text) H2_FAULT_##name,
    H2_FAULT_TABLE(X)
#undef X
};
const char *h2_fault_text(enum h2_fault f);

struct h2_session;
struct h2_stream;

struct h2_callbacks {
    /* Server: a request's first HEADERS. The callee returns the arena for the headers' text and keeps `user` on the stream. */
    struct arena *(*on_begin)(void *ctx, struct h2_stream *s, void **stream_user);
    /* Complete header block: request, response, 1xx (informational true) or trailers. `h` lives in the stream's arena. */
    void (*on_headers)(void *ctx, struct h2_stream *s, struct headers *h, bool informational, bool trailers, bool end);
    /* Body bytes; what is not consumed (h2_stream_consume) keeps the window closed. `end` false here; on_end follows. */
    void (*on_data)(void *ctx, struct h2_stream *s, struct buf *data);
    void (*on_end)(void *ctx, struct h2_stream *s);              /* END_STREAM after data (not after headers with end) */
    /* Closed: both sides done (code 0) or reset. The last call for s. `remote` says who reset. */
    void (*on_close)(void *ctx, struct h2_stream *s, uint32_t error_code, bool remote, const char *details);
    void (*on_goaway)(void *ctx, uint32_t last_stream_id, uint32_t error_code);
    void (*on_ping_ack)(void *ctx);
    void (*on_settings)(void *ctx);                              /* the peer's settings arrived or changed */
    void (*on_stream_sent)(void *ctx, struct h2_stream *s);      /* queued data fell below half its watermark */
    /* A malformed or over-large request that deserves an answer: status 400/431 etc. Return true to get on_headers-like
     * handling by the caller (server only). */
    void (*on_invalid)(void *ctx, struct h2_stream *s, unsigned status, const char *details);
};

struct h2_session *h2_session_new(const struct h2_opts *opts, const struct h2_callbacks *cb, void *ctx, struct err *err);
void h2_session_free(struct h2_session **s);
/* Consumes all of `in`. Non-zero: the connection must end after what h2_session_pull gives is sent (GOAWAY). now_us feeds
 * rate limits. */
enum h2_fault h2_session_feed(struct h2_session *s, struct buf *in, uint64_t now_us);
/* Appends frames to `out` until `out` holds max_bytes or nothing is left; true when more is waiting. */
bool h2_session_pull(struct h2_session *s, struct buf *out, size_t max_bytes);
bool h2_session_wants_write(const struct h2_session *s);
bool h2_session_is_over(const struct h2_session *s); /* neither reading nor writing makes sense any more */
void h2_session_goaway(struct h2_session *s, uint32_t error_code, bool graceful /* 2^31-1 first */);
void h2_session_ping(struct h2_session *s);
uint32_t h2_session_peer_max_streams(const struct h2_session *s);
bool h2_session_peer_allows_connect(const struct h2_session *s);
uint32_t h2_session_stream_count(const struct h2_session *s);

/* Client: opens a stream. NULL when the session can't (GOAWAY, ids used up, limit). */
struct h2_stream *h2_session_request(struct h2_session *s, const struct headers *h, bool end, struct arena *arena, void *stream_user);
void *h2_stream_user(const struct h2_stream *s);
void h2_stream_set_user(struct h2_stream *s, void *user);
uint32_t h2_stream_id(const struct h2_stream *s);
/* Server responses and 1xx. Bad headers (connection-specific) must be gone already. */
int h2_stream_respond(struct h2_stream *s, const struct headers *h, bool end);
int h2_stream_informational(struct h2_stream *s, const struct headers *h);
/* Moves all of `data` to the stream's queue; sent as windows allow. */
void h2_stream_send_data(struct h2_stream *s, struct buf *data, bool end);
int h2_stream_send_trailers(struct h2_stream *s, const struct headers *h);
size_t h2_stream_queued(const struct h2_stream *s);
void h2_stream_consume(struct h2_stream *s, size_t n); /* gives window back */
void h2_stream_reset(struct h2_stream *s, uint32_t error_code);

#endif
