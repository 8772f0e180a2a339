/* SPDX-License-Identifier: Apache-2.0
 *
 * What people and filters ask about a certificate (XFCC, access logs, RBAC, /certs), extracted once
 * into an arena. Subject and issuer are RFC 2253 text; PEM is URL-encoded the way Envoy's XFCC
 * header does it. Certificates may be a peer's: their size was bounded by the handshake.
 */
#include "io/tls_priv.h"

#include "base/check.h"
#include "base/mem.h"

enum { SAN_LIST_MAX = 1024 }; /* names kept of each kind; a certificate of 100 KiB may hold more */

static struct str bio_text(struct arena *a, BIO *bio)
{
    char *p = NULL;
    long n = BIO_get_mem_data(bio, &p);
    struct str s = arena_str(a, str_make(n > 0 ? p : "", n > 0 ? (size_t)n : 0));
    (void)BIO_reset(bio);
    return s;
}

static struct str name_text(struct arena *a, BIO *bio, const X509_NAME *name)
{
    X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253);
    return bio_text(a, bio);
}

static struct str hex_text(struct arena *a, const uint8_t *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    char *out = arena_bytes(a, n * 2 + 1);
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[n * 2] = 0;
    return str_make(out, n * 2);
}

static struct str digest_text(struct arena *a, X509 *x, const EVP_MD *md)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    X509_digest(x, md, digest, &n);
    return hex_text(a, digest, n);
}

/* Without leading zeros, as BN_bn2hex gives and Envoy shows. */
static struct str serial_text(struct arena *a, X509 *x)
{
    BIGNUM *bn = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
    char *hex = bn ? BN_bn2hex(bn) : NULL;
    struct str s = arena_str(a, str_from(hex ? hex : ""));
    for (size_t i = 0; i < s.n; i++)
        ((char *)s.p)[i] = ascii_lower(s.p[i]);
    OPENSSL_free(hex);
    BN_free(bn);
    return s;
}

static void add_url_encoded_pem(struct strbuf *out, BIO *bio, X509 *x)
{
    char *p = NULL;
    PEM_write_bio_X509(bio, x);
    long n = BIO_get_mem_data(bio, &p);
    for (long i = 0; i < n; i++) {
        if (strchr("\n +/=", p[i]))
            strbuf_addf(out, "%%%02X", (unsigned char)p[i]);
        else
            strbuf_addc(out, p[i]);
    }
    (void)BIO_reset(bio);
}

struct san_lists {
    struct arena *arena;
    struct str *lists[4]; /* by enum tls_san_type */
    size_t counts[4];
};

static bool count_san(void *arg, enum tls_san_type type, struct str name)
{
    (void)name;
    struct san_lists *l = arg;
    if (type < ARRAY_LEN(l->counts) && l->counts[type] < SAN_LIST_MAX)
        l->counts[type]++;
    return false;
}

static bool keep_san(void *arg, enum tls_san_type type, struct str name)
{
    struct san_lists *l = arg;
    if (type < ARRAY_LEN(l->counts) && l->counts[type] < SAN_LIST_MAX)
        l->lists[type][l->counts[type]++] = arena_str(l->arena, name);
    return false;
}

static void extract_sans(struct tls_facts *f, X509 *leaf)
{
    struct san_lists l = {.arena = &f->arena};
    tls_each_san(leaf, count_san, &l);
    for (size_t i = 0; i < ARRAY_LEN(l.lists); i++) {
        l.lists[i] = arena_zalloc(&f->arena, (l.counts[i] + 1) * sizeof(struct str));
        l.counts[i] = 0;
    }
    tls_each_san(leaf, keep_san, &l);
    f->facts.email_sans = l.lists[TLS_SAN_EMAIL];
    f->facts.dns_sans = l.lists[TLS_SAN_DNS];
    f->facts.uri_sans = l.lists[TLS_SAN_URI];
    f->facts.ip_sans = l.lists[TLS_SAN_IP];
}

int64_t tls_time_s(const ASN1_TIME *t)
{
    struct tm tm;
    return t && ASN1_TIME_to_tm(t, &tm) ? (int64_t)timegm(&tm) : 0;
}

struct tls_facts *tls_facts_new(X509 *leaf, STACK_OF(X509) *chain)
{
    struct tls_facts *f = NEW(tls_facts);
    struct arena *a = &f->arena;
    struct strbuf pem = {0};
    arena_init(a, 0);
    BIO *bio = BIO_new(BIO_s_mem());
    CHECK(bio);
    f->facts.subject = name_text(a, bio, X509_get_subject_name(leaf));
    f->facts.issuer = name_text(a, bio, X509_get_issuer_name(leaf));
    f->facts.serial_hex = serial_text(a, leaf);
    f->facts.sha256_hex = digest_text(a, leaf, EVP_sha256());
    f->facts.sha1_hex = digest_text(a, leaf, EVP_sha1());
    extract_sans(f, leaf);
    add_url_encoded_pem(&pem, bio, leaf);
    f->facts.pem_url_encoded = arena_str(a, strbuf_str(&pem));
    if (sk_X509_num(chain) > 0)
        strbuf_reset(&pem);
    for (int i = 0; i < sk_X509_num(chain); i++)
        add_url_encoded_pem(&pem, bio, sk_X509_value(chain, i));
    f->facts.chain_pem_url_encoded = arena_str(a, strbuf_str(&pem));
    f->facts.not_before_s = tls_time_s(X509_get0_notBefore(leaf));
    f->facts.not_after_s = tls_time_s(X509_get0_notAfter(leaf));
    strbuf_fini(&pem);
    BIO_free(bio);
    tls_errors_clear();
    return f;
}

void tls_facts_free(struct tls_facts **fp)
{
    if (!*fp)
        return;
    arena_fini(&(*fp)->arena);
    mem_free(*fp);
    *fp = NULL;
}
