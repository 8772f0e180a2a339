/* SPDX-License-Identifier: Apache-2.0
 *
 * What an authorization service is asked: AttributeContext as Envoy fills it (its documentation: "Attribute context"). The
 * peer's principal comes from the certificate of this connection alone. Thread: the caller's.
 */
#include "envoy/service/auth/v3/external_auth.pb-c.h"
#include "io/conn.h"
#include "io/tls.h"
#include "proto/message.h"
#include "proxy/service/authz_service.h"
#include "proxy/service/values.h"

#define PB(x) Envoy__Service__Auth__V3__##x
#define AC(x) Envoy__Service__Auth__V3__AttributeContext##x
#define NEW_AC(a, type, desc) PROTO_NEW(a, AC(type), envoy__service__auth__v3__attribute_context##desc##__descriptor)
#define MEMORY_BYTES ((size_t)64 << 20)

/* ---- headers ---- */

bool authz_names_match(const struct authz_names *n, struct str name)
{
    for (uint32_t i = 0; i < n->count; i++)
        if (string_matches(&n->items[i], name))
            return true;
    return false;
}

void authz_names_fini(struct authz_names *n)
{
    for (uint32_t i = 0; i < n->count; i++)
        string_match_fini(&n->items[i]);
    n->count = 0;
}

/* Documented at HttpService: these always go along. */
static bool is_basic(const struct header *h)
{
    return h->id == HDR_METHOD || h->id == HDR_PATH || h->id == HDR_AUTHORITY || h->id == HDR_AUTHORIZATION;
}

static bool is_visible(const struct authz_telling *t, const struct header *h, bool is_http)
{
    if (str_eq(h->name, AUTHZ_PARTIAL_BODY)) /* ours to say */
        return false;
    if (authz_names_match(&t->disallowed, h->name))
        return false;
    if (!t->allowed.count && !is_http)
        return true;
    return (is_http && is_basic(h)) || authz_names_match(&t->allowed, h->name);
}

void authz_visible_headers(const struct authz_check *check, bool is_http, struct arena *a, struct headers *out)
{
    headers_init(out, a);
    for (uint32_t i = 0; i < check->headers->count; i++) {
        const struct header *h = &check->headers->items[i];
        if (is_visible(check->telling, h, is_http) && !headers_find(out, h->name))
            headers_add_ref(out, h->name, headers_get_joined(check->headers, h->name, a));
    }
    if (check->has_body)
        headers_add_ref(out, AUTHZ_PARTIAL_BODY, check->is_partial ? STR("true") : STR("false"));
}

static void add_raw_header(Envoy__Config__Core__V3__HeaderMap *m, const struct header *h, struct proto_arena *a)
{
    Envoy__Config__Core__V3__HeaderValue *v =
        PROTO_NEW(a, Envoy__Config__Core__V3__HeaderValue, envoy__config__core__v3__header_value__descriptor);
    if (!v)
        return;
    v->key = text_to_pb(h->name, a);
    v->raw_value = (ProtobufCBinaryData){h->value.n, (uint8_t *)(uintptr_t)h->value.p};
    m->headers[m->n_headers++] = v;
}

static void add_raw_headers(const struct authz_check *c, AC(__HttpRequest) *m, struct proto_arena *a)
{
    const struct header partial = {.name = AUTHZ_PARTIAL_BODY, .value = c->is_partial ? STR("true") : STR("false")};
    m->header_map = PROTO_NEW(a, Envoy__Config__Core__V3__HeaderMap, envoy__config__core__v3__header_map__descriptor);
    if (!m->header_map)
        return;
    m->header_map->headers = proto_arena_alloc(a, (c->headers->count + 1) * sizeof *m->header_map->headers);
    if (!m->header_map->headers)
        return;
    for (uint32_t i = 0; i < c->headers->count; i++)
        if (is_visible(c->telling, &c->headers->items[i], false))
            add_raw_header(m->header_map, &c->headers->items[i], a);
    if (c->has_body)
        add_raw_header(m->header_map, &partial, a);
}

static void add_headers(const struct authz_check *c, AC(__HttpRequest) *m, struct proto_arena *a)
{
    struct arena scratch;
    struct headers h;
    arena_init(&scratch, 0);
    authz_visible_headers(c, false, &scratch, &h);
    m->headers = proto_arena_alloc(a, h.count * sizeof *m->headers);
    for (uint32_t i = 0; m->headers && i < h.count; i++) {
        AC(__HttpRequest__HeadersEntry) *e = NEW_AC(a, __HttpRequest__HeadersEntry, __http_request__headers_entry);
        if (!e)
            break;
        e->key = text_to_pb(h.items[i].name, a);
        e->value = text_to_pb(h.items[i].value, a);
        m->headers[m->n_headers++] = e;
    }
    arena_fini(&scratch);
}

/* ---- peers ---- */

/* The first URI name, else the first DNS name, else the subject. */
static struct str principal_of(const struct tls_cert_facts *f)
{
    if (!f)
        return STR("");
    if (f->uri_sans && f->uri_sans[0].p)
        return f->uri_sans[0];
    return f->dns_sans && f->dns_sans[0].p ? f->dns_sans[0] : f->subject;
}

static AC(__Peer) *peer(const struct addr *at, const struct tls_cert_facts *facts, struct str service, bool with_certificate, struct proto_arena *a)
{
    AC(__Peer) *m = NEW_AC(a, __Peer, __peer);
    if (!m)
        return NULL;
    m->address = address_to_pb(at, a);
    m->service = text_to_pb(service, a);
    m->principal = text_to_pb(principal_of(facts), a);
    if (with_certificate && facts)
        m->certificate = text_to_pb(facts->pem_url_encoded, a);
    return m;
}

static void add_labels(const struct authz_telling *t, AC(__Peer) *m, struct proto_arena *a)
{
    m->labels = t->label_count ? proto_arena_alloc(a, t->label_count * sizeof *m->labels) : NULL;
    for (uint32_t i = 0; m->labels && i < t->label_count; i++) {
        AC(__Peer__LabelsEntry) *e = NEW_AC(a, __Peer__LabelsEntry, __peer__labels_entry);
        if (!e)
            return;
        e->key = text_to_pb(t->labels[i].name, a);
        e->value = text_to_pb(t->labels[i].value, a);
        m->labels[m->n_labels++] = e;
    }
}

static void add_peers(const struct authz_check *c, AC() *m, struct proto_arena *a)
{
    const struct stream_info *i = c->info;
    struct tls_session *tls = i->downstream ? conn_tls(i->downstream) : NULL;
    struct str service = c->headers ? headers_get_id(c->headers, HDR_ENVOY_DOWNSTREAM_CLUSTER) : STR("");
    m->source = peer(i->downstream_remote, tls && tls_session_peer_validated(tls) ? tls_session_peer(tls) : NULL, service, c->telling->certificate, a);
    m->destination = peer(i->downstream_local, tls ? tls_session_local(tls) : NULL, STR(""), false, a);
    if (m->destination)
        add_labels(c->telling, m->destination, a);
    if (c->telling->tls_session)
        m->tls_session = NEW_AC(a, __TLSSession, __tlssession);
    if (m->tls_session && tls)
        m->tls_session->sni = text_to_pb(tls_session_sni(tls), a);
}

/* ---- the request ---- */

static struct str protocol_text(enum http_protocol p)
{
    return p == HTTP_2 ? STR("HTTP/2") : p == HTTP_10 ? STR("HTTP/1.0") : STR("HTTP/1.1");
}

static AC(__HttpRequest) *http_request(const struct authz_check *c, struct proto_arena *a)
{
    AC(__HttpRequest) *m = NEW_AC(a, __HttpRequest, __http_request);
    char digits[20];
    if (!m)
        return NULL;
    m->id = text_to_pb(str_make(digits, u64_format(c->info->stream_id, digits)), a);
    m->method = text_to_pb(headers_get_id(c->headers, HDR_METHOD), a);
    m->path = text_to_pb(headers_get_id(c->headers, HDR_PATH), a);
    m->host = text_to_pb(headers_get_id(c->headers, HDR_AUTHORITY), a);
    m->scheme = text_to_pb(headers_get_id(c->headers, HDR_SCHEME), a);
    m->size = (int64_t)(c->size > c->info->bytes_received ? c->size : c->info->bytes_received);
    if (c->info->has_protocol)
        m->protocol = text_to_pb(protocol_text(c->info->protocol), a);
    if (c->has_body && c->telling->body_as_bytes)
        m->raw_body = (ProtobufCBinaryData){c->body.n, (uint8_t *)(uintptr_t)c->body.p};
    else if (c->has_body)
        m->body = text_to_pb(c->body, a);
    if (c->telling->raw_headers)
        add_raw_headers(c, m, a);
    else
        add_headers(c, m, a);
    return m;
}

static void add_request(const struct authz_check *c, AC() *m, struct proto_arena *a)
{
    m->request = NEW_AC(a, __Request, __request);
    if (!m->request)
        return;
    m->request->http = http_request(c, a);
    m->request->time = PROTO_NEW(a, Google__Protobuf__Timestamp, google__protobuf__timestamp__descriptor);
    if (!m->request->time)
        return;
    m->request->time->seconds = (int64_t)(c->info->start_wall_us / 1000000);
    m->request->time->nanos = (int32_t)(c->info->start_wall_us % 1000000 * 1000);
}

static void add_extensions(const struct authz_check *c, AC() *m, struct proto_arena *a)
{
    m->context_extensions = c->extension_count ? proto_arena_alloc(a, c->extension_count * sizeof *m->context_extensions) : NULL;
    for (uint32_t i = 0; m->context_extensions && i < c->extension_count; i++) {
        AC(__ContextExtensionsEntry) *e = NEW_AC(a, __ContextExtensionsEntry, __context_extensions_entry);
        if (!e)
            return;
        e->key = text_to_pb(c->extensions[i].name, a);
        e->value = text_to_pb(c->extensions[i].value, a);
        m->context_extensions[m->n_context_extensions++] = e;
    }
}

static Envoy__Config__Core__V3__Metadata *metadata_to_pb(const struct metadata *from, const struct str *spaces, uint32_t n, struct proto_arena *a)
{
    Envoy__Config__Core__V3__Metadata *m = PROTO_NEW(a, Envoy__Config__Core__V3__Metadata, envoy__config__core__v3__metadata__descriptor);
    if (!m)
        return NULL;
    m->filter_metadata = n ? proto_arena_alloc(a, n * sizeof *m->filter_metadata) : NULL;
    for (uint32_t i = 0; m->filter_metadata && i < n; i++) {
        const struct meta_value *v = metadata_find(from, spaces[i], NULL, 0);
        if (!v)
            continue;
        Envoy__Config__Core__V3__Metadata__FilterMetadataEntry *e = PROTO_NEW(a, Envoy__Config__Core__V3__Metadata__FilterMetadataEntry,
                                                                              envoy__config__core__v3__metadata__filter_metadata_entry__descriptor);
        if (!e)
            break;
        e->key = text_to_pb(spaces[i], a);
        e->value = value_to_struct(v, a);
        m->filter_metadata[m->n_filter_metadata++] = e;
    }
    return m;
}

static void fill(const struct authz_check *c, AC() *m, struct proto_arena *a)
{
    const struct authz_telling *t = c->telling;
    add_peers(c, m, a);
    if (c->headers)
        add_request(c, m, a);
    add_extensions(c, m, a);
    m->metadata_context = metadata_to_pb(&c->info->metadata, t->spaces, t->space_count, a);
    if (c->headers)
        m->route_metadata_context = metadata_to_pb(c->route_metadata, t->route_spaces, t->route_space_count, a);
}

bool authz_pack(const struct authz_check *check, struct strbuf *out)
{
    struct proto_arena *a = proto_arena_new(MEMORY_BYTES);
    PB(CheckRequest) *m = PROTO_NEW(a, PB(CheckRequest), envoy__service__auth__v3__check_request__descriptor);
    if (m && (m->attributes = NEW_AC(a, , )))
        fill(check, m->attributes, a);
    bool whole = m && !proto_arena_is_full(a);
    if (whole)
        proto_pack(&m->base, out);
    proto_arena_free(&a);
    return whole;
}
