/* SPDX-License-Identifier: Apache-2.0
 *
 * The text forms of google.protobuf.Duration ("1.500s") and Timestamp (RFC 3339), both ways, with
 * the ranges that Protobuf sets. Fractions are written with 0, 3, 6 or 9 digits. Pure.
 */
#include <stdio.h>

#include "proto/doc_priv.h"

#define DURATION_MAX_S 315576000000LL   /* google.protobuf.Duration: 10,000 years */
#define TIMESTAMP_MIN_S (-62135596800LL) /* 0001-01-01T00:00:00Z */
#define TIMESTAMP_MAX_S 253402300799LL   /* 9999-12-31T23:59:59Z */

/* One to nine digits as a fraction of a second; gives how many there were (0: none). */
static size_t fraction_parse(struct str s, int32_t *nanos)
{
    size_t n = 0;
    *nanos = 0;
    while (n < s.n && s.p[n] >= '0' && s.p[n] <= '9' && n < 9)
        *nanos = *nanos * 10 + (s.p[n++] - '0');
    for (size_t i = n; i < 9; i++)
        *nanos *= 10;
    return n;
}

bool duration_parse(struct str s, int64_t *seconds, int32_t *nanos)
{
    uint64_t whole;
    bool negative = s.n && *s.p == '-';
    if (negative)
        s = str_make(s.p + 1, s.n - 1);
    if (s.n < 2 || s.p[s.n - 1] != 's' || s.p[0] < '0' || s.p[0] > '9')
        return false;
    s.n--;
    *nanos = 0;
    ptrdiff_t dot = str_find_char(s, '.');
    if (dot >= 0) {
        struct str fraction = str_make(s.p + dot + 1, s.n - (size_t)dot - 1);
        if (fraction.n == 0 || fraction_parse(fraction, nanos) != fraction.n)
            return false;
        s.n = (size_t)dot;
    }
    if (!str_to_u64(s, &whole) || whole > DURATION_MAX_S || (whole == DURATION_MAX_S && *nanos))
        return false;
    *seconds = negative ? -(int64_t)whole : (int64_t)whole;
    if (negative)
        *nanos = -*nanos;
    return true;
}

/* One number with its unit off the front, in nanoseconds; false: none, or too much. */
static bool go_term(struct str *s, uint64_t *ns)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"ns", 1}, {"us", 1000}, {"\xc2\xb5s", 1000}, {"ms", 1000000}, {"s", 1000000000}, {"m", 60 * 1000000000ull},
                 {"h", 3600 * 1000000000ull}};
    uint64_t whole = 0, fraction = 0, scale = 1, total;
    size_t at = 0, digits = 0;
    bool dot = false;
    for (; at < s->n && ((s->p[at] >= '0' && s->p[at] <= '9') || (s->p[at] == '.' && !dot)); at++) {
        if (s->p[at] == '.') {
            dot = true;
            continue;
        }
        uint64_t digit = (uint64_t)(s->p[at] - '0');
        digits++;
        if (!dot && (__builtin_mul_overflow(whole, 10u, &whole) || __builtin_add_overflow(whole, digit, &whole)))
            return false;
        if (dot && scale < 1000000000) {
            fraction = fraction * 10 + digit;
            scale *= 10;
        }
    }
    struct str rest = str_make(s->p + at, s->n - at);
    for (size_t i = 0; digits && i < sizeof(units) / sizeof(units[0]); i++) {
        struct str name = str_from(units[i].name);
        char next = rest.n > name.n ? rest.p[name.n] : '0';
        if (!str_has_prefix(rest, name) || ((next < '0' || next > '9') && next != '.'))
            continue;
        /* fraction * unit stays below 3.6e21: by way of the wider type */
        if (__builtin_mul_overflow(whole, units[i].ns, &total) ||
            __builtin_add_overflow(total, (uint64_t)((unsigned __int128)fraction * units[i].ns / scale), ns))
            return false;
        *s = str_make(rest.p + name.n, rest.n - name.n);
        return true;
    }
    return false;
}

bool duration_parse_go(struct str s, int64_t *seconds, int32_t *nanos)
{
    uint64_t total = 0, term;
    bool negative = s.n && *s.p == '-';
    if (negative || (s.n && *s.p == '+'))
        s = str_make(s.p + 1, s.n - 1);
    if (s.n == 0)
        return false;
    if (str_eq(s, STR("0")))
        s.n = 0;
    while (s.n)
        if (!go_term(&s, &term) || __builtin_add_overflow(total, term, &total) || total > INT64_MAX)
            return false;
    *seconds = (int64_t)(total / 1000000000);
    *nanos = (int32_t)(total % 1000000000);
    if (negative) {
        *seconds = -*seconds;
        *nanos = -*nanos;
    }
    return true;
}

static bool digits_at(struct str s, size_t at, size_t n, int *out)
{
    *out = 0;
    if (at + n > s.n)
        return false;
    for (size_t i = at; i < at + n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        *out = *out * 10 + (s.p[i] - '0');
    }
    return true;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar, by the 400-year era. */
static int64_t days_from_civil(int64_t y, int m, int d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year = y - era * 400;
    int64_t day = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + year * 365 + year / 4 - year / 100 + day - 719468;
}

static void civil_from_days(int64_t days, int64_t *y, int *m, int *d)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t in_era = days - era * 146097;
    int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * in_year + 2) / 153;
    *d = (int)(in_year - (153 * month + 2) / 5 + 1);
    *m = (int)(month + (month < 10 ? 3 : -9));
    *y = year + era * 400 + (*m <= 2);
}

static int days_of_month(int y, int m)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[m - 1] + (m == 2 && y % 4 == 0 && (y % 100 != 0 || y % 400 == 0));
}

/* "Z" or "+hh:mm" in seconds east of UTC. */
static bool zone_parse(struct str s, int *offset_s)
{
    int h, m;
    *offset_s = 0;
    if (s.n == 1 && (*s.p == 'Z' || *s.p == 'z'))
        return true;
    if (s.n != 6 || (*s.p != '+' && *s.p != '-') || s.p[3] != ':' || !digits_at(s, 1, 2, &h) ||
        !digits_at(s, 4, 2, &m) || h > 23 || m > 59)
        return false;
    *offset_s = (h * 3600 + m * 60) * (*s.p == '-' ? -1 : 1);
    return true;
}

bool timestamp_parse(struct str s, int64_t *seconds, int32_t *nanos)
{
    int y, mo, d, h, mi, se, offset_s;
    if (s.n < 20 || !digits_at(s, 0, 4, &y) || !digits_at(s, 5, 2, &mo) || !digits_at(s, 8, 2, &d) ||
        !digits_at(s, 11, 2, &h) || !digits_at(s, 14, 2, &mi) || !digits_at(s, 17, 2, &se))
        return false;
    if (s.p[4] != '-' || s.p[7] != '-' || (s.p[10] != 'T' && s.p[10] != 't') || s.p[13] != ':' ||
        s.p[16] != ':')
        return false;
    if (y < 1 || mo < 1 || mo > 12 || d < 1 || d > days_of_month(y, mo) || h > 23 || mi > 59 || se > 59)
        return false;
    struct str rest = str_make(s.p + 19, s.n - 19);
    *nanos = 0;
    if (*rest.p == '.') {
        size_t n = fraction_parse(str_make(rest.p + 1, rest.n - 1), nanos);
        if (n == 0)
            return false;
        rest = str_make(rest.p + 1 + n, rest.n - 1 - n);
    }
    if (!zone_parse(rest, &offset_s))
        return false;
    *seconds = days_from_civil(y, mo, d) * 86400 + h * 3600 + mi * 60 + se - offset_s;
    return *seconds >= TIMESTAMP_MIN_S && *seconds <= TIMESTAMP_MAX_S;
}

static void fraction_format(struct strbuf *out, uint32_t nanos)
{
    if (nanos == 0)
        return;
    if (nanos % 1000000 == 0)
        strbuf_addf(out, ".%03u", nanos / 1000000);
    else if (nanos % 1000 == 0)
        strbuf_addf(out, ".%06u", nanos / 1000);
    else
        strbuf_addf(out, ".%09u", nanos);
}

void duration_format(struct strbuf *out, int64_t seconds, int32_t nanos)
{
    if (seconds < 0 || nanos < 0)
        strbuf_addc(out, '-');
    strbuf_addu(out, seconds < 0 ? 0 - (uint64_t)seconds : (uint64_t)seconds);
    fraction_format(out, nanos < 0 ? 0 - (uint32_t)nanos : (uint32_t)nanos);
    strbuf_addc(out, 's');
}

void timestamp_format(struct strbuf *out, int64_t seconds, int32_t nanos)
{
    int64_t y;
    int m, d;
    if (seconds < TIMESTAMP_MIN_S)
        seconds = TIMESTAMP_MIN_S;
    if (seconds > TIMESTAMP_MAX_S)
        seconds = TIMESTAMP_MAX_S;
    int64_t days = (seconds >= 0 ? seconds : seconds - 86399) / 86400;
    int in_day = (int)(seconds - days * 86400);
    civil_from_days(days, &y, &m, &d);
    strbuf_addf(out, "%04d-%02d-%02dT%02d:%02d:%02d", (int)y, m, d, in_day / 3600, in_day / 60 % 60,
                in_day % 60);
    fraction_format(out, nanos < 0 || nanos > 999999999 ? 0 : (uint32_t)nanos);
    strbuf_addc(out, 'Z');
}
