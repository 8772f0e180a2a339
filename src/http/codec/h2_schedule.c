/* SPDX-License-Identifier: Apache-2.0
 *
 * In which order things go out: control frames, then header blocks in the order in which they were
 * submitted (a client's ids must rise, RFC 9113 section 5.1.1), each with what its stream already
 * has of DATA, then the streams with more DATA in turn, a frame each. A stream is in one list at a
 * time:
 *
 *     heads --(blocks out)--> ready <--(connection's window)--> starved
 *
 * and in none while it has nothing to send or its own window is used up. `out` always ends at a
 * frame's end.
 */
#include "http/codec/h2_priv.h"

#include "base/mem.h"

#define INLINE_BLOCK_BYTES 4096 /* encoded straight into `out`; larger ones on the side */

/* ---- who has something to send ---- */

static bool is_end_due(const struct h2_stream *st)
{
    return st->send_ended && !st->end_sent && !st->queue.len;
}

void h2_schedule(struct h2_stream *st)
{
    struct h2_session *s = st->session;
    if (!list_is_empty(&st->send_node) || !st->responded || st->end_sent)
        return;
    if ((st->queue.len && st->send_window > 0) || is_end_due(st))
        list_push_back(&s->ready, &st->send_node);
}

void h2_schedule_head(struct h2_stream *st, struct h2_block *take_block)
{
    struct h2_session *s = st->session;
    struct h2_block **last = &st->heads;
    while (*last)
        last = &(*last)->next;
    *last = take_block;
    st->heads_count++;
    s->counts.heads_queued++;
    if (list_is_empty(&st->send_node))
        list_push_back(&s->heads, &st->send_node);
}

void h2_schedule_starved(struct h2_session *s)
{
    struct list *node;
    while ((node = list_pop_front(&s->starved)))
        list_push_back(&s->ready, node);
}

/* Requests past what the peer takes wait for others to end. */
static bool can_open(const struct h2_session *s)
{
    if (s->opts.is_server)
        return true;
    return s->opened_count < (s->settings_received ? s->peer.max_streams : H2_FIRST_STREAMS);
}

bool h2_session_wants_write(const struct h2_session *s)
{
    if (s->fault)
        return !s->fault_written;
    return !s->settings_sent || s->control.len || !list_is_empty(&s->ready) ||
           (!list_is_empty(&s->heads) && can_open(s));
}

/* ---- header blocks ---- */

static uint8_t *encode(struct h2_session *s, uint8_t *out, const struct h2_block *b)
{
    out = hpack_encode_start(&s->encoder, out);
    for (uint32_t i = 0; i < b->count; i++)
        out = hpack_encode(&s->encoder, out, &b->fields[i]);
    return out;
}

/* Section 6.10 */
static void put_fragments(struct buf *out, uint32_t id, bool end, const uint8_t *p, size_t n)
{
    enum h2_frame_type type = H2_HEADERS;
    do {
        uint8_t head[H2_HEAD_BYTES];
        size_t part = n < H2_FRAME_BYTES ? n : H2_FRAME_BYTES;
        uint8_t flags = (part == n ? H2_END_HEADERS : 0) | (end && type == H2_HEADERS ? H2_END_STREAM : 0);
        h2_put_head(head, part, type, flags, id);
        buf_append(out, head, sizeof(head));
        buf_append(out, p, part);
        p += part;
        n -= part;
        type = H2_CONTINUATION;
    } while (n);
}

static void put_block(struct h2_session *s, struct buf *out, uint32_t id, const struct h2_block *b)
{
    size_t most = HPACK_BLOCK_PREFIX_MAX + b->bytes + b->count * hpack_encoded_max(0, 0), avail;
    if (most <= INLINE_BLOCK_BYTES) {
        uint8_t *head = buf_reserve(out, H2_HEAD_BYTES + most, &avail);
        size_t n = (size_t)(encode(s, head + H2_HEAD_BYTES, b) - head) - H2_HEAD_BYTES;
        h2_put_head(head, n, H2_HEADERS, H2_END_HEADERS | (b->end ? H2_END_STREAM : 0), id);
        buf_commit(out, H2_HEAD_BYTES + n);
        return;
    }
    uint8_t *p = mem_try_alloc(most);
    if (!p) {
        h2_fail(s, H2_FAULT_NO_MEMORY);
        return;
    }
    put_fragments(out, id, b->end, p, (size_t)(encode(s, p, b) - p));
    mem_free(p);
}

/* ---- DATA ---- */

static void note_sent(struct h2_stream *st)
{
    if (!st->above || st->queue.len > st->watermark / 2)
        return;
    st->above = false;
    list_push_back(&st->session->sent, &st->sent_node);
}

static void put_data(struct h2_stream *st, struct buf *out, size_t n, bool end)
{
    struct h2_session *s = st->session;
    uint8_t head[H2_HEAD_BYTES];
    h2_put_head(head, n, H2_DATA, end ? H2_END_STREAM : 0, st->id);
    buf_append(out, head, sizeof(head));
    buf_move_n(out, &st->queue, n);
    st->send_window -= (int64_t)n;
    s->send_window -= (int64_t)n;
    s->counts.data_sent++;
    note_sent(st);
}

/* One frame of what the stream has, and its end where that is due; then it gets in line again. */
static void send_some(struct h2_stream *st, struct buf *out)
{
    struct h2_session *s = st->session;
    size_t n = st->queue.len < H2_FRAME_BYTES ? st->queue.len : H2_FRAME_BYTES;
    if (st->queue.len && st->send_window <= 0)
        return;
    if (st->queue.len && s->send_window <= 0) {
        list_push_back(&s->starved, &st->send_node);
        return;
    }
    n = (int64_t)n < st->send_window || !n ? n : (size_t)st->send_window;
    n = (int64_t)n < s->send_window || !n ? n : (size_t)s->send_window;
    bool is_last = st->send_ended && n == st->queue.len;
    if (n || (is_last && !st->trailers))
        put_data(st, out, n, is_last && !st->trailers);
    if (is_last && st->trailers)
        put_block(s, out, st->id, st->trailers);
    if (is_last)
        h2_stream_end_was_sent(st);
    else
        h2_schedule(st);
}

static void send_heads(struct h2_stream *st, struct buf *out)
{
    struct h2_session *s = st->session;
    bool end = false;
    if (!s->opts.is_server) {
        st->opened = true;
        s->opened_count++;
    }
    for (; st->heads && !s->fault; st->heads = st->heads->next) {
        s->counts.heads_queued--;
        st->heads_count--;
        put_block(s, out, st->id, st->heads);
        end |= st->heads->end;
    }
    if (end)
        h2_stream_end_was_sent(st);
    else
        h2_schedule(st);
}

/* ---- pulling ---- */

/* Whole frames only; usually all of them. */
static void send_control(struct h2_session *s, struct buf *out, size_t max_bytes)
{
    if (out->len + s->control.len <= max_bytes) {
        buf_move(out, &s->control);
        s->counts.control_queued = 0;
        return;
    }
    while (s->control.len && out->len < max_bytes) {
        uint8_t length[3] = {0};
        buf_copy_out(&s->control, 0, length, sizeof(length));
        buf_move_n(out, &s->control, H2_HEAD_BYTES + ((size_t)length[0] << 16 | (size_t)length[1] << 8 | length[2]));
        s->counts.control_queued--;
    }
}

static struct h2_stream *next_of(struct list *line)
{
    struct list *node = list_pop_front(line);
    return node ? LIST_ENTRY(node, h2_stream, send_node) : NULL;
}

static void send_all(struct h2_session *s, struct buf *out, size_t max_bytes)
{
    struct h2_stream *st;
    send_control(s, out, max_bytes);
    while (!s->fault && out->len < max_bytes && can_open(s) && (st = next_of(&s->heads)))
        send_heads(st, out);
    while (!s->fault && out->len < max_bytes && (st = next_of(&s->ready)))
        send_some(st, out);
    if (s->control.len && out->len < max_bytes)
        send_control(s, out, max_bytes); /* resets behind complete responses */
}

static void write_fault(struct h2_session *s, struct buf *out)
{
    h2_put_goaway(out, s->last_peer_id, s->fault_code);
    h2_stat(s, H2_STAT_GOAWAY_SENT);
    s->fault_written = true;
}

static void tell_sent(struct h2_session *s)
{
    struct list *node;
    while ((node = list_pop_front(&s->sent)))
        s->cb->on_stream_sent(s->ctx, LIST_ENTRY(node, h2_stream, sent_node));
}

bool h2_session_pull(struct h2_session *s, struct buf *out, size_t max_bytes)
{
    s->pulling = true;
    if (!s->settings_sent)
        h2_put_preface(s, out); /* before a GOAWAY, too (section 3.4) */
    if (!s->fault)
        send_all(s, out, max_bytes);
    if (s->fault && !s->fault_written)
        write_fault(s, out);
    s->pulling = false;
    tell_sent(s);
    return h2_session_wants_write(s);
}
