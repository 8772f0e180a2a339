/* SPDX-License-Identifier: Apache-2.0
 *
 * Flushing: at every stats_flush_interval all statistics are looked at once, and what is new since the
 * last time is noted and told: increments of counters, samples of histograms. Sinks are fed from
 * it; the admin pages show the last interval's quantiles. Main thread.
 */
#include <string.h>

#include "base/mem.h"
#include "proxy/stats/stats_priv.h"

void flush_row(struct scope_node *n, uint32_t row, struct stat_sample *sample)
{
    if (sample->kind != STAT_COUNTER)
        return;
    if (!n->flushed)
        n->flushed = mem_zalloc(n->scope->table->count * sizeof(uint64_t) + 1);
    /* After a reset a counter is smaller than it was: what it counted since is all that is known. */
    sample->delta = sample->value >= n->flushed[row] ? sample->value - n->flushed[row] : sample->value;
    n->flushed[row] = sample->value;
}

void flush_named(struct scope_node *n, struct str tail, struct stat_sample *sample)
{
    if (!n->named_flushed)
        n->named_flushed = map_new();
    uint64_t before = (uintptr_t)map_get(n->named_flushed, tail);
    sample->delta = sample->value >= before ? sample->value - before : sample->value;
    map_set(n->named_flushed, tail, (void *)(uintptr_t)sample->value);
}

static uint64_t total_before(const struct flushed_histogram *h, uint32_t bin, uint32_t *at)
{
    while (h && *at < h->bin_count && h->bins[*at].bin < bin)
        ++*at;
    return h && *at < h->bin_count && h->bins[*at].bin == bin ? h->bins[*at].total : 0;
}

void flush_histogram(struct walk *w, struct scope_node *n, uint32_t row)
{
    const struct histogram_view *v = &w->view;
    uint32_t bins = 0, at = 0;
    if (!n->histograms)
        n->histograms = mem_zalloc(n->scope->table->count * sizeof(n->histograms[0]) + 1);
    struct flushed_histogram *old = n->histograms[row];
    if (old && old->count == v->count && !old->interval_count)
        return; /* nothing then and nothing now */
    for (uint32_t i = 0; i < HISTOGRAM_BINS; i++)
        bins += v->bins[i] != 0;
    struct flushed_histogram *h = mem_zalloc(sizeof(*h) + bins * sizeof(h->bins[0]));
    h->count = v->count;
    h->sum = v->sum;
    h->interval_count = v->count - (old ? old->count : 0);
    h->interval_sum = v->sum - (old ? old->sum : 0);
    for (uint32_t i = 0; i < HISTOGRAM_BINS; i++)
        if (v->bins[i])
            h->bins[h->bin_count++] = (struct bin_count){i, v->bins[i], v->bins[i] - total_before(old, i, &at)};
    n->histograms[row] = h;
    mem_free(old);
}

bool flushed_interval(const struct scope_node *n, uint32_t row, struct histogram_view *out)
{
    const struct flushed_histogram *h = n->histograms ? n->histograms[row] : NULL;
    if (!h)
        return false;
    memset(out, 0, sizeof *out);
    out->count = h->interval_count;
    out->sum = h->interval_sum;
    for (uint32_t i = 0; i < h->bin_count; i++)
        out->bins[h->bins[i].bin] = h->bins[i].interval;
    return true;
}

void stats_flush(void (*fn)(const struct stat_sample *s, void *arg), void *arg)
{
    struct walk *w = NEW(walk);
    w->fn = fn;
    w->arg = arg;
    w->histograms = w->flushes = true;
    walk_all(w, false);
    mem_free(w);
}

void flushed_free(struct scope_node *n)
{
    for (uint32_t i = 0; n->histograms && i < n->scope->table->count; i++)
        mem_free(n->histograms[i]);
    mem_free(n->histograms);
    mem_free(n->flushed);
    map_free(&n->named_flushed);
}
