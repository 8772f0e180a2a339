/* SPDX-License-Identifier: Apache-2.0
 *
 * Peers of several SPIFFE trust domains: each is verified against the roots of the domain that its URI names, and against
 * no other's (X.509-SVID, section 5). The context's own store holds the roots of all domains, for what clients are told and
 * for the admin page; verification never uses it.
 */
#include "io/tls_priv.h"

#include "base/mem.h"

struct tls_domain {
    char *name;
    struct tls_store *store;
};

int tls_spiffe_init(struct tls_context *ctx, const struct tls_context_opts *o, struct err *err)
{
    ctx->domains = o->domain_count ? mem_zalloc(o->domain_count * sizeof *ctx->domains) : NULL;
    for (size_t i = 0; i < o->domain_count; i++) {
        struct tls_domain *d = &ctx->domains[ctx->domain_count++];
        d->name = mem_strndup(o->domains[i].name.p, o->domains[i].name.n);
        d->store = tls_store_get(o->domains[i].ca_pem, o->domains[i].source, STR_NULL, err);
        if (!d->store) {
            err_prefix(err, "trust domain %s", d->name);
            return ERR_TLS;
        }
    }
    return 0;
}

void tls_spiffe_fini(struct tls_context *ctx)
{
    for (size_t i = 0; i < ctx->domain_count; i++) {
        mem_free(ctx->domains[i].name);
        tls_store_unref(&ctx->domains[i].store);
    }
    mem_free(ctx->domains);
}

struct search {
    const struct tls_context *ctx;
    const struct tls_domain *found;
};

/* An SVID has one URI: the first decides. */
static bool look_at(void *arg, enum tls_san_type type, struct str name)
{
    static const struct str scheme = {"spiffe://", sizeof "spiffe://" - 1};
    struct search *s = arg;
    if (type != TLS_SAN_URI)
        return false;
    if (!str_has_prefix(name, scheme))
        return true;
    struct str rest = str_make(name.p + scheme.n, name.n - scheme.n);
    ptrdiff_t slash = str_find_char(rest, '/');
    struct str domain = slash < 0 ? rest : str_make(rest.p, (size_t)slash);
    for (size_t i = 0; i < s->ctx->domain_count; i++)
        if (str_eq(str_from(s->ctx->domains[i].name), domain))
            s->found = &s->ctx->domains[i];
    return true;
}

/* A leaf must not be able to sign others, and must say so: without keyUsage all of its bits are set (X.509-SVID, section
 * 4.3). */
static bool may_sign(X509 *leaf)
{
    return (X509_get_extension_flags(leaf) & EXFLAG_CA) || (X509_get_key_usage(leaf) & (KU_KEY_CERT_SIGN | KU_CRL_SIGN));
}

bool tls_spiffe_choose(struct tls_session *s, X509_STORE_CTX *x)
{
    X509 *leaf = X509_STORE_CTX_get0_cert(x);
    struct search search = {.ctx = s->ctx};
    if (may_sign(leaf)) {
        tls_session_fail(s, TLS_FAILURE_VERIFY, "verify cert failed: cert precheck");
        return false;
    }
    tls_each_san(leaf, look_at, &search);
    if (!search.found) {
        tls_session_fail(s, TLS_FAILURE_VERIFY, "verify cert failed: no trust bundle store");
        return false;
    }
    X509_STORE_CTX_set0_trusted_stack(x, search.found->store->cas);
    return true;
}
