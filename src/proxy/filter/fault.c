/* SPDX-License-Identifier: Apache-2.0
 *
 * Fault injection: requests that match are delayed, aborted, or have their response's rate limited;
 * by configuration or, where it says so, by the request's own x-envoy-fault-* headers, which can
 * lower a configured percentage but never raise it. Runtime keys override percentages and values,
 * those named by the downstream cluster (x-envoy-downstream-service-cluster) last.
 *
 *   request headers -> [rate limit armed] -> delay? -> (timer) -> abort? -> next filter
 *
 * A stream counts as one active fault however many it has; past max_active_faults it gets none.
 * On the exchange's worker.
 */
#include "proxy/filter/fault.h"

#include "base/check.h"
#include "io/loop.h"
#include "proxy/filter/filter_scope.h"
#include "proxy/filter/stream_rate.h"
#include "proxy/route/route.h"

#define RATE_INTERVAL_US 50000
#define CLUSTER_NAMES_MAX 64 /* names that clients bring and that are counted by, a worker */
#define CLUSTER_NAME_BYTES 64

#define FAULT_STATS(X)                                                                             \
    X(FAULT_ABORTS_INJECTED, COUNTER, NONE, "aborts_injected", "Requests aborted")                 \
    X(FAULT_DELAYS_INJECTED, COUNTER, NONE, "delays_injected", "Requests delayed")                 \
    X(FAULT_FAULTS_OVERFLOW, COUNTER, NONE, "faults_overflow", "Faults left out at max_active_faults") \
    X(FAULT_RESPONSE_RL_INJECTED, COUNTER, NONE, "response_rl_injected", "Responses held to a rate") \
    X(FAULT_ACTIVE_FAULTS, GAUGE, NONE, "active_faults", "Streams with a fault now")
enum { FAULT_STATS(STAT_ENUM_ROW) };
static const struct stat_desc fault_rows[] = {FAULT_STATS(STAT_DESC_ROW)};
static const struct stat_table fault_table = {fault_rows, ARRAY_LEN(fault_rows)};

struct fault {
    struct http_filter *f;
    const struct fault_config *c; /* the route's, else the filter's */
    struct str downstream;        /* the calling cluster's name; "" unknown */
    struct timer timer;
    bool is_delaying, is_active;
    struct rate_bucket bucket;
    struct stream_rate rate;
};

static struct stat_scope *stats_of(const struct http_filter *f)
{
    return ((const struct fault_config *)f->config)->stats;
}

/* ---- who is meant ---- */

static bool node_is_meant(const struct fault_config *c, const struct headers *h)
{
    struct str node = headers_get_id(h, HDR_ENVOY_DOWNSTREAM_NODE);
    if (!c->node_count)
        return true;
    for (uint32_t i = 0; node.p && i < c->node_count; i++)
        if (str_eq(node, c->nodes[i]))
            return true;
    return false;
}

static bool is_meant(struct http_filter *f, const struct fault_config *c, const struct headers *h)
{
    if (c->cluster.n && !str_eq(exchange_decision(f->x)->cluster_name, c->cluster))
        return false;
    if (!node_is_meant(c, h))
        return false;
    for (uint32_t i = 0; i < c->header_count; i++)
        if (!header_matches(&c->headers[i], h))
            return false;
    return true;
}

/* ---- values: configuration, then headers, then runtime ---- */

static bool header_number(const struct headers *h, struct str name, uint64_t *out)
{
    return str_to_u64(headers_get(h, name), out);
}

/* "fault.http.<downstream cluster>.<what>"; the null str where there is no such cluster. */
static struct str own_key(const struct fault *s, struct http_filter *f, const char *what)
{
    if (!s->downstream.n)
        return STR_NULL;
    return arena_printf(exchange_arena(f->x), "fault.http.%.*s.%s", STR_ARG(s->downstream), what);
}

static bool is_hit(struct http_filter *f, const struct runtime_fraction *base, bool by_header, const struct headers *h,
                   struct str percent_header, struct str key)
{
    struct runtime_fraction r = *base;
    uint64_t asked;
    if (by_header && headers_find(h, percent_header)) {
        if (header_number(h, percent_header, &asked) && asked < r.numerator)
            r.numerator = asked;
    }
    if (key.n)
        r.key = key;
    return runtime_fraction_hits(&r, rng_next(loop_rng(exchange_loop(f->x))));
}

static uint64_t tuned(const struct http_filter *f, struct str key, const char *what, uint64_t v)
{
    v = runtime_u64(key, v);
    struct str own = own_key(f->state, (struct http_filter *)f, what);
    return own.n ? runtime_u64(own, v) : v;
}

static uint64_t delay_ms(struct http_filter *f, const struct headers *h)
{
    const struct fault *s = f->state;
    const struct fault_config *c = s->c;
    uint64_t ms = c->delay_ms;
    if (!c->has_delay || !is_hit(f, &c->delay_fraction, c->delay_by_header, h, STR("x-envoy-fault-delay-request-percentage"),
                                 own_key(s, f, "delay.fixed_delay_percent")))
        return 0;
    if (c->delay_by_header && !header_number(h, STR("x-envoy-fault-delay-request"), &ms))
        return 0;
    return tuned(f, c->delay_key, "delay.fixed_duration_ms", ms);
}

/* ---- counting ---- */

/* Names in the keeping of this worker: statistics want text that stays. */
static const char *kept_name(struct str name)
{
    static __thread char names[CLUSTER_NAMES_MAX][CLUSTER_NAME_BYTES];
    for (int i = 0; i < CLUSTER_NAMES_MAX; i++) {
        if (names[i][0] && str_eq(str_from(names[i]), name))
            return names[i];
        if (!names[i][0] && name.n < CLUSTER_NAME_BYTES) {
            memcpy(names[i], name.p, name.n);
            return names[i];
        }
    }
    return NULL;
}

static void count_injected(struct http_filter *f, uint32_t row, const char *name)
{
    const struct fault *s = f->state;
    stat_inc(stats_of(f), row);
    const char *cluster = s->downstream.n && !s->c->disable_cluster_stats ? kept_name(s->downstream) : NULL;
    if (cluster)
        stat_named(stats_of(f), cluster, name);
}

static bool become_active(struct http_filter *f)
{
    struct fault *s = f->state;
    const struct fault_config *c = s->c;
    if (s->is_active)
        return true;
    uint64_t most = runtime_u64(c->max_active_key, c->has_max_active ? c->max_active : UINT64_MAX);
    if (most != UINT64_MAX && stat_sum(stats_of(f), STAT_FAULT_ACTIVE_FAULTS) >= most) {
        stat_inc(stats_of(f), STAT_FAULT_FAULTS_OVERFLOW);
        return false;
    }
    s->is_active = true;
    stat_inc(stats_of(f), STAT_FAULT_ACTIVE_FAULTS);
    return true;
}

static void leave_metadata(struct http_filter *f)
{
    const struct fault *s = f->state; /* an empty one too */
    metadata_merge(&exchange_info(f->x)->metadata, exchange_arena(f->x), STR("envoy.filters.http.fault"), &s->c->metadata);
}

/* ---- faults ---- */

static void limit_rate(struct http_filter *f, const struct headers *h)
{
    struct fault *s = f->state;
    const struct fault_config *c = s->c;
    uint64_t kbps = c->rate_kbps;
    if (!c->has_rate ||
        !is_hit(f, &c->rate_fraction, c->rate_by_header, h, STR("x-envoy-fault-throughput-response-percentage"), STR_NULL))
        return;
    if (c->rate_by_header && (!header_number(h, STR("x-envoy-fault-throughput-response"), &kbps) || !kbps))
        return;
    if (kbps > UINT32_MAX || !become_active(f))
        return;
    stat_inc(stats_of(f), STAT_FAULT_RESPONSE_RL_INJECTED);
    s->bucket.bytes_per_s = kbps * 1024;
    stream_rate_init(&s->rate, f, true, &s->bucket, RATE_INTERVAL_US);
}

/* 0 none; *grpc_status is set where that is what was asked for. */
static unsigned abort_status(struct http_filter *f, const struct headers *h, int *grpc_status)
{
    const struct fault *s = f->state;
    const struct fault_config *c = s->c;
    uint64_t http = c->http_status, grpc = (uint64_t)c->grpc_status;
    bool has_grpc = c->grpc_status >= 0;
    if (!c->has_abort || !is_hit(f, &c->abort_fraction, c->abort_by_header, h, STR("x-envoy-fault-abort-request-percentage"),
                                 own_key(s, f, "abort.abort_percent")))
        return 0;
    if (c->abort_by_header) {
        if (!header_number(h, STR("x-envoy-fault-abort-request"), &http) || http < 200 || http >= 600)
            http = 0;
        has_grpc = header_number(h, STR("x-envoy-fault-abort-grpc-request"), &grpc) && grpc <= INT16_MAX;
    }
    if (http) {
        http = tuned(f, c->http_status_key, "abort.http_status", http);
        return http >= 200 && http < 600 ? (unsigned)http : 0;
    }
    if (!has_grpc)
        return 0;
    *grpc_status = (int)tuned(f, c->grpc_status_key, "abort.grpc_status", grpc);
    return 200;
}

static bool abort_request(struct http_filter *f, const struct headers *h)
{
    int grpc_status = -1;
    unsigned status = abort_status(f, h, &grpc_status);
    if (!status || !become_active(f))
        return false;
    struct outcome o = *OUTCOME(FAULT_ABORT);
    o.grpc_status = (int16_t)grpc_status;
    count_injected(f, STAT_FAULT_ABORTS_INJECTED, "aborts_injected");
    leave_metadata(f);
    exchange_local_reply(f->x, &o, status, STR("fault filter abort"), STR_NULL, NULL, NULL);
    return true;
}

static void on_delayed(struct timer *t)
{
    struct fault *s = CONTAINER_OF(t, fault, timer);
    struct http_filter *f = s->f;
    s->is_delaying = false;
    if (!abort_request(f, exchange_request_headers(f->x)))
        exchange_continue_request(f);
}

static bool delay_request(struct http_filter *f, const struct headers *h)
{
    struct fault *s = f->state;
    uint64_t ms = delay_ms(f, h);
    if (!ms || !become_active(f))
        return false;
    count_injected(f, STAT_FAULT_DELAYS_INJECTED, "delays_injected");
    exchange_info(f->x)->flags |= FLAG_DI;
    leave_metadata(f);
    s->is_delaying = true;
    timer_init(&s->timer, exchange_loop(f->x), on_delayed);
    timer_set_ms(&s->timer, ms);
    return true;
}

/* ---- the filter ---- */

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    struct fault *s = f->state;
    const struct fault_config *own = exchange_route_config(f);
    s->f = f;
    s->c = own ? own : f->config;
    if (!is_meant(f, s->c, h))
        return FILTER_HEADERS_CONTINUE;
    s->downstream = headers_get_id(h, HDR_ENVOY_DOWNSTREAM_CLUSTER);
    limit_rate(f, h);
    if (delay_request(f, h) || abort_request(f, h))
        return FILTER_HEADERS_STOP;
    return FILTER_HEADERS_CONTINUE;
}

static enum filter_data on_request_data(struct http_filter *f, struct buf *data, bool end)
{
    (void)data, (void)end;
    const struct fault *s = f->state;
    return s->is_delaying ? FILTER_DATA_STOP_WATERMARK : FILTER_DATA_CONTINUE;
}

static enum filter_trailers on_request_trailers(struct http_filter *f, struct headers *h)
{
    (void)h;
    const struct fault *s = f->state;
    return s->is_delaying ? FILTER_TRAILERS_STOP : FILTER_TRAILERS_CONTINUE;
}

static enum filter_data on_response_data(struct http_filter *f, struct buf *data, bool end)
{
    struct fault *s = f->state;
    return s->rate.f ? stream_rate_data(&s->rate, data, end) : FILTER_DATA_CONTINUE;
}

static enum filter_trailers on_response_trailers(struct http_filter *f, struct headers *h)
{
    (void)h;
    struct fault *s = f->state;
    return s->rate.f ? stream_rate_trailers(&s->rate) : FILTER_TRAILERS_CONTINUE;
}

static void on_destroy(struct http_filter *f)
{
    struct fault *s = f->state;
    timer_clear(&s->timer);
    stream_rate_fini(&s->rate);
    if (s->is_active)
        stat_dec(stats_of(f), STAT_FAULT_ACTIVE_FAULTS);
}

static void link(void *config, struct stat_scope *stats)
{
    struct fault_config *c = config;
    if (!c->stats)
        c->stats = filter_scope(stats, STR("fault."), &fault_table);
}

const struct http_filter_def fault_filter = {
    .name = "envoy.filters.http.fault",
    .state_bytes = sizeof(struct fault),
    .on_request_headers = on_request_headers,
    .on_request_data = on_request_data,
    .on_request_trailers = on_request_trailers,
    .on_response_data = on_response_data,
    .on_response_trailers = on_response_trailers,
    .on_destroy = on_destroy,
    .link = link,
};
