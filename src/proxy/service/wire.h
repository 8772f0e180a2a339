/* SPDX-License-Identifier: Apache-2.0
 *
 * Packed messages written by hand, where generated types would cost more than the few fields that are sent
 * (https://protobuf.dev/programming-guides/encoding). Field numbers are below 2^28. Any thread.
 */
#ifndef PROXY_SERVICE_WIRE_H
#define PROXY_SERVICE_WIRE_H

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

#endif
