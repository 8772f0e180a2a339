/* SPDX-License-Identifier: Apache-2.0
 *
 * gRPC's length-prefixed messages as they pass, in pieces of any size. Lengths are never trusted with memory: a payload is
 * skipped by counting down. Pure; any thread.
 */
#include "proxy/filter/grpc_frames.h"

#include "base/check.h"

size_t grpc_frame_step(struct grpc_frame_counter *c, const uint8_t *p, size_t n, bool *begins, bool *ends)
{
    size_t used = 0;
    *begins = *ends = false;
    if (c->left) {
        used = c->left < n ? c->left : n;
        c->left -= (uint32_t)used;
        *ends = !c->left;
        return used;
    }
    if (!c->at && n) {
        *begins = true;
        c->length = 0;
        c->at = 1;
        used = 1;
    }
    for (; used < n && c->at < GRPC_FRAME_HEADER_BYTES; used++, c->at++)
        c->length = c->length << 8 | p[used];
    if (c->at == GRPC_FRAME_HEADER_BYTES) {
        c->left = c->length;
        c->at = 0;
        *ends = !c->left;
    }
    return used;
}

uint32_t grpc_frames_count(struct grpc_frame_counter *c, const struct buf *data)
{
    uint32_t frames = 0;
    struct str piece;
    bool begins, ends;
    for (struct buf_iter it = {0}; buf_next(data, &it, &piece);)
        for (size_t at = 0; at < piece.n; frames += begins)
            at += grpc_frame_step(c, (const uint8_t *)piece.p + at, piece.n - at, &begins, &ends);
    return frames;
}

static struct str next_segment(struct str *path)
{
    struct str rest, head;
    do {
        head = str_split(*path, '/', &rest);
        *path = rest;
    } while (!head.n && rest.p);
    return head;
}

bool grpc_path_split(struct str path, struct str *service, struct str *method)
{
    struct str rest;
    path = str_split(path, '?', &rest);
    *service = next_segment(&path);
    *method = next_segment(&path);
    return service->n && method->n && !next_segment(&path).n;
}

bool grpc_is_content_type(struct str value)
{
    struct str base = STR("application/grpc");
    return str_has_prefix(value, base) && (value.n == base.n || value.p[base.n] == '+');
}

bool grpc_is_response(const struct headers *h, bool end)
{
    if (end)
        return headers_has_id(h, HDR_GRPC_STATUS);
    return str_eq(headers_get_id(h, HDR_STATUS), STR("200")) && grpc_is_content_type(headers_get_id(h, HDR_CONTENT_TYPE));
}

/* ---- deadlines ---- */

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
