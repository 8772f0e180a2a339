/* SPDX-License-Identifier: Apache-2.0
 *
 * OpenSSL's headers for this room; they own a type named ERR_STATE, which is also a code of
 * base/err.h.
 */
#ifndef PKI_OPENSSL_PRIV_H
#define PKI_OPENSSL_PRIV_H

#define ERR_STATE OPENSSL_ERR_STATE
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#undef ERR_STATE

#endif
