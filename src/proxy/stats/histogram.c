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

static double edge(uint32_t bin, bool upper)
{
    if (bin == 0)
        return 0;
    uint32_t page = (bin - 1) / PAGE, digits = (bin - 1) % PAGE + 10;
    return (double)(digits + (upper ? 1 : 0)) * pow(10.0, (double)page - 1);
}

double histogram_quantile(const struct histogram_view *v, double q)
{
    uint64_t total = 0, below = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BINS; i++)
        total += v->bins[i];
    if (!total)
        return NAN;
    double want = q * (double)total;
    for (uint32_t i = 0; i < HISTOGRAM_BINS; i++) {
        if (!v->bins[i])
            continue;
        if ((double)(below + v->bins[i]) >= want) {
            double part = (want - (double)below) / (double)v->bins[i];
            return edge(i, false) + (part < 0 ? 0 : part) * (edge(i, true) - edge(i, false));
        }
        below += v->bins[i];
    }
    return edge(HISTOGRAM_BINS - 1, true);
}

uint64_t histogram_count_below(const struct histogram_view *v, double bound)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BINS && edge(i, true) <= bound; i++)
        n += v->bins[i];
    return n;
}
