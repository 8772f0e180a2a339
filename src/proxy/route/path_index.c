/* SPDX-License-Identifier: Apache-2.0
 *
 * Path index. Three sources of candidates, each a list of places in ascending order:
 *  - the exact paths equal to this one;
 *  - each prefix that the path begins with: prefixes are sorted, each knows the longest other one
 *    that it begins with itself; the last one not after the path in that order, or one of its
 *    ancestors, is the longest that fits, and its ancestors are all the others;
 *  - routes that say nothing certain about the path's beginning (case-insensitive, CONNECT, open).
 * The lists are merged by place and each candidate asked in full, so that the first match of the
 * index is the first match of the list. Built on the main thread, read by every worker.
 */
#include "proxy/route/path_index.h"

#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"

#define LISTS_MAX 32 /* prefixes of one path that stand in a table; past it the list is walked whole */

struct places {
    uint32_t *items;
    size_t count, cap;
};
struct prefix {
    struct str text;
    struct places at;
    int64_t parent; /* index of the longest other prefix of this one; -1 */
};
struct path_index {
    struct route_entry *const *routes;
    uint32_t count;
    struct map *exact; /* -> struct places */
    struct prefix *prefixes;
    size_t prefix_count, prefix_cap;
    struct places rest;
};

static void place_add(struct places *p, uint32_t at)
{
    p->items = mem_grow(p->items, &p->cap, p->count + 1, sizeof *p->items);
    p->items[p->count++] = at;
}

/* ---- what is certain about a path ---- */

struct str path_index_literal(struct str regex)
{
    size_t n = 0;
    if (str_find_char(regex, '|') >= 0)
        return STR("");
    while (n < regex.n && !strchr("\\^$.[]()?*+{}", regex.p[n]))
        n++;
    if (n && n < regex.n && strchr("?*{", regex.p[n]))
        n--; /* the last character may be absent */
    return str_make(regex.p, n);
}

static struct str template_literal(struct str text)
{
    size_t n = 0;
    while (n < text.n && text.p[n] != '{' && text.p[n] != '*')
        n++;
    return str_make(text.p, n);
}

static bool certain_prefix(const struct route_match *m, struct str *out)
{
    switch (m->kind) {
    case PATH_PREFIX:
    case PATH_SEPARATED_PREFIX:
        *out = m->path;
        return !m->ignore_case;
    case PATH_REGEX:
        *out = path_index_literal(m->path);
        return out->n > 0;
    case PATH_TEMPLATE:
        *out = template_literal(m->path);
        return out->n > 0;
    case PATH_EXACT:
    case PATH_CONNECT:
    case PATH_ANY:
        break;
    }
    return false;
}

/* ---- building ---- */

static void add_exact(struct path_index *x, struct str path, uint32_t at)
{
    struct places *p = map_get(x->exact, path);
    if (!p) {
        p = NEW(places);
        map_set(x->exact, path, p);
    }
    place_add(p, at);
}

static void add_prefix(struct path_index *x, struct map *known, struct str text, uint32_t at)
{
    size_t i = (size_t)(uintptr_t)map_get(known, text);
    if (!i) {
        x->prefixes = mem_grow(x->prefixes, &x->prefix_cap, x->prefix_count + 1, sizeof *x->prefixes);
        x->prefixes[x->prefix_count] = (struct prefix){.text = text, .parent = -1};
        i = ++x->prefix_count;
        map_set(known, text, (void *)(uintptr_t)i);
    }
    place_add(&x->prefixes[i - 1].at, at);
}

static int bytewise(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : a.n < b.n ? -1 : a.n > b.n;
}

static int by_text(const void *a, const void *b)
{
    return bytewise(((const struct prefix *)a)->text, ((const struct prefix *)b)->text);
}

/* Sorted, a prefix's own prefixes stand before it: those still open form a stack, linked by `parent`. */
static void link_parents(struct path_index *x)
{
    if (x->prefix_count)
        qsort(x->prefixes, x->prefix_count, sizeof *x->prefixes, by_text);
    for (size_t i = 1; i < x->prefix_count; i++) {
        int64_t p = (int64_t)i - 1;
        while (p >= 0 && !str_has_prefix(x->prefixes[i].text, x->prefixes[p].text))
            p = x->prefixes[p].parent;
        x->prefixes[i].parent = p;
    }
}

struct path_index *path_index_new(struct route_entry *const *routes, uint32_t count)
{
    struct path_index *x = NEW(path_index);
    struct map *known = map_new();
    x->routes = routes;
    x->count = count;
    x->exact = map_new();
    for (uint32_t i = 0; i < count; i++) {
        const struct route_match *m = &routes[i]->match;
        struct str prefix;
        if (m->kind == PATH_EXACT && !m->ignore_case)
            add_exact(x, m->path, i);
        else if (certain_prefix(m, &prefix))
            add_prefix(x, known, prefix, i);
        else
            place_add(&x->rest, i);
    }
    link_parents(x);
    map_free(&known);
    return x;
}

void path_index_free(struct path_index **index)
{
    struct path_index *x = *index;
    if (!x)
        return;
    size_t pos = 0;
    struct str key;
    void *value;
    while (map_next(x->exact, &pos, &key, &value)) {
        mem_free(((struct places *)value)->items);
        mem_free(value);
    }
    map_free(&x->exact);
    for (size_t i = 0; i < x->prefix_count; i++)
        mem_free(x->prefixes[i].at.items);
    mem_free(x->prefixes);
    mem_free(x->rest.items);
    mem_free(x);
    *index = NULL;
}

/* ---- looking up ---- */

static int64_t longest_prefix(const struct path_index *x, struct str path)
{
    size_t low = 0, high = x->prefix_count; /* the first that stands after the path */
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (bytewise(x->prefixes[mid].text, path) <= 0)
            low = mid + 1;
        else
            high = mid;
    }
    int64_t p = (int64_t)low - 1;
    while (p >= 0 && !str_has_prefix(path, x->prefixes[p].text))
        p = x->prefixes[p].parent;
    return p;
}

struct cursor {
    const uint32_t *at, *end;
};

static uint32_t push(struct cursor *lists, uint32_t n, const struct places *p)
{
    if (p && p->count && n < LISTS_MAX)
        lists[n++] = (struct cursor){p->items, p->items + p->count};
    return n;
}

static bool takes(const struct path_index *x, uint32_t at, const struct route_look *l)
{
    return route_look_refusal(&x->routes[at]->match, l, NULL) == ROUTE_TAKEN;
}

static const struct route_entry *walk(const struct path_index *x, const struct route_look *l)
{
    for (uint32_t i = 0; i < x->count; i++)
        if (takes(x, i, l))
            return x->routes[i];
    return NULL;
}

const struct route_entry *path_index_find(const struct path_index *x, const struct route_look *l)
{
    struct cursor lists[LISTS_MAX];
    uint32_t n = 0;
    if (str_eq(l->path, STR("*"))) /* not a path: "/" takes it, see route_look_path */
        return walk(x, l);
    if (l->bare.p) {
        n = push(lists, n, map_count(x->exact) ? map_get(x->exact, l->bare) : NULL);
        for (int64_t p = longest_prefix(x, l->bare); p >= 0; p = x->prefixes[p].parent)
            n = push(lists, n, &x->prefixes[p].at);
    }
    n = push(lists, n, &x->rest);
    if (n == LISTS_MAX)
        return walk(x, l);
    while (n) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < n; i++)
            best = *lists[i].at < *lists[best].at ? i : best;
        uint32_t at = *lists[best].at++;
        if (takes(x, at, l))
            return x->routes[at];
        if (lists[best].at == lists[best].end)
            lists[best] = lists[--n];
    }
    return NULL;
}
