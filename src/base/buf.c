/* SPDX-License-Identifier: Apache-2.0
 *
 * A buf is a list of slices; a slice is a window into a block (or into static text, block NULL); a
 * block counts the slices that look into it. Counts are plain integers: bufs never cross threads.
 * Only a block with one slice may be written to, behind or before that slice. Only the last slice
 * may be empty, and only between buf_reserve and buf_commit.
 * Pieces of up to BUF_COPY_BYTES are copied into the tail's free space even where they could be
 * moved: it saves an iovec, and it keeps a peer that sends a byte at a time from pinning a whole
 * block with each of them (limits count bytes, not blocks).
 */
#include "base/buf.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdio.h>

#define BUF_COPY_BYTES 2048
#define BLOCKS_IDLE_MAX 128
#define SLICES_IDLE_MAX 1024

struct buf_block {
    uint32_t refs;
    uint32_t cap;
    uint8_t data[] __attribute__((aligned(16)));
};

struct buf_slice {
    struct buf_slice *next;
    struct buf_block *block; /* NULL: static bytes */
    uint8_t *p;
    size_t n;
};

static __thread struct recycler idle_blocks = {
    .max_idle = BLOCKS_IDLE_MAX, .object_bytes = sizeof(struct buf_block) + BUF_BLOCK_BYTES};
static __thread struct recycler idle_slices = {.max_idle = SLICES_IDLE_MAX,
                                               .object_bytes = sizeof(struct buf_slice)};
static __thread size_t blocks_used;

static struct buf_block *block_new(void)
{
    struct buf_block *k = recycler_get(&idle_blocks);
    k->refs = 1;
    k->cap = BUF_BLOCK_BYTES;
    blocks_used++;
    return k;
}

/* For buf_pullup past one block; goes back to the heap, not to the recycler. Half as large again,
 * so that pulling up a growing buf step by step copies each byte only a few times. */
static struct buf_block *block_new_large(size_t n)
{
    size_t cap = n + n / 2;
    CHECK(n > BUF_BLOCK_BYTES && cap < UINT32_MAX);
    struct buf_block *k = mem_alloc(sizeof(*k) + cap);
    k->refs = 1;
    k->cap = (uint32_t)cap;
    blocks_used++;
    return k;
}

static void block_unref(struct buf_block *k)
{
    if (!k || --k->refs)
        return;
    blocks_used--;
    if (k->cap == BUF_BLOCK_BYTES)
        recycler_put(&idle_blocks, k);
    else
        mem_free(k);
}

static struct buf_slice *slice_new(struct buf_block *take_block, uint8_t *p, size_t n)
{
    struct buf_slice *s = recycler_get(&idle_slices);
    *s = (struct buf_slice){NULL, take_block, p, n};
    return s;
}

static struct buf_slice *slice_new_empty(void)
{
    struct buf_block *k = block_new();
    return slice_new(k, k->data, 0);
}

static void slice_free(struct buf_slice *s)
{
    block_unref(s->block);
    recycler_put(&idle_slices, s);
}

/* Bytes that may be written right behind the slice. */
static size_t room_behind(const struct buf_slice *s)
{
    if (!s || !s->block || s->block->refs != 1)
        return 0;
    return (size_t)(s->block->data + s->block->cap - (s->p + s->n));
}

static void drop_empty_tail(struct buf *b)
{
    struct buf_slice *s = b->last;
    if (!s || s->n)
        return;
    if (b->first == s) {
        b->first = b->last = NULL;
    } else {
        struct buf_slice *before = b->first;
        while (before->next != s)
            before = before->next;
        before->next = NULL;
        b->last = before;
    }
    slice_free(s);
}

static void link_back(struct buf *b, struct buf_slice *s)
{
    drop_empty_tail(b);
    if (b->last)
        b->last->next = s;
    else
        b->first = s;
    b->last = s;
    b->len += s->n;
}

static void link_front(struct buf *b, struct buf_slice *s)
{
    s->next = b->first;
    b->first = s;
    if (!b->last)
        b->last = s;
    b->len += s->n;
}

/* Takes the first slice, which isn't empty, off the list. */
static struct buf_slice *unlink_front(struct buf *b)
{
    struct buf_slice *s = b->first;
    b->first = s->next;
    if (!b->first)
        b->last = NULL;
    b->len -= s->n;
    s->next = NULL;
    return s;
}

static void tail_add(struct buf *b, const void *p, size_t n)
{
    memcpy(b->last->p + b->last->n, p, n);
    b->last->n += n;
    b->len += n;
}

static bool is_copy_better(const struct buf *b, size_t n)
{
    return n <= BUF_COPY_BYTES && n <= room_behind(b->last);
}

/* Another window into the bytes of `s`. */
static void append_window(struct buf *b, const struct buf_slice *s, size_t n)
{
    if (is_copy_better(b, n)) {
        tail_add(b, s->p, n);
        return;
    }
    if (s->block)
        s->block->refs++;
    link_back(b, slice_new(s->block, s->p, n));
}

void buf_fini(struct buf *b)
{
    struct buf_slice *s = b->first;
    while (s) {
        struct buf_slice *next = s->next;
        slice_free(s);
        s = next;
    }
    *b = BUF_INIT;
}

void buf_append(struct buf *b, const void *p, size_t n)
{
    const uint8_t *from = p;
    while (n) {
        size_t room = room_behind(b->last);
        if (!room) {
            link_back(b, slice_new_empty());
            room = BUF_BLOCK_BYTES;
        }
        size_t part = n < room ? n : room;
        tail_add(b, from, part);
        from += part;
        n -= part;
    }
}

void buf_append_fmt(struct buf *b, const char *fmt, ...)
{
    char small[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof(small), fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    if ((size_t)n < sizeof(small)) {
        buf_append(b, small, (size_t)n);
        return;
    }
    struct strbuf text = {0};
    va_start(ap, fmt);
    strbuf_vaddf(&text, fmt, ap);
    va_end(ap);
    buf_append(b, text.p, text.n);
    strbuf_fini(&text);
}

/* New blocks are filled from their end, so that later prepends find room before. */
void buf_prepend(struct buf *b, const void *p, size_t n)
{
    const uint8_t *from = p;
    while (n) {
        struct buf_slice *s = b->first;
        size_t room =
            s && s->n && s->block && s->block->refs == 1 ? (size_t)(s->p - s->block->data) : 0;
        if (!room) {
            struct buf_block *k = block_new();
            s = slice_new(k, k->data + BUF_BLOCK_BYTES, 0);
            drop_empty_tail(b);
            link_front(b, s);
            room = BUF_BLOCK_BYTES;
        }
        size_t part = n < room ? n : room;
        s->p -= part;
        s->n += part;
        b->len += part;
        memcpy(s->p, from + n - part, part);
        n -= part;
    }
}

void buf_append_static(struct buf *b, const void *p, size_t n)
{
    struct buf_slice s = {NULL, NULL, (uint8_t *)p, n};
    if (n)
        append_window(b, &s, n);
}

uint8_t *buf_reserve(struct buf *b, size_t want, size_t *avail)
{
    DCHECK(want <= BUF_BLOCK_BYTES);
    size_t room = room_behind(b->last);
    if (room < want || !room) {
        link_back(b, slice_new_empty());
        room = BUF_BLOCK_BYTES;
    }
    *avail = room;
    return b->last->p + b->last->n;
}

void buf_commit(struct buf *b, size_t n)
{
    DCHECK(n <= room_behind(b->last));
    if (!b->last)
        return;
    b->last->n += n;
    b->len += n;
    drop_empty_tail(b);
}

int buf_reserve_iov(struct buf *b, size_t bytes, struct iovec *iov, int max_iov,
                    struct buf_room *room)
{
    size_t have = 0;
    int max = max_iov < (int)ARRAY_LEN(room->slices) ? max_iov : (int)ARRAY_LEN(room->slices);
    room->count = 0;
    drop_empty_tail(b);
    while (room->count < max && have < bytes) {
        struct buf_slice *s = b->last;
        size_t free_bytes = room->count == 0 ? room_behind(s) : 0;
        if (!free_bytes) {
            s = slice_new_empty();
            free_bytes = BUF_BLOCK_BYTES;
        }
        iov[room->count] = (struct iovec){s->p + s->n, free_bytes};
        room->slices[room->count++] = s;
        have += free_bytes;
    }
    return room->count;
}

void buf_commit_iov(struct buf *b, struct buf_room *room, size_t n)
{
    for (int i = 0; i < room->count; i++) {
        struct buf_slice *s = room->slices[i];
        size_t free_bytes = room_behind(s), part = n < free_bytes ? n : free_bytes;
        bool is_linked = i == 0 && s == b->last;
        n -= part;
        if (!part && !is_linked) {
            slice_free(s);
            continue;
        }
        s->n += part;
        if (is_linked)
            b->len += part;
        else
            link_back(b, s);
    }
    DCHECK(n == 0);
    room->count = 0;
}

void buf_move(struct buf *dst, struct buf *src)
{
    drop_empty_tail(src);
    if (!src->first)
        return;
    if (src->len <= BUF_COPY_BYTES && src->len <= room_behind(dst->last)) {
        for (const struct buf_slice *s = src->first; s; s = s->next)
            tail_add(dst, s->p, s->n);
        buf_fini(src);
        return;
    }
    drop_empty_tail(dst);
    if (dst->last)
        dst->last->next = src->first;
    else
        dst->first = src->first;
    dst->last = src->last;
    dst->len += src->len;
    *src = BUF_INIT;
}

void buf_move_n(struct buf *dst, struct buf *src, size_t n)
{
    DCHECK(n <= src->len);
    if (n >= src->len) {
        buf_move(dst, src);
        return;
    }
    while (n) {
        struct buf_slice *s = src->first;
        if (s->n > n) {
            append_window(dst, s, n);
            buf_drain(src, n);
            return;
        }
        n -= s->n;
        unlink_front(src);
        if (is_copy_better(dst, s->n)) {
            tail_add(dst, s->p, s->n);
            slice_free(s);
        } else {
            link_back(dst, s);
        }
    }
}

void buf_share(struct buf *dst, const struct buf *src, size_t n)
{
    DCHECK(n <= src->len && dst != src);
    for (const struct buf_slice *s = src->first; s && n; s = s->next) {
        size_t part = s->n < n ? s->n : n;
        append_window(dst, s, part);
        n -= part;
    }
}

void buf_drain(struct buf *b, size_t n)
{
    DCHECK(n <= b->len);
    if (n >= b->len) {
        buf_fini(b);
        return;
    }
    while (n >= b->first->n) {
        n -= b->first->n;
        slice_free(unlink_front(b));
    }
    b->first->p += n;
    b->first->n -= n;
    b->len -= n;
}

struct str buf_front(const struct buf *b)
{
    return b->len ? str_make((const char *)b->first->p, b->first->n) : STR("");
}

/* Moves bytes from the slices behind the first one into its block, until it holds n. */
static void gather_in_place(struct buf *b, size_t n)
{
    struct buf_slice *head = b->first;
    while (head->n < n) {
        struct buf_slice *s = head->next;
        size_t want = n - head->n, part = s->n < want ? s->n : want;
        memcpy(head->p + head->n, s->p, part);
        head->n += part;
        s->p += part;
        s->n -= part;
        if (s->n)
            return;
        head->next = s->next;
        if (b->last == s)
            b->last = head;
        slice_free(s);
    }
}

const uint8_t *buf_pullup(struct buf *b, size_t n)
{
    DCHECK(n <= b->len);
    if (!b->len || n > b->len)
        return NULL;
    if (b->first->n >= n)
        return b->first->p;
    if (room_behind(b->first) < n - b->first->n) {
        struct buf_block *k = n <= BUF_BLOCK_BYTES ? block_new() : block_new_large(n);
        size_t kept = b->first->n;
        struct buf_slice *old = b->first;
        memcpy(k->data, old->p, kept);
        block_unref(old->block);
        old->block = k;
        old->p = k->data;
    }
    gather_in_place(b, n);
    return b->first->p;
}

size_t buf_copy_out(const struct buf *b, size_t offset, void *out, size_t n)
{
    size_t done = 0;
    for (const struct buf_slice *s = b->first; s && done < n; s = s->next) {
        if (offset >= s->n) {
            offset -= s->n;
            continue;
        }
        size_t left = s->n - offset, part = left < n - done ? left : n - done;
        memcpy((uint8_t *)out + done, s->p + offset, part);
        done += part;
        offset = 0;
    }
    return done;
}

int buf_iov(const struct buf *b, struct iovec *iov, int max)
{
    int count = 0;
    for (const struct buf_slice *s = b->first; s && s->n && count < max; s = s->next)
        iov[count++] = (struct iovec){s->p, s->n};
    return count;
}

static bool matches_at(const struct buf_slice *s, const uint8_t *at, struct str needle)
{
    const uint8_t *want = (const uint8_t *)needle.p;
    size_t left = needle.n;
    while (left && s) {
        size_t here = (size_t)(s->p + s->n - at), part = here < left ? here : left;
        if (memcmp(at, want, part))
            return false;
        want += part;
        left -= part;
        s = s->next;
        at = s ? s->p : NULL;
    }
    return left == 0;
}

ptrdiff_t buf_find(const struct buf *b, struct str needle)
{
    size_t before = 0;
    if (!needle.n)
        return 0;
    for (const struct buf_slice *s = b->first; s && before + needle.n <= b->len; s = s->next) {
        const uint8_t *at = s->p, *end = s->p + s->n;
        while (at < end && (at = memchr(at, needle.p[0], (size_t)(end - at)))) {
            if (matches_at(s, at, needle))
                return (ptrdiff_t)(before + (size_t)(at - s->p));
            at++;
        }
        before += s->n;
    }
    return -1;
}

bool buf_next(const struct buf *b, struct buf_iter *it, struct str *piece)
{
    it->at = it->started ? it->at->next : b->first;
    it->started = true;
    if (!it->at || !it->at->n)
        return false;
    *piece = str_make((const char *)it->at->p, it->at->n);
    return true;
}

struct buf_usage buf_thread_usage(void)
{
    return (struct buf_usage){blocks_used, idle_blocks.idle};
}

void buf_trim(void)
{
    recycler_drain(&idle_blocks);
    recycler_drain(&idle_slices);
}
