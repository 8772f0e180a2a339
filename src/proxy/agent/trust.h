/* SPDX-License-Identifier: Apache-2.0
 *
 * The secret "ROOTCA": whom the workload trusts, from several places at once. Main thread.
 */
#ifndef PROXY_AGENT_TRUST_H
#define PROXY_AGENT_TRUST_H

#include "base/err.h"
#include "base/str.h"

enum trust_source {
    TRUST_ISSUER,   /* the root of the workload's own certificate */
    TRUST_SETTINGS, /* PROXY_CONFIG.caCertificatesPem */
    TRUST_PUSHED,   /* istiod's PCDS */
    TRUST_SOURCE_COUNT
};
struct trust {
    struct strbuf parts[TRUST_SOURCE_COUNT];
    struct strbuf crl;
};
void trust_fini(struct trust *t);
/* What that source says from now on; the secret is set when there are any roots. False: nothing changed. ERR_INVALID changes
 * nothing. `pem` "" : nothing any more; the last root of all is never taken away. */
int trust_set(struct trust *t, enum trust_source source, struct str pem, bool *changed, struct err *err);
void trust_set_crl(struct trust *t, struct str pem);

#endif
