/* SPDX-License-Identifier: Apache-2.0
 *
 * Attributes (Envoy: "Attributes"): one table. Most are what an access-log operator prints, read back
 * as the attribute's type, so that the two can't tell different things. Any worker.
 */
#include "proxy/cel/cel_priv.h"

#include "base/check.h"
#include "http/codec/uri.h"
#include "io/tls.h"
#include "proxy/cluster/cluster.h"
#include "proxy/route/route.h"
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

/* Read without a format: what tags and filters ask for at every request. */
static struct cel_value text_of(struct str s)
{
    return s.p ? cel_string(s) : cel_error();
}

#define HEADER(name_, id_)                                                                         \
    static struct cel_value name_(const struct format_context *cx, struct arena *a)                \
    {                                                                                              \
        (void)a;                                                                                   \
        return text_of(cx->request ? headers_get_id(cx->request, id_) : STR_NULL);                 \
    }
HEADER(path, HDR_PATH)
HEADER(host, HDR_AUTHORITY)
HEADER(scheme, HDR_SCHEME)
HEADER(method, HDR_METHOD)
HEADER(referer, HDR_REFERER)
HEADER(useragent, HDR_USER_AGENT)
HEADER(request_id, HDR_X_REQUEST_ID)

static struct cel_value code(const struct format_context *cx, struct arena *a)
{
    (void)a;
    return cx->info->status ? cel_int(cx->info->status) : cel_error();
}

static struct cel_value time_of(const struct format_context *cx, struct arena *a)
{
    (void)a;
    return cx->info->start_wall_us ? (struct cel_value){.kind = CEL_TIMESTAMP, .v.i = (int64_t)cx->info->start_wall_us} : cel_error();
}

static struct cel_value between(uint64_t from, uint64_t to)
{
    return from && to >= from ? (struct cel_value){.kind = CEL_DURATION, .v.i = (int64_t)(to - from)} : cel_error();
}

static struct cel_value backend_latency(const struct format_context *cx, struct arena *a)
{
    (void)a;
    return between(cx->info->upstream_last_tx_us, cx->info->upstream_first_rx_us);
}

static struct cel_value pool_ready(const struct format_context *cx, struct arena *a)
{
    (void)a;
    return cx->info->pool_ready_us ? (struct cel_value){.kind = CEL_DURATION, .v.i = (int64_t)cx->info->pool_ready_us} : cel_error();
}

/* The first name of a kind, as Envoy takes it. */
static struct cel_value first_san(const struct format_context *cx, bool upstream, bool peer, bool is_uri)
{
    struct tls_session *tls = upstream               ? (struct tls_session *)(uintptr_t)cx->info->upstream_tls
                              : cx->info->downstream ? conn_tls(cx->info->downstream)
                                                     : NULL;
    const struct tls_cert_facts *f = !tls ? NULL : peer ? tls_session_peer(tls) : tls_session_local(tls);
    const struct str *list = !f ? NULL : is_uri ? f->uri_sans : f->dns_sans;
    return list && list[0].p ? cel_string(list[0]) : cel_error();
}

#define SAN(name_, upstream_, peer_, is_uri_)                                                      \
    static struct cel_value name_(const struct format_context *cx, struct arena *a)                \
    {                                                                                              \
        (void)a;                                                                                   \
        return first_san(cx, upstream_, peer_, is_uri_);                                           \
    }
SAN(down_local_dns, false, false, false)
SAN(down_peer_dns, false, true, false)
SAN(down_local_uri, false, false, true)
SAN(down_peer_uri, false, true, true)
SAN(up_local_dns, true, false, false)
SAN(up_peer_dns, true, true, false)
SAN(up_local_uri, true, false, true)
SAN(up_peer_uri, true, true, true)

static struct meta_value *node; /* main thread, before workers read it */

void cel_set_node(const struct meta_value *keep_node)
{
    node = (struct meta_value *)(uintptr_t)keep_node;
}

static struct cel_value node_of(const struct format_context *cx, struct arena *a)
{
    (void)cx, (void)a;
    return node ? cel_of_meta(node) : cel_error();
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
MAP_OF(cluster_metadata, CEL_METADATA_OF_CLUSTER)
MAP_OF(route_metadata, CEL_METADATA_OF_ROUTE)
MAP_OF(vhost_metadata, CEL_METADATA_OF_VHOST)
MAP_OF(host_metadata, CEL_METADATA_OF_HOST)

static const struct cel_attribute attributes[] = {
    {"request.path", CEL_STRING, NULL, path},
    {"request.url_path", CEL_STRING, NULL, url_path},
    {"request.query", CEL_STRING, NULL, query},
    {"request.host", CEL_STRING, NULL, host},
    {"request.scheme", CEL_STRING, NULL, scheme},
    {"request.method", CEL_STRING, NULL, method},
    {"request.headers", CEL_MAP, NULL, request_headers},
    {"request.referer", CEL_STRING, NULL, referer},
    {"request.useragent", CEL_STRING, NULL, useragent},
    {"request.id", CEL_STRING, NULL, request_id},
    {"request.time", CEL_TIMESTAMP, NULL, time_of},
    {"request.protocol", CEL_STRING, "%PROTOCOL%", NULL},
    {"request.duration", CEL_DURATION, NULL, duration},
    {"request.size", CEL_INT, "%BYTES_RECEIVED%", NULL},
    {"request.total_size", CEL_INT, NULL, total_size},
    {"response.code", CEL_INT, NULL, code},
    {"response.code_details", CEL_STRING, "%RESPONSE_CODE_DETAILS%", NULL},
    {"response.flags", CEL_INT, NULL, flags},
    {"response.grpc_status", CEL_INT, "%GRPC_STATUS_NUMBER%", NULL},
    {"response.headers", CEL_MAP, NULL, response_headers},
    {"response.trailers", CEL_MAP, NULL, response_trailers},
    {"response.size", CEL_INT, "%BYTES_SENT%", NULL},
    {"response.total_size", CEL_INT, NULL, response_total_size},
    {"response.backend_latency", CEL_DURATION, NULL, backend_latency},
    {"connection.id", CEL_UINT, "%CONNECTION_ID%", NULL},
    {"connection.mtls", CEL_BOOL, "%DOWNSTREAM_PEER_FINGERPRINT_256%", NULL},
    {"connection.requested_server_name", CEL_STRING, "%REQUESTED_SERVER_NAME%", NULL},
    {"connection.tls_version", CEL_STRING, "%DOWNSTREAM_TLS_VERSION%", NULL},
    {"connection.subject_local_certificate", CEL_STRING, "%DOWNSTREAM_LOCAL_SUBJECT%", NULL},
    {"connection.subject_peer_certificate", CEL_STRING, "%DOWNSTREAM_PEER_SUBJECT%", NULL},
    {"connection.dns_san_local_certificate", CEL_STRING, NULL, down_local_dns},
    {"connection.dns_san_peer_certificate", CEL_STRING, NULL, down_peer_dns},
    {"connection.uri_san_local_certificate", CEL_STRING, NULL, down_local_uri},
    {"connection.uri_san_peer_certificate", CEL_STRING, NULL, down_peer_uri},
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
    {"upstream.subject_local_certificate", CEL_STRING, "%UPSTREAM_LOCAL_SUBJECT%", NULL},
    {"upstream.dns_san_local_certificate", CEL_STRING, NULL, up_local_dns},
    {"upstream.dns_san_peer_certificate", CEL_STRING, NULL, up_peer_dns},
    {"upstream.uri_san_local_certificate", CEL_STRING, NULL, up_local_uri},
    {"upstream.uri_san_peer_certificate", CEL_STRING, NULL, up_peer_uri},
    {"upstream.cx_pool_ready_duration", CEL_DURATION, NULL, pool_ready},
    {"upstream.transport_failure_reason", CEL_STRING, "%UPSTREAM_TRANSPORT_FAILURE_REASON%", NULL},
    {"upstream.request_attempt_count", CEL_INT, "%UPSTREAM_REQUEST_ATTEMPT_COUNT%", NULL},
    {"xds.cluster_name", CEL_STRING, "%UPSTREAM_CLUSTER%", NULL},
    {"xds.route_name", CEL_STRING, "%ROUTE_NAME%", NULL},
    {"xds.virtual_host_name", CEL_STRING, NULL, virtual_host},
    {"xds.filter_chain_name", CEL_STRING, "%FILTER_CHAIN_NAME%", NULL},
    {"xds.node", CEL_META, NULL, node_of},
    {"xds.cluster_metadata", CEL_MAP, NULL, cluster_metadata},
    {"xds.route_metadata", CEL_MAP, NULL, route_metadata},
    {"xds.virtual_host_metadata", CEL_MAP, NULL, vhost_metadata},
    {"xds.upstream_host_metadata", CEL_MAP, NULL, host_metadata},
    {"metadata.filter_metadata", CEL_MAP, NULL, metadata},
    {"filter_state", CEL_MAP, NULL, filter_state},
    {"upstream_filter_state", CEL_MAP, NULL, filter_state}, /* ours has one state for both sides */
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

static const struct metadata *metadata_behind(enum cel_map map, const struct stream_info *info)
{
    switch (map) {
    case CEL_METADATA:
        return &info->metadata;
    case CEL_CLUSTER_METADATA:
        return info->cluster ? cluster_spec(info->cluster)->metadata : NULL;
    case CEL_ROUTE_METADATA:
        return info->route ? info->route->metadata : NULL;
    case CEL_VHOST_METADATA:
        return info->route && info->route->vhost ? info->route->vhost->metadata : NULL;
    case CEL_HOST_METADATA:
        return info->host ? info->host->metadata : NULL;
    default:
        return NULL;
    }
}

static struct cel_value state_value(const struct filter_state_entry *e)
{
    if (e && e->object)
        return (struct cel_value){.kind = CEL_META, .v.meta = e->object->fields};
    return e ? cel_string(e->value) : cel_error();
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
    case CEL_FILTER_STATE:
        return state_value(filter_state_find(&cx->info->filter_state, key));
    case CEL_METADATA_OF_CLUSTER:
    case CEL_METADATA_OF_ROUTE:
    case CEL_METADATA_OF_VHOST:
    case CEL_METADATA_OF_HOST:
        if (!str_eq(key, STR("filter_metadata")))
            return cel_error();
        return (struct cel_value){.kind = CEL_MAP, .v.map = map - CEL_METADATA_OF_CLUSTER + CEL_CLUSTER_METADATA};
    default:
        return cel_of_meta(metadata_find(metadata_behind(map, cx->info), key, NULL, 0));
    }
}

static struct cel_value names_of_headers(const struct headers *h, struct arena *a)
{
    struct cel_value v = {.kind = CEL_LIST};
    v.v.list.items = h ? arena_alloc(a, (h->count + 1) * sizeof(struct cel_value)) : NULL;
    if (!v.v.list.items)
        return cel_error();
    for (uint32_t i = 0; i < h->count; i++) {
        uint32_t j = 0;
        while (j < v.v.list.count && !str_eq(v.v.list.items[j].v.s, h->items[i].name))
            j++;
        if (j == v.v.list.count)
            v.v.list.items[v.v.list.count++] = cel_string(h->items[i].name);
    }
    return v;
}

static struct cel_value names_of_spaces(const struct metadata *m, struct arena *a)
{
    struct cel_value v = {.kind = CEL_LIST};
    uint32_t n = m ? m->count : 0;
    v.v.list.items = arena_alloc(a, (n + 1) * sizeof(struct cel_value));
    if (!v.v.list.items)
        return cel_error();
    for (uint32_t i = 0; i < n; i++)
        v.v.list.items[v.v.list.count++] = cel_string(m->items[i].name);
    return v;
}

struct cel_value cel_map_keys(enum cel_map map, const struct format_context *cx, struct arena *a)
{
    switch (map) {
    case CEL_REQUEST_HEADERS:
        return names_of_headers(cx->request, a);
    case CEL_RESPONSE_HEADERS:
        return names_of_headers(cx->response, a);
    case CEL_RESPONSE_TRAILERS:
        return names_of_headers(cx->trailers, a);
    case CEL_METADATA:
    case CEL_CLUSTER_METADATA:
    case CEL_ROUTE_METADATA:
    case CEL_VHOST_METADATA:
    case CEL_HOST_METADATA:
        return names_of_spaces(metadata_behind(map, cx->info), a);
    default:
        return cel_error();
    }
}
