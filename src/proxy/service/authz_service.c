/* SPDX-License-Identifier: Apache-2.0
 *
 * Authorization/Check over gRPC, or a plain HTTP request: one call, one answer. What fails, comes late, is too large or can't
 * be read is AUTHZ_ERROR. Thread: the caller's, which gets the answer, too.
 */
#include "proxy/service/authz_service.h"

#include "base/mem.h"
#include "proxy/cluster/upstream_call.h"
#include "proxy/route/header_rules.h"

#define METHOD STR("/envoy.service.auth.v3.Authorization/Check")
#define ARENA_BYTES ((size_t)16 << 20)

struct authz_call {
    const struct authz_service *service;
    authz_fn fn;
    void *user;
    struct grpc_call *grpc;
    struct upstream_call *http;
    struct arena arena;          /* of the answer */
    struct headers headers;      /* HTTP */
    struct buf body;
    struct strbuf message;       /* gRPC */
    bool has_answer, is_too_large;
};

void authz_service_fini(struct authz_service *s)
{
    struct authz_http_service *h = &s->http;
    struct authz_names *names[] = {&h->upstream, &h->upstream_append, &h->client, &h->client_on_success, &h->metadata};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        authz_names_fini(names[i]);
    for (uint32_t i = 0; i < h->add_count; i++)
        format_free(&h->add[i].value);
    grpc_service_fini(&s->grpc);
}

static struct authz_call *make(const struct authz_service *s, authz_fn fn, void *user)
{
    struct authz_call *c = NEW(authz_call);
    c->service = s;
    c->fn = fn;
    c->user = user;
    arena_init(&c->arena, ARENA_BYTES);
    return c;
}

static void destroy(struct authz_call *c)
{
    arena_fini(&c->arena);
    strbuf_fini(&c->message);
    buf_fini(&c->body);
    mem_free(c);
}

static void tell(struct authz_call *c, const struct authz_answer *answer)
{
    static const struct authz_answer failed = {.verdict = AUTHZ_ERROR};
    c->fn(c->user, answer ? answer : &failed);
    destroy(c);
}

/* ---- gRPC ---- */

static void on_message(void *user, const uint8_t *bytes, size_t n)
{
    struct authz_call *c = user;
    strbuf_reset(&c->message);
    strbuf_add(&c->message, bytes, n);
    c->has_answer = true;
}

static void on_grpc_done(void *user, unsigned status, struct str message)
{
    (void)message;
    struct authz_call *c = user;
    struct authz_answer answer = {0};
    c->grpc = NULL;
    bool good = status == GRPC_OK && c->has_answer && authz_read_grpc(strbuf_str(&c->message), &c->arena, &answer);
    tell(c, good ? &answer : NULL);
}

static const struct grpc_call_handler grpc_handler = {on_message, on_grpc_done, NULL};

static bool start_grpc(struct authz_call *c, const struct authz_check *check, const struct format_context *cx)
{
    struct strbuf packed = {0};
    unsigned status;
    if (authz_pack(check, &packed))
        c->grpc = grpc_call_start(&c->service->grpc, METHOD, NULL, cx, (const uint8_t *)packed.p, packed.n, true, &grpc_handler, c, &status);
    strbuf_fini(&packed);
    return c->grpc != NULL;
}

/* ---- HTTP ---- */

static void on_headers(void *user, struct headers *h, bool end)
{
    (void)end;
    struct authz_call *c = user;
    c->has_answer = headers_copy(&c->headers, h, &c->arena);
}

static void on_data(void *user, struct buf *data, bool end)
{
    (void)end;
    struct authz_call *c = user;
    c->is_too_large |= c->body.len + data->len > AUTHZ_ANSWER_MAX_BYTES;
    if (!c->is_too_large)
        buf_move(&c->body, data);
}

static void on_http_done(void *user, enum stream_reset why, const char *details)
{
    (void)details;
    struct authz_call *c = user;
    struct authz_answer answer = {0};
    c->http = NULL;
    if (why != STREAM_OK || !c->has_answer || c->is_too_large) {
        tell(c, NULL);
        return;
    }
    char *text = arena_alloc(&c->arena, c->body.len);
    size_t n = text ? buf_copy_out(&c->body, 0, text, c->body.len) : 0;
    authz_read_http(&c->service->http, &c->headers, str_make(text, n), &c->arena, &answer);
    tell(c, c->arena.overflowed ? NULL : &answer);
}

static const struct upstream_call_handler http_handler = {.on_headers = on_headers, .on_data = on_data, .on_done = on_http_done};

static void request_headers(const struct authz_http_service *s, const struct authz_check *check, const struct format_context *cx,
                            struct arena *a, struct headers *out)
{
    struct headers seen;
    authz_visible_headers(check, true, a, &seen);
    headers_init(out, a);
    for (uint32_t i = 0; i < seen.count; i++) {
        const struct header *h = &seen.items[i];
        if (h->id == HDR_PATH)
            headers_add_id_ref(out, HDR_PATH, s->path_prefix.n ? arena_printf(a, "%.*s%.*s", STR_ARG(s->path_prefix), STR_ARG(h->value)) : h->value);
        else if (h->id != HDR_CONTENT_LENGTH && h->id != HDR_TRANSFER_ENCODING && h->id != HDR_SCHEME)
            headers_add_ref(out, h->name, h->value);
    }
    headers_set_id_ref(out, HDR_SCHEME, STR("http"));
    headers_set_id_ref(out, HDR_CONTENT_LENGTH, arena_printf(a, "%zu", check->has_body ? check->body.n : (size_t)0));
    headers_set_id_ref(out, HDR_ENVOY_INTERNAL, STR("true"));
    if (s->timeout_ms)
        headers_set_id_ref(out, HDR_ENVOY_EXPECTED_TIMEOUT, arena_printf(a, "%llu", (unsigned long long)s->timeout_ms));
    for (uint32_t i = 0; i < s->add_count; i++)
        header_mutation_apply(&s->add[i], out, cx, a);
}

static bool start_http(struct authz_call *c, const struct authz_check *check, const struct format_context *cx)
{
    const struct authz_http_service *s = &c->service->http;
    struct upstream_call_opts o = {.cluster = cluster_slot_now(s->cluster), .timeout_ms = s->timeout_ms, .body_limit_bytes = SIZE_MAX};
    enum stream_reset why;
    struct arena a;
    struct headers h;
    struct buf body = {0};
    if (!o.cluster)
        return false;
    arena_init(&a, 0);
    request_headers(s, check, cx, &a, &h);
    if (check->has_body)
        buf_append(&body, check->body.p, check->body.n);
    c->http = upstream_call_start(&o, &h, body.len ? &body : NULL, true, &http_handler, c, &why);
    buf_fini(&body);
    arena_fini(&a);
    return c->http != NULL;
}

/* ---- asking ---- */

struct authz_call *authz_ask(const struct authz_service *s, const struct authz_check *check, const struct format_context *cx,
                             authz_fn fn, void *user)
{
    struct authz_call *c = make(s, fn, user);
    if (s->is_http ? start_http(c, check, cx) : start_grpc(c, check, cx))
        return c;
    destroy(c);
    return NULL;
}

void authz_call_cancel(struct authz_call **call)
{
    struct authz_call *c = *call;
    *call = NULL;
    if (!c)
        return;
    grpc_call_cancel(&c->grpc);
    upstream_call_cancel(&c->http);
    destroy(c);
}
