/* SPDX-License-Identifier: Apache-2.0
 *
 * What we send: header lists become nghttp2's without a copy where their text outlives the frame,
 * DATA goes from the stream's queue to the output behind a frame header written here. Runs inside
 * the submitting calls and inside nghttp2_session_mem_send (pull).
 */
#include "http/codec/h2_priv.h"

#include "base/mem.h"

#define STACK_FIELDS 128

enum block_kind { BLOCK_REQUEST, BLOCK_RESPONSE, BLOCK_TRAILERS };

/* Connection-specific fields never go on an HTTP/2 wire (RFC 9113 section 8.2.2). */
#define BIT(id) (1ull << HDR_##id)
#define FORBIDDEN                                                                                  \
    (BIT(CONNECTION) | BIT(KEEP_ALIVE) | BIT(PROXY_CONNECTION) | BIT(TRANSFER_ENCODING) |          \
     BIT(UPGRADE) | BIT(HTTP2_SETTINGS))
#define PSEUDO                                                                                     \
    (BIT(METHOD) | BIT(PATH) | BIT(AUTHORITY) | BIT(SCHEME) | BIT(PROTOCOL) | BIT(STATUS))
/* New at every message: an entry in the dynamic table would only push others out. */
#define UNIQUE (BIT(X_REQUEST_ID) | BIT(TRACEPARENT) | BIT(X_B3_TRACEID) | BIT(B3))

static bool is_sent(const struct headers *h, const struct header *f, enum block_kind kind)
{
    if (f->id >= 64)
        return true;
    uint64_t bit = 1ull << f->id;
    if (bit & FORBIDDEN)
        return false;
    if (bit & PSEUDO) {
        if (kind == BLOCK_TRAILERS)
            return false;
        return (f->id == HDR_STATUS) == (kind == BLOCK_RESPONSE);
    }
    if (f->id == HDR_TE)
        return str_eq_nocase(f->value, STR("trailers"));
    return f->id != HDR_HOST || !headers_has_id(h, HDR_AUTHORITY);
}

static void put_field(nghttp2_nv *nv, const struct header *f, uint8_t flags)
{
    bool unique = f->id < 64 && (UNIQUE >> f->id & 1);
    if (f->never_index || unique)
        flags |= NGHTTP2_NV_FLAG_NO_INDEX;
    *nv = (nghttp2_nv){(uint8_t *)(uintptr_t)f->name.p, (uint8_t *)(uintptr_t)f->value.p,
                       f->name.n, f->value.n, flags};
}

/* Pseudo-header fields first (section 8.3). Returns the count. */
static size_t fill(nghttp2_nv *nv, const struct headers *h, enum block_kind kind, uint8_t flags)
{
    size_t n = 0;
    for (uint32_t i = 0; i < h->count; i++) {
        if (h->items[i].id <= HDR_STATUS && is_sent(h, &h->items[i], kind))
            put_field(&nv[n++], &h->items[i], flags);
    }
    for (uint32_t i = 0; i < h->count; i++) {
        if (h->items[i].id > HDR_STATUS && is_sent(h, &h->items[i], kind))
            put_field(&nv[n++], &h->items[i], flags);
    }
    return n;
}

/* ---- DATA ---- */

static int submit_trailers(struct h2_stream *st);

static ssize_t on_read(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t length,
                       uint32_t *data_flags, nghttp2_data_source *source, void *user)
{
    (void)ng, (void)buf, (void)user, (void)id;
    struct h2_stream *st = source->ptr;
    size_t n = st->queue.len < length ? st->queue.len : length;
    if (n < st->queue.len || (n && !st->send_ended)) {
        *data_flags |= NGHTTP2_DATA_FLAG_NO_COPY;
        return (ssize_t)n;
    }
    if (!st->send_ended) {
        st->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *data_flags |= NGHTTP2_DATA_FLAG_NO_COPY | NGHTTP2_DATA_FLAG_EOF;
    if (st->trailers) {
        *data_flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (submit_trailers(st) != 0)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return (ssize_t)n;
}

static void note_sent(struct h2_stream *st)
{
    if (!st->above || st->queue.len > st->watermark / 2)
        return;
    st->above = false;
    list_push_back(&st->session->sent, &st->sent_node);
}

/* Padding is never asked for, so a frame is its nine bytes and the payload. */
static int on_send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *framehd,
                        size_t length, nghttp2_data_source *source, void *user)
{
    struct h2_session *s = OBJECT(h2_session, H2_SESSION_MAGIC, user);
    (void)source; /* dangles where the stream was reset after this frame had been held up below */
    struct h2_stream *st = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
    if (!st)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (s->out->len >= s->out_max)
        return NGHTTP2_ERR_WOULDBLOCK;
    buf_append(s->out, framehd, 9);
    buf_move_n(s->out, &st->queue, length);
    note_sent(st);
    return 0;
}

/* ---- header blocks ---- */

/* The stream's own arena outlives its frames; text of another arena is copied by the library. */
static int submit_block(struct h2_stream *st, const struct headers *h, enum block_kind kind, bool end,
                        bool informational)
{
    struct h2_session *s = st->session;
    nghttp2_nv stack[STACK_FIELDS], *nv = stack;
    if (h->count > STACK_FIELDS && !(nv = mem_try_alloc(h->count * sizeof(*nv))))
        return ERR_NOMEM;
    uint8_t flags = h->arena == st->arena
                        ? NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE
                        : NGHTTP2_NV_FLAG_NONE;
    size_t n = fill(nv, h, kind, flags);
    nghttp2_data_provider body = {.source.ptr = st, .read_callback = on_read};
    int rv;
    if (kind == BLOCK_REQUEST) {
        rv = nghttp2_submit_request(s->ng, NULL, nv, n, end ? NULL : &body, st);
        if (rv > 0) {
            st->id = rv;
            rv = 0;
        }
    } else if (kind == BLOCK_TRAILERS) {
        rv = nghttp2_submit_trailer(s->ng, st->id, nv, n);
    } else if (informational) {
        rv = nghttp2_submit_headers(s->ng, NGHTTP2_FLAG_NONE, st->id, NULL, nv, n, NULL);
    } else {
        rv = nghttp2_submit_response(s->ng, st->id, nv, n, end ? NULL : &body);
    }
    if (nv != stack)
        mem_free(nv);
    if (rv == 0)
        s->counts.headers_queued++;
    return rv == 0 ? 0 : rv == NGHTTP2_ERR_NOMEM ? ERR_NOMEM : ERR_STATE;
}

static int submit_trailers(struct h2_stream *st)
{
    const struct headers *h = st->trailers;
    st->trailers = NULL;
    return submit_block(st, h, BLOCK_TRAILERS, true, false);
}

struct h2_stream *h2_session_request(struct h2_session *s, const struct headers *h, bool end,
                                     struct arena *arena, void *stream_user)
{
    if (s->fault || s->goaway_received || s->opts.is_server || s->goaway_submitted)
        return NULL;
    if (s->stream_count >= h2_session_peer_max_streams(s) || s->stream_count >= s->opts.max_concurrent_streams)
        return NULL;
    struct h2_stream *st = h2_stream_new(s, 0);
    st->user = stream_user;
    st->arena = arena;
    st->responded = true;
    st->send_ended = end;
    struct str method = headers_get_id(h, HDR_METHOD);
    st->is_connect = str_eq(method, STR("CONNECT"));
    if (submit_block(st, h, BLOCK_REQUEST, end, false) != 0) {
        h2_stream_drop(st);
        return NULL;
    }
    return st;
}

int h2_stream_respond(struct h2_stream *st, const struct headers *h, bool end)
{
    if (st->responded || !st->session->opts.is_server)
        return ERR_STATE;
    int rv = submit_block(st, h, BLOCK_RESPONSE, end, false);
    if (rv == 0) {
        st->responded = true;
        st->send_ended = end;
    }
    return rv;
}

int h2_stream_informational(struct h2_stream *st, const struct headers *h)
{
    if (st->responded)
        return ERR_STATE;
    return submit_block(st, h, BLOCK_RESPONSE, false, true);
}

static void go_on(struct h2_stream *st)
{
    if (!st->deferred)
        return;
    st->deferred = false;
    if (nghttp2_session_resume_data(st->session->ng, st->id) == NGHTTP2_ERR_NOMEM)
        h2_fail(st->session, H2_FAULT_NO_MEMORY);
}

void h2_stream_send_data(struct h2_stream *st, struct buf *data, bool end)
{
    if (COUNT_IF(st->send_ended || !st->responded, "HTTP/2 DATA outside of a body")) {
        buf_drain(data, data->len);
        return;
    }
    buf_move(&st->queue, data);
    st->send_ended = end;
    if (st->watermark && st->queue.len > st->watermark)
        st->above = true;
    if (end || st->queue.len)
        go_on(st);
}

int h2_stream_send_trailers(struct h2_stream *st, const struct headers *h)
{
    if (st->send_ended || !st->responded)
        return ERR_STATE;
    if (h->count) { /* an empty trailer section is an empty DATA frame with END_STREAM */
        struct headers *kept = arena_alloc(st->arena, sizeof(*kept));
        if (!kept)
            return ERR_NOMEM;
        *kept = *h;
        if (h->arena != st->arena && !headers_copy(kept, h, st->arena))
            return ERR_NOMEM;
        st->trailers = kept;
    }
    st->send_ended = true;
    go_on(st);
    return 0;
}

size_t h2_stream_queued(const struct h2_stream *st)
{
    return st->queue.len;
}

void h2_stream_set_watermark(struct h2_stream *st, size_t high_bytes)
{
    st->watermark = high_bytes;
}

void h2_stream_consume(struct h2_stream *st, size_t n)
{
    DCHECK(n <= st->unconsumed);
    st->unconsumed -= n;
    if (n && nghttp2_session_consume(st->session->ng, st->id, n) == NGHTTP2_ERR_NOMEM)
        h2_fail(st->session, H2_FAULT_NO_MEMORY);
}

/* ---- frames that went out ---- */

/* A complete response makes the rest of the request worthless (section 8.1), but a tunnel's two
 * directions end one by one. */
static void on_end_sent(struct h2_session *s, int32_t id)
{
    struct h2_stream *st = nghttp2_session_get_stream_user_data(s->ng, id);
    if (!st)
        return;
    st->end_sent = true;
    if (s->opts.is_server && !st->end_received && !st->is_connect &&
        nghttp2_submit_rst_stream(s->ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR) != 0)
        h2_fail(s, H2_FAULT_NO_MEMORY);
}

static void on_goaway_sent(struct h2_session *s, uint32_t code)
{
    h2_stat(s, H2_STAT_GOAWAY_SENT);
    if (code == H2_NO_ERROR || code == s->goaway_code || s->fault)
        return;
    s->fault = H2_FAULT_PROTOCOL; /* the library's own */
    s->fault_code = code;
    s->fault_written = true;
}

static int on_frame_send(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    (void)ng;
    struct h2_session *s = OBJECT(h2_session, H2_SESSION_MAGIC, user);
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        s->counts.headers_queued--;
        break;
    case NGHTTP2_DATA:
        s->counts.data_sent++;
        break;
    case NGHTTP2_RST_STREAM:
        h2_stat(s, H2_STAT_TX_RESET);
        return 0;
    case NGHTTP2_GOAWAY:
        on_goaway_sent(s, frame->goaway.error_code);
        return 0;
    default:
        return 0;
    }
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        on_end_sent(s, frame->hd.stream_id);
    return 0;
}

static int on_frame_not_send(nghttp2_session *ng, const nghttp2_frame *frame, int lib_error, void *user)
{
    (void)ng, (void)lib_error;
    struct h2_session *s = OBJECT(h2_session, H2_SESSION_MAGIC, user);
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    s->counts.headers_queued--;
    struct h2_stream *st = nghttp2_session_get_stream_user_data(s->ng, frame->hd.stream_id);
    /* Failed requests are closed by the library. */
    if (st && s->opts.is_server)
        h2_stream_abort(st, H2_INTERNAL_ERROR, "http2.response_not_sendable");
    return 0;
}

void h2_set_send_callbacks(nghttp2_session_callbacks *cbs)
{
    nghttp2_session_callbacks_set_send_data_callback(cbs, on_send_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(cbs, on_frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cbs, on_frame_not_send);
}
