/* SPDX-License-Identifier: Apache-2.0
 *
 * Header blocks received: from HEADERS and its CONTINUATIONs to a list in our form, and what follows
 * from it. A block that lies whole in one frame is decoded where it lies; others are put together
 * first, up to the frames that h2_limits.c allows. Every block is decoded, wanted or not: the
 * tables of both sides must stay the same (RFC 9113 section 4.3). A stream may be gone after any
 * call upwards: nothing touches it after one.
 *
 * Beyond h2_message.c's rules a Host that differs from :authority is malformed (section 8.3.1,
 * request smuggling by two names), and cookie crumbs are joined (section 8.2.3).
 */
#include "http/codec/h1.h"
#include "http/codec/h2_priv.h"
#include "http/codec/uri.h"

#include "base/mem.h"

#define SCRATCH_BYTES 4096 /* most blocks need no more */

static const char too_large[] = "http2.header_overflow", too_many[] = "http2.too_many_headers";

/* ---- whose block it is ---- */

static struct headers *new_block(struct arena *arena)
{
    struct headers *h = arena_alloc(arena, sizeof(*h));
    if (h)
        headers_init(h, arena);
    return h;
}

static void receive_on(struct h2_session *s, struct h2_stream *st)
{
    s->receiving = st && !st->dropping ? st : NULL;
    if (!s->receiving)
        return;
    h2_message_begin(st);
    st->block = new_block(st->arena);
    st->underscored = false;
    st->overflow = st->block ? NULL : too_large;
}

static void refuse(struct h2_session *s, uint32_t id)
{
    h2_stat(s, H2_STAT_STREAM_REFUSED_ERRORS);
    h2_recent_add(&s->resets, id);
    h2_put_reset(s, id, H2_REFUSED_STREAM);
}

static void open_for_peer(struct h2_session *s, uint32_t id)
{
    s->last_peer_id = id;
    if (s->goaway_sent)
        return; /* the peer knows that it isn't looked at */
    if (s->stream_count >= s->opts.max_concurrent_streams) {
        if (s->settings_acked)
            h2_fail_with(s, H2_PROTOCOL_ERROR, "HEADERS: more streams than allowed");
        else
            refuse(s, id);
        return;
    }
    struct h2_stream *st = h2_stream_new(s, id);
    st->arena = s->cb->on_begin(s->ctx, st, &st->user);
    if (st->arena) {
        receive_on(s, st);
        return;
    }
    h2_stream_drop(st);
    refuse(s, id);
}

/* HEADERS on a stream that isn't there (sections 5.1 and 5.1.1). */
static void check_closed(struct h2_session *s, uint32_t id)
{
    if (!id || (h2_stream_is_idle(s, id) && !s->opts.is_server))
        h2_fail_with(s, H2_PROTOCOL_ERROR, id ? "HEADERS on an idle stream" : "HEADERS on stream 0");
    else if (!h2_stream_was_ended(s, id))
        return;
    else if (!h2_recent_has(&s->ended, id) && s->counts.streams < H2_RECENT_IDS)
        h2_fail_with(s, H2_PROTOCOL_ERROR, "HEADERS: stream id below an earlier one");
    else
        h2_fail_with(s, H2_STREAM_CLOSED, "HEADERS on a closed stream");
}

void h2_headers_begin(struct h2_session *s, const struct h2_frame *f)
{
    struct h2_stream *st = h2_stream_find(s, f->id);
    s->receiving = NULL;
    s->in_block = true;
    s->block_frame = *f;
    if (st && st->end_received)
        h2_fail_with(s, H2_STREAM_CLOSED, "HEADERS on a half-closed stream");
    else if (st)
        receive_on(s, st);
    else if (s->opts.is_server && !(f->id & 1))
        h2_fail_with(s, H2_PROTOCOL_ERROR, "HEADERS: even stream id");
    else if (s->opts.is_server && f->id > s->last_peer_id)
        open_for_peer(s, f->id);
    else
        check_closed(s, f->id);
}

/* ---- fields ---- */

/* False: the arena overflowed. */
static bool add_header(struct headers *h, const struct hpack_field *f)
{
    struct str name = f->name, value = f->value;
    size_t name_copy = f->flags & HPACK_NAME_STATIC ? 0 : name.n;
    size_t value_copy = f->flags & HPACK_VALUE_STATIC ? 0 : value.n;
    char *p = name_copy + value_copy ? arena_bytes(h->arena, name_copy + value_copy) : NULL;
    if (!p && name_copy + value_copy)
        return false;
    if (value_copy) {
        memcpy(p, value.p, value_copy);
        value.p = p;
    }
    if (name_copy) {
        memcpy(p + value_copy, name.p, name_copy);
        name.p = p + value_copy;
    }
    bool added = f->id != HDR_OTHER ? headers_add_id_ref(h, (enum header_id)f->id, value)
                                    : headers_add_ref(h, name, value);
    if (added && f->flags & HPACK_NEVER_INDEX)
        h->items[h->count - 1].never_index = true;
    return added;
}

/* True: leave the field out. */
static bool is_underscored_away(struct h2_session *s, struct h2_stream *st, const struct hpack_field *f)
{
    if (!(f->flags & HPACK_UNDERSCORED) || s->opts.underscore == H1_UNDERSCORE_ALLOW)
        return false;
    if (s->opts.underscore == H1_UNDERSCORE_REJECT)
        st->underscored = true;
    else
        h2_stat(s, H2_STAT_DROPPED_UNDERSCORES);
    return true;
}

static void take_field(struct h2_session *s, struct h2_stream *st, const struct hpack_field *f)
{
    if (st->malformed)
        return;
    if (!h2_message_field(st, f)) {
        st->malformed = h2_bad_field;
        return;
    }
    struct headers *h = st->block;
    if (st->overflow)
        return;
    if (h->bytes + f->name.n + f->value.n > s->opts.max_header_bytes)
        st->overflow = too_large;
    else if (h->count >= s->opts.max_headers)
        st->overflow = too_many;
    else if (!is_underscored_away(s, st, f) && !add_header(h, f))
        st->overflow = too_large;
}

static enum hpack_step decode_fields(struct h2_session *s, const uint8_t *p, size_t n, char *scratch)
{
    struct hpack_field f;
    enum hpack_step step;
    hpack_decode_start(&s->decoder, p, n, scratch);
    while ((step = hpack_decode_next(&s->decoder, &f)) == HPACK_FIELD) {
        if (s->receiving)
            take_field(s, s->receiving, &f);
    }
    return step;
}

static void decode(struct h2_session *s, const uint8_t *p, size_t n)
{
    char small[SCRATCH_BYTES], *large = NULL;
    enum hpack_step step = HPACK_NO_MEMORY;
    if (HPACK_HUFFMAN_MAX(n) > sizeof(small))
        large = mem_try_alloc(HPACK_HUFFMAN_MAX(n));
    if (HPACK_HUFFMAN_MAX(n) <= sizeof(small) || large)
        step = decode_fields(s, p, n, large ? large : small);
    mem_free(large);
    if (step == HPACK_BAD)
        h2_fail_with(s, H2_COMPRESSION_ERROR, "header block can't be decoded");
    else if (step == HPACK_NO_MEMORY)
        h2_fail(s, H2_FAULT_NO_MEMORY);
}

/* ---- whole lists ---- */

/* Inside the proxy a request always has :authority and no Host. False: the two differ, or it is no host and port, or says
 * who the user is (section 8.3.1). */
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

static void drop_foreign_trailers(struct headers *h)
{
    for (uint32_t i = h->count; i-- > 0;)
        if (!header_may_be_trailer(h->items[i].id))
            headers_remove_at(h, i);
}

/* ---- what follows ---- */

static void refuse_request(struct h2_session *s, struct h2_stream *st, unsigned status, const char *details)
{
    st->dropping = true;
    uint32_t id = st->id;
    s->cb->on_invalid(s->ctx, st, status, details);
    if (h2_stream_find(s, id) == st && !st->responded)
        h2_stream_abort(st, H2_INTERNAL_ERROR, details);
}

static void refuse_message(struct h2_session *s, struct h2_stream *st, const char *details)
{
    h2_stat(s, H2_STAT_RX_MESSAGING_ERROR);
    if (s->opts.stream_error_on_invalid)
        h2_stream_abort(st, H2_PROTOCOL_ERROR, details);
    else
        h2_fail(s, H2_FAULT_MESSAGING);
}

/* False: told already. */
static bool is_block_fine(struct h2_session *s, struct h2_stream *st, bool end)
{
    bool is_request = s->opts.is_server && !st->head_received;
    if (st->malformed || !h2_message_block(st, end)) {
        refuse_message(s, st, st->malformed ? st->malformed : h2_bad_message);
    } else if (st->overflow) {
        h2_stat(s, H2_STAT_HEADER_OVERFLOW);
        if (is_request)
            refuse_request(s, st, 431, st->overflow);
        else
            h2_stream_abort(st, H2_INTERNAL_ERROR, st->overflow);
    } else if (st->underscored) {
        h2_stat(s, H2_STAT_REJECTED_UNDERSCORES);
        h2_stream_abort(st, H2_PROTOCOL_ERROR, "http2.unexpected_underscore");
    } else if (is_request && !settle_authority(st->block)) {
        refuse_message(s, st, h2_bad_message);
    } else if (is_request && !join_cookies(st->block)) {
        refuse_request(s, st, 431, too_large);
    } else {
        return true;
    }
    return false;
}

static void tell(struct h2_session *s, struct h2_stream *st, bool end)
{
    struct headers *h = st->block;
    bool trailers = st->head_received, informational = h2_message_is_informational(st);
    if (trailers) {
        drop_foreign_trailers(h);
        h2_stat(s, H2_STAT_TRAILERS);
    }
    st->head_received |= !informational;
    s->cb->on_headers(s->ctx, st, h, informational, trailers, end);
}

static void end_block(struct h2_session *s, const uint8_t *p, size_t n)
{
    bool end = s->block_frame.flags & H2_END_STREAM;
    s->in_block = false;
    decode(s, p, n);
    struct h2_stream *st = s->receiving;
    s->receiving = NULL;
    if (s->fault)
        return;
    if (!st) {
        st = end ? h2_stream_find(s, s->block_frame.id) : NULL; /* trailers of a refused request */
        if (st)
            st->end_received = true;
    } else if (is_block_fine(s, st, end)) {
        st->end_received |= end;
        tell(s, st, end);
    } else if (end && (st = h2_stream_find(s, s->block_frame.id))) {
        st->end_received = true; /* answered with an error */
    }
    if (end && !s->fault)
        h2_stream_end_received(s, s->block_frame.id);
}

/* ---- frames ---- */

/* Sections 6.1 and 6.2: what stands around the fragment. False: it doesn't fit. */
static bool strip(struct h2_session *s, const struct h2_frame *f, const uint8_t **p, size_t *n)
{
    size_t before = 0, pad = 0;
    if (f->flags & H2_PADDED) {
        pad = *n ? **p : 0;
        before = 1;
    }
    size_t priority = before;
    if (f->flags & H2_HAS_PRIORITY)
        before += 5;
    if (before > *n) {
        h2_fail_with(s, H2_FRAME_SIZE_ERROR, "HEADERS: too short");
        return false;
    }
    if (pad > *n - before) {
        h2_fail_with(s, H2_PROTOCOL_ERROR, "HEADERS: padding past its end");
        return false;
    }
    if (f->flags & H2_HAS_PRIORITY && (h2_get_u32(*p + priority) & H2_MAX_ID) == f->id) {
        h2_fail_with(s, H2_PROTOCOL_ERROR, "HEADERS: stream depends on itself");
        return false;
    }
    *p += before;
    *n -= before + pad;
    return true;
}

static void add_fragment(struct h2_session *s, const uint8_t *p, size_t n)
{
    size_t most = (size_t)(h2_continuations_allowed(&s->opts) + 1) * H2_FRAME_BYTES;
    if (s->block.len + n > most)
        h2_fail(s, H2_FAULT_CONTINUATION_FLOOD);
    else
        buf_append(&s->block, p, n);
}

void h2_on_headers_frame(struct h2_session *s, const struct h2_frame *f, const uint8_t *payload)
{
    size_t n = f->length;
    if (!strip(s, f, &payload, &n))
        return;
    if (f->flags & H2_END_HEADERS)
        end_block(s, payload, n);
    else
        add_fragment(s, payload, n);
}

void h2_on_continuation(struct h2_session *s, const struct h2_frame *f, const uint8_t *payload)
{
    add_fragment(s, payload, f->length);
    if (s->fault || !(f->flags & H2_END_HEADERS))
        return;
    struct buf block = s->block;
    s->block = BUF_INIT;
    size_t n = block.len;
    end_block(s, n ? buf_pullup(&block, n) : payload, n);
    buf_fini(&block);
}
