/* SPDX-License-Identifier: Apache-2.0
 *
 * What RING_HASH and MAGLEV share: the text by which a host is hashed, the second hash function, and
 * consistent hashing with bounded loads (arXiv 1608.01350; the jump to another host is random but
 * seeded by the hash, arXiv 1908.08762). All of it must agree with Envoy bit by bit, so that proxies of
 * both kinds send the same key to the same endpoint. Pure.
 */
#include <math.h>

#include "base/mem.h"
#include "proxy/lb/lb.h"

struct str lb_hash_key(const struct host *h, bool use_hostname, char text[ADDR_TEXT_BYTES])
{
    static const struct str path[] = {{"hash_key", sizeof("hash_key") - 1}};
    const struct meta_value *v = metadata_find(h->metadata, STR("envoy.lb"), path, 1);
    if (v && v->kind == META_STRING && v->u.string.n)
        return v->u.string;
    if (use_hostname && h->hostname.n)
        return h->hostname;
    return str_from(addr_text(&h->addr, text));
}

/* MurmurHash2, 64 bits, as libstdc++ has it (MURMUR_HASH_2 in Envoy: "compatible with std::hash<string> in GNU libstdc++"). */
uint64_t lb_murmur2(struct str s, uint64_t seed)
{
    const uint64_t m = 0xc6a4a7935bd1e995ull;
    uint64_t hash = seed ^ (s.n * m), word;
    size_t at = 0;
    for (; at + 8 <= s.n; at += 8) {
        memcpy(&word, s.p + at, 8);
        word *= m;
        hash = (hash ^ (word ^ word >> 47) * m) * m;
    }
    if (at < s.n) {
        word = 0;
        memcpy(&word, s.p + at, s.n - at);
        hash = (hash ^ word) * m;
    }
    hash = (hash ^ hash >> 47) * m;
    return hash ^ hash >> 47;
}

/* ---- bounded load ---- */

/* The Mersenne Twister (Matsumoto and Nishimura, 1998): the order of hosts that Envoy tries comes from it. */
#define MT_N 624
#define MT_M 397
struct twister {
    uint32_t state[MT_N], at;
};

static void twister_seed(struct twister *t, uint32_t seed)
{
    t->state[0] = seed;
    for (uint32_t i = 1; i < MT_N; i++)
        t->state[i] = 1812433253u * (t->state[i - 1] ^ t->state[i - 1] >> 30) + i;
    t->at = MT_N;
}

static uint32_t twister_next(struct twister *t)
{
    if (t->at == MT_N) {
        for (uint32_t i = 0; i < MT_N; i++) {
            uint32_t y = (t->state[i] & 0x80000000u) | (t->state[(i + 1) % MT_N] & 0x7fffffffu);
            t->state[i] = t->state[(i + MT_M) % MT_N] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        t->at = 0;
    }
    uint32_t y = t->state[t->at++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

static uint32_t twister_below(struct twister *t, uint32_t k)
{
    uint32_t x = k;
    while (x >= k)
        x = (uint32_t)(twister_next(t) / ((1ull << 32) / k));
    return x;
}

/* Above 1: the host runs more than its part of balance_pct per cent of the mean. */
static double overload(const struct lb_policy_spec *spec, const struct host *h, double share, uint32_t cluster_active)
{
    uint32_t slots = (uint32_t)(((uint64_t)(cluster_active + 1) * spec->balance_pct + 99) / 100);
    uint32_t own = (uint32_t)ceil(slots * share);
    return (double)atomic_load_explicit(&h->stats[HOST_RQ_ACTIVE], memory_order_relaxed) / (own ? own : 1);
}

uint32_t lb_bounded(const struct lb_policy_spec *spec, const struct host_group *g, uint32_t first, uint64_t hash,
                    uint32_t cluster_active)
{
    double least = overload(spec, g->hosts[first], g->shares[first], cluster_active);
    if (least <= 1)
        return first;
    struct twister t;
    uint32_t best = first, n = 0, *order = mem_alloc(g->count * sizeof(*order)); /* only under load that is out of balance */
    for (uint32_t i = 0; i < g->count; i++)
        if (g->shares[i] > 0)
            order[n++] = i;
    twister_seed(&t, (uint32_t)hash);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t j = i + twister_below(&t, n - i), k = order[j];
        order[j] = order[i];
        order[i] = k;
        if (k == first)
            continue;
        double load = overload(spec, g->hosts[k], g->shares[k], cluster_active);
        if (load < least) {
            best = k;
            least = load;
        }
        if (load <= 1) {
            best = k;
            break;
        }
    }
    mem_free(order);
    return best;
}
