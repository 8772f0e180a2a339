/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of this room share. OpenSSL's error queue is empty after openssl_fault and read_certs.
 */
#ifndef PKI_PRIV_H
#define PKI_PRIV_H

#include "base/err.h"
#include "base/str.h"
#include "pki/key.h"
#include "pki/openssl_priv.h"

struct key {
    EVP_PKEY *pkey;
};

/* "what: OpenSSL's reason"; gives `code`. */
int openssl_fault(struct err *err, int code, const char *what);

/* At least one and fewer than `max` + 1; NULL with an error for a text without or with a broken one. */
STACK_OF(X509) *read_certs(struct str pem, int max, struct err *err);
void certs_free(STACK_OF(X509) **certs);

/* Appends what a memory BIO holds. */
void bio_take_text(BIO *bio, struct strbuf *out);

/* Built as a structure, not as OpenSSL's configuration text, where a ',' in a URI would add names. GEN_URI, GEN_DNS, or
 * GEN_IPADD from an address in text. */
bool names_add(GENERAL_NAMES *names, int type, struct str text);

/* SHA-256, more for a longer curve; NULL for keys that have their own (Ed25519). */
const EVP_MD *key_digest(const EVP_PKEY *pkey);

#endif
