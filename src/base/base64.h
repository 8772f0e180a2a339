/* SPDX-License-Identifier: Apache-2.0
 *
 * Base64 of RFC 4648 section 4 (the alphabet with + and /). Pure.
 */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include "base/arena.h"
#include "base/str.h"

#define B64_BYTES(n_) (((n_) + 2) / 3 * 4)
extern const char b64_digits[65];
int b64_value(char c); /* of a digit; -1: isn't one */
/* With padding. `out` has B64_BYTES(s.n) bytes; returns how many were written. */
size_t b64_encode(struct str s, char *out);
struct str b64_encode_in(struct arena *a, struct str s); /* null str when the arena is full */
/* Padding may be left out, or be there in full. Into the arena. False: not base64, or the arena is full. */
bool b64_decode_in(struct arena *a, struct str s, struct str *out);
/* The alphabet of section 5 (- and _), without padding, as JOSE has it (RFC 7515 section 2). */
bool b64url_decode_in(struct arena *a, struct str s, struct str *out);

#endif
