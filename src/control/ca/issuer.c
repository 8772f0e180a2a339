/* SPDX-License-Identifier: Apache-2.0
 *
 *   create --authenticators--> may he --request checked here--> signer --> chain
 *
 * The identity is the caller's, whatever the request says; only an agent of a node that the operator named may ask in the name
 * of another on that node. The request is parsed here before it is parsed where the key is: what breaks a parser breaks this
 * one first. What a peer is told of a refusal of impersonation is opaque, the log has the reason. One loop's thread.
 */
#include "control/ca/issuer.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "pki/cert.h"
#include "pki/csr.h"
#include "pki/spiffe.h"

struct issuer {
    struct issuer_opts opts;
    struct str *accounts; /* opts.trusted_node_accounts, own */
    struct issuer_counters counters;
    uint32_t under_way;
};

struct issue_call {
    struct issuer *issuer;
    struct deferred deferred;
    struct turn_task task;   /* a refusal that is to be told */
    struct auth_call *auth;
    struct signer_call *signing;
    struct arena arena;
    struct issue_query query; /* texts are the arena's */
    struct str identity, source;
    enum issue_fault fault;
    struct strbuf message;
    issue_fn fn;
    void *user;
};

static const struct {
    const char *text;
    enum grpc_status status;
} faults[ISSUE_FAULT_COUNT] = {
#define X(id, text_, status_) [ISSUE_##id] = {text_, status_},
    ISSUE_FAULTS(X)
#undef X
};

/* ---- the end of a call ---- */

static void destroy(struct deferred *d)
{
    struct issue_call *c = CONTAINER_OF(d, issue_call, deferred);
    strbuf_fini(&c->message);
    arena_fini(&c->arena);
    mem_free(c);
}

static void end(struct issue_call *c)
{
    c->issuer->under_way--;
    loop_defer(c->issuer->opts.loop, &c->deferred, destroy);
}

static void tell_fault(struct issue_call *c)
{
    struct issue_answer a = {.fault = c->fault, .status = faults[c->fault].status, .message = strbuf_str(&c->message)};
    end(c);
    c->fn(c->user, &a);
}

static void on_task(struct turn_task *t)
{
    tell_fault(CONTAINER_OF(t, issue_call, task));
}

static void refuse(struct issue_call *c, enum issue_fault fault, const char *why, bool at_once)
{
    bool is_of_signing = faults[fault].text[0] != '\0';
    c->fault = fault;
    c->issuer->counters.faults[fault]++;
    if (is_of_signing)
        strbuf_addf(&c->message, "CSR signing error (%s)", why);
    else
        strbuf_addz(&c->message, why);
    LOG_SELDOM(SECRET, WARNING, "no certificate for %.*s at %.*s: %s", STR_ARG(c->identity.n ? c->identity : STR("a caller")),
               STR_ARG(c->query.auth.peer), why);
    if (at_once)
        tell_fault(c);
    else
        loop_at_turn_end(c->issuer->opts.loop, &c->task);
}

/* ---- a certificate ---- */

static void log_issued(const struct issue_call *c, const struct signer_answer *s)
{
    LOG(SECRET, INFO, "issued: certificate %.*s for %.*s at %.*s (%.*s), until %lld", STR_ARG(s->serial_hex), STR_ARG(c->identity),
        STR_ARG(c->query.auth.peer), STR_ARG(c->source), (long long)s->leaf_until_s);
}

/* Leaf, what stands between one by one (ztunnel reads them so), and the roots in one text: of several elements Istio's agents
 * would take the last alone for a root. */
static int chain_of(struct arena *a, const struct signer_answer *s, struct issue_answer *out, struct err *err)
{
    struct cert_part *parts = NULL;
    size_t n = 0;
    int rc = s->trust->chain.n ? cert_parts(s->trust->chain, a, &parts, &n, err) : 0;
    struct str *certs = rc ? NULL : arena_alloc(a, (n + 2) * sizeof *certs);
    if (!certs)
        return rc ? rc : err_set(err, ERR_LIMIT, "the chain is too long");
    certs[0] = s->leaf;
    for (size_t i = 0; i < n; i++)
        certs[i + 1] = parts[i].pem;
    certs[n + 1] = s->trust->bundle;
    out->certs = certs;
    out->count = (uint32_t)n + 2;
    return 0;
}

static enum issue_fault fault_of(int code)
{
    switch (code) {
    case ERR_STATE:
    case ERR_TIMEOUT:
        return ISSUE_NOT_READY;
    case ERR_SYNTAX:
    case ERR_INVALID:
    case ERR_UNSUPPORTED:
        return ISSUE_CSR;
    case ERR_LIMIT:
        return ISSUE_TTL;
    default:
        return ISSUE_SIGN;
    }
}

static void on_signed(void *user, const struct signer_answer *s)
{
    struct issue_call *c = user;
    struct issue_answer answer = {.status = GRPC_OK};
    struct err err = {0};
    c->signing = NULL;
    if (s->code) {
        refuse(c, fault_of(s->code), s->message, true);
    } else if (chain_of(&c->arena, s, &answer, &err) < 0) {
        refuse(c, ISSUE_SIGN, err.message, true);
    } else {
        c->issuer->counters.issued++;
        log_issued(c, s);
        end(c);
        c->fn(c->user, &answer);
    }
}

/* ---- what is asked for ---- */

static int choose_ttl(const struct issuer *i, int64_t asked_s, int64_t *ttl_s, struct err *err)
{
    int64_t max = i->opts.max_ttl_s;
    *ttl_s = asked_s > 0 ? asked_s : i->opts.default_ttl_s;
    if (*ttl_s <= max)
        return 0;
    return err_set(err, ERR_LIMIT, "requested TTL %lldh%lldm%llds is greater than the max allowed TTL %lldh%lldm%llds",
                   (long long)(*ttl_s / 3600), (long long)(*ttl_s / 60 % 60), (long long)(*ttl_s % 60), (long long)(max / 3600),
                   (long long)(max / 60 % 60), (long long)(max % 60));
}

static void sign(struct issue_call *c)
{
    struct authority_request q = {.csr_pem = c->query.csr_pem, .uri = c->identity};
    struct err err = {0};
    if (c->query.cert_signer.n) {
        err_set(&err, ERR_UNSUPPORTED, "there is no signer '%.*s', only this authority", STR_ARG(c->query.cert_signer));
        refuse(c, ISSUE_SIGNER_NAME, err.message, true);
        return;
    }
    struct csr *csr = csr_load(c->query.csr_pem, &err);
    if (!csr) {
        c->issuer->counters.csr_refused++;
        refuse(c, ISSUE_CSR, err.message, true);
        return;
    }
    csr_free(&csr);
    if (choose_ttl(c->issuer, c->query.validity_s, &q.ttl_s, &err) < 0) {
        refuse(c, ISSUE_TTL, err.message, true);
        return;
    }
    c->signing = signer_sign(c->issuer->opts.signer, &q, on_signed, c, &err);
    if (!c->signing)
        refuse(c, err.code == ERR_LIMIT ? ISSUE_BUSY : ISSUE_NOT_READY, err.message, true);
}

/* ---- in whose name ---- */

static bool is_trusted_node(const struct issuer *i, const struct auth_caller *caller)
{
    for (uint32_t k = 0; k < i->opts.trusted_node_account_count; k++) {
        struct str sa, ns = str_split(i->accounts[k], '/', &sa);
        if (str_eq(ns, caller->namespace_name) && str_eq(sa, caller->service_account))
            return true;
    }
    return false;
}

static int check_impersonation(const struct issuer *i, const struct auth_caller *caller, struct str wanted, struct err *why)
{
    struct spiffe_id id;
    struct spiffe_workload w;
    if (!i->opts.trusted_node_account_count || !i->opts.may_impersonate)
        return err_set(why, ERR_STATE, "impersonation not allowed: no trusted node accounts are configured");
    if (!is_trusted_node(i, caller))
        return err_set(why, ERR_INVALID, "caller (%.*s) is not allowed to impersonate", STR_ARG(caller->identity));
    int rc = spiffe_id_parse(wanted, &id, why);
    if (rc == 0 && !spiffe_id_workload(&id, &w))
        rc = err_set(why, ERR_INVALID, "failed to validate impersonated identity %.*s", STR_ARG(wanted));
    return rc ? rc : i->opts.may_impersonate(i->opts.user, caller, w.namespace_name, w.service_account, why);
}

static void on_caller(void *user, const struct auth_caller *caller, struct str why)
{
    struct issue_call *c = user;
    struct err err = {0};
    c->auth = NULL;
    if (!caller) {
        struct str text = arena_printf(&c->arena, "request authenticate failure: %.*s", STR_ARG(why));
        refuse(c, ISSUE_UNAUTHENTICATED, text.n ? text.p : "request authenticate failure", true);
        return;
    }
    c->identity = arena_str(&c->arena, caller->identity);
    c->source = caller->source;
    if (c->query.impersonated.n) {
        if (check_impersonation(c->issuer, caller, c->query.impersonated, &err) < 0) {
            LOG_SELDOM(SECRET, WARNING, "%.*s asked for a certificate of %.*s: %s", STR_ARG(c->identity),
                       STR_ARG(c->query.impersonated), err.message);
            refuse(c, ISSUE_IMPERSONATION, "request impersonation authentication failure", true);
            return;
        }
        c->identity = c->query.impersonated;
    }
    sign(c);
}

struct issue_call *issuer_create(struct issuer *i, const struct issue_query *q, issue_fn fn, void *user)
{
    struct issue_call *c = NEW(issue_call);
    c->issuer = i;
    c->fn = fn;
    c->user = user;
    c->task.run = on_task;
    arena_init(&c->arena, 0);
    i->under_way++;
    i->counters.requests++;
    c->query.auth.peer = arena_str(&c->arena, q->auth.peer);
    if (q->csr_pem.n > CSR_MAX_BYTES || q->impersonated.n > SPIFFE_ID_MAX_BYTES || q->cert_signer.n > SPIFFE_ID_MAX_BYTES) {
        i->counters.csr_refused++;
        refuse(c, ISSUE_CSR, "the request is too long", false);
        return c;
    }
    c->query.csr_pem = arena_str(&c->arena, q->csr_pem);
    c->query.impersonated = arena_str(&c->arena, q->impersonated);
    c->query.cert_signer = arena_str(&c->arena, q->cert_signer);
    c->query.validity_s = q->validity_s;
    c->auth = auth_ask(i->opts.auth, &q->auth, on_caller, c);
    return c;
}

void issue_call_cancel(struct issue_call **p)
{
    struct issue_call *c = *p;
    *p = NULL;
    if (!c)
        return;
    auth_cancel(&c->auth);
    signer_call_cancel(&c->signing);
    turn_task_cancel(&c->task);
    end(c);
}

/* ---- the issuer ---- */

struct issuer *issuer_new(const struct issuer_opts *o)
{
    struct issuer *i = NEW(issuer);
    i->opts = *o;
    i->accounts = mem_zalloc((o->trusted_node_account_count + 1) * sizeof *i->accounts);
    for (uint32_t k = 0; k < o->trusted_node_account_count; k++)
        i->accounts[k] = str_dup(o->trusted_node_accounts[k]);
    return i;
}

void issuer_free(struct issuer **p)
{
    struct issuer *i = *p;
    *p = NULL;
    if (!i)
        return;
    DCHECK(i->under_way == 0);
    for (uint32_t k = 0; k < i->opts.trusted_node_account_count; k++)
        str_free(&i->accounts[k]);
    mem_free(i->accounts);
    mem_free(i);
}

const struct issuer_counters *issuer_counters(const struct issuer *i)
{
    return &i->counters;
}

static void metric(struct strbuf *out, const char *name, const char *type, const char *help, double value)
{
    strbuf_addf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.0f\n", name, help, name, type, name, value);
}

void issuer_metrics(const struct issuer *i, int64_t now_s, struct strbuf *out)
{
    const struct issuer_counters *n = &i->counters;
    const struct ca_trust *t = signer_trust(i->opts.signer);
    metric(out, "citadel_server_csr_count", "counter", "Requests for a certificate.", (double)n->requests);
    metric(out, "citadel_server_authentication_failure_count", "counter", "Requests of callers who were not known, or not trusted.",
           (double)(n->faults[ISSUE_UNAUTHENTICATED] + n->faults[ISSUE_IMPERSONATION]));
    metric(out, "citadel_server_csr_parsing_err_count", "counter", "Requests that could not be read, or were not to be signed.",
           (double)n->csr_refused);
    metric(out, "citadel_server_success_cert_issuance_count", "counter", "Certificates given.", (double)n->issued);
    strbuf_addz(out, "# HELP citadel_server_csr_sign_err_count Requests that were not signed, by reason.\n"
                     "# TYPE citadel_server_csr_sign_err_count counter\n");
    for (int f = 1; f < ISSUE_FAULT_COUNT; f++)
        if (faults[f].text[0])
            strbuf_addf(out, "citadel_server_csr_sign_err_count{error=\"%s\"} %llu\n", faults[f].text, (unsigned long long)n->faults[f]);
    metric(out, "weftd_ca_signer_up", "gauge", "Whether the signer's process serves.", signer_is_up(i->opts.signer));
    if (!t)
        return;
    metric(out, "citadel_server_root_cert_expiry_timestamp", "gauge", "When the root ends, Unix time.", (double)t->root_until_s);
    metric(out, "citadel_server_root_cert_expiry_seconds", "gauge", "Seconds until the root ends.", (double)(t->root_until_s - now_s));
    metric(out, "citadel_server_cert_chain_expiry_timestamp", "gauge", "When what signs ends, Unix time.", (double)t->signs_until_s);
    metric(out, "citadel_server_cert_chain_expiry_seconds", "gauge", "Seconds until what signs ends.",
           (double)(t->signs_until_s - now_s));
}
