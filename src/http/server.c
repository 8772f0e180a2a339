/* SPDX-License-Identifier: Apache-2.0
 *
 * Server connections, the part that both protocols share: who owns the conn, which codec reads it,
 * idle and lifetime timers, draining, and the order of an ending. Runs on the conn's loop.
 *
 *     sniffing --(codec fixed, ALPN, first bytes)--> codec --> dead
 *
 * Invariants: on_closed comes exactly once and last; `dead` is set before anybody is told; memory
 * goes at the turn's end. Idle connections hold this struct and nothing else.
 */
#include "http/http_priv.h"

#include "base/mem.h"
#include "io/tls.h"

static const char h2_preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
#define H2_PREFACE_BYTES (sizeof(h2_preface) - 1)

static struct http_server_conn *of(void *user)
{
    return OBJECT(http_server_conn, SERVER_CONN_MAGIC, user);
}

static void destroy(struct deferred *d)
{
    struct http_server_conn *c = CONTAINER_OF(d, http_server_conn, deferred);

    c->magic = 0;
    mem_free(c);
}

static void leave_conn(struct conn *conn, enum end_how how, enum conn_close why, uint64_t delay_ms)
{
    if (how == END_GONE)
        return;
    conn_set_handler(conn, NULL, NULL);
    if (how == END_SAID_ALL) {
        conn_close_flushed(conn, delay_ms);
        return;
    }
    if (how == END_FLUSHED && delay_ms) {
        conn_close_delayed(conn, delay_ms);
        return;
    }
    if (how == END_FLUSHED)
        conn_flush_now(conn);
    if (how == END_RESET)
        conn_reset(conn);
    conn_close(conn, why);
}

void server_conn_end(struct http_server_conn *c, enum end_how how, enum conn_close why)
{
    if (c->dead)
        return;
    c->dead = true;
    timer_clear(&c->timer);
    timer_clear(&c->life);
    turn_task_cancel(&c->again);

    struct loop *loop = conn_loop(c->conn);
    uint64_t delay_ms = c->opts->delayed_close_ms;

    if (c->codec)
        c->codec->destroy(c, STREAM_TERMINATED, "");
    if (how == END_FLUSHED && conn_out(c->conn)->len == 0 && why != CONN_CLOSE_LOCAL)
        how = END_NOW; /* the peer left and nothing waits for it */
    if (how == END_FLUSHED && delay_ms && c->handler->on_delayed_close)
        c->handler->on_delayed_close(c->user, c->conn);
    c->handler->on_closed(c->user, c, why == CONN_CLOSE_LOCAL, why);
    leave_conn(c->conn, how, why, delay_ms);
    loop_defer(loop, &c->deferred, destroy);
}

/* ---- timers ---- */

static uint64_t idle_us(const struct http_server_conn *c)
{
    uint64_t us = c->opts->idle_timeout_ms * 1000;
    return c->opts->idle_us ? c->opts->idle_us(us) : us;
}

static void start_idle(struct http_server_conn *c)
{
    c->awaiting_head = false;
    if (c->opts->idle_timeout_ms)
        timer_set_us(&c->timer, idle_us(c));
}

void http_server_conn_retime(struct http_server_conn *c)
{
    if (c->dead || c->awaiting_head || c->active || !timer_is_set(&c->timer))
        return;
    uint64_t us = idle_us(c);
    if (loop_now_us(conn_loop(c->conn)) + us < c->timer.due_us)
        timer_set_us(&c->timer, us);
}

static void tell_limit(struct http_server_conn *c, enum http_server_limit which)
{
    if (c->handler->on_limit)
        c->handler->on_limit(c->user, which);
}

static void on_timer(struct timer *t)
{
    struct http_server_conn *c = of(CONTAINER_OF(t, http_server_conn, timer));

    if (c->awaiting_head) {
        c->awaiting_head = false;
        tell_limit(c, HTTP_LIMIT_HEAD_TIME);
        if (c->codec && c->codec->on_headers_timeout)
            c->codec->on_headers_timeout(c);
        else
            server_conn_end(c, END_NOW, CONN_CLOSE_LOCAL);
        return;
    }
    if (c->active) /* set again when the last stream ends */
        return;
    if (c->handler->on_idle_timeout)
        c->handler->on_idle_timeout(c->user, c);
    if (!c->dead)
        http_server_conn_drain(c);
}

static void on_life(struct timer *t)
{
    struct http_server_conn *c = of(CONTAINER_OF(t, http_server_conn, life));

    if (!c->draining) {
        tell_limit(c, HTTP_LIMIT_AGE);
        http_server_conn_drain(c);
    } else if (c->codec) {
        c->codec->drain(c, true);
    }
}

void server_conn_await_head(struct http_server_conn *c, bool on)
{
    if (on == c->awaiting_head)
        return;
    if (!on) {
        /* Left running: with a stream active it is ignored, and the next idle start moves it. */
        c->awaiting_head = false;
    } else if (c->opts->request_headers_timeout_ms) {
        c->awaiting_head = true;
        timer_set_ms(&c->timer, c->opts->request_headers_timeout_ms);
    }
}

/* ---- streams ---- */

void server_conn_stream_began(struct http_server_conn *c)
{
    c->active++;
    c->requests++;
    if (c->requests == c->opts->max_requests_per_connection)
        tell_limit(c, HTTP_LIMIT_REQUESTS);
}

void server_conn_stream_ended(struct http_server_conn *c)
{
    DCHECK(c->active > 0);
    if (--c->active == 0 && !c->dead)
        start_idle(c);
}

bool server_conn_is_last_request(const struct http_server_conn *c)
{
    return c->opts->max_requests_per_connection &&
           c->requests >= c->opts->max_requests_per_connection;
}

/* ---- choice of codec ---- */

static void use_codec(struct http_server_conn *c, const struct server_codec_ops *ops)
{
    c->codec = ops;
    server_conn_await_head(c, false);
    if (!c->active)
        start_idle(c);
    if (c->handler->on_codec)
        c->handler->on_codec(c->user, c, ops->protocol);
    if (!c->dead)
        ops->start(c);
    if (!c->dead)
        ops->on_data(c);
}

/* How many of conn_in's first bytes agree with HTTP/2's preface; -1 when one differs. */
static int match_preface(const struct buf *in)
{
    char head[H2_PREFACE_BYTES];
    size_t n = buf_copy_out(in, 0, head, sizeof(head));

    return memcmp(head, h2_preface, n) == 0 ? (int)n : -1;
}

static const struct server_codec_ops *alpn_codec(const struct http_server_conn *c)
{
    struct tls_session *tls = conn_tls(c->conn);
    struct str alpn = tls ? tls_session_alpn(tls) : STR_NULL;

    if (str_eq(alpn, STR("h2")))
        return &h2_server_ops;
    if (str_eq(alpn, STR("http/1.1")) || str_eq(alpn, STR("http/1.0")))
        return &h1_server_ops;
    return NULL;
}

static void choose_codec(struct http_server_conn *c)
{
    const struct server_codec_ops *ops = NULL;

    if (c->opts->codec == HTTP_CODEC_H1)
        ops = &h1_server_ops;
    else if (c->opts->codec == HTTP_CODEC_H2)
        ops = &h2_server_ops;
    else
        ops = alpn_codec(c);
    if (!ops) {
        int n = match_preface(conn_in(c->conn));

        if (n >= 0 && n < (int)H2_PREFACE_BYTES) {
            server_conn_await_head(c, true);
            return;
        }
        ops = n < 0 ? &h1_server_ops : &h2_server_ops;
    }
    use_codec(c, ops);
}

/* ---- events of the conn ---- */

static void on_connected(struct conn *conn, void *user)
{
    (void)conn;
    (void)user; /* TLS came up after the handler was set: the first bytes decide */
}

static void on_data(struct conn *conn, void *user)
{
    struct http_server_conn *c = of(user);

    check_context.connection_id = conn_id(conn);
    if (c->codec)
        c->codec->on_data(c);
    else if (conn_in(conn)->len)
        choose_codec(c);
}

static void on_end(struct conn *conn, void *user)
{
    struct http_server_conn *c = of(user);

    check_context.connection_id = conn_id(conn);
    if (c->codec)
        c->codec->on_end(c);
    else
        server_conn_end(c, END_NOW, CONN_CLOSE_REMOTE_EOF);
}

static void on_closed(struct conn *conn, void *user, enum conn_close why)
{
    (void)conn;
    server_conn_end(of(user), END_GONE, why);
}

static void on_watermark(struct http_server_conn *c, bool above)
{
    if (c->out_above == above)
        return;
    c->out_above = above;
    if (c->codec)
        c->codec->on_watermark(c, above);
}

static void on_above(struct conn *conn, void *user)
{
    (void)conn;
    on_watermark(of(user), true);
}

static void on_below(struct conn *conn, void *user)
{
    (void)conn;
    on_watermark(of(user), false);
}

static void on_drained(struct conn *conn, void *user)
{
    struct http_server_conn *c = of(user);

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
    struct http_server_conn *c = of(CONTAINER_OF(t, http_server_conn, again));

    check_context.connection_id = conn_id(c->conn);
    if (c->codec)
        c->codec->on_data(c);
}

void server_conn_again(struct http_server_conn *c)
{
    if (!c->dead)
        loop_at_turn_end(conn_loop(c->conn), &c->again);
}

/* ---- public ---- */

struct http_server_conn *http_server_conn_new(struct conn *take_conn,
                                              const struct http_server_opts *keep_opts,
                                              const struct http_server_handler *handler, void *user)
{
    struct http_server_conn *c = NEW(http_server_conn);

    c->magic = SERVER_CONN_MAGIC;
    c->conn = take_conn;
    c->opts = keep_opts;
    c->handler = handler;
    c->user = user;
    c->again.run = on_again;
    timer_init(&c->timer, conn_loop(take_conn), on_timer);
    timer_init(&c->life, conn_loop(take_conn), on_life);
    start_idle(c);
    if (keep_opts->max_connection_ms)
        timer_set_ms(&c->life, keep_opts->max_connection_ms);
    conn_set_watermark(take_conn, keep_opts->buffer_limit_bytes);
    conn_set_handler(take_conn, &conn_handler, c);
    return c;
}

struct conn *http_server_conn_conn(struct http_server_conn *c)
{
    return c->conn;
}

enum http_protocol http_server_conn_protocol(const struct http_server_conn *c)
{
    return c->codec ? c->codec->protocol : HTTP_11;
}

uint32_t http_server_conn_active_streams(const struct http_server_conn *c)
{
    return c->active;
}

void http_server_conn_drain(struct http_server_conn *c)
{
    if (c->dead || (c->draining && !c->retiring))
        return;
    c->draining = true;
    c->retiring = false;
    if (!c->codec) {
        server_conn_end(c, END_NOW, CONN_CLOSE_LOCAL);
        return;
    }
    timer_clear(&c->life);
    c->codec->drain(c, false);
    if (!c->dead)
        timer_set_ms(&c->life, c->opts->drain_timeout_ms);
}

void http_server_conn_retire(struct http_server_conn *c)
{
    if (c->codec && c->codec->protocol == HTTP_2)
        http_server_conn_drain(c);
    else if (!c->dead && !c->draining)
        c->draining = c->retiring = true;
}

bool http_server_conn_is_draining(const struct http_server_conn *c)
{
    return c->draining;
}

void http_server_conn_close(struct http_server_conn *c)
{
    server_conn_end(c, END_NOW, CONN_CLOSE_LOCAL);
}
