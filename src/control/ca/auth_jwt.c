/* SPDX-License-Identifier: Apache-2.0
 *
 * Callers by a JWT that an issuer outside signed (OpenID Connect Core, section 3.1.3.7, for what must be checked). The token goes
 * into no text. Keys come from the configuration or a file, never from a URL that a token names. One loop's thread.
 */
#include "control/ca/auth.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/file_watch.h"
#include "pki/jwt.h"

struct auth_jwt {
    struct authenticator authenticator;
    struct auth_jwt_opts opts; /* texts are own */
    struct str *audiences;
    char *path;                /* NULL: inline */
    struct jwks *keys;
    struct file_watcher *watcher;
};

#define OF(a) CONTAINER_OF(a, auth_jwt, authenticator)

/* ---- keys ---- */

static int load_keys(struct auth_jwt *j, struct err *err)
{
    struct strbuf text = {0};
    int rc = file_read(j->path, JWKS_MAX_BYTES, &text, err);
    struct jwks *keys = rc ? NULL : jwks_new(strbuf_str(&text), err);
    strbuf_fini(&text);
    if (!keys)
        return rc ? rc : err_prefix(err, "%s", j->path);
    jwks_unref(&j->keys);
    j->keys = keys;
    return 0;
}

static void on_change(void *user, const char *path)
{
    struct auth_jwt *j = user;
    struct err err = {0};
    char text[ERR_MESSAGE_BYTES + ERR_PATH_BYTES];
    if (load_keys(j, &err) < 0)
        LOG(SECRET, WARNING, "keys of %.*s: %s; the old ones stay", STR_ARG(j->opts.issuer), err_format(&err, text, sizeof text));
    else
        LOG(SECRET, INFO, "keys of %.*s were read again from %s", STR_ARG(j->opts.issuer), path);
}

/* ---- tokens ---- */

static bool is_for_us(const struct auth_jwt *j, const struct jwt *t)
{
    for (uint32_t i = 0; i < t->audience_count; i++)
        for (uint32_t k = 0; k < j->opts.audience_count; k++)
            if (str_eq(t->audiences[i], j->audiences[k]))
                return true;
    return false;
}

static int check(const struct auth_jwt *j, const struct jwt *t, struct str *ns, struct str *sa, struct err *why)
{
    enum jwt_status st = JWT_OK;
    if (!str_eq(t->iss, j->opts.issuer))
        return err_set(why, ERR_INVALID, "the token is not of %.*s", STR_ARG(j->opts.issuer));
    st = jwt_verify(t, j->keys);
    if (st == JWT_OK && !t->has_exp)
        return err_set(why, ERR_INVALID, "the token has no end");
    if (st == JWT_OK)
        st = jwt_check_time(t, clock_wall_us() / 1000000, j->opts.skew_s);
    if (st != JWT_OK)
        return err_set(why, ERR_INVALID, "failed to verify the JWT token (error %s)", jwt_status_text(st));
    if (!is_for_us(j, t))
        return err_set(why, ERR_INVALID, "invalid audiences");
    if (!auth_account_of(t->sub, ns, sa))
        return err_set(why, ERR_INVALID, "invalid sub: it is no service account");
    return 0;
}

static enum auth_step begin(struct authenticator *a, struct auth_call *call, const struct auth_request *q, struct auth_caller *out,
                            struct err *why)
{
    const struct auth_jwt *j = OF(a);
    struct str token, ns, sa;
    struct jwt t;
    if (auth_bearer(q, &token, why) < 0)
        return AUTH_REFUSED;
    if (token.n > JWT_MAX_BYTES) {
        err_set(why, ERR_LIMIT, "a token of %zu bytes, at most %u are taken", token.n, JWT_MAX_BYTES);
        return AUTH_REFUSED;
    }
    enum jwt_status st = jwt_parse(token, auth_call_arena(call), &t);
    if (st != JWT_OK) {
        err_set(why, ERR_SYNTAX, "failed to verify the JWT token (error %s)", jwt_status_text(st));
        return AUTH_REFUSED;
    }
    int rc = check(j, &t, &ns, &sa, why);
    if (rc == 0)
        rc = auth_caller_of(auth_call_arena(call), j->opts.trust_domain, ns, sa, out, why);
    jwt_fini(&t);
    return rc == 0 ? AUTH_TAKEN : AUTH_REFUSED;
}

/* ---- beginning and end ---- */

static void free_it(struct authenticator *a)
{
    struct auth_jwt *j = OF(a);
    file_watcher_free(&j->watcher);
    jwks_unref(&j->keys);
    for (uint32_t i = 0; i < j->opts.audience_count; i++)
        str_free(&j->audiences[i]);
    str_free(&j->opts.issuer);
    str_free(&j->opts.trust_domain);
    mem_free(j->audiences);
    mem_free(j->path);
    mem_free(j);
}

static const struct authenticator_ops ops = {.name = "IDTokenAuthenticator", .begin = begin, .free = free_it};

static struct auth_jwt *copy_of(const struct auth_jwt_opts *o)
{
    struct auth_jwt *j = NEW(auth_jwt);
    j->authenticator.ops = &ops;
    j->opts = *o;
    j->opts.issuer = str_dup(o->issuer);
    j->opts.trust_domain = str_dup(o->trust_domain);
    j->audiences = mem_zalloc((o->audience_count + 1) * sizeof *j->audiences);
    for (uint32_t i = 0; i < o->audience_count; i++)
        j->audiences[i] = str_dup(o->audiences[i]);
    j->path = o->jwks_path.n ? mem_strndup(o->jwks_path.p, o->jwks_path.n) : NULL;
    return j;
}

static int begin_keys(struct auth_jwt *j, struct loop *loop, struct err *err)
{
    if (!j->path)
        return (j->keys = jwks_new(j->opts.jwks, err)) ? 0 : ERR_INVALID;
    int rc = load_keys(j, err);
    if (rc == 0 && !(j->watcher = file_watcher_new(loop, err)))
        rc = ERR_IO;
    if (rc == 0)
        file_watch_add(j->watcher, j->path, on_change, j);
    return rc;
}

struct authenticator *auth_jwt_new(struct loop *loop, const struct auth_jwt_opts *o, struct err *err)
{
    if (!o->issuer.n || !o->audience_count || (o->jwks.n != 0) == (o->jwks_path.n != 0)) {
        err_set(err, ERR_INVALID, "a JWT rule has an issuer, an audience or more, and keys either inline or in a file");
        return NULL;
    }
    struct auth_jwt *j = copy_of(o);
    if (begin_keys(j, loop, err) == 0)
        return &j->authenticator;
    free_it(&j->authenticator);
    return NULL;
}

/* ---- a rule in JSON ---- */

#define AUDIENCES_MAX 32u

static int read_audiences(const struct json_t *list, struct str *out, uint32_t *count, struct err *err)
{
    size_t n = claim_kind(list) == CLAIM_LIST ? claim_size(list) : 0;
    if (!n || n > AUDIENCES_MAX)
        return err_set(err, ERR_INVALID, "audiences: a list of 1 to %u texts", AUDIENCES_MAX);
    for (size_t i = 0; i < n; i++) {
        if (claim_kind(claim_at(list, i)) != CLAIM_TEXT)
            return err_set(err, ERR_INVALID, "audiences[%zu]: not a text", i);
        out[i] = claim_text(claim_at(list, i));
    }
    *count = (uint32_t)n;
    return 0;
}

static int read_member(struct str name, const struct json_t *value, struct auth_jwt_opts *o, struct str *audiences, struct err *err)
{
    const struct {
        struct str name, *text;
    } texts[] = {{STR("issuer"), &o->issuer}, {STR("jwks"), &o->jwks}, {STR("jwksFile"), &o->jwks_path}};
    if (str_eq(name, STR("audiences")))
        return read_audiences(value, audiences, &o->audience_count, err);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (!str_eq(name, texts[i].name))
            continue;
        if (claim_kind(value) != CLAIM_TEXT)
            return err_set(err, ERR_INVALID, "%.*s: not a text", STR_ARG(name));
        *texts[i].text = claim_text(value);
        return 0;
    }
    return err_set(err, ERR_UNSUPPORTED, "a JWT rule's '%.*s' isn't supported here; it has issuer, audiences, and jwks or jwksFile", STR_ARG(name));
}

struct authenticator *auth_jwt_rule_new(struct loop *loop, struct str rule, struct str trust_domain, uint64_t skew_s, struct err *err)
{
    struct json_t *json = claims_parse(rule);
    struct str audiences[AUDIENCES_MAX], name;
    struct auth_jwt_opts o = {.audiences = audiences, .trust_domain = trust_domain, .skew_s = skew_s};
    const struct json_t *value;
    int rc = json ? 0 : err_set(err, ERR_SYNTAX, "a JWT rule is a JSON object");
    for (void *at = NULL; rc == 0 && claim_next(json, &at, &name, &value);)
        rc = read_member(name, value, &o, audiences, err);
    struct authenticator *a = rc == 0 ? auth_jwt_new(loop, &o, err) : NULL;
    claims_free(&json);
    return a;
}
