/* SPDX-License-Identifier: Apache-2.0
 *
 * The index of domains. A host costs one look-up and one for each different length of a wildcard's fixed
 * part; what isn't there (no wildcards, mostly) costs none. Made on the main thread, read by every worker.
 */
#include "proxy/route/domains.h"

#include "base/mem.h"
#include "proxy/route/route.h"

/* ---- lengths of wildcards ---- */

static size_t length_place(const struct wildcards *w, size_t n)
{
    size_t i = 0;
    while (i < w->count && w->lengths[i].n > n)
        i++;
    return i;
}

static void length_use(struct wildcards *w, size_t n)
{
    size_t at = length_place(w, n);
    if (at == w->count || w->lengths[at].n != n) {
        w->lengths = mem_grow(w->lengths, &w->cap, w->count + 1, sizeof *w->lengths);
        memmove(w->lengths + at + 1, w->lengths + at, (w->count - at) * sizeof *w->lengths);
        w->lengths[at] = (struct wildcard_length){.n = n};
        w->count++;
    }
    w->lengths[at].users++;
}

static void length_leave(struct wildcards *w, size_t n)
{
    size_t at = length_place(w, n);
    if (--w->lengths[at].users)
        return;
    w->count--;
    memmove(w->lengths + at, w->lengths + at + 1, (w->count - at) * sizeof *w->lengths);
}

static void wildcards_copy(struct wildcards *w, const struct wildcards *from)
{
    *w = (struct wildcards){.map = pmap_copy(from->map), .count = from->count};
    if (!w->count)
        return;
    w->lengths = mem_grow(NULL, &w->cap, w->count, sizeof *w->lengths);
    memcpy(w->lengths, from->lengths, w->count * sizeof *w->lengths);
}

static void wildcards_fini(struct wildcards *w)
{
    pmap_free(&w->map);
    mem_free(w->lengths);
}

/* ---- lives ---- */

void domains_init(struct domains *d)
{
    *d = (struct domains){.exact = pmap_new(NULL), .suffixes.map = pmap_new(NULL), .prefixes.map = pmap_new(NULL)};
}

void domains_copy(struct domains *d, const struct domains *from)
{
    d->exact = pmap_copy(from->exact);
    wildcards_copy(&d->suffixes, &from->suffixes);
    wildcards_copy(&d->prefixes, &from->prefixes);
    d->any = from->any;
}

void domains_fini(struct domains *d)
{
    pmap_free(&d->exact);
    wildcards_fini(&d->suffixes);
    wildcards_fini(&d->prefixes);
    d->any = NULL;
}

/* ---- one domain ---- */

/* Where a domain (in lower case) stands; `key` is its fixed part. All NULL: it is "*". */
struct standing {
    struct pmap *map;
    struct wildcards *wild; /* NULL: exact */
    struct str key;
};

static struct standing standing_of(struct domains *d, struct str domain)
{
    if (str_eq(domain, STR("*")))
        return (struct standing){0};
    if (domain.n && domain.p[0] == '*')
        return (struct standing){d->suffixes.map, &d->suffixes, str_make(domain.p + 1, domain.n - 1)};
    if (domain.n && domain.p[domain.n - 1] == '*')
        return (struct standing){d->prefixes.map, &d->prefixes, str_make(domain.p, domain.n - 1)};
    return (struct standing){d->exact, NULL, domain};
}

static bool is_taken(struct domains *d, struct str domain)
{
    struct standing s = standing_of(d, domain);
    return s.map ? pmap_get(s.map, s.key) != NULL : d->any != NULL;
}

static void add(struct domains *d, struct str domain, const struct virtual_host *v)
{
    struct standing s = standing_of(d, domain);
    if (!s.map)
        d->any = v;
    else
        pmap_set(s.map, s.key, (void *)(uintptr_t)v);
    if (s.wild)
        length_use(s.wild, s.key.n);
}

static void take_out(struct domains *d, struct str domain)
{
    struct standing s = standing_of(d, domain);
    if (!s.map)
        d->any = NULL;
    else
        pmap_del(s.map, s.key);
    if (s.wild)
        length_leave(s.wild, s.key.n);
}

/* ---- a virtual host's ---- */

int domains_add(struct domains *d, const struct virtual_host *v, struct err *err)
{
    for (uint32_t i = 0; i < v->domain_count; i++) {
        if (!is_taken(d, v->domains[i])) {
            add(d, v->domains[i], v);
            continue;
        }
        err_set(err, ERR_EXISTS, "domain %.*s stands in two virtual hosts or twice in %.*s; domains must be unique",
                STR_ARG(v->domains[i]), STR_ARG(v->name));
        err_prefix(err, "domains[%u]", i);
        while (i--)
            take_out(d, v->domains[i]);
        return ERR_EXISTS;
    }
    return 0;
}

void domains_remove(struct domains *d, const struct virtual_host *v)
{
    for (uint32_t i = 0; i < v->domain_count; i++)
        take_out(d, v->domains[i]);
}

/* ---- looking up ---- */

static const struct virtual_host *find_wildcard(const struct wildcards *w, struct str host, bool at_end)
{
    for (size_t i = 0; i < w->count; i++) {
        size_t n = w->lengths[i].n;
        if (n >= host.n) /* the '*' stands for at least one character */
            continue;
        struct str part = at_end ? str_make(host.p + host.n - n, n) : str_make(host.p, n);
        const struct virtual_host *v = pmap_get(w->map, part);
        if (v)
            return v;
    }
    return NULL;
}

const struct virtual_host *domains_find(const struct domains *d, struct str host)
{
    const struct virtual_host *v = pmap_get(d->exact, host);
    if (!v)
        v = find_wildcard(&d->suffixes, host, true);
    if (!v)
        v = find_wildcard(&d->prefixes, host, false);
    return v ? v : d->any;
}
