/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes from the peer, given to nghttp2 a frame at a time: each frame's header meets the limits
 * before anything is done about the frame, those that nghttp2 would ignore included. Takes any
 * split of the bytes. After a fault the rest is thrown away.
 */
#include "http/codec/h2_priv.h"

#include <stdio.h>

enum h2_fault h2_fault_of(ssize_t rv)
{
    switch (rv) {
    case NGHTTP2_ERR_NOMEM:
        return H2_FAULT_NO_MEMORY;
    case NGHTTP2_ERR_FLOODED:
        return H2_FAULT_OUTBOUND_CONTROL_FLOOD;
    case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS:
        return H2_FAULT_CONTINUATION_FLOOD;
    default:
        return H2_FAULT_PROTOCOL;
    }
}

/* DATA callbacks move their bytes out of `in` themselves; s->at follows. */
static void feed_nghttp2(struct h2_session *s, const uint8_t *p, size_t n)
{
    ssize_t rv = nghttp2_session_mem_recv(s->ng, p, n);
    if (rv >= 0)
        return;
    if (!s->fault)
        snprintf(s->error_text, sizeof(s->error_text), "%s", nghttp2_strerror((int)rv));
    h2_fail(s, h2_fault_of(rv));
}

static nghttp2_frame_hd read_head(const uint8_t *p)
{
    return (nghttp2_frame_hd){
        .length = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2],
        .type = p[3],
        .flags = p[4],
        .stream_id = (int32_t)((uint32_t)(p[5] & 0x7f) << 24 | (uint32_t)p[6] << 16 |
                               (uint32_t)p[7] << 8 | p[8]),
    };
}

/* How many of the next n bytes may go to nghttp2 in one go: to the end of a frame at most. */
static size_t next_bytes(struct h2_session *s, const uint8_t *p, size_t n)
{
    if (s->preface_left) {
        size_t take = n < s->preface_left ? n : s->preface_left;
        s->preface_left -= (uint32_t)take;
        return take;
    }
    size_t head = 0;
    if (!s->payload_left) {
        head = sizeof(s->head) - s->head_bytes;
        if (head > n)
            head = n;
        memcpy(s->head + s->head_bytes, p, head);
        s->head_bytes += (uint8_t)head;
        if (s->head_bytes < sizeof(s->head))
            return head;
        s->head_bytes = 0;
        nghttp2_frame_hd hd = read_head(s->head);
        s->payload_left = (uint32_t)hd.length;
        if (!h2_check_frame(s, &hd))
            return 0;
    }
    size_t payload = n - head < s->payload_left ? n - head : s->payload_left;
    s->payload_left -= (uint32_t)payload;
    return head + payload;
}

/* One contiguous piece of `in`. */
static void feed_piece(struct h2_session *s, struct buf *in, struct str piece)
{
    const uint8_t *p = (const uint8_t *)piece.p, *end = p + piece.n;
    s->in = in;
    s->at = p;
    while (p < end) {
        size_t n = next_bytes(s, p, (size_t)(end - p));
        if (!s->fault)
            feed_nghttp2(s, p, n);
        if (s->fault)
            break;
        p += n;
    }
    if (s->held && !s->fault)
        h2_tell_data(s, false); /* a DATA frame goes on in the next piece */
    s->in = NULL;
    if (!s->fault)
        buf_drain(in, (size_t)(end - s->at));
}

enum h2_fault h2_session_feed(struct h2_session *s, struct buf *in, uint64_t now_us)
{
    s->now_us = now_us;
    while (!s->fault && in->len)
        feed_piece(s, in, buf_front(in));
    if (s->fault)
        buf_drain(in, in->len);
    return s->fault;
}
