/* SPDX-License-Identifier: Apache-2.0
 *
 * open_telemetry: OTLP metrics over gRPC (opentelemetry-proto, collector/metrics/v1), packed by hand while the
 * statistics are walked. A flush is one Export call, or several when it is long. Counters are monotonic sums, cumulative
 * since the start or, as deltas, since the flush before (then only those that moved); histograms have explicit bounds.
 * Once a message of a flush was not taken, the rest of that flush isn't tried. Main thread.
 */
#include "proxy/sink/sink.h"

#include <string.h>

#include "base/mem.h"
#include "proxy/server.h"
#include "proto/wire.h"
#include "proxy/sink/metric_sender.h"
#include "proxy/stats/stats_config.h"

/* Field numbers. */
enum { REQUEST_RESOURCE_METRICS = 1, RESOURCE_METRICS_RESOURCE = 1, RESOURCE_METRICS_SCOPE = 2, RESOURCE_ATTRIBUTES = 1,
       SCOPE_METRICS = 2 };
enum { METRIC_NAME = 1, METRIC_GAUGE = 5, METRIC_SUM = 7, METRIC_HISTOGRAM = 9 };
enum { DATA_POINTS = 1, TEMPORALITY = 2, SUM_MONOTONIC = 3, POINT_START = 2, POINT_TIME = 3 };
enum { NUMBER_INT = 6, NUMBER_ATTRIBUTES = 7 };
enum { HISTOGRAM_COUNT = 4, HISTOGRAM_SUM = 5, HISTOGRAM_COUNTS = 6, HISTOGRAM_BOUNDS = 7, HISTOGRAM_ATTRIBUTES = 9 };
enum { PAIR_KEY = 1, PAIR_VALUE = 2, ANY_TEXT = 1 };
enum temporality { DELTA = 1, CUMULATIVE = 2 };

struct otel_metrics {
    struct stats_sink *sink;
    struct metric_sender *sender;
    struct strbuf resource, metrics;
    bool refused;              /* in this flush */
    uint64_t start_ns, before_ns, now_ns;
    uint64_t counts[STATS_BOUNDS_MAX];
};

static void add_pair(struct strbuf *b, unsigned field, struct str key, struct str value)
{
    size_t pair = wire_open(b, field);
    wire_bytes(b, PAIR_KEY, key.p, key.n);
    size_t any = wire_open(b, PAIR_VALUE);
    wire_bytes(b, ANY_TEXT, value.p, value.n);
    wire_close(b, any);
    wire_close(b, pair);
}

static void ship(struct otel_metrics *o)
{
    struct strbuf message = {0};
    if (o->metrics.n && !o->refused) {
        strbuf_reserve(&message, o->metrics.n + o->resource.n + 32);
        size_t all = wire_open(&message, REQUEST_RESOURCE_METRICS);
        wire_bytes(&message, RESOURCE_METRICS_RESOURCE, o->resource.p, o->resource.n);
        wire_bytes(&message, RESOURCE_METRICS_SCOPE, o->metrics.p, o->metrics.n);
        wire_close(&message, all);
        o->refused = !metric_sender_send(o->sender, strbuf_str(&message));
        strbuf_fini(&message);
    }
    strbuf_reset(&o->metrics);
}

/* ---- data points ---- */

static void add_times(struct otel_metrics *o, enum temporality t)
{
    wire_fixed64(&o->metrics, POINT_START, t == DELTA ? o->before_ns : o->start_ns);
    wire_fixed64(&o->metrics, POINT_TIME, o->now_ns);
}

static void add_attributes(struct otel_metrics *o, unsigned field, const struct stat_sample *s)
{
    for (uint32_t i = 0; o->sink->spec->otel_tags_as_attributes && i < s->tag_count; i++)
        add_pair(&o->metrics, field, s->tags[i].name, s->tags[i].value);
}

static void add_gauge(struct otel_metrics *o, const struct stat_sample *s)
{
    struct strbuf *b = &o->metrics;
    size_t gauge = wire_open(b, METRIC_GAUGE), point = wire_open(b, DATA_POINTS);
    wire_fixed64(b, POINT_TIME, o->now_ns);
    wire_fixed64(b, NUMBER_INT, s->value);
    add_attributes(o, NUMBER_ATTRIBUTES, s);
    wire_close(b, point);
    wire_close(b, gauge);
}

static void add_sum(struct otel_metrics *o, const struct stat_sample *s)
{
    struct strbuf *b = &o->metrics;
    enum temporality t = o->sink->spec->otel_counters_as_deltas ? DELTA : CUMULATIVE;
    size_t sum = wire_open(b, METRIC_SUM), point = wire_open(b, DATA_POINTS);
    add_times(o, t);
    wire_fixed64(b, NUMBER_INT, t == DELTA ? s->delta : s->value);
    add_attributes(o, NUMBER_ATTRIBUTES, s);
    wire_close(b, point);
    wire_uint(b, TEMPORALITY, t);
    wire_uint(b, SUM_MONOTONIC, true);
    wire_close(b, sum);
}

static uint64_t bits_of(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static void add_number(struct strbuf *b, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        strbuf_addc(b, (char)(v >> 8 * i));
}

/* Counts between bounds, and what is above the last. */
static void add_buckets(struct otel_metrics *o, struct str name, const struct histogram_view *v)
{
    struct strbuf *b = &o->metrics;
    uint32_t n;
    const double *bounds = stats_bucket_bounds(name, &n);
    histogram_cumulative(v, bounds, n, o->counts);
    size_t packed = wire_open(b, HISTOGRAM_COUNTS);
    for (uint32_t i = 0; i <= n; i++)
        add_number(b, (i < n ? o->counts[i] : v->count) - (i ? o->counts[i - 1] : 0));
    wire_close(b, packed);
    packed = wire_open(b, HISTOGRAM_BOUNDS);
    for (uint32_t i = 0; i < n; i++)
        add_number(b, bits_of(bounds[i]));
    wire_close(b, packed);
}

static void add_histogram(struct otel_metrics *o, const struct stat_sample *s)
{
    struct strbuf *b = &o->metrics;
    enum temporality t = o->sink->spec->otel_histograms_as_deltas ? DELTA : CUMULATIVE;
    const struct histogram_view *v = t == DELTA ? s->interval : s->histogram;
    size_t histogram = wire_open(b, METRIC_HISTOGRAM), point = wire_open(b, DATA_POINTS);
    add_times(o, t);
    wire_fixed64(b, HISTOGRAM_COUNT, v->count);
    wire_double(b, HISTOGRAM_SUM, v->sum);
    add_buckets(o, s->name, v);
    add_attributes(o, HISTOGRAM_ATTRIBUTES, s);
    wire_close(b, point);
    wire_uint(b, TEMPORALITY, t);
    wire_close(b, histogram);
}

/* ---- the sink ---- */

static bool is_told(const struct stats_sink_spec *spec, const struct stat_sample *s)
{
    if (!s->used)
        return false;
    switch (s->kind) {
    case STAT_COUNTER:
        return !spec->otel_counters_as_deltas || s->delta;
    case STAT_HISTOGRAM:
        return !spec->otel_histograms_as_deltas || (s->interval && s->interval->count);
    default:
        return s->kind == STAT_GAUGE;
    }
}

static void add_name(struct otel_metrics *o, const struct stat_sample *s)
{
    const struct stats_sink_spec *spec = o->sink->spec;
    struct strbuf *b = &o->metrics;
    struct str name = spec->otel_full_name ? s->name : s->extracted;
    size_t at = wire_open(b, METRIC_NAME);
    if (spec->prefix.n) {
        strbuf_adds(b, spec->prefix);
        strbuf_addc(b, '.');
    }
    strbuf_adds(b, name);
    wire_close(b, at);
}

static void sample(struct stats_sink *sink, const struct stat_sample *s)
{
    struct otel_metrics *o = sink->state;
    if (o->refused || !is_told(sink->spec, s))
        return;
    o->now_ns = loop_wall_us(sink->server->main_loop) * 1000;
    size_t metric = wire_open(&o->metrics, SCOPE_METRICS);
    add_name(o, s);
    if (s->kind == STAT_COUNTER)
        add_sum(o, s);
    else if (s->kind == STAT_GAUGE)
        add_gauge(o, s);
    else
        add_histogram(o, s);
    wire_close(&o->metrics, metric);
    if (o->metrics.n >= METRIC_MESSAGE_BYTES)
        ship(o);
}

static void flushed(struct stats_sink *sink)
{
    struct otel_metrics *o = sink->state;
    ship(o);
    o->refused = false;
    o->before_ns = loop_wall_us(sink->server->main_loop) * 1000;
}

/* Later attributes of a name stand for earlier ones. */
static void pack_resource(struct otel_metrics *o)
{
    const struct stats_sink_spec *spec = o->sink->spec;
    for (uint32_t i = 0; i < spec->resource_count; i++) {
        bool again = false;
        for (uint32_t k = i + 1; k < spec->resource_count; k++)
            again |= str_eq(spec->resource[k].key, spec->resource[i].key);
        if (!again)
            add_pair(&o->resource, RESOURCE_ATTRIBUTES, spec->resource[i].key, spec->resource[i].value);
    }
}

static int start(struct stats_sink *sink, struct server *server, struct err *err)
{
    (void)err;
    struct otel_metrics *o = NEW(otel_metrics);
    o->sink = sink;
    o->start_ns = o->before_ns = server->start_wall_us * 1000;
    o->sender = metric_sender_new(server->main_loop, sink->spec->grpc,
                                  STR("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"), false);
    sink->state = o;
    pack_resource(o);
    return 0;
}

static bool leave(struct stats_sink *sink)
{
    return metric_sender_leave(((struct otel_metrics *)sink->state)->sender);
}

static void stop(struct stats_sink *sink)
{
    struct otel_metrics *o = sink->state;
    metric_sender_free(&o->sender);
    strbuf_fini(&o->resource);
    strbuf_fini(&o->metrics);
    mem_free(o);
}

const struct stats_sink_def open_telemetry_sink = {"envoy.stat_sinks.open_telemetry", start, sample, flushed, stop,
                                                 leave};
