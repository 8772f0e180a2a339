/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to the HTTP/2 halves of this room: what server and client connections share, which is
 * nearly everything: streams over codec streams, back-pressure, one flush a turn, keep-alive pings.
 */
#ifndef HTTP_H2_HALF_H
#define HTTP_H2_HALF_H

#include "http/http_priv.h"

#define H2_HALF_MAGIC 0x48324841
#define H2_READ_CHUNK_BYTES ((size_t)4 * BUF_BLOCK_BYTES) /* many streams' frames in one read */

struct h2_http_stream;

/* What differs by role. None may free anything. */
struct h2_role {
    /* The connection must end; `details` is Envoy's word for why, NULL where nobody is to blame. */
    void (*end)(void *owner, enum end_how how, enum conn_close why, const char *details);
    void (*stream_ended)(void *owner);
    /* After each flush: a draining connection without streams ends here. */
    void (*settle)(void *owner);
};

struct h2_keepalive { /* 0 = off */
    uint64_t interval_ms, timeout_ms, idle_ms;
    uint32_t jitter_pct;
};

struct h2_half {
    uint32_t magic;
    bool dead;              /* the connection has ended: callbacks of the codec are ignored */
    bool out_above;         /* conn_out is full: frames stay in the session */
    bool ping_sent;
    bool settings_received;
    bool final_goaway;
    const struct h2_role *role;
    void *owner;            /* http_server_conn or http_client_conn */
    struct conn *conn;
    struct h2_session *session;
    size_t buffer_limit;
    struct list streams;    /* not finished */
    struct list due;        /* streams with something to tell at the turn's end */
    struct buf in;          /* while feeding */
    struct turn_task flush;
    struct h2_keepalive keepalive;
    struct timer ping;
    uint64_t active_at_us;  /* last time a stream was there, for idle_ms */
    uint32_t heads_open;    /* server: header blocks begun and not complete */
    struct deferred deferred;
};

struct h2_http_stream {
    struct http_stream base;
    struct h2_half *half;
    struct h2_stream *codec;  /* NULL before a request's head is sent, and once the codec let go */
    struct list node;
    struct list due_node;
    struct arena own;         /* server: base.arena */
    struct buf pending;       /* received while paused; client: to send while `held_head` waits */
    size_t owed;              /* told to the sink, window not given back while paused */
    struct headers *pending_trailers;
    struct headers *held_head; /* client: an upgrade that waits for the peer's SETTINGS */
    struct str upgrade;       /* asked for in HTTP/1 form or by :protocol; null when none */
    const char *close_details;
    enum stream_reset close_why;
    uint32_t paused;
    bool told;                /* server: the handler knows it */
    bool finished;            /* on_closed was told */
    bool closing;             /* on_closed is due, after what is pending */
    bool pending_end;         /* END_STREAM behind `pending` */
    bool local_ended, remote_ended;
    bool above;               /* on_watermark(true) was told */
    bool is_head_done;        /* server: counted out of heads_open */
    struct deferred deferred;
};

static inline struct h2_http_stream *h2_stream_from(const struct http_stream *s)
{
    return CONTAINER_OF(s, h2_http_stream, base);
}

/* NULL: no memory. `half` is freed by h2_half_destroy. */
struct h2_half *h2_half_new(struct conn *conn, void *owner, const struct h2_role *role,
                            const struct h2_opts *opts, const struct h2_callbacks *cb,
                            const struct h2_keepalive *keepalive, size_t buffer_limit);
/* Streams left get on_closed(why, details); memory goes at the turn's end. */
void h2_half_destroy(struct h2_half *half, enum stream_reset why, const char *details);
/* Takes all of conn_in. */
void h2_half_feed(struct h2_half *half);
void h2_half_flush_later(struct h2_half *half);
void h2_half_on_watermark(struct h2_half *half, bool above);
void h2_half_on_drained(struct h2_half *half);
/* Writes what the session has, for connections that are about to end. */
void h2_half_flush_now(struct h2_half *half);
void h2_half_ping_if_idle(struct h2_half *half); /* a stream begins after idle_ms without any */

struct h2_http_stream *h2_http_stream_new(struct h2_half *half, const struct http_stream_ops *ops);
/* Tells on_closed, once; the codec's stream must be gone or is reset with `code`. */
void h2_http_stream_finish(struct h2_http_stream *st, enum stream_reset why, const char *details);
/* on_closed at the turn's end: for failures inside a call from above. */
void h2_http_stream_fail_later(struct h2_http_stream *st, enum stream_reset why, const char *details);
/* Watermarks towards the sink after something was queued. */
void h2_http_stream_check_queue(struct h2_http_stream *st);
uint32_t h2_reset_code(const struct http_stream *s, enum stream_reset why);

/* Codec callbacks, the same for both roles. ctx is the half. */
void h2_half_on_data(void *ctx, struct h2_stream *codec, struct buf *data, bool end);
void h2_half_on_trailers(struct h2_http_stream *st, struct headers *h);
void h2_half_on_close(void *ctx, struct h2_stream *codec, uint32_t code, bool remote, const char *details);
void h2_half_on_ping_ack(void *ctx);
void h2_half_on_stream_sent(void *ctx, struct h2_stream *codec);

/* Stream operations, the same for both roles. */
void h2_op_send_data(struct http_stream *s, struct buf *data, bool end);
void h2_op_send_trailers(struct http_stream *s, struct headers *h);
void h2_op_reset(struct http_stream *s, enum stream_reset why);
void h2_op_pause(struct http_stream *s, bool on);
size_t h2_op_queued(const struct http_stream *s);

/* ---- RFC 8441, h2_upgrade.c ---- */
/* Extended CONNECT to HTTP/1's upgrade form, in place; the protocol's name, or a null str where it is none. */
struct str h2_upgrade_request_in(struct headers *h, struct rng *rng);
/* HTTP/1's upgrade form to extended CONNECT, in a copy (a retry may need the original); NULL: no memory. */
struct headers *h2_upgrade_request_out(const struct headers *h, struct arena *arena);
/* 101 to 200, in a copy. */
struct headers *h2_upgrade_response_out(const struct headers *h, struct arena *arena);
/* 2xx to 101, in place. */
bool h2_upgrade_response_in(struct headers *h, struct str protocol);

#endif
