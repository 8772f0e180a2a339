/* SPDX-License-Identifier: Apache-2.0
 *
 * Any frames to an HTTP/2 session of either role, behind a valid preface: no event for a stream
 * after its close, output of whole frames, one GOAWAY at most after a fault, and nothing more after
 * it. Byte 0 chooses role and options, byte 1 how the bytes are cut and what the application does;
 * the rest is the input.
 */
#include "http/codec/h2.h"

#include <stdlib.h>

#define CHOICE_BYTES 2

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct app {
    struct h2_session *session;
    struct arena arena;
    uint8_t choice;
    unsigned open;
    bool is_server;
    bool preface_seen; /* client: its output begins with 24 bytes that are no frame */
};

struct request { /* per stream, to see events behind a close */
    struct app *app;
    bool open;
};

static struct request *request_new(struct app *a)
{
    struct request *r = arena_zalloc(&a->arena, sizeof(*r));
    r->app = a;
    r->open = true;
    a->open++;
    return r;
}

static void check_open(struct h2_stream *st)
{
    const struct request *r = h2_stream_user(st);
    if (!r->open)
        abort();
}

static void send_body(struct app *a, struct h2_stream *st, bool end)
{
    struct buf b = BUF_INIT;
    static const char text[3000];
    buf_append_static(&b, text, a->choice & 1 ? sizeof(text) : 10);
    h2_stream_send_data(st, &b, end);
}

static void respond(struct app *a, struct h2_stream *st)
{
    struct headers h;
    headers_init(&h, &a->arena);
    headers_add(&h, STR(":status"), STR("200"));
    headers_add(&h, STR("x-some"), STR("value"));
    h2_stream_respond(st, &h, a->choice & 2);
    if (!(a->choice & 2))
        send_body(a, st, a->choice & 4);
}

static struct arena *on_begin(void *ctx, struct h2_stream *st, void **user)
{
    struct app *a = ctx;
    (void)st;
    if (!a->is_server)
        abort();
    if (a->open > 100)
        return NULL;
    *user = request_new(a);
    return &a->arena;
}

static void drop(struct h2_stream *st, uint32_t code)
{
    struct request *r = h2_stream_user(st);
    r->open = false;
    r->app->open--;
    h2_stream_reset(st, code);
}

static void on_headers(void *ctx, struct h2_stream *st, struct headers *h, bool informational,
                       bool trailers, bool end)
{
    struct app *a = ctx;
    (void)informational, (void)end;
    check_open(st);
    if (!trailers && !(a->is_server ? headers_has_id(h, HDR_METHOD) : headers_has_id(h, HDR_STATUS)))
        abort();
    if (a->choice & 8 && h2_stream_id(st) % 3 == 0)
        drop(st, H2_CANCEL);
    else if (a->is_server && !trailers)
        respond(a, st);
}

static void on_data(void *ctx, struct h2_stream *st, struct buf *data, bool end)
{
    struct app *a = ctx;
    size_t n = data->len;
    (void)end;
    check_open(st);
    buf_drain(data, n);
    if (!(a->choice & 16))
        h2_stream_consume(st, n);
    if (a->choice & 32 && n > 5)
        drop(st, H2_NO_ERROR);
}

static void on_close(void *ctx, struct h2_stream *st, uint32_t code, bool remote, const char *details)
{
    struct app *a = ctx;
    (void)code, (void)remote, (void)details;
    check_open(st);
    ((struct request *)h2_stream_user(st))->open = false;
    a->open--;
}

static void on_goaway(void *ctx, uint32_t last, uint32_t code)
{
    (void)ctx, (void)last, (void)code;
}

static void on_nothing(void *ctx)
{
    (void)ctx;
}

static void on_sent(void *ctx, struct h2_stream *st)
{
    (void)ctx;
    check_open(st);
}

static void on_invalid(void *ctx, struct h2_stream *st, unsigned status, const char *details)
{
    (void)status, (void)details;
    check_open(st);
    respond(ctx, st);
}

static const struct h2_callbacks callbacks = {on_begin,   on_headers, on_data, on_close,   on_goaway,
                                              on_nothing, on_nothing, on_sent, on_invalid, NULL};

static void check_frames(struct app *a, struct buf *out)
{
    if (!a->is_server && !a->preface_seen && out->len) {
        buf_drain(out, 24);
        a->preface_seen = true;
    }
    size_t n = out->len;
    const uint8_t *p = n ? buf_pullup(out, n) : NULL;
    size_t at = 0;
    while (at + 9 <= n)
        at += 9 + ((size_t)p[at] << 16 | (size_t)p[at + 1] << 8 | p[at + 2]);
    if (at != n)
        abort();
    buf_fini(out);
}

static void open_requests(struct app *a)
{
    for (int i = 0; i < 4; i++) {
        struct headers h;
        headers_init(&h, &a->arena);
        headers_add(&h, STR(":method"), i == 3 ? STR("HEAD") : STR("POST"));
        headers_add(&h, STR(":scheme"), STR("http"));
        headers_add(&h, STR(":authority"), STR("a"));
        headers_add(&h, STR(":path"), STR("/"));
        struct request *r = request_new(a);
        struct h2_stream *st = h2_session_request(a->session, &h, i & 1, &a->arena, r);
        h2_stream_set_watermark(st, 100);
        if (!(i & 1))
            send_body(a, st, i & 2);
    }
}

static void pull(struct app *a, size_t max)
{
    struct buf out = BUF_INIT;
    h2_session_pull(a->session, &out, max);
    check_frames(a, &out);
}

static void feed(struct app *a, const uint8_t *data, size_t size, size_t chunk)
{
    uint64_t now = 0;
    while (size) {
        size_t n = chunk && chunk < size ? chunk : size;
        struct buf in = BUF_INIT;
        buf_append(&in, data, n);
        enum h2_fault fault = h2_session_feed(a->session, &in, now += 1000);
        if (in.len)
            abort();
        if (fault)
            break;
        pull(a, chunk & 1 ? 1 : 65536);
        data += n;
        size -= n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    if (size < CHOICE_BYTES)
        return 0;
    struct app a = {.choice = data[1], .is_server = data[0] & 1};
    struct h2_opts o = h2_opts_default(a.is_server);
    o.stream_error_on_invalid = data[0] & 2;
    o.allow_connect = data[0] & 4;
    o.underscore = (uint8_t)(data[0] >> 3) % 3;
    o.max_header_bytes = data[0] & 64 ? 100 : 60 * 1024;
    arena_init(&a.arena, 0);
    a.session = h2_session_new(&o, &callbacks, &a, NULL);
    if (a.is_server)
        feed(&a, (const uint8_t *)preface, sizeof(preface) - 1, 0);
    else
        open_requests(&a);
    feed(&a, data + CHOICE_BYTES, size - CHOICE_BYTES, data[0] & 128 ? 0 : data[1] >> 4);
    pull(&a, 1 << 20);
    if (h2_session_fault(a.session)) {
        struct buf more = BUF_INIT;
        if (h2_session_pull(a.session, &more, 1 << 20) || more.len)
            abort();
        if (!h2_session_is_over(a.session))
            abort();
    }
    h2_session_free(&a.session);
    arena_fini(&a.arena);
    return 0;
}
