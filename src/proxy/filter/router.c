/* SPDX-License-Identifier: Apache-2.0
 *
 * The router, logical layer: the terminal HTTP filter. Takes the decision and does what it says: answers by
 * itself, or edits the request, settles timeouts and retries, starts an attempt (router_try.c) and feeds
 * every attempt the body. What attempts answer is router_response.c's, how they fail router_failure.c's.
 *
 *   headers -> [decision] -> answer
 *                   |  `---> try_start -> (waiting | streaming) -> response -> done
 *                   |            ^------- retry, hedge, stale connection ---'
 *                   `-> mirrors, beside
 *
 * A pooled connection that dies before the first byte of a response must not show: the request goes
 * out again on a fresh connection when it is safe, that is, when its method is idempotent or the
 * peer never acknowledged a byte of it, and its body is still held.
 * Runs on the exchange's worker; state dies with the exchange.
 */
#include "proxy/filter/router_priv.h"

static struct router *state_of(struct http_filter *f)
{
    return f->state;
}

static void init(struct http_filter *f)
{
    struct router *r = state_of(f);
    r->f = f;
    r->x = f->x;
    r->config = f->config;
    list_init(&r->tries);
}

bool router_request_is_tunnel(const struct router *r)
{
    const struct headers *h = exchange_request_headers(r->x);
    return headers_is_upgrade(h) || headers_is_connect(h);
}

bool router_is_internal(const struct router *r)
{
    return headers_has_id(exchange_request_headers(r->x), HDR_ENVOY_INTERNAL);
}

/* ---- routes that answer by themselves ---- */

struct own_answer {
    struct router *r;
    struct str location, content_type;
};

static void edit_own_answer(struct headers *h, void *arg)
{
    const struct own_answer *own = arg;
    struct router *r = own->r;
    if (own->location.n)
        headers_set_id_ref(h, HDR_LOCATION, own->location);
    if (own->content_type.n)
        headers_set_id_ref(h, HDR_CONTENT_TYPE, own->content_type);
    route_edit_response(r->decision, h, exchange_format_context(r->x), exchange_arena(r->x));
}

static enum filter_headers answer_by_route(struct router *r, unsigned status, struct str body, struct str location,
                                           struct str content_type)
{
    struct own_answer own = {r, location, content_type};
    r->done = true;
    stat_inc(exchange_stats(r->x), STAT_HCM_RQ_DIRECT_RESPONSE);
    exchange_local_reply(r->x, OUTCOME(DIRECT_RESPONSE), status, body, STR_NULL, edit_own_answer, &own);
    return FILTER_HEADERS_STOP;
}

static enum filter_headers answer_directly(struct router *r)
{
    const struct route_entry *route = r->route;
    struct str body = route->direct_body, type = body.n ? route->direct_content_type : STR_NULL;
    if (route->direct_format) {
        struct format_context cx = *exchange_format_context(r->x);
        struct strbuf text = {0};
        cx.local_reply_body = body;
        format_run(route->direct_format, &cx, &text);
        body = arena_str(exchange_arena(r->x), strbuf_str(&text));
        type = route->direct_content_type;
        strbuf_fini(&text);
    }
    unsigned status;
    struct str to = route_redirect_location(r->decision, exchange_request_headers(r->x), exchange_format_context(r->x),
                                            exchange_arena(r->x), &status);
    return answer_by_route(r, status, body, to, type);
}

static enum filter_headers answer_redirect(struct router *r)
{
    unsigned status = 301;
    route_redirect_rewrite(r->decision, exchange_request_headers(r->x), exchange_format_context(r->x), r->config->suppress_envoy_headers,
                           exchange_arena(r->x));
    struct str to = route_redirect_location(r->decision, exchange_request_headers(r->x), exchange_format_context(r->x),
                                            exchange_arena(r->x), &status);
    return answer_by_route(r, status, STR_NULL, to, STR_NULL);
}

static enum filter_headers answer_https(struct router *r)
{
    struct str to = route_https_location(exchange_request_headers(r->x), exchange_arena(r->x));
    return answer_by_route(r, 301, STR_NULL, to, STR_NULL);
}

/* ---- routes to clusters ---- */

static bool method_is_idempotent(struct str m)
{
    static const struct str list[] = {{"GET", 3},    {"HEAD", 4},   {"OPTIONS", 7},
                                      {"TRACE", 5},  {"PUT", 3},    {"DELETE", 6}};
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        if (str_eq(m, list[i]))
            return true;
    return false;
}

static bool wants_tunnel_here(const struct router *r, const struct headers *h)
{
    if (!headers_is_connect(h)) {
        struct str method = headers_get_id(h, HDR_METHOD);
        bool post = str_eq(method, STR("POST"));
        for (uint32_t i = 0; post && i < r->route->upgrade_count; i++)
            if (r->route->upgrades[i].connect_terminate && r->route->upgrades[i].connect_allow_post)
                return true;
        return false;
    }
    if (headers_has_id(h, HDR_PROTOCOL))
        return false;
    for (uint32_t i = 0; i < r->route->upgrade_count; i++)
        if (r->route->upgrades[i].connect_terminate)
            return true;
    return false;
}

/* Only for balancers that choose by it: a cookie that nobody reads isn't made. */
static void settle_hash(struct router *r, struct headers *h)
{
    const struct route_entry *route = r->route;
    const struct lb_policy_spec *lb = cluster_spec(r->cluster)->lb;
    struct hash_source src = {h, exchange_info(r->x)};
    const struct hash_policy *hashes = lb->hash_count ? lb->hashes : route->hashes;
    uint32_t count = lb->hash_count ? lb->hash_count : route->hash_count;
    bool may_want = lb->policy->by_hash || lb->policy->choose || lb->policy == &lb_cluster_provided; /* clusters below may */
    if (!count || !may_want)
        return;
    struct str cookie = STR_NULL;
    r->has_hash = route_hash(hashes, count, &src, exchange_arena(r->x), &r->hash, &cookie);
    if (cookie.n)
        r->set_cookies[r->set_cookie_count++] = cookie;
}

static bool wants_whole_body(const struct router *r)
{
    return r->retry || r->route->internal_redirect;
}

/* How much of a request is kept for another attempt (Envoy: request_body_buffer_limit, per_request_buffer_limit_bytes). */
static uint64_t keeping_limit(const struct router *r)
{
    return r->route->has_body_limit ? r->route->request_body_limit_bytes : exchange_body_limit_bytes(r->x);
}

static void request_complete(struct router *r)
{
    r->request_end = true;
    if (!r->done && !router_request_is_tunnel(r))
        timeouts_on_request_complete(r);
}

static enum filter_headers refuse_header(struct router *r, const struct header *fault)
{
    struct arena *a = exchange_arena(r->x);
    struct str body = arena_printf(a, "invalid header '%.*s' with value '%.*s'", STR_ARG(fault->name), STR_ARG(fault->value));
    struct str details = arena_printf(a, "%s{%.*s}", OUTCOME(STRICT_CHECK)->details, STR_ARG(fault->name));
    router_answer(r, OUTCOME(STRICT_CHECK), 400, body, details);
    return FILTER_HEADERS_STOP;
}

static bool find_cluster(struct router *r)
{
    r->cluster = r->decision->cluster;
    if (r->cluster)
        return true;
    stat_inc(exchange_stats(r->x), STAT_HCM_NO_CLUSTER);
    router_answer(r, OUTCOME(CLUSTER_NOT_FOUND), r->route->cluster_not_found_status ? r->route->cluster_not_found_status : 503,
                  STR_NULL, STR_NULL);
    return false;
}

/* Several from the start (hedge_policy.initial_requests, additional_request_chance): the first good answer is taken. */
static void start_others(struct router *r)
{
    const struct hedge_policy *p = r->route->hedge;
    uint64_t chance = p->additional_denominator ? exchange_random(r->x) % p->additional_denominator : 0;
    uint32_t n = p->initial_requests ? p->initial_requests : 1;
    if (p->additional_denominator && chance < p->additional_numerator)
        n++;
    for (uint32_t i = 1; i < n && !r->done; i++) {
        r->hedged = true;
        exchange_info(r->x)->attempts++;
        try_start(r, false, NULL);
    }
}

static bool has_rare_headers(const struct headers *h)
{
    for (uint32_t i = 0; i < h->count; i++)
        if (h->items[i].id == HDR_OTHER && str_has_prefix(h->items[i].name, STR("x-envoy-")))
            return true;
    return false;
}

static enum filter_headers send_upstream(struct router *r, struct headers *h, bool end)
{
    if (!find_cluster(r))
        return FILTER_HEADERS_STOP;
    const struct header *fault = r->config->strict_headers ? strict_fault(r->config, h) : NULL;
    if (fault)
        return refuse_header(r, fault);
    r->is_upstream_ours = true;
    exchange_info(r->x)->cluster = r->cluster;
    r->here = view_hold(cluster_here(r->cluster));
    if (cluster_drops(r->here, loop_rng(exchange_loop(r->x)))) {
        if (view_drop_per_million(r->here) >= 1000000)
            router_answer(r, OUTCOME(DROP_ALL), 503, STR("unconditional drop overload"), STR_NULL);
        else
            router_answer(r, OUTCOME(DROP_OVERLOAD), 503, STR("drop overload"), STR_NULL);
        return FILTER_HEADERS_STOP;
    }
    r->is_grpc = headers_is_grpc_request(h);
    r->is_replayable = method_is_idempotent(headers_get_id(h, HDR_METHOD));
    r->rare_headers = has_rare_headers(h);
    stats_settle(r, h);
    settle_hash(r, h);
    timeouts_settle(r, h);
    exchange_info(r->x)->attempts = 1;
    if (r->route->include_attempt_count_in_request)
        headers_set_id_ref(h, HDR_ENVOY_ATTEMPT_COUNT, STR("1"));
    route_edit_request(r->decision, h, exchange_format_context(r->x), r->config->suppress_envoy_headers, exchange_arena(r->x));
    retry_settle(r, h);
    r->keeps_body = wants_whole_body(r);
    if (end)
        r->request_end = true;
    r->wants_tunnel = wants_tunnel_here(r, h);
    if (r->wants_tunnel) {
        connect_start(r);
        return FILTER_HEADERS_STOP;
    }
    try_start(r, false, NULL);
    if (r->route->hedge)
        start_others(r);
    if (!r->done && r->route->mirror_count)
        shadow_start(r, h, end);
    if (end)
        request_complete(r);
    return FILTER_HEADERS_STOP;
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    struct router *r = state_of(f);
    stat_inc(exchange_stats(r->x), STAT_HCM_ROUTER_RQ_TOTAL);
    r->decision = exchange_decision(r->x);
    r->route = r->decision->route;
    if (r->decision->needs_tls)
        return answer_https(r);
    if (!r->route) {
        stat_inc(exchange_stats(r->x), STAT_HCM_NO_ROUTE);
        router_answer(r, OUTCOME(ROUTE_NOT_FOUND), 404, STR_NULL, STR_NULL);
        return FILTER_HEADERS_STOP;
    }
    switch (r->route->action) {
    case ROUTE_DIRECT_RESPONSE:
        return answer_directly(r);
    case ROUTE_REDIRECT:
        return answer_redirect(r);
    case ROUTE_NON_FORWARDING: /* it has no cluster: as such it is answered */
    case ROUTE_CLUSTER:
        break;
    }
    return send_upstream(r, h, end);
}

/* ---- the body ---- */

static void hold_back(struct router *r)
{
    bool over = tries_pending_bytes(r) > exchange_body_limit_bytes(r->x);
    if (over != r->paused_downstream) {
        r->paused_downstream = over;
        exchange_pause_request(r->x, over);
    }
}

/* Keeps it for another attempt as long as it stays small; else none will be made. */
static void keep_body(struct router *r, const struct buf *data)
{
    if (!r->keeps_body || r->final)
        return;
    if (r->body.len + data->len <= keeping_limit(r)) {
        buf_share(&r->body, data, data->len);
        return;
    }
    bool waits = retry_is_pending(r);
    stat_inc(cluster_stats(r->cluster), STAT_CLUSTER_RETRY_OR_SHADOW_ABANDONED);
    retry_over(r);
    r->keeps_body = false;
    r->body_lost = r->body_overflowed = true;
    buf_drain(&r->body, r->body.len);
    if (waits && list_is_empty(&r->tries))
        router_answer(r, OUTCOME(RETRY_BODY_TOO_LARGE), 507, STR("exceeded request buffer limit while retrying upstream"),
                      STR_NULL);
}

static enum filter_data on_request_data(struct http_filter *f, struct buf *data, bool end)
{
    struct router *r = state_of(f);
    if (r->done) {
        buf_drain(data, data->len);
        return FILTER_DATA_STOP_NO_BUFFER;
    }
    if (r->wants_tunnel) {
        connect_data(r, data, end);
        return FILTER_DATA_STOP_NO_BUFFER;
    }
    keep_body(r, data);
    if (r->done)
        return FILTER_DATA_STOP_NO_BUFFER;
    if (r->mirrors)
        shadow_data(r, data, end);
    r->request_end = end;
    tries_give_body(r, data);
    if (r->done)
        return FILTER_DATA_STOP_NO_BUFFER;
    if (end)
        request_complete(r);
    hold_back(r);
    return FILTER_DATA_STOP_NO_BUFFER;
}

static enum filter_trailers on_request_trailers(struct http_filter *f, struct headers *h)
{
    struct router *r = state_of(f);
    struct buf none = BUF_INIT;
    if (r->done)
        return FILTER_TRAILERS_STOP;
    r->trailers = h;
    r->request_end = true;
    if (r->mirrors)
        shadow_trailers(r, h);
    if (r->wants_tunnel)
        connect_data(r, &none, true);
    else
        tries_give_body(r, &none);
    if (!r->done)
        request_complete(r);
    return FILTER_TRAILERS_STOP;
}

/* ---- flow control and the end ---- */

static void on_downstream_watermark(struct http_filter *f, bool above)
{
    struct router *r = state_of(f);
    r->downstream_above += above ? 1 : -1;
    if (r->tunnel)
        connect_pause(r, above);
    else if (r->final && r->final->stream)
        stream_pause(r->final->stream, above);
    if (r->cluster)
        stat_inc(cluster_stats(r->cluster), above ? STAT_CLUSTER_UPSTREAM_FLOW_PAUSED : STAT_CLUSTER_UPSTREAM_FLOW_RESUMED);
}

static void record_tries(struct router *r)
{
    if (r->final)
        try_record(r->final);
    LIST_EACH(it, safe, &r->tries)
        try_record(CONTAINER_OF(it, upstream_try, node));
}

/* An attempt may still run when the exchange ends from the other side: what it sent belongs into the log. */
static void on_complete(struct http_filter *f)
{
    struct router *r = state_of(f);
    struct list *newest = list_first(&r->tries);
    if (exchange_info(r->x)->record)
        record_tries(r);
    if (r->final)
        try_take_totals(r->final);
    else if (newest)
        try_take_totals(CONTAINER_OF(newest, upstream_try, node));
}

static uint64_t held_bytes(const struct http_filter *f)
{
    struct router *r = f->state;
    return r->body.len + tries_pending_bytes(r);
}

static void on_destroy(struct http_filter *f)
{
    struct router *r = state_of(f);
    r->done = true;
    timer_clear(&r->timer);
    if (r->tunnel)
        connect_abandon(r);
    if (r->cluster)
        retry_over(r);
    if (r->mirrors)
        shadow_stop(r);
    if (r->final)
        try_abandon(r->final);
    tries_abandon(r, NULL);
    buf_fini(&r->body);
    tries_leave(r);
    view_release(&r->here);
}

const struct http_filter_def router_filter = {
    .name = "envoy.filters.http.router",
    .state_bytes = sizeof(struct router),
    .is_terminal = true,
    .init = init,
    .on_request_headers = on_request_headers,
    .on_request_data = on_request_data,
    .on_request_trailers = on_request_trailers,
    .on_downstream_watermark = on_downstream_watermark,
    .on_complete = on_complete,
    .on_destroy = on_destroy,
    .held_bytes = held_bytes,
};
