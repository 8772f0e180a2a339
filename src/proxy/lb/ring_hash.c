/* SPDX-License-Identifier: Apache-2.0
 *
 * RING_HASH: ketama. Each host stands on a ring in as many places as its weight earns; a request goes
 * to the next place after its hash. Places are hashes of "<host's key>_<n>"; how many each host gets,
 * down to how fractions carry over from one host to the next, is as in Envoy, whose ring this must be
 * (tests/wire/test_balancing.py). Sorted by radix: ten thousands of places are made anew with every
 * change of a large cluster, on the main thread.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/mem.h"
#include "proxy/cluster/cluster.h"

#define MURMUR_SEED 0xc70f6907u /* libstdc++'s */

struct place {
    uint64_t hash;
    uint32_t host;
};
struct lb_schedule {
    uint64_t count;
    struct place places[];
};

static uint64_t place_hash(const struct lb_policy_spec *spec, struct str text)
{
    return spec->murmur2 ? lb_murmur2(text, MURMUR_SEED) : XXH64(text.p, text.n, 0);
}

/* LSD radix, 11 bits a pass, six passes. `other` is scratch of the same size. */
static void sort(struct place *places, struct place *other, uint64_t n)
{
    for (unsigned shift = 0; shift < 66; shift += 11) {
        uint64_t at[2049] = {0};
        for (uint64_t i = 0; i < n; i++)
            at[(places[i].hash >> shift & 2047) + 1]++;
        for (unsigned d = 1; d < 2048; d++)
            at[d] += at[d - 1];
        for (uint64_t i = 0; i < n; i++)
            other[at[places[i].hash >> shift & 2047]++] = places[i];
        struct place *swap = places;
        places = other;
        other = swap;
    }
}

static size_t put_number(char *to, uint64_t n)
{
    char digits[20];
    size_t len = 0;
    do
        digits[sizeof digits - ++len] = (char)('0' + n % 10);
    while (n /= 10);
    memcpy(to, digits + sizeof digits - len, len);
    return len;
}

static double smallest(const struct host_group *g)
{
    double least = 1;
    for (uint32_t i = 0; i < g->count; i++)
        if (g->shares[i] > 0 && g->shares[i] < least)
            least = g->shares[i];
    return least;
}

static void place_host(const struct lb_policy_spec *spec, struct lb_schedule *s, const struct host *h, uint32_t index, double upto)
{
    char text[ADDR_TEXT_BYTES], *line;
    struct str key = lb_hash_key(h, spec->use_hostname, text);
    char small[512];
    line = key.n + 24 <= sizeof small ? small : mem_alloc(key.n + 24);
    memcpy(line, key.p, key.n);
    line[key.n] = '_';
    for (uint64_t i = 0; (double)s->count < upto; i++) {
        size_t digits = put_number(line + key.n + 1, i);
        s->places[s->count++] = (struct place){place_hash(spec, str_make(line, key.n + 1 + digits)), index};
    }
    if (line != small)
        mem_free(line);
}

/* A scale at which the least of hosts has a whole number of places, unless that makes the ring too large. */
static struct lb_schedule *build(const struct lb_policy_spec *spec, const struct host_group *g)
{
    double least = smallest(g);
    double scale = ceil(least * (double)spec->min_ring) / least;
    if (scale > (double)spec->max_ring)
        scale = (double)spec->max_ring;
    uint64_t size = (uint64_t)ceil(scale) + 1; /* sums of fractions may end a hair above */
    struct lb_schedule *s = mem_alloc(sizeof(*s) + size * sizeof(s->places[0]));
    double upto = 0;
    s->count = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        if (g->shares[i] <= 0)
            continue;
        upto += scale * g->shares[i];
        place_host(spec, s, g->hosts[i], i, upto < (double)size ? upto : (double)size);
    }
    struct place *scratch = mem_alloc((s->count + 1) * sizeof(*scratch));
    sort(s->places, scratch, s->count);
    mem_free(scratch);
    return s;
}

static void release(struct lb_schedule *s)
{
    mem_free(s);
}

static void show(const struct lb_schedule *s, const struct host_group *g, struct stat_scope *stats)
{
    uint64_t *counts = mem_zalloc(g->count * sizeof(*counts));
    for (uint64_t i = 0; i < s->count; i++)
        counts[s->places[i].host]++;
    struct lb_spread spread = lb_spread_of(counts, g->count);
    mem_free(counts);
    stat_set(stats, STAT_CLUSTER_RING_SIZE, s->count);
    stat_set(stats, STAT_CLUSTER_RING_LEAST, spread.least);
    stat_set(stats, STAT_CLUSTER_RING_MOST, spread.most);
}

/* The first place whose hash isn't below; behind the last comes the first. */
static uint64_t find(const struct lb_schedule *s, uint64_t hash)
{
    uint64_t low = 0, high = s->count;
    while (low < high) {
        uint64_t mid = low + (high - low) / 2;
        if (s->places[mid].hash < hash)
            low = mid + 1;
        else
            high = mid;
    }
    return low == s->count ? 0 : low;
}

static uint32_t pick(const struct lb_policy_spec *spec, const struct host_group *g, struct lb_context *ctx)
{
    const struct lb_schedule *s = g->schedule;
    if (!s->count)
        return g->count;
    uint64_t at = find(s, ctx->hash);
    if (ctx->attempt)
        at = (at + ctx->attempt) % s->count;
    uint32_t first = s->places[at].host;
    return spec->balance_pct ? lb_bounded(spec, g, first, ctx->hash, ctx->cluster_active) : first;
}

const struct lb_policy lb_ring_hash = {.name = "RING_HASH", .by_hash = true, .build = build, .free = release, .show = show,
                                       .pick = pick};
