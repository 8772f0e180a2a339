/* SPDX-License-Identifier: Apache-2.0
 *
 * The pool: weak maps from what a thing is to the thing. A resource is found by type, name and version, a set by type and the
 * versions of its resources, a list by its names. Hashes only lead there: what was found is compared, and of two different
 * things that share a hash the second is simply not shared. Versions are hashes of bytes that are the same in all processes, so
 * that a client that turns to another server, or to this one restarted, is only sent what is new to it.
 */
#include "xds/server_priv.h"

#include <stdlib.h>

#include "base/mem.h"
#include "proto/wire.h"

#define VERSION_SEED 0x77656674ull
#define MARK_SEED 0x6d61726bull

/* ---- the pool ---- */

struct xds_pool *xds_pool_new(size_t kept_bytes_max)
{
    struct xds_pool *pool = NEW(xds_pool);
    pool->items = map_new();
    pool->sets = map_new();
    pool->names = map_new();
    pool->changes = map_new();
    pool->kept_bytes_max = kept_bytes_max;
    list_init(&pool->used);
    return pool;
}

void xds_pool_free(struct xds_pool **owned)
{
    struct xds_pool *pool = *owned;
    *owned = NULL;
    if (!pool)
        return;
    xds_pool_trim(pool, UINT64_MAX);
    DCHECK(!map_count(pool->items) && !map_count(pool->sets) && !map_count(pool->names) && !map_count(pool->changes));
    map_free(&pool->items);
    map_free(&pool->sets);
    map_free(&pool->names);
    map_free(&pool->changes);
    strbuf_fini(&pool->scratch);
    mem_free(pool);
}

struct xds_pool_usage xds_pool_usage(const struct xds_pool *pool)
{
    return pool->usage;
}

/* ---- versions ---- */

static uint64_t version_of(struct str packed)
{
    uint64_t v = str_hash(packed, VERSION_SEED);
    return v ? v : 1; /* 0: one that isn't ours */
}

struct str version_write(uint64_t version, char out[VERSION_TEXT_BYTES])
{
    for (int i = VERSION_TEXT_BYTES; i-- > 0; version >>= 4)
        out[i] = "0123456789abcdef"[version & 15];
    return str_make(out, VERSION_TEXT_BYTES);
}

static uint64_t version_read(struct str text)
{
    uint64_t v;
    return text.n == VERSION_TEXT_BYTES && str_to_u64_hex(text, &v) ? v : 0;
}

/* ---- resources ---- */

struct item_key { const char *type; uint64_t name, version; };

static struct str key_text(const void *key, size_t n)
{
    return str_make(key, n);
}

static struct item_key item_key(const char *type, struct str name, uint64_t version)
{
    return (struct item_key){type, str_hash(name, MARK_SEED), version};
}

static struct item *item_ref(struct item *i)
{
    i->refs++;
    return i;
}

static size_t item_size(const struct item *i)
{
    return sizeof *i + i->name.n + i->packed.n;
}

static void item_unref(struct xds_pool *pool, struct item *i)
{
    if (--i->refs)
        return;
    struct item_key key = item_key(i->type, i->name, i->version);
    if (i->is_found)
        map_del(pool->items, key_text(&key, sizeof key));
    pool->usage.items--;
    pool->usage.item_bytes -= item_size(i);
    mem_free(i);
}

static struct item *item_new(struct xds_pool *pool, const char *type, struct str name, struct str packed, bool has_body, uint64_t version)
{
    struct item *i = mem_alloc(sizeof *i + name.n + packed.n);
    char *text = (char *)(i + 1);
    *i = (struct item){.refs = 1, .has_body = has_body, .name = {text, name.n}, .packed = {text + name.n, packed.n}, .version = version, .type = type};
    if (name.n)
        memcpy(text, name.p, name.n);
    if (packed.n)
        memcpy(text + name.n, packed.p, packed.n);
    pool->usage.items++;
    pool->usage.item_bytes += item_size(i);
    return i;
}

/* The caller's reference. Without a body any one of the version will do. */
static struct item *item_get(struct xds_pool *pool, const char *type, struct str name, struct str packed, bool has_body, uint64_t version)
{
    struct item_key key = item_key(type, name, version);
    struct item *i = map_get(pool->items, key_text(&key, sizeof key));
    if (i && str_eq(i->name, name) && (!has_body || (i->has_body && str_eq(i->packed, packed))))
        return item_ref(i);
    bool gives_way = i && !i->has_body && str_eq(i->name, name);
    struct item *made = item_new(pool, type, name, packed, has_body, version);
    if (gives_way)
        i->is_found = false;
    if (!i || gives_way) {
        map_set(pool->items, key_text(&key, sizeof key), made);
        made->is_found = true;
    }
    return made;
}

/* ---- sets ---- */

struct set_key { const char *type; uint64_t version, count; };

static uint64_t mark_of(const struct item *i)
{
    uint64_t both[2] = {str_hash(i->name, MARK_SEED), i->version};
    return str_hash(key_text(both, sizeof both), MARK_SEED);
}

/* Takes the references. */
static struct xds_set *set_make(struct xds_pool *pool, const char *type, struct item **items, uint32_t count)
{
    uint64_t version = count + 1;
    for (uint32_t i = 0; i < count; i++)
        version += mark_of(items[i]);
    struct set_key key = {type, version, count};
    struct xds_set *s = map_get(pool->sets, key_text(&key, sizeof key));
    if (s && memcmp(s->items, items, count * sizeof *items) == 0) {
        for (uint32_t i = 0; i < count; i++)
            item_unref(pool, items[i]);
        return xds_set_ref(s);
    }
    bool is_found = !s;
    s = mem_alloc(sizeof *s + count * sizeof *items);
    *s = (struct xds_set){.refs = 1, .count = count, .is_found = is_found, .pool = pool, .type = type, .version = version};
    memcpy(s->items, items, count * sizeof *items);
    if (is_found)
        map_set(pool->sets, key_text(&key, sizeof key), s);
    pool->usage.sets++;
    return s;
}

struct xds_set *xds_set_ref(struct xds_set *s)
{
    s->refs++;
    return s;
}

void xds_set_unref(struct xds_set **owned)
{
    struct xds_set *s = *owned;
    *owned = NULL;
    if (!s || --s->refs)
        return;
    struct set_key key = {s->type, s->version, s->count};
    if (s->is_found)
        map_del(s->pool->sets, key_text(&key, sizeof key));
    for (uint32_t i = 0; i < s->count; i++)
        item_unref(s->pool, s->items[i]);
    s->pool->usage.sets--;
    mem_free(s);
}

uint32_t xds_set_count(const struct xds_set *s)
{
    return s ? s->count : 0;
}

struct item *item_at(const struct xds_set *s, uint32_t index)
{
    return s->items[index];
}

struct xds_item xds_set_at(const struct xds_set *s, uint32_t index)
{
    DCHECK(index < s->count);
    const struct item *i = s->items[index];
    return (struct xds_item){i->name, i->packed, i->version};
}

const struct item *set_find(const struct xds_set *s, struct str name)
{
    uint32_t from = 0, to = s ? s->count : 0;
    while (from < to) {
        uint32_t mid = from + (to - from) / 2;
        int order = str_cmp(s->items[mid]->name, name);
        if (order == 0)
            return s->items[mid];
        if (order < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return NULL;
}

bool xds_set_find(const struct xds_set *s, struct str name, struct xds_item *out)
{
    const struct item *i = set_find(s, name);
    if (i)
        *out = (struct xds_item){i->name, i->packed, i->version};
    return i != NULL;
}

/* ---- making sets ---- */

/* What was put and dropped, in that order; dropped ones have no body and version 0. */
struct xds_set_builder {
    struct xds_pool *pool;
    const char *type;
    struct xds_set *base;
    struct edit { struct item *item; uint32_t order; bool is_drop; } *edits;
    size_t count, cap;
    bool is_sorted;
};

struct xds_set_builder *xds_set_begin(struct xds_pool *pool, const char *type, const struct xds_set *base)
{
    struct xds_set_builder *b = NEW(xds_set_builder);
    b->pool = pool;
    b->type = type;
    b->base = base ? xds_set_ref((struct xds_set *)(uintptr_t)base) : NULL;
    b->is_sorted = true;
    return b;
}

static void edit(struct xds_set_builder *b, struct item *take_item, bool is_drop)
{
    b->edits = mem_grow(b->edits, &b->cap, b->count + 1, sizeof *b->edits);
    if (b->count && str_cmp(b->edits[b->count - 1].item->name, take_item->name) >= 0)
        b->is_sorted = false;
    b->edits[b->count] = (struct edit){take_item, (uint32_t)b->count, is_drop};
    b->count++;
}

void xds_set_put(struct xds_set_builder *b, struct str name, struct str packed)
{
    edit(b, item_get(b->pool, b->type, name, packed, true, version_of(packed)), false);
}

void xds_set_drop(struct xds_set_builder *b, struct str name)
{
    edit(b, item_get(b->pool, b->type, name, STR(""), false, 0), true);
}

bool xds_set_copy(struct xds_set_builder *b, const struct xds_set *from, struct str name)
{
    const struct item *i = set_find(from, name);
    if (i)
        edit(b, item_ref((struct item *)(uintptr_t)i), false);
    return i != NULL;
}

static int compare_edits(const void *a, const void *b)
{
    const struct edit *x = a, *y = b;
    int order = str_cmp(x->item->name, y->item->name);
    return order ? order : x->order < y->order ? -1 : 1;
}

/* Of several edits of a name the last counts. */
static void settle_edits(struct xds_set_builder *b)
{
    size_t kept = 0;
    if (b->is_sorted)
        return;
    qsort(b->edits, b->count, sizeof *b->edits, compare_edits);
    for (size_t i = 0; i < b->count; i++) {
        if (i + 1 < b->count && str_eq(b->edits[i].item->name, b->edits[i + 1].item->name))
            item_unref(b->pool, b->edits[i].item);
        else
            b->edits[kept++] = b->edits[i];
    }
    b->count = kept;
}

static uint32_t merge(struct xds_set_builder *b, struct item **out)
{
    uint32_t n = 0, at = 0, base = xds_set_count(b->base);
    for (size_t e = 0; e < b->count || at < base;) {
        int order = e == b->count ? 1 : at == base ? -1 : str_cmp(b->edits[e].item->name, b->base->items[at]->name);
        if (order > 0) {
            out[n++] = item_ref(b->base->items[at++]);
            continue;
        }
        at += order == 0;
        if (b->edits[e].is_drop)
            item_unref(b->pool, b->edits[e].item);
        else
            out[n++] = b->edits[e].item;
        e++;
    }
    return n;
}

struct xds_set *xds_set_end(struct xds_set_builder **owned)
{
    struct xds_set_builder *b = *owned;
    *owned = NULL;
    settle_edits(b);
    struct item **items = mem_alloc((b->count + xds_set_count(b->base) + 1) * sizeof *items);
    struct xds_set *s = set_make(b->pool, b->type, items, merge(b, items));
    mem_free(items);
    mem_free(b->edits);
    xds_set_unref(&b->base);
    mem_free(b);
    return s;
}

struct xds_set *set_of_versions(struct xds_pool *pool, const char *type, const struct xds_versioned *known, uint32_t count)
{
    struct xds_set_builder *b = xds_set_begin(pool, type, NULL);
    for (uint32_t i = 0; i < count; i++)
        edit(b, item_get(pool, type, known[i].name, STR(""), false, version_read(known[i].version)), false);
    return xds_set_end(&b);
}

struct xds_set *set_union(struct xds_pool *pool, const char *type, struct xds_set *const *parts, uint32_t count)
{
    struct xds_set_builder *b = xds_set_begin(pool, type, NULL);
    for (uint32_t p = count; p-- > 0;) /* the first comes last, and counts */
        for (uint32_t i = 0; i < xds_set_count(parts[p]); i++)
            edit(b, item_ref(parts[p]->items[i]), false);
    return xds_set_end(&b);
}
