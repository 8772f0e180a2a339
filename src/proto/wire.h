/* SPDX-License-Identifier: Apache-2.0
 *
 * Packed messages written and read by hand, where generated types would cost more than the few fields that are sent, or
 * where a message's parts shall not be copied (https://protobuf.dev/programming-guides/encoding). Field numbers are below 2^28. Any thread.
 */
#ifndef PROTO_WIRE_H
#define PROTO_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

void wire_varint(struct strbuf *out, uint64_t v); /* bare */
void wire_bytes(struct strbuf *out, unsigned field, const void *p, size_t n); /* also strings and packed messages */
void wire_uint(struct strbuf *out, unsigned field, uint64_t v); /* uint64, int64, enum, bool */
void wire_fixed64(struct strbuf *out, unsigned field, uint64_t v); /* fixed64, sfixed64 */
void wire_double(struct strbuf *out, unsigned field, double v);
/* A message in place: what is added between the two is its content. */
size_t wire_open(struct strbuf *out, unsigned field);
void wire_close(struct strbuf *out, size_t opened);

/* ---- reading ---- */

/* Walks over the fields of one message; what wire_next gives points into its bytes. */
struct wire_reader {
    const uint8_t *at, *end;
    bool failed; /* broken: cut short, a length past the end, field 0, groups (which proto3 doesn't have) */
};
struct wire_field {
    unsigned number;
    unsigned type;    /* 0 varint, 1 fixed64, 2 bytes, 5 fixed32 */
    uint64_t value;   /* of numbers, as their bits */
    struct str bytes; /* strings, bytes, messages; the null str for numbers */
};
struct wire_reader wire_read(struct str packed);
bool wire_next(struct wire_reader *r, struct wire_field *out); /* false: at the end, or failed */
/* What a string may hold: UTF-8 without NUL. */
bool wire_text_is_valid(struct str text);

#endif
