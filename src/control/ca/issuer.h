/* SPDX-License-Identifier: Apache-2.0
 *
 * What IstioCertificateService/CreateCertificate does, without its transport: who calls, may he, is the request any good, a
 * chain for him; and a line in the log for each certificate given. One loop's thread.
 */
#ifndef CONTROL_CA_ISSUER_H
#define CONTROL_CA_ISSUER_H

#include "control/ca/auth.h"
#include "control/ca/signer.h"
#include "http/grpc.h"

/* Why no certificate was given. Istio's word for it (the label of citadel_server_csr_sign_err_count; "" not of signing), status. */
#define ISSUE_FAULTS(X)                                                                            \
    X(UNAUTHENTICATED, "", GRPC_UNAUTHENTICATED)                                                   \
    X(IMPERSONATION, "", GRPC_UNAUTHENTICATED)                                                     \
    X(NOT_READY, "CA_NOT_READY", GRPC_UNAVAILABLE)  /* istiod: INTERNAL, which not every client tries again */ \
    X(BUSY, "CA_BUSY", GRPC_RESOURCE_EXHAUSTED)                                                    \
    X(CSR, "CSR_ERROR", GRPC_INVALID_ARGUMENT)                                                     \
    X(TTL, "TTL_ERROR", GRPC_INVALID_ARGUMENT)                                                     \
    X(SIGNER_NAME, "CERT_SIGNER_ERROR", GRPC_INVALID_ARGUMENT)                                     \
    X(SIGN, "CERT_GEN_ERROR", GRPC_INTERNAL)
enum issue_fault {
    ISSUE_OK,
#define X(id, text, status) ISSUE_##id,
    ISSUE_FAULTS(X)
#undef X
        ISSUE_FAULT_COUNT
};

struct issuer_opts {
    struct loop *loop;
    struct signer *signer;
    struct auth_chain *auth;
    int64_t default_ttl_s, max_ttl_s; /* of who asks for none; that may be asked for */
    /* Who may ask in another's name ("namespace/account"; Istio's CA_TRUSTED_NODE_ACCOUNTS): agents of whole nodes. */
    const struct str *trusted_node_accounts; uint32_t trusted_node_account_count; /* copied */
    /* And does that other run on the caller's node? ERR_* with the reason where it doesn't. NULL: nobody is asked for anybody. */
    int (*may_impersonate)(void *user, const struct auth_caller *caller, struct str ns, struct str service_account, struct err *why);
    void *user;
};

struct issuer;
struct issuer *issuer_new(const struct issuer_opts *o);
void issuer_free(struct issuer **i); /* no call may be under way */

struct issue_query {
    struct auth_request auth;
    struct str csr_pem;
    int64_t validity_s;     /* <= 0: the default */
    struct str impersonated; /* metadata "ImpersonatedIdentity"; "" none */
    struct str cert_signer;  /* metadata "CertSigner"; "" none, any other is refused: there is no other signer here */
};
struct issue_answer {
    enum issue_fault fault;
    enum grpc_status status;
    struct str message;                    /* of a fault, for the peer */
    const struct str *certs; uint32_t count; /* PEM, one each: the leaf, those between; last the bundle of roots in one */
};
typedef void (*issue_fn)(void *user, const struct issue_answer *answer); /* once, never from inside; valid until it returns */

struct issue_call;
struct issue_call *issuer_create(struct issuer *i, const struct issue_query *q, issue_fn fn, void *user);
void issue_call_cancel(struct issue_call **c); /* NULL is fine */

/* Prometheus text, under istiod's names where they mean the same. */
void issuer_metrics(const struct issuer *i, int64_t now_s, struct strbuf *out);
struct issuer_counters {
    uint64_t requests, issued, csr_refused, faults[ISSUE_FAULT_COUNT];
};
const struct issuer_counters *issuer_counters(const struct issuer *i);

#endif
