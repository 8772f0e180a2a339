/* SPDX-License-Identifier: Apache-2.0
 *
 * How long to wait after the nth failure in a row: doubling, capped, with jitter so that replicas that failed together don't
 * come back together. Pure.
 */
#ifndef CONTROL_KUBE_BACKOFF_H
#define CONTROL_KUBE_BACKOFF_H

#include "base/rng.h"

#define KUBE_BACKOFF_FIRST_MS 200u
#define KUBE_BACKOFF_MAX_MS 30000u
/* The longest that a server may send us away for (Retry-After). */
#define KUBE_RETRY_AFTER_MAX_MS 120000u

/* failures: from 1. At least what the server asked for (0: nothing). */
static inline uint64_t kube_backoff_ms(uint32_t failures, uint64_t retry_after_ms, struct rng *rng)
{
    uint64_t wait = KUBE_BACKOFF_FIRST_MS;
    while (failures-- > 1 && wait < KUBE_BACKOFF_MAX_MS)
        wait *= 2;
    wait = wait < KUBE_BACKOFF_MAX_MS ? wait : KUBE_BACKOFF_MAX_MS;
    wait = wait / 2 + rng_below(rng, wait / 2 + 1);
    if (retry_after_ms > KUBE_RETRY_AFTER_MAX_MS)
        retry_after_ms = KUBE_RETRY_AFTER_MAX_MS;
    return wait > retry_after_ms ? wait : retry_after_ms + rng_below(rng, wait + 1);
}

#endif
