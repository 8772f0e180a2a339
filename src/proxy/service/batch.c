/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches of entries. Each thread has a buffer, a timer and calls of its own; nothing is shared but statistics.
 *
 *   entries --enough of them or timer--> message --way--> stream, unary call or POST
 *
 * What can't be sent stays in the buffer, whose size its user limits; further entries are dropped and counted. After a
 * failure to open, nothing is tried for REOPEN_US. Invariant: after `left` nothing is sent any more. The list of batches
 * is the main thread's, all else runs on any thread.
 */
#include "proxy/service/batch_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "proxy/log/access_log.h"
#include "proxy/route/header_rules.h"
#include "proxy/runtime.h"

#define CALLS_MAX 8            /* of a thread, at a time */
#define REOPEN_US 1000000u
#define COMPLAIN_US 60000000ull

static struct batch *batches; /* main thread changes it before workers start and after they end */

uint64_t batch_number(const struct batch_number *n)
{
    return n->key.n ? runtime_u64(n->key, n->value) : n->value;
}

void batch_add(struct batch *b, enum batch_count what, uint64_t n)
{
    if (b->stats && b->o.rows[what])
        stat_add(b->stats, b->o.rows[what] - 1u, n);
}

void batch_complain(struct batch_thread *t, const char *fmt, ...)
{
    const struct batch_opts *o = &t->batch->o;
    struct str whom = o->post ? o->post->authority : o->grpc.service->cluster_name;
    uint64_t now = loop_now_us(t->loop);
    struct strbuf text = {0};
    va_list ap;
    if (t->complained_us && now - t->complained_us < COMPLAIN_US)
        return;
    t->complained_us = now;
    va_start(ap, fmt);
    strbuf_vaddf(&text, fmt, ap);
    va_end(ap);
    LOG(MISC, WARNING, "%s collector %.*s: %.*s", o->what, STR_ARG(whom), STR_ARG(strbuf_str(&text)));
    strbuf_fini(&text);
}

/* ---- calls ---- */

static void free_call(struct deferred *d)
{
    mem_free(CONTAINER_OF(d, batch_call, deferred));
}

struct batch_call *batch_call_new(struct batch_thread *t)
{
    struct batch_call *c = mem_zalloc(t->batch->o.way->call_bytes);
    c->here = t;
    c->next = t->calls;
    t->calls = c;
    t->call_count++;
    return c;
}

void batch_call_drop(struct batch_call *c)
{
    struct batch_thread *t = c->here;
    for (struct batch_call **at = &t->calls; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            t->call_count--;
            break;
        }
    t->batch->o.way->cancel(c);
    loop_defer(t->loop, &c->deferred, free_call);
}

void batch_call_over(struct batch_call *c)
{
    struct batch *b = c->here->batch;
    batch_call_drop(c);
    if (b->o.on_answer)
        b->o.on_answer(b->owner);
}

/* ---- entries ---- */

void batch_wrap(struct batch_thread *t, bool first, struct strbuf *out)
{
    t->batch->o.wrap(t->batch->owner, first, strbuf_str(&t->entries), out);
}

enum batch_sent batch_send_alone(struct batch_thread *t)
{
    struct strbuf message = {0};
    if (t->call_count >= CALLS_MAX)
        return BATCH_LATER;
    struct batch_call *c = batch_call_new(t);
    batch_wrap(t, true, &message);
    bool started = t->batch->o.way->start(c, strbuf_str(&message));
    if (!started)
        batch_call_drop(c);
    strbuf_fini(&message);
    return started ? BATCH_OK : BATCH_FAILED;
}

static void flush(struct batch_thread *t)
{
    if (!t->entries.n || t->left || loop_now_us(t->loop) < t->reopen_us)
        return;
    switch (t->batch->o.way->send(t)) {
    case BATCH_OK:
        batch_add(t->batch, BATCH_SENT, t->count);
        strbuf_reset(&t->entries);
        t->count = 0;
        return;
    case BATCH_FAILED:
        t->reopen_us = loop_now_us(t->loop) + REOPEN_US;
        return;
    case BATCH_LATER:
        return;
    }
}

static void wait_for_more(struct batch_thread *t)
{
    if (t->entries.n && !timer_is_set(&t->flush))
        timer_set_ms(&t->flush, batch_number(&t->batch->o.flush_ms));
}

static void on_flush(struct timer *timer)
{
    struct batch_thread *t = CONTAINER_OF(timer, batch_thread, flush);
    batch_add(t->batch, BATCH_TIMER_FLUSHED, 1);
    flush(t);
    wait_for_more(t);
}

static struct batch_thread *thread_of(struct batch *b)
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

struct batch_held batch_held(struct batch *b)
{
    const struct batch_thread *t = thread_of(b);
    return (struct batch_held){t->entries.n, t->count};
}

void batch_flush(struct batch *b)
{
    flush(thread_of(b));
}

struct strbuf *batch_begin(struct batch *b, bool has_room)
{
    struct batch_thread *t = thread_of(b);
    bool taken = has_room && !t->left;
    batch_add(b, taken ? BATCH_TAKEN : BATCH_DROPPED, 1);
    t->count += taken;
    return taken ? &t->entries : NULL;
}

void batch_end(struct batch *b)
{
    wait_for_more(thread_of(b));
}

/* ---- lifetime ---- */

static void leave(struct batch_thread *t)
{
    t->reopen_us = 0;
    flush(t);
    t->left = true;
    timer_clear(&t->flush);
    for (struct batch_call *c = t->calls, *next; c; c = next) {
        next = c->next;
        if (!stat_thread || !t->batch->o.way->end(c)) /* the main loop runs no more */
            batch_call_drop(c);
    }
}

/* The calling thread's last batches; true while collectors haven't answered. What is left then ends with its pool. */
static bool leave_here(void)
{
    bool waits = false;
    for (struct batch *b = batches; b; b = b->next) {
        struct batch_thread *t = b->threads[stat_thread];
        if (t && !t->left)
            leave(t);
        waits |= t && t->calls;
    }
    return waits;
}

static void start(void)
{
    for (struct batch *b = batches; b; b = b->next)
        if (!b->stats)
            b->stats = stat_scope_get(b->o.stat_prefix, b->o.stats, b->o.stat_prefix, NULL, 0);
}

struct batch *batch_new(const struct batch_opts *o, void *owner)
{
    struct batch *b = NEW(batch);
    b->o = *o;
    b->o.stat_prefix = str_dup(o->stat_prefix);
    b->owner = owner;
    b->next = batches;
    batches = b;
    access_log_on_leave(leave_here);
    access_log_on_start(start);
    return b;
}

void batch_free(struct batch **batch)
{
    struct batch *b = *batch;
    *batch = NULL;
    if (!b)
        return;
    for (struct batch **at = &batches; *at; at = &(*at)->next)
        if (*at == b) {
            *at = b->next;
            break;
        }
    for (uint32_t i = 0; i < STAT_MAX_THREADS; i++) {
        if (b->threads[i])
            strbuf_fini(&b->threads[i]->entries);
        mem_free(b->threads[i]);
    }
    if (b->o.grpc.service)
        grpc_service_fini(b->o.grpc.service);
    if (b->o.post && b->o.post->more)
        header_rules_fini(b->o.post->more);
    stat_scope_unref(&b->stats);
    str_free(&b->o.stat_prefix);
    mem_free(b);
}
