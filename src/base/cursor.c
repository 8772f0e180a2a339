/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading and writing network-order integers with one sticky failure mark. Pure, any thread; never
 * touches a byte past `end`.
 */
#include "base/cursor.h"

static const uint8_t *take(struct cursor *c, size_t n)
{
    if (c->failed || (size_t)(c->end - c->p) < n) {
        c->failed = true;
        return NULL;
    }
    const uint8_t *at = c->p;
    c->p += n;
    return at;
}

static uint64_t take_uint(struct cursor *c, size_t n)
{
    const uint8_t *at = take(c, n);
    uint64_t v = 0;
    for (size_t i = 0; at && i < n; i++)
        v = v << 8 | at[i];
    return v;
}

uint8_t cursor_u8(struct cursor *c)
{
    return (uint8_t)take_uint(c, 1);
}

uint16_t cursor_u16(struct cursor *c)
{
    return (uint16_t)take_uint(c, 2);
}

uint32_t cursor_u24(struct cursor *c)
{
    return (uint32_t)take_uint(c, 3);
}

uint32_t cursor_u32(struct cursor *c)
{
    return (uint32_t)take_uint(c, 4);
}

uint64_t cursor_u64(struct cursor *c)
{
    return take_uint(c, 8);
}

struct str cursor_bytes(struct cursor *c, size_t n)
{
    const uint8_t *at = take(c, n);
    return at ? str_make((const char *)at, n) : STR_NULL;
}

struct cursor cursor_sub(struct cursor *c, size_t n)
{
    const uint8_t *at = take(c, n);
    return at ? cursor_make(at, n) : (struct cursor){NULL, NULL, true};
}

void cursor_skip(struct cursor *c, size_t n)
{
    take(c, n);
}

static uint8_t *put(struct wcursor *c, size_t n)
{
    if (c->failed || (size_t)(c->end - c->p) < n) {
        c->failed = true;
        return NULL;
    }
    uint8_t *at = c->p;
    c->p += n;
    return at;
}

static void put_uint(struct wcursor *c, uint64_t v, size_t n)
{
    uint8_t *at = put(c, n);
    for (size_t i = n; at && i > 0; i--, v >>= 8)
        at[i - 1] = (uint8_t)v;
}

void wcursor_u8(struct wcursor *c, uint8_t v)
{
    put_uint(c, v, 1);
}

void wcursor_u16(struct wcursor *c, uint16_t v)
{
    put_uint(c, v, 2);
}

void wcursor_u32(struct wcursor *c, uint32_t v)
{
    put_uint(c, v, 4);
}

void wcursor_u64(struct wcursor *c, uint64_t v)
{
    put_uint(c, v, 8);
}

void wcursor_bytes(struct wcursor *c, const void *p, size_t n)
{
    uint8_t *at = n ? put(c, n) : NULL;
    if (at)
        memcpy(at, p, n);
}
