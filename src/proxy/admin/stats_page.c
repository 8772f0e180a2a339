/* SPDX-License-Identifier: Apache-2.0
 *
 * /stats as text and JSON, Envoy's layout: one line a statistic, sorted by name; histograms as
 * quantiles. Interval and cumulative quantiles are the same here: samples are not cut into intervals.
 */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/match/string_match.h"
#include "proxy/stats/registry.h"

static const double quantiles[] = {0, .25, .5, .75, .9, .95, .99, .995, .999, 1};

/* ---- selecting ---- */

bool stats_selection_read(struct admin_request *rq, struct stats_selection *sel)
{
    struct err err;
    *sel = (struct stats_selection){.used_only = admin_param_is_set(rq, "usedonly")};
    char *filter = admin_param(rq, "filter");
    if (!filter || !*filter) {
        mem_free(filter);
        return true;
    }
    /* A part of the name is enough, as in Envoy. */
    struct strbuf whole = {0};
    strbuf_addf(&whole, ".*(?:%s).*", filter);
    sel->filter = regex_new(strbuf_str(&whole), &err);
    strbuf_fini(&whole);
    mem_free(filter);
    if (!sel->filter)
        admin_refuse(rq, 400, "Invalid re2 regex: %s\n", err.message);
    return sel->filter != NULL;
}

void stats_selection_fini(struct stats_selection *sel)
{
    regex_free(&sel->filter);
}

bool stats_selected(const struct stats_selection *sel, const struct stat_sample *s)
{
    if (sel->used_only && !s->used)
        return false;
    return !sel->filter || regex_matches(sel->filter, s->name);
}

/* ---- gathering: Envoy sorts by whole name ---- */

struct line {
    size_t name_at, name_n, text_at, text_n;
};
struct gather {
    struct stats_selection sel;
    bool json;
    struct strbuf text;
    struct line *lines, *histograms;
    size_t count, cap, histogram_count, histogram_cap;
};

static void add_value(struct strbuf *b, const struct stat_sample *s)
{
    if (s->kind == STAT_GAUGE && (int64_t)s->value < 0)
        strbuf_addf(b, "%lld", (long long)s->value);
    else
        strbuf_addu(b, s->value);
}

static void add_quantile(struct strbuf *b, double v, bool json)
{
    if (isnan(v))
        strbuf_addz(b, json ? "null" : "nan");
    else
        strbuf_addf(b, "%.10g", v);
}

static void add_histogram(struct strbuf *b, const struct stat_sample *s, bool json)
{
    if (!json && !s->histogram->count) {
        strbuf_addz(b, "No recorded values");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(quantiles); i++) {
        double v = histogram_quantile(s->histogram, quantiles[i]);
        if (json) {
            strbuf_addz(b, i ? ",{\"interval\":" : "{\"interval\":");
            add_quantile(b, v, true);
            strbuf_addz(b, ",\"cumulative\":");
            add_quantile(b, v, true);
            strbuf_addc(b, '}');
        } else {
            strbuf_addf(b, "%sP%.10g(", i ? " " : "", quantiles[i] * 100);
            add_quantile(b, v, false);
            strbuf_addc(b, ',');
            add_quantile(b, v, false);
            strbuf_addc(b, ')');
        }
    }
}

static void on_sample(const struct stat_sample *s, void *arg)
{
    struct gather *g = arg;
    if (!stats_selected(&g->sel, s))
        return;
    bool histogram = s->kind == STAT_HISTOGRAM;
    struct line line = {.name_at = g->text.n, .name_n = s->name.n};
    strbuf_adds(&g->text, s->name);
    line.text_at = g->text.n;
    if (histogram)
        add_histogram(&g->text, s, g->json);
    else
        add_value(&g->text, s);
    line.text_n = g->text.n - line.text_at;
    struct line **list = histogram ? &g->histograms : &g->lines;
    size_t *count = histogram ? &g->histogram_count : &g->count;
    *list = mem_grow(*list, histogram ? &g->histogram_cap : &g->cap, *count + 1, sizeof(**list));
    (*list)[(*count)++] = line;
}

static int by_name(const void *a, const void *b, void *arg)
{
    const char *text = arg;
    const struct line *x = a, *y = b;
    return str_cmp(str_make(text + x->name_at, x->name_n), str_make(text + y->name_at, y->name_n));
}

static void sort_lines(struct gather *g, struct line *lines, size_t n)
{
    if (n)
        qsort_r(lines, n, sizeof(*lines), by_name, g->text.p);
}

static void write_text(struct gather *g, const struct line *lines, size_t n, struct strbuf *out)
{
    for (size_t i = 0; i < n; i++) {
        strbuf_add(out, g->text.p + lines[i].name_at, lines[i].name_n);
        strbuf_addz(out, ": ");
        strbuf_add(out, g->text.p + lines[i].text_at, lines[i].text_n);
        strbuf_addc(out, '\n');
    }
}

static void write_json(struct gather *g, struct strbuf *out)
{
    strbuf_addz(out, "{\"stats\":[");
    for (size_t i = 0; i < g->count; i++) {
        strbuf_addz(out, i ? ",{\"name\":\"" : "{\"name\":\"");
        strbuf_add_json(out, str_make(g->text.p + g->lines[i].name_at, g->lines[i].name_n));
        strbuf_addz(out, "\",\"value\":");
        strbuf_add(out, g->text.p + g->lines[i].text_at, g->lines[i].text_n);
        strbuf_addc(out, '}');
    }
    if (g->histogram_count) {
        strbuf_addz(out, g->count ? ",{\"histograms\":{\"supported_quantiles\":[" : "{\"histograms\":{\"supported_quantiles\":[");
        for (size_t i = 0; i < ARRAY_LEN(quantiles); i++)
            strbuf_addf(out, "%s%.10g", i ? "," : "", quantiles[i] * 100);
        strbuf_addz(out, "],\"computed_quantiles\":[");
        for (size_t i = 0; i < g->histogram_count; i++) {
            strbuf_addz(out, i ? ",{\"name\":\"" : "{\"name\":\"");
            strbuf_add_json(out, str_make(g->text.p + g->histograms[i].name_at, g->histograms[i].name_n));
            strbuf_addz(out, "\",\"values\":[");
            strbuf_add(out, g->text.p + g->histograms[i].text_at, g->histograms[i].text_n);
            strbuf_addz(out, "]}");
        }
        strbuf_addz(out, "]}}");
    }
    strbuf_addz(out, "]}");
}

void page_stats(struct admin_request *rq)
{
    char *format = admin_param(rq, "format");
    struct gather g = {.json = format && strcmp(format, "json") == 0};
    bool prometheus = format && strcmp(format, "prometheus") == 0;
    bool known = !format || g.json || prometheus || strcmp(format, "text") == 0 || strcmp(format, "html") == 0;
    if (prometheus) {
        mem_free(format);
        page_stats_prometheus(rq);
        return;
    }
    if (!known) {
        admin_refuse(rq, 400, "usage: /stats?format=(html|json|prometheus|text)\n\n");
        mem_free(format);
        return;
    }
    mem_free(format);
    if (!stats_selection_read(rq, &g.sel))
        return;
    stats_each(false, true, on_sample, &g);
    sort_lines(&g, g.lines, g.count);
    sort_lines(&g, g.histograms, g.histogram_count);
    if (g.json) {
        rq->content_type = "application/json";
        write_json(&g, &rq->body);
    } else {
        write_text(&g, g.lines, g.count, &rq->body);
        write_text(&g, g.histograms, g.histogram_count, &rq->body);
    }
    stats_selection_fini(&g.sel);
    strbuf_fini(&g.text);
    mem_free(g.lines);
    mem_free(g.histograms);
}
