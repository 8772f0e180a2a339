/* SPDX-License-Identifier: Apache-2.0
 *
 * OpenSSL's headers, included by the TLS files only through here: they own a type named ERR_STATE,
 * which is also a code of base/err.h.
 */
#ifndef IO_TLS_OPENSSL_H
#define IO_TLS_OPENSSL_H

#define ERR_STATE OPENSSL_ERR_STATE
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#undef ERR_STATE

#endif
