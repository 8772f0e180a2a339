/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP connection manager from its message. Defaults are Envoy's. Main thread; what it makes lives
 * in the configuration's own arena, formats and filters apart on the heap.
 */
#include "proxy/hcm/hcm.h"

#include "base/mem.h"
#include "proxy/config/config_priv.h"

#define HCM(x) ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__##x
#define IDLE_TIMEOUT_MS 3600000u
#define STREAM_IDLE_TIMEOUT_MS 300000u
#define DRAIN_TIMEOUT_MS 5000u
#define DELAYED_CLOSE_MS 1000u
#define REQUEST_HEADERS_KB 60u

/* ---- protocols ---- */

static enum h1_underscore underscore_action(int action)
{
    switch (action) {
    case ENVOY__CONFIG__CORE__V3__HTTP_PROTOCOL_OPTIONS__HEADERS_WITH_UNDERSCORES_ACTION__REJECT_REQUEST:
        return H1_UNDERSCORE_REJECT;
    case ENVOY__CONFIG__CORE__V3__HTTP_PROTOCOL_OPTIONS__HEADERS_WITH_UNDERSCORES_ACTION__DROP_HEADER:
        return H1_UNDERSCORE_DROP;
    default:
        return H1_UNDERSCORE_ALLOW;
    }
}

static void read_common(struct config_reader *cr, const pb_http_options *m, struct hcm_config *c)
{
    struct http_server_opts *o = &c->server;
    o->idle_timeout_ms = IDLE_TIMEOUT_MS;
    if (!m)
        return;
    o->idle_timeout_ms = proto_ms_or(GET(m, idle_timeout), IDLE_TIMEOUT_MS);
    o->max_connection_ms = proto_ms_or(GET(m, max_connection_duration), 0);
    c->max_stream_duration_ms = proto_ms_or(GET(m, max_stream_duration), 0);
    o->max_requests_per_connection = proto_u32_or(GET(m, max_requests_per_connection), 0);
    o->h1.limits.max_headers = o->h2.max_headers = proto_u32_or(GET(m, max_headers_count), o->h1.limits.max_headers);
    enum h1_underscore u = underscore_action(GET(m, headers_with_underscores_action));
    o->h1.underscore = u;
    o->h2.underscore = (uint8_t)u;
}

static void read_codec(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c, uint32_t buffer_limit)
{
    struct http_server_opts *o = &c->server;
    switch (GET(m, codec_type)) {
    case HCM(CODEC_TYPE__HTTP1):
        o->codec = HTTP_CODEC_H1;
        break;
    case HCM(CODEC_TYPE__HTTP2):
        o->codec = HTTP_CODEC_H2;
        break;
    case HCM(CODEC_TYPE__HTTP3):
        UNSUPPORTED("codec_type", "HTTP3");
        break;
    default:
        o->codec = HTTP_CODEC_AUTO;
    }
    o->h1.limits = H1_LIMITS_DEFAULT;
    o->h1.is_request = true;
    o->h2 = h2_opts_default(true);
    o->buffer_limit_bytes = buffer_limit;
    o->h1_stream_error_on_invalid = o->h2.stream_error_on_invalid =
        proto_bool_or(GET(m, stream_error_on_invalid_http_message), false);
    uint32_t kb = proto_u32_or(GET(m, max_request_headers_kb), REQUEST_HEADERS_KB);
    o->h1.limits.max_head_bytes = o->h1.limits.max_trailer_bytes = o->h2.max_header_bytes = kb * 1024;
    IN("common_http_protocol_options")
        read_common(cr, GET(m, common_http_protocol_options), c);
    IN("http_protocol_options")
        cfg_http1_server(cr, GET(m, http_protocol_options), o, &c->arena);
    IN("http2_protocol_options")
        cfg_http2_server(cr, GET(m, http2_protocol_options), o);
}

static void read_timeouts(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    struct http_server_opts *o = &c->server;
    c->stream_idle_timeout_ms = proto_ms_or(GET(m, stream_idle_timeout), STREAM_IDLE_TIMEOUT_MS);
    c->request_timeout_ms = proto_ms_or(GET(m, request_timeout), 0);
    o->request_headers_timeout_ms = proto_ms_or(GET(m, request_headers_timeout), 0);
    o->drain_timeout_ms = proto_ms_or(GET(m, drain_timeout), DRAIN_TIMEOUT_MS);
    o->delayed_close_ms = proto_ms_or(GET(m, delayed_close_timeout), DELAYED_CLOSE_MS);
}

/* ---- who the client is ---- */

static void read_internal_addresses(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    __auto_type i = GET(m, internal_address_config);
    if (!i)
        return;
    c->internal_unix_sockets = GET(i, unix_sockets);
    c->internal_cidr_count = LEN(i, cidr_ranges);
    c->has_internal_cidrs = true;
    IN("internal_address_config")
        c->internal_cidrs = cfg_cidrs(cr, &c->arena, "cidr_ranges", i->cidr_ranges, c->internal_cidr_count);
}

static void read_detections(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    uint32_t n = LEN(m, original_ip_detection_extensions);
    c->detections = ARENA_ARRAY(&c->arena, struct ip_detection, n);
    for (uint32_t i = 0; i < n; i++)
        IN("original_ip_detection_extensions[%u]", i) {
            const pb_typed_extension *x = m->original_ip_detection_extensions[i];
            ProtobufCMessage *msg = NULL;
            struct cfg_ip_detection out = {&c->detections[c->detection_count], &c->arena};
            const struct extension *ext =
                cfg_extension(cr, EXT_IP_DETECTION, "typed_config", TEXT(x, name), GET(x, typed_config), &msg);
            if (ext)
                IN("typed_config")
                    if (ext->read(cr, msg, &out) == 0)
                        c->detection_count++;
        }
    if (n && (c->use_remote_address || c->xff_num_trusted_hops))
        FAULT("original_ip_detection_extensions",
              "can't be combined with use_remote_address or xff_num_trusted_hops");
}

static void read_client(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    c->use_remote_address = proto_bool_or(GET(m, use_remote_address), false);
    c->xff_num_trusted_hops = GET(m, xff_num_trusted_hops);
    c->skip_xff_append = GET(m, skip_xff_append);
    c->represent_ipv4_as_mapped = GET(m, represent_ipv4_remote_address_as_ipv4_mapped_ipv6);
    c->append_x_forwarded_port = GET(m, append_x_forwarded_port);
    read_internal_addresses(cr, m, c);
    read_detections(cr, m, c);
}

static void read_xfcc(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    static const uint8_t modes[] = {
        [HCM(FORWARD_CLIENT_CERT_DETAILS__SANITIZE)] = XFCC_SANITIZE,
        [HCM(FORWARD_CLIENT_CERT_DETAILS__FORWARD_ONLY)] = XFCC_FORWARD_ONLY,
        [HCM(FORWARD_CLIENT_CERT_DETAILS__APPEND_FORWARD)] = XFCC_APPEND_FORWARD,
        [HCM(FORWARD_CLIENT_CERT_DETAILS__SANITIZE_SET)] = XFCC_SANITIZE_SET,
        [HCM(FORWARD_CLIENT_CERT_DETAILS__ALWAYS_FORWARD_ONLY)] = XFCC_ALWAYS_FORWARD_ONLY,
    };
    c->xfcc = modes[GET(m, forward_client_cert_details)];
    __auto_type d = GET(m, set_current_client_cert_details);
    if (!d)
        return;
    c->xfcc_subject = proto_bool_or(GET(d, subject), false);
    c->xfcc_cert = GET(d, cert);
    c->xfcc_chain = GET(d, chain);
    c->xfcc_dns = GET(d, dns);
    c->xfcc_uri = GET(d, uri);
}

/* ---- what requests and responses get ---- */

static void read_request_id(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    c->generate_request_id = proto_bool_or(GET(m, generate_request_id), true);
    c->preserve_external_request_id = GET(m, preserve_external_request_id);
    c->always_set_request_id_in_response = GET(m, always_set_request_id_in_response);
    c->pack_trace_reason = true;
    __auto_type x = GET(m, request_id_extension);
    if (!x)
        return;
    IN("request_id_extension") {
        ProtobufCMessage *msg = NULL;
        const struct extension *ext = cfg_extension(cr, EXT_REQUEST_ID, "typed_config", STR_NULL, GET(x, typed_config), &msg);
        if (ext)
            IN("typed_config")
                ext->read(cr, msg, c);
    }
}

int cfg_uuid_request_id(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_uuid_request_id *m = (const pb_uuid_request_id *)msg;
    struct hcm_config *c = out;
    c->pack_trace_reason = proto_bool_or(GET(m, pack_trace_reason), true);
    c->use_request_id_for_trace_sampling = proto_bool_or(GET(m, use_request_id_for_trace_sampling), true);
    return 0;
}

static void read_server_header(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    struct str name = TEXT(m, server_name);
    c->server_name = arena_str(&c->arena, name.n ? name : STR("envoy"));
    c->via = arena_str(&c->arena, TEXT(m, via));
    switch (GET(m, server_header_transformation)) {
    case HCM(SERVER_HEADER_TRANSFORMATION__APPEND_IF_ABSENT):
        c->server_header = SERVER_APPEND_IF_ABSENT;
        break;
    case HCM(SERVER_HEADER_TRANSFORMATION__PASS_THROUGH):
        c->server_header = SERVER_PASS_THROUGH;
        break;
    default:
        c->server_header = SERVER_OVERWRITE;
    }
    const pb_scheme_transformation *s = GET(m, scheme_header_transformation);
    if (s && s->transformation_case)
        c->scheme_to_overwrite = arena_str(&c->arena, TEXT(s, scheme_to_overwrite));
    /* match_upstream stays unread: refused where set */
}

static void read_path(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    c->path.normalize = proto_bool_or(GET(m, normalize_path), false);
    c->path.merge_slashes = GET(m, merge_slashes);
    switch (GET(m, path_with_escaped_slashes_action)) {
    case HCM(PATH_WITH_ESCAPED_SLASHES_ACTION__REJECT_REQUEST):
        c->path.escaped_slashes = PATH_SLASH_REJECT;
        break;
    case HCM(PATH_WITH_ESCAPED_SLASHES_ACTION__UNESCAPE_AND_REDIRECT):
        c->path.escaped_slashes = PATH_SLASH_UNESCAPE_REDIRECT;
        break;
    case HCM(PATH_WITH_ESCAPED_SLASHES_ACTION__UNESCAPE_AND_FORWARD):
        c->path.escaped_slashes = PATH_SLASH_UNESCAPE_FORWARD;
        break;
    default:
        c->path.escaped_slashes = PATH_SLASH_KEEP;
    }
    c->strip_matching_port = GET(m, strip_matching_host_port);
    c->strip_any_port = m->strip_port_mode_case ? GET(m, strip_any_host_port) : false;
    c->strip_trailing_dot = GET(m, strip_trailing_host_dot);
}

static void read_upgrades(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    uint32_t n = c->upgrade_count = LEN(m, upgrade_configs);
    c->upgrades = ARENA_ARRAY(&c->arena, struct upgrade_spec, n);
    for (uint32_t i = 0; i < n; i++)
        IN("upgrade_configs[%u]", i) {
            const pb_hcm_upgrade *u = m->upgrade_configs[i];
            c->upgrades[i].type = arena_str(&c->arena, TEXT(u, upgrade_type));
            c->upgrades[i].enabled = proto_bool_or(GET(u, enabled), true);
            /* filters of its own stay unread: refused where set */
            if (str_eq_nocase(c->upgrades[i].type, STR("CONNECT")) || c->upgrades[i].type.n)
                c->server.h1.allow_upgrade = true;
        }
}

/* ---- filters ---- */

static void read_http_filter(struct config_reader *cr, const pb_http_filter *m, struct hcm_config *c)
{
    ProtobufCMessage *msg = NULL;
    struct http_filter_spec *spec = &c->filters[c->filter_count];
    struct cfg_http_filter out = {spec, &c->arena};
    struct str name = TEXT(m, name);
    bool optional = GET(m, is_optional);
    spec->disabled = GET(m, disabled);
    if (m->config_type_case == ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_FILTER__CONFIG_TYPE_CONFIG_DISCOVERY) {
        proto_read_whole(&cr->r, &GET(m, config_discovery)->base);
        UNSUPPORTED("config_discovery", NULL);
        return;
    }
    const pb_any *any = m->config_type_case ? GET(m, typed_config) : NULL;
    size_t before = cr->r.faults->count;
    const struct extension *ext = cfg_extension(cr, EXT_HTTP_FILTER, "typed_config", name, any, &msg);
    if (!ext) {
        if (optional && any && cr->r.faults->count > before) { /* is_optional: an unknown filter is left out, by its owner's wish */
            cr->r.faults->count = before;
            proto_read_whole(&cr->r, &any->base);
        }
        return;
    }
    spec->name = arena_str(&c->arena, name);
    spec->def = ext->def;
    IN("typed_config")
        if (ext->read(cr, msg, &out) == 0)
            c->filter_count++;
}

static void check_filter_order(struct config_reader *cr, const struct hcm_config *c)
{
    for (uint32_t i = 0; i < c->filter_count; i++)
        if (c->filters[i].def->is_terminal != (i + 1 == c->filter_count))
            FAULT("http_filters", "%.*s: %s", STR_ARG(c->filters[i].name),
                  c->filters[i].def->is_terminal ? "a terminal filter must be the last one"
                                                 : "the last filter must be a terminal one, such as envoy.filters.http.router");
}

static void read_http_filters(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    uint32_t n = LEN(m, http_filters);
    size_t before = cr->r.faults->count;
    c->filters = ARENA_ARRAY(&c->arena, struct http_filter_spec, n);
    for (uint32_t i = 0; i < n; i++)
        IN("http_filters[%u]", i)
            read_http_filter(cr, m->http_filters[i], c);
    if (cr->r.faults->count > before)
        return;
    if (!c->filter_count)
        FAULT("http_filters", "at least a terminal filter is needed, such as envoy.filters.http.router");
    check_filter_order(cr, c);
}

/* ---- local replies ---- */

static void read_added_headers(struct config_reader *cr, const pb_response_mapper *m, struct local_reply_mapper *out,
                               struct arena *a)
{
    uint32_t n = out->header_count = LEN(m, headers_to_add);
    out->headers_to_add = ARENA_ARRAY(a, struct header_mutation, n);
    for (uint32_t i = 0; i < n; i++)
        IN("headers_to_add[%u]", i) {
            struct err err = {0};
            const pb_header_option *o = m->headers_to_add[i];
            const pb_header_value *h = GET(o, header);
            struct header_mutation *mut = &out->headers_to_add[i];
            static const uint8_t actions[] = {HEADER_APPEND, HEADER_ADD_IF_ABSENT, HEADER_OVERWRITE_OR_ADD,
                                              HEADER_OVERWRITE_IF_EXISTS};
            mut->action = actions[GET(o, append_action) & 3];
            if (GET(o, append))
                mut->action = o->append->value ? HEADER_APPEND : HEADER_OVERWRITE_OR_ADD;
            mut->keep_empty = GET(o, keep_empty_value);
            if (!h)
                continue;
            mut->name = cfg_lower(a, TEXT(h, key));
            mut->value = format_new(TEXT(h, value), true, &err);
            if (!mut->value)
                cfg_fault_err(cr, "header.value", &err);
        }
}

static void read_mapper(struct config_reader *cr, const pb_response_mapper *m, struct local_reply_mapper *out, struct arena *a)
{
    IN("filter")
        out->filter = cfg_log_filter(cr, GET(m, filter));
    __auto_type status = GET(m, status_code);
    out->has_status = status != NULL;
    out->status = status ? (uint16_t)status->value : 0;
    const pb_data_source *body = GET(m, body);
    if (body)
        IN("body") {
            out->has_body = true;
            cfg_data_source(cr, a, body, 0, &out->body);
        }
    IN("body_format_override")
        out->body_format = cfg_format(cr, GET(m, body_format_override), a, &out->content_type);
    read_added_headers(cr, m, out, a);
}

static void read_local_reply(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    const pb_local_reply *l = GET(m, local_reply_config);
    if (!l)
        return;
    IN("local_reply_config") {
        uint32_t n = c->local_reply.mapper_count = LEN(l, mappers);
        c->local_reply.mappers = ARENA_ARRAY(&c->arena, struct local_reply_mapper, n);
        for (uint32_t i = 0; i < n; i++)
            IN("mappers[%u]", i)
                read_mapper(cr, l->mappers[i], &c->local_reply.mappers[i], &c->arena);
        IN("body_format")
            c->local_reply.body_format = cfg_format(cr, GET(l, body_format), &c->arena, &c->local_reply.content_type);
    }
}

/* ---- routes and logs ---- */

static void read_routes(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    struct err err = {0};
    if (m->route_specifier_case != HCM(ROUTE_SPECIFIER_ROUTE_CONFIG)) {
        if (!m->route_specifier_case)
            FAULT("route_config", "must be set");
        return; /* rds and scoped_routes stay unread: refused by name */
    }
    IN("route_config") {
        if (cfg_route_config(cr, GET(m, route_config), &c->arena, &c->route_spec) < 0)
            return;
        c->routes = route_table_new(c->route_spec, &err);
        if (!c->routes)
            cfg_fault_err(cr, "", &err);
    }
}

static void read_logs(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    c->access_logs = cfg_access_logs(cr, "access_log", GET(m, access_log), LEN(m, access_log), &c->arena, &c->access_log_count);
}

static void free_config(void *config)
{
    hcm_config_free(config);
}

int cfg_hcm(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_hcm *m = (const pb_hcm *)msg;
    struct cfg_network_filter *f = out;
    struct hcm_config *c = NEW(hcm_config);
    size_t faults = cr->r.faults->count;
    arena_init(&c->arena, 0);
    f->spec->config = c;
    f->spec->free_config = free_config;
    c->stat_prefix = arena_str(&c->arena, TEXT(m, stat_prefix));
    read_codec(cr, m, c, f->listener->buffer_limit_bytes);
    read_timeouts(cr, m, c);
    read_client(cr, m, c);
    read_xfcc(cr, m, c);
    read_request_id(cr, m, c);
    read_server_header(cr, m, c);
    read_path(cr, m, c);
    read_upgrades(cr, m, c);
    c->add_user_agent = proto_bool_or(GET(m, add_user_agent), false);
    c->server.proxy_100_continue = c->proxy_100_continue = GET(m, proxy_100_continue);
    read_http_filters(cr, m, c);
    read_local_reply(cr, m, c);
    read_logs(cr, m, c);
    read_routes(cr, m, c);
    return cr->r.faults->count == faults ? 0 : ERR_INVALID;
}

static void local_reply_fini(struct local_reply_config *l)
{
    for (uint32_t i = 0; i < l->mapper_count; i++) {
        struct local_reply_mapper *m = &l->mappers[i];
        log_filter_free(&m->filter);
        format_free(&m->body_format);
        for (uint32_t k = 0; k < m->header_count; k++)
            format_free(&m->headers_to_add[k].value);
    }
    format_free(&l->body_format);
}

void hcm_config_free(void *config)
{
    struct hcm_config *c = config;
    for (uint32_t i = 0; i < c->filter_count; i++)
        if (c->filters[i].free_config)
            c->filters[i].free_config((void *)(uintptr_t)c->filters[i].config);
    for (uint32_t i = 0; i < c->access_log_count; i++)
        access_log_free(&c->access_logs[i]);
    local_reply_fini(&c->local_reply);
    route_table_free(&c->routes);
    stat_scope_unref(&c->stats);
    arena_fini(&c->arena);
    mem_free(c);
}
