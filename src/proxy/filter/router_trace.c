/* SPDX-License-Identifier: Apache-2.0
 *
 * Spans of attempts (start_child_span, or the connection manager's spawn_upstream_span), and the trace context that each
 * attempt sends. Called only where the exchange has a span. On the exchange's worker.
 */
#include "proxy/filter/router_priv.h"
#include "proxy/trace/tracer.h"

static struct str child_name(struct router *r, const struct tracing_config *c)
{
    const struct tracing_override *o = r->route->tracing;
    const struct format *f = o && o->upstream_operation ? o->upstream_operation : c->upstream_operation;
    const struct cluster_spec *spec = cluster_spec(r->cluster);
    struct strbuf text = {0};
    if (!f)
        return arena_printf(exchange_arena(r->x), "router %.*s egress", STR_ARG(spec->alt_stat_name.n ? spec->alt_stat_name : spec->name));
    format_run(f, exchange_format_context(r->x), &text);
    struct str name = arena_str(exchange_arena(r->x), strbuf_str(&text));
    strbuf_fini(&text);
    return name;
}

void trace_attempt(struct upstream_try *t)
{
    struct router *r = t->router;
    const struct tracing_config *c = exchange_tracing(r->x);
    const struct stream_info *info = exchange_info(r->x);
    if (!r->config->start_child_span && !c->spawn_upstream_span)
        return;
    struct str name = info->span->sampled ? child_name(r, c) : STR_NULL;
    t->span = tracer_child(info->span, name, loop_wall_us(exchange_loop(r->x)), loop_rng(exchange_loop(r->x)));
    if (t->span && info->attempts > 1)
        span_tag_number(t->span, STR("retry.count"), info->attempts - 1u);
}

void trace_inject(struct upstream_try *t)
{
    struct exchange *x = t->router->x;
    tracer_inject(t->span ? t->span : exchange_info(x)->span, exchange_request_headers(x));
}

void trace_mirror(struct router *r, bool sampled, struct headers *copy)
{
    struct span s = *exchange_info(r->x)->span;
    s.sampled = s.sampled && sampled;
    tracer_inject(&s, copy);
}

void trace_attempt_cancelled(struct upstream_try *t)
{
    span_tag(t->span, STR("canceled"), STR("true"));
}

void trace_attempt_failed(struct upstream_try *t, const char *why)
{
    span_fail(t->span);
    span_tag(t->span, STR("error.reason"), str_from(why));
}

void trace_attempt_over(struct upstream_try *t)
{
    struct router *r = t->router;
    struct stream_info info;
    if (t->span->over || !t->span->sampled)
        return;
    attempt_info(t, &info);
    struct format_context cx = {.info = &info, .request = exchange_request_headers(r->x), .response = t->response, .trailers = t->trailers};
    tags_of_attempt(t->span, exchange_tracing(r->x), &cx);
    tracer_finish(t->span, loop_wall_us(exchange_loop(r->x)));
}
