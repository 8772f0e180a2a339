/* SPDX-License-Identifier: Apache-2.0
 *
 *     idle -> fetching -> (answer) idle, published | (failure) again after a back-off, `retries` times -> idle
 *
 * One fetch at a time, on the main thread. Workers read the published set without a lock: a set that
 * was replaced is let go after every worker's turn. Who waits is in a list of its own thread; the end
 * of a fetch is posted to each of them. A source that is freed lives on until its last letter has come.
 */
#include "proxy/service/jwks_source.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/cluster/cluster_priv.h"
#include "proxy/cluster/upstream_call.h"

#define HEAD_BYTES 4096
#define AHEAD_MS 5000 /* async: fetched again so long before the set is too old */

struct jwks_source {
    _Atomic uint32_t refs; /* the owner's, one for each letter under way */
    const struct jwks_source_spec *spec;
    struct stat_scope *stats;
    struct jwks_source_rows rows;
    _Atomic(struct jwks *) now;
    _Atomic uint64_t fresh_until_us; /* monotonic */
    _Atomic uint32_t generation;
    _Atomic bool is_wanted;          /* a worker has asked, and no fetch has ended since */
    struct list *waits;              /* by stat_thread, each its own thread's */
    /* main thread */
    struct upstream_call *call;
    struct buf body;
    unsigned status;
    struct timer timer;              /* back-off, or the next fetch */
    uint32_t attempts;
    bool is_started, is_dead, too_large;
};

static void begin(struct jwks_source *s);

/* ---- life ---- */

static struct jwks_source *ref(struct jwks_source *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

static void drop_set(void *arg)
{
    struct jwks *set = arg;
    jwks_unref(&set);
}

static void destroy(void *arg)
{
    struct jwks_source *s = arg;
    struct jwks *set = atomic_load_explicit(&s->now, memory_order_relaxed);
    jwks_unref(&set);
    mem_free(s->waits);
    mem_free(s);
}

static void unref(struct jwks_source *s)
{
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (stat_thread)
        loop_post(clusters_main_loop(), destroy, s);
    else
        destroy(s);
}

/* ---- who waits ---- */

static void tell_here(struct jwks_source *s)
{
    struct list *all = &s->waits[stat_thread], due;
    if (!all->next)
        return;
    list_init(&due); /* who waits again waits for the next fetch */
    for (struct list *n; (n = list_pop_front(all)) != NULL;)
        list_push_back(&due, n);
    for (struct list *n; (n = list_pop_front(&due)) != NULL;) {
        struct jwks_wait *w = LIST_ENTRY(n, jwks_wait, node);
        n->next = NULL;
        w->on_ready(w);
    }
}

static void on_ended(void *arg)
{
    struct jwks_source *s = arg;
    tell_here(s);
    unref(s);
}

static void tell_all(struct jwks_source *s)
{
    atomic_store_explicit(&s->is_wanted, false, memory_order_release);
    for (uint32_t i = 1; i <= clusters_worker_count(); i++)
        loop_post(clusters_worker_loop(i), on_ended, ref(s));
    tell_here(s);
}

static void on_wanted(void *arg)
{
    struct jwks_source *s = arg;
    if (!s->is_dead && !s->call && !(s->attempts && timer_is_set(&s->timer)))
        begin(s);
    unref(s);
}

void jwks_source_wait(struct jwks_source *s, struct jwks_wait *w)
{
    struct list *all = &s->waits[stat_thread];
    if (!all->next)
        list_init(all);
    list_push_back(all, &w->node);
    if (!atomic_exchange_explicit(&s->is_wanted, true, memory_order_acq_rel))
        loop_post(clusters_main_loop(), on_wanted, ref(s));
}

void jwks_wait_cancel(struct jwks_wait *w)
{
    if (w->node.next)
        list_remove(&w->node);
    w->node.next = NULL;
}

/* ---- what there is ---- */

const struct jwks *jwks_source_last(struct jwks_source *s)
{
    return atomic_load_explicit(&s->now, memory_order_acquire);
}

const struct jwks *jwks_source_now(struct jwks_source *s)
{
    return clock_mono_us() < atomic_load_explicit(&s->fresh_until_us, memory_order_relaxed) ? jwks_source_last(s) : NULL;
}

uint32_t jwks_source_generation(const struct jwks_source *s)
{
    return atomic_load_explicit(&((struct jwks_source *)(uintptr_t)s)->generation, memory_order_relaxed);
}

/* ---- fetching ---- */

static void settle(struct jwks_source *s, bool good)
{
    const struct jwks_source_spec *spec = s->spec;
    s->attempts = 0;
    tell_all(s);
    if (spec->is_async)
        timer_set_ms(&s->timer, !good ? spec->failed_refetch_ms : spec->cache_ms > 2 * AHEAD_MS ? spec->cache_ms - AHEAD_MS : spec->cache_ms / 2 + 1);
}

static void fail(struct jwks_source *s, const char *why)
{
    const struct jwks_source_spec *spec = s->spec;
    stat_inc(s->stats, s->rows.failed);
    LOG_SELDOM(FILTER, WARNING, "jwt_authn: keys of %.*s can't be had: %s%s", STR_ARG(spec->uri), why,
               jwks_source_last(s) ? "; the last ones serve on" : "");
    if (s->attempts++ >= spec->retries) {
        settle(s, false);
        return;
    }
    uint64_t ms = spec->backoff_base_ms << (s->attempts < 16 ? s->attempts - 1 : 15);
    ms = ms > spec->backoff_max_ms ? spec->backoff_max_ms : ms;
    timer_set_ms(&s->timer, ms / 2 + rng_below(loop_rng(clusters_main_loop()), ms / 2 + 1)); /* with jitter */
}

static void publish(struct jwks_source *s, struct jwks *take_set)
{
    struct jwks *old = atomic_exchange_explicit(&s->now, take_set, memory_order_acq_rel);
    atomic_fetch_add_explicit(&s->generation, 1, memory_order_relaxed);
    atomic_store_explicit(&s->fresh_until_us, clock_mono_us() + s->spec->cache_ms * 1000, memory_order_relaxed);
    if (old)
        clusters_after_turns(drop_set, old);
    stat_inc(s->stats, s->rows.success);
    settle(s, true);
}

static void on_headers(void *user, struct headers *h, bool end)
{
    struct jwks_source *s = user;
    uint64_t status = 0;
    (void)end;
    str_to_u64(headers_get_id(h, HDR_STATUS), &status);
    s->status = (unsigned)status;
}

static void on_data(void *user, struct buf *data, bool end)
{
    struct jwks_source *s = user;
    (void)end;
    s->too_large |= s->body.len + data->len > JWKS_MAX_BYTES;
    if (!s->too_large)
        buf_move(&s->body, data);
}

static void take_body(struct jwks_source *s)
{
    struct err err = {0};
    size_t n = s->body.len;
    char *text = mem_alloc(n + 1);
    buf_copy_out(&s->body, 0, text, n);
    struct jwks *set = jwks_new(str_make(text, n), &err);
    mem_free(text);
    if (set)
        publish(s, set);
    else
        fail(s, err.message);
}

static void on_done(void *user, enum stream_reset why, const char *details)
{
    struct jwks_source *s = user;
    char text[64];
    s->call = NULL;
    if (why != STREAM_OK) {
        fail(s, details && *details ? details : stream_reset_text(why));
    } else if (s->status != 200) {
        snprintf(text, sizeof text, "the server answers %u", s->status);
        fail(s, text);
    } else if (s->too_large) {
        fail(s, "the answer is too large");
    } else {
        take_body(s);
    }
    buf_fini(&s->body);
}

static const struct upstream_call_handler handler = {.on_headers = on_headers, .on_data = on_data, .on_done = on_done};

static void begin(struct jwks_source *s)
{
    const struct jwks_source_spec *spec = s->spec;
    struct upstream_call_opts o = {.cluster = cluster_slot_now(spec->cluster), .timeout_ms = spec->timeout_ms};
    enum stream_reset why = STREAM_CONNECT_FAILED;
    struct arena a;
    struct headers h;
    s->status = 0;
    s->too_large = false;
    if (!o.cluster) {
        fail(s, "there is no such cluster");
        return;
    }
    arena_init(&a, HEAD_BYTES);
    headers_init(&h, &a);
    headers_add_id_ref(&h, HDR_METHOD, STR("GET"));
    headers_add_id_ref(&h, HDR_PATH, spec->path);
    headers_add_id_ref(&h, HDR_AUTHORITY, spec->authority);
    headers_add_id_ref(&h, HDR_SCHEME, cluster_spec(o.cluster)->transport->tls ? STR("https") : STR("http"));
    s->call = a.overflowed ? NULL : upstream_call_start(&o, &h, NULL, true, &handler, s, &why);
    arena_fini(&a);
    if (!s->call)
        fail(s, stream_reset_text(why));
}

static void on_timer(struct timer *t)
{
    struct jwks_source *s = CONTAINER_OF(t, jwks_source, timer);
    if (!s->call)
        begin(s);
}

/* ---- making and unmaking ---- */

struct jwks_source *jwks_source_new(const struct jwks_source_spec *keep_spec)
{
    struct jwks_source *s = NEW(jwks_source);
    atomic_init(&s->refs, 1);
    s->spec = keep_spec;
    return s;
}

void jwks_source_start(struct jwks_source *s, struct stat_scope *stats, struct jwks_source_rows rows)
{
    if (s->is_started)
        return;
    s->is_started = true;
    s->stats = stats;
    s->rows = rows;
    s->waits = mem_zalloc((clusters_worker_count() + 1) * sizeof *s->waits);
    timer_init(&s->timer, clusters_main_loop(), on_timer);
    if (s->spec->is_async)
        timer_set_ms(&s->timer, 0);
}

void jwks_source_free(struct jwks_source **source)
{
    struct jwks_source *s = *source;
    *source = NULL;
    if (!s)
        return;
    s->is_dead = true;
    if (s->is_started)
        timer_clear(&s->timer);
    upstream_call_cancel(&s->call);
    buf_fini(&s->body);
    unref(s);
}
