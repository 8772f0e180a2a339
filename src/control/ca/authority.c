/* SPDX-License-Identifier: Apache-2.0
 *
 *   rotate: ANNOUNCED (in the bundle) --announce_s--> SIGNING --the next one signs--> RETIRED (key destroyed)
 *           --its last leaf has ended--> gone
 *
 * Nobody may be shown a leaf whose root he was not told of: a new root signs when the last leaf that was given without it has
 * ended, since who wants another one is given the bundle with it. And nobody may be told to forget a root whose leaf is in use.
 * Both through a kill -9: each step is saved before it is taken, and how long a root's leaves last is saved ahead of them, by
 * AHEAD_S, so that not every leaf costs a write. Steps follow the wall clock, forwards only. Signer's process, one thread.
 */
#include "control/ca/authority_priv.h"

#include "base/check.h"
#include "base/mem.h"
#include "pki/cert.h"
#include "pki/issue.h"
#include "pki/spiffe.h"

#define AHEAD_S (3 * 3600)
#define FORGET_AFTER_S 300 /* peers whose clocks are behind still show a leaf that has ended */

void ca_root_drop_key(struct ca_root *r)
{
    issue_ca_free(&r->ca);
    key_free(&r->key);
}

void ca_root_fini(struct ca_root *r)
{
    ca_root_drop_key(r);
    strbuf_fini(&r->cert);
    strbuf_fini(&r->chain);
    strbuf_fini(&r->anchors);
}

struct ca_root *authority_signing(struct authority *a)
{
    for (uint32_t i = 0; i < a->count; i++)
        if (a->roots[i].state == CA_ROOT_SIGNING)
            return &a->roots[i];
    CHECK(!"an authority has a root that signs");
    return NULL;
}

static struct ca_root *announced(struct authority *a)
{
    for (uint32_t i = 0; i < a->count; i++)
        if (a->roots[i].state == CA_ROOT_ANNOUNCED)
            return &a->roots[i];
    return NULL;
}

/* ---- the bundle ---- */

void authority_rebuild(struct authority *a)
{
    struct strbuf bundle = {0};
    for (int state = 0; state < CA_ROOT_GONE; state++)
        for (uint32_t i = 0; i < a->count; i++)
            if ((int)a->roots[i].state == state)
                cert_bundle_add(&bundle, strbuf_str(&a->roots[i].anchors), NULL, NULL);
    strbuf_fini(&a->bundle);
    a->bundle = bundle;
}

static int64_t change_at(const struct authority *a)
{
    int64_t at = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        const struct ca_root *r = &a->roots[i];
        int64_t due = r->state == CA_ROOT_ANNOUNCED ? r->signs_from_s : r->state == CA_ROOT_RETIRED ? r->trusted_until_s + FORGET_AFTER_S : 0;
        if (due && (!at || due < at))
            at = due;
    }
    return at;
}

static int64_t first_end(struct str pem)
{
    struct arena a;
    struct cert_facts f = {0};
    arena_init(&a, 0);
    cert_inspect(pem, &a, &f, NULL);
    arena_fini(&a);
    return f.not_after_s;
}

void authority_trust(struct authority *a, struct ca_trust *out)
{
    struct ca_root *r = authority_signing(a);
    if (!r->root_until_s)
        r->root_until_s = first_end(strbuf_str(&r->anchors));
    *out = (struct ca_trust){
        .bundle = strbuf_str(&a->bundle), .chain = strbuf_str(&r->chain), .root_until_s = r->root_until_s,
        .signs_until_s = r->not_after_s, .change_at_s = change_at(a), .is_rotating = a->count > 1,
    };
}

/* ---- own roots ---- */

static int save(struct authority *a, struct err *err)
{
    struct strbuf text = {0};
    int rc = a->store ? authority_write(a, &text, err) : 0;
    if (a->store && rc == 0)
        rc = a->store->ops->save(a->store, strbuf_str(&text), err);
    if (rc == 0)
        a->is_unsaved = false;
    key_pem_free(&text);
    return rc;
}

static int make_root(struct authority *a, struct ca_root *r, int64_t now_s, struct err *err)
{
    struct str org = a->trust_domain.n > 64 ? str_make(a->trust_domain.p, 64) : a->trust_domain;
    r->not_before_s = now_s - CA_BACKDATED_S;
    r->not_after_s = now_s + a->opts.root_ttl_s;
    r->key = key_generate(a->opts.key_kind, err);
    int rc = r->key ? issue_root(r->key, org, r->not_before_s, r->not_after_s, &r->cert, err) : ERR_TLS;
    if (rc == 0)
        strbuf_adds(&r->anchors, strbuf_str(&r->cert));
    return rc;
}

/* Before the leaf is given. A full disk doesn't stop it: the CA goes on, and saves when it can. */
static void note_leaf(struct authority *a, struct ca_root *r, int64_t until_s)
{
    if (until_s <= r->trusted_until_s)
        return;
    r->trusted_until_s = until_s + AHEAD_S < r->not_after_s ? until_s + AHEAD_S : r->not_after_s;
    a->is_unsaved = save(a, NULL) != 0;
}

static int announce(struct authority *a, int64_t now_s, int64_t signs_from_s, struct err *err)
{
    struct ca_root *r = &a->roots[a->count];
    int64_t told_by_s = authority_signing(a)->trusted_until_s;
    if (a->count == CA_ROOTS_MAX)
        return err_set(err, ERR_LIMIT, "%u roots are believed already; the oldest must end first", CA_ROOTS_MAX);
    *r = (struct ca_root){.state = CA_ROOT_ANNOUNCED, .signs_from_s = told_by_s > signs_from_s ? told_by_s : signs_from_s};
    int rc = make_root(a, r, now_s, err);
    a->count++;
    if (rc == 0)
        rc = save(a, err);
    if (rc)
        ca_root_fini(&a->roots[--a->count]);
    else
        authority_rebuild(a);
    return rc;
}

int authority_rotate(struct authority *a, int64_t now_s, struct err *err)
{
    const struct ca_root *next = announced(a);
    if (!a->store)
        return err_set(err, ERR_STATE, "the authority is plugged in: its root is another's to replace");
    if (next)
        return err_set(err, ERR_STATE, "a new root is announced already; it signs in %lld s", (long long)(next->signs_from_s - now_s));
    return announce(a, now_s, now_s + a->opts.announce_s, err);
}

static int promote(struct authority *a, struct err *err)
{
    struct ca_root *old = authority_signing(a), *next = announced(a);
    old->state = CA_ROOT_RETIRED;
    next->state = CA_ROOT_SIGNING;
    int rc = save(a, err);
    if (rc) {
        old->state = CA_ROOT_SIGNING;
        next->state = CA_ROOT_ANNOUNCED;
        return rc;
    }
    ca_root_drop_key(old);
    authority_rebuild(a);
    return 0;
}

static void drop(struct authority *a, uint32_t i)
{
    ca_root_fini(&a->roots[i]);
    memmove(&a->roots[i], &a->roots[i + 1], (a->count - i - 1) * sizeof a->roots[0]);
    a->count--;
    authority_rebuild(a);
}

static int forget(struct authority *a, int64_t now_s, struct err *err)
{
    for (uint32_t i = 0; i < a->count;) {
        struct ca_root *r = &a->roots[i];
        if (r->state != CA_ROOT_RETIRED || now_s <= r->trusted_until_s + FORGET_AFTER_S) {
            i++;
            continue;
        }
        r->state = CA_ROOT_GONE;
        if (save(a, err) < 0) {
            r->state = CA_ROOT_RETIRED;
            return err->code;
        }
        drop(a, i);
    }
    return 0;
}

static bool is_aging(const struct authority *a, const struct ca_root *r, int64_t now_s)
{
    return r->not_after_s - now_s < (r->not_after_s - r->not_before_s) * (int64_t)a->opts.renew_pct / 100;
}

int authority_tick(struct authority *a, int64_t now_s, struct err *err)
{
    struct err own = {0};
    struct ca_root *signing = authority_signing(a), *next = announced(a);
    int rc = 0;
    err = err ? err : &own;
    if (a->store && !next && is_aging(a, signing, now_s))
        rc = announce(a, now_s, now_s + a->opts.announce_s, err);
    next = announced(a);
    /* Where nothing can sign any more there is nobody left to be surprised. */
    if (rc == 0 && next && (now_s >= next->signs_from_s || now_s >= authority_signing(a)->not_after_s))
        rc = promote(a, err);
    if (rc == 0)
        rc = forget(a, now_s, err);
    return rc == 0 && a->is_unsaved ? save(a, err) : rc;
}

/* ---- signing ---- */

static int check_uri(const struct authority *a, struct str uri, struct err *err)
{
    struct spiffe_id id;
    if (!uri.n)
        return 0;
    int rc = spiffe_id_parse(uri, &id, err);
    if (rc == 0 && !str_eq(id.trust_domain, a->trust_domain))
        rc = err_set(err, ERR_INVALID, "%.*s is not of the trust domain %.*s", STR_ARG(uri), STR_ARG(a->trust_domain));
    return rc;
}

static int check_times(const struct authority *a, const struct ca_root *r, int64_t ttl_s, int64_t now_s, struct err *err)
{
    if (ttl_s <= 0 || ttl_s > a->opts.max_ttl_s)
        return err_set(err, ERR_LIMIT, "a life of %lld s: 1 to %lld are given", (long long)ttl_s, (long long)a->opts.max_ttl_s);
    if (now_s >= r->not_after_s)
        return err_set(err, ERR_STATE, "the signing certificate ended %lld s ago", (long long)(now_s - r->not_after_s));
    if (now_s < r->not_before_s)
        return err_set(err, ERR_STATE, "the signing certificate begins in %lld s by this machine's clock",
                       (long long)(r->not_before_s - now_s));
    return 0;
}

int authority_sign(struct authority *a, const struct authority_request *q, int64_t now_s, struct strbuf *pem,
                   struct authority_leaf *leaf, struct err *err)
{
    struct ca_root *r = authority_signing(a);
    struct issue what = {.uri = q->uri, .hosts = q->hosts, .host_count = q->host_count,
                         .not_before_s = now_s - CA_BACKDATED_S, .not_after_s = now_s + q->ttl_s};
    int rc = check_uri(a, q->uri, err);
    if (rc == 0)
        rc = check_times(a, r, q->ttl_s, now_s, err);
    struct csr *csr = rc ? NULL : csr_load(q->csr_pem, err);
    if (!csr)
        return rc ? rc : err ? err->code : ERR_INVALID;
    what.not_before_s = what.not_before_s < r->not_before_s ? r->not_before_s : what.not_before_s;
    what.not_after_s = what.not_after_s > r->not_after_s ? r->not_after_s : what.not_after_s;
    note_leaf(a, r, what.not_after_s);
    if (!r->ca)
        r->ca = issue_ca_new(strbuf_str(&r->cert), r->key, err);
    rc = r->ca ? issue_leaf(&what, csr, r->ca, pem, leaf->serial_hex, err) : ERR_INVALID;
    leaf->until_s = what.not_after_s;
    csr_free(&csr);
    return rc;
}

/* ---- beginning and end ---- */

void authority_free(struct authority **p)
{
    struct authority *a = *p;
    *p = NULL;
    if (!a)
        return;
    for (uint32_t i = 0; i < a->count; i++)
        ca_root_fini(&a->roots[i]);
    ca_store_free(&a->store);
    str_free(&a->trust_domain);
    strbuf_fini(&a->bundle);
    mem_free(a->folder);
    mem_free(a);
}

static int begin(struct authority *a, int64_t now_s, struct err *err)
{
    struct ca_root *r = &a->roots[a->count++];
    *r = (struct ca_root){.state = CA_ROOT_SIGNING, .signs_from_s = now_s};
    int rc = make_root(a, r, now_s, err);
    return rc ? rc : save(a, err);
}

static struct authority *make(const struct authority_opts *o)
{
    struct authority *a = NEW(authority);
    a->opts = *o;
    a->trust_domain = str_dup(o->trust_domain);
    a->opts.trust_domain = a->trust_domain;
    return a;
}

struct authority *authority_new_self_signed(const struct authority_opts *o, struct ca_store *take_store, int64_t now_s, struct err *err)
{
    struct authority *a = make(o);
    struct strbuf text = {0};
    a->store = take_store;
    int rc = a->store->ops->load(a->store, &text, err);
    if (rc == ERR_NOT_FOUND)
        rc = begin(a, now_s, err);
    else if (rc == 0)
        rc = authority_read(a, strbuf_str(&text), err);
    key_pem_free(&text);
    if (rc)
        authority_free(&a);
    else
        authority_rebuild(a);
    return a;
}

struct authority *authority_new_plugged_in(const struct authority_opts *o, struct str folder, int64_t now_s, struct err *err)
{
    struct authority *a = make(o);
    a->folder = mem_strndup(folder.p, folder.n);
    if (authority_reload(a, now_s, err) < 0)
        authority_free(&a);
    return a;
}
