/* SPDX-License-Identifier: Apache-2.0
 *
 * CreateCertificate as one unary call, bounded by the service's timeout. An answer that can't be read is a failure like any
 * other; what is in it is for the caller to check. Main thread.
 */
#include "proxy/service/ca_service.h"

#include "base/mem.h"
#include "istio/certificate.pb-c.h"
#include "proto/message.h"
#include "proxy/service/values.h"

#define PB(x) Istio__V1__Auth__IstioCertificate##x
#define METHOD STR("/istio.v1.auth.IstioCertificateService/CreateCertificate")
#define MEMORY_BYTES ((size_t)8 << 20)

struct ca_call {
    struct grpc_call *call;
    ca_fn fn;
    void *user;
    struct strbuf answer;
    bool answered;
};

static bool pack(struct str csr, uint64_t validity_s, struct str cert_signer, struct strbuf *out)
{
    struct proto_arena *a = proto_arena_new(MEMORY_BYTES);
    struct meta_field field = {.name = STR("CertSigner"), .value = {.kind = META_STRING, .u.string = cert_signer}};
    struct meta_value metadata = {.kind = META_STRUCT, .u.fields = {&field, 1}};
    PB(Request) *m = PROTO_NEW(a, PB(Request), istio__v1__auth__istio_certificate_request__descriptor);
    if (m) {
        m->csr = text_to_pb(csr, a);
        m->validity_duration = (int64_t)validity_s;
        m->metadata = cert_signer.n ? value_to_struct(&metadata, a) : NULL;
    }
    bool whole = m && !proto_arena_is_full(a);
    if (whole)
        proto_pack(&m->base, out);
    proto_arena_free(&a);
    return whole;
}

static void call_free(struct ca_call *c)
{
    strbuf_fini(&c->answer);
    mem_free(c);
}

static void on_message(void *user, const uint8_t *bytes, size_t n)
{
    struct ca_call *c = user;
    strbuf_reset(&c->answer);
    strbuf_add(&c->answer, bytes, n);
    c->answered = true;
}

static void hand_on(struct ca_call *c)
{
    struct proto_arena *a = proto_arena_new(MEMORY_BYTES);
    ProtobufCMessage *msg = NULL;
    struct err err = {0};
    if (proto_unpack(a, &istio__v1__auth__istio_certificate_response__descriptor, strbuf_str(&c->answer), &msg, &err) < 0) {
        c->fn(c->user, NULL, GRPC_INTERNAL, STR("the answer is no IstioCertificateResponse"));
    } else {
        const PB(Response) *m = (const PB(Response) *)msg;
        struct str *certs = proto_arena_alloc(a, (m->n_cert_chain + 1) * sizeof *certs);
        for (size_t i = 0; certs && i < m->n_cert_chain; i++)
            certs[i] = str_from(m->cert_chain[i]);
        struct ca_answer answer = {certs, certs ? (uint32_t)m->n_cert_chain : 0};
        c->fn(c->user, &answer, GRPC_OK, STR_NULL);
    }
    proto_arena_free(&a);
}

static void on_done(void *user, unsigned status, struct str message)
{
    struct ca_call *c = user;
    c->call = NULL;
    if (status == GRPC_OK && c->answered)
        hand_on(c);
    else
        c->fn(c->user, NULL, status == GRPC_OK ? GRPC_INTERNAL : status, status == GRPC_OK ? STR("no answer") : message);
    call_free(c);
}

static const struct grpc_call_handler handler = {.on_message = on_message, .on_done = on_done};

struct ca_call *ca_ask(const struct grpc_service *s, struct str csr_pem, uint64_t validity_s, struct str cert_signer,
                       const struct headers *more, ca_fn fn, void *user, unsigned *status)
{
    struct strbuf packed = {0};
    struct ca_call *c = NEW(ca_call);
    c->fn = fn;
    c->user = user;
    *status = GRPC_RESOURCE_EXHAUSTED;
    if (pack(csr_pem, validity_s, cert_signer, &packed))
        c->call = grpc_call_start(s, METHOD, more, NULL, (const uint8_t *)packed.p, packed.n, true, &handler, c, status);
    strbuf_fini(&packed);
    if (c->call)
        return c;
    call_free(c);
    return NULL;
}

void ca_call_cancel(struct ca_call **c)
{
    if (!*c)
        return;
    grpc_call_cancel(&(*c)->call);
    call_free(*c);
    *c = NULL;
}
