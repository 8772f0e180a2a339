/* SPDX-License-Identifier: Apache-2.0
 *
 * Private keys and certificate signing requests of a workload. Texts are PEM; what key_pem gives
 * is secret: the owner wipes it with key_pem_free and never logs it.
 */
#ifndef PKI_KEY_H
#define PKI_KEY_H

#include "base/err.h"
#include "base/str.h"

enum key_kind { KEY_EC_P256, KEY_EC_P384, KEY_RSA_2048, KEY_RSA_4096 };

struct key; /* opaque */

struct key *key_generate(enum key_kind kind, struct err *err);
struct key *key_load(struct str pem, struct str password, struct err *err);
void key_free(struct key **key);

/* PKCS#8, unencrypted. */
int key_pem(const struct key *key, struct strbuf *out, struct err *err);
void key_pem_free(struct strbuf *pem);

/* PKCS#10 with one URI SAN (critical where the subject is empty, RFC 5280 section 4.1.2.6) and, if
 * given, an organization in the subject. Signed with SHA-256. */
int key_csr(const struct key *key, struct str uri_san, struct str organization, struct strbuf *out,
            struct err *err);

#endif
