/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory for nghttp2, which allocates several small objects per request: recycled by size class,
 * one set of lists a thread, since a session never leaves its thread. Each object is preceded by
 * its size, as the library frees without one. Larger ones (its frame buffers) come from the heap
 * and may fail, which the library reports. Under sanitizers all come from the heap.
 */
#include "http/codec/h2_priv.h"

#include "base/mem.h"

#define CLASS_BYTES 32
#define CLASS_COUNT 32 /* up to 1 KiB, its header included */
#define CLASS_IDLE_BYTES 65536

struct h2_block {
    size_t bytes; /* usable */
    uint8_t data[] __attribute__((aligned(16)));
};

static __thread struct recycler classes[CLASS_COUNT + 1];

static bool is_pooled(size_t total)
{
    return !MEM_SANITIZED && total <= CLASS_BYTES * CLASS_COUNT;
}

static void *h2_malloc(size_t n, void *ctx)
{
    (void)ctx;
    if (n > SIZE_MAX / 2)
        return NULL;
    size_t total = sizeof(struct h2_block) + n;
    struct h2_block *b;
    if (is_pooled(total)) {
        size_t i = (total + CLASS_BYTES - 1) / CLASS_BYTES;
        struct recycler *r = &classes[i];
        if (!r->object_bytes) {
            r->object_bytes = (uint32_t)(i * CLASS_BYTES);
            r->max_idle = CLASS_IDLE_BYTES / r->object_bytes;
        }
        b = recycler_get(r);
        b->bytes = i * CLASS_BYTES - sizeof(*b);
    } else {
        b = mem_try_alloc(total);
        if (!b)
            return NULL;
        b->bytes = n;
    }
    return b->data;
}

static void h2_free(void *p, void *ctx)
{
    (void)ctx;
    if (!p)
        return;
    struct h2_block *b = CONTAINER_OF(p, h2_block, data);
    size_t total = sizeof(*b) + b->bytes;
    if (is_pooled(total))
        recycler_put(&classes[total / CLASS_BYTES], b);
    else
        mem_free(b);
}

static void *h2_calloc(size_t count, size_t size, void *ctx)
{
    size_t n;
    if (__builtin_mul_overflow(count, size, &n))
        return NULL;
    void *p = h2_malloc(n, ctx);
    if (p)
        memset(p, 0, n);
    return p;
}

static void *h2_realloc(void *p, size_t n, void *ctx)
{
    if (!p)
        return h2_malloc(n, ctx);
    struct h2_block *b = CONTAINER_OF(p, h2_block, data);
    if (n <= b->bytes)
        return p;
    void *q = h2_malloc(n, ctx);
    if (!q)
        return NULL;
    memcpy(q, p, b->bytes);
    h2_free(p, ctx);
    return q;
}

nghttp2_mem *h2_mem(void)
{
    static nghttp2_mem mem = {NULL, h2_malloc, h2_free, h2_calloc, h2_realloc};
    return &mem;
}

void h2_thread_fini(void)
{
    for (size_t i = 0; i <= CLASS_COUNT; i++)
        recycler_drain(&classes[i]);
}
