/* SPDX-License-Identifier: Apache-2.0
 *
 * Borrowed strings with a length; the form in which text travels. Not NUL-terminated unless a
 * function says so. `strbuf` is the growable text builder (heap), used off the request's path and
 * for formatting log lines.
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p;
    size_t n;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
#define STR_NULL ((struct str){NULL, 0})
#define STR_ARG(s) (int)(s).n, (s).p /* printf("%.*s", STR_ARG(s)) */

static inline struct str str_make(const char *p, size_t n)
{
    return (struct str){p, n};
}
static inline struct str str_from(const char *cstr) /* NULL gives the null str */
{
    return (struct str){cstr, cstr ? strlen(cstr) : 0};
}
static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
/* A copy of one's own with a NUL behind it, of nothing too (`p` is never NULL). */
struct str str_dup(struct str s);
void str_free(struct str *own);                  /* leaves the null str */
void str_replace(struct str *own, struct str by); /* `by` may lie in it */
bool str_eq_nocase(struct str a, struct str b); /* ASCII */
bool str_has_prefix(struct str s, struct str prefix);
bool str_has_suffix(struct str s, struct str suffix);
bool str_has_prefix_nocase(struct str s, struct str prefix);
bool str_has_suffix_nocase(struct str s, struct str suffix);
int str_cmp(struct str a, struct str b); /* bytewise, shorter first */
struct str str_trim(struct str s);       /* SP and HTAB at both ends (OWS) */
/* Position of c / needle, or -1. */
ptrdiff_t str_find_char(struct str s, char c);
ptrdiff_t str_find(struct str s, struct str needle);
/* Splits at the first `sep`: head before it, *rest after it (null str when there is none). */
struct str str_split(struct str s, char sep, struct str *rest);
/* Whole-string decimal/hex numbers; false on empty, junk or overflow. */
bool str_to_u64(struct str s, uint64_t *out);
bool str_to_u64_hex(struct str s, uint64_t *out);
bool str_to_i64(struct str s, int64_t *out);
bool str_to_double(struct str s, double *out);
/* Bytes of the UTF-8 sequence at the front of s (1 to 4); 0 when it is empty, cut short or invalid
 * (RFC 3629: no overlong forms, no surrogates, nothing past U+10FFFF). */
size_t str_utf8_sequence(struct str s);
uint64_t str_hash(struct str s, uint64_t seed);
static inline char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}
/* Decimal digits of v into out (>= 20 bytes); returns the count. */
size_t u64_format(uint64_t v, char *out);

struct strbuf {
    char *p; /* NUL-terminated once anything was added; NULL before */
    size_t n, cap;
};
void strbuf_fini(struct strbuf *b);
void strbuf_reset(struct strbuf *b); /* n = 0, keeps the memory */
void strbuf_reserve(struct strbuf *b, size_t more);
void strbuf_add(struct strbuf *b, const void *p, size_t n);
void strbuf_adds(struct strbuf *b, struct str s);
void strbuf_addz(struct strbuf *b, const char *cstr);
void strbuf_addc(struct strbuf *b, char c);
void strbuf_addu(struct strbuf *b, uint64_t v);
void strbuf_addf(struct strbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void strbuf_vaddf(struct strbuf *b, const char *fmt, va_list ap);
/* JSON string escaping, quotes not included. Invalid UTF-8 bytes become U+FFFD. */
void strbuf_add_json(struct strbuf *b, struct str s);
static inline struct str strbuf_str(const struct strbuf *b)
{
    return (struct str){b->p, b->n};
}
char *strbuf_take(struct strbuf *b); /* owned NUL-terminated text (never NULL); b is empty after */

#endif
