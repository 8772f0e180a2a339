/* SPDX-License-Identifier: Apache-2.0
 *
 * The relay. Each direction ("half") is a small machine: write what waits in the receiver's queue,
 * then what waits in the pipe, then take more from the sender; it stops at the first of these that
 * the kernel refuses and goes on at the next edge.
 *
 * A half begins by copying; a read that fills its block turns it to splicing, and a round that
 * moved little turns it back. EAGAIN from splice into a pipe means "socket empty" only if the pipe
 * is empty: pipes run out of slots before they run out of bytes. Where splice doesn't work (EINVAL)
 * the half copies for ever. Runs on the connections' loop; pipes are the thread's.
 */
#include "io/splice.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/conn_priv.h"
#include "io/sys.h"

#define RELAY_MAGIC 0x73706c63u
#define PIPE_BYTES (1024 * 1024)
#define PIPE_BYTES_SMALL (256 * 1024) /* where the user's allowance for pipes is used up */
#define PIPES_IDLE_MAX 32
#define TURN_BUDGET_BYTES (1024 * 1024) /* a half's in one turn */
#define BULK_BYTES BUF_BLOCK_BYTES

struct pipe_pair {
    struct pipe_pair *next;
    int read_fd, write_fd;
    size_t cap;
};

struct half {
    struct conn *from, *to;
    struct pipe_pair *pipe; /* only while it holds bytes, or within a pump */
    size_t in_pipe;
    uint64_t bytes;
    bool bulk, cannot_splice;
    bool eof, fin_sent;
};

struct splice_relay {
    uint32_t magic;
    bool done; /* on_done was or must not be called */
    bool moved;
    struct conn *unwatched; /* the kernel refused to watch it */
    struct half a_to_b, b_to_a;
    const struct splice_handler *handler;
    void *user;
    struct turn_task task;
    struct deferred deferred;
};

/* ---- pipes ---- */

static __thread struct pipe_pair *idle_pipes;
static __thread unsigned idle_pipe_count;

static void pipe_close(struct pipe_pair *p)
{
    close(p->read_fd);
    close(p->write_fd);
    mem_free(p);
}

static struct pipe_pair *pipe_get(void)
{
    struct pipe_pair *p = idle_pipes;
    if (p) {
        idle_pipes = p->next;
        idle_pipe_count--;
        return p;
    }
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0)
        return NULL;
    int size = fcntl(fds[0], F_SETPIPE_SZ, PIPE_BYTES);
    if (size < 0)
        size = fcntl(fds[0], F_SETPIPE_SZ, PIPE_BYTES_SMALL);
    if (size < 0)
        size = fcntl(fds[0], F_GETPIPE_SZ);
    p = NEW(pipe_pair);
    *p = (struct pipe_pair){.read_fd = fds[0], .write_fd = fds[1], .cap = size > 0 ? (size_t)size : 65536};
    return p;
}

static void pipe_put(struct pipe_pair *p, bool is_empty)
{
    if (!is_empty || idle_pipe_count >= PIPES_IDLE_MAX) {
        pipe_close(p);
        return;
    }
    p->next = idle_pipes;
    idle_pipes = p;
    idle_pipe_count++;
}

void splice_trim(void)
{
    while (idle_pipes) {
        struct pipe_pair *p = idle_pipes;
        idle_pipes = p->next;
        pipe_close(p);
    }
    idle_pipe_count = 0;
}

/* ---- one half's steps: IO_OK = moved something or nothing to do, IO_AGAIN = the kernel refuses ---- */

static void account_out(struct half *h, size_t n)
{
    h->to->bytes_written += n;
}

static void account_in(struct half *h, size_t n)
{
    h->from->bytes_read += n;
    h->bytes += n;
}

static enum io_result write_queue(struct half *h)
{
    struct iovec iov[16];
    struct buf *b = &h->to->out;
    while (b->len) {
        ssize_t put = conn_sock_writev(h->to, iov, buf_iov(b, iov, 16));
        if (put < 0)
            return put == -EAGAIN ? IO_AGAIN : IO_FAIL;
        buf_drain(b, (size_t)put);
        account_out(h, (size_t)put);
    }
    return IO_OK;
}

static ssize_t splice_once(int from, int to, size_t n)
{
    ssize_t moved;
    do {
        moved = sys_splice(from, to, n, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    } while (moved < 0 && errno == EINTR);
    return moved;
}

static enum io_result write_pipe(struct half *h)
{
    while (h->in_pipe) {
        if (!h->to->can_write)
            return IO_AGAIN;
        ssize_t put = splice_once(h->pipe->read_fd, h->to->fd, h->in_pipe);
        if (put > 0) {
            h->in_pipe -= (size_t)put;
            account_out(h, (size_t)put);
        } else if (put < 0 && errno == EAGAIN) {
            h->to->can_write = false;
            return IO_AGAIN;
        } else {
            h->to->last_errno = (int16_t)(put < 0 ? errno : EIO);
            return IO_FAIL;
        }
    }
    return IO_OK;
}

/* A copy goes straight into the receiver's queue. */
static enum io_result take_copy(struct half *h)
{
    size_t avail;
    struct buf *b = &h->to->out;
    uint8_t *p = buf_reserve(b, BULK_BYTES, &avail);
    ssize_t got = conn_sock_read(h->from, p, avail);
    buf_commit(b, got > 0 ? (size_t)got : 0);
    if (got > 0) {
        account_in(h, (size_t)got);
        h->bulk = !h->cannot_splice && (size_t)got >= BULK_BYTES;
        return IO_OK;
    }
    if (got == 0)
        return IO_EOF;
    return got == -EAGAIN ? IO_AGAIN : IO_FAIL;
}

static enum io_result take_splice(struct half *h)
{
    if (!h->pipe && (h->pipe = pipe_get()) == NULL) {
        h->bulk = false; /* out of descriptors: copying needs none */
        return IO_OK;
    }
    if (h->in_pipe >= h->pipe->cap)
        return IO_OK;
    ssize_t got = splice_once(h->from->fd, h->pipe->write_fd, h->pipe->cap - h->in_pipe);
    if (got > 0) {
        h->in_pipe += (size_t)got;
        account_in(h, (size_t)got);
        return IO_OK;
    }
    if (got == 0)
        return IO_EOF;
    if (errno == EAGAIN) {
        if (h->in_pipe)
            return IO_OK; /* perhaps the pipe's slots are full: asked again once it is empty */
        h->from->can_read = false;
        return IO_AGAIN;
    }
    if (errno == EINVAL || errno == ENOSYS) {
        h->cannot_splice = true;
        h->bulk = false;
        return IO_OK;
    }
    h->from->last_errno = (int16_t)errno;
    return IO_FAIL;
}

/* ---- pumping ---- */

static void finish(struct splice_relay *r, enum conn_close why, bool a_failed)
{
    if (r->done)
        return;
    r->done = true;
    r->handler->on_done(r, r->user, why, a_failed);
}

static void fail(struct splice_relay *r, struct conn *c)
{
    finish(r, conn_close_of_errno(c->last_errno), c == r->a_to_b.from);
}

static void pass_end(struct splice_relay *r, struct half *h)
{
    h->fin_sent = true;
    h->to->shut_done = true;
    shutdown(h->to->fd, SHUT_WR);
    if (r->handler->on_half_closed)
        r->handler->on_half_closed(r, r->user, h == &r->a_to_b);
    if (r->a_to_b.fin_sent && r->b_to_a.fin_sent)
        finish(r, CONN_CLOSE_REMOTE_EOF, h == &r->a_to_b);
}

/* Everything the kernel takes now. Sets *failed to the connection that failed. */
static void move_bytes(struct splice_relay *r, struct half *h, struct conn **failed)
{
    uint64_t start = h->bytes;
    for (;;) {
        enum io_result put = write_queue(h);
        if (put == IO_OK)
            put = write_pipe(h);
        if (put == IO_FAIL) {
            *failed = h->to;
            return;
        }
        /* The pipe may be filled up behind bytes that wait; the queue may not (it is memory). */
        if (h->eof || !h->from->can_read || h->to->out.len || (put == IO_AGAIN && !h->in_pipe))
            return;
        if (h->bytes - start >= TURN_BUDGET_BYTES) {
            if (put == IO_OK)
                loop_at_next_turn(h->from->watch.loop, &r->task);
            return;
        }
        uint64_t before = h->bytes;
        enum io_result got = h->bulk ? take_splice(h) : h->in_pipe ? IO_AGAIN : take_copy(h);
        if (got == IO_FAIL) {
            *failed = h->from;
            return;
        }
        h->eof = got == IO_EOF;
        if (put == IO_AGAIN && h->bytes == before && !h->eof)
            return; /* neither end moves */
    }
}

static void pump(struct splice_relay *r, struct half *h)
{
    if (r->done || h->fin_sent)
        return;
    struct conn *failed = NULL;
    uint64_t in = h->bytes, out = h->to->bytes_written;
    move_bytes(r, h, &failed);
    if (h->bytes - in < BULK_BYTES && !h->in_pipe)
        h->bulk = false;
    if (h->pipe && !h->in_pipe) {
        pipe_put(h->pipe, true);
        h->pipe = NULL;
    }
    r->moved |= h->bytes != in || h->to->bytes_written != out;
    if (failed)
        fail(r, failed);
    else if (h->eof && !h->in_pipe && !h->to->out.len)
        pass_end(r, h);
}

static void tell_moved(struct splice_relay *r)
{
    bool moved = r->moved;
    r->moved = false;
    if (moved && !r->done && r->handler->on_moved)
        r->handler->on_moved(r, r->user);
}

static void run_task(struct turn_task *t)
{
    struct splice_relay *r = CONTAINER_OF(t, splice_relay, task);
    if (r->unwatched) {
        finish(r, CONN_CLOSE_IO_ERROR, r->unwatched == r->a_to_b.from);
        return;
    }
    pump(r, &r->a_to_b);
    pump(r, &r->b_to_a);
    tell_moved(r);
}

static void on_ready(struct watch *w, unsigned events)
{
    struct conn *c = CONTAINER_OF(w, conn, watch);
    struct splice_relay *r = c->user;
    if (events & (WATCH_IN | WATCH_RDHUP | WATCH_ERROR))
        c->can_read = true;
    if (events & (WATCH_OUT | WATCH_ERROR))
        c->can_write = true;
    if (events & WATCH_RDHUP)
        c->peer_ended = true;
    /* A reset mustn't wait behind a receiver that doesn't read. */
    if (events & WATCH_ERROR && (c->last_errno = (int16_t)conn_socket_error(c)) != 0) {
        fail(r, c);
        return;
    }
    if (events & WATCH_OUT)
        pump(r, c == r->a_to_b.to ? &r->a_to_b : &r->b_to_a);
    if (events & (WATCH_IN | WATCH_RDHUP))
        pump(r, c == r->a_to_b.from ? &r->a_to_b : &r->b_to_a);
    tell_moved(r);
}

/* ---- the interface ---- */

static void adopt(struct splice_relay *r, struct conn *c)
{
    DCHECK(c->state == CONN_OPEN && !c->ops);
    conn_set_handler(c, NULL, r);
    turn_task_cancel(&c->task);
    c->work = 0;
    if (!watch_is_added(&c->watch) && conn_watch(c) != 0)
        r->unwatched = c; /* told at the turn's end */
    c->watch.on_ready = on_ready;
}

static void half_init(struct half *h, struct conn *from, struct conn *to)
{
    *h = (struct half){.from = from, .to = to, .eof = from->got_eof, .bytes = from->in.len};
    buf_move(&to->out, &from->in);
}

struct splice_relay *splice_start(struct conn *a, struct conn *b, const struct splice_handler *handler,
                                  void *user)
{
    struct splice_relay *r = NEW(splice_relay);
    r->magic = RELAY_MAGIC;
    r->handler = handler;
    r->user = user;
    r->task.run = run_task;
    adopt(r, a);
    adopt(r, b);
    half_init(&r->a_to_b, a, b);
    half_init(&r->b_to_a, b, a);
    loop_at_turn_end(a->watch.loop, &r->task);
    return r;
}

static void destroy(struct deferred *d)
{
    mem_free(CONTAINER_OF(d, splice_relay, deferred));
}

static void half_fini(struct half *h)
{
    if (h->pipe)
        pipe_put(h->pipe, h->in_pipe == 0);
    h->pipe = NULL;
    conn_release(h->from);
}

void splice_free(struct splice_relay **relay)
{
    struct splice_relay *r = *relay;
    if (!r)
        return;
    *relay = NULL;
    DCHECK(r->magic == RELAY_MAGIC);
    r->done = true; /* the frames above us, if any, see it and return */
    r->magic = 0;
    turn_task_cancel(&r->task);
    struct loop *loop = r->a_to_b.from->watch.loop;
    half_fini(&r->a_to_b);
    half_fini(&r->b_to_a);
    loop_defer(loop, &r->deferred, destroy);
}

uint64_t splice_bytes(const struct splice_relay *r, bool from_a)
{
    return from_a ? r->a_to_b.bytes : r->b_to_a.bytes;
}
