/* SPDX-License-Identifier: Apache-2.0
 *
 * Sticky-error cursors for binary formats: after the first overrun reads give zeros and writes do
 * nothing; check `failed` once at the end. All integers are network order.
 */
#ifndef BASE_CURSOR_H
#define BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct cursor {
    const uint8_t *p, *end;
    bool failed;
};
static inline struct cursor cursor_make(const void *p, size_t n)
{
    return (struct cursor){(const uint8_t *)p, (const uint8_t *)p + n, false};
}
static inline size_t cursor_left(const struct cursor *c)
{
    return c->failed ? 0 : (size_t)(c->end - c->p);
}
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_u16(struct cursor *c);
uint32_t cursor_u24(struct cursor *c);
uint32_t cursor_u32(struct cursor *c);
uint64_t cursor_u64(struct cursor *c);
struct str cursor_bytes(struct cursor *c, size_t n);
struct cursor cursor_sub(struct cursor *c, size_t n); /* a cursor over the next n bytes */
void cursor_skip(struct cursor *c, size_t n);

struct wcursor {
    uint8_t *p, *end;
    bool failed;
};
void wcursor_u8(struct wcursor *c, uint8_t v);
void wcursor_u16(struct wcursor *c, uint16_t v);
void wcursor_u32(struct wcursor *c, uint32_t v);
void wcursor_u64(struct wcursor *c, uint64_t v);
void wcursor_bytes(struct wcursor *c, const void *p, size_t n);

#endif
