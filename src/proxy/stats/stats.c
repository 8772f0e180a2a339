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
#include "proxy/stats/registry.h"
#include "proxy/stats/stats_config.h"

#define NAMED_MAX 256 /* distinct dynamic names per scope and thread: a peer's choice of cipher must not grow memory */

__thread uint32_t stat_thread;

struct named {
    const char *family, *name; /* name NULL: a status code */
    uint32_t code;
    uint64_t value;
};
/* Grows by replacement; readers see the old or the new array whole. */
struct named_list {
    uint32_t count, cap;
    struct named items[];
};

struct scope_node {
    struct stat_scope *scope;
    struct str extracted;
    struct stat_tag *tags;
    uint32_t tag_count;
    uint64_t *base; /* subtracted from counters after a reset; NULL before the first */
    struct map *named_base;
    uint8_t *verdicts; /* per row, what stats_config says; NULL before anybody asked */
};
enum { VERDICT_NONE, VERDICT_KEEP, VERDICT_DROP };

static struct {
    uint32_t threads;
    struct map *scopes;   /* prefix -> struct scope_node */
    void **retired;       /* replaced named lists, freed at the end: a reader may still hold one */
    size_t retired_count, retired_cap;
    uint8_t retired_lock;
    const struct stats_config *config;
} registry;

void stats_init(uint32_t threads)
{
    CHECK(threads >= 1 && threads <= STAT_MAX_THREADS);
    registry.threads = threads;
    registry.scopes = map_new();
}

/* ---- scopes ---- */

static struct str keep(struct str s)
{
    return str_make(mem_strndup(s.p ? s.p : "", s.n), s.n);
}

static void node_free(struct scope_node *n)
{
    struct stat_scope *s = n->scope;
    for (uint32_t t = 0; t < registry.threads; t++) {
        struct stat_block *b = s->blocks[t];
        if (!b)
            continue;
        for (uint32_t i = 0; b->histograms && i < s->table->count; i++)
            histogram_free((struct histogram **)&b->histograms[i]);
        mem_free(b->histograms);
        mem_free(b->codes);
        mem_free(b);
    }
    for (uint32_t i = 0; i < n->tag_count; i++) {
        mem_free((char *)(uintptr_t)n->tags[i].name.p);
        mem_free((char *)(uintptr_t)n->tags[i].value.p);
    }
    mem_free(n->tags);
    mem_free((char *)(uintptr_t)n->extracted.p);
    mem_free((char *)(uintptr_t)s->prefix.p);
    mem_free(n->base);
    mem_free(n->verdicts);
    map_free(&n->named_base);
    mem_free(s);
    mem_free(n);
}

struct stat_scope *stat_scope_get(struct str prefix, const struct stat_table *table, struct str tag_extracted,
                                  const struct stat_tag *tags, size_t tag_count)
{
    struct scope_node *n = map_get(registry.scopes, prefix);
    if (n && n->scope->table == table) {
        n->scope->refs++;
        return n->scope;
    }
    n = NEW(scope_node);
    struct stat_scope *s = mem_zalloc(sizeof(*s) + registry.threads * sizeof(s->blocks[0]));
    s->table = table;
    s->prefix = keep(prefix);
    s->refs = 1;
    s->registry_node = n;
    n->scope = s;
    n->extracted = keep(tag_extracted);
    n->tag_count = (uint32_t)tag_count;
    n->tags = tag_count ? mem_zalloc(tag_count * sizeof(*n->tags)) : NULL;
    for (size_t i = 0; i < tag_count; i++)
        n->tags[i] = (struct stat_tag){keep(tags[i].name), keep(tags[i].value)};
    /* Two tables under one prefix ("listener.x." counts connections, and other things later): keep both. */
    struct strbuf key = {0};
    strbuf_adds(&key, prefix);
    while (map_get(registry.scopes, strbuf_str(&key)))
        strbuf_addc(&key, '\1');
    map_set(registry.scopes, strbuf_str(&key), n);
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
    while (map_get(registry.scopes, strbuf_str(&key)) != s->registry_node)
        strbuf_addc(&key, '\1');
    map_del(registry.scopes, strbuf_str(&key));
    strbuf_fini(&key);
    node_free(s->registry_node);
}

void stats_fini(void)
{
    size_t at = 0;
    struct str key;
    void *node;
    while (map_next(registry.scopes, &at, &key, &node))
        node_free(node);
    map_free(&registry.scopes);
    for (size_t i = 0; i < registry.retired_count; i++)
        mem_free(registry.retired[i]);
    mem_free(registry.retired);
    registry.config = NULL;
    registry.retired = NULL;
    registry.retired_count = registry.retired_cap = 0;
}

/* ---- writing ---- */

struct stat_block *stat_scope_touch(struct stat_scope *s)
{
    uint32_t n = s->table->count, words = (n + 63) / 64;
    DCHECK(stat_thread < registry.threads);
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
    while (__atomic_test_and_set(&registry.retired_lock, __ATOMIC_ACQUIRE)) /* a few times in a process's life */
        ;
    registry.retired = mem_grow(registry.retired, &registry.retired_cap, registry.retired_count + 1, sizeof(void *));
    registry.retired[registry.retired_count++] = p;
    __atomic_clear(&registry.retired_lock, __ATOMIC_RELEASE);
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

/* ---- reading ---- */

uint64_t stat_sum(const struct stat_scope *s, uint32_t row)
{
    uint64_t sum = 0;
    for (uint32_t t = 0; t < registry.threads; t++) {
        const struct stat_block *b = __atomic_load_n(&s->blocks[t], __ATOMIC_ACQUIRE);
        if (b)
            sum += __atomic_load_n(&b->values[row], __ATOMIC_RELAXED);
    }
    const struct scope_node *n = s->registry_node;
    if (n->base && s->table->rows[row].kind == STAT_COUNTER)
        sum -= n->base[row];
    return sum;
}

static bool row_is_touched(const struct stat_scope *s, uint32_t row)
{
    for (uint32_t t = 0; t < registry.threads; t++) {
        const struct stat_block *b = __atomic_load_n(&s->blocks[t], __ATOMIC_ACQUIRE);
        if (b && (__atomic_load_n(&b->touched[row >> 6], __ATOMIC_RELAXED) >> (row & 63)) & 1)
            return true;
    }
    return false;
}

static void merge_histogram(const struct stat_scope *s, uint32_t row, struct histogram_view *v)
{
    memset(v, 0, sizeof(*v));
    for (uint32_t t = 0; t < registry.threads; t++) {
        const struct stat_block *b = __atomic_load_n(&s->blocks[t], __ATOMIC_ACQUIRE);
        void **all = b ? __atomic_load_n(&b->histograms, __ATOMIC_ACQUIRE) : NULL;
        const struct histogram *h = all ? __atomic_load_n(&all[row], __ATOMIC_ACQUIRE) : NULL;
        if (h)
            histogram_add_to(h, v);
    }
}

struct walk {
    void (*fn)(const struct stat_sample *s, void *arg);
    void *arg;
    bool histograms;
    bool all; /* whatever stats_config says */
    struct strbuf name, extracted;
    struct histogram_view view;
};

static void emit(struct walk *w, const struct scope_node *n, const char *tail, struct stat_sample *sample)
{
    strbuf_reset(&w->name);
    strbuf_adds(&w->name, n->scope->prefix);
    strbuf_addz(&w->name, tail);
    strbuf_reset(&w->extracted);
    strbuf_adds(&w->extracted, n->extracted);
    strbuf_addz(&w->extracted, tail);
    sample->scope = n->scope;
    sample->name = strbuf_str(&w->name);
    sample->extracted = strbuf_str(&w->extracted);
    sample->tags = n->tags;
    sample->tag_count = n->tag_count;
    w->fn(sample, w->arg);
}

void stats_config_apply(const struct stats_config *config)
{
    size_t at = 0;
    struct str key;
    void *node;
    registry.config = config;
    while (map_next(registry.scopes, &at, &key, &node)) {
        struct scope_node *n = node;
        mem_free(n->verdicts);
        n->verdicts = NULL;
    }
}

const struct stats_config *stats_config_current(void)
{
    return registry.config;
}

/* Asked once a row: expressions over 200,000 names at each scrape would be felt. */
static bool keeps_row(struct scope_node *n, uint32_t row, struct strbuf *scratch)
{
    const struct stat_scope *s = n->scope;
    if (!registry.config || registry.config->filter == STATS_KEEP_ALL)
        return true;
    if (!n->verdicts)
        n->verdicts = mem_zalloc(s->table->count + 1);
    if (n->verdicts[row] == VERDICT_NONE) {
        strbuf_reset(scratch);
        strbuf_adds(scratch, s->prefix);
        strbuf_addz(scratch, s->table->rows[row].name);
        n->verdicts[row] = stats_config_keeps(registry.config, strbuf_str(scratch)) ? VERDICT_KEEP : VERDICT_DROP;
    }
    return n->verdicts[row] == VERDICT_KEEP;
}

static bool keeps_name(const struct scope_node *n, struct str tail, struct strbuf *scratch)
{
    strbuf_reset(scratch);
    strbuf_adds(scratch, n->scope->prefix);
    strbuf_adds(scratch, tail);
    return stats_config_keeps(registry.config, strbuf_str(scratch));
}

static void walk_rows(struct walk *w, struct scope_node *n)
{
    const struct stat_scope *s = n->scope;
    for (uint32_t i = 0; i < s->table->count; i++) {
        const struct stat_desc *d = &s->table->rows[i];
        if (!keeps_row(n, i, &w->name))
            continue;
        struct stat_sample sample = {.kind = d->kind, .unit = d->unit, .used = row_is_touched(s, i)};
        if (d->unit == STAT_UNIT_LAZY && !sample.used)
            continue;
        if (d->kind == STAT_HISTOGRAM) {
            if (!w->histograms)
                continue;
            merge_histogram(s, i, &w->view);
            sample.histogram = &w->view;
        } else {
            sample.value = stat_sum(s, i);
        }
        emit(w, n, d->name, &sample);
    }
}

static void named_text(const struct named *item, struct strbuf *out)
{
    strbuf_addz(out, item->family);
    strbuf_addc(out, item->name ? '.' : '_');
    if (item->name)
        strbuf_addz(out, item->name);
    else
        strbuf_addu(out, item->code);
}

/* Sum the same dynamic name over threads: gathered by text, since each thread has a list of its own. */
static void walk_named(struct walk *w, const struct scope_node *n)
{
    struct map *sums = map_new();
    struct strbuf text = {0};
    for (uint32_t t = 0; t < registry.threads; t++) {
        const struct stat_block *b = __atomic_load_n(&n->scope->blocks[t], __ATOMIC_ACQUIRE);
        const struct named_list *l = b ? __atomic_load_n(&b->codes, __ATOMIC_ACQUIRE) : NULL;
        uint32_t count = l ? __atomic_load_n(&l->count, __ATOMIC_ACQUIRE) : 0;
        for (uint32_t i = 0; i < count; i++) {
            strbuf_reset(&text);
            named_text(&l->items[i], &text);
            uintptr_t sum = (uintptr_t)map_get(sums, strbuf_str(&text));
            sum += __atomic_load_n(&l->items[i].value, __ATOMIC_RELAXED);
            map_set(sums, strbuf_str(&text), (void *)sum);
        }
    }
    size_t at = 0;
    struct str key;
    void *value;
    while (map_next(sums, &at, &key, &value)) {
        uintptr_t base = n->named_base ? (uintptr_t)map_get(n->named_base, key) : 0;
        struct stat_sample sample = {.kind = STAT_COUNTER, .used = true, .value = (uintptr_t)value - base};
        strbuf_reset(&text);
        strbuf_adds(&text, key);
        if (w->all || keeps_name(n, key, &w->name))
            emit(w, n, text.p, &sample);
    }
    strbuf_fini(&text);
    map_free(&sums);
}

static int by_prefix(const void *a, const void *b)
{
    const struct scope_node *x = *(struct scope_node *const *)a, *y = *(struct scope_node *const *)b;
    return str_cmp(x->scope->prefix, y->scope->prefix);
}

static struct scope_node **all_nodes(size_t *count)
{
    struct scope_node **nodes = mem_alloc((map_count(registry.scopes) + 1) * sizeof(*nodes));
    size_t at = 0, n = 0;
    struct str key;
    void *node;
    while (map_next(registry.scopes, &at, &key, &node))
        nodes[n++] = node;
    *count = n;
    return nodes;
}

void stats_each(bool sorted, bool histograms, void (*fn)(const struct stat_sample *s, void *arg), void *arg)
{
    struct walk *w = NEW(walk);
    size_t count;
    struct scope_node **nodes = all_nodes(&count);
    *w = (struct walk){.fn = fn, .arg = arg, .histograms = histograms};
    if (sorted)
        qsort(nodes, count, sizeof(*nodes), by_prefix);
    for (size_t i = 0; i < count; i++) {
        walk_rows(w, nodes[i]);
        walk_named(w, nodes[i]);
    }
    strbuf_fini(&w->name);
    strbuf_fini(&w->extracted);
    mem_free(nodes);
    mem_free(w);
}

/* ---- resetting ---- */

static void rebase_rows(struct scope_node *n)
{
    const struct stat_scope *s = n->scope;
    uint64_t *base = mem_zalloc(s->table->count * sizeof(*base) + 1);
    for (uint32_t i = 0; i < s->table->count; i++)
        if (s->table->rows[i].kind == STAT_COUNTER)
            base[i] = stat_sum(s, i) + (n->base ? n->base[i] : 0);
    mem_free(n->base);
    n->base = base;
}

struct rebase {
    const struct scope_node *node;
    struct map *sums;
};

static void note_named(const struct stat_sample *sample, void *arg)
{
    struct rebase *r = arg;
    size_t skip = r->node->scope->prefix.n;
    struct str tail = str_make(sample->name.p + skip, sample->name.n - skip);
    uintptr_t before = r->node->named_base ? (uintptr_t)map_get(r->node->named_base, tail) : 0;
    if (sample->value + before)
        map_set(r->sums, tail, (void *)(uintptr_t)(sample->value + before));
}

void stats_reset_counters(void)
{
    size_t count;
    struct scope_node **nodes = all_nodes(&count);
    for (size_t i = 0; i < count; i++) {
        struct walk w = {.fn = note_named, .all = true};
        struct rebase r = {nodes[i], map_new()};
        w.arg = &r;
        rebase_rows(nodes[i]);
        walk_named(&w, nodes[i]);
        map_free(&nodes[i]->named_base);
        nodes[i]->named_base = r.sums;
        strbuf_fini(&w.name);
        strbuf_fini(&w.extracted);
    }
    mem_free(nodes);
}
