/* SPDX-License-Identifier: Apache-2.0
 *
 * gRPC's length-prefixed messages as they pass, in pieces of any size. Lengths are never trusted with memory: a payload is
 * skipped by counting down. Pure; any thread.
 */
#include "proxy/filter/grpc_frames.h"

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
