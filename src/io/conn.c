/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection's life: made, watched, its turn task, its death. Reading, writing and connecting
 * are in conn_read.c, conn_write.c and conn_connect.c; questions are in conn_facts.c.
 *
 * Invariants: a handler is called only in OPEN (and on_connected/on_closed on the way in and out),
 * never again once conn_close or on_closed happened; after every handler call the state is looked
 * at before anything else. Memory, buffers included, lives until the turn's end, so a handler may
 * close its connection in the middle of parsing `in`. Everything runs on the loop's thread.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "io/conn_priv.h"

#define CONNS_IDLE_MAX 1024

_Static_assert(sizeof(struct conn) <= 256, "every idle connection pays for this");

static __thread struct recycler idle_conns = {
    .max_idle = CONNS_IDLE_MAX, .object_bytes = sizeof(struct conn)};
static uint64_t last_id; /* of the whole process: atomic access only */

/* Of this thread, in conn_close_delayed. */
static __thread struct list lingering = {NULL, NULL};
static __thread size_t lingering_count;

static void on_task(struct turn_task *t);

struct conn *conn_alloc(struct loop *loop, int fd)
{
    struct conn *c = recycler_get(&idle_conns);
    *c = (struct conn){
        .magic = CONN_MAGIC,
        .watch = {.loop = loop, .fd = fd},
        .fd = fd,
        .task.run = on_task,
        .id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED),
        .read_chunk = BUF_BLOCK_BYTES,
    };
    return c;
}

struct conn *conn_new_accepted(struct loop *loop, int fd, const struct addr *remote,
                               const struct addr *local)
{
    struct conn *c = conn_alloc(loop, fd);
    c->state = CONN_OPEN;
    c->is_server = true;
    c->can_read = c->can_write = true; /* the first request usually came with the connection */
    addr_copy(&c->remote, remote);
    if (local) {
        c->local = NEW(addr);
        addr_copy(c->local, local);
    }
    conn_later(c, WORK_WATCH);
    return c;
}

static void tell_linger_end(struct conn_ext *x, bool timed_out)
{
    void (*tell)(void *arg, bool timed_out) = x->on_linger_end;
    x->on_linger_end = NULL;
    if (tell)
        tell(x->linger_arg, timed_out);
}

static void on_timer(struct timer *t)
{
    struct conn_ext *x = CONTAINER_OF(t, conn_ext, timer);
    struct conn *c = x->owner;
    if (c->state == CONN_DRAINING) {
        tell_linger_end(x, true);
        conn_destroy(c);
    } else {
        conn_fail(c, CONN_CLOSE_CONNECT_TIMEOUT);
    }
}

struct conn_ext *conn_ext(struct conn *c)
{
    if (!c->ext) {
        c->ext = NEW(conn_ext);
        c->ext->owner = c;
        list_init(&c->ext->lingering);
        timer_init(&c->ext->timer, c->watch.loop, on_timer);
    }
    return c->ext;
}

/* ---- readiness ---- */

static void on_ready(struct watch *w, unsigned events)
{
    struct conn *c = CONTAINER_OF(w, conn, watch);
    if (events & (WATCH_IN | WATCH_RDHUP | WATCH_ERROR))
        c->can_read = true;
    if (events & (WATCH_OUT | WATCH_ERROR))
        c->can_write = true;
    if (events & WATCH_RDHUP)
        c->peer_ended = true;
    switch ((enum conn_state)c->state) {
    case CONN_CONNECTING:
        if (c->can_write)
            conn_connect_ready(c);
        return;
    case CONN_HANDSHAKE:
        conn_step(c);
        return;
    case CONN_DRAINING:
        conn_flush(c);
        return;
    case CONN_FAILING:
    case CONN_DEAD:
        return;
    case CONN_OPEN:
        break;
    }
    if (c->can_write && conn_has_output(c))
        conn_flush(c);
    conn_read_loop(c);
    /* Nobody reads, so the error wouldn't be met: a reset must not wait for a resume. */
    if (events & WATCH_ERROR && c->state == CONN_OPEN && c->handler && (c->pauses || c->got_eof)) {
        int e = conn_socket_error(c);
        if (e)
            conn_fail(c, conn_close_of_errno(e));
    }
}

int conn_watch(struct conn *c)
{
    struct err err = {0};
    int rc = watch_add(c->watch.loop, &c->watch, c->fd, on_ready, &err);
    if (rc)
        LOG(CONNECTION, WARNING, "[C%lu] %s", (unsigned long)c->id, err.message);
    return rc;
}

void conn_release(struct conn *c)
{
    if (c->state < CONN_FAILING)
        c->watch.on_ready = on_ready;
    c->user = NULL;
}

/* ---- the turn task ---- */

void conn_later(struct conn *c, unsigned work)
{
    if (c->state >= CONN_FAILING)
        return;
    c->work |= (uint8_t)work;
    loop_at_turn_end(c->watch.loop, &c->task);
}

static void tell_data(struct conn *c)
{
    if (c->state == CONN_OPEN && c->handler && !c->pauses && c->in.len)
        c->handler->on_data(c, c->user);
}

static void on_task(struct turn_task *t)
{
    struct conn *c = CONTAINER_OF(t, conn, task);
    unsigned work = c->work;
    c->work = 0;
    if (work & WORK_FAIL) {
        conn_fail(c, c->ext->fail_why);
        return;
    }
    if (work & WORK_STEP && c->state == CONN_CONNECTING)
        conn_connect_ready(c);
    else if (work & WORK_STEP && c->state == CONN_HANDSHAKE)
        conn_step(c);
    if (work & WORK_DATA)
        tell_data(c);
    /* A connection just accepted: read what came with it, so that registering it doesn't report
     * the same bytes again. */
    if (work & (WORK_READ | WORK_WATCH))
        conn_read_loop(c);
    if (work & WORK_WATCH && c->state < CONN_FAILING && conn_watch(c) != 0) {
        conn_fail(c, CONN_CLOSE_IO_ERROR);
        return;
    }
    if (work & WORK_DRAIN && c->state == CONN_DRAINING)
        conn_discard_loop(c);
    /* What the handlers queued just now goes out with the rest: one write a turn. */
    if ((work | c->work) & WORK_FLUSH) {
        c->work &= (uint8_t)~WORK_FLUSH;
        if (!c->work)
            turn_task_cancel(&c->task);
        conn_flush(c);
    }
}

/* ---- handlers ---- */

void conn_set_handler(struct conn *c, const struct conn_handler *handler, void *user)
{
    DCHECK(c->magic == CONN_MAGIC);
    if (c->state >= CONN_DRAINING)
        return;
    c->handler = handler;
    c->user = user;
    if (!handler)
        return;
    if (c->doomed)
        conn_later(c, WORK_FAIL);
    if (c->in.len)
        conn_later(c, WORK_DATA);
    if (c->state == CONN_OPEN && c->can_read)
        conn_later(c, WORK_READ);
}

void conn_read_pause(struct conn *c)
{
    DCHECK(c->pauses < UINT16_MAX);
    c->pauses++;
}

void conn_read_resume(struct conn *c)
{
    DCHECK(c->pauses > 0);
    /* Never read inside this call: the handler may be deep in its own work. */
    if (--c->pauses == 0 && c->state == CONN_OPEN)
        conn_later(c, WORK_READ | (c->in.len ? WORK_DATA : 0u));
}

void conn_set_transport(struct conn *c, const struct transport_ops *ops, void *take_state)
{
    DCHECK(!c->ops);
    c->ops = ops;
    c->transport = take_state;
    c->bytes_read = 0;
    conn_ext(c);
    if (c->state == CONN_OPEN) {
        c->state = CONN_HANDSHAKE;
        conn_later(c, WORK_STEP);
    }
}

/* ---- death ---- */

enum conn_close conn_close_of_errno(int e)
{
    return e == ECONNRESET || e == EPIPE ? CONN_CLOSE_REMOTE_RESET : CONN_CLOSE_IO_ERROR;
}

static void free_ext(struct conn_ext *x)
{
    if (!x)
        return;
    DCHECK(!timer_is_set(&x->timer));
    addr_fini(&x->direct_remote);
    buf_fini(&x->preface);
    conn_prologue_free(x);
    mem_free(x->failure_text);
    str_free(&x->proxy_tlvs);
    mem_free(x);
}

static void free_conn(struct deferred *d)
{
    struct conn *c = CONTAINER_OF(d, conn, deferred);
    if (c->ops)
        c->ops->free(c->transport);
    buf_fini(&c->in);
    buf_fini(&c->out);
    if (c->local) {
        addr_fini(c->local);
        mem_free(c->local);
    }
    addr_fini(&c->remote);
    free_ext(c->ext);
    c->magic = 0;
    recycler_put(&idle_conns, c);
}

void conn_destroy(struct conn *c)
{
    if (c->state == CONN_DEAD)
        return;
    c->state = CONN_DEAD;
    c->handler = NULL;
    turn_task_cancel(&c->task);
    if (c->ext) {
        timer_clear(&c->ext->timer);
        if (!list_is_empty(&c->ext->lingering))
            lingering_count--;
        list_remove(&c->ext->lingering);
        tell_linger_end(c->ext, false);
        conn_race_end(c);
    }
    if (c->fd >= 0) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        if (c->reset_wanted)
            setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        watch_forget(&c->watch);
        close(c->fd);
        c->fd = -1;
        acceptor_descriptor_freed();
    }
    loop_defer(c->watch.loop, &c->deferred, free_conn);
}

/* Between two handlers: whoever holds the pointer must not find it freed. The next handler is told. */
static void fail_when_handled(struct conn *c, enum conn_close why)
{
    conn_ext(c)->fail_why = why;
    timer_clear(&c->ext->timer);
    conn_race_end(c);
    watch_del(&c->watch);
    c->doomed = c->write_failed = true;
    c->can_read = c->can_write = false;
}

void conn_fail(struct conn *c, enum conn_close why)
{
    if (c->state == CONN_DRAINING) {
        conn_destroy(c);
        return;
    }
    if (c->state >= CONN_FAILING)
        return;
    if (!c->handler) {
        fail_when_handled(c, why);
        return;
    }
    const struct conn_handler *h = c->handler;
    void *user = c->user;
    c->state = CONN_FAILING;
    c->handler = NULL;
    LOG(CONNECTION, DEBUG, "[C%lu] %s: %s", (unsigned long)c->id, conn_close_text(why),
        conn_failure_text(c));
    if (h->on_closed)
        h->on_closed(c, user, why);
    conn_destroy(c);
}

void conn_close(struct conn *c, enum conn_close why)
{
    DCHECK(c->magic == CONN_MAGIC);
    if (c->state >= CONN_FAILING)
        return;
    LOG(CONNECTION, DEBUG, "[C%lu] %s", (unsigned long)c->id, conn_close_text(why));
    if (c->ops && c->state == CONN_OPEN && !c->shut_done && !c->reset_wanted)
        c->ops->shutdown(c->transport, c); /* as far as the socket takes it */
    conn_destroy(c);
}

void conn_on_linger_end(struct conn *c, void (*tell)(void *arg, bool timed_out), void *take_arg)
{
    conn_ext(c)->on_linger_end = tell;
    conn_ext(c)->linger_arg = take_arg;
}

size_t conn_lingering_count(void)
{
    return lingering_count;
}

void conn_close_lingering(void)
{
    if (!lingering.next)
        return;
    LIST_EACH(it, safe, &lingering)
        conn_destroy(LIST_ENTRY(it, conn_ext, lingering)->owner);
}

void conn_reset(struct conn *c)
{
    c->reset_wanted = true;
}

void conn_close_delayed(struct conn *c, uint64_t timeout_ms)
{
    if (c->state >= CONN_DRAINING)
        return;
    if (c->state != CONN_OPEN || c->write_failed) {
        conn_close(c, CONN_CLOSE_LOCAL);
        return;
    }
    struct conn_ext *x = conn_ext(c);
    c->state = CONN_DRAINING;
    c->handler = NULL;
    c->shut_wanted = true;
    if (!lingering.next)
        list_init(&lingering);
    list_push_back(&lingering, &x->lingering);
    lingering_count++;
    x->linger_us = timeout_ms * 1000;
    if (timeout_ms)
        timer_set_ms(&x->timer, timeout_ms);
    conn_later(c, WORK_FLUSH);
}

void conn_close_flushed(struct conn *c, uint64_t timeout_ms)
{
    if (c->state == CONN_OPEN) {
        c->handler = NULL;
        conn_flush(c);
    }
    /* Closing over unread bytes would turn our FIN into a RST. */
    if (c->state == CONN_OPEN && !conn_has_output(c) && !c->in.len && !c->can_read)
        conn_close(c, CONN_CLOSE_LOCAL);
    else
        conn_close_delayed(c, timeout_ms);
}

/* Called after each flush while draining. The wait begins anew with each byte the peer takes, so a
 * slow reader of a long answer isn't cut off. */
void conn_drain_progress(struct conn *c)
{
    if (!c->shut_done) {
        if (c->ext->linger_us)
            timer_set_us(&c->ext->timer, c->ext->linger_us);
        return;
    }
    if (c->got_eof || c->ext->linger_us == 0)
        conn_destroy(c);
    else
        conn_discard_loop(c);
}
