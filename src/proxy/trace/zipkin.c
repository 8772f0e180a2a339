/* SPDX-License-Identifier: Apache-2.0
 *
 * The Zipkin tracer: B3 contexts (W3C too, where told), spans as Zipkin's API v2 has them. With a shared span context the
 * server's span takes its client's id, so both ends report halves of one span. On workers, but for making it.
 */
#include "proxy/trace/tracer.h"

static void begin(const struct zipkin_options *o, struct span *s, struct rng *rng)
{
    s->trace_low = s->id = rng_next(rng) | 1; /* ids are never 0 */
    s->trace_high = o->trace_id_128bit ? rng_next(rng) : 0;
}

static void join(const struct zipkin_options *o, struct span *s, const struct trace_parent *p, struct rng *rng)
{
    s->trace_high = p->trace_high;
    s->trace_low = p->trace_low;
    s->is_shared = o->shared_span_context && !s->is_client;
    s->id = s->is_shared ? p->id : rng_next(rng) | 1;
    s->parent_id = s->is_shared ? p->parent_id : p->id;
}

static bool start(const struct tracer *t, struct span *s, const struct headers *request, bool traced, struct rng *rng)
{
    const struct zipkin_options *o = t->data;
    struct trace_parent parent;
    if (o->split_spans)
        s->is_client = false;
    s->sampled = b3_sampled(request, traced);
    enum context_result there = b3_extract(request, &parent, &s->format);
    if (there == CONTEXT_NONE && o->with_w3c) {
        there = w3c_extract(request, s->arena, &parent);
        if (there == CONTEXT_FOUND)
            s->sampled = parent.sampled;
    }
    if (there == CONTEXT_INVALID)
        return false;
    if (there == CONTEXT_FOUND)
        join(o, s, &parent, rng);
    else
        begin(o, s, rng);
    return true;
}

static void inject(const struct span *s, struct headers *h)
{
    const struct zipkin_options *o = s->tracer->data;
    b3_inject(s, h);
    if (o->with_w3c)
        w3c_inject(s, false, h);
}

static void encode(const struct tracer *t, const struct span *s, struct strbuf *out)
{
    const struct zipkin_options *o = t->data;
    if (o->is_proto)
        zipkin_encode_proto(o, s, out);
    else
        zipkin_encode_json(o, s, out);
}

static const struct tracer_ops ops = {start, inject, encode, NULL};

void tracer_make_zipkin(struct tracer *t, const struct zipkin_options *keep_options)
{
    t->ops = &ops;
    t->names_by_host = true;
    t->data = (void *)(uintptr_t)keep_options;
}
