/* SPDX-License-Identifier: Apache-2.0
 *
 * Certificate signing requests (PKCS#10, RFC 2986) that somebody sent us. All that an authority takes from one is the public
 * key, and the proof that the sender holds the other half: what it says of names and extensions isn't even looked at.
 */
#ifndef PKI_CSR_H
#define PKI_CSR_H

#include "base/err.h"
#include "base/str.h"

/* Of the text; the largest key that is taken needs a third of it. Stops a sender that wants us to parse for long. */
#define CSR_MAX_BYTES (16u << 10)

struct csr; /* opaque */

/* One request in PEM. ERR_LIMIT: too long; ERR_SYNTAX: not a request; ERR_UNSUPPORTED: the key isn't RSA of KEY_RSA_MIN_BITS
 * to KEY_RSA_MAX_BITS, nor of one of the curves P-256, P-384, P-521; ERR_INVALID: not signed by the key that it holds. */
struct csr *csr_load(struct str pem, struct err *err);
void csr_free(struct csr **csr);

#endif
