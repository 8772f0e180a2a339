/* SPDX-License-Identifier: Apache-2.0
 *
 * What an authorization service answered, taken apart and checked: a header that can't stand in a message, or that would
 * change how it is framed, is left out (and noted: a filter may refuse the whole answer for it). Thread: the caller's.
 */
#include "envoy/service/auth/v3/external_auth.pb-c.h"
#include "google/rpc/status.pb-c.h"
#include "proto/message.h"
#include "proxy/service/authz_service.h"
#include "proxy/service/values.h"

#define PB(x) Envoy__Service__Auth__V3__##x
#define RESPONSE(x) ENVOY__SERVICE__AUTH__V3__CHECK_RESPONSE__HTTP_RESPONSE_##x
#define ACTION(x) ENVOY__CONFIG__CORE__V3__HEADER_VALUE_OPTION__HEADER_APPEND_ACTION__##x
#define MEMORY_BYTES ((size_t)16 << 20)
#define REMOVE_LIST STR("x-envoy-auth-headers-to-remove")

/* ---- headers ---- */

static struct str lowered(struct arena *a, struct str s)
{
    struct str out = arena_str(a, s);
    for (size_t i = 0; i < out.n; i++)
        ((char *)(uintptr_t)out.p)[i] = ascii_lower(out.p[i]);
    return out;
}

static bool is_framing(struct str lower_name)
{
    switch (header_id_of(lower_name)) {
    case HDR_CONTENT_LENGTH:
    case HDR_TRANSFER_ENCODING:
    case HDR_CONNECTION:
    case HDR_KEEP_ALIVE:
    case HDR_PROXY_CONNECTION:
    case HDR_UPGRADE:
    case HDR_TE:
    case HDR_HOST:
        return true;
    default:
        return false;
    }
}

/* Of a request its method, path, authority and scheme may be set; they stand in the request line, which white space would
 * split. */
static bool is_good_pseudo(struct str lower_name, struct str value)
{
    enum header_id id = header_id_of(lower_name);
    for (size_t i = 0; i < value.n; i++)
        if ((unsigned char)value.p[i] <= ' ' || value.p[i] == 0x7f)
            return false;
    return value.n && (id == HDR_METHOD || id == HDR_PATH || id == HDR_AUTHORITY || id == HDR_SCHEME);
}

static bool can_stand(struct str lower_name, struct str value, bool *is_bad)
{
    bool good = lower_name.n && lower_name.p[0] == ':' ? is_good_pseudo(lower_name, value)
                                                       : lower_name.n && header_name_is_valid(lower_name) && header_value_is_valid(value);
    *is_bad |= !good;
    return good;
}

static void add_header(struct authz_headers *to, struct authz_answer *out, bool to_request, struct str name, struct str value, enum authz_action action)
{
    bool is_pseudo = name.n && name.p[0] == ':';
    if ((is_pseudo && !to_request) || is_framing(name) || !can_stand(name, value, &out->is_invalid))
        return;
    to->items[to->count++] = (struct authz_header){name, value, is_pseudo ? AUTHZ_SET : action};
}

/* On requests only the older field counts, and the default is to overwrite (documented at OkHttpResponse.headers). */
static enum authz_action action_of(const Envoy__Config__Core__V3__HeaderValueOption *m, bool to_request)
{
    if (m->append)
        return !m->append->value ? AUTHZ_SET : to_request ? AUTHZ_APPEND : AUTHZ_ADD;
    if (to_request)
        return AUTHZ_SET;
    switch (m->append_action) {
    case ACTION(ADD_IF_ABSENT):
        return AUTHZ_ADD_IF_ABSENT;
    case ACTION(OVERWRITE_IF_EXISTS):
        return AUTHZ_OVERWRITE_IF_EXISTS;
    case ACTION(OVERWRITE_IF_EXISTS_OR_ADD):
        return AUTHZ_SET;
    default:
        return AUTHZ_ADD;
    }
}

static void read_options(Envoy__Config__Core__V3__HeaderValueOption *const *items, size_t n, bool to_request, struct arena *a,
                         struct authz_headers *to, struct authz_answer *out)
{
    to->items = n ? arena_zalloc(a, n * sizeof *to->items) : NULL;
    for (size_t i = 0; to->items && i < n; i++) {
        const Envoy__Config__Core__V3__HeaderValue *h = items[i]->header;
        bool to_nothing = out->verdict != AUTHZ_OK && items[i]->append && items[i]->append->value;
        if (!h || to_nothing) /* a denial has nothing to append to: Envoy leaves these out */
            continue;
        struct str value = str_from(h->value);
        if (h->raw_value.len)
            value = str_make((const char *)h->raw_value.data, h->raw_value.len);
        add_header(to, out, to_request, lowered(a, str_from(h->key)), arena_str(a, value), action_of(items[i], to_request));
    }
}

/* ---- gRPC ---- */

static struct str *read_texts(char *const *items, size_t n, bool lower, struct arena *a, uint32_t *count)
{
    struct str *out = n ? arena_zalloc(a, n * sizeof *out) : NULL;
    for (size_t i = 0; out && i < n; i++)
        out[(*count)++] = lower ? lowered(a, str_from(items[i])) : arena_str(a, str_from(items[i]));
    return out;
}

/* What would split the request line, or add further parameters, is left out. */
static bool may_stand_in_query(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f || s.p[i] == '#' || s.p[i] == '&')
            return false;
    return true;
}

static void read_query(const PB(OkHttpResponse) *m, struct arena *a, struct authz_answer *out)
{
    size_t n = m->n_query_parameters_to_set;
    out->query_remove = read_texts(m->query_parameters_to_remove, m->n_query_parameters_to_remove, false, a, &out->query_remove_count);
    out->query_set = n ? arena_zalloc(a, n * sizeof *out->query_set) : NULL;
    for (size_t i = 0; out->query_set && i < n; i++) {
        struct str key = str_from(m->query_parameters_to_set[i]->key), value = str_from(m->query_parameters_to_set[i]->value);
        if (may_stand_in_query(key) && may_stand_in_query(value))
            out->query_set[out->query_set_count++] = (struct authz_text){arena_str(a, key), arena_str(a, value)};
        else
            out->is_invalid = true;
    }
}

static void read_ok(const PB(OkHttpResponse) *m, struct arena *a, struct authz_answer *out)
{
    read_options(m->headers, m->n_headers, true, a, &out->request, out);
    read_options(m->response_headers_to_add, m->n_response_headers_to_add, false, a, &out->response, out);
    out->remove = read_texts(m->headers_to_remove, m->n_headers_to_remove, true, a, &out->remove_count);
    read_query(m, a, out);
    if (m->dynamic_metadata && m->dynamic_metadata->n_fields) /* the older place */
        out->metadata = value_from_struct(m->dynamic_metadata, a);
}

static void read_denied(const PB(DeniedHttpResponse) *m, struct arena *a, struct authz_answer *out)
{
    unsigned code = m->status ? (unsigned)m->status->code : 0;
    if (code >= 200 && code < 600)
        out->status = code;
    read_options(m->headers, m->n_headers, false, a, &out->response, out);
    out->body = arena_str(a, str_from(m->body));
}

bool authz_read_grpc(struct str packed, struct arena *a, struct authz_answer *out)
{
    struct proto_arena *memory = proto_arena_new(MEMORY_BYTES);
    ProtobufCMessage *msg = NULL;
    struct err err;
    bool good = proto_unpack(memory, &envoy__service__auth__v3__check_response__descriptor, packed, &msg, &err) == 0;
    if (good) {
        const PB(CheckResponse) *m = (const PB(CheckResponse) *)msg;
        out->verdict = !m->status || m->status->code == GRPC_OK ? AUTHZ_OK : AUTHZ_DENIED;
        if (m->http_response_case == RESPONSE(ERROR_RESPONSE)) {
            out->verdict = AUTHZ_ERROR;
            read_denied(m->error_response, a, out);
        } else if (out->verdict == AUTHZ_OK && m->http_response_case == RESPONSE(OK_RESPONSE)) {
            read_ok(m->ok_response, a, out);
        } else if (out->verdict == AUTHZ_DENIED && m->http_response_case == RESPONSE(DENIED_RESPONSE)) {
            read_denied(m->denied_response, a, out);
        }
        if (m->dynamic_metadata && m->dynamic_metadata->n_fields)
            out->metadata = value_from_struct(m->dynamic_metadata, a);
    }
    proto_arena_free(&memory);
    return good && !a->overflowed;
}

/* ---- HTTP ---- */

static void read_removals(struct str list, struct arena *a, struct authz_answer *out)
{
    out->remove = arena_zalloc(a, (list.n + 1) * sizeof *out->remove);
    while (out->remove && list.n) {
        struct str name = str_trim(str_split(list, ',', &list));
        if (name.n)
            out->remove[out->remove_count++] = lowered(a, name);
    }
}

static void read_metadata(const struct authz_http_service *s, const struct headers *h, struct arena *a, struct authz_answer *out)
{
    struct meta_field *items = s->metadata.count ? arena_zalloc(a, h->count * sizeof *items) : NULL;
    uint32_t n = 0;
    for (uint32_t i = 0; items && i < h->count; i++)
        if (authz_names_match(&s->metadata, h->items[i].name))
            items[n++] = (struct meta_field){h->items[i].name, {.kind = META_STRING, .u.string = h->items[i].value}};
    if (n) {
        out->metadata.kind = META_STRUCT;
        out->metadata.u.fields.items = items;
        out->metadata.u.fields.count = n;
    }
}

static void read_allowed(const struct authz_http_service *s, const struct headers *h, struct arena *a, struct authz_answer *out)
{
    out->request.items = arena_zalloc(a, 2 * h->count * sizeof *out->request.items);
    out->response.items = arena_zalloc(a, h->count * sizeof *out->response.items);
    for (uint32_t i = 0; out->request.items && out->response.items && i < h->count; i++) {
        const struct header *e = &h->items[i];
        if (authz_names_match(&s->upstream, e->name))
            add_header(&out->request, out, true, e->name, e->value, AUTHZ_SET);
        if (authz_names_match(&s->upstream_append, e->name))
            add_header(&out->request, out, true, e->name, e->value, AUTHZ_ADD);
        if (authz_names_match(&s->client_on_success, e->name))
            add_header(&out->response, out, false, e->name, e->value, AUTHZ_ADD);
    }
    read_removals(headers_get(h, REMOVE_LIST), a, out);
}

static void read_refusal(const struct authz_http_service *s, const struct headers *h, struct arena *a, struct authz_answer *out)
{
    out->response.items = arena_zalloc(a, h->count * sizeof *out->response.items);
    for (uint32_t i = 0; out->response.items && i < h->count; i++) {
        const struct header *e = &h->items[i];
        if (!s->client.count || e->id == HDR_WWW_AUTHENTICATE || e->id == HDR_LOCATION || authz_names_match(&s->client, e->name))
            add_header(&out->response, out, false, e->name, e->value, AUTHZ_ADD);
    }
}

void authz_read_http(const struct authz_http_service *s, const struct headers *h, struct str body, struct arena *a, struct authz_answer *out)
{
    uint64_t status = 0;
    if (!str_to_u64(headers_get_id(h, HDR_STATUS), &status) || status < 200 || status >= 500) {
        out->verdict = AUTHZ_ERROR;
        return;
    }
    read_metadata(s, h, a, out);
    if (status == 200) {
        out->verdict = AUTHZ_OK;
        read_allowed(s, h, a, out);
        return;
    }
    out->verdict = AUTHZ_DENIED;
    out->status = (unsigned)status;
    out->body = body;
    read_refusal(s, h, a, out);
}
