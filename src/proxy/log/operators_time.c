/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators that tell times and durations. %START_TIME(format)% takes strftime's conversions and
 * Envoy's own: %f and %1f..%9f (fractional digits), %s (seconds), %3s %6s %9s (milli-, micro-,
 * nanoseconds since the epoch).
 */
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "proxy/log/format_priv.h"

enum part_kind { PART_TEXT, PART_STRFTIME, PART_FRACTION, PART_EPOCH };
struct part {
    uint8_t kind, digits;
    char text[62]; /* literal or one strftime conversion, NUL-terminated */
};
struct time_format {
    uint32_t count;
    struct part parts[];
};

#define PARTS_MAX 64

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Reads one conversion at s ("%...") into *p; returns its length, 0 when it is cut off. */
static size_t read_conversion(struct str s, struct part *p)
{
    size_t i = 1;
    uint8_t digits = 0;
    if (i < s.n && is_digit(s.p[i]))
        digits = (uint8_t)(s.p[i++] - '0');
    if (i >= s.n)
        return 0;
    if (s.p[i] == 'f') {
        *p = (struct part){.kind = PART_FRACTION, .digits = digits ? digits : 9};
        return i + 1;
    }
    if (s.p[i] == 's') {
        *p = (struct part){.kind = PART_EPOCH, .digits = digits};
        return i + 1;
    }
    if (i + 1 < s.n && (s.p[i] == 'E' || s.p[i] == 'O'))
        i++;
    *p = (struct part){.kind = PART_STRFTIME};
    memcpy(p->text, s.p, i + 1);
    return i + 1;
}

struct time_format *time_format_new(struct str text, struct err *err)
{
    struct time_format *f = mem_zalloc(sizeof(*f) + PARTS_MAX * sizeof(f->parts[0]));
    size_t i = 0;
    while (i < text.n) {
        if (f->count == PARTS_MAX) {
            mem_free(f);
            err_set(err, ERR_LIMIT, "the time format has more than %d parts", PARTS_MAX);
            return NULL;
        }
        struct part *p = &f->parts[f->count++];
        if (text.p[i] == '%') {
            size_t n = read_conversion(str_make(text.p + i, text.n - i), p);
            if (!n) {
                mem_free(f);
                err_set(err, ERR_SYNTAX, "the time format ends in the middle of a conversion");
                return NULL;
            }
            i += n;
            continue;
        }
        size_t n = 0;
        while (i + n < text.n && text.p[i + n] != '%' && n < sizeof(p->text) - 1)
            n++;
        memcpy(p->text, text.p + i, n);
        i += n;
    }
    return f;
}

static void add_padded(struct strbuf *out, uint64_t v, uint32_t digits)
{
    char text[20];
    size_t n = u64_format(v, text);
    for (; digits > n; digits--)
        strbuf_addc(out, '0');
    strbuf_add(out, text, n);
}

static uint64_t pow10_of(uint32_t n)
{
    uint64_t v = 1;
    while (n--)
        v *= 10;
    return v;
}

static void run_part(const struct part *p, const struct tm *tm, uint64_t wall_us, struct strbuf *out)
{
    char text[128];
    uint64_t nanos = wall_us % 1000000 * 1000;
    switch (p->kind) {
    case PART_TEXT:
        strbuf_addz(out, p->text);
        break;
    case PART_STRFTIME:
        strbuf_add(out, text, strftime(text, sizeof(text), p->text, tm));
        break;
    case PART_FRACTION:
        add_padded(out, nanos / pow10_of(9u - p->digits), p->digits);
        break;
    case PART_EPOCH:
        if (p->digits <= 6)
            strbuf_addu(out, wall_us / pow10_of(6u - p->digits));
        else
            strbuf_addu(out, wall_us * pow10_of(p->digits - 6u));
        break;
    }
}

void time_format_run(const struct time_format *f, uint64_t wall_us, bool local, struct strbuf *out)
{
    time_t s = (time_t)(wall_us / 1000000);
    struct tm tm;
    if (local)
        localtime_r(&s, &tm);
    else
        gmtime_r(&s, &tm);
    for (uint32_t i = 0; i < f->count; i++)
        run_part(&f->parts[i], &tm, wall_us, out);
}

/* ISO 8601 with milliseconds, the default; the second's part is made once a second. */
static void run_default(uint64_t wall_us, struct strbuf *out)
{
    static __thread time_t second = -1;
    static __thread char text[32];
    time_t s = (time_t)(wall_us / 1000000);
    if (s != second) {
        struct tm tm;
        gmtime_r(&s, &tm);
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S.", &tm);
        second = s;
    }
    strbuf_add(out, text, 20);
    add_padded(out, wall_us % 1000000 / 1000, 3);
    strbuf_addc(out, 'Z');
}

int check_time(struct format_piece *p, struct err *err)
{
    if (!p->text.n)
        return 0;
    p->extra = time_format_new(p->text, err);
    return p->extra ? 0 : ERR_INVALID;
}

static bool run_time(const struct format_piece *p, uint64_t wall_us, bool local, struct strbuf *out)
{
    if (p->extra)
        time_format_run(p->extra, wall_us, local, out);
    else
        run_default(wall_us, out);
    return true;
}

bool op_start_time(const struct format_piece *p, const struct format_context *cx, struct strbuf *out)
{
    return run_time(p, cx->info->start_wall_us, false, out);
}

bool op_start_time_local(const struct format_piece *p, const struct format_context *cx, struct strbuf *out)
{
    return run_time(p, cx->info->start_wall_us, true, out);
}

bool op_emit_time(const struct format_piece *p, const struct format_context *cx, struct strbuf *out)
{
    (void)cx;
    return run_time(p, clock_wall_us(), false, out);
}

bool op_emit_time_local(const struct format_piece *p, const struct format_context *cx, struct strbuf *out)
{
    (void)cx;
    return run_time(p, clock_wall_us(), true, out);
}

/* ---- durations ---- */

static bool add_span(uint64_t from, uint64_t to, uint64_t unit_us, struct strbuf *out)
{
    if (!from || !to || to < from)
        return false;
    strbuf_addu(out, (to - from) / unit_us);
    return true;
}

bool op_duration(const struct format_piece *p, const struct format_context *cx, struct strbuf *out)
{
    (void)p;
    const struct stream_info *i = cx->info;
    return add_span(i->start_us, i->end_us ? i->end_us : i->start_us, 1000, out);
}

bool op_request_duration(const struct format_piece *p, const struct format_context *cx, struct strbuf *out)
{
    (void)p;
    return add_span(cx->info->start_us, cx->info->request_end_us, 1000, out);
}

bool op_request_tx_duration(const struct format_piece *p, const struct format_context *cx, struct strbuf *out)
{
    (void)p;
    return add_span(cx->info->start_us, cx->info->upstream_last_tx_us, 1000, out);
}

bool op_response_duration(const struct format_piece *p, const struct format_context *cx, struct strbuf *out)
{
    (void)p;
    return add_span(cx->info->start_us, cx->info->upstream_first_rx_us, 1000, out);
}

bool op_response_tx_duration(const struct format_piece *p, const struct format_context *cx, struct strbuf *out)
{
    (void)p;
    return add_span(cx->info->upstream_first_rx_us, cx->info->downstream_last_tx_us, 1000, out);
}

bool op_pool_ready_duration(const struct format_piece *p, const struct format_context *cx, struct strbuf *out)
{
    (void)p;
    if (!cx->info->upstream_first_tx_us)
        return false;
    strbuf_addu(out, cx->info->pool_ready_us / 1000);
    return true;
}

/* COMMON_DURATION(start:end:precision) */
static const struct {
    const char *name;
    size_t offset;
} time_points[] = {
    {"DS_RX_BEG", offsetof(struct stream_info, start_us)},
    {"DS_RX_END", offsetof(struct stream_info, request_end_us)},
    {"US_TX_BEG", offsetof(struct stream_info, upstream_first_tx_us)},
    {"US_TX_END", offsetof(struct stream_info, upstream_last_tx_us)},
    {"US_RX_BEG", offsetof(struct stream_info, upstream_first_rx_us)},
    {"US_RX_END", offsetof(struct stream_info, upstream_last_rx_us)},
    {"DS_TX_BEG", offsetof(struct stream_info, downstream_first_tx_us)},
    {"DS_TX_END", offsetof(struct stream_info, downstream_last_tx_us)},
};

static int find_point(struct str name)
{
    for (size_t i = 0; i < sizeof(time_points) / sizeof(time_points[0]); i++)
        if (str_eq(name, str_from(time_points[i].name)))
            return (int)i;
    return -1;
}

int check_common_duration(struct format_piece *p, struct err *err)
{
    struct str rest, from = str_split(p->text, ':', &rest), to = str_split(rest, ':', &rest), unit = rest;
    int a = find_point(from), b = find_point(to);
    int u = str_eq(unit, STR("ms")) ? 0 : str_eq(unit, STR("us")) ? 1 : str_eq(unit, STR("ns")) ? 2 : -1;
    if (a < 0 || b < 0 || u < 0)
        return err_set(err, ERR_INVALID,
                       "COMMON_DURATION(%.*s): want start:end:precision, points DS_RX_BEG, DS_RX_END, US_TX_BEG, "
                       "US_TX_END, US_RX_BEG, US_RX_END, DS_TX_BEG, DS_TX_END and precision ms, us or ns",
                       STR_ARG(p->text));
    p->variant = a | b << 8 | u << 16;
    return 0;
}

static uint64_t point(const struct stream_info *i, int which)
{
    return *(const uint64_t *)((const char *)i + time_points[which].offset);
}

bool op_common_duration(const struct format_piece *p, const struct format_context *cx, struct strbuf *out)
{
    uint64_t from = point(cx->info, p->variant & 255), to = point(cx->info, p->variant >> 8 & 255);
    if (!from || !to || to < from)
        return false;
    uint64_t us = to - from;
    int unit = p->variant >> 16;
    strbuf_addu(out, unit == 0 ? us / 1000 : unit == 1 ? us : us * 1000);
    return true;
}
