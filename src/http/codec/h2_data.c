/* SPDX-License-Identifier: Apache-2.0
 *
 * Bodies received, out of the input block without a copy, and the windows that we give: a window is
 * filled up when half of it has been consumed by whoever the bytes are for (RFC 9113 section 6.9),
 * so a consumer that stalls stops the sender. Padding, and what comes for a stream that is no more,
 * counts as consumed at once.
 */
#include "http/codec/h2_priv.h"

#define SHARE_MIN_BYTES 512 /* smaller DATA is copied: a slice would cost more, and pins 16 KiB */

/* ---- windows ---- */

void h2_window_init(struct h2_window *w, int64_t size)
{
    *w = (struct h2_window){size, size, 0};
}

static void consume(struct h2_session *s, struct h2_window *w, uint32_t id, size_t n)
{
    w->taken += (int64_t)n;
    if (w->taken < w->size / 2 || !w->taken)
        return;
    uint8_t increment[4];
    h2_put_u32(increment, (uint32_t)w->taken);
    h2_put_control(s, H2_WINDOW_UPDATE, 0, id, increment, sizeof(increment));
    w->left += w->taken;
    w->taken = 0;
}

void h2_window_consume(struct h2_session *s, size_t n)
{
    consume(s, &s->window, 0, n);
}

static void consume_both(struct h2_session *s, struct h2_stream *st, size_t n)
{
    h2_window_consume(s, n);
    if (!st->end_received)
        consume(s, &st->window, st->id, n);
}

void h2_stream_consume(struct h2_stream *st, size_t n)
{
    DCHECK(n <= st->unconsumed);
    st->unconsumed -= n;
    if (n)
        consume_both(st->session, st, n);
}

/* ---- DATA ---- */

/* Streams that we reset, or ignored behind our GOAWAY, may still see DATA that was under way. */
static void check_closed(struct h2_session *s, const struct h2_frame *f)
{
    if (!f->id || h2_stream_is_idle(s, f->id))
        h2_fail_with(s, H2_PROTOCOL_ERROR, f->id ? "DATA on an idle stream" : "DATA on stream 0");
    else if (h2_stream_was_ended(s, f->id))
        h2_fail_with(s, H2_STREAM_CLOSED, "DATA on a closed stream");
}

/* Flow control counts the whole payload, padding included (section 6.1). */
static void take_windows(struct h2_session *s, struct h2_stream *st, int64_t n)
{
    s->window.left -= n;
    if (s->window.left < 0) {
        h2_fail_with(s, H2_FLOW_CONTROL_ERROR, "more DATA than the connection's window");
        return;
    }
    if (!st)
        return;
    st->window.left -= n;
    if (st->window.left < 0) {
        h2_stat(s, H2_STAT_RX_MESSAGING_ERROR);
        h2_stream_abort(st, H2_FLOW_CONTROL_ERROR, h2_bad_message);
    }
}

void h2_data_begin(struct h2_session *s, const struct h2_frame *f)
{
    struct h2_stream *st = h2_stream_find(s, f->id);
    if (f->flags & H2_PADDED && !f->length)
        h2_fail_with(s, H2_FRAME_SIZE_ERROR, "DATA: no pad length");
    else if (!st)
        check_closed(s, f);
    else if (st->end_received)
        h2_fail_with(s, H2_STREAM_CLOSED, "DATA on a half-closed stream");
    s->pad_known = !(f->flags & H2_PADDED);
    s->pad_left = 0;
    if (!s->fault)
        take_windows(s, st, f->length);
}

static struct h2_stream *wanted(struct h2_session *s)
{
    struct h2_stream *st = h2_stream_find(s, s->frame.id);
    return st && !st->dropping ? st : NULL;
}

static void abort_on_length(struct h2_session *s, struct h2_stream *st)
{
    h2_stat(s, H2_STAT_RX_MESSAGING_ERROR);
    h2_stream_abort(st, H2_PROTOCOL_ERROR, h2_bad_message);
}

static void take_body(struct h2_session *s, const uint8_t *p, size_t n)
{
    struct h2_stream *st = wanted(s);
    if (st && !h2_message_body(st, n)) {
        abort_on_length(s, st);
        st = NULL;
    }
    if (!st) {
        h2_window_consume(s, n);
        return;
    }
    s->held = st;
    if (n < SHARE_MIN_BYTES) {
        buf_append(&s->held_data, p, n);
        return;
    }
    /* What lies before it has been parsed; it itself changes hands. */
    buf_drain(s->in, (size_t)(p - s->at));
    buf_move_n(&s->held_data, s->in, n);
    s->at = p + n;
}

static void consume_padding(struct h2_session *s, size_t n)
{
    struct h2_stream *st = wanted(s);
    if (st)
        consume_both(s, st, n);
    else
        h2_window_consume(s, n);
}

void h2_data_take(struct h2_session *s, const uint8_t *p, size_t n)
{
    if (!s->pad_known) {
        s->pad_known = true;
        s->pad_left = *p++;
        n--;
        if (s->pad_left >= s->frame.length) {
            h2_fail_with(s, H2_PROTOCOL_ERROR, "DATA: padding past its end");
            return;
        }
        consume_padding(s, 1);
    }
    /* The padding is the last of what is left of the frame, and may begin in this piece. */
    size_t left = n + s->payload_left;
    size_t body = left > s->pad_left ? left - s->pad_left : 0;
    body = body < n ? body : n;
    if (body)
        take_body(s, p, body);
    if (n > body) {
        s->pad_left -= (uint32_t)(n - body);
        consume_padding(s, n - body);
    }
}

void h2_data_tell(struct h2_session *s, bool end)
{
    struct h2_stream *st = s->held;
    struct buf data = s->held_data;
    s->held = NULL;
    s->held_data = BUF_INIT;
    st->unconsumed += data.len;
    s->cb->on_data(s->ctx, st, &data, end);
    buf_fini(&data);
}

void h2_data_end(struct h2_session *s)
{
    bool end = s->frame.flags & H2_END_STREAM;
    struct h2_stream *st = h2_stream_find(s, s->frame.id);
    if (!st || (!end && !s->held))
        return;
    if (end) {
        if (!st->dropping && !h2_message_end(st)) {
            abort_on_length(s, st);
            return;
        }
        st->end_received = true;
    }
    if (!st->dropping) {
        s->held = st;
        h2_data_tell(s, end);
    }
    if (end)
        h2_stream_end_received(s, s->frame.id);
}
