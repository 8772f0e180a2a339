/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests of this room: a loop, a raw peer on the other end of a socket pair, and sinks that write
 * down what they are told: "H:GET /a" head, "." at its end, "D:3" data, "T:1" trailers, "I:103"
 * informational, "W+"/"W-" watermark, "C:OK" closed. Static functions: one program a test file.
 */
#ifndef TEST_HTTP_HARNESS_H
#define TEST_HTTP_HARNESS_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "http/http_priv.h"
#include "http/pool.h"

#define UNUSED __attribute__((unused))

enum event { EV_HEADERS, EV_INFORMATIONAL, EV_DATA, EV_TRAILERS, EV_CLOSED, EV_WATERMARK };
struct rec;
typedef void (*act_fn)(struct rec *r, enum event e, bool end);

struct rec { /* a recording sink */
    struct http_sink sink;
    struct http_stream *s;
    struct strbuf log, body;
    const char *details;
    act_fn act; /* what it does at each event; may be NULL */
    bool closed;
    int closed_count;
    enum stream_reset why;
    void *user;
};

static struct rec *rec_of(struct http_sink *sink)
{
    return CONTAINER_OF(sink, rec, sink);
}

static void rec_act(struct rec *r, enum event e, bool end)
{
    assert_int_equal(r->closed_count, e == EV_CLOSED);
    if (r->act)
        r->act(r, e, end);
}

static void rec_headers(struct http_sink *sink, struct headers *h, bool end)
{
    struct rec *r = rec_of(sink);
    struct str status = headers_get_id(h, HDR_STATUS);

    if (status.n)
        strbuf_addf(&r->log, "H:%.*s%s ", STR_ARG(status), end ? "." : "");
    else
        strbuf_addf(&r->log, "H:%.*s %.*s%s ", STR_ARG(headers_get_id(h, HDR_METHOD)),
                    STR_ARG(headers_get_id(h, HDR_PATH)), end ? "." : "");
    rec_act(r, EV_HEADERS, end);
}

static void rec_informational(struct http_sink *sink, struct headers *h)
{
    struct rec *r = rec_of(sink);

    strbuf_addf(&r->log, "I:%.*s ", STR_ARG(headers_get_id(h, HDR_STATUS)));
    rec_act(r, EV_INFORMATIONAL, false);
}

static void rec_data(struct http_sink *sink, struct buf *data, bool end)
{
    struct rec *r = rec_of(sink);
    struct buf_iter it = {0};
    struct str piece;

    while (buf_next(data, &it, &piece))
        strbuf_adds(&r->body, piece);
    if (end) /* how data was cut is nobody's business; its end is */
        strbuf_addf(&r->log, "D:%zu. ", r->body.n);
    buf_fini(data);
    rec_act(r, EV_DATA, end);
}

static void rec_trailers(struct http_sink *sink, struct headers *h)
{
    struct rec *r = rec_of(sink);

    strbuf_addf(&r->log, "D:%zu T:%u ", r->body.n, h->count);
    rec_act(r, EV_TRAILERS, true);
}

static void rec_closed(struct http_sink *sink, enum stream_reset why, const char *details)
{
    struct rec *r = rec_of(sink);

    strbuf_addf(&r->log, "C:%s ", why ? stream_reset_text(why) : "OK");
    r->closed = true;
    r->closed_count++;
    r->why = why;
    r->details = details;
    rec_act(r, EV_CLOSED, true);
}

static void rec_watermark(struct http_sink *sink, bool above)
{
    struct rec *r = rec_of(sink);

    strbuf_addf(&r->log, "W%c ", above ? '+' : '-');
    rec_act(r, EV_WATERMARK, above);
}

static const struct http_sink_ops rec_ops = {
    .on_headers = rec_headers,
    .on_informational = rec_informational,
    .on_data = rec_data,
    .on_trailers = rec_trailers,
    .on_closed = rec_closed,
    .on_watermark = rec_watermark,
};

UNUSED static void rec_init(struct rec *r, act_fn act, void *user)
{
    memset(r, 0, sizeof(*r));
    r->sink.ops = &rec_ops;
    r->act = act;
    r->user = user;
}

UNUSED static const char *rec_log(struct rec *r)
{
    return r->log.p ? r->log.p : "";
}

UNUSED static const char *rec_body(struct rec *r)
{
    return r->body.p ? r->body.p : "";
}

UNUSED static void rec_fini(struct rec *r)
{
    strbuf_fini(&r->log);
    strbuf_fini(&r->body);
}

/* ---- loop and raw peer ---- */

UNUSED static struct loop *test_loop(void)
{
    struct err err = {0};
    struct loop *loop = loop_new("test", &err);

    assert_non_null(loop);
    return loop;
}

struct peer { /* the raw end */
    int fd;
    struct strbuf got;
    bool ended; /* EOF or reset */
};

UNUSED static void peer_read(struct peer *p)
{
    char chunk[65536];

    while (p->fd >= 0 && !p->ended) {
        ssize_t n = recv(p->fd, chunk, sizeof(chunk), MSG_DONTWAIT);

        if (n > 0)
            strbuf_add(&p->got, chunk, (size_t)n);
        else if (n < 0 && errno == EAGAIN)
            return;
        else
            p->ended = true;
    }
}

/* Turns until nothing more can be due now. */
UNUSED static void settle_loop(struct loop *loop)
{
    for (int i = 0; i < 8; i++)
        loop_turn(loop, 0);
}

/* As settle_loop, with the peer reading. */
UNUSED static void run(struct loop *loop, struct peer *p)
{
    for (int i = 0; i < 8; i++) {
        loop_turn(loop, 0);
        peer_read(p);
    }
}

#define run_until(loop, peer, condition)                                                           \
    do {                                                                                           \
        for (int tries_ = 0; !(condition); tries_++) {                                             \
            assert_true(tries_ < 5000);                                                            \
            loop_turn(loop, 1);                                                                    \
            peer_read(peer);                                                                       \
        }                                                                                          \
    } while (0)

UNUSED static void peer_send_n(struct peer *p, const char *bytes, size_t n)
{
    while (n) {
        ssize_t put = send(p->fd, bytes, n, MSG_NOSIGNAL);

        assert_true(put > 0);
        bytes += put;
        n -= (size_t)put;
    }
}

UNUSED static void peer_send(struct peer *p, const char *text)
{
    peer_send_n(p, text, strlen(text));
}

/* `step` bytes at a time, with a turn between; 0 = whole. */
UNUSED static void peer_feed(struct loop *loop, struct peer *p, const char *text, size_t step)
{
    size_t n = strlen(text);

    for (size_t at = 0; at < n; at += step) {
        size_t k = step && step < n - at ? step : n - at;

        if (send(p->fd, text + at, k, MSG_NOSIGNAL) < 0)
            return;
        loop_turn(loop, 0);
        peer_read(p);
        if (!step)
            break;
    }
    run(loop, p);
}

UNUSED static const char *peer_got(struct peer *p)
{
    return p->got.p ? p->got.p : "";
}

UNUSED static void peer_clear(struct peer *p)
{
    strbuf_fini(&p->got);
}

UNUSED static void peer_close(struct peer *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    strbuf_fini(&p->got);
}

UNUSED static struct conn *conn_with_peer(struct loop *loop, struct peer *p)
{
    struct addr addr = {.in4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    *p = (struct peer){.fd = fds[1]};
    return conn_new_accepted(loop, fds[0], &addr, &addr);
}

/* ---- sending ---- */

UNUSED static void send_head(struct http_stream *s, const char *status, const char *length, bool end)
{
    struct headers h;

    headers_init(&h, s->arena);
    headers_add_id_ref(&h, HDR_STATUS, str_from(status));
    if (length)
        headers_add_id_ref(&h, HDR_CONTENT_LENGTH, str_from(length));
    stream_send_headers(s, &h, end);
}

UNUSED static void send_text(struct http_stream *s, const char *text, bool end)
{
    struct buf b = BUF_INIT;

    buf_append(&b, text, strlen(text));
    stream_send_data(s, &b, end);
}

/* 200 with "ok". */
UNUSED static void answer_ok(struct http_stream *s)
{
    send_head(s, "200", "2", false);
    send_text(s, "ok", true);
}

UNUSED static int count_of(const char *text, const char *needle)
{
    int n = 0;

    for (const char *at = text; (at = strstr(at, needle)) != NULL; at += strlen(needle))
        n++;
    return n;
}

#endif
