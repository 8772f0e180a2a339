/* SPDX-License-Identifier: Apache-2.0
 *
 * A reader of one message, google.protobuf.Value, in Protobuf's wire format (varints, 64-bit words
 * and length-delimited fields; groups don't occur). The bytes are a peer's: every length meets the
 * end of its field first, depth is bounded, and nothing is taken that isn't understood.
 */
#include "proxy/filter/value_wire.h"

#define DEPTH_MAX 16

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2 };
struct field {
    uint32_t number;
    enum wire wire;
    uint64_t word;     /* VARINT, 64 */
    struct str bytes;  /* BYTES */
};

static bool take_varint(struct str *s, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && s->n; shift += 7) {
        uint8_t b = (uint8_t)s->p[0];
        *s = str_make(s->p + 1, s->n - 1);
        *out |= (uint64_t)(b & 127) << shift;
        if (!(b & 128))
            return true;
    }
    return false;
}

static bool take_bytes(struct str *s, uint64_t n, struct str *out)
{
    if (n > s->n)
        return false;
    *out = str_make(s->p, n);
    *s = str_make(s->p + n, s->n - n);
    return true;
}

static bool take_field(struct str *s, struct field *f)
{
    uint64_t tag, n;
    struct str raw;
    if (!take_varint(s, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
        return false;
    f->number = (uint32_t)(tag >> 3);
    f->wire = tag & 7;
    switch (tag & 7) {
    case WIRE_VARINT:
        return take_varint(s, &f->word);
    case WIRE_64:
        if (!take_bytes(s, 8, &raw))
            return false;
        f->word = 0;
        for (int i = 0; i < 8; i++)
            f->word |= (uint64_t)(uint8_t)raw.p[i] << (8 * i);
        return true;
    case WIRE_BYTES:
        return take_varint(s, &n) && take_bytes(s, n, &f->bytes);
    default:
        return false;
    }
}

static bool read_value(struct str s, struct arena *a, uint32_t depth, struct meta_value *out);

static uint32_t count_fields(struct str s)
{
    struct field f;
    uint32_t n = 0;
    while (s.n && take_field(&s, &f))
        n++;
    return n;
}

static bool read_list(struct str s, struct arena *a, uint32_t depth, struct meta_value *out)
{
    uint32_t n = count_fields(s);
    struct field f;
    *out = (struct meta_value){.kind = META_LIST, .u.list.items = n ? arena_zalloc(a, n * sizeof(struct meta_value)) : NULL};
    while (s.n) {
        if (!out->u.list.items || !take_field(&s, &f) || f.number != 1 || f.wire != WIRE_BYTES)
            return false;
        if (!read_value(f.bytes, a, depth + 1, &out->u.list.items[out->u.list.count++]))
            return false;
    }
    return true;
}

static bool read_entry(struct str s, struct arena *a, uint32_t depth, struct meta_field *out)
{
    struct field f;
    *out = (struct meta_field){.name = STR("")};
    while (s.n) {
        if (!take_field(&s, &f) || f.wire != WIRE_BYTES)
            return false;
        if (f.number == 1)
            out->name = f.bytes;
        else if (f.number != 2 || !read_value(f.bytes, a, depth + 1, &out->value))
            return false;
    }
    return true;
}

static bool read_struct(struct str s, struct arena *a, uint32_t depth, struct meta_value *out)
{
    uint32_t n = count_fields(s);
    struct field f;
    *out = (struct meta_value){.kind = META_STRUCT, .u.fields.items = n ? arena_zalloc(a, n * sizeof(struct meta_field)) : NULL};
    while (s.n) {
        if (!out->u.fields.items || !take_field(&s, &f) || f.number != 1 || f.wire != WIRE_BYTES)
            return false;
        if (!read_entry(f.bytes, a, depth, &out->u.fields.items[out->u.fields.count++]))
            return false;
    }
    return true;
}

static bool read_kind(const struct field *f, struct arena *a, uint32_t depth, struct meta_value *out)
{
    static const uint8_t wires[] = {0, WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_VARINT, WIRE_BYTES, WIRE_BYTES};
    if (f->number >= sizeof(wires) || f->wire != wires[f->number])
        return false;
    *out = (struct meta_value){0};
    switch (f->number) {
    case 1: /* null_value */
        return true;
    case 2:
        out->kind = META_NUMBER;
        memcpy(&out->u.number, &f->word, sizeof(out->u.number));
        return true;
    case 3:
        out->kind = META_STRING;
        out->u.string = f->bytes;
        return true;
    case 4:
        out->kind = META_BOOL;
        out->u.boolean = f->word != 0;
        return true;
    case 5:
        return read_struct(f->bytes, a, depth, out);
    default:
        return read_list(f->bytes, a, depth, out);
    }
}

static bool read_value(struct str s, struct arena *a, uint32_t depth, struct meta_value *out)
{
    struct field f;
    if (depth > DEPTH_MAX)
        return false;
    *out = (struct meta_value){0};
    while (s.n)
        if (!take_field(&s, &f) || !read_kind(&f, a, depth, out)) /* the last one counts, as in any oneof */
            return false;
    return true;
}

bool value_from_wire(struct str bytes, struct arena *a, struct meta_value *out)
{
    return read_value(bytes, a, 0, out);
}
