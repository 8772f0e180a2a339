/* SPDX-License-Identifier: Apache-2.0
 *
 * Trust stores: the CAs and CRLs of a validation context. A mesh has thousands of clusters that
 * trust the same bundle, so stores live in one process-wide table by the digest of their text and
 * are parsed once. Made on the main thread; the lock is there since the last connection of an old
 * context may let go on a worker. What is in a store never changes after it is in the table.
 */
#include "io/tls_priv.h"

#include "base/check.h"
#include "base/mem.h"

#include <unistd.h>

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct tls_store *table;

static void store_free(struct tls_store *s)
{
    X509_STORE_free(s->x509);
    sk_X509_pop_free(s->cas, X509_free);
    sk_X509_NAME_pop_free(s->names, X509_NAME_free);
    mem_free(s->crl_times_s);
    mem_free(s);
}

static void digest_texts(struct str ca, struct str crl, uint8_t out[32])
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint64_t n = ca.n;
    EVP_DigestInit_ex(md, EVP_sha256(), NULL);
    EVP_DigestUpdate(md, &n, sizeof n);
    EVP_DigestUpdate(md, ca.p, ca.n);
    EVP_DigestUpdate(md, crl.p, crl.n);
    EVP_DigestFinal_ex(md, out, NULL);
    EVP_MD_CTX_free(md);
}

static void add_ca(struct tls_store *s, X509 *ca)
{
    X509_STORE_add_cert(s->x509, ca);
    X509_up_ref(ca);
    sk_X509_push(s->cas, ca);
    X509_NAME *name = X509_get_subject_name(ca);
    if (sk_X509_NAME_find(s->names, name) < 0)
        sk_X509_NAME_push(s->names, X509_NAME_dup(name));
}

static void add_crl(struct tls_store *s, X509_CRL *crl)
{
    X509_STORE_add_crl(s->x509, crl);
    s->has_crl = true;
    s->crl_times_s =
        mem_realloc(s->crl_times_s, (s->crl_time_count + 2) * sizeof *s->crl_times_s);
    s->crl_times_s[s->crl_time_count++] = tls_time_s(X509_CRL_get0_lastUpdate(crl));
    s->crl_times_s[s->crl_time_count++] = tls_time_s(X509_CRL_get0_nextUpdate(crl));
}

int64_t tls_store_steady_until(const struct tls_store *s, int64_t now_s)
{
    int64_t until_s = INT64_MAX;
    for (size_t i = 0; i < s->crl_time_count; i++) {
        if (s->crl_times_s[i] > now_s && s->crl_times_s[i] < until_s)
            until_s = s->crl_times_s[i];
    }
    return until_s;
}

static int name_cmp(const X509_NAME *const *a, const X509_NAME *const *b)
{
    return X509_NAME_cmp(*a, *b);
}

/* A bundle may hold CRLs beside the CAs, as Envoy allows. */
static int add_pem(struct tls_store *s, struct str pem, const char *what, struct str source,
                   struct err *err)
{
    char reason[128];
    tls_errors_clear();
    BIO *bio = pem.n <= INT32_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
    STACK_OF(X509_INFO) *items = bio ? PEM_X509_INFO_read_bio(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    if (!items)
        return err_set(err, ERR_INVALID, "%s %.*s: %s", what, STR_ARG(source),
                       tls_error_reason(reason, sizeof reason));
    for (int i = 0; i < sk_X509_INFO_num(items); i++) {
        X509_INFO *item = sk_X509_INFO_value(items, i);
        if (item->x509)
            add_ca(s, item->x509);
        if (item->crl)
            add_crl(s, item->crl);
    }
    sk_X509_INFO_pop_free(items, X509_INFO_free);
    return 0;
}

static struct tls_store *store_build(struct str ca, struct str source, struct str crl,
                                     struct err *err)
{
    struct tls_store *s = NEW(tls_store);
    s->x509 = X509_STORE_new();
    s->cas = sk_X509_new_null();
    s->names = sk_X509_NAME_new(name_cmp);
    int rc = s->x509 && s->cas && s->names ? 0 : err_set(err, ERR_NOMEM, "out of memory");
    if (rc == 0)
        rc = add_pem(s, ca, "trusted_ca", source, err);
    if (rc == 0 && sk_X509_num(s->cas) == 0)
        rc = err_set(err, ERR_INVALID, "trusted_ca %.*s: no PEM certificate found", STR_ARG(source));
    if (rc == 0 && crl.n > 0) {
        rc = add_pem(s, crl, "crl of", source, err);
        if (rc == 0 && !s->has_crl)
            rc = err_set(err, ERR_INVALID, "crl of %.*s: no PEM CRL found", STR_ARG(source));
    }
    tls_errors_clear();
    if (rc) {
        store_free(s);
        return NULL;
    }
    return s;
}

static struct tls_store *table_find(const uint8_t key[32])
{
    for (struct tls_store *s = table; s; s = s->next) {
        if (memcmp(s->key, key, 32) == 0)
            return s;
    }
    return NULL;
}

struct tls_store *tls_store_get(struct str ca_pem, struct str source, struct str crl_pem,
                                struct err *err)
{
    uint8_t key[32];
    if (source.n == 0)
        source = STR("<inline>");
    digest_texts(ca_pem, crl_pem, key);
    pthread_mutex_lock(&table_lock);
    struct tls_store *s = table_find(key);
    if (!s && (s = store_build(ca_pem, source, crl_pem, err))) {
        memcpy(s->key, key, sizeof key);
        s->next = table;
        table = s;
    }
    if (s)
        s->refs++;
    pthread_mutex_unlock(&table_lock);
    return s;
}

void tls_store_unref(struct tls_store **sp)
{
    struct tls_store *s = *sp;
    *sp = NULL;
    if (!s)
        return;
    pthread_mutex_lock(&table_lock);
    bool last = --s->refs == 0;
    if (last) {
        struct tls_store **at = &table;
        while (*at != s)
            at = &(*at)->next;
        *at = s->next;
    }
    pthread_mutex_unlock(&table_lock);
    if (last)
        store_free(s);
}

const char *tls_system_roots(void)
{
    static const char *const places[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                         "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"};
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        if (access(places[i], R_OK) == 0)
            return places[i];
    return places[0];
}
