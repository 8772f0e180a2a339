/* SPDX-License-Identifier: Apache-2.0
 *
 * A recording handler and pairs of sockets for the connection tests.
 */
#ifndef TEST_CONN_HELP_H
#define TEST_CONN_HELP_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/conn.h"

static struct loop *loop;

static inline int setup(void **state)
{
    (void)state;
    loop = loop_new("test", NULL);
    return loop ? 0 : -1;
}

static inline int teardown(void **state)
{
    (void)state;
    loop_turn(loop, 0); /* deferred frees */
    loop_free(&loop);
    return 0;
}

struct record {
    struct conn *conn;
    int fd; /* the test's end */
    int connected, data, ends, closed, above, below, drained;
    enum conn_close why;
    char failure[256];
    uint64_t got;
    struct strbuf text; /* what was consumed */
    bool keep;          /* don't consume */
    bool close_in_data, close_in_connected, close_in_end, pause_in_data, echo, close_in_above;
};

static inline void rec_connected(struct conn *c, void *user)
{
    struct record *r = user;
    r->connected++;
    assert_true(conn_is_connected(c));
    if (r->close_in_connected)
        conn_close(c, CONN_CLOSE_LOCAL);
}

static inline void rec_data(struct conn *c, void *user)
{
    struct record *r = user;
    r->data++;
    assert_int_equal(r->closed, 0);
    if (r->pause_in_data)
        conn_read_pause(c);
    if (r->close_in_data) {
        struct str front = buf_front(conn_in(c));
        conn_close(c, CONN_CLOSE_LOCAL);
        strbuf_adds(&r->text, front); /* a parser in the middle of its bytes: they are still there */
        return;
    }
    if (r->keep)
        return;
    r->got += conn_in(c)->len;
    if (r->echo) {
        buf_move(conn_out(c), conn_in(c));
        conn_flush_later(c);
        return;
    }
    while (conn_in(c)->len) {
        struct str front = buf_front(conn_in(c));
        strbuf_adds(&r->text, front);
        buf_drain(conn_in(c), front.n);
    }
}

static inline void rec_end(struct conn *c, void *user)
{
    struct record *r = user;
    r->ends++;
    if (r->close_in_end)
        conn_close(c, CONN_CLOSE_REMOTE_EOF);
}

static inline void rec_closed(struct conn *c, void *user, enum conn_close why)
{
    struct record *r = user;
    r->closed++;
    r->why = why;
    r->conn = NULL;
    snprintf(r->failure, sizeof(r->failure), "%s", conn_failure_text(c));
}

static inline void rec_above(struct conn *c, void *user)
{
    struct record *r = user;
    r->above++;
    if (r->close_in_above)
        conn_close(c, CONN_CLOSE_LOCAL);
}

static inline void rec_below(struct conn *c, void *user)
{
    (void)c;
    ((struct record *)user)->below++;
}

static inline void rec_drained(struct conn *c, void *user)
{
    (void)c;
    ((struct record *)user)->drained++;
}

static const struct conn_handler rec_handler = {
    .on_connected = rec_connected,
    .on_data = rec_data,
    .on_end = rec_end,
    .on_closed = rec_closed,
    .on_above_watermark = rec_above,
    .on_below_watermark = rec_below,
    .on_drained = rec_drained,
};

/* r->conn is one end of a socket pair, r->fd the other (blocking). */
static inline void rec_open_small(struct record *r, int buffer_bytes)
{
    int fds[2];
    struct addr nobody = {.unix_path = NULL};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    if (buffer_bytes)
        setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof(buffer_bytes));
    r->fd = fds[1];
    r->conn = conn_new_accepted(loop, fds[0], &nobody, NULL);
    conn_set_handler(r->conn, &rec_handler, r);
}

#endif
