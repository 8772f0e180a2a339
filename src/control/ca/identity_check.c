/* SPDX-License-Identifier: Apache-2.0
 *
 * Pure. The trust domain isn't compared: whose certificates are believed is the TLS room's business.
 */
#include "control/ca/identity_check.h"

#include "pki/spiffe.h"

static bool agrees(struct str identity, struct str ns, struct str sa)
{
    struct spiffe_id id;
    struct spiffe_workload w;
    return spiffe_id_parse(identity, &id, NULL) == 0 && spiffe_id_workload(&id, &w) && (!ns.n || str_eq(w.namespace_name, ns)) &&
           (!sa.n || str_eq(w.service_account, sa));
}

int identity_check(struct str identity, struct str ns, struct str service_account, struct err *err)
{
    if (agrees(identity, ns, service_account))
        return 0;
    return err_set(err, ERR_INVALID, "authorization failed: no identities ([%.*s]) matched %.*s/%.*s", STR_ARG(identity), STR_ARG(ns),
                   STR_ARG(service_account));
}
