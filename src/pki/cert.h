/* SPDX-License-Identifier: Apache-2.0
 *
 * What is in certificates that somebody gave us: whose they are, how long they hold, whether they
 * chain to given roots. Texts are PEM, one certificate or several, whatever else stands between them.
 */
#ifndef PKI_CERT_H
#define PKI_CERT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/* Of one chain or bundle; stops an answer that would be parsed for minutes. */
#define CERT_CHAIN_MAX 64
#define CERT_BUNDLE_MAX 4096

struct cert_facts { /* of the first certificate */
    int64_t not_before_s, not_after_s; /* Unix time */
    struct str spiffe_id;  /* its URI SAN where it is one "spiffe://" URI and no other (X.509-SVID, section 2); "" else */
    struct str serial_hex; /* lower case */
    size_t count;          /* certificates in the text */
    bool is_ca;
};
/* Texts are copied into `a`. ERR_INVALID: no certificate, a broken one, or more than CERT_CHAIN_MAX. */
int cert_inspect(struct str chain_pem, struct arena *a, struct cert_facts *out, struct err *err);

/* Does the first certificate chain to one of `roots_pem` (those behind it being candidates for what stands between), and
 * does all of it hold at `now_s`? 0, or ERR_TLS with OpenSSL's reason. A root may be an intermediate (partial chains). */
int cert_verify(struct str chain_pem, struct str roots_pem, int64_t now_s, struct err *err);

/* Appends the certificates of `pem` that `out` doesn't hold yet, in their order, cleanly written. Gives how many stood in
 * `pem`; ERR_INVALID for none, a broken one, or more than CERT_BUNDLE_MAX. */
int cert_bundle_add(struct strbuf *out, struct str pem, size_t *count, struct err *err);

/* Each certificate of a text by itself, cleanly written, in `a`. ERR_INVALID as cert_bundle_add. */
struct cert_part {
    struct str pem;
    int64_t not_after_s;
    bool is_self_issued; /* a root, as far as names say */
};
int cert_parts(struct str pem, struct arena *a, struct cert_part **parts, size_t *count, struct err *err);

#endif
