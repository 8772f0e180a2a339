/* SPDX-License-Identifier: Apache-2.0
 *
 * All files are read when any changes; what they held is remembered by a hash, so that a touch of a file makes nothing new. A
 * certificate that came before its key fails to fit, and is tried again when the key comes.
 */
#include "control/kube/credentials.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/file_watch.h"

struct kube_credentials {
    const struct kube_config *config;
    struct file_watcher *watcher;
    struct tls_context *tls;
    struct strbuf token;
    uint64_t tls_hash;
    void (*on_tls)(void *user);
    void *user;
};

static void wipe(struct strbuf *b)
{
    if (b->p)
        explicit_bzero(b->p, b->cap);
    strbuf_fini(b);
}

static struct str text_of(const struct strbuf *b)
{
    return b->n ? strbuf_str(b) : STR("");
}

/* ---- TLS ---- */

struct material { struct strbuf ca, certificate, key; };

static void material_fini(struct material *m)
{
    strbuf_fini(&m->ca);
    strbuf_fini(&m->certificate);
    wipe(&m->key);
}

static int read_material(const struct kube_config *k, struct material *m, struct err *err)
{
    struct kube_secret system = {.file = str_from(tls_system_roots())};
    bool has_ca = k->ca.text.n || k->ca.file.n;
    int rc = k->skip_verify ? 0 : kube_secret_read(has_ca ? &k->ca : &system, &m->ca, err);
    if (rc == 0)
        rc = kube_secret_read(&k->certificate, &m->certificate, err);
    return rc ? rc : kube_secret_read(&k->key, &m->key, err);
}

static struct str source_of(const struct kube_secret *s)
{
    return s->text.n || !s->file.n ? STR("<kubeconfig>") : s->file;
}

static struct tls_context *make_context(const struct kube_config *k, const struct material *m, struct err *err)
{
    static const struct str alpn[] = {{"h2", 2}, {"http/1.1", 8}};
    struct tls_cert_opts cert = {.chain_pem = text_of(&m->certificate), .key_pem = text_of(&m->key), .source = source_of(&k->certificate)};
    struct tls_context_opts o = {.certs = &cert, .cert_count = m->certificate.n > 0, .trusted_ca_pem = text_of(&m->ca),
                                 .trusted_ca_source = source_of(&k->ca), .min_version = TLS_1_2, .alpn = alpn, .alpn_count = ARRAY_LEN(alpn),
                                 .trust_mode = k->skip_verify ? TLS_TRUST_ACCEPT_UNTRUSTED : TLS_TRUST_VERIFY, .max_session_keys = 4};
    return tls_context_new(&o, err);
}

static int load_tls(struct kube_credentials *c, bool *is_new, struct err *err)
{
    struct material m = {0};
    int rc = read_material(c->config, &m, err);
    uint64_t hash = str_hash(text_of(&m.key), str_hash(text_of(&m.certificate), str_hash(text_of(&m.ca), 1)));
    if (rc == 0 && (!c->tls || hash != c->tls_hash)) {
        struct tls_context *next = make_context(c->config, &m, err);
        rc = next ? 0 : ERR_TLS;
        if (next) {
            tls_context_unref(&c->tls);
            c->tls = next;
            c->tls_hash = hash;
            *is_new = true;
        }
    }
    material_fini(&m);
    return rc;
}

/* ---- the token ---- */

static int load_token(struct kube_credentials *c, bool *is_new, struct err *err)
{
    struct strbuf text = {0};
    int rc = kube_secret_read(&c->config->token, &text, err);
    struct str token = text_of(&text);
    while (token.n && (token.p[token.n - 1] == '\n' || token.p[token.n - 1] == '\r' || token.p[token.n - 1] == ' '))
        token.n--;
    if (rc == 0 && !token.n && c->config->token.file.n)
        rc = err_set(err, ERR_INVALID, "%s holds no token", c->config->token.file.p);
    for (size_t i = 0; rc == 0 && i < token.n; i++)
        if (token.p[i] <= ' ' || token.p[i] == 0x7f) /* it would end the header, and begin another */
            rc = err_set(err, ERR_INVALID, "the token holds a character that none may hold");
    if (rc == 0 && !str_eq(token, text_of(&c->token))) {
        wipe(&c->token);
        strbuf_adds(&c->token, token);
        *is_new = true;
    }
    wipe(&text);
    return rc;
}

static int load(struct kube_credentials *c, bool *is_new, bool *is_new_tls, struct err *err)
{
    int rc = c->config->is_tls ? load_tls(c, is_new_tls, err) : 0;
    *is_new |= *is_new_tls;
    return rc ? rc : load_token(c, is_new, err);
}

bool kube_credentials_reload(struct kube_credentials *c)
{
    struct err err = {0};
    bool is_new = false, is_new_tls = false;
    if (load(c, &is_new, &is_new_tls, &err))
        LOG_SELDOM(CLIENT, WARNING, "credentials for the API server stay as they were: %s", err.message);
    if (is_new_tls)
        c->on_tls(c->user);
    if (is_new)
        LOG(CLIENT, INFO, "credentials for the API server are new");
    return is_new;
}

static void on_file(void *user, const char *path)
{
    (void)path;
    kube_credentials_reload(user);
}

/* ---- life ---- */

struct kube_credentials *kube_credentials_new(struct loop *loop, const struct kube_config *keep_config, void (*on_tls)(void *user),
                                              void *user, struct err *err)
{
    const struct kube_secret *parts[] = {&keep_config->ca, &keep_config->certificate, &keep_config->key, &keep_config->token};
    bool is_new = false, is_new_tls = false;
    struct kube_credentials *c = NEW(kube_credentials);
    c->config = keep_config;
    c->on_tls = on_tls;
    c->user = user;
    c->watcher = file_watcher_new(loop, err);
    if (!c->watcher || load(c, &is_new, &is_new_tls, err))
        kube_credentials_free(&c);
    for (size_t i = 0; c && i < ARRAY_LEN(parts); i++)
        if (parts[i]->file.n && !parts[i]->text.n)
            file_watch_add(c->watcher, parts[i]->file.p, on_file, c);
    if (c && keep_config->skip_verify)
        LOG(CLIENT, WARNING, "the API server's certificate is not verified: insecure-skip-tls-verify");
    return c;
}

void kube_credentials_free(struct kube_credentials **p)
{
    struct kube_credentials *c = *p;
    *p = NULL;
    if (!c)
        return;
    file_watcher_free(&c->watcher);
    tls_context_unref(&c->tls);
    wipe(&c->token);
    mem_free(c);
}

struct tls_context *kube_credentials_tls(const struct kube_credentials *c)
{
    return c->tls;
}

struct str kube_credentials_token(const struct kube_credentials *c)
{
    return text_of(&c->token);
}
