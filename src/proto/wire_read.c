/* SPDX-License-Identifier: Apache-2.0
 *
 * Fields of a packed message one after the other, nothing copied. Refuses what proto_unpack refuses. Any thread.
 */
#include "proto/proto_priv.h"
#include "proto/wire.h"

#define VARINT_BYTES_MAX 10
#define FIELD_NUMBER_MAX ((1u << 29) - 1)

struct wire_reader wire_read(struct str packed)
{
    const uint8_t *p = (const uint8_t *)packed.p;
    return (struct wire_reader){p, packed.n ? p + packed.n : p, false}; /* p may be NULL, to which nothing may be added */
}

static uint64_t read_varint(struct wire_reader *r)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX && r->at < r->end; i++) {
        uint8_t byte = *r->at++;
        v |= (uint64_t)(byte & 0x7f) << 7 * i;
        if (!(byte & 0x80))
            return v;
    }
    r->failed = true;
    return 0;
}

static uint64_t read_fixed(struct wire_reader *r, unsigned n)
{
    uint64_t v = 0;
    if ((size_t)(r->end - r->at) < n) {
        r->failed = true;
        return 0;
    }
    for (unsigned i = 0; i < n; i++)
        v |= (uint64_t)*r->at++ << 8 * i;
    return v;
}

static struct str read_bytes(struct wire_reader *r)
{
    uint64_t n = read_varint(r);
    if (r->failed || n > (uint64_t)(r->end - r->at)) {
        r->failed = true;
        return STR_NULL;
    }
    struct str bytes = str_make((const char *)r->at, n);
    r->at += n;
    return bytes;
}

bool wire_next(struct wire_reader *r, struct wire_field *out)
{
    if (r->failed || r->at == r->end)
        return false;
    uint64_t tag = read_varint(r);
    *out = (struct wire_field){.number = (unsigned)(tag >> 3), .type = tag & 7};
    if (tag >> 3 == 0 || tag >> 3 > FIELD_NUMBER_MAX)
        r->failed = true;
    else if (out->type == 0)
        out->value = read_varint(r);
    else if (out->type == 1)
        out->value = read_fixed(r, 8);
    else if (out->type == 2)
        out->bytes = read_bytes(r);
    else if (out->type == 5)
        out->value = read_fixed(r, 4);
    else
        r->failed = true;
    return !r->failed;
}

bool wire_text_is_valid(struct str text)
{
    return proto_utf8_is_valid(text) && (text.n == 0 || !memchr(text.p, 0, text.n));
}
