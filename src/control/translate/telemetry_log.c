/* SPDX-License-Identifier: Apache-2.0
 *
 * Access logs: of Telemetry objects and the mesh's default providers; without any of them the mesh's accessLogFile. Formats that nobody
 * chose are Istio's, which people's tools read.
 */
#include "control/translate/telemetry_priv.h"

#include "base/log.h"
#include "envoy/extensions/access_loggers/file/v3/file.pb-c.h"
#include "envoy/extensions/access_loggers/filters/cel/v3/cel.pb-c.h"
#include "envoy/extensions/access_loggers/grpc/v3/als.pb-c.h"
#include "envoy/extensions/access_loggers/open_telemetry/v3/logs_service.pb-c.h"
#include "proto/json.h"

#define ACCESS_LOG Envoy__Config__Accesslog__V3__AccessLog
#define FILE_LOG Envoy__Extensions__AccessLoggers__File__V3__FileAccessLog
#define FORMAT Envoy__Config__Core__V3__SubstitutionFormatString
#define COMMON Envoy__Extensions__AccessLoggers__Grpc__V3__CommonGrpcAccessLogConfig
#define OTEL_LOG Envoy__Extensions__AccessLoggers__OpenTelemetry__V3__OpenTelemetryAccessLogConfig
#define ANY_VALUE Opentelemetry__Proto__Common__V1__AnyValue
#define KEY_VALUE Opentelemetry__Proto__Common__V1__KeyValue
#define LOGGING Istio__Telemetry__V1alpha1__AccessLogging
#define PROVIDER_CASE(x) ISTIO__MESH__V1ALPHA1__EXTENSION_PROVIDER__PROVIDER_##x
#define FROM(x) Istio__Mesh__V1alpha1__ExtensionProvider__##x

#define TEXT_DEFAULT                                                                                                                \
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% "              \
    "%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% " \
    "%DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" "      \
    "\"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% "          \
    "%DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
static const char json_default[] =
    "{\"start_time\":\"%START_TIME%\",\"route_name\":\"%ROUTE_NAME%\",\"method\":\"%REQ(:METHOD)%\","
    "\"path\":\"%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%\",\"protocol\":\"%PROTOCOL%\",\"response_code\":\"%RESPONSE_CODE%\","
    "\"response_flags\":\"%RESPONSE_FLAGS%\",\"response_code_details\":\"%RESPONSE_CODE_DETAILS%\","
    "\"connection_termination_details\":\"%CONNECTION_TERMINATION_DETAILS%\",\"bytes_received\":\"%BYTES_RECEIVED%\","
    "\"bytes_sent\":\"%BYTES_SENT%\",\"duration\":\"%DURATION%\",\"upstream_service_time\":\"%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%\","
    "\"x_forwarded_for\":\"%REQ(X-FORWARDED-FOR)%\",\"user_agent\":\"%REQ(USER-AGENT)%\",\"request_id\":\"%REQ(X-REQUEST-ID)%\","
    "\"authority\":\"%REQ(:AUTHORITY)%\",\"upstream_host\":\"%UPSTREAM_HOST%\",\"upstream_cluster\":\"%UPSTREAM_CLUSTER_RAW%\","
    "\"upstream_local_address\":\"%UPSTREAM_LOCAL_ADDRESS%\",\"downstream_local_address\":\"%DOWNSTREAM_LOCAL_ADDRESS%\","
    "\"downstream_remote_address\":\"%DOWNSTREAM_REMOTE_ADDRESS%\",\"requested_server_name\":\"%REQUESTED_SERVER_NAME%\","
    "\"upstream_transport_failure_reason\":\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\"}";
static const char without_query[] =
    "{\"name\":\"envoy.formatter.req_without_query\",\"typed_config\":{\"@type\":"
    "\"type.googleapis.com/envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery\"}}";
static const char cel_formatter[] = "{\"name\":\"envoy.formatter.cel\",\"typed_config\":{\"@type\":"
                                    "\"type.googleapis.com/envoy.extensions.formatter.cel.v3.Cel\"}}";
static const char peers_logged[] = "{\"transport_api_version\":\"V3\",\"filter_state_objects_to_log\":[\"upstream_peer\",\"downstream_peer\"]}";

/* ---- formats ---- */

static void add_formatters(const struct translation *t, struct str all_text, FORMAT *f)
{
    const ProtobufCMessageDescriptor *desc = &envoy__config__core__v3__typed_extension_config__descriptor;
    struct many formatters = {0};
    if (str_find(all_text, STR("%REQ_WITHOUT_QUERY")) >= 0)
        many_add(t, &formatters, constant(t, desc, without_query));
    if (str_find(all_text, STR("%CEL")) >= 0)
        many_add(t, &formatters, constant(t, desc, cel_formatter));
    f->formatters = (Envoy__Config__Core__V3__TypedExtensionConfig **)formatters.items;
    f->n_formatters = formatters.count;
}

static FORMAT *format_new(const struct translation *t, bool omits_empty)
{
    FORMAT *f = MAKE(t, FORMAT, envoy__config__core__v3__substitution_format_string__descriptor);
    f->omit_empty_values = omits_empty;
    return f;
}

/* "": Istio's. A line ends where the text does. */
static FORMAT *format_text(const struct translation *t, struct str format, bool omits_empty)
{
    FORMAT *f = format_new(t, omits_empty);
    struct str whole = format.n == 0 ? STR(TEXT_DEFAULT)
                       : str_has_suffix(format, STR("\n")) ? format
                                                           : arena_printf(t->arena, "%.*s\n", STR_ARG(format));
    f->format_case = ENVOY__CONFIG__CORE__V3__SUBSTITUTION_FORMAT_STRING__FORMAT_TEXT_FORMAT_SOURCE;
    f->text_format_source = MAKE(t, Envoy__Config__Core__V3__DataSource, envoy__config__core__v3__data_source__descriptor);
    f->text_format_source->specifier_case = ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_STRING;
    f->text_format_source->inline_string = text(t, whole);
    add_formatters(t, whole, f);
    return f;
}

/* NULL or empty: Istio's. */
static FORMAT *format_json(const struct translation *t, const Google__Protobuf__Struct *labels, bool omits_empty)
{
    FORMAT *f = format_new(t, omits_empty);
    struct strbuf whole = {0};
    if (!labels || labels->n_fields == 0)
        labels = (const Google__Protobuf__Struct *)constant(t, &google__protobuf__struct__descriptor, json_default);
    f->format_case = ENVOY__CONFIG__CORE__V3__SUBSTITUTION_FORMAT_STRING__FORMAT_JSON_FORMAT;
    f->json_format = (Google__Protobuf__Struct *)(uintptr_t)labels;
    f->json_format_options = MAKE(t, Envoy__Config__Core__V3__JsonFormatOptions, envoy__config__core__v3__json_format_options__descriptor);
    json_encode(&labels->base, 0, &whole);
    add_formatters(t, strbuf_str(&whole), f);
    strbuf_fini(&whole);
    return f;
}

/* accessLogFormat and accessLogEncoding of the mesh. */
static FORMAT *format_of_mesh(const struct translation *t)
{
    const struct mesh *m = world_mesh(t->world);
    struct err_list faults = {0};
    ProtobufCMessage *labels = NULL;
    if (!m->access_log_json)
        return format_text(t, m->access_log_format, false);
    if (m->access_log_format.n &&
        json_decode(t->protos, m->access_log_format, &google__protobuf__struct__descriptor, NULL, &labels, &faults)) {
        LOG_SELDOM(CONFIG, WARNING, "accessLogFormat isn't a JSON object: Istio's own is taken");
        labels = NULL;
    }
    err_list_fini(&faults);
    return format_json(t, (const Google__Protobuf__Struct *)labels, false);
}

/* ---- loggers ---- */

static ACCESS_LOG *logger(const struct translation *t, const char *name, const ProtobufCMessage *config)
{
    ACCESS_LOG *log = MAKE(t, ACCESS_LOG, envoy__config__accesslog__v3__access_log__descriptor);
    log->name = text(t, str_from(name));
    log->config_type_case = ENVOY__CONFIG__ACCESSLOG__V3__ACCESS_LOG__CONFIG_TYPE_TYPED_CONFIG;
    log->typed_config = any_of(t, config);
    return log;
}

static ACCESS_LOG *file_log(const struct translation *t, struct str path, FORMAT *format)
{
    FILE_LOG *f = MAKE(t, FILE_LOG, envoy__extensions__access_loggers__file__v3__file_access_log__descriptor);
    f->path = text(t, path.n ? path : STR("/dev/stdout"));
    f->access_log_format_case = ENVOY__EXTENSIONS__ACCESS_LOGGERS__FILE__V3__FILE_ACCESS_LOG__ACCESS_LOG_FORMAT_LOG_FORMAT;
    f->log_format = format;
    return logger(t, "envoy.access_loggers.file", &f->base);
}

static ACCESS_LOG *file_log_of(const struct translation *t, const PROVIDER *p)
{
    const FROM(EnvoyFileAccessLogProvider) *from = p->envoy_file_access_log;
    const FROM(EnvoyFileAccessLogProvider__LogFormat) *format = from->log_format;
    bool has_labels = format && format->log_format_case ==
                                    ISTIO__MESH__V1ALPHA1__EXTENSION_PROVIDER__ENVOY_FILE_ACCESS_LOG_PROVIDER__LOG_FORMAT__LOG_FORMAT_LABELS;
    bool has_text = format && format->log_format_case ==
                                  ISTIO__MESH__V1ALPHA1__EXTENSION_PROVIDER__ENVOY_FILE_ACCESS_LOG_PROVIDER__LOG_FORMAT__LOG_FORMAT_TEXT;
    FORMAT *f;
    if (!format && !from->omit_empty_values && strcmp(p->name, "envoy") == 0)
        f = format_of_mesh(t);
    else
        f = has_labels ? format_json(t, format->labels, from->omit_empty_values)
                       : format_text(t, has_text ? str_from(format->text) : STR(""), from->omit_empty_values);
    return file_log(t, str_from(from->path), f);
}

/* NULL: there is no such service. */
static COMMON *common(const struct translation *t, const char *service, uint32_t port, const char *log_name, const char *name_default,
                      struct err *err)
{
    struct provider_service to;
    if (provider_service(t, service, port, &to, err))
        return NULL;
    COMMON *c = COPY_OF(t, COMMON, envoy__extensions__access_loggers__grpc__v3__common_grpc_access_log_config__descriptor, peers_logged);
    c->log_name = text(t, str_from(log_name[0] ? log_name : name_default));
    c->grpc_service = provider_grpc(t, &to);
    return c;
}

static ACCESS_LOG *http_als(const struct translation *t, const FROM(EnvoyHttpGrpcV3LogProvider) *from, struct err *err)
{
    Envoy__Extensions__AccessLoggers__Grpc__V3__HttpGrpcAccessLogConfig *c =
        MAKE(t, Envoy__Extensions__AccessLoggers__Grpc__V3__HttpGrpcAccessLogConfig,
             envoy__extensions__access_loggers__grpc__v3__http_grpc_access_log_config__descriptor);
    c->common_config = common(t, from->service, from->port, from->log_name, "http_envoy_accesslog", err);
    if (!c->common_config)
        return NULL;
    if (from->n_filter_state_objects_to_log) {
        c->common_config->filter_state_objects_to_log = from->filter_state_objects_to_log;
        c->common_config->n_filter_state_objects_to_log = from->n_filter_state_objects_to_log;
    }
    c->additional_request_headers_to_log = from->additional_request_headers_to_log;
    c->n_additional_request_headers_to_log = from->n_additional_request_headers_to_log;
    c->additional_response_headers_to_log = from->additional_response_headers_to_log;
    c->n_additional_response_headers_to_log = from->n_additional_response_headers_to_log;
    c->additional_response_trailers_to_log = from->additional_response_trailers_to_log;
    c->n_additional_response_trailers_to_log = from->n_additional_response_trailers_to_log;
    return logger(t, "envoy.http_grpc_access_log", &c->base);
}

static ACCESS_LOG *tcp_als(const struct translation *t, const FROM(EnvoyTcpGrpcV3LogProvider) *from, struct err *err)
{
    Envoy__Extensions__AccessLoggers__Grpc__V3__TcpGrpcAccessLogConfig *c =
        MAKE(t, Envoy__Extensions__AccessLoggers__Grpc__V3__TcpGrpcAccessLogConfig,
             envoy__extensions__access_loggers__grpc__v3__tcp_grpc_access_log_config__descriptor);
    c->common_config = common(t, from->service, from->port, from->log_name, "tcp_envoy_accesslog", err);
    if (!c->common_config)
        return NULL;
    if (from->n_filter_state_objects_to_log) {
        c->common_config->filter_state_objects_to_log = from->filter_state_objects_to_log;
        c->common_config->n_filter_state_objects_to_log = from->n_filter_state_objects_to_log;
    }
    return logger(t, "envoy.tcp_grpc_access_log", &c->base);
}

static ANY_VALUE *otel_text(const struct translation *t, struct str s)
{
    ANY_VALUE *v = MAKE(t, ANY_VALUE, opentelemetry__proto__common__v1__any_value__descriptor);
    v->value_case = OPENTELEMETRY__PROTO__COMMON__V1__ANY_VALUE__VALUE_STRING_VALUE;
    v->string_value = text(t, s);
    return v;
}

/* Labels are operators in text; other values can't be. */
static Opentelemetry__Proto__Common__V1__KeyValueList *otel_labels(const struct translation *t, const Google__Protobuf__Struct *labels)
{
    struct many all = {0};
    for (size_t i = 0; labels && i < labels->n_fields; i++) {
        if (labels->fields[i]->value->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE) {
            LOG_SELDOM(CONFIG, WARNING, "extensionProviders: envoyOtelAls.logFormat.labels.%s isn't text", labels->fields[i]->key);
            continue;
        }
        KEY_VALUE *kv = MAKE(t, KEY_VALUE, opentelemetry__proto__common__v1__key_value__descriptor);
        kv->key = labels->fields[i]->key;
        kv->value = otel_text(t, str_from(labels->fields[i]->value->string_value));
        many_add(t, &all, kv);
    }
    if (all.count == 0)
        return NULL;
    Opentelemetry__Proto__Common__V1__KeyValueList *list =
        MAKE(t, Opentelemetry__Proto__Common__V1__KeyValueList, opentelemetry__proto__common__v1__key_value_list__descriptor);
    list->values = (KEY_VALUE **)all.items;
    list->n_values = all.count;
    return list;
}

static ACCESS_LOG *otel_als(const struct translation *t, const FROM(EnvoyOpenTelemetryLogProvider) *from, struct err *err)
{
    OTEL_LOG *c = MAKE(t, OTEL_LOG, envoy__extensions__access_loggers__open_telemetry__v3__open_telemetry_access_log_config__descriptor);
    const FROM(EnvoyOpenTelemetryLogProvider__LogFormat) *format = from->log_format;
    c->common_config = common(t, from->service, from->port, from->log_name, "otel_envoy_accesslog", err);
    if (!c->common_config)
        return NULL;
    c->body = otel_text(t, format && format->text[0] ? str_from(format->text) : STR(TEXT_DEFAULT));
    c->attributes = otel_labels(t, format ? format->labels : NULL);
    return logger(t, "envoy.access_loggers.open_telemetry", &c->base);
}

/* NULL: the provider takes no logs. */
static ACCESS_LOG *log_to(const struct translation *t, struct str name)
{
    const PROVIDER *p = provider_find(t, name);
    struct err err = {0};
    ACCESS_LOG *log = NULL;
    switch (p ? p->provider_case : PROVIDER_CASE(_NOT_SET)) {
    case PROVIDER_CASE(ENVOY_FILE_ACCESS_LOG):
        return file_log_of(t, p);
    case PROVIDER_CASE(ENVOY_HTTP_ALS):
        log = http_als(t, p->envoy_http_als, &err);
        break;
    case PROVIDER_CASE(ENVOY_TCP_ALS):
        log = tcp_als(t, p->envoy_tcp_als, &err);
        break;
    case PROVIDER_CASE(ENVOY_OTEL_ALS):
        log = otel_als(t, p->envoy_otel_als, &err);
        break;
    default:
        if (!p && str_eq(name, STR("envoy"))) /* there without being written down */
            return file_log(t, STR(""), format_of_mesh(t));
        err_set(&err, ERR_UNSUPPORTED, p ? "it takes no access logs, or in a way that is not supported" : "there is none of that name");
    }
    if (!log)
        LOG_SELDOM(CONFIG, WARNING, "access log provider \"%.*s\": %s", STR_ARG(name), err.message);
    return log;
}

/* ---- who gets them: a level's providers are its parent's where it names none ---- */

struct wanted {
    const char *name;
    const Istio__Telemetry__V1alpha1__AccessLogging__Filter *filter;
    bool is_on;
};

static struct wanted *wanted_of(const struct translation *t, struct many *all, const char *name)
{
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(((struct wanted *)all->items[i])->name, name) == 0)
            return all->items[i];
    struct wanted *w = arena_zalloc(t->arena, sizeof(*w));
    w->name = name;
    many_add(t, all, w);
    return w;
}

static struct many default_names(const struct translation *t)
{
    const Istio__Mesh__V1alpha1__MeshConfig__DefaultProviders *d = mesh_config(t)->default_providers;
    struct many names = {0};
    for (size_t i = 0; d && i < d->n_access_logging; i++)
        many_add(t, &names, d->access_logging[i]);
    return names;
}

/* The providers of the nearest level that names any. */
static struct many names_in_force(const struct translation *t, const struct telemetries *all)
{
    struct many names = default_names(t);
    for (size_t i = 0; i < all->count; i++) {
        struct many own = {0};
        for (size_t k = 0; k < all->items[i]->n_access_logging; k++) {
            const LOGGING *l = all->items[i]->access_logging[k];
            for (size_t n = 0; n < l->n_providers; n++)
                many_add(t, &own, l->providers[n]->name);
        }
        if (own.count)
            names = own;
    }
    return names;
}

static void apply(const struct translation *t, const struct chain_purpose *p, const LOGGING *from, const struct many *names,
                  const struct many *in_force, struct many *wanted)
{
    for (size_t i = 0; i < names->count; i++) {
        struct wanted *w = wanted_of(t, wanted, names->items[i]);
        if (from->n_providers)
            w->filter = from->filter;
        if (names_have(in_force, str_from(w->name)) && (!from->match || telemetry_mode_is(from->match->mode, p)))
            w->is_on = !proto_bool_or(from->disabled, false);
    }
}

static struct many wanted_by(const struct translation *t, const struct chain_purpose *p, const struct telemetries *all)
{
    struct many wanted = {0}, names = default_names(t), in_force = names_in_force(t, all);
    bool is_said = false;
    for (size_t i = 0; i < all->count; i++)
        for (size_t k = 0; k < all->items[i]->n_access_logging; k++) {
            const LOGGING *l = all->items[i]->access_logging[k];
            is_said = true;
            if (l->n_providers)
                names = provider_names(t, l->providers, l->n_providers);
            apply(t, p, l, &names, &in_force, &wanted);
        }
    for (size_t i = 0; !is_said && i < names.count; i++)
        wanted_of(t, &wanted, names.items[i])->is_on = true;
    return wanted;
}

static void set_filter(const struct translation *t, const Istio__Telemetry__V1alpha1__AccessLogging__Filter *from, ACCESS_LOG *log)
{
    if (!from || !from->expression[0])
        return;
    Envoy__Extensions__AccessLoggers__Filters__Cel__V3__ExpressionFilter *cel =
        MAKE(t, Envoy__Extensions__AccessLoggers__Filters__Cel__V3__ExpressionFilter,
             envoy__extensions__access_loggers__filters__cel__v3__expression_filter__descriptor);
    cel->expression = from->expression;
    log->filter = MAKE(t, Envoy__Config__Accesslog__V3__AccessLogFilter, envoy__config__accesslog__v3__access_log_filter__descriptor);
    log->filter->filter_specifier_case = ENVOY__CONFIG__ACCESSLOG__V3__ACCESS_LOG_FILTER__FILTER_SPECIFIER_EXTENSION_FILTER;
    log->filter->extension_filter =
        MAKE(t, Envoy__Config__Accesslog__V3__ExtensionFilter, envoy__config__accesslog__v3__extension_filter__descriptor);
    log->filter->extension_filter->name = text(t, STR("envoy.access_loggers.extension_filters.cel"));
    log->filter->extension_filter->config_type_case = ENVOY__CONFIG__ACCESSLOG__V3__EXTENSION_FILTER__CONFIG_TYPE_TYPED_CONFIG;
    log->filter->extension_filter->typed_config = any_of(t, &cel->base);
}

static void make(const struct translation *t, const struct chain_purpose *p, struct many *out)
{
    const struct mesh *m = world_mesh(t->world);
    struct telemetries all = telemetries_of(t);
    struct many wanted = wanted_by(t, p, &all), defaults = default_names(t);
    if (wanted.count == 0 && defaults.count == 0 && m->access_log_file.n)
        many_add(t, out, file_log(t, m->access_log_file, format_of_mesh(t)));
    for (size_t i = 0; i < wanted.count; i++) {
        const struct wanted *w = wanted.items[i];
        ACCESS_LOG *log = w->is_on ? log_to(t, str_from(w->name)) : NULL;
        if (!log)
            continue;
        set_filter(t, w->filter, log);
        many_add(t, out, log);
    }
}

const struct many *access_logs(const struct translation *t, const struct chain_purpose *p)
{
    struct made_list *made = &t->made->access_logs[chain_side(p)];
    if (!made->is_made)
        make(t, p, &made->items);
    made->is_made = true;
    return &made->items;
}
