/* SPDX-License-Identifier: Apache-2.0
 *
 * Base64 (RFC 4648) for bytes in JSON: writes the standard alphabet with padding, reads both
 * alphabets with or without padding, as the Protobuf JSON mapping asks. Pure.
 */
#include "proto/doc_priv.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : -1;
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

void base64_encode(struct strbuf *out, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16;
        if (i + 1 < n)
            v |= (uint32_t)p[i + 1] << 8;
        if (i + 2 < n)
            v |= p[i + 2];
        strbuf_addc(out, alphabet[v >> 18]);
        strbuf_addc(out, alphabet[v >> 12 & 63]);
        strbuf_addc(out, i + 1 < n ? alphabet[v >> 6 & 63] : '=');
        strbuf_addc(out, i + 2 < n ? alphabet[v & 63] : '=');
    }
}
