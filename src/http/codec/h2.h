/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/2 codec, sans I/O (RFC 9113, 8441, 7541): one session of either role. Bytes are fed in;
 * events come as callbacks; bytes to send are pulled into a buf. Header lists are in our form, limits
 * on floods have names, flow control is tied to our back-pressure (windows are given back when the
 * consumer has taken the bytes), and body bytes travel without a copy.
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

/* Defaults are Envoy 1.40's (read off its SETTINGS frames); each limit stops a named attack. */
struct h2_opts {
    bool is_server;
    uint32_t max_concurrent_streams;  /* 1024: what we let the peer open, and the most that we open */
    uint32_t initial_stream_window;   /* 16 MiB */
    uint32_t initial_connection_window; /* 24 MiB */
    uint32_t hpack_table_bytes;       /* 4096: both the peer's table at ours and ours at the peer */
    uint32_t max_header_bytes;        /* 60 KiB, names and values of one block: 431 / stream reset past it */
    uint32_t max_headers;             /* 100 */
    bool allow_connect;               /* RFC 8441 SETTINGS_ENABLE_CONNECT_PROTOCOL */
    bool allow_metadata;              /* not supported: refused in configuration */
    uint32_t max_outbound_frames;     /* 10000: replies the peer makes us queue (PING, SETTINGS, RST) */
    uint32_t max_outbound_control_frames; /* 1000 */
    uint32_t max_consecutive_empty_frames; /* 1: empty DATA / HEADERS / CONTINUATION floods */
    uint32_t max_priority_per_stream; /* 100 */
    uint32_t max_window_update_per_data; /* 10 */
    uint32_t max_reset_burst, max_reset_per_s; /* 1000, 33: rapid reset (CVE-2023-44487), token bucket; server only */
    uint32_t max_continuations;       /* CONTINUATION flood (CVE-2024-28182); raised to what max_header_bytes needs */
    bool stream_error_on_invalid;     /* override_stream_error_on_invalid_http_message; off: malformed ends the connection */
    uint8_t underscore;               /* enum h1_underscore: allow, reject, drop */
    uint32_t max_frame_bytes;         /* 16384 */
};
struct h2_opts h2_opts_default(bool is_server);

/* Why a connection had to end, in the words of Envoy's response code details. */
#define H2_FAULT_TABLE(X)                                                                          \
    X(NONE, "") X(PROTOCOL, "http2.protocol_error")                                                \
    X(MESSAGING, "http2.violation.of.messaging.rule")                                              \
    X(INBOUND_EMPTY_FLOOD, "http2.inbound_empty_frames_flood")                                     \
    X(PRIORITY_FLOOD, "http2.inbound_priority_frames_flood")                                       \
    X(WINDOW_UPDATE_FLOOD, "http2.inbound_window_update_frames_flood")                             \
    X(OUTBOUND_FLOOD, "http2.outbound_frames_flood")                                               \
    X(OUTBOUND_CONTROL_FLOOD, "http2.outbound_control_frames_flood")                               \
    X(RESET_FLOOD, "http2.rapid_reset") X(CONTINUATION_FLOOD, "http2.continuation_flood")          \
    X(NO_MEMORY, "http2.no_memory")
enum h2_fault {
#define X(name, text) H2_FAULT_##name,
    H2_FAULT_TABLE(X)
#undef X
};
const char *h2_fault_text(enum h2_fault f);

/* Envoy's counters below "http2."; told through on_stat as they happen. */
#define H2_STAT_TABLE(X)                                                                           \
    X(DROPPED_UNDERSCORES, "dropped_headers_with_underscores") X(GOAWAY_SENT, "goaway_sent")       \
    X(HEADER_OVERFLOW, "header_overflow")                                                          \
    X(INBOUND_EMPTY_FLOOD, "inbound_empty_frames_flood")                                           \
    X(PRIORITY_FLOOD, "inbound_priority_frames_flood")                                             \
    X(WINDOW_UPDATE_FLOOD, "inbound_window_update_frames_flood")                                   \
    X(KEEPALIVE_TIMEOUT, "keepalive_timeout") X(OUTBOUND_CONTROL_FLOOD, "outbound_control_flood")  \
    X(OUTBOUND_FLOOD, "outbound_flood")                                                            \
    X(REJECTED_UNDERSCORES, "requests_rejected_with_underscores_in_headers")                       \
    X(RX_MESSAGING_ERROR, "rx_messaging_error") X(RX_RESET, "rx_reset")                            \
    X(STREAM_REFUSED_ERRORS, "stream_refused_errors") X(TRAILERS, "trailers")                      \
    X(TX_RESET, "tx_reset") X(RAPID_RESET, "rapid_reset") X(CONTINUATION_FLOOD, "continuation_flood")
enum h2_stat {
#define X(name, text) H2_STAT_##name,
    H2_STAT_TABLE(X)
#undef X
    H2_STAT_COUNT
};
const char *h2_stat_name(enum h2_stat stat);

struct h2_session;
struct h2_stream;

struct h2_callbacks {
    /* Server: a request's first HEADERS. The callee returns the arena for the headers' text and keeps `user` on the stream;
     * NULL refuses the stream (REFUSED_STREAM). */
    struct arena *(*on_begin)(void *ctx, struct h2_stream *s, void **stream_user);
    /* Complete header block: request, response, 1xx (informational true) or trailers. `h` lives in the stream's arena. */
    void (*on_headers)(void *ctx, struct h2_stream *s, struct headers *h, bool informational, bool trailers, bool end);
    /* Body bytes; what is not consumed (h2_stream_consume) keeps the window closed. `data` may be empty where `end` is set. */
    void (*on_data)(void *ctx, struct h2_stream *s, struct buf *data, bool end);
    /* Closed: both sides done (code 0) or reset. The last call for s. `remote` says who reset; `details` is NULL or says why. */
    void (*on_close)(void *ctx, struct h2_stream *s, uint32_t error_code, bool remote, const char *details);
    void (*on_goaway)(void *ctx, uint32_t last_stream_id, uint32_t error_code);
    void (*on_ping_ack)(void *ctx);
    void (*on_settings)(void *ctx);                              /* the peer's settings arrived or changed */
    void (*on_stream_sent)(void *ctx, struct h2_stream *s);      /* queued data fell to half of its watermark */
    /* Server: a request that deserves an answer (431): respond with END_STREAM, or the stream is reset. What else comes on it
     * is dropped. on_close follows as ever. */
    void (*on_invalid)(void *ctx, struct h2_stream *s, unsigned status, const char *details);
    void (*on_stat)(void *ctx, enum h2_stat stat);
};

struct h2_session *h2_session_new(const struct h2_opts *opts, const struct h2_callbacks *cb, void *ctx, struct err *err);
/* Streams left are forgotten without on_close. Never inside a callback. */
void h2_session_free(struct h2_session **s);
/* Consumes all of `in`. Non-zero: the connection must end after what h2_session_pull gives is sent (GOAWAY). now_us feeds
 * rate limits. */
enum h2_fault h2_session_feed(struct h2_session *s, struct buf *in, uint64_t now_us);
/* Appends frames to `out` until `out` holds max_bytes or nothing is left; true when more is waiting. */
bool h2_session_pull(struct h2_session *s, struct buf *out, size_t max_bytes);
bool h2_session_wants_write(const struct h2_session *s);
bool h2_session_is_over(const struct h2_session *s); /* neither reading nor writing makes sense any more */
enum h2_fault h2_session_fault(const struct h2_session *s); /* also those that show only when the GOAWAY is pulled */
const char *h2_session_error_text(const struct h2_session *s); /* for logs: what exactly was wrong; "" when nothing */
/* Graceful (server): GOAWAY with 2^31-1, the final one follows with a second call. No new streams after the final one. */
void h2_session_goaway(struct h2_session *s, uint32_t error_code, bool graceful);
void h2_session_ping(struct h2_session *s);
uint32_t h2_session_peer_max_streams(const struct h2_session *s);
bool h2_session_peer_allows_connect(const struct h2_session *s);
uint32_t h2_session_stream_count(const struct h2_session *s);

/* Client: opens a stream. NULL when the session can't (GOAWAY, ids used up, limit). Text of
 * a list in the stream's own arena isn't copied: it must live until the stream closes. That of another arena is copied. The same
 * holds for all headers that are sent below. Response headers' text goes to `arena`. */
struct h2_stream *h2_session_request(struct h2_session *s, const struct headers *h, bool end, struct arena *arena, void *stream_user);
void *h2_stream_user(const struct h2_stream *s);
void h2_stream_set_user(struct h2_stream *s, void *user);
uint32_t h2_stream_id(const struct h2_stream *s);
/* Server responses and 1xx. Connection-specific fields are left out. 0 or ERR_STATE, ERR_NOMEM. */
int h2_stream_respond(struct h2_stream *s, const struct headers *h, bool end);
int h2_stream_informational(struct h2_stream *s, const struct headers *h);
/* Moves all of `data` to the stream's queue; sent as windows allow. */
void h2_stream_send_data(struct h2_stream *s, struct buf *data, bool end);
int h2_stream_send_trailers(struct h2_stream *s, const struct headers *h);
size_t h2_stream_queued(const struct h2_stream *s);
void h2_stream_set_watermark(struct h2_stream *s, size_t high_bytes); /* for on_stream_sent; 0 = never */
void h2_stream_consume(struct h2_stream *s, size_t n); /* gives window back */
/* `s` is gone when it returns: no on_close. */
void h2_stream_reset(struct h2_stream *s, uint32_t error_code);
/* Gives this thread's idle memory back; at the end of a thread. */
void h2_thread_fini(void);

/* RFC 9113 section 7. */
enum {
    H2_NO_ERROR = 0, H2_PROTOCOL_ERROR = 1, H2_INTERNAL_ERROR = 2, H2_FLOW_CONTROL_ERROR = 3, H2_SETTINGS_TIMEOUT = 4,
    H2_STREAM_CLOSED = 5, H2_FRAME_SIZE_ERROR = 6, H2_REFUSED_STREAM = 7, H2_CANCEL = 8, H2_COMPRESSION_ERROR = 9,
    H2_CONNECT_ERROR = 10, H2_ENHANCE_YOUR_CALM = 11, H2_INADEQUATE_SECURITY = 12, H2_HTTP_1_1_REQUIRED = 13,
};

#endif
