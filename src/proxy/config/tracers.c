/* SPDX-License-Identifier: Apache-2.0
 *
 * Tracers: OpenTelemetry (OTLP over HTTP or gRPC, samplers, resource detectors) and Zipkin (v2, JSON or protobuf). Samplers
 * that need what isn't here (Dynatrace's, CEL's) are refused by name. Main thread.
 */
#include "proxy/trace/tracer.h"

#include "http/codec/uri.h"
#include "proxy/config/config_priv.h"
#include "proto/wire.h"
#include "proxy/sink/sink.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>

#define SPANS_MAX 1024
#define FLUSH_MS 5000          /* runtime may say otherwise of this … */
#define FLUSH_SPANS 5          /* … and this */

#define OTEL_STATS(X)                                                                              \
    X(OTEL_SPANS_SENT, COUNTER, NONE, "spans_sent", "Spans handed to the exporter")                \
    X(OTEL_SPANS_DROPPED, COUNTER, NONE, "spans_dropped", "Spans dropped: the collector took no more") \
    X(OTEL_TIMER_FLUSHED, COUNTER, NONE, "timer_flushed", "Batches sent because of their age")
#define ZIPKIN_STATS(X)                                                                            \
    X(ZIPKIN_SPANS_SENT, COUNTER, NONE, "spans_sent", "Spans handed to the exporter")              \
    X(ZIPKIN_SPANS_DROPPED, COUNTER, NONE, "spans_dropped", "Spans dropped: the collector took no more") \
    X(ZIPKIN_TIMER_FLUSHED, COUNTER, NONE, "timer_flushed", "Batches sent because of their age")   \
    X(ZIPKIN_REPORTS_SENT, COUNTER, NONE, "reports_sent", "Batches that the collector took")       \
    X(ZIPKIN_REPORTS_DROPPED, COUNTER, NONE, "reports_dropped", "… answered otherwise than 202")   \
    X(ZIPKIN_REPORTS_FAILED, COUNTER, NONE, "reports_failed", "… that it didn't answer")           \
    X(ZIPKIN_REPORTS_SKIPPED, COUNTER, NONE, "reports_skipped_no_cluster", "… without a cluster")
enum { OTEL_STATS(STAT_ENUM_ROW) OTEL_ROWS };
enum { ZIPKIN_STATS(STAT_ENUM_ROW) ZIPKIN_ROWS };
static const struct stat_desc otel_rows[] = {OTEL_STATS(STAT_DESC_ROW)}, zipkin_rows[] = {ZIPKIN_STATS(STAT_DESC_ROW)};
static const struct stat_table otel_table = {otel_rows, ARRAY_LEN(otel_rows)}, zipkin_table = {zipkin_rows, ARRAY_LEN(zipkin_rows)};
static const uint8_t otel_counts[BATCH_COUNTS] = {
    [BATCH_SENT] = STAT_OTEL_SPANS_SENT + 1, [BATCH_DROPPED] = STAT_OTEL_SPANS_DROPPED + 1, [BATCH_TIMER_FLUSHED] = STAT_OTEL_TIMER_FLUSHED + 1};
static const uint8_t zipkin_counts[BATCH_COUNTS] = {
    [BATCH_SENT] = STAT_ZIPKIN_SPANS_SENT + 1, [BATCH_DROPPED] = STAT_ZIPKIN_SPANS_DROPPED + 1,
    [BATCH_TIMER_FLUSHED] = STAT_ZIPKIN_TIMER_FLUSHED + 1, [BATCH_REPORTS_SENT] = STAT_ZIPKIN_REPORTS_SENT + 1,
    [BATCH_REPORTS_DROPPED] = STAT_ZIPKIN_REPORTS_DROPPED + 1, [BATCH_REPORTS_FAILED] = STAT_ZIPKIN_REPORTS_FAILED + 1,
    [BATCH_REPORTS_SKIPPED] = STAT_ZIPKIN_REPORTS_SKIPPED + 1};

/* ---- where to ---- */

/* Fills path, authority, timeout and headers; gives the cluster's name. */
static struct str read_http_service(struct config_reader *cr, const pb_http_service *m, struct tracer *t, struct batch_post *o)
{
    struct uri uri;
    struct str cluster = STR_NULL;
    const pb_http_uri *to = GET(m, http_uri);
    uint32_t n = LEN(m, request_headers_to_add);
    if (!to) {
        FAULT("http_uri", "must be set");
        return cluster;
    }
    struct str text = TEXT(to, uri);
    if (!uri_parse_absolute(text, &uri)) {
        FAULT("http_uri.uri", "'%.*s' is no absolute URI", STR_ARG(text));
    } else {
        o->authority = arena_str(&t->arena, uri.authority);
        o->path = uri.path.n ? arena_str(&t->arena, uri.path) : STR("/");
    }
    o->timeout_ms.value = proto_ms_or(GET(to, timeout), 0);
    if (to->http_upstream_type_case)
        cluster = TEXT(to, cluster);
    if (n) {
        o->more = arena_zalloc(&t->arena, sizeof *o->more);
        cfg_header_rules(cr, "request_headers_to_add", m->request_headers_to_add, n, "", NULL, 0, &t->arena, o->more);
    }
    return cluster;
}

/* ---- OpenTelemetry ---- */

int cfg_sampler_always_on(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    (void)cr, (void)msg;
    struct cfg_sampler *s = out;
    s->out->kind = OTEL_ALWAYS_ON;
    return 0;
}

int cfg_sampler_ratio(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_sampler_ratio *m = (const pb_sampler_ratio *)msg;
    struct cfg_sampler *s = out;
    struct runtime_fraction f = {.numerator = 0, .denominator = 100};
    if (GET(m, sampling_percentage))
        IN("sampling_percentage")
            f = cfg_fraction(cr, m->sampling_percentage);
    s->out->kind = OTEL_RATIO;
    s->out->numerator = f.numerator;
    s->out->denominator = f.denominator;
    return 0;
}

static const struct otel_sampler *read_sampler(struct config_reader *cr, const char *field, const pb_extension *m, struct arena *a)
{
    struct cfg_sampler made = {.arena = a};
    ProtobufCMessage *msg = NULL;
    made.out = arena_zalloc(a, sizeof *made.out);
    if (m)
        IN("%s", field) {
            const struct extension *ext = cfg_extension(cr, EXT_TRACE_SAMPLER, "typed_config", TEXT(m, name), GET(m, typed_config), &msg);
            if (ext)
                IN("typed_config")
                    ext->read(cr, msg, &made);
        }
    return made.out;
}

int cfg_sampler_parent(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_sampler_parent *m = (const pb_sampler_parent *)msg;
    struct cfg_sampler *s = out;
    s->out->kind = OTEL_PARENT_BASED;
    if (!GET(m, wrapped_sampler))
        return FAULT("wrapped_sampler", "must be set");
    s->out->wrapped = read_sampler(cr, "wrapped_sampler", m->wrapped_sampler, s->arena);
    return 0;
}

static bool is_overridden(const struct cfg_resource *r, uint32_t i)
{
    for (uint32_t k = i + 1; k < r->count; k++)
        if (str_eq(r->items[k].key, r->items[i].key))
            return true;
    return false;
}

static void pack_attribute(struct strbuf *out, struct str key, struct str value)
{
    size_t pair = wire_open(out, 1);
    wire_bytes(out, 1, key.p, key.n);
    size_t any = wire_open(out, 2);
    wire_bytes(out, 1, value.p, value.n);
    wire_close(out, any);
    wire_close(out, pair);
}

/* resource.v1.Resource: what detectors found, and the service's name where none of them said it. */
static struct str *pack_resource(struct config_reader *cr, const pb_otel_tracer *m, struct tracer *t)
{
    struct cfg_resource found = {.arena = &t->arena};
    struct strbuf packed = {0};
    bool has_name = false;
    struct str name = TEXT(m, service_name), *out = arena_alloc(&t->arena, sizeof *out);
    cfg_resource_attributes(cr, "resource_detectors", m->resource_detectors, LEN(m, resource_detectors), &found);
    for (uint32_t i = 0; i < found.count; i++) {
        has_name |= str_eq(found.items[i].key, STR("service.name"));
        if (!is_overridden(&found, i))
            pack_attribute(&packed, found.items[i].key, found.items[i].value);
    }
    if (!has_name)
        pack_attribute(&packed, STR("service.name"), name.n ? name : STR("unknown_service:weft-proxy"));
    *out = arena_str(&t->arena, strbuf_str(&packed));
    strbuf_fini(&packed);
    return out;
}

/* By gRPC, or else by HTTP. */
static void read_otel_collector(struct config_reader *cr, const pb_otel_tracer *m, struct tracer *t, struct batch_opts *o)
{
    struct str cluster = STR_NULL;
    if (GET(m, grpc_service)) {
        if (GET(m, http_service))
            FAULT("http_service", "excludes grpc_service");
        o->way = &batch_by_call;
        o->grpc.service = arena_zalloc(&t->arena, sizeof *o->grpc.service);
        IN("grpc_service")
            cfg_grpc_service(cr, m->grpc_service, &t->arena, o->grpc.service);
        return;
    }
    o->way = &batch_by_post;
    o->post = arena_zalloc(&t->arena, sizeof *o->post);
    o->post->content_type = STR("application/x-protobuf");
    o->post->user_agent = STR("OTel-OTLP-Exporter-weft-proxy/" WEFT_VERSION);
    if (!GET(m, http_service))
        return;
    IN("http_service")
        cluster = read_http_service(cr, m->http_service, t, o->post);
    cfg_cluster_ref(cr, "http_service.http_uri.cluster", arena_str(&cr->out->arena, cluster), &o->post->cluster, true);
}

int cfg_otel_tracer(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_otel_tracer *m = (const pb_otel_tracer *)msg;
    struct tracer *t = out;
    struct batch_opts o = {
        .stats = &otel_table, .rows = otel_counts, .stat_prefix = STR("tracing.opentelemetry."),
        .flush_ms = {STR("tracing.opentelemetry.flush_interval_ms"), FLUSH_MS},
        .grpc.method = STR("/opentelemetry.proto.collector.trace.v1.TraceService/Export")};
    tracer_make_otel(t, read_sampler(cr, "sampler", GET(m, sampler), &t->arena));
    t->flush_spans = (struct batch_number){STR("tracing.opentelemetry.min_flush_spans"), FLUSH_SPANS};
    t->spans_max = proto_u32_or(GET(m, max_cache_size), SPANS_MAX);
    t->wrap = otel_wrap;
    t->wrap_owner = pack_resource(cr, m, t);
    read_otel_collector(cr, m, t, &o);
    tracer_sends(t, &o);
    return 0;
}

/* ---- Zipkin ---- */

/* The first address of an interface that is up and not loopback: what Envoy calls its own. */
static void find_address(struct zipkin_options *o, struct arena *a)
{
    struct ifaddrs *all = NULL;
    char text[INET6_ADDRSTRLEN] = "127.0.0.1";
    if (getifaddrs(&all) == 0)
        for (struct ifaddrs *i = all; i; i = i->ifa_next)
            if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET && i->ifa_flags & IFF_UP && !(i->ifa_flags & IFF_LOOPBACK)) {
                inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr, text, sizeof text);
                break;
            }
    if (all)
        freeifaddrs(all);
    o->address = arena_str(a, str_from(text));
}

#define VERSION(x) ENVOY__CONFIG__TRACE__V3__ZIPKIN_CONFIG__COLLECTOR_ENDPOINT_VERSION__##x

static void read_zipkin_options(struct config_reader *cr, const pb_zipkin *m, struct zipkin_options *o, struct arena *a)
{
    o->service_name = arena_str(a, cr->out->node.cluster);
    find_address(o, a);
    o->trace_id_128bit = GET(m, trace_id_128bit);
    o->shared_span_context = proto_bool_or(GET(m, shared_span_context), true);
    o->split_spans = GET(m, split_spans_for_request);
    o->with_w3c = GET(m, trace_context_option) == ENVOY__CONFIG__TRACE__V3__ZIPKIN_CONFIG__TRACE_CONTEXT_OPTION__USE_B3_WITH_W3C_PROPAGATION;
    switch (GET(m, collector_endpoint_version)) {
    case VERSION(HTTP_JSON):
        break;
    case VERSION(HTTP_PROTO):
        o->is_proto = true;
        break;
    default:
        FAULT("collector_endpoint_version", "must be HTTP_JSON or HTTP_PROTO");
    }
}

static struct str read_collector(struct config_reader *cr, const pb_zipkin *m, struct tracer *t, struct batch_post *o)
{
    struct str cluster = TEXT(m, collector_cluster), path = TEXT(m, collector_endpoint), host = TEXT(m, collector_hostname);
    if (GET(m, collector_service)) {
        IN("collector_service")
            cluster = read_http_service(cr, m->collector_service, t, o);
        return cluster;
    }
    if (!cluster.n)
        FAULT("collector_cluster", "must be set");
    if (!path.n || path.p[0] != '/')
        FAULT("collector_endpoint", "must be a path");
    o->path = arena_str(&t->arena, path);
    o->authority = arena_str(&t->arena, host.n ? host : cluster);
    return cluster;
}

int cfg_zipkin_tracer(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_zipkin *m = (const pb_zipkin *)msg;
    struct tracer *t = out;
    struct zipkin_options *options = arena_zalloc(&t->arena, sizeof *options);
    struct batch_post *post = arena_zalloc(&t->arena, sizeof *post);
    const struct batch_opts o = {
        .way = &batch_by_post, .post = post, .stats = &zipkin_table, .rows = zipkin_counts, .stat_prefix = STR("tracing.zipkin."),
        .flush_ms = {STR("tracing.zipkin.flush_interval_ms"), FLUSH_MS}};
    post->timeout_ms = (struct batch_number){STR("tracing.zipkin.request_timeout"), 5000};
    post->accepted_status = 202;
    t->flush_spans = (struct batch_number){STR("tracing.zipkin.min_flush_spans"), FLUSH_SPANS};
    t->spans_max = SPANS_MAX;
    read_zipkin_options(cr, m, options, &t->arena);
    struct str cluster = read_collector(cr, m, t, post);
    post->content_type = options->is_proto ? STR("application/x-protobuf") : STR("application/json");
    t->wrap = options->is_proto ? zipkin_wrap_proto : zipkin_wrap_json;
    tracer_make_zipkin(t, options);
    tracer_sends(t, &o);
    cfg_cluster_ref(cr, m->collector_service ? "collector_service.http_uri.cluster" : "collector_cluster",
                    arena_str(&cr->out->arena, cluster), &post->cluster, true);
    return 0;
}
