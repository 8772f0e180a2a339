/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes a tls_context from a recipe. The bytes of certificates and keys live only while the context
 * is being made: private keys are wiped afterwards, OpenSSL has its own copy. Main thread.
 */
#include "proxy/config/tls_recipe.h"

#include "base/mem.h"
#include "proxy/config/config_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define TICKET_KEY_BYTES 80
#define PEM_LIMIT_BYTES ((size_t)4 << 20) /* a bundle of some thousand CAs */

struct tls_recipe *tls_recipe_new(bool server)
{
    struct tls_recipe *r = NEW(tls_recipe);
    arena_init(&r->arena, 0);
    r->opts.server = server;
    r->keylog_fd = -1;
    return r;
}

void tls_recipe_free(struct tls_recipe **r)
{
    if (!*r)
        return;
    for (size_t i = 0; i < (*r)->match_count; i++)
        string_match_fini(&(*r)->matches[i]);
    if ((*r)->keylog_fd >= 0)
        close((*r)->keylog_fd);
    arena_fini(&(*r)->arena);
    mem_free(*r);
    *r = NULL;
}

static int load(const struct tls_material *m, const char *what, struct arena *a, struct str *out, struct err *err)
{
    struct err why = {0};
    *out = m->text;
    if (m->path.n == 0)
        return 0;
    int rc = cfg_read_file(m->path.p, a, PEM_LIMIT_BYTES, out, &why);
    return rc < 0 ? err_set(err, rc, "%s: %s", what, why.message) : 0;
}

static struct str source_of(const struct tls_recipe_cert *c)
{
    if (c->chain.path.n)
        return c->chain.path;
    return c->pkcs12.path.n ? c->pkcs12.path : STR("<inline>");
}

static int load_certs(const struct tls_recipe *r, struct arena *a, struct tls_cert_opts *out, struct err *err)
{
    for (size_t i = 0; i < r->cert_count; i++) {
        const struct tls_recipe_cert *c = &r->certs[i];
        out[i].source = source_of(c);
        if (load(&c->chain, "certificate_chain", a, &out[i].chain_pem, err) < 0 ||
            load(&c->key, "private_key", a, &out[i].key_pem, err) < 0 ||
            load(&c->password, "password", a, &out[i].key_password, err) < 0 ||
            load(&c->pkcs12, "pkcs12", a, &out[i].pkcs12, err) < 0 ||
            load(&c->ocsp, "ocsp_staple", a, &out[i].ocsp_staple_der, err) < 0)
            return ERR_TLS;
        while (out[i].key_password.n && strchr("\r\n", out[i].key_password.p[out[i].key_password.n - 1]))
            out[i].key_password.n--; /* a file's last line end */
    }
    return 0;
}

static int load_ticket_keys(const struct tls_recipe *r, struct arena *a, struct str *out, struct err *err)
{
    for (size_t i = 0; i < r->ticket_key_count; i++) {
        if (load(&r->ticket_keys[i], "session_ticket_keys", a, &out[i], err) < 0)
            return ERR_TLS;
        if (out[i].n != TICKET_KEY_BYTES)
            return err_set(err, ERR_INVALID, "session_ticket_keys: key %zu has %zu bytes instead of %d", i, out[i].n,
                           TICKET_KEY_BYTES);
    }
    return 0;
}

/* One line a write, appended: whole lines also when several workers write. */
static void keylog_write(void *arg, const char *line)
{
    const struct tls_recipe *r = arg;
    char text[512];
    int n = snprintf(text, sizeof text, "%s\n", line);
    if (n > 0 && (size_t)n < sizeof text)
        while (write(r->keylog_fd, text, (size_t)n) < 0 && errno == EINTR)
            continue;
}

static int open_keylog(struct tls_recipe *r, struct err *err)
{
    if (r->keylog_path.n == 0 || r->keylog_fd >= 0)
        return 0;
    r->keylog_fd = open(r->keylog_path.p, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (r->keylog_fd < 0)
        return err_set_errno(err, errno, "key_log: cannot open %s", r->keylog_path.p);
    return 0;
}

struct tls_context *tls_recipe_build(struct tls_recipe *r, struct err *err)
{
    struct tls_context *ctx = NULL;
    struct arena a;
    arena_init(&a, 0);
    struct tls_cert_opts *certs = ARENA_ARRAY(&a, struct tls_cert_opts, r->cert_count);
    struct str *keys = ARENA_ARRAY(&a, struct str, r->ticket_key_count);
    struct tls_context_opts opts = r->opts;
    if (load_certs(r, &a, certs, err) == 0 && load_ticket_keys(r, &a, keys, err) == 0 &&
        load(&r->ca, "trusted_ca", &a, &opts.trusted_ca_pem, err) == 0 && load(&r->crl, "crl", &a, &opts.crl_pem, err) == 0 &&
        open_keylog(r, err) == 0) {
        opts.certs = certs;
        opts.cert_count = r->cert_count;
        opts.ticket_keys = keys;
        opts.ticket_key_count = r->ticket_key_count;
        opts.trusted_ca_source = r->ca.path.n ? r->ca.path : STR("<inline>");
        opts.keylog = r->keylog_fd >= 0 ? keylog_write : NULL;
        opts.keylog_arg = r;
        ctx = tls_context_new(&opts, err);
    }
    for (size_t i = 0; i < r->cert_count; i++)
        if (r->certs[i].key.path.n && certs[i].key_pem.n)
            explicit_bzero((char *)certs[i].key_pem.p, certs[i].key_pem.n);
    arena_fini(&a);
    return ctx;
}

static void visit(const struct tls_material *m, void (*fn)(struct str path, void *arg), void *arg)
{
    if (m->path.n)
        fn(m->path, arg);
}

void tls_recipe_each_path(const struct tls_recipe *r, void (*fn)(struct str path, void *arg), void *arg)
{
    for (size_t i = 0; i < r->cert_count; i++) {
        const struct tls_recipe_cert *c = &r->certs[i];
        const struct tls_material *all[] = {&c->chain, &c->key, &c->password, &c->pkcs12, &c->ocsp};
        for (size_t j = 0; j < ARRAY_LEN(all); j++)
            visit(all[j], fn, arg);
    }
    visit(&r->ca, fn, arg);
    visit(&r->crl, fn, arg);
    for (size_t i = 0; i < r->ticket_key_count; i++)
        visit(&r->ticket_keys[i], fn, arg);
    for (size_t i = 0; i < r->watched_dir_count; i++)
        fn(r->watched_dirs[i], arg);
}
