/* SPDX-License-Identifier: Apache-2.0
 *
 * Randomness. `rng` is fast, seedable, not secret (balancing, jitter, sampling); tests pass a fixed
 * seed. rng_secret_bytes is for keys and identifiers that must not be guessed.
 */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t s[4];
};
void rng_seed(struct rng *r, uint64_t seed); /* 0 = from the system */
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n); /* uniform in [0, n); 0 for n = 0 */
/* RFC 9562 version 4 text, 36 bytes, no NUL. */
void rng_uuid4(struct rng *r, char out[36]);
void rng_secret_bytes(void *out, size_t n);

#endif
