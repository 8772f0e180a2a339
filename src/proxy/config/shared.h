/* SPDX-License-Identifier: Apache-2.0
 *
 * Immutable parts of specs, one copy for each distinct content: the circuit breakers, HTTP options
 * and TLS settings of 2,000 clusters are mostly the same ones. Main thread makes and drops
 * references; any thread reads.
 */
#ifndef PROXY_CONFIG_SHARED_H
#define PROXY_CONFIG_SHARED_H

#include "base/arena.h"
#include "base/str.h"

/* A reference to the part with this key, made from `part` when there is none yet. `key` must name
 * the kind and everything in the part; what `part` points to lives in *take_memory (may be NULL),
 * which is emptied. `fini` (may be NULL) ends what the part owns besides; it is called for `part`
 * at once when the key was known. */
const void *shared_get(struct str key, const void *part, size_t bytes, struct arena *take_memory,
                       void (*fini)(void *part));
const void *shared_ref(const void *part);
void shared_unref(const void *part); /* NULL is fine */
size_t shared_count(void);           /* distinct parts alive; for tests */

#endif
