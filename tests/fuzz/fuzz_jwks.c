/* SPDX-License-Identifier: Apache-2.0
 *
 * Sets of keys from whatever serves them: what is taken holds keys, no more than the limit, and can be asked about a token; what
 * isn't says why. OpenSSL's queue of errors stays empty.
 */
#include "base/check.h"
#include "pki/jwt.h"
#include "pki/openssl_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* {"alg":"..."} . {} . zeros, one of each family of algorithms */
static const struct str tokens[] = {
    {"eyJhbGciOiJFUzI1NiIsImtpZCI6IjEifQ.e30."
     "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 125},
    {"eyJhbGciOiJSUzI1NiJ9.e30."
     "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 111},
    {"eyJhbGciOiJQUzI1NiJ9.e30."
     "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 111},
    {"eyJhbGciOiJFZERTQSJ9.e30."
     "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 111},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    struct jwks *keys = jwks_new(str_make((const char *)data, size), &err);
    if (!keys)
        CHECK(err.message[0]);
    else
        CHECK(size <= JWKS_MAX_BYTES && jwks_count(keys) > 0 && jwks_count(keys) <= JWKS_KEYS_MAX);
    for (size_t i = 0; keys && i < ARRAY_LEN(tokens); i++) {
        struct arena a;
        struct jwt t;
        arena_init(&a, (size_t)1 << 16);
        CHECK(jwt_parse(tokens[i], &a, &t) == JWT_OK);
        (void)jwt_verify(&t, keys);
        jwt_fini(&t);
        arena_fini(&a);
    }
    jwks_unref(&keys);
    CHECK(ERR_peek_error() == 0);
    return 0;
}
