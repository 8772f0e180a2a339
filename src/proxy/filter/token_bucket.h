/* SPDX-License-Identifier: Apache-2.0
 *
 * A token bucket that fills steadily and that any number of threads take from without a lock: one number, the time at which
 * the bucket was (or would have been) empty.
 */
#ifndef PROXY_FILTER_TOKEN_BUCKET_H
#define PROXY_FILTER_TOKEN_BUCKET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct token_bucket_spec {
    uint32_t max_tokens;
    double per_us;       /* tokens_per_fill over fill_interval; 0: never filled again */
};
struct token_bucket { /* zeroed = full */
    _Atomic int64_t empty_at_ns;
};
struct token_bucket_spec token_bucket_spec(uint32_t max_tokens, uint32_t tokens_per_fill, uint64_t fill_interval_us);
/* Takes n tokens, or none. now_us: a monotonic clock, never 0. */
bool token_bucket_take(struct token_bucket *b, const struct token_bucket_spec *s, uint64_t n, uint64_t now_us);
uint32_t token_bucket_left(const struct token_bucket *b, const struct token_bucket_spec *s, uint64_t now_us); /* whole tokens */
/* Until there is a whole one; 0 when there is. */
uint64_t token_bucket_wait_s(const struct token_bucket *b, const struct token_bucket_spec *s, uint64_t now_us);

#endif
