/* SPDX-License-Identifier: Apache-2.0
 *
 * Base64. Decoding is strict: no blanks, no other alphabet, no stray bits in the last character.
 */
#include "base/base64.h"

const char b64_digits[65] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int b64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

size_t b64_encode(struct str s, char *out)
{
    const uint8_t *p = (const uint8_t *)s.p;
    char *at = out;
    for (size_t i = 0; i < s.n; i += 3) {
        size_t left = s.n - i;
        uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);
        *at++ = b64_digits[v >> 18];
        *at++ = b64_digits[v >> 12 & 63];
        *at++ = left > 1 ? b64_digits[v >> 6 & 63] : '=';
        *at++ = left > 2 ? b64_digits[v & 63] : '=';
    }
    return (size_t)(at - out);
}

struct str b64_encode_in(struct arena *a, struct str s)
{
    char *p = arena_bytes(a, B64_BYTES(s.n) + 1);
    return p ? str_make(p, b64_encode(s, p)) : STR_NULL;
}

static int url_value(char c)
{
    return c == '-' ? 62 : c == '_' ? 63 : c == '+' || c == '/' ? -1 : b64_value(c);
}

/* n digits, without padding. */
static bool decode(struct arena *a, const char *digits, size_t n, int (*value)(char c), struct str *out)
{
    char *p = arena_bytes(a, n / 4 * 3 + 3), *at = p;
    if (!p || n % 4 == 1)
        return false;
    uint32_t bits = 0;
    int have = 0;
    for (size_t i = 0; i < n; i++) {
        int v = value(digits[i]);
        if (v < 0)
            return false;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            *at++ = (char)(bits >> have);
        }
    }
    *out = str_make(p, (size_t)(at - p));
    return (bits & ((1u << have) - 1)) == 0;
}

bool b64_decode_in(struct arena *a, struct str s, struct str *out)
{
    size_t n = s.n;
    while (n && s.n - n < 2 && s.p[n - 1] == '=')
        n--;
    if (n != s.n && s.n % 4 != 0)
        return false;
    return decode(a, s.p, n, b64_value, out);
}

bool b64url_decode_in(struct arena *a, struct str s, struct str *out)
{
    return decode(a, s.p, s.n, url_value, out);
}
