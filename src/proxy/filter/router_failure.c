/* SPDX-License-Identifier: Apache-2.0
 *
 * The router's bad endings: attempts that fail, hosts that aren't there, timeouts. Each is a row of the outcome
 * table; where nothing else can come any more (no retry, no other attempt on its way) it becomes an answer of our
 * own, or a reset where the response has begun.
 */
#include "proxy/filter/router_priv.h"

#include "base/log.h"

/* ---- answers of our own ---- */

/* What every answer of the router carries: the route's response headers, the count of attempts, and whether we are full. */
void router_edit_answer(struct headers *h, void *arg)
{
    struct router *r = arg;
    struct arena *a = exchange_arena(r->x);
    if (r->answer_is_overload && !r->config->suppress_envoy_headers)
        headers_add_id_ref(h, HDR_ENVOY_OVERLOADED, STR("true"));
    if (!r->route)
        return;
    if (r->is_upstream_ours && r->route->include_attempt_count_in_response)
        headers_set_id_ref(h, HDR_ENVOY_ATTEMPT_COUNT, arena_printf(a, "%u", (unsigned)exchange_info(r->x)->attempts));
}

void router_end(struct router *r)
{
    r->done = true;
    timer_clear(&r->timer);
    retry_over(r);
    tries_abandon(r, NULL);
    if (r->final)
        try_abandon(r->final);
}

void router_answer(struct router *r, const struct outcome *o, unsigned status, struct str body, struct str details)
{
    router_end(r);
    exchange_local_reply(r->x, o, status, body, details, router_edit_answer, r);
}

/* ---- words ---- */

/* Why the transport failed is for the log, not for strangers: the body doesn't say it. */
static struct str failure_body(struct router *r, enum stream_reset why)
{
    return arena_printf(exchange_arena(r->x),
                        "upstream connect error or disconnect/reset before headers. %sreset reason: %s",
                        r->is_retry ? "retried and the latest " : "", stream_reset_text(why));
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
static struct str failure_details(struct router *r, enum stream_reset why, struct str transport)
{
    return without_spaces(arena_printf(exchange_arena(r->x), "upstream_reset_before_response_started{%s%s%.*s}",
                                       stream_reset_text(why), transport.n ? "|" : "", STR_ARG(transport)));
}

static bool is_transport_failure(enum stream_reset why)
{
    return why == STREAM_CONNECT_FAILED || why == STREAM_CONNECT_TIMEOUT;
}

const struct outcome *router_outcome_of(enum stream_reset why, bool started)
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

/* ---- attempts that fail ---- */

static bool may_replay(const struct router *r, bool stale)
{
    return stale && !r->body_lost && r->replays < ROUTER_MAX_REPLAYS && !r->timed_out;
}

static void replay(struct upstream_try *t)
{
    struct router *r = t->router;
    r->replays++;
    stat_inc(cluster_stats(r->cluster), STAT_CLUSTER_UPSTREAM_RQ_STALE_REPLAY);
    try_start(r, true, r->keeps_body ? NULL : &t->pending);
}

void router_charge_abort(struct upstream_try *t, unsigned status)
{
    struct router *r = t->router;
    if (exchange_response_has_started(r->x) || r->final) {
        if (t->grpc_result_due && t->host) {
            host_stat_add(t->host, HOST_RQ_ERROR, 1);
            stat_inc(exchange_stats(r->x), STAT_HCM_RQ_RESET_AFTER_DOWNSTREAM);
        }
        return;
    }
    stats_code(r, status, false, t->host);
    if (t->host && status < 500)
        host_stat_add(t->host, HOST_RQ_ERROR, 1);
}

bool router_retry_reset(struct upstream_try *t, enum stream_reset why)
{
    struct router *r = t->router;
    if (r->final || t->retried || exchange_response_has_started(r->x))
        return false;
    switch (retry_for_reset(r, why, t->headers_sent)) {
    case RETRY_YES:
        if (t->host) {
            retry_note_host(t);
            host_stat_add(t->host, HOST_RQ_ERROR, 1);
        }
        return true;
    case RETRY_OVERFLOW:
        exchange_info(r->x)->flags |= FLAG_UO;
        break;
    case RETRY_LIMIT:
        exchange_info(r->x)->flags |= FLAG_URX;
        break;
    case RETRY_NO:
        break;
    }
    return false;
}

void router_on_failed(struct upstream_try *t, enum stream_reset why, const char *transport_failure, bool stale)
{
    struct router *r = t->router;
    struct stream_info *info = exchange_info(r->x);
    bool started = exchange_response_has_started(r->x);
    if (why == STREAM_OVERFLOW && info->host) /* it never came there */
        host_unref(&info->host);
    if (!started && may_replay(r, stale)) {
        replay(t);
        return;
    }
    if (stale)
        stats_report(r, t, HOST_RESET, 0, NULL);
    if (router_retry_reset(t, why))
        return;
    const struct outcome *o = router_outcome_of(why, started);
    r->answer_is_overload = why == STREAM_OVERFLOW;
    router_charge_abort(t, (unsigned)o->http_status);
    if (!started && (tries_await_headers(r) || retry_is_pending(r)))
        return;
    struct str transport = STR_NULL; /* a codec's own words: counted, but no failure of the transport */
    if (is_transport_failure(why) && transport_failure && *transport_failure)
        transport = info->upstream_failure = without_spaces(arena_str(exchange_arena(r->x), str_from(transport_failure)));
    if (started) {
        router_end(r);
        exchange_reset(r->x, o);
        return;
    }
    router_answer(r, o, (unsigned)o->http_status, failure_body(r, why), failure_details(r, why, transport));
}

void router_on_no_host(struct router *r)
{
    stats_code(r, 503, false, NULL);
    router_answer(r, OUTCOME(NO_HEALTHY), 503, STR("no healthy upstream"), STR_NULL);
}

/* The request's memory is used up, by headers or by answers of many attempts. */
void router_on_no_memory(struct router *r)
{
    router_end(r);
    exchange_local_reply(r->x, OUTCOME(INTERNAL), 500, STR_NULL, STR_NULL, NULL, NULL);
}

void router_on_timeout(struct router *r, const struct outcome *o, unsigned status, struct str body)
{
    r->timed_out = true;
    LOG_SELDOM(ROUTER, WARNING, "cluster %.*s: a request was given up: %s", STR_ARG(cluster_spec(r->cluster)->name), o->details);
    if (exchange_response_has_started(r->x)) {
        router_end(r);
        exchange_reset(r->x, o);
        return;
    }
    router_answer(r, o, status, body, STR_NULL);
}
