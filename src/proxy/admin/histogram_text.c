/* SPDX-License-Identifier: Apache-2.0
 *
 * One histogram as /stats shows it: quantiles (summary), buckets (cumulative, disjoint) or all of it
 * (detailed), as text and JSON in Envoy's layout. An
 * interval is what came between the last two flushes (stats_flush_interval).
 */
#include <math.h>
#include <string.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/admin/admin_priv.h"
#include "proxy/stats/registry.h"
#include "proxy/stats/stats_config.h"

/* The shortest decimal that reads back as the same number. */
void admin_add_double(struct strbuf *b, double v)
{
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    strbuf_addz(b, text);
}

/* ---- text ---- */

/* Of the interval before the last flush; NaN before there was one. */
static double interval_quantile(const struct stat_sample *s, double q)
{
    return s->interval ? histogram_quantile(s->interval, q) : NAN;
}

static void add_text_quantiles(struct strbuf *b, const struct stat_sample *s)
{
    for (size_t i = 0; i < STATS_QUANTILES; i++) {
        strbuf_addf(b, "%sP%.10g(", i ? " " : "", stats_quantiles[i] * 100);
        admin_add_double(b, interval_quantile(s, stats_quantiles[i]));
        strbuf_addc(b, ',');
        admin_add_double(b, histogram_quantile(s->histogram, stats_quantiles[i]));
        strbuf_addc(b, ')');
    }
}

/* Cumulative counts made disjoint in place. */
static void part(uint64_t *counts, uint32_t n)
{
    for (uint32_t i = n; i-- > 1;)
        counts[i] -= counts[i - 1];
}

struct buckets {
    const double *bounds;
    uint32_t n;
    uint64_t interval[STATS_BOUNDS_MAX], total[STATS_BOUNDS_MAX];
};

static void count_buckets(const struct stat_sample *s, enum histogram_mode mode, struct buckets *out)
{
    out->bounds = stats_bucket_bounds(s->name, &out->n);
    memset(out->interval, 0, sizeof out->interval);
    histogram_cumulative(s->histogram, out->bounds, out->n, out->total);
    if (s->interval)
        histogram_cumulative(s->interval, out->bounds, out->n, out->interval);
    if (mode == HISTOGRAM_DISJOINT) {
        part(out->total, out->n);
        part(out->interval, out->n);
    }
}

static void add_text_buckets(struct strbuf *b, const struct stat_sample *s, enum histogram_mode mode)
{
    struct buckets k;
    count_buckets(s, mode, &k);
    for (uint32_t i = 0; i < k.n; i++)
        strbuf_addf(b, "%sB%g(%llu,%llu)", i ? " " : "", k.bounds[i], (unsigned long long)k.interval[i],
                    (unsigned long long)k.total[i]);
}

static void add_text_bins(struct strbuf *b, const char *title, const struct histogram_view *h)
{
    double lower, width;
    const char *comma = "";
    strbuf_addf(b, "\n  %s=", title);
    for (uint32_t i = 0; h && i < HISTOGRAM_BINS; i++)
        if (h->bins[i]) {
            histogram_bin(i, &lower, &width);
            strbuf_addf(b, "%s%g,%g:%llu", comma, lower, width, (unsigned long long)h->bins[i]);
            comma = ", ";
        }
}

void admin_histogram_text(struct strbuf *b, const struct stat_sample *s, enum histogram_mode mode)
{
    if (!s->histogram->count) {
        strbuf_addz(b, "No recorded values");
        return;
    }
    switch (mode) {
    case HISTOGRAM_SUMMARY:
        add_text_quantiles(b, s);
        break;
    case HISTOGRAM_CUMULATIVE:
    case HISTOGRAM_DISJOINT:
        add_text_buckets(b, s, mode);
        break;
    case HISTOGRAM_DETAILED:
        add_text_bins(b, "totals", s->histogram);
        add_text_bins(b, "intervals", s->interval);
        strbuf_addz(b, "\n  summary=");
        add_text_quantiles(b, s);
        break;
    }
}

/* ---- JSON ---- */

static void add_json_quantiles(struct strbuf *b, const struct stat_sample *s, bool rounded)
{
    for (size_t i = 0; i < STATS_QUANTILES; i++) {
        for (int k = 0; k < 2; k++) {
            double v = k ? interval_quantile(s, stats_quantiles[i]) : histogram_quantile(s->histogram, stats_quantiles[i]);
            if (rounded)
                v = round(v * 100) / 100;
            strbuf_addz(b, k ? ",\"interval\":" : i ? ",{\"cumulative\":" : "{\"cumulative\":");
            if (isnan(v))
                strbuf_addz(b, "null");
            else
                admin_add_double(b, v);
        }
        strbuf_addc(b, '}');
    }
}

static void add_json_buckets(struct strbuf *b, const struct stat_sample *s, enum histogram_mode mode)
{
    struct buckets k;
    count_buckets(s, mode, &k);
    for (uint32_t i = 0; i < k.n; i++) {
        strbuf_addz(b, i ? ",{\"upper_bound\":" : "{\"upper_bound\":");
        admin_add_double(b, k.bounds[i]);
        strbuf_addf(b, ",\"interval\":%llu,\"cumulative\":%llu}", (unsigned long long)k.interval[i],
                    (unsigned long long)k.total[i]);
    }
}

static void add_json_bins(struct strbuf *b, const char *title, const struct histogram_view *h)
{
    double lower, width;
    const char *comma = "";
    strbuf_addf(b, "\"%s\":[", title);
    for (uint32_t i = 0; h && i < HISTOGRAM_BINS; i++)
        if (h->bins[i]) {
            histogram_bin(i, &lower, &width);
            strbuf_addf(b, "%s{\"lower_bound\":%.10g,\"width\":%.10g,\"count\":%llu}", comma, lower, width,
                        (unsigned long long)h->bins[i]);
            comma = ",";
        }
    strbuf_addz(b, "],");
}

void admin_histogram_json(struct strbuf *b, const struct stat_sample *s, enum histogram_mode mode)
{
    switch (mode) {
    case HISTOGRAM_SUMMARY:
        strbuf_addz(b, "\"values\":[");
        add_json_quantiles(b, s, true);
        break;
    case HISTOGRAM_CUMULATIVE:
    case HISTOGRAM_DISJOINT:
        strbuf_addz(b, "\"buckets\":[");
        add_json_buckets(b, s, mode);
        break;
    case HISTOGRAM_DETAILED:
        add_json_bins(b, "totals", s->histogram);
        add_json_bins(b, "intervals", s->interval);
        strbuf_addz(b, "\"percentiles\":[");
        add_json_quantiles(b, s, false);
        break;
    }
    strbuf_addc(b, ']');
}

/* What stands before and after the list of histograms. */
void admin_histograms_json_head(struct strbuf *b, enum histogram_mode mode)
{
    bool detailed = mode == HISTOGRAM_DETAILED;
    if (mode == HISTOGRAM_CUMULATIVE || mode == HISTOGRAM_DISJOINT) {
        strbuf_addz(b, "{\"histograms\":[");
        return;
    }
    strbuf_addf(b, "{\"histograms\":{\"%s\":[", detailed ? "supported_percentiles" : "supported_quantiles");
    for (size_t i = 0; i < STATS_QUANTILES; i++)
        strbuf_addf(b, "%s%.10g", i ? "," : "", stats_quantiles[i] * 100);
    strbuf_addf(b, "],\"%s\":[", detailed ? "details" : "computed_quantiles");
}

void admin_histograms_json_tail(struct strbuf *b, enum histogram_mode mode)
{
    strbuf_addz(b, mode == HISTOGRAM_CUMULATIVE || mode == HISTOGRAM_DISJOINT ? "]}" : "]}}");
}
