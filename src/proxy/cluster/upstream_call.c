/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests of the proxy's own: pick a host, pass the breaker, wait in the host's pool, send, hand the response on.
 *
 *   waiting (pool) -> streaming -> over
 *        ^---- stale connection: replay ----'
 *
 * Invariants: the breaker's slot, the host and the stream go back in `let_go`, once; a handler hears nothing from inside
 * one of this file's functions that it called itself (failures met there are told at the turn's end), nothing after its
 * on_done, nothing after cancel. Nobody retries here: a request that surely reached no one (a pooled connection that
 * died before a byte was acknowledged) goes out again, anything else fails and is the caller's to repeat.
 * Thread: the caller's, workers or main.
 */
#include "proxy/cluster/upstream_call.h"

#include "base/mem.h"
#include "proxy/cluster/cluster_priv.h"
#include "proxy/outcome.h"

#define CALL_MAGIC 0x55434c4cu
#define CALL_ARENA_BYTES ((size_t)1 << 20) /* headers both ways; the codec bounds those received far below */
#define CALL_BODY_BYTES ((uint64_t)1 << 20)
#define CALL_REPLAYS 2

struct upstream_call {
    uint32_t magic;
    struct http_sink sink;
    struct cluster *cluster;           /* referenced */
    struct cluster_worker *here;
    struct host *host;                 /* referenced */
    struct http_pool_request *waiting;
    struct http_stream *stream;
    const struct upstream_call_handler *handler;
    void *user;
    struct arena arena;
    struct headers request, trailers;
    struct buf pending;                /* body that has no stream yet */
    struct buf replay;                 /* what a reused connection was given, until the response begins */
    uint64_t body_limit_bytes, start_us;
    enum http_protocol protocol;
    uint8_t priority, replays;
    bool request_end, has_trailers;    /* of the caller's side: no more will come */
    bool headers_sent, end_sent;
    bool response_started, response_end, replay_lost;
    bool is_grpc_answer;               /* its trailers say how it went */
    bool above, told_above;
    bool is_over;
    uint8_t inside;                    /* the caller is in one of our functions */
    enum stream_reset failure;         /* to be told at the turn's end */
    const char *failure_details;
    struct timer timeout;
    struct turn_task later;
    struct deferred deferred;
};

static struct upstream_call *of_sink(struct http_sink *s)
{
    return CONTAINER_OF(s, upstream_call, sink);
}

/* ---- the end ---- */

static void destroy(struct deferred *d)
{
    struct upstream_call *c = CONTAINER_OF(d, upstream_call, deferred);
    buf_fini(&c->pending);
    buf_fini(&c->replay);
    arena_fini(&c->arena);
    view_release(&c->here);
    cluster_unref(&c->cluster);
    c->magic = 0;
    mem_free(c);
}

/* Rows "completed, 1xx … 5xx" stand one after the other. */
static void count_code(struct stat_scope *s, uint32_t completed_row, const char *family, unsigned status)
{
    stat_inc(s, completed_row);
    if (status >= 100 && status < 600)
        stat_inc(s, completed_row + status / 100);
    stat_code(s, family, status);
}

static bool is_internal(const struct upstream_call *c)
{
    return str_eq(headers_get_id(&c->request, HDR_ENVOY_INTERNAL), STR("true"));
}

static void note_status(struct upstream_call *c, unsigned status)
{
    struct stat_scope *s = cluster_stats(c->cluster);
    count_code(s, STAT_CLUSTER_UPSTREAM_RQ_COMPLETED, "upstream_rq", status);
    if (is_internal(c))
        count_code(s, STAT_CLUSTER_INTERNAL_RQ_COMPLETED, "internal.upstream_rq", status);
    else
        count_code(s, STAT_CLUSTER_EXTERNAL_RQ_COMPLETED, "external.upstream_rq", status);
    if (c->host)
        host_stat_add(c->host, status >= 500 ? HOST_RQ_ERROR : HOST_RQ_SUCCESS, 1);
}

static void report(struct upstream_call *c, enum host_result result, unsigned status, const struct headers *h, const struct headers *trailers)
{
    const struct host_report what = {
        .result = result,
        .status = status,
        .duration_us = loop_now_us(c->here->loop) - c->start_us,
        .response = h,
        .trailers = trailers,
    };
    if (c->host)
        cluster_report(c->here, c->host, &what);
}

/* Gives everything back but the memory, which lives to the turn's end. */
static void let_go(struct upstream_call *c)
{
    struct stat_scope *s = cluster_stats(c->cluster);
    c->is_over = true;
    timer_clear(&c->timeout);
    turn_task_cancel(&c->later);
    if (c->waiting) {
        stat_inc(s, STAT_CLUSTER_UPSTREAM_RQ_CANCELLED);
        http_pool_cancel(c->waiting);
        c->waiting = NULL;
    }
    struct http_stream *stream = c->stream;
    c->stream = NULL;
    if (stream) {
        stream->sink = &http_deaf_sink;
        if (!c->response_end || !c->end_sent) { /* else the codec closes it itself */
            stat_inc(s, STAT_CLUSTER_UPSTREAM_RQ_TX_RESET);
            stream_reset(stream, STREAM_LOCAL);
        }
    }
    if (c->host)
        host_unref(&c->host);
    loop_defer(c->here->loop, &c->deferred, destroy);
}

/* What the router would have answered, for the cluster's statistics by code. */
static unsigned status_of(enum stream_reset why)
{
    return why == STREAM_PROTOCOL_ERROR ? 502 : why == STREAM_TIMEOUT ? 504 : 503;
}

static void fail(struct upstream_call *c, enum stream_reset why, const char *details)
{
    if (c->failure != STREAM_OK) /* about to be told */
        return;
    if (!c->response_started)
        note_status(c, status_of(why));
    if (c->inside) {
        c->failure = why;
        c->failure_details = arena_str(&c->arena, str_from(details)).p;
        loop_at_turn_end(c->here->loop, &c->later);
        return;
    }
    let_go(c);
    if (c->handler->on_done)
        c->handler->on_done(c->user, why, details ? details : "");
}

static void succeed(struct upstream_call *c)
{
    let_go(c);
    if (c->handler->on_done)
        c->handler->on_done(c->user, STREAM_OK, "");
}

/* The answer is whole; before its last event is told. */
static void note_end(struct upstream_call *c, const struct headers *trailers)
{
    struct stat_scope *s = cluster_stats(c->cluster);
    uint64_t grpc = 0, ms = (loop_now_us(c->here->loop) - c->start_us) / 1000;
    c->response_end = true;
    stat_record(s, STAT_CLUSTER_UPSTREAM_RQ_TIME, ms);
    stat_record(s, is_internal(c) ? STAT_CLUSTER_INTERNAL_RQ_TIME : STAT_CLUSTER_EXTERNAL_RQ_TIME, ms);
    if (!c->is_grpc_answer)
        return;
    if (!trailers || !str_to_u64(headers_get_id(trailers, HDR_GRPC_STATUS), &grpc))
        grpc = 2; /* UNKNOWN */
    report(c, HOST_RESPONDED, http_status_of_grpc(grpc <= 16 ? (int)grpc : 2), NULL, trailers);
}

static void tell_later(struct turn_task *t)
{
    struct upstream_call *c = CONTAINER_OF(t, upstream_call, later);
    if (c->failure != STREAM_OK) {
        const char *details = c->failure_details;
        let_go(c);
        if (c->handler->on_done)
            c->handler->on_done(c->user, c->failure, details ? details : "");
        return;
    }
    if (c->above != c->told_above) {
        c->told_above = c->above;
        if (c->handler->on_watermark)
            c->handler->on_watermark(c->user, c->above);
    }
}

static void on_timeout(struct timer *t)
{
    struct upstream_call *c = CONTAINER_OF(t, upstream_call, timeout);
    stat_inc(cluster_stats(c->cluster), STAT_CLUSTER_UPSTREAM_RQ_TIMEOUT);
    if (c->host)
        host_stat_add(c->host, HOST_RQ_TIMEOUT, 1);
    report(c, HOST_TIMED_OUT, 504, NULL, NULL);
    fail(c, STREAM_TIMEOUT, "upstream request timeout");
}

/* ---- sending ---- */

static void keep_for_replay(struct upstream_call *c)
{
    if (c->replay_lost || c->response_started || !c->pending.len)
        return;
    if (!c->stream->reused_connection || c->replay.len + c->pending.len > c->body_limit_bytes) {
        c->replay_lost = true;
        buf_drain(&c->replay, c->replay.len);
        return;
    }
    buf_share(&c->replay, &c->pending, c->pending.len);
}

static void send_more(struct upstream_call *c)
{
    if (!c->stream || !c->headers_sent || c->end_sent)
        return;
    bool end = c->request_end && !c->has_trailers;
    if (c->pending.len || end) {
        keep_for_replay(c);
        c->end_sent = end;
        stream_send_data(c->stream, &c->pending, end);
    }
    if (c->stream && c->has_trailers && !c->end_sent) {
        c->end_sent = true;
        stream_send_trailers(c->stream, &c->trailers);
    }
}

static void on_stream(void *user, struct http_stream *s, struct http_client_conn *conn)
{
    (void)conn;
    struct upstream_call *c = user;
    c->waiting = NULL;
    c->stream = s;
    report(c, HOST_CONNECTED, 0, NULL, NULL);
    c->end_sent = c->request_end && !c->pending.len && !c->has_trailers;
    c->headers_sent = true;
    c->inside++;
    stream_send_headers(s, &c->request, c->end_sent);
    send_more(c);
    c->inside--;
}

static void on_pool_failed(void *user, enum stream_reset why, const char *transport_failure, struct conn *failed)
{
    (void)failed;
    struct upstream_call *c = user;
    c->waiting = NULL;
    if (why == STREAM_CONNECT_FAILED || why == STREAM_CONNECT_TIMEOUT)
        report(c, why == STREAM_CONNECT_TIMEOUT ? HOST_CONNECT_TIMEOUT : HOST_CONNECT_FAILED, 0, NULL, NULL);
    fail(c, why, transport_failure);
}

static const struct http_pool_user pool_user = {on_stream, on_pool_failed};

/* ---- receiving ---- */

static void on_headers(struct http_sink *sink, struct headers *h, bool end)
{
    struct upstream_call *c = of_sink(sink);
    uint64_t status = 0;
    str_to_u64(headers_get_id(h, HDR_STATUS), &status);
    c->response_started = true;
    buf_drain(&c->replay, c->replay.len);
    c->is_grpc_answer = status == 200 && str_has_prefix(headers_get_id(h, HDR_CONTENT_TYPE), STR("application/grpc"));
    note_status(c, (unsigned)status);
    if (!c->is_grpc_answer)
        report(c, HOST_RESPONDED, (unsigned)status, h, NULL);
    if (end)
        note_end(c, h);
    if (c->handler->on_headers)
        c->handler->on_headers(c->user, h, end);
    if (end && !c->is_over)
        succeed(c);
}

static void on_informational(struct http_sink *sink, struct headers *h)
{
    (void)sink, (void)h;
}

static void on_data(struct http_sink *sink, struct buf *data, bool end)
{
    struct upstream_call *c = of_sink(sink);
    if (end)
        note_end(c, NULL);
    if (c->handler->on_data)
        c->handler->on_data(c->user, data, end);
    buf_drain(data, data->len);
    if (end && !c->is_over)
        succeed(c);
}

static void on_trailers(struct http_sink *sink, struct headers *h)
{
    struct upstream_call *c = of_sink(sink);
    note_end(c, h);
    if (c->handler->on_trailers)
        c->handler->on_trailers(c->user, h);
    if (!c->is_over)
        succeed(c);
}

static void start_attempt(struct upstream_call *c, bool fresh);

/* A pooled connection that was dead already: it reached nobody. */
static bool may_replay(const struct upstream_call *c, const struct http_stream *s, enum stream_reset why)
{
    if (!s->reused_connection || c->response_started || c->replay_lost || c->replays >= CALL_REPLAYS)
        return false;
    return why == STREAM_REMOTE_REFUSED || (why == STREAM_TERMINATED && s->request_never_arrived);
}

static void replay(struct upstream_call *c)
{
    struct buf again = BUF_INIT;
    c->replays++;
    stat_inc(cluster_stats(c->cluster), STAT_CLUSTER_UPSTREAM_RQ_STALE_REPLAY);
    buf_move(&again, &c->replay);
    buf_move(&again, &c->pending);
    buf_move(&c->pending, &again);
    c->headers_sent = c->end_sent = false;
    start_attempt(c, true);
}

static void on_closed(struct http_sink *sink, enum stream_reset why, const char *details)
{
    struct upstream_call *c = of_sink(sink);
    struct http_stream *s = c->stream;
    c->stream = NULL;
    if (why == STREAM_REMOTE || why == STREAM_REMOTE_REFUSED)
        stat_inc(c->here->cluster->stats, STAT_CLUSTER_UPSTREAM_RQ_RX_RESET);
    if (s && !c->inside && may_replay(c, s, why)) {
        replay(c);
        return;
    }
    report(c, HOST_RESET, 0, NULL, NULL);
    fail(c, why == STREAM_OK ? STREAM_TERMINATED : why, details);
}

static void on_watermark(struct http_sink *sink, bool above)
{
    struct upstream_call *c = of_sink(sink);
    stat_inc(cluster_stats(c->cluster), above ? STAT_CLUSTER_UPSTREAM_FLOW_BACKED_UP : STAT_CLUSTER_UPSTREAM_FLOW_DRAINED);
    c->above = above;
    if (c->handler->on_watermark)
        loop_at_turn_end(c->here->loop, &c->later);
}

static const struct http_sink_ops sink_ops = {on_headers, on_informational, on_data, on_trailers, on_closed, on_watermark};

/* ---- starting ---- */

static void start_attempt(struct upstream_call *c, bool fresh)
{
    struct pool_key key = {
        .downstream_protocol = c->protocol,
        .priority = c->priority,
        .authority = headers_get_id(&c->request, HDR_AUTHORITY),
    };
    struct http_pool *pool = cluster_http_pool(c->here, c->host, &key);
    if (!pool) {
        fail(c, STREAM_OVERFLOW, "");
        return;
    }
    struct http_pool_request *waiting = http_pool_request(pool, fresh, &c->sink, &c->arena, &pool_user, c);
    if (waiting)
        c->waiting = waiting;
}

static bool pick_host(struct upstream_call *c, const struct upstream_call_opts *o)
{
    struct lb_context cx = {0};
    if (o->lb)
        cx = *o->lb;
    if (!cx.request)
        cx.request = &c->request;
    if (!cx.rng)
        cx.rng = loop_rng(c->here->loop);
    c->host = cluster_pick(c->here, &cx);
    view_hold(cx.owner); /* another, where the cluster is made of clusters */
    view_release(&c->here);
    c->here = cx.owner;
    return c->host != NULL;
}

/* The reason for not starting; STREAM_OK when all is well. */
static enum stream_reset admit(struct upstream_call *c, const struct upstream_call_opts *o)
{
    if (c->pending.len > c->body_limit_bytes || c->arena.overflowed)
        return STREAM_OVERFLOW;
    if (!pick_host(c, o)) {
        note_status(c, 503);
        return STREAM_CONNECT_FAILED;
    }
    c->inside++;
    start_attempt(c, false);
    c->inside--;
    return c->failure;
}

struct upstream_call *upstream_call_start(const struct upstream_call_opts *o, const struct headers *h, struct buf *body, bool end,
                                          const struct upstream_call_handler *handler, void *user, enum stream_reset *why)
{
    struct upstream_call *c = NEW(upstream_call);
    c->magic = CALL_MAGIC;
    c->sink.ops = &sink_ops;
    c->cluster = cluster_ref(o->cluster);
    c->here = view_hold(cluster_here(o->cluster));
    c->handler = handler;
    c->user = user;
    c->body_limit_bytes = o->body_limit_bytes ? o->body_limit_bytes : CALL_BODY_BYTES;
    c->priority = (uint8_t)o->priority;
    c->protocol = o->protocol == HTTP_10 ? HTTP_11 : o->protocol;
    c->start_us = loop_now_us(c->here->loop);
    c->request_end = end;
    c->later.run = tell_later;
    timer_init(&c->timeout, c->here->loop, on_timeout);
    arena_init(&c->arena, CALL_ARENA_BYTES);
    headers_init(&c->request, &c->arena);
    headers_init(&c->trailers, &c->arena);
    headers_copy(&c->request, h, &c->arena);
    if (body)
        buf_move(&c->pending, body);
    *why = admit(c, o);
    if (*why != STREAM_OK) {
        let_go(c);
        return NULL;
    }
    if (o->timeout_ms)
        timer_set_ms(&c->timeout, o->timeout_ms);
    return c;
}

/* ---- more of it ---- */

size_t upstream_call_queued(const struct upstream_call *c)
{
    return c->pending.len + (c->stream && c->headers_sent ? c->stream->ops->queued(c->stream) : 0);
}

bool upstream_call_has_room(const struct upstream_call *c, size_t n)
{
    return upstream_call_queued(c) + n <= c->body_limit_bytes;
}

static bool is_past_sending(const struct upstream_call *c)
{
    return c->is_over || c->failure != STREAM_OK || c->request_end;
}

static void flush(struct upstream_call *c)
{
    c->inside++;
    send_more(c);
    c->inside--;
}

bool upstream_call_send(struct upstream_call *c, struct buf *data, bool end)
{
    DCHECK(c->magic == CALL_MAGIC);
    if (is_past_sending(c))
        return false;
    if (!upstream_call_has_room(c, data->len)) {
        c->inside++;
        fail(c, STREAM_OVERFLOW, "body over the call's limit");
        c->inside--;
        return false;
    }
    buf_move(&c->pending, data);
    c->request_end = end;
    flush(c);
    return c->failure == STREAM_OK;
}

bool upstream_call_send_trailers(struct upstream_call *c, const struct headers *h)
{
    DCHECK(c->magic == CALL_MAGIC);
    if (is_past_sending(c) || !headers_copy(&c->trailers, h, &c->arena))
        return false;
    c->request_end = c->has_trailers = true;
    flush(c);
    return c->failure == STREAM_OK;
}

void upstream_call_pause(struct upstream_call *c, bool on)
{
    if (c->stream)
        stream_pause(c->stream, on);
}

void upstream_call_cancel(struct upstream_call **call)
{
    struct upstream_call *c = *call;
    *call = NULL;
    if (!c)
        return;
    DCHECK(c->magic == CALL_MAGIC);
    if (!c->is_over)
        let_go(c);
}

struct loop *upstream_call_loop(const struct upstream_call *c)
{
    return c->here->loop;
}

struct host *upstream_call_host(const struct upstream_call *c)
{
    return c->host;
}
