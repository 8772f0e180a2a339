/* SPDX-License-Identifier: Apache-2.0
 *
 * gRPC's deadlines and messages as text. Pure; any thread.
 */
#include "http/grpc.h"

#include "base/check.h"

#define TIMEOUT_MAX 99999999u /* eight digits */

bool grpc_timeout_read(struct str text, uint64_t *ms)
{
    uint64_t v;
    if (text.n < 2 || text.n > GRPC_TIMEOUT_TEXT_BYTES || !str_to_u64(str_make(text.p, text.n - 1), &v))
        return false;
    switch (text.p[text.n - 1]) {
    case 'H':
        *ms = v * 3600000;
        return true;
    case 'M':
        *ms = v * 60000;
        return true;
    case 'S':
        *ms = v * 1000;
        return true;
    case 'm':
        *ms = v;
        return true;
    case 'u':
        *ms = (v + 999) / 1000;
        return true;
    case 'n':
        *ms = (v + 999999) / 1000000;
        return true;
    default:
        return false;
    }
}

struct str grpc_timeout_write(uint64_t ms, char out[GRPC_TIMEOUT_TEXT_BYTES])
{
    static const struct { char unit; uint32_t factor; } steps[] = {{'m', 1}, {'S', 1000}, {'M', 60}, {'H', 60}};
    char digits[20];
    size_t i = 0;
    while (ms > TIMEOUT_MAX && i + 1 < ARRAY_LEN(steps))
        ms /= steps[++i].factor;
    size_t n = u64_format(ms < TIMEOUT_MAX ? ms : TIMEOUT_MAX, digits);
    memcpy(out, digits, n);
    out[n] = steps[i].unit;
    return str_make(out, n + 1);
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c <= 0x7e && c != '%';
}

struct str grpc_message_write(struct arena *a, struct str text)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = arena_bytes(a, text.n * 3 + 1);
    if (!out)
        return STR_NULL;
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (is_plain(c)) {
            out[n++] = (char)c;
            continue;
        }
        out[n++] = '%';
        out[n++] = hex[c >> 4];
        out[n++] = hex[c & 15];
    }
    return str_make(out, n);
}
