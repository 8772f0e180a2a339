/* SPDX-License-Identifier: Apache-2.0
 *
 * Worker threads: made with their loops before configuration needs them, started late, and ended in
 * steps of one turn each, since what a step closes is freed at its turn's end: connections, then last
 * batches of logs, then clusters' pools, then what is still being flushed, then the loop.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/codec/h2.h"
#include "io/splice.h"
#include "proxy/log/access_log.h"
#include "proxy/server_priv.h"

#define STACK_BYTES (MEM_SANITIZED ? 4096 * 1024 : 256 * 1024)
#define FLUSH_STEP_MS 5
#define FLUSH_LIMIT_MS 1000

static __thread struct worker *current;

struct worker *worker_current(void)
{
    return current;
}

static struct frame *frame_of(struct server *s)
{
    return CONTAINER_OF(s, frame, server);
}

int workers_make(struct server *s, struct err *err)
{
    struct frame *f = frame_of(s);
    uint32_t n = s->opts.concurrency;
    s->workers = mem_zalloc(n * sizeof(*s->workers));
    f->worker_loops = mem_zalloc(n * sizeof(*f->worker_loops));
    for (uint32_t i = 0; i < n; i++) {
        struct worker *w = &s->workers[i];
        w->server = s;
        w->index = i;
        list_init(&w->listeners);
        snprintf(w->name, sizeof(w->name), "worker_%u", i % STAT_MAX_THREADS);
        w->loop = loop_new(w->name, err);
        if (!w->loop)
            return err->code;
        f->worker_loops[i] = w->loop;
        s->worker_count++;
    }
    return 0;
}

static void *run(void *arg)
{
    struct worker *w = arg;
    current = w;
    __atomic_store_n(&w->tid, gettid(), __ATOMIC_RELAXED);
    stat_thread = w->index + 1;
    check_context.worker = w->name;
    crash_thread_init();
    access_log_worker_start(w);
    loop_run(w->loop);
    splice_trim();
    buf_trim();
    h2_thread_fini();
    arena_thread_fini();
    crash_thread_fini();
    return NULL;
}

int workers_start(struct server *s)
{
    pthread_attr_t attr;
    int fault = 0;
    uint32_t started = 0;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    for (; started < s->worker_count && !fault; started += !fault) {
        struct worker *w = &s->workers[started];
        fault = pthread_create(&w->thread, &attr, run, w);
        if (!fault)
            pthread_setname_np(w->thread, w->name);
    }
    pthread_attr_destroy(&attr);
    if (!fault) {
        clusters_workers_run(true);
        frame_of(s)->workers_run = true;
        return 0;
    }
    struct err err;
    err_set_errno(&err, fault, "cannot start worker_%u", started);
    LOG(MAIN, CRITICAL, "%s", err.message);
    for (uint32_t i = 0; i < started; i++) {
        loop_stop(s->workers[i].loop);
        pthread_join(s->workers[i].thread, NULL);
    }
    return ERR_IO;
}

/* ---- the end ---- */

struct leaving {
    struct worker *worker;
    struct timer timer;
    uint64_t limit_us;
    bool at_once;
};

static void on_flushing(struct timer *t)
{
    struct leaving *l = CONTAINER_OF(t, leaving, timer);
    struct loop *loop = l->worker->loop;
    if (!l->at_once && conn_lingering_count() && loop_now_us(loop) < l->limit_us) {
        timer_set_ms(t, FLUSH_STEP_MS);
        return;
    }
    conn_close_lingering();
    access_log_worker_stop(l->worker);
    mem_free(l);
    loop_stop(loop);
}

static void leave_clusters(void *arg)
{
    struct leaving *l = arg;
    clusters_leave();
    timer_init(&l->timer, l->worker->loop, on_flushing);
    timer_set_ms(&l->timer, 0);
    l->limit_us = loop_now_us(l->worker->loop) + FLUSH_LIMIT_MS * 1000;
}

/* After the turn in which the last exchanges were logged, and before the connections of log services close: a collector
 * gets a little time to say that it has the last batch. */
static void on_logs_leaving(struct timer *t)
{
    struct leaving *l = CONTAINER_OF(t, leaving, timer);
    struct loop *loop = l->worker->loop;
    if (access_log_leave_here() && !l->at_once && loop_now_us(loop) < l->limit_us)
        timer_set_ms(t, FLUSH_STEP_MS);
    else
        loop_post(loop, leave_clusters, l);
}

static void leave_logs(void *arg)
{
    struct leaving *l = arg;
    timer_init(&l->timer, l->worker->loop, on_logs_leaving);
    timer_set_ms(&l->timer, 0);
    l->limit_us = loop_now_us(l->worker->loop) + FLUSH_LIMIT_MS * 1000;
}

static void leave(void *arg)
{
    struct leaving *l = arg;
    listeners_leave(l->worker);
    loop_post(l->worker->loop, leave_logs, l);
}

void workers_stop(struct server *s, bool at_once)
{
    struct frame *f = frame_of(s);
    if (!f->workers_run)
        return;
    for (uint32_t i = 0; i < s->worker_count; i++) {
        struct leaving *l = NEW(leaving);
        l->worker = &s->workers[i];
        l->at_once = at_once;
        loop_post(l->worker->loop, leave, l);
    }
    for (uint32_t i = 0; i < s->worker_count; i++)
        pthread_join(s->workers[i].thread, NULL);
    clusters_workers_run(false);
    f->workers_run = false;
}

void workers_free(struct server *s)
{
    for (uint32_t i = 0; i < s->worker_count; i++)
        loop_free(&s->workers[i].loop);
    mem_free(s->workers);
    mem_free(frame_of(s)->worker_loops);
    s->workers = NULL;
}

/* ---- broadcasts ---- */

struct broadcast {
    struct server *server;
    void (*fn)(struct worker *w, void *arg);
    void (*done)(void *arg);
    void *arg;
    _Atomic uint32_t left;
};
struct delivery {
    struct broadcast *all;
    struct worker *worker;
};

static void on_all_done(void *arg)
{
    struct broadcast *b = arg;
    if (b->done)
        b->done(b->arg);
    mem_free(b);
}

static void deliver(void *arg)
{
    struct delivery *d = arg;
    struct broadcast *b = d->all;
    b->fn(d->worker, b->arg);
    if (atomic_fetch_sub(&b->left, 1) == 1)
        loop_post(b->server->main_loop, on_all_done, b);
    mem_free(d);
}

void server_on_workers(struct server *s, void (*fn)(struct worker *w, void *arg),
                       void (*done)(void *arg), void *arg)
{
    struct broadcast *b = NEW(broadcast);
    b->server = s;
    b->fn = fn;
    b->done = done;
    b->arg = arg;
    atomic_init(&b->left, s->worker_count);
    for (uint32_t i = 0; i < s->worker_count; i++) {
        struct delivery *d = NEW(delivery);
        d->all = b;
        d->worker = &s->workers[i];
        loop_post(s->workers[i].loop, deliver, d);
    }
}
