/* SPDX-License-Identifier: Apache-2.0
 *
 * Callers by the certificate that we once gave them. Verifying it was the TLS room's; here is only whose it is. Pure.
 */
#include "control/ca/auth.h"

#include "base/mem.h"
#include "pki/spiffe.h"

static int read_identity(const struct auth_request *q, struct auth_caller *out, struct err *why)
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
    if (rc == 0)
        *out = (struct auth_caller){.identity = q->peer_uris[0], .namespace_name = w.namespace_name, .service_account = w.service_account};
    return rc;
}

static enum auth_step begin(struct authenticator *a, struct auth_call *call, const struct auth_request *q, struct auth_caller *out,
                            struct err *why)
{
    (void)a, (void)call;
    return read_identity(q, out, why) == 0 ? AUTH_TAKEN : AUTH_REFUSED;
}

static void free_it(struct authenticator *a)
{
    mem_free(a);
}

static const struct authenticator_ops ops = {.name = "ClientCertAuthenticator", .begin = begin, .free = free_it};

struct authenticator *auth_certificate_new(void)
{
    struct authenticator *a = NEW(authenticator);
    a->ops = &ops;
    return a;
}
