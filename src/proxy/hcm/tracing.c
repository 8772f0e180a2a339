/* SPDX-License-Identifier: Apache-2.0
 *
 * What the connection manager does for traces: decides whether a request is traced, opens its span, carries the route's
 * decorator between the two proxies of a hop, closes the span with the exchange. Only where `tracing` is configured.
 * On the exchange's worker.
 */
#include "base/rng.h"
#include "proxy/explain/record.h"
#include "proxy/hcm/exchange.h"
#include "proxy/trace/tracer.h"

/* Routes may say otherwise for what they set; runtime keys are the same everywhere. */
static void narrow(struct sampling_rules *r, const struct tracing_override *o)
{
    struct { struct runtime_fraction *to; const struct runtime_fraction *from; bool is_set; } rows[] = {
        {&r->client, &o->client, o->has_client}, {&r->random, &o->random, o->has_random}, {&r->overall, &o->overall, o->has_overall}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].is_set) {
            rows[i].to->numerator = rows[i].from->numerator;
            rows[i].to->denominator = rows[i].from->denominator;
        }
}

static enum trace_reason decide(struct exchange *x, const struct route_entry *route)
{
    struct sampling_rules rules = x->config->tracing->sampling;
    if (route && route->tracing)
        narrow(&rules, route->tracing);
    enum trace_reason reason = sampling_decide(&rules, x->request, loop_rng(x->loop));
    x->info.request_id = headers_get_id(x->request, HDR_X_REQUEST_ID);
    return reason;
}

static void count(struct exchange *x, enum trace_reason reason)
{
    static const uint8_t rows[] = {
        [TRACE_NONE] = STAT_HCM_TRACE_NOT_TRACEABLE, [TRACE_SAMPLED] = STAT_HCM_TRACE_RANDOM_SAMPLING,
        [TRACE_FORCED] = STAT_HCM_TRACE_SERVICE_FORCED, [TRACE_CLIENT] = STAT_HCM_TRACE_CLIENT_ENABLED,
        [TRACE_HEALTH_CHECK] = STAT_HCM_TRACE_HEALTH_CHECK};
    stat_inc(x->config->stats, rows[reason]);
}

static struct str run_format(struct exchange *x, const struct format *f)
{
    struct strbuf text = {0};
    format_run(f, exchange_format_context(x), &text);
    struct str made = arena_str(x->arena, strbuf_str(&text));
    strbuf_fini(&text);
    return made;
}

static void rename_span(struct exchange *x, struct str name)
{
    if (x->info.span && name.n)
        x->info.span->name = name;
}

/* The name goes along with the request (egress) or back with the answer (ingress), so that both sides call it the same. */
static void decorate_request(struct exchange *x, const struct route_entry *route)
{
    struct headers *h = x->request;
    struct str mine = route ? route->decorator_operation : STR_NULL;
    rename_span(x, mine);
    x->decorator = route && route->decorator_propagate ? mine : STR_NULL;
    if (x->config->tracing->is_egress) {
        if (x->decorator.n)
            headers_set_id_ref(h, HDR_ENVOY_DECORATOR, x->decorator);
        return;
    }
    if (!headers_has_id(h, HDR_ENVOY_DECORATOR))
        return;
    struct str theirs = arena_str(x->arena, headers_get_id(h, HDR_ENVOY_DECORATOR));
    rename_span(x, theirs);
    if (theirs.n)
        x->decorator = STR_NULL;
    headers_remove_id(h, HDR_ENVOY_DECORATOR);
}

void tracing_begin(struct exchange *x)
{
    const struct tracing_config *c = x->config->tracing;
    const struct route_entry *route = exchange_route(x);
    enum trace_reason reason = decide(x, route);
    bool traced = trace_reason_is_traced(reason) && !x->info.is_health_check;
    x->info.is_traceable = traced && reason == TRACE_FORCED;
    count(x, x->info.is_health_check ? TRACE_HEALTH_CHECK : reason);
    if (c->tracer)
        x->info.span = tracer_start(c->tracer, c, x->request, traced, x->info.start_wall_us, loop_rng(x->loop), x->arena);
    decorate_request(x, route);
    const struct tracing_override *o = route ? route->tracing : NULL;
    const struct format *name = o && o->operation ? o->operation : c->operation;
    if (name && x->info.span && x->info.span->sampled)
        rename_span(x, run_format(x, name));
}

void tracing_on_response(struct exchange *x, struct headers *h)
{
    if (!x->config->tracing->is_egress) {
        if (x->decorator.n)
            headers_set_id_ref(h, HDR_ENVOY_DECORATOR, x->decorator);
        return;
    }
    if (!headers_has_id(h, HDR_ENVOY_DECORATOR))
        return;
    rename_span(x, arena_str(x->arena, headers_get_id(h, HDR_ENVOY_DECORATOR)));
    headers_remove_id(h, HDR_ENVOY_DECORATOR);
}

void tracing_end(struct exchange *x)
{
    struct span *s = x->info.span;
    if (!s->sampled || s->over)
        return;
    tags_of_request(s, x->config->tracing, exchange_format_context(x));
    if (x->info.record)
        span_tag(s, STR("weft.explain"), explain_record_text(x->info.record));
    tracer_finish(s, x->info.start_wall_us + (x->info.end_us - x->info.start_us));
}

const struct tracing_config *exchange_tracing(const struct exchange *x)
{
    return x->config->tracing;
}
