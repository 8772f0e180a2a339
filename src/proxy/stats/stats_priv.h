/* SPDX-License-Identifier: Apache-2.0
 *
 * Room-private: the registry's books, shared by stats.c (scopes, writing), walk.c (reading) and flush.c (what happened
 * since the last flush). Main thread, but for `blocks` and what retires them.
 */
#ifndef PROXY_STATS_PRIV_H
#define PROXY_STATS_PRIV_H

#include "base/map.h"
#include "proxy/stats/registry.h"
#include "proxy/stats/stats_config.h"

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
    /* At the last flush; NULL before the first. */
    uint64_t *flushed;
    struct map *named_flushed;
    struct flushed_histogram **histograms; /* per row; NULL where nothing was ever recorded */
};
enum { VERDICT_NONE, VERDICT_KEEP, VERDICT_DROP };

struct stats_registry {
    uint32_t threads;
    struct map *scopes;   /* prefix -> struct scope_node */
    void **retired;       /* replaced named lists, freed at the end: a reader may still hold one */
    size_t retired_count, retired_cap;
    uint8_t retired_lock;
    const struct stats_config *config;
};
extern struct stats_registry stats_registry;

/* A histogram's state at the last flush, and what the interval before it brought: pairs of bin and count. */
struct bin_count { uint32_t bin; uint64_t total, interval; };
struct flushed_histogram {
    uint64_t count, interval_count;
    double sum, interval_sum;
    uint32_t bin_count;
    struct bin_count bins[];
};
void flushed_free(struct scope_node *n);
/* The interval of the last flush as a view; false: none yet. */
bool flushed_interval(const struct scope_node *n, uint32_t row, struct histogram_view *out);

struct walk {
    void (*fn)(const struct stat_sample *s, void *arg); /* NULL: flushed for nobody */
    void *arg;
    bool histograms;
    bool all;      /* whatever stats_config says */
    bool flushes;  /* note what is seen, tell what is new */
    struct strbuf name, extracted;
    struct histogram_view view, interval;
};
void walk_all(struct walk *w, bool sorted);
void merge_histogram(const struct stat_scope *s, uint32_t row, struct histogram_view *v);
/* flush.c, while w->flushes: fill the sample's delta or interval and note the present state. */
void flush_row(struct scope_node *n, uint32_t row, struct stat_sample *sample);
void flush_named(struct scope_node *n, struct str tail, struct stat_sample *sample);
void flush_histogram(struct walk *w, struct scope_node *n, uint32_t row);

#endif
