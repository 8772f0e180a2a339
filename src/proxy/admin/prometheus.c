/* SPDX-License-Identifier: Apache-2.0
 *
 * /stats/prometheus: metrics in groups of one name, counters first, then gauges, then histograms, in
 * the text exposition format as Envoy writes it. Scopes of one table and one name without tags (all
 * clusters) are a family: its rows are named once, and the page is written metric by metric straight
 * into the blocks that go to the socket, since a large mesh's page is tens of megabytes. What has names
 * of its own (status codes, ciphers; everything where stats_config cuts tags out by expressions) is
 * named one by one and appended to its metric's lines first. Main thread.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/admin/prometheus_name.h"
#include "proxy/stats/registry.h"
#include "proxy/stats/stats_config.h"

static const char *const type_names[] = {
    [STAT_COUNTER] = "counter", [STAT_GAUGE] = "gauge", [STAT_HISTOGRAM] = "histogram", [STAT_TEXT] = "gauge"};

struct member { /* a scope of a family */
    const struct stat_scope *scope;
    struct str labels;
};
struct family {
    const struct stat_table *table;
    struct member *members;
    size_t count, cap;
};
struct source { /* one row of one family: samples of a metric */
    const struct family *family;
    uint32_t row;
    struct str labels; /* the row's own, before a scope's: a class of status codes */
};
struct metric {
    struct str key; /* a digit for the kind, then the name: sorts as the page does */
    struct source *sources;
    size_t source_count, source_cap;
    struct strbuf lines; /* of samples that no family holds */
};
struct exposition {
    struct stats_selection sel;
    struct prometheus_naming naming;
    struct map *metrics, *families;
    struct strbuf key, name;
    struct histogram_view view;
    struct buf *out;
    uint8_t *at, *end; /* free bytes of the last block */
    const double *bounds; /* whose texts stand in bound_texts */
    uint32_t bound_count;
    struct str bound_texts[STATS_BOUNDS_MAX]; /* ,le="0.5"} with its blank */
};

static void drop(struct str s)
{
    str_free(&s);
}

static struct metric *metric_of(struct exposition *x, uint8_t kind)
{
    strbuf_reset(&x->key);
    strbuf_addc(&x->key, (char)('0' + kind));
    strbuf_adds(&x->key, strbuf_str(&x->naming.metric));
    struct metric *m = map_get(x->metrics, strbuf_str(&x->key));
    if (m)
        return m;
    m = NEW(metric);
    m->key = str_dup(strbuf_str(&x->key));
    map_set(x->metrics, m->key, m);
    return m;
}

/* ---- writing ---- */

static void commit(struct exposition *x, size_t free_before)
{
    if (x->at)
        buf_commit(x->out, free_before - (size_t)(x->end - x->at));
}

/* One line: pieces one after the other. A line longer than a block (labels of any length) is copied the slow way. */
static void write_line(struct exposition *x, const struct str *pieces, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += pieces[i].n;
    if (n > (size_t)(x->end - x->at)) {
        x->at = x->end = NULL;
        if (n > BUF_BLOCK_BYTES) {
            for (size_t i = 0; i < count; i++)
                buf_append_str(x->out, pieces[i]);
            return;
        }
        size_t avail;
        x->at = buf_reserve(x->out, n < BUF_BLOCK_BYTES / 4 ? BUF_BLOCK_BYTES / 4 : n, &avail);
        x->end = x->at + avail;
    }
    size_t before = (size_t)(x->end - x->at);
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].n)
            memcpy(x->at, pieces[i].p, pieces[i].n);
        x->at += pieces[i].n;
    }
    commit(x, before);
}

static struct str metric_name(const struct metric *m)
{
    return str_make(m->key.p + 1, m->key.n - 1);
}

static struct str value_text(const struct stat_sample *s, char *out)
{
    size_t n = 0;
    uint64_t v = s->value;
    if (s->kind == STAT_GAUGE && (int64_t)v < 0) {
        out[n++] = '-';
        v = 0 - v;
    }
    n += u64_format(v, out + n);
    out[n++] = '\n';
    return str_make(out, n);
}

/* Texts of bounds, made once for all histograms that share them. */
static void take_bounds(struct exposition *x, struct str name)
{
    uint32_t n;
    char text[64];
    const double *bounds = stats_bucket_bounds(name, &n);
    if (bounds == x->bounds && n == x->bound_count)
        return;
    for (uint32_t i = 0; i < x->bound_count; i++)
        drop(x->bound_texts[i]);
    x->bounds = bounds;
    x->bound_count = n;
    for (uint32_t i = 0; i < n; i++) {
        snprintf(text, sizeof(text), ",le=\"%.15g\"} ", bounds[i]);
        x->bound_texts[i] = str_dup(str_from(text));
    }
}

/* The labels of a sample: `first` and `second` with a comma between them where both are there. */
struct labels {
    struct str first, comma, second;
};

static struct labels join_labels(struct str first, struct str second)
{
    return (struct labels){first, first.n && second.n ? STR(",") : STR(""), second};
}

static void write_scalar(struct exposition *x, struct str name, const struct labels *l, const struct stat_sample *s)
{
    char digits[24];
    struct str pieces[] = {name, STR("{"), l->first, l->comma, l->second, STR("} "), value_text(s, digits)};
    write_line(x, pieces, ARRAY_LEN(pieces));
}

static void write_bucket(struct exposition *x, struct str name, const struct labels *l, struct str le, uint64_t count)
{
    char digits[24];
    size_t n = u64_format(count, digits), skip = !l->first.n && !l->second.n; /* the comma before le */
    digits[n++] = '\n';
    struct str pieces[] = {name,       STR("_bucket{"), l->first, l->comma, l->second, str_make(le.p + skip, le.n - skip),
                           str_make(digits, n)};
    write_line(x, pieces, ARRAY_LEN(pieces));
}

static void write_tail(struct exposition *x, struct str name, const struct labels *l, struct str suffix, struct str value)
{
    struct str pieces[] = {name, suffix, l->first, l->comma, l->second, STR("} "), value, STR("\n")};
    write_line(x, pieces, ARRAY_LEN(pieces));
}

static void write_histogram(struct exposition *x, struct str name, const struct labels *l, const struct stat_sample *s)
{
    uint64_t counts[STATS_BOUNDS_MAX];
    char text[48];
    take_bounds(x, s->name);
    histogram_cumulative(s->histogram, x->bounds, x->bound_count, counts);
    for (uint32_t i = 0; i < x->bound_count; i++)
        write_bucket(x, name, l, x->bound_texts[i], counts[i]);
    write_bucket(x, name, l, STR(",le=\"+Inf\"} "), s->histogram->count);
    int n = snprintf(text, sizeof(text), "%.17g", s->histogram->sum);
    write_tail(x, name, l, STR("_sum{"), str_make(text, (size_t)n));
    write_tail(x, name, l, STR("_count{"), str_make(text, u64_format(s->histogram->count, text)));
}

static void write_sample(struct exposition *x, struct str name, const struct labels *l, const struct stat_sample *s)
{
    if (s->kind == STAT_HISTOGRAM)
        write_histogram(x, name, l, s);
    else
        write_scalar(x, name, l, s);
}

/* ---- samples with names of their own ---- */

static void buf_to_lines(struct buf *b, struct strbuf *lines)
{
    struct str piece;
    for (struct buf_iter it = {0}; buf_next(b, &it, &piece);)
        strbuf_adds(lines, piece);
    buf_fini(b);
}

static void on_sample(const struct stat_sample *s, void *arg)
{
    struct exposition *x = arg;
    if (s->kind == STAT_TEXT || !stats_selected(&x->sel, s))
        return;
    prometheus_name(&x->naming, s);
    struct metric *m = metric_of(x, s->kind);
    struct labels l = join_labels(strbuf_str(&x->naming.labels), STR(""));
    struct buf own = BUF_INIT, *page = x->out;
    x->out = &own;
    write_sample(x, metric_name(m), &l, s);
    x->at = x->end = NULL;
    x->out = page;
    buf_to_lines(&own, &m->lines);
}

/* ---- families ---- */

static void add_source(struct exposition *x, const struct family *f, uint32_t row)
{
    struct metric *m = metric_of(x, f->table->rows[row].kind);
    m->sources = mem_grow(m->sources, &m->source_cap, m->source_count + 1, sizeof(*m->sources));
    m->sources[m->source_count++] = (struct source){f, row, str_dup(strbuf_str(&x->naming.labels))};
}

static struct family *family_of(struct exposition *x, const struct stat_scope *s)
{
    const struct stat_table *table = s->table;
    struct str bare = prometheus_scope_name(&x->naming, s);
    strbuf_reset(&x->key);
    strbuf_add(&x->key, &table, sizeof(table));
    strbuf_adds(&x->key, bare);
    struct family *f = map_get(x->families, strbuf_str(&x->key));
    if (f)
        return f;
    f = NEW(family);
    f->table = table;
    map_set(x->families, strbuf_str(&x->key), f);
    for (uint32_t i = 0; i < table->count; i++) {
        if (table->rows[i].kind == STAT_TEXT)
            continue;
        prometheus_row_name(&x->naming, str_from(table->rows[i].name));
        add_source(x, f, i);
    }
    return f;
}

static void gather(struct exposition *x)
{
    size_t count;
    const struct stat_scope **scopes = stats_scopes(&count);
    for (size_t i = 0; i < count; i++) {
        struct family *f = family_of(x, scopes[i]);
        f->members = mem_grow(f->members, &f->cap, f->count + 1, sizeof(*f->members));
        f->members[f->count++] = (struct member){scopes[i], str_dup(strbuf_str(&x->naming.scope_labels))};
        stats_read_named(scopes[i], on_sample, x);
    }
    mem_free(scopes);
    stats_read_sources(on_sample, x);
}

static bool needs_names(const struct exposition *x, const struct stat_desc *d)
{
    return x->sel.filter || (d->kind == STAT_HISTOGRAM && x->naming.config && x->naming.config->bucket_count);
}

static struct str full_name(struct exposition *x, const struct stat_scope *s, const struct stat_desc *d)
{
    strbuf_reset(&x->name);
    strbuf_adds(&x->name, s->prefix);
    strbuf_addz(&x->name, d->name);
    return strbuf_str(&x->name);
}

static void begin_metric(struct exposition *x, const struct metric *m)
{
    struct str pieces[] = {STR("# TYPE "), metric_name(m), STR(" "), str_from(type_names[m->key.p[0] - '0']), STR("\n")};
    write_line(x, pieces, ARRAY_LEN(pieces));
}

static bool write_source(struct exposition *x, const struct metric *m, const struct source *src, bool begun)
{
    const struct stat_desc *d = &src->family->table->rows[src->row];
    bool names = needs_names(x, d);
    for (size_t i = 0; i < src->family->count; i++) {
        const struct member *member = &src->family->members[i];
        struct stat_sample s;
        if (!stats_read_row(member->scope, src->row, &s, &x->view))
            continue;
        s.name = names ? full_name(x, member->scope, d) : STR_NULL;
        if (!stats_selected(&x->sel, &s))
            continue;
        if (!begun)
            begin_metric(x, m);
        begun = true;
        struct labels l = join_labels(src->labels, member->labels);
        write_sample(x, metric_name(m), &l, &s);
    }
    return begun;
}

static void write_metric(struct exposition *x, const struct metric *m)
{
    bool begun = false;
    for (size_t i = 0; i < m->source_count; i++)
        begun = write_source(x, m, &m->sources[i], begun);
    if (!m->lines.n)
        return;
    if (!begun)
        begin_metric(x, m);
    x->at = x->end = NULL;
    buf_append_str(x->out, strbuf_str(&m->lines));
}

/* ---- the page ---- */

static int by_key(const void *a, const void *b)
{
    return str_cmp((*(struct metric *const *)a)->key, (*(struct metric *const *)b)->key);
}

static void metric_free(struct metric *m)
{
    for (size_t i = 0; i < m->source_count; i++)
        drop(m->sources[i].labels);
    mem_free(m->sources);
    strbuf_fini(&m->lines);
    drop(m->key);
    mem_free(m);
}

static void write_page(struct exposition *x)
{
    size_t at = 0, n = 0;
    struct metric **all = mem_alloc((map_count(x->metrics) + 1) * sizeof(*all));
    struct str key;
    void *m;
    while (map_next(x->metrics, &at, &key, &m))
        all[n++] = m;
    qsort(all, n, sizeof(*all), by_key);
    for (size_t i = 0; i < n; i++)
        write_metric(x, all[i]);
    for (size_t i = 0; i < n; i++)
        metric_free(all[i]);
    mem_free(all);
}

static void families_free(struct exposition *x)
{
    size_t at = 0;
    struct str key;
    void *each;
    while (map_next(x->families, &at, &key, &each)) {
        struct family *f = each;
        for (size_t i = 0; i < f->count; i++)
            drop(f->members[i].labels);
        mem_free(f->members);
        mem_free(f);
    }
    map_free(&x->families);
}

void page_stats_prometheus(struct admin_request *rq)
{
    struct exposition *x = NEW(exposition);
    if (stats_selection_read(rq, &x->sel)) {
        x->metrics = map_new();
        x->families = map_new();
        x->out = &rq->long_body;
        stats_flush_when_asked(rq->server);
        prometheus_naming_init(&x->naming, stats_config_current());
        if (x->naming.has_regexes)
            stats_each(true, true, on_sample, x);
        else
            gather(x);
        write_page(x);
        for (uint32_t i = 0; i < x->bound_count; i++)
            drop(x->bound_texts[i]);
        prometheus_naming_fini(&x->naming);
        families_free(x);
        map_free(&x->metrics);
        stats_selection_fini(&x->sel);
    }
    strbuf_fini(&x->key);
    strbuf_fini(&x->name);
    mem_free(x);
}

void admin_prometheus(struct server *s, struct buf *out)
{
    struct admin_request rq = {.server = s, .query = STR(""), .status = 200};
    page_stats_prometheus(&rq);
    buf_append_str(out, strbuf_str(&rq.body));
    buf_move(out, &rq.long_body);
    strbuf_fini(&rq.body);
    buf_fini(&rq.long_body);
}
