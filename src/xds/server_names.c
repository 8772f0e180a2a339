/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists of names as one block each: where the names end, then their text, sorted. A thousand sidecars ask for the same
 * thousand clusters: the list is there once, and whether two ask for the same is a comparison of pointers.
 */
#include "xds/server_priv.h"

#include <stdlib.h>

#include "base/mem.h"

#define NAMES_SEED 0x6e616d65ull

uint32_t xds_names_count(const struct xds_names *n)
{
    return n ? n->count : 0;
}

struct str xds_names_at(const struct xds_names *n, uint32_t index)
{
    DCHECK(index < n->count);
    const char *text = (const char *)&n->ends[n->count];
    uint32_t from = index ? n->ends[index - 1] : 0;
    return str_make(text + from, n->ends[index] - from);
}

bool xds_names_has(const struct xds_names *n, struct str name)
{
    uint32_t from = 0, to = xds_names_count(n);
    while (from < to) {
        uint32_t mid = from + (to - from) / 2;
        int order = str_cmp(xds_names_at(n, mid), name);
        if (order == 0)
            return true;
        if (order < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return false;
}

struct names_key { uint64_t hash, count; };

/* Sorted, each once; NULL for none. */
static struct xds_names *make(struct xds_pool *pool, const struct str *names, uint32_t count)
{
    size_t text = 0;
    if (!count)
        return NULL;
    for (uint32_t i = 0; i < count; i++)
        text += names[i].n;
    size_t bytes = count * sizeof(uint32_t) + text;
    struct xds_names *n = mem_alloc(sizeof *n + bytes);
    *n = (struct xds_names){.refs = 1, .count = count, .pool = pool, .bytes = bytes};
    char *at = (char *)&n->ends[count];
    for (uint32_t i = 0, end = 0; i < count; i++) {
        if (names[i].n)
            memcpy(at + end, names[i].p, names[i].n);
        n->ends[i] = end += (uint32_t)names[i].n;
    }
    n->hash = str_hash(str_make((const char *)n->ends, bytes), NAMES_SEED);
    struct names_key key = {n->hash, count};
    struct str text_key = str_make((const char *)&key, sizeof key);
    struct xds_names *known = map_get(pool->names, text_key);
    if (known && known->bytes == bytes && memcmp(known->ends, n->ends, bytes) == 0) {
        mem_free(n);
        return xds_names_ref(known);
    }
    n->is_found = !known;
    if (n->is_found)
        map_set(pool->names, text_key, n);
    pool->usage.name_lists++;
    return n;
}

struct xds_names *xds_names_ref(struct xds_names *n)
{
    n->refs++;
    return n;
}

void xds_names_unref(struct xds_names **owned)
{
    struct xds_names *n = *owned;
    *owned = NULL;
    if (!n || --n->refs)
        return;
    struct names_key key = {n->hash, n->count};
    if (n->is_found)
        map_del(n->pool->names, str_make((const char *)&key, sizeof key));
    n->pool->usage.name_lists--;
    mem_free(n);
}

static int compare(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static bool is_sorted(const struct str *names, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++)
        if (str_cmp(names[i - 1], names[i]) > 0)
            return false;
    return true;
}

/* A sorted copy, each once. */
static struct str *sorted(const struct str *names, uint32_t *count)
{
    struct str *out = mem_alloc((*count + 1) * sizeof *out);
    uint32_t n = 0;
    if (*count)
        memcpy(out, names, *count * sizeof *out);
    if (!is_sorted(out, *count)) /* clients often repeat our own order */
        qsort(out, *count, sizeof *out, compare);
    for (uint32_t i = 0; i < *count; i++)
        if (!n || !str_eq(out[n - 1], out[i]))
            out[n++] = out[i];
    *count = n;
    return out;
}

struct xds_names *xds_names_new(struct xds_pool *pool, const struct str *names, uint32_t count)
{
    struct str *list = sorted(names, &count);
    struct xds_names *n = make(pool, list, count);
    mem_free(list);
    return n;
}

static bool list_has(const struct str *names, uint32_t count, struct str name)
{
    return bsearch(&name, names, count, sizeof name, compare) != NULL;
}

struct xds_names *names_edit(struct xds_pool *pool, const struct xds_names *base, const struct str *add, uint32_t add_count,
                             const struct str *drop, uint32_t drop_count)
{
    uint32_t n = 0, at = 0, i = 0;
    struct str *more = sorted(add, &add_count), *less = sorted(drop, &drop_count);
    struct str *out = mem_alloc((add_count + xds_names_count(base) + 1) * sizeof *out);
    while (at < xds_names_count(base) || i < add_count) {
        struct str old = at < xds_names_count(base) ? xds_names_at(base, at) : STR_NULL;
        int order = !old.p ? 1 : i == add_count ? -1 : str_cmp(old, more[i]);
        struct str name = order <= 0 ? old : more[i];
        at += order <= 0;
        i += order >= 0;
        if (!list_has(less, drop_count, name))
            out[n++] = name;
    }
    struct xds_names *made = make(pool, out, n);
    mem_free(out);
    mem_free(more);
    mem_free(less);
    return made;
}

struct xds_names *names_union(struct xds_pool *pool, const struct xds_names *a, const struct xds_names *b)
{
    uint32_t count = xds_names_count(b);
    struct str *more = mem_alloc((count + 1) * sizeof *more);
    for (uint32_t i = 0; i < count; i++)
        more[i] = xds_names_at(b, i);
    struct xds_names *made = names_edit(pool, a, more, count, NULL, 0);
    mem_free(more);
    return made;
}

struct xds_names *names_common(struct xds_pool *pool, const struct xds_names *a, const struct xds_names *b)
{
    uint32_t n = 0;
    struct str *out = mem_alloc((xds_names_count(a) + 1) * sizeof *out);
    for (uint32_t i = 0, j = 0; i < xds_names_count(a) && j < xds_names_count(b);) {
        int order = str_cmp(xds_names_at(a, i), xds_names_at(b, j));
        if (order == 0)
            out[n++] = xds_names_at(a, i);
        i += order <= 0;
        j += order >= 0;
    }
    struct xds_names *made = make(pool, out, n);
    mem_free(out);
    return made;
}
