/* SPDX-License-Identifier: Apache-2.0
 *
 * One histogram as /stats shows it: quantiles (summary), buckets (cumulative, disjoint) or all of it
 * (detailed), as text and JSON in Envoy's layout. Intervals are not kept: the figures of the last
 * interval and those since the start are the same here.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/admin/admin_priv.h"
#include "proxy/stats/registry.h"
#include "proxy/stats/stats_config.h"

static const double quantiles[] = {0, .25, .5, .75, .9, .95, .99, .995, .999, 1};
static const double default_bounds[] = {
    0.5,  1,    5,     10,    25,    50,     100,    250,     500,    1000,
    2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
};
_Static_assert(ARRAY_LEN(default_bounds) <= ADMIN_BOUNDS_MAX, "bounds");

const double *admin_bucket_bounds(struct str name, uint32_t *count)
{
    const struct stats_config *c = stats_config_current();
    for (uint32_t i = 0; c && i < c->bucket_count; i++)
        if (c->buckets[i].bound_count && string_matches(&c->buckets[i].match, name)) {
            uint32_t n = c->buckets[i].bound_count;
            *count = n < ADMIN_BOUNDS_MAX ? n : ADMIN_BOUNDS_MAX;
            return c->buckets[i].bounds;
        }
    *count = ARRAY_LEN(default_bounds);
    return default_bounds;
}

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

static void add_text_quantiles(struct strbuf *b, const struct histogram_view *h)
{
    for (size_t i = 0; i < ARRAY_LEN(quantiles); i++) {
        strbuf_addf(b, "%sP%.10g(", i ? " " : "", quantiles[i] * 100);
        admin_add_double(b, histogram_quantile(h, quantiles[i]));
        strbuf_addc(b, ',');
        admin_add_double(b, histogram_quantile(h, quantiles[i]));
        strbuf_addc(b, ')');
    }
}

/* Cumulative counts made disjoint in place. */
static void part(uint64_t *counts, uint32_t n)
{
    for (uint32_t i = n; i-- > 1;)
        counts[i] -= counts[i - 1];
}

static uint32_t bucket_counts(const struct stat_sample *s, enum histogram_mode mode, const double **bounds, uint64_t *counts)
{
    uint32_t n;
    *bounds = admin_bucket_bounds(s->name, &n);
    histogram_cumulative(s->histogram, *bounds, n, counts);
    if (mode == HISTOGRAM_DISJOINT)
        part(counts, n);
    return n;
}

static void add_text_buckets(struct strbuf *b, const struct stat_sample *s, enum histogram_mode mode)
{
    uint64_t counts[ADMIN_BOUNDS_MAX];
    const double *bounds;
    uint32_t n = bucket_counts(s, mode, &bounds, counts);
    for (uint32_t i = 0; i < n; i++)
        strbuf_addf(b, "%sB%g(%llu,%llu)", i ? " " : "", bounds[i], (unsigned long long)counts[i],
                    (unsigned long long)counts[i]);
}

static void add_text_bins(struct strbuf *b, const char *title, const struct histogram_view *h)
{
    double lower, width;
    const char *comma = "";
    strbuf_addf(b, "\n  %s=", title);
    for (uint32_t i = 0; i < HISTOGRAM_BINS; i++)
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
        add_text_quantiles(b, s->histogram);
        break;
    case HISTOGRAM_CUMULATIVE:
    case HISTOGRAM_DISJOINT:
        add_text_buckets(b, s, mode);
        break;
    case HISTOGRAM_DETAILED:
        add_text_bins(b, "totals", s->histogram);
        add_text_bins(b, "intervals", s->histogram);
        strbuf_addz(b, "\n  summary=");
        add_text_quantiles(b, s->histogram);
        break;
    }
}

/* ---- JSON ---- */

static void add_json_quantiles(struct strbuf *b, const struct histogram_view *h, bool rounded)
{
    for (size_t i = 0; i < ARRAY_LEN(quantiles); i++) {
        double v = histogram_quantile(h, quantiles[i]);
        if (rounded)
            v = round(v * 100) / 100;
        for (int k = 0; k < 2; k++) {
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
    uint64_t counts[ADMIN_BOUNDS_MAX];
    const double *bounds;
    uint32_t n = bucket_counts(s, mode, &bounds, counts);
    for (uint32_t i = 0; i < n; i++) {
        strbuf_addz(b, i ? ",{\"upper_bound\":" : "{\"upper_bound\":");
        admin_add_double(b, bounds[i]);
        strbuf_addf(b, ",\"interval\":%llu,\"cumulative\":%llu}", (unsigned long long)counts[i],
                    (unsigned long long)counts[i]);
    }
}

static void add_json_bins(struct strbuf *b, const char *title, const struct histogram_view *h)
{
    double lower, width;
    const char *comma = "";
    strbuf_addf(b, "\"%s\":[", title);
    for (uint32_t i = 0; i < HISTOGRAM_BINS; i++)
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
        add_json_quantiles(b, s->histogram, true);
        break;
    case HISTOGRAM_CUMULATIVE:
    case HISTOGRAM_DISJOINT:
        strbuf_addz(b, "\"buckets\":[");
        add_json_buckets(b, s, mode);
        break;
    case HISTOGRAM_DETAILED:
        add_json_bins(b, "totals", s->histogram);
        add_json_bins(b, "intervals", s->histogram);
        strbuf_addz(b, "\"percentiles\":[");
        add_json_quantiles(b, s->histogram, false);
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
    for (size_t i = 0; i < ARRAY_LEN(quantiles); i++)
        strbuf_addf(b, "%s%.10g", i ? "," : "", quantiles[i] * 100);
    strbuf_addf(b, "],\"%s\":[", detailed ? "details" : "computed_quantiles");
}

void admin_histograms_json_tail(struct strbuf *b, enum histogram_mode mode)
{
    strbuf_addz(b, mode == HISTOGRAM_CUMULATIVE || mode == HISTOGRAM_DISJOINT ? "]}" : "]}}");
}
