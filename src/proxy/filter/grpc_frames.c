/* SPDX-License-Identifier: Apache-2.0
 *
 * gRPC's length-prefixed messages as they pass, in pieces of any size. Lengths are never trusted with memory: a payload is
 * skipped by counting down. Pure; any thread.
 */
#include "proxy/filter/grpc_frames.h"

static size_t take_header(struct grpc_frame_counter *c, const uint8_t *p, size_t n, uint32_t *frames)
{
    size_t used = 0;
    if (!c->at) {
        ++*frames;
        c->length = 0;
        c->at = 1;
        used = 1;
    }
    for (; used < n && c->at < GRPC_FRAME_HEADER_BYTES; used++, c->at++)
        c->length = c->length << 8 | p[used];
    if (c->at == GRPC_FRAME_HEADER_BYTES) {
        c->left = c->length;
        c->at = 0;
    }
    return used;
}

uint32_t grpc_frames_count(struct grpc_frame_counter *c, const struct buf *data)
{
    uint32_t frames = 0;
    struct str piece;
    for (struct buf_iter it = {0}; buf_next(data, &it, &piece);) {
        const uint8_t *p = (const uint8_t *)piece.p;
        for (size_t n = piece.n; n;) {
            size_t used = c->left < n ? c->left : n;
            if (used)
                c->left -= (uint32_t)used;
            else
                used = take_header(c, p, n, &frames);
            p += used;
            n -= used;
        }
    }
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
