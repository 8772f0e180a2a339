/* SPDX-License-Identifier: Apache-2.0
 *
 * Bundles of trust domains from JSON. As strict as Envoy: a key for anything but X.509-SVIDs makes the whole text a fault,
 * since roots that are silently left out would be noticed by those only who are turned away.
 */
#include "pki/trust_bundles.h"

#include <jansson.h>

#include "base/base64.h"
#include "pki/cert.h"
#include "pki/pki_priv.h"

struct reading {
    struct arena *arena;
    const char *domain;
    size_t certificates; /* of all domains */
    struct strbuf pem;   /* of this one */
    struct err *err;
};

static int add_certificate(struct reading *r, const json_t *text)
{
    struct str der;
    if (!json_is_string(text) ||
        !b64_decode_in(r->arena, str_make(json_string_value(text), json_string_length(text)), &der))
        return err_set(r->err, ERR_INVALID, "trust domain '%s': a certificate in x5c isn't base64", r->domain);
    const unsigned char *at = (const unsigned char *)der.p;
    X509 *x = der.n <= INT32_MAX ? d2i_X509(NULL, &at, (long)der.n) : NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    bool ok = x && at == (const unsigned char *)der.p + der.n && bio && PEM_write_bio_X509(bio, x) == 1;
    if (ok)
        bio_take_text(bio, &r->pem);
    BIO_free(bio);
    X509_free(x);
    if (ok)
        return 0;
    ERR_clear_error();
    return err_set(r->err, ERR_INVALID, "trust domain '%s': x5c holds what is no certificate", r->domain);
}

static int add_key(struct reading *r, const json_t *key)
{
    const json_t *use = json_object_get(key, "use"), *x5c = json_object_get(key, "x5c");
    int rc = 0;
    if (!json_is_string(use) || strcmp(json_string_value(use), "x509-svid") != 0)
        return err_set(r->err, ERR_INVALID, "trust domain '%s': a key's 'use' isn't \"x509-svid\"", r->domain);
    if (json_array_size(x5c) == 0)
        return err_set(r->err, ERR_INVALID, "trust domain '%s': a key has no certificates (x5c)", r->domain);
    for (size_t i = 0; rc == 0 && i < json_array_size(x5c); i++)
        rc = ++r->certificates > CERT_BUNDLE_MAX
                 ? err_set(r->err, ERR_LIMIT, "trust bundles hold more than %d certificates", CERT_BUNDLE_MAX)
                 : add_certificate(r, json_array_get(x5c, i));
    return rc;
}

static int add_domain(struct reading *r, const char *name, const json_t *bundle, struct trust_bundle *out)
{
    const json_t *keys = json_object_get(bundle, "keys");
    int rc = 0;
    r->domain = name;
    if (json_array_size(keys) == 0)
        return err_set(r->err, ERR_INVALID, "trust domain '%s': the bundle has no keys", name);
    for (size_t i = 0; rc == 0 && i < json_array_size(keys); i++)
        rc = add_key(r, json_array_get(keys, i));
    out->domain = arena_str(r->arena, str_from(name));
    out->roots_pem = arena_str(r->arena, strbuf_str(&r->pem));
    strbuf_reset(&r->pem);
    return rc;
}

static int add_all(struct reading *r, json_t *domains, struct trust_bundle **out, size_t *count)
{
    const char *name;
    json_t *bundle;
    size_t n = json_object_size(domains);
    int rc = 0;
    if (n == 0 || n > TRUST_BUNDLES_MAX)
        return err_set(r->err, n ? ERR_LIMIT : ERR_INVALID, "trust bundles: %zu trust domains, 1 to %d are needed", n,
                       TRUST_BUNDLES_MAX);
    *out = arena_zalloc(r->arena, n * sizeof **out);
    json_object_foreach(domains, name, bundle)
    {
        rc = add_domain(r, name, bundle, &(*out)[*count]);
        if (rc < 0)
            break;
        (*count)++;
    }
    return rc;
}

int trust_bundles_read(struct str json, struct arena *a, struct trust_bundle **out, size_t *count, struct err *err)
{
    struct reading r = {.arena = a, .err = err};
    json_error_t error;
    json_t *j = json_loadb(json.p, json.n, JSON_REJECT_DUPLICATES, &error);
    *out = NULL;
    *count = 0;
    int rc = j ? add_all(&r, json_object_get(j, "trust_domains"), out, count)
               : err_set(err, ERR_SYNTAX, "trust bundles aren't JSON: %s", error.text);
    json_decref(j);
    strbuf_fini(&r.pem);
    return rc;
}
