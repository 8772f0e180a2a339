/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON Web Tokens (RFC 7519) in compact form, signed (JWS, RFC 7515) by RS, PS, ES (256, 384, 512) or
 * EdDSA (Ed25519, RFC 8037), and the key sets that they are checked against (RFC 7517). Unsigned
 * ("none"), encrypted and HMAC-signed tokens are refused. Pure; any thread: keys are read only.
 */
#ifndef PKI_JWT_H
#define PKI_JWT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

struct json_t;

/* What may be wrong with a token; the texts are Envoy's, since they go to clients and into logs. */
#define JWT_STATUS_TABLE(X)                                                                        \
    X(OK, "OK")                                                                                    \
    X(MISSING, "Jwt is missing")                                                                   \
    X(BAD_FORMAT, "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections") \
    X(HEADER_NOT_BASE64, "Jwt header is an invalid Base64url encoded")                             \
    X(HEADER_NOT_JSON, "Jwt header is an invalid JSON")                                            \
    X(HEADER_BAD_ALG, "Jwt header [alg] field is required and must be a string")                   \
    X(ALG_UNKNOWN, "Jwt header [alg] is not supported")                                            \
    X(HEADER_BAD_KID, "Jwt header [kid] field is not a string")                                    \
    X(PAYLOAD_NOT_BASE64, "Jwt payload is an invalid Base64url encoded")                           \
    X(PAYLOAD_NOT_JSON, "Jwt payload is an invalid JSON")                                          \
    X(BAD_ISS, "Jwt payload [iss] field is not a string")                                          \
    X(BAD_SUB, "Jwt payload [sub] field is not a string")                                          \
    X(BAD_IAT, "Jwt payload [iat] field is not an integer")                                        \
    X(BAD_NBF, "Jwt payload [nbf] field is not an integer")                                        \
    X(BAD_EXP, "Jwt payload [exp] field is not an integer")                                        \
    X(RANGE_IAT, "Jwt payload [iat] field is not a positive 64 bit integer")                       \
    X(RANGE_NBF, "Jwt payload [nbf] field is not a positive 64 bit integer")                       \
    X(RANGE_EXP, "Jwt payload [exp] field is not a positive 64 bit integer")                       \
    X(BAD_JTI, "Jwt payload [jti] field is not a string")                                          \
    X(BAD_AUD, "Jwt payload [aud] field is not a string or string list")                           \
    X(SIGNATURE_NOT_BASE64, "Jwt signature is an invalid Base64url encoded")                       \
    X(UNKNOWN_ISSUER, "Jwt issuer is not configured")                                              \
    X(NOT_YET_VALID, "Jwt not yet valid")                                                          \
    X(EXPIRED, "Jwt is expired")                                                                   \
    X(AUDIENCE_NOT_ALLOWED, "Audiences in Jwt are not allowed")                                    \
    X(SUBJECT_NOT_ALLOWED, "Jwt verification fails")                                               \
    X(NO_EXPIRATION, "Jwt verification fails")                                                     \
    X(LIVES_TOO_LONG, "Jwt verification fails")                                                    \
    X(NO_KEYS, "Jwks doesn't have any valid public key")                                           \
    X(NO_MATCHING_KEY, "Jwks doesn't have key to match kid or alg from Jwt")                       \
    X(BAD_SIGNATURE, "Jwt verification fails")                                                     \
    X(FETCH_FAILED, "Jwks remote fetch is failed")
enum jwt_status {
#define X(id, text) JWT_##id,
    JWT_STATUS_TABLE(X)
#undef X
};
const char *jwt_status_text(enum jwt_status s);

struct jwt {
    struct str alg, kid;             /* kid: null str when there is none */
    struct str iss, sub, jti;
    struct str *audiences; uint32_t audience_count;
    bool has_exp, has_nbf, has_iat;
    int64_t exp, nbf, iat;           /* seconds since 1970 */
    struct str payload_base64;       /* as it came */
    struct str payload;              /* JSON text */
    struct str header;               /* JSON text */
    struct str signed_part, signature;
    struct json_t *claims;           /* owned; jwt_fini */
};
#define JWT_MAX_BYTES (64u << 10)    /* of a token: what a client may make us parse */
/* Texts live in `a` or in `token`, which must outlive the token. After a failure nothing is to be ended. */
enum jwt_status jwt_parse(struct str token, struct arena *a, struct jwt *out);
void jwt_fini(struct jwt *t);
/* Claims, as JSON has them. `j` may be NULL: CLAIM_NULL. Texts live as long as the token. */
enum claim_kind { CLAIM_NULL, CLAIM_BOOL, CLAIM_INTEGER, CLAIM_NUMBER, CLAIM_TEXT, CLAIM_LIST, CLAIM_OBJECT };
enum claim_kind claim_kind(const struct json_t *j);
bool claim_bool(const struct json_t *j);
int64_t claim_integer(const struct json_t *j);
double claim_number(const struct json_t *j); /* integers too */
struct str claim_text(const struct json_t *j);
size_t claim_size(const struct json_t *j);   /* of a list or an object */
const struct json_t *claim_at(const struct json_t *list, size_t i);
const struct json_t *claim_member(const struct json_t *object, struct str name);
/* In the order of the text; *at begins as NULL. False: no more. */
bool claim_next(const struct json_t *object, void **at, struct str *name, const struct json_t **value);
struct str claim_json(const struct json_t *j, struct arena *a); /* compact text; null str when the arena is full */
struct json_t *claims_parse(struct str text); /* an object, owned; NULL: it isn't one */
void claims_free(struct json_t **j);

/* exp and nbf, each with so much skew allowed. */
enum jwt_status jwt_check_time(const struct jwt *t, uint64_t now_s, uint64_t skew_s);

struct jwks;
/* A key set ({"keys": [...]}), or one or more PEM public keys or certificates. Keys that can't be used (encryption, other
 * types) are left out; a set without any usable key is an error, ERR_NOT_FOUND. */
#define JWKS_MAX_BYTES (1u << 20)
#define JWKS_KEYS_MAX 256u
struct jwks *jwks_new(struct str text, struct err *err);
struct jwks *jwks_ref(struct jwks *s); /* any thread */
void jwks_unref(struct jwks **s);
uint32_t jwks_count(const struct jwks *s);
/* By the key that kid names, else (token or keys without kid) by any that fits alg. */
enum jwt_status jwt_verify(const struct jwt *t, const struct jwks *s);

#endif
