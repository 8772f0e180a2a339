/* SPDX-License-Identifier: Apache-2.0
 *
 * Looking at all statistics: sums over the threads' blocks, what stats_config leaves out, resetting.
 * A sum is of a moment ago, never torn. Main thread.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "proxy/stats/stats_priv.h"

uint64_t stat_sum(const struct stat_scope *s, uint32_t row)
{
    uint64_t sum = 0;
    for (uint32_t t = 0; t < stats_registry.threads; t++) {
        const struct stat_block *b = __atomic_load_n(&s->blocks[t], __ATOMIC_ACQUIRE);
        if (b)
            sum += __atomic_load_n(&b->values[row], __ATOMIC_RELAXED);
    }
    const struct scope_node *n = s->registry_node;
    if (n->base && s->table->rows[row].kind == STAT_COUNTER)
        sum -= n->base[row];
    return sum;
}

static struct str text_of(const struct stat_scope *s, uint32_t row)
{
    const struct stat_block *b = s->blocks[0]; /* the main thread's, as we are */
    return str_from(b && b->values[row] ? (const char *)(uintptr_t)b->values[row] : "");
}

static bool row_is_touched(const struct stat_scope *s, uint32_t row)
{
    for (uint32_t t = 0; t < stats_registry.threads; t++) {
        const struct stat_block *b = __atomic_load_n(&s->blocks[t], __ATOMIC_ACQUIRE);
        if (b && (__atomic_load_n(&b->touched[row >> 6], __ATOMIC_RELAXED) >> (row & 63)) & 1)
            return true;
    }
    return false;
}

void merge_histogram(const struct stat_scope *s, uint32_t row, struct histogram_view *v)
{
    memset(v, 0, sizeof(*v));
    for (uint32_t t = 0; t < stats_registry.threads; t++) {
        const struct stat_block *b = __atomic_load_n(&s->blocks[t], __ATOMIC_ACQUIRE);
        void **all = b ? __atomic_load_n(&b->histograms, __ATOMIC_ACQUIRE) : NULL;
        const struct histogram *h = all ? __atomic_load_n(&all[row], __ATOMIC_ACQUIRE) : NULL;
        if (h)
            histogram_add_to(h, v);
    }
}

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
    stats_registry.config = config;
    while (map_next(stats_registry.scopes, &at, &key, &node)) {
        struct scope_node *n = node;
        mem_free(n->verdicts);
        n->verdicts = NULL;
    }
}

const struct stats_config *stats_config_current(void)
{
    return stats_registry.config;
}

/* Asked once a row: expressions over 200,000 names at each scrape would be felt. */
static bool keeps_row(struct scope_node *n, uint32_t row, struct strbuf *scratch)
{
    const struct stat_scope *s = n->scope;
    if (!stats_registry.config || stats_registry.config->filter == STATS_KEEP_ALL)
        return true;
    if (!n->verdicts)
        n->verdicts = mem_zalloc(s->table->count + 1);
    if (n->verdicts[row] == VERDICT_NONE) {
        strbuf_reset(scratch);
        strbuf_adds(scratch, s->prefix);
        strbuf_addz(scratch, s->table->rows[row].name);
        n->verdicts[row] = stats_config_keeps(stats_registry.config, strbuf_str(scratch)) ? VERDICT_KEEP : VERDICT_DROP;
    }
    return n->verdicts[row] == VERDICT_KEEP;
}

static bool keeps_name(const struct scope_node *n, struct str tail, struct strbuf *scratch)
{
    strbuf_reset(scratch);
    strbuf_adds(scratch, n->scope->prefix);
    strbuf_adds(scratch, tail);
    return stats_config_keeps(stats_registry.config, strbuf_str(scratch));
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
        if (!w->fn && (d->kind != STAT_HISTOGRAM || !sample.used)) /* flushed for nobody: intervals of histograms only */
            continue;
        if (d->kind == STAT_HISTOGRAM) {
            if (!w->histograms)
                continue;
            merge_histogram(s, i, &w->view);
            sample.histogram = &w->view;
            if (w->flushes && sample.used)
                flush_histogram(w, n, i);
            if (!w->fn)
                continue;
            if (flushed_interval(n, i, &w->interval))
                sample.interval = &w->interval;
        } else if (d->kind == STAT_TEXT) {
            if (w->flushes)
                continue;
            sample.text = text_of(s, i);
        } else {
            sample.value = stat_sum(s, i);
            if (w->flushes)
                flush_row(n, i, &sample);
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

static bool has_named(const struct scope_node *n)
{
    for (uint32_t t = 0; t < stats_registry.threads; t++) {
        const struct stat_block *b = __atomic_load_n(&n->scope->blocks[t], __ATOMIC_ACQUIRE);
        if (b && __atomic_load_n(&b->codes, __ATOMIC_ACQUIRE))
            return true;
    }
    return false;
}

/* Sum the same dynamic name over threads: gathered by text, since each thread has a list of its own. */
static void walk_named(struct walk *w, struct scope_node *n)
{
    if (!has_named(n))
        return;
    struct map *sums = map_new();
    struct strbuf text = {0};
    for (uint32_t t = 0; t < stats_registry.threads; t++) {
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
        if (w->flushes)
            flush_named(n, key, &sample);
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
    struct scope_node **nodes = mem_alloc((map_count(stats_registry.scopes) + 1) * sizeof(*nodes));
    size_t at = 0, n = 0;
    struct str key;
    void *node;
    while (map_next(stats_registry.scopes, &at, &key, &node))
        nodes[n++] = node;
    *count = n;
    return nodes;
}

static struct list sources = {&sources, &sources};

void stats_source_add(struct stat_source *keep_source)
{
    list_push_back(&sources, &keep_source->node);
}

void stats_source_remove(struct stat_source *s)
{
    list_remove(&s->node);
}

static void emit_kept(const struct stat_sample *sample, void *arg)
{
    struct walk *w = arg;
    if (stats_config_keeps(stats_registry.config, sample->name))
        w->fn(sample, w->arg);
}

static void walk_sources(struct walk *w)
{
    LIST_EACH(it, safe, &sources) {
        struct stat_source *s = LIST_ENTRY(it, stat_source, node);
        s->each(s, w->flushes, emit_kept, w);
    }
}

void walk_all(struct walk *w, bool sorted)
{
    size_t count;
    struct scope_node **nodes = all_nodes(&count);
    if (sorted)
        qsort(nodes, count, sizeof(*nodes), by_prefix);
    for (size_t i = 0; i < count; i++) {
        walk_rows(w, nodes[i]);
        if (w->fn)
            walk_named(w, nodes[i]);
    }
    if (w->fn)
        walk_sources(w);
    strbuf_fini(&w->name);
    strbuf_fini(&w->extracted);
    mem_free(nodes);
}

void stats_each(bool sorted, bool histograms, void (*fn)(const struct stat_sample *s, void *arg), void *arg)
{
    struct walk *w = NEW(walk);
    w->fn = fn;
    w->arg = arg;
    w->histograms = histograms;
    walk_all(w, sorted);
    mem_free(w);
}

/* ---- by statistic ---- */

const struct stat_scope **stats_scopes(size_t *count)
{
    struct scope_node **nodes = all_nodes(count);
    qsort(nodes, *count, sizeof(*nodes), by_prefix);
    const struct stat_scope **scopes = mem_alloc((*count + 1) * sizeof(*scopes));
    for (size_t i = 0; i < *count; i++)
        scopes[i] = nodes[i]->scope;
    mem_free(nodes);
    return scopes;
}

struct str stat_scope_extracted(const struct stat_scope *s)
{
    return ((const struct scope_node *)s->registry_node)->extracted;
}

const struct stat_tag *stat_scope_tags(const struct stat_scope *s, uint32_t *count)
{
    const struct scope_node *n = s->registry_node;
    *count = n->tag_count;
    return n->tags;
}

static bool is_kept(const struct stat_scope *s, uint32_t row)
{
    struct strbuf scratch = {0};
    bool kept = keeps_row(s->registry_node, row, &scratch);
    strbuf_fini(&scratch);
    return kept;
}

bool stats_read_row(const struct stat_scope *s, uint32_t row, struct stat_sample *sample, struct histogram_view *view)
{
    static const struct histogram_view empty; /* most histograms of a large mesh: not worth the summing */
    const struct stat_desc *d = &s->table->rows[row];
    bool used = row_is_touched(s, row);
    if ((d->unit == STAT_UNIT_LAZY && !used) || !is_kept(s, row))
        return false;
    *sample = (struct stat_sample){.scope = s, .kind = d->kind, .unit = d->unit, .used = used};
    if (d->kind == STAT_TEXT) {
        sample->text = text_of(s, row);
        return true;
    }
    if (d->kind != STAT_HISTOGRAM) {
        sample->value = stat_sum(s, row);
        return true;
    }
    if (used)
        merge_histogram(s, row, view);
    sample->histogram = used ? view : &empty;
    return true;
}

void stats_read_named(const struct stat_scope *s, void (*fn)(const struct stat_sample *s, void *arg), void *arg)
{
    struct walk *w;
    if (!has_named(s->registry_node))
        return;
    w = NEW(walk);
    w->fn = fn;
    w->arg = arg;
    walk_named(w, s->registry_node);
    strbuf_fini(&w->name);
    strbuf_fini(&w->extracted);
    mem_free(w);
}

void stats_read_sources(void (*fn)(const struct stat_sample *s, void *arg), void *arg)
{
    struct walk w = {.fn = fn, .arg = arg};
    walk_sources(&w);
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
