/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of an HTTP/2 connection that both roles share. Runs on the conn's loop.
 *
 *     stream:  open --(both sides ended, or reset)--> [closing, while paused] --> finished
 *
 * Invariants: the session is fed from a buf of our own and pulled into one, so that the conn may die
 * in any callback; frames are pulled once a turn, and not while conn_out is above its watermark;
 * bytes are told to a sink only while it isn't paused, and their window goes back only then. A
 * paused stream holds at most what its window let in. Memory goes at the turn's end.
 */
#include "http/h2_half.h"

#include "base/mem.h"

#define PULL_BYTES ((size_t)1024 * 1024) /* where no buffer limit is set */

/* See coalesce. */
#define COALESCE_STREAMS 64
#define COALESCE_US 80

static __thread uint32_t streams_alive; /* this thread's, of both roles */
static __thread struct recycler stream_recycler = {.max_idle = 256,
                                                   .object_bytes = sizeof(struct h2_http_stream)};

static struct h2_half *half_of(void *p)
{
    return OBJECT(h2_half, H2_HALF_MAGIC, p);
}

/* ---- streams ---- */

struct h2_http_stream *h2_http_stream_new(struct h2_half *half, const struct http_stream_ops *ops)
{
    struct h2_http_stream *st = recycler_get(&stream_recycler);
    memset(st, 0, sizeof(*st));
    st->half = half;
    st->base.ops = ops;
    st->base.conn = half->conn;
    st->base.protocol = HTTP_2;
    streams_alive++;
    list_push_back(&half->streams, &st->node);
    list_init(&st->due_node);
    return st;
}

static void free_stream(struct deferred *d)
{
    struct h2_http_stream *st = CONTAINER_OF(d, h2_http_stream, deferred);
    buf_fini(&st->pending);
    if (st->base.arena == &st->own)
        arena_fini(&st->own);
    recycler_put(&stream_recycler, st);
}

uint32_t h2_reset_code(const struct http_stream *s, enum stream_reset why)
{
    switch (why) {
    case STREAM_LOCAL_REFUSED:
        return H2_REFUSED_STREAM;
    case STREAM_CONNECT_ERROR:
        return H2_CONNECT_ERROR;
    case STREAM_PROTOCOL_ERROR:
        return H2_PROTOCOL_ERROR;
    default:
        /* A client that sees NO_ERROR would take half a response for a whole one. */
        if (s->is_server)
            return h2_stream_from(s)->local_ended ? H2_NO_ERROR : H2_INTERNAL_ERROR;
        return H2_CANCEL;
    }
}

void h2_http_stream_finish(struct h2_http_stream *st, enum stream_reset why, const char *details)
{
    struct h2_half *half = st->half;
    if (st->finished)
        return;
    st->finished = true;
    if (st->codec && !half->dead) {
        h2_stream_reset(st->codec, h2_reset_code(&st->base, why));
        h2_half_flush_later(half);
    }
    st->codec = NULL;
    streams_alive--;
    list_remove(&st->node);
    list_remove(&st->due_node);
    if (half->dead)
        st->base.conn = NULL;
    if (!st->is_head_done && st->base.is_server)
        half->heads_open--;
    struct loop *loop = conn_loop(half->conn);
    half->active_at_us = loop_now_us(loop);
    bool told = st->told;
    if (told)
        st->base.sink->ops->on_closed(st->base.sink, why, details ? details : "");
    loop_defer(loop, &st->deferred, free_stream);
    if (told)
        half->role->stream_ended(half->owner);
}

static void tell_later(struct h2_http_stream *st)
{
    list_remove(&st->due_node);
    list_push_back(&st->half->due, &st->due_node);
    h2_half_flush_later(st->half);
}

void h2_http_stream_fail_later(struct h2_http_stream *st, enum stream_reset why, const char *details)
{
    buf_drain(&st->pending, st->pending.len);
    st->pending_end = false;
    st->pending_trailers = NULL;
    st->closing = true;
    st->close_why = why;
    st->close_details = details;
    tell_later(st);
}

static void give_back(struct h2_http_stream *st)
{
    if (st->paused || !st->owed)
        return;
    if (st->codec) {
        h2_stream_consume(st->codec, st->owed);
        h2_half_flush_later(st->half); /* nothing is written unless a WINDOW_UPDATE is worth it */
    }
    st->owed = 0;
}

static void tell_data(struct h2_http_stream *st, struct buf *data, bool end)
{
    st->owed += data->len;
    st->remote_ended |= end;
    st->base.sink->ops->on_data(st->base.sink, data, end);
    buf_drain(data, data->len);
    if (!st->finished)
        give_back(st);
}

/* What came while the sink was paused. `force`: the connection is gone, the bytes are still good. */
static void tell_pending(struct h2_http_stream *st, bool force)
{
    if (st->finished || (st->paused && !force))
        return;
    if (st->held_head) /* client: `pending` goes the other way */
        return;
    if (st->pending.len || st->pending_end) {
        struct buf data = st->pending;
        bool end = st->pending_end;
        st->pending = BUF_INIT;
        st->pending_end = false;
        tell_data(st, &data, end);
    }
    if (st->pending_trailers && !st->finished && (force || !st->paused)) {
        struct headers *h = st->pending_trailers;
        st->pending_trailers = NULL;
        st->remote_ended = true;
        st->base.sink->ops->on_trailers(st->base.sink, h);
    }
    bool left = st->pending.len || st->pending_end || st->pending_trailers;
    if (st->closing && !st->finished && !left)
        h2_http_stream_finish(st, st->close_why, st->close_details);
}

void h2_half_on_data(void *ctx, struct h2_stream *codec, struct buf *data, bool end)
{
    struct h2_half *half = half_of(ctx);
    if (half->dead)
        return;
    struct h2_http_stream *st = h2_stream_user(codec);
    st->base.bytes_received += data->len;
    st->base.wire_bytes_received += data->len + 9;
    if (!st->paused && !st->pending.len) {
        tell_data(st, data, end);
        return;
    }
    buf_move(&st->pending, data);
    st->pending_end |= end;
}

void h2_half_on_trailers(struct h2_http_stream *st, struct headers *h)
{
    st->pending_trailers = h;
    if (!st->paused)
        tell_pending(st, false);
}

static enum stream_reset why_of(const struct h2_http_stream *st, uint32_t code, bool remote)
{
    bool remote_ended = st->remote_ended || st->pending_end || st->pending_trailers;
    /* A client has its response; what is left of the request isn't wanted (RFC 9113 section 8.1). */
    if (code == H2_NO_ERROR && (remote_ended || (st->base.is_server && !remote)))
        return STREAM_OK;
    if (!remote)
        return code == H2_REFUSED_STREAM ? STREAM_REMOTE_REFUSED : STREAM_PROTOCOL_ERROR;
    if (code == H2_REFUSED_STREAM)
        return STREAM_REMOTE_REFUSED;
    return code == H2_CONNECT_ERROR ? STREAM_CONNECT_ERROR : STREAM_REMOTE;
}

void h2_half_on_close(void *ctx, struct h2_stream *codec, uint32_t code, bool remote, const char *details)
{
    struct h2_half *half = half_of(ctx);
    if (half->dead)
        return;
    struct h2_http_stream *st = h2_stream_user(codec);
    enum stream_reset why = why_of(st, code, remote);
    if (!details && remote)
        details = why == STREAM_REMOTE_REFUSED ? "http2.remote_refuse" : "http2.remote_reset";
    st->codec = NULL;
    st->owed = 0; /* the codec gave it back */
    if (why == STREAM_OK && (st->pending.len || st->pending_end || st->pending_trailers)) {
        st->closing = true;
        return;
    }
    h2_http_stream_finish(st, why, why == STREAM_OK ? NULL : details);
}

void h2_half_on_stream_sent(void *ctx, struct h2_stream *codec)
{
    struct h2_half *half = half_of(ctx);
    struct h2_http_stream *st = h2_stream_user(codec);
    if (half->dead || st->finished || !st->above)
        return;
    st->above = false;
    if (st->base.sink->ops->on_watermark)
        st->base.sink->ops->on_watermark(st->base.sink, false);
}

/* ---- operations ---- */

void h2_http_stream_check_queue(struct h2_http_stream *st)
{
    size_t limit = st->half->buffer_limit;
    if (!limit || st->above || !st->codec || h2_stream_queued(st->codec) <= limit)
        return;
    st->above = true;
    if (st->base.sink->ops->on_watermark)
        st->base.sink->ops->on_watermark(st->base.sink, true);
}

void h2_op_send_data(struct http_stream *s, struct buf *data, bool end)
{
    struct h2_http_stream *st = h2_stream_from(s);
    s->bytes_sent += data->len;
    s->wire_bytes_sent += data->len + 9;
    st->local_ended |= end;
    if (st->held_head) {
        buf_move(&st->pending, data);
        return;
    }
    if (!st->codec) { /* reset by the peer, told soon */
        buf_drain(data, data->len);
        return;
    }
    h2_stream_send_data(st->codec, data, end);
    h2_half_flush_later(st->half);
    h2_http_stream_check_queue(st);
}

static uint64_t text_bytes(const struct headers *h)
{
    return h->bytes;
}

void h2_op_send_trailers(struct http_stream *s, struct headers *h)
{
    struct h2_http_stream *st = h2_stream_from(s);
    st->local_ended = true;
    if (!st->codec)
        return;
    s->header_bytes_sent += text_bytes(h);
    s->wire_bytes_sent += text_bytes(h) + 9;
    if (h2_stream_send_trailers(st->codec, h) != 0)
        h2_http_stream_fail_later(st, STREAM_LOCAL, "http2.trailers_not_sendable");
    h2_half_flush_later(st->half);
}

void h2_op_reset(struct http_stream *s, enum stream_reset why)
{
    h2_http_stream_finish(h2_stream_from(s), why, NULL);
}

void h2_op_pause(struct http_stream *s, bool on)
{
    struct h2_http_stream *st = h2_stream_from(s);
    if (st->finished)
        return;
    if (on) {
        st->paused++;
        return;
    }
    if (COUNT_IF(!st->paused, "HTTP/2 stream resumed without a pause"))
        return;
    if (--st->paused)
        return;
    give_back(st);
    if (st->pending.len || st->pending_end || st->pending_trailers || st->closing)
        tell_later(st);
}

size_t h2_op_queued(const struct http_stream *s)
{
    const struct h2_http_stream *st = h2_stream_from(s);
    return st->codec ? h2_stream_queued(st->codec) : st->held_head ? st->pending.len : 0;
}

/* ---- reading and writing ---- */

static void tell_due(struct h2_half *half)
{
    struct list *node;
    while (!half->dead && (node = list_pop_front(&half->due))) {
        struct h2_http_stream *st = LIST_ENTRY(node, h2_http_stream, due_node);
        if (st->closing && st->close_why != STREAM_OK)
            h2_http_stream_finish(st, st->close_why, st->close_details);
        else
            tell_pending(st, false);
    }
}

static void end_on_fault(struct h2_half *half)
{
    enum h2_fault fault = h2_session_fault(half->session);
    half->role->end(half->owner, END_FLUSHED, CONN_CLOSE_LOCAL,
                    fault ? h2_fault_text(fault) : NULL);
}

/* Streams' ends are told from inside the pull, and may end the connection. */
static void pull(struct h2_half *half)
{
    struct buf *conn_buf = conn_out(half->conn);
    size_t limit = half->buffer_limit ? half->buffer_limit : PULL_BYTES;
    if (conn_buf->len >= limit)
        return;
    struct buf out = BUF_INIT;
    h2_session_pull(half->session, &out, limit - conn_buf->len);
    if (half->dead || !out.len) {
        buf_fini(&out);
        return;
    }
    buf_move(conn_buf, &out);
    conn_flush_later(half->conn);
}

static void flush(struct turn_task *t)
{
    struct h2_half *half = half_of(CONTAINER_OF(t, h2_half, flush));
    check_context.connection_id = conn_id(half->conn);
    tell_due(half);
    if (!half->dead && !half->out_above)
        pull(half);
    if (!half->dead && h2_session_is_over(half->session))
        end_on_fault(half);
    if (!half->dead)
        half->role->settle(half->owner);
}

void h2_half_flush_later(struct h2_half *half)
{
    if (!half->dead)
        loop_at_turn_end(conn_loop(half->conn), &half->flush);
}

void h2_half_flush_now(struct h2_half *half)
{
    pull(half);
}

void h2_half_on_watermark(struct h2_half *half, bool above)
{
    half->out_above = above;
    if (!above)
        h2_half_flush_later(half);
}

void h2_half_on_drained(struct h2_half *half)
{
    if (h2_session_wants_write(half->session))
        h2_half_flush_later(half);
}

/* A peer on another core that answers while we read hands us its frames one by one, and each costs a
 * turn: wake-up, poll, read and write. With many streams under way a few microseconds' patience brings
 * several at once, and the peers get ours so, too (docs/decisions/0009). */
static void coalesce(const struct h2_half *half)
{
    if (streams_alive >= COALESCE_STREAMS)
        loop_coalesce(conn_loop(half->conn), COALESCE_US);
}

void h2_half_feed(struct h2_half *half)
{
    buf_move(&half->in, conn_in(half->conn));
    if (!half->in.len)
        return;
    coalesce(half);
    enum h2_fault fault =
        h2_session_feed(half->session, &half->in, loop_now_us(conn_loop(half->conn)));
    if (half->dead)
        return;
    if (fault) {
        pull(half);
        if (!half->dead)
            end_on_fault(half);
        return;
    }
    h2_half_flush_later(half);
}

/* ---- keep-alive ---- */

static void plan_ping(struct h2_half *half)
{
    const struct h2_keepalive *k = &half->keepalive;
    if (!k->interval_ms)
        return;
    uint64_t jitter = k->interval_ms * k->jitter_pct / 100;
    timer_set_ms(&half->ping,
                 k->interval_ms + rng_below(loop_rng(conn_loop(half->conn)), jitter + 1));
}

static void send_ping(struct h2_half *half)
{
    half->ping_sent = true;
    h2_session_ping(half->session);
    h2_half_flush_later(half);
    if (half->keepalive.timeout_ms)
        timer_set_ms(&half->ping, half->keepalive.timeout_ms);
}

static void on_ping_timer(struct timer *t)
{
    struct h2_half *half = half_of(CONTAINER_OF(t, h2_half, ping));
    if (!half->ping_sent)
        send_ping(half);
    else
        half->role->end(half->owner, END_NOW, CONN_CLOSE_LOCAL, "http2.keepalive_timeout");
}

void h2_half_on_ping_ack(void *ctx)
{
    struct h2_half *half = half_of(ctx);
    if (half->dead)
        return;
    half->ping_sent = false;
    timer_clear(&half->ping);
    plan_ping(half);
}

void h2_half_ping_if_idle(struct h2_half *half)
{
    uint64_t idle_ms = half->keepalive.idle_ms;
    if (!idle_ms || half->ping_sent || !list_is_empty(&half->streams))
        return;
    if (loop_now_us(conn_loop(half->conn)) - half->active_at_us >= idle_ms * 1000)
        send_ping(half);
}

/* ---- life ---- */

struct h2_half *h2_half_new(struct conn *conn, void *owner, const struct h2_role *role,
                            const struct h2_opts *opts, const struct h2_callbacks *cb,
                            const struct h2_keepalive *keepalive, size_t buffer_limit)
{
    struct h2_half *half = NEW(h2_half);
    half->magic = H2_HALF_MAGIC;
    half->role = role;
    half->owner = owner;
    half->conn = conn;
    half->buffer_limit = buffer_limit;
    half->keepalive = *keepalive;
    half->flush.run = flush;
    half->active_at_us = loop_now_us(conn_loop(conn));
    list_init(&half->streams);
    list_init(&half->due);
    timer_init(&half->ping, conn_loop(conn), on_ping_timer);
    half->session = h2_session_new(opts, cb, half, NULL);
    if (!half->session) {
        mem_free(half);
        return NULL;
    }
    conn_set_read_chunk(conn, H2_READ_CHUNK_BYTES);
    plan_ping(half);
    h2_half_flush_later(half); /* SETTINGS */
    return half;
}

static void free_half(struct deferred *d)
{
    struct h2_half *half = CONTAINER_OF(d, h2_half, deferred);
    h2_session_free(&half->session);
    buf_fini(&half->in);
    half->magic = 0;
    mem_free(half);
}

void h2_half_destroy(struct h2_half *half, enum stream_reset why, const char *details)
{
    if (half->dead)
        return;
    half->dead = true;
    turn_task_cancel(&half->flush);
    timer_clear(&half->ping);
    struct list *node;
    while ((node = list_first(&half->streams))) {
        struct h2_http_stream *st = LIST_ENTRY(node, h2_http_stream, node);
        if (st->closing && st->close_why == STREAM_OK)
            tell_pending(st, true);
        h2_http_stream_finish(st, why, details);
    }
    loop_defer(conn_loop(half->conn), &half->deferred, free_half);
}
