/* SPDX-License-Identifier: Apache-2.0
 *
 * What the owner submits to be sent. A header list is taken down as it is now and encoded when its
 * turn comes (h2_schedule.c), so that a stream which is reset before then costs the peer nothing.
 * Refuses what HTTP/2 has no place for: connection-specific fields are left out (RFC 9113 section
 * 8.2.2), pseudo-header fields go first wherever they stood (section 8.3).
 */
#include "http/codec/h2_priv.h"

enum block_kind { BLOCK_REQUEST, BLOCK_RESPONSE, BLOCK_TRAILERS };

#define BIT(id) (1ull << HDR_##id)
#define FORBIDDEN                                                                                  \
    (BIT(CONNECTION) | BIT(KEEP_ALIVE) | BIT(PROXY_CONNECTION) | BIT(TRANSFER_ENCODING) |          \
     BIT(UPGRADE) | BIT(HTTP2_SETTINGS))
#define PSEUDO                                                                                     \
    (BIT(METHOD) | BIT(PATH) | BIT(AUTHORITY) | BIT(SCHEME) | BIT(PROTOCOL) | BIT(STATUS))
#define SPECIAL (FORBIDDEN | PSEUDO | BIT(TE) | BIT(HOST))
/* New at every message: an entry in the dynamic table would only push others out. */
#define UNIQUE (BIT(X_REQUEST_ID) | BIT(TRACEPARENT) | BIT(X_B3_TRACEID) | BIT(B3))

static bool is_sent(const struct headers *h, const struct header *f, enum block_kind kind)
{
    if (f->id >= 64 || !(SPECIAL >> f->id & 1))
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
    return !headers_has_id(h, HDR_AUTHORITY);
}

static void put_field(struct h2_block *b, const struct header *f)
{
    bool is_unique = f->id < 64 && UNIQUE >> f->id & 1;
    b->bytes += f->name.n + f->value.n;
    b->fields[b->count++] = (struct hpack_field){
        .name = f->name,
        .value = f->value,
        .id = f->id,
        .flags = (f->never_index ? HPACK_NEVER_INDEX : 0) | (is_unique ? HPACK_UNIQUE : 0),
    };
}

static void fill(struct h2_block *b, const struct headers *h, enum block_kind kind)
{
    for (uint32_t i = 0; i < h->count; i++) {
        if (h->items[i].id <= HDR_STATUS && is_sent(h, &h->items[i], kind))
            put_field(b, &h->items[i]);
    }
    for (uint32_t i = 0; i < h->count; i++) {
        if (h->items[i].id > HDR_STATUS && is_sent(h, &h->items[i], kind))
            put_field(b, &h->items[i]);
    }
}

/* In the stream's arena, which outlives its frames. 0, ERR_NOMEM, or ERR_STATE where it is too large
 * for any peer. */
static int make_block(struct h2_stream *st, const struct headers *h, enum block_kind kind, bool end,
                      struct h2_block **out)
{
    struct headers copy;
    if (h->bytes > H2_SEND_BLOCK_MAX)
        return ERR_STATE;
    if (h->arena != st->arena) {
        if (!headers_copy(&copy, h, st->arena))
            return ERR_NOMEM;
        h = &copy;
    }
    struct h2_block *b = arena_alloc(st->arena, sizeof(*b) + h->count * sizeof(b->fields[0]));
    if (!b)
        return ERR_NOMEM;
    *b = (struct h2_block){.end = end};
    fill(b, h, kind);
    *out = b;
    return 0;
}

struct h2_stream *h2_session_request(struct h2_session *s, const struct headers *h, bool end,
                                     struct arena *arena, void *stream_user)
{
    if (s->fault || s->goaway_received || s->opts.is_server || s->goaway_sent || s->next_id > H2_MAX_ID)
        return NULL;
    if (s->stream_count >= s->peer.max_streams || s->stream_count >= s->opts.max_concurrent_streams)
        return NULL;
    struct h2_stream *st = h2_stream_new(s, 0);
    st->user = stream_user;
    st->arena = arena;
    st->responded = true;
    st->send_ended = end;
    struct str method = headers_get_id(h, HDR_METHOD);
    st->is_connect = str_eq(method, STR("CONNECT"));
    st->is_head_request = str_eq(method, STR("HEAD"));
    struct h2_block *b;
    if (make_block(st, h, BLOCK_REQUEST, end, &b) != 0) {
        h2_stream_drop(st);
        return NULL;
    }
    h2_schedule_head(st, b);
    return st;
}

int h2_stream_respond(struct h2_stream *st, const struct headers *h, bool end)
{
    if (st->responded || !st->session->opts.is_server)
        return ERR_STATE;
    struct h2_block *b;
    int rv = make_block(st, h, BLOCK_RESPONSE, end, &b);
    if (rv != 0)
        return rv;
    st->responded = true;
    st->send_ended = end;
    h2_schedule_head(st, b);
    return 0;
}

int h2_stream_informational(struct h2_stream *st, const struct headers *h)
{
    if (st->responded || !st->session->opts.is_server)
        return ERR_STATE;
    struct h2_block *b;
    int rv = make_block(st, h, BLOCK_RESPONSE, false, &b);
    if (rv == 0)
        h2_schedule_head(st, b);
    return rv;
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
    h2_schedule(st);
}

int h2_stream_send_trailers(struct h2_stream *st, const struct headers *h)
{
    if (st->send_ended || !st->responded)
        return ERR_STATE;
    if (h->count) { /* an empty trailer section is an empty DATA frame with END_STREAM */
        int rv = make_block(st, h, BLOCK_TRAILERS, true, &st->trailers);
        if (rv != 0)
            return rv;
        if (!st->trailers->count)
            st->trailers = NULL;
    }
    st->send_ended = true;
    h2_schedule(st);
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
