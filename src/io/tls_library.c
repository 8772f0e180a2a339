/* SPDX-License-Identifier: Apache-2.0
 *
 * OpenSSL's library context of TLS sessions. For each public key that OpenSSL 3.0 and 3.1 read they
 * walk through every algorithm that their context knows (twice) and through all decoders: half of
 * the time of a handshake with a client certificate. So sessions have a context that knows only
 * what TLS uses. Its provider implements nothing: it passes on the default provider's own
 * algorithms (docs/decisions/0014). What the configuration brings, keys and certificates among it,
 * is read in the process's context, which stays whole. Made with the first TLS context.
 */
#include "io/tls_priv.h"

#include <openssl/core_dispatch.h>
#include <openssl/provider.h>

#include "base/check.h"

enum { ALGORITHMS_MAX = 24 };

/* By the first of an algorithm's names. Operations that aren't here are passed on whole. */
static const char *const digests[] = {"MD5",      "MD5-SHA1", "SHA1",    "SHA2-224",
                                      "SHA2-256", "SHA2-384", "SHA2-512"};
static const char *const ciphers[] = {"AES-128-GCM",
                                      "AES-256-GCM",
                                      "AES-128-CCM",
                                      "AES-256-CCM",
                                      "AES-128-CBC",
                                      "AES-256-CBC",
                                      "AES-128-CBC-HMAC-SHA1",
                                      "AES-128-CBC-HMAC-SHA256",
                                      "AES-256-CBC-HMAC-SHA1",
                                      "AES-256-CBC-HMAC-SHA256",
                                      "ChaCha20-Poly1305",
                                      "DES-EDE3-CBC",
                                      "NULL"};
static const char *const macs[] = {"HMAC"};
static const char *const kdfs[] = {"HKDF", "TLS13-KDF", "TLS1-PRF"};
static const char *const keys[] = {"RSA",    "RSA-PSS", "EC", "ED25519", "ED448",
                                   "X25519", "X448",    "DH", "HMAC"};
static const char *const decoded[] = {"RSA", "RSA-PSS", "EC", "ED25519", "ED448"};

static struct kind {
    int operation;
    const char *const *names;
    size_t count;
    const char *property;                      /* that an algorithm must have; NULL: any */
    OSSL_ALGORITHM chosen[ALGORITHMS_MAX + 1]; /* the last stays empty */
} kinds[] = {
    {OSSL_OP_DIGEST, digests, ARRAY_LEN(digests), NULL, {{0}}},
    {OSSL_OP_CIPHER, ciphers, ARRAY_LEN(ciphers), NULL, {{0}}},
    {OSSL_OP_MAC, macs, ARRAY_LEN(macs), NULL, {{0}}},
    {OSSL_OP_KDF, kdfs, ARRAY_LEN(kdfs), NULL, {{0}}},
    {OSSL_OP_KEYMGMT, keys, ARRAY_LEN(keys), NULL, {{0}}},
    {OSSL_OP_DECODER, decoded, ARRAY_LEN(decoded), "structure=SubjectPublicKeyInfo", {{0}}},
};

static OSSL_PROVIDER *whole; /* the default provider, in a context where its own look-ups end */
static OSSL_LIB_CTX *library;

/* ---- the provider ---- */
static bool is_chosen(const struct kind *k, const OSSL_ALGORITHM *a)
{
    size_t n = strcspn(a->algorithm_names, ":");
    if (k->property && !strstr(a->property_definition, k->property))
        return false;
    for (size_t i = 0; i < k->count; i++) {
        if (strlen(k->names[i]) == n && memcmp(a->algorithm_names, k->names[i], n) == 0)
            return true;
    }
    return false;
}

static void choose(struct kind *k)
{
    int no_cache = 0;
    const OSSL_ALGORITHM *a = OSSL_PROVIDER_query_operation(whole, k->operation, &no_cache);
    for (size_t n = 0; a && a->algorithm_names && n < ALGORITHMS_MAX; a++) {
        if (is_chosen(k, a))
            k->chosen[n++] = *a;
    }
}

static const OSSL_ALGORITHM *query(void *provider, int operation, int *no_cache)
{
    (void)provider;
    *no_cache = 0;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (kinds[i].operation == operation)
            return kinds[i].chosen;
    }
    return OSSL_PROVIDER_query_operation(whole, operation, no_cache);
}

static const OSSL_PARAM *gettable_params(void *provider)
{
    (void)provider;
    return OSSL_PROVIDER_gettable_params(whole);
}

static int get_params(void *provider, OSSL_PARAM params[])
{
    (void)provider;
    return OSSL_PROVIDER_get_params(whole, params);
}

static int get_capabilities(void *provider, const char *capability, OSSL_CALLBACK *fn, void *arg)
{
    (void)provider;
    return OSSL_PROVIDER_get_capabilities(whole, capability, fn, arg);
}

static int provider_init(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *from_core,
                         const OSSL_DISPATCH **out, void **provider)
{
    static const OSSL_DISPATCH functions[] = {
        {OSSL_FUNC_PROVIDER_GETTABLE_PARAMS, (void (*)(void))gettable_params},
        {OSSL_FUNC_PROVIDER_GET_PARAMS, (void (*)(void))get_params},
        {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query},
        {OSSL_FUNC_PROVIDER_GET_CAPABILITIES, (void (*)(void))get_capabilities},
        {0, NULL},
    };
    (void)core;
    (void)from_core;
    *out = functions;
    *provider = OSSL_PROVIDER_get0_provider_ctx(whole); /* what its algorithms are called with */
    return 1;
}

/* ---- the context ---- */
static int is_usual(OSSL_PROVIDER *p, void *arg)
{
    static const char *const usual[] = {"default", "base", "legacy"};
    bool *all_usual = arg, found = false;
    for (size_t i = 0; i < ARRAY_LEN(usual); i++)
        found |= strcmp(OSSL_PROVIDER_get0_name(p), usual[i]) == 0;
    *all_usual &= found;
    return 1;
}

/* A host whose openssl.cnf brings providers of its own (FIPS, a hardware module) means them to be
 * used. From 3.2 on OpenSSL remembers the decoders of a kind of key. */
static bool is_wanted(void)
{
    bool all_usual = true;
    OSSL_PROVIDER_do_all(NULL, is_usual, &all_usual);
    return all_usual && OPENSSL_version_major() == 3 && OPENSSL_version_minor() < 2;
}

static void make_library(void)
{
    OSSL_LIB_CTX *inner = is_wanted() ? OSSL_LIB_CTX_new() : NULL;
    whole = inner ? OSSL_PROVIDER_load(inner, "default") : NULL;
    OSSL_LIB_CTX *made = whole ? OSSL_LIB_CTX_new() : NULL;
    for (size_t i = 0; made && i < ARRAY_LEN(kinds); i++)
        choose(&kinds[i]);
    if (made && OSSL_PROVIDER_add_builtin(made, "weft", provider_init) &&
        OSSL_PROVIDER_load(made, "weft"))
        library = made;
    tls_errors_clear();
}

OSSL_LIB_CTX *tls_library(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_library);
    return library;
}
