/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/1 server half (RFC 9112): one request at a time, each an exchange taken from a recycler when
 * its first byte is there and given back at the end of the turn in which it ended; between requests
 * a connection has none. Runs on the conn's loop.
 *
 *     no exchange -> head -> body -> request done \
 *                        response head -> body -> response done -> (both) no exchange | connection
 * ends 101, or 2xx to CONNECT -> tunnel, each direction ends by itself
 *
 * Invariants: the next request is parsed only when the previous exchange is over and what it queued
 * is below the watermark (a client that pipelines and doesn't read holds bounded memory). A
 * response is never followed by another one unless its own framing was kept. Refuses: requests
 * whose framing could be read in two ways (codec), and then answers and closes.
 */
#include "http/h1_common.h"

#include "base/mem.h"

/* Pipelined input past this stays in the kernel, where the peer feels it. */
#define PIPELINE_BYTES BUF_BLOCK_BYTES

struct exchange {
    struct http_stream base;
    struct http_server_conn *c;
    struct deferred deferred;
    struct h1_parser parser;
    struct arena arena;
    struct headers *head;
    struct h1_out_length out_length;
    enum h1_body_form form;
    uint32_t pauses;
    bool known;   /* the handler has seen it */
    bool closed;  /* on_closed was told */
    bool in_done; /* the request is complete */
    bool eof;     /* tunnel: the peer's end was read */
    bool out_begun, out_done;
    bool tunnel_wanted, tunnel;
    bool is_head, is_connect;
    bool wants_continue;
    bool last; /* the connection ends with this exchange */
    bool is_cut; /* the rest of the request won't be read */
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

static struct exchange *begin(struct http_server_conn *c)
{
    struct exchange *x = recycler_get(&exchanges);

    memset(x, 0, sizeof(*x));
    x->c = c;
    arena_init(&x->arena, 0);
    x->base.ops = &stream_ops;
    x->base.conn = c->conn;
    x->base.arena = &x->arena;
    x->base.id = c->requests;
    x->base.is_server = true;
    h1_parser_init(&x->parser, &c->opts->h1);
    c->half = x;
    return x;
}

static void recycle(struct deferred *d)
{
    struct exchange *x = CONTAINER_OF(d, exchange, deferred);

    arena_fini(&x->arena);
    recycler_put(&exchanges, x);
}

/* Detaches x from its connection, gives back what it held of the conn, and frees it at the turn's
 * end. */
static void let_go(struct exchange *x)
{
    struct http_server_conn *c = x->c;

    c->half = NULL;
    if (x->pauses)
        conn_read_resume(c->conn);
    if (c->in_paused)
        conn_read_resume(c->conn);
    c->in_paused = false;
    x->pauses = 0;
    if (x->big_reads)
        conn_set_read_chunk(c->conn, BUF_BLOCK_BYTES);
    loop_defer(conn_loop(c->conn), &x->deferred, recycle);
}

static void close_exchange(struct exchange *x, enum stream_reset why, const char *details)
{
    struct http_server_conn *c = x->c;

    x->closed = true;
    let_go(x);
    if (!x->known)
        return;
    if (x->base.sink)
        x->base.sink->ops->on_closed(x->base.sink, why, details);
    server_conn_stream_ended(c);
}

/* The client announced its last request, and that has been read to its end (RFC 9112 section 9.6). */
static bool has_said_all(const struct exchange *x)
{
    return x->known && !x->parser.head.keep_alive && !x->tunnel && !x->is_cut && !conn_in(x->c->conn)->len;
}

/* The exchange is over and went well. The connection goes on with what the peer sends next, or
 * ends. */
static void complete(struct exchange *x)
{
    struct http_server_conn *c = x->c;
    bool last = x->last || x->tunnel;
    enum end_how how = has_said_all(x) ? END_SAID_ALL : END_FLUSHED;

    close_exchange(x, STREAM_OK, "");
    if (c->dead)
        return;
    if (last || c->draining)
        server_conn_end(c, how, CONN_CLOSE_LOCAL);
    else if (!c->in_codec && conn_in(c->conn)->len)
        server_conn_again(c); /* not from inside the caller's stack */
}

/* The answer is out and the request isn't all read: what is here of it is skipped. Is the rest
 * still to come, then waiting for it would let the peer decide how long: the connection ends. */
static void skip_request(struct exchange *x)
{
    struct buf rest = BUF_INIT;
    struct headers *trailers = NULL;
    enum h1_event ev = h1_gather(&x->parser, conn_in(x->c->conn), &rest, &trailers, &x->arena);

    if (ev == H1_TRAILERS)
        ev = h1_gather(&x->parser, conn_in(x->c->conn), &rest, &trailers, &x->arena);
    buf_fini(&rest);
    x->in_done = true;
    if (ev != H1_DONE)
        x->last = x->is_cut = true;
}

static void response_done(struct exchange *x)
{
    x->out_done = true;
    if (x->out_length.known && x->out_length.left) /* shorter than promised */
        x->last = true;
    if (x->tunnel) {
        if (!x->in_done)
            conn_shutdown_write(x->c->conn);
    } else if (!x->in_done) {
        skip_request(x);
    }
    if (x->in_done)
        complete(x);
}

/* ---- answers of the codec's own ---- */

static void plain_reply(unsigned status, struct headers *h, struct buf *body)
{
    const char *reason = http_reason(status);
    char digits[20];

    buf_append_str(body, str_from(reason));
    headers_set_id(h, HDR_CONTENT_LENGTH, str_make(digits, u64_format(body->len, digits)));
    headers_set_id_ref(h, HDR_CONTENT_TYPE, STR("text/plain"));
}

static void write_reply(struct exchange *x, unsigned status, const char *details)
{
    struct http_server_conn *c = x->c;
    struct headers h;
    struct buf body = BUF_INIT;
    char digits[20];
    enum h1_body_form form;

    headers_init(&h, &x->arena);
    headers_set_id(&h, HDR_STATUS, str_make(digits, u64_format(status, digits)));
    if (c->handler->local_reply)
        c->handler->local_reply(c->user, c, status, details, &h, &body);
    else
        plain_reply(status, &h, &body);
    h1_take_close(&h);

    struct h1_write_opts opts = {
        .http10 = x->parser.head.minor == 0 && x->known,
        .end = body.len == 0,
        .close = true,
        .name_case = c->opts->h1_name_case,
    };

    if (!c->dead && h1_write_response(conn_out(c->conn), &h, &opts, &form)) {
        h1_write_body(conn_out(c->conn), form, &body);
        h1_write_end(conn_out(c->conn), form, NULL, c->opts->h1_name_case);
    }
    buf_fini(&body);
}

/* No stream yet: tell the handler, answer, end. */
static void refuse(struct exchange *x, unsigned status, const char *details)
{
    struct http_server_conn *c = x->c;

    if (c->handler->on_protocol_error)
        c->handler->on_protocol_error(c->user, c, status, details);
    if (c->dead)
        return;
    write_reply(x, status, details);
    server_conn_end(c, END_FLUSHED, CONN_CLOSE_LOCAL);
}

/* The body is malformed (RFC 9112 section 8): nothing after it can be trusted. */
static void fail_body(struct exchange *x)
{
    struct http_server_conn *c = x->c;
    unsigned status = h1_error_status(x->parser.error);
    const char *details = h1_error_details(x->parser.error);
    bool answer = !x->out_begun;

    if (answer)
        write_reply(x, status ? status : 400, details);
    close_exchange(x, STREAM_PROTOCOL_ERROR, details);
    server_conn_end(c, END_FLUSHED, CONN_CLOSE_LOCAL);
}

static void on_headers_timeout(struct http_server_conn *c)
{
    struct exchange *x = c->half;

    if (x && !x->known)
        refuse(x, 408, "request_header_timeout");
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

static void answer_continue(struct exchange *x)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct http_server_conn *c = x->c;

    x->wants_continue = false;
    if (x->in_done || x->out_begun || conn_in(c->conn)->len)
        return;
    buf_append_static(conn_out(c->conn), text, sizeof(text) - 1);
    x->base.wire_bytes_sent += sizeof(text) - 1;
    conn_flush_later(c->conn);
}

static void read_facts(struct exchange *x)
{
    struct http_server_conn *c = x->c;
    const struct h1_head *head = &x->parser.head;
    struct str method = headers_get_id(x->head, HDR_METHOD);

    x->base.protocol = head->minor ? HTTP_11 : HTTP_10;
    x->is_head = str_eq(method, STR("HEAD"));
    x->is_connect = head->connect;
    x->tunnel_wanted = head->connect ||
                       (head->upgrade && c->opts->h1.allow_upgrade && headers_is_upgrade(x->head));
    x->last = !head->keep_alive || c->draining || server_conn_is_last_request(c);
    x->base.is_connection_close = x->last;
    if (head->expect_continue && head->minor && server_conn_answers_continue(c)) {
        x->wants_continue = true;
        headers_remove_id(x->head, HDR_EXPECT);
    }
    if (head->no_body && !x->tunnel_wanted) {
        struct buf none = BUF_INIT;

        x->in_done = h1_parser_next(&x->parser, conn_in(c->conn), x->head, &none) == H1_DONE;
        DCHECK(x->in_done);
    }
}

static bool deliver_head(struct exchange *x)
{
    struct http_server_conn *c = x->c;

    server_conn_await_head(c, false);
    server_conn_stream_began(c);
    x->known = true;
    read_facts(x);
    check_context.stream_id = x->base.id;
    c->handler->on_stream(c->user, c, &x->base);
    if (c->dead || x->closed)
        return true;
    DCHECK(x->base.sink);
    x->base.sink->ops->on_headers(x->base.sink, x->head, x->in_done);
    if (c->dead || x->closed)
        return true;
    if (x->wants_continue)
        answer_continue(x);
    raise_reads(x);
    return true;
}

/* All of these return true when there may be more to do. */
static bool read_head(struct exchange *x)
{
    struct http_server_conn *c = x->c;
    struct buf *in = conn_in(c->conn);
    struct buf none = BUF_INIT;
    size_t before = in->len;

    if (!x->head && !(x->head = headers_new(&x->arena)))
        return false;
    enum h1_event ev = h1_parser_next(&x->parser, in, x->head, &none);

    if (ev == H1_HEAD)
        x->base.header_bytes_received += h1_fields_read_bytes(x->head);
    x->base.wire_bytes_received += before - in->len;
    if (ev == H1_HEAD)
        return deliver_head(x);
    if (ev == H1_FAILED) {
        refuse(x, h1_error_status(x->parser.error), h1_error_details(x->parser.error));
        return false;
    }
    if (in->len == 0 && h1_parser_is_between_messages(&x->parser)) {
        x->closed = true; /* only empty lines: nothing has begun (RFC 9112 section 2.2) */
        let_go(x);
    } else {
        server_conn_await_head(c, true);
    }
    return false;
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
    struct http_server_conn *c = x->c;
    struct buf *in = conn_in(c->conn), body = BUF_INIT;
    struct headers *trailers = NULL;
    size_t before = in->len;
    enum h1_event ev = h1_gather(&x->parser, in, &body, &trailers, &x->arena);

    x->base.wire_bytes_received += before - in->len;
    switch (ev) {
    case H1_TRAILERS:
        if (!deliver_body(x, &body, false))
            return true;
        x->in_done = h1_gather(&x->parser, in, &body, &trailers, &x->arena) == H1_DONE;
        x->base.sink->ops->on_trailers(x->base.sink, trailers);
        break;
    case H1_DONE:
        deliver_body(x, &body, true);
        break;
    case H1_FAILED:
        buf_fini(&body);
        fail_body(x);
        return false;
    default:
        if (deliver_body(x, &body, x->tunnel && x->eof) && !x->in_done)
            return false;
    }
    if (!c->dead && !x->closed && x->in_done && x->out_done) /* a tunnel's second end */
        complete(x);
    return true;
}

/* An Upgrade or CONNECT that isn't decided: the bytes behind the head wait. A body that the Upgrade
 * request has of its own comes first (RFC 9110 section 7.8). */
static bool is_held(const struct exchange *x)
{
    const struct h1_head *head = &x->parser.head;

    return x->tunnel_wanted && !x->tunnel && (x->is_connect || head->no_body);
}

static bool step(struct http_server_conn *c)
{
    struct exchange *x = c->half;

    if (!x) {
        if (c->out_above || conn_in(c->conn)->len == 0)
            return false;
        x = begin(c);
    }
    if (!x->known)
        return read_head(x);
    if (x->in_done || x->pauses || is_held(x))
        return false;
    if (conn_in(c->conn)->len == 0 && !x->eof && !x->parser.head.no_body)
        return false;
    return read_body(x);
}

/* Requests behind the present one: a few may wait in memory. */
static void bound_pipeline(struct http_server_conn *c)
{
    struct exchange *x = c->half;

    if (x && x->known && !c->in_paused && (x->in_done || is_held(x)) &&
        conn_in(c->conn)->len >= PIPELINE_BYTES) {
        c->in_paused = true;
        conn_read_pause(c->conn);
    }
}

static void on_data(struct http_server_conn *c)
{
    if (c->in_codec) /* a callback made more input; the loop below sees it */
        return;
    c->in_codec = true;
    while (!c->dead && step(c))
        ;
    c->in_codec = false;
    if (!c->dead)
        bound_pipeline(c);
}

static void on_end(struct http_server_conn *c)
{
    struct exchange *x = c->half;

    if (x && x->tunnel && !x->in_done) {
        x->eof = true;
        on_data(c);
        return;
    }
    /* Envoy, nginx and HAProxy read this as the client gone, though RFC 9112 section 9.6 would let
     * it listen on. */
    server_conn_end(c, END_FLUSHED, CONN_CLOSE_REMOTE_EOF);
}

static void on_watermark(struct http_server_conn *c, bool above)
{
    struct exchange *x = c->half;

    if (x && x->known && x->base.sink->ops->on_watermark)
        x->base.sink->ops->on_watermark(x->base.sink, above);
    else if (!above)
        server_conn_again(c);
}

static void drain(struct http_server_conn *c, bool final)
{
    struct exchange *x = c->half;

    if (!x || (final && !x->known))
        server_conn_end(c, END_FLUSHED, CONN_CLOSE_LOCAL);
}

static void start(struct http_server_conn *c)
{
    (void)c; /* an exchange begins with its first byte */
}

static void destroy(struct http_server_conn *c, enum stream_reset why, const char *details)
{
    if (c->half)
        close_exchange(c->half, why, details);
}

/* ---- writing: the stream's side ---- */

static void begin_tunnel(struct exchange *x)
{
    struct http_server_conn *c = x->c;

    x->tunnel = true;
    x->in_done = false;
    h1_parser_tunnel(&x->parser);
    conn_set_read_chunk(c->conn, H1_BODY_CHUNK_BYTES);
    x->big_reads = true;
    if (c->in_paused)
        conn_read_resume(c->conn);
    c->in_paused = false;
    if (conn_in(c->conn)->len)
        server_conn_again(c);
}

static bool rest_is_here(const struct exchange *x)
{
    const struct h1_head *head = &x->parser.head;

    return head->has_length && x->base.bytes_received == 0 &&
           conn_in(x->c->conn)->len >= head->content_length;
}

static void s_informational(struct http_stream *s, struct headers *h)
{
    struct exchange *x = of(s);
    struct http_server_conn *c = x->c;
    struct h1_write_opts opts = {.end = true, .name_case = c->opts->h1_name_case};
    size_t before = conn_out(c->conn)->len;
    enum h1_body_form form;

    x->wants_continue = false;
    if (x->closed || x->out_begun || x->base.protocol == HTTP_10) /* RFC 9110 section 15.2 */
        return;
    if (h1_write_response(conn_out(c->conn), h, &opts, &form))
        x->base.wire_bytes_sent += conn_out(c->conn)->len - before;
    conn_flush_later(c->conn);
}

/* Decides whether the connection lives on, and whether it becomes a tunnel. */
static void decide(struct exchange *x, struct headers *h)
{
    struct str status = headers_get_id(h, HDR_STATUS);
    bool is_2xx = status.n == 3 && status.p[0] == '2';

    if (x->tunnel_wanted && (x->is_connect ? is_2xx : str_eq(status, STR("101")))) {
        begin_tunnel(x);
        return;
    }
    if (x->tunnel_wanted && x->is_connect) {
        x->tunnel_wanted = false;
        x->in_done = true;
        x->last = true; /* bytes behind it may be meant for the tunnel */
    } else if (x->tunnel_wanted) {
        x->tunnel_wanted = false;
        server_conn_again(x->c); /* an ordinary request after all: its end is to be told */
    }
    x->last |= h1_take_close(h) || x->c->draining;
    if (!x->in_done && !x->parser.head.no_body && !rest_is_here(x))
        x->last = true;
}

static void s_headers(struct http_stream *s, struct headers *h, bool end)
{
    struct exchange *x = of(s);
    struct http_server_conn *c = x->c;
    struct buf *out = conn_out(c->conn);
    size_t before = out->len;

    if (x->closed || x->out_begun)
        return;
    decide(x, h);
    x->out_begun = true;

    struct h1_write_opts opts = {
        .http10 = x->base.protocol == HTTP_10,
        .end = end,
        .close = x->last && !x->tunnel,
        .keep_alive = !x->last && x->base.protocol == HTTP_10,
        .response_to_head = x->is_head,
        .response_to_connect = x->is_connect,
        .upgrade = x->tunnel && !x->is_connect,
        .enable_trailers = c->opts->h1_enable_trailers,
        .name_case = c->opts->h1_name_case,
    };

    if (!h1_write_response(out, h, &opts, &x->form)) {
        stream_reset(s, STREAM_PROTOCOL_ERROR); /* a field that would split the response */
        return;
    }
    x->last |= x->form == H1_BODY_UNTIL_CLOSE;
    x->base.is_connection_close = x->last;
    h1_out_length_begin(&x->out_length, x->form, h);
    x->base.header_bytes_sent += h1_fields_written_bytes(h, out->len - before);
    x->base.wire_bytes_sent += out->len - before;
    conn_flush_later(c->conn);
    if (end)
        response_done(x);
}

static void s_data(struct http_stream *s, struct buf *data, bool end)
{
    struct exchange *x = of(s);
    struct buf *out = conn_out(x->c->conn);

    if (x->closed || x->out_done || !x->out_begun) {
        buf_fini(data);
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
        response_done(x);
}

static void s_trailers(struct http_stream *s, struct headers *h)
{
    struct exchange *x = of(s);
    struct buf *out = conn_out(x->c->conn);
    bool keep = x->c->opts->h1_enable_trailers;
    size_t before = out->len;

    if (x->closed || x->out_done || !x->out_begun)
        return;
    h1_write_end(out, x->form, keep ? h : NULL, x->c->opts->h1_name_case);
    x->base.wire_bytes_sent += out->len - before;
    conn_flush_later(x->c->conn);
    response_done(x);
}

static void s_reset(struct http_stream *s, enum stream_reset why)
{
    struct exchange *x = of(s);
    struct http_server_conn *c = x->c;

    if (x->closed)
        return;

    /* Where only the end of the connection ends the body, a clean end would make a torn body look
     * whole. */
    bool torn = x->form == H1_BODY_UNTIL_CLOSE || x->form == H1_BODY_TUNNEL;
    enum end_how how = !x->out_begun ? END_NOW : torn ? END_RESET : END_FLUSHED;

    close_exchange(x, why, "");
    server_conn_end(c, how, CONN_CLOSE_LOCAL);
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
            server_conn_again(x->c);
    }
}

static size_t s_queued(const struct http_stream *s)
{
    const struct exchange *x = CONTAINER_OF(s, exchange, base);

    return x->closed ? 0 : conn_out(x->c->conn)->len;
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

const struct server_codec_ops h1_server_ops = {
    .protocol = HTTP_11,
    .start = start,
    .on_data = on_data,
    .on_end = on_end,
    .on_watermark = on_watermark,
    .on_headers_timeout = on_headers_timeout,
    .drain = drain,
    .destroy = destroy,
};
