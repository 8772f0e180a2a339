/* SPDX-License-Identifier: Apache-2.0
 *
 * Bearer tokens of anybody: one that is read has texts within bounds, claims that can be walked through and written, and a
 * signature that none of the keys of a set that knows nobody has made.
 */
#include "base/check.h"
#include "pki/jwt.h"

#define FUZZ_ARENA_BYTES ((size_t)1 << 20)
/* The EC key of RFC 7517, appendix A.1. */
#define FUZZ_KEYS                                                                                  \
    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\","     \
    "\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\",\"use\":\"sig\",\"kid\":\"1\"}]}"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct json_t *j, struct arena *a)
{
    struct str name, text = claim_json(j, a);
    const struct json_t *value;
    if (text.p && claim_kind(j) == CLAIM_OBJECT) {
        struct json_t *again = claims_parse(text);
        CHECK(again && claim_size(again) == claim_size(j));
        claims_free(&again);
    }
    for (void *at = NULL; claim_kind(j) == CLAIM_OBJECT && claim_next(j, &at, &name, &value);)
        CHECK(claim_member(j, name) == value);
    for (size_t i = 0; claim_kind(j) == CLAIM_LIST && i < claim_size(j); i++)
        (void)claim_kind(claim_at(j, i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct jwks *keys;
    struct arena a;
    struct jwt t;
    if (!keys)
        keys = jwks_new(STR(FUZZ_KEYS), NULL);
    CHECK(keys && jwks_count(keys) == 1);
    arena_init(&a, FUZZ_ARENA_BYTES);
    if (jwt_parse(str_make((const char *)data, size), &a, &t) == JWT_OK) {
        CHECK(size <= JWT_MAX_BYTES && t.alg.n && t.signed_part.n < size);
        CHECK(claim_kind(t.claims) == CLAIM_OBJECT);
        walk(t.claims, &a);
        (void)jwt_check_time(&t, 1800000000, 60);
        CHECK(jwt_verify(&t, keys) != JWT_OK);
        jwt_fini(&t);
    }
    arena_fini(&a);
    return 0;
}
