/* SPDX-License-Identifier: Apache-2.0
 *
 * One unary method. The few fields of its messages are read and written by hand (proto/istio/certificate.proto); a field that
 * isn't known is skipped, as Protobuf has it, a metadata key that isn't known too (agents of vendors put theirs there). The
 * server's loop.
 */
#include "control/ca/ca_service.h"

#include "base/check.h"
#include "base/mem.h"
#include "io/addr.h"
#include "io/conn.h"
#include "io/tls.h"
#include "pki/csr.h"
#include "proto/wire.h"

#define METHOD "/istio.v1.auth.IstioCertificateService/CreateCertificate"
#define REQUEST_MAX_BYTES (CSR_MAX_BYTES + (16u << 10)) /* with its metadata */

/* IstioCertificateRequest, IstioCertificateResponse, google.protobuf.Struct, its entries, Value */
enum { REQUEST_CSR = 1, REQUEST_VALIDITY = 3, REQUEST_METADATA = 4, RESPONSE_CHAIN = 1, STRUCT_FIELDS = 1, ENTRY_KEY = 1, ENTRY_VALUE = 2, VALUE_STRING = 3 };

struct create {
    struct issuer *issuer;
    struct grpc_stream *stream;
    struct issue_call *call;
    bool was_asked;
};

/* ---- reading ---- */

static bool read_field(struct str packed, unsigned number, struct str *out)
{
    struct wire_reader r = wire_read(packed);
    for (struct wire_field f; wire_next(&r, &f);)
        if (f.number == number && f.type == 2)
            *out = f.bytes;
    return !r.failed;
}

static bool read_entry(struct str packed, struct issue_query *q)
{
    struct str key = STR(""), value = STR(""), text = STR("");
    if (!read_field(packed, ENTRY_KEY, &key) || !read_field(packed, ENTRY_VALUE, &value) || !read_field(value, VALUE_STRING, &text))
        return false;
    if (str_eq(key, STR("CertSigner")))
        q->cert_signer = text;
    if (str_eq(key, STR("ImpersonatedIdentity")))
        q->impersonated = text;
    return wire_text_is_valid(text);
}

static bool read_metadata(struct str packed, struct issue_query *q)
{
    struct wire_reader r = wire_read(packed);
    for (struct wire_field f; wire_next(&r, &f);)
        if (f.number == STRUCT_FIELDS && (f.type != 2 || !read_entry(f.bytes, q)))
            return false;
    return !r.failed;
}

static bool read_request(struct str message, struct issue_query *q)
{
    struct wire_reader r = wire_read(message);
    for (struct wire_field f; wire_next(&r, &f);) {
        if (f.number == REQUEST_CSR && f.type == 2)
            q->csr_pem = f.bytes;
        if (f.number == REQUEST_VALIDITY && f.type == 0)
            q->validity_s = (int64_t)f.value;
        if (f.number == REQUEST_METADATA && (f.type != 2 || !read_metadata(f.bytes, q)))
            return false;
    }
    return !r.failed;
}

static void add_peer(struct conn *c, struct arena *a, struct auth_request *out)
{
    char text[ADDR_TEXT_BYTES];
    struct tls_session *tls = conn_tls(c);
    const struct tls_cert_facts *facts = tls ? tls_session_peer(tls) : NULL;
    out->peer = arena_str(a, str_from(addr_text(conn_remote(c), text)));
    out->is_tls = tls != NULL;
    out->peer_is_validated = tls && tls_session_peer_validated(tls);
    out->peer_uris = facts ? facts->uri_sans : NULL;
    while (out->peer_uris && out->peer_uris[out->peer_uri_count].p)
        out->peer_uri_count++;
}

void auth_request_of(const struct grpc_stream *s, struct arena *a, struct auth_request *out)
{
    struct conn *c = grpc_stream_conn(s);
    *out = (struct auth_request){.authorization = grpc_stream_metadata(s, STR("authorization")),
                                 .cluster_id = grpc_stream_metadata(s, STR("clusterid"))};
    if (c)
        add_peer(c, a, out);
}

/* ---- the call ---- */

static void on_answer(void *user, const struct issue_answer *a)
{
    struct create *c = user;
    struct strbuf out = {0};
    c->call = NULL;
    for (uint32_t i = 0; i < a->count; i++)
        wire_bytes(&out, RESPONSE_CHAIN, a->certs[i].p, a->certs[i].n);
    if (a->status == GRPC_OK)
        grpc_stream_send_bytes(c->stream, strbuf_str(&out));
    grpc_stream_end(c->stream, a->status, a->message);
    strbuf_fini(&out);
}

static void *on_call(void *owner, struct grpc_stream *s)
{
    struct create *c = NEW(create);
    c->issuer = owner;
    c->stream = s;
    return c;
}

static void on_message(void *call, struct grpc_stream *s, struct str message)
{
    struct create *c = call;
    struct issue_query q = {0};
    struct arena a;
    if (c->was_asked) {
        grpc_stream_end(s, GRPC_INVALID_ARGUMENT, STR("more than one request"));
        return;
    }
    c->was_asked = true;
    if (message.n > REQUEST_MAX_BYTES || !read_request(message, &q)) {
        grpc_stream_end(s, GRPC_INVALID_ARGUMENT, message.n > REQUEST_MAX_BYTES ? STR("the request is too long") : STR("the request can't be read"));
        return;
    }
    arena_init(&a, 0);
    auth_request_of(s, &a, &q.auth);
    c->call = issuer_create(c->issuer, &q, on_answer, c);
    arena_fini(&a);
}

static void on_half_close(void *call, struct grpc_stream *s)
{
    const struct create *c = call;
    if (!c->was_asked)
        grpc_stream_end(s, GRPC_INVALID_ARGUMENT, STR("no request"));
}

static void on_closed(void *call, struct grpc_stream *s)
{
    struct create *c = call;
    (void)s;
    issue_call_cancel(&c->call);
    mem_free(c);
}

static const struct grpc_method_ops ops = {.on_call = on_call, .on_message = on_message, .on_half_close = on_half_close, .on_closed = on_closed};

void ca_service_serve(struct issuer *i, struct grpc_server *g)
{
    grpc_server_add(g, METHOD, &ops, i);
}
