/* SPDX-License-Identifier: Apache-2.0
 *
 * See the header. A worker owns its table and its entries. A new entry goes to the main thread by a
 * stack that it empties when it is woken (the wake names nothing that could be gone by then), gets its
 * scopes there, and comes back by the worker's mailbox: until then it is the main thread's to write,
 * but for what waits in it. Scopes are kept by the main thread until the last configuration is gone:
 * a label set counts on for ever.
 */
#include "proxy/filter/istio_series.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"
#include "io/loop.h"
#include "proxy/server.h"

#define PREFIX "istiocustom."
#define WAITING_MAX 256 /* recorded values that wait for their scope; the main thread answers within a turn */
#define NONE 255

static const struct stat_desc rows[] = {ISTIO_METRICS(STAT_DESC_ROW)};
const struct stat_table istio_metric_table = {rows, ARRAY_LEN(rows)};

#define SERIES_STATS(X)                                                                            \
    X(SERIES_OVERFLOW, COUNTER, LAZY, "label_sets_overflow", "Requests of label sets past the limit: not counted") \
    X(SERIES_SETS, GAUGE, LAZY, "label_sets", "Label sets that are counted")
enum { SERIES_STATS(STAT_ENUM_ROW) };
static const struct stat_desc own_rows[] = {SERIES_STATS(STAT_DESC_ROW)};
static const struct stat_table own_table = {own_rows, ARRAY_LEN(own_rows)};
static const struct stat_desc build_rows[] = {{"istio_build", STAT_GAUGE, STAT_UNIT_NONE, "Which proxy this is"}};
static const struct stat_table build_table = {build_rows, ARRAY_LEN(build_rows)};

/* Metrics that share their labels and table. */
struct group {
    struct stat_scope *scope;         /* once ready; NULL: there are too many already */
    const struct stat_table *table;
    struct stat_tag *labels;          /* owned text in one piece, until the scope is there */
    uint32_t label_count;
    char *text;
};
struct waiting { uint8_t metric; uint64_t value; };
struct istio_series {
    struct istio_series *next;        /* in its bucket */
    struct istio_series *next_asked;
    struct group *groups;
    uint32_t group_count;
    uint8_t group_of[ISTIO_METRICS_MAX], row_of[ISTIO_METRICS_MAX];
    uint64_t *counts;                 /* waiting, by metric; NULL: none does */
    struct waiting *values;
    uint32_t value_count;
    bool is_ready;                    /* the scopes are there */
    struct loop *loop;                /* the worker's; NULL: the main thread's own */
    uint64_t hash;
    uint32_t key_bytes;
    uint8_t key[];
};
struct table {
    struct istio_series **buckets;
    uint32_t bucket_count, count;
};
struct istio_series_set {
    uint32_t refs;
    struct stat_scope *stats, *build;
    struct map *scopes;               /* prefix and table -> scope, one reference each */
    struct map *rules;                /* text -> number */
    _Atomic(struct istio_series *) asked;
    struct table tables[STAT_MAX_THREADS];
};

static struct istio_series_set *shared; /* main thread */

/* ---- main thread ---- */

struct istio_series_set *istio_series_ref(void)
{
    if (!shared) {
        shared = NEW(istio_series_set);
        shared->scopes = map_new();
        shared->rules = map_new();
    }
    shared->refs++;
    return shared;
}

static void drop_labels(struct group *g)
{
    mem_free(g->labels);
    mem_free(g->text);
    g->labels = NULL;
    g->text = NULL;
}

static void series_free(struct istio_series *x)
{
    for (uint32_t i = 0; i < x->group_count; i++)
        drop_labels(&x->groups[i]);
    mem_free(x->groups);
    mem_free(x->values);
    mem_free(x->counts);
    mem_free(x);
}

static void table_free(struct table *t)
{
    for (uint32_t i = 0; i < t->bucket_count; i++) {
        for (struct istio_series *x = t->buckets[i], *next; x; x = next) {
            next = x->next;
            series_free(x);
        }
    }
    mem_free(t->buckets);
}

void istio_series_unref(struct istio_series_set **set)
{
    struct istio_series_set *s = *set;
    size_t at = 0;
    struct str key;
    void *value;
    *set = NULL;
    if (!s || --s->refs)
        return;
    for (uint32_t i = 0; i < STAT_MAX_THREADS; i++)
        table_free(&s->tables[i]);
    while (map_next(s->scopes, &at, &key, &value)) {
        struct stat_scope *scope = value;
        stat_scope_unref(&scope);
    }
    stat_scope_unref(&s->stats);
    stat_scope_unref(&s->build);
    map_free(&s->scopes);
    map_free(&s->rules);
    mem_free(s);
    shared = NULL;
}

void istio_series_link(struct istio_series_set *s)
{
    if (!s->stats)
        s->stats = stat_scope_get(STR("istio_stats."), &own_table, STR("istio_stats."), NULL, 0);
}

void istio_series_build(struct istio_series_set *s, struct str version)
{
    struct strbuf prefix = {0};
    if (s->build)
        return;
    struct stat_tag tags[] = {{STR("component"), STR("proxy")}, {STR("tag"), version.n ? version : STR("unknown")}};
    strbuf_addf(&prefix, PREFIX "component.proxy.tag.%.*s.", STR_ARG(tags[1].value));
    s->build = stat_scope_get(strbuf_str(&prefix), &build_table, STR(PREFIX), tags, ARRAY_LEN(tags));
    stat_set(s->build, 0, 1);
    strbuf_fini(&prefix);
}

uint32_t istio_series_rules_id(struct istio_series_set *s, struct str rules)
{
    void *there = map_get(s->rules, rules);
    if (!there) {
        there = (void *)(uintptr_t)(map_count(s->rules) + 1);
        map_set(s->rules, rules, there);
    }
    return (uint32_t)(uintptr_t)there;
}

const struct stat_table *istio_series_own_table(struct str name, enum stat_kind kind)
{
    static struct map *tables; /* a metric's name is an operator's choice, made a few times in a process's life */
    struct strbuf key = {0};
    struct own { struct stat_table table; struct stat_desc row; } *own;
    strbuf_addf(&key, "%d.%.*s", (int)kind, STR_ARG(name));
    if (!tables)
        tables = map_new();
    own = map_get(tables, strbuf_str(&key));
    if (!own) {
        own = mem_zalloc(sizeof(*own));
        own->row = (struct stat_desc){mem_strndup(name.p, name.n), (uint8_t)kind, STAT_UNIT_LAZY, "Defined by configuration"};
        own->table = (struct stat_table){&own->row, 1};
        map_set(tables, strbuf_str(&key), own);
    }
    strbuf_fini(&key);
    return &own->table;
}

/* "istiocustom.reporter.source.source_workload.a. … ." */
static void write_prefix(const struct group *g, struct strbuf *out)
{
    strbuf_addz(out, PREFIX);
    for (uint32_t i = 0; i < g->label_count; i++) {
        strbuf_adds(out, g->labels[i].name);
        strbuf_addc(out, '.');
        strbuf_adds(out, g->labels[i].value);
        strbuf_addc(out, '.');
    }
}

static struct stat_scope *scope_of(struct istio_series_set *s, const struct group *g)
{
    struct strbuf prefix = {0}, key = {0};
    write_prefix(g, &prefix);
    strbuf_adds(&key, strbuf_str(&prefix));
    strbuf_add(&key, &g->table, sizeof(g->table));
    struct stat_scope *scope = map_get(s->scopes, strbuf_str(&key));
    if (!scope && map_count(s->scopes) < ISTIO_SERIES_MAX) {
        scope = stat_scope_get(strbuf_str(&prefix), g->table, STR(PREFIX), g->labels, g->label_count);
        map_set(s->scopes, strbuf_str(&key), scope);
        if (s->stats)
            stat_inc(s->stats, STAT_SERIES_SETS);
    }
    strbuf_fini(&prefix);
    strbuf_fini(&key);
    return scope;
}

static void settle(void *arg);

/* A wake may come after all is over: then there is nothing that it is about. */
static void answer(void *arg)
{
    (void)arg;
    struct istio_series *x = shared ? atomic_exchange_explicit(&shared->asked, NULL, memory_order_acquire) : NULL;
    for (struct istio_series *next; x; x = next) {
        next = x->next_asked;
        for (uint32_t i = 0; i < x->group_count; i++) {
            x->groups[i].scope = scope_of(shared, &x->groups[i]);
            drop_labels(&x->groups[i]);
        }
        if (x->loop)
            loop_post(x->loop, settle, x);
        else
            settle(x);
    }
}

/* ---- workers ---- */

static void grow(struct table *t)
{
    uint32_t n = t->bucket_count ? t->bucket_count * 2 : 64;
    struct istio_series **buckets = mem_zalloc(n * sizeof(*buckets));
    for (uint32_t i = 0; i < t->bucket_count; i++) {
        for (struct istio_series *x = t->buckets[i], *next; x; x = next) {
            next = x->next;
            x->next = buckets[x->hash & (n - 1)];
            buckets[x->hash & (n - 1)] = x;
        }
    }
    mem_free(t->buckets);
    t->buckets = buckets;
    t->bucket_count = n;
}

struct istio_series *istio_series_find(struct istio_series_set *s, const void *key, size_t n)
{
    struct table *t = &s->tables[stat_thread];
    if (!t->bucket_count)
        return NULL;
    uint64_t hash = XXH3_64bits(key, n);
    for (struct istio_series *x = t->buckets[hash & (t->bucket_count - 1)]; x; x = x->next)
        if (x->hash == hash && x->key_bytes == n && memcmp(x->key, key, n) == 0)
            return x;
    return NULL;
}

struct istio_series *istio_series_add(struct istio_series_set *s, const void *key, size_t n)
{
    struct table *t = &s->tables[stat_thread];
    if (t->count >= ISTIO_SERIES_MAX) {
        if (s->stats)
            stat_inc(s->stats, STAT_SERIES_OVERFLOW);
        return NULL;
    }
    if (t->count >= t->bucket_count)
        grow(t);
    struct istio_series *x = mem_zalloc(sizeof(*x) + n);
    x->hash = XXH3_64bits(key, n);
    x->key_bytes = (uint32_t)n;
    memcpy(x->key, key, n);
    memset(x->group_of, NONE, sizeof(x->group_of));
    x->next = t->buckets[x->hash & (t->bucket_count - 1)];
    t->buckets[x->hash & (t->bucket_count - 1)] = x;
    t->count++;
    return x;
}

static bool has_labels(const struct group *g, const struct stat_tag *labels, uint32_t n)
{
    bool same = g->label_count == n;
    for (uint32_t i = 0; same && i < n; i++)
        same = str_eq(g->labels[i].name, labels[i].name) && str_eq(g->labels[i].value, labels[i].value);
    return same;
}

static char *put(char *at, struct str s, struct str *out)
{
    *out = str_make(at, s.n);
    memcpy(at, s.p, s.n);
    return at + s.n;
}

static void add_group(struct istio_series *x, const struct stat_table *table, const struct stat_tag *labels, uint32_t n)
{
    size_t bytes = 1;
    for (uint32_t i = 0; i < n; i++)
        bytes += labels[i].name.n + labels[i].value.n;
    x->groups = mem_realloc(x->groups, (x->group_count + 1) * sizeof(*x->groups));
    struct group *g = &x->groups[x->group_count++];
    *g = (struct group){.table = table, .label_count = n, .text = mem_alloc(bytes), .labels = mem_alloc((n + 1) * sizeof(*labels))};
    char *at = g->text;
    for (uint32_t i = 0; i < n; i++) {
        at = put(at, labels[i].name, &g->labels[i].name);
        at = put(at, labels[i].value.p ? labels[i].value : STR(""), &g->labels[i].value);
    }
}

void istio_series_describe(struct istio_series *x, unsigned metric, const struct stat_table *table, uint32_t row,
                           const struct stat_tag *labels, uint32_t label_count)
{
    uint32_t i = 0;
    while (i < x->group_count && !(x->groups[i].table == table && has_labels(&x->groups[i], labels, label_count)))
        i++;
    if (i == x->group_count)
        add_group(x, table, labels, label_count);
    x->group_of[metric] = (uint8_t)i;
    x->row_of[metric] = (uint8_t)row;
}

void istio_series_ask(struct istio_series_set *s, struct istio_series *x)
{
    const struct worker *here = worker_current();
    struct istio_series *head = atomic_load_explicit(&s->asked, memory_order_relaxed);
    x->loop = here ? here->loop : NULL;
    do
        x->next_asked = head;
    while (!atomic_compare_exchange_weak_explicit(&s->asked, &head, x, memory_order_release, memory_order_relaxed));
    if (!here)
        answer(NULL);
    else if (!head)
        loop_post(here->server->main_loop, answer, NULL);
}

static struct stat_scope *scope_of_metric(const struct istio_series *x, unsigned metric)
{
    return x->groups[x->group_of[metric]].scope;
}

/* The scopes have come: what waited is counted. */
static void settle(void *arg)
{
    struct istio_series *x = arg;
    uint32_t n = x->value_count;
    x->is_ready = true;
    x->value_count = 0;
    for (unsigned m = 0; x->counts && m < ISTIO_METRICS_MAX; m++)
        if (x->counts[m])
            istio_series_count(x, m, x->counts[m]);
    for (uint32_t i = 0; i < n; i++)
        istio_series_record(x, x->values[i].metric, x->values[i].value);
    mem_free(x->values);
    mem_free(x->counts);
    x->values = NULL;
    x->counts = NULL;
}

static void count_overflow(void)
{
    struct stat_scope *s = shared ? shared->stats : NULL; /* made before any worker runs */
    if (s)
        stat_inc(s, STAT_SERIES_OVERFLOW);
}

void istio_series_count(struct istio_series *x, unsigned metric, uint64_t n)
{
    if (x->group_of[metric] == NONE)
        return;
    if (__builtin_expect(!x->is_ready, 0)) {
        if (!x->counts)
            x->counts = mem_zalloc(ISTIO_METRICS_MAX * sizeof(*x->counts));
        x->counts[metric] += n;
        return;
    }
    struct stat_scope *scope = scope_of_metric(x, metric);
    if (__builtin_expect(scope != NULL, 1))
        stat_add(scope, x->row_of[metric], n);
    else
        count_overflow();
}

void istio_series_record(struct istio_series *x, unsigned metric, uint64_t value)
{
    if (x->group_of[metric] == NONE)
        return;
    if (__builtin_expect(!x->is_ready, 0)) {
        if (!x->values)
            x->values = mem_alloc(WAITING_MAX * sizeof(*x->values));
        if (x->value_count < WAITING_MAX)
            x->values[x->value_count++] = (struct waiting){(uint8_t)metric, value};
        return;
    }
    struct stat_scope *scope = scope_of_metric(x, metric);
    if (scope)
        stat_record(scope, x->row_of[metric], value);
}

void istio_series_gauge(struct istio_series *x, unsigned metric, uint64_t value)
{
    struct stat_scope *scope = x->group_of[metric] == NONE || !x->is_ready ? NULL : scope_of_metric(x, metric);
    if (scope)
        stat_set(scope, x->row_of[metric], value);
}
