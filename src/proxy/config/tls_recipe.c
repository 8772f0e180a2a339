/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes a tls_context from a recipe. The bytes of files live only while the context is being made: private keys are wiped
 * afterwards, OpenSSL has its own copy. What a context goes on using (name matchers, the key log) is held by it (struct
 * hold), so that contexts outlive recipes and secrets. Main thread, but for the end of a hold.
 */
#include "proxy/config/tls_recipe.h"

#include "base/mem.h"
#include "pki/trust_bundles.h"
#include "proxy/config/config_priv.h"
#include "proxy/config/secret_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define TICKET_KEY_BYTES 80
#define PEM_LIMIT_BYTES ((size_t)4 << 20) /* a bundle of some thousand CAs */

/* What a context uses as long as it lives. */
struct hold {
    struct secret_spec *validations[2]; /* the owners of what `sans` points to */
    struct tls_san_matcher *sans;
    int keylog_fd;                      /* -1: none */
};

struct tls_recipe *tls_recipe_new(bool server)
{
    struct tls_recipe *r = NEW(tls_recipe);
    arena_init(&r->arena, 0);
    r->opts.server = server;
    return r;
}

static void part_fini(struct tls_part *p)
{
    secret_spec_unref(&p->fixed);
    secret_source_unref(&p->source);
}

void tls_recipe_free(struct tls_recipe **r)
{
    if (!*r)
        return;
    for (size_t i = 0; i < (*r)->cert_count; i++)
        part_fini(&(*r)->certs[i]);
    for (size_t i = 0; i < ARRAY_LEN((*r)->validations); i++)
        part_fini(&(*r)->validations[i]);
    part_fini(&(*r)->tickets);
    arena_fini(&(*r)->arena);
    mem_free(*r);
    *r = NULL;
}

/* ---- parts ---- */

static struct secret_spec *now(const struct tls_part *p)
{
    return p->source ? secret_source_now(p->source) : p->fixed;
}

void tls_recipe_each_part(const struct tls_recipe *r, void (*fn)(const struct tls_part *p, void *arg), void *arg)
{
    for (size_t i = 0; i < r->cert_count; i++)
        fn(&r->certs[i], arg);
    for (size_t i = 0; i < ARRAY_LEN(r->validations); i++)
        fn(&r->validations[i], arg);
    fn(&r->tickets, arg);
}

static void find_missing(const struct tls_part *p, void *arg)
{
    if (p->source && !secret_source_now(p->source))
        *(bool *)arg = true;
}

bool tls_recipe_is_complete(const struct tls_recipe *r)
{
    bool is_missing = false;
    tls_recipe_each_part(r, find_missing, &is_missing);
    return !is_missing;
}

struct each_path {
    void (*fn)(struct str path, void *arg);
    void *arg;
};

static void paths_of(const struct tls_part *p, void *arg)
{
    const struct each_path *e = arg;
    if (p->fixed)
        secret_spec_each_path(p->fixed, e->fn, e->arg);
}

void tls_recipe_each_path(const struct tls_recipe *r, void (*fn)(struct str path, void *arg), void *arg)
{
    struct each_path e = {fn, arg};
    tls_recipe_each_part(r, paths_of, &e);
}

/* ---- files ---- */

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

static int load_cert(const struct tls_recipe_cert *c, struct arena *a, struct tls_cert_opts *out, struct err *err)
{
    out->source = source_of(c);
    if (load(&c->chain, "certificate_chain", a, &out->chain_pem, err) < 0 || load(&c->key, "private_key", a, &out->key_pem, err) < 0 ||
        load(&c->password, "password", a, &out->key_password, err) < 0 || load(&c->pkcs12, "pkcs12", a, &out->pkcs12, err) < 0 ||
        load(&c->ocsp, "ocsp_staple", a, &out->ocsp_staple_der, err) < 0)
        return ERR_TLS;
    while (out->key_password.n && strchr("\r\n", out->key_password.p[out->key_password.n - 1]))
        out->key_password.n--; /* a file's last line end */
    return 0;
}

static int load_ticket_keys(const struct secret_spec *s, struct arena *a, struct str *out, struct err *err)
{
    for (size_t i = 0; i < s->ticket_key_count; i++) {
        if (load(&s->ticket_keys[i], "session_ticket_keys", a, &out[i], err) < 0)
            return ERR_TLS;
        if (out[i].n != TICKET_KEY_BYTES)
            return err_set(err, ERR_INVALID, "session_ticket_keys: key %zu has %zu bytes instead of %d", i, out[i].n,
                           TICKET_KEY_BYTES);
    }
    return 0;
}

/* ---- the key log ---- */

/* One line a write, appended: whole lines also when several workers write. */
static void keylog_write(void *arg, const char *line)
{
    const struct hold *h = arg;
    char text[512];
    int n = snprintf(text, sizeof text, "%s\n", line);
    if (n > 0 && (size_t)n < sizeof text)
        while (write(h->keylog_fd, text, (size_t)n) < 0 && errno == EINTR)
            continue;
}

static int open_keylog(const struct tls_recipe *r, struct hold *h, struct tls_context_opts *o, struct err *err)
{
    if (r->keylog_path.n == 0)
        return 0;
    h->keylog_fd = open(r->keylog_path.p, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (h->keylog_fd < 0)
        return err_set_errno(err, errno, "key_log: cannot open %s", r->keylog_path.p);
    o->keylog = keylog_write;
    o->keylog_arg = h;
    return 0;
}

static void hold_free(void *arg)
{
    struct hold *h = arg;
    for (size_t i = 0; i < ARRAY_LEN(h->validations); i++)
        secret_spec_unref(&h->validations[i]);
    if (h->keylog_fd >= 0)
        close(h->keylog_fd);
    mem_free(h->sans);
    mem_free(h);
}

/* ---- validation ---- */

static const struct str *join(struct arena *a, const struct str *x, size_t n, const struct str *y, size_t m)
{
    struct str *all = ARENA_ARRAY(a, struct str, n + m);
    if (n)
        memcpy(all, x, n * sizeof *x);
    if (m)
        memcpy(all + n, y, m * sizeof *y);
    return all;
}

/* As protobuf merges messages, which is how combined_validation_context is defined: what is set in the later one stands,
 * lists are joined. */
static int merge(const struct tls_validation *v, struct arena *a, struct hold *h, struct tls_context_opts *o, struct err *err)
{
    if (v->ca.path.n || v->ca.text.n) {
        o->trusted_ca_source = v->ca.path.n ? v->ca.path : STR("<inline>");
        if (load(&v->ca, "trusted_ca", a, &o->trusted_ca_pem, err) < 0)
            return ERR_TLS;
    }
    if ((v->crl.path.n || v->crl.text.n) && load(&v->crl, "crl", a, &o->crl_pem, err) < 0)
        return ERR_TLS;
    if (v->san_count) {
        h->sans = mem_realloc(h->sans, (o->san_count + v->san_count) * sizeof *h->sans);
        memcpy(h->sans + o->san_count, v->sans, v->san_count * sizeof *h->sans);
        o->sans = h->sans;
        o->san_count += v->san_count;
    }
    o->spki_pins = join(a, o->spki_pins, o->spki_pin_count, v->spki_pins, v->spki_pin_count);
    o->spki_pin_count += v->spki_pin_count;
    o->cert_hashes = join(a, o->cert_hashes, o->cert_hash_count, v->cert_hashes, v->cert_hash_count);
    o->cert_hash_count += v->cert_hash_count;
    o->crl_leaf_only |= v->crl_leaf_only;
    o->allow_expired |= v->allow_expired;
    if (v->accept_untrusted)
        o->trust_mode = TLS_TRUST_ACCEPT_UNTRUSTED;
    if (v->max_verify_depth)
        o->max_verify_depth = v->max_verify_depth;
    return 0;
}

static struct str material_source(const struct tls_material *m)
{
    return m->path.n ? m->path : STR("<inline>");
}

/* A file for each domain. */
static int load_domain_files(const struct tls_validation *v, struct arena *a, struct tls_context_opts *o, struct err *err)
{
    struct tls_trust_domain *all = ARENA_ARRAY(a, struct tls_trust_domain, v->domain_count);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < v->domain_count; i++) {
        const struct tls_domain_material *d = &v->domains[i];
        all[i].name = d->name;
        all[i].source = material_source(&d->ca);
        rc = load(&d->ca, "trust_bundle", a, &all[i].ca_pem, err);
    }
    o->domains = all;
    o->domain_count = v->domain_count;
    return rc;
}

/* One file for all. */
static int load_bundles(const struct tls_validation *v, struct arena *a, struct tls_context_opts *o, struct err *err)
{
    struct str json;
    struct trust_bundle *bundles;
    size_t n;
    int rc = load(&v->bundles, "trust_bundles", a, &json, err);
    if (rc < 0)
        return rc;
    rc = trust_bundles_read(json, a, &bundles, &n, err);
    if (rc < 0) {
        err_prefix(err, "trust_bundles %.*s", STR_ARG(material_source(&v->bundles)));
        return rc;
    }
    struct tls_trust_domain *all = ARENA_ARRAY(a, struct tls_trust_domain, n);
    for (size_t i = 0; i < n; i++)
        all[i] = (struct tls_trust_domain){bundles[i].domain, bundles[i].roots_pem, material_source(&v->bundles)};
    o->domains = all;
    o->domain_count = n;
    return 0;
}

/* The context's own roots are those of all domains, its verification goes by domain. */
static int load_domains(const struct tls_validation *v, struct arena *a, struct tls_context_opts *o, struct err *err)
{
    struct strbuf together = {0};
    bool has_bundles = v->bundles.path.n || v->bundles.text.n;
    int rc = 0;
    if (!has_bundles && v->domain_count == 0)
        return 0;
    rc = has_bundles ? load_bundles(v, a, o, err) : load_domain_files(v, a, o, err);
    for (size_t i = 0; rc == 0 && i < o->domain_count; i++) {
        strbuf_adds(&together, o->domains[i].ca_pem);
        strbuf_addc(&together, '\n');
    }
    o->trusted_ca_pem = arena_str(a, strbuf_str(&together));
    o->trusted_ca_source = STR("<trust domains>");
    strbuf_fini(&together);
    return rc;
}

static int add_validations(const struct tls_recipe *r, struct arena *a, struct hold *h, struct tls_context_opts *o, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(r->validations); i++) {
        struct secret_spec *s = now(&r->validations[i]);
        if (!s)
            continue;
        h->validations[i] = secret_spec_ref(s);
        if (merge(&s->validation, a, h, o, err) < 0 || load_domains(&s->validation, a, o, err) < 0)
            return ERR_TLS;
    }
    return 0;
}

/* ---- the context ---- */

static int add_certs(const struct tls_recipe *r, struct arena *a, struct tls_cert_opts *certs, struct tls_context_opts *o,
                     struct err *err)
{
    o->certs = certs;
    for (size_t i = 0; i < r->cert_count; i++) {
        const struct secret_spec *s = now(&r->certs[i]);
        if (s && load_cert(&s->cert, a, &certs[o->cert_count++], err) < 0)
            return ERR_TLS;
    }
    return 0;
}

static int add_tickets(const struct tls_recipe *r, struct arena *a, struct tls_context_opts *o, struct err *err)
{
    const struct secret_spec *s = now(&r->tickets);
    struct str *keys = ARENA_ARRAY(a, struct str, s ? s->ticket_key_count : 0);
    if (!s || load_ticket_keys(s, a, keys, err) < 0)
        return s ? ERR_TLS : 0;
    o->ticket_keys = keys;
    o->ticket_key_count = s->ticket_key_count;
    return 0;
}

static void wipe_loaded_keys(const struct tls_recipe *r, const struct tls_context_opts *o)
{
    for (size_t i = 0, at = 0; i < r->cert_count && at < o->cert_count; i++) {
        const struct secret_spec *s = now(&r->certs[i]);
        if (s && s->cert.key.path.n)
            secret_wipe(o->certs[at].key_pem);
        at += s != NULL;
    }
}

struct tls_context *tls_recipe_build(const struct tls_recipe *r, struct err *err)
{
    struct tls_context *ctx = NULL;
    struct arena a;
    struct hold *h = NEW(hold);
    h->keylog_fd = -1;
    arena_init(&a, 0);
    struct tls_cert_opts *certs = ARENA_ARRAY(&a, struct tls_cert_opts, r->cert_count);
    struct tls_context_opts opts = r->opts;
    opts.release = hold_free;
    opts.take_held = h;
    if (add_certs(r, &a, certs, &opts, err) == 0 && add_validations(r, &a, h, &opts, err) == 0 &&
        add_tickets(r, &a, &opts, err) == 0 && open_keylog(r, h, &opts, err) == 0)
        ctx = tls_context_new(&opts, err);
    if (!ctx)
        hold_free(h);
    wipe_loaded_keys(r, &opts);
    arena_fini(&a);
    return ctx;
}

int tls_recipe_try_secret(struct secret_spec *s, struct err *err)
{
    struct tls_part part = {.fixed = s};
    struct tls_recipe r = {.opts.server = s->kind != SECRET_VALIDATION};
    struct arena a;
    int rc = 0;
    arena_init(&a, 0);
    if (s->kind == SECRET_TICKET_KEYS) { /* a server needs a certificate */
        rc = load_ticket_keys(s, &a, ARENA_ARRAY(&a, struct str, s->ticket_key_count), err);
    } else if (s->kind == SECRET_CERTIFICATE || s->validation.ca.path.n || s->validation.ca.text.n) { /* or the default's */
        r.certs = &part;
        r.cert_count = s->kind == SECRET_CERTIFICATE;
        if (s->kind == SECRET_VALIDATION)
            r.validations[0] = part;
        struct tls_context *ctx = tls_recipe_build(&r, err);
        rc = ctx ? 0 : ERR_TLS;
        tls_context_unref(&ctx);
    }
    arena_fini(&a);
    return rc;
}
