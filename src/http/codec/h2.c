/* SPDX-License-Identifier: Apache-2.0
 *
 * An HTTP/2 session's life: options, pulling, faults. nghttp2 does framing, HPACK, stream
 * states and message validation; this wraps it and bounds what a peer can make it do. A session
 * lives on one thread. After a fault nothing more is read, and the only thing still sent is a
 * GOAWAY written here, so that a flooded queue isn't flushed to the flooder first. Limits:
 * h2_recv.c. It refuses to send what nghttp2 hasn't framed whole: `out` always ends at a frame's end.
 */
#include "http/codec/h2_priv.h"

#include "base/mem.h"

#include <stdio.h>

static __thread struct recycler stream_recycler = {.max_idle = 256,
                                                   .object_bytes = sizeof(struct h2_stream)};

struct h2_opts h2_opts_default(bool is_server)
{
    return (struct h2_opts){
        .is_server = is_server,
        .max_concurrent_streams = 1024,
        .initial_stream_window = 16 * 1024 * 1024,
        .initial_connection_window = 24 * 1024 * 1024,
        .hpack_table_bytes = 4096,
        .max_header_bytes = 60 * 1024,
        .max_headers = 100,
        .max_outbound_frames = 10000,
        .max_outbound_control_frames = 1000,
        .max_consecutive_empty_frames = 1,
        .max_priority_per_stream = 100,
        .max_window_update_per_data = 10,
        .max_reset_burst = 1000,
        .max_reset_per_s = 33,
        .max_continuations = 8,
        .max_frame_bytes = 16384,
    };
}

const char *h2_fault_text(enum h2_fault f)
{
    static const char *const texts[] = {
#define X(name, text) [H2_FAULT_##name] = text,
        H2_FAULT_TABLE(X)
#undef X
    };
    return texts[f];
}

const char *h2_stat_name(enum h2_stat stat)
{
    static const char *const names[] = {
#define X(name, text) [H2_STAT_##name] = text,
        H2_STAT_TABLE(X)
#undef X
    };
    return names[stat];
}

void h2_stat(struct h2_session *s, enum h2_stat stat)
{
    if (s->cb->on_stat)
        s->cb->on_stat(s->ctx, stat);
}

static uint32_t fault_code(enum h2_fault fault)
{
    switch (fault) {
    case H2_FAULT_NONE:
        return H2_NO_ERROR;
    case H2_FAULT_PROTOCOL:
    case H2_FAULT_MESSAGING:
        return H2_PROTOCOL_ERROR;
    case H2_FAULT_NO_MEMORY:
        return H2_INTERNAL_ERROR;
    case H2_FAULT_INBOUND_EMPTY_FLOOD:
    case H2_FAULT_PRIORITY_FLOOD:
    case H2_FAULT_WINDOW_UPDATE_FLOOD:
    case H2_FAULT_OUTBOUND_FLOOD:
    case H2_FAULT_OUTBOUND_CONTROL_FLOOD:
    case H2_FAULT_RESET_FLOOD:
    case H2_FAULT_CONTINUATION_FLOOD:
        break;
    }
    return H2_ENHANCE_YOUR_CALM;
}

static void count_fault(struct h2_session *s, enum h2_fault fault)
{
    static const int stats[] = {
        [H2_FAULT_INBOUND_EMPTY_FLOOD] = H2_STAT_INBOUND_EMPTY_FLOOD + 1,
        [H2_FAULT_PRIORITY_FLOOD] = H2_STAT_PRIORITY_FLOOD + 1,
        [H2_FAULT_WINDOW_UPDATE_FLOOD] = H2_STAT_WINDOW_UPDATE_FLOOD + 1,
        [H2_FAULT_OUTBOUND_FLOOD] = H2_STAT_OUTBOUND_FLOOD + 1,
        [H2_FAULT_OUTBOUND_CONTROL_FLOOD] = H2_STAT_OUTBOUND_CONTROL_FLOOD + 1,
        [H2_FAULT_RESET_FLOOD] = H2_STAT_RAPID_RESET + 1,
        [H2_FAULT_CONTINUATION_FLOOD] = H2_STAT_CONTINUATION_FLOOD + 1,
        [H2_FAULT_NO_MEMORY] = 0,
    };
    if (stats[fault])
        h2_stat(s, (enum h2_stat)(stats[fault] - 1));
}

int h2_fail(struct h2_session *s, enum h2_fault fault)
{
    if (!s->fault) {
        s->fault = fault;
        s->fault_code = fault_code(fault);
        count_fault(s, fault);
    }
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

bool h2_check_outbound(struct h2_session *s)
{
    size_t queued = nghttp2_session_get_outbound_queue_size(s->ng);
    size_t control = queued > s->counts.headers_queued ? queued - s->counts.headers_queued : 0;
    if (control > s->opts.max_outbound_control_frames)
        h2_fail(s, H2_FAULT_OUTBOUND_CONTROL_FLOOD);
    else if (queued > s->opts.max_outbound_frames)
        h2_fail(s, H2_FAULT_OUTBOUND_FLOOD);
    return !s->fault;
}

/* ---- streams ---- */

struct h2_stream *h2_stream_new(struct h2_session *s, int32_t id)
{
    struct h2_stream *st = recycler_get(&stream_recycler);
    memset(st, 0, sizeof(*st));
    st->session = s;
    st->id = id;
    list_push_back(&s->streams, &st->node);
    list_init(&st->sent_node);
    s->stream_count++;
    s->counts.streams++;
    return st;
}

void h2_stream_drop(struct h2_stream *st)
{
    struct h2_session *s = st->session;
    size_t owed = st->unconsumed;
    if (s->held == st) {
        owed += s->held_data.len;
        buf_fini(&s->held_data);
        s->held = NULL;
    }
    if (s->receiving == st)
        s->receiving = NULL;
    if (owed && s->ng)
        nghttp2_session_consume_connection(s->ng, owed);
    list_remove(&st->node);
    list_remove(&st->sent_node);
    s->stream_count--;
    buf_fini(&st->queue);
    recycler_put(&stream_recycler, st);
}

/* nghttp2 must not come back with a pointer to it. */
static void detach_and_reset(struct h2_stream *st, uint32_t code)
{
    nghttp2_session *ng = st->session->ng;
    h2_recent_add(&st->session->resets, st->id);
    nghttp2_session_set_stream_user_data(ng, st->id, NULL);
    if (nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, st->id, code) != 0)
        h2_fail(st->session, H2_FAULT_NO_MEMORY);
}

void h2_stream_reset(struct h2_stream *st, uint32_t error_code)
{
    detach_and_reset(st, error_code);
    h2_stream_drop(st);
}

void h2_stream_abort(struct h2_stream *st, uint32_t code, const char *details)
{
    struct h2_session *s = st->session;
    detach_and_reset(st, code);
    s->cb->on_close(s->ctx, st, code, false, details);
    h2_stream_drop(st);
}

void *h2_stream_user(const struct h2_stream *st)
{
    return st->user;
}

void h2_stream_set_user(struct h2_stream *st, void *user)
{
    st->user = user;
}

uint32_t h2_stream_id(const struct h2_stream *st)
{
    return (uint32_t)st->id;
}

/* ---- the session ---- */

static int on_error_text(nghttp2_session *ng, int code, const char *msg, size_t len, void *user)
{
    (void)ng, (void)code;
    struct h2_session *s = OBJECT(h2_session, H2_SESSION_MAGIC, user);
    snprintf(s->error_text, sizeof(s->error_text), "%.*s", (int)(len < 200 ? len : 200), msg);
    return 0;
}

static int make_callbacks(nghttp2_session_callbacks **out)
{
    if (nghttp2_session_callbacks_new(out) != 0)
        return ERR_NOMEM;
    h2_set_recv_callbacks(*out);
    h2_set_send_callbacks(*out);
    nghttp2_session_callbacks_set_error_callback2(*out, on_error_text);
    return 0;
}

/* As many as the largest header block needs in frames of the default size. */
uint32_t h2_continuations_allowed(const struct h2_opts *o)
{
    uint32_t needed = o->max_header_bytes / 16384 + 2;
    return o->max_continuations > needed ? o->max_continuations : needed;
}

static int make_options(const struct h2_opts *o, nghttp2_option **out)
{
    if (nghttp2_option_new(out) != 0)
        return ERR_NOMEM;
    nghttp2_option_set_no_auto_window_update(*out, 1);
    nghttp2_option_set_no_closed_streams(*out, 1);
    nghttp2_option_set_max_outbound_ack(*out, o->max_outbound_control_frames + 1);
    nghttp2_option_set_max_deflate_dynamic_table_size(*out, o->hpack_table_bytes);
    nghttp2_option_set_max_send_header_block_length(*out, 1024 * 1024);
    /* Backstops behind our own, which give names to what they stop. */
    nghttp2_option_set_stream_reset_rate_limit(*out, 2ull * o->max_reset_burst + 1,
                                               2ull * o->max_reset_per_s + 1);
    /* nghttp2 1.52 counts a CONTINUATION once for each piece that its header comes in. */
    nghttp2_option_set_max_continuations(*out, 10ull * h2_continuations_allowed(o) + 10);
    return 0;
}

static int submit_settings(struct h2_session *s)
{
    const struct h2_opts *o = &s->opts;
    nghttp2_settings_entry e[6];
    size_t n = 0;
    e[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, o->hpack_table_bytes};
    if (o->is_server)
        e[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, o->allow_connect};
    else
        e[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
    e[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
                                      o->is_server ? o->max_concurrent_streams : 0};
    e[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, o->initial_stream_window};
    if (o->max_frame_bytes > 16384)
        e[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_FRAME_SIZE, o->max_frame_bytes};
    int rv = nghttp2_submit_settings(s->ng, NGHTTP2_FLAG_NONE, e, n);
    if (rv == 0)
        rv = nghttp2_session_set_local_window_size(s->ng, NGHTTP2_FLAG_NONE, 0,
                                                   (int32_t)o->initial_connection_window);
    return rv;
}

static int start_session(struct h2_session *s)
{
    nghttp2_session_callbacks *cbs = NULL;
    nghttp2_option *option = NULL;
    int rv = make_callbacks(&cbs);
    if (rv == 0)
        rv = make_options(&s->opts, &option);
    if (rv == 0) {
        rv = s->opts.is_server ? nghttp2_session_server_new3(&s->ng, cbs, s, option, h2_mem())
                               : nghttp2_session_client_new3(&s->ng, cbs, s, option, h2_mem());
    }
    if (rv == 0)
        rv = submit_settings(s);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cbs);
    return rv;
}

struct h2_session *h2_session_new(const struct h2_opts *opts, const struct h2_callbacks *cb,
                                  void *ctx, struct err *err)
{
    struct h2_session *s = NEW(h2_session);
    s->magic = H2_SESSION_MAGIC;
    s->opts = *opts;
    s->cb = cb;
    s->ctx = ctx;
    s->tokens_milli = 1000ull * opts->max_reset_burst;
    s->preface_left = opts->is_server ? NGHTTP2_CLIENT_MAGIC_LEN : 0;
    list_init(&s->streams);
    list_init(&s->sent);
    int rv = start_session(s);
    if (rv != 0) {
        err_set(err, ERR_NOMEM, "HTTP/2 session: %s", nghttp2_strerror(rv));
        h2_session_free(&s);
    }
    return s;
}

void h2_session_free(struct h2_session **sp)
{
    struct h2_session *s = *sp;
    *sp = NULL;
    if (!s)
        return;
    DCHECK(s->magic == H2_SESSION_MAGIC && !s->in && !s->out);
    nghttp2_session *ng = s->ng;
    s->ng = NULL; /* dropping streams needn't give windows back */
    while (!list_is_empty(&s->streams))
        h2_stream_drop(LIST_ENTRY(s->streams.next, h2_stream, node));
    buf_fini(&s->held_data);
    nghttp2_session_del(ng);
    s->magic = 0;
    mem_free(s);
}

static void put_u32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

/* RFC 9113 section 6.8. The server's preface (SETTINGS) must come before it. */
static void write_fault(struct h2_session *s, struct buf *out)
{
    const uint8_t *p;
    if (!s->settings_sent) {
        ssize_t n = nghttp2_session_mem_send(s->ng, &p);
        if (n > 0)
            buf_append(out, p, (size_t)n);
    }
    uint8_t frame[17] = {0, 0, 8, NGHTTP2_GOAWAY};
    put_u32(frame + 9, (uint32_t)nghttp2_session_get_last_proc_stream_id(s->ng));
    put_u32(frame + 13, s->fault_code);
    buf_append(out, frame, sizeof(frame));
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
    s->out = out;
    s->out_max = max_bytes;
    while (!s->fault && out->len < max_bytes) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(s->ng, &p);
        if (n < 0)
            h2_fail(s, h2_fault_of(n));
        if (n <= 0)
            break;
        buf_append(out, p, (size_t)n);
        s->settings_sent = true;
    }
    if (s->fault && !s->fault_written)
        write_fault(s, out);
    s->out = NULL;
    tell_sent(s);
    return h2_session_wants_write(s);
}

bool h2_session_wants_write(const struct h2_session *s)
{
    if (s->fault)
        return !s->fault_written;
    return nghttp2_session_want_write(s->ng);
}

bool h2_session_is_over(const struct h2_session *s)
{
    if (s->fault)
        return s->fault_written;
    return !nghttp2_session_want_read(s->ng) && !nghttp2_session_want_write(s->ng);
}

enum h2_fault h2_session_fault(const struct h2_session *s)
{
    return s->fault;
}

const char *h2_session_error_text(const struct h2_session *s)
{
    return s->error_text;
}

void h2_session_goaway(struct h2_session *s, uint32_t error_code, bool graceful)
{
    int rv;
    if (graceful && s->opts.is_server)
        rv = nghttp2_submit_shutdown_notice(s->ng);
    else
        rv = nghttp2_submit_goaway(s->ng, NGHTTP2_FLAG_NONE,
                                   nghttp2_session_get_last_proc_stream_id(s->ng), error_code, NULL, 0);
    if (rv != 0)
        h2_fail(s, H2_FAULT_NO_MEMORY);
    s->goaway_code = error_code;
    s->goaway_submitted |= !graceful || !s->opts.is_server;
}

void h2_session_ping(struct h2_session *s)
{
    if (nghttp2_submit_ping(s->ng, NGHTTP2_FLAG_NONE, NULL) != 0)
        h2_fail(s, H2_FAULT_NO_MEMORY);
}

uint32_t h2_session_peer_max_streams(const struct h2_session *s)
{
    return nghttp2_session_get_remote_settings(s->ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

bool h2_session_peer_allows_connect(const struct h2_session *s)
{
    return nghttp2_session_get_remote_settings(s->ng, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) != 0;
}

uint32_t h2_session_stream_count(const struct h2_session *s)
{
    return s->stream_count;
}
