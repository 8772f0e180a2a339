/* SPDX-License-Identifier: Apache-2.0
 *
 * Scoped routes. A key's fragments are put one behind the other, each with its length before it, so
 * that no two keys look alike. Built on the main thread, read by every worker; no memory at look-up.
 */
#include "proxy/route/scopes.h"

#include "base/mem.h"
#include "proxy/discovery/discovery.h"
#include "proxy/route/scope_source.h"

struct key {
    char bytes[SCOPE_KEY_BYTES_MAX];
    size_t n;
};

static bool key_add(struct key *k, struct str part)
{
    uint32_t n = (uint32_t)part.n;
    if (part.n > sizeof k->bytes || k->n + sizeof n + part.n > sizeof k->bytes)
        return false;
    memcpy(k->bytes + k->n, &n, sizeof n);
    if (part.n)
        memcpy(k->bytes + k->n + sizeof n, part.p, part.n);
    k->n += sizeof n + part.n;
    return true;
}

/* Splits at a whole separator; *rest is null at the end. */
static struct str split(struct str s, struct str separator, struct str *rest)
{
    ptrdiff_t at = separator.n ? str_find(s, separator) : -1;
    if (at < 0) {
        *rest = STR_NULL;
        return s;
    }
    *rest = str_make(s.p + at + separator.n, s.n - (size_t)at - separator.n);
    return str_make(s.p, (size_t)at);
}

static bool element_of(const struct scope_fragment *f, struct str value, struct str *out)
{
    uint32_t i = 0;
    while (value.p) {
        struct str one = split(value, f->separator, &value), rest;
        if (!f->by_key && i++ == f->index) {
            *out = one;
            return true;
        }
        if (f->by_key && str_eq(split(one, f->key_separator, &rest), f->key)) {
            *out = rest.p ? rest : STR(""); /* a bare key has the empty value */
            return true;
        }
    }
    return false;
}

const struct route_scope *route_scopes_find(const struct route_scopes *s, const struct headers *h)
{
    struct key key = {.n = 0};
    for (uint32_t i = 0; i < s->fragment_count; i++) {
        const struct scope_fragment *f = &s->fragments[i];
        struct str value = headers_get(h, f->header), part;
        if (!value.p || !element_of(f, value, &part) || !key_add(&key, part))
            return NULL;
    }
    if (s->dynamic)
        return scope_source_find(s->dynamic, str_make(key.bytes, key.n));
    return map_get(s->by_key, str_make(key.bytes, key.n));
}

int route_scope_key(const struct route_scope *s, struct strbuf *out, struct err *err)
{
    struct key key = {.n = 0};
    for (uint32_t i = 0; i < s->key_count; i++)
        if (!key_add(&key, s->key[i]))
            return err_set(err, ERR_LIMIT, "the key of scope '%.*s' is longer than %d bytes", STR_ARG(s->name), SCOPE_KEY_BYTES_MAX);
    strbuf_add(out, key.bytes, key.n);
    return 0;
}

static int add_scope(struct route_scopes *s, struct route_scope *scope, struct strbuf *key, struct err *err)
{
    strbuf_reset(key);
    if (route_scope_key(scope, key, err) < 0)
        return ERR_LIMIT;
    if (map_get(s->by_key, strbuf_str(key)))
        return err_set(err, ERR_INVALID, "scope '%.*s' has the key of an earlier one", STR_ARG(scope->name));
    if (!scope->rds_name.n) {
        scope->routes = route_source_inline(scope->spec, err);
        scope->spec = NULL;
        if (!scope->routes)
            return ERR_INVALID;
    }
    map_set(s->by_key, strbuf_str(key), scope);
    return 0;
}

int route_scopes_init(struct route_scopes *s, struct err *err)
{
    struct strbuf key = {0};
    int rc = 0;
    s->by_key = map_new();
    for (uint32_t i = 0; rc == 0 && i < s->count; i++)
        if ((rc = add_scope(s, &s->items[i], &key, err)) < 0)
            err_prefix(err, "scoped_route_configurations[%u]", i);
    strbuf_fini(&key);
    return rc < 0 ? ERR_INVALID : 0;
}

void route_scopes_fini(struct route_scopes *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        route_source_unref(&s->items[i].routes);
        if (s->items[i].spec)
            route_config_fini(s->items[i].spec);
    }
    map_free(&s->by_key);
    scope_source_unref(&s->dynamic);
    config_source_unref(&s->srds.source);
    config_source_unref(&s->rds);
}
