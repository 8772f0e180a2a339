/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of names: written by the main thread, read by workers without a lock. Entries are only
 * ever added to a table; removing one leaves a gap, and tables and slots are freed after every
 * worker has finished the turn in which it may have seen them (clusters_after_turns).
 */
#include "proxy/cluster/slot.h"

#include "base/mem.h"
#include "proxy/cluster/cluster_priv.h"

#define TABLE_LEAST 64

struct table {
    uint32_t mask;
    uint32_t used; /* entries that were ever filled, gaps too */
    _Atomic(struct cluster_slot *) entries[];
};

static struct cluster_slot gap;
static _Atomic(struct table *) current;
static uint32_t slot_count;

static uint32_t hash_of(struct str name)
{
    return (uint32_t)str_hash(name, 0);
}

static struct cluster_slot *find(const struct table *t, struct str name, uint32_t hash)
{
    if (!t)
        return NULL;
    for (uint32_t i = hash;; i++) {
        struct cluster_slot *s = atomic_load_explicit(&((struct table *)(uintptr_t)t)->entries[i & t->mask], memory_order_acquire);
        if (!s)
            return NULL;
        if (s != &gap && s->hash == hash && str_eq(s->name, name))
            return s;
    }
}

struct cluster *cluster_named(struct str name)
{
    return cluster_slot_now(find(atomic_load_explicit(&current, memory_order_acquire), name, hash_of(name)));
}

static void enter(struct table *t, struct cluster_slot *s)
{
    uint32_t i = s->hash;
    while (atomic_load_explicit(&t->entries[i & t->mask], memory_order_relaxed))
        i++;
    atomic_store_explicit(&t->entries[i & t->mask], s, memory_order_release);
    t->used++;
}

/* A table with room for one more, without the gaps of the one before. */
static struct table *make_room(void)
{
    struct table *old = atomic_load_explicit(&current, memory_order_relaxed);
    if (old && old->used < old->mask / 4 * 3)
        return old;
    uint32_t size = TABLE_LEAST;
    while (size < 2 * (slot_count + 1))
        size *= 2;
    struct table *t = mem_zalloc(sizeof *t + size * sizeof t->entries[0]);
    t->mask = size - 1;
    for (uint32_t i = 0; old && i <= old->mask; i++) {
        struct cluster_slot *s = atomic_load_explicit(&old->entries[i], memory_order_relaxed);
        if (s && s != &gap)
            enter(t, s);
    }
    atomic_store_explicit(&current, t, memory_order_release);
    if (old)
        clusters_after_turns(mem_free, old);
    return t;
}

struct cluster_slot *cluster_slot_get(struct str name)
{
    uint32_t hash = hash_of(name);
    struct cluster_slot *s = find(atomic_load_explicit(&current, memory_order_relaxed), name, hash);
    if (s)
        return cluster_slot_ref(s);
    char *text;
    s = mem_zalloc(sizeof *s + name.n + 1);
    text = (char *)(s + 1);
    memcpy(text, name.n ? name.p : "", name.n);
    s->name = str_make(text, name.n);
    s->hash = hash;
    s->refs = 1;
    enter(make_room(), s);
    slot_count++;
    return s;
}

struct cluster_slot *cluster_slot_ref(struct cluster_slot *s)
{
    s->refs++;
    return s;
}

static void remove_slot(struct cluster_slot *s)
{
    struct table *t = atomic_load_explicit(&current, memory_order_relaxed);
    for (uint32_t i = s->hash;; i++) {
        if (atomic_load_explicit(&t->entries[i & t->mask], memory_order_relaxed) != s)
            continue;
        atomic_store_explicit(&t->entries[i & t->mask], &gap, memory_order_release);
        break;
    }
    slot_count--;
    clusters_after_turns(mem_free, s);
    if (slot_count)
        return;
    atomic_store_explicit(&current, NULL, memory_order_release);
    clusters_after_turns(mem_free, t);
}

void cluster_slot_unref(struct cluster_slot **slot)
{
    struct cluster_slot *s = *slot;
    *slot = NULL;
    if (s && --s->refs == 0 && !cluster_slot_now(s))
        remove_slot(s);
}

struct cluster *cluster_slot_put(struct cluster_slot *s, struct cluster *c)
{
    return atomic_exchange_explicit(&s->now, c, memory_order_acq_rel);
}

void cluster_slots_fini(struct cluster_slots *s)
{
    for (size_t i = 0; i < s->count; i++)
        cluster_slot_unref(&s->items[i]);
    mem_free(s->items);
    *s = (struct cluster_slots){0};
}
