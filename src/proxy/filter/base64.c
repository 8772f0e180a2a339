/* SPDX-License-Identifier: Apache-2.0
 *
 * See the header. At most two bytes wait in an encoder, three characters in a decoder. Decoding is strict: the alphabet of RFC
 * 4648 section 4, padding required, bits under the padding zero.
 */
#include "proxy/filter/base64.h"

#include "base/base64.h"
#include "base/check.h"

static void put_group(const uint8_t b[3], char out[4])
{
    out[0] = b64_digits[b[0] >> 2];
    out[1] = b64_digits[(b[0] & 3) << 4 | b[1] >> 4];
    out[2] = b64_digits[(b[1] & 15) << 2 | b[2] >> 6];
    out[3] = b64_digits[b[2] & 63];
}

void base64_stream_encode(struct base64_encoder *e, const uint8_t *p, size_t n, struct buf *out)
{
    char text[1024];
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        e->held[e->count++] = p[i];
        if (e->count < 3)
            continue;
        put_group(e->held, text + used);
        e->count = 0;
        used += 4;
        if (used == sizeof text) {
            buf_append(out, text, used);
            used = 0;
        }
    }
    buf_append(out, text, used);
}

void base64_encode_end(struct base64_encoder *e, struct buf *out)
{
    char text[4];
    if (!e->count)
        return;
    for (uint8_t i = e->count; i < 3; i++)
        e->held[i] = 0;
    put_group(e->held, text);
    for (uint8_t i = e->count + 1; i < 4; i++)
        text[i] = '=';
    buf_append(out, text, 4);
    e->count = 0;
}

static bool take_char(struct base64_decoder *d, uint8_t c)
{
    int v = b64_value((char)c);
    if (d->pad && (c != '=' || d->count == 0)) /* the end was said */
        return false;
    if (c == '=') {
        if (d->count < 2)
            return false;
        d->pad++;
        v = 0;
    }
    if (v < 0)
        return false;
    d->bits = d->bits << 6 | (uint32_t)v;
    d->count++;
    return true;
}

bool base64_stream_decode(struct base64_decoder *d, const uint8_t *p, size_t n, struct buf *out)
{
    uint8_t bytes[768];
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        if (!take_char(d, p[i]))
            return false;
        if (d->count < 4)
            continue;
        uint8_t group[3] = {(uint8_t)(d->bits >> 16), (uint8_t)(d->bits >> 8), (uint8_t)d->bits};
        size_t whole = 3u - d->pad;
        if ((whole < 3 && group[2]) || (whole < 2 && group[1]))
            return false;
        memcpy(bytes + used, group, whole);
        used += whole;
        d->count = 0;
        d->bits = 0;
        if (used > sizeof bytes - 3) {
            buf_append(out, bytes, used);
            used = 0;
        }
    }
    buf_append(out, bytes, used);
    return true;
}

bool base64_decode_end(const struct base64_decoder *d)
{
    return d->count == 0;
}
