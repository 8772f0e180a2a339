/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames about the connection or a stream's windows and end: SETTINGS, PING, GOAWAY, RST_STREAM,
 * WINDOW_UPDATE, PRIORITY (checked and forgotten, RFC 9113 section 5.3.2), and PUSH_PROMISE, which
 * nobody may send us. Each comes whole. What answers them is queued and counted: h2_limits.c bounds
 * the queue.
 */
#include "http/codec/h2_priv.h"

#define SETTING_BYTES 6
#define SETTINGS_MAX 32 /* in one frame (CVE-2020-11080) */

static const char client_magic[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/* ---- sending ---- */

static void put_frame(struct buf *out, enum h2_frame_type type, uint8_t flags, uint32_t id, const void *payload,
                      size_t n)
{
    uint8_t head[H2_HEAD_BYTES];
    h2_put_head(head, n, type, flags, id);
    buf_append(out, head, sizeof(head));
    buf_append(out, payload, n);
}

void h2_put_control(struct h2_session *s, enum h2_frame_type type, uint8_t flags, uint32_t id, const void *payload,
                    size_t n)
{
    if (s->fault)
        return; /* nothing follows but the GOAWAY */
    s->counts.control_queued++;
    put_frame(&s->control, type, flags, id, payload, n);
}

void h2_put_reset(struct h2_session *s, uint32_t id, uint32_t code)
{
    uint8_t payload[4];
    h2_put_u32(payload, code);
    h2_put_control(s, H2_RST_STREAM, 0, id, payload, sizeof(payload));
    h2_stat(s, H2_STAT_TX_RESET);
}

void h2_put_goaway(struct buf *out, uint32_t last_id, uint32_t code)
{
    uint8_t payload[8];
    h2_put_u32(payload, last_id);
    h2_put_u32(payload + 4, code);
    put_frame(out, H2_GOAWAY, 0, 0, payload, sizeof(payload));
}

static size_t put_setting(uint8_t *p, uint16_t id, uint32_t value)
{
    p[0] = (uint8_t)(id >> 8);
    p[1] = (uint8_t)id;
    h2_put_u32(p + 2, value);
    return SETTING_BYTES;
}

void h2_put_preface(struct h2_session *s, struct buf *out)
{
    const struct h2_opts *o = &s->opts;
    uint8_t p[SETTING_BYTES * 6];
    size_t n = put_setting(p, H2_SET_HEADER_TABLE_SIZE, o->hpack_table_bytes);
    if (o->is_server)
        n += put_setting(p + n, H2_SET_ENABLE_CONNECT_PROTOCOL, o->allow_connect);
    else
        n += put_setting(p + n, H2_SET_ENABLE_PUSH, 0);
    n += put_setting(p + n, H2_SET_MAX_CONCURRENT_STREAMS, o->is_server ? o->max_concurrent_streams : 0);
    n += put_setting(p + n, H2_SET_INITIAL_WINDOW_SIZE, o->initial_stream_window);
    if (o->max_frame_bytes > H2_FRAME_BYTES)
        n += put_setting(p + n, H2_SET_MAX_FRAME_SIZE, o->max_frame_bytes);
    if (!o->is_server)
        buf_append(out, client_magic, sizeof(client_magic) - 1);
    put_frame(out, H2_SETTINGS, 0, 0, p, n);
    if (s->window.size > H2_DEFAULT_WINDOW) {
        uint8_t increment[4];
        h2_put_u32(increment, (uint32_t)(s->window.size - H2_DEFAULT_WINDOW));
        put_frame(out, H2_WINDOW_UPDATE, 0, 0, increment, sizeof(increment));
    }
    s->settings_sent = true;
}

/* ---- SETTINGS ---- */

/* Section 6.9.2: the streams' windows move by as much. */
static void set_initial_window(struct h2_session *s, uint32_t value)
{
    if (value > H2_MAX_WINDOW) {
        h2_fail_with(s, H2_FLOW_CONTROL_ERROR, "SETTINGS: initial window too large");
        return;
    }
    int64_t delta = (int64_t)value - s->peer.initial_window;
    s->peer.initial_window = value;
    for (struct list *n = s->streams.next; n != &s->streams; n = n->next) {
        struct h2_stream *st = LIST_ENTRY(n, h2_stream, node);
        st->send_window += delta;
        if (st->send_window > H2_MAX_WINDOW)
            h2_fail_with(s, H2_FLOW_CONTROL_ERROR, "SETTINGS: initial window overflows a stream's window");
        if (delta > 0)
            h2_schedule(st);
    }
}

static void set_one(struct h2_session *s, uint16_t id, uint32_t value)
{
    bool is_bad = false;
    switch (id) {
    case H2_SET_HEADER_TABLE_SIZE:
        hpack_encoder_set_peer_limit(&s->encoder, value);
        break;
    case H2_SET_ENABLE_PUSH:
        is_bad = value > 1 || (!s->opts.is_server && value);
        break;
    case H2_SET_MAX_CONCURRENT_STREAMS:
        s->peer.max_streams = value;
        break;
    case H2_SET_INITIAL_WINDOW_SIZE:
        set_initial_window(s, value);
        break;
    case H2_SET_MAX_FRAME_SIZE: /* we never send larger ones than everybody takes */
        is_bad = value < H2_FRAME_BYTES || value > 0xffffff;
        break;
    case H2_SET_ENABLE_CONNECT_PROTOCOL: /* RFC 8441 section 3: not withdrawn again */
        is_bad = value > 1 || (s->peer.allows_connect && !value);
        s->peer.allows_connect = value == 1;
        break;
    default:
        break;
    }
    if (is_bad)
        h2_fail_with(s, H2_PROTOCOL_ERROR, "SETTINGS: value out of range");
}

/* Ours are in force (section 6.5.3). */
static void on_settings_ack(struct h2_session *s)
{
    if (!s->settings_sent || s->settings_acked) {
        h2_fail_with(s, H2_PROTOCOL_ERROR, "SETTINGS: unexpected ACK");
        return;
    }
    s->settings_acked = true;
    hpack_decoder_set_limit(&s->decoder, s->opts.hpack_table_bytes);
    int64_t delta = (int64_t)s->opts.initial_stream_window - H2_DEFAULT_WINDOW;
    for (struct list *n = s->streams.next; n != &s->streams; n = n->next) {
        struct h2_window *w = &LIST_ENTRY(n, h2_stream, node)->window;
        w->left += delta;
        w->size += delta;
    }
}

static void on_settings(struct h2_session *s, const struct h2_frame *f, const uint8_t *p)
{
    if (f->id)
        h2_fail_with(s, H2_PROTOCOL_ERROR, "SETTINGS on a stream");
    else if (f->length % SETTING_BYTES || (f->flags & H2_ACK && f->length))
        h2_fail_with(s, H2_FRAME_SIZE_ERROR, "SETTINGS: bad length");
    else if (f->length / SETTING_BYTES > SETTINGS_MAX)
        h2_fail(s, H2_FAULT_OUTBOUND_CONTROL_FLOOD);
    else if (f->flags & H2_ACK)
        on_settings_ack(s);
    if (s->fault || f->flags & H2_ACK)
        return;
    for (uint32_t at = 0; at < f->length && !s->fault; at += SETTING_BYTES)
        set_one(s, (uint16_t)(p[at] << 8 | p[at + 1]), h2_get_u32(p + at + 2));
    if (s->fault)
        return;
    h2_put_control(s, H2_SETTINGS, H2_ACK, 0, "", 0);
    s->cb->on_settings(s->ctx);
}

/* ---- the others ---- */

static bool has_length(struct h2_session *s, const struct h2_frame *f, uint32_t length)
{
    if (f->length != length)
        h2_fail_with(s, H2_FRAME_SIZE_ERROR, "frame of a wrong length");
    return f->length == length;
}

static bool is_on_stream(struct h2_session *s, const struct h2_frame *f)
{
    bool is_fine = f->id && !h2_stream_is_idle(s, f->id);
    if (!is_fine)
        h2_fail_with(s, H2_PROTOCOL_ERROR, f->id ? "frame on an idle stream" : "frame on stream 0");
    return is_fine;
}

static void on_priority(struct h2_session *s, const struct h2_frame *f, const uint8_t *p)
{
    if (!has_length(s, f, 5))
        return;
    if (!f->id || (h2_get_u32(p) & H2_MAX_ID) == f->id)
        h2_fail_with(s, H2_PROTOCOL_ERROR, "PRIORITY: bad stream");
}

static void on_reset(struct h2_session *s, const struct h2_frame *f, const uint8_t *p)
{
    if (!has_length(s, f, 4) || !is_on_stream(s, f))
        return;
    h2_stat(s, H2_STAT_RX_RESET);
    struct h2_stream *st = h2_stream_find(s, f->id);
    if (!h2_check_reset(s) || !st)
        return;
    st->reset_received = true;
    h2_stream_close(st, h2_get_u32(p), true, NULL);
}

static void on_ping(struct h2_session *s, const struct h2_frame *f, const uint8_t *p)
{
    if (!has_length(s, f, 8))
        return;
    if (f->id)
        h2_fail_with(s, H2_PROTOCOL_ERROR, "PING on a stream");
    else if (f->flags & H2_ACK)
        s->cb->on_ping_ack(s->ctx);
    else
        h2_put_control(s, H2_PING, H2_ACK, 0, p, 8);
}

/* Section 6.8: streams above the last one were never looked at. */
static void refuse_above(struct h2_session *s, uint32_t last)
{
    struct list *newest;
    while (!s->fault && !s->opts.is_server && (newest = list_last(&s->streams))) {
        struct h2_stream *st = LIST_ENTRY(newest, h2_stream, node);
        if (st->id <= last)
            break;
        h2_stream_close(st, H2_REFUSED_STREAM, true, NULL);
    }
}

static void on_goaway(struct h2_session *s, const struct h2_frame *f, const uint8_t *p)
{
    if (f->id || f->length < 8) {
        h2_fail_with(s, f->id ? H2_PROTOCOL_ERROR : H2_FRAME_SIZE_ERROR, "GOAWAY: bad stream or length");
        return;
    }
    uint32_t last = h2_get_u32(p) & H2_MAX_ID;
    if (s->goaway_received && last > s->goaway_last) {
        h2_fail_with(s, H2_PROTOCOL_ERROR, "GOAWAY: last stream grew");
        return;
    }
    s->goaway_received = true;
    s->goaway_last = last;
    s->cb->on_goaway(s->ctx, last, h2_get_u32(p + 4));
    refuse_above(s, last);
}

static void open_connection_window(struct h2_session *s, uint32_t increment)
{
    s->send_window += increment;
    if (!increment)
        h2_fail_with(s, H2_PROTOCOL_ERROR, "WINDOW_UPDATE of nothing");
    else if (s->send_window > H2_MAX_WINDOW)
        h2_fail_with(s, H2_FLOW_CONTROL_ERROR, "WINDOW_UPDATE: window too large");
    else
        h2_schedule_starved(s);
}

static void on_window_update(struct h2_session *s, const struct h2_frame *f, const uint8_t *p)
{
    if (!has_length(s, f, 4))
        return;
    uint32_t increment = h2_get_u32(p) & H2_MAX_WINDOW;
    if (!f->id) {
        open_connection_window(s, increment);
        return;
    }
    struct h2_stream *st = is_on_stream(s, f) ? h2_stream_find(s, f->id) : NULL;
    if (!st)
        return;
    st->send_window += increment;
    if (!increment)
        h2_stream_abort(st, H2_PROTOCOL_ERROR, "http2.protocol_error");
    else if (st->send_window > H2_MAX_WINDOW)
        h2_stream_abort(st, H2_FLOW_CONTROL_ERROR, "http2.protocol_error");
    else
        h2_schedule(st);
}

void h2_on_control_frame(struct h2_session *s, const struct h2_frame *f, const uint8_t *payload)
{
    switch (f->type) {
    case H2_PRIORITY:
        on_priority(s, f, payload);
        break;
    case H2_RST_STREAM:
        on_reset(s, f, payload);
        break;
    case H2_SETTINGS:
        on_settings(s, f, payload);
        break;
    case H2_PUSH_PROMISE: /* section 8.4: clients don't, and servers were told not to */
        h2_fail_with(s, H2_PROTOCOL_ERROR, "PUSH_PROMISE");
        break;
    case H2_PING:
        on_ping(s, f, payload);
        break;
    case H2_GOAWAY:
        on_goaway(s, f, payload);
        break;
    case H2_WINDOW_UPDATE:
        on_window_update(s, f, payload);
        break;
    default:
        break; /* section 5.5: unknown types are ignored */
    }
}
