/* SPDX-License-Identifier: Apache-2.0
 *
 * MAGLEV: a table of prime size in which hosts take places in turn, each by a permutation of its own
 * (Eisenbud and others, NSDI 2016, listing 1); a lighter host sits out rounds. A request's hash modulo
 * the size is its place. Order of hosts, hashes and the arithmetic of weights are Envoy's, whose table
 * this must be (tests/wire/test_balancing.py). Built on the main thread.
 */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/mem.h"
#include "proxy/cluster/cluster.h"

struct lb_schedule {
    uint64_t size;
    uint32_t places[];
};
struct taker {
    struct str key;
    uint32_t host;
    uint64_t at, skip;
    double share, target;
};

static int by_key(const void *a, const void *b)
{
    return str_cmp(((const struct taker *)a)->key, ((const struct taker *)b)->key);
}

static uint32_t line_up(const struct lb_policy_spec *spec, const struct host_group *g, struct taker *takers,
                        char (*texts)[ADDR_TEXT_BYTES], double *most)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        if (g->shares[i] <= 0)
            continue;
        struct str key = lb_hash_key(g->hosts[i], spec->use_hostname, texts[i]);
        takers[n++] = (struct taker){.key = key, .host = i, .at = XXH64(key.p, key.n, 0) % spec->table_size,
                                     .skip = XXH64(key.p, key.n, 1) % (spec->table_size - 1) + 1, .share = g->shares[i]};
        *most = g->shares[i] > *most ? g->shares[i] : *most;
    }
    qsort(takers, n, sizeof(*takers), by_key);
    return n;
}

/* The last places are found after thousands of looks: a bit each keeps them in the nearest cache. */
static void take(struct lb_schedule *s, uint64_t *taken, struct taker *t)
{
    uint64_t at = t->at;
    while (taken[at >> 6] >> (at & 63) & 1)
        at = at + t->skip < s->size ? at + t->skip : at + t->skip - s->size;
    taken[at >> 6] |= 1ull << (at & 63);
    s->places[at] = t->host;
    t->at = at;
}

/* A host with the greatest share takes a place in every round, one with a third of it in every third. */
static void fill(struct lb_schedule *s, struct taker *takers, uint32_t n, double most)
{
    uint64_t count = 0, *taken = mem_zalloc((s->size / 64 + 1) * sizeof(*taken));
    for (uint32_t round = 1; n && count < s->size; round++) {
        for (uint32_t i = 0; i < n && count < s->size; i++) {
            if (round * takers[i].share < takers[i].target)
                continue;
            takers[i].target += most;
            take(s, taken, &takers[i]);
            count++;
        }
    }
    mem_free(taken);
}

static struct lb_schedule *build(const struct lb_policy_spec *spec, const struct host_group *g)
{
    struct lb_schedule *s = mem_alloc(sizeof(*s) + spec->table_size * sizeof(s->places[0]));
    struct taker *takers = mem_alloc(g->count * sizeof(*takers));
    char(*texts)[ADDR_TEXT_BYTES] = mem_alloc(g->count * sizeof(*texts));
    double most = 0;
    s->size = spec->table_size;
    memset(s->places, 0xff, s->size * sizeof(s->places[0]));
    uint32_t n = line_up(spec, g, takers, texts, &most);
    fill(s, takers, n, most);
    mem_free(takers);
    mem_free(texts);
    return s;
}

static void release(struct lb_schedule *s)
{
    mem_free(s);
}

static void show(const struct lb_schedule *s, const struct host_group *g, struct stat_scope *stats)
{
    uint64_t *counts = mem_zalloc(g->count * sizeof(*counts));
    for (uint64_t i = 0; i < s->size; i++)
        if (s->places[i] != UINT32_MAX)
            counts[s->places[i]]++;
    struct lb_spread spread = lb_spread_of(counts, g->count);
    mem_free(counts);
    stat_set(stats, STAT_CLUSTER_MAGLEV_LEAST, spread.least);
    stat_set(stats, STAT_CLUSTER_MAGLEV_MOST, spread.most);
}

static uint32_t pick(const struct lb_policy_spec *spec, const struct host_group *g, struct lb_context *ctx)
{
    uint64_t hash = ctx->hash;
    if (ctx->attempt)
        hash ^= ~0ull - ctx->attempt + 1; /* another try, far away */
    uint32_t first = g->schedule->places[hash % g->schedule->size];
    if (first == UINT32_MAX) /* no host has a share */
        return g->count;
    return spec->balance_pct ? lb_bounded(spec, g, first, ctx->hash, ctx->cluster_active) : first;
}

const struct lb_policy lb_maglev = {.name = "MAGLEV", .by_hash = true, .build = build, .free = release, .show = show,
                                    .pick = pick};
