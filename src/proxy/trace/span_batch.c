/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches of spans. Each thread has a buffer, a timer and calls of its own; nothing is shared but statistics.
 *
 *   spans --min_flush_spans or timer--> message --> POST or unary gRPC call, at most CALLS_MAX at a time
 *
 * While CALLS_MAX calls are out, or none can be made, spans stay, up to spans_max; then they are dropped and counted. A
 * call that fails takes its spans along: traces are a sample, and nobody repeats them. Invariant: after `left` nothing is
 * sent any more. Any thread.
 */
#include "proxy/trace/span_batch.h"

#include "base/log.h"
#include "base/mem.h"
#include "proxy/log/access_log.h"
#include "proxy/route/header_rules.h"
#include "proxy/runtime.h"

#define CALLS_MAX 8
#define BYTES_MAX ((size_t)8 << 20)   /* of what is kept on a thread */
#define HEAD_BYTES 16384
#define REOPEN_US 1000000u            /* after calls that fail at once */
#define COMPLAIN_US 60000000ull
#define FLUSH_MS 5000
#define FLUSH_SPANS 5

struct batch_thread;
struct export {                /* one call */
    struct batch_thread *here;
    struct upstream_call *http;
    struct grpc_call *grpc;
    uint64_t status;           /* of its answer; 0 none */
    struct export *next;
    struct deferred deferred;
};
struct batch_thread {
    struct span_batch *batch;
    struct loop *loop;
    struct strbuf entries;
    uint32_t spans;
    struct timer flush;
    struct export *exports;
    uint32_t export_count;
    bool left;
    uint64_t complained_us, reopen_us;
};
struct span_batch {
    struct span_batch_opts o;
    void *owner;
    struct stat_scope *stats;  /* NULL until statistics stand */
    struct span_batch *next;
    struct batch_thread *threads[STAT_MAX_THREADS];
};

static struct span_batch *batches; /* main thread changes it before workers start and after they end */

static void count(struct span_batch *b, enum span_batch_count what, uint64_t n)
{
    if (b->stats && b->o.rows[what])
        stat_add(b->stats, b->o.rows[what] - 1u, n);
}

/* ---- calls ---- */

static void free_export(struct deferred *d)
{
    mem_free(CONTAINER_OF(d, export, deferred));
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
    if (e->http)
        upstream_call_cancel(&e->http);
    grpc_call_cancel(&e->grpc);
    loop_defer(t->loop, &e->deferred, free_export);
}

static void complain(struct batch_thread *t, const char *what, struct str more)
{
    uint64_t now = loop_now_us(t->loop);
    if (t->complained_us && now - t->complained_us < COMPLAIN_US)
        return;
    t->complained_us = now;
    LOG(MISC, WARNING, "trace collector (%.*s): %s %.*s", STR_ARG(t->batch->o.stat_prefix), what, STR_ARG(more));
}

static void flush(struct batch_thread *t);

/* What waited for a call's end goes out. */
static void over(struct export *e)
{
    struct batch_thread *t = e->here;
    drop_export(e);
    if (t->spans >= runtime_u64(t->batch->o.spans_key, FLUSH_SPANS))
        flush(t);
}

static void on_headers(void *user, struct headers *h, bool end)
{
    struct export *e = user;
    (void)end;
    str_to_u64(headers_get_id(h, HDR_STATUS), &e->status);
}

static void on_http_done(void *user, enum stream_reset why, const char *details)
{
    struct export *e = user;
    struct span_batch *b = e->here->batch;
    e->http = NULL;
    if (why != STREAM_OK) {
        complain(e->here, "no answer", str_from(details));
        count(b, SPANS_REPORTS_FAILED, 1);
    } else if (b->o.accepted_status ? e->status != b->o.accepted_status : e->status / 100 != 2) {
        complain(e->here, "spans refused", STR_NULL);
        count(b, SPANS_REPORTS_DROPPED, 1);
    } else {
        count(b, SPANS_REPORTS_SENT, 1);
    }
    over(e);
}

static void on_grpc_done(void *user, unsigned status, struct str message)
{
    struct export *e = user;
    e->grpc = NULL;
    if (status != GRPC_OK)
        complain(e->here, "gRPC error", message);
    over(e);
}

static const struct upstream_call_handler http_handler = {.on_headers = on_headers, .on_done = on_http_done};
static const struct grpc_call_handler grpc_handler = {.on_done = on_grpc_done};

static struct str number(struct arena *a, uint64_t v)
{
    return arena_printf(a, "%llu", (unsigned long long)v);
}

static void make_head(struct headers *h, struct arena *a, const struct span_batch_opts *o, size_t body_bytes, uint64_t timeout_ms)
{
    static const struct format_context nothing;
    headers_init(h, a);
    headers_add_id_ref(h, HDR_METHOD, STR("POST"));
    headers_add_id_ref(h, HDR_PATH, o->path);
    headers_add_id_ref(h, HDR_AUTHORITY, o->authority);
    headers_add_id_ref(h, HDR_SCHEME, cluster_spec(o->cluster)->transport->tls ? STR("https") : STR("http"));
    headers_add_id_ref(h, HDR_CONTENT_TYPE, o->content_type);
    headers_add_id_ref(h, HDR_CONTENT_LENGTH, number(a, body_bytes));
    if (o->user_agent.n)
        headers_add_id_ref(h, HDR_USER_AGENT, o->user_agent);
    headers_add_id_ref(h, HDR_ENVOY_INTERNAL, STR("true"));
    if (timeout_ms)
        headers_add_id_ref(h, HDR_ENVOY_EXPECTED_TIMEOUT, number(a, timeout_ms));
    if (o->more)
        header_rules_apply(o->more, h, &nothing, a);
}

static bool post(struct export *e, struct str message)
{
    const struct span_batch_opts *o = &e->here->batch->o;
    struct arena a;
    struct headers h;
    struct buf body = BUF_INIT;
    enum stream_reset why;
    uint64_t timeout_ms = o->timeout_key.n ? runtime_u64(o->timeout_key, o->timeout_ms) : o->timeout_ms;
    struct upstream_call_opts call = {.cluster = o->cluster, .timeout_ms = timeout_ms, .body_limit_bytes = 2 * BYTES_MAX};
    if (!o->cluster) {
        count(e->here->batch, SPANS_REPORTS_SKIPPED, 1);
        return false;
    }
    arena_init(&a, HEAD_BYTES);
    make_head(&h, &a, o, message.n, timeout_ms);
    buf_append(&body, message.p, message.n);
    e->http = a.overflowed ? NULL : upstream_call_start(&call, &h, &body, true, &http_handler, e, &why);
    if (!e->http)
        count(e->here->batch, SPANS_REPORTS_FAILED, 1);
    buf_fini(&body);
    arena_fini(&a);
    return e->http != NULL;
}

static bool call(struct export *e, struct str message)
{
    const struct span_batch_opts *o = &e->here->batch->o;
    unsigned status;
    if (!o->is_grpc)
        return post(e, message);
    e->grpc = grpc_call_start(&o->service, o->method, NULL, NULL, (const uint8_t *)message.p, message.n, true, &grpc_handler, e, &status);
    return e->grpc != NULL;
}

static struct export *new_export(struct batch_thread *t)
{
    struct export *e = NEW(export);
    e->here = t;
    e->next = t->exports;
    t->exports = e;
    t->export_count++;
    return e;
}

/* ---- batches ---- */

/* What can't be sent stays, and the timer tries again. */
static void flush(struct batch_thread *t)
{
    struct span_batch *b = t->batch;
    struct strbuf message = {0};
    if (!t->spans || t->left || t->export_count >= CALLS_MAX || loop_now_us(t->loop) < t->reopen_us)
        return;
    struct export *e = new_export(t);
    b->o.wrap(b->owner, strbuf_str(&t->entries), &message);
    if (call(e, strbuf_str(&message))) {
        count(b, SPANS_SENT, t->spans);
        strbuf_reset(&t->entries);
        t->spans = 0;
    } else {
        complain(t, "cannot be called", STR_NULL);
        t->reopen_us = loop_now_us(t->loop) + REOPEN_US;
        drop_export(e);
    }
    strbuf_fini(&message);
}

static void on_flush(struct timer *timer)
{
    struct batch_thread *t = CONTAINER_OF(timer, batch_thread, flush);
    count(t->batch, SPANS_TIMER_FLUSHED, 1);
    flush(t);
    if (t->spans && !t->left)
        timer_set_ms(timer, runtime_u64(t->batch->o.flush_key, FLUSH_MS));
}

static struct batch_thread *thread_of(struct span_batch *b)
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

struct strbuf *span_batch_begin(struct span_batch *b)
{
    struct batch_thread *t = thread_of(b);
    bool room = t->spans < b->o.spans_max && t->entries.n < BYTES_MAX && !t->left;
    if (!room)
        count(b, SPANS_DROPPED, 1);
    return room ? &t->entries : NULL;
}

void span_batch_end(struct span_batch *b)
{
    struct batch_thread *t = thread_of(b);
    t->spans++;
    if (t->spans >= runtime_u64(b->o.spans_key, FLUSH_SPANS))
        flush(t);
    if (t->spans && !timer_is_set(&t->flush))
        timer_set_ms(&t->flush, runtime_u64(b->o.flush_key, FLUSH_MS));
}

/* ---- lifetime ---- */

static void leave(struct batch_thread *t)
{
    t->reopen_us = 0;
    flush(t);
    t->left = true;
    timer_clear(&t->flush);
    for (struct export *e = t->exports, *next; e && !stat_thread; e = next) { /* the main loop runs no more */
        next = e->next;
        drop_export(e);
    }
}

/* The calling thread's last batches; true while collectors haven't answered. */
static bool leave_here(void)
{
    bool waits = false;
    for (struct span_batch *b = batches; b; b = b->next) {
        struct batch_thread *t = b->threads[stat_thread];
        if (t && !t->left)
            leave(t);
        waits |= t && t->exports;
    }
    return waits;
}

static void start(void)
{
    for (struct span_batch *b = batches; b; b = b->next)
        if (!b->stats)
            b->stats = stat_scope_get(b->o.stat_prefix, b->o.stats, b->o.stat_prefix, NULL, 0);
}

struct span_batch *span_batch_new(const struct span_batch_opts *o, void *owner)
{
    struct span_batch *b = NEW(span_batch);
    b->o = *o;
    b->owner = owner;
    b->next = batches;
    batches = b;
    access_log_on_leave(leave_here);
    access_log_on_start(start);
    return b;
}

struct cluster **span_batch_cluster(struct span_batch *b)
{
    return &b->o.cluster;
}

struct grpc_service *span_batch_service(struct span_batch *b)
{
    return &b->o.service;
}

void span_batch_free(struct span_batch **batch)
{
    struct span_batch *b = *batch;
    *batch = NULL;
    if (!b)
        return;
    for (struct span_batch **at = &batches; *at; at = &(*at)->next)
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
    if (b->o.more)
        header_rules_fini(b->o.more);
    stat_scope_unref(&b->stats);
    mem_free(b);
}
