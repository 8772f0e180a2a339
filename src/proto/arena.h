/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory of one configuration: messages, documents and what is decoded from them. Chunks come from
 * mmap and go back to the system whole, so that a big configuration leaves neither a fragmented heap
 * nor pages that malloc keeps. Bounded; one thread. Under sanitizers each allocation is a malloc.
 *
 * Nothing allocated here is ever freed alone: never call protobuf_c_message_free_unpacked on it.
 */
#ifndef PROTO_ARENA_H
#define PROTO_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

#include "base/str.h"

/* What a bootstrap or one push may take, decoded. Stops a small text (aliases, empty repeated
 * messages) from growing into all of the memory. */
#define PROTO_ARENA_LIMIT_BYTES ((size_t)1 << 30)

struct proto_arena;

/* limit_bytes 0 = PROTO_ARENA_LIMIT_BYTES. */
struct proto_arena *proto_arena_new(size_t limit_bytes);
/* For one small thing of many that live long: chunks come from the heap, the first of `first_bytes`. */
struct proto_arena *proto_arena_new_small(size_t limit_bytes, size_t first_bytes);
void proto_arena_free(struct proto_arena **arena);

/* 16-byte aligned and zeroed; NULL past the limit, which then sticks (proto_arena_is_full). */
void *proto_arena_alloc(struct proto_arena *arena, size_t n);
/* NUL-terminated copy (the NUL isn't counted); NULL on overflow. */
char *proto_arena_strdup(struct proto_arena *arena, struct str s);
bool proto_arena_is_full(const struct proto_arena *arena);
size_t proto_arena_used_bytes(const struct proto_arena *arena);

/* For protobuf-c calls; valid as long as the arena. */
ProtobufCAllocator *proto_arena_allocator(struct proto_arena *arena);

#define PROTO_ARENA_NEW(arena, type) ((type *)proto_arena_alloc(arena, sizeof(type)))

#endif
