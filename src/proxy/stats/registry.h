/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading all statistics: for admin pages and sinks. Main thread.
 */
#ifndef PROXY_STATS_REGISTRY_H
#define PROXY_STATS_REGISTRY_H

#include "base/list.h"
#include "proxy/stats/histogram.h"
#include "proxy/stats/stats.h"

struct stat_sample {
    const struct stat_scope *scope;
    struct str name;          /* whole: "cluster.a.upstream_rq_200" */
    struct str extracted;     /* without the tags' values: "cluster.upstream_rq_xx"-like names for Prometheus */
    const struct stat_tag *tags;
    uint32_t tag_count;
    uint8_t kind, unit;
    bool used;                /* was ever written */
    bool is_of_host;          /* told by a source of hosts: not every sink takes these */
    struct str text;          /* of text readouts, which only pages show */
    uint64_t value;           /* counters; gauges as signed bits */
    uint64_t delta;           /* counters, while flushing: since the last flush */
    const struct histogram_view *histogram;
    const struct histogram_view *interval; /* what the interval before the last flush brought; NULL before the first */
};
/* Sorted by name where `sorted`. Strings are borrowed for the call. */
void stats_each(bool sorted, bool histograms, void (*fn)(const struct stat_sample *s, void *arg), void *arg);
/* For readers that go by statistic rather than by scope. All scopes (mem_free), valid until the main thread makes or
 * frees one; sorted by prefix. */
const struct stat_scope **stats_scopes(size_t *count);
struct str stat_scope_extracted(const struct stat_scope *s); /* the prefix without its tags' values */
const struct stat_tag *stat_scope_tags(const struct stat_scope *s, uint32_t *count);
/* One row. Fills all but the names; `view` holds what the sample's histogram is read from. False: it isn't shown. */
bool stats_read_row(const struct stat_scope *s, uint32_t row, struct stat_sample *sample, struct histogram_view *view);
/* What a scope counts under names of run time. */
void stats_read_named(const struct stat_scope *s, void (*fn)(const struct stat_sample *s, void *arg), void *arg);
/* What sources tell. */
void stats_read_sources(void (*fn)(const struct stat_sample *s, void *arg), void *arg);
/* The same as stats_each in no order, noting what is seen: `delta` and `interval` tell what is new since the last flush. fn may be NULL. */
void stats_flush(void (*fn)(const struct stat_sample *s, void *arg), void *arg);
/* Statistics that stand elsewhere, told at each look; nothing in `emit`'s sample is kept. Main thread. */
struct stat_source {
    struct list node;
    void (*each)(struct stat_source *s, bool flushing, void (*emit)(const struct stat_sample *s, void *arg), void *arg);
};
void stats_source_add(struct stat_source *keep_source);
void stats_source_remove(struct stat_source *s);
/* POST /reset_counters: counters start at 0 again (blocks are left alone; a base is subtracted). Histograms likewise. */
void stats_reset_counters(void);

/* From now on statistics that the configuration doesn't keep are left out of stats_each, and pages
 * follow its tags and buckets. Kept: borrowed until replaced; NULL: defaults. */
struct stats_config; /* proxy/stats/stats_config.h */
void stats_config_apply(const struct stats_config *keep_config);
const struct stats_config *stats_config_current(void);

#endif
