/* SPDX-License-Identifier: Apache-2.0
 *
 * The registry of scopes and the blocks of counters that threads write. A block is written by its own
 * thread alone with plain stores and read by others with relaxed loads: sums are of a moment ago,
 * never torn. Scopes are made, found and freed on the main thread only.
 */
#include "proxy/stats/stats.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"
#include "proxy/stats/stats_priv.h"

#define TABLES_MAX 4  /* under one prefix */
#define NAMED_MAX 256 /* distinct dynamic names per scope and thread: a peer's choice of cipher must not grow memory */

__thread uint32_t stat_thread;

struct stats_registry stats_registry;

void stats_init(uint32_t threads)
{
    CHECK(threads >= 1 && threads <= STAT_MAX_THREADS);
    stats_registry.threads = threads;
    stats_registry.scopes = map_new();
}

/* ---- scopes ---- */

static void node_free(struct scope_node *n)
{
    struct stat_scope *s = n->scope;
    for (uint32_t t = 0; t < stats_registry.threads; t++) {
        struct stat_block *b = s->blocks[t];
        if (!b)
            continue;
        for (uint32_t i = 0; b->histograms && i < s->table->count; i++)
            histogram_free((struct histogram **)&b->histograms[i]);
        for (uint32_t i = 0; i < s->table->count; i++)
            if (s->table->rows[i].kind == STAT_TEXT)
                mem_free((char *)(uintptr_t)b->values[i]);
        mem_free(b->histograms);
        mem_free(b->codes);
        mem_free(b);
    }
    for (uint32_t i = 0; i < n->tag_count; i++) {
        str_free(&n->tags[i].name);
        str_free(&n->tags[i].value);
    }
    mem_free(n->tags);
    str_free(&n->extracted);
    str_free(&s->prefix);
    mem_free(n->base);
    mem_free(n->verdicts);
    map_free(&n->named_base);
    flushed_free(n);
    mem_free(s);
    mem_free(n);
}

/* Several tables may stand under one prefix, under keys of their own (see below). */
static struct stat_scope *find_scope(struct str prefix, const struct stat_table *table)
{
    struct strbuf key = {0};
    struct stat_scope *found = NULL;
    strbuf_adds(&key, prefix);
    for (unsigned i = 0; i < TABLES_MAX && !found; i++) {
        struct scope_node *n = map_get(stats_registry.scopes, strbuf_str(&key));
        if (n && n->scope->table == table)
            found = n->scope;
        strbuf_addc(&key, '\1');
    }
    strbuf_fini(&key);
    return found;
}

struct stat_scope *stat_scope_get(struct str prefix, const struct stat_table *table, struct str tag_extracted,
                                  const struct stat_tag *tags, size_t tag_count)
{
    struct stat_scope *there = find_scope(prefix, table);
    if (there) {
        there->refs++;
        return there;
    }
    struct scope_node *n = NEW(scope_node);
    struct stat_scope *s = mem_zalloc(sizeof(*s) + stats_registry.threads * sizeof(s->blocks[0]));
    s->table = table;
    s->prefix = str_dup(prefix);
    s->refs = 1;
    s->registry_node = n;
    n->scope = s;
    n->extracted = str_dup(tag_extracted);
    n->tag_count = (uint32_t)tag_count;
    n->tags = tag_count ? mem_zalloc(tag_count * sizeof(*n->tags)) : NULL;
    for (size_t i = 0; i < tag_count; i++)
        n->tags[i] = (struct stat_tag){str_dup(tags[i].name), str_dup(tags[i].value)};
    /* Two tables under one prefix ("listener.x." counts connections, and other things later): keep both. */
    struct strbuf key = {0};
    strbuf_adds(&key, prefix);
    while (map_get(stats_registry.scopes, strbuf_str(&key)))
        strbuf_addc(&key, '\1');
    map_set(stats_registry.scopes, strbuf_str(&key), n);
    strbuf_fini(&key);
    return s;
}

void stat_scope_unref(struct stat_scope **scope)
{
    struct stat_scope *s = *scope;
    *scope = NULL;
    if (!s || --s->refs)
        return;
    struct strbuf key = {0};
    strbuf_adds(&key, s->prefix);
    while (map_get(stats_registry.scopes, strbuf_str(&key)) != s->registry_node)
        strbuf_addc(&key, '\1');
    map_del(stats_registry.scopes, strbuf_str(&key));
    strbuf_fini(&key);
    node_free(s->registry_node);
}

void stats_fini(void)
{
    size_t at = 0;
    struct str key;
    void *node;
    while (map_next(stats_registry.scopes, &at, &key, &node))
        node_free(node);
    map_free(&stats_registry.scopes);
    for (size_t i = 0; i < stats_registry.retired_count; i++)
        mem_free(stats_registry.retired[i]);
    mem_free(stats_registry.retired);
    stats_registry.config = NULL;
    stats_registry.retired = NULL;
    stats_registry.retired_count = stats_registry.retired_cap = 0;
}

/* ---- writing ---- */

struct stat_block *stat_scope_touch(struct stat_scope *s)
{
    uint32_t n = s->table->count, words = (n + 63) / 64;
    DCHECK(stat_thread < stats_registry.threads);
    struct stat_block *b = mem_zalloc(sizeof(*b) + (n + words) * sizeof(uint64_t));
    b->values = (uint64_t *)(b + 1);
    b->touched = b->values + n;
    __atomic_store_n(&s->blocks[stat_thread], b, __ATOMIC_RELEASE);
    return b;
}

void stat_set(struct stat_scope *s, uint32_t row, uint64_t value)
{
    struct stat_block *b = stat_block_of(s);
    __atomic_store_n(&b->values[row], value, __ATOMIC_RELAXED);
    stat_touch(b, row);
}

void stat_set_text(struct stat_scope *s, uint32_t row, struct str text)
{
    struct stat_block *b = stat_block_of(s);
    char *old = (char *)(uintptr_t)b->values[row];
    b->values[row] = (uintptr_t)mem_strndup(text.n ? text.p : "", text.n);
    stat_touch(b, row);
    mem_free(old);
}

void stat_record(struct stat_scope *s, uint32_t row, uint64_t value)
{
    struct stat_block *b = stat_block_of(s);
    if (!b->histograms)
        __atomic_store_n(&b->histograms, mem_zalloc(s->table->count * sizeof(void *)), __ATOMIC_RELEASE);
    if (!b->histograms[row])
        __atomic_store_n(&b->histograms[row], (void *)histogram_new(), __ATOMIC_RELEASE);
    stat_touch(b, row);
    histogram_record(b->histograms[row], value);
}

static void retire(void *p)
{
    while (__atomic_test_and_set(&stats_registry.retired_lock, __ATOMIC_ACQUIRE)) /* a few times in a process's life */
        ;
    stats_registry.retired = mem_grow(stats_registry.retired, &stats_registry.retired_cap, stats_registry.retired_count + 1, sizeof(void *));
    stats_registry.retired[stats_registry.retired_count++] = p;
    __atomic_clear(&stats_registry.retired_lock, __ATOMIC_RELEASE);
}

static struct named *named_add(struct stat_block *b, struct named row)
{
    struct named_list *l = b->codes;
    if (!l || l->count == l->cap) {
        uint32_t cap = l ? l->cap * 2 : 4;
        if (cap > NAMED_MAX)
            return NULL;
        struct named_list *bigger = mem_zalloc(sizeof(*bigger) + cap * sizeof(bigger->items[0]));
        bigger->cap = cap;
        if (l) {
            bigger->count = l->count;
            memcpy(bigger->items, l->items, l->count * sizeof(l->items[0]));
            retire(l);
        }
        __atomic_store_n(&b->codes, (void *)bigger, __ATOMIC_RELEASE);
        l = bigger;
    }
    l->items[l->count] = row;
    __atomic_store_n(&l->count, l->count + 1, __ATOMIC_RELEASE);
    return &l->items[l->count - 1];
}

static void named_count(struct stat_block *b, const char *family, const char *name, uint32_t code)
{
    struct named_list *l = b->codes;
    for (uint32_t i = 0; l && i < l->count; i++) {
        struct named *n = &l->items[i];
        bool same = n->family == family && n->code == code &&
                    (n->name == name || (n->name && name && strcmp(n->name, name) == 0));
        if (same) {
            __atomic_store_n(&n->value, n->value + 1, __ATOMIC_RELAXED);
            return;
        }
    }
    named_add(b, (struct named){family, name, code, 1});
}

void stat_code(struct stat_scope *s, const char *family, uint32_t status)
{
    named_count(stat_block_of(s), family, NULL, status);
}

void stat_named(struct stat_scope *s, const char *family, const char *name)
{
    if (name && *name)
        named_count(stat_block_of(s), family, name, 0);
}
