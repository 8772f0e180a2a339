/* SPDX-License-Identifier: Apache-2.0
 *
 * Borrowed strings: comparing, searching, splitting, numbers. Pure functions on bytes; letters are
 * ASCII whatever the locale says. Nothing here allocates: builders are in strbuf.c.
 */
#include "base/str.h"

#include "base/mem.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

/* Lower case of eight bytes at once: only bytes 'A'..'Z' gain 0x20. */
static uint64_t lower8(uint64_t v)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    uint64_t low7 = v & ~high;
    uint64_t from_a = low7 + ones * (0x80 - 'A');     /* high bit where >= 'A' */
    uint64_t past_z = low7 + ones * (0x80 - 'Z' - 1); /* high bit where > 'Z' */
    uint64_t is_upper = (from_a ^ past_z) & ~v & high;
    return v | is_upper >> 2;
}

static bool bytes_eq_nocase(const char *a, const char *b, size_t n)
{
    for (; n >= 8; a += 8, b += 8, n -= 8) {
        uint64_t x, y;
        memcpy(&x, a, 8);
        memcpy(&y, b, 8);
        if (x != y && lower8(x) != lower8(y))
            return false;
    }
    for (; n; a++, b++, n--)
        if (ascii_lower(*a) != ascii_lower(*b))
            return false;
    return true;
}

struct str str_dup(struct str s)
{
    return str_make(mem_strndup(s.p ? s.p : "", s.n), s.n);
}

void str_free(struct str *own)
{
    mem_free((char *)(uintptr_t)own->p);
    *own = STR_NULL;
}

void str_replace(struct str *own, struct str by)
{
    struct str copy = str_dup(by);
    str_free(own);
    *own = copy;
}

bool str_eq_nocase(struct str a, struct str b)
{
    return a.n == b.n && bytes_eq_nocase(a.p, b.p, a.n);
}

bool str_has_prefix(struct str s, struct str prefix)
{
    return s.n >= prefix.n && str_eq(str_make(s.p, prefix.n), prefix);
}

bool str_has_suffix(struct str s, struct str suffix)
{
    return s.n >= suffix.n &&
           (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

bool str_has_prefix_nocase(struct str s, struct str prefix)
{
    return s.n >= prefix.n && bytes_eq_nocase(s.p, prefix.p, prefix.n);
}

bool str_has_suffix_nocase(struct str s, struct str suffix)
{
    return s.n >= suffix.n &&
           (suffix.n == 0 || bytes_eq_nocase(s.p + s.n - suffix.n, suffix.p, suffix.n));
}

int str_cmp(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int rc = n ? memcmp(a.p, b.p, n) : 0;
    if (rc)
        return rc;
    return (a.n > b.n) - (a.n < b.n);
}

static bool is_ows(char c)
{
    return c == ' ' || c == '\t';
}

struct str str_trim(struct str s)
{
    while (s.n && is_ows(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n && is_ows(s.p[s.n - 1]))
        s.n--;
    return s;
}

ptrdiff_t str_find_char(struct str s, char c)
{
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;
    return at ? at - s.p : -1;
}

ptrdiff_t str_find(struct str s, struct str needle)
{
    if (!needle.n)
        return 0;
    const char *at = s.n ? memmem(s.p, s.n, needle.p, needle.n) : NULL;
    return at ? at - s.p : -1;
}

struct str str_split(struct str s, char sep, struct str *rest)
{
    ptrdiff_t at = str_find_char(s, sep);
    if (at < 0) {
        *rest = STR_NULL;
        return s;
    }
    *rest = str_make(s.p + at + 1, s.n - (size_t)at - 1);
    return str_make(s.p, (size_t)at);
}

bool str_to_u64(struct str s, uint64_t *out)
{
    uint64_t v = 0;
    if (!s.n)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned digit = (unsigned char)s.p[i] - (unsigned)'0';
        if (digit > 9 || __builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, digit, &v))
            return false;
    }
    *out = v;
    return true;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool str_to_u64_hex(struct str s, uint64_t *out)
{
    uint64_t v = 0;
    if (!s.n)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        int digit = hex_value(s.p[i]);
        if (digit < 0 || v >> 60)
            return false;
        v = v << 4 | (uint64_t)digit;
    }
    *out = v;
    return true;
}

bool str_to_i64(struct str s, int64_t *out)
{
    bool is_negative = s.n && s.p[0] == '-';
    uint64_t v;
    if (!str_to_u64(is_negative ? str_make(s.p + 1, s.n - 1) : s, &v))
        return false;
    if (v > (uint64_t)INT64_MAX + is_negative)
        return false;
    *out = is_negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* Decimal numbers only: strtod alone would also take "inf", "nan", hex floats and leading space. */
bool str_to_double(struct str s, double *out)
{
    char text[64], *end;
    if (!s.n || s.n >= sizeof(text))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!(s.p[i] >= '0' && s.p[i] <= '9') && !strchr("+-.eE", s.p[i]))
            return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    errno = 0;
    double v = strtod(text, &end);
    if (end != text + s.n || (errno == ERANGE && (v > 1 || v < -1)))
        return false;
    *out = v;
    return true;
}

/* 64-bit mixing of eight bytes a step by a widening multiply; the seed keeps peers from choosing
 * colliding keys. */
static uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 r = (unsigned __int128)a * b;
    return (uint64_t)r ^ (uint64_t)(r >> 64);
}

uint64_t str_hash(struct str s, uint64_t seed)
{
    const uint64_t k1 = 0x9e3779b97f4a7c15u, k2 = 0xd6e8feb86659fd93u;
    uint64_t h = seed ^ mix(s.n ^ k1, k2), v;
    const char *p = s.p;
    size_t n = s.n;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&v, p, 8);
        h = mix(h ^ v ^ k1, k2);
    }
    if (n) {
        v = 0;
        memcpy(&v, p, n);
        h = mix(h ^ v ^ k2, k1);
    }
    return mix(h ^ k1, seed ^ k2);
}

size_t u64_format(uint64_t v, char *out)
{
    char digits[20];
    size_t n = 0;
    if (v < 10) {
        out[0] = (char)('0' + v);
        return 1;
    }
    do {
        digits[sizeof(digits) - ++n] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    memcpy(out, digits + sizeof(digits) - n, n);
    return n;
}
