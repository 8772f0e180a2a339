/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is it that calls? Authenticators are asked one after the other, in the order in which they were added; the first that
 * knows the caller decides. istiod's order, and its names: client certificate, Kubernetes, JWT. One loop's thread.
 */
#ifndef CONTROL_CA_AUTH_H
#define CONTROL_CA_AUTH_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "io/loop.h"

/* What is known of a caller before he is. */
struct auth_request {
    bool is_tls, peer_is_validated;                     /* its chain leads to one of our roots, and holds */
    const struct str *peer_uris; uint32_t peer_uri_count; /* URI SANs of its certificate */
    struct str authorization;                           /* the header; "" none */
    struct str cluster_id;                              /* the header "clusterid" */
    struct str peer;                                    /* its address, for logs */
};

struct auth_caller {
    struct str identity;                        /* "spiffe://trust-domain/ns/namespace/sa/account" */
    struct str namespace_name, service_account; /* of it */
    struct str source;                          /* the authenticator's name */
    struct str pod_name, pod_uid;               /* where Kubernetes says so */
};

enum auth_step { AUTH_TAKEN, AUTH_REFUSED, AUTH_PENDING };

struct auth_call;
struct authenticator;
struct authenticator_ops {
    const char *name; /* as istiod's refusals have it */
    /* TAKEN: *out is filled, texts in auth_call_arena(call). REFUSED: *why says so in words that don't hold the credential.
     * PENDING: auth_call_done comes later, never from inside. `q` lives as long as the call. */
    enum auth_step (*begin)(struct authenticator *a, struct auth_call *call, const struct auth_request *q, struct auth_caller *out,
                            struct err *why);
    void (*cancel)(struct authenticator *a, struct auth_call *call); /* of a PENDING one; NULL: it never gives PENDING */
    void (*free)(struct authenticator *a);
};
struct authenticator { /* embedded in its kind */
    const struct authenticator_ops *ops;
};

struct auth_chain;
struct auth_chain *auth_chain_new(struct loop *loop);
void auth_chain_add(struct auth_chain *c, struct authenticator *take_a); /* NULL is fine: nothing is added */
void auth_chain_free(struct auth_chain **c);                            /* no call may be under way */

/* caller NULL: nobody knew him; `why` is "Authenticator NAME: reason; Authenticator ...". Valid until the return. */
typedef void (*auth_fn)(void *user, const struct auth_caller *caller, struct str why);
/* Told once, at the end of this turn or later. The request is copied. */
struct auth_call *auth_ask(struct auth_chain *c, const struct auth_request *q, auth_fn fn, void *user);
void auth_cancel(struct auth_call **call); /* NULL is fine */

/* The same at once, by those who never need to wait; texts in `a`. PENDING: nobody knew him so far, and the next one would have
 * to ask elsewhere. REFUSED: `why` has the reasons. */
enum auth_step auth_try(struct auth_chain *c, const struct auth_request *q, struct arena *a, struct auth_caller *out, struct strbuf *why);

/* For authenticators. */
struct arena *auth_call_arena(struct auth_call *call);
void auth_call_set_state(struct auth_call *call, void *state);
void *auth_call_state(const struct auth_call *call);
/* After PENDING, once: caller NULL: refused, by *why. Copied. */
void auth_call_done(struct auth_call *call, const struct auth_caller *caller, const struct err *why);
/* The token of "Bearer ...", or of Istio's old "Istio ...". */
int auth_bearer(const struct auth_request *q, struct str *token, struct err *why);
/* A workload's identity, texts in `a`. ERR_INVALID where the parts make no SPIFFE ID. */
int auth_caller_of(struct arena *a, struct str trust_domain, struct str ns, struct str sa, struct auth_caller *out, struct err *why);
/* "system:serviceaccount:NAMESPACE:ACCOUNT", as Kubernetes names accounts in tokens and reviews. */
bool auth_account_of(struct str subject, struct str *ns, struct str *sa);

/* ---- kinds ---- */

/* ClientCertAuthenticator: a verified certificate with one SPIFFE ID of a workload. One of an alias (MeshConfig.trustDomainAliases)
 * is the workload of that name in the trust domain. */
struct authenticator *auth_certificate_new(struct str trust_domain, const struct str *aliases, uint32_t alias_count);

/* BootstrapTokenAuthenticator: `folder`/NAMESPACE/ACCOUNT is a file of one token a line, of AUTH_TOKEN_MIN_BYTES and more, that
 * neither everybody can read nor anybody but its owner and group write. Read again when something changes; a file that isn't
 * good is named in the log and counts for nothing. */
#define AUTH_TOKEN_MIN_BYTES 16u
#define AUTH_TOKEN_MAX_BYTES 4096u
struct authenticator *auth_token_file_new(struct loop *loop, const char *folder, struct str trust_domain, struct err *err);

/* IDTokenAuthenticator: a signed JWT of `issuer` for one of `audiences`, whose subject is a service account. */
struct auth_jwt_opts {
    struct str issuer;
    const struct str *audiences; uint32_t audience_count; /* one at least */
    struct str jwks;      /* inline, or */
    struct str jwks_path; /* a file, read again when it changes; the last good one stays */
    struct str trust_domain;
    uint64_t skew_s;      /* that clocks may differ */
};
struct authenticator *auth_jwt_new(struct loop *loop, const struct auth_jwt_opts *o, struct err *err);
/* The same from JSON as istiod's JWT_RULE has it: {"issuer", "audiences": [], "jwks": a key set in a string, or "jwksFile": its
 * path}. ERR_UNSUPPORTED names what else is in it ("jwksUri", "jwks_uri": nothing is fetched). */
struct authenticator *auth_jwt_rule_new(struct loop *loop, struct str rule, struct str trust_domain, uint64_t skew_s, struct err *err);

/* KubeJWTAuthenticator: the API server is asked (authentication.k8s.io/v1 TokenReview), by whoever has a client of it. */
struct token_review { /* what its status says */
    bool is_authenticated;
    struct str error, username;
    const struct str *groups; uint32_t group_count;
    const struct str *audiences; uint32_t audience_count;
    struct str pod_name, pod_uid; /* user.extra: authentication.kubernetes.io/pod-name, .../pod-uid */
};
typedef void (*token_review_fn)(void *ctx, const struct token_review *review, const struct err *failure); /* review NULL: failure */
struct token_reviewer {
    void *user;
    /* fn(ctx) comes once, never from inside. NULL: it can't be asked, *err says why (an unknown cluster ...). */
    void *(*begin)(void *user, struct str token, const struct str *audiences, uint32_t audience_count, struct str cluster_id,
                   token_review_fn fn, void *ctx, struct err *err);
    void (*cancel)(void *user, void *review);
};
struct authenticator *auth_kube_new(const struct token_reviewer *keep_reviewer, const struct str *audiences, uint32_t audience_count,
                                    struct str trust_domain);

#endif
