/* SPDX-License-Identifier: Apache-2.0
 *
 * A client and a server session joined in memory. Each side writes what it is told into a
 * transcript, one line an event.
 */
#ifndef H2_PAIR_H
#define H2_PAIR_H

#include "../unit.h"

#include "base/mem.h"
#include "http/codec/h1.h"
#include "http/codec/h2.h"

struct side {
    struct h2_session *session;
    struct arena arena;
    char events[8192];
    size_t used;
    struct h2_stream *last;  /* the stream of the last event */
    bool closed;             /* `last` was closed */
    bool keep_window;        /* nothing is consumed */
    size_t data_bytes;
    bool data_good;
    unsigned sent_count;
    unsigned stats[H2_STAT_COUNT];
    unsigned invalid_status;
};

struct pair {
    struct side client, server;
    size_t chunk;     /* how the bytes are cut: 0 = not at all, else every n bytes */
    size_t max_bytes; /* for pulls */
};

static inline void side_event(struct side *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static inline void side_event(struct side *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (s->used < sizeof(s->events) - 200)
        s->used += (size_t)vsnprintf(s->events + s->used, 200, fmt, ap);
    va_end(ap);
}

static struct arena *side_on_begin(void *ctx, struct h2_stream *st, void **user)
{
    struct side *s = ctx;
    *user = s;
    s->last = st;
    return &s->arena;
}

static void side_on_headers(void *ctx, struct h2_stream *st, struct headers *h, bool informational,
                            bool trailers, bool end)
{
    struct side *s = ctx;
    s->last = st;
    side_event(s, trailers ? "trailers" : "headers");
    static const enum header_id pseudo[] = {HDR_STATUS, HDR_METHOD, HDR_PATH, HDR_AUTHORITY, HDR_PROTOCOL};
    bool is_request = headers_has_id(h, HDR_METHOD);
    for (size_t i = 0; i < 5; i++)
        if (headers_has_id(h, pseudo[i]) || (is_request && pseudo[i] == HDR_PATH))
            side_event(s, " %.*s", STR_ARG(headers_get_id(h, pseudo[i])));
    for (uint32_t i = 0; i < h->count; i++)
        if (h->items[i].name.p[0] != ':')
            side_event(s, " %.*s=%.*s", STR_ARG(h->items[i].name), STR_ARG(h->items[i].value));
    if (informational)
        side_event(s, " info\n");
    else if (trailers)
        side_event(s, "\n");
    else
        side_event(s, " end=%d\n", end);
}

static void side_on_data(void *ctx, struct h2_stream *st, struct buf *data, bool end)
{
    struct side *s = ctx;
    size_t n = data->len;
    side_event(s, "data %zu end=%d\n", n, end);
    struct buf_iter it = {0};
    struct str piece;
    while (buf_next(data, &it, &piece)) {
        for (size_t i = 0; i < piece.n; i++)
            s->data_good &= piece.p[i] == (char)('a' + (s->data_bytes + i) % 23);
        s->data_bytes += piece.n;
    }
    buf_drain(data, n);
    if (!s->keep_window)
        h2_stream_consume(st, n);
}

static void side_on_close(void *ctx, struct h2_stream *st, uint32_t code, bool remote, const char *details)
{
    struct side *s = ctx;
    (void)details;
    s->closed |= st == s->last;
    side_event(s, "close %u remote=%d\n", code, remote);
}

static void side_on_goaway(void *ctx, uint32_t last, uint32_t code)
{
    side_event(ctx, "goaway %u %u\n", last, code);
}

static void side_on_ping_ack(void *ctx)
{
    side_event(ctx, "ping ack\n");
}

static void side_on_settings(void *ctx)
{
    (void)ctx;
}

static void side_on_sent(void *ctx, struct h2_stream *st)
{
    struct side *s = ctx;
    (void)st;
    s->sent_count++;
}

static void side_on_invalid(void *ctx, struct h2_stream *st, unsigned status, const char *details)
{
    struct side *s = ctx;
    struct headers h;
    side_event(s, "invalid %u %s\n", status, details);
    headers_init(&h, &s->arena);
    headers_add(&h, STR(":status"), arena_printf(&s->arena, "%u", status));
    assert_int_equal(h2_stream_respond(st, &h, true), 0);
}

static void side_on_stat(void *ctx, enum h2_stat stat)
{
    struct side *s = ctx;
    s->stats[stat]++;
}

static const struct h2_callbacks side_callbacks = {
    side_on_begin,    side_on_headers,  side_on_data, side_on_close,   side_on_goaway,
    side_on_ping_ack, side_on_settings, side_on_sent, side_on_invalid, side_on_stat,
};

static inline void side_init(struct side *s, const struct h2_opts *o)
{
    memset(s, 0, sizeof(*s));
    s->data_good = true;
    arena_init(&s->arena, 0);
    s->session = h2_session_new(o, &side_callbacks, s, NULL);
    assert_non_null(s->session);
}

static inline void side_fini(struct side *s)
{
    h2_session_free(&s->session);
    arena_fini(&s->arena);
}

static inline void pair_init_opts(struct pair *p, const struct h2_opts *server, const struct h2_opts *client)
{
    struct h2_opts so = h2_opts_default(true), co = h2_opts_default(false);
    p->chunk = 0;
    p->max_bytes = 1 << 20;
    side_init(&p->server, server ? server : &so);
    side_init(&p->client, client ? client : &co);
}

static inline void pair_init(struct pair *p)
{
    pair_init_opts(p, NULL, NULL);
}

static inline void pair_fini(struct pair *p)
{
    side_fini(&p->client);
    side_fini(&p->server);
}

/* Takes all of `bytes`, cut into pieces of `chunk`. */
static inline enum h2_fault pair_feed(struct side *to, struct buf *bytes, size_t chunk)
{
    enum h2_fault fault = H2_FAULT_NONE;
    while (bytes->len && !fault) {
        struct buf piece = BUF_INIT;
        buf_move_n(&piece, bytes, chunk && chunk < bytes->len ? chunk : bytes->len);
        fault = h2_session_feed(to->session, &piece, 0);
        buf_fini(&piece);
    }
    buf_fini(bytes);
    return fault;
}

static inline bool pair_carry(struct pair *p, struct side *from, struct side *to)
{
    struct buf out = BUF_INIT;
    h2_session_pull(from->session, &out, p->max_bytes);
    bool any = out.len > 0;
    pair_feed(to, &out, p->chunk);
    return any;
}

static inline void pair_pump(struct pair *p)
{
    bool more = true;
    while (more) {
        more = pair_carry(p, &p->client, &p->server);
        more |= pair_carry(p, &p->server, &p->client);
    }
}

static inline void pair_headers(struct side *s, struct headers *h)
{
    headers_init(h, &s->arena);
}

static inline struct h2_stream *pair_request(struct pair *p, const char *method, const char *path,
                                             const char *authority, const char *name,
                                             const char *value, bool end)
{
    struct headers h;
    pair_headers(&p->client, &h);
    headers_add(&h, STR(":method"), str_from(method));
    if (path) {
        headers_add(&h, STR(":path"), str_from(path));
        headers_add(&h, STR(":scheme"), STR("http"));
    }
    headers_add(&h, STR(":authority"), str_from(authority));
    if (name)
        headers_add(&h, str_from(name), str_from(value));
    return h2_session_request(p->client.session, &h, end, &p->client.arena, &p->client);
}

static inline void pair_respond(struct pair *p, struct h2_stream *st, const char *status, bool end)
{
    struct headers h;
    pair_headers(&p->server, &h);
    headers_add(&h, STR(":status"), str_from(status));
    h2_stream_respond(st, &h, end);
}

static inline void pair_inform(struct pair *p, struct h2_stream *st, const char *status)
{
    struct headers h;
    pair_headers(&p->server, &h);
    headers_add(&h, STR(":status"), str_from(status));
    assert_int_equal(h2_stream_informational(st, &h), 0);
}

static inline void pair_send(struct h2_stream *st, const char *text, bool end)
{
    struct buf b = BUF_INIT;
    buf_append(&b, text, strlen(text));
    h2_stream_send_data(st, &b, end);
}

static inline void pair_send_bytes(struct h2_stream *st, size_t n, bool end)
{
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < n; i++) {
        char c = (char)('a' + i % 23);
        buf_append(&b, &c, 1);
    }
    h2_stream_send_data(st, &b, end);
}

static inline void pair_trailers(struct side *s, struct h2_stream *st, const char *name, const char *value)
{
    struct headers h;
    pair_headers(s, &h);
    headers_add(&h, str_from(name), str_from(value));
    assert_int_equal(h2_stream_send_trailers(st, &h), 0);
}

/* Neighbouring "data" lines become one: how bytes were cut isn't the peer's business. */
static inline void pair_join_data(struct side *s)
{
    char out[sizeof(s->events)] = "";
    size_t n = 0, sum = 0;
    bool in_data = false, end = false;
    for (char *line = s->events; *line;) {
        char *next = strchr(line, '\n') + 1;
        size_t bytes;
        int e;
        if (sscanf(line, "data %zu end=%d\n", &bytes, &e) == 2) {
            sum += bytes;
            end |= e;
            in_data = true;
        } else {
            if (in_data)
                n += (size_t)snprintf(out + n, 60, "data %zu end=%d\n", sum, end);
            in_data = end = false;
            sum = 0;
            memcpy(out + n, line, (size_t)(next - line));
            n += (size_t)(next - line);
        }
        line = next;
    }
    if (in_data)
        n += (size_t)snprintf(out + n, 60, "data %zu end=%d\n", sum, end);
    out[n] = 0;
    memcpy(s->events, out, n + 1);
    s->used = n;
}

#endif
