/* SPDX-License-Identifier: Apache-2.0
 *
 * One bin per two leading digits and power of ten. A thread's histogram holds bins in pages of 90
 * (one power of ten), made when first used. Counts are written by one thread and read by others with
 * relaxed atomics: a reader may miss the last samples, never sees torn ones.
 */
#include "proxy/stats/histogram.h"

#include <math.h>

#include "base/mem.h"

#define PAGE 90
#define PAGES 18 /* values to 10^18 */

struct histogram {
    uint64_t zero, count, sum;
    uint64_t *pages[PAGES];
};

struct histogram *histogram_new(void)
{
    return NEW(histogram);
}

void histogram_free(struct histogram **h)
{
    if (!*h)
        return;
    for (int i = 0; i < PAGES; i++)
        mem_free((*h)->pages[i]);
    mem_free(*h);
    *h = NULL;
}

/* The bin's two digits d (10..99) and page e: the bin holds [d * 10^(e-1), (d+1) * 10^(e-1)). */
static void locate(uint64_t v, uint32_t *page, uint32_t *digits)
{
    uint32_t e = 1;
    if (v < 10) {
        *page = 0;
        *digits = (uint32_t)v * 10;
        return;
    }
    while (v >= 100 && e < PAGES - 1) {
        v /= 10;
        e++;
    }
    *page = e;
    *digits = v > 99 ? 99 : (uint32_t)v;
}

static void bump(uint64_t *p, uint64_t n)
{
    __atomic_store_n(p, *p + n, __ATOMIC_RELAXED);
}

void histogram_record(struct histogram *h, uint64_t value)
{
    uint32_t page, digits;
    bump(&h->count, 1);
    bump(&h->sum, value);
    if (!value) {
        bump(&h->zero, 1);
        return;
    }
    locate(value, &page, &digits);
    if (!h->pages[page])
        __atomic_store_n(&h->pages[page], mem_zalloc(PAGE * sizeof(uint64_t)), __ATOMIC_RELEASE);
    bump(&h->pages[page][digits - 10], 1);
}

void histogram_add_to(const struct histogram *h, struct histogram_view *into)
{
    into->count += __atomic_load_n(&h->count, __ATOMIC_RELAXED);
    into->sum += (double)__atomic_load_n(&h->sum, __ATOMIC_RELAXED);
    into->bins[0] += __atomic_load_n(&h->zero, __ATOMIC_RELAXED);
    for (uint32_t p = 0; p < PAGES; p++) {
        const uint64_t *page = __atomic_load_n(&h->pages[p], __ATOMIC_ACQUIRE);
        for (uint32_t i = 0; page && i < PAGE; i++)
            into->bins[1 + p * PAGE + i] += __atomic_load_n(&page[i], __ATOMIC_RELAXED);
    }
}

static const double powers[PAGES] = {1e-1, 1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                     1e8,  1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16};

static double lower_edge(uint32_t bin)
{
    if (bin == 0)
        return 0;
    uint32_t page = (bin - 1) / PAGE, digits = (bin - 1) % PAGE + 10;
    return page ? (double)digits * powers[page] : (double)digits / 10; /* 0.1 is not a binary fraction */
}

void histogram_bin(uint32_t bin, double *lower, double *width)
{
    *lower = lower_edge(bin);
    *width = bin ? powers[(bin - 1) / PAGE] : 0;
}

double histogram_quantile(const struct histogram_view *v, double q)
{
    uint64_t total = 0, below = 0;
    double lower, width;
    for (uint32_t i = 0; i < HISTOGRAM_BINS; i++)
        total += v->bins[i];
    if (!total)
        return NAN;
    uint64_t want = (uint64_t)ceil(q * (double)total);
    if (!want)
        want = 1;
    for (uint32_t i = 0; i < HISTOGRAM_BINS; i++) {
        if (below + v->bins[i] < want) {
            below += v->bins[i];
            continue;
        }
        histogram_bin(i, &lower, &width);
        return lower + width * (double)(want - below) / (double)(v->bins[i] + 1);
    }
    histogram_bin(HISTOGRAM_BINS - 1, &lower, &width);
    return lower + width;
}

void histogram_cumulative(const struct histogram_view *v, const double *bounds, uint32_t n, uint64_t *counts)
{
    uint64_t sum = 0;
    uint32_t bin = 0;
    for (uint32_t b = 0; b < n; b++) {
        for (; v->count && bin < HISTOGRAM_BINS && lower_edge(bin) <= bounds[b]; bin++)
            sum += v->bins[bin];
        counts[b] = sum;
    }
}

uint64_t histogram_count_below(const struct histogram_view *v, double bound)
{
    uint64_t count;
    histogram_cumulative(v, &bound, 1, &count);
    return count;
}
