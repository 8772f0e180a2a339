/* SPDX-License-Identifier: Apache-2.0
 *
 * What the peer sends: header blocks into our lists, DATA out of the input block without a copy,
 * and the limits on what costs us more than it costs the peer. Runs inside nghttp2_session_mem_recv.
 * A stream may be gone after any call upwards: nothing touches it after one.
 *
 * On top of nghttp2's message validation: a Host that differs from :authority is malformed
 * (RFC 9113 section 8.3.1, request smuggling by two names), cookie crumbs are joined (section 8.2.3),
 * and frames on streams which the peer itself has ended are a connection error (section 5.1).
 */
#include "http/codec/h2_priv.h"
#include "http/codec/uri.h"

#include "http/codec/h1.h"

#define SHARE_MIN_BYTES 512 /* smaller DATA is copied: a slice would cost more, and pins 16 KiB */

static const char too_large[] = "http2.header_overflow", too_many[] = "http2.too_many_headers";
static const char bad_message[] = "http2.violation.of.messaging.rule";

static struct h2_session *session_of(void *user)
{
    return OBJECT(h2_session, H2_SESSION_MAGIC, user);
}

static struct h2_stream *stream_of(struct h2_session *s, int32_t id)
{
    return nghttp2_session_get_stream_user_data(s->ng, id);
}

/* ---- limits ---- */

/* Frames without payload cost a few bytes each and end nothing (CVE-2019-9518). */
static bool is_empty_flood(struct h2_session *s, const nghttp2_frame_hd *hd)
{
    if (hd->length || (hd->flags & NGHTTP2_FLAG_END_STREAM)) {
        s->counts.empty_run = 0;
        return false;
    }
    return ++s->counts.empty_run > s->opts.max_consecutive_empty_frames;
}

static void fail_with(struct h2_session *s, uint32_t code)
{
    h2_fail(s, H2_FAULT_PROTOCOL);
    s->fault_code = code;
}

/* DATA or HEADERS on a stream that is no more. nghttp2 would ignore them all (it keeps no closed
 * streams here), and must those of streams that we reset: they may have been under way. */
static void check_closed_stream(struct h2_session *s, const nghttp2_frame_hd *hd)
{
    int32_t id = hd->stream_id;
    bool is_new = s->opts.is_server && hd->type == NGHTTP2_HEADERS && id > s->last_peer_id;
    if (id <= 0 || is_new || stream_of(s, id))
        return;
    if (h2_recent_has(&s->ended, id))
        fail_with(s, H2_STREAM_CLOSED);
    else if (s->opts.is_server && id < s->last_peer_id && (id & 1) &&
             s->resets.count <= H2_RECENT_IDS && !h2_recent_has(&s->resets, id))
        fail_with(s, hd->type == NGHTTP2_HEADERS && s->counts.streams < H2_RECENT_IDS
                         ? H2_PROTOCOL_ERROR /* section 5.1.1: never opened */
                         : H2_STREAM_CLOSED);
}

static void check_message_frame(struct h2_session *s, const nghttp2_frame_hd *hd)
{
    if (is_empty_flood(s, hd)) {
        h2_fail(s, H2_FAULT_INBOUND_EMPTY_FLOOD);
    } else if (hd->type == NGHTTP2_CONTINUATION) {
        if (++s->counts.continuations > h2_continuations_allowed(&s->opts))
            h2_fail(s, H2_FAULT_CONTINUATION_FLOOD);
    } else {
        s->counts.continuations = 0;
        check_closed_stream(s, hd);
    }
}

bool h2_check_frame(struct h2_session *s, const nghttp2_frame_hd *hd)
{
    const struct h2_counts *n = &s->counts;
    h2_check_outbound(s);
    switch (hd->type) {
    case NGHTTP2_DATA:
    case NGHTTP2_HEADERS:
    case NGHTTP2_CONTINUATION:
        check_message_frame(s, hd);
        break;
    case NGHTTP2_PRIORITY:
        if (++s->counts.priority > s->opts.max_priority_per_stream * (1 + n->streams))
            h2_fail(s, H2_FAULT_PRIORITY_FLOOD);
        break;
    case NGHTTP2_WINDOW_UPDATE:
        /* Envoy's formula (Http2ProtocolOptions). */
        if (++s->counts.window_updates >
            5 + 2 * (n->streams + s->opts.max_window_update_per_data * n->data_sent))
            h2_fail(s, H2_FAULT_WINDOW_UPDATE_FLOOD);
        break;
    default:
        break;
    }
    return !s->fault;
}

/* Opening and resetting streams costs the peer nothing and us a request each (CVE-2023-44487). */
static bool is_reset_allowed(struct h2_session *s)
{
    uint64_t cap = 1000ull * s->opts.max_reset_burst;
    uint64_t gained = (s->now_us - s->tokens_at_us) / 1000 * s->opts.max_reset_per_s;
    if (gained) {
        s->tokens_milli = s->tokens_milli + gained > cap ? cap : s->tokens_milli + gained;
        s->tokens_at_us = s->now_us;
    }
    if (s->tokens_milli < 1000)
        return false;
    s->tokens_milli -= 1000;
    return true;
}

static int on_reset(struct h2_session *s, const nghttp2_rst_stream *f)
{
    h2_stat(s, H2_STAT_RX_RESET);
    struct h2_stream *st = stream_of(s, f->hd.stream_id);
    if (st) {
        st->reset_received = true;
        st->reset_code = f->error_code;
    }
    if (s->opts.is_server && !is_reset_allowed(s))
        return h2_fail(s, H2_FAULT_RESET_FLOOD);
    return 0;
}

/* ---- header blocks ---- */

static struct headers *new_block(struct arena *arena)
{
    struct headers *h = arena_alloc(arena, sizeof(*h));
    if (h)
        headers_init(h, arena);
    return h;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct h2_session *s = session_of(user);
    int32_t id = frame->hd.stream_id;
    struct h2_stream *st = NULL;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        st = stream_of(s, id);
    } else {
        st = h2_stream_new(s, id);
        s->last_peer_id = id;
        st->arena = s->cb->on_begin(s->ctx, st, &st->user);
        if (!st->arena) {
            h2_stat(s, H2_STAT_STREAM_REFUSED_ERRORS);
            h2_stream_reset(st, H2_REFUSED_STREAM);
            s->receiving = NULL;
            return 0;
        }
        nghttp2_session_set_stream_user_data(ng, id, st);
    }
    s->receiving = st && !st->dropping ? st : NULL;
    if (s->receiving) {
        st->block = new_block(st->arena);
        st->underscored = false;
        st->overflow = st->block ? NULL : too_large;
    }
    return 0;
}

/* False: the arena overflowed. */
static bool add_header(struct headers *h, nghttp2_rcbuf *name_buf, struct str name, struct str value)
{
    char *v = arena_bytes(h->arena, value.n);
    if (!v)
        return false;
    memcpy(v, value.p, value.n);
    value.p = v;
    enum header_id id = header_id_of(name);
    if (id != HDR_OTHER)
        return headers_add_id_ref(h, id, value);
    if (!nghttp2_rcbuf_is_static(name_buf)) {
        char *p = arena_bytes(h->arena, name.n);
        if (!p)
            return false;
        memcpy(p, name.p, name.n);
        name.p = p;
    }
    return headers_add_ref(h, name, value);
}

static struct str rcbuf_str(nghttp2_rcbuf *b)
{
    nghttp2_vec v = nghttp2_rcbuf_get_buf(b);
    return str_make((const char *)v.base, v.len);
}

/* True: leave the field out. */
static bool is_underscored_away(struct h2_session *s, struct h2_stream *st, struct str name)
{
    if (s->opts.underscore == H1_UNDERSCORE_ALLOW || !memchr(name.p, '_', name.n))
        return false;
    if (s->opts.underscore == H1_UNDERSCORE_REJECT)
        st->underscored = true;
    else
        h2_stat(s, H2_STAT_DROPPED_UNDERSCORES);
    return true;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, nghttp2_rcbuf *name_buf,
                     nghttp2_rcbuf *value_buf, uint8_t flags, void *user)
{
    (void)ng, (void)frame;
    struct h2_session *s = session_of(user);
    struct h2_stream *st = s->receiving;
    if (!st || st->overflow)
        return 0;
    struct headers *h = st->block;
    struct str name = rcbuf_str(name_buf), value = rcbuf_str(value_buf);
    if (h->bytes + name.n + value.n > s->opts.max_header_bytes)
        st->overflow = too_large;
    else if (h->count >= s->opts.max_headers)
        st->overflow = too_many;
    else if (is_underscored_away(s, st, name))
        return 0;
    else if (!add_header(h, name_buf, name, value))
        st->overflow = too_large;
    else if (flags & NGHTTP2_NV_FLAG_NO_INDEX)
        h->items[h->count - 1].never_index = true;
    return 0;
}

/* Section 8.2: a field with invalid characters makes the message malformed; the library would skip it. */
static int on_invalid_header(nghttp2_session *ng, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                             nghttp2_rcbuf *value, uint8_t flags, void *user)
{
    (void)ng, (void)frame, (void)name, (void)value, (void)flags, (void)user;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* Inside the proxy a request always has :authority and no Host. False: the two differ, or it is no host and port, or says
 * who the user is (RFC 9113 section 8.3.1). */
static bool settle_authority(struct headers *h)
{
    if (headers_has_id(h, HDR_AUTHORITY) && !authority_is_valid(headers_get_id(h, HDR_AUTHORITY)))
        return false;
    if (!headers_has_id(h, HDR_HOST))
        return true;
    struct str host = headers_get_id(h, HDR_HOST), authority = headers_get_id(h, HDR_AUTHORITY);
    if (authority.p && !str_eq_nocase(host, authority))
        return false;
    if (!authority.p && (!authority_is_valid(host) || !headers_set_id_ref(h, HDR_AUTHORITY, host)))
        return false;
    return headers_remove_id(h, HDR_HOST) == 1; /* repeated: ambiguous */
}

static bool join_cookies(struct headers *h)
{
    if (!headers_has_id(h, HDR_COOKIE))
        return true;
    uint32_t first = h->count, count = 0;
    size_t bytes = 0;
    for (uint32_t i = 0; i < h->count; i++) {
        if (h->items[i].id != HDR_COOKIE)
            continue;
        first = count++ ? first : i;
        bytes += h->items[i].value.n + 2;
    }
    if (count < 2)
        return true;
    char *joined = arena_bytes(h->arena, bytes);
    if (!joined)
        return false;
    size_t n = 0;
    for (uint32_t i = first; i < h->count; i++) {
        if (h->items[i].id != HDR_COOKIE)
            continue;
        if (n) {
            memcpy(joined + n, "; ", 2);
            n += 2;
        }
        memcpy(joined + n, h->items[i].value.p, h->items[i].value.n);
        n += h->items[i].value.n;
    }
    return headers_set_id_ref(h, HDR_COOKIE, str_make(joined, n));
}

static void refuse_request(struct h2_session *s, struct h2_stream *st, unsigned status, const char *details)
{
    st->dropping = true;
    int32_t id = st->id;
    s->cb->on_invalid(s->ctx, st, status, details);
    if (stream_of(s, id) == st && !st->responded)
        h2_stream_abort(st, H2_INTERNAL_ERROR, details);
}

static int refuse_message(struct h2_session *s, struct h2_stream *st)
{
    h2_stat(s, H2_STAT_RX_MESSAGING_ERROR);
    if (!s->opts.stream_error_on_invalid)
        return h2_fail(s, H2_FAULT_MESSAGING);
    h2_stream_abort(st, H2_PROTOCOL_ERROR, bad_message);
    return 0;
}

/* Limits and rules that need the whole block. False: told already; *rv is what nghttp2 gets. */
static bool is_block_fine(struct h2_session *s, struct h2_stream *st, bool is_head, int *rv)
{
    bool is_request = s->opts.is_server && is_head;
    if (st->overflow) {
        h2_stat(s, H2_STAT_HEADER_OVERFLOW);
        if (is_request)
            refuse_request(s, st, 431, st->overflow);
        else
            h2_stream_abort(st, H2_INTERNAL_ERROR, st->overflow);
    } else if (st->underscored) {
        h2_stat(s, H2_STAT_REJECTED_UNDERSCORES);
        h2_stream_abort(st, H2_PROTOCOL_ERROR, "http2.unexpected_underscore");
    } else if (is_request && !settle_authority(st->block)) {
        *rv = refuse_message(s, st);
    } else if (is_request && !join_cookies(st->block)) {
        refuse_request(s, st, 431, too_large);
    } else {
        return true;
    }
    return false;
}

static void drop_foreign_trailers(struct headers *h)
{
    for (uint32_t i = h->count; i-- > 0;)
        if (!header_may_be_trailer(h->items[i].id))
            headers_remove_at(h, i);
}

static int on_block(struct h2_session *s, const nghttp2_frame *frame)
{
    struct h2_stream *st = s->receiving;
    s->receiving = NULL;
    if (!st)
        return 0;
    bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM, trailers = st->head_received;
    int rv = 0;
    st->end_received |= end;
    if (!is_block_fine(s, st, !trailers, &rv))
        return rv;
    struct headers *h = st->block;
    struct str status = headers_get_id(h, HDR_STATUS);
    bool informational = !s->opts.is_server && !trailers && status.n == 3 && status.p[0] == '1';
    if (trailers) {
        drop_foreign_trailers(h);
        h2_stat(s, H2_STAT_TRAILERS);
    } else if (!informational)
        st->head_received = true;
    if (s->opts.is_server && !trailers)
        st->is_connect = str_eq(headers_get_id(h, HDR_METHOD), STR("CONNECT"));
    s->cb->on_headers(s->ctx, st, h, informational, trailers, end);
    return s->fault ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

/* ---- DATA ---- */

static int on_data_chunk(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data,
                         size_t len, void *user)
{
    (void)flags;
    struct h2_session *s = session_of(user);
    struct h2_stream *st = stream_of(s, id);
    if (!st || st->dropping)
        return nghttp2_session_consume(ng, id, len) == 0 ? 0 : h2_fail(s, H2_FAULT_NO_MEMORY);
    if (s->held && s->held != st)
        h2_tell_data(s, false);
    s->held = st;
    if (len < SHARE_MIN_BYTES) {
        buf_append(&s->held_data, data, len);
        return 0;
    }
    /* What lies before the chunk has been parsed; the chunk itself changes hands. */
    buf_drain(s->in, (size_t)(data - s->at));
    buf_move_n(&s->held_data, s->in, len);
    s->at = data + len;
    return 0;
}

void h2_tell_data(struct h2_session *s, bool end)
{
    struct h2_stream *st = s->held;
    struct buf data = s->held_data;
    s->held = NULL;
    s->held_data = BUF_INIT;
    st->unconsumed += data.len;
    s->cb->on_data(s->ctx, st, &data, end);
    buf_fini(&data);
}

static void on_data_frame(struct h2_session *s, const nghttp2_frame_hd *hd)
{
    bool end = hd->flags & NGHTTP2_FLAG_END_STREAM;
    struct h2_stream *st = s->held ? s->held : end ? stream_of(s, hd->stream_id) : NULL;
    if (!st || st->dropping) {
        if (st && end)
            st->end_received = true;
        return;
    }
    st->end_received |= end;
    s->held = st;
    h2_tell_data(s, end);
}

/* ---- frames ---- */

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    (void)ng;
    struct h2_session *s = session_of(user);
    switch (frame->hd.type) {
    case NGHTTP2_DATA:
        on_data_frame(s, &frame->hd);
        break;
    case NGHTTP2_HEADERS:
        return on_block(s, frame);
    case NGHTTP2_RST_STREAM:
        return on_reset(s, &frame->rst_stream);
    case NGHTTP2_SETTINGS:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
            s->cb->on_settings(s->ctx);
        break;
    case NGHTTP2_PING:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK)
            s->cb->on_ping_ack(s->ctx);
        break;
    case NGHTTP2_GOAWAY:
        s->goaway_received = true;
        s->cb->on_goaway(s->ctx, (uint32_t)frame->goaway.last_stream_id, frame->goaway.error_code);
        break;
    default:
        break;
    }
    return s->fault ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_invalid_frame(nghttp2_session *ng, const nghttp2_frame *frame, int lib_error, void *user)
{
    (void)ng;
    struct h2_session *s = session_of(user);
    struct h2_stream *st = stream_of(s, frame->hd.stream_id);
    if (lib_error == NGHTTP2_ERR_REFUSED_STREAM)
        h2_stat(s, H2_STAT_STREAM_REFUSED_ERRORS);
    if (lib_error != NGHTTP2_ERR_HTTP_HEADER && lib_error != NGHTTP2_ERR_HTTP_MESSAGING)
        return 0;
    h2_stat(s, H2_STAT_RX_MESSAGING_ERROR);
    if (!s->opts.stream_error_on_invalid)
        return h2_fail(s, H2_FAULT_MESSAGING);
    if (st)
        st->details = lib_error == NGHTTP2_ERR_HTTP_HEADER ? "http2.invalid.header.field" : bad_message;
    return 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *user)
{
    (void)ng;
    struct h2_session *s = session_of(user);
    struct h2_stream *st = stream_of(s, id);
    if (!st)
        return 0;
    if (s->held == st)
        h2_tell_data(s, false);
    st = stream_of(s, id);
    if (!st)
        return 0;
    h2_recent_add(st->end_received || st->reset_received ? &s->ended : &s->resets, id);
    bool remote = st->reset_received;
    if (!s->opts.is_server && s->goaway_received && code == H2_REFUSED_STREAM)
        remote = true; /* above the GOAWAY's last stream */
    if (!remote && !st->details && code == H2_PROTOCOL_ERROR) {
        h2_stat(s, H2_STAT_RX_MESSAGING_ERROR); /* a body of another length than promised */
        st->details = bad_message;
    }
    nghttp2_session_set_stream_user_data(s->ng, id, NULL);
    s->cb->on_close(s->ctx, st, remote && st->reset_received ? st->reset_code : code, remote,
                    st->details);
    h2_stream_drop(st);
    return 0;
}

void h2_set_recv_callbacks(nghttp2_session_callbacks *cbs)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(cbs, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(cbs, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(cbs, on_invalid_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cbs, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cbs, on_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cbs, on_invalid_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cbs, on_stream_close);
}
