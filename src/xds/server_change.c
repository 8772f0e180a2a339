/* SPDX-License-Identifier: Apache-2.0
 *
 * What is new, worked out and encoded once for all who go the same way: from one set to another, with the same names asked for
 * before and now. Sets and lists are walked side by side, which is cheap because all are sorted; then the way is
 * found again by the pointers that make it up, which it holds on to.
 *
 * The encoding is the repeated part of a response (resources, removed_resources): Protobuf takes fields in any order and
 * repeated ones in pieces, so what differs between clients (the nonce) and what other parts add stands beside it.
 */
#include "base/mem.h"
#include "proto/wire.h"
#include "xds/server_priv.h"

#define FLAT_BYTES_MAX 4096
#define URL_PREFIX "type.googleapis.com/"
enum { FIELD_RESOURCES = 2, FIELD_REMOVED = 6 };

/* ---- who asked for what ---- */

/* "routes" of "routes/host"; "" where there is none. */
static struct str namespace_of(struct str name)
{
    size_t n = name.n;
    while (n && name.p[n - 1] != '/')
        n--;
    return str_make(name.p, n ? n - 1 : 0);
}

static bool has_namespace_of(const struct xds_names *names, struct str name)
{
    struct str above = namespace_of(name);
    return above.n && xds_names_has(names, above);
}

bool asked_has(const struct asked *asked, struct str name, bool is_namespaced)
{
    return asked->is_everything || xds_names_has(asked->names, name) || (is_namespaced && has_namespace_of(asked->names, name));
}

struct asked_walk { /* names come in order */
    bool is_everything, is_namespaced;
    const struct xds_names *names;
    uint32_t at;
};

static bool walk_has(struct asked_walk *w, struct str name)
{
    if (w->is_everything)
        return true;
    for (; w->at < xds_names_count(w->names); w->at++) {
        int order = str_cmp(xds_names_at(w->names, w->at), name);
        if (order == 0)
            return true;
        if (order > 0)
            break;
    }
    return w->is_namespaced && has_namespace_of(w->names, name);
}

static bool has_below(const struct xds_set *s, struct str name)
{
    uint32_t from = 0, to = xds_set_count(s);
    while (from < to) {
        uint32_t mid = from + (to - from) / 2;
        if (str_cmp(s->items[mid]->name, name) < 0)
            from = mid + 1;
        else
            to = mid;
    }
    for (; from < xds_set_count(s) && str_has_prefix(s->items[from]->name, name); from++)
        if (str_eq(namespace_of(s->items[from]->name), name))
            return true;
    return false;
}

/* ---- what is new ---- */

struct work {
    struct change *c;
    struct xds_pool *pool;
    const char *type;
    const struct item **items; uint32_t item_count;
    struct str *removed; uint32_t removed_count;
    struct str *updated; uint32_t updated_count;
};

static void compare_sets(struct work *w)
{
    const struct change_key *k = &w->c->key;
    const struct xds_set *a = k->before, *b = k->now;
    bool is_below = k->flags & CHANGE_NAMESPACED;
    struct asked_walk before = {k->flags & CHANGE_ALL_BEFORE, is_below, k->asked_before, 0},
                      now_old = {k->flags & CHANGE_ALL_NOW, is_below, k->asked_now, 0}, now = now_old, again = {false, is_below, k->again, 0};
    for (uint32_t i = 0, j = 0; i < xds_set_count(a) || j < xds_set_count(b);) {
        const struct item *old = i < xds_set_count(a) ? a->items[i] : NULL, *new = j < xds_set_count(b) ? b->items[j] : NULL;
        int order = !old ? 1 : !new ? -1 : old == new ? 0 : str_cmp(old->name, new->name);
        bool had = order <= 0 && walk_has(&before, old->name);
        i += order <= 0;
        j += order >= 0;
        if (order < 0) {
            if (had && walk_has(&now_old, old->name))
                w->removed[w->removed_count++] = old->name;
            continue;
        }
        if (!walk_has(&now, new->name))
            continue;
        bool is_same = had && old->version == new->version;
        if (!is_same || k->flags & CHANGE_WHOLE || walk_has(&again, new->name))
            w->items[w->item_count++] = new;
        if (had && !is_same)
            w->updated[w->updated_count++] = new->name;
    }
}

/* What the client then has: what there is, and what it has of what is gone. */
static void keep_removed(struct work *w)
{
    struct xds_set_builder *b = xds_set_begin(w->pool, w->type, w->c->key.now);
    for (uint32_t i = 0; i < w->removed_count; i++)
        xds_set_copy(b, w->c->key.before, w->removed[i]);
    w->c->merged = xds_set_end(&b);
    w->removed_count = 0;
}

/* Names asked for anew of which there is no resource: the client is told, so that it needn't wait (delta). */
static void add_absent(struct work *w)
{
    const struct change_key *k = &w->c->key;
    const struct asked asked_before = {k->flags & CHANGE_ALL_BEFORE, k->asked_before};
    bool is_below = k->flags & CHANGE_NAMESPACED;
    struct asked_walk before = {false, false, k->asked_before, 0}, again = {false, false, k->again, 0};
    for (uint32_t i = 0; i < xds_names_count(k->asked_now); i++) {
        struct str name = xds_names_at(k->asked_now, i);
        bool is_new = !walk_has(&before, name), is_again = walk_has(&again, name);
        if ((!is_new && !is_again) || set_find(k->now, name) || (is_below && has_below(k->now, name)))
            continue;
        if (!set_find(k->before, name) || !asked_has(&asked_before, name, is_below)) /* else it stands there already */
            w->removed[w->removed_count++] = name;
    }
}

/* ---- encoding ---- */

static void encode_any(const struct work *w, unsigned field, const struct item *i, struct strbuf *out)
{
    size_t any = wire_open(out, field), url = wire_open(out, 1);
    strbuf_addz(out, URL_PREFIX);
    strbuf_addz(out, w->type);
    wire_close(out, url);
    if (i->packed.n)
        wire_bytes(out, 2, i->packed.p, i->packed.n);
    wire_close(out, any);
}

/* discovery.v3.Resource, or the bare Any of the state of the world */
static void encode_item(const struct work *w, const struct item *i, struct strbuf *out)
{
    char version[VERSION_TEXT_BYTES];
    if (!(w->c->key.flags & CHANGE_DELTA)) {
        encode_any(w, FIELD_RESOURCES, i, out);
        return;
    }
    size_t resource = wire_open(out, FIELD_RESOURCES);
    version_write(i->version, version);
    wire_bytes(out, 1, version, sizeof version);
    encode_any(w, 2, i, out);
    wire_bytes(out, 3, i->name.p, i->name.n);
    wire_close(out, resource);
}

static void encode(struct work *w)
{
    struct strbuf *scratch = &w->pool->scratch;
    struct change *c = w->c;
    for (uint32_t i = 0; i < w->item_count; i++) {
        strbuf_reset(scratch);
        encode_item(w, w->items[i], scratch);
        buf_append(&c->body, scratch->p, scratch->n);
    }
    for (uint32_t i = 0; i < w->removed_count; i++) {
        strbuf_reset(scratch);
        wire_bytes(scratch, FIELD_REMOVED, w->removed[i].p, w->removed[i].n);
        buf_append(&c->body, scratch->p, scratch->n);
    }
    if (c->body.len > FLAT_BYTES_MAX)
        return;
    c->flat = str_make(mem_alloc(c->body.len + 1), c->body.len);
    buf_copy_out(&c->body, 0, (char *)(uintptr_t)c->flat.p, c->flat.n);
    buf_fini(&c->body);
}

static void work_out(struct xds_pool *pool, struct change *c, const char *type)
{
    const struct change_key *k = &c->key;
    size_t before = xds_set_count(k->before), now = xds_set_count(k->now), names = xds_names_count(k->asked_now);
    struct work w = {.c = c, .pool = pool, .type = type};
    w.items = mem_alloc((now + 1) * sizeof *w.items);
    w.updated = mem_alloc((now + 1) * sizeof *w.updated);
    w.removed = mem_alloc((before + names + 1) * sizeof *w.removed);
    compare_sets(&w);
    if (k->flags & CHANGE_KEEP)
        keep_removed(&w);
    if (k->flags & CHANGE_DELTA)
        add_absent(&w);
    else
        w.removed_count = 0; /* of a whole type it shows; of others it can't be said */
    encode(&w);
    c->resources = w.item_count;
    c->removed_count = w.removed_count;
    if (k->flags & CHANGE_HAS_ECHO)
        c->updated = xds_names_new(pool, w.updated, w.updated_count);
    if (w.removed_count)
        c->removed = mem_realloc(w.removed, w.removed_count * sizeof *w.removed);
    else
        mem_free(w.removed);
    mem_free(w.items);
    mem_free(w.updated);
    pool->usage.encoded++;
}

/* ---- found again ---- */

static struct str key_text(const struct change *c)
{
    return str_make((const char *)&c->key, sizeof c->key);
}

size_t change_bytes(const struct change *c)
{
    return c->body.len + c->flat.n;
}

void change_append(const struct change *c, struct buf *out)
{
    if (c->flat.n)
        buf_append_str(out, c->flat);
    else
        buf_share(out, &c->body, c->body.len);
}

static void free_change(struct change *c)
{
    struct change_key *k = &c->key;
    xds_set_unref(&k->before);
    xds_set_unref(&k->now);
    xds_set_unref(&c->merged);
    xds_names_unref(&k->asked_before);
    xds_names_unref(&k->asked_now);
    xds_names_unref(&k->again);
    xds_names_unref(&c->updated);
    buf_fini(&c->body);
    str_free(&c->flat);
    mem_free(c->removed);
    mem_free(c);
}

void change_unref(struct change **owned)
{
    struct change *c = *owned;
    *owned = NULL;
    if (c && --c->refs == 0)
        free_change(c);
}

static void forget(struct xds_pool *pool, struct change *c)
{
    map_del(pool->changes, key_text(c));
    list_remove(&c->used);
    c->is_found = false;
    pool->usage.kept--;
    pool->usage.kept_bytes -= change_bytes(c);
    change_unref(&c);
}

void xds_pool_trim(struct xds_pool *pool, uint64_t unused_since_us)
{
    LIST_EACH(it, safe, &pool->used) {
        struct change *c = LIST_ENTRY(it, change, used);
        if (c->used_us >= unused_since_us)
            break;
        forget(pool, c);
    }
}

static void keep(struct xds_pool *pool, struct change *c)
{
    map_set(pool->changes, key_text(c), c);
    c->is_found = true;
    c->refs++;
    pool->usage.kept++;
    pool->usage.kept_bytes += change_bytes(c);
    struct list *first;
    while (pool->usage.kept_bytes > pool->kept_bytes_max && (first = list_first(&pool->used)))
        forget(pool, LIST_ENTRY(first, change, used));
    list_push_back(&pool->used, &c->used);
}

static struct change *change_new(const struct change_key *key)
{
    struct change *c = NEW(change);
    c->refs = 1;
    c->key = *key;
    list_init(&c->used);
    if (key->before)
        xds_set_ref(key->before);
    if (key->now)
        xds_set_ref(key->now);
    if (key->asked_before)
        xds_names_ref(key->asked_before);
    if (key->asked_now)
        xds_names_ref(key->asked_now);
    if (key->again)
        xds_names_ref(key->again);
    return c;
}

struct change *change_get(struct xds_pool *pool, const struct change_key *key, const char *type, uint64_t now_us)
{
    struct change *c = map_get(pool->changes, str_make((const char *)key, sizeof *key));
    if (c) {
        pool->usage.reused++;
        c->refs++;
        list_remove(&c->used);
        list_push_back(&pool->used, &c->used);
    } else {
        c = change_new(key);
        work_out(pool, c, type);
        keep(pool, c);
    }
    c->used_us = now_us;
    return c;
}
