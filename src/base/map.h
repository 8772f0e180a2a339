/* SPDX-License-Identifier: Apache-2.0
 *
 * Hash map from byte strings to pointers (open addressing, keys copied), and a set of addresses.
 * One thread at a time; readers of a map that nobody changes may be many.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct map; /* opaque */
struct map *map_new(void);
void map_free(struct map **m);
size_t map_count(const struct map *m);
void *map_get(const struct map *m, struct str key); /* NULL when absent */
/* Sets (value != NULL); returns the value it replaced, or NULL. */
void *map_set(struct map *m, struct str key, void *value);
void *map_del(struct map *m, struct str key);
/* Any order; the map must not change meanwhile. Start with *pos = 0. */
bool map_next(const struct map *m, size_t *pos, struct str *key, void **value);

struct addr_set {
    const void **slots;
    size_t count, cap;
};
void addr_set_add(struct addr_set *s, const void *p);
bool addr_set_has(const struct addr_set *s, const void *p);
void addr_set_fini(struct addr_set *s);

#endif
