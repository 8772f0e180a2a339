/* SPDX-License-Identifier: Apache-2.0
 *
 * The OpenTelemetry tracer: W3C contexts, samplers, spans as OTLP (opentelemetry-proto, trace/v1), packed by hand. Without a
 * sampler a span is sampled where its parent was and this proxy's own decision says so too. On workers, but for making it.
 */
#include "proto/wire.h"
#include "proxy/trace/tracer.h"

/* Field numbers. */
enum { SPAN_TRACE_ID = 1, SPAN_ID = 2, SPAN_TRACE_STATE = 3, SPAN_PARENT_ID = 4, SPAN_NAME = 5, SPAN_KIND = 6, SPAN_START = 7,
       SPAN_END = 8, SPAN_ATTRIBUTES = 9, SPAN_EVENTS = 11, SPAN_STATUS = 15 };
enum { EVENT_TIME = 1, EVENT_NAME = 2, STATUS_CODE = 3, PAIR_KEY = 1, PAIR_VALUE = 2, VALUE_TEXT = 1 };
enum { RESOURCE_SPANS_RESOURCE = 1, RESOURCE_SPANS_SCOPE = 2, SCOPE_SPANS_SCOPE = 1, SCOPE_SPANS_SPANS = 2, SCOPE_NAME = 1,
       SCOPE_VERSION = 2, REQUEST_RESOURCE_SPANS = 1 };
enum { KIND_SERVER = 2, KIND_CLIENT = 3, STATUS_ERROR = 2 };

/* ---- beginning ---- */

/* A trace id is as good as a random number, and the same at each of its proxies. Which of its bytes count, and how, is
 * Envoy's choice: proxies of both kinds must agree. */
bool otel_ratio_hits(uint64_t trace_high, uint64_t numerator, uint64_t denominator)
{
    return __builtin_bswap64(trace_high) % denominator < numerator;
}

static bool ask_sampler(const struct otel_sampler *r, const struct trace_parent *parent, const struct span *s)
{
    switch (r->kind) {
    case OTEL_ALWAYS_ON:
        return true;
    case OTEL_PARENT_BASED:
        return parent ? parent->sampled : ask_sampler(r->wrapped, NULL, s);
    case OTEL_RATIO:
        return otel_ratio_hits(s->trace_high, r->numerator, r->denominator);
    case OTEL_BY_PARENT_AND_DECISION:
        break;
    }
    return !parent || parent->sampled;
}

static bool start(const struct tracer *t, struct span *s, const struct headers *request, bool traced, struct rng *rng)
{
    struct trace_parent parent;
    enum context_result there = w3c_extract(request, s->arena, &parent);
    if (there == CONTEXT_INVALID)
        return false;
    if (there == CONTEXT_FOUND) {
        s->trace_high = parent.trace_high;
        s->trace_low = parent.trace_low;
        s->parent_id = parent.id;
        s->state = parent.state;
    } else {
        s->trace_high = rng_next(rng);
        s->trace_low = rng_next(rng) | 1; /* ids are never 0 */
    }
    s->id = rng_next(rng) | 1;
    s->format = SPAN_W3C;
    s->sampled = traced && ask_sampler(t->data, there == CONTEXT_FOUND ? &parent : NULL, s);
    return true;
}

static void inject(const struct span *s, struct headers *h)
{
    w3c_inject(s, true, h);
}

/* ---- encoding ---- */

/* Strings of proto3 are UTF-8; headers needn't be. */
static void add_text(struct strbuf *out, unsigned field, struct str s)
{
    wire_bytes(out, field, s.p, s.n);
    size_t at = out->n - s.n;
    while (at < out->n) {
        size_t n = str_utf8_sequence(str_make(out->p + at, out->n - at));
        if (!n)
            out->p[at] = '?';
        at += n ? n : 1;
    }
}

/* Semantic conventions: methods beyond RFC 9110's and PATCH are one. */
static bool method_is_known(struct str s)
{
    static const char *const known[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_eq(s, str_from(known[i])))
            return true;
    return false;
}

static void add_attribute(struct strbuf *out, const struct span_tag *t)
{
    size_t pair = wire_open(out, SPAN_ATTRIBUTES);
    add_text(out, PAIR_KEY, t->key);
    size_t value = wire_open(out, PAIR_VALUE);
    bool is_other = str_eq(t->key, STR("http.method")) && !method_is_known(t->value);
    add_text(out, VALUE_TEXT, is_other ? STR("_OTHER") : t->value);
    wire_close(out, value);
    wire_close(out, pair);
}

static void add_event(struct strbuf *out, const struct span_event *e)
{
    size_t event = wire_open(out, SPAN_EVENTS);
    wire_fixed64(out, EVENT_TIME, e->wall_us * 1000);
    add_text(out, EVENT_NAME, str_from(e->name));
    wire_close(out, event);
}

static void add_ids(struct strbuf *out, const struct span *s)
{
    char id[16];
    span_id_bytes(s->trace_high, id);
    span_id_bytes(s->trace_low, id + 8);
    wire_bytes(out, SPAN_TRACE_ID, id, 16);
    span_id_bytes(s->id, id);
    wire_bytes(out, SPAN_ID, id, 8);
    if (s->state.n)
        add_text(out, SPAN_TRACE_STATE, s->state);
    if (!s->parent_id)
        return;
    span_id_bytes(s->parent_id, id);
    wire_bytes(out, SPAN_PARENT_ID, id, 8);
}

/* OpenTelemetry's semantic conventions for HTTP spans, "Status": 4xx is the client's fault, so only its span fails. */
static bool has_failed(const struct span *s)
{
    return s->has_failed || s->http_status >= (s->is_client ? 400 : 500);
}

static void encode(const struct tracer *t, const struct span *s, struct strbuf *out)
{
    (void)t;
    size_t span = wire_open(out, SCOPE_SPANS_SPANS);
    add_ids(out, s);
    add_text(out, SPAN_NAME, s->name);
    wire_uint(out, SPAN_KIND, s->is_client ? KIND_CLIENT : KIND_SERVER);
    wire_fixed64(out, SPAN_START, s->start_wall_us * 1000);
    wire_fixed64(out, SPAN_END, s->end_wall_us * 1000);
    for (uint32_t i = 0; i < s->tag_count; i++)
        add_attribute(out, &s->tags[i]);
    for (uint32_t i = 0; i < s->event_count; i++)
        add_event(out, &s->events[i]);
    if (has_failed(s)) {
        size_t status = wire_open(out, SPAN_STATUS);
        wire_uint(out, STATUS_CODE, STATUS_ERROR);
        wire_close(out, status);
    }
    wire_close(out, span);
}

/* `owner` is the tracer's packed Resource. */
void otel_wrap(void *owner, struct str entries, struct strbuf *out)
{
    const struct str *resource = owner;
    size_t all = wire_open(out, REQUEST_RESOURCE_SPANS);
    wire_bytes(out, RESOURCE_SPANS_RESOURCE, resource->p, resource->n);
    size_t spans = wire_open(out, RESOURCE_SPANS_SCOPE), scope = wire_open(out, SCOPE_SPANS_SCOPE);
    wire_bytes(out, SCOPE_NAME, "weft-proxy", 10);
    wire_bytes(out, SCOPE_VERSION, WEFT_VERSION, sizeof WEFT_VERSION - 1);
    wire_close(out, scope);
    strbuf_adds(out, entries);
    wire_close(out, spans);
    wire_close(out, all);
}

static const struct tracer_ops ops = {start, inject, encode, NULL};

void tracer_make_otel(struct tracer *t, const struct otel_sampler *keep_sampler)
{
    t->ops = &ops;
    t->data = (void *)(uintptr_t)keep_sampler;
}
