/* SPDX-License-Identifier: Apache-2.0
 *
 * Callers by the certificate that we once gave them. Verifying it was the TLS room's; here is only whose it is. One of a former
 * trust domain (an alias now) is the same workload of ours: our roots vouch for it, so nobody else gave it. Pure.
 */
#include "control/ca/auth.h"

#include "base/check.h"
#include "base/mem.h"
#include "pki/spiffe.h"

struct auth_certificate {
    struct authenticator authenticator;
    struct str trust_domain, *aliases; /* own */
    uint32_t alias_count;
};

#define OF(a) CONTAINER_OF(a, auth_certificate, authenticator)

static bool is_ours(const struct auth_certificate *c, struct str trust_domain)
{
    bool found = str_eq(trust_domain, c->trust_domain);
    for (uint32_t i = 0; i < c->alias_count; i++)
        found |= str_eq(trust_domain, c->aliases[i]);
    return found;
}

static int read_identity(const struct auth_certificate *c, const struct auth_request *q, struct arena *a, struct auth_caller *out, struct err *why)
{
    struct spiffe_id id;
    struct spiffe_workload w;
    if (!q->is_tls)
        return err_set(why, ERR_NOT_FOUND, "no client certificate is presented");
    if (!q->peer_is_validated)
        return err_set(why, ERR_NOT_FOUND, "no verified chain is found");
    if (q->peer_uri_count != 1) /* X.509-SVID, section 2 */
        return err_set(why, ERR_INVALID, "the certificate has %u URIs, an identity is one", q->peer_uri_count);
    int rc = spiffe_id_parse(q->peer_uris[0], &id, why);
    if (rc == 0 && !spiffe_id_workload(&id, &w))
        rc = err_set(why, ERR_INVALID, "%.*s is no workload's identity", STR_ARG(q->peer_uris[0]));
    if (rc == 0 && !is_ours(c, id.trust_domain))
        rc = err_set(why, ERR_INVALID, "%.*s is not of the trust domain %.*s, nor of an alias", STR_ARG(q->peer_uris[0]), STR_ARG(c->trust_domain));
    return rc ? rc : auth_caller_of(a, c->trust_domain, w.namespace_name, w.service_account, out, why);
}

static enum auth_step begin(struct authenticator *a, struct auth_call *call, const struct auth_request *q, struct auth_caller *out,
                            struct err *why)
{
    return read_identity(OF(a), q, auth_call_arena(call), out, why) == 0 ? AUTH_TAKEN : AUTH_REFUSED;
}

static void free_it(struct authenticator *a)
{
    struct auth_certificate *c = OF(a);
    for (uint32_t i = 0; i < c->alias_count; i++)
        str_free(&c->aliases[i]);
    mem_free(c->aliases);
    str_free(&c->trust_domain);
    mem_free(c);
}

static const struct authenticator_ops ops = {.name = "ClientCertAuthenticator", .begin = begin, .free = free_it};

struct authenticator *auth_certificate_new(struct str trust_domain, const struct str *aliases, uint32_t alias_count)
{
    struct auth_certificate *c = NEW(auth_certificate);
    c->authenticator.ops = &ops;
    c->trust_domain = str_dup(trust_domain);
    c->aliases = mem_zalloc((alias_count + 1) * sizeof *c->aliases);
    c->alias_count = alias_count;
    for (uint32_t i = 0; i < alias_count; i++)
        c->aliases[i] = str_dup(aliases[i]);
    return &c->authenticator;
}
