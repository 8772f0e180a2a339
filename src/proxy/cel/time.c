/* SPDX-License-Identifier: Apache-2.0
 *
 * Timestamps and durations: their texts (RFC 3339; Go's "1h2.5s") and their parts. Microseconds; years
 * 1 to 9999 (langdef: "Abstract Types"). Time zones are UTC and fixed offsets ("+01:30"): names of zones
 * would need a database that changes under us. Pure.
 */
#include <stdio.h>
#include <time.h>

#include "base/check.h"
#include "proxy/cel/cel_priv.h"

#define US 1000000
#define YEAR_1_S (-62135596800)
#define YEAR_10000_S 253402300800

bool cel_parse_duration(struct str text, int64_t *us)
{
    static const struct { const char *unit; double us; } units[] = {{"ms", 1e3}, {"us", 1}, {"ns", 1e-3}, {"h", 3.6e9}, {"m", 6e7}, {"s", 1e6}};
    double total = 0, amount;
    bool negative = text.n && text.p[0] == '-';
    struct str s = negative || (text.n && text.p[0] == '+') ? str_make(text.p + 1, text.n - 1) : text;
    if (str_eq(s, STR("0"))) {
        *us = 0;
        return true;
    }
    if (!s.n)
        return false;
    while (s.n) {
        size_t n = 0, i = 0;
        while (n < s.n && ((s.p[n] >= '0' && s.p[n] <= '9') || s.p[n] == '.'))
            n++;
        struct str rest = str_make(s.p + n, s.n - n);
        while (i < ARRAY_LEN(units) && !str_has_prefix(rest, str_from(units[i].unit)))
            i++;
        if (i == ARRAY_LEN(units) || !str_to_double(str_make(s.p, n), &amount) || amount > 1e12)
            return false;
        total += amount * units[i].us;
        size_t unit = str_from(units[i].unit).n;
        s = str_make(rest.p + unit, rest.n - unit);
    }
    if (total > 3.155760e17) /* 10,000 years, as protobuf has it */
        return false;
    *us = (int64_t)(negative ? -total : total);
    return true;
}

static bool take_number(struct str *s, size_t digits, char behind, int *out)
{
    *out = 0;
    if (s->n < digits + (behind != '\0'))
        return false;
    for (size_t i = 0; i < digits; i++) {
        if (s->p[i] < '0' || s->p[i] > '9')
            return false;
        *out = *out * 10 + (s->p[i] - '0');
    }
    if (behind && (s->p[digits] | 32) != (behind | 32))
        return false;
    *s = str_make(s->p + digits + (behind != '\0'), s->n - digits - (behind != '\0'));
    return true;
}

/* "Z", "+01:30", "-08:00", "01:30", "UTC" -> seconds */
static bool parse_zone(struct str s, int64_t *out)
{
    int hours, minutes, sign = s.n && s.p[0] == '-' ? -1 : 1;
    *out = 0;
    if (str_eq(s, STR("Z")) || str_eq(s, STR("z")) || str_eq(s, STR("UTC")) || !s.n)
        return s.n != 0;
    if (s.p[0] == '+' || s.p[0] == '-')
        s = str_make(s.p + 1, s.n - 1);
    if (!take_number(&s, 2, ':', &hours) || !take_number(&s, 2, '\0', &minutes) || s.n || hours > 23 || minutes > 59)
        return false;
    *out = sign * (hours * 3600 + minutes * 60);
    return true;
}

bool cel_parse_timestamp(struct str s, int64_t *us)
{
    struct tm tm = {0};
    int64_t zone, fraction = 0;
    int unit = US / 10;
    if (!take_number(&s, 4, '-', &tm.tm_year) || !take_number(&s, 2, '-', &tm.tm_mon) || !take_number(&s, 2, 't', &tm.tm_mday) ||
        !take_number(&s, 2, ':', &tm.tm_hour) || !take_number(&s, 2, ':', &tm.tm_min) || !take_number(&s, 2, '\0', &tm.tm_sec))
        return false;
    if (s.n && s.p[0] == '.') {
        size_t i = 1;
        for (; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++, unit /= 10)
            fraction += (s.p[i] - '0') * unit;
        if (i == 1)
            return false;
        s = str_make(s.p + i, s.n - i);
    }
    struct tm asked = tm;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    time_t at = timegm(&tm);
    bool exists = tm.tm_year + 1900 == asked.tm_year && tm.tm_mon + 1 == asked.tm_mon && tm.tm_mday == asked.tm_mday &&
                  tm.tm_hour == asked.tm_hour && tm.tm_min == asked.tm_min && tm.tm_sec == asked.tm_sec;
    if (!exists || !parse_zone(s, &zone) || at - zone < YEAR_1_S || at - zone >= YEAR_10000_S)
        return false;
    *us = ((int64_t)at - zone) * US + fraction;
    return true;
}

/* Rounded down, also before 1970. */
static int64_t floor_s(int64_t us)
{
    return us / US - (us % US < 0);
}

struct cel_value cel_print_time(const struct cel_value *v, struct arena *a)
{
    int64_t s = floor_s(v->v.i), fraction = v->v.i - s * US;
    char digits[16] = "";
    if (v->kind == CEL_DURATION)
        return cel_string(arena_printf(a, "%.15gs", (double)v->v.i / US));
    struct tm tm;
    time_t at = (time_t)s;
    if (s < YEAR_1_S || s >= YEAR_10000_S || !gmtime_r(&at, &tm))
        return cel_error();
    if (fraction) {
        int n = snprintf(digits, sizeof(digits), ".%06d", (int)fraction);
        while (digits[n - 1] == '0')
            digits[--n] = '\0';
    }
    return cel_string(arena_printf(a, "%04d-%02d-%02dT%02d:%02d:%02d%sZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                                   tm.tm_min, tm.tm_sec, digits));
}

/* A number with at most `places` decimals and none for nothing, and a unit. */
static struct str show_amount(int64_t whole, int64_t fraction, int places, const char *unit, struct arena *a)
{
    char digits[16] = "";
    if (fraction) {
        int n = snprintf(digits, sizeof(digits), ".%0*d", places, (int)fraction);
        while (digits[n - 1] == '0')
            digits[--n] = '\0';
    }
    return arena_printf(a, "%lld%s%s", (long long)whole, digits, unit);
}

/* Below a second the largest unit that fits, above it hours, minutes and seconds, each where it isn't nothing. */
static struct str show_duration(int64_t us, struct arena *a)
{
    uint64_t n = us < 0 ? 0 - (uint64_t)us : (uint64_t)us;
    const char *sign = us < 0 ? "-" : "";
    if (n == 0)
        return STR("0");
    if (n < 1000)
        return arena_printf(a, "%s%lluus", sign, (unsigned long long)n);
    if (n < US)
        return arena_printf(a, "%s%s", sign, show_amount((int64_t)(n / 1000), (int64_t)(n % 1000), 3, "ms", a).p);
    uint64_t hours = n / US / 3600, minutes = n / US / 60 % 60, rest = n % (60ull * US);
    struct str out = hours ? arena_printf(a, "%s%lluh", sign, (unsigned long long)hours) : arena_printf(a, "%s", sign);
    if (minutes)
        out = arena_printf(a, "%.*s%llum", STR_ARG(out), (unsigned long long)minutes);
    if (rest)
        out = arena_printf(a, "%.*s%s", STR_ARG(out), show_amount((int64_t)(rest / US), (int64_t)(rest % US), 6, "s", a).p);
    return out;
}

struct str cel_show_time(const struct cel_value *v, struct arena *a)
{
    if (v->kind == CEL_DURATION)
        return show_duration(v->v.i, a);
    struct cel_value text = cel_print_time(v, a);
    return text.kind == CEL_STRING ? arena_printf(a, "%.*s+00:00", (int)text.v.s.n - 1, text.v.s.p) : STR_NULL;
}

static struct cel_value part_of_duration(enum cel_part part, int64_t us)
{
    switch (part) {
    case CEL_HOURS:
        return cel_int(us / US / 3600);
    case CEL_MINUTES:
        return cel_int(us / US / 60);
    case CEL_SECONDS:
        return cel_int(us / US);
    case CEL_MILLISECONDS:
        return cel_int(us / 1000 % 1000);
    default:
        return cel_error();
    }
}

static int64_t part_of_date(enum cel_part part, const struct tm *tm, int64_t fraction_us)
{
    switch (part) {
    case CEL_YEAR:
        return tm->tm_year + 1900;
    case CEL_MONTH:
        return tm->tm_mon;
    case CEL_DAY_OF_YEAR:
        return tm->tm_yday;
    case CEL_DATE:
        return tm->tm_mday;
    case CEL_DAY_OF_MONTH:
        return tm->tm_mday - 1;
    case CEL_DAY_OF_WEEK:
        return tm->tm_wday;
    case CEL_HOURS:
        return tm->tm_hour;
    case CEL_MINUTES:
        return tm->tm_min;
    case CEL_SECONDS:
        return tm->tm_sec;
    case CEL_MILLISECONDS:
        break;
    }
    return fraction_us / 1000;
}

struct cel_value cel_time_part(enum cel_part part, const struct cel_value *v, const struct cel_value *zone)
{
    int64_t offset = 0, s;
    struct tm tm;
    if (v->kind == CEL_DURATION)
        return zone ? cel_error() : part_of_duration(part, v->v.i);
    if (v->kind != CEL_TIMESTAMP || (zone && (zone->kind != CEL_STRING || !parse_zone(zone->v.s, &offset))))
        return cel_error();
    s = floor_s(v->v.i);
    time_t at = (time_t)(s + offset);
    return gmtime_r(&at, &tm) ? cel_int(part_of_date(part, &tm, v->v.i - s * US)) : cel_error();
}
