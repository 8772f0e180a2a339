/* SPDX-License-Identifier: Apache-2.0
 *
 * Client connections, the part that both protocols share: waiting for connect and TLS, choosing the
 * codec by configuration or ALPN, the lifetime timer, draining, and the order of an ending. Runs on
 * the conn's loop.
 *
 *     connecting --(on_connected)--> codec started --(codec says so)--> ready --> [draining] -->
 * dead
 *
 * Invariants: on_closed comes exactly once and last; a connection that drains or is dead has
 * capacity 0; on_ready never comes from inside http_client_conn_new. Memory goes at the turn's end.
 */
#include "http/http_priv.h"

#include "base/mem.h"
#include "io/tls.h"

#define FLUSH_MS 1000 /* for a last GOAWAY */

static struct http_client_conn *of(void *user)
{
    return OBJECT(http_client_conn, CLIENT_CONN_MAGIC, user);
}

static void destroy(struct deferred *d)
{
    struct http_client_conn *c = CONTAINER_OF(d, http_client_conn, deferred);

    c->magic = 0;
    mem_free(c);
}

static void leave_conn(struct conn *conn, enum end_how how, enum conn_close why)
{
    if (how == END_GONE)
        return;
    conn_set_handler(conn, NULL, NULL);
    if (how == END_FLUSHED) {
        conn_close_delayed(conn, FLUSH_MS);
        return;
    }
    if (how == END_RESET)
        conn_reset(conn);
    conn_close(conn, why);
}

void client_conn_end(struct http_client_conn *c, enum end_how how, enum conn_close why)
{
    if (c->dead)
        return;
    c->dead = true;
    timer_clear(&c->life);
    turn_task_cancel(&c->again);

    struct loop *loop = conn_loop(c->conn);

    if (c->codec)
        c->codec->destroy(c, STREAM_TERMINATED, "");
    c->handler->on_closed(c->user, c, c->ready, why);
    leave_conn(c->conn, how, why);
    loop_defer(loop, &c->deferred, destroy);
}

/* ---- for the halves ---- */

void client_conn_ready(struct http_client_conn *c)
{
    if (c->dead || c->ready)
        return;
    c->ready = true;
    if (c->opts->max_connection_ms)
        timer_set_ms(&c->life, c->opts->max_connection_ms);
    if (c->handler->on_ready)
        c->handler->on_ready(c->user, c);
}

void client_conn_stream_began(struct http_client_conn *c)
{
    c->active++;
    c->requests++;
}

void client_conn_stream_ended(struct http_client_conn *c)
{
    DCHECK(c->active > 0);
    c->active--;
    if (c->dead)
        return;
    if (c->handler->on_capacity)
        c->handler->on_capacity(c->user, c);
    if (c->draining && c->active == 0)
        client_conn_end(c, END_NOW, CONN_CLOSE_LOCAL);
}

void client_conn_goaway(struct http_client_conn *c)
{
    if (c->dead || c->draining)
        return;
    c->draining = true;
    if (c->handler->on_goaway)
        c->handler->on_goaway(c->user, c);
    if (!c->dead && c->active == 0)
        client_conn_end(c, END_NOW, CONN_CLOSE_LOCAL);
}

/* ---- events of the conn ---- */

static const struct client_codec_ops *choose_codec(struct http_client_conn *c)
{
    struct tls_session *tls = conn_tls(c->conn);

    if (c->alpn)
        c->protocol = tls && str_eq(tls_session_alpn(tls), STR("h2")) ? HTTP_2 : HTTP_11;
    return c->protocol == HTTP_2 ? &h2_client_ops : &h1_client_ops;
}

static void start(struct http_client_conn *c)
{
    if (c->dead || c->codec)
        return;
    c->codec = choose_codec(c);
    c->codec->start(c);
    if (!c->dead && c->codec->ready_at_start)
        client_conn_ready(c);
    if (!c->dead && conn_in(c->conn)->len)
        c->codec->on_data(c);
}

static void on_connected(struct conn *conn, void *user)
{
    check_context.connection_id = conn_id(conn);
    start(of(user));
}

static void on_data(struct conn *conn, void *user)
{
    struct http_client_conn *c = of(user);

    check_context.connection_id = conn_id(conn);
    if (!c->codec)
        start(c); /* reads what is there */
    else
        c->codec->on_data(c);
}

static void on_end(struct conn *conn, void *user)
{
    struct http_client_conn *c = of(user);

    check_context.connection_id = conn_id(conn);
    if (c->codec)
        c->codec->on_end(c);
    else
        client_conn_end(c, END_NOW, CONN_CLOSE_REMOTE_EOF);
}

static void on_closed(struct conn *conn, void *user, enum conn_close why)
{
    (void)conn;
    client_conn_end(of(user), END_GONE, why);
}

static void on_above(struct conn *conn, void *user)
{
    struct http_client_conn *c = of(user);

    (void)conn;
    if (c->codec)
        c->codec->on_watermark(c, true);
}

static void on_below(struct conn *conn, void *user)
{
    struct http_client_conn *c = of(user);

    (void)conn;
    if (c->codec)
        c->codec->on_watermark(c, false);
}

static void on_drained(struct conn *conn, void *user)
{
    struct http_client_conn *c = of(user);

    (void)conn;
    if (c->codec && c->codec->on_drained)
        c->codec->on_drained(c);
}

static const struct conn_handler conn_handler = {
    .on_connected = on_connected,
    .on_data = on_data,
    .on_end = on_end,
    .on_closed = on_closed,
    .on_above_watermark = on_above,
    .on_below_watermark = on_below,
    .on_drained = on_drained,
};

static void on_again(struct turn_task *t)
{
    struct http_client_conn *c = of(CONTAINER_OF(t, http_client_conn, again));

    check_context.connection_id = conn_id(c->conn);
    if (c->codec)
        c->codec->on_data(c);
    else
        start(c);
}

void client_conn_again(struct http_client_conn *c)
{
    if (!c->dead)
        loop_at_turn_end(conn_loop(c->conn), &c->again);
}

static void on_life(struct timer *t)
{
    struct http_client_conn *c = of(CONTAINER_OF(t, http_client_conn, life));

    if (c->handler->on_max_duration)
        c->handler->on_max_duration(c->user, c);
    http_client_conn_drain(c);
}

/* ---- public ---- */

struct http_client_conn *http_client_conn_new(struct conn *take_conn, enum http_protocol protocol,
                                              bool alpn, const struct http_client_opts *keep_opts,
                                              const struct http_client_handler *handler, void *user)
{
    struct http_client_conn *c = NEW(http_client_conn);

    c->magic = CLIENT_CONN_MAGIC;
    c->conn = take_conn;
    c->protocol = protocol;
    c->alpn = alpn;
    c->opts = keep_opts;
    c->handler = handler;
    c->user = user;
    c->again.run = on_again;
    timer_init(&c->life, conn_loop(take_conn), on_life);
    conn_set_watermark(take_conn, keep_opts->buffer_limit_bytes);
    conn_set_handler(take_conn, &conn_handler, c);
    if (conn_is_connected(take_conn))
        client_conn_again(c);
    return c;
}

uint32_t http_client_conn_capacity(const struct http_client_conn *c)
{
    return c->ready && !c->dead && !c->draining ? c->codec->capacity(c) : 0;
}

uint32_t http_client_conn_active_streams(const struct http_client_conn *c)
{
    return c->active;
}

uint64_t http_client_conn_requests(const struct http_client_conn *c)
{
    return c->requests;
}

enum http_protocol http_client_conn_protocol(const struct http_client_conn *c)
{
    return c->protocol;
}

struct http_stream *http_client_conn_stream(struct http_client_conn *c, struct http_sink *sink,
                                            struct arena *arena)
{
    return http_client_conn_capacity(c) ? c->codec->stream(c, sink, arena) : NULL;
}

struct conn *http_client_conn_conn(struct http_client_conn *c)
{
    return c->conn;
}

void http_client_conn_drain(struct http_client_conn *c)
{
    if (c->dead)
        return;
    c->draining = true;
    if (c->active == 0)
        client_conn_end(c, END_NOW, CONN_CLOSE_LOCAL);
    else if (c->codec && c->codec->drain)
        c->codec->drain(c);
}

void http_client_conn_close(struct http_client_conn *c)
{
    client_conn_end(c, END_NOW, CONN_CLOSE_LOCAL);
}
