/* SPDX-License-Identifier: Apache-2.0
 *
 * An HTTP/2 session's life, faults and small questions. A session lives on one thread. After a fault
 * nothing more is read, and the only thing still sent is a GOAWAY, so that a flooded queue isn't
 * flushed to the flooder first. The other files: h2_priv.h.
 */
#include "http/codec/h2_priv.h"

#include "base/mem.h"

#include <stdio.h>

#define PREFACE_BYTES 24

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

/* ---- faults ---- */

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

static void fail(struct h2_session *s, enum h2_fault fault, uint32_t code, const char *text)
{
    if (s->fault)
        return;
    s->fault = fault;
    s->fault_code = code;
    snprintf(s->error_text, sizeof(s->error_text), "%s", text);
    count_fault(s, fault);
}

void h2_fail(struct h2_session *s, enum h2_fault fault)
{
    fail(s, fault, fault_code(fault), h2_fault_text(fault));
}

void h2_fail_with(struct h2_session *s, uint32_t code, const char *text)
{
    fail(s, H2_FAULT_PROTOCOL, code, text);
}

enum h2_fault h2_session_fault(const struct h2_session *s)
{
    return s->fault;
}

const char *h2_session_error_text(const struct h2_session *s)
{
    return s->error_text;
}

/* ---- life ---- */

struct h2_session *h2_session_new(const struct h2_opts *opts, const struct h2_callbacks *cb,
                                  void *ctx, struct err *err)
{
    (void)err;
    struct h2_session *s = NEW(h2_session);
    s->magic = H2_SESSION_MAGIC;
    s->opts = *opts;
    s->cb = cb;
    s->ctx = ctx;
    s->next_id = 1;
    s->tokens_milli = 1000ull * opts->max_reset_burst;
    s->preface_left = opts->is_server ? PREFACE_BYTES : 0;
    s->send_window = H2_DEFAULT_WINDOW;
    s->peer = (struct h2_peer){.max_streams = UINT32_MAX, .initial_window = H2_DEFAULT_WINDOW};
    h2_window_init(&s->window, opts->initial_connection_window > H2_DEFAULT_WINDOW
                                   ? opts->initial_connection_window
                                   : H2_DEFAULT_WINDOW);
    list_init(&s->streams);
    list_init(&s->heads);
    list_init(&s->ready);
    list_init(&s->starved);
    list_init(&s->sent);
    hpack_decoder_init(&s->decoder);
    hpack_encoder_init(&s->encoder, opts->hpack_table_bytes);
    return s;
}

void h2_session_free(struct h2_session **sp)
{
    struct h2_session *s = *sp;
    *sp = NULL;
    if (!s)
        return;
    DCHECK(s->magic == H2_SESSION_MAGIC && !s->in && !s->pulling);
    while (!list_is_empty(&s->streams))
        h2_stream_drop(LIST_ENTRY(s->streams.next, h2_stream, node));
    h2_stream_table_fini(s);
    hpack_decoder_fini(&s->decoder);
    hpack_encoder_fini(&s->encoder);
    buf_fini(&s->partial);
    buf_fini(&s->block);
    buf_fini(&s->held_data);
    buf_fini(&s->control);
    s->magic = 0;
    mem_free(s);
}

bool h2_session_is_over(const struct h2_session *s)
{
    if (s->fault)
        return s->fault_written;
    return (s->goaway_sent || s->goaway_received) && !s->stream_count && !h2_session_wants_write(s);
}

void h2_session_goaway(struct h2_session *s, uint32_t error_code, bool graceful)
{
    if (s->fault)
        return;
    bool is_notice = graceful && s->opts.is_server;
    s->counts.control_queued++;
    h2_put_goaway(&s->control, is_notice ? H2_MAX_ID : s->last_peer_id, is_notice ? H2_NO_ERROR : error_code);
    s->goaway_sent |= !is_notice;
    h2_stat(s, H2_STAT_GOAWAY_SENT);
}

void h2_session_ping(struct h2_session *s)
{
    static const uint8_t zeros[8];
    h2_put_control(s, H2_PING, 0, 0, zeros, sizeof(zeros));
}

uint32_t h2_session_peer_max_streams(const struct h2_session *s)
{
    return s->peer.max_streams;
}

bool h2_session_peer_allows_connect(const struct h2_session *s)
{
    return s->peer.allows_connect;
}

uint32_t h2_session_stream_count(const struct h2_session *s)
{
    return s->stream_count;
}
