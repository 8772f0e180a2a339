/* SPDX-License-Identifier: Apache-2.0
 *
 * Tracers by their settings, and the life of a span: started, given children, finished into its tracer's batch. A call that
 * fails takes its spans along: traces are a sample, and nobody repeats them. Main thread for tracers, workers for spans.
 */
#include "proxy/trace/tracer.h"

#include "base/mem.h"

#define HELD_BYTES_MAX ((size_t)8 << 20) /* on a thread */

static struct tracer *tracers;

struct tracer *tracer_find(struct str key)
{
    for (struct tracer *t = tracers; t; t = t->next)
        if (str_eq(strbuf_str(&t->key), key)) {
            t->refs++;
            return t;
        }
    return NULL;
}

struct tracer *tracer_new(struct str key)
{
    struct tracer *t = NEW(tracer);
    t->refs = 1;
    arena_init(&t->arena, 0);
    strbuf_adds(&t->key, key);
    t->next = tracers;
    tracers = t;
    return t;
}

void tracer_unref(struct tracer **tracer)
{
    struct tracer *t = *tracer;
    *tracer = NULL;
    if (!t || --t->refs)
        return;
    for (struct tracer **at = &tracers; *at; at = &(*at)->next)
        if (*at == t) {
            *at = t->next;
            break;
        }
    batch_free(&t->batch);
    if (t->ops && t->ops->free)
        t->ops->free(t);
    strbuf_fini(&t->key);
    arena_fini(&t->arena);
    mem_free(t);
}

void tracing_config_fini(struct tracing_config *c)
{
    if (!c)
        return;
    tracer_unref(&c->tracer);
    custom_tags_fini(c->tags, c->tag_count);
    format_free(&c->operation);
    format_free(&c->upstream_operation);
}

/* ---- the way to the collector ---- */

static void wrap(void *owner, bool first, struct str entries, struct strbuf *out)
{
    const struct tracer *t = owner;
    (void)first; /* no provider has a stream */
    t->wrap(t->wrap_owner, entries, out);
}

/* After a span, and after a call that others have waited for. */
static void flush_if_due(void *tracer)
{
    struct tracer *t = tracer;
    if (batch_held(t->batch).count >= batch_number(&t->flush_spans))
        batch_flush(t->batch);
}

void tracer_sends(struct tracer *t, const struct batch_opts *o)
{
    struct batch_opts opts = *o;
    opts.what = "trace";
    opts.wrap = wrap;
    opts.on_answer = flush_if_due;
    t->batch = batch_new(&opts, t);
}

static void queue(struct tracer *t, const struct span *s)
{
    struct batch_held held = batch_held(t->batch);
    struct strbuf *out = batch_begin(t->batch, held.count < t->spans_max && held.bytes < HELD_BYTES_MAX);
    if (!out)
        return;
    t->ops->encode(t, s, out);
    flush_if_due(t);
    batch_end(t->batch);
}

/* ---- spans ---- */

static struct str first_name(const struct tracer *t, const struct tracing_config *c, const struct headers *request, struct arena *a)
{
    struct str host = headers_get_id(request, HDR_AUTHORITY);
    if (t->names_by_host)
        return host;
    return c->is_egress ? arena_printf(a, "egress %.*s", STR_ARG(host)) : STR("ingress");
}

struct span *tracer_start(struct tracer *t, const struct tracing_config *c, const struct headers *request, bool traced,
                          uint64_t wall_us, struct rng *rng, struct arena *a)
{
    struct span *s = arena_zalloc(a, sizeof *s);
    if (!s)
        return NULL;
    s->tracer = t;
    s->arena = a;
    s->start_wall_us = wall_us;
    s->is_client = c->is_egress && !c->spawn_upstream_span;
    if (!t->ops->start(t, s, request, traced, rng))
        return NULL;
    if (s->sampled)
        s->name = first_name(t, c, request, a);
    span_tag(s, STR("node_id"), t->node_id);
    span_tag(s, STR("zone"), t->zone);
    return s;
}

struct span *tracer_child(const struct span *parent, struct str name, uint64_t wall_us, struct rng *rng)
{
    struct span *s = arena_zalloc(parent->arena, sizeof *s);
    if (!s)
        return NULL;
    s->tracer = parent->tracer;
    s->arena = parent->arena;
    s->trace_high = parent->trace_high;
    s->trace_low = parent->trace_low;
    s->parent_id = parent->id;
    s->id = rng_next(rng) | 1; /* never 0 */
    s->sampled = parent->sampled;
    s->format = parent->format;
    s->state = parent->state;
    s->is_client = true;
    s->name = name;
    s->start_wall_us = wall_us;
    return s;
}

void tracer_finish(struct span *s, uint64_t wall_us)
{
    if (s->over)
        return;
    s->over = true;
    s->end_wall_us = wall_us;
    if (s->sampled)
        queue(s->tracer, s);
}
