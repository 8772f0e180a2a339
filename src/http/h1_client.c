/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/1 client half (RFC 9112): one request at a time on a connection. Runs on the conn's loop.
 *
 *     idle -> request head -> body -> request done \
 *             response head (1xx any number before it) -> body -> response done -> (both) idle |
 * connection ends 101, or 2xx to CONNECT -> tunnel, each direction ends by itself
 *
 * Invariants: a connection is offered again only when both messages kept their framing, both sides
 * want to keep it, and not a byte is left over: what a server says unasked could be taken for the
 * answer to somebody else's request. Data for a tunnel is held until the peer has agreed to it.
 * Refuses: a second request before the first is over.
 */
#include "http/h1_common.h"

#include "base/mem.h"

/* 1xx responses before the final one: each costs arena memory that lives as long as the request. */
#define MAX_INFORMATIONAL 32

struct exchange {
    struct http_stream base;
    struct http_client_conn *c;
    struct deferred deferred;
    struct h1_parser parser;
    struct headers *head;
    struct buf held; /* for a tunnel that isn't there yet */
    struct h1_out_length out_length;
    enum h1_body_form form;
    uint32_t pauses;
    uint8_t informational;
    bool closed;            /* on_closed was told */
    uint64_t wire_before;   /* what the connection had sent before this request */
    bool in_begun, in_done; /* final response */
    bool eof;
    bool out_begun, out_done;
    bool held_end, held_above;
    bool tunnel_wanted, tunnel;
    bool is_head, is_connect;
    bool last; /* the connection ends with this exchange */
    bool big_reads;
};

static __thread struct recycler exchanges = {
    .max_idle = 256,
    .object_bytes = sizeof(struct exchange),
};

static const struct http_stream_ops stream_ops;

static struct exchange *of(struct http_stream *s)
{
    return CONTAINER_OF(s, exchange, base);
}

/* ---- life of an exchange ---- */

static struct http_stream *begin(struct http_client_conn *c, struct http_sink *sink,
                                 struct arena *arena)
{
    struct exchange *x = recycler_get(&exchanges);

    memset(x, 0, sizeof(*x));
    x->c = c;
    x->base.ops = &stream_ops;
    x->base.sink = sink;
    x->base.conn = c->conn;
    x->base.arena = arena;
    x->base.id = c->requests;
    x->base.protocol = HTTP_11;
    x->base.reused_connection = c->requests > 0;
    x->wire_before = conn_wire_written(c->conn);
    h1_parser_init(&x->parser, &c->opts->h1);
    c->half = x;
    client_conn_stream_began(c);
    return &x->base;
}

static void recycle(struct deferred *d)
{
    recycler_put(&exchanges, CONTAINER_OF(d, exchange, deferred));
}

/* Tells the sink and lets x go. The connection ends with it unless it is as good as new. */
static void close_exchange(struct exchange *x, bool reusable, enum stream_reset why,
                           const char *details)
{
    struct http_client_conn *c = x->c;

    x->closed = true;
    c->half = NULL;
    if (why == STREAM_TERMINATED)
        x->base.request_never_arrived = !conn_peer_acknowledged(c->conn, x->wire_before);
    buf_fini(&x->held);
    if (x->pauses)
        conn_read_resume(c->conn);
    x->pauses = 0;
    if (x->big_reads)
        conn_set_read_chunk(c->conn, BUF_BLOCK_BYTES);
    if (!reusable)
        c->draining = true;
    loop_defer(conn_loop(c->conn), &x->deferred, recycle);
    x->base.sink->ops->on_closed(x->base.sink, why, details);
    client_conn_stream_ended(c);
}

static void complete(struct exchange *x)
{
    bool reusable = !x->last && !x->tunnel && conn_in(x->c->conn)->len == 0;

    close_exchange(x, reusable, STREAM_OK, "");
}

static void complete_if_over(struct exchange *x)
{
    if (!x->c->dead && !x->closed && x->in_done && x->out_done)
        complete(x);
}

/* The response isn't HTTP (RFC 9112 section 6.3), or answers what wasn't asked. */
static void fail(struct exchange *x, const char *details)
{
    struct http_client_conn *c = x->c;

    if (c->handler->on_protocol_error)
        c->handler->on_protocol_error(c->user, c, details);
    if (!x->closed)
        close_exchange(x, false, STREAM_PROTOCOL_ERROR, details);
}

/* ---- reading ---- */

static void raise_reads(struct exchange *x)
{
    const struct h1_head *head = &x->parser.head;

    if (x->in_done || (head->has_length && head->content_length <= BUF_BLOCK_BYTES))
        return;
    x->big_reads = true;
    conn_set_read_chunk(x->c->conn, H1_BODY_CHUNK_BYTES);
}

static void open_tunnel(struct exchange *x)
{
    struct buf *out = conn_out(x->c->conn);

    x->tunnel = true;
    x->form = H1_BODY_TUNNEL;
    h1_parser_tunnel(&x->parser);
    x->base.bytes_sent += x->held.len;
    x->base.wire_bytes_sent += x->held.len;
    buf_move(out, &x->held);
    conn_flush_later(x->c->conn);
    if (x->held_end) {
        x->out_done = true;
        conn_shutdown_write(x->c->conn);
    }
}

/* The peer answered the wish for a tunnel like any other request: nothing follows the head that we
 * sent. */
static void drop_tunnel(struct exchange *x)
{
    x->tunnel_wanted = false;
    x->out_done = true;
    buf_fini(&x->held);
    x->last |= x->is_connect;
}

static void unhold(struct exchange *x)
{
    if (!x->held_above)
        return;
    x->held_above = false;
    if (x->base.sink->ops->on_watermark)
        x->base.sink->ops->on_watermark(x->base.sink, false);
}

static void deliver_informational(struct exchange *x)
{
    struct http_client_conn *c = x->c;
    struct headers *h = x->head;
    struct buf none = BUF_INIT;
    enum h1_event ev = h1_parser_next(&x->parser, conn_in(c->conn), h, &none);

    x->head = NULL;
    if (ev != H1_DONE || ++x->informational > MAX_INFORMATIONAL) {
        fail(x, "http1.codec_error");
        return;
    }
    if (x->base.sink->ops->on_informational)
        x->base.sink->ops->on_informational(x->base.sink, h);
}

static bool is_tunnel_answer(const struct exchange *x)
{
    unsigned status = x->parser.head.status;

    return x->is_connect ? status / 100 == 2 : status == 101;
}

static void read_end_of_empty(struct exchange *x)
{
    struct buf none = BUF_INIT;

    x->in_done = h1_parser_next(&x->parser, conn_in(x->c->conn), x->head, &none) == H1_DONE;
    DCHECK(x->in_done);
}

static void deliver_head(struct exchange *x)
{
    const struct h1_head *head = &x->parser.head;

    if (head->status / 100 == 1 && head->status != 101) {
        deliver_informational(x);
        return;
    }
    if (head->status == 101 && (!x->tunnel_wanted || x->is_connect)) {
        fail(x, "http1.codec_error"); /* nobody asked to switch (RFC 9110 section 7.8) */
        return;
    }
    x->in_begun = true;
    x->last |= !head->keep_alive || head->until_close;
    if (head->minor == 0)
        x->base.protocol = HTTP_10;
    if (x->tunnel_wanted && is_tunnel_answer(x))
        open_tunnel(x);
    else if (x->tunnel_wanted)
        drop_tunnel(x);
    if (head->no_body && !x->tunnel)
        read_end_of_empty(x);
    raise_reads(x);
    x->base.sink->ops->on_headers(x->base.sink, x->head, x->in_done);
    if (!x->c->dead && !x->closed)
        unhold(x);
    complete_if_over(x);
}

static bool read_head(struct exchange *x)
{
    struct buf *in = conn_in(x->c->conn), none = BUF_INIT;
    size_t before = in->len;

    if (!x->head && !(x->head = headers_new(x->base.arena))) {
        fail(x, "http1.codec_error");
        return false;
    }
    enum h1_event ev = h1_parser_next(&x->parser, in, x->head, &none);

    if (ev == H1_HEAD)
        x->base.header_bytes_received += h1_fields_read_bytes(x->head);
    x->base.wire_bytes_received += before - in->len;
    if (ev == H1_FAILED)
        fail(x, h1_error_details(x->parser.error));
    if (ev != H1_HEAD)
        return false;
    deliver_head(x);
    return true;
}

static bool deliver_body(struct exchange *x, struct buf *body, bool end)
{
    x->base.bytes_received += body->len;
    x->in_done |= end;
    if (body->len || end)
        x->base.sink->ops->on_data(x->base.sink, body, end);
    buf_fini(body);
    return !x->c->dead && !x->closed;
}

static bool read_body(struct exchange *x)
{
    struct buf *in = conn_in(x->c->conn), body = BUF_INIT;
    struct headers *trailers = NULL;
    size_t before = in->len;
    enum h1_event ev = h1_gather(&x->parser, in, &body, &trailers, x->base.arena);

    x->base.wire_bytes_received += before - in->len;
    switch (ev) {
    case H1_TRAILERS:
        if (!deliver_body(x, &body, false))
            return false;
        x->in_done = h1_gather(&x->parser, in, &body, &trailers, x->base.arena) == H1_DONE;
        x->base.sink->ops->on_trailers(x->base.sink, trailers);
        break;
    case H1_DONE:
        deliver_body(x, &body, true);
        break;
    case H1_FAILED:
        buf_fini(&body);
        fail(x, h1_error_details(x->parser.error));
        return false;
    default:
        if (deliver_body(x, &body, x->tunnel && x->eof) && !x->in_done)
            return false;
    }
    complete_if_over(x);
    return true;
}

/* Bytes that no request asked for: a 408 before closing, or an attempt to poison the next one. */
static void refuse_unasked(struct http_client_conn *c)
{
    struct buf *in = conn_in(c->conn);
    char head[12];
    size_t n = buf_copy_out(in, 0, head, sizeof(head));
    bool is_408 = n == sizeof(head) && memcmp(head + 8, " 408", 4) == 0;

    if (!is_408 && c->handler->on_protocol_error)
        c->handler->on_protocol_error(c->user, c, "http1.codec_error");
    client_conn_end(c, END_NOW, CONN_CLOSE_LOCAL);
}

static bool step(struct http_client_conn *c)
{
    struct exchange *x = c->half;
    bool empty = conn_in(c->conn)->len == 0;

    if (!x || !x->out_begun) {
        if (!empty)
            refuse_unasked(c);
        return false;
    }
    if (x->pauses || (empty && !(x->eof && x->tunnel)))
        return false;
    if (!x->in_begun)
        return read_head(x);
    if (x->in_done) { /* more than one answer */
        x->last = true;
        return false;
    }
    return read_body(x);
}

static void read_eof(struct http_client_conn *c)
{
    struct exchange *x = c->half;

    if (x->pauses) /* told when it reads again */
        return;
    if (x->tunnel) /* read_body told it; our own direction may go on */
        return;
    if (x->in_begun && !x->in_done && h1_parser_eof(&x->parser) == H1_DONE) {
        struct buf none = BUF_INIT;

        if (deliver_body(x, &none, true))
            complete_if_over(x);
        if (c->dead || x->closed)
            return;
    }
    /* A head or body that was cut off is no HTTP message (RFC 9112 section 8); no byte at all is a closed connection. */
    if (x->in_begun ? !x->in_done : conn_in(c->conn)->len > 0)
        fail(x, "http1.codec_error");
    client_conn_end(c, END_NOW, CONN_CLOSE_REMOTE_EOF);
}

static void on_data(struct http_client_conn *c)
{
    if (c->in_codec)
        return;
    c->in_codec = true;
    while (!c->dead && step(c))
        ;
    c->in_codec = false;

    struct exchange *x = c->half;

    if (!c->dead && x && x->eof)
        read_eof(c);
}

static void on_end(struct http_client_conn *c)
{
    struct exchange *x = c->half;

    if (!x) {
        client_conn_end(c, END_NOW, CONN_CLOSE_REMOTE_EOF);
        return;
    }
    x->eof = true;
    x->last = true;
    on_data(c);
}

static void on_watermark(struct http_client_conn *c, bool above)
{
    struct exchange *x = c->half;

    if (x && x->base.sink->ops->on_watermark)
        x->base.sink->ops->on_watermark(x->base.sink, above);
}

static void start(struct http_client_conn *c)
{
    (void)c;
}

static uint32_t capacity(const struct http_client_conn *c)
{
    return c->half ? 0 : 1;
}

static void destroy(struct http_client_conn *c, enum stream_reset why, const char *details)
{
    if (c->half)
        close_exchange(c->half, false, why, details);
}

/* ---- writing: the stream's side ---- */

static void request_done(struct exchange *x)
{
    x->out_done = true;
    if (x->out_length.known && x->out_length.left) {
        /* Shorter than promised: the peer would wait for the rest, or take the next request for it.
         */
        stream_reset(&x->base, STREAM_LOCAL);
        return;
    }
    if (x->tunnel && !x->in_done)
        conn_shutdown_write(x->c->conn);
    complete_if_over(x);
}

static void read_request(struct exchange *x, struct headers *h)
{
    struct str method = headers_get_id(h, HDR_METHOD);

    x->is_head = str_eq(method, STR("HEAD"));
    x->is_connect = str_eq(method, STR("CONNECT"));
    h1_parser_expect_response_to(&x->parser, x->is_head, x->is_connect);
}

static void s_headers(struct http_stream *s, struct headers *h, bool end)
{
    struct exchange *x = of(s);
    struct http_client_conn *c = x->c;
    struct buf *out = conn_out(c->conn);
    size_t before = out->len;

    if (x->closed || x->out_begun)
        return;
    read_request(x, h);
    x->last |= h1_take_close(h);
    x->tunnel_wanted = x->is_connect || headers_is_upgrade(h);
    x->out_begun = true;

    struct h1_write_opts opts = {
        .end = end,
        .close = x->last,
        .upgrade = x->tunnel_wanted,
        .enable_trailers = c->opts->h1_enable_trailers,
        .name_case = c->opts->h1_name_case,
    };

    if (!h1_write_request(out, h, &opts, &x->form)) {
        stream_reset(s, STREAM_PROTOCOL_ERROR); /* a field that would split the request */
        return;
    }
    h1_out_length_begin(&x->out_length, x->form, h);
    x->base.header_bytes_sent += h1_fields_written_bytes(h, out->len - before);
    x->base.wire_bytes_sent += out->len - before;
    conn_flush_later(c->conn);
    if (end && !x->tunnel_wanted)
        request_done(x);
}

/* Is this body for the tunnel, rather than the request's own? */
static bool is_for_tunnel(const struct exchange *x)
{
    return x->tunnel_wanted && !x->tunnel &&
           (x->form == H1_BODY_TUNNEL || x->form == H1_BODY_NONE ||
            (x->out_length.known && x->out_length.left == 0));
}

static void hold(struct exchange *x, struct buf *data, bool end)
{
    size_t limit = x->c->opts->buffer_limit_bytes;

    buf_move(&x->held, data);
    x->held_end |= end;
    if (x->held_above || !limit || x->held.len <= limit)
        return;
    x->held_above = true;
    if (x->base.sink->ops->on_watermark)
        x->base.sink->ops->on_watermark(x->base.sink, true);
}

static void s_data(struct http_stream *s, struct buf *data, bool end)
{
    struct exchange *x = of(s);
    struct buf *out = conn_out(x->c->conn);

    if (x->closed || x->out_done || !x->out_begun) {
        buf_fini(data);
        return;
    }
    if (is_for_tunnel(x)) {
        hold(x, data, end);
        return;
    }

    size_t before = out->len;

    if (x->form == H1_BODY_NONE)
        buf_fini(data);
    if (!h1_out_length_take(&x->out_length, data))
        x->last = true;
    x->base.bytes_sent += data->len;
    if (data->len)
        h1_write_body(out, x->form, data);
    if (end)
        h1_write_end(out, x->form, NULL, x->c->opts->h1_name_case);
    x->base.wire_bytes_sent += out->len - before;
    conn_flush_later(x->c->conn);
    if (end)
        request_done(x);
}

static void s_trailers(struct http_stream *s, struct headers *h)
{
    struct exchange *x = of(s);
    struct buf *out = conn_out(x->c->conn);
    bool keep = x->c->opts->h1_enable_trailers;
    size_t before = out->len;

    if (x->closed || x->out_done || !x->out_begun)
        return;
    if (is_for_tunnel(x)) {
        x->held_end = true;
        return;
    }
    h1_write_end(out, x->form, keep ? h : NULL, x->c->opts->h1_name_case);
    x->base.wire_bytes_sent += out->len - before;
    conn_flush_later(x->c->conn);
    request_done(x);
}

static void s_reset(struct http_stream *s, enum stream_reset why)
{
    struct exchange *x = of(s);

    if (x->closed)
        return;
    if (x->in_done &&
        x->out_done) /* from inside the last event: whoever has all may let go at once */
        complete(x);
    else
        close_exchange(x, !x->out_begun && !x->eof, why, "");
}

static void s_pause(struct http_stream *s, bool on)
{
    struct exchange *x = of(s);

    if (x->closed)
        return;
    if (on) {
        if (x->pauses++ == 0)
            conn_read_pause(x->c->conn);
        return;
    }
    DCHECK(x->pauses > 0);
    if (--x->pauses == 0) {
        conn_read_resume(x->c->conn); /* on_data follows if there is something */
        if (x->eof)
            client_conn_again(x->c);
    }
}

static size_t s_queued(const struct http_stream *s)
{
    const struct exchange *x = CONTAINER_OF(s, exchange, base);

    return x->closed ? 0 : conn_out(x->c->conn)->len + x->held.len;
}

static void s_informational(struct http_stream *s, struct headers *h)
{
    (void)s; /* clients send none (RFC 9110 section 15.2) */
    (void)h;
}

static const struct http_stream_ops stream_ops = {
    .send_informational = s_informational,
    .send_headers = s_headers,
    .send_data = s_data,
    .send_trailers = s_trailers,
    .reset = s_reset,
    .pause = s_pause,
    .queued = s_queued,
};

const struct client_codec_ops h1_client_ops = {
    .protocol = HTTP_11,
    .ready_at_start = true,
    .start = start,
    .on_data = on_data,
    .on_end = on_end,
    .on_watermark = on_watermark,
    .capacity = capacity,
    .stream = begin,
    .destroy = destroy,
};
