/* SPDX-License-Identifier: Apache-2.0
 *
 * Callers by a Kubernetes service account token: who it belongs to is asked of the API server, what its answer is worth is
 * decided here. One loop's thread.
 */
#include "control/ca/auth.h"

#include "base/check.h"
#include "base/mem.h"

#define ACCOUNTS_GROUP STR("system:serviceaccounts")

struct auth_kube {
    struct authenticator authenticator;
    const struct token_reviewer *reviewer;
    struct str *audiences; uint32_t audience_count;
    struct str trust_domain;
};

#define OF(a) CONTAINER_OF(a, auth_kube, authenticator)

/* Of one call; in its arena. */
struct asked {
    struct auth_kube *kube;
    struct auth_call *call;
    struct str cluster_id;
    void *review;
};

static bool has(const struct str *list, uint32_t n, struct str s)
{
    for (uint32_t i = 0; i < n; i++)
        if (str_eq(list[i], s))
            return true;
    return false;
}

static int judge(const struct auth_kube *k, const struct token_review *r, struct str *ns, struct str *sa, struct err *why)
{
    bool is_for_us = k->audience_count == 0;
    if (r->error.n)
        return err_set(why, ERR_INVALID, "the service account authentication returns an error: %.*s", STR_ARG(r->error));
    if (!r->is_authenticated)
        return err_set(why, ERR_INVALID, "the token is not authenticated");
    /* An API server that doesn't know of audiences answers without. */
    for (uint32_t i = 0; i < k->audience_count; i++)
        is_for_us |= has(r->audiences, r->audience_count, k->audiences[i]);
    if (!is_for_us)
        return err_set(why, ERR_INVALID, "the token is not for this audience");
    if (!has(r->groups, r->group_count, ACCOUNTS_GROUP) || !auth_account_of(r->username, ns, sa))
        return err_set(why, ERR_INVALID, "the token is not a service account");
    return 0;
}

static void on_review(void *ctx, const struct token_review *r, const struct err *failure)
{
    struct asked *q = ctx;
    struct auth_caller caller;
    struct err inner = {0}, why = {0};
    struct str ns, sa;
    int rc = r ? judge(q->kube, r, &ns, &sa, &inner) : failure->code;
    if (rc == 0)
        rc = auth_caller_of(auth_call_arena(q->call), q->kube->trust_domain, ns, sa, &caller, &inner);
    if (rc == 0) {
        caller.pod_name = r->pod_name;
        caller.pod_uid = r->pod_uid;
    } else {
        err_set(&why, rc, "failed to validate the JWT from cluster \"%.*s\": %s", STR_ARG(q->cluster_id), r ? inner.message : failure->message);
    }
    auth_call_done(q->call, rc == 0 ? &caller : NULL, &why);
}

static enum auth_step begin(struct authenticator *a, struct auth_call *call, const struct auth_request *r, struct auth_caller *out,
                            struct err *why)
{
    struct auth_kube *k = OF(a);
    struct str token;
    (void)out;
    if (auth_bearer(r, &token, why) < 0)
        return AUTH_REFUSED;
    struct asked *q = arena_zalloc(auth_call_arena(call), sizeof *q);
    if (!q) {
        err_set(why, ERR_LIMIT, "the credentials are too long");
        return AUTH_REFUSED;
    }
    *q = (struct asked){.kube = k, .call = call, .cluster_id = r->cluster_id};
    q->review = k->reviewer->begin(k->reviewer->user, token, k->audiences, k->audience_count, r->cluster_id, on_review, q, why);
    auth_call_set_state(call, q);
    return q->review ? AUTH_PENDING : AUTH_REFUSED;
}

static void cancel(struct authenticator *a, struct auth_call *call)
{
    const struct asked *q = auth_call_state(call);
    OF(a)->reviewer->cancel(OF(a)->reviewer->user, q->review);
}

static void free_it(struct authenticator *a)
{
    struct auth_kube *k = OF(a);
    for (uint32_t i = 0; i < k->audience_count; i++)
        str_free(&k->audiences[i]);
    mem_free(k->audiences);
    str_free(&k->trust_domain);
    mem_free(k);
}

static const struct authenticator_ops ops = {.name = "KubeJWTAuthenticator", .begin = begin, .cancel = cancel, .free = free_it};

struct authenticator *auth_kube_new(const struct token_reviewer *keep_reviewer, const struct str *audiences, uint32_t audience_count,
                                    struct str trust_domain)
{
    struct auth_kube *k = NEW(auth_kube);
    k->authenticator.ops = &ops;
    k->reviewer = keep_reviewer;
    k->trust_domain = str_dup(trust_domain);
    k->audiences = mem_zalloc((audience_count + 1) * sizeof *k->audiences);
    k->audience_count = audience_count;
    for (uint32_t i = 0; i < audience_count; i++)
        k->audiences[i] = str_dup(audiences[i]);
    return &k->authenticator;
}
