/* SPDX-License-Identifier: Apache-2.0
 *
 * Varints, fixed numbers and lengths. A message's length isn't known when it is opened: one byte is kept for it, and
 * wire_close moves the content when it takes more, which short messages don't.
 */
#include "proto/wire.h"

#include <string.h>

void wire_varint(struct strbuf *out, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        strbuf_addc(out, (char)(v | 0x80));
    strbuf_addc(out, (char)v);
}

void wire_bytes(struct strbuf *out, unsigned field, const void *p, size_t n)
{
    wire_varint(out, field << 3 | 2);
    wire_varint(out, n);
    strbuf_add(out, p, n);
}

void wire_uint(struct strbuf *out, unsigned field, uint64_t v)
{
    wire_varint(out, field << 3);
    wire_varint(out, v);
}

void wire_fixed64(struct strbuf *out, unsigned field, uint64_t v)
{
    wire_varint(out, field << 3 | 1);
    for (int i = 0; i < 8; i++)
        strbuf_addc(out, (char)(v >> 8 * i));
}

void wire_double(struct strbuf *out, unsigned field, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    wire_fixed64(out, field, bits);
}

size_t wire_open(struct strbuf *out, unsigned field)
{
    wire_varint(out, field << 3 | 2);
    strbuf_addc(out, 0);
    return out->n;
}

void wire_close(struct strbuf *out, size_t opened)
{
    size_t n = out->n - opened, more = 0;
    for (size_t rest = n >> 7; rest; rest >>= 7)
        more++;
    for (size_t i = 0; i < more; i++)
        strbuf_addc(out, 0);
    memmove(out->p + opened + more, out->p + opened, n);
    char *at = out->p + opened - 1;
    for (; n >= 0x80; n >>= 7)
        *at++ = (char)(n | 0x80);
    *at = (char)n;
}
