/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes from the peer, made into frames. Takes any split of them. DATA is taken as it comes; any other
 * frame is looked at where it lies if it lies there whole, and put together in `partial` if not;
 * frames that mean nothing to us are skipped.
 *
 *     [preface] -> head (9 bytes) -> payload -> head ...
 *
 * Everything about a frame's place is checked at its head: the first must be SETTINGS (RFC 9113
 * section 3.4), and nothing may come between HEADERS and the CONTINUATIONs that belong to it
 * (section 6.10). After a fault the rest is thrown away.
 */
#include "http/codec/h2_priv.h"

static const char client_magic[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static struct h2_frame read_head(const uint8_t *p)
{
    return (struct h2_frame){
        .length = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2],
        .type = p[3],
        .flags = p[4],
        .id = h2_get_u32(p + 5) & H2_MAX_ID,
    };
}

/* False: the session has failed. */
static bool check_place(struct h2_session *s, const struct h2_frame *f)
{
    uint32_t max = s->opts.max_frame_bytes > H2_FRAME_BYTES ? s->opts.max_frame_bytes : H2_FRAME_BYTES;
    if (f->length > max)
        h2_fail_with(s, H2_FRAME_SIZE_ERROR, "frame too large");
    else if (!s->settings_received && (f->type != H2_SETTINGS || f->flags & H2_ACK))
        h2_fail_with(s, H2_PROTOCOL_ERROR, "the first frame isn't SETTINGS");
    else if (s->in_block && (f->type != H2_CONTINUATION || f->id != s->block_frame.id))
        h2_fail_with(s, H2_PROTOCOL_ERROR, "CONTINUATION expected");
    else if (!s->in_block && f->type == H2_CONTINUATION)
        h2_fail_with(s, H2_PROTOCOL_ERROR, "unexpected CONTINUATION");
    s->settings_received = true;
    return !s->fault;
}

static void begin_frame(struct h2_session *s)
{
    const struct h2_frame *f = &s->frame;
    s->in_frame = true;
    s->payload_left = f->length;
    s->skipping = f->type > H2_CONTINUATION;
    if (!check_place(s, f) || !h2_check_frame(s, f))
        return;
    if (f->type == H2_DATA)
        h2_data_begin(s, f);
    else if (f->type == H2_HEADERS)
        h2_headers_begin(s, f);
}

static void end_frame(struct h2_session *s, const uint8_t *payload)
{
    const struct h2_frame *f = &s->frame;
    s->in_frame = false;
    if (s->fault || s->skipping)
        return;
    if (f->type == H2_DATA)
        h2_data_end(s);
    else if (f->type == H2_HEADERS)
        h2_on_headers_frame(s, f, payload);
    else if (f->type == H2_CONTINUATION)
        h2_on_continuation(s, f, payload);
    else
        h2_on_control_frame(s, f, payload);
}

/* Each of the following takes some of the n (> 0) bytes at p, and says how many. */

static size_t take_preface(struct h2_session *s, const uint8_t *p, size_t n)
{
    size_t take = n < s->preface_left ? n : s->preface_left;
    if (memcmp(p, client_magic + sizeof(client_magic) - 1 - s->preface_left, take) != 0)
        h2_fail_with(s, H2_PROTOCOL_ERROR, "bad connection preface");
    s->preface_left -= (uint32_t)take;
    return take;
}

static size_t take_head(struct h2_session *s, const uint8_t *p, size_t n)
{
    size_t take = H2_HEAD_BYTES - s->head_bytes;
    if (take > n) {
        memcpy(s->head + s->head_bytes, p, n);
        s->head_bytes += (uint8_t)n;
        return n;
    }
    if (s->head_bytes) {
        memcpy(s->head + s->head_bytes, p, take);
        s->head_bytes = 0;
        p = s->head;
    }
    s->frame = read_head(p);
    begin_frame(s);
    if (!s->payload_left && !s->fault)
        end_frame(s, p);
    return take;
}

static size_t take_payload(struct h2_session *s, const uint8_t *p, size_t n)
{
    size_t take = n < s->payload_left ? n : s->payload_left;
    s->payload_left -= (uint32_t)take;
    if (s->skipping) {
        if (!s->payload_left)
            end_frame(s, NULL);
    } else if (s->frame.type == H2_DATA) {
        h2_data_take(s, p, take);
        if (!s->payload_left && !s->fault)
            end_frame(s, NULL);
    } else if (!s->partial.len && !s->payload_left) {
        end_frame(s, p);
    } else {
        buf_append(&s->partial, p, take);
        if (!s->payload_left) {
            struct buf payload = s->partial;
            s->partial = BUF_INIT;
            end_frame(s, buf_pullup(&payload, payload.len));
            buf_fini(&payload);
        }
    }
    return take;
}

/* One contiguous piece of `in`. */
static void feed_piece(struct h2_session *s, struct buf *in, struct str piece)
{
    const uint8_t *p = (const uint8_t *)piece.p, *end = p + piece.n;
    s->in = in;
    s->at = p;
    while (p < end && !s->fault) {
        size_t n = (size_t)(end - p);
        if (s->in_frame)
            p += take_payload(s, p, n);
        else if (s->preface_left)
            p += take_preface(s, p, n);
        else
            p += take_head(s, p, n);
    }
    if (s->held && !s->fault)
        h2_data_tell(s, false); /* a DATA frame goes on in the next piece */
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
