/* SPDX-License-Identifier: Apache-2.0
 *
 * /stats/prometheus: metrics in groups of one name, counters first, then gauges, then histograms, in
 * the text exposition format as Envoy writes it. One walk over the registry; each sample is appended
 * to the lines of its metric, which are joined in the end. Main thread.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/admin/prometheus_name.h"
#include "proxy/stats/registry.h"
#include "proxy/stats/stats_config.h"

static const char *const type_names[] = {
    [STAT_COUNTER] = "counter", [STAT_GAUGE] = "gauge", [STAT_HISTOGRAM] = "histogram", [STAT_TEXT] = "gauge"};

struct metric {
    struct str key; /* a digit for the kind, then the name: sorts as the page does */
    struct strbuf lines;
};
struct exposition {
    struct stats_selection sel;
    struct prometheus_naming naming;
    struct map *metrics;
    struct strbuf key;
};

static struct metric *metric_of(struct exposition *x, uint8_t kind)
{
    strbuf_reset(&x->key);
    strbuf_addc(&x->key, (char)('0' + kind));
    strbuf_adds(&x->key, strbuf_str(&x->naming.metric));
    struct metric *m = map_get(x->metrics, strbuf_str(&x->key));
    if (m)
        return m;
    m = NEW(metric);
    m->key = str_make(mem_strndup(x->key.p, x->key.n), x->key.n);
    map_set(x->metrics, m->key, m);
    return m;
}

/* name<suffix>{labels */
static void begin_line(struct strbuf *b, const struct prometheus_naming *n, const char *suffix)
{
    strbuf_adds(b, strbuf_str(&n->metric));
    strbuf_addz(b, suffix);
    strbuf_addc(b, '{');
    strbuf_adds(b, strbuf_str(&n->labels));
}

static void end_line(struct strbuf *b, uint64_t value)
{
    strbuf_addz(b, "} ");
    strbuf_addu(b, value);
    strbuf_addc(b, '\n');
}

static void add_bucket(struct strbuf *b, const struct prometheus_naming *n, const char *le, uint64_t count)
{
    begin_line(b, n, "_bucket");
    strbuf_addz(b, n->labels.n ? ",le=\"" : "le=\"");
    strbuf_addz(b, le);
    strbuf_addc(b, '"');
    end_line(b, count);
}

static void add_histogram(struct strbuf *b, const struct prometheus_naming *n, const struct stat_sample *s)
{
    uint64_t counts[STATS_BOUNDS_MAX];
    uint32_t bounds_n;
    char text[48];
    const double *bounds = stats_bucket_bounds(s->name, &bounds_n);
    histogram_cumulative(s->histogram, bounds, bounds_n, counts);
    for (uint32_t i = 0; i < bounds_n; i++) {
        snprintf(text, sizeof(text), "%.15g", bounds[i]);
        add_bucket(b, n, text, counts[i]);
    }
    add_bucket(b, n, "+Inf", s->histogram->count);
    begin_line(b, n, "_sum");
    snprintf(text, sizeof(text), "} %.17g\n", s->histogram->sum);
    strbuf_addz(b, text);
    begin_line(b, n, "_count");
    end_line(b, s->histogram->count);
}

static void on_sample(const struct stat_sample *s, void *arg)
{
    struct exposition *x = arg;
    if (!stats_selected(&x->sel, s))
        return;
    prometheus_name(&x->naming, s);
    struct strbuf *b = &metric_of(x, s->kind)->lines;
    if (s->kind == STAT_HISTOGRAM) {
        add_histogram(b, &x->naming, s);
        return;
    }
    begin_line(b, &x->naming, "");
    if (s->kind == STAT_GAUGE && (int64_t)s->value < 0)
        strbuf_addf(b, "} %lld\n", (long long)s->value);
    else
        end_line(b, s->value);
}

static int by_key(const void *a, const void *b)
{
    return str_cmp((*(struct metric *const *)a)->key, (*(struct metric *const *)b)->key);
}

/* Writes and frees the metrics. */
static void join(struct exposition *x, struct strbuf *out)
{
    size_t at = 0, n = 0, bytes = 0;
    struct metric **all = mem_alloc((map_count(x->metrics) + 1) * sizeof(*all));
    struct str key;
    void *m;
    while (map_next(x->metrics, &at, &key, &m)) {
        all[n] = m;
        bytes += all[n]->lines.n + key.n + 24;
        n++;
    }
    qsort(all, n, sizeof(*all), by_key);
    strbuf_reserve(out, bytes);
    for (size_t i = 0; i < n; i++) {
        strbuf_addz(out, "# TYPE ");
        strbuf_add(out, all[i]->key.p + 1, all[i]->key.n - 1);
        strbuf_addc(out, ' ');
        strbuf_addz(out, type_names[all[i]->key.p[0] - '0']);
        strbuf_addc(out, '\n');
        strbuf_adds(out, strbuf_str(&all[i]->lines));
        strbuf_fini(&all[i]->lines);
        mem_free((char *)(uintptr_t)all[i]->key.p);
        mem_free(all[i]);
    }
    mem_free(all);
}

void page_stats_prometheus(struct admin_request *rq)
{
    struct exposition x = {0};
    if (!stats_selection_read(rq, &x.sel))
        return;
    x.metrics = map_new();
    stats_flush_when_asked(rq->server);
    prometheus_naming_init(&x.naming, stats_config_current());
    stats_each(true, true, on_sample, &x);
    join(&x, &rq->body);
    prometheus_naming_fini(&x.naming);
    strbuf_fini(&x.key);
    map_free(&x.metrics);
    stats_selection_fini(&x.sel);
}
