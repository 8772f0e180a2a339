/* SPDX-License-Identifier: Apache-2.0
 *
 * Base64 (RFC 4648) for bytes in JSON: both alphabets, with or without padding, as the Protobuf JSON
 * mapping asks, which base/base64.h is too strict for. Pure.
 */
#include "proto/doc_priv.h"

#include "base/base64.h"

static int digit_of(char c)
{
    return c == '-' ? 62 : c == '_' ? 63 : b64_value(c);
}

bool base64_decode(struct str s, uint8_t *out, size_t *n)
{
    size_t padded = s.n, at = 0;
    uint32_t bits = 0;
    while (s.n > 0 && padded - s.n < 2 && s.p[s.n - 1] == '=')
        s.n--;
    if ((padded != s.n && padded % 4 != 0) || s.n % 4 == 1)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        int d = digit_of(s.p[i]);
        if (d < 0)
            return false;
        bits = bits << 6 | (uint32_t)d;
        if (i % 4 != 0)
            out[at++] = (uint8_t)(bits >> (6 - i % 4 * 2));
    }
    *n = at;
    return true;
}
