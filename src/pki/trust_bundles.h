/* SPDX-License-Identifier: Apache-2.0
 *
 * Roots of many SPIFFE trust domains in one JSON text: {"trust_domains": {NAME: BUNDLE}}, each bundle in the format of
 * the SPIFFE Trust Domain and Bundle specification, section 4 (Envoy: SPIFFECertValidatorConfig.trust_bundles).
 */
#ifndef PKI_TRUST_BUNDLES_H
#define PKI_TRUST_BUNDLES_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#define TRUST_BUNDLES_MAX 4096

struct trust_bundle {
    struct str domain, roots_pem;
};
/* Copied into `a`. ERR_SYNTAX for what isn't JSON; ERR_INVALID, with the trust domain's name, for one without keys, for a key
 * that isn't an "x509-svid" with certificates in x5c, and for no trust domain at all; ERR_LIMIT. */
int trust_bundles_read(struct str json, struct arena *a, struct trust_bundle **out, size_t *count, struct err *err);

#endif
