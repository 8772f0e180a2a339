/* SPDX-License-Identifier: Apache-2.0
 *
 * Private keys and certificate signing requests of a workload. Texts are PEM; what key_pem gives
 * is secret: the owner wipes it with key_pem_free and never logs it.
 */
#ifndef PKI_KEY_H
#define PKI_KEY_H

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

enum key_kind { KEY_EC_P256, KEY_EC_P384, KEY_RSA_2048, KEY_RSA_4096 };

struct key; /* opaque */

struct key *key_generate(enum key_kind kind, struct err *err);
/* Of a size that somebody configured; below KEY_RSA_MIN_BITS or past KEY_RSA_MAX_BITS: ERR_INVALID. */
#define KEY_RSA_MIN_BITS 2048
#define KEY_RSA_MAX_BITS 8192 /* a second of CPU and more for each one above it */
struct key *key_generate_rsa(unsigned bits, struct err *err);
struct key *key_load(struct str pem, struct str password, struct err *err);
void key_free(struct key **key);

/* PKCS#8 (RFC 5958), unencrypted. */
int key_pem(const struct key *key, struct strbuf *out, struct err *err);
/* The key's own form: "RSA PRIVATE KEY" (PKCS#1, RFC 8017 appendix A.1.2) or "EC PRIVATE KEY" (SEC 1, RFC 5915). */
int key_pem_traditional(const struct key *key, struct strbuf *out, struct err *err);
void key_pem_free(struct strbuf *pem);

/* PKCS#10 with one URI SAN (critical where the subject is empty, RFC 5280 section 4.1.2.6) and, if
 * given, an organization in the subject. Signed with SHA-256. */
int key_csr(const struct key *key, struct str uri_san, struct str organization, struct strbuf *out,
            struct err *err);

/* Is it the key of the first certificate in `chain_pem`? */
bool key_fits(const struct key *key, struct str chain_pem);

#endif
