/* SPDX-License-Identifier: Apache-2.0
 *
 * Attributes (Envoy: "Attributes"): one table. Most are what an access-log operator prints, read back
 * as the attribute's type, so that the two can't tell different things. Any worker.
 */
#include "proxy/cel/cel_priv.h"

#include "base/check.h"
#include "http/codec/uri.h"
#include "proxy/stream_info.h"

static struct cel_value url_path(const struct format_context *cx, struct arena *a)
{
    (void)a;
    struct str path = cx->request ? headers_get_id(cx->request, HDR_PATH) : STR_NULL;
    return path.p ? cel_string(path_without_query(path)) : cel_error();
}

static struct cel_value query(const struct format_context *cx, struct arena *a)
{
    (void)a;
    struct str path = cx->request ? headers_get_id(cx->request, HDR_PATH) : STR_NULL;
    return path.p ? cel_string(path_query(path)) : cel_error();
}

static struct cel_value duration(const struct format_context *cx, struct arena *a)
{
    (void)a;
    if (!cx->info->end_us)
        return cel_error();
    return (struct cel_value){.kind = CEL_DURATION, .v.i = (int64_t)(cx->info->end_us - cx->info->start_us)};
}

static struct cel_value flags(const struct format_context *cx, struct arena *a)
{
    (void)a;
    return cel_int(cx->info->flags);
}

static struct cel_value total_size(const struct format_context *cx, struct arena *a)
{
    (void)a;
    return cel_int((int64_t)(cx->info->bytes_received + cx->info->header_bytes_received));
}

static struct cel_value response_total_size(const struct format_context *cx, struct arena *a)
{
    (void)a;
    return cel_int((int64_t)(cx->info->bytes_sent + cx->info->header_bytes_sent));
}

static struct cel_value virtual_host(const struct format_context *cx, struct arena *a)
{
    (void)a;
    return cx->info->virtual_host.p ? cel_string(cx->info->virtual_host) : cel_error();
}

#define MAP_OF(name_, which_)                                                                      \
    static struct cel_value name_(const struct format_context *cx, struct arena *a)                \
    {                                                                                              \
        (void)cx, (void)a;                                                                         \
        return (struct cel_value){.kind = CEL_MAP, .v.map = which_};                               \
    }
MAP_OF(request_headers, CEL_REQUEST_HEADERS)
MAP_OF(response_headers, CEL_RESPONSE_HEADERS)
MAP_OF(response_trailers, CEL_RESPONSE_TRAILERS)
MAP_OF(metadata, CEL_METADATA)
MAP_OF(filter_state, CEL_FILTER_STATE)

static const struct cel_attribute attributes[] = {
    {"request.path", CEL_STRING, "%REQ(:PATH)%", NULL},
    {"request.url_path", CEL_STRING, NULL, url_path},
    {"request.query", CEL_STRING, NULL, query},
    {"request.host", CEL_STRING, "%REQ(:AUTHORITY)%", NULL},
    {"request.scheme", CEL_STRING, "%REQ(:SCHEME)%", NULL},
    {"request.method", CEL_STRING, "%REQ(:METHOD)%", NULL},
    {"request.headers", CEL_MAP, NULL, request_headers},
    {"request.referer", CEL_STRING, "%REQ(REFERER)%", NULL},
    {"request.useragent", CEL_STRING, "%REQ(USER-AGENT)%", NULL},
    {"request.id", CEL_STRING, "%REQ(X-REQUEST-ID)%", NULL},
    {"request.protocol", CEL_STRING, "%PROTOCOL%", NULL},
    {"request.duration", CEL_DURATION, NULL, duration},
    {"request.size", CEL_INT, "%BYTES_RECEIVED%", NULL},
    {"request.total_size", CEL_INT, NULL, total_size},
    {"response.code", CEL_INT, "%RESPONSE_CODE%", NULL},
    {"response.code_details", CEL_STRING, "%RESPONSE_CODE_DETAILS%", NULL},
    {"response.flags", CEL_INT, NULL, flags},
    {"response.grpc_status", CEL_INT, "%GRPC_STATUS_NUMBER%", NULL},
    {"response.headers", CEL_MAP, NULL, response_headers},
    {"response.trailers", CEL_MAP, NULL, response_trailers},
    {"response.size", CEL_INT, "%BYTES_SENT%", NULL},
    {"response.total_size", CEL_INT, NULL, response_total_size},
    {"connection.id", CEL_UINT, "%CONNECTION_ID%", NULL},
    {"connection.mtls", CEL_BOOL, "%DOWNSTREAM_PEER_FINGERPRINT_256%", NULL},
    {"connection.requested_server_name", CEL_STRING, "%REQUESTED_SERVER_NAME%", NULL},
    {"connection.tls_version", CEL_STRING, "%DOWNSTREAM_TLS_VERSION%", NULL},
    {"connection.subject_local_certificate", CEL_STRING, "%DOWNSTREAM_LOCAL_SUBJECT%", NULL},
    {"connection.subject_peer_certificate", CEL_STRING, "%DOWNSTREAM_PEER_SUBJECT%", NULL},
    {"connection.dns_san_local_certificate", CEL_STRING, "%DOWNSTREAM_LOCAL_DNS_SAN%", NULL},
    {"connection.dns_san_peer_certificate", CEL_STRING, "%DOWNSTREAM_PEER_DNS_SAN%", NULL},
    {"connection.uri_san_local_certificate", CEL_STRING, "%DOWNSTREAM_LOCAL_URI_SAN%", NULL},
    {"connection.uri_san_peer_certificate", CEL_STRING, "%DOWNSTREAM_PEER_URI_SAN%", NULL},
    {"connection.sha256_peer_certificate_digest", CEL_STRING, "%DOWNSTREAM_PEER_FINGERPRINT_256%", NULL},
    {"connection.termination_details", CEL_STRING, "%CONNECTION_TERMINATION_DETAILS%", NULL},
    {"connection.transport_failure_reason", CEL_STRING, "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%", NULL},
    {"source.address", CEL_STRING, "%DOWNSTREAM_REMOTE_ADDRESS%", NULL},
    {"source.port", CEL_INT, "%DOWNSTREAM_REMOTE_PORT%", NULL},
    {"destination.address", CEL_STRING, "%DOWNSTREAM_LOCAL_ADDRESS%", NULL},
    {"destination.port", CEL_INT, "%DOWNSTREAM_LOCAL_PORT%", NULL},
    {"upstream.address", CEL_STRING, "%UPSTREAM_REMOTE_ADDRESS%", NULL},
    {"upstream.port", CEL_INT, "%UPSTREAM_REMOTE_PORT%", NULL},
    {"upstream.local_address", CEL_STRING, "%UPSTREAM_LOCAL_ADDRESS%", NULL},
    {"upstream.tls_version", CEL_STRING, "%UPSTREAM_TLS_VERSION%", NULL},
    {"upstream.subject_peer_certificate", CEL_STRING, "%UPSTREAM_PEER_SUBJECT%", NULL},
    {"upstream.uri_san_peer_certificate", CEL_STRING, "%UPSTREAM_PEER_URI_SAN%", NULL},
    {"upstream.transport_failure_reason", CEL_STRING, "%UPSTREAM_TRANSPORT_FAILURE_REASON%", NULL},
    {"upstream.request_attempt_count", CEL_INT, "%UPSTREAM_REQUEST_ATTEMPT_COUNT%", NULL},
    {"xds.cluster_name", CEL_STRING, "%UPSTREAM_CLUSTER%", NULL},
    {"xds.route_name", CEL_STRING, "%ROUTE_NAME%", NULL},
    {"xds.virtual_host_name", CEL_STRING, NULL, virtual_host},
    {"xds.filter_chain_name", CEL_STRING, "%FILTER_CHAIN_NAME%", NULL},
    {"metadata.filter_metadata", CEL_MAP, NULL, metadata},
    {"filter_state", CEL_MAP, NULL, filter_state},
};

bool cel_is_root(struct str name)
{
    static const char *const roots[] = {"request", "response", "connection", "source", "destination", "upstream", "xds", "metadata"};
    for (size_t i = 0; i < ARRAY_LEN(roots); i++)
        if (str_eq(name, str_from(roots[i])))
            return true;
    return false;
}

const struct cel_attribute *cel_attribute_find(struct str path)
{
    for (size_t i = 0; i < ARRAY_LEN(attributes); i++)
        if (str_eq(path, str_from(attributes[i].name)))
            return &attributes[i];
    return NULL;
}

struct cel_value cel_attribute_value(const struct cel_node *n, const struct format_context *cx, struct arena *a)
{
    const struct cel_attribute *at = n->attribute;
    if (at->read)
        return at->read(cx, a);
    struct strbuf text = {0};
    format_run(n->format, cx, &text);
    struct str s = arena_str(a, strbuf_str(&text));
    strbuf_fini(&text);
    struct cel_value out = {.kind = at->kind};
    bool absent = !s.n || str_eq(s, STR("-"));
    if (at->kind == CEL_BOOL)
        return cel_bool(!absent);
    if (absent)
        return at->kind == CEL_STRING && str_has_prefix(str_from(at->name), STR("connection.")) ? cel_string(STR("")) : cel_error();
    if (at->kind == CEL_INT)
        return str_to_i64(s, &out.v.i) ? out : cel_error();
    if (at->kind == CEL_UINT)
        return str_to_u64(s, &out.v.u) ? out : cel_error();
    out.v.s = s;
    return out;
}

/* ---- maps ---- */

struct cel_value cel_of_meta(const struct meta_value *m)
{
    if (!m)
        return cel_error();
    switch (m->kind) {
    case META_NULL:
        return (struct cel_value){.kind = CEL_NULL};
    case META_BOOL:
        return cel_bool(m->u.boolean);
    case META_NUMBER:
        return (struct cel_value){.kind = CEL_DOUBLE, .v.d = m->u.number};
    case META_STRING:
        return cel_string(m->u.string);
    case META_LIST:
    case META_STRUCT:
        break;
    }
    return (struct cel_value){.kind = CEL_META, .v.meta = m};
}

static struct cel_value header(const struct headers *h, struct str key, struct arena *a)
{
    char *lower = arena_bytes(a, key.n + 1);
    if (!h || !lower)
        return cel_error();
    for (size_t i = 0; i < key.n; i++)
        lower[i] = ascii_lower(key.p[i]);
    struct str name = str_make(lower, key.n), value = headers_get_joined(h, str_eq(name, STR("host")) ? STR(":authority") : name, a);
    return value.p ? cel_string(value) : cel_error();
}

struct cel_value cel_map_get(enum cel_map map, struct str key, const struct format_context *cx, struct arena *a)
{
    switch (map) {
    case CEL_REQUEST_HEADERS:
        return header(cx->request, key, a);
    case CEL_RESPONSE_HEADERS:
        return header(cx->response, key, a);
    case CEL_RESPONSE_TRAILERS:
        return header(cx->trailers, key, a);
    case CEL_METADATA:
        return cel_of_meta(metadata_find(&cx->info->metadata, key, NULL, 0));
    case CEL_FILTER_STATE: {
        const struct filter_state_entry *e = filter_state_find(&cx->info->filter_state, key);
        return e ? cel_string(e->value) : cel_error();
    }
    }
    return cel_error();
}
