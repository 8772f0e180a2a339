/* SPDX-License-Identifier: Apache-2.0
 *
 * The client of istio.v1.auth.IstioCertificateService: a CSR out, a chain and its root in.
 */
#ifndef PROXY_SERVICE_CA_SERVICE_H
#define PROXY_SERVICE_CA_SERVICE_H

#include "http/codec/headers.h"
#include "proxy/service/grpc_call.h"

#define CA_ANSWER_MAX_BYTES (1u << 20) /* of one answer; a chain has a few kilobytes */

struct ca_answer {
    const struct str *certs; uint32_t count; /* PEM: leaf first, the root (maybe several) last */
};
/* answer NULL: it failed, `status` and `message` say how. Valid until the return. Once, last. */
typedef void (*ca_fn)(void *user, const struct ca_answer *answer, unsigned status, struct str message);

struct ca_call;
/* `more`: headers (credentials). cert_signer "" none. fn is never called from inside; NULL: failed at once with *status. */
struct ca_call *ca_ask(const struct grpc_service *s, struct str csr_pem, uint64_t validity_s, struct str cert_signer,
                       const struct headers *more, ca_fn fn, void *user, unsigned *status);
void ca_call_cancel(struct ca_call **c); /* NULL is fine */

#endif
