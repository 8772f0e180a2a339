/* SPDX-License-Identifier: Apache-2.0
 *
 * Extension providers that take spans, as Envoy's tracers.
 */
#include "control/translate/telemetry_priv.h"

#include "base/log.h"
#include "envoy/config/trace/v3/datadog.pb-c.h"
#include "envoy/config/trace/v3/opentelemetry.pb-c.h"
#include "envoy/config/trace/v3/skywalking.pb-c.h"
#include "envoy/config/trace/v3/zipkin.pb-c.h"

#define FROM_HEADER Istio__Mesh__V1alpha1__ExtensionProvider__HttpHeader
#define PROVIDER_CASE(x) ISTIO__MESH__V1ALPHA1__EXTENSION_PROVIDER__PROVIDER_##x
#define TIMEOUT_MS_DEFAULT 5000

static const char zipkin[] = "{\"trace_id_128bit\":true,\"shared_span_context\":false,\"collector_endpoint_version\":\"HTTP_JSON\"}";
static const char environment_detector[] =
    "{\"name\":\"envoy.tracers.opentelemetry.resource_detectors.environment\",\"typed_config\":{\"@type\":\"type.googleapis.com/"
    "envoy.extensions.tracers.opentelemetry.resource_detectors.v3.EnvironmentResourceDetectorConfig\"}}";
static const char dynatrace_detector[] =
    "{\"name\":\"envoy.tracers.opentelemetry.resource_detectors.dynatrace\",\"typed_config\":{\"@type\":\"type.googleapis.com/"
    "envoy.extensions.tracers.opentelemetry.resource_detectors.v3.DynatraceResourceDetectorConfig\"}}";

struct str tracing_service_name(const struct translation *t)
{
    const Envoy__Config__Core__V3__Node *n = (const Envoy__Config__Core__V3__Node *)t->node->message;
    if (n->cluster[0])
        return str_from(n->cluster);
    return arena_printf(t->arena, "%.*s.%.*s", STR_ARG(t->node->name), STR_ARG(t->node->ns));
}

static bool header_is_known(const FROM_HEADER *h)
{
    if (h->header_value_case != ISTIO__MESH__V1ALPHA1__EXTENSION_PROVIDER__HTTP_HEADER__HEADER_VALUE_ENV_NAME)
        return true;
    LOG_SELDOM(CONFIG, WARNING, "extensionProviders: header \"%s\": envName is not supported yet", h->name);
    return false;
}

static Envoy__Config__Core__V3__HeaderValue *header_value(const struct translation *t, const FROM_HEADER *from)
{
    Envoy__Config__Core__V3__HeaderValue *h =
        MAKE(t, Envoy__Config__Core__V3__HeaderValue, envoy__config__core__v3__header_value__descriptor);
    h->key = from->name;
    if (from->header_value_case == ISTIO__MESH__V1ALPHA1__EXTENSION_PROVIDER__HTTP_HEADER__HEADER_VALUE_VALUE)
        h->value = from->value;
    return h;
}

struct http_to {
    struct str path;
    Google__Protobuf__Duration *timeout;
    FROM_HEADER *const *headers;
    size_t header_count;
};

static Envoy__Config__Core__V3__HttpService *http_service(const struct translation *t, const struct provider_service *to,
                                                          const struct http_to *how)
{
    Envoy__Config__Core__V3__HttpService *s =
        MAKE(t, Envoy__Config__Core__V3__HttpService, envoy__config__core__v3__http_service__descriptor);
    struct many headers = {0};
    s->http_uri = MAKE(t, Envoy__Config__Core__V3__HttpUri, envoy__config__core__v3__http_uri__descriptor);
    s->http_uri->uri = textf(t, "http://%.*s%.*s", STR_ARG(to->host), STR_ARG(how->path));
    s->http_uri->http_upstream_type_case = ENVOY__CONFIG__CORE__V3__HTTP_URI__HTTP_UPSTREAM_TYPE_CLUSTER;
    s->http_uri->cluster = text(t, to->cluster);
    s->http_uri->timeout = how->timeout ? how->timeout : duration_of_ms(t, TIMEOUT_MS_DEFAULT);
    for (size_t i = 0; i < how->header_count; i++) {
        if (!header_is_known(how->headers[i]))
            continue;
        Envoy__Config__Core__V3__HeaderValueOption *o =
            MAKE(t, Envoy__Config__Core__V3__HeaderValueOption, envoy__config__core__v3__header_value_option__descriptor);
        o->header = header_value(t, how->headers[i]);
        o->append_action = ENVOY__CONFIG__CORE__V3__HEADER_VALUE_OPTION__HEADER_APPEND_ACTION__OVERWRITE_IF_EXISTS_OR_ADD;
        many_add(t, &headers, o);
    }
    s->request_headers_to_add = (Envoy__Config__Core__V3__HeaderValueOption **)headers.items;
    s->n_request_headers_to_add = headers.count;
    return s;
}

static struct str path_or(const char *path, struct str otherwise)
{
    return path[0] ? str_from(path) : otherwise;
}

static const ProtobufCMessage *zipkin_config(const struct translation *t, const Istio__Mesh__V1alpha1__ExtensionProvider__ZipkinTracingProvider *from,
                                             struct err *err)
{
    struct provider_service to;
    if (provider_service(t, from->service, from->port, &to, err))
        return NULL;
    Envoy__Config__Trace__V3__ZipkinConfig *c =
        COPY_OF(t, Envoy__Config__Trace__V3__ZipkinConfig, envoy__config__trace__v3__zipkin_config__descriptor, zipkin);
    c->trace_id_128bit = !from->enable_64bit_trace_id;
    if (from->trace_context_option ==
        ISTIO__MESH__V1ALPHA1__EXTENSION_PROVIDER__ZIPKIN_TRACING_PROVIDER__TRACE_CONTEXT_OPTION__USE_B3_WITH_W3C_PROPAGATION)
        c->trace_context_option = ENVOY__CONFIG__TRACE__V3__ZIPKIN_CONFIG__TRACE_CONTEXT_OPTION__USE_B3_WITH_W3C_PROPAGATION;
    c->collector_service = http_service(
        t, &to, &(struct http_to){path_or(from->path, STR("/api/v2/spans")), from->timeout, from->headers, from->n_headers});
    return &c->base;
}

static void set_detectors(const struct translation *t, const Istio__Mesh__V1alpha1__ExtensionProvider__ResourceDetectors *from,
                          Envoy__Config__Trace__V3__OpenTelemetryConfig *c)
{
    struct many all = {0};
    const ProtobufCMessageDescriptor *desc = &envoy__config__core__v3__typed_extension_config__descriptor;
    if (from && from->environment)
        many_add(t, &all, constant(t, desc, environment_detector));
    if (from && from->dynatrace)
        many_add(t, &all, constant(t, desc, dynatrace_detector));
    c->resource_detectors = (Envoy__Config__Core__V3__TypedExtensionConfig **)all.items;
    c->n_resource_detectors = all.count;
}

static void set_call(const struct translation *t, const Istio__Mesh__V1alpha1__ExtensionProvider__GrpcService *from,
                     Envoy__Config__Core__V3__GrpcService *g)
{
    struct many metadata = {0};
    for (size_t i = 0; from && i < from->n_initial_metadata; i++)
        if (header_is_known(from->initial_metadata[i]))
            many_add(t, &metadata, header_value(t, from->initial_metadata[i]));
    g->timeout = from ? from->timeout : NULL;
    g->initial_metadata = (Envoy__Config__Core__V3__HeaderValue **)metadata.items;
    g->n_initial_metadata = metadata.count;
}

static const ProtobufCMessage *otlp_config(const struct translation *t,
                                           const Istio__Mesh__V1alpha1__ExtensionProvider__OpenTelemetryTracingProvider *from, struct err *err)
{
    struct provider_service to;
    if (provider_service(t, from->service, from->port, &to, err))
        return NULL;
    Envoy__Config__Trace__V3__OpenTelemetryConfig *c =
        MAKE(t, Envoy__Config__Trace__V3__OpenTelemetryConfig, envoy__config__trace__v3__open_telemetry_config__descriptor);
    if (from->http)
        c->http_service = http_service(
            t, &to, &(struct http_to){str_from(from->http->path), from->http->timeout, from->http->headers, from->http->n_headers});
    else {
        c->grpc_service = provider_grpc(t, &to);
        set_call(t, from->grpc, c->grpc_service);
    }
    c->service_name = text(t, tracing_service_name(t));
    set_detectors(t, from->resource_detectors, c);
    if (from->sampling_case == ISTIO__MESH__V1ALPHA1__EXTENSION_PROVIDER__OPEN_TELEMETRY_TRACING_PROVIDER__SAMPLING_DYNATRACE_SAMPLER)
        LOG_SELDOM(CONFIG, WARNING, "extensionProviders: opentelemetry.dynatraceSampler is not supported yet");
    return &c->base;
}

static const ProtobufCMessage *datadog_config(const struct translation *t,
                                              const Istio__Mesh__V1alpha1__ExtensionProvider__DatadogTracingProvider *from, struct err *err)
{
    struct provider_service to;
    if (provider_service(t, from->service, from->port, &to, err))
        return NULL;
    Envoy__Config__Trace__V3__DatadogConfig *c =
        MAKE(t, Envoy__Config__Trace__V3__DatadogConfig, envoy__config__trace__v3__datadog_config__descriptor);
    c->collector_cluster = text(t, to.cluster);
    c->collector_hostname = text(t, to.host);
    c->service_name = text(t, tracing_service_name(t));
    return &c->base;
}

static const ProtobufCMessage *skywalking_config(const struct translation *t,
                                                 const Istio__Mesh__V1alpha1__ExtensionProvider__SkyWalkingTracingProvider *from,
                                                 struct err *err)
{
    struct provider_service to;
    if (provider_service(t, from->service, from->port, &to, err))
        return NULL;
    Envoy__Config__Trace__V3__SkyWalkingConfig *c =
        MAKE(t, Envoy__Config__Trace__V3__SkyWalkingConfig, envoy__config__trace__v3__sky_walking_config__descriptor);
    c->grpc_service = provider_grpc(t, &to);
    c->client_config = MAKE(t, Envoy__Config__Trace__V3__ClientConfig, envoy__config__trace__v3__client_config__descriptor);
    c->client_config->service_name = text(t, tracing_service_name(t));
    if (from->access_token[0]) {
        c->client_config->backend_token_specifier_case = ENVOY__CONFIG__TRACE__V3__CLIENT_CONFIG__BACKEND_TOKEN_SPECIFIER_BACKEND_TOKEN;
        c->client_config->backend_token = from->access_token;
    }
    return &c->base;
}

struct tracer tracer_of(const struct translation *t, const PROVIDER *p, struct err *err)
{
    switch (p->provider_case) {
    case PROVIDER_CASE(ZIPKIN):
        return (struct tracer){"envoy.tracers.zipkin", zipkin_config(t, p->zipkin, err), p->zipkin->max_tag_length, false};
    case PROVIDER_CASE(OPENTELEMETRY):
        return (struct tracer){"envoy.tracers.opentelemetry", otlp_config(t, p->opentelemetry, err), p->opentelemetry->max_tag_length, false};
    case PROVIDER_CASE(DATADOG):
        return (struct tracer){"envoy.tracers.datadog", datadog_config(t, p->datadog, err), p->datadog->max_tag_length, false};
    case PROVIDER_CASE(SKYWALKING):
        return (struct tracer){"envoy.tracers.skywalking", skywalking_config(t, p->skywalking, err), 0, true};
    default:
        err_set(err, ERR_UNSUPPORTED, "it takes no spans, or in a way that is not supported");
        return (struct tracer){0};
    }
}
