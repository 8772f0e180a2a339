/* SPDX-License-Identifier: Apache-2.0
 *
 * One process-wide table from content to part. A part sits behind a header with its key, so that
 * dropping it needs no search. Main thread only.
 */
#include "proxy/config/shared.h"

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"

#define SHARED_MAGIC 0x5ba4ed01u

struct shared {
    uint32_t magic, refs;
    struct str key; /* owned */
    struct arena memory;
    void (*fini)(void *part);
    char data[] __attribute__((aligned(16)));
};

static struct map *parts;

const void *shared_get(struct str key, const void *part, size_t bytes, struct arena *take_memory,
                       void (*fini)(void *part))
{
    if (!parts)
        parts = map_new();
    struct shared *s = map_get(parts, key);
    if (s) {
        s->refs++;
        if (fini)
            fini((void *)part);
        if (take_memory)
            arena_fini(take_memory);
        return s->data;
    }
    s = mem_zalloc(sizeof(*s) + bytes);
    s->magic = SHARED_MAGIC;
    s->refs = 1;
    s->key = str_make(memcpy(mem_alloc(key.n + 1), key.p, key.n), key.n);
    s->fini = fini;
    if (take_memory) {
        s->memory = *take_memory;
        arena_init(take_memory, 0);
    }
    memcpy(s->data, part, bytes);
    map_set(parts, s->key, s);
    return s->data;
}

const void *shared_ref(const void *part)
{
    CONTAINER_OF((char *)part, shared, data)->refs++;
    return part;
}

void shared_unref(const void *part)
{
    if (!part)
        return;
    struct shared *s = CONTAINER_OF((char *)part, shared, data);
    CHECK(s->magic == SHARED_MAGIC);
    if (--s->refs > 0)
        return;
    map_del(parts, s->key);
    if (map_count(parts) == 0)
        map_free(&parts);
    if (s->fini)
        s->fini(s->data);
    arena_fini(&s->memory);
    s->magic = 0;
    mem_free((char *)s->key.p);
    mem_free(s);
}

size_t shared_count(void)
{
    return parts ? map_count(parts) : 0;
}
