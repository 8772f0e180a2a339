/* SPDX-License-Identifier: Apache-2.0
 *
 * Open addressing with linear probing, a power of two of slots, at most 3/4 full; deletion shifts
 * the run back, so there are no tombstones and lookups stay short for ever. The hash is seeded per
 * process: keys may come from configuration that others write. Keys are copied with their slot's
 * life.
 */
#include "base/map.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/rng.h"

#define MAP_FIRST_SLOTS 8

struct map_slot {
    char *key; /* NULL: free */
    size_t key_bytes;
    uint64_t hash;
    void *value;
};

struct map {
    struct map_slot *slots;
    size_t count, cap;
    uint64_t seed;
};

static uint64_t process_seed(void)
{
    static uint64_t seed;
    uint64_t s = __atomic_load_n(&seed, __ATOMIC_RELAXED);
    if (!s) {
        rng_secret_bytes(&s, sizeof(s));
        s |= 1;
        __atomic_store_n(&seed, s, __ATOMIC_RELAXED);
    }
    return s;
}

struct map *map_new(void)
{
    struct map *m = NEW(map);
    m->seed = process_seed();
    return m;
}

void map_free(struct map **m)
{
    if (!*m)
        return;
    for (size_t i = 0; i < (*m)->cap; i++)
        mem_free((*m)->slots[i].key);
    mem_free((*m)->slots);
    mem_free(*m);
    *m = NULL;
}

size_t map_count(const struct map *m)
{
    return m->count;
}

static bool is_slot_of(const struct map_slot *s, uint64_t hash, struct str key)
{
    return s->hash == hash && str_eq(str_make(s->key, s->key_bytes), key);
}

/* The slot that holds the key, or the free one where it would go. Needs a free slot. */
static struct map_slot *find(const struct map *m, uint64_t hash, struct str key)
{
    size_t mask = m->cap - 1, i = hash & mask;
    while (m->slots[i].key && !is_slot_of(&m->slots[i], hash, key))
        i = (i + 1) & mask;
    return &m->slots[i];
}

void *map_get(const struct map *m, struct str key)
{
    if (!m->count)
        return NULL;
    const struct map_slot *s = find(m, str_hash(key, m->seed), key);
    return s->key ? s->value : NULL;
}

static void grow(struct map *m)
{
    struct map_slot *old = m->slots;
    size_t old_cap = m->cap;
    m->cap = old_cap ? old_cap * 2 : MAP_FIRST_SLOTS;
    m->slots = mem_zalloc(m->cap * sizeof(*m->slots));
    for (size_t i = 0; i < old_cap; i++)
        if (old[i].key)
            *find(m, old[i].hash, str_make(old[i].key, old[i].key_bytes)) = old[i];
    mem_free(old);
}

static char *copy_key(struct str key)
{
    char *copy = mem_alloc(key.n + 1);
    if (key.n)
        memcpy(copy, key.p, key.n);
    copy[key.n] = '\0';
    return copy;
}

void *map_set(struct map *m, struct str key, void *value)
{
    CHECK(value);
    if ((m->count + 1) * 4 > m->cap * 3)
        grow(m);
    uint64_t hash = str_hash(key, m->seed);
    struct map_slot *s = find(m, hash, key);
    void *replaced = s->key ? s->value : NULL;
    if (!s->key) {
        *s = (struct map_slot){copy_key(key), key.n, hash, NULL};
        m->count++;
    }
    s->value = value;
    return replaced;
}

/* Moves later members of the run into the hole wherever their own place allows it. */
static void close_hole(struct map *m, size_t hole)
{
    size_t mask = m->cap - 1;
    for (size_t i = (hole + 1) & mask; m->slots[i].key; i = (i + 1) & mask) {
        size_t home = m->slots[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (struct map_slot){0};
}

void *map_del(struct map *m, struct str key)
{
    if (!m->count)
        return NULL;
    struct map_slot *s = find(m, str_hash(key, m->seed), key);
    if (!s->key)
        return NULL;
    void *value = s->value;
    mem_free(s->key);
    m->count--;
    close_hole(m, (size_t)(s - m->slots));
    return value;
}

bool map_next(const struct map *m, size_t *pos, struct str *key, void **value)
{
    for (; *pos < m->cap; ++*pos) {
        const struct map_slot *s = &m->slots[*pos];
        if (!s->key)
            continue;
        *key = str_make(s->key, s->key_bytes);
        *value = s->value;
        ++*pos;
        return true;
    }
    return false;
}

static size_t addr_slot(const struct addr_set *s, const void *p)
{
    size_t mask = s->cap - 1, i = ((uintptr_t)p >> 4) * 0x9e3779b97f4a7c15u >> 32 & mask;
    while (s->slots[i] && s->slots[i] != p)
        i = (i + 1) & mask;
    return i;
}

static void addr_grow(struct addr_set *s)
{
    struct addr_set bigger = {NULL, s->count, s->cap ? s->cap * 2 : 16};
    bigger.slots = mem_zalloc(bigger.cap * sizeof(*bigger.slots));
    for (size_t i = 0; i < s->cap; i++)
        if (s->slots[i])
            bigger.slots[addr_slot(&bigger, s->slots[i])] = s->slots[i];
    mem_free(s->slots);
    *s = bigger;
}

void addr_set_add(struct addr_set *s, const void *p)
{
    CHECK(p);
    if ((s->count + 1) * 4 > s->cap * 3)
        addr_grow(s);
    size_t i = addr_slot(s, p);
    if (!s->slots[i])
        s->count++;
    s->slots[i] = p;
}

bool addr_set_has(const struct addr_set *s, const void *p)
{
    return s->count && p && s->slots[addr_slot(s, p)] == p;
}

void addr_set_fini(struct addr_set *s)
{
    mem_free(s->slots);
    *s = (struct addr_set){0};
}
