/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to this room: the seam between what is the same for both protocols (server.c, client.c:
 * ownership of the conn, choice of codec, idle / lifetime / drain timers, the one on_closed) and the
 * protocol halves (h1_server.c, h2_server.c, h1_client.c, h2_client.c).
 *
 * Rules of the seam:
 * - `half` belongs to the protocol half: made in start(), let go in destroy().
 * - Any call upwards (sink, handler) may end the connection. Nothing is freed before the turn's end, so
 *   after each one look at `dead` and return when it is set.
 * - destroy() may come from inside any callback (also from inside a parser's feed): close what is
 *   left, forget it, free through loop_defer.
 * - `conn` stays readable (addresses, byte counts) until the turn's end, also when dead.
 */
#ifndef HTTP_PRIV_H
#define HTTP_PRIV_H

#include "base/check.h"
#include "http/client.h"
#include "http/server.h"
#include "io/loop.h"

/* How a connection is left. */
enum end_how {
    END_NOW,     /* close; what is queued is lost */
    END_FLUSHED, /* what is queued goes out first, then conn_close_delayed (RFC 9112 section 9.6) */
    END_SAID_ALL, /* the same for a peer that asked for the close and has nothing more to say */
    END_RESET,   /* RST: the peer must see that it was cut off */
    END_GONE,    /* the conn told on_closed: nothing to close */
};

/* ---- server ---- */
struct http_server_conn;
struct server_codec_ops {
    enum http_protocol protocol;
    void (*start)(struct http_server_conn *c);   /* once; the first bytes are in conn_in, on_data follows */
    void (*on_data)(struct http_server_conn *c); /* conn_in grew, or go on after a pause (server_conn_again) */
    void (*on_end)(struct http_server_conn *c);  /* EOF; conn_in may hold bytes that were left there */
    void (*on_watermark)(struct http_server_conn *c, bool above); /* of conn_out */
    void (*on_drained)(struct http_server_conn *c);               /* conn_out became empty; may be NULL */
    void (*on_headers_timeout)(struct http_server_conn *c);       /* see server_conn_await_head; may be NULL */
    /* Graceful end begins (final false), and drain_timeout_ms later (final true). Closes at once where nothing is
     * active; otherwise the half calls server_conn_end itself when its last stream is done. */
    void (*drain)(struct http_server_conn *c, bool final);
    /* Every stream left gets on_closed(why, details). No server_conn_* call in here but server_conn_stream_ended. */
    void (*destroy)(struct http_server_conn *c, enum stream_reset why, const char *details);
};
extern const struct server_codec_ops h1_server_ops, h2_server_ops;

#define SERVER_CONN_MAGIC 0x48535256
struct http_server_conn { /* its size counts: there may be 100,000 idle ones */
    uint32_t magic;
    uint32_t active;             /* streams that the handler knows */
    bool dead, draining;
    bool retiring; /* draining, but an idle connection stays */
    bool awaiting_head;          /* `timer` is the headers timeout, else the idle timeout */
    bool out_above;              /* conn_out is above its watermark */
    bool in_codec;               /* h1: the parse loop is on the stack */
    bool in_paused;              /* h1: reading is paused because pipelined input piles up */
    struct conn *conn;
    const struct http_server_opts *opts;
    const struct http_server_handler *handler;
    void *user;
    const struct server_codec_ops *codec; /* NULL until the protocol is known */
    void *half;                  /* h1: the exchange, NULL between requests; h2: its own struct */
    uint64_t requests;           /* begun so far */
    struct timer timer;          /* idle, or request headers; left running while streams are active, ignored then */
    struct timer life;           /* max_connection_ms, then drain_timeout_ms */
    struct turn_task again;
    struct deferred deferred;
};

/* Ends the connection: streams left get TERMINATED, then handler->on_closed, then the conn goes. Idempotent. */
void server_conn_end(struct http_server_conn *c, enum end_how how, enum conn_close why);
/* Bookkeeping of each stream that the handler knows: counts, and the idle timer. `began` before on_stream. The half calls
 * `ended` after the sink's on_closed. max_requests_per_connection starts a drain by itself in h2; h1 looks at is_last. */
void server_conn_stream_began(struct http_server_conn *c);
void server_conn_stream_ended(struct http_server_conn *c);
bool server_conn_is_last_request(const struct http_server_conn *c); /* `requests` reached max_requests_per_connection */
/* A message head has begun and is incomplete (on true): request_headers_timeout_ms runs. */
void server_conn_await_head(struct http_server_conn *c, bool on);
/* Calls codec->on_data once more at the end of this turn. */
void server_conn_again(struct http_server_conn *c);
/* Where the codec answers 100-continue itself (opts->proxy_100_continue off) it also removes Expect from the request before
 * on_headers: what goes upstream must not ask again. */
static inline bool server_conn_answers_continue(const struct http_server_conn *c)
{
    return !c->opts->proxy_100_continue;
}

/* ---- client ---- */
struct client_codec_ops {
    enum http_protocol protocol;
    void (*start)(struct http_client_conn *c); /* connected; on_ready follows when `ready_at_start`, else client_conn_ready() */
    bool ready_at_start;
    void (*on_data)(struct http_client_conn *c);
    void (*on_end)(struct http_client_conn *c);
    void (*on_watermark)(struct http_client_conn *c, bool above);
    void (*on_drained)(struct http_client_conn *c); /* may be NULL */
    uint32_t (*capacity)(const struct http_client_conn *c); /* asked only when ready, not draining, not dead */
    struct http_stream *(*stream)(struct http_client_conn *c, struct http_sink *sink, struct arena *arena);
    void (*drain)(struct http_client_conn *c); /* no new streams will come; may be NULL */
    void (*destroy)(struct http_client_conn *c, enum stream_reset why, const char *details);
};
extern const struct client_codec_ops h1_client_ops, h2_client_ops;

#define CLIENT_CONN_MAGIC 0x48434c49
struct http_client_conn {
    uint32_t magic;
    uint32_t active;
    bool dead, ready, alpn, draining;
    bool in_codec;
    enum http_protocol protocol;
    struct conn *conn;
    const struct http_client_opts *opts;
    const struct http_client_handler *handler;
    void *user;
    const struct client_codec_ops *codec; /* NULL until connected */
    void *half;
    uint64_t requests;
    struct timer life;           /* max_connection_ms */
    struct turn_task again;
    struct deferred deferred;
};
/* Streams left get `TERMINATED`, then handler->on_closed(was_ready, why), then the conn goes. Idempotent. */
void client_conn_end(struct http_client_conn *c, enum end_how how, enum conn_close why);
void client_conn_ready(struct http_client_conn *c); /* on_ready, once */
void client_conn_stream_began(struct http_client_conn *c);
/* After the sink's on_closed. Tells on_capacity; ends a draining connection with its last stream. */
void client_conn_stream_ended(struct http_client_conn *c);
void client_conn_goaway(struct http_client_conn *c); /* takes no new requests: draining, tells on_goaway once */
/* Calls codec->on_data once more at the end of this turn. */
void client_conn_again(struct http_client_conn *c);

/* A list in `arena`, which also owns its text; NULL when the arena overflowed. */
struct headers *headers_new(struct arena *arena);

#endif
