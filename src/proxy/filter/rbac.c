/* SPDX-License-Identifier: Apache-2.0
 *
 * envoy.filters.http.rbac: shadow rules first, which only leave word of what they would have done, then the rules, which may
 * answer 403. A route's settings stand in the filter's place; where they are empty nothing is asked. On the exchange's worker.
 */
#include "proxy/filter/rbac.h"

#include "proxy/explain/record.h"
#include "proxy/filter/filter_scope.h"
#include "proxy/route/route.h"

#define SPACE STR("envoy.filters.http.rbac")

static void leave(struct http_filter *f, struct str space, struct str key, const struct meta_value *v)
{
    metadata_set(&exchange_info(f->x)->metadata, exchange_arena(f->x), space, key, v);
}

/* Under the route's prefix, or the filter's where it has none. */
static void leave_verdict(struct http_filter *f, const struct rbac_config *c, enum rbac_mode mode, const struct rbac_verdict *v)
{
    const struct rbac_config *all = f->config;
    const struct rbac_rules *r = c->rules[mode].stat_prefix.n ? &c->rules[mode] : &all->rules[mode];
    struct meta_value policy = {.kind = META_STRING, .u.string = v->policy};
    struct meta_value result = {.kind = META_STRING, .u.string = v->is_allowed ? STR("allowed") : STR("denied")};
    if (v->policy.n)
        leave(f, SPACE, r->policy_key, &policy);
    leave(f, SPACE, r->result_key, &result);
}

static const struct rbac_config *config_of(struct http_filter *f)
{
    const struct rbac_config *own = exchange_route_config(f);
    return own ? own : f->config;
}

static void ask_about(struct http_filter *f, struct rbac_input *in, const struct headers *h, const struct rbac_config *c)
{
    const struct route_entry *route = exchange_route(f->x);
    rbac_input_init(in, h, exchange_info(f->x),
                    rbac_engine_wants_peer(c->rules[RBAC_ENFORCED].engine) || rbac_engine_wants_peer(c->rules[RBAC_SHADOW].engine));
    in->route_metadata = route ? route->metadata : NULL;
    in->format = exchange_format_context(f->x);
}

static void record_line(void *arg, struct str line)
{
    struct http_filter *f = arg;
    explain_record_note(exchange_info(f->x)->record, SPACE, line);
}

static void record(struct http_filter *f, const struct rbac_rules *r, const struct rbac_input *in)
{
    if (exchange_info(f->x)->record)
        rbac_explain(r->engine, in, RBAC_EXPLAINED_MAX, record_line, f);
}

static enum filter_headers refuse(struct http_filter *f, const struct rbac_verdict *v)
{
    exchange_local_reply(f->x, OUTCOME(RBAC_DENIED), 403, STR("RBAC: access denied"),
                         rbac_denial(v->policy, exchange_arena(f->x)), NULL, NULL);
    return FILTER_HEADERS_STOP;
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    const struct rbac_config *all = f->config, *c = config_of(f);
    const struct rbac_rules *shadow = &c->rules[RBAC_SHADOW], *rules = &c->rules[RBAC_ENFORCED];
    struct rbac_input in;
    if (!shadow->engine && !rules->engine)
        return FILTER_HEADERS_CONTINUE;
    ask_about(f, &in, h, c);
    if (shadow->engine) {
        struct rbac_verdict v = rbac_ask(shadow, RBAC_SHADOW, &in, all->rules[RBAC_SHADOW].stats);
        leave_verdict(f, c, RBAC_SHADOW, &v);
    }
    if (!rules->engine)
        return FILTER_HEADERS_CONTINUE;
    struct rbac_verdict v = rbac_ask(rules, RBAC_ENFORCED, &in, all->rules[RBAC_ENFORCED].stats);
    leave_verdict(f, c, RBAC_ENFORCED, &v);
    if (v.says_log)
        leave(f, STR("envoy.common"), STR("access_log_hint"), &(struct meta_value){.kind = META_BOOL, .u.boolean = v.log});
    record(f, rules, &in);
    return v.is_allowed ? FILTER_HEADERS_CONTINUE : refuse(f, &v);
}

/* ---- in words ---- */

static void explain(struct http_filter *f, struct filter_words *out)
{
    const struct rbac_config *c = config_of(f);
    const struct rbac_rules *rules = &c->rules[RBAC_ENFORCED];
    struct rbac_input in;
    out->is_certain = !rules->engine || rbac_engine_is_settled(rules->engine);
    if (!rules->engine)
        return;
    ask_about(f, &in, exchange_request_headers(f->x), c);
    struct rbac_verdict v = rbac_decide(rules->engine, &in);
    rbac_explain(rules->engine, &in, RBAC_EXPLAINED_MAX, out->say, out->arg);
    if (v.is_allowed)
        return;
    out->answer = OUTCOME(RBAC_DENIED);
    out->status = 403;
    out->details = rbac_denial(v.policy, out->arena);
}

/* ---- statistics ---- */

static void link_policies(struct rbac_rules *r, struct stat_scope *stats, struct str below)
{
    struct strbuf prefix = {0};
    uint32_t n = rbac_engine_name_count(r->engine);
    r->policy_stats = arena_zalloc(rbac_engine_arena(r->engine), (n + 1) * sizeof(*r->policy_stats));
    for (uint32_t i = 0; i < n; i++) {
        strbuf_reset(&prefix);
        strbuf_addf(&prefix, "%.*spolicy.%.*s.", STR_ARG(below), STR_ARG(rbac_engine_name(r->engine, i)));
        r->policy_stats[i] = filter_scope(stats, strbuf_str(&prefix), &rbac_lazy_stats);
    }
    strbuf_fini(&prefix);
}

static void link(void *config, struct stat_scope *stats)
{
    struct rbac_config *c = config;
    struct strbuf below = {0};
    for (int m = 0; m < RBAC_MODES; m++) {
        struct rbac_rules *r = &c->rules[m];
        if (r->stats)
            continue;
        strbuf_reset(&below);
        strbuf_addf(&below, "rbac.%.*s", STR_ARG(r->stat_prefix));
        r->stats = filter_scope(stats, strbuf_str(&below), r->stat_prefix.n ? &rbac_lazy_stats : &rbac_stats);
        if (c->track_policies && r->engine)
            link_policies(r, stats, strbuf_str(&below));
    }
    strbuf_fini(&below);
}

const struct http_filter_def rbac_filter = {
    .name = "envoy.filters.http.rbac",
    .on_request_headers = on_request_headers,
    .link = link,
    .explain = explain,
};
