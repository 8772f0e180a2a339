/* SPDX-License-Identifier: Apache-2.0
 *
 * Bump allocation over mmapped chunks of growing size. Invariant: every byte between `at` and `end`
 * is zero, so that allocations need no clearing. A free of the newest allocation (protobuf-c's scratch
 * while unpacking) is taken back; other frees wait for the arena's end. Any thread, one at a time.
 */
#include "proto/arena.h"

#include <stdint.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/mem.h"
#include "proto/proto_priv.h"

#define ARENA_ALIGN 16
#define CHUNK_FIRST_BYTES ((size_t)64 << 10)
#define CHUNK_MAX_BYTES ((size_t)4 << 20)
#define SMALL_CHUNK_BYTES ((size_t)1 << 10) /* behind the first */

struct chunk {
    struct chunk *next;
    size_t bytes;
};
_Static_assert(sizeof(struct chunk) % ARENA_ALIGN == 0, "chunks start aligned");

struct any_slot {
    const Google__Protobuf__Any *any;
    ProtobufCMessage *msg;
};

struct proto_arena {
    struct chunk *chunks;
    char *at, *end, *newest;
    size_t used_bytes, limit_bytes, next_chunk_bytes;
    bool is_full, is_small;
    ProtobufCAllocator allocator;
    struct any_slot *anys; /* open addressing, at most half full */
    size_t any_count, any_cap;
};

static void *arena_pb_alloc(void *arena, size_t n)
{
    return proto_arena_alloc(arena, n);
}

static void arena_pb_free(void *arena, void *p)
{
    struct proto_arena *a = arena;
    if (!p || p != a->newest)
        return;
    memset(p, 0, (size_t)(a->at - a->newest));
    a->used_bytes -= (size_t)(a->at - a->newest);
    a->at = a->newest;
    a->newest = NULL;
}

struct proto_arena *proto_arena_new(size_t limit_bytes)
{
    struct proto_arena *a = NEW(proto_arena);
    a->limit_bytes = limit_bytes ? limit_bytes : PROTO_ARENA_LIMIT_BYTES;
    a->next_chunk_bytes = CHUNK_FIRST_BYTES;
    a->allocator = (ProtobufCAllocator){arena_pb_alloc, arena_pb_free, a};
    return a;
}

struct proto_arena *proto_arena_new_small(size_t limit_bytes, size_t first_bytes)
{
    struct proto_arena *a = proto_arena_new(limit_bytes);
    a->is_small = true;
    a->next_chunk_bytes = first_bytes + sizeof(struct chunk);
    return a;
}

static void chunk_free(const struct proto_arena *a, struct chunk *c)
{
    if (MEM_SANITIZED || a->is_small)
        mem_free(c);
    else
        CHECK(munmap(c, c->bytes) == 0);
}

void proto_arena_free(struct proto_arena **arena)
{
    struct proto_arena *a = *arena;
    if (!a)
        return;
    for (struct chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        chunk_free(a, c);
    }
    mem_free(a->anys);
    mem_free(a);
    *arena = NULL;
}

/* A chunk of at least n usable bytes; NULL when the system has none. */
static struct chunk *chunk_new(struct proto_arena *a, size_t n)
{
    size_t bytes = n + sizeof(struct chunk);
    struct chunk *c;
    if (MEM_SANITIZED) {
        c = mem_zalloc(bytes);
    } else if (a->is_small) {
        bytes = bytes < a->next_chunk_bytes ? a->next_chunk_bytes : bytes;
        c = mem_zalloc(bytes);
        a->next_chunk_bytes = SMALL_CHUNK_BYTES;
    } else {
        if (bytes < a->next_chunk_bytes)
            bytes = a->next_chunk_bytes;
        bytes = (bytes + 4095) & ~(size_t)4095;
        c = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (c == MAP_FAILED)
            return NULL;
        if (a->next_chunk_bytes < CHUNK_MAX_BYTES)
            a->next_chunk_bytes *= 2;
    }
    c->bytes = bytes;
    c->next = a->chunks;
    a->chunks = c;
    return c;
}

void *proto_arena_alloc(struct proto_arena *a, size_t n)
{
    if (a->is_full || n > a->limit_bytes) {
        a->is_full = true;
        return NULL;
    }
    n = n ? (n + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1) : ARENA_ALIGN;
    if (n > a->limit_bytes - a->used_bytes) {
        a->is_full = true;
        return NULL;
    }
    if ((size_t)(a->end - a->at) < n) {
        struct chunk *c = chunk_new(a, n);
        if (!c) {
            a->is_full = true;
            return NULL;
        }
        a->at = (char *)(c + 1);
        a->end = (char *)c + c->bytes;
    }
    a->newest = a->at;
    a->at += n;
    a->used_bytes += n;
    return a->newest;
}

char *proto_arena_strdup(struct proto_arena *a, struct str s)
{
    char *p = s.n < SIZE_MAX ? proto_arena_alloc(a, s.n + 1) : NULL;
    if (p && s.n)
        memcpy(p, s.p, s.n);
    return p;
}

bool proto_arena_is_full(const struct proto_arena *a)
{
    return a->is_full;
}

size_t proto_arena_used_bytes(const struct proto_arena *a)
{
    return a->used_bytes;
}

ProtobufCAllocator *proto_arena_allocator(struct proto_arena *a)
{
    return &a->allocator;
}

static struct any_slot *any_slot_of(struct any_slot *slots, size_t cap, const void *any)
{
    size_t i = (size_t)(((uintptr_t)any >> 4) * 0x9e3779b97f4a7c15u) & (cap - 1);
    while (slots[i].any && slots[i].any != any)
        i = (i + 1) & (cap - 1);
    return &slots[i];
}

ProtobufCMessage *proto_arena_any(const struct proto_arena *a, const Google__Protobuf__Any *any)
{
    return a->any_cap ? any_slot_of(a->anys, a->any_cap, any)->msg : NULL;
}

static void anys_grow(struct proto_arena *a)
{
    size_t cap = a->any_cap ? a->any_cap * 2 : 64;
    struct any_slot *slots = mem_zalloc(cap * sizeof(*slots));
    for (size_t i = 0; i < a->any_cap; i++)
        if (a->anys[i].any)
            *any_slot_of(slots, cap, a->anys[i].any) = a->anys[i];
    mem_free(a->anys);
    a->anys = slots;
    a->any_cap = cap;
}

void proto_arena_any_set(struct proto_arena *a, const Google__Protobuf__Any *any,
                         ProtobufCMessage *msg)
{
    if (a->any_count * 2 >= a->any_cap)
        anys_grow(a);
    struct any_slot *slot = any_slot_of(a->anys, a->any_cap, any);
    a->any_count += slot->any == NULL;
    *slot = (struct any_slot){any, msg};
}
