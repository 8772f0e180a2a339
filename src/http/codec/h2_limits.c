/* SPDX-License-Identifier: Apache-2.0
 *
 * What a peer may cost us: each frame's header is held against these limits before the frame is
 * looked at, those that we would ignore included. Each limit stops a named attack; its default
 * and meaning are Envoy's (Http2ProtocolOptions).
 */
#include "http/codec/h2_priv.h"

/* As many as the largest header block needs in frames of the default size. */
uint32_t h2_continuations_allowed(const struct h2_opts *o)
{
    uint32_t needed = o->max_header_bytes / H2_FRAME_BYTES + 2;
    return o->max_continuations > needed ? o->max_continuations : needed;
}

/* Frames without payload cost a few bytes each and end nothing (CVE-2019-9518). */
static bool is_empty_flood(struct h2_session *s, const struct h2_frame *f)
{
    if (f->length || (f->flags & H2_END_STREAM)) {
        s->counts.empty_run = 0;
        return false;
    }
    return ++s->counts.empty_run > s->opts.max_consecutive_empty_frames;
}

static void check_message_frame(struct h2_session *s, const struct h2_frame *f)
{
    if (is_empty_flood(s, f))
        h2_fail(s, H2_FAULT_INBOUND_EMPTY_FLOOD);
    else if (f->type != H2_CONTINUATION)
        s->counts.continuations = 0;
    else if (++s->counts.continuations > h2_continuations_allowed(&s->opts))
        h2_fail(s, H2_FAULT_CONTINUATION_FLOOD);
}

/* Answers that a peer makes us queue and doesn't read. */
static void check_outbound(struct h2_session *s)
{
    const struct h2_counts *n = &s->counts;
    if (n->control_queued > s->opts.max_outbound_control_frames)
        h2_fail(s, H2_FAULT_OUTBOUND_CONTROL_FLOOD);
    else if (n->control_queued + n->heads_queued > s->opts.max_outbound_frames)
        h2_fail(s, H2_FAULT_OUTBOUND_FLOOD);
}

bool h2_check_frame(struct h2_session *s, const struct h2_frame *f)
{
    const struct h2_counts *n = &s->counts;
    check_outbound(s);
    switch (f->type) {
    case H2_DATA:
    case H2_HEADERS:
    case H2_CONTINUATION:
        check_message_frame(s, f);
        break;
    case H2_PRIORITY:
        if (++s->counts.priority > s->opts.max_priority_per_stream * (1 + n->streams))
            h2_fail(s, H2_FAULT_PRIORITY_FLOOD);
        break;
    case H2_WINDOW_UPDATE:
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
static bool take_token(struct h2_session *s)
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

bool h2_check_reset(struct h2_session *s)
{
    if (s->opts.is_server && !take_token(s))
        h2_fail(s, H2_FAULT_RESET_FLOOD);
    return !s->fault;
}
