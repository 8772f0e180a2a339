/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of one exchange: born with a request's head, fed by the downstream stream's events,
 * ended by the stream's on_closed, which every exchange sees exactly once. There access logs are
 * written and statistics settled; the memory is the stream's arena.
 *
 *   on_headers -> ingress -> chain … -> exchange_send_* -> stream -> on_closed -> finish
 *
 * Everything runs on the connection's worker. It decides nothing about routes or upstreams.
 */
#include "proxy/hcm/exchange.h"

#include "io/loop.h"
#include "proxy/explain/record.h"
#include "proxy/overload/overload.h"

static struct exchange *of_sink(struct http_sink *sink)
{
    return OBJECT(exchange, EXCHANGE_MAGIC, CONTAINER_OF(sink, exchange, sink));
}

/* ---- timers ---- */

void exchange_touch(struct exchange *x)
{
    if (x->stream_idle_us)
        timer_set_us(&x->idle_timer, overload_timeout_us(OVERLOAD_TIMER_STREAM_IDLE, x->stream_idle_us));
}

/* Ends the exchange early: an answer where none has begun, a reset otherwise. */
void exchange_end_with(struct exchange *x, const struct outcome *o)
{
    if (x->finished)
        return;
    if (!x->response_started)
        exchange_local_reply(x, o, (unsigned)o->http_status, STR_NULL, STR_NULL, NULL, NULL);
    else
        exchange_reset(x, o);
}

static void on_stream_idle(struct timer *t)
{
    struct exchange *x = CONTAINER_OF(t, exchange, idle_timer);
    stat_inc(x->config->stats, STAT_HCM_RQ_IDLE_TIMEOUT);
    if (x->response_started) {
        exchange_reset(x, OUTCOME(STREAM_IDLE_LATE));
        return;
    }
    /* A request that is complete waits for us, not for the client: that is a gateway's timeout. */
    unsigned status = x->request_end ? 504 : 408;
    exchange_local_reply(x, OUTCOME(STREAM_IDLE), status, STR("stream timeout"), STR_NULL, NULL, NULL);
}

static void on_request_timeout(struct timer *t)
{
    struct exchange *x = CONTAINER_OF(t, exchange, request_timer);
    stat_inc(x->config->stats, STAT_HCM_RQ_TIMEOUT);
    if (!x->response_started)
        exchange_local_reply(x, OUTCOME(REQUEST_TIMEOUT), 408, STR("request timeout"), STR_NULL, NULL, NULL);
    else
        exchange_reset(x, OUTCOME(REQUEST_TIMEOUT));
}

static void on_max_duration(struct timer *t)
{
    struct exchange *x = CONTAINER_OF(t, exchange, duration_timer);
    stat_inc(x->config->stats, STAT_HCM_RQ_MAX_DURATION_REACHED);
    if (!x->response_started)
        exchange_local_reply(x, OUTCOME(MAX_DURATION), x->request_end ? 504 : 408, STR("downstream duration timeout"),
                             STR_NULL, NULL, NULL);
    else
        exchange_reset(x, OUTCOME(MAX_DURATION));
}

static void timers_start(struct exchange *x)
{
    const struct hcm_config *c = x->config;
    timer_init(&x->idle_timer, x->loop, on_stream_idle);
    timer_init(&x->request_timer, x->loop, on_request_timeout);
    timer_init(&x->duration_timer, x->loop, on_max_duration);
    x->stream_idle_us = c->stream_idle_timeout_ms * 1000;
    exchange_touch(x);
    if (c->request_timeout_ms)
        timer_set_ms(&x->request_timer, c->request_timeout_ms);
    if (c->max_stream_duration_ms)
        timer_set_ms(&x->duration_timer, c->max_stream_duration_ms);
}

/* ---- birth ---- */

void exchange_note_connection(struct exchange *x)
{
    const struct http_stream *s = x->down;
    struct stream_info *info = &x->info;
    const struct downstream *d = x->hc->downstream;
    info->start_us = loop_now_us(x->loop);
    info->start_wall_us = loop_wall_us(x->loop);
    info->has_protocol = true;
    info->protocol = s->protocol;
    info->downstream = s->conn;
    info->filter_state.parent = &d->filter_state;
    info->connection_id = conn_id(s->conn);
    info->stream_id = s->id;
    info->downstream_remote = conn_remote(s->conn);
    info->downstream_direct_remote = conn_direct_remote(s->conn);
    info->downstream_local = conn_local(s->conn);
    info->local_is_restored = d->original_dst_restored;
    info->original_source = d->original_source;
    info->requested_server_name = d->server_name;
    info->filter_chain_name = d->chain->name;
    info->connection_requests = x->hc->requests;
}

void exchange_begin_record(struct exchange *x)
{
    x->info.record = explain_record_begin(x->arena, x->request, &x->info, x->hc->downstream->listener->spec->name);
}

static const struct http_sink_ops sink_ops;

struct exchange *exchange_new(struct hcm_conn *hc, struct http_stream *s)
{
    struct exchange *x = arena_zalloc(s->arena, sizeof(*x));
    if (!x)
        return NULL;
    x->magic = EXCHANGE_MAGIC;
    x->sink.ops = &sink_ops;
    x->hc = hc;
    x->config = hc->config;
    x->down = s;
    x->loop = conn_loop(s->conn);
    x->arena = s->arena;
    x->random = rng_next(loop_rng(x->loop));
    x->body_limit_bytes = hc->config->server.buffer_limit_bytes;
    list_push_back(&hc->exchanges, &x->node);
    hc->active++;
    hc->requests++;
    exchange_note_connection(x);
    timers_start(x);
    stat_inc(x->config->stats, STAT_HCM_RQ_TOTAL);
    stat_inc(x->config->stats, STAT_HCM_RQ_ACTIVE);
    stat_inc(x->config->stats, s->protocol == HTTP_2 ? STAT_HCM_RQ_HTTP2_TOTAL : STAT_HCM_RQ_HTTP1_TOTAL);
    return x;
}

/* ---- death ---- */

static void count_response(struct exchange *x)
{
    hcm_count_response(x->hc, x->info.status);
    if (x->info.status)
        stat_record(x->config->stats, STAT_HCM_RQ_TIME, (x->info.end_us - x->info.start_us) / 1000);
}

static void write_access_logs(struct exchange *x)
{
    const struct hcm_config *c = x->config;
    struct format_context cx = {
        .info = &x->info,
        .request = x->request,
        .response = x->response,
        .trailers = x->response_trailers,
        .local_reply_body = x->local_body,
        .log_type = "DownstreamEnd",
    };
    for (uint32_t i = 0; i < c->access_log_count; i++)
        access_log_write(c->access_logs[i], &cx);
}

static void take_stream_totals(struct exchange *x, const struct http_stream *s)
{
    struct stream_info *info = &x->info;
    info->bytes_received = s->bytes_received;
    info->bytes_sent = s->bytes_sent;
    info->header_bytes_received = s->header_bytes_received;
    info->header_bytes_sent = s->header_bytes_sent;
    info->wire_bytes_received = s->wire_bytes_received;
    info->wire_bytes_sent = s->wire_bytes_sent;
}

void exchange_settle(struct exchange *x)
{
    x->info.end_us = loop_now_us(x->loop);
    chain_complete(x);
    if (x->info.record)
        explain_record_finish(x->info.record, &x->info, x->arena);
    if (x->info.span)
        tracing_end(x);
    stat_dec(x->config->stats, STAT_HCM_RQ_ACTIVE);
    write_access_logs(x);
    chain_destroy(x);
    if (x->info.host)
        host_unref(&x->info.host);
    addr_fini(&x->info.upstream_local);
    addr_fini(&x->info.upstream_remote);
}

static void finish(struct exchange *x)
{
    x->finished = true;
    timer_clear(&x->idle_timer);
    timer_clear(&x->request_timer);
    timer_clear(&x->duration_timer);
    if (x->is_upgrade && x->info.status == 101)
        stat_dec(x->config->stats, STAT_HCM_CX_UPGRADES_ACTIVE);
    exchange_settle(x);
    count_response(x);
    view_release(&x->here);
    exchange_release(x);
    filter_state_fini(&x->info.filter_state);
    list_remove(&x->node);
    x->hc->active--;
    x->magic = 0;
}

static void set_outcome(struct exchange *x, const struct outcome *o)
{
    x->info.flags |= o->flag;
    if (!x->info.details.n)
        x->info.details = str_from(o->details);
}

static void on_closed(struct http_sink *sink, enum stream_reset why, const char *details)
{
    struct exchange *x = of_sink(sink);
    take_stream_totals(x, x->down);
    x->hc->lost += why == STREAM_TERMINATED;
    if (why != STREAM_OK && !x->response_end) {
        if (why == STREAM_REMOTE || why == STREAM_REMOTE_REFUSED) {
            stat_inc(x->config->stats, STAT_HCM_RQ_RX_RESET);
            set_outcome(x, OUTCOME(DOWNSTREAM_RESET));
        } else if (why == STREAM_PROTOCOL_ERROR) {
            x->info.flags |= FLAG_DPE;
            if (details && *details)
                x->info.details = str_from(details);
        } else if (why != STREAM_LOCAL) {
            set_outcome(x, OUTCOME(DOWNSTREAM_GONE));
        }
    }
    x->down = NULL;
    finish(x);
}

void exchange_reset(struct exchange *x, const struct outcome *o)
{
    if (x->finished || !x->down)
        return;
    set_outcome(x, o);
    x->info.details = str_from(o->details);
    stat_inc(x->config->stats, STAT_HCM_RQ_TX_RESET);
    stream_reset(x->down, STREAM_LOCAL);
}

/* ---- the request arrives ---- */

static void request_ended(struct exchange *x)
{
    x->request_end = true;
    x->info.request_end_us = loop_now_us(x->loop);
    timer_clear(&x->request_timer);
}

static void on_headers(struct http_sink *sink, struct headers *h, bool end)
{
    struct exchange *x = of_sink(sink);
    x->request = h;
    if (x->config->explain_header)
        exchange_begin_record(x);
    if (end)
        request_ended(x);
    if (!ingress_prepare(x))
        return;
    if (x->config->tracing)
        tracing_begin(x);
    chain_init(x);
    if (x->arena->overflowed) {
        exchange_local_reply(x, OUTCOME(INTERNAL), 431, STR_NULL, STR_NULL, NULL, NULL);
        return;
    }
    chain_request_headers(x, end);
}

static void on_data(struct http_sink *sink, struct buf *data, bool end)
{
    struct exchange *x = of_sink(sink);
    exchange_touch(x);
    if (end)
        request_ended(x);
    if (!x->local_reply)
        chain_request_data(x, data, end);
    buf_drain(data, data->len);
}

static void on_trailers(struct http_sink *sink, struct headers *h)
{
    struct exchange *x = of_sink(sink);
    exchange_touch(x);
    x->request_trailers = h;
    request_ended(x);
    if (!x->local_reply)
        chain_request_trailers(x);
}

static void on_watermark(struct http_sink *sink, bool above)
{
    struct exchange *x = of_sink(sink);
    if (!x->finished)
        chain_downstream_watermark(x, above);
}

static const struct http_sink_ops sink_ops = {
    .on_headers = on_headers,
    .on_data = on_data,
    .on_trailers = on_trailers,
    .on_closed = on_closed,
    .on_watermark = on_watermark,
};

/* ---- the response leaves ---- */

static void note_sent(struct exchange *x, bool end)
{
    uint64_t now = loop_now_us(x->loop);
    if (!x->info.downstream_first_tx_us)
        x->info.downstream_first_tx_us = now;
    if (end) {
        x->info.downstream_last_tx_us = now;
        x->response_end = true;
        if (!x->request_end)
            stat_inc(x->config->stats, STAT_HCM_RQ_RESPONSE_BEFORE_RQ_COMPLETE);
    }
    exchange_touch(x);
}

void exchange_send_headers(struct exchange *x, struct headers *h, bool end)
{
    if (x->finished || !x->down || x->response_started)
        return;
    x->response_started = true;
    egress_prepare(x, h);
    uint64_t status = 0;
    str_to_u64(headers_get_id(h, HDR_STATUS), &status);
    x->info.status = (uint16_t)status;
    if (x->is_upgrade && status == 101) {
        stat_inc(x->config->stats, STAT_HCM_CX_UPGRADES_TOTAL);
        stat_inc(x->config->stats, STAT_HCM_CX_UPGRADES_ACTIVE);
    }
    note_sent(x, end);
    stream_send_headers(x->down, h, end);
}

void exchange_send_data(struct exchange *x, struct buf *data, bool end)
{
    if (x->finished || !x->down || x->response_end)
        return;
    note_sent(x, end);
    stream_send_data(x->down, data, end);
}

void exchange_send_trailers(struct exchange *x, struct headers *h)
{
    if (x->finished || !x->down || x->response_end)
        return;
    note_sent(x, true);
    headers_strip_hop_by_hop(h, false);
    stream_send_trailers(x->down, h);
}

/* ---- what filters ask ---- */

struct arena *exchange_arena(struct exchange *x)
{
    return x->arena;
}

struct loop *exchange_loop(struct exchange *x)
{
    return x->loop;
}

struct stream_info *exchange_info(struct exchange *x)
{
    return &x->info;
}

struct stat_scope *exchange_stats(struct exchange *x)
{
    return x->config->stats;
}

uint64_t exchange_body_limit_bytes(const struct exchange *x)
{
    return x->body_limit_bytes;
}

void exchange_set_body_limit_bytes(struct exchange *x, uint64_t bytes)
{
    x->body_limit_bytes = bytes;
}

struct headers *exchange_request_headers(struct exchange *x)
{
    return x->request;
}

struct headers *exchange_request_trailers(struct exchange *x)
{
    return x->request_trailers;
}

struct headers *exchange_response_headers(struct exchange *x)
{
    return x->response;
}

struct headers *exchange_response_trailers(struct exchange *x)
{
    return x->response_trailers;
}

bool exchange_request_is_complete(const struct exchange *x)
{
    return x->request_end;
}

bool exchange_response_has_started(const struct exchange *x)
{
    return x->response_started;
}

void exchange_pause_request(struct exchange *x, bool on)
{
    if (!x->down || x->finished)
        return;
    stat_inc(x->config->stats, on ? STAT_HCM_FLOW_PAUSED : STAT_HCM_FLOW_RESUMED);
    stream_pause(x->down, on);
}
