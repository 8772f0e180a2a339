/* SPDX-License-Identifier: Apache-2.0
 *
 * Base64 (RFC 4648 section 4) of bodies that pass in pieces. Pure.
 */
#ifndef PROXY_FILTER_BASE64_H
#define PROXY_FILTER_BASE64_H

#include "base/buf.h"

struct base64_encoder { uint8_t held[3], count; };            /* zeroed = fresh */
void base64_stream_encode(struct base64_encoder *e, const uint8_t *p, size_t n, struct buf *out);
void base64_encode_end(struct base64_encoder *e, struct buf *out); /* pads; fresh afterwards */

struct base64_decoder { uint32_t bits; uint8_t count, pad; }; /* zeroed = fresh */
/* False: a character that doesn't belong there, or something behind the padding. */
bool base64_stream_decode(struct base64_decoder *d, const uint8_t *p, size_t n, struct buf *out);
bool base64_decode_end(const struct base64_decoder *d);       /* false: cut within four characters */

#endif
