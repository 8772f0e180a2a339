/* SPDX-License-Identifier: Apache-2.0
 *
 * The router, logical layer: the terminal HTTP filter. Takes the route, settles the timeout, starts
 * an attempt (router_try.c), feeds it the body, hands its response back, and turns its failures into
 * answers by the outcome table.
 *
 *   headers -> [route? cluster?] -> try_start -> (waiting | streaming) -> response -> done
 *                                       ^------- stale connection: replay ---'
 *
 * A pooled connection that dies before the first byte of a response must not show: the request goes
 * out again on a fresh connection when it is safe, that is, when its method is idempotent or the
 * peer never acknowledged a byte of it, and its body is still held.
 * Runs on the exchange's worker; state dies with the exchange.
 */
#include "proxy/filter/router_priv.h"

#include "base/check.h"

static struct router *state_of(struct http_filter *f)
{
    return f->state;
}

static void on_timeout(struct timer *t);

static void init(struct http_filter *f)
{
    struct router *r = state_of(f);
    r->f = f;
    r->x = f->x;
    r->config = f->config;
    r->attempt.router = r;
    timer_init(&r->timer, exchange_loop(f->x), on_timeout);
    retry_init(r);
}

/* ---- answers of our own ---- */

static void answer(struct router *r, const struct outcome *o, unsigned status, struct str body, struct str details)
{
    r->done = true;
    timer_clear(&r->timer);
    exchange_local_reply(r->x, o, status, body, details, NULL, NULL);
}

static void add_overloaded(struct headers *h, void *arg)
{
    const struct router *r = arg;
    if (!r->config->suppress_envoy_headers)
        headers_add_id_ref(h, HDR_ENVOY_OVERLOADED, STR("true"));
}

/* 201 says where the made thing is (RFC 9110 section 15.3.2): where it was asked for. */
static void add_direct_headers(struct headers *h, void *arg)
{
    const struct router *r = arg;
    const struct headers *request = exchange_request_headers(r->x);
    if (r->route->direct_body.n && r->route->direct_content_type.n)
        headers_set_id_ref(h, HDR_CONTENT_TYPE, r->route->direct_content_type);
    if (r->route->direct_status == 201) {
        struct str scheme = headers_get_id(request, HDR_SCHEME), host = headers_get_id(request, HDR_AUTHORITY);
        struct str path = headers_get_id(request, HDR_PATH);
        struct str made = arena_printf(exchange_arena(r->x), "%.*s://%.*s%.*s", STR_ARG(scheme), STR_ARG(host), STR_ARG(path));
        if (made.p)
            headers_set_id_ref(h, HDR_LOCATION, made);
    }
}

void router_note_status(struct router *r, unsigned status)
{
    struct stat_scope *s = cluster_stats(r->cluster);
    stat_inc(s, STAT_CLUSTER_UPSTREAM_RQ_COMPLETED);
    if (status >= 100 && status < 600)
        stat_inc(s, STAT_CLUSTER_UPSTREAM_RQ_1XX + status / 100 - 1);
    stat_code(s, "upstream_rq", status);
}

/* Why the transport failed is for the log, not for strangers: the body doesn't say it. */
static struct str failure_body(struct router *r, enum stream_reset why)
{
    return arena_printf(exchange_arena(r->x),
                        "upstream connect error or disconnect/reset before headers. reset reason: %s",
                        stream_reset_text(why));
}

/* No spaces, so that a log line stays one field a word. */
static struct str without_spaces(struct str text)
{
    char *p = (char *)(uintptr_t)text.p;
    for (size_t i = 0; i < text.n; i++)
        if (p[i] == ' ' || p[i] == '\t')
            p[i] = '_';
    return text;
}

/* "upstream_reset_before_response_started{remote_connection_failure|…}" */
static struct str failure_details(struct router *r, enum stream_reset why, const char *transport)
{
    bool more = transport && *transport;
    return without_spaces(arena_printf(exchange_arena(r->x), "upstream_reset_before_response_started{%s%s%s}",
                                       stream_reset_text(why), more ? "|" : "", more ? transport : ""));
}

static bool is_transport_failure(enum stream_reset why)
{
    return why == STREAM_CONNECT_FAILED || why == STREAM_CONNECT_TIMEOUT;
}

static const struct outcome *outcome_of_reset(enum stream_reset why, bool started)
{
    switch (why) {
    case STREAM_REMOTE:
        return started ? OUTCOME(LATE_REMOTE_RESET) : OUTCOME(REMOTE_RESET);
    case STREAM_CONNECT_ERROR:
    case STREAM_REMOTE_REFUSED:
        return started ? OUTCOME(LATE_REMOTE_RESET) : OUTCOME(REMOTE_REFUSED);
    case STREAM_CONNECT_FAILED:
        return OUTCOME(CONNECT_FAILED);
    case STREAM_CONNECT_TIMEOUT:
        return OUTCOME(CONNECT_TIMEOUT);
    case STREAM_OVERFLOW:
        return OUTCOME(OVERFLOW);
    case STREAM_PROTOCOL_ERROR:
        return started ? OUTCOME(LATE_PROTOCOL_ERROR) : OUTCOME(UPSTREAM_PROTOCOL_ERROR);
    case STREAM_LOCAL:
    case STREAM_LOCAL_REFUSED:
        return OUTCOME(LOCAL_RESET);
    case STREAM_OK:
    case STREAM_TERMINATED:
    case STREAM_TIMEOUT:
    case STREAM_IDLE_TIMEOUT:
        break;
    }
    return started ? OUTCOME(LATE_TERMINATED) : OUTCOME(TERMINATED);
}

/* ---- timeouts ---- */

static void on_timeout(struct timer *t)
{
    struct router *r = CONTAINER_OF(t, router, timer);
    struct stat_scope *s = cluster_stats(r->cluster);
    stat_inc(s, STAT_CLUSTER_UPSTREAM_RQ_TIMEOUT);
    if (exchange_info(r->x)->host)
        host_stat_add(exchange_info(r->x)->host, HOST_RQ_TIMEOUT, 1);
    r->timed_out = true;
    retry_over(r, false);
    try_abandon(r);
    r->done = true;
    if (exchange_response_has_started(r->x)) {
        exchange_reset(r->x, OUTCOME(UPSTREAM_TIMEOUT));
        return;
    }
    router_note_status(r, 504);
    answer(r, OUTCOME(UPSTREAM_TIMEOUT), 504, STR("upstream request timeout"), STR_NULL);
}

/* Route's timeout, or what an internal caller asked for (Envoy: x-envoy-upstream-rq-timeout-ms). */
static void settle_timeout(struct router *r, struct headers *h)
{
    uint64_t asked;
    r->timeout_ms = r->route->timeout_ms;
    struct str text = headers_get_id(h, HDR_ENVOY_TIMEOUT);
    if (text.p) {
        if (str_to_u64(text, &asked) && asked <= INT32_MAX)
            r->timeout_ms = (int64_t)asked;
        headers_remove_id(h, HDR_ENVOY_TIMEOUT);
    }
    headers_remove_id(h, HDR_ENVOY_PER_TRY_TIMEOUT);
    headers_remove_id(h, HDR_ENVOY_EXPECTED_TIMEOUT);
    if (r->timeout_ms > 0 && !r->config->suppress_envoy_headers) {
        char *digits = arena_bytes(exchange_arena(r->x), 20);
        if (digits)
            headers_add_id_ref(h, HDR_ENVOY_EXPECTED_TIMEOUT,
                               str_make(digits, u64_format((uint64_t)r->timeout_ms, digits)));
    }
}

/* The clock runs from the request's last byte: a slow uploader is not the upstream's fault. */
static void request_complete(struct router *r)
{
    r->request_end = true;
    bool tunnel = headers_is_upgrade(exchange_request_headers(r->x)) || headers_is_connect(exchange_request_headers(r->x));
    if (r->timeout_ms > 0 && !r->done && !tunnel)
        timer_set_ms(&r->timer, (uint64_t)r->timeout_ms);
}

/* ---- the request ---- */

static bool method_is_idempotent(struct str m)
{
    static const struct str list[] = {{"GET", 3},    {"HEAD", 4},   {"OPTIONS", 7},
                                      {"TRACE", 5},  {"PUT", 3},    {"DELETE", 6}};
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        if (str_eq(m, list[i]))
            return true;
    return false;
}

static void answer_directly(struct router *r)
{
    const struct route_entry *route = r->route;
    r->done = true;
    stat_inc(exchange_stats(r->x), STAT_HCM_RQ_DIRECT_RESPONSE);
    exchange_local_reply(r->x, OUTCOME(DIRECT_RESPONSE), route->direct_status, route->direct_body, STR_NULL,
                         add_direct_headers, r);
}

static bool wants_tunnel_here(const struct router *r, const struct headers *h)
{
    if (!headers_is_connect(h) || headers_has_id(h, HDR_PROTOCOL))
        return false;
    for (uint32_t i = 0; i < r->route->upgrade_count; i++)
        if (r->route->upgrades[i].connect_terminate)
            return true;
    return false;
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    struct router *r = state_of(f);
    struct stat_scope *hcm_stats = exchange_stats(r->x);
    r->route = exchange_route(r->x);
    if (!r->route) {
        stat_inc(hcm_stats, STAT_HCM_NO_ROUTE);
        answer(r, OUTCOME(ROUTE_NOT_FOUND), 404, STR_NULL, STR_NULL);
        return FILTER_HEADERS_STOP;
    }
    if (r->route->action == ROUTE_DIRECT_RESPONSE) {
        answer_directly(r);
        return FILTER_HEADERS_STOP;
    }
    r->cluster = r->route->cluster;
    if (!r->cluster) {
        stat_inc(hcm_stats, STAT_HCM_NO_CLUSTER);
        answer(r, OUTCOME(CLUSTER_NOT_FOUND), r->route->cluster_not_found_status, STR_NULL, STR_NULL);
        return FILTER_HEADERS_STOP;
    }
    stat_inc(hcm_stats, STAT_HCM_ROUTER_RQ_TOTAL);
    exchange_info(r->x)->cluster = r->cluster;
    r->here = cluster_here(r->cluster);
    r->is_replayable = method_is_idempotent(headers_get_id(h, HDR_METHOD));
    settle_timeout(r, h);
    if (end)
        request_complete(r);
    if (wants_tunnel_here(r, h))
        tunnel_start(r);
    else
        try_start(r, false);
    return FILTER_HEADERS_STOP;
}

static void hold_back(struct router *r)
{
    bool over = r->pending.len > exchange_body_limit_bytes(r->x);
    if (over != r->paused_downstream) {
        r->paused_downstream = over;
        exchange_pause_request(r->x, over);
    }
}

static enum filter_data on_request_data(struct http_filter *f, struct buf *data, bool end)
{
    struct router *r = state_of(f);
    if (r->done) {
        buf_drain(data, data->len);
        return FILTER_DATA_STOP_NO_BUFFER;
    }
    if (r->tunnel) {
        tunnel_data(r, data, end);
        return FILTER_DATA_STOP_NO_BUFFER;
    }
    buf_move(&r->pending, data);
    if (end)
        request_complete(r);
    try_send_body(r);
    if (!r->done)
        hold_back(r);
    return FILTER_DATA_STOP_NO_BUFFER;
}

static enum filter_trailers on_request_trailers(struct http_filter *f, struct headers *h)
{
    struct router *r = state_of(f);
    if (r->done)
        return FILTER_TRAILERS_STOP;
    r->trailers = h;
    request_complete(r);
    if (!r->tunnel)
        try_send_body(r);
    return FILTER_TRAILERS_STOP;
}

/* ---- the attempt's events ---- */

static void drop_replay(struct router *r)
{
    buf_drain(&r->replay, r->replay.len);
}

void router_on_informational(struct router *r, struct headers *h)
{
    uint64_t status = 0;
    str_to_u64(headers_get_id(h, HDR_STATUS), &status);
    router_note_status(r, (unsigned)status);
    exchange_response_informational(r->x, h);
}

static void add_service_time(struct router *r, struct headers *h)
{
    const struct stream_info *info = exchange_info(r->x);
    uint64_t from = info->request_end_us ? info->request_end_us : info->start_us;
    char *digits = arena_bytes(exchange_arena(r->x), 20);
    if (digits)
        headers_set_id_ref(h, HDR_ENVOY_UPSTREAM_SERVICE_TIME,
                           str_make(digits, u64_format((loop_now_us(exchange_loop(r->x)) - from) / 1000, digits)));
}

static void response_complete(struct router *r)
{
    struct stat_scope *s = cluster_stats(r->cluster);
    const struct stream_info *info = exchange_info(r->x);
    uint64_t now = loop_now_us(exchange_loop(r->x));
    exchange_info(r->x)->upstream_last_rx_us = now;
    stat_record(s, STAT_CLUSTER_UPSTREAM_RQ_TIME, (now - info->start_us) / 1000);
    timer_clear(&r->timer);
    try_take_totals(r); /* the exchange may end, and be logged, before the upstream stream does */
    r->done = true;
}

void router_on_headers(struct router *r, struct headers *h, bool end)
{
    struct stream_info *info = exchange_info(r->x);
    uint64_t status = 0;
    str_to_u64(headers_get_id(h, HDR_STATUS), &status);
    bool unwanted = retry_wanted_for_response(r, h, (unsigned)status);
    if (unwanted && retry_schedule(r)) {
        router_note_status(r, (unsigned)status);
        host_stat_add(info->host, HOST_RQ_ERROR, 1);
        try_abandon(r);
        return;
    }
    retry_over(r, !unwanted);
    drop_replay(r);
    info->upstream_first_rx_us = loop_now_us(exchange_loop(r->x));
    info->details = str_from(OUTCOME(VIA_UPSTREAM)->details);
    router_note_status(r, (unsigned)status);
    host_stat_add(info->host, status >= 500 ? HOST_RQ_ERROR : HOST_RQ_SUCCESS, 1);
    if (!r->config->suppress_envoy_headers)
        add_service_time(r, h);
    if (end)
        response_complete(r);
    exchange_respond_headers(r->x, h, end);
}

void router_on_data(struct router *r, struct buf *data, bool end)
{
    if (end)
        response_complete(r);
    exchange_respond_data(r->x, data, end);
}

void router_on_trailers(struct router *r, struct headers *h)
{
    response_complete(r);
    exchange_respond_trailers(r->x, h);
}

static bool may_replay(const struct router *r, bool stale)
{
    return stale && !r->replay_lost && r->replays < ROUTER_MAX_REPLAYS && !r->timed_out;
}

static void replay(struct router *r)
{
    struct buf again = BUF_INIT;
    r->replays++;
    stat_inc(cluster_stats(r->cluster), STAT_CLUSTER_UPSTREAM_RQ_STALE_REPLAY);
    buf_move(&again, &r->replay);
    buf_move(&again, &r->pending);
    buf_move(&r->pending, &again);
    try_start(r, true);
}

/* `stale`: it failed on a reused connection before any byte of a response, and may go out once more: it is idempotent, or
 * nobody has seen it. */
void router_on_failed(struct router *r, enum stream_reset why, const char *transport_failure, bool stale)
{
    struct stream_info *info = exchange_info(r->x);
    bool started = exchange_response_has_started(r->x);
    if (why == STREAM_OVERFLOW && info->host) /* it never came there */
        host_unref(&info->host);
    if (!started && may_replay(r, stale)) {
        replay(r);
        return;
    }
    const struct outcome *o = outcome_of_reset(why, started);
    if (!started && retry_wanted_for_reset(r, why) && retry_schedule(r)) {
        if (info->host)
            host_stat_add(info->host, HOST_RQ_ERROR, 1);
        return;
    }
    r->done = true;
    timer_clear(&r->timer);
    retry_over(r, false);
    if (!is_transport_failure(why))
        transport_failure = NULL; /* a codec's own words: counted, but no failure of the transport */
    if (transport_failure && *transport_failure)
        info->upstream_failure = without_spaces(arena_str(exchange_arena(r->x), str_from(transport_failure)));
    if (started) {
        exchange_reset(r->x, o);
        return;
    }
    if (info->host)
        host_stat_add(info->host, HOST_RQ_ERROR, 1);
    router_note_status(r, (unsigned)o->http_status);
    exchange_local_reply(r->x, o, (unsigned)o->http_status, failure_body(r, why),
                         failure_details(r, why, transport_failure),
                         why == STREAM_OVERFLOW ? add_overloaded : NULL, r);
}

void router_on_no_host(struct router *r)
{
    router_note_status(r, 503);
    answer(r, OUTCOME(NO_HEALTHY), 503, STR("no healthy upstream"), STR_NULL);
}

void router_on_overflow(struct router *r)
{
    router_on_failed(r, STREAM_OVERFLOW, "", false);
}

/* ---- flow control and the end ---- */

static void on_downstream_watermark(struct http_filter *f, bool above)
{
    struct router *r = state_of(f);
    r->downstream_above += above ? 1 : -1;
    if (r->tunnel)
        tunnel_pause(r, above);
    else if (r->attempt.stream)
        stream_pause(r->attempt.stream, above);
    if (r->cluster)
        stat_inc(cluster_stats(r->cluster), above ? STAT_CLUSTER_UPSTREAM_FLOW_PAUSED : STAT_CLUSTER_UPSTREAM_FLOW_RESUMED);
}

/* An attempt may still run when the exchange ends from the other side: what it sent belongs into the log. */
static void on_complete(struct http_filter *f)
{
    try_take_totals(state_of(f));
}

static void on_destroy(struct http_filter *f)
{
    struct router *r = state_of(f);
    r->done = true;
    timer_clear(&r->timer);
    if (r->tunnel)
        tunnel_abandon(r);
    if (r->cluster)
        retry_over(r, false);
    try_abandon(r);
    buf_fini(&r->pending);
    buf_fini(&r->replay);
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
};
