/* SPDX-License-Identifier: Apache-2.0
 *
 * Protocol options of HTTP/1 and HTTP/2, downstream and upstream, and the cluster's HTTP part made
 * of them: from HttpProtocolOptions in typed_extension_protocol_options, or else from the older
 * members of the cluster itself. Main thread.
 */
#include "http/client.h"
#include "http/server.h"
#include "proxy/config/config_priv.h"
#include "proxy/config/shared.h"

#include <stdio.h>

#define IDLE_TIMEOUT_DEFAULT_MS 3600000u
#define HTTP_OPTIONS_KEY "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
#define PRESERVE_CASE "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"

/* ---- HTTP/1 ---- */

static enum h1_name_case read_key_format(struct config_reader *cr, const pb_http1_options *m)
{
    __auto_type f = GET(m, header_key_format);
    if (!f)
        return H1_CASE_LOWER;
    if (f->header_format_case != ENVOY__CONFIG__CORE__V3__HTTP1_PROTOCOL_OPTIONS__HEADER_KEY_FORMAT__HEADER_FORMAT_STATEFUL_FORMATTER) {
        (void)GET(f, proper_case_words);
        return H1_CASE_PROPER;
    }
    const pb_typed_extension *ext = GET(f, stateful_formatter);
    (void)GET(ext, name);
    if (str_eq(proto_any_type(ext->typed_config), STR(PRESERVE_CASE))) {
        proto_any_read(&cr->r, "header_key_format.stateful_formatter.typed_config", GET(ext, typed_config));
        return H1_CASE_PRESERVE;
    }
    proto_read_whole(&cr->r, &ext->base);
    UNSUPPORTED("header_key_format.stateful_formatter", ext->name);
    return H1_CASE_LOWER;
}

static void read_http1(struct config_reader *cr, const pb_http1_options *m, struct h1_parser_opts *o,
                       enum h1_name_case *name_case, bool *trailers)
{
    (void)GET(m, use_balsa_parser); /* which of Envoy's two parsers: nothing that shows */
    o->allow_custom_methods = GET(m, allow_custom_methods);
    o->allow_chunked_length = GET(m, allow_chunked_length);
    o->keep_trailers = *trailers = GET(m, enable_trailers);
    *name_case = read_key_format(cr, m);
    o->keep_raw_names = *name_case == H1_CASE_PRESERVE;
}

void cfg_http1_server(struct config_reader *cr, const pb_http1_options *m, struct http_server_opts *o, struct arena *a)
{
    o->h1.allow_absolute_url = true;
    if (!m)
        return;
    read_http1(cr, m, &o->h1, &o->h1_name_case, &o->h1_enable_trailers);
    o->h1.allow_absolute_url = proto_bool_or(GET(m, allow_absolute_url), true);
    o->h1.accept_http10 = GET(m, accept_http_10);
    o->h1.default_host_http10 = arena_str(a, TEXT(m, default_host_for_http_10));
    o->h1_stream_error_on_invalid =
        proto_bool_or(GET(m, override_stream_error_on_invalid_http_message), o->h1_stream_error_on_invalid);
}

void cfg_http1_client(struct config_reader *cr, const pb_http1_options *m, struct http_client_opts *o)
{
    if (!m)
        return;
    read_http1(cr, m, &o->h1, &o->h1_name_case, &o->h1_enable_trailers);
    /* Only downstream has these; Envoy takes them upstream too and does nothing with them. */
    (void)GET(m, allow_absolute_url), (void)GET(m, override_stream_error_on_invalid_http_message);
}

/* ---- HTTP/2 ---- */

static void read_http2(struct config_reader *cr, const pb_http2_options *m, struct h2_opts *o)
{
    (void)GET(m, use_oghttp2_codec); /* which of Envoy's two codecs */
    o->hpack_table_bytes = proto_u32_or(GET(m, hpack_table_size), o->hpack_table_bytes);
    o->max_concurrent_streams = proto_u32_or(GET(m, max_concurrent_streams), o->max_concurrent_streams);
    o->initial_stream_window = proto_u32_or(GET(m, initial_stream_window_size), o->initial_stream_window);
    o->initial_connection_window = proto_u32_or(GET(m, initial_connection_window_size), o->initial_connection_window);
    o->allow_connect = GET(m, allow_connect);
    o->max_outbound_frames = proto_u32_or(GET(m, max_outbound_frames), o->max_outbound_frames);
    o->max_outbound_control_frames = proto_u32_or(GET(m, max_outbound_control_frames), o->max_outbound_control_frames);
    o->max_consecutive_empty_frames =
        proto_u32_or(GET(m, max_consecutive_inbound_frames_with_empty_payload), o->max_consecutive_empty_frames);
    o->max_priority_per_stream = proto_u32_or(GET(m, max_inbound_priority_frames_per_stream), o->max_priority_per_stream);
    o->max_window_update_per_data =
        proto_u32_or(GET(m, max_inbound_window_update_frames_per_data_frame_sent), o->max_window_update_per_data);
    bool old = GET(m, stream_error_on_invalid_http_messaging);
    o->stream_error_on_invalid = proto_bool_or(GET(m, override_stream_error_on_invalid_http_message),
                                               old || o->stream_error_on_invalid);
}

static void read_keepalive(struct config_reader *cr, const pb_http2_options *m, uint64_t *interval_ms, uint64_t *timeout_ms,
                           uint64_t *idle_ms, uint32_t *jitter_pct)
{
    const pb_keepalive *k = GET(m, connection_keepalive);
    if (!k)
        return;
    *interval_ms = proto_ms_or(GET(k, interval), 0);
    *timeout_ms = proto_ms_or(GET(k, timeout), 0);
    *idle_ms = proto_ms_or(GET(k, connection_idle_interval), 0);
    __auto_type jitter = GET(k, interval_jitter);
    *jitter_pct = jitter ? (uint32_t)(GET(jitter, value) + 0.5) : 15;
}

void cfg_http2_server(struct config_reader *cr, const pb_http2_options *m, struct http_server_opts *o)
{
    if (!m)
        return;
    read_http2(cr, m, &o->h2);
    read_keepalive(cr, m, &o->h2_ping_interval_ms, &o->h2_ping_timeout_ms, &o->h2_idle_ping_ms, &o->h2_ping_jitter_pct);
}

void cfg_http2_client(struct config_reader *cr, const pb_http2_options *m, struct http_client_opts *o)
{
    if (!m)
        return;
    read_http2(cr, m, &o->h2);
    read_keepalive(cr, m, &o->h2_ping_interval_ms, &o->h2_ping_timeout_ms, &o->h2_idle_ping_ms, &o->h2_ping_jitter_pct);
}

/* ---- a cluster's HTTP part ---- */

static void client_defaults(struct http_client_opts *o)
{
    o->h1.limits = H1_LIMITS_DEFAULT;
    o->h2 = h2_opts_default(false);
    o->max_response_header_bytes = o->h1.limits.max_head_bytes;
}

static void read_common(struct config_reader *cr, const pb_http_options *m, struct cluster_http_spec *h)
{
    struct http_client_opts *o = &h->client;
    h->idle_timeout_ms = IDLE_TIMEOUT_DEFAULT_MS;
    if (!m)
        return;
    h->idle_timeout_ms = proto_ms_or(GET(m, idle_timeout), IDLE_TIMEOUT_DEFAULT_MS);
    h->max_stream_duration_ms = proto_ms_or(GET(m, max_stream_duration), 0);
    h->max_requests_per_connection = proto_u32_or(GET(m, max_requests_per_connection), h->max_requests_per_connection);
    o->max_connection_ms = proto_ms_or(GET(m, max_connection_duration), 0);
    o->h1.limits.max_headers = o->h2.max_headers = proto_u32_or(GET(m, max_headers_count), o->h1.limits.max_headers);
    __auto_type kb = GET(m, max_response_headers_kb);
    if (kb)
        o->max_response_header_bytes = kb->value * 1024;
    o->h1.limits.max_head_bytes = o->h1.limits.max_trailer_bytes = o->max_response_header_bytes;
    o->h2.max_header_bytes = o->max_response_header_bytes;
    /* headers_with_underscores_action is for requests: Envoy does nothing with it upstream, we say so. */
}

static void read_upstream(struct config_reader *cr, const pb_upstream_http_options *m, struct cluster_http_spec *h, struct arena *a)
{
    if (!m)
        return;
    h->auto_sni = GET(m, auto_sni);
    h->auto_san_validation = GET(m, auto_san_validation);
    h->override_auto_sni_header = cfg_lower(a, TEXT(m, override_auto_sni_header));
}

static void read_explicit(struct config_reader *cr, const pb_explicit_http *m, struct cluster_http_spec *h)
{
    switch (m->protocol_config_case) {
    case ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__EXPLICIT_HTTP_CONFIG__PROTOCOL_CONFIG_HTTP2_PROTOCOL_OPTIONS:
        h->protocol = HTTP_2;
        IN("http2_protocol_options")
            cfg_http2_client(cr, GET(m, http2_protocol_options), &h->client);
        break;
    case ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__EXPLICIT_HTTP_CONFIG__PROTOCOL_CONFIG_HTTP_PROTOCOL_OPTIONS:
        IN("http_protocol_options")
            cfg_http1_client(cr, GET(m, http_protocol_options), &h->client);
        break;
    default:
        break; /* HTTP/3 stays unread and is reported */
    }
}

#define UPSTREAM_CASE(x) ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_##x

static void read_protocol(struct config_reader *cr, const pb_upstream_http *m, struct cluster_http_spec *h)
{
    switch (m->upstream_protocol_options_case) {
    case UPSTREAM_CASE(EXPLICIT_HTTP_CONFIG):
        IN("explicit_http_config")
            read_explicit(cr, GET(m, explicit_http_config), h);
        break;
    case UPSTREAM_CASE(USE_DOWNSTREAM_PROTOCOL_CONFIG): {
        const pb_downstream_http *d = GET(m, use_downstream_protocol_config);
        h->use_downstream_protocol = true;
        IN("use_downstream_protocol_config") {
            cfg_http1_client(cr, GET(d, http_protocol_options), &h->client);
            cfg_http2_client(cr, GET(d, http2_protocol_options), &h->client);
        }
        break;
    }
    case UPSTREAM_CASE(AUTO_CONFIG): {
        const pb_auto_http *d = GET(m, auto_config);
        h->alpn = true;
        IN("auto_config") {
            cfg_http1_client(cr, GET(d, http_protocol_options), &h->client);
            cfg_http2_client(cr, GET(d, http2_protocol_options), &h->client);
        }
        break;
    }
    default:
        FAULT("", "one of explicit_http_config, use_downstream_protocol_config and auto_config must be set");
    }
}

static void read_http_filters(struct config_reader *cr, const pb_upstream_http *m)
{
    uint32_t n = LEN(m, http_filters);
    for (uint32_t i = 0; i < n; i++) {
        const pb_http_filter *f = m->http_filters[i];
        (void)GET(f, name);
        /* The codec filter is what every upstream chain ends with; naming it changes nothing. */
        if (f->config_type_case == ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_FILTER__CONFIG_TYPE_TYPED_CONFIG &&
            str_eq(proto_any_type(f->typed_config), STR("envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"))) {
            IN("http_filters[%u]", i)
                proto_any_read(&cr->r, "typed_config", GET(f, typed_config));
            continue;
        }
        proto_read_whole(&cr->r, &f->base);
        IN("http_filters[%u]", i)
            UNSUPPORTED("typed_config", f->name);
    }
}

static void read_options(struct config_reader *cr, const pb_upstream_http *m, struct cluster_http_spec *h, struct arena *a)
{
    IN("common_http_protocol_options")
        read_common(cr, GET(m, common_http_protocol_options), h);
    read_upstream(cr, GET(m, upstream_http_protocol_options), h, a);
    read_protocol(cr, m, h);
    read_http_filters(cr, m);
}

/* The members of the cluster that came before HttpProtocolOptions. */
static void read_old_options(struct config_reader *cr, const pb_cluster *m, struct cluster_http_spec *h, struct arena *a)
{
    IN("common_http_protocol_options")
        read_common(cr, GET(m, common_http_protocol_options), h);
    read_upstream(cr, GET(m, upstream_http_protocol_options), h, a);
    h->use_downstream_protocol =
        GET(m, protocol_selection) == ENVOY__CONFIG__CLUSTER__V3__CLUSTER__CLUSTER_PROTOCOL_SELECTION__USE_DOWNSTREAM_PROTOCOL;
    const pb_http1_options *h1 = GET(m, http_protocol_options);
    const pb_http2_options *h2 = GET(m, http2_protocol_options);
    if (h1 && h2 && !h->use_downstream_protocol)
        FAULT("", "http_protocol_options and http2_protocol_options together need protocol_selection: USE_DOWNSTREAM_PROTOCOL");
    if (h2)
        h->protocol = HTTP_2;
    IN("http_protocol_options")
        cfg_http1_client(cr, h1, &h->client);
    IN("http2_protocol_options")
        cfg_http2_client(cr, h2, &h->client);
}

static const pb_upstream_http *find_options(struct config_reader *cr, const pb_cluster *m)
{
    const pb_upstream_http *found = NULL;
    uint32_t n = LEN(m, typed_extension_protocol_options);
    for (uint32_t i = 0; i < n; i++) {
        __auto_type entry = m->typed_extension_protocol_options[i];
        char field[256];
        snprintf(field, sizeof field, "typed_extension_protocol_options[\"%s\"]", entry->key);
        if (strcmp(entry->key, HTTP_OPTIONS_KEY) == 0) {
            found = PROTO_ANY_AS(&cr->r, field, entry->value, pb_upstream_http,
                                 envoy__extensions__upstreams__http__v3__http_protocol_options__descriptor);
        } else {
            if (entry->value)
                proto_read_whole(&cr->r, &entry->value->base);
            UNSUPPORTED(field, NULL);
        }
    }
    return found;
}

const struct cluster_http_spec *cfg_cluster_http(struct config_reader *cr, const pb_cluster *m, bool to_any_name)
{
    struct cluster_http_spec h;
    struct arena a;
    struct strbuf key = {0};
    arena_init(&a, 0);
    memset(&h, 0, sizeof h); /* padding too: the bytes are the key */
    client_defaults(&h.client);
    h.protocol = HTTP_11;
    h.max_requests_per_connection = proto_u32_or(GET(m, max_requests_per_connection), 0);
    h.client.buffer_limit_bytes = proto_u32_or(GET(m, per_connection_buffer_limit_bytes), 1 << 20);
    const pb_upstream_http *options = find_options(cr, m);
    if (options)
        IN("typed_extension_protocol_options[\"" HTTP_OPTIONS_KEY "\"]")
            read_options(cr, options, &h, &a);
    else
        read_old_options(cr, m, &h, &a);
    if (to_any_name && !options && !m->upstream_http_protocol_options)
        h.auto_sni = h.auto_san_validation = true;
    h.max_concurrent_streams = h.client.h2.max_concurrent_streams;

    struct cluster_http_spec flat = h;
    flat.override_auto_sni_header.p = NULL;
    strbuf_addz(&key, "http:");
    strbuf_add(&key, &flat, sizeof flat);
    cfg_key_str(&key, h.override_auto_sni_header);
    const struct cluster_http_spec *shared = shared_get(strbuf_str(&key), &h, sizeof h, &a, NULL);
    strbuf_fini(&key);
    return shared;
}
