/* SPDX-License-Identifier: Apache-2.0
 *
 * An authority's side of certificates: making them, and looking at what an operator plugs in to make them with.
 * Leaves are as the mesh's workloads want them (X.509-SVID, section 4; what Istio's CA issues): empty subject, critical names,
 * for servers and clients, no CA.
 */
#ifndef PKI_ISSUE_H
#define PKI_ISSUE_H

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "pki/csr.h"
#include "pki/key.h"

#define ISSUE_NAMES_MAX 64u

/* Who signs: its certificate, read once, and its key, which is borrowed until issue_ca_free. */
struct issue_ca;
struct issue_ca *issue_ca_new(struct str ca_pem, const struct key *keep_key, struct err *err);
void issue_ca_free(struct issue_ca **ca);

struct issue {
    struct str uri;                             /* "" none */
    const struct str *hosts; uint32_t host_count; /* DNS names, or IP addresses as text */
    int64_t not_before_s, not_after_s;          /* Unix time; within the authority's own, or ERR_INVALID */
};
#define ISSUE_SERIAL_BYTES 16
/* Appends the leaf, PEM, with a serial number of 128 random bits, which is told in hex. */
int issue_leaf(const struct issue *what, const struct csr *csr, const struct issue_ca *ca, struct strbuf *out,
               char serial_hex[2 * ISSUE_SERIAL_BYTES + 1], struct err *err);

/* A root: O=`organization` (up to 64 bytes), may sign certificates and revocation lists. */
int issue_root(const struct key *key, struct str organization, int64_t not_before_s, int64_t not_after_s, struct strbuf *out,
               struct err *err);

/* May the first certificate of `ca_pem` sign with `key`, and does it, by way of `chain_pem` ("" none), lead to one of
 * `roots_pem` at `now_s`? ERR_INVALID names what doesn't fit; ERR_TLS with OpenSSL's reason. */
int issue_check_ca(struct str ca_pem, const struct key *key, struct str chain_pem, struct str roots_pem, int64_t now_s,
                   struct err *err);

/* Revocation lists, one or more: how many. ERR_INVALID for none or a broken one. */
int issue_check_crl(struct str pem, size_t *count, struct err *err);

#endif
