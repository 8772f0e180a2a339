/* SPDX-License-Identifier: Apache-2.0
 *
 * Holds request and response bodies to a rate that all streams of a configuration share, on all
 * workers. Bodies wait in the exchange within its limit, and past it the sender waits. On the
 * exchange's worker, but for the bucket.
 */
#include "proxy/filter/bandwidth_limit.h"

#include "base/check.h"
#include "io/loop.h"
#include "proxy/runtime.h"
#include "proxy/stats/stats.h"

#define BANDWIDTH_ROWS(X, WAY, way)                                                                \
    X(BANDWIDTH_##WAY##_ENABLED, COUNTER, NONE, way "_enabled", "Streams that are limited")        \
    X(BANDWIDTH_##WAY##_ENFORCED, COUNTER, NONE, way "_enforced", "Portions that had to wait")     \
    X(BANDWIDTH_##WAY##_PENDING, GAUGE, NONE, way "_pending", "Bodies on their way")               \
    X(BANDWIDTH_##WAY##_INCOMING_SIZE, GAUGE, BYTES, way "_incoming_size", "The last portion that came") \
    X(BANDWIDTH_##WAY##_ALLOWED_SIZE, GAUGE, BYTES, way "_allowed_size", "The last portion that went on") \
    X(BANDWIDTH_##WAY##_INCOMING_TOTAL, COUNTER, BYTES, way "_incoming_total_size", "Bytes that came") \
    X(BANDWIDTH_##WAY##_ALLOWED_TOTAL, COUNTER, BYTES, way "_allowed_total_size", "Bytes that went on") \
    X(BANDWIDTH_##WAY##_DURATION, HISTOGRAM, MS, way "_transfer_duration", "Time that a body took")
#define BANDWIDTH_STATS(X) BANDWIDTH_ROWS(X, REQUEST, "request") BANDWIDTH_ROWS(X, RESPONSE, "response")
enum { BANDWIDTH_STATS(STAT_ENUM_ROW) };
static const struct stat_desc rows[] = {BANDWIDTH_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};
#define WAY(s_, what_) ((s_)->is_response ? STAT_BANDWIDTH_RESPONSE_##what_ : STAT_BANDWIDTH_REQUEST_##what_)

struct bandwidth {
    const struct bandwidth_config *c;
    struct stream_rate request, response;
    uint64_t delay_us[2];       /* how long each body was held by us */
    uint64_t transfer_us[2];
    uint64_t short_us[2];       /* since when it waits; 0 it doesn't */
    bool pending[2];
};

/* ---- what is told ---- */

static void add_delay(const struct bandwidth *s, struct headers *h, const char *name, uint64_t us)
{
    if (us >= 1000)
        headers_set(h, arena_printf(h->arena, "%.*s%s", STR_ARG(s->c->trailer_prefix), name),
                    arena_printf(h->arena, "%llu", (unsigned long long)(us / 1000)));
}

static void add_delays(const struct bandwidth *s, struct headers *h)
{
    add_delay(s, h, "bandwidth-request-delay-ms", s->transfer_us[0]);
    add_delay(s, h, "bandwidth-response-delay-ms", s->transfer_us[1]);
    add_delay(s, h, "bandwidth-request-filter-delay-ms", s->delay_us[0]);
    add_delay(s, h, "bandwidth-response-filter-delay-ms", s->delay_us[1]);
}

static void settle(struct bandwidth *s, const struct stream_rate *r, uint64_t now_us)
{
    if (!s->pending[r->is_response])
        return;
    s->pending[r->is_response] = false;
    s->transfer_us[r->is_response] = now_us - r->begun_us;
    stat_dec(s->c->stats, WAY(r, PENDING));
    stat_record(s->c->stats, WAY(r, DURATION), (now_us - r->begun_us) / 1000);
}

static void on_moved(struct stream_rate *r, uint64_t bytes, bool done)
{
    struct bandwidth *s = r->f->state;
    uint64_t now_us = loop_now_us(exchange_loop(r->f->x));
    stat_set(s->c->stats, WAY(r, ALLOWED_SIZE), bytes);
    stat_add(s->c->stats, WAY(r, ALLOWED_TOTAL), bytes);
    if (s->short_us[r->is_response])
        s->delay_us[r->is_response] += now_us - s->short_us[r->is_response];
    s->short_us[r->is_response] = done ? 0 : now_us;
    if (!done)
        return;
    settle(s, r, now_us);
    struct headers *trailers = r->is_response && s->c->trailers ? exchange_response_trailers(r->f->x) : NULL;
    if (trailers && r->has_trailers)
        add_delays(s, trailers);
}

static void on_short(struct stream_rate *r)
{
    const struct bandwidth *s = r->f->state;
    stat_inc(s->c->stats, WAY(r, ENFORCED));
}

/* ---- the filter ---- */

static void start(struct http_filter *f, struct stream_rate *r, bool is_response)
{
    const struct bandwidth *s = f->state;
    stream_rate_init(r, f, is_response, s->c->bucket, s->c->interval_us);
    r->on_moved = on_moved;
    r->on_short = on_short;
    stat_inc(s->c->stats, WAY(r, ENABLED));
}

static enum filter_data take(struct http_filter *f, struct stream_rate *r, struct buf *data, bool end)
{
    struct bandwidth *s = f->state;
    if (!r->f)
        return FILTER_DATA_CONTINUE;
    if (!s->pending[r->is_response]) {
        s->pending[r->is_response] = true;
        r->begun_us = loop_now_us(exchange_loop(f->x));
        stat_inc(s->c->stats, WAY(r, PENDING));
    }
    stat_set(s->c->stats, WAY(r, INCOMING_SIZE), data->len);
    stat_add(s->c->stats, WAY(r, INCOMING_TOTAL), data->len);
    return stream_rate_data(r, data, end);
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)h, (void)end;
    struct bandwidth *s = f->state;
    const struct bandwidth_config *own = exchange_route_config(f), *c = own ? own : f->config;
    bool on = c->enabled_key.n ? runtime_bool(c->enabled_key, c->enabled) : c->enabled;
    if (!on || !c->bucket)
        return FILTER_HEADERS_CONTINUE;
    s->c = c;
    if (c->limit_request)
        start(f, &s->request, false);
    return FILTER_HEADERS_CONTINUE;
}

static enum filter_data on_request_data(struct http_filter *f, struct buf *data, bool end)
{
    struct bandwidth *s = f->state;
    return take(f, &s->request, data, end);
}

static enum filter_trailers on_request_trailers(struct http_filter *f, struct headers *h)
{
    (void)h;
    struct bandwidth *s = f->state;
    return s->request.f ? stream_rate_trailers(&s->request) : FILTER_TRAILERS_CONTINUE;
}

static enum filter_headers on_response_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)h, (void)end;
    struct bandwidth *s = f->state;
    if (s->c && s->c->limit_response && !s->response.f)
        start(f, &s->response, true);
    return FILTER_HEADERS_CONTINUE;
}

static enum filter_data on_response_data(struct http_filter *f, struct buf *data, bool end)
{
    struct bandwidth *s = f->state;
    if (end && s->response.f && s->c->trailers && exchange_add_response_trailers(f)) {
        s->response.has_trailers = true; /* they wait until the body went */
        end = false;
    }
    return take(f, &s->response, data, end);
}

static enum filter_trailers on_response_trailers(struct http_filter *f, struct headers *h)
{
    struct bandwidth *s = f->state;
    if (!s->response.f)
        return FILTER_TRAILERS_CONTINUE;
    enum filter_trailers status = stream_rate_trailers(&s->response);
    if (status == FILTER_TRAILERS_CONTINUE) {
        settle(s, &s->response, loop_now_us(exchange_loop(f->x)));
        if (s->c->trailers)
            add_delays(s, h);
    }
    return status;
}

static void on_destroy(struct http_filter *f)
{
    struct bandwidth *s = f->state;
    stream_rate_fini(&s->request);
    stream_rate_fini(&s->response);
    for (int i = 0; i < 2; i++)
        if (s->pending[i])
            stat_dec(s->c->stats, i ? STAT_BANDWIDTH_RESPONSE_PENDING : STAT_BANDWIDTH_REQUEST_PENDING);
}

void bandwidth_limit_link(void *config)
{
    struct bandwidth_config *c = config;
    if (c->stats)
        return;
    struct strbuf prefix = {0};
    strbuf_addf(&prefix, "%.*s.http_bandwidth_limit.", STR_ARG(c->stat_prefix));
    c->stats = stat_scope_get(strbuf_str(&prefix), &table, strbuf_str(&prefix), NULL, 0);
    strbuf_fini(&prefix);
}

static void link(void *config, struct stat_scope *stats)
{
    (void)stats;
    bandwidth_limit_link(config);
}

const struct http_filter_def bandwidth_limit_filter = {
    .name = "envoy.filters.http.bandwidth_limit",
    .state_bytes = sizeof(struct bandwidth),
    .on_request_headers = on_request_headers,
    .on_request_data = on_request_data,
    .on_request_trailers = on_request_trailers,
    .on_response_headers = on_response_headers,
    .on_response_data = on_response_data,
    .on_response_trailers = on_response_trailers,
    .on_destroy = on_destroy,
    .link = link,
};
