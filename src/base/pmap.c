/* SPDX-License-Identifier: Apache-2.0
 *
 * A hash array mapped trie: each level takes SLOT_BITS of the key's hash, a branch holds only the slots
 * in use. Nodes count who refers to them; one that nobody else refers to is changed in place, so that
 * building a map of n keys copies nothing. Keys whose hashes agree to the end go on with another seed
 * (the seed is secret: nobody outside can make many of them).
 */
#include "base/pmap.h"

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/rng.h"

#define SLOT_BITS 5u
#define SLOTS (1u << SLOT_BITS)
#define LEVELS (64u / SLOT_BITS) /* of one hash */

struct node {
    uint32_t refs;
    uint32_t used; /* branch: slots in use; a leaf has none */
};
struct leaf {
    struct node base;
    uint32_t key_bytes;
    uint64_t hash;
    void *value;
    char key[];
};
struct branch {
    struct node base;
    struct node *of[];
};
struct pmap {
    struct node *root; /* NULL: empty */
    size_t count;
    uint64_t seed;
    void (*drop)(void *value);
};

struct look { /* for a key */
    struct str key;
    uint64_t hash;
};

static uint64_t seed_of(const struct pmap *m, unsigned level)
{
    return m->seed + level / LEVELS;
}

static unsigned slot_at(uint64_t hash, unsigned level)
{
    return (unsigned)(hash >> level % LEVELS * SLOT_BITS) & (SLOTS - 1);
}

static unsigned slot_of(const struct pmap *m, const struct look *k, unsigned level)
{
    return slot_at(level < LEVELS ? k->hash : str_hash(k->key, seed_of(m, level)), level);
}

static bool is_leaf(const struct node *n)
{
    return !n->used;
}

static struct leaf *leaf_of(struct node *n)
{
    return CONTAINER_OF(n, leaf, base);
}

static struct branch *branch_of(struct node *n)
{
    return CONTAINER_OF(n, branch, base);
}

static struct str key_of(const struct leaf *l)
{
    return str_make(l->key, l->key_bytes);
}

static bool is_key(const struct leaf *l, const struct look *k)
{
    return l->hash == k->hash && str_eq(key_of(l), k->key);
}

static unsigned count_of(const struct branch *b)
{
    return (unsigned)__builtin_popcount(b->base.used);
}

/* Where a slot's node stands, or would. */
static unsigned place_of(const struct branch *b, unsigned slot)
{
    return (unsigned)__builtin_popcount(b->base.used & ((1u << slot) - 1));
}

/* ---- lives ---- */

static struct node *node_ref(struct node *n)
{
    n->refs++;
    return n;
}

static void node_unref(const struct pmap *m, struct node *n)
{
    if (--n->refs)
        return;
    if (is_leaf(n)) {
        if (m->drop)
            m->drop(leaf_of(n)->value);
        mem_free(leaf_of(n));
        return;
    }
    struct branch *b = branch_of(n);
    for (unsigned i = 0; i < count_of(b); i++)
        node_unref(m, b->of[i]); /* as deep as hashes are long */
    mem_free(b);
}

struct pmap *pmap_new(void (*drop)(void *value))
{
    struct pmap *m = NEW(pmap);
    rng_secret_bytes(&m->seed, sizeof m->seed);
    m->drop = drop;
    return m;
}

struct pmap *pmap_copy(const struct pmap *m)
{
    struct pmap *copy = NEW(pmap);
    *copy = *m;
    if (copy->root)
        node_ref(copy->root);
    return copy;
}

void pmap_free(struct pmap **map)
{
    struct pmap *m = *map;
    *map = NULL;
    if (!m)
        return;
    if (m->root)
        node_unref(m, m->root);
    mem_free(m);
}

size_t pmap_count(const struct pmap *m)
{
    return m->count;
}

/* ---- looking up ---- */

void *pmap_get(const struct pmap *m, struct str key)
{
    struct node *n = m->root;
    if (!n)
        return NULL;
    const struct look k = {key, str_hash(key, m->seed)};
    for (unsigned level = 0; !is_leaf(n); level++) {
        struct branch *b = branch_of(n);
        unsigned slot = slot_of(m, &k, level);
        if (!(b->base.used & 1u << slot))
            return NULL;
        n = b->of[place_of(b, slot)];
    }
    return is_key(leaf_of(n), &k) ? leaf_of(n)->value : NULL;
}

static void each(struct node *n, void (*fn)(struct str key, void *value, void *arg), void *arg)
{
    if (is_leaf(n)) {
        fn(key_of(leaf_of(n)), leaf_of(n)->value, arg);
        return;
    }
    struct branch *b = branch_of(n);
    for (unsigned i = 0; i < count_of(b); i++)
        each(b->of[i], fn, arg);
}

void pmap_each(const struct pmap *m, void (*fn)(struct str key, void *value, void *arg), void *arg)
{
    if (m->root)
        each(m->root, fn, arg);
}

/* ---- changing ---- */

static struct node *leaf_new(const struct look *k, void *value)
{
    struct leaf *l = mem_alloc(sizeof *l + k->key.n);
    *l = (struct leaf){.base = {.refs = 1}, .key_bytes = (uint32_t)k->key.n, .hash = k->hash, .value = value};
    if (k->key.n)
        memcpy(l->key, k->key.p, k->key.n);
    return &l->base;
}

static struct branch *branch_new(uint32_t used)
{
    struct branch *b = mem_alloc(sizeof *b + (unsigned)__builtin_popcount(used) * sizeof *b->of);
    b->base = (struct node){.refs = 1, .used = used};
    return b;
}

/* The branch with other slots in use: nodes of slots that stay are taken along, the rest is to be filled by the caller. The
 * old one's reference is given up. */
static struct branch *branch_with(const struct pmap *m, struct branch *old, uint32_t used)
{
    struct branch *b = branch_new(used);
    bool is_sole = old->base.refs == 1;
    for (uint32_t rest = used & old->base.used; rest; rest &= rest - 1) {
        unsigned slot = (unsigned)__builtin_ctz(rest);
        struct node *n = old->of[place_of(old, slot)];
        b->of[place_of(b, slot)] = is_sole ? n : node_ref(n);
    }
    if (!is_sole) {
        old->base.refs--;
        return b;
    }
    for (uint32_t gone = old->base.used & ~used; gone; gone &= gone - 1)
        node_unref(m, old->of[place_of(old, (unsigned)__builtin_ctz(gone))]);
    mem_free(old);
    return b;
}

static struct branch *branch_own(const struct pmap *m, struct branch *b)
{
    return b->base.refs == 1 ? b : branch_with(m, b, b->base.used);
}

/* Two leaves where one was: a branch, and more below it as long as their hashes agree. Takes both. */
static struct node *part(const struct pmap *m, struct node *old, struct node *fresh, unsigned level)
{
    const struct look a = {key_of(leaf_of(old)), leaf_of(old)->hash}, c = {key_of(leaf_of(fresh)), leaf_of(fresh)->hash};
    unsigned at = slot_of(m, &a, level), to = slot_of(m, &c, level);
    struct branch *b = branch_new(1u << at | 1u << to);
    if (at == to) {
        b->of[0] = part(m, old, fresh, level + 1);
    } else {
        b->of[place_of(b, at)] = old;
        b->of[place_of(b, to)] = fresh;
    }
    return &b->base;
}

/* What stands in n's place afterwards; takes n. */
static struct node *set_below(struct pmap *m, struct node *n, const struct look *k, struct node *fresh, unsigned level)
{
    if (is_leaf(n)) {
        if (!is_key(leaf_of(n), k)) {
            m->count++;
            return part(m, n, fresh, level);
        }
        node_unref(m, n);
        return fresh;
    }
    struct branch *b = branch_of(n);
    unsigned slot = slot_of(m, k, level);
    if (b->base.used & 1u << slot) {
        b = branch_own(m, b);
        unsigned i = place_of(b, slot);
        b->of[i] = set_below(m, b->of[i], k, fresh, level + 1);
    } else {
        b = branch_with(m, b, b->base.used | 1u << slot);
        b->of[place_of(b, slot)] = fresh;
        m->count++;
    }
    return &b->base;
}

void pmap_set(struct pmap *m, struct str key, void *take_value)
{
    CHECK(take_value);
    const struct look k = {key, str_hash(key, m->seed)};
    struct node *fresh = leaf_new(&k, take_value);
    if (m->root) {
        m->root = set_below(m, m->root, &k, fresh, 0);
    } else {
        m->root = fresh;
        m->count = 1;
    }
}

/* The branch, which is nobody else's, without a slot whose node is gone already; NULL: without any. */
static struct branch *branch_without(struct branch *b, unsigned slot)
{
    uint32_t used = b->base.used & ~(1u << slot);
    unsigned gone = place_of(b, slot);
    struct branch *smaller = used ? branch_new(used) : NULL;
    for (unsigned from = 0, to = 0; smaller && from < count_of(b); from++)
        if (from != gone)
            smaller->of[to++] = b->of[from];
    mem_free(b);
    return smaller;
}

/* What stands in n's place afterwards, NULL: nothing; takes n. The key is below it. A branch with one leaf left is that leaf. */
static struct node *del_below(struct pmap *m, struct node *n, const struct look *k, unsigned level)
{
    if (is_leaf(n)) {
        node_unref(m, n);
        return NULL;
    }
    struct branch *b = branch_own(m, branch_of(n));
    unsigned slot = slot_of(m, k, level), i = place_of(b, slot);
    struct node *left = del_below(m, b->of[i], k, level + 1);
    b->of[i] = left;
    if (!left && !(b = branch_without(b, slot)))
        return NULL;
    if (count_of(b) > 1 || !is_leaf(b->of[0]))
        return &b->base;
    struct node *only = b->of[0];
    mem_free(b);
    return only;
}

void pmap_del(struct pmap *m, struct str key)
{
    const struct look k = {key, str_hash(key, m->seed)};
    if (!pmap_get(m, key))
        return;
    m->root = del_below(m, m->root, &k, 0);
    m->count--;
}
