/* SPDX-License-Identifier: Apache-2.0
 *
 * SPIFFE identities: "spiffe://trust-domain/path" (the SPIFFE ID specification, sections 2 and 2.3).
 */
#ifndef PKI_SPIFFE_H
#define PKI_SPIFFE_H

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

#define SPIFFE_ID_MAX_BYTES 2048
#define SPIFFE_TRUST_DOMAIN_MAX_BYTES 255

struct spiffe_id {
    struct str trust_domain;
    struct str path; /* with its leading '/'; empty for the trust domain itself */
};

/* Parts point into `text`. ERR_INVALID names the rule that was broken. */
int spiffe_id_parse(struct str text, struct spiffe_id *out, struct err *err);
bool spiffe_trust_domain_is_valid(struct str s);

/* Istio's form of the path: "/ns/<namespace>/sa/<service account>". False for any other. */
struct spiffe_workload {
    struct str namespace_name, service_account;
};
bool spiffe_id_workload(const struct spiffe_id *id, struct spiffe_workload *out);

#endif
