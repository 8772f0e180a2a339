/* SPDX-License-Identifier: Apache-2.0
 *
 * Byte queues between sockets and codecs: a list of slices into shared, reference-counted blocks,
 * so that a body travels from one socket to another without a copy, and is kept for a replay
 * without one. An empty buf holds no memory. Blocks and slices are recycled per thread and never
 * cross threads. Under sanitizers they are plain malloc.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/str.h"

#define BUF_BLOCK_BYTES 16384 /* payload of one block: one TLS record, a usual message */

struct buf_slice;
struct buf {
    struct buf_slice *first, *last;
    size_t len; /* bytes held; limits and watermarks compare against it */
};
#define BUF_INIT ((struct buf){NULL, NULL, 0})

void buf_fini(struct buf *b); /* = drain all */

/* Appends a copy; small pieces fill the tail block's free space when this buf is its only user. */
void buf_append(struct buf *b, const void *p, size_t n);
static inline void buf_append_str(struct buf *b, struct str s)
{
    buf_append(b, s.p, s.n);
}
void buf_append_fmt(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_prepend(struct buf *b, const void *p, size_t n);
/* Appends bytes that outlive every user of the buf (static text). No copy. */
void buf_append_static(struct buf *b, const void *p, size_t n);

/* Direct filling: at least `want` (<= BUF_BLOCK_BYTES) contiguous writable bytes; commit n of them.
 */
uint8_t *buf_reserve(struct buf *b, size_t want, size_t *avail);
void buf_commit(struct buf *b, size_t n);
/* For readv: up to `max_iov` writable areas of together >= `bytes` where possible; buf_commit_iov
 * then takes n bytes of them in order and gives unused blocks back. Nothing else may touch b
 * between the two calls. */
struct buf_room {
    struct buf_slice *slices[4];
    int count;
};
int buf_reserve_iov(struct buf *b, size_t bytes, struct iovec *iov, int max_iov,
                    struct buf_room *room);
void buf_commit_iov(struct buf *b, struct buf_room *room, size_t n);

/* Zero-copy: moves all / the first n bytes from src's front to dst's back. */
void buf_move(struct buf *dst, struct buf *src);
void buf_move_n(struct buf *dst, struct buf *src, size_t n);
/* dst gains references to src's first n bytes; src is unchanged. The bytes are then read-only for
 * both. */
void buf_share(struct buf *dst, const struct buf *src, size_t n);

void buf_drain(struct buf *b, size_t n);
/* The first contiguous piece (n = 0 when empty). Valid until b changes. */
struct str buf_front(const struct buf *b);
/* Makes the first n (<= len) bytes contiguous and returns them; copies only when they are not. */
const uint8_t *buf_pullup(struct buf *b, size_t n);
/* Copies out up to n bytes from `offset`; returns the count. */
size_t buf_copy_out(const struct buf *b, size_t offset, void *out, size_t n);
/* Fills iovecs from the front; returns how many. */
int buf_iov(const struct buf *b, struct iovec *iov, int max);
/* Position of needle, or -1. */
ptrdiff_t buf_find(const struct buf *b, struct str needle);

/* Walks slices: for (struct buf_iter it = {0}; buf_next(b, &it, &piece);) */
struct buf_iter {
    const struct buf_slice *at;
    bool started;
};
bool buf_next(const struct buf *b, struct buf_iter *it, struct str *piece);

/* Bytes of blocks held by this thread, in use and idle; for /memory and tests. */
struct buf_usage {
    size_t blocks_used, blocks_idle;
};
struct buf_usage buf_thread_usage(void);
/* Gives idle blocks of this thread back to the system. */
void buf_trim(void);

#endif
