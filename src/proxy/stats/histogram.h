/* SPDX-License-Identifier: Apache-2.0
 *
 * Log-linear histograms: two significant decimal digits, as circllhist keeps them (Envoy's), so that
 * quantiles come out alike. Values are unsigned integers. Sparse: memory for what occurs.
 */
#ifndef PROXY_STATS_HISTOGRAM_H
#define PROXY_STATS_HISTOGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_BINS (1 + 18 * 90) /* zero; then 10..99 times each power of ten, 1 being 10 * 10^-1 */

struct histogram;
struct histogram *histogram_new(void);
void histogram_free(struct histogram **h);
/* One writer thread; readers elsewhere see a slightly old state. */
void histogram_record(struct histogram *h, uint64_t value);

/* A merged, dense copy for looking at. */
struct histogram_view {
    uint64_t count;
    double sum;
    uint64_t bins[HISTOGRAM_BINS];
};
void histogram_add_to(const struct histogram *h, struct histogram_view *into);
/* Interpolated as circllhist does: k of n samples in a bin stand at k/(n+1) of its width. q in [0,1].
 * NaN when empty. */
double histogram_quantile(const struct histogram_view *v, double q);
/* How many samples are <= bound: whole bins, the one that holds the bound included. */
uint64_t histogram_count_below(const struct histogram_view *v, double bound);
/* The same for n ascending bounds, in one pass. */
void histogram_cumulative(const struct histogram_view *v, const double *bounds, uint32_t n, uint64_t *counts);
void histogram_bin(uint32_t bin, double *lower, double *width);

#endif
