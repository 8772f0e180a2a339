/* SPDX-License-Identifier: Apache-2.0
 *
 * metrics_service: statistics as Prometheus' metric families (io.prometheus.client, metrics.proto) in one stream of
 * envoy.service.metrics.v3.MetricsService. Packed by hand while the statistics are walked: a flush of thousands of
 * clusters holds one message, never all of them. A message is full after batch_size families, or METRIC_MESSAGE_BYTES.
 * Once a message of a flush was not taken, the rest of that flush isn't tried. Main thread.
 */
#include "proxy/sink/sink.h"

#include "base/mem.h"
#include "proxy/server.h"
#include "proto/wire.h"
#include "proxy/sink/metric_sender.h"
#include "proxy/stats/stats_config.h"

/* Field numbers. */
enum { MESSAGE_IDENTIFIER = 1, IDENTIFIER_NODE = 1, MESSAGE_METRICS = 2 };
enum { FAMILY_NAME = 1, FAMILY_TYPE = 3, FAMILY_METRIC = 4 };
enum { METRIC_LABEL = 1, METRIC_GAUGE = 2, METRIC_COUNTER = 3, METRIC_SUMMARY = 4, METRIC_TIMESTAMP_MS = 6, METRIC_HISTOGRAM = 7 };
enum { LABEL_NAME = 1, LABEL_VALUE = 2, VALUE = 1, SAMPLE_COUNT = 1, SAMPLE_SUM = 2, SUMMARY_QUANTILE = 3, HISTOGRAM_BUCKET = 3 };
enum { QUANTILE_QUANTILE = 1, QUANTILE_VALUE = 2, BUCKET_COUNT = 1, BUCKET_BOUND = 2 };
enum family_type { FAMILY_COUNTER = 0, FAMILY_GAUGE = 1, FAMILY_SUMMARY = 2, FAMILY_HISTOGRAM = 4 };

struct metrics_service {
    struct stats_sink *sink;
    struct metric_sender *sender;
    struct strbuf families;    /* of the message that is being filled */
    uint32_t count;
    bool refused;              /* in this flush */
    uint64_t counts[STATS_BOUNDS_MAX];
};

static void ship(struct metrics_service *m)
{
    struct strbuf message = {0};
    if (m->count && !m->refused) {
        if (metric_sender_is_first(m->sender)) {
            size_t at = wire_open(&message, MESSAGE_IDENTIFIER);
            wire_bytes(&message, IDENTIFIER_NODE, m->sink->spec->node.p, m->sink->spec->node.n);
            wire_close(&message, at);
        }
        strbuf_adds(&message, strbuf_str(&m->families));
        m->refused = !metric_sender_send(m->sender, strbuf_str(&message));
        strbuf_fini(&message);
    }
    strbuf_reset(&m->families);
    m->count = 0;
}

static void add_labels(struct strbuf *b, const struct stat_sample *s)
{
    for (uint32_t i = 0; i < s->tag_count; i++) {
        size_t label = wire_open(b, METRIC_LABEL);
        wire_bytes(b, LABEL_NAME, s->tags[i].name.p, s->tags[i].name.n);
        wire_bytes(b, LABEL_VALUE, s->tags[i].value.p, s->tags[i].value.n);
        wire_close(b, label);
    }
}

static void add_summary(struct strbuf *b, const struct histogram_view *v)
{
    size_t summary = wire_open(b, METRIC_SUMMARY);
    wire_uint(b, SAMPLE_COUNT, v->count);
    wire_double(b, SAMPLE_SUM, v->sum);
    for (size_t i = 0; i < STATS_QUANTILES; i++) {
        size_t quantile = wire_open(b, SUMMARY_QUANTILE);
        wire_double(b, QUANTILE_QUANTILE, stats_quantiles[i]);
        wire_double(b, QUANTILE_VALUE, histogram_quantile(v, stats_quantiles[i]));
        wire_close(b, quantile);
    }
    wire_close(b, summary);
}

static void add_histogram(struct metrics_service *m, struct str name, const struct histogram_view *v)
{
    struct strbuf *b = &m->families;
    uint32_t n;
    const double *bounds = stats_bucket_bounds(name, &n);
    histogram_cumulative(v, bounds, n, m->counts);
    size_t histogram = wire_open(b, METRIC_HISTOGRAM);
    wire_uint(b, SAMPLE_COUNT, v->count);
    wire_double(b, SAMPLE_SUM, v->sum);
    for (uint32_t i = 0; i < n; i++) {
        size_t bucket = wire_open(b, HISTOGRAM_BUCKET);
        wire_uint(b, BUCKET_COUNT, m->counts[i]);
        wire_double(b, BUCKET_BOUND, bounds[i]);
        wire_close(b, bucket);
    }
    wire_close(b, histogram);
}

static void add_value(struct strbuf *b, unsigned field, double v)
{
    size_t value = wire_open(b, field);
    wire_double(b, VALUE, v);
    wire_close(b, value);
}

static void add_metric(struct metrics_service *m, enum family_type type, const struct stat_sample *s)
{
    struct strbuf *b = &m->families;
    switch (type) {
    case FAMILY_COUNTER:
        add_value(b, METRIC_COUNTER, (double)(m->sink->spec->counters_as_deltas ? s->delta : s->value));
        break;
    case FAMILY_GAUGE:
        add_value(b, METRIC_GAUGE, (double)(int64_t)s->value);
        break;
    case FAMILY_SUMMARY:
        add_summary(b, s->interval);
        break;
    case FAMILY_HISTOGRAM:
        add_histogram(m, s->name, s->interval);
        break;
    }
}

static void add_family(struct metrics_service *m, enum family_type type, const struct stat_sample *s)
{
    const struct stats_sink_spec *spec = m->sink->spec;
    struct strbuf *b = &m->families;
    struct str name = spec->tags_as_labels ? s->extracted : s->name;
    size_t family = wire_open(b, MESSAGE_METRICS);
    wire_bytes(b, FAMILY_NAME, name.p, name.n);
    wire_uint(b, FAMILY_TYPE, type);
    size_t metric = wire_open(b, FAMILY_METRIC);
    if (spec->tags_as_labels)
        add_labels(b, s);
    add_metric(m, type, s);
    wire_uint(b, METRIC_TIMESTAMP_MS, loop_wall_us(m->sink->server->main_loop) / 1000);
    wire_close(b, metric);
    wire_close(b, family);
    m->count++;
    if (m->count == spec->batch_size || b->n >= METRIC_MESSAGE_BYTES)
        ship(m);
}

static void sample(struct stats_sink *sink, const struct stat_sample *s)
{
    struct metrics_service *m = sink->state;
    if (!s->used || m->refused || s->is_of_host) /* as in Envoy */
        return;
    if (s->kind == STAT_COUNTER)
        add_family(m, FAMILY_COUNTER, s);
    else if (s->kind == STAT_GAUGE)
        add_family(m, FAMILY_GAUGE, s);
    else if (s->kind == STAT_HISTOGRAM && s->interval) {
        if (sink->spec->histograms_summary)
            add_family(m, FAMILY_SUMMARY, s);
        if (sink->spec->histograms_whole)
            add_family(m, FAMILY_HISTOGRAM, s);
    }
}

static void flushed(struct stats_sink *sink)
{
    struct metrics_service *m = sink->state;
    ship(m);
    m->refused = false;
}

static int start(struct stats_sink *sink, struct server *server, struct err *err)
{
    (void)err;
    struct metrics_service *m = NEW(metrics_service);
    m->sink = sink;
    m->sender = metric_sender_new(server->main_loop, sink->spec->grpc,
                                  STR("/envoy.service.metrics.v3.MetricsService/StreamMetrics"), true);
    sink->state = m;
    return 0;
}

static bool leave(struct stats_sink *sink)
{
    return metric_sender_leave(((struct metrics_service *)sink->state)->sender);
}

static void stop(struct stats_sink *sink)
{
    struct metrics_service *m = sink->state;
    metric_sender_free(&m->sender);
    strbuf_fini(&m->families);
    mem_free(m);
}

const struct stats_sink_def metrics_service_sink = {"envoy.stat_sinks.metrics_service", start, sample, flushed, stop,
                                                 leave};
