/* SPDX-License-Identifier: Apache-2.0
 *
 * Active health checks of a cluster: one, as Envoy takes no more. Into the cluster's memory; formats
 * and matchers are freed with the spec. Refused: custom checks, event services, socket matches (their
 * fields stay unread). Main thread.
 */
#include "proxy/health/health_check.h"

#include "proxy/config/config_priv.h"

#define CHECKER(x) ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__HEALTH_CHECKER_##x
#define PAYLOAD(x) ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__PAYLOAD__PAYLOAD_##x
#define CODEC(x) ENVOY__TYPE__V3__CODEC_CLIENT_TYPE__##x
#define METHOD(x) ENVOY__CONFIG__CORE__V3__REQUEST_METHOD__##x

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static struct str from_hex(struct config_reader *cr, struct arena *a, struct str hex)
{
    char *out = ARENA_ARRAY(a, char, hex.n / 2 + 1);
    for (size_t i = 0; i + 1 < hex.n; i += 2) {
        int high = hex_digit(hex.p[i]), low = hex_digit(hex.p[i + 1]);
        if (high < 0 || low < 0)
            hex.n = 1;
        else
            out[i / 2] = (char)(high << 4 | low);
    }
    if (hex.n % 2) {
        FAULT("text", "must be hexadecimal digits, two a byte");
        return STR_NULL;
    }
    return str_make(out, hex.n / 2);
}

static struct str read_payload(struct config_reader *cr, struct arena *a, const pb_payload *m)
{
    if (m->payload_case == PAYLOAD(TEXT))
        return from_hex(cr, a, TEXT(m, text));
    if (m->payload_case != PAYLOAD(BINARY)) {
        FAULT("", "one of text and binary must be set");
        return STR_NULL;
    }
    ProtobufCBinaryData bytes = GET(m, binary);
    return arena_str(a, str_make((const char *)bytes.data, bytes.len));
}

static void read_payloads(struct config_reader *cr, struct arena *a, const pb_payload *send, pb_payload *const *receive, uint32_t n,
                          struct health_spec *s)
{
    if (send)
        IN("send")
            s->send = read_payload(cr, a, send);
    s->receive = ARENA_ARRAY(a, struct str, n);
    s->receive_count = n;
    for (uint32_t i = 0; i < n; i++)
        IN("receive[%u]", i)
            s->receive[i] = read_payload(cr, a, receive[i]);
}

static struct status_range *read_ranges(struct config_reader *cr, struct arena *a, const char *field, pb_int64_range *const *items,
                                        uint32_t n)
{
    struct status_range *r = ARENA_ARRAY(a, struct status_range, n);
    for (uint32_t i = 0; i < n; i++)
        IN("%s[%u]", field, i) {
            int64_t from = GET(items[i], start), to = GET(items[i], end);
            if (from >= to || from < 100 || to > 600)
                FAULT("", "[%lld, %lld) isn't a range of HTTP statuses", (long long)from, (long long)to);
            else
                r[i] = (struct status_range){(uint32_t)from, (uint32_t)to};
        }
    return r;
}

static struct str read_method(struct config_reader *cr, const pb_http_check *m)
{
    static const struct { int value; struct str name; } methods[] = {
        {METHOD(METHOD_UNSPECIFIED), {"GET", 3}}, {METHOD(GET), {"GET", 3}},         {METHOD(HEAD), {"HEAD", 4}},
        {METHOD(POST), {"POST", 4}},              {METHOD(PUT), {"PUT", 3}},         {METHOD(DELETE), {"DELETE", 6}},
        {METHOD(OPTIONS), {"OPTIONS", 7}},        {METHOD(TRACE), {"TRACE", 5}},     {METHOD(PATCH), {"PATCH", 5}},
    };
    int value = (int)GET(m, method);
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (methods[i].value == value)
            return methods[i].name;
    FAULT("method", "CONNECT cannot be used for health checks");
    return STR("GET");
}

static void read_http(struct config_reader *cr, const pb_http_check *m, struct arena *a, struct health_spec *s)
{
    s->kind = HEALTH_HTTP;
    s->host = arena_str(a, TEXT(m, host));
    s->path = arena_str(a, TEXT(m, path));
    s->method = read_method(cr, m);
    switch (GET(m, codec_client_type)) {
    case CODEC(HTTP1):
        s->protocol = HTTP_11;
        break;
    case CODEC(HTTP2):
        s->protocol = HTTP_2;
        break;
    default:
        proto_unsupported_enum(&cr->r, "codec_client_type", &envoy__type__v3__codec_client_type__descriptor,
                               (int)m->codec_client_type);
        break;
    }
    read_payloads(cr, a, GET(m, send), m->receive, LEN(m, receive), s);
    __auto_type most = GET(m, response_buffer_size);
    s->response_bytes = most ? most->value : 1024;
    cfg_header_rules(cr, "request_headers_to_add", m->request_headers_to_add, LEN(m, request_headers_to_add),
                     "request_headers_to_remove", m->request_headers_to_remove, LEN(m, request_headers_to_remove), a, &s->headers);
    s->expected_count = LEN(m, expected_statuses);
    s->expected = read_ranges(cr, a, "expected_statuses", m->expected_statuses, s->expected_count);
    s->retriable_count = LEN(m, retriable_statuses);
    s->retriable = read_ranges(cr, a, "retriable_statuses", m->retriable_statuses, s->retriable_count);
    const pb_string_matcher *service = GET(m, service_name_matcher);
    if (service)
        IN("service_name_matcher")
            s->has_service_match = cfg_string_match(cr, service, &s->service_match) == 0;
}

static void read_tcp(struct config_reader *cr, const pb_tcp_check *m, struct arena *a, struct health_spec *s)
{
    s->kind = HEALTH_TCP;
    read_payloads(cr, a, GET(m, send), m->receive, LEN(m, receive), s);
    const pb_proxy_protocol_config *proxy = GET(m, proxy_protocol_config);
    if (proxy)
        s->proxy_protocol_version = GET(proxy, version) == ENVOY__CONFIG__CORE__V3__PROXY_PROTOCOL_CONFIG__VERSION__V2 ? 2 : 1;
}

/* HealthCheckRequest { string service = 1; } behind gRPC's length prefix. */
static struct str grpc_question(struct arena *a, struct str service)
{
    struct strbuf b = {0}, message = {0};
    if (service.n) {
        strbuf_addc(&message, 1 << 3 | 2);
        size_t n = service.n;
        for (; n > 0x7f; n >>= 7)
            strbuf_addc(&message, (char)((n & 0x7f) | 0x80));
        strbuf_addc(&message, (char)n);
        strbuf_adds(&message, service);
    }
    const char head[] = {0, (char)(message.n >> 24), (char)(message.n >> 16), (char)(message.n >> 8), (char)message.n};
    strbuf_add(&b, head, sizeof head);
    strbuf_adds(&b, strbuf_str(&message));
    struct str copy = arena_str(a, strbuf_str(&b));
    strbuf_fini(&message);
    strbuf_fini(&b);
    return copy;
}

static void read_grpc(struct config_reader *cr, const pb_grpc_check *m, struct arena *a, struct health_spec *s)
{
    s->kind = HEALTH_GRPC;
    s->protocol = HTTP_2;
    s->method = STR("POST");
    s->path = STR("/grpc.health.v1.Health/Check");
    s->service_name = arena_str(a, TEXT(m, service_name));
    s->authority = arena_str(a, TEXT(m, authority));
    s->send = grpc_question(a, s->service_name);
    cfg_header_rules(cr, "initial_metadata", m->initial_metadata, LEN(m, initial_metadata), "", NULL, 0, a, &s->headers);
}

static void read_times(struct config_reader *cr, const pb_health_check *m, struct health_spec *s)
{
    s->timeout_ms = proto_ms_or(GET(m, timeout), 0);
    s->interval_ms = proto_ms_or(GET(m, interval), 0);
    if (!m->timeout)
        FAULT("timeout", "must be set");
    if (!m->interval)
        FAULT("interval", "must be set");
    s->initial_jitter_ms = proto_ms_or(GET(m, initial_jitter), 0);
    s->interval_jitter_ms = proto_ms_or(GET(m, interval_jitter), 0);
    s->interval_jitter_pct = GET(m, interval_jitter_percent);
    s->unhealthy_ms = proto_ms_or(GET(m, unhealthy_interval), s->interval_ms);
    s->unhealthy_edge_ms = proto_ms_or(GET(m, unhealthy_edge_interval), s->unhealthy_ms);
    s->healthy_edge_ms = proto_ms_or(GET(m, healthy_edge_interval), s->interval_ms);
    s->no_traffic_ms = proto_ms_or(GET(m, no_traffic_interval), 60000);
    s->no_traffic_healthy_ms = proto_ms_or(GET(m, no_traffic_healthy_interval), s->no_traffic_ms);
}

int cfg_health_file_sink(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_health_sink *sink = out;
    *sink->path = arena_str(sink->arena, TEXT((const pb_health_file_sink *)msg, event_log_path));
    return 0;
}

static void read_logs(struct config_reader *cr, const pb_health_check *m, struct arena *a, struct health_spec *s)
{
    struct str path = TEXT(m, event_log_path);
    uint32_t n = LEN(m, event_logger);
    s->log_failures = GET(m, always_log_health_check_failures);
    s->log_successes = GET(m, always_log_health_check_success);
    s->log_paths = ARENA_ARRAY(a, struct str, n + 1);
    if (path.n)
        s->log_paths[s->log_path_count++] = arena_str(a, path);
    for (uint32_t i = 0; i < n; i++)
        IN("event_logger[%u]", i) {
            const pb_extension *e = m->event_logger[i];
            struct cfg_health_sink sink = {&s->log_paths[s->log_path_count], a};
            ProtobufCMessage *msg = NULL;
            const struct extension *ext =
                cfg_extension(cr, EXT_HEALTH_SINK, "typed_config", TEXT(e, name), GET(e, typed_config), &msg);
            if (ext && ext->read(cr, msg, &sink) == 0)
                s->log_path_count++;
        }
}

static void read_kind(struct config_reader *cr, const pb_health_check *m, struct arena *a, struct health_spec *s)
{
    switch (m->health_checker_case) {
    case CHECKER(HTTP_HEALTH_CHECK):
        IN("http_health_check")
            read_http(cr, GET(m, http_health_check), a, s);
        break;
    case CHECKER(TCP_HEALTH_CHECK):
        IN("tcp_health_check")
            read_tcp(cr, GET(m, tcp_health_check), a, s);
        break;
    case CHECKER(GRPC_HEALTH_CHECK):
        IN("grpc_health_check")
            read_grpc(cr, GET(m, grpc_health_check), a, s);
        break;
    case CHECKER(CUSTOM_HEALTH_CHECK):
        proto_read_whole(&cr->r, &GET(m, custom_health_check)->base);
        UNSUPPORTED("custom_health_check", NULL);
        break;
    default:
        FAULT("", "one of http_health_check, tcp_health_check, grpc_health_check and custom_health_check must be set");
    }
}

static void read_check(struct config_reader *cr, const pb_health_check *m, struct arena *a, struct health_spec *s)
{
    read_times(cr, m, s);
    s->unhealthy_threshold = proto_u32_or(GET(m, unhealthy_threshold), 0);
    s->healthy_threshold = proto_u32_or(GET(m, healthy_threshold), 0);
    if (!m->unhealthy_threshold)
        FAULT("unhealthy_threshold", "must be set");
    if (!m->healthy_threshold)
        FAULT("healthy_threshold", "must be set");
    s->reuse_connection = proto_bool_or(GET(m, reuse_connection), true);
    read_logs(cr, m, a, s);
    const pb_struct *criteria = GET(m, transport_socket_match_criteria);
    if (criteria)
        s->transport_criteria = cfg_struct(cr, criteria, a);
    __auto_type tls = GET(m, tls_options);
    if (tls) {
        s->alpn_count = LEN(tls, alpn_protocols);
        s->alpn = ARENA_ARRAY(a, struct str, s->alpn_count);
        for (uint32_t i = 0; i < s->alpn_count; i++)
            s->alpn[i] = arena_str(a, str_from(tls->alpn_protocols[i]));
    }
    read_kind(cr, m, a, s);
}

const struct health_spec *cfg_health_checks(struct config_reader *cr, const pb_cluster *m, struct arena *a)
{
    uint32_t n = LEN(m, health_checks);
    if (!n)
        return NULL;
    if (n > 1)
        FAULT("health_checks", "a cluster has one health check at most, not %u", n);
    struct health_spec *s = arena_zalloc(a, sizeof *s);
    IN("health_checks[0]")
        read_check(cr, m->health_checks[0], a, s);
    return s;
}

void cfg_endpoint_check(struct config_reader *cr, const pb_endpoint_check *m, struct arena *a, struct endpoint_spec *e)
{
    uint32_t port = GET(m, port_value);
    if (port > 65535)
        FAULT("port_value", "%u isn't a port", port);
    e->check_port = (uint16_t)port;
    e->check_hostname = arena_str(a, TEXT(m, hostname));
    e->no_check = GET(m, disable_active_health_check);
    const pb_address *address = GET(m, address);
    if (address)
        IN("address")
            e->has_check_addr = cfg_address(cr, address, &e->check_addr, NULL, NULL) == 0;
}
