/* SPDX-License-Identifier: Apache-2.0
 *
 * Bump allocation in 4 KiB chunks that are recycled per thread; a request larger than a chunk gets
 * one of its own, which goes back to the heap. `used_bytes` counts what was asked for (alignment
 * included), so that the limit means the same whatever the chunks look like. An arena belongs to
 * one thread at a time; chunks may be given back on another than took them. Nothing is freed alone.
 */
#include "base/arena.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

#define CHUNK_BYTES 4096
#define CHUNKS_IDLE_MAX 64

struct arena_chunk {
    struct arena_chunk *next;
    size_t bytes; /* of the whole chunk, header included */
    char data[] __attribute__((aligned(16)));
};

#define CHUNK_ROOM (CHUNK_BYTES - sizeof(struct arena_chunk))

static __thread struct recycler chunks = {.max_idle = CHUNKS_IDLE_MAX, .object_bytes = CHUNK_BYTES};

static void chunk_free(struct arena_chunk *c)
{
    if (c->bytes == CHUNK_BYTES)
        recycler_put(&chunks, c);
    else
        mem_free(c);
}

void arena_init(struct arena *a, size_t limit_bytes)
{
    memset(a, 0, sizeof(*a));
    a->limit_bytes = limit_bytes;
}

static void chunks_free(struct arena_chunk *c)
{
    while (c) {
        struct arena_chunk *next = c->next;
        chunk_free(c);
        c = next;
    }
}

void arena_fini(struct arena *a)
{
    chunks_free(a->chunks);
    arena_init(a, a->limit_bytes);
}

void arena_reset(struct arena *a)
{
    struct arena_chunk *kept = NULL;
    if (!MEM_SANITIZED && a->chunks && a->chunks->bytes == CHUNK_BYTES) {
        kept = a->chunks;
        chunks_free(kept->next);
        kept->next = NULL;
    } else {
        chunks_free(a->chunks);
    }
    arena_init(a, a->limit_bytes);
    if (kept) {
        a->chunks = kept;
        a->at = kept->data;
        a->end = (char *)kept + CHUNK_BYTES;
    }
}

/* Room for n bytes outside of the current chunk. A large one is put behind the current chunk, whose
 * free space stays in use. */
static char *alloc_slow(struct arena *a, size_t n)
{
    struct arena_chunk *c;
    if (MEM_SANITIZED || n > CHUNK_ROOM / 4) {
        c = mem_try_alloc(sizeof(*c) + n);
        if (!c)
            return NULL;
        /* A size that no recycled chunk has, also when the sum happens to be CHUNK_BYTES. */
        c->bytes = 0;
        if (a->chunks) {
            c->next = a->chunks->next;
            a->chunks->next = c;
        } else {
            c->next = NULL;
            a->chunks = c;
        }
        return c->data;
    }
    c = recycler_get(&chunks);
    c->bytes = CHUNK_BYTES;
    c->next = a->chunks;
    a->chunks = c;
    a->at = c->data + n;
    a->end = (char *)c + CHUNK_BYTES;
    return c->data;
}

static bool has_budget(struct arena *a, size_t n)
{
    size_t used;
    if (__builtin_add_overflow(a->used_bytes, n, &used) || used > (SIZE_MAX >> 1) ||
        (a->limit_bytes && used > a->limit_bytes)) {
        a->overflowed = true;
        return false;
    }
    return true;
}

static void *alloc_aligned(struct arena *a, size_t n, size_t align)
{
    if (__builtin_expect(!has_budget(a, n), 0))
        return NULL;
    size_t pad = -(uintptr_t)a->at & (align - 1);
    char *p;
    if (!MEM_SANITIZED && __builtin_expect(a->at && (size_t)(a->end - a->at) >= n + pad, 1)) {
        p = a->at + pad;
        a->at = p + n;
        n += pad;
    } else {
        p = alloc_slow(a, n);
        if (!p) {
            a->overflowed = true;
            return NULL;
        }
    }
    a->used_bytes += n;
    return p;
}

void *arena_alloc(struct arena *a, size_t n)
{
    return alloc_aligned(a, n ? n : 1, n >= 16 ? 16 : 8);
}

void *arena_zalloc(struct arena *a, size_t n)
{
    void *p = arena_alloc(a, n);
    if (p)
        memset(p, 0, n);
    return p;
}

char *arena_bytes(struct arena *a, size_t n)
{
    return alloc_aligned(a, n ? n : 1, 1);
}

struct str arena_str(struct arena *a, struct str s)
{
    char *p = s.n < SIZE_MAX ? arena_bytes(a, s.n + 1) : NULL;
    if (!p)
        return STR("");
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return str_make(p, s.n);
}

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
    char small[256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof(small), fmt, ap);
    va_end(ap);
    if (n < 0)
        return STR("");
    if ((size_t)n < sizeof(small))
        return arena_str(a, str_make(small, (size_t)n));

    char *p = arena_bytes(a, (size_t)n + 1);
    if (!p)
        return STR("");
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return str_make(p, (size_t)n);
}

void arena_thread_fini(void)
{
    recycler_drain(&chunks);
}
