/* SPDX-License-Identifier: Apache-2.0
 *
 * The growable text builder of str.h. Doubles its memory, aborts when there is none (callers bound
 * what they add). Always NUL-terminated once it holds memory.
 */
#include "base/str.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdio.h>

void strbuf_fini(struct strbuf *b)
{
    mem_free(b->p);
    *b = (struct strbuf){0};
}

void strbuf_reset(struct strbuf *b)
{
    b->n = 0;
    if (b->p)
        b->p[0] = '\0';
}

void strbuf_reserve(struct strbuf *b, size_t more)
{
    size_t need;
    CHECK(!__builtin_add_overflow(b->n, more, &need) && need < SIZE_MAX / 4);
    if (need + 1 <= b->cap)
        return;
    size_t cap = b->cap ? b->cap * 2 : 64;
    if (cap < need + 1)
        cap = need + 1;
    b->p = mem_realloc(b->p, cap);
    b->cap = cap;
}

void strbuf_add(struct strbuf *b, const void *p, size_t n)
{
    if (__builtin_expect(n >= b->cap || b->n >= b->cap - n, 0)) /* small pieces are the rule: a log line is a hundred of them */
        strbuf_reserve(b, n);
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = '\0';
}

void strbuf_adds(struct strbuf *b, struct str s)
{
    strbuf_add(b, s.p, s.n);
}

void strbuf_addz(struct strbuf *b, const char *cstr)
{
    strbuf_add(b, cstr, strlen(cstr));
}

void strbuf_addc(struct strbuf *b, char c)
{
    if (__builtin_expect(b->n + 1 >= b->cap, 0))
        strbuf_reserve(b, 1);
    b->p[b->n++] = c;
    b->p[b->n] = '\0';
}

void strbuf_addu(struct strbuf *b, uint64_t v)
{
    strbuf_reserve(b, 20);
    b->n += u64_format(v, b->p + b->n);
    b->p[b->n] = '\0';
}

void strbuf_vaddf(struct strbuf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    strbuf_reserve(b, 0);
    int n = vsnprintf(b->p + b->n, b->cap - b->n, fmt, ap);
    CHECK(n >= 0);
    if ((size_t)n >= b->cap - b->n) {
        strbuf_reserve(b, (size_t)n);
        vsnprintf(b->p + b->n, b->cap - b->n, fmt, again);
    }
    b->n += (size_t)n;
    va_end(again);
}

void strbuf_addf(struct strbuf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    strbuf_vaddf(b, fmt, ap);
    va_end(ap);
}

size_t str_utf8_sequence(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t n;
    uint32_t least, v;
    if (!s.n)
        return 0;
    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xc2 && p[0] <= 0xdf)
        n = 2, least = 0x80, v = p[0] & 0x1f;
    else if (p[0] >= 0xe0 && p[0] <= 0xef)
        n = 3, least = 0x800, v = p[0] & 0x0f;
    else if (p[0] >= 0xf0 && p[0] <= 0xf4)
        n = 4, least = 0x10000, v = p[0] & 0x07;
    else
        return 0;
    if (s.n < n)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        v = v << 6 | (p[i] & 0x3f);
    }
    bool is_surrogate = v >= 0xd800 && v <= 0xdfff;
    return v < least || v > 0x10ffff || is_surrogate ? 0 : n;
}

static void add_json_char(struct strbuf *b, char c)
{
    switch (c) {
    case '"':
        strbuf_addz(b, "\\\"");
        break;
    case '\\':
        strbuf_addz(b, "\\\\");
        break;
    case '\n':
        strbuf_addz(b, "\\n");
        break;
    case '\r':
        strbuf_addz(b, "\\r");
        break;
    case '\t':
        strbuf_addz(b, "\\t");
        break;
    case '\b':
        strbuf_addz(b, "\\b");
        break;
    case '\f':
        strbuf_addz(b, "\\f");
        break;
    default:
        strbuf_addf(b, "\\u%04x", (unsigned char)c);
    }
}

static bool is_json_plain(char c)
{
    return (unsigned char)c >= 0x20 && (unsigned char)c < 0x7f && c != '"' && c != '\\';
}

void strbuf_add_json(struct strbuf *b, struct str s)
{
    strbuf_reserve(b, s.n);
    while (s.n) {
        size_t n = 0;
        while (n < s.n && is_json_plain(s.p[n]))
            n++;
        if (n) {
            strbuf_add(b, s.p, n);
        } else if ((unsigned char)s.p[0] < 0x80) {
            add_json_char(b, s.p[0]);
            n = 1;
        } else if ((n = str_utf8_sequence(s)) > 0) {
            strbuf_add(b, s.p, n);
        } else {
            strbuf_addz(b, "\xef\xbf\xbd"); /* U+FFFD */
            n = 1;
        }
        s.p += n;
        s.n -= n;
    }
    strbuf_add(b, "", 0);
}

char *strbuf_take(struct strbuf *b)
{
    char *p = b->p ? b->p : mem_strdup("");
    *b = (struct strbuf){0};
    return p;
}
