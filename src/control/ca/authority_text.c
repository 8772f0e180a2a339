/* SPDX-License-Identifier: Apache-2.0
 *
 * How own roots are kept: lines of "name: value", and behind those of each root its certificate and its key in PEM, so that
 * OpenSSL's tools can read the file too. Reading refuses what it doesn't know rather than lose it with the next write.
 */
#include "control/ca/authority_priv.h"

#include "pki/cert.h"
#include "pki/issue.h"

static const char head[] = "weftd's certificate authority. It holds private keys: for its owner only.\n";
static const struct str format = STR("1");
static const char *const state_names[] = {
#define X(id, text) text,
    CA_ROOT_STATES(X)
#undef X
};

/* ---- writing ---- */

static int write_root(const struct ca_root *r, struct strbuf *out, struct err *err)
{
    strbuf_addf(out, "\nroot: %s\nsigns-from: %lld\ntrusted-until: %lld\n", state_names[r->state], (long long)r->signs_from_s,
                (long long)r->trusted_until_s);
    strbuf_adds(out, strbuf_str(&r->cert));
    return r->state == CA_ROOT_RETIRED ? 0 : key_pem(r->key, out, err);
}

int authority_write(const struct authority *a, struct strbuf *out, struct err *err)
{
    int rc = 0;
    strbuf_reserve(out, (size_t)64 << 10); /* growing would leave copies of keys behind */
    strbuf_addz(out, head);
    strbuf_addf(out, "format: %.*s\n", STR_ARG(format));
    for (uint32_t i = 0; rc == 0 && i < a->count; i++)
        if (a->roots[i].state != CA_ROOT_GONE)
            rc = write_root(&a->roots[i], out, err);
    return rc;
}

/* ---- reading ---- */

/* The next line in *name and *value; false where none of this form follows. */
static bool next_field(struct str *at, struct str *name, struct str *value)
{
    struct str rest, line = str_split(*at, '\n', &rest);
    ptrdiff_t colon = str_find(line, STR(": "));
    if (colon <= 0 || str_has_prefix(line, STR("-----")))
        return false;
    *name = str_make(line.p, (size_t)colon);
    *value = str_make(line.p + colon + 2, line.n - (size_t)colon - 2);
    *at = rest;
    return true;
}

static int read_state(struct str value, enum ca_root_state *out, struct err *err)
{
    for (int i = 0; i < CA_ROOT_GONE; i++)
        if (str_eq(value, str_from(state_names[i]))) {
            *out = (enum ca_root_state)i;
            return 0;
        }
    return err_set(err, ERR_SYNTAX, "a root can't be '%.*s'", STR_ARG(value));
}

static int read_number(struct str name, struct str value, int64_t *out, struct err *err)
{
    if (str_to_i64(value, out) && *out >= 0)
        return 0;
    return err_set(err, ERR_SYNTAX, "%.*s: '%.*s' is no number of seconds", STR_ARG(name), STR_ARG(value));
}

static int read_pem(struct ca_root *r, struct str pem, struct err *err)
{
    struct arena a;
    struct cert_part *parts;
    size_t n;
    arena_init(&a, 0);
    int rc = cert_parts(pem, &a, &parts, &n, err);
    if (rc == 0 && n != 1)
        rc = err_set(err, ERR_SYNTAX, "%zu certificates of one root", n);
    if (rc == 0) {
        strbuf_adds(&r->cert, parts[0].pem);
        strbuf_adds(&r->anchors, parts[0].pem);
    }
    if (rc == 0 && r->state != CA_ROOT_RETIRED && !(r->key = key_load(pem, STR_NULL, err)))
        rc = ERR_INVALID;
    arena_fini(&a);
    return rc;
}

/* Whether it still holds is a question for later: an authority whose root has ended must be able to make another. */
static int check_root(struct ca_root *r, struct err *err)
{
    struct arena a;
    struct cert_facts f;
    arena_init(&a, 0);
    int rc = cert_inspect(strbuf_str(&r->cert), &a, &f, err);
    arena_fini(&a);
    if (rc)
        return rc;
    r->not_before_s = f.not_before_s;
    r->not_after_s = f.not_after_s;
    return r->key ? issue_check_ca(strbuf_str(&r->cert), r->key, STR(""), strbuf_str(&r->cert), f.not_before_s, err) : 0;
}

static int read_root(struct ca_root *r, struct str text, struct err *err)
{
    struct str name, value;
    int rc = 0;
    while (rc == 0 && next_field(&text, &name, &value)) {
        if (str_eq(name, STR("root")))
            rc = read_state(value, &r->state, err);
        else if (str_eq(name, STR("signs-from")))
            rc = read_number(name, value, &r->signs_from_s, err);
        else if (str_eq(name, STR("trusted-until")))
            rc = read_number(name, value, &r->trusted_until_s, err);
        else
            rc = err_set(err, ERR_SYNTAX, "a root has no '%.*s'", STR_ARG(name));
    }
    if (rc == 0)
        rc = read_pem(r, text, err);
    return rc ? rc : check_root(r, err);
}

static int read_head(struct str *text, struct err *err)
{
    struct str name, value;
    if (!str_has_prefix(*text, str_from(head)))
        return err_set(err, ERR_SYNTAX, "it was not written by weftd");
    *text = str_make(text->p + strlen(head), text->n - strlen(head));
    if (!next_field(text, &name, &value) || !str_eq(name, STR("format")) || !str_eq(value, format))
        return err_set(err, ERR_UNSUPPORTED, "it is not of format %.*s, the one that this weftd knows", STR_ARG(format));
    return 0;
}

static int check_states(const struct authority *a, struct err *err)
{
    uint32_t signing = 0, announced = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        signing += a->roots[i].state == CA_ROOT_SIGNING;
        announced += a->roots[i].state == CA_ROOT_ANNOUNCED;
    }
    if (signing == 1 && announced <= 1)
        return 0;
    return err_set(err, ERR_INVALID, "%u roots sign and %u are announced; there must be one, and at most one", signing, announced);
}

int authority_read(struct authority *a, struct str text, struct err *err)
{
    static const struct str start = STR("\nroot: ");
    int rc = read_head(&text, err);
    ptrdiff_t at = rc ? -1 : str_find(text, start);
    while (rc == 0 && at >= 0) {
        struct str rest = str_make(text.p + at + 1, text.n - (size_t)at - 1);
        at = str_find(rest, start);
        struct str section = at < 0 ? rest : str_make(rest.p, (size_t)at + 1);
        text = rest;
        if (a->count == CA_ROOTS_MAX)
            rc = err_set(err, ERR_LIMIT, "more than %u roots", CA_ROOTS_MAX);
        else if ((rc = read_root(&a->roots[a->count++], section, err)) != 0)
            err_prefix(err, "roots[%u]", a->count - 1);
    }
    return rc ? rc : check_states(a, err);
}
