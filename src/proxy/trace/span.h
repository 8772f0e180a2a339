/* SPDX-License-Identifier: Apache-2.0
 *
 * A span of a trace while it is open: what is being traced, who its parent is and what is said of it. It lives in the
 * exchange's arena and is encoded, once, when it ends; nothing of it is kept after that. On the exchange's worker.
 */
#ifndef PROXY_TRACE_SPAN_H
#define PROXY_TRACE_SPAN_H

#include "base/arena.h"
#include "http/codec/headers.h"

#define SPAN_TAGS_MAX 64      /* further ones are left out */
#define SPAN_EVENTS_MAX 8
#define TRACE_ID_TEXT_BYTES 32

struct span_tag { struct str key, value; };
struct span_event { const char *name; uint64_t wall_us; };
/* How the context came and goes on. */
enum span_format { SPAN_W3C, SPAN_B3, SPAN_B3_SINGLE };

struct tracer;
struct span {
    struct tracer *tracer;    /* borrowed from the listener's configuration */
    struct arena *arena;
    uint64_t trace_high, trace_low, id, parent_id; /* parent 0: none */
    bool sampled, is_client, is_shared, has_failed, over; /* has_failed: by what gRPC says */
    enum span_format format;
    uint16_t http_status;     /* 0 none */
    struct str name;
    struct str state;         /* tracestate */
    uint64_t start_wall_us, end_wall_us;
    struct span_tag *tags; uint32_t tag_count, tag_cap;
    struct span_event events[SPAN_EVENTS_MAX]; uint32_t event_count;
};

/* Key and value are borrowed: static, or in the span's arena. One value a key, the last one. Nothing where the span isn't
 * sampled. */
void span_tag(struct span *s, struct str key, struct str value);
void span_tag_copy(struct span *s, struct str key, struct str value);
void span_tag_number(struct span *s, struct str key, uint64_t value);
void span_fail(struct span *s); /* the tag error=true */
void span_event(struct span *s, const char *name, uint64_t wall_us);

/* Hexadecimal as the provider writes it: 32 digits, or 16 where it has 64 bits only. Gives the digits' count. */
size_t span_trace_id_text(const struct span *s, char out[TRACE_ID_TEXT_BYTES]);
void span_id_text(uint64_t id, char out[16]);
void span_id_bytes(uint64_t id, char out[8]); /* big-endian */

#endif
