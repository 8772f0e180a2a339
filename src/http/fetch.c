/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection, one request, its answer, the end. The answer is told at once when it is whole; everything is freed at the
 * turn's end. A source address that can't be bound is left out at the second try. Main loop.
 */
#include "http/fetch.h"

#include "base/mem.h"
#include "http/client.h"
#include "io/tls.h"

#define FETCH_ARENA_BYTES ((size_t)256 << 10)

struct fetch {
    struct loop *loop;
    struct deferred deferred;
    struct timer timer;
    struct arena arena;
    struct addr to, source;
    bool has_source, connect_only, is_tls, is_h2, cut_at_limit, is_over;
    size_t limit_bytes;
    struct headers request, *answer, *trailers;
    struct str body;
    struct strbuf received;
    struct conn *conn;              /* connect_only */
    struct http_client_conn *client;
    struct http_stream *stream;
    struct http_sink sink;
    fetch_fn fn;
    void *user;
};

static void destroy(struct deferred *d)
{
    struct fetch *f = CONTAINER_OF(d, fetch, deferred);
    strbuf_fini(&f->received);
    addr_fini(&f->to);
    addr_fini(&f->source);
    arena_fini(&f->arena);
    mem_free(f);
}

/* ---- the end ---- */

static void end(struct fetch *f)
{
    struct http_client_conn *client = f->client;
    f->is_over = true;
    timer_clear(&f->timer);
    f->client = NULL;
    if (client)
        http_client_conn_close(client);
    if (f->conn)
        conn_close(f->conn, CONN_CLOSE_LOCAL);
    f->conn = NULL;
    loop_defer(f->loop, &f->deferred, destroy);
}

static void tell(struct fetch *f, const char *failure)
{
    if (f->is_over)
        return;
    uint64_t status = 0;
    if (f->answer)
        str_to_u64(headers_get_id(f->answer, HDR_STATUS), &status);
    struct fetch_answer a = {failure, (unsigned)status, f->answer, f->trailers, strbuf_str(&f->received)};
    f->is_over = true; /* what fn cancels is over already */
    f->fn(f->user, &a);
    end(f);
}

void fetch_cancel(struct fetch **p)
{
    struct fetch *f = *p;
    *p = NULL;
    if (f && !f->is_over)
        end(f);
}

static void on_timeout(struct timer *t)
{
    tell(CONTAINER_OF(t, fetch, timer), "no answer in time");
}

/* ---- the answer ---- */

#define OF_SINK(sink) CONTAINER_OF(sink, fetch, sink)

static void on_headers(struct http_sink *sink, struct headers *h, bool is_last)
{
    OF_SINK(sink)->answer = h;
    if (is_last)
        tell(OF_SINK(sink), NULL);
}

static void on_informational(struct http_sink *sink, struct headers *h)
{
    (void)sink, (void)h;
}

static void on_data(struct http_sink *sink, struct buf *data, bool is_last)
{
    struct fetch *f = OF_SINK(sink);
    struct str piece;
    for (struct buf_iter it = {0}; !f->is_over && buf_next(data, &it, &piece);) {
        size_t room = f->limit_bytes - f->received.n;
        strbuf_add(&f->received, piece.p, piece.n < room ? piece.n : room);
        if (piece.n > room)
            tell(f, f->cut_at_limit ? NULL : "the answer is too long");
    }
    buf_drain(data, data->len);
    if (is_last)
        tell(f, NULL);
}

static void on_trailers(struct http_sink *sink, struct headers *h)
{
    OF_SINK(sink)->trailers = h;
    tell(OF_SINK(sink), NULL);
}

static void on_stream_closed(struct http_sink *sink, enum stream_reset why, const char *details)
{
    (void)details;
    OF_SINK(sink)->stream = NULL;
    tell(OF_SINK(sink), stream_reset_text(why));
}

static void on_watermark(struct http_sink *sink, bool above)
{
    (void)sink, (void)above; /* the question is small */
}

static const struct http_sink_ops sink_ops = {
    .on_headers = on_headers, .on_informational = on_informational, .on_data = on_data,
    .on_trailers = on_trailers, .on_closed = on_stream_closed, .on_watermark = on_watermark,
};

/* ---- the connection ---- */

static void connect_now(struct fetch *f);

static void on_ready(void *user, struct http_client_conn *c)
{
    struct fetch *f = user;
    f->stream = f->is_over ? NULL : http_client_conn_stream(c, &f->sink, &f->arena);
    if (!f->stream)
        return;
    stream_send_headers(f->stream, &f->request, !f->body.n);
    if (f->stream && f->body.n) {
        struct buf body = BUF_INIT;
        buf_append_str(&body, f->body);
        stream_send_data(f->stream, &body, true);
        buf_fini(&body);
    }
}

/* The failed attempt of one with a source address: once more without. */
static bool tries_again(struct fetch *f, struct conn *c)
{
    if (f->is_over || !f->has_source || !conn_bind_failed(c))
        return false;
    f->has_source = false;
    connect_now(f);
    return true;
}

static void on_client_closed(void *user, struct http_client_conn *c, bool was_ready, enum conn_close why)
{
    struct fetch *f = user;
    if (c != f->client)
        return;
    f->client = NULL;
    if (was_ready || !tries_again(f, http_client_conn_conn(c)))
        tell(f, conn_close_text(why));
}

static void on_capacity(void *user, struct http_client_conn *c)
{
    (void)user, (void)c;
}

static void on_protocol_error(void *user, struct http_client_conn *c, const char *details)
{
    (void)user, (void)c, (void)details;
}

static const struct http_client_handler client_handler = {
    .on_ready = on_ready, .on_capacity = on_capacity, .on_goaway = on_capacity, .on_closed = on_client_closed,
    .on_protocol_error = on_protocol_error,
};

static void on_connected(struct conn *c, void *user)
{
    (void)c;
    tell(user, NULL);
}

static void on_raw(struct conn *c, void *user)
{
    (void)c, (void)user;
}

static void on_conn_closed(struct conn *c, void *user, enum conn_close why)
{
    struct fetch *f = user;
    f->conn = NULL;
    if (!tries_again(f, c))
        tell(f, conn_close_text(why));
}

static const struct conn_handler raw_handler = {.on_connected = on_connected, .on_data = on_raw, .on_end = on_raw,
                                                .on_closed = on_conn_closed};

static void ignore_closed(struct conn *c, void *user, enum conn_close why)
{
    (void)c, (void)user, (void)why;
}
static const struct conn_handler until_client = {.on_closed = ignore_closed};

/* Probes of the kubelet don't verify either ("HTTP probes", kubernetes.io). */
static void add_tls(struct fetch *f, struct conn *c)
{
    static const struct str h1 = {"http/1.1", 8};
    struct tls_context_opts o = {.trust_mode = TLS_TRUST_ACCEPT_UNTRUSTED, .alpn = &h1, .alpn_count = 1};
    struct err err = {0};
    (void)f;
    struct tls_context *ctx = tls_context_new(&o, &err);
    if (!ctx || conn_start_tls(c, ctx, NULL, &err) < 0)
        conn_fail_later(c, "TLS can't be set up");
    tls_context_unref(&ctx);
}

static struct http_client_opts client_opts(void)
{
    return (struct http_client_opts){.h1 = {.limits = H1_LIMITS_DEFAULT}, .h2 = h2_opts_default(false),
                                     .buffer_limit_bytes = 1 << 20, .max_response_header_bytes = 64 << 10};
}

static void connect_now(struct fetch *f)
{
    static struct http_client_opts opts;
    struct conn_connect_opts o = {.remote = &f->to, .bind = f->has_source ? &f->source : NULL};
    if (f->connect_only) {
        f->conn = conn_connect(f->loop, &o, &raw_handler, f);
        return;
    }
    opts = client_opts();
    struct conn *c = conn_connect(f->loop, &o, &until_client, f);
    if (f->is_tls)
        add_tls(f, c);
    f->client = http_client_conn_new(c, f->is_h2 ? HTTP_2 : HTTP_11, false, &opts, &client_handler, f);
}

struct fetch *fetch_start(struct loop *loop, const struct fetch_opts *o, fetch_fn fn, void *user)
{
    struct fetch *f = NEW(fetch);
    f->loop = loop;
    f->connect_only = o->connect_only, f->is_tls = o->is_tls, f->is_h2 = o->is_h2;
    f->cut_at_limit = o->cut_at_limit, f->limit_bytes = o->limit_bytes;
    f->fn = fn, f->user = user;
    f->sink.ops = &sink_ops;
    arena_init(&f->arena, FETCH_ARENA_BYTES);
    headers_init(&f->request, &f->arena);
    for (uint32_t i = 0; o->request && i < o->request->count; i++)
        headers_add(&f->request, o->request->items[i].name, o->request->items[i].value);
    f->body = arena_str(&f->arena, o->body);
    addr_copy(&f->to, o->to);
    f->has_source = o->source != NULL;
    if (o->source)
        addr_copy(&f->source, o->source);
    timer_init(&f->timer, loop, on_timeout);
    timer_set_ms(&f->timer, o->timeout_ms);
    connect_now(f);
    return f;
}
