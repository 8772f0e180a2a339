/* SPDX-License-Identifier: Apache-2.0
 *
 * The only file that calls malloc. Two families: mem_* aborts when the system has no memory (sizes
 * that weft chose), mem_try_* may return NULL (sizes that came from outside, already limited). The
 * fault hook fails the nth mem_try_* call of the calling thread, so that tests walk every failure
 * path. Recyclers belong to one thread; under sanitizers they pass everything through to the heap.
 */
#include "base/mem.h"

#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

static __thread uint64_t fail_in;

static void *checked(void *p, size_t n)
{
    if (__builtin_expect(!p, 0))
        check_fail(__FILE__, __LINE__, "memory", "out of memory for %zu bytes", n);
    return p;
}

static bool is_made_to_fail(void)
{
    return __builtin_expect(fail_in != 0, 0) && --fail_in == 0;
}

void mem_fail_nth(uint64_t n)
{
    fail_in = n;
}

/* malloc(0) may be NULL, which would look like a failure. */
static size_t at_least_one(size_t n)
{
    return n ? n : 1;
}

void *mem_alloc(size_t n)
{
    return checked(malloc(at_least_one(n)), n);
}

void *mem_zalloc(size_t n)
{
    return checked(calloc(1, at_least_one(n)), n);
}

void *mem_realloc(void *p, size_t n)
{
    return checked(realloc(p, at_least_one(n)), n);
}

void *mem_try_alloc(size_t n)
{
    return is_made_to_fail() ? NULL : malloc(at_least_one(n));
}

void *mem_try_realloc(void *p, size_t n)
{
    return is_made_to_fail() ? NULL : realloc(p, at_least_one(n));
}

char *mem_strdup(const char *s)
{
    return mem_strndup(s, strlen(s));
}

char *mem_strndup(const char *s, size_t n)
{
    char *copy = mem_alloc(n + 1);
    memcpy(copy, s, n);
    copy[n] = '\0';
    return copy;
}

void mem_free(void *p)
{
    free(p);
}

void *mem_grow(void *items, size_t *cap, size_t need, size_t item_bytes)
{
    if (need <= *cap && items)
        return items;
    size_t grown = *cap ? *cap * 2 : 8, bytes;
    if (grown < need)
        grown = need;
    CHECK(!__builtin_mul_overflow(grown, item_bytes, &bytes));
    items = mem_realloc(items, bytes);
    *cap = grown;
    return items;
}

void *recycler_get(struct recycler *r)
{
    void *object = r->head;
    if (!object)
        return mem_alloc(r->object_bytes);
    memcpy(&r->head, object, sizeof(void *));
    r->idle--;
    return object;
}

void recycler_put(struct recycler *r, void *object)
{
    DCHECK(r->object_bytes >= sizeof(void *));
    if (MEM_SANITIZED || r->idle >= r->max_idle) {
        mem_free(object);
        return;
    }
    memcpy(object, &r->head, sizeof(void *));
    r->head = object;
    r->idle++;
}

void recycler_drain(struct recycler *r)
{
    while (r->head)
        mem_free(recycler_get(r));
}

/* Only what can't have been written to: a dropped page of it reads the same again. */
static int trim_object(struct dl_phdr_info *info, size_t size, void *arg)
{
    uintptr_t page = *(uintptr_t *)arg;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        if (h->p_type != PT_LOAD || h->p_flags & PF_W)
            continue;
        uintptr_t from = (info->dlpi_addr + h->p_vaddr + page - 1) & ~(page - 1);
        uintptr_t to = (info->dlpi_addr + h->p_vaddr + h->p_filesz) & ~(page - 1);
        if (from < to)
            madvise((void *)from, to - from, MADV_DONTNEED);
    }
    return 0;
}

void mem_trim_image(void)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    if (!MEM_SANITIZED)
        dl_iterate_phdr(trim_object, &page);
}
