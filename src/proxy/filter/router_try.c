/* SPDX-License-Identifier: Apache-2.0
 *
 * One attempt of the router, concrete and endpoint layers: pick a host, pass the circuit breaker,
 * wait in the host's pool, send the request on the stream that comes, report what comes back.
 *
 *   idle -> waiting (pool) -> streaming -> idle
 *
 * Invariant: exactly one of router_on_failed / a complete response / try_abandon ends an attempt, and
 * the breaker's slot and the host reference go back at that moment.
 */
#include "base/check.h"
#include "proxy/filter/router_priv.h"

static struct upstream_try *of_sink(struct http_sink *sink)
{
    return CONTAINER_OF(sink, upstream_try, sink);
}

/* Takes the events of a stream whose exchange is over but which the codec hasn't closed yet. */
static void ignore_headers(struct http_sink *s, struct headers *h, bool end)
{
    (void)s, (void)h, (void)end;
}
static void ignore_one(struct http_sink *s, struct headers *h)
{
    (void)s, (void)h;
}
static void ignore_data(struct http_sink *s, struct buf *data, bool end)
{
    (void)s, (void)end;
    buf_drain(data, data->len);
}
static void ignore_closed(struct http_sink *s, enum stream_reset why, const char *details)
{
    (void)s, (void)why, (void)details;
}
static void ignore_watermark(struct http_sink *s, bool above)
{
    (void)s, (void)above;
}
static const struct http_sink_ops ignore_ops = {ignore_headers, ignore_one,    ignore_data,
                                                ignore_one,     ignore_closed, ignore_watermark};
static struct http_sink ignore_sink = {&ignore_ops};

static void release(struct upstream_try *t)
{
    struct router *r = t->router;
    if (t->holds_request_slot) {
        t->holds_request_slot = false;
        cluster_breaker_release(r->cluster, r->route->priority, BREAKER_REQUESTS);
    }
    if (t->host)
        host_unref(&t->host);
}

/* ---- sending ---- */

static void keep_for_replay(struct router *r)
{
    struct upstream_try *t = &r->attempt;
    if (r->replay_lost || t->response_started || !r->pending.len)
        return;
    bool may_be_needed = t->stream->reused_connection || r->route->retry;
    if (!may_be_needed || r->replay.len + r->pending.len > exchange_body_limit_bytes(r->x)) {
        r->replay_lost = true;
        buf_drain(&r->replay, r->replay.len);
        return;
    }
    buf_share(&r->replay, &r->pending, r->pending.len);
}

static void resume_downstream(struct router *r)
{
    if (r->paused_downstream) {
        r->paused_downstream = false;
        exchange_pause_request(r->x, false);
    }
}

void try_send_body(struct router *r)
{
    struct upstream_try *t = &r->attempt;
    if (!t->stream || !t->headers_sent || t->end_sent)
        return;
    bool end = r->request_end && !r->trailers;
    if (r->pending.len || end) {
        keep_for_replay(r);
        t->end_sent = end;
        stream_send_data(t->stream, &r->pending, end);
        if (r->done || !t->stream)
            return;
        resume_downstream(r);
    }
    if (r->trailers && r->request_end && !t->end_sent) {
        t->end_sent = true;
        stream_send_trailers(t->stream, r->trailers);
    }
    if (t->end_sent && !r->done)
        exchange_info(r->x)->upstream_last_tx_us = loop_now_us(exchange_loop(r->x));
}

static void note_connection(struct router *r, struct http_stream *s)
{
    struct stream_info *info = exchange_info(r->x);
    uint64_t now = loop_now_us(exchange_loop(r->x));
    info->pool_ready_us = now - r->attempt.start_us;
    info->upstream_first_tx_us = now;
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

static void on_stream(void *user, struct http_stream *s, struct http_client_conn *c)
{
    (void)c;
    struct router *r = user;
    struct upstream_try *t = &r->attempt;
    t->waiting = NULL;
    t->stream = s;
    note_connection(r, s);
    for (uint32_t i = 0; i < r->downstream_above; i++)
        stream_pause(s, true);
    bool end = r->request_end && !r->pending.len && !r->trailers;
    t->headers_sent = true;
    t->end_sent = end;
    stream_send_headers(s, exchange_request_headers(r->x), end);
    if (end && !r->done)
        exchange_info(r->x)->upstream_last_tx_us = loop_now_us(exchange_loop(r->x));
    if (!r->done)
        try_send_body(r);
}

static void on_pool_failed(void *user, enum stream_reset why, const char *transport_failure, struct conn *failed)
{
    (void)failed;
    struct router *r = user;
    struct upstream_try *t = &r->attempt;
    t->waiting = NULL;
    exchange_info(r->x)->pool_ready_us = loop_now_us(exchange_loop(r->x)) - t->start_us;
    router_on_failed(r, why, transport_failure, false);
    release(t);
}

static const struct http_pool_user pool_user = {on_stream, on_pool_failed};

/* ---- receiving ---- */

static void on_headers(struct http_sink *sink, struct headers *h, bool end)
{
    struct upstream_try *t = of_sink(sink);
    struct router *r = t->router;
    t->response_started = true;
    t->response_end = end;
    router_on_headers(r, h, end);
}

static void on_informational(struct http_sink *sink, struct headers *h)
{
    router_on_informational(of_sink(sink)->router, h);
}

static void on_data(struct http_sink *sink, struct buf *data, bool end)
{
    struct upstream_try *t = of_sink(sink);
    t->response_end = end;
    router_on_data(t->router, data, end);
    buf_drain(data, data->len);
}

static void on_trailers(struct http_sink *sink, struct headers *h)
{
    struct upstream_try *t = of_sink(sink);
    t->response_end = true;
    router_on_trailers(t->router, h);
}

static void take_totals(struct router *r, const struct http_stream *s)
{
    struct stream_info *info = exchange_info(r->x);
    info->up_header_bytes_received = s->header_bytes_received;
    info->up_header_bytes_sent = s->header_bytes_sent;
    info->up_wire_bytes_received = s->wire_bytes_received;
    info->up_wire_bytes_sent = s->wire_bytes_sent;
}

void try_take_totals(struct router *r)
{
    if (r->attempt.stream)
        take_totals(r, r->attempt.stream);
}

static void on_closed(struct http_sink *sink, enum stream_reset why, const char *details)
{
    struct upstream_try *t = of_sink(sink);
    struct router *r = t->router;
    struct http_stream *s = t->stream;
    bool stale = s->reused_connection && !t->response_started &&
                 (why == STREAM_TERMINATED || why == STREAM_REMOTE_REFUSED);
    t->stream = NULL;
    take_totals(r, s);
    if (why == STREAM_OK || t->response_end) {
        release(t);
        return;
    }
    exchange_info(r->x)->upstream_tls = NULL;
    if (why == STREAM_REMOTE || why == STREAM_REMOTE_REFUSED)
        stat_inc(cluster_stats(r->cluster), STAT_CLUSTER_UPSTREAM_RQ_RX_RESET);
    struct host *host = t->host;
    t->host = NULL;
    if (t->holds_request_slot) {
        t->holds_request_slot = false;
        cluster_breaker_release(r->cluster, r->route->priority, BREAKER_REQUESTS);
    }
    if (!r->done)
        router_on_failed(r, why, details, stale && (r->is_replayable || s->request_never_arrived || why == STREAM_REMOTE_REFUSED));
    host_unref(&host);
}

static void on_watermark(struct http_sink *sink, bool above)
{
    struct router *r = of_sink(sink)->router;
    stat_inc(cluster_stats(r->cluster),
             above ? STAT_CLUSTER_UPSTREAM_FLOW_BACKED_UP : STAT_CLUSTER_UPSTREAM_FLOW_DRAINED);
    exchange_pause_request(r->x, above);
}

static const struct http_sink_ops sink_ops = {on_headers, on_informational, on_data, on_trailers, on_closed, on_watermark};

/* ---- starting and leaving ---- */

static struct host *pick(struct router *r)
{
    const struct stream_info *info = exchange_info(r->x);
    struct lb_context cx = {
        .request = exchange_request_headers(r->x),
        .downstream_remote = info->downstream_remote,
        .downstream_local = info->downstream_local,
        .rng = loop_rng(exchange_loop(r->x)),
    };
    return cluster_pick(r->here, &cx);
}

void try_start(struct router *r, bool fresh)
{
    struct upstream_try *t = &r->attempt;
    struct stream_info *info = exchange_info(r->x);
    *t = (struct upstream_try){.sink = {&sink_ops}, .router = r, .start_us = loop_now_us(exchange_loop(r->x))};
    info->attempts++;
    t->host = pick(r);
    if (!t->host) {
        router_on_no_host(r);
        return;
    }
    if (info->host)
        host_unref(&info->host);
    info->host = host_ref(t->host);
    if (!cluster_breaker_acquire(r->cluster, r->route->priority, BREAKER_REQUESTS)) {
        stat_inc(cluster_stats(r->cluster), STAT_CLUSTER_UPSTREAM_RQ_ACTIVE_OVERFLOW);
        router_on_overflow(r);
        release(t);
        return;
    }
    t->holds_request_slot = true;
    struct pool_key key = {
        .downstream_protocol = info->protocol,
        .priority = r->route->priority,
        .authority = headers_get_id(exchange_request_headers(r->x), HDR_AUTHORITY),
        .downstream = info->downstream,
    };
    struct http_pool *pool = cluster_http_pool(r->here, t->host, &key);
    if (!pool) {
        router_on_overflow(r);
        release(t);
        return;
    }
    struct http_pool_request *waiting = http_pool_request(pool, fresh, &t->sink, exchange_arena(r->x), &pool_user, r);
    if (waiting)
        t->waiting = waiting;
}

void try_abandon(struct router *r)
{
    struct upstream_try *t = &r->attempt;
    if (t->waiting) {
        stat_inc(cluster_stats(r->cluster), STAT_CLUSTER_UPSTREAM_RQ_CANCELLED);
        http_pool_cancel(t->waiting);
        t->waiting = NULL;
    }
    struct http_stream *s = t->stream;
    t->stream = NULL;
    if (s) {
        take_totals(r, s);
        s->sink = &ignore_sink;
        if (!t->response_end || !t->end_sent) {
            stat_inc(cluster_stats(r->cluster), STAT_CLUSTER_UPSTREAM_RQ_TX_RESET);
            stream_reset(s, STREAM_LOCAL);
        }
    }
    release(t);
}
