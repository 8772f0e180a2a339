/* SPDX-License-Identifier: Apache-2.0
 *
 * Delta: requests tell what is wanted anew and no longer; the first of a stream tells everything, and the versions of what we
 * have, so that the server sends only what changed meanwhile. Resources are taken and refused one by one: what was refused
 * keeps its old version, so that the next stream is told of it again.
 *
 * A wildcard is an empty list on the first request, unless names have ever been asked for: then it is "*".
 */
#include "base/mem.h"
#include "xds/client_priv.h"

/* ---- requests ---- */

static void say_name(struct xds_request *r, struct arena *a, const struct name *n)
{
    struct str text = arena_str(a, str_make(n->text, n->n)); /* n may be freed before the request is written */
    if (n->is_wanted)
        r->names[r->name_count++] = text;
    else
        r->unsubscribed[r->unsubscribed_count++] = text;
}

static void first_request(struct type *t, struct arena *a, struct xds_request *r)
{
    size_t all = map_count(t->by_name);
    r->names = arena_alloc(a, (all + 1) * sizeof *r->names);
    r->initial_versions = arena_alloc(a, all * sizeof *r->initial_versions);
    if (t->is_wildcard && t->was_named)
        r->names[r->name_count++] = STR("*");
    LIST_EACH(it, safe, &t->names) {
        struct name *n = LIST_ENTRY(it, name, node);
        list_remove(&n->due);
        if (n->is_wanted)
            say_name(r, a, n);
        if (n->version)
            r->initial_versions[r->initial_count++] =
                (struct xds_versioned){str_make(n->text, n->n), version_text(n->version)};
        else if (!n->is_wanted && !n->expires_us)
            name_forget(t, n);
    }
}

static void later_request(struct type *t, struct arena *a, struct xds_request *r)
{
    size_t due = 1;
    LIST_EACH(it, safe, &t->due)
        due++;
    r->names = arena_alloc(a, due * sizeof *r->names);
    r->unsubscribed = arena_alloc(a, due * sizeof *r->unsubscribed);
    if (t->is_wildcard && !t->said_wildcard)
        r->names[r->name_count++] = STR("*");
    if (!t->is_wildcard && t->said_wildcard)
        r->unsubscribed[r->unsubscribed_count++] = STR("*");
    LIST_EACH(it, safe, &t->due) {
        struct name *n = LIST_ENTRY(it, name, due);
        list_remove(&n->due);
        say_name(r, a, n);
        if (!n->is_wanted && !n->version && !n->expires_us)
            name_forget(t, n);
    }
}

void delta_request(struct xds_client *c, struct type *t, struct arena *a, struct xds_request *r)
{
    (void)c;
    (t->is_first ? first_request : later_request)(t, a, r);
    t->said_wildcard = t->is_wildcard;
}

/* ---- responses ---- */

bool type_wants(const struct type *t, const struct xds_resource *r)
{
    const struct name *n = name_find(t, r->name);
    if (t->is_wildcard || (n && n->is_wanted))
        return true;
    for (uint32_t i = 0; i < r->alias_count; i++) {
        n = name_find(t, r->aliases[i]);
        if (n && n->is_wanted)
            return true;
    }
    size_t head = r->name.n;
    while (head && r->name.p[head - 1] != '/')
        head--;
    if (!t->desc->is_namespaced || !head)
        return false;
    n = name_find(t, str_make(r->name.p, head - 1));
    return n && n->is_wanted;
}

static struct str type_of(struct str url)
{
    size_t at = url.n;
    while (at && url.p[at - 1] != '/')
        at--;
    return str_make(url.p + at, url.n - at);
}

static void check_name(struct map *seen, struct str name, struct err_list *faults)
{
    if (map_set(seen, name, seen))
        err_list_addf(faults, ERR_EXISTS, "", "the name \"%.*s\" stands twice among what was added, updated and removed", STR_ARG(name));
}

void delta_check(struct type *t, const struct xds_response *r, struct err_list *faults)
{
    struct map *seen = map_new();
    for (uint32_t i = 0; i < r->resource_count; i++) {
        const struct xds_resource *one = &r->resources[i];
        check_name(seen, one->name, faults);
        if (one->has_body && !str_eq(type_of(one->type_url), str_from(t->desc->name)))
            err_list_addf(faults, ERR_INVALID, "", "\"%.*s\": the type %.*s isn't the response's, %s", STR_ARG(one->name),
                          STR_ARG(one->type_url), t->desc->name);
    }
    for (uint32_t i = 0; i < r->removed_count; i++)
        check_name(seen, r->removed[i], faults);
    map_free(&seen);
}

/* Does a fault's path begin with the name? A fault without a path is everybody's. */
static bool is_at_fault(struct str name, const struct err_list *faults, size_t before)
{
    for (size_t i = before; i < faults->count; i++) {
        struct str path = str_from(faults->items[i].path);
        if (!path.n)
            return true;
        if (!str_has_prefix(path, name))
            continue;
        char next = path.n > name.n ? path.p[name.n] : 0;
        if (next == 0 || next == '.' || next == ':' || next == '[' || next == ' ')
            return true;
    }
    return faults->dropped > 0;
}

static void remember(struct type *t, const struct xds_resource *r, struct version **last, uint64_t now_us)
{
    struct name *n = name_get(t, r->name);
    if (!*last || !str_eq(version_text(*last), r->version)) {
        version_unref(last);
        *last = version_new(r->version);
    }
    version_unref(&n->version);
    n->version = version_ref(*last);
    name_set_ttl(t, n, r->has_ttl ? now_us + r->ttl_us : 0);
}

static void forget_removed(struct type *t, struct str name)
{
    struct name *n = name_find(t, name);
    if (!n)
        return;
    version_unref(&n->version);
    name_set_ttl(t, n, 0);
    if (!n->is_wanted && list_is_empty(&n->due))
        name_forget(t, n);
}

void delta_settle(struct type *t, const struct xds_response *r, uint64_t now_us, const struct err_list *faults, size_t before)
{
    struct version *last = NULL;
    for (uint32_t i = 0; i < r->resource_count; i++)
        if (type_wants(t, &r->resources[i]) && !is_at_fault(r->resources[i].name, faults, before))
            remember(t, &r->resources[i], &last, now_us);
    for (uint32_t i = 0; i < r->removed_count; i++)
        forget_removed(t, r->removed[i]);
    version_unref(&last);
    strbuf_reset(&t->version);
    strbuf_adds(&t->version, r->version);
}
