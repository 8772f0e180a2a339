/* SPDX-License-Identifier: Apache-2.0
 *
 * A group of files that make up one secret. A certificate and its key are written one after the other, so a change waits for
 * SETTLE_MS of quiet (as pilot-agent waits), and a pair that doesn't fit is left for the next change. Main thread.
 */
#include "proxy/agent/file_secrets.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/tls.h"
#include "pki/cert.h"
#include "pki/key.h"
#include "proxy/agent/secrets.h"
#include "proxy/agent/text.h"

#define SETTLE_MS 100
#define FILE_MAX_BYTES ((size_t)4 << 20)
#define CERT_PREFIX STR("file-cert:")
#define ROOT_PREFIX STR("file-root:")

static const struct stat_desc rows[] = {FILE_SECRET_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, STAT_FILE_SECRETS_COUNT};

enum group_kind { GROUP_CERT, GROUP_ROOTS, GROUP_TRUST, GROUP_CRL };
struct group {
    struct group *next;
    struct file_secrets *owner;
    enum group_kind kind;
    struct str name;
    struct str paths[2];          /* chain or bundle, key */
    struct file_watch *watches[2];
    struct timer settle;
    struct trust *trust;
};
struct file_secrets {
    struct group *groups;
    struct loop *loop;            /* NULL: not watched yet */
    struct file_watcher *files;
    struct stat_scope *stats;
    uint64_t taken, refused;      /* before there were statistics */
};

/* ---- reading ---- */

static int take_cert(struct group *g, struct arena *a, struct err *err)
{
    struct str chain, pem = STR_NULL;
    struct cert_facts facts;
    int rc = text_read_file(g->paths[0].p, a, FILE_MAX_BYTES, &chain, err);
    if (rc == 0)
        rc = text_read_file(g->paths[1].p, a, FILE_MAX_BYTES, &pem, err);
    if (rc == 0)
        rc = cert_inspect(chain, a, &facts, err);
    struct key *key = rc == 0 ? key_load(pem, STR_NULL, err) : NULL;
    if (rc == 0 && !key)
        rc = ERR_INVALID;
    if (rc == 0 && !key_fits(key, chain))
        rc = err_set(err, ERR_INVALID, "the key is not the certificate's");
    if (rc == 0)
        secret_store_set(g->name, chain, pem);
    if (pem.n)
        explicit_bzero((char *)pem.p, pem.n);
    key_free(&key);
    return rc;
}

static int take_roots(struct group *g, struct arena *a, struct err *err)
{
    struct str pem;
    struct strbuf clean = {0};
    bool changed;
    int rc = text_read_file(g->paths[0].p, a, FILE_MAX_BYTES, &pem, err);
    if (rc == 0 && g->kind == GROUP_TRUST)
        rc = trust_set(g->trust, TRUST_ISSUER, pem, &changed, err);
    else if (rc == 0)
        rc = cert_bundle_add(&clean, pem, NULL, err);
    if (rc == 0 && g->kind == GROUP_ROOTS)
        secret_store_set_roots(g->name, strbuf_str(&clean), STR_NULL);
    strbuf_fini(&clean);
    return rc;
}

/* A revocation list is optional: without the file nothing is revoked. */
static int take_crl(struct group *g, struct arena *a, struct err *err)
{
    struct str pem;
    int rc = text_read_file(g->paths[0].p, a, FILE_MAX_BYTES, &pem, err);
    if (rc == 0 && str_find(pem, STR("-----BEGIN X509 CRL-----")) < 0)
        rc = err_set(err, ERR_INVALID, "no PEM revocation list found");
    if (rc == 0 || rc == ERR_NOT_FOUND)
        trust_set_crl(g->trust, rc == 0 ? pem : STR_NULL);
    return rc;
}

static void count(struct file_secrets *f, bool good)
{
    if (f->stats)
        stat_inc(f->stats, good ? STAT_FILE_SECRETS_TAKEN : STAT_FILE_SECRETS_REFUSED);
    else
        *(good ? &f->taken : &f->refused) += 1;
}

static void take(struct group *g)
{
    struct arena a;
    struct err err = {0};
    arena_init(&a, 0);
    int rc = g->kind == GROUP_CERT ? take_cert(g, &a, &err) : g->kind == GROUP_CRL ? take_crl(g, &a, &err) : take_roots(g, &a, &err);
    arena_fini(&a);
    if (g->kind == GROUP_CRL && rc == ERR_NOT_FOUND)
        return;
    count(g->owner, rc == 0);
    if (rc < 0)
        LOG(SECRET, WARNING, "%.*s of %s was not taken, what was read before stays in use: %s", STR_ARG(g->name), g->paths[0].p, err.message);
    else
        LOG(SECRET, INFO, "%.*s was taken from %s", STR_ARG(g->name), g->paths[0].p);
}

/* ---- watching ---- */

static void on_settled(struct timer *t)
{
    take(CONTAINER_OF(t, group, settle));
}

static void on_change(void *user, const char *path)
{
    (void)path;
    timer_set_ms(&((struct group *)user)->settle, SETTLE_MS);
}

static void watch(struct group *g)
{
    if (!g->owner->loop)
        return;
    timer_init(&g->settle, g->owner->loop, on_settled);
    for (size_t i = 0; i < ARRAY_LEN(g->paths); i++)
        if (g->paths[i].n)
            g->watches[i] = file_watch_add(g->owner->files, g->paths[i].p, on_change, g);
}

static struct str copy(struct str s)
{
    return s.n ? str_dup(s) : STR_NULL;
}

static void add(struct file_secrets *f, enum group_kind kind, struct str name, struct str one, struct str two, struct trust *trust)
{
    struct group *g = NEW(group);
    g->owner = f;
    g->kind = kind;
    g->name = copy(name);
    g->paths[0] = copy(one);
    g->paths[1] = copy(two);
    g->trust = trust;
    g->next = f->groups;
    f->groups = g;
    watch(g); /* before reading: no change falls between the two */
    take(g);
}

void file_secrets_add(struct file_secrets *f, struct str name, struct str chain_path, struct str key_path)
{
    add(f, GROUP_CERT, name, chain_path, key_path, NULL);
}

void file_secrets_add_trust(struct file_secrets *f, struct str root_path, struct trust *keep_trust)
{
    add(f, GROUP_TRUST, STR("ROOTCA"), root_path, STR_NULL, keep_trust);
}

void file_secrets_add_crl(struct file_secrets *f, struct str crl_path, struct trust *keep_trust)
{
    add(f, GROUP_CRL, STR("the revocation list"), crl_path, STR_NULL, keep_trust);
}

/* ---- names ---- */

bool file_secrets_serves(struct str name)
{
    return str_has_prefix(name, CERT_PREFIX) || str_has_prefix(name, ROOT_PREFIX);
}

void file_secrets_want(struct file_secrets *f, struct str name)
{
    if (str_has_prefix(name, CERT_PREFIX)) {
        struct str key, chain = str_split(str_make(name.p + CERT_PREFIX.n, name.n - CERT_PREFIX.n), '~', &key);
        if (chain.n && key.n)
            add(f, GROUP_CERT, name, chain, key, NULL);
        else
            LOG(SECRET, WARNING, "the secret '%.*s' is not file-cert:<chain>~<key>", STR_ARG(name));
    } else if (str_has_prefix(name, ROOT_PREFIX)) {
        struct str path = str_make(name.p + ROOT_PREFIX.n, name.n - ROOT_PREFIX.n);
        if (path.n)
            add(f, GROUP_ROOTS, name, str_eq(path, STR("system")) ? str_from(tls_system_roots()) : path, STR_NULL, NULL);
        else
            LOG(SECRET, WARNING, "the secret '%.*s' is not file-root:<bundle>", STR_ARG(name));
    }
}

/* ---- the whole ---- */

struct file_secrets *file_secrets_new(void)
{
    return NEW(file_secrets);
}

void file_secrets_watch(struct file_secrets *f, struct loop *loop, struct file_watcher *files)
{
    f->loop = loop;
    f->files = files;
    f->stats = stat_scope_get(STR("agent.files."), &table, STR("agent.files."), NULL, 0);
    stat_add(f->stats, STAT_FILE_SECRETS_TAKEN, f->taken);
    stat_add(f->stats, STAT_FILE_SECRETS_REFUSED, f->refused);
    for (struct group *g = f->groups; g; g = g->next) {
        watch(g);
        timer_set_ms(&g->settle, SETTLE_MS); /* what changed since it was read */
    }
}

static void group_free(struct group *g)
{
    timer_clear(&g->settle);
    for (size_t i = 0; i < ARRAY_LEN(g->watches); i++)
        if (g->watches[i])
            file_watch_del(g->watches[i]);
    mem_free((char *)g->name.p);
    mem_free((char *)g->paths[0].p);
    mem_free((char *)g->paths[1].p);
    mem_free(g);
}

void file_secrets_free(struct file_secrets **fp)
{
    struct file_secrets *f = *fp;
    *fp = NULL;
    if (!f)
        return;
    while (f->groups) {
        struct group *g = f->groups;
        f->groups = g->next;
        group_free(g);
    }
    stat_scope_unref(&f->stats);
    mem_free(f);
}
