/* SPDX-License-Identifier: Apache-2.0
 *
 * Persistent hash map from byte strings to pointers: a copy costs nothing and shares everything with the
 * original, a change of one of them costs the path to the key. For tables that many look at while one
 * thread makes the next version: all versions are made, changed and freed by one thread; any thread may
 * look into a version that isn't changed any more.
 */
#ifndef BASE_PMAP_H
#define BASE_PMAP_H

#include <stddef.h>

#include "base/str.h"

struct pmap;
/* `drop` (may be NULL) gets each value once the last version that has it lets go. */
struct pmap *pmap_new(void (*drop)(void *value));
struct pmap *pmap_copy(const struct pmap *m);
void pmap_free(struct pmap **m); /* NULL is fine */
size_t pmap_count(const struct pmap *m);
void *pmap_get(const struct pmap *m, struct str key); /* NULL when absent */
/* The key's value (not NULL) in this version from now on. */
void pmap_set(struct pmap *m, struct str key, void *take_value);
void pmap_del(struct pmap *m, struct str key);
/* Any order; the map must not change meanwhile. */
void pmap_each(const struct pmap *m, void (*fn)(struct str key, void *value, void *arg), void *arg);

#endif
