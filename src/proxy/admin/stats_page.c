/* SPDX-License-Identifier: Apache-2.0
 *
 * /stats as text and JSON, Envoy's layout: one line a statistic, sorted by name; histograms as
 * quantiles or buckets. Main thread.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/config/bootstrap.h"
#include "proxy/match/string_match.h"
#include "proxy/sink/sink.h"
#include "proxy/stats/registry.h"

/* ---- selecting ---- */

static bool read_kind(struct admin_request *rq, struct stats_selection *sel)
{
    static const struct {
        const char *name;
        uint8_t kind;
    } kinds[] = {{"Counters", STAT_COUNTER}, {"Gauges", STAT_GAUGE}, {"Histograms", STAT_HISTOGRAM}, {"TextReadouts", STAT_TEXT}};
    char *type = admin_param(rq, "type");
    bool known = !type || strcmp(type, "All") == 0;
    for (size_t i = 0; !known && i < ARRAY_LEN(kinds); i++)
        if (strcmp(type, kinds[i].name) == 0) {
            known = sel->one_kind = true;
            sel->kind = kinds[i].kind;
        }
    mem_free(type);
    if (!known)
        admin_refuse(rq, 400, "invalid &type= param");
    return known;
}

bool stats_selection_read(struct admin_request *rq, struct stats_selection *sel)
{
    struct err err = {0};
    *sel = (struct stats_selection){.used_only = admin_param_is_set(rq, "usedonly"),
                                    .invert_filter = admin_param_is_set(rq, "invert_filter")};
    if (!read_kind(rq, sel))
        return false;
    char *filter = admin_param(rq, "filter");
    bool given = filter && *filter;
    if (given)
        sel->filter = regex_new(str_from(filter), &err);
    mem_free(filter);
    if (given && !sel->filter)
        admin_refuse(rq, 400, "Invalid re2 regex: %s", err.message);
    return !given || sel->filter;
}

void stats_selection_fini(struct stats_selection *sel)
{
    regex_free(&sel->filter);
}

bool stats_selected(const struct stats_selection *sel, const struct stat_sample *s)
{
    struct str groups[REGEX_GROUPS_MAX];
    if (sel->used_only && !s->used)
        return false;
    if (sel->one_kind && sel->kind != s->kind)
        return false;
    /* A part of the name is enough, as in Envoy. */
    return !sel->filter || (regex_search(sel->filter, s->name, groups) > 0) != sel->invert_filter;
}

/* ---- gathering: Envoy sorts by whole name ---- */

struct line {
    size_t name_at, text_at, text_n;
    struct str name; /* known once all text has been gathered and stays where it is */
};
struct gather {
    struct stats_selection sel;
    bool json;
    enum histogram_mode mode;
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

static void add_text(struct strbuf *b, struct str text)
{
    strbuf_addc(b, '"');
    strbuf_add_json(b, text);
    strbuf_addc(b, '"');
}

static void on_sample(const struct stat_sample *s, void *arg)
{
    struct gather *g = arg;
    if (!stats_selected(&g->sel, s))
        return;
    bool histogram = s->kind == STAT_HISTOGRAM;
    struct line line = {.name_at = g->text.n, .name = {NULL, s->name.n}};
    strbuf_adds(&g->text, s->name);
    line.text_at = g->text.n;
    if (histogram && g->json)
        admin_histogram_json(&g->text, s, g->mode);
    else if (histogram)
        admin_histogram_text(&g->text, s, g->mode);
    else if (s->kind == STAT_TEXT)
        add_text(&g->text, s->text);
    else
        add_value(&g->text, s);
    line.text_n = g->text.n - line.text_at;
    struct line **list = histogram ? &g->histograms : &g->lines;
    size_t *count = histogram ? &g->histogram_count : &g->count;
    *list = mem_grow(*list, histogram ? &g->histogram_cap : &g->cap, *count + 1, sizeof(**list));
    (*list)[(*count)++] = line;
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct line *)a)->name, ((const struct line *)b)->name);
}

static void sort_lines(struct gather *g, struct line *lines, size_t n)
{
    for (size_t i = 0; i < n; i++)
        lines[i].name.p = g->text.p + lines[i].name_at;
    if (n)
        qsort(lines, n, sizeof(*lines), by_name);
}

static void write_text(struct gather *g, const struct line *lines, size_t n, struct strbuf *out)
{
    for (size_t i = 0; i < n; i++) {
        strbuf_adds(out, lines[i].name);
        const char *text = g->text.p + lines[i].text_at;
        strbuf_addz(out, lines[i].text_n && *text == '\n' ? ":" : ": "); /* a detailed histogram has lines of its own */
        strbuf_add(out, text, lines[i].text_n);
        strbuf_addc(out, '\n');
    }
}

static void write_json(struct gather *g, struct strbuf *out)
{
    strbuf_addz(out, "{\"stats\":[");
    for (size_t i = 0; i < g->count; i++) {
        strbuf_addz(out, i ? ",{\"name\":\"" : "{\"name\":\"");
        strbuf_add_json(out, g->lines[i].name);
        strbuf_addz(out, "\",\"value\":");
        strbuf_add(out, g->text.p + g->lines[i].text_at, g->lines[i].text_n);
        strbuf_addc(out, '}');
    }
    if (g->histogram_count) {
        if (g->count)
            strbuf_addc(out, ',');
        admin_histograms_json_head(out, g->mode);
        for (size_t i = 0; i < g->histogram_count; i++) {
            strbuf_addz(out, i ? ",{\"name\":\"" : "{\"name\":\"");
            strbuf_add_json(out, g->histograms[i].name);
            strbuf_addz(out, "\",");
            strbuf_add(out, g->text.p + g->histograms[i].text_at, g->histograms[i].text_n);
            strbuf_addc(out, '}');
        }
        admin_histograms_json_tail(out, g->mode);
    }
    strbuf_addz(out, "]}");
}

/* ---- the page ---- */

enum stats_format { FORMAT_TEXT, FORMAT_JSON, FORMAT_PROMETHEUS };

static bool read_format(struct admin_request *rq, enum stats_format *out)
{
    static const struct {
        const char *name;
        enum stats_format format;
    } formats[] = {{"text", FORMAT_TEXT}, {"json", FORMAT_JSON}, {"prometheus", FORMAT_PROMETHEUS}};
    char *name = admin_param(rq, "format");
    bool known = !name;
    *out = FORMAT_TEXT;
    for (size_t i = 0; !known && i < ARRAY_LEN(formats); i++)
        if (strcmp(name, formats[i].name) == 0) {
            known = true;
            *out = formats[i].format;
        }
    mem_free(name);
    if (!known)
        admin_refuse(rq, 400, "usage: /stats?format=(json|prometheus|text)\n\n");
    return known;
}

static bool read_mode(struct admin_request *rq, enum histogram_mode *out)
{
    static const char *const modes[] = {[HISTOGRAM_SUMMARY] = "summary",
                                        [HISTOGRAM_CUMULATIVE] = "cumulative",
                                        [HISTOGRAM_DISJOINT] = "disjoint",
                                        [HISTOGRAM_DETAILED] = "detailed"};
    char *name = admin_param(rq, "histogram_buckets");
    bool known = !name || !*name;
    *out = HISTOGRAM_SUMMARY;
    for (size_t i = 0; !known && i < ARRAY_LEN(modes); i++)
        if (strcmp(name, modes[i]) == 0) {
            known = true;
            *out = (enum histogram_mode)i;
        }
    mem_free(name);
    if (!known)
        admin_refuse(rq, 400, "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)\n");
    return known;
}

void stats_flush_when_asked(struct server *s)
{
    if (s && s->opts.config && s->opts.config->stats_flush_on_admin && s->sinks)
        stats_sinks_flush(s->sinks);
}

void page_stats(struct admin_request *rq)
{
    enum stats_format format;
    struct gather g = {0};
    if (!read_format(rq, &format))
        return;
    if (format == FORMAT_PROMETHEUS) {
        page_stats_prometheus(rq);
        return;
    }
    if (!read_mode(rq, &g.mode) || !stats_selection_read(rq, &g.sel))
        return;
    g.json = format == FORMAT_JSON;
    stats_flush_when_asked(rq->server);
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
