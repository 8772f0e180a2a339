/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading. An edge is remembered in can_read; the loop reads while its handler wants bytes. A read
 * that gave less than asked has emptied the socket (stream sockets, epoll(7)), so no second call
 * is spent to see EAGAIN, except when the peer has ended: then the end of file follows at once.
 * A block for `in` is taken only at the moment of reading: idle connections hold none.
 */
#include <errno.h>
#include <sys/socket.h>

#include "io/conn_priv.h"
#include "io/sys.h"

#define READ_BUDGET_BYTES (256u * 1024) /* a turn, then others have theirs */
#define SMALL_ROOM_BYTES 4096u          /* worth reading into behind bytes that are there already */
#define DISCARD_ROUNDS 16

/* ---- the socket ---- */

static ssize_t account_read(struct conn *c, ssize_t got, size_t asked)
{
    if (got < 0) {
        int e = errno == EWOULDBLOCK ? EAGAIN : errno;
        if (e == EAGAIN)
            c->can_read = false;
        else
            c->last_errno = (int16_t)e;
        return -e;
    }
    if ((size_t)got < asked && !c->peer_ended)
        c->can_read = false;
    if (c->ext)
        c->ext->wire_read += (uint64_t)got;
    return got;
}

ssize_t conn_sock_read(struct conn *c, void *p, size_t n)
{
    if (!c->can_read)
        return -EAGAIN;
    ssize_t got;
    do {
        got = sys_read(c->fd, p, n);
    } while (got < 0 && errno == EINTR);
    return account_read(c, got, n);
}

ssize_t conn_sock_readv(struct conn *c, const struct iovec *iov, int count)
{
    if (!c->can_read)
        return -EAGAIN;
    size_t asked = 0;
    for (int i = 0; i < count; i++)
        asked += iov[i].iov_len;
    ssize_t got;
    do {
        got = sys_readv(c->fd, iov, count);
    } while (got < 0 && errno == EINTR);
    return account_read(c, got, asked);
}

bool conn_sock_readable(const struct conn *c)
{
    return c->can_read;
}

static enum io_result result_of(ssize_t got, size_t *n)
{
    if (got > 0) {
        *n = (size_t)got;
        return IO_OK;
    }
    if (got == 0)
        return IO_EOF;
    return got == -EAGAIN ? IO_AGAIN : IO_FAIL;
}

static enum io_result read_one_block(struct conn *c, size_t max, size_t *n)
{
    size_t avail, want = max < SMALL_ROOM_BYTES ? max : SMALL_ROOM_BYTES;
    uint8_t *p = buf_reserve(&c->in, want, &avail);
    ssize_t got = conn_sock_read(c, p, avail < max ? avail : max);
    buf_commit(&c->in, got > 0 ? (size_t)got : 0);
    return result_of(got, n);
}

static enum io_result read_blocks(struct conn *c, size_t max, size_t *n)
{
    struct iovec iov[4];
    struct buf_room room;
    int count = buf_reserve_iov(&c->in, max, iov, 4, &room);
    ssize_t got = conn_sock_readv(c, iov, count);
    buf_commit_iov(&c->in, &room, got > 0 ? (size_t)got : 0);
    return result_of(got, n);
}

static enum io_result read_some(struct conn *c, size_t *n)
{
    size_t max = c->read_chunk;
    if (c->high_watermark && max > c->high_watermark)
        max = c->high_watermark;
    if (c->ops)
        return c->ops->read(c->transport, c, &c->in, max, n);
    return max <= BUF_BLOCK_BYTES ? read_one_block(c, max, n) : read_blocks(c, max, n);
}

/* ---- delivering ---- */

static void conn_next_turn(struct conn *c, unsigned work)
{
    if (c->state >= CONN_FAILING)
        return;
    c->work |= (uint8_t)work;
    loop_at_next_turn(c->watch.loop, &c->task);
}

static bool wants_bytes(const struct conn *c)
{
    if (c->state != CONN_OPEN || !c->handler || c->pauses || c->got_eof)
        return false;
    return c->can_read || (c->ops && c->ops->has_pending(c->transport));
}

static void on_eof(struct conn *c)
{
    c->got_eof = true;
    c->can_read = false;
    if (conn_has_prologue(c)) {
        conn_prologue_take(c, true);
        if (c->state != CONN_OPEN)
            return;
    }
    c->handler->on_end(c, c->user);
    if (c->write_failed && c->state == CONN_OPEN)
        conn_fail(c, CONN_CLOSE_REMOTE_RESET);
}

/* One read and what follows from it. False: nothing more to be had now. */
static bool read_step(struct conn *c, size_t *n)
{
    switch (read_some(c, n)) {
    case IO_OK:
        c->bytes_read += *n;
        if (conn_has_prologue(c))
            conn_prologue_take(c, false);
        else
            c->handler->on_data(c, c->user);
        return true;
    case IO_AGAIN:
        c->can_read = false;
        if (c->write_failed)
            conn_fail(c, CONN_CLOSE_REMOTE_RESET);
        return false;
    case IO_EOF:
        on_eof(c);
        return false;
    case IO_FAIL:
        conn_fail(c, conn_close_of_errno(c->last_errno));
        return false;
    }
    return false;
}

/* The budget is the turn's, not the call's: a pair of fast sockets that pause and resume each other
 * at the turn's end would otherwise never let it end. */
static bool has_budget(struct conn *c)
{
    uint32_t turn = (uint32_t)loop_counters(c->watch.loop)->turns;
    if (c->budget_turn != turn) {
        c->budget_turn = turn;
        c->budget_taken = 0;
    }
    return c->budget_taken < READ_BUDGET_BYTES;
}

void conn_read_loop(struct conn *c)
{
    while (wants_bytes(c)) {
        size_t n = 0;
        if (!has_budget(c)) {
            conn_next_turn(c, WORK_READ);
            break;
        }
        if (!read_step(c, &n))
            break;
        c->budget_taken += (uint32_t)n;
    }
    /* Reading may have made a transport answer (a key update). */
    if (c->ops && c->state == CONN_OPEN && c->can_write && c->ops->wants_write(c->transport))
        conn_later(c, WORK_FLUSH);
}

/* Draining: nobody wants these bytes, but leaving them unread would turn our FIN into a RST. */
void conn_discard_loop(struct conn *c)
{
    char sink[8192];
    for (int i = 0; i < DISCARD_ROUNDS; i++) {
        ssize_t got = conn_sock_read(c, sink, sizeof(sink));
        if (got > 0)
            continue;
        if (got != -EAGAIN)
            conn_destroy(c);
        return;
    }
    conn_next_turn(c, WORK_DRAIN);
}
