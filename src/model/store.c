/* SPDX-License-Identifier: Apache-2.0
 *
 * Objects by kind: a table by namespace and name, and arrays in order, which follow single changes and are made again when
 * somebody asks after many.
 * Changes wait in a list of slots until they are committed; each slot remembers what it held when it was last told of. Main
 * thread.
 */
#include "model/store.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"

/* Of one name, from its first change until it is gone and told of. */
struct slot {
    const struct object *object; /* NULL: removed */
    const struct object *told;   /* what watchers know; has a reference of its own while the slot is dirty */
    bool is_dirty;
};

/* Changes that an array follows one by one since it was last asked for; past them it is sorted anew. */
#define VIEW_EDITS_MAX 256

/* Objects in order, of one kind or of one namespace of it. */
struct view {
    const struct object **items;
    size_t count, cap, edits;
    bool is_fresh;
};

struct shelf {
    struct map *slots;  /* "ns/name" -> struct slot */
    struct map *spaces; /* namespace -> struct view */
    struct view all;
};

struct watcher {
    store_changed_fn changed;
    void *user;
};

struct store {
    struct shelf shelves[KIND_COUNT];
    struct dirty {
        enum kind_id kind;
        char *key; /* own */
    } *dirty;
    size_t dirty_count, dirty_cap;
    struct watcher *watchers;
    size_t watcher_count, watcher_cap;
    struct strbuf key; /* scratch */
    bool is_telling;
};

struct store *store_new(void)
{
    struct store *s = NEW(store);
    for (size_t i = 0; i < KIND_COUNT; i++) {
        s->shelves[i].slots = map_new();
        s->shelves[i].spaces = map_new();
    }
    return s;
}

static void shelf_fini(struct shelf *shelf)
{
    void *value;
    struct str key;
    for (size_t pos = 0; map_next(shelf->slots, &pos, &key, &value);) {
        struct slot *slot = value;
        if (slot->is_dirty)
            object_unref(&slot->told);
        object_unref(&slot->object);
        mem_free(slot);
    }
    for (size_t pos = 0; map_next(shelf->spaces, &pos, &key, &value);) {
        mem_free(((struct view *)value)->items);
        mem_free(value);
    }
    map_free(&shelf->slots);
    map_free(&shelf->spaces);
    mem_free(shelf->all.items);
}

void store_free(struct store **s)
{
    if (!*s)
        return;
    for (size_t i = 0; i < KIND_COUNT; i++)
        shelf_fini(&(*s)->shelves[i]);
    for (size_t i = 0; i < (*s)->dirty_count; i++)
        mem_free((*s)->dirty[i].key);
    mem_free((*s)->dirty);
    mem_free((*s)->watchers);
    strbuf_fini(&(*s)->key);
    mem_free(*s);
    *s = NULL;
}

/* ---- changing ---- */

static struct str key_of(struct store *s, struct str ns, struct str name)
{
    strbuf_reset(&s->key);
    strbuf_adds(&s->key, ns);
    strbuf_addc(&s->key, '/');
    strbuf_adds(&s->key, name);
    return strbuf_str(&s->key);
}

/* Where the object stands or would stand. */
static size_t view_find(const struct view *view, const struct object *o)
{
    size_t low = 0, high = view->count;
    while (low < high) {
        size_t at = low + (high - low) / 2;
        if (object_compare(view->items[at], o) < 0)
            low = at + 1;
        else
            high = at;
    }
    return low;
}

static void view_remove(struct view *view, const struct object *o)
{
    size_t at = view_find(view, o);
    DCHECK(at < view->count && view->items[at] == o);
    view->count--;
    memmove(view->items + at, view->items + at + 1, (view->count - at) * sizeof(struct object *));
}

static void view_insert(struct view *view, const struct object *o)
{
    size_t at = view_find(view, o);
    if (view->count == view->cap)
        view->items = mem_grow(view->items, &view->cap, view->count + 1, sizeof(struct object *));
    memmove(view->items + at + 1, view->items + at, (view->count - at) * sizeof(struct object *));
    view->items[at] = o;
    view->count++;
}

/* Either object may be NULL. */
static void view_follow(struct view *view, const struct object *before, const struct object *after)
{
    if (!view || !view->is_fresh)
        return;
    if (++view->edits > VIEW_EDITS_MAX) {
        view->is_fresh = false;
        return;
    }
    if (before)
        view_remove(view, before);
    if (after)
        view_insert(view, after);
}

/* Puts what the slot held away until the commit, and `object` in its place. */
static void slot_set(struct store *s, enum kind_id kind, struct str key, struct slot *slot, const struct object *take_object)
{
    struct shelf *shelf = &s->shelves[kind];
    struct str ns = take_object ? take_object->ns : slot->object->ns;
    view_follow(&shelf->all, slot->object, take_object);
    view_follow(map_get(shelf->spaces, ns), slot->object, take_object);
    if (slot->is_dirty) {
        object_unref(&slot->object);
    } else {
        if (s->dirty_count == s->dirty_cap)
            s->dirty = mem_grow(s->dirty, &s->dirty_cap, s->dirty_count + 1, sizeof(*s->dirty));
        s->dirty[s->dirty_count++] = (struct dirty){kind, mem_strndup(key.p, key.n)};
        slot->told = slot->object;
        slot->is_dirty = true;
    }
    slot->object = take_object;
}

static bool means_the_same(const struct object *a, const struct object *b)
{
    return a->hash == b->hash && a->status_hash == b->status_hash;
}

void store_put(struct store *s, const struct object *take_object)
{
    const struct object *o = take_object;
    struct shelf *shelf = &s->shelves[o->kind->id];
    struct str key = key_of(s, o->ns, o->name);
    struct slot *slot = map_get(shelf->slots, key);
    CHECK(!s->is_telling);
    if (slot && slot->object && means_the_same(slot->object, o)) {
        object_unref(&o);
        return;
    }
    if (!slot) {
        slot = NEW(slot);
        map_set(shelf->slots, key, slot);
    }
    slot_set(s, o->kind->id, key, slot, o);
}

void store_remove(struct store *s, enum kind_id kind, struct str ns, struct str name)
{
    struct shelf *shelf = &s->shelves[kind];
    struct str key = key_of(s, ns, name);
    struct slot *slot = map_get(shelf->slots, key);
    CHECK(!s->is_telling);
    if (!slot || !slot->object)
        return;
    slot_set(s, kind, key, slot, NULL);
}

/* ---- asking ---- */

const struct object *store_get(const struct store *s, enum kind_id kind, struct str ns, struct str name)
{
    const struct slot *slot = map_get(s->shelves[kind].slots, key_of((struct store *)(uintptr_t)s, ns, name));
    return slot ? slot->object : NULL;
}

static int compare_objects(const void *a, const void *b)
{
    return object_compare(*(const struct object *const *)a, *(const struct object *const *)b);
}

static void view_add(struct view *view, const struct object *o)
{
    if (view->count == view->cap)
        view->items = mem_grow(view->items, &view->cap, view->count + 1, sizeof(struct object *));
    view->items[view->count++] = o;
}

static void all_refresh(struct shelf *shelf)
{
    struct view *view = &shelf->all;
    struct str key;
    void *value;
    view->count = 0;
    for (size_t pos = 0; map_next(shelf->slots, &pos, &key, &value);)
        if (((struct slot *)value)->object)
            view_add(view, ((struct slot *)value)->object);
    if (view->count)
        qsort(view->items, view->count, sizeof(struct object *), compare_objects);
    view->is_fresh = true;
}

const struct object *const *store_list(const struct store *s, enum kind_id kind, size_t *count)
{
    struct shelf *shelf = (struct shelf *)(uintptr_t)&s->shelves[kind];
    if (!shelf->all.is_fresh)
        all_refresh(shelf);
    shelf->all.edits = 0;
    *count = shelf->all.count;
    return shelf->all.items;
}

const struct object *const *store_list_in(const struct store *s, enum kind_id kind, struct str ns, size_t *count)
{
    struct shelf *shelf = (struct shelf *)(uintptr_t)&s->shelves[kind];
    struct view *view = map_get(shelf->spaces, ns);
    size_t all_count;
    if (!view) {
        view = NEW(view);
        map_set(shelf->spaces, ns, view);
    }
    if (!view->is_fresh) {
        const struct object *const *all = store_list(s, kind, &all_count);
        view->count = 0;
        for (size_t i = 0; i < all_count; i++)
            if (str_eq(all[i]->ns, ns))
                view_add(view, all[i]);
        view->is_fresh = true;
    }
    view->edits = 0;
    *count = view->count;
    return view->items;
}

/* ---- telling ---- */

void store_watch(struct store *s, store_changed_fn changed, void *user)
{
    if (s->watcher_count == s->watcher_cap)
        s->watchers = mem_grow(s->watchers, &s->watcher_cap, s->watcher_count + 1, sizeof(*s->watchers));
    s->watchers[s->watcher_count++] = (struct watcher){changed, user};
}

/* While changes are told the place stays, empty, so that nobody is passed over. */
void store_unwatch(struct store *s, store_changed_fn changed, void *user)
{
    for (size_t i = 0; i < s->watcher_count; i++)
        if (s->watchers[i].changed == changed && s->watchers[i].user == user) {
            s->watchers[i].changed = NULL;
            break;
        }
}

static void drop_unwatched(struct store *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->watcher_count; i++)
        if (s->watchers[i].changed)
            s->watchers[kept++] = s->watchers[i];
    s->watcher_count = kept;
}

/* It was removed and put back between two commits: what everybody knows stays. */
static void slot_revert(struct shelf *shelf, struct slot *slot)
{
    view_follow(&shelf->all, slot->object, slot->told);
    view_follow(map_get(shelf->spaces, slot->told->ns), slot->object, slot->told);
    object_unref(&slot->object);
    slot->object = slot->told;
}

/* The change of a dirty slot, with the references that the slot held; false: it came back to what it was. */
static bool slot_settle(struct shelf *shelf, struct str key, struct change *out)
{
    struct slot *slot = map_get(shelf->slots, key);
    bool same = slot->told && slot->object && means_the_same(slot->told, slot->object);
    slot->is_dirty = false;
    if (same)
        slot_revert(shelf, slot);
    *out = (struct change){slot->told, slot->object};
    slot->told = NULL;
    if (!slot->object) {
        map_del(shelf->slots, key);
        mem_free(slot);
    }
    if (same || out->before == out->after)
        return false;
    if (out->after)
        object_ref(out->after);
    return true;
}

static void tell(struct store *s, const struct change *changes, size_t count)
{
    s->is_telling = true;
    for (size_t i = 0; i < s->watcher_count; i++)
        if (s->watchers[i].changed)
            s->watchers[i].changed(s->watchers[i].user, changes, count);
    s->is_telling = false;
    drop_unwatched(s);
}

void store_commit(struct store *s)
{
    struct change *changes = mem_alloc((s->dirty_count + 1) * sizeof(*changes));
    size_t count = 0;
    for (size_t i = 0; i < s->dirty_count; i++) {
        count += slot_settle(&s->shelves[s->dirty[i].kind], str_from(s->dirty[i].key), &changes[count]);
        mem_free(s->dirty[i].key);
    }
    s->dirty_count = 0;
    if (count)
        tell(s, changes, count);
    for (size_t i = 0; i < count; i++) {
        object_unref(&changes[i].before);
        object_unref(&changes[i].after);
    }
    mem_free(changes);
}
