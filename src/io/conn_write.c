/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing. Handlers append to `out` during a turn; the turn task sends all of it with one writev.
 * A short write means a full socket: the rest waits for the next edge. A peer that answers and
 * closes before it has read everything makes writing fail while its answer is still to be read:
 * so after EPIPE or ECONNRESET `out` is dropped and reading goes on until it ends by itself.
 */
#include <errno.h>
#include <sys/socket.h>

#include "io/conn_priv.h"
#include "io/sys.h"

#define IOV_MAX_USED 64

static ssize_t account_write(struct conn *c, ssize_t put, size_t asked)
{
    if (put < 0) {
        int e = errno == EWOULDBLOCK ? EAGAIN : errno;
        if (e == EAGAIN)
            c->can_write = false;
        else
            c->last_errno = (int16_t)e;
        return -e;
    }
    if ((size_t)put < asked)
        c->can_write = false;
    if (c->ext)
        c->ext->wire_written += (uint64_t)put;
    return put;
}

ssize_t conn_sock_write(struct conn *c, const void *p, size_t n)
{
    if (!c->can_write)
        return -EAGAIN;
    ssize_t put;
    do {
        put = sys_write(c->fd, p, n);
    } while (put < 0 && errno == EINTR);
    return account_write(c, put, n);
}

ssize_t conn_sock_writev(struct conn *c, const struct iovec *iov, int count)
{
    if (!c->can_write)
        return -EAGAIN;
    size_t asked = 0;
    for (int i = 0; i < count; i++)
        asked += iov[i].iov_len;
    ssize_t put;
    do {
        put = count == 1 ? sys_write(c->fd, iov->iov_base, iov->iov_len)
                         : sys_writev(c->fd, iov, count);
    } while (put < 0 && errno == EINTR);
    return account_write(c, put, asked);
}

static enum io_result write_raw(struct conn *c, size_t *n)
{
    struct iovec iov[IOV_MAX_USED];
    while (c->out.len) {
        int count = buf_iov(&c->out, iov, IOV_MAX_USED);
        ssize_t put = conn_sock_writev(c, iov, count);
        if (put < 0)
            return put == -EAGAIN ? IO_AGAIN : IO_FAIL;
        buf_drain(&c->out, (size_t)put);
        *n += (size_t)put;
    }
    return IO_OK;
}

static bool transport_wants_write(const struct conn *c)
{
    return c->ops && c->ops->wants_write(c->transport);
}

bool conn_has_output(const struct conn *c)
{
    return c->out.len || (c->shut_wanted && !c->shut_done) || transport_wants_write(c);
}

static void on_write_error(struct conn *c)
{
    enum conn_close why = conn_close_of_errno(c->last_errno);
    if (why != CONN_CLOSE_REMOTE_RESET || c->state != CONN_OPEN || !c->handler || c->pauses ||
        c->got_eof) {
        conn_fail(c, why);
        return;
    }
    c->write_failed = true;
    c->can_read = true;
    conn_later(c, WORK_READ);
}

static enum io_result write_some(struct conn *c)
{
    size_t n = 0;
    enum io_result r;
    if (c->ops)
        r = c->ops->write(c->transport, c, &c->out, &n);
    else
        r = write_raw(c, &n);
    c->bytes_written += n;
    return r;
}

/* FIN, once everything is with the kernel. */
static void finish_writing(struct conn *c)
{
    if (c->ops) {
        enum io_result r = c->ops->shutdown(c->transport, c);
        if (r == IO_AGAIN)
            return;
    }
    c->shut_done = true;
    shutdown(c->fd, SHUT_WR); /* fails only where the peer is gone, which reading will tell */
}

static void tell_levels(struct conn *c, bool had_output)
{
    if (c->is_above && c->out.len <= c->high_watermark / 2) {
        c->is_above = false;
        if (c->handler->on_below_watermark)
            c->handler->on_below_watermark(c, c->user);
    } else if (!c->is_above && c->high_watermark && c->out.len > c->high_watermark) {
        c->is_above = true;
        if (c->handler->on_above_watermark)
            c->handler->on_above_watermark(c, c->user);
    }
    if (had_output && c->state == CONN_OPEN && c->handler && !c->out.len &&
        !transport_wants_write(c) && c->handler->on_drained)
        c->handler->on_drained(c, c->user);
}

void conn_flush(struct conn *c)
{
    if (c->state != CONN_OPEN && c->state != CONN_DRAINING)
        return;
    bool had_output = c->out.len > 0;
    uint64_t before = c->bytes_written;
    if (c->write_failed)
        buf_fini(&c->out);
    else if ((had_output || transport_wants_write(c)) && c->can_write && write_some(c) == IO_FAIL) {
        on_write_error(c);
        return;
    }
    if (c->state == CONN_OPEN && c->handler)
        tell_levels(c, had_output);
    if (c->state != CONN_OPEN && c->state != CONN_DRAINING)
        return;
    if (c->shut_wanted && !c->shut_done && !c->out.len && !transport_wants_write(c))
        finish_writing(c);
    if (c->state == CONN_DRAINING && (c->shut_done || c->bytes_written != before))
        conn_drain_progress(c);
}

void conn_flush_later(struct conn *c)
{
    conn_later(c, WORK_FLUSH);
}

void conn_flush_now(struct conn *c)
{
    conn_flush(c);
}

void conn_shutdown_write(struct conn *c)
{
    c->shut_wanted = true;
    conn_later(c, WORK_FLUSH);
}
