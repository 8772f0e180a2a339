/* SPDX-License-Identifier: Apache-2.0
 *
 * Taking a token apart. Every member that anything is decided by must have its type (RFC 7519 section
 * 4.1); what else a token says is left in its claims. Duplicate members are refused: two readers must
 * not see two tokens.
 */
#include "pki/jwt.h"

#include <jansson.h>

#include "base/base64.h"
#include "base/check.h"
#include "base/mem.h"

static const char *const texts[] = {
#define X(id, text) [JWT_##id] = text,
    JWT_STATUS_TABLE(X)
#undef X
};

const char *jwt_status_text(enum jwt_status s)
{
    return texts[s];
}

/* False: it is there and no string. */
static bool take_text(const json_t *object, const char *name, struct arena *a, struct str *out)
{
    const json_t *v = json_object_get(object, name);
    *out = STR_NULL;
    if (!v)
        return true;
    if (!json_is_string(v))
        return false;
    *out = arena_str(a, str_make(json_string_value(v), json_string_length(v)));
    return true;
}

/* A NumericDate (RFC 7519 section 2): fractions are cut off. */
static enum jwt_status take_time(const json_t *object, const char *name, enum jwt_status bad, enum jwt_status out_of_range, bool *has,
                                 int64_t *out)
{
    const json_t *v = json_object_get(object, name);
    *has = v != NULL;
    if (!v)
        return JWT_OK;
    if (!json_is_number(v))
        return bad;
    double value = json_number_value(v);
    if (value < 0 || value > 9e18)
        return out_of_range;
    *out = json_is_integer(v) ? json_integer_value(v) : (int64_t)value;
    return JWT_OK;
}

static bool take_audiences(struct jwt *t, struct arena *a)
{
    const json_t *v = json_object_get(t->claims, "aud");
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (!v)
        return true;
    t->audiences = arena_zalloc(a, (n + 1) * sizeof *t->audiences);
    for (size_t i = 0; t->audiences && i < n; i++) {
        const json_t *one = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_string(one))
            return false;
        t->audiences[t->audience_count++] = arena_str(a, str_make(json_string_value(one), json_string_length(one)));
    }
    return t->audiences != NULL;
}

static bool is_known(struct str alg)
{
    static const char *const known[] = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_eq(alg, str_from(known[i])))
            return true;
    return false;
}

static enum jwt_status read_header(struct jwt *t, struct str part, struct arena *a)
{
    enum jwt_status rc = JWT_OK;
    if (!b64url_decode_in(a, part, &t->header))
        return JWT_HEADER_NOT_BASE64;
    json_t *j = claims_parse(t->header);
    if (!j)
        return JWT_HEADER_NOT_JSON;
    if (!take_text(j, "alg", a, &t->alg) || !t->alg.p)
        rc = JWT_HEADER_BAD_ALG;
    else if (!is_known(t->alg) || json_object_get(j, "crit")) /* extensions that must be understood (RFC 7515 section 4.1.11) */
        rc = JWT_ALG_UNKNOWN;
    else if (!take_text(j, "kid", a, &t->kid))
        rc = JWT_HEADER_BAD_KID;
    json_decref(j);
    return rc;
}

static enum jwt_status read_claims(struct jwt *t, struct arena *a)
{
    if (!take_text(t->claims, "iss", a, &t->iss))
        return JWT_BAD_ISS;
    if (!take_text(t->claims, "sub", a, &t->sub))
        return JWT_BAD_SUB;
    enum jwt_status rc = take_time(t->claims, "iat", JWT_BAD_IAT, JWT_RANGE_IAT, &t->has_iat, &t->iat);
    if (rc == JWT_OK)
        rc = take_time(t->claims, "nbf", JWT_BAD_NBF, JWT_RANGE_NBF, &t->has_nbf, &t->nbf);
    if (rc == JWT_OK)
        rc = take_time(t->claims, "exp", JWT_BAD_EXP, JWT_RANGE_EXP, &t->has_exp, &t->exp);
    if (rc != JWT_OK)
        return rc;
    if (!take_text(t->claims, "jti", a, &t->jti))
        return JWT_BAD_JTI;
    return take_audiences(t, a) ? JWT_OK : JWT_BAD_AUD;
}

static enum jwt_status read_payload(struct jwt *t, struct arena *a)
{
    if (!b64url_decode_in(a, t->payload_base64, &t->payload))
        return JWT_PAYLOAD_NOT_BASE64;
    t->claims = claims_parse(t->payload);
    return t->claims ? read_claims(t, a) : JWT_PAYLOAD_NOT_JSON;
}

enum jwt_status jwt_parse(struct str token, struct arena *a, struct jwt *t)
{
    struct str rest, header = str_split(token, '.', &rest);
    *t = (struct jwt){0};
    if (token.n > JWT_MAX_BYTES)
        return JWT_BAD_FORMAT;
    if (header.n == token.n)
        return JWT_BAD_FORMAT;
    t->payload_base64 = str_split(rest, '.', &rest);
    size_t signed_bytes = header.n + 1 + t->payload_base64.n;
    if (!header.n || !t->payload_base64.n || !rest.n || str_find_char(rest, '.') >= 0)
        return JWT_BAD_FORMAT;
    t->signed_part = str_make(token.p, signed_bytes);
    enum jwt_status rc = read_header(t, header, a);
    if (rc == JWT_OK)
        rc = read_payload(t, a);
    if (rc == JWT_OK && !b64url_decode_in(a, rest, &t->signature))
        rc = JWT_SIGNATURE_NOT_BASE64;
    if (rc != JWT_OK)
        jwt_fini(t);
    return rc;
}

void jwt_fini(struct jwt *t)
{
    json_decref(t->claims);
    t->claims = NULL;
}

enum jwt_status jwt_check_time(const struct jwt *t, uint64_t now_s, uint64_t skew_s)
{
    if (t->has_nbf && (uint64_t)t->nbf > now_s + skew_s)
        return JWT_NOT_YET_VALID;
    if (t->has_exp && (uint64_t)t->exp + skew_s < now_s)
        return JWT_EXPIRED;
    return JWT_OK;
}
