/* SPDX-License-Identifier: Apache-2.0
 *
 * What the route says: where to, how long, how often, and what becomes of the request's headers. Rewrites and redirects are
 * not described but made, by the functions that requests run through, on a copy. Main thread.
 */
#include "proxy/explain/explain_priv.h"
#include "proxy/filter/http_filter.h"
#include "proxy/route/rewrite.h"

#define SAY(key, ...) explain_note(r, &r->says, STR(key), __VA_ARGS__)

/* ---- clusters ---- */

static void say_weighted(struct explain_report *r, const struct route_entry *e)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < e->weighted_count; i++)
        total += weighted_cluster_weight(&e->weighted[i]);
    for (uint32_t i = 0; i < e->weighted_count; i++) {
        const struct weighted_cluster *w = &e->weighted[i];
        uint64_t weight = weighted_cluster_weight(w);
        struct str name = w->name.n ? w->name : arena_printf(r->arena, "(header %.*s)", STR_ARG(w->cluster_header));
        explain_note(r, &r->shares, name, "%llu of %llu, %.1f %%%s", (unsigned long long)weight, (unsigned long long)total,
                     total ? 100.0 * (double)weight / (double)total : 0.0, w == r->decision->weighted ? ", drawn here" : "");
    }
    if (e->weight_header.n)
        SAY("weights", "drawn by the header %.*s, else by chance", STR_ARG(e->weight_header));
    else
        SAY("weights", "drawn by %s", e->weight_by_hash ? "the request's hash, else by chance" : "chance");
}

static void say_cluster(struct explain_report *r, const struct route_entry *e)
{
    const struct route_decision *d = r->decision;
    SAY("action", "%s", e->action == ROUTE_NON_FORWARDING ? "non_forwarding_action" : "route");
    if (e->cluster_header.n)
        SAY("cluster", "%.*s, named by the header %.*s", STR_ARG(d->cluster_name), STR_ARG(e->cluster_header));
    else if (d->cluster_name.n)
        SAY("cluster", "%.*s", STR_ARG(d->cluster_name));
    if (e->weighted_count)
        say_weighted(r, e);
}

/* ---- time and repetition ---- */

static void say_timeouts(struct explain_report *r, const struct route_entry *e)
{
    if (e->timeout_ms)
        SAY("timeout", "%lld ms%s", (long long)e->timeout_ms, e->timeout_is_default ? " (the default)" : "");
    else
        SAY("timeout", "none");
    if (e->idle_timeout_ms >= 0)
        SAY("idle_timeout", "%lld ms", (long long)e->idle_timeout_ms);
    if (e->max_stream_duration && e->max_stream_duration->has_max)
        SAY("max_stream_duration", "%llu ms", (unsigned long long)e->max_stream_duration->max_ms);
    if (e->max_stream_duration && e->max_stream_duration->has_grpc_max)
        SAY("grpc_timeout_header_max", "%llu ms", (unsigned long long)e->max_stream_duration->grpc_max_ms);
}

static void say_retries(struct explain_report *r, const struct route_entry *e)
{
    static const struct { uint32_t bit; const char *text; } names[] = {
#define X(bit, name, text) {1u << (bit), text},
        RETRY_ON_TABLE(X)
#undef X
    };
    const struct retry_policy *p = e->retry;
    struct strbuf b = {0};
    for (size_t i = 0; p && i < sizeof(names) / sizeof(names[0]); i++)
        if (p->on & names[i].bit)
            strbuf_addf(&b, "%s%s", b.n ? "," : "", names[i].text);
    if (p && p->per_try_timeout_ms)
        strbuf_addf(&b, ", %llu ms a try", (unsigned long long)p->per_try_timeout_ms);
    if (p)
        SAY("retries", "up to %u on %.*s%s", p->num_retries, (int)b.n, b.p ? b.p : "",
            p->skip_previous_hosts ? ", on other endpoints" : "");
    strbuf_fini(&b);
    if (e->hedge && (e->hedge->on_per_try_timeout || e->hedge->initial_requests > 1))
        SAY("hedging", "%u at once%s", e->hedge->initial_requests, e->hedge->on_per_try_timeout ? ", another when a try is slow" : "");
}

static void say_rest(struct explain_report *r, const struct route_entry *e)
{
    struct strbuf b = {0};
    if (e->priority)
        SAY("priority", "HIGH");
    for (uint32_t i = 0; i < e->mirror_count; i++)
        strbuf_addf(&b, "%s%.*s", i ? ", " : "", STR_ARG(e->mirrors[i].cluster_name.n ? e->mirrors[i].cluster_name : e->mirrors[i].cluster_header));
    if (b.n)
        SAY("mirrors", "%.*s", (int)b.n, b.p);
    strbuf_fini(&b);
    if (e->hash_count)
        SAY("hash_policy", "%u", e->hash_count);
    if (e->metadata_match)
        SAY("metadata_match", "a subset of the endpoints");
    if (e->rate_limits)
        SAY("rate_limits", "has some");
    if (e->internal_redirect)
        SAY("internal_redirect", "follows up to %u", e->internal_redirect->max_redirects);
    for (uint32_t i = 0; i < e->upgrade_count; i++)
        SAY("upgrade", "%.*s %s", STR_ARG(e->upgrades[i].type), e->upgrades[i].enabled ? "allowed" : "refused");
    if (e->has_body_limit)
        SAY("request_body_buffer_limit", "%llu", (unsigned long long)e->request_body_limit_bytes);
    if (e->match.has_fraction)
        explain_note(r, &r->warnings, STR("runtime_fraction"), "the route takes only a share of its requests; others go on to the next");
}

/* ---- headers ---- */

static struct headers *copy_of(struct explain_report *r, const struct headers *h)
{
    struct headers *c = arena_zalloc(r->arena, sizeof(*c));
    if (!c)
        return NULL;
    headers_init(c, r->arena);
    return headers_copy(c, h, r->arena) ? c : NULL;
}

static bool suppresses_envoy_headers(const struct explain_report *r)
{
    const struct http_filter_spec *last = r->hcm->filter_count ? &r->hcm->filters[r->hcm->filter_count - 1] : NULL;
    return last && last->def == &router_filter && ((const struct router_config *)last->config)->suppress_envoy_headers;
}

static void make_request(struct explain_report *r, const struct headers *before)
{
    struct headers *h = copy_of(r, before);
    if (!h)
        return;
    route_edit_request(r->decision, h, exchange_format_context(r->rehearsal.x), suppresses_envoy_headers(r), r->arena);
    explain_header_changes(r, &r->edits, before, h);
    const struct rewrite_rule *w = r->decision->route->rewrite;
    if (w && w->host_kind == HOST_REWRITE_AUTO)
        explain_note(r, &r->edits, STR(":authority"), "the chosen endpoint's name");
}

static void make_answer(struct explain_report *r, const struct headers *before)
{
    const struct route_entry *e = r->decision->route;
    struct headers *h = copy_of(r, before), answer;
    unsigned status = e->action == ROUTE_REDIRECT ? 301 : e->direct_status;
    if (!h)
        return;
    if (e->action == ROUTE_REDIRECT)
        route_redirect_rewrite(r->decision, h, exchange_format_context(r->rehearsal.x), suppresses_envoy_headers(r), r->arena);
    r->location = route_redirect_location(r->decision, h, exchange_format_context(r->rehearsal.x), r->arena, &status);
    r->own_status = status;
    headers_init(&answer, r->arena);
    const struct headers none = answer;
    route_edit_response(r->decision, &answer, exchange_format_context(r->rehearsal.x), r->arena);
    explain_header_changes(r, &r->edits, &none, &answer);
}

void explain_action(struct explain_report *r)
{
    const struct route_decision *d = r->decision;
    const struct route_entry *e = d->route;
    if (d->needs_tls) {
        r->own_status = 301;
        r->location = route_https_location(r->rehearsal.request, r->arena);
        SAY("require_tls", "the virtual host answers with a redirect to https");
    }
    if (!e)
        return;
    explain_object(r, &r->says, e->metadata);
    switch (e->action) {
    case ROUTE_DIRECT_RESPONSE:
        SAY("action", "direct_response");
        SAY("body", "%zu bytes", e->direct_body.n);
        make_answer(r, r->rehearsal.request);
        return;
    case ROUTE_REDIRECT:
        SAY("action", "redirect");
        make_answer(r, r->rehearsal.request);
        return;
    case ROUTE_NON_FORWARDING:
    case ROUTE_CLUSTER:
        break;
    }
    say_cluster(r, e);
    say_timeouts(r, e);
    say_retries(r, e);
    say_rest(r, e);
    make_request(r, r->rehearsal.request);
}
