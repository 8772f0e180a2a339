/* SPDX-License-Identifier: Apache-2.0
 *
 * Bump allocator for things that die together (a request, a configuration). Bounded: past
 * `limit_bytes` allocation returns NULL and the overflow mark sticks until reset, so that callers
 * may check once (431/413/503 instead of a crash). Recycled chunks, one thread. Under sanitizers
 * every allocation is its own malloc.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct arena_chunk;
struct arena {
    char *at, *end;             /* free space of the current chunk */
    struct arena_chunk *chunks; /* newest first */
    size_t used_bytes, limit_bytes;
    bool overflowed;
};

/* limit_bytes 0 = no limit. No memory is taken before the first allocation. */
void arena_init(struct arena *a, size_t limit_bytes);
void arena_fini(struct arena *a);  /* frees all; may be re-inited */
void arena_reset(struct arena *a); /* forgets all, keeps at most one chunk */

/* 8-byte aligned (16 for n >= 16), not zeroed; NULL on overflow. */
void *arena_alloc(struct arena *a, size_t n);
void *arena_zalloc(struct arena *a, size_t n);
/* Unaligned bytes; for strings. */
char *arena_bytes(struct arena *a, size_t n);
/* Copies NUL-terminated (the NUL isn't counted). On overflow returns an empty str. */
struct str arena_str(struct arena *a, struct str s);
struct str arena_printf(struct arena *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Gives the calling thread's idle chunks back to the heap; at the end of a thread. */
void arena_thread_fini(void);

#endif
