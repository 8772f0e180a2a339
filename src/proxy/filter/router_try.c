/* SPDX-License-Identifier: Apache-2.0
 *
 * One attempt of the router, concrete and endpoint layers: pick a host, pass the circuit breaker,
 * wait in the host's pool, send the request on the stream that comes, report what comes back.
 *
 *   idle -> waiting (pool) -> streaming -> over
 *
 * Invariants: exactly one of router_on_failed / a complete response / try_abandon ends an attempt; it leaves the
 * router's list first, and the host reference goes back at that moment (the breaker's slot with the stream: it is the pool's). An attempt's memory is the
 * exchange's and isn't used again: whoever is on the stack may still look at it.
 */
#include "proxy/explain/record.h"
#include "proxy/filter/router_priv.h"
#include "proxy/route/route_stats.h"

static struct upstream_try *of_sink(struct http_sink *sink)
{
    return CONTAINER_OF(sink, upstream_try, sink);
}

/* What connections count is the host's cluster's, what the router counts is the route's: an aggregate parts them. */
static struct stat_scope *stats_of_host(const struct upstream_try *t)
{
    return cluster_stats(cluster_of_view(t->view));
}

void try_record(struct upstream_try *t)
{
    struct exchange *x = t->router->x;
    if (t->recorded || !t->host)
        return;
    t->recorded = true;
    explain_record_attempt(exchange_info(x)->record, t->host, t->status, t->flags, loop_now_us(exchange_loop(x)) - t->start_us);
}

static void release(struct upstream_try *t)
{
    struct router *r = t->router;
    if (exchange_info(r->x)->record)
        try_record(t);
    list_remove(&t->node);
    timeouts_clear(t);
    if (r->config->upstream_log_count && t->host && !t->logged) {
        t->logged = true;
        log_attempt(t, "UpstreamEnd");
    }
    if (t->span)
        trace_attempt_over(t);
    if (t->above) {
        t->above = false;
        exchange_pause_request(r->x, false);
    }
    buf_fini(&t->pending);
}

static void let_go(struct upstream_try *t)
{
    release(t);
    if (t->host)
        host_unref(&t->host);
}

/* ---- sending ---- */

/* Without a policy that keeps the body anyway, only what a reused connection was given is kept: it may have been dead. */
static void keep_for_replay(struct upstream_try *t)
{
    struct router *r = t->router;
    if (r->keeps_body || r->body_lost || t->response_started || !t->pending.len)
        return;
    if (!t->stream->reused_connection || r->body.len + t->pending.len > exchange_body_limit_bytes(r->x)) {
        r->body_lost = true;
        buf_drain(&r->body, r->body.len);
        return;
    }
    buf_share(&r->body, &t->pending, t->pending.len);
}

static void resume_downstream(struct router *r)
{
    if (r->paused_downstream && tries_pending_bytes(r) <= exchange_body_limit_bytes(r->x)) {
        r->paused_downstream = false;
        exchange_pause_request(r->x, false);
    }
}

static void note_last_tx(struct upstream_try *t)
{
    if (t->end_sent && !t->router->done)
        exchange_info(t->router->x)->upstream_last_tx_us = loop_now_us(exchange_loop(t->router->x));
}

void try_send_body(struct upstream_try *t)
{
    struct router *r = t->router;
    struct http_stream *s = t->stream;
    if (!s || !t->headers_sent || t->end_sent)
        return;
    bool end = r->request_end && !r->trailers;
    if (t->pending.len || end) {
        keep_for_replay(t);
        t->end_sent = end;
        timeouts_touch(t);
        stream_send_data(s, &t->pending, end);
        if (r->done || t->stream != s)
            return;
        resume_downstream(r);
    }
    if (r->trailers && r->request_end && !t->end_sent) {
        t->end_sent = true;
        stream_send_trailers(s, r->trailers);
        if (t->stream != s)
            return;
    }
    note_last_tx(t);
}

static struct upstream_try *of_node(struct list *n)
{
    return CONTAINER_OF(n, upstream_try, node);
}

/* Each gets all of it, the last one without sharing. Sending may end attempts, and start others. */
void tries_give_body(struct router *r, struct buf *data)
{
    struct upstream_try *only = r->final;
    if (!only && r->tries.next != &r->tries && r->tries.next == r->tries.prev)
        only = of_node(r->tries.next);
    if (only) {
        buf_move(&only->pending, data);
        try_send_body(only);
        return;
    }
    for (struct list *n = r->tries.next; n != &r->tries; n = n->next)
        buf_share(&of_node(n)->pending, data, data->len);
    buf_drain(data, data->len);
    for (struct list *n = r->tries.next, *next; n != &r->tries && !r->done; n = next) {
        next = n->next;
        try_send_body(of_node(n)); /* one that fails leaves the list; one that replaces it stands at the front */
    }
}

size_t tries_pending_bytes(struct router *r)
{
    size_t most = r->final ? r->final->pending.len : 0;
    for (struct list *n = r->tries.next; n != &r->tries; n = n->next)
        if (of_node(n)->pending.len > most)
            most = of_node(n)->pending.len;
    return most;
}

bool tries_await_headers(struct router *r)
{
    return !list_is_empty(&r->tries);
}

/* ---- the stream ---- */

static void note_connection(struct upstream_try *t)
{
    struct http_stream *s = t->stream;
    struct router *r = t->router;
    struct stream_info *info = exchange_info(r->x);
    info->pool_ready_us = t->first_tx_us - t->start_us;
    info->upstream_first_tx_us = t->first_tx_us;
    info->upstream_has_protocol = true;
    info->upstream_protocol = s->protocol;
    info->upstream_connection_id = conn_id(s->conn);
    info->upstream_connect_us = conn_connect_us(s->conn);
    if (info->has_upstream_addrs) {
        addr_fini(&info->upstream_local);
        addr_fini(&info->upstream_remote);
    }
    addr_copy(&info->upstream_local, conn_local(s->conn));
    addr_copy(&info->upstream_remote, conn_remote(s->conn));
    info->has_upstream_addrs = true;
    info->upstream_tls = conn_tls(s->conn);
}

static void note_host(struct upstream_try *t)
{
    struct stream_info *info = exchange_info(t->router->x);
    if (info->host == t->host)
        return;
    if (info->host)
        host_unref(&info->host);
    info->host = host_ref(t->host);
}

void try_show(struct upstream_try *t)
{
    if (t->host)
        note_host(t);
    if (t->stream && t->stream->conn)
        note_connection(t);
}

static void on_stream(void *user, struct http_stream *s, struct http_client_conn *c)
{
    (void)c;
    struct upstream_try *t = user;
    struct router *r = t->router;
    t->waiting = NULL;
    t->stream = s;
    t->first_tx_us = loop_now_us(exchange_loop(r->x));
    stats_report(r, t, HOST_CONNECTED, 0, NULL);
    note_connection(t);
    stats_row(r, STAT_ROUTE_RQ_TOTAL);
    if (r->config->log_new_streams)
        log_attempt(t, "UpstreamPoolReady");
    bool end = r->request_end && !t->pending.len && !r->trailers;
    t->headers_sent = true;
    t->end_sent = end;
    timeouts_on_stream(t);
    if (exchange_info(r->x)->span)
        trace_inject(t);
    stream_send_headers(s, exchange_request_headers(r->x), end);
    if (r->done || t->stream != s)
        return;
    note_last_tx(t);
    try_send_body(t);
}

static void on_pool_failed(void *user, enum stream_reset why, const char *transport_failure, struct conn *failed)
{
    (void)failed;
    struct upstream_try *t = user;
    struct router *r = t->router;
    t->waiting = NULL;
    exchange_info(r->x)->pool_ready_us = loop_now_us(exchange_loop(r->x)) - t->start_us;
    if (why == STREAM_CONNECT_FAILED || why == STREAM_CONNECT_TIMEOUT)
        stats_report(r, t, why == STREAM_CONNECT_TIMEOUT ? HOST_CONNECT_TIMEOUT : HOST_CONNECT_FAILED, 0, NULL);
    struct buf left = BUF_INIT;
    buf_move(&left, &t->pending);
    stats_track_attempt(t, NULL);
    t->flags |= router_outcome_of(why, false)->flag;
    if (t->span)
        trace_attempt_failed(t, stream_reset_text(why));
    release(t);
    buf_move(&t->pending, &left); /* a replay takes it along */
    router_on_failed(t, why, transport_failure, false);
    let_go(t);
}

static const struct http_pool_user pool_user = {on_stream, on_pool_failed};

/* ---- receiving ---- */

static void on_headers(struct http_sink *sink, struct headers *h, bool end)
{
    struct upstream_try *t = of_sink(sink);
    t->response_started = true;
    t->response_end = end;
    t->response = h;
    timeouts_touch(t);
    stats_track_answer(t, h);
    router_on_headers(t, h, end);
}

static void on_informational(struct http_sink *sink, struct headers *h)
{
    router_on_informational(of_sink(sink), h);
}

static void on_data(struct http_sink *sink, struct buf *data, bool end)
{
    struct upstream_try *t = of_sink(sink);
    t->response_end = end;
    timeouts_touch(t);
    router_on_data(t, data, end);
    buf_drain(data, data->len);
}

static void on_trailers(struct http_sink *sink, struct headers *h)
{
    struct upstream_try *t = of_sink(sink);
    t->response_end = true;
    t->trailers = h;
    router_on_trailers(t, h);
}

static void take_totals(struct router *r, const struct http_stream *s)
{
    struct stream_info *info = exchange_info(r->x);
    info->up_header_bytes_received = s->header_bytes_received;
    info->up_header_bytes_sent = s->header_bytes_sent;
    info->up_wire_bytes_received = s->wire_bytes_received;
    info->up_wire_bytes_sent = s->wire_bytes_sent;
}

void try_take_totals(struct upstream_try *t)
{
    if (t->stream)
        take_totals(t->router, t->stream);
}

static void on_closed(struct http_sink *sink, enum stream_reset why, const char *details)
{
    struct upstream_try *t = of_sink(sink);
    struct router *r = t->router;
    struct http_stream *s = t->stream;
    bool stale = s->reused_connection && !t->response_started &&
                 (why == STREAM_TERMINATED || why == STREAM_REMOTE_REFUSED);
    t->stream = NULL;
    stats_track_attempt(t, s);
    if (!r->final || r->final == t)
        take_totals(r, s);
    if (why == STREAM_OK || t->response_end) {
        let_go(t);
        return;
    }
    exchange_info(r->x)->upstream_tls = NULL;
    if (why == STREAM_REMOTE || why == STREAM_REMOTE_REFUSED)
        stat_inc(stats_of_host(t), STAT_CLUSTER_UPSTREAM_RQ_RX_RESET);
    if (!stale)
        stats_report(r, t, HOST_RESET, 0, NULL);
    struct buf left = BUF_INIT;
    buf_move(&left, &t->pending);
    t->flags |= router_outcome_of(why, t->response_started)->flag;
    if (t->span)
        trace_attempt_failed(t, stream_reset_text(why));
    release(t);
    buf_move(&t->pending, &left);
    if (!r->done)
        router_on_failed(t, why, details, stale && (r->is_replayable || s->request_never_arrived || why == STREAM_REMOTE_REFUSED));
    let_go(t);
}

static void on_watermark(struct http_sink *sink, bool above)
{
    struct upstream_try *t = of_sink(sink);
    struct router *r = t->router;
    stat_inc(cluster_stats(r->cluster),
             above ? STAT_CLUSTER_UPSTREAM_FLOW_BACKED_UP : STAT_CLUSTER_UPSTREAM_FLOW_DRAINED);
    if (t->above != above) {
        t->above = above;
        exchange_pause_request(r->x, above);
    }
}

static const struct http_sink_ops sink_ops = {on_headers, on_informational, on_data, on_trailers, on_closed, on_watermark};

/* ---- starting and leaving ---- */

static void add_criteria(struct metadata *to, struct arena *a, const struct metadata *from)
{
    const struct meta_value *v = metadata_find(from, STR("envoy.lb"), NULL, 0);
    for (uint32_t i = 0; v && v->kind == META_STRUCT && i < v->u.fields.count; i++)
        metadata_set(to, a, STR("envoy.lb"), v->u.fields.items[i].name, &v->u.fields.items[i].value);
}

/* What the endpoint's subset must match: the route's, its weighted cluster's over it, and what filters said over both. */
static const struct metadata *subset_criteria(struct router *r, const struct stream_info *info)
{
    const struct metadata *of_route = r->decision->route ? r->decision->route->metadata_match : NULL;
    const struct metadata *of_weighted = r->decision->weighted ? r->decision->weighted->metadata_match : NULL;
    bool has_own = metadata_find(&info->metadata, STR("envoy.lb"), NULL, 0) != NULL;
    if (!has_own && (!of_route || !of_weighted))
        return of_route ? of_route : of_weighted;
    struct metadata *merged = arena_zalloc(exchange_arena(r->x), sizeof *merged);
    if (!merged)
        return of_route;
    add_criteria(merged, exchange_arena(r->x), of_route);
    add_criteria(merged, exchange_arena(r->x), of_weighted);
    add_criteria(merged, exchange_arena(r->x), &info->metadata);
    return merged;
}

bool try_pick(struct upstream_try *t)
{
    struct router *r = t->router;
    const struct stream_info *info = exchange_info(r->x);
    struct lb_context cx = {
        .metadata_match = subset_criteria(r, info),
        .dynamic = &info->metadata,
        .override_host = info->override_host,
        .override_host_strict = info->override_host_strict,
        .request = exchange_request_headers(r->x),
        .downstream_remote = info->downstream_remote,
        .downstream_local = info->downstream_local,
        .local_is_restored = info->local_is_restored,
        .rng = loop_rng(exchange_loop(r->x)),
        .has_hash = r->has_hash,
        .hash = r->hash,
    };
    cluster_note_destination(r->cluster, &cx, &info->filter_state, STR_NULL);
    if (r->is_retry)
        retry_steer(r, &cx);
    t->host = cluster_pick(r->here, &cx);
    view_release(&t->view);
    t->view = view_hold(cx.owner);
    t->priority = cx.priority;
    return t->host != NULL;
}

static struct upstream_try *try_new(struct router *r, struct buf *left)
{
    struct upstream_try *t = r->first.router ? arena_zalloc(exchange_arena(r->x), sizeof(*t)) : &r->first;
    if (!t) {
        router_on_no_memory(r);
        return NULL;
    }
    t->sink.ops = &sink_ops;
    t->router = r;
    t->start_us = loop_now_us(exchange_loop(r->x));
    list_push_front(&r->tries, &t->node);
    t->next = r->all_tries;
    r->all_tries = t;
    if (r->keeps_body)
        buf_share(&t->pending, &r->body, r->body.len);
    else
        buf_move(&t->pending, &r->body);
    if (left)
        buf_move(&t->pending, left);
    return t;
}

void try_start(struct router *r, bool fresh, struct buf *left)
{
    struct stream_info *info = exchange_info(r->x);
    struct upstream_try *t = try_new(r, left);
    if (!t)
        return;
    if (!try_pick(t)) {
        let_go(t);
        router_on_no_host(r);
        return;
    }
    note_host(t);
    if (info->span)
        trace_attempt(t);
    struct pool_key key = {
        .downstream_protocol = info->protocol,
        .priority = r->route->priority,
        .authority = headers_get_id(exchange_request_headers(r->x), HDR_AUTHORITY),
        .alpn = info->upstream_alpn,
        .alpn_count = info->upstream_alpn_count,
        .downstream = info->downstream,
        .source = info->original_source,
    };
    struct http_pool *pool = cluster_http_pool(t->view, t->host, &key);
    if (!pool) { /* too many pools: Envoy has no host for it then */
        let_go(t);
        router_on_no_host(r);
        return;
    }
    struct http_pool_request *waiting = http_pool_request(pool, fresh, &t->sink, exchange_arena(r->x), &pool_user, t);
    if (waiting)
        t->waiting = waiting;
}

void try_abandon(struct upstream_try *t)
{
    struct router *r = t->router;
    if (t->waiting) {
        stat_inc(stats_of_host(t), STAT_CLUSTER_UPSTREAM_RQ_CANCELLED);
        http_pool_cancel(t->waiting);
        t->waiting = NULL;
    }
    struct http_stream *s = t->stream;
    t->stream = NULL;
    if (s)
        stats_track_attempt(t, s);
    if (t->span)
        trace_attempt_cancelled(t);
    let_go(t);
    if (!s)
        return;
    if (!r->final || r->final == t)
        take_totals(r, s);
    s->sink = &http_deaf_sink;
    if (!t->response_end || !t->end_sent) {
        stat_inc(stats_of_host(t), STAT_CLUSTER_UPSTREAM_RQ_TX_RESET);
        stream_reset(s, STREAM_LOCAL);
    }
}

/* Statistics of a try that is over may still be counted, until the request is. */
void tries_leave(struct router *r)
{
    for (struct upstream_try *t = r->all_tries; t; t = t->next)
        view_release(&t->view);
}

void tries_abandon(struct router *r, const struct upstream_try *but)
{
    for (struct list *n = r->tries.next, *next; n != &r->tries; n = next) {
        next = n->next;
        if (of_node(n) != but)
            try_abandon(of_node(n));
    }
}
