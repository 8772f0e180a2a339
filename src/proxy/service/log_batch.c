/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches of log entries. Each thread has a buffer, a timer and calls of its own; nothing is shared but statistics.
 *
 *   entries --full or timer--> message --> stream (opened when there is something to send)
 *                                     \--> unary call, at most CALLS_MAX at a time
 *
 * A stream that ends is opened again with the next batch. With a retry policy, messages of a stream that nobody has
 * answered yet are kept (up to KEPT_BYTES_MAX) and sent again after a back-off when it fails. Without room, entries are
 * dropped and counted; a request never waits for a collector. Invariant: after `left` nothing is sent any more.
 */
#include "proxy/service/log_batch.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/cluster/cluster.h"
#include "proxy/log/access_log.h"

#define CALLS_MAX 8
#define KEPT_BYTES_MAX 65536
#define REOPEN_MS 1000         /* between openings that fail at once */
#define COMPLAIN_US 60000000ull

static const struct stat_desc rows[] = {LOG_BATCH_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

struct batch_thread;
struct export {                /* one call */
    struct batch_thread *here;
    struct grpc_call *call;
    struct strbuf kept;        /* messages so far, each after its length; only with retries */
    bool keeps, above, is_first;
    uint32_t retries_left;
    uint64_t wait_ms;
    struct timer retry;
    struct export *next;
    struct deferred deferred;
};
struct batch_thread {
    struct log_batch *batch;
    struct loop *loop;
    struct strbuf entries;
    struct timer flush;
    struct export *exports;
    uint32_t export_count;
    bool left;
    uint64_t complained_us, reopen_us;
};
struct log_batch {
    struct log_batch_opts o;
    void *owner;
    struct stat_scope *stats;  /* NULL until statistics stand */
    struct log_batch *next;
    struct batch_thread *threads[STAT_MAX_THREADS];
};

static struct log_batch *batches; /* main thread changes it before workers start and after they end */

/* ---- calls ---- */

static void free_export(struct deferred *d)
{
    struct export *e = CONTAINER_OF(d, export, deferred);
    strbuf_fini(&e->kept);
    mem_free(e);
}

static void drop_export(struct export *e)
{
    struct batch_thread *t = e->here;
    for (struct export **at = &t->exports; *at; at = &(*at)->next)
        if (*at == e) {
            *at = e->next;
            t->export_count--;
            break;
        }
    timer_clear(&e->retry);
    grpc_call_cancel(&e->call);
    loop_defer(t->loop, &e->deferred, free_export);
}

static void complain(struct batch_thread *t, unsigned status, struct str message)
{
    uint64_t now = loop_now_us(t->loop);
    if (t->complained_us && now - t->complained_us < COMPLAIN_US)
        return;
    t->complained_us = now;
    LOG(MISC, WARNING, "log collector %.*s: gRPC status %u %.*s", STR_ARG(t->batch->o.service.cluster_name), status, STR_ARG(message));
}

static bool open_call(struct export *e);

/* Opens again and says what was said. */
static void on_retry(struct timer *timer)
{
    struct export *e = CONTAINER_OF(timer, export, retry);
    if (!open_call(e))
        drop_export(e);
}

static void on_done(void *user, unsigned status, struct str message)
{
    struct export *e = user;
    struct batch_thread *t = e->here;
    e->call = NULL;
    if (t->left) {
        drop_export(e);
        return;
    }
    if (status != GRPC_OK)
        complain(t, status, message);
    if (status == GRPC_OK || !e->retries_left || !e->kept.n) {
        drop_export(e);
        return;
    }
    e->retries_left--;
    timer_set_ms(&e->retry, 1 + rng_next(loop_rng(t->loop)) % e->wait_ms); /* full jitter, as Envoy's back-off */
    e->wait_ms = e->wait_ms * 2 < t->batch->o.backoff_max_ms ? e->wait_ms * 2 : t->batch->o.backoff_max_ms;
}

static void on_watermark(void *user, bool above)
{
    struct export *e = user;
    e->above = above;
}

static const struct grpc_call_handler handler = {.on_done = on_done, .on_watermark = on_watermark};

static void keep(struct export *e, struct str message)
{
    uint32_t n = (uint32_t)message.n;
    if (!e->keeps)
        return;
    if (e->kept.n + sizeof n + message.n > KEPT_BYTES_MAX) { /* too much to be said twice */
        e->keeps = false;
        strbuf_fini(&e->kept);
        return;
    }
    strbuf_add(&e->kept, &n, sizeof n);
    strbuf_add(&e->kept, message.p, message.n);
}

/* Sends what is kept; false when not all of it could be. */
static bool send_kept(struct export *e)
{
    uint32_t n;
    for (size_t at = 0; at < e->kept.n; at += sizeof n + n) {
        memcpy(&n, e->kept.p + at, sizeof n);
        if (!grpc_call_send(e->call, (const uint8_t *)e->kept.p + at + sizeof n, n, false))
            return false;
    }
    return true;
}

static bool open_call(struct export *e)
{
    struct log_batch_opts *o = &e->here->batch->o;
    unsigned status;
    e->above = false;
    e->call = grpc_call_start(&o->service, o->path, NULL, NULL, NULL, 0, false, &handler, e, &status);
    if (!e->call) {
        complain(e->here, status, STR("cannot be called"));
        return false;
    }
    if (!send_kept(e))
        return false;
    return o->is_stream || grpc_call_send(e->call, NULL, 0, true);
}

static struct export *new_export(struct batch_thread *t)
{
    const struct log_batch_opts *o = &t->batch->o;
    struct export *e = NEW(export);
    e->here = t;
    e->is_first = true;
    e->keeps = o->retries > 0;
    e->retries_left = o->retries;
    e->wait_ms = o->backoff_base_ms;
    timer_init(&e->retry, t->loop, on_retry);
    e->next = t->exports;
    t->exports = e;
    t->export_count++;
    return e;
}

/* ---- batches ---- */

static bool flush_stream(struct batch_thread *t)
{
    struct strbuf message = {0};
    struct export *e = t->exports;
    if (e && (!e->call || e->above))
        return false;
    if (!e) {
        e = new_export(t);
        if (!open_call(e)) {
            drop_export(e);
            t->reopen_us = loop_now_us(t->loop) + REOPEN_MS * 1000;
            return false;
        }
    }
    t->batch->o.wrap(t->batch->owner, e->is_first, strbuf_str(&t->entries), &message);
    bool sent = grpc_call_send(e->call, (const uint8_t *)message.p, message.n, false);
    if (sent) {
        e->is_first = false;
        keep(e, strbuf_str(&message));
    }
    strbuf_fini(&message);
    return sent;
}

static bool flush_unary(struct batch_thread *t)
{
    struct log_batch_opts *o = &t->batch->o;
    struct strbuf message = {0};
    unsigned status;
    if (t->export_count >= CALLS_MAX)
        return false;
    struct export *e = new_export(t);
    o->wrap(t->batch->owner, true, strbuf_str(&t->entries), &message);
    keep(e, strbuf_str(&message));
    e->call = grpc_call_start(&o->service, o->path, NULL, NULL, (const uint8_t *)message.p, message.n, true, &handler, e, &status);
    strbuf_fini(&message);
    if (e->call)
        return true;
    complain(t, status, STR("cannot be called"));
    drop_export(e);
    t->reopen_us = loop_now_us(t->loop) + REOPEN_MS * 1000;
    return false;
}

/* What can't be sent stays, and the timer tries again. */
static void flush(struct batch_thread *t)
{
    struct log_batch *b = t->batch;
    if (!t->entries.n || t->left || loop_now_us(t->loop) < t->reopen_us)
        return;
    if (b->o.is_stream ? flush_stream(t) : flush_unary(t))
        strbuf_reset(&t->entries);
}

static void on_flush(struct timer *timer)
{
    struct batch_thread *t = CONTAINER_OF(timer, batch_thread, flush);
    flush(t);
    if (t->entries.n)
        timer_set_ms(timer, t->batch->o.flush_ms);
}

static struct batch_thread *thread_of(struct log_batch *b)
{
    struct batch_thread *t = b->threads[stat_thread];
    if (t)
        return t;
    t = NEW(batch_thread);
    t->batch = b;
    t->loop = loop_current();
    timer_init(&t->flush, t->loop, on_flush);
    b->threads[stat_thread] = t;
    return t;
}

static bool has_room(const struct batch_thread *t)
{
    return t->entries.n < (t->batch->o.buffer_bytes ? t->batch->o.buffer_bytes : 1);
}

struct strbuf *log_batch_begin(struct log_batch *b)
{
    struct batch_thread *t = thread_of(b);
    if (!has_room(t))
        flush(t);
    bool room = has_room(t) && !t->left;
    if (b->stats)
        stat_inc(b->stats, room ? STAT_LOG_BATCH_WRITTEN : STAT_LOG_BATCH_DROPPED);
    return room ? &t->entries : NULL;
}

void log_batch_end(struct log_batch *b)
{
    struct batch_thread *t = thread_of(b);
    if (!has_room(t))
        flush(t);
    if (t->entries.n && !timer_is_set(&t->flush))
        timer_set_ms(&t->flush, b->o.flush_ms);
}

/* ---- lifetime ---- */

static void leave(struct batch_thread *t)
{
    t->reopen_us = 0;
    flush(t);
    t->left = true;
    timer_clear(&t->flush);
    for (struct export *e = t->exports, *next; e; e = next) {
        next = e->next;
        if (!stat_thread || !e->call) /* the main loop runs no more */
            drop_export(e);
        else if (t->batch->o.is_stream)
            grpc_call_send(e->call, NULL, 0, true);
    }
}

/* The calling thread's last batches; true while collectors haven't answered. What is left then ends with its pool. */
static bool leave_here(void)
{
    bool waits = false;
    for (struct log_batch *b = batches; b; b = b->next) {
        struct batch_thread *t = b->threads[stat_thread];
        if (t && !t->left)
            leave(t);
        waits |= t && t->exports;
    }
    return waits;
}

static void start(void)
{
    for (struct log_batch *b = batches; b; b = b->next)
        if (!b->stats)
            b->stats = stat_scope_get(b->o.stat_prefix, &table, b->o.stat_prefix, NULL, 0);
}

struct log_batch *log_batch_new(const struct log_batch_opts *o, void *owner)
{
    struct log_batch *b = NEW(log_batch);
    b->o = *o;
    b->o.stat_prefix = str_make(mem_strndup(o->stat_prefix.p, o->stat_prefix.n), o->stat_prefix.n);
    b->owner = owner;
    b->next = batches;
    batches = b;
    access_log_on_leave(leave_here);
    access_log_on_start(start);
    return b;
}

struct grpc_service *log_batch_service(struct log_batch *b)
{
    return &b->o.service;
}

void log_batch_free(struct log_batch **batch)
{
    struct log_batch *b = *batch;
    *batch = NULL;
    if (!b)
        return;
    for (struct log_batch **at = &batches; *at; at = &(*at)->next)
        if (*at == b) {
            *at = b->next;
            break;
        }
    for (uint32_t i = 0; i < STAT_MAX_THREADS; i++) {
        if (b->threads[i])
            strbuf_fini(&b->threads[i]->entries);
        mem_free(b->threads[i]);
    }
    grpc_service_fini(&b->o.service);
    stat_scope_unref(&b->stats);
    mem_free((char *)(uintptr_t)b->o.stat_prefix.p);
    mem_free(b);
}
