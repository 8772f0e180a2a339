/* SPDX-License-Identifier: Apache-2.0
 *
 * Sinks that tell whole metrics: MetricsServiceConfig, OpenTelemetry's SinkConfig, HystrixSink. custom_metric_conversions
 * (a matcher tree over every metric of a flush) is left unread and thus refused by name. Main thread.
 */
#include "proxy/config/config_priv.h"
#include "proxy/service/grpc_call.h"
#include "proxy/sink/sink.h"

#define MODE(x) ENVOY__CONFIG__METRICS__V3__HISTOGRAM_EMIT_MODE__##x
#define HYSTRIX_BUCKETS 10
#define HYSTRIX_BUCKETS_MAX 3600 /* a bucket is one flush; each cluster keeps this many */

static void read_service(struct config_reader *cr, const pb_grpc_service *m, struct cfg_stats_sink *o)
{
    o->spec->grpc = arena_zalloc(o->arena, sizeof *o->spec->grpc);
    IN("grpc_service")
        cfg_grpc_service(cr, m, o->arena, o->spec->grpc);
}

static bool is_true(struct config_reader *cr, const Google__Protobuf__BoolValue *m, bool otherwise)
{
    (void)cr;
    return m ? m->value : otherwise;
}

int cfg_metrics_service_sink(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_metrics_service *m = (const pb_metrics_service *)msg;
    struct cfg_stats_sink *o = out;
    struct strbuf node = {0};
    read_service(cr, GET(m, grpc_service), o);
    if (GET(m, transport_api_version) != ENVOY__CONFIG__CORE__V3__API_VERSION__V3)
        FAULT("transport_api_version", "must be V3");
    cfg_packed_node(cr, &node);
    o->spec->node = arena_str(o->arena, strbuf_str(&node));
    strbuf_fini(&node);
    o->spec->counters_as_deltas = is_true(cr, GET(m, report_counters_as_deltas), false);
    o->spec->tags_as_labels = GET(m, emit_tags_as_labels);
    o->spec->batch_size = GET(m, batch_size);
    __auto_type mode = GET(m, histogram_emit_mode);
    o->spec->histograms_summary = mode != MODE(HISTOGRAM);
    o->spec->histograms_whole = mode != MODE(SUMMARY);
    return 0;
}

int cfg_open_telemetry_sink(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_otel_sink *m = (const pb_otel_sink *)msg;
    struct cfg_stats_sink *o = out;
    struct cfg_resource resource = {.arena = o->arena};
    read_service(cr, m->protocol_specifier_case ? GET(m, grpc_service) : NULL, o);
    cfg_resource_attributes(cr, "resource_detectors", m->resource_detectors, LEN(m, resource_detectors), &resource);
    o->spec->resource = resource.items;
    o->spec->resource_count = resource.count;
    o->spec->otel_counters_as_deltas = GET(m, report_counters_as_deltas);
    o->spec->otel_histograms_as_deltas = GET(m, report_histograms_as_deltas);
    o->spec->otel_tags_as_attributes = is_true(cr, GET(m, emit_tags_as_attributes), true);
    o->spec->otel_full_name = !is_true(cr, GET(m, use_tag_extracted_name), true);
    o->spec->prefix = arena_str(o->arena, TEXT(m, prefix));
    return 0;
}

int cfg_hystrix_sink(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_hystrix_sink *m = (const pb_hystrix_sink *)msg;
    struct cfg_stats_sink *o = out;
    int64_t buckets = GET(m, num_buckets);
    if (buckets < 0 || buckets > HYSTRIX_BUCKETS_MAX)
        FAULT("num_buckets", "%lld is not between 0 and %d", (long long)buckets, HYSTRIX_BUCKETS_MAX);
    o->spec->buckets = buckets ? (uint32_t)buckets : HYSTRIX_BUCKETS;
    return 0;
}

void cfg_stats_sinks_fini(struct stats_sink_spec *specs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (specs[i].grpc)
            grpc_service_fini(specs[i].grpc);
}
