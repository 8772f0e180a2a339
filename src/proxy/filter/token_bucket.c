/* SPDX-License-Identifier: Apache-2.0
 *
 * See the header. The time is kept in nanoseconds so that fast buckets lose nothing to rounding. Relaxed atomics: threads
 * share nothing else through a bucket.
 */
#include "proxy/filter/token_bucket.h"

#include <math.h>

struct token_bucket_spec token_bucket_spec(uint32_t max_tokens, uint32_t tokens_per_fill, uint64_t fill_interval_us)
{
    return (struct token_bucket_spec){max_tokens, fill_interval_us ? (double)tokens_per_fill / (double)fill_interval_us : 0};
}

/* Zero says "never used". */
static double tokens(int64_t empty_at_ns, const struct token_bucket_spec *s, uint64_t now_us)
{
    if (!empty_at_ns)
        return s->max_tokens;
    double have = ((double)now_us - (double)empty_at_ns / 1000) * s->per_us;
    return have < s->max_tokens ? have + 1e-9 : s->max_tokens;
}

bool token_bucket_take(struct token_bucket *b, const struct token_bucket_spec *s, uint64_t n, uint64_t now_us)
{
    int64_t before = atomic_load_explicit(&b->empty_at_ns, memory_order_relaxed), after;
    do {
        double have = tokens(before, s, now_us);
        if (have < (double)n)
            return false;
        after = (int64_t)(((double)now_us - (have - (double)n) / s->per_us) * 1000);
        after = after ? after : 1;
    } while (!atomic_compare_exchange_weak_explicit(&b->empty_at_ns, &before, after, memory_order_relaxed, memory_order_relaxed));
    return true;
}

static double tokens_now(const struct token_bucket *b, const struct token_bucket_spec *s, uint64_t now_us)
{
    return tokens(atomic_load_explicit(&b->empty_at_ns, memory_order_relaxed), s, now_us);
}

uint32_t token_bucket_left(const struct token_bucket *b, const struct token_bucket_spec *s, uint64_t now_us)
{
    double have = tokens_now(b, s, now_us);
    return have > 0 ? (uint32_t)have : 0;
}

uint64_t token_bucket_wait_s(const struct token_bucket *b, const struct token_bucket_spec *s, uint64_t now_us)
{
    double have = tokens_now(b, s, now_us);
    return have >= 1 ? 0 : (uint64_t)ceil((1 - have) / s->per_us / 1e6 - 1e-6);
}
