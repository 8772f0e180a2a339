/* SPDX-License-Identifier: Apache-2.0
 *
 * Allocation that aborts on out-of-memory (for sizes we choose) and allocation that can fail (for
 * sizes that a peer or a configuration chose; those meet a limit first). Tests can fail the nth.
 * Bare malloc/calloc/realloc/strdup are not used outside this file and third-party hooks.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

/* 1 in sanitizer builds: recyclers and arenas then step aside, so that every object is the
 * sanitizer's to watch. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEM_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define MEM_SANITIZED 1
#endif
#endif
#ifndef MEM_SANITIZED
#define MEM_SANITIZED 0
#endif

void *mem_alloc(size_t n) __attribute__((malloc, alloc_size(1), returns_nonnull));
void *mem_zalloc(size_t n) __attribute__((malloc, alloc_size(1), returns_nonnull));
void *mem_realloc(void *p, size_t n) __attribute__((alloc_size(2), returns_nonnull));
void *mem_try_alloc(size_t n) __attribute__((malloc, alloc_size(1)));
void *mem_try_realloc(void *p, size_t n) __attribute__((alloc_size(2)));
char *mem_strdup(const char *s) __attribute__((malloc, returns_nonnull));
/* Exactly n bytes, whatever they are, and a NUL behind them. */
char *mem_strndup(const char *s, size_t n) __attribute__((malloc, returns_nonnull));
void mem_free(void *p);

#define NEW(type) ((struct type *)mem_zalloc(sizeof(struct type)))

/* Grows an array to hold at least `need` items, doubling. `*cap` is in items. */
void *mem_grow(void *items, size_t *cap, size_t need, size_t item_bytes)
    __attribute__((returns_nonnull));

/* Test hook: the nth mem_try_* call from now returns NULL (0 turns it off). */
void mem_fail_nth(uint64_t n);

/* Recycler: a per-thread free list of fixed-size objects. Plain malloc under sanitizers.
 * Put and get happen on one thread. `max_idle` objects are kept; the rest go back to the heap. */
struct recycler {
    void *head;
    uint32_t idle, max_idle;
    uint32_t object_bytes;
};
void *recycler_get(struct recycler *r) __attribute__((returns_nonnull)); /* not zeroed */
void recycler_put(struct recycler *r, void *object);
void recycler_drain(struct recycler *r);

/* Pages of the program and its libraries that were needed once, to start, leave this process's resident memory; those that
 * are used come back from the page cache. */
void mem_trim_image(void);

#endif
