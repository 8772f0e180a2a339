/* SPDX-License-Identifier: Apache-2.0
 *
 * The server half for HTTP/2: requests from streams, responses to them, draining by GOAWAY
 * (RFC 9113 section 6.8), 431 for header lists past the limits, and 100-continue where the proxy
 * above doesn't do it. Runs on the conn's loop; what both roles share is in h2_half.c.
 */
#include "http/h2_half.h"

static struct http_server_conn *conn_of(void *owner)
{
    return OBJECT(http_server_conn, SERVER_CONN_MAGIC, owner);
}

/* ---- responses ---- */

static bool is_gone(struct h2_http_stream *st)
{
    return st->finished || !st->codec;
}

static void send_informational(struct http_stream *s, struct headers *h)
{
    struct h2_http_stream *st = h2_stream_from(s);
    if (is_gone(st))
        return;
    h2_stream_informational(st->codec, h);
    h2_half_flush_later(st->half);
}

static void send_headers(struct http_stream *s, struct headers *h, bool end)
{
    struct h2_http_stream *st = h2_stream_from(s);
    if (is_gone(st))
        return;
    s->header_bytes_sent += h->bytes;
    s->wire_bytes_sent += h->bytes + 9;
    if (st->upgrade.p && str_eq(headers_get_id(h, HDR_STATUS), STR("101")))
        h = h2_upgrade_response_out(h, s->arena);
    st->local_ended |= end;
    if (!h || h2_stream_respond(st->codec, h, end) != 0)
        h2_http_stream_fail_later(st, STREAM_LOCAL, "http2.response_not_sendable");
    h2_half_flush_later(st->half);
}

static const struct http_stream_ops stream_ops = {
    .send_informational = send_informational,
    .send_headers = send_headers,
    .send_data = h2_op_send_data,
    .send_trailers = h2_op_send_trailers,
    .reset = h2_op_reset,
    .pause = h2_op_pause,
    .queued = h2_op_queued,
};

/* ---- requests ---- */

static struct arena *on_begin(void *ctx, struct h2_stream *codec, void **user)
{
    struct h2_half *half = ctx;
    if (half->dead)
        return NULL;
    struct h2_http_stream *st = h2_http_stream_new(half, &stream_ops);
    arena_init(&st->own, 0); /* the codec bounds what a peer puts there */
    st->base.arena = &st->own;
    st->base.is_server = true;
    st->base.id = h2_stream_id(codec);
    st->codec = codec;
    *user = st;
    half->heads_open++;
    return &st->own;
}

static void head_done(struct h2_http_stream *st)
{
    st->is_head_done = true;
    st->half->heads_open--;
}

/* RFC 9110 section 10.1.1: where a body is awaited, say at once that it is welcome. */
static void answer_continue(struct h2_http_stream *st, struct headers *h, bool end)
{
    struct http_server_conn *c = conn_of(st->half->owner);
    if (!headers_has_id(h, HDR_EXPECT) || !server_conn_answers_continue(c) ||
        !str_eq_nocase(headers_get_id(h, HDR_EXPECT), STR("100-continue")))
        return;
    headers_remove_id(h, HDR_EXPECT);
    struct headers *interim = end ? NULL : headers_new(&st->own);
    if (interim && headers_add_id_ref(interim, HDR_STATUS, STR("100")))
        h2_stream_informational(st->codec, interim);
}

static void begin_request(struct h2_http_stream *st, struct headers *h, bool end)
{
    struct http_server_conn *c = conn_of(st->half->owner);
    head_done(st);
    st->base.header_bytes_received = h->bytes;
    st->base.wire_bytes_received = h->bytes + 9;
    st->upgrade = h2_upgrade_request_in(h, loop_rng(conn_loop(c->conn)));
    h2_stream_set_watermark(st->codec, st->half->buffer_limit);
    answer_continue(st, h, end);
    check_context.stream_id = st->base.id;
    server_conn_stream_began(c);
    st->told = true;
    c->handler->on_stream(c->user, c, &st->base);
    if (!st->finished) {
        st->remote_ended = end;
        st->base.sink->ops->on_headers(st->base.sink, h, end);
    }
    if (!c->dead && !c->draining && server_conn_is_last_request(c))
        http_server_conn_drain(c);
}

static void on_headers(void *ctx, struct h2_stream *codec, struct headers *h, bool informational,
                       bool trailers, bool end)
{
    struct h2_half *half = ctx;
    (void)informational;
    if (half->dead)
        return;
    struct h2_http_stream *st = h2_stream_user(codec);
    if (trailers)
        h2_half_on_trailers(st, h);
    else
        begin_request(st, h, end);
}

/* The handler never learns of such a stream: it gets an answer, and ends. */
static void on_invalid(void *ctx, struct h2_stream *codec, unsigned status, const char *details)
{
    struct h2_half *half = ctx;
    if (half->dead)
        return;
    struct http_server_conn *c = conn_of(half->owner);
    struct h2_http_stream *st = h2_stream_user(codec);
    head_done(st);
    if (c->handler->on_protocol_error)
        c->handler->on_protocol_error(c->user, c, status, details);
    struct headers *h = half->dead ? NULL : headers_new(&st->own);
    if (!h)
        return;
    struct buf body = BUF_INIT;
    if (c->handler->local_reply)
        c->handler->local_reply(c->user, c, status, details, h, &body);
    if (!headers_has_id(h, HDR_STATUS))
        headers_add_id_ref(h, HDR_STATUS, arena_printf(&st->own, "%u", status));
    bool end = !body.len;
    if (!half->dead && st->codec && h2_stream_respond(codec, h, end) == 0 && !end)
        h2_stream_send_data(codec, &body, true);
    buf_fini(&body);
}

/* ---- the connection ---- */

static void on_goaway(void *ctx, uint32_t last_stream_id, uint32_t error_code)
{
    (void)ctx, (void)last_stream_id, (void)error_code; /* we open no streams; the peer closes when it is done */
}

static void on_settings(void *ctx)
{
    (void)ctx;
}

static void on_stat(void *ctx, enum h2_stat stat)
{
    struct h2_half *half = ctx;
    struct http_server_conn *c = conn_of(half->owner);
    if (!half->dead && c->handler->on_h2_stat)
        c->handler->on_h2_stat(c->user, c, stat);
}

static const struct h2_callbacks callbacks = {
    .on_begin = on_begin,
    .on_headers = on_headers,
    .on_data = h2_half_on_data,
    .on_close = h2_half_on_close,
    .on_goaway = on_goaway,
    .on_ping_ack = h2_half_on_ping_ack,
    .on_settings = on_settings,
    .on_stream_sent = h2_half_on_stream_sent,
    .on_invalid = on_invalid,
    .on_stat = on_stat,
};

static void role_end(void *owner, enum end_how how, enum conn_close why, const char *details)
{
    struct http_server_conn *c = conn_of(owner);
    if (details && c->handler->on_protocol_error)
        c->handler->on_protocol_error(c->user, c, 0, details);
    server_conn_end(c, how, why);
}

static void role_stream_ended(void *owner)
{
    struct http_server_conn *c = conn_of(owner);
    struct h2_half *half = c->half;
    server_conn_stream_ended(c);
    if (c->draining)
        h2_half_flush_later(half);
}

static void send_final_goaway(struct h2_half *half)
{
    if (half->final_goaway)
        return;
    half->final_goaway = true;
    h2_session_goaway(half->session, H2_NO_ERROR, false);
}

static void role_settle(void *owner)
{
    struct http_server_conn *c = conn_of(owner);
    struct h2_half *half = c->half;
    if (!c->draining || !list_is_empty(&half->streams))
        return;
    send_final_goaway(half);
    h2_half_flush_now(half);
    if (!h2_session_wants_write(half->session))
        server_conn_end(c, END_FLUSHED, CONN_CLOSE_LOCAL);
}

static const struct h2_role role = {role_end, role_stream_ended, role_settle};

static void start(struct http_server_conn *c)
{
    const struct http_server_opts *o = c->opts;
    struct h2_keepalive keepalive = {o->h2_ping_interval_ms, o->h2_ping_timeout_ms,
                                     o->h2_idle_ping_ms, o->h2_ping_jitter_pct};
    struct h2_opts opts = o->h2;
    opts.is_server = true;
    c->half = h2_half_new(c->conn, c, &role, &opts, &callbacks, &keepalive, o->buffer_limit_bytes);
    if (!c->half)
        server_conn_end(c, END_NOW, CONN_CLOSE_LOCAL);
}

static void on_data(struct http_server_conn *c)
{
    struct h2_half *half = c->half;
    h2_half_feed(half);
    if (!c->dead)
        server_conn_await_head(c, half->heads_open > 0);
}

static void on_end(struct http_server_conn *c)
{
    h2_half_feed(c->half);
    if (!c->dead)
        server_conn_end(c, END_NOW, CONN_CLOSE_REMOTE_EOF);
}

static void on_watermark(struct http_server_conn *c, bool above)
{
    h2_half_on_watermark(c->half, above);
}

static void on_drained(struct http_server_conn *c)
{
    h2_half_on_drained(c->half);
}

static void drain(struct http_server_conn *c, bool final)
{
    struct h2_half *half = c->half;
    if (final)
        send_final_goaway(half);
    else if (!list_is_empty(&half->streams))
        h2_session_goaway(half->session, H2_NO_ERROR, true);
    h2_half_flush_later(half); /* settles: without streams it ends there */
}

static void destroy(struct http_server_conn *c, enum stream_reset why, const char *details)
{
    if (c->half)
        h2_half_destroy(c->half, why, details);
}

const struct server_codec_ops h2_server_ops = {
    .protocol = HTTP_2,
    .start = start,
    .on_data = on_data,
    .on_end = on_end,
    .on_watermark = on_watermark,
    .on_drained = on_drained,
    .drain = drain,
    .destroy = destroy,
};
