/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP connection manager's configuration, whole: codec options and timeouts, header and path
 * treatment, client address, certificates forwarded, local replies, upgrades, access logs, filters
 * and the inline route configuration. Main thread.
 */
#include "proxy/hcm/hcm.h"

#include "base/mem.h"
#include "proxy/config/config_priv.h"
#include "proxy/discovery/discovery.h"
#include "proxy/filter/filter_source.h"
#include "proxy/listener/listener.h"
#include "proxy/route/scopes.h"
#include "proxy/trace/tracer.h"

#include <stdio.h>

#define IDLE_TIMEOUT_MS 3600000u
#define STREAM_IDLE_TIMEOUT_MS 300000u
#define DRAIN_TIMEOUT_MS 5000u
#define DELAYED_CLOSE_MS 1000u
#define REQUEST_HEADERS_KB 60u
#define LOCAL_REPLY_BODY_BYTES 65536

#define HCM(x) ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__##x

/* ---- codec ---- */

static void read_codec(struct config_reader *cr, const pb_hcm *m, struct http_server_opts *o)
{
    switch (GET(m, codec_type)) {
    case HCM(CODEC_TYPE__HTTP1):
        o->codec = HTTP_CODEC_H1;
        break;
    case HCM(CODEC_TYPE__HTTP2):
        o->codec = HTTP_CODEC_H2;
        break;
    case HCM(CODEC_TYPE__HTTP3):
        proto_unsupported_enum(
            &cr->r, "codec_type",
            &envoy__extensions__filters__network__http_connection_manager__v3__http_connection_manager__codec_type__descriptor,
            (int)m->codec_type);
        break;
    default:
        o->codec = HTTP_CODEC_AUTO;
    }
}

static void read_common(struct config_reader *cr, const pb_http_options *m, struct hcm_config *c)
{
    struct http_server_opts *o = &c->server;
    if (!m)
        return;
    o->idle_timeout_ms = proto_ms_or(GET(m, idle_timeout), IDLE_TIMEOUT_MS);
    o->max_connection_ms = proto_ms_or(GET(m, max_connection_duration), 0);
    o->h1.limits.max_headers = o->h2.max_headers = proto_u32_or(GET(m, max_headers_count), o->h1.limits.max_headers);
    c->max_stream_duration_ms = proto_ms_or(GET(m, max_stream_duration), 0);
    o->max_requests_per_connection = proto_u32_or(GET(m, max_requests_per_connection), 0);
    unsigned action = (unsigned)GET(m, headers_with_underscores_action);
    o->h1.underscore = action == 1 ? H1_UNDERSCORE_REJECT : action == 2 ? H1_UNDERSCORE_DROP : H1_UNDERSCORE_ALLOW;
    o->h2.underscore = (uint8_t)o->h1.underscore;
    /* max_response_headers_kb is for upstreams: Envoy does nothing with it here, so it stays unread */
}

static void read_server(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c, const struct listener_spec *l)
{
    struct http_server_opts *o = &c->server;
    uint32_t head_bytes = proto_u32_or(GET(m, max_request_headers_kb), REQUEST_HEADERS_KB) * 1024;
    o->h1.is_request = true;
    o->h1.limits = H1_LIMITS_DEFAULT;
    o->h1.limits.max_head_bytes = o->h1.limits.max_trailer_bytes = head_bytes;
    o->h2 = h2_opts_default(true);
    o->h2.max_header_bytes = head_bytes;
    o->h2.max_headers = o->h1.limits.max_headers;
    o->idle_timeout_ms = IDLE_TIMEOUT_MS;
    o->buffer_limit_bytes = l->buffer_limit_bytes;
    bool lenient = proto_bool_or(GET(m, stream_error_on_invalid_http_message), false);
    o->h1_stream_error_on_invalid = o->h2.stream_error_on_invalid = lenient;
    read_codec(cr, m, o);
    IN("common_http_protocol_options")
        read_common(cr, GET(m, common_http_protocol_options), c);
    IN("http_protocol_options")
        cfg_http1_server(cr, GET(m, http_protocol_options), o, &c->arena);
    IN("http2_protocol_options")
        cfg_http2_server(cr, GET(m, http2_protocol_options), o);
    o->request_headers_timeout_ms = proto_ms_or(GET(m, request_headers_timeout), 0);
    o->drain_timeout_ms = proto_ms_or(GET(m, drain_timeout), DRAIN_TIMEOUT_MS);
    o->delayed_close_ms = proto_ms_or(GET(m, delayed_close_timeout), DELAYED_CLOSE_MS);
    o->proxy_100_continue = c->proxy_100_continue = GET(m, proxy_100_continue);
    c->stream_idle_timeout_ms = proto_ms_or(GET(m, stream_idle_timeout), STREAM_IDLE_TIMEOUT_MS);
    c->request_timeout_ms = proto_ms_or(GET(m, request_timeout), 0);
}

/* ---- headers and paths ---- */

static void read_path(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    static const enum path_slash_action slashes[] = {PATH_SLASH_KEEP, PATH_SLASH_KEEP, PATH_SLASH_REJECT,
                                                     PATH_SLASH_UNESCAPE_REDIRECT, PATH_SLASH_UNESCAPE_FORWARD};
    unsigned action = (unsigned)GET(m, path_with_escaped_slashes_action);
    c->path.normalize = proto_bool_or(GET(m, normalize_path), false);
    c->path.merge_slashes = GET(m, merge_slashes);
    c->path.escaped_slashes = action < ARRAY_LEN(slashes) ? slashes[action] : PATH_SLASH_KEEP;
    c->path.reject_fragment = true; /* Envoy's default (http_reject_path_with_fragment) */
    c->strip_matching_port = GET(m, strip_matching_host_port);
    if (m->strip_port_mode_case == HCM(STRIP_PORT_MODE_STRIP_ANY_HOST_PORT))
        c->strip_any_port = GET(m, strip_any_host_port);
    if (c->strip_any_port && c->strip_matching_port)
        FAULT("strip_any_host_port", "excludes strip_matching_host_port");
    c->strip_trailing_dot = GET(m, strip_trailing_host_dot);
}

static void read_server_header(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    struct str name = TEXT(m, server_name);
    c->server_name = arena_str(&c->arena, name.n ? name : STR("envoy"));
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
}

static void read_scheme(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    const pb_scheme_transformation *s = GET(m, scheme_header_transformation);
    if (!s)
        return;
    c->scheme_match_upstream = GET(s, match_upstream);
    if (s->transformation_case == ENVOY__CONFIG__CORE__V3__SCHEME_HEADER_TRANSFORMATION__TRANSFORMATION_SCHEME_TO_OVERWRITE)
        c->scheme_to_overwrite = arena_str(&c->arena, TEXT(s, scheme_to_overwrite));
}

int cfg_uuid_request_id(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_uuid_request_id *m = (const pb_uuid_request_id *)msg;
    struct hcm_config *c = out;
    c->pack_trace_reason = proto_bool_or(GET(m, pack_trace_reason), true);
    c->use_request_id_for_trace_sampling = proto_bool_or(GET(m, use_request_id_for_trace_sampling), true);
    return 0;
}

static void read_request_id(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    ProtobufCMessage *msg = NULL;
    c->generate_request_id = proto_bool_or(GET(m, generate_request_id), true);
    c->preserve_external_request_id = GET(m, preserve_external_request_id);
    c->always_set_request_id_in_response = GET(m, always_set_request_id_in_response);
    c->pack_trace_reason = c->use_request_id_for_trace_sampling = true;
    __auto_type extension = GET(m, request_id_extension);
    if (extension)
        IN("request_id_extension") {
            const struct extension *ext =
                cfg_extension(cr, EXT_REQUEST_ID, "typed_config", STR(""), GET(extension, typed_config), &msg);
            if (ext)
                IN("typed_config")
                    ext->read(cr, msg, c);
        }
}

static void read_headers(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    read_server_header(cr, m, c);
    read_scheme(cr, m, c);
    read_request_id(cr, m, c);
    c->via = arena_str(&c->arena, TEXT(m, via));
    c->add_user_agent = proto_bool_or(GET(m, add_user_agent), false);
    c->append_x_forwarded_port = GET(m, append_x_forwarded_port);
    c->append_local_overload = GET(m, append_local_overload);
}

static void read_xfcc(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    static const enum xfcc_mode modes[] = {XFCC_SANITIZE, XFCC_FORWARD_ONLY, XFCC_APPEND_FORWARD, XFCC_SANITIZE_SET,
                                           XFCC_ALWAYS_FORWARD_ONLY};
    unsigned mode = (unsigned)GET(m, forward_client_cert_details);
    c->xfcc = mode < ARRAY_LEN(modes) ? modes[mode] : XFCC_SANITIZE;
    __auto_type set = GET(m, set_current_client_cert_details);
    if (!set)
        return;
    c->xfcc_subject = proto_bool_or(GET(set, subject), false);
    c->xfcc_cert = GET(set, cert);
    c->xfcc_chain = GET(set, chain);
    c->xfcc_dns = GET(set, dns);
    c->xfcc_uri = GET(set, uri);
}

/* ---- the client's address ---- */

int cfg_xff_detection(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_xff_detection *m = (const pb_xff_detection *)msg;
    struct cfg_ip_detection *d = out;
    d->out->kind = IP_DETECT_XFF;
    d->out->xff_hops = GET(m, xff_num_trusted_hops);
    d->out->xff_skip_append = proto_bool_or(GET(m, skip_xff_append), true);
    __auto_type trusted = GET(m, xff_trusted_cidrs);
    if (trusted && d->out->xff_hops)
        FAULT("xff_trusted_cidrs", "excludes xff_num_trusted_hops");
    if (trusted) {
        d->out->xff_trusted_count = LEN(trusted, cidrs);
        IN("xff_trusted_cidrs")
            d->out->xff_trusted = cfg_cidrs(cr, d->arena, "cidrs", trusted->cidrs, d->out->xff_trusted_count);
    }
    return 0;
}

int cfg_custom_header_detection(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_custom_header_detection *m = (const pb_custom_header_detection *)msg;
    struct cfg_ip_detection *d = out;
    d->out->kind = IP_DETECT_CUSTOM_HEADER;
    d->out->header = cfg_lower(d->arena, TEXT(m, header_name));
    d->out->allow_trusted = GET(m, allow_extension_to_set_address_as_trusted);
    __auto_type reject = GET(m, reject_with_status);
    if (reject) {
        unsigned code = (unsigned)GET(reject, code);
        d->out->has_reject = true;
        d->out->reject_status = code >= 400 && code <= 599 ? (uint16_t)code : 403; /* as Envoy */
    }
    return 0;
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
            if (ext) {
                c->detection_count++;
                IN("typed_config")
                    ext->read(cr, msg, &out);
            }
        }
    if (n && c->use_remote_address)
        FAULT("original_ip_detection_extensions", "excludes use_remote_address");
    if (n && c->xff_num_trusted_hops)
        FAULT("original_ip_detection_extensions", "excludes xff_num_trusted_hops");
}

static void read_client_address(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    c->use_remote_address = proto_bool_or(GET(m, use_remote_address), false);
    c->skip_xff_append = GET(m, skip_xff_append);
    c->xff_num_trusted_hops = GET(m, xff_num_trusted_hops);
    c->represent_ipv4_as_mapped = GET(m, represent_ipv4_remote_address_as_ipv4_mapped_ipv6);
    __auto_type internal = GET(m, internal_address_config);
    if (internal) {
        c->internal_unix_sockets = GET(internal, unix_sockets);
        c->internal_cidr_count = LEN(internal, cidr_ranges);
        c->has_internal_cidrs = true;
        IN("internal_address_config")
            c->internal_cidrs = cfg_cidrs(cr, &c->arena, "cidr_ranges", internal->cidr_ranges, c->internal_cidr_count);
    }
    read_detections(cr, m, c);
}

/* ---- local replies ---- */

static void read_mapper(struct config_reader *cr, const pb_response_mapper *m, struct local_reply_mapper *out, struct arena *a)
{
    IN("filter")
        out->filter = cfg_log_filter(cr, GET(m, filter));
    __auto_type status = GET(m, status_code);
    out->has_status = status != NULL;
    out->status = status ? (uint16_t)status->value : 0;
    if (GET(m, body)) {
        out->has_body = true;
        IN("body")
            cfg_data_source(cr, a, m->body, LOCAL_REPLY_BODY_BYTES, &out->body);
    }
    if (GET(m, body_format_override))
        IN("body_format_override")
            out->body_format = cfg_format(cr, m->body_format_override, a, &out->content_type);
    uint32_t n = LEN(m, headers_to_add);
    cfg_header_rules(cr, "headers_to_add", m->headers_to_add, n, "", NULL, 0, a, &out->headers_to_add);
}

static void read_local_reply(struct config_reader *cr, const pb_local_reply *m, struct hcm_config *c)
{
    struct local_reply_config *out = &c->local_reply;
    if (!m)
        return;
    out->mapper_count = LEN(m, mappers);
    out->mappers = ARENA_ARRAY(&c->arena, struct local_reply_mapper, out->mapper_count);
    for (uint32_t i = 0; i < out->mapper_count; i++)
        IN("mappers[%u]", i)
            read_mapper(cr, m->mappers[i], &out->mappers[i], &c->arena);
    if (GET(m, body_format))
        IN("body_format")
            out->body_format = cfg_format(cr, m->body_format, &c->arena, &out->content_type);
}

/* ---- filters, routes, logs ---- */

static bool read_filter(struct config_reader *cr, const pb_http_filter *m, bool is_last, struct hcm_config *c)
{
    ProtobufCMessage *msg = NULL;
    struct http_filter_spec *spec = &c->filters[c->filter_count];
    struct str name = TEXT(m, name);
    bool optional = GET(m, is_optional), disabled = GET(m, disabled);
    size_t faults = cr->r.faults->count;
    if (m->config_type_case == ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_FILTER__CONFIG_TYPE_CONFIG_DISCOVERY) {
        *spec = (struct http_filter_spec){.name = arena_str(&c->arena, name), .disabled = disabled};
        spec->def = is_last ? &dynamic_terminal_filter : &dynamic_filter;
        IN("config_discovery")
            spec->dynamic = cfg_filter_source(cr, PLACE_HTTP, name, GET(m, config_discovery), is_last, &c->arena);
        c->filter_count++;
        return true;
    }
    const pb_any *any = m->config_type_case ? GET(m, typed_config) : NULL;
    const struct extension *ext = cfg_extension(cr, EXT_HTTP_FILTER, "typed_config", name, any, &msg);
    if (!ext) {
        if (optional && cr->r.faults->count > faults) /* "if the filter isn't supported, go on without it" */
            cr->r.faults->count = faults;
        return false;
    }
    struct cfg_http_filter out = {spec, &c->arena};
    spec->name = arena_str(&c->arena, name);
    spec->def = ext->def;
    spec->disabled = disabled;
    IN("typed_config")
        ext->read(cr, msg, &out);
    c->filter_count++;
    return true;
}

static void read_filters(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    uint32_t n = LEN(m, http_filters);
    bool has_terminal = false;
    c->filters = ARENA_ARRAY(&c->arena, struct http_filter_spec, n);
    for (uint32_t i = 0; i < n; i++)
        IN("http_filters[%u]", i)
            if (read_filter(cr, m->http_filters[i], i + 1 == n, c)) {
                bool terminal = c->filters[c->filter_count - 1].def->is_terminal;
                if (terminal && i + 1 < n)
                    FAULT("", "the terminal filter %s must be the last one", m->http_filters[i]->name);
                has_terminal = has_terminal || terminal;
            }
    if (!has_terminal)
        FAULT("http_filters", "the last filter must be a terminal one (envoy.filters.http.router)");
}

static void read_rds(struct config_reader *cr, const pb_rds *m, struct hcm_config *c)
{
    c->rds.name = arena_str(&c->arena, TEXT(m, route_config_name));
    IN("config_source")
        c->rds.source = cfg_config_source(cr, GET(m, config_source));
    if (!m->config_source)
        FAULT("config_source", "must be set");
}

static void read_routes(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    struct err err = {0};
    struct route_config_spec *spec;
    size_t faults = cr->r.faults->count;
    switch (m->route_specifier_case) {
    case HCM(ROUTE_SPECIFIER_ROUTE_CONFIG):
        IN("route_config")
            cfg_route_config(cr, GET(m, route_config), &c->arena, &spec);
        if (cr->r.faults->count > faults) {
            route_config_fini(spec);
            return;
        }
        c->routes = route_source_inline(spec, &err);
        if (!c->routes)
            cfg_fault_err(cr, "route_config", &err);
        return;
    case HCM(ROUTE_SPECIFIER_SCOPED_ROUTES):
        IN("scoped_routes")
            c->scopes = cfg_scoped_routes(cr, GET(m, scoped_routes), &c->arena);
        return;
    case HCM(ROUTE_SPECIFIER_RDS):
        IN("rds")
            read_rds(cr, GET(m, rds), c);
        return;
    default:
        FAULT("", "one of route_config, rds and scoped_routes must be set");
    }
}

int cfg_early_header_mutation(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_early_mutation *m = (const pb_early_mutation *)msg;
    struct hcm_config *c = out;
    uint32_t n = LEN(m, mutations);
    cfg_header_mutations(cr, "mutations", m->mutations, n, &c->arena, &c->early_mutations[c->early_mutation_count++]);
    return 0;
}

static void read_early_mutations(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    uint32_t n = LEN(m, early_header_mutation_extensions);
    c->early_mutations = ARENA_ARRAY(&c->arena, struct header_rules, n);
    for (uint32_t i = 0; i < n; i++)
        IN("early_header_mutation_extensions[%u]", i) {
            const pb_typed_extension *x = m->early_header_mutation_extensions[i];
            ProtobufCMessage *msg = NULL;
            const struct extension *ext =
                cfg_extension(cr, EXT_EARLY_MUTATION, "typed_config", TEXT(x, name), GET(x, typed_config), &msg);
            if (ext)
                IN("typed_config")
                    ext->read(cr, msg, c);
        }
}

static bool routes_upgrade(const struct route_source *routes)
{
    const struct route_snapshot *s = route_source_now(routes);
    const struct route_config_spec *spec = s ? s->spec : NULL;
    for (uint32_t i = 0; spec && i < spec->vhost_count; i++)
        for (uint32_t j = 0; j < spec->vhosts[i]->route_count; j++)
            if (spec->vhosts[i]->routes[j]->upgrade_count > 0)
                return true;
    return false;
}

static void read_upgrades(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    c->upgrade_count = LEN(m, upgrade_configs);
    c->upgrades = ARENA_ARRAY(&c->arena, struct upgrade_spec, c->upgrade_count);
    for (uint32_t i = 0; i < c->upgrade_count; i++) { /* filters of an upgrade's own stay unread */
        c->upgrades[i].type = cfg_lower(&c->arena, TEXT(m->upgrade_configs[i], upgrade_type));
        c->upgrades[i].enabled = proto_bool_or(GET(m->upgrade_configs[i], enabled), true);
    }
    bool any = c->upgrade_count > 0;
    any = any || c->rds.source || (c->scopes && c->scopes->rds) || routes_upgrade(c->routes); /* what comes later may */
    for (uint32_t i = 0; !any && c->scopes && i < c->scopes->count; i++)
        any = routes_upgrade(c->scopes->items[i].routes);
    c->server.h1.allow_upgrade = any;
}

static void read_logs(struct config_reader *cr, const pb_hcm *m, struct hcm_config *c)
{
    c->access_logs = cfg_access_logs(cr, "access_log", GET(m, access_log), LEN(m, access_log), &c->arena, &c->access_log_count);
    /* When else than at a request's end lines are written stays unread. */
    (void)GET(m, access_log_options);
}

int cfg_hcm(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_hcm *m = (const pb_hcm *)msg;
    struct cfg_network_filter *f = out;
    size_t faults = cr->r.faults->count;
    struct hcm_config *c = NEW(hcm_config);
    arena_init(&c->arena, 0);
    f->spec->config = c;
    f->spec->free_config = hcm_config_free;
    c->stat_prefix = arena_str(&c->arena, TEXT(m, stat_prefix));
    read_server(cr, m, c, f->listener);
    read_path(cr, m, c);
    read_headers(cr, m, c);
    read_xfcc(cr, m, c);
    read_client_address(cr, m, c);
    IN("local_reply_config")
        read_local_reply(cr, GET(m, local_reply_config), c);
    IN("tracing")
        c->tracing = cfg_tracing(cr, GET(m, tracing), c);
    read_logs(cr, m, c);
    read_filters(cr, m, c);
    read_early_mutations(cr, m, c);
    read_routes(cr, m, c);
    read_upgrades(cr, m, c);
    return cr->r.faults->count == faults ? 0 : ERR_INVALID;
}

static void mapper_fini(struct local_reply_mapper *m)
{
    log_filter_free(&m->filter);
    format_free(&m->body_format);
    header_rules_fini(&m->headers_to_add);
}

void hcm_config_free(void *config)
{
    struct hcm_config *c = config;
    if (!c)
        return;
    for (uint32_t i = 0; i < c->access_log_count; i++)
        access_log_free(&c->access_logs[i]);
    for (uint32_t i = 0; i < c->local_reply.mapper_count; i++)
        mapper_fini(&c->local_reply.mappers[i]);
    format_free(&c->local_reply.body_format);
    tracing_config_fini(c->tracing);
    for (uint32_t i = 0; i < c->filter_count; i++) {
        if (c->filters[i].free_config)
            c->filters[i].free_config((void *)c->filters[i].config);
        if (c->filters[i].dynamic)
            filter_source_fini(c->filters[i].dynamic);
    }
    for (uint32_t i = 0; i < c->early_mutation_count; i++)
        header_rules_fini(&c->early_mutations[i]);
    route_source_unref(&c->routes);
    config_source_unref(&c->rds.source);
    if (c->scopes)
        route_scopes_fini(c->scopes);
    if (c->stats)
        stat_scope_unref(&c->stats);
    stat_scope_unref(&c->h2_stats);
    stat_scope_unref(&c->listener_stats);
    arena_fini(&c->arena);
    mem_free(c);
}
