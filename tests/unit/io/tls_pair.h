/* SPDX-License-Identifier: Apache-2.0
 *
 * Two connections of one loop, talking TLS over loopback TCP: what a test wants done and what came
 * of it. A run ends when both sides are settled, never by the clock.
 */
#ifndef TESTS_TLS_PAIR_H
#define TESTS_TLS_PAIR_H

#include "base/check.h"
#include "base/mem.h"
#include "io/conn.h"
#include "io/loop.h"
#include "io/tls.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAIR static __attribute__((unused))

struct side {
    struct conn *c;
    struct tls_session *tls; /* valid while c lives */
    struct buf got;
    size_t got_bytes;
    bool connected, ended, closed, pause_each;
    enum conn_close why;
    enum tls_failure failure;
    char text[512];
    char sent_close;
};

struct pair {
    struct loop *loop;
    struct side client, server;
};

PAIR void side_connected(struct conn *c, void *user)
{
    struct side *s = user;
    s->connected = true;
    s->tls = conn_tls(c);
}
PAIR void side_data(struct conn *c, void *user)
{
    struct side *s = user;
    s->got_bytes += conn_in(c)->len;
    buf_move(&s->got, conn_in(c));
    if (s->pause_each)
        conn_read_pause(c);
}
PAIR void side_end(struct conn *c, void *user)
{
    (void)c;
    ((struct side *)user)->ended = true;
}
PAIR void side_closed(struct conn *c, void *user, enum conn_close why)
{
    struct side *s = user;
    s->closed = true;
    s->why = why;
    s->failure = conn_tls(c) ? tls_session_failure(conn_tls(c)) : TLS_FAILURE_NONE;
    snprintf(s->text, sizeof s->text, "%s", conn_failure_text(c));
    s->c = NULL;
    s->tls = NULL;
}
PAIR const struct conn_handler side_handler = {
    .on_connected = side_connected,
    .on_data = side_data,
    .on_end = side_end,
    .on_closed = side_closed,
};

/* A connected pair of TCP sockets: the listening side's descriptor and the client's connection. */
PAIR int pair_connect(struct pair *p)
{
    struct addr any = {0}, at = {0};
    CHECK(addr_from_ip(&any, STR("127.0.0.1"), 0, NULL) == 0);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(listener, &any.sa, sizeof any.in4) == 0 && listen(listener, 1) == 0);
    struct sockaddr_storage sa;
    socklen_t n = sizeof sa;
    CHECK(getsockname(listener, (struct sockaddr *)&sa, &n) == 0);
    addr_from_sockaddr(&at, (struct sockaddr *)&sa, n);
    struct conn_connect_opts opts = {.remote = &at};
    p->client.c = conn_connect(p->loop, &opts, &side_handler, &p->client);
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    CHECK(fd >= 0);
    close(listener);
    return fd;
}

PAIR void pair_start(struct pair *p, struct tls_context *server, struct tls_context *client,
                     const struct tls_client_opts *opts)
{
    struct err err = {0};
    struct addr remote = {0};
    *p = (struct pair){.loop = loop_new("test", NULL)};
    CHECK(p->loop && addr_from_ip(&remote, STR("127.0.0.1"), 1, NULL) == 0);
    int fd = pair_connect(p);
    if (client)
        CHECK(conn_start_tls(p->client.c, client, opts, &err) == 0);
    p->server.c = conn_new_accepted(p->loop, fd, &remote, NULL);
    conn_set_handler(p->server.c, &side_handler, &p->server);
    if (server)
        CHECK(conn_start_tls(p->server.c, server, NULL, &err) == 0);
}

PAIR void pair_run(struct pair *p, bool (*done)(struct pair *p))
{
    for (int i = 0; i < 100000 && !done(p); i++)
        loop_turn(p->loop, 2000);
    CHECK(done(p));
}

PAIR bool side_settled(const struct side *s)
{
    return s->connected || s->closed;
}
PAIR bool pair_settled(struct pair *p)
{
    return side_settled(&p->client) && side_settled(&p->server);
}
PAIR bool pair_closed(struct pair *p)
{
    return p->client.closed && p->server.closed;
}
/* A TLS 1.3 client is done before the server has judged it; after this the judgement has arrived. */
PAIR bool pair_judged(struct pair *p)
{
    return pair_settled(p) && (!p->server.closed || p->client.closed || p->client.ended);
}

PAIR void side_send(struct side *s, const char *text)
{
    buf_append(conn_out(s->c), text, strlen(text));
    conn_flush_later(s->c);
}
PAIR bool pair_both_got(struct pair *p)
{
    return p->client.got_bytes && p->server.got_bytes;
}
/* A byte each way: tickets, too, have then arrived. */
PAIR void pair_greet(struct pair *p)
{
    side_send(&p->client, "c");
    pair_run(p, pair_settled);
    for (int i = 0; i < 1000 && !p->server.got_bytes; i++)
        loop_turn(p->loop, 2000);
    side_send(&p->server, "s");
    pair_run(p, pair_both_got);
}

PAIR void side_finish(struct side *s)
{
    if (s->c)
        conn_close(s->c, CONN_CLOSE_LOCAL);
    s->c = NULL;
    buf_fini(&s->got);
}
PAIR void pair_finish(struct pair *p)
{
    side_finish(&p->client);
    side_finish(&p->server);
    loop_turn(p->loop, 0);
    loop_free(&p->loop);
    buf_trim();
}

#endif
