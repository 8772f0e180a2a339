/* SPDX-License-Identifier: Apache-2.0
 *
 * envoy.data.accesslog.v3 entries of exchanges: what Envoy fills, from the same facts (its grpc_access_log_utils'
 * documented fields). Made in a scratch arena and packed at once. Any thread.
 */
#include "proxy/service/als.h"

#include "base/check.h"
#include "envoy/data/accesslog/v3/accesslog.pb-c.h"
#include "google/protobuf/wrappers.pb-c.h"
#include "io/tls.h"
#include "proto/message.h"
#include "proxy/cluster/cluster.h"
#include "proxy/service/values.h"

#define PB(x) Envoy__Data__Accesslog__V3__##x
#define CORE(x) Envoy__Config__Core__V3__##x
#define NEWPB(type_, desc_) PROTO_NEW(a, PB(type_), envoy__data__accesslog__v3__##desc_##__descriptor)
#define ENTRY_BYTES_MAX ((size_t)1 << 20)

/* ---- small things ---- */

static char *text(struct str s, struct proto_arena *a)
{
    return s.n ? text_to_pb(s, a) : (char *)(uintptr_t)"";
}

/* From the exchange's start; NULL for what hasn't happened. */
static Google__Protobuf__Duration *since(const struct stream_info *i, uint64_t at_us, struct proto_arena *a)
{
    if (!at_us)
        return NULL;
    Google__Protobuf__Duration *d = PROTO_NEW(a, Google__Protobuf__Duration, google__protobuf__duration__descriptor);
    uint64_t us = at_us > i->start_us ? at_us - i->start_us : 0;
    if (d) {
        d->seconds = (int64_t)(us / 1000000);
        d->nanos = (int32_t)(us % 1000000 * 1000);
    }
    return d;
}

static Google__Protobuf__UInt32Value *wrapped(uint32_t v, struct proto_arena *a)
{
    Google__Protobuf__UInt32Value *m = PROTO_NEW(a, Google__Protobuf__UInt32Value, google__protobuf__uint32_value__descriptor);
    if (m)
        m->value = v;
    return m;
}

/* ---- flags ---- */

static PB(ResponseFlags) *response_flags(uint32_t f, struct proto_arena *a)
{
    PB(ResponseFlags) *m = NEWPB(ResponseFlags, response_flags);
    if (!m)
        return NULL;
    const struct { uint32_t flag; protobuf_c_boolean *to; } rows[] = {
        {FLAG_LH, &m->failed_local_healthcheck}, {FLAG_UH, &m->no_healthy_upstream}, {FLAG_UT, &m->upstream_request_timeout},
        {FLAG_LR, &m->local_reset}, {FLAG_UR, &m->upstream_remote_reset}, {FLAG_UF, &m->upstream_connection_failure},
        {FLAG_UC, &m->upstream_connection_termination}, {FLAG_UO, &m->upstream_overflow}, {FLAG_NR, &m->no_route_found},
        {FLAG_DI, &m->delay_injected}, {FLAG_FI, &m->fault_injected}, {FLAG_RL, &m->rate_limited},
        {FLAG_RLSE, &m->rate_limit_service_error}, {FLAG_DC, &m->downstream_connection_termination},
        {FLAG_URX, &m->upstream_retry_limit_exceeded}, {FLAG_SI, &m->stream_idle_timeout},
        {FLAG_IH, &m->invalid_envoy_request_headers}, {FLAG_DPE, &m->downstream_protocol_error},
        {FLAG_UMSDR, &m->upstream_max_stream_duration_reached}, {FLAG_RFCF, &m->response_from_cache_filter},
        {FLAG_NFCF, &m->no_filter_config_found}, {FLAG_DT, &m->duration_timeout}, {FLAG_UPE, &m->upstream_protocol_error},
        {FLAG_NC, &m->no_cluster_found}, {FLAG_OM, &m->overload_manager}, {FLAG_DF, &m->dns_resolution_failure},
        {FLAG_DR, &m->downstream_remote_reset},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        *rows[i].to = (f & rows[i].flag) != 0;
    if (f & FLAG_UAEX) {
        m->unauthorized_details = NEWPB(ResponseFlags__Unauthorized, response_flags__unauthorized);
        if (m->unauthorized_details)
            m->unauthorized_details->reason = ENVOY__DATA__ACCESSLOG__V3__RESPONSE_FLAGS__UNAUTHORIZED__REASON__EXTERNAL_SERVICE;
    }
    return m;
}

/* ---- TLS ---- */

#define CERT(x) PB(TLSProperties__CertificateProperties##x)
#define SAN(x) ENVOY__DATA__ACCESSLOG__V3__TLSPROPERTIES__CERTIFICATE_PROPERTIES__SUBJECT_ALT_NAME__SAN_##x

static size_t list_len(const struct str *list)
{
    size_t n = 0;
    while (list && list[n].p)
        n++;
    return n;
}

/* Envoy tells of URI names only. */
static void add_sans(CERT() *m, const struct str *list, struct proto_arena *a)
{
    size_t n = list_len(list);
    m->subject_alt_name = n ? proto_arena_alloc(a, n * sizeof *m->subject_alt_name) : NULL;
    for (size_t i = 0; m->subject_alt_name && i < n; i++) {
        CERT(__SubjectAltName) *san = NEWPB(TLSProperties__CertificateProperties__SubjectAltName,
                                            tlsproperties__certificate_properties__subject_alt_name);
        if (!san)
            return;
        san->san_case = SAN(URI);
        san->uri = text(list[i], a);
        m->subject_alt_name[m->n_subject_alt_name++] = san;
    }
}

static CERT() *certificate(const struct tls_cert_facts *f, bool with_issuer, struct proto_arena *a)
{
    CERT() *m = NEWPB(TLSProperties__CertificateProperties, tlsproperties__certificate_properties);
    if (!m || !f)
        return m;
    add_sans(m, f->uri_sans, a);
    m->subject = text(f->subject, a);
    if (with_issuer)
        m->issuer = text(f->issuer, a);
    return m;
}

static int tls_version(const char *text_)
{
    static const char *const names[] = {"", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"};
    for (int i = 1; i < (int)ARRAY_LEN(names); i++)
        if (!strcmp(text_, names[i]))
            return i;
    return 0;
}

static PB(TLSProperties) *tls_properties(const struct stream_info *i, struct proto_arena *a)
{
    struct tls_session *tls = i->downstream ? conn_tls(i->downstream) : NULL;
    PB(TLSProperties) *m = tls ? NEWPB(TLSProperties, tlsproperties) : NULL;
    if (!m)
        return NULL;
    m->tls_version = (PB(TLSProperties__TLSVersion))tls_version(tls_session_version(tls));
    m->tls_cipher_suite = wrapped(tls_session_cipher_id(tls), a);
    m->tls_sni_hostname = text(i->requested_server_name, a);
    m->local_certificate_properties = certificate(tls_session_local(tls), false, a);
    m->peer_certificate_properties = certificate(tls_session_peer(tls), true, a);
    m->tls_session_id = text(tls_session_id_hex(tls), a);
    return m;
}

/* ---- common properties ---- */

static CORE(Metadata) *metadata(const struct metadata *from, struct proto_arena *a)
{
    CORE(Metadata) *m = from->count ? PROTO_NEW(a, CORE(Metadata), envoy__config__core__v3__metadata__descriptor) : NULL;
    if (!m)
        return NULL;
    m->filter_metadata = proto_arena_alloc(a, from->count * sizeof *m->filter_metadata);
    for (uint32_t i = 0; m->filter_metadata && i < from->count; i++) {
        CORE(Metadata__FilterMetadataEntry) *e = PROTO_NEW(a, CORE(Metadata__FilterMetadataEntry),
                                                           envoy__config__core__v3__metadata__filter_metadata_entry__descriptor);
        if (!e)
            break;
        e->key = text(from->items[i].name, a);
        e->value = value_to_struct(&from->items[i].value, a);
        m->filter_metadata[m->n_filter_metadata++] = e;
    }
    return m;
}

static void add_filter_state(PB(AccessLogCommon) *m, const struct als_log *l, const struct stream_info *info, struct proto_arena *a)
{
    m->filter_state_objects = l->filter_state_count ? proto_arena_alloc(a, l->filter_state_count * sizeof *m->filter_state_objects) : NULL;
    for (uint32_t i = 0; m->filter_state_objects && i < l->filter_state_count; i++) {
        const struct filter_state_entry *e = filter_state_find(&info->filter_state, l->filter_state[i]);
        if (!e)
            continue;
        PB(AccessLogCommon__FilterStateObjectsEntry) *o =
            NEWPB(AccessLogCommon__FilterStateObjectsEntry, access_log_common__filter_state_objects_entry);
        Google__Protobuf__StringValue *v = PROTO_NEW(a, Google__Protobuf__StringValue, google__protobuf__string_value__descriptor);
        if (!o || !v)
            return;
        v->value = text(e->value, a);
        o->key = text(e->key, a);
        o->value = proto_pack_any(a, &v->base);
        if (o->value)
            m->filter_state_objects[m->n_filter_state_objects++] = o;
    }
}

static void add_tags(PB(AccessLogCommon) *m, const struct als_log *l, const struct format_context *cx, struct proto_arena *a)
{
    struct strbuf value = {0};
    m->custom_tags = l->tag_count ? proto_arena_alloc(a, l->tag_count * sizeof *m->custom_tags) : NULL;
    for (uint32_t i = 0; m->custom_tags && i < l->tag_count; i++) {
        strbuf_reset(&value);
        if (!custom_tag_value(&l->tags[i], cx, &value))
            continue;
        PB(AccessLogCommon__CustomTagsEntry) *e = NEWPB(AccessLogCommon__CustomTagsEntry, access_log_common__custom_tags_entry);
        if (!e)
            break;
        e->key = text(l->tags[i].name, a);
        e->value = text(strbuf_str(&value), a);
        m->custom_tags[m->n_custom_tags++] = e;
    }
    strbuf_fini(&value);
}

static void add_times(PB(AccessLogCommon) *m, const struct stream_info *i, struct proto_arena *a)
{
    m->start_time = PROTO_NEW(a, Google__Protobuf__Timestamp, google__protobuf__timestamp__descriptor);
    if (m->start_time) {
        m->start_time->seconds = (int64_t)(i->start_wall_us / 1000000);
        m->start_time->nanos = (int32_t)(i->start_wall_us % 1000000 * 1000);
    }
    m->time_to_last_rx_byte = since(i, i->request_end_us, a);
    m->time_to_first_upstream_tx_byte = since(i, i->upstream_first_tx_us, a);
    m->time_to_last_upstream_tx_byte = since(i, i->upstream_last_tx_us, a);
    m->time_to_first_upstream_rx_byte = since(i, i->upstream_first_rx_us, a);
    m->time_to_last_upstream_rx_byte = since(i, i->upstream_last_rx_us, a);
    m->time_to_first_downstream_tx_byte = since(i, i->downstream_first_tx_us, a);
    m->time_to_last_downstream_tx_byte = since(i, i->downstream_last_tx_us, a);
    m->duration = since(i, i->end_us, a);
}

static int log_type(const char *name)
{
    static const char *const names[] = {"NotSet", "TcpUpstreamConnected", "TcpPeriodic", "TcpConnectionEnd", "DownstreamStart",
                                        "DownstreamPeriodic", "DownstreamEnd", "UpstreamPoolReady", "UpstreamPeriodic",
                                        "UpstreamEnd", "DownstreamTunnelSuccessfullyEstablished"};
    for (int i = 0; name && i < (int)ARRAY_LEN(names); i++)
        if (!strcmp(name, names[i]))
            return i;
    return 0;
}

static void add_upstream(PB(AccessLogCommon) *m, const struct stream_info *i, struct proto_arena *a)
{
    if (i->has_upstream_addrs) {
        m->upstream_remote_address = address_to_pb(&i->upstream_remote, a);
        m->upstream_local_address = address_to_pb(&i->upstream_local, a);
    } else if (i->host) {
        m->upstream_remote_address = address_to_pb(&i->host->addr, a);
    }
    if (i->host && i->cluster)
        m->upstream_cluster = text(cluster_spec(i->cluster)->name, a);
    m->upstream_transport_failure_reason = text(i->upstream_failure, a);
    m->upstream_request_attempt_count = i->attempts;
    m->upstream_wire_bytes_sent = i->up_wire_bytes_sent;
    m->upstream_wire_bytes_received = i->up_wire_bytes_received;
}

static PB(AccessLogCommon) *common(const struct als_log *l, const struct format_context *cx, struct proto_arena *a)
{
    const struct stream_info *i = cx->info;
    PB(AccessLogCommon) *m = NEWPB(AccessLogCommon, access_log_common);
    if (!m)
        return NULL;
    m->downstream_remote_address = address_to_pb(i->downstream_remote, a);
    m->downstream_direct_remote_address = address_to_pb(i->downstream_direct_remote, a);
    m->downstream_local_address = address_to_pb(i->downstream_local, a);
    m->tls_properties = tls_properties(i, a);
    add_times(m, i, a);
    add_upstream(m, i, a);
    m->response_flags = i->flags ? response_flags(i->flags, a) : NULL;
    m->metadata = metadata(&i->metadata, a);
    m->route_name = text(i->route_name, a);
    m->downstream_transport_failure_reason = text(i->downstream_failure, a);
    m->connection_termination_details = text(i->termination_details, a);
    m->downstream_wire_bytes_sent = i->wire_bytes_sent;
    m->downstream_wire_bytes_received = i->wire_bytes_received;
    m->stream_id = text(i->request_id, a);
    m->intermediate_log_entry = !i->end_us;
    m->access_log_type = (PB(AccessLogType))log_type(cx->log_type);
    add_filter_state(m, l, i, a);
    add_tags(m, l, cx, a);
    return m;
}

/* ---- HTTP ---- */

/* Of the lists of named headers: all three maps have entries of this form. */
static size_t add_named(PB(HTTPRequestProperties__RequestHeadersEntry) ***out, const ProtobufCMessageDescriptor *desc,
                        const struct str *names, uint32_t n, const struct headers *h, struct proto_arena *a)
{
    struct arena scratch;
    size_t count = 0;
    *out = n && h ? proto_arena_alloc(a, n * sizeof **out) : NULL;
    arena_init(&scratch, ENTRY_BYTES_MAX);
    for (uint32_t i = 0; *out && i < n; i++) {
        struct str value = headers_get_joined(h, names[i], &scratch);
        PB(HTTPRequestProperties__RequestHeadersEntry) *e = value.p ? (void *)proto_new(a, desc) : NULL;
        if (!e)
            continue;
        e->key = text(names[i], a);
        e->value = text(value, a);
        (*out)[count++] = e;
    }
    arena_fini(&scratch);
    return count;
}

static int method(struct str m)
{
    static const char *const names[] = {"", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"};
    for (int i = 1; i < (int)ARRAY_LEN(names); i++)
        if (str_eq(m, str_from(names[i])))
            return i;
    return 0;
}

static PB(HTTPRequestProperties) *request(const struct als_log *l, const struct format_context *cx, struct proto_arena *a)
{
    const struct stream_info *i = cx->info;
    const struct headers *h = cx->request;
    PB(HTTPRequestProperties) *m = NEWPB(HTTPRequestProperties, httprequest_properties);
    if (!m)
        return NULL;
    m->request_body_bytes = i->bytes_received;
    m->upstream_header_bytes_sent = i->up_header_bytes_sent;
    m->downstream_header_bytes_received = i->header_bytes_received;
    if (!h)
        return m;
    m->request_method = (CORE(RequestMethod))method(headers_get_id(h, HDR_METHOD));
    m->scheme = text(headers_get_id(h, HDR_SCHEME), a);
    m->authority = text(headers_get_id(h, HDR_AUTHORITY), a);
    m->path = text(headers_get_id(h, HDR_PATH), a);
    m->user_agent = text(headers_get_id(h, HDR_USER_AGENT), a);
    m->referer = text(headers_get_id(h, HDR_REFERER), a);
    m->forwarded_for = text(headers_get_id(h, HDR_X_FORWARDED_FOR), a);
    m->request_id = text(headers_get_id(h, HDR_X_REQUEST_ID), a);
    m->original_path = text(headers_get_id(h, HDR_ENVOY_ORIGINAL_PATH), a);
    m->request_headers_bytes = h->bytes;
    m->n_request_headers =
        add_named(&m->request_headers, &envoy__data__accesslog__v3__httprequest_properties__request_headers_entry__descriptor,
                  l->request_headers, l->request_header_count, h, a);
    return m;
}

static PB(HTTPResponseProperties) *response(const struct als_log *l, const struct format_context *cx, struct proto_arena *a)
{
    const struct stream_info *i = cx->info;
    PB(HTTPResponseProperties) *m = NEWPB(HTTPResponseProperties, httpresponse_properties);
    if (!m)
        return NULL;
    if (i->status)
        m->response_code = wrapped(i->status, a);
    m->response_code_details = text(i->details, a);
    m->response_headers_bytes = cx->response ? cx->response->bytes : 0;
    m->response_body_bytes = i->bytes_sent;
    m->upstream_header_bytes_received = i->up_header_bytes_received;
    m->downstream_header_bytes_sent = i->header_bytes_sent;
    m->n_response_headers =
        add_named((void *)&m->response_headers, &envoy__data__accesslog__v3__httpresponse_properties__response_headers_entry__descriptor,
                  l->response_headers, l->response_header_count, cx->response, a);
    m->n_response_trailers =
        add_named((void *)&m->response_trailers, &envoy__data__accesslog__v3__httpresponse_properties__response_trailers_entry__descriptor,
                  l->response_trailers, l->response_trailer_count, cx->trailers, a);
    return m;
}

static const ProtobufCMessage *http_entry(const struct als_log *l, const struct format_context *cx, struct proto_arena *a)
{
    PB(HTTPAccessLogEntry) *m = NEWPB(HTTPAccessLogEntry, httpaccess_log_entry);
    if (!m)
        return NULL;
    m->common_properties = common(l, cx, a);
    if (cx->info->has_protocol)
        m->protocol_version = (PB(HTTPAccessLogEntry__HTTPVersion))(cx->info->protocol + 1);
    m->request = request(l, cx, a);
    m->response = response(l, cx, a);
    return &m->base;
}

static const ProtobufCMessage *tcp_entry(const struct als_log *l, const struct format_context *cx, struct proto_arena *a)
{
    PB(TCPAccessLogEntry) *m = NEWPB(TCPAccessLogEntry, tcpaccess_log_entry);
    if (!m)
        return NULL;
    m->common_properties = common(l, cx, a);
    m->connection_properties = NEWPB(ConnectionProperties, connection_properties);
    if (m->connection_properties) {
        m->connection_properties->received_bytes = cx->info->bytes_received;
        m->connection_properties->sent_bytes = cx->info->bytes_sent;
    }
    return &m->base;
}

void als_entry_add(const struct als_log *l, const struct format_context *cx, struct strbuf *out)
{
    struct proto_arena *a = proto_arena_new(ENTRY_BYTES_MAX);
    const ProtobufCMessage *m = l->is_tcp ? tcp_entry(l, cx, a) : http_entry(l, cx, a);
    if (m && !proto_arena_is_full(a)) {
        wire_varint(out, 1 << 3 | 2);
        wire_varint(out, proto_packed_size(m));
        proto_pack(m, out);
    }
    proto_arena_free(&a);
}
