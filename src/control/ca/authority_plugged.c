/* SPDX-License-Identifier: Apache-2.0
 *
 * A plugged-in intermediate: its folder read, looked at whole, and only then put in the place of what signs. The roots of one
 * that was replaced stay in the bundle until its last leaf has ended; after a start nothing is known of them, so that
 * whoever replaces a root puts the old one into root-cert.pem too (istio.io, "Plug in CA Certificates"). Signer's process.
 */
#include "control/ca/authority_priv.h"

#include "base/file.h"
#include "pki/cert.h"
#include "pki/issue.h"

#define FILE_MAX_BYTES ((size_t)64 << 10)

static int read_part(const struct authority *a, const char *name, struct strbuf *out, struct err *err)
{
    struct strbuf path = {0};
    strbuf_addf(&path, "%s/%s", a->folder, name);
    int rc = file_read(path.p, FILE_MAX_BYTES, out, err);
    strbuf_fini(&path);
    return rc;
}

/* cert-chain.pem may begin with the signing certificate or not, and end with the root or not: leaves are followed by the
 * former once, and never by the latter. */
static int add_chain(struct ca_root *r, struct str pem, struct err *err)
{
    struct cert_part *parts;
    struct arena a;
    size_t n;
    arena_init(&a, 0);
    int rc = cert_parts(pem, &a, &parts, &n, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (!parts[i].is_self_issued)
            rc = cert_bundle_add(&r->chain, parts[i].pem, NULL, err);
    arena_fini(&a);
    return rc;
}

static int limit(const char *what, size_t n, size_t max, struct err *err)
{
    return n <= max ? 0 : err_set(err, ERR_LIMIT, "%s: %zu bytes of certificates, at most %zu are taken", what, n, max);
}

static int read_certs_of(const struct authority *a, struct ca_root *r, struct err *err)
{
    struct strbuf chain = {0}, roots = {0};
    int rc = read_part(a, "ca-cert.pem", &r->cert, err);
    if (rc == 0)
        rc = read_part(a, "root-cert.pem", &roots, err);
    if (rc == 0)
        rc = read_part(a, "cert-chain.pem", &chain, err);
    if (rc == 0 && (rc = cert_bundle_add(&r->anchors, strbuf_str(&roots), NULL, err)) != 0)
        err_prefix(err, "%s/root-cert.pem", a->folder);
    if (rc == 0 && (rc = add_chain(r, strbuf_str(&r->cert), err)) != 0)
        err_prefix(err, "%s/ca-cert.pem", a->folder);
    if (rc == 0 && chain.n && (rc = add_chain(r, strbuf_str(&chain), err)) != 0)
        err_prefix(err, "%s/cert-chain.pem", a->folder);
    if (rc == 0)
        rc = limit("root-cert.pem", r->anchors.n, CA_BUNDLE_MAX_BYTES / 2, err);
    if (rc == 0)
        rc = limit("cert-chain.pem", r->chain.n, CA_CHAIN_MAX_BYTES, err);
    strbuf_fini(&chain);
    strbuf_fini(&roots);
    return rc;
}

static int read_key(const struct authority *a, struct ca_root *r, struct err *err)
{
    struct strbuf text = {0};
    int rc = read_part(a, "ca-key.pem", &text, err);
    if (rc == 0 && !(r->key = key_load(strbuf_str(&text), STR_NULL, err))) {
        rc = ERR_INVALID;
        err_prefix(err, "%s/ca-key.pem", a->folder);
    }
    key_pem_free(&text);
    return rc;
}

static int check(const struct authority *a, struct ca_root *r, int64_t now_s, struct err *err)
{
    struct arena arena;
    struct cert_facts f;
    arena_init(&arena, 0);
    int rc = cert_inspect(strbuf_str(&r->cert), &arena, &f, err);
    if (rc == 0)
        rc = issue_check_ca(strbuf_str(&r->cert), r->key, strbuf_str(&r->chain), strbuf_str(&r->anchors), now_s, err);
    if (rc)
        err_prefix(err, "%s/ca-cert.pem", a->folder);
    r->not_before_s = f.not_before_s;
    r->not_after_s = f.not_after_s;
    arena_fini(&arena);
    return rc;
}

static bool is_same(const struct ca_root *x, const struct ca_root *y)
{
    return str_eq(strbuf_str(&x->cert), strbuf_str(&y->cert)) && str_eq(strbuf_str(&x->chain), strbuf_str(&y->chain)) &&
           str_eq(strbuf_str(&x->anchors), strbuf_str(&y->anchors));
}

static void drop_oldest(struct authority *a)
{
    ca_root_fini(&a->roots[0]);
    memmove(&a->roots[0], &a->roots[1], (a->count - 1) * sizeof a->roots[0]);
    a->count--;
}

static void retire_signing(struct authority *a)
{
    if (a->count == CA_ROOTS_MAX)
        drop_oldest(a);
    if (a->count) {
        struct ca_root *old = authority_signing(a);
        old->state = CA_ROOT_RETIRED;
        ca_root_drop_key(old);
    }
}

/* The oldest make room: an operator who replaces roots that often in the life of a leaf has said what he wants. */
static void take(struct authority *a, const struct ca_root *r)
{
    retire_signing(a);
    a->roots[a->count++] = *r;
    authority_rebuild(a);
    while (a->bundle.n > CA_BUNDLE_MAX_BYTES && a->count > 1) {
        drop_oldest(a);
        authority_rebuild(a);
    }
}

int authority_reload(struct authority *a, int64_t now_s, struct err *err)
{
    struct ca_root r = {.state = CA_ROOT_SIGNING};
    if (!a->folder)
        return 0;
    int rc = read_certs_of(a, &r, err);
    if (rc == 0)
        rc = read_key(a, &r, err);
    if (rc == 0)
        rc = check(a, &r, now_s, err);
    if (rc || (a->count && is_same(authority_signing(a), &r))) {
        ca_root_fini(&r);
        return rc;
    }
    take(a, &r);
    return 0;
}
