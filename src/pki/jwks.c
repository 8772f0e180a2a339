/* SPDX-License-Identifier: Apache-2.0
 *
 * Key sets and signatures. A key is bound to what it may verify by its type and curve, and by `alg`
 * and `use` where it says them: a token can't choose another kind of check than its key is for (RFC 8725
 * section 3.1). Immutable once made; reference-counted.
 */
#include "pki/jwt.h"

#include <jansson.h>
#include <stdatomic.h>

#include "base/base64.h"
#include "base/check.h"
#include "base/mem.h"
#include "pki/openssl_priv.h"

#include <openssl/core_names.h>
#include <openssl/param_build.h>

#define RSA_LEAST_BITS 2048 /* RFC 7518 section 3.3 */

enum family { FAMILY_RSA, FAMILY_EC, FAMILY_ED25519 };
struct jwk {
    EVP_PKEY *key;
    enum family family;
    struct str kid, alg; /* null str: doesn't say */
    int curve_bits;      /* EC: 256, 384, 521 */
};
struct jwks {
    _Atomic uint32_t refs;
    struct arena arena;
    struct jwk *keys;
    size_t cap;
    uint32_t count;
};

/* ---- making keys ---- */

static struct str member(const json_t *j, const char *name)
{
    const json_t *v = json_object_get(j, name);
    return json_is_string(v) ? str_make(json_string_value(v), json_string_length(v)) : STR_NULL;
}

static bool bytes_of(const json_t *j, const char *name, struct arena *a, struct str *out)
{
    struct str text = member(j, name);
    return text.n && b64url_decode_in(a, text, out) && out->n;
}

static EVP_PKEY *from_params(const char *type, OSSL_PARAM_BLD *builder)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params = builder ? OSSL_PARAM_BLD_to_param(builder) : NULL;
    EVP_PKEY_CTX *cx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (params && cx && EVP_PKEY_fromdata_init(cx) == 1)
        EVP_PKEY_fromdata(cx, &key, EVP_PKEY_PUBLIC_KEY, params);
    EVP_PKEY_CTX_free(cx);
    OSSL_PARAM_free(params);
    return key;
}

static EVP_PKEY *rsa_key(const json_t *j, struct arena *a)
{
    struct str n, e;
    if (!bytes_of(j, "n", a, &n) || !bytes_of(j, "e", a, &e))
        return NULL;
    BIGNUM *bn = BN_bin2bn((const uint8_t *)n.p, (int)n.n, NULL), *be = BN_bin2bn((const uint8_t *)e.p, (int)e.n, NULL);
    OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    EVP_PKEY *key = NULL;
    if (bn && be && b && OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_N, bn) == 1 &&
        OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_E, be) == 1)
        key = from_params("RSA", b);
    OSSL_PARAM_BLD_free(b);
    BN_free(bn);
    BN_free(be);
    return key;
}

struct curve { const char *name, *group; size_t bytes; int bits; };
static const struct curve curves[] = {{"P-256", "P-256", 32, 256}, {"P-384", "P-384", 48, 384}, {"P-521", "P-521", 66, 521}};

static EVP_PKEY *ec_key(const json_t *j, struct arena *a, int *bits)
{
    const struct curve *c = NULL;
    struct str x, y, crv = member(j, "crv");
    uint8_t point[1 + 2 * 66];
    for (size_t i = 0; i < ARRAY_LEN(curves); i++)
        if (str_eq(crv, str_from(curves[i].name)))
            c = &curves[i];
    if (!c || !bytes_of(j, "x", a, &x) || !bytes_of(j, "y", a, &y) || x.n != c->bytes || y.n != c->bytes)
        return NULL;
    point[0] = POINT_CONVERSION_UNCOMPRESSED;
    memcpy(point + 1, x.p, x.n);
    memcpy(point + 1 + x.n, y.p, y.n);
    OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    EVP_PKEY *key = NULL;
    if (b && OSSL_PARAM_BLD_push_utf8_string(b, OSSL_PKEY_PARAM_GROUP_NAME, c->group, 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(b, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * c->bytes) == 1)
        key = from_params("EC", b);
    OSSL_PARAM_BLD_free(b);
    *bits = c->bits;
    return key;
}

static EVP_PKEY *ed25519_key(const json_t *j, struct arena *a)
{
    struct str x;
    if (!str_eq(member(j, "crv"), STR("Ed25519")) || !bytes_of(j, "x", a, &x) || x.n != 32)
        return NULL;
    return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, (const uint8_t *)x.p, x.n);
}

/* Takes the key; one that isn't strong enough or of another kind is left out. */
static void add(struct jwks *s, EVP_PKEY *take_key, struct str kid, struct str alg, int curve_bits)
{
    enum family family = FAMILY_RSA;
    bool good = take_key && s->count < JWKS_KEYS_MAX;
    switch (good ? EVP_PKEY_get_base_id(take_key) : 0) {
    case EVP_PKEY_RSA:
        good = EVP_PKEY_get_bits(take_key) >= RSA_LEAST_BITS;
        break;
    case EVP_PKEY_EC:
        family = FAMILY_EC;
        curve_bits = curve_bits ? curve_bits : EVP_PKEY_get_bits(take_key);
        break;
    case EVP_PKEY_ED25519:
        family = FAMILY_ED25519;
        break;
    default:
        good = false;
    }
    if (!good) {
        EVP_PKEY_free(take_key);
        return;
    }
    s->keys = mem_grow(s->keys, &s->cap, s->count + 1, sizeof *s->keys);
    s->keys[s->count++] = (struct jwk){take_key, family, kid.p ? arena_str(&s->arena, kid) : STR_NULL,
                                       alg.p ? arena_str(&s->arena, alg) : STR_NULL, curve_bits};
}

static void add_jwk(struct jwks *s, const json_t *j)
{
    struct str kty = member(j, "kty"), use = member(j, "use");
    EVP_PKEY *key = NULL;
    int bits = 0;
    if (use.p && !str_eq(use, STR("sig")))
        return;
    if (str_eq(kty, STR("RSA")))
        key = rsa_key(j, &s->arena);
    else if (str_eq(kty, STR("EC")))
        key = ec_key(j, &s->arena, &bits);
    else if (str_eq(kty, STR("OKP")))
        key = ed25519_key(j, &s->arena);
    add(s, key, member(j, "kid"), member(j, "alg"), bits);
}

static void add_pem(struct jwks *s, struct str text)
{
    BIO *bio = BIO_new_mem_buf(text.p, (int)text.n);
    char *name, *header;
    unsigned char *der;
    long n;
    while (bio && s->count < JWKS_KEYS_MAX && PEM_read_bio(bio, &name, &header, &der, &n) == 1) {
        const unsigned char *at = der;
        EVP_PKEY *key = NULL;
        if (strcmp(name, "CERTIFICATE") == 0) {
            X509 *x = d2i_X509(NULL, &at, n);
            key = x ? X509_get_pubkey(x) : NULL;
            X509_free(x);
        } else if (strcmp(name, "PUBLIC KEY") == 0) {
            key = d2i_PUBKEY(NULL, &at, n);
        }
        add(s, key, STR_NULL, STR_NULL, 0);
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(der);
    }
    BIO_free(bio);
}

static int read_set(struct jwks *s, struct str text, struct err *err)
{
    json_error_t error;
    json_t *j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &error), *keys = json_object_get(j, "keys");
    int rc = 0;
    if (!j)
        rc = err_set(err, ERR_SYNTAX, "the key set isn't JSON: %s", error.text);
    else if (!json_is_array(keys))
        rc = err_set(err, ERR_INVALID, "the key set has no list [keys]");
    else if (json_array_size(keys) > JWKS_KEYS_MAX)
        rc = err_set(err, ERR_LIMIT, "the key set has %zu keys, more than %u", json_array_size(keys), JWKS_KEYS_MAX);
    for (size_t i = 0; rc == 0 && i < json_array_size(keys); i++)
        add_jwk(s, json_array_get(keys, i));
    json_decref(j);
    return rc;
}

struct jwks *jwks_new(struct str text, struct err *err)
{
    struct jwks *s = NEW(jwks);
    int rc = 0;
    struct str trimmed = str_trim(text);
    atomic_init(&s->refs, 1);
    arena_init(&s->arena, 0);
    if (text.n > JWKS_MAX_BYTES)
        rc = err_set(err, ERR_LIMIT, "the key set has %zu bytes, more than %u", text.n, JWKS_MAX_BYTES);
    else if (str_has_prefix(trimmed, STR("-----BEGIN ")))
        add_pem(s, trimmed);
    else
        rc = read_set(s, trimmed, err);
    if (rc == 0 && s->count == 0)
        rc = err_set(err, ERR_NOT_FOUND, "the key set has no key that a signature could be verified with");
    ERR_clear_error();
    if (rc)
        jwks_unref(&s);
    return s;
}

struct jwks *jwks_ref(struct jwks *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void jwks_unref(struct jwks **set)
{
    struct jwks *s = *set;
    *set = NULL;
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < s->count; i++)
        EVP_PKEY_free(s->keys[i].key);
    arena_fini(&s->arena);
    mem_free(s->keys);
    mem_free(s);
}

uint32_t jwks_count(const struct jwks *s)
{
    return s->count;
}

/* ---- signatures ---- */

static const EVP_MD *digest_of(struct str alg)
{
    if (alg.n != 5)
        return NULL;
    return alg.p[2] == '2' ? EVP_sha256() : alg.p[2] == '3' ? EVP_sha384() : EVP_sha512();
}

/* r and s, each as long as the curve (RFC 7518 section 3.4), as the ASN.1 that OpenSSL takes. */
static int der_signature(struct str raw, int curve_bits, unsigned char **der)
{
    size_t half = (size_t)(curve_bits + 7) / 8;
    ECDSA_SIG *sig = raw.n == 2 * half ? ECDSA_SIG_new() : NULL;
    BIGNUM *r = sig ? BN_bin2bn((const uint8_t *)raw.p, (int)half, NULL) : NULL;
    BIGNUM *s = sig ? BN_bin2bn((const uint8_t *)raw.p + half, (int)half, NULL) : NULL;
    int n = -1;
    if (r && s && ECDSA_SIG_set0(sig, r, s) == 1) {
        n = i2d_ECDSA_SIG(sig, der);
    } else {
        BN_free(r);
        BN_free(s);
    }
    ECDSA_SIG_free(sig);
    return n;
}

static bool is_pss(struct str alg)
{
    return alg.p[0] == 'P';
}

static bool check(const struct jwk *k, struct str alg, struct str text, struct str signature)
{
    EVP_MD_CTX *cx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *px = NULL;
    unsigned char *der = NULL;
    const unsigned char *sig = (const unsigned char *)signature.p;
    int n = (int)signature.n;
    bool good = cx != NULL;
    if (k->family == FAMILY_EC) {
        n = der_signature(signature, k->curve_bits, &der);
        sig = der;
    }
    good = good && n > 0 && EVP_DigestVerifyInit(cx, &px, k->family == FAMILY_ED25519 ? NULL : digest_of(alg), NULL, k->key) == 1;
    if (good && k->family == FAMILY_RSA && is_pss(alg)) /* the salt is as long as the hash (RFC 7518 section 3.5) */
        good = EVP_PKEY_CTX_set_rsa_padding(px, RSA_PKCS1_PSS_PADDING) == 1 && EVP_PKEY_CTX_set_rsa_pss_saltlen(px, RSA_PSS_SALTLEN_DIGEST) == 1;
    good = good && EVP_DigestVerify(cx, sig, (size_t)n, (const unsigned char *)text.p, text.n) == 1;
    OPENSSL_free(der);
    EVP_MD_CTX_free(cx);
    ERR_clear_error();
    return good;
}

static bool fits(const struct jwk *k, struct str alg)
{
    if (k->alg.p && !str_eq(k->alg, alg))
        return false;
    switch (alg.p[0]) {
    case 'R':
    case 'P':
        return k->family == FAMILY_RSA;
    case 'E':
        if (str_eq(alg, STR("EdDSA")))
            return k->family == FAMILY_ED25519;
        return k->family == FAMILY_EC && k->curve_bits == (alg.p[2] == '2' ? 256 : alg.p[2] == '3' ? 384 : 521);
    default:
        return false;
    }
}

enum jwt_status jwt_verify(const struct jwt *t, const struct jwks *s)
{
    bool found = false;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct jwk *k = &s->keys[i];
        if (t->kid.p && k->kid.p && !str_eq(t->kid, k->kid))
            continue;
        if (!fits(k, t->alg))
            continue;
        found = true;
        if (check(k, t->alg, t->signed_part, t->signature))
            return JWT_OK;
    }
    return found ? JWT_BAD_SIGNATURE : JWT_NO_MATCHING_KEY;
}
