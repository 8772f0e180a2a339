/* SPDX-License-Identifier: Apache-2.0
 *
 * The client half for HTTP/2: requests on streams, within what the peer allows; GOAWAY (streams above
 * its last one are refused, which is safe to replay: RFC 9113 section 6.8); upgrades as extended
 * CONNECT once the peer's SETTINGS are known (RFC 8441). Runs on the conn's loop; what both roles
 * share is in h2_half.c.
 */
#include "http/h2_half.h"

static struct http_client_conn *conn_of(void *owner)
{
    return OBJECT(http_client_conn, CLIENT_CONN_MAGIC, owner);
}

/* ---- requests ---- */

static void open_stream(struct h2_http_stream *st, const struct headers *h, bool end)
{
    struct http_stream *s = &st->base;
    s->header_bytes_sent += h->bytes;
    s->wire_bytes_sent += h->bytes + 9;
    st->codec = h2_session_request(st->half->session, h, end, s->arena, st);
    if (!st->codec) {
        h2_http_stream_fail_later(st, STREAM_LOCAL_REFUSED, "http2.no_stream");
        return;
    }
    s->id = h2_stream_id(st->codec);
    h2_stream_set_watermark(st->codec, st->half->buffer_limit);
    h2_half_flush_later(st->half);
}

/* What was sent meanwhile waits in `pending`. */
static void open_upgrade(struct h2_http_stream *st)
{
    struct headers *connect = st->held_head;
    st->held_head = NULL;
    if (!h2_session_peer_allows_connect(st->half->session)) {
        h2_http_stream_fail_later(st, STREAM_PROTOCOL_ERROR, "http2.extended_connect_not_allowed");
        return;
    }
    open_stream(st, connect, false);
    if (st->codec && (st->pending.len || st->local_ended))
        h2_stream_send_data(st->codec, &st->pending, st->local_ended);
}

static void send_headers(struct http_stream *s, struct headers *h, bool end)
{
    struct h2_http_stream *st = h2_stream_from(s);
    if (st->finished || st->codec)
        return;
    st->local_ended = end;
    if (!headers_is_upgrade(h)) {
        open_stream(st, h, end);
        return;
    }
    st->upgrade = headers_get_id(h, HDR_UPGRADE);
    st->held_head = h2_upgrade_request_out(h, s->arena);
    if (!st->held_head)
        h2_http_stream_fail_later(st, STREAM_LOCAL, "http2.header_overflow");
    else if (st->half->settings_received)
        open_upgrade(st);
}

static void send_informational(struct http_stream *s, struct headers *h)
{
    (void)s, (void)h; /* a client has none */
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

static uint32_t limit_of(const struct http_client_conn *c)
{
    const struct h2_half *half = c->half;
    uint32_t peer = h2_session_peer_max_streams(half->session);
    uint32_t own = c->opts->h2.max_concurrent_streams;
    return peer < own ? peer : own;
}

static uint32_t capacity(const struct http_client_conn *c)
{
    uint32_t limit = limit_of(c);
    return limit > c->active ? limit - c->active : 0;
}

static struct http_stream *stream(struct http_client_conn *c, struct http_sink *sink, struct arena *arena)
{
    struct h2_half *half = c->half;
    h2_half_ping_if_idle(half);
    struct h2_http_stream *st = h2_http_stream_new(half, &stream_ops);
    st->base.sink = sink;
    st->base.arena = arena;
    st->base.reused_connection = c->requests > 0;
    st->told = true;
    client_conn_stream_began(c);
    return &st->base;
}

/* ---- responses ---- */

static bool is_success(struct str status)
{
    return status.n == 3 && status.p[0] == '2';
}

static void on_headers(void *ctx, struct h2_stream *codec, struct headers *h, bool informational,
                       bool trailers, bool end)
{
    struct h2_half *half = ctx;
    if (half->dead)
        return;
    struct h2_http_stream *st = h2_stream_user(codec);
    struct http_sink *sink = st->base.sink;
    st->base.header_bytes_received += h->bytes;
    st->base.wire_bytes_received += h->bytes + 9;
    if (trailers) {
        h2_half_on_trailers(st, h);
    } else if (informational) {
        if (sink->ops->on_informational)
            sink->ops->on_informational(sink, h);
    } else {
        if (st->upgrade.p && !end && is_success(headers_get_id(h, HDR_STATUS)))
            h2_upgrade_response_in(h, st->upgrade);
        st->remote_ended = end;
        sink->ops->on_headers(sink, h, end);
    }
}

/* ---- the connection ---- */

static struct arena *on_begin(void *ctx, struct h2_stream *codec, void **user)
{
    (void)ctx, (void)codec, (void)user; /* pushed streams: SETTINGS_ENABLE_PUSH is 0 */
    return NULL;
}

static void on_goaway(void *ctx, uint32_t last_stream_id, uint32_t error_code)
{
    struct h2_half *half = ctx;
    (void)last_stream_id, (void)error_code; /* the codec closes what lies above */
    if (!half->dead)
        client_conn_goaway(conn_of(half->owner));
}

/* The first SETTINGS say whether upgrades may go out, and each may allow more streams. */
static void on_settings(void *ctx)
{
    struct h2_half *half = ctx;
    if (half->dead)
        return;
    struct http_client_conn *c = conn_of(half->owner);
    half->settings_received = true;
    LIST_EACH(node, safe, &half->streams) {
        struct h2_http_stream *st = LIST_ENTRY(node, h2_http_stream, node);
        if (st->held_head)
            open_upgrade(st);
    }
    if (c->ready && !c->draining && c->handler->on_capacity)
        c->handler->on_capacity(c->user, c);
}

static void on_stat(void *ctx, enum h2_stat stat)
{
    struct h2_half *half = ctx;
    struct http_client_conn *c = conn_of(half->owner);
    if (!half->dead && c->handler->on_h2_stat)
        c->handler->on_h2_stat(c->user, c, stat);
}

static void on_invalid(void *ctx, struct h2_stream *codec, unsigned status, const char *details)
{
    (void)ctx, (void)codec, (void)status, (void)details; /* servers only */
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
    struct http_client_conn *c = conn_of(owner);
    if (details && c->handler->on_protocol_error)
        c->handler->on_protocol_error(c->user, c, details);
    client_conn_end(c, how, why);
}

static void role_stream_ended(void *owner)
{
    client_conn_stream_ended(conn_of(owner));
}

static void role_settle(void *owner)
{
    (void)owner; /* client_conn_stream_ended ends a draining connection */
}

static const struct h2_role role = {role_end, role_stream_ended, role_settle};

static void start(struct http_client_conn *c)
{
    const struct http_client_opts *o = c->opts;
    struct h2_keepalive keepalive = {o->h2_ping_interval_ms, o->h2_ping_timeout_ms,
                                     o->h2_idle_ping_ms, o->h2_ping_jitter_pct};
    struct h2_opts opts = o->h2;
    opts.is_server = false;
    c->half = h2_half_new(c->conn, c, &role, &opts, &callbacks, &keepalive, o->buffer_limit_bytes);
    if (!c->half)
        client_conn_end(c, END_NOW, CONN_CLOSE_LOCAL);
}

static void on_data(struct http_client_conn *c)
{
    h2_half_feed(c->half);
}

static void on_end(struct http_client_conn *c)
{
    h2_half_feed(c->half);
    if (!c->dead)
        client_conn_end(c, END_NOW, CONN_CLOSE_REMOTE_EOF);
}

static void on_watermark(struct http_client_conn *c, bool above)
{
    h2_half_on_watermark(c->half, above);
}

static void on_drained(struct http_client_conn *c)
{
    h2_half_on_drained(c->half);
}

static void destroy(struct http_client_conn *c, enum stream_reset why, const char *details)
{
    if (c->half)
        h2_half_destroy(c->half, why, details);
}

const struct client_codec_ops h2_client_ops = {
    .protocol = HTTP_2,
    .ready_at_start = true,
    .start = start,
    .on_data = on_data,
    .on_end = on_end,
    .on_watermark = on_watermark,
    .on_drained = on_drained,
    .capacity = capacity,
    .stream = stream,
    .destroy = destroy,
};
