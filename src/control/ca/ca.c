/* SPDX-License-Identifier: Apache-2.0
 *
 * Wires the parts together, and looks after the files: a plugged-in authority is read again when they change, the bundle is
 * written for others to read, a revocation list is taken up when it is good. One loop's thread.
 */
#include "control/ca/ca.h"

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/file_watch.h"
#include "pki/cert.h"
#include "pki/issue.h"
#include "pki/spiffe.h"

#include <errno.h>
#include <sys/stat.h>

#define DAY_S 86400
#define RENEW_PCT 20 /* istiod's CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE */
#define CRL_MAX_BYTES ((size_t)1 << 20) /* what a ConfigMap holds */

struct ca {
    struct ca_opts opts;
    char *folder, *bundle_file;
    bool is_plugged_in;
    struct signer *signer;
    struct auth_chain *auth;
    struct issuer *issuer;
    struct serving *serving;
    struct file_watcher *watcher;
    struct strbuf crl;
    struct strbuf believed; /* the bundle that was told last */
};

/* ---- files ---- */

static char *path_of(const struct ca *ca, const char *name)
{
    struct strbuf path = {0};
    strbuf_addf(&path, "%s/%s", ca->folder, name);
    return strbuf_take(&path);
}

/* True: another one than before. One that can't be used leaves the old in force: better too many refused than too few. */
static bool read_crl(struct ca *ca)
{
    char *path = path_of(ca, "ca-crl.pem");
    struct strbuf text = {0};
    struct err err = {0};
    size_t count;
    int rc = file_read(path, CRL_MAX_BYTES, &text, &err);
    if (rc == 0 && (rc = issue_check_crl(strbuf_str(&text), &count, &err)) != 0)
        err_prefix(&err, "%s", path);
    if (rc && rc != ERR_NOT_FOUND)
        LOG(SECRET, WARNING, "the revocation list stays as it was: %s %s", err.path, err.message);
    bool changed = (rc == 0 || rc == ERR_NOT_FOUND) && !str_eq(strbuf_str(&text), strbuf_str(&ca->crl));
    if (changed) {
        struct strbuf old = ca->crl;
        ca->crl = text;
        text = old;
    }
    strbuf_fini(&text);
    mem_free(path);
    return changed;
}

static void write_bundle(const struct ca *ca, const struct ca_trust *t)
{
    struct err err = {0};
    if (file_replace(ca->bundle_file, t->bundle, 0644, &err) < 0)
        LOG(SECRET, WARNING, "the mesh's roots aren't in their file: %s", err.message);
}

/* ---- what happens ---- */

static void tell_trust(struct ca *ca, const struct ca_trust *t)
{
    if (ca->opts.on_trust)
        ca->opts.on_trust(ca->opts.user, t, strbuf_str(&ca->crl));
}

/* Own roots are announced before they sign; what an operator plugs in signs at once. */
static void warn_of_strangers(struct ca *ca, const struct ca_trust *t)
{
    int64_t now_s = (int64_t)(loop_wall_us(ca->opts.loop) / 1000000);
    if (t->chain.n && ca->believed.n && cert_verify(t->chain, strbuf_str(&ca->believed), now_s, NULL) < 0)
        LOG(SECRET, WARNING, "what signs now leads to a root that proxies hadn't been told of: until each has renewed its certificate "
                             "they refuse each other. root-cert.pem should have had both roots first");
    strbuf_reset(&ca->believed);
    strbuf_adds(&ca->believed, t->bundle);
}

static void on_trust(void *user, const struct ca_trust *t)
{
    struct ca *ca = user;
    warn_of_strangers(ca, t);
    LOG(SECRET, INFO, "roots of %.*s, version %llu%s", STR_ARG(ca->opts.trust_domain), (unsigned long long)t->generation,
        t->is_rotating ? ": a rotation is under way" : "");
    if (ca->bundle_file)
        write_bundle(ca, t);
    if (ca->serving)
        serving_renew(ca->serving);
    tell_trust(ca, t);
}

static void on_state(void *user, bool is_up, const char *why)
{
    (void)user, (void)why; /* who says no says why */
    if (is_up)
        LOG(SECRET, INFO, "the certificate authority's signer serves");
}

static void on_folder(void *user, const char *path)
{
    struct ca *ca = user;
    (void)path;
    if (read_crl(ca) && signer_trust(ca->signer))
        tell_trust(ca, signer_trust(ca->signer));
    if (ca->is_plugged_in)
        signer_reload(ca->signer, NULL, NULL, NULL); /* while it is down it will read them anyhow */
}

/* ---- beginning and end ---- */

static int64_t or_else(int64_t value, int64_t otherwise)
{
    return value ? value : otherwise;
}

static int settle(struct ca *ca, struct err *err)
{
    struct ca_opts *o = &ca->opts;
    o->trust_domain = str_dup(o->trust_domain.n ? o->trust_domain : STR("cluster.local"));
    o->default_ttl_s = or_else(o->default_ttl_s, DAY_S);
    o->max_ttl_s = or_else(o->max_ttl_s, 90 * DAY_S);
    o->root_ttl_s = or_else(o->root_ttl_s, 3650ll * DAY_S);
    o->announce_s = or_else(o->announce_s, o->default_ttl_s);
    if (!spiffe_trust_domain_is_valid(o->trust_domain))
        return err_set(err, ERR_INVALID, "'%.*s' is no trust domain", STR_ARG(o->trust_domain));
    if (o->default_ttl_s < 1 || o->default_ttl_s > o->max_ttl_s || o->max_ttl_s > o->root_ttl_s || o->announce_s < 0)
        return err_set(err, ERR_INVALID, "certificates live %lld s by default and %lld s at most, a root %lld s: each must fit into the next",
                       (long long)o->default_ttl_s, (long long)o->max_ttl_s, (long long)o->root_ttl_s);
    if ((o->own_folder.n != 0) == (o->plugged_in_folder.n != 0))
        return err_set(err, ERR_INVALID, "an authority has either own roots or a plugged-in certificate");
    if (!ca->is_plugged_in && mkdir(ca->folder, 0700) < 0 && errno != EEXIST)
        return err_set_errno(err, errno, "cannot make %s", ca->folder);
    return 0;
}

static void begin_signer(struct ca *ca)
{
    const struct ca_opts *o = &ca->opts;
    char *path = ca->is_plugged_in ? mem_strdup(ca->folder) : path_of(ca, CA_OWN_FILE);
    struct signer_opts s = {
        .loop = o->loop, .on_trust = on_trust, .on_state = on_state, .user = ca,
        .open = {.path = str_from(path), .is_plugged_in = ca->is_plugged_in,
                 .authority = {.trust_domain = o->trust_domain, .key_kind = o->key_kind, .root_ttl_s = o->root_ttl_s,
                               .announce_s = o->announce_s, .max_ttl_s = o->max_ttl_s, .renew_pct = RENEW_PCT}},
    };
    ca->signer = signer_new(&s);
    mem_free(path);
}

static void begin_issuer(struct ca *ca)
{
    const struct ca_opts *o = &ca->opts;
    struct issuer_opts i = {
        .loop = o->loop, .signer = ca->signer, .auth = ca->auth, .default_ttl_s = o->default_ttl_s, .max_ttl_s = o->max_ttl_s,
        .trusted_node_accounts = o->trusted_node_accounts, .trusted_node_account_count = o->trusted_node_account_count,
        .may_impersonate = o->may_impersonate, .user = o->user,
    };
    ca->issuer = issuer_new(&i);
}

static void begin_serving(struct ca *ca)
{
    const struct ca_opts *o = &ca->opts;
    struct serving_opts s = {.loop = o->loop, .signer = ca->signer, .hosts = o->hosts, .host_count = o->host_count,
                             .key_kind = o->key_kind, .ttl_s = o->default_ttl_s, .on_certificate = o->on_certificate, .user = o->user};
    if (o->host_count && o->on_certificate)
        ca->serving = serving_new(&s);
}

struct ca *ca_new(const struct ca_opts *o, struct err *err)
{
    struct ca *ca = NEW(ca);
    ca->opts = *o;
    struct str folder = o->plugged_in_folder.n ? o->plugged_in_folder : o->own_folder;
    ca->is_plugged_in = o->plugged_in_folder.n != 0;
    ca->folder = mem_strndup(folder.p, folder.n);
    ca->bundle_file = o->bundle_file.n ? mem_strndup(o->bundle_file.p, o->bundle_file.n) : NULL;
    ca->auth = auth_chain_new(o->loop);
    if (settle(ca, err) < 0 || !(ca->watcher = file_watcher_new(o->loop, err))) {
        ca_free(&ca);
        return NULL;
    }
    read_crl(ca);
    file_watch_add(ca->watcher, ca->folder, on_folder, ca);
    begin_signer(ca);
    begin_issuer(ca);
    begin_serving(ca);
    return ca;
}

void ca_free(struct ca **p)
{
    struct ca *ca = *p;
    *p = NULL;
    if (!ca)
        return;
    file_watcher_free(&ca->watcher);
    serving_free(&ca->serving);
    issuer_free(&ca->issuer);
    auth_chain_free(&ca->auth);
    signer_free(&ca->signer);
    str_free(&ca->opts.trust_domain);
    strbuf_fini(&ca->crl);
    strbuf_fini(&ca->believed);
    mem_free(ca->folder);
    mem_free(ca->bundle_file);
    mem_free(ca);
}

/* ---- asking ---- */

struct auth_chain *ca_auth(struct ca *ca)
{
    return ca->auth;
}

void ca_serve(struct ca *ca, struct grpc_server *g)
{
    ca_service_serve(ca->issuer, g);
}

bool ca_is_ready(const struct ca *ca)
{
    return signer_trust(ca->signer) && (!ca->serving || serving_until_s(ca->serving));
}

const char *ca_fault(const struct ca *ca)
{
    return signer_why_down(ca->signer);
}

const struct ca_trust *ca_trust(const struct ca *ca)
{
    return signer_trust(ca->signer);
}

struct str ca_crl(const struct ca *ca)
{
    return strbuf_str(&ca->crl);
}

int ca_rotate(struct ca *ca, signer_fn fn, void *user, struct err *err)
{
    struct err own = {0};
    err = err ? err : &own;
    return signer_rotate(ca->signer, fn, user, err) ? 0 : err->code;
}

void ca_metrics(const struct ca *ca, struct strbuf *prometheus)
{
    issuer_metrics(ca->issuer, (int64_t)(loop_wall_us(ca->opts.loop) / 1000000), prometheus);
}
