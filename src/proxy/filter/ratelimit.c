/* SPDX-License-Identifier: Apache-2.0
 *
 * envoy.filters.http.ratelimit: asks a rate-limit service whether a request may pass, holding it back meanwhile.
 *
 *   idle -> asking (request held) -> done: passed on | answered with the limit's status
 *
 * The answer is bounded by the filter's timeout; a service that fails lets requests pass or not as failure_mode_deny
 * says. Rules that apply when the stream is done are asked about without waiting. Runs on the exchange's worker; a
 * running call is cancelled with the exchange.
 */
#include "proxy/filter/ratelimit.h"

#include "base/check.h"
#include "base/log.h"
#include "proxy/cluster/cluster.h"
#include "proxy/route/route.h"
#include "proxy/service/rate_limit_service.h"

#define METADATA_SPACE STR("envoy.filters.http.ratelimit")
#define HITS_KEY STR("envoy.ratelimit.hits_addend")

enum state { IDLE, ASKING, DONE };
struct ratelimit {
    struct rate_limit_call *call;
    struct headers add;         /* to the response, in the exchange's arena */
    enum state state;
    bool was_on;
};

static void init(struct http_filter *f)
{
    struct ratelimit *r = f->state;
    headers_init(&r->add, exchange_arena(f->x));
}

static void count(struct http_filter *f, const char *what)
{
    const struct ratelimit_config *c = f->config;
    struct cluster *cluster = exchange_decision(f->x)->cluster;
    if (cluster)
        stat_named(cluster_stats(cluster), c->stat_family, what);
}

/* ---- what is asked ---- */

/* The route's rules, and its virtual host's as the settings say (Envoy: vh_rate_limits). */
static void describe_by_route(const struct ratelimit_config *c, const struct ratelimit_route_config *per_route,
                              const struct route_decision *d, bool at_end, const struct rate_limit_request *rq, struct arena *a,
                              struct rate_limit_descriptors *out)
{
    const struct rate_limit_rules *of_vhost = d->vhost ? d->vhost->rate_limits : NULL;
    enum rate_limit_vhost what = per_route ? per_route->vhost : RL_VHOST_OVERRIDE;
    if (d->route->include_vhost_rate_limits)
        what = RL_VHOST_INCLUDE;
    rate_limit_describe(d->route->rate_limits, (int)c->stage, at_end, rq, a, out);
    if (what == RL_VHOST_INCLUDE || (what == RL_VHOST_OVERRIDE && !d->route->rate_limits))
        rate_limit_describe(of_vhost, (int)c->stage, at_end, rq, a, out);
    for (uint32_t i = 0; i < out->count; i++) /* documented: hits_addend counts in filters' own settings only */
        out->items[i].has_hits = false;
}

static void describe(struct http_filter *f, bool at_end, struct rate_limit_descriptors *out)
{
    const struct ratelimit_config *c = f->config;
    const struct ratelimit_route_config *per_route = exchange_route_config(f);
    const struct route_decision *d = exchange_decision(f->x);
    struct arena *a = exchange_arena(f->x);
    struct rate_limit_request rq = {
        .headers = exchange_request_headers(f->x),
        .info = exchange_info(f->x),
        .cluster = d->cluster_name,
        .route_metadata = d->route->metadata,
        .random = exchange_random(f->x),
        .format = exchange_format_context(f->x),
    };
    if (per_route && per_route->rules)
        rate_limit_describe(per_route->rules, -1, at_end, &rq, a, out);
    else if (c->rules)
        rate_limit_describe(c->rules, -1, at_end, &rq, a, out);
    else
        describe_by_route(c, per_route, d, at_end, &rq, a, out);
}

static struct str domain_of(struct http_filter *f)
{
    const struct ratelimit_config *c = f->config;
    const struct ratelimit_route_config *per_route = exchange_route_config(f);
    return per_route && per_route->domain.n ? per_route->domain : c->domain;
}

static uint32_t hits_addend(struct http_filter *f)
{
    const struct filter_state_entry *e = filter_state_find(&exchange_info(f->x)->filter_state, HITS_KEY);
    uint64_t n = 0;
    return e && str_to_u64(e->value, &n) && n <= UINT32_MAX ? (uint32_t)n : 0;
}

static bool concerns(const struct ratelimit_config *c, const struct headers *h)
{
    bool internal = str_eq(headers_get_id(h, HDR_ENVOY_INTERNAL), STR("true"));
    return c->requests == RL_REQUESTS_BOTH || internal == (c->requests == RL_REQUESTS_INTERNAL);
}

/* Only what goes to a cluster that exists is limited. */
static bool has_destination(struct http_filter *f)
{
    const struct route_decision *d = exchange_decision(f->x);
    return d->route && d->route->action == ROUTE_CLUSTER && d->cluster;
}

/* ---- the answer ---- */

static void add_number(struct headers *h, struct str name, uint64_t n)
{
    headers_add_ref(h, name, arena_printf(h->arena, "%llu", (unsigned long long)n));
}

static void add_policy(struct strbuf *out, const struct rate_limit_status *s)
{
    if (!s->window_s)
        return;
    strbuf_addf(out, ", %u;w=%u", s->requests_per_unit, s->window_s);
    if (s->limit_name.n)
        strbuf_addf(out, ";name=\"%.*s\"", STR_ARG(s->limit_name));
}

/* draft-polli-ratelimit-headers-03: the limit that is nearest, then all of them. */
static void add_x_ratelimit(struct headers *h, const struct rate_limit_answer *answer)
{
    const struct rate_limit_status *nearest = NULL;
    struct strbuf policy = {0}, limit = {0};
    for (uint32_t i = 0; i < answer->status_count; i++) {
        const struct rate_limit_status *s = &answer->statuses[i];
        if (!s->has_limit)
            continue;
        if (!nearest || s->remaining < nearest->remaining)
            nearest = s;
        add_policy(&policy, s);
    }
    if (nearest) {
        strbuf_addu(&limit, nearest->requests_per_unit);
        strbuf_adds(&limit, strbuf_str(&policy));
        if (header_value_is_valid(strbuf_str(&limit)))
            headers_add(h, STR("x-ratelimit-limit"), strbuf_str(&limit));
        add_number(h, STR("x-ratelimit-remaining"), nearest->remaining);
        add_number(h, STR("x-ratelimit-reset"), nearest->reset_s);
    }
    strbuf_fini(&policy);
    strbuf_fini(&limit);
}

static void gather_response_headers(struct http_filter *f, const struct rate_limit_answer *answer)
{
    const struct ratelimit_config *c = f->config;
    struct ratelimit *r = f->state;
    for (uint32_t i = 0; i < answer->response_header_count; i++)
        headers_add(&r->add, answer->response_headers[i].name, answer->response_headers[i].value);
    if (answer->over_limit && !c->no_envoy_header)
        headers_set_id_ref(&r->add, HDR_ENVOY_RATELIMITED, STR("true"));
    if (c->x_ratelimit_headers)
        add_x_ratelimit(&r->add, answer);
}

/* Names that stand once get ",value" behind what they have. */
static void add_header(struct headers *h, struct str name, struct str value)
{
    const struct header_mutation m = {.name = name, .literal = value, .action = HEADER_APPEND, .keep_empty = true};
    header_mutation_apply(&m, h, NULL, h->arena);
}

static void add_gathered(struct ratelimit *r, struct headers *h)
{
    for (uint32_t i = 0; i < r->add.count; i++)
        add_header(h, r->add.items[i].name, r->add.items[i].value);
    r->add.count = 0;
}

static void edit_limited(struct headers *h, void *arg)
{
    struct http_filter *f = arg;
    const struct ratelimit_config *c = f->config;
    add_gathered(f->state, h);
    header_rules_apply(&c->response_headers, h, exchange_format_context(f->x), exchange_arena(f->x));
}

/* As if the cluster had answered, so that its statistics by code show what its clients see (as internal: Envoy's way). */
static void count_status(struct http_filter *f, unsigned status)
{
    struct stat_scope *s = cluster_stats(exchange_decision(f->x)->cluster);
    stat_inc(s, STAT_CLUSTER_UPSTREAM_RQ_COMPLETED);
    stat_inc(s, STAT_CLUSTER_UPSTREAM_RQ_COMPLETED + status / 100);
    stat_code(s, "upstream_rq", status);
    stat_inc(s, STAT_CLUSTER_INTERNAL_RQ_COMPLETED);
    stat_inc(s, STAT_CLUSTER_INTERNAL_RQ_COMPLETED + status / 100);
    stat_code(s, "internal.upstream_rq", status);
}

static void refuse(struct http_filter *f, const struct rate_limit_answer *answer)
{
    const struct ratelimit_config *c = f->config;
    const struct outcome *o = c->as_resource_exhausted ? OUTCOME(RATE_LIMITED_EXHAUSTED) : OUTCOME(RATE_LIMITED);
    struct str body = arena_str(exchange_arena(f->x), answer->body);
    exchange_local_reply(f->x, o, c->limited_status, body, STR_NULL, edit_limited, f);
}

static bool lets_failures_pass(struct http_filter *f)
{
    const struct ratelimit_config *c = f->config;
    if (c->has_deny_fraction)
        return !runtime_fraction_hits(&c->deny_fraction, exchange_random(f->x));
    return !c->failure_mode_deny;
}

/* True: the request goes on. */
static bool take_failure(struct http_filter *f)
{
    const struct ratelimit_config *c = f->config;
    count(f, "error");
    LOG_SELDOM(FILTER, WARNING, "ratelimit: the service for domain %.*s doesn't answer in time or fails", STR_ARG(domain_of(f)));
    if (lets_failures_pass(f)) {
        count(f, "failure_mode_allowed");
        return true;
    }
    exchange_local_reply(f->x, OUTCOME(RATE_LIMIT_ERROR), c->error_status, STR_NULL, STR_NULL, NULL, NULL);
    return false;
}

static bool take_answer(struct http_filter *f, const struct rate_limit_answer *answer)
{
    const struct ratelimit_config *c = f->config;
    struct stream_info *info = exchange_info(f->x);
    if (answer->metadata.kind == META_STRUCT)
        metadata_merge(&info->metadata, exchange_arena(f->x), METADATA_SPACE, &answer->metadata);
    count(f, answer->over_limit ? "over_limit" : "ok");
    if (answer->over_limit)
        count_status(f, c->limited_status);
    gather_response_headers(f, answer);
    if (answer->over_limit && runtime_fraction_hits(&c->enforced, exchange_random(f->x))) {
        refuse(f, answer);
        return false;
    }
    struct arena *a = exchange_arena(f->x);
    for (uint32_t i = 0; i < answer->request_header_count; i++) {
        const struct rate_limit_header *h = &answer->request_headers[i];
        add_header(exchange_request_headers(f->x), arena_str(a, h->name), arena_str(a, h->value));
    }
    return true;
}

static void on_answer(void *user, const struct rate_limit_answer *answer)
{
    struct http_filter *f = user;
    struct ratelimit *r = f->state;
    r->call = NULL;
    r->state = DONE;
    if (answer ? take_answer(f, answer) : take_failure(f))
        exchange_continue_request(f);
}

/* ---- the filter ---- */

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    const struct ratelimit_config *c = f->config;
    struct ratelimit *r = f->state;
    struct rate_limit_descriptors d = {0};
    r->was_on = runtime_fraction_hits(&c->enabled, exchange_random(f->x));
    if (!r->was_on || !concerns(c, h) || !has_destination(f))
        return FILTER_HEADERS_CONTINUE;
    describe(f, false, &d);
    if (!d.count)
        return FILTER_HEADERS_CONTINUE;
    r->call = rate_limit_ask(&c->service, domain_of(f), &d, hits_addend(f), exchange_format_context(f->x), on_answer, f);
    if (!r->call) {
        r->state = DONE;
        return take_failure(f) ? FILTER_HEADERS_CONTINUE : FILTER_HEADERS_STOP;
    }
    r->state = ASKING;
    return FILTER_HEADERS_STOP_ALL_WATERMARK;
}

static enum filter_headers on_response_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    add_gathered(f->state, h);
    return FILTER_HEADERS_CONTINUE;
}

static void on_complete(struct http_filter *f)
{
    const struct ratelimit_config *c = f->config;
    struct ratelimit *r = f->state;
    struct rate_limit_descriptors d = {0};
    if (!r->was_on || r->state == ASKING || !has_destination(f))
        return;
    describe(f, true, &d);
    struct grpc_service once = c->service; /* the call may outlive this configuration: nothing of it is kept */
    once.retries = 0;
    if (d.count)
        rate_limit_ask(&once, domain_of(f), &d, 0, exchange_format_context(f->x), NULL, NULL);
}

static void on_destroy(struct http_filter *f)
{
    struct ratelimit *r = f->state;
    rate_limit_call_cancel(&r->call);
}

const struct http_filter_def ratelimit_filter = {
    .name = "envoy.filters.http.ratelimit",
    .state_bytes = sizeof(struct ratelimit),
    .init = init,
    .on_request_headers = on_request_headers,
    .on_response_headers = on_response_headers,
    .on_complete = on_complete,
    .on_destroy = on_destroy,
};
