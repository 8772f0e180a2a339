/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to the HTTP/2 codec. By file: h2.c a session's life; h2_streams.c the table of streams and
 * their ends; h2_feed.c bytes to frames; h2_limits.c what a peer may cost us; h2_control.c frames
 * about the connection; h2_headers.c header blocks; h2_message.c what makes a message malformed;
 * h2_data.c bodies and the windows that we give; h2_send.c what is submitted to be sent;
 * h2_schedule.c in which order it goes out. HPACK: hpack.h.
 */
#ifndef HTTP_CODEC_H2_PRIV_H
#define HTTP_CODEC_H2_PRIV_H

#include "base/check.h"
#include "base/list.h"
#include "http/codec/h2.h"
#include "http/codec/hpack.h"

#define H2_SESSION_MAGIC 0x48325345
#define H2_RECENT_IDS 16
#define H2_DEFAULT_WINDOW 65535
#define H2_MAX_WINDOW 0x7fffffff
#define H2_MAX_ID 0x7fffffff
#define H2_FRAME_BYTES 16384 /* payload that every peer takes: RFC 9113 section 4.2 */
#define H2_HEAD_BYTES 9
#define H2_FIRST_STREAMS 100 /* opened before the peer's SETTINGS say how many it takes: section 6.5.2 */
#define H2_SEND_BLOCK_MAX ((size_t)1024 * 1024)

/* RFC 9113 section 6 */
enum h2_frame_type {
    H2_DATA, H2_HEADERS, H2_PRIORITY, H2_RST_STREAM, H2_SETTINGS, H2_PUSH_PROMISE, H2_PING, H2_GOAWAY,
    H2_WINDOW_UPDATE, H2_CONTINUATION,
};
enum { H2_END_STREAM = 1, H2_ACK = 1, H2_END_HEADERS = 4, H2_PADDED = 8, H2_HAS_PRIORITY = 32 };
enum {
    H2_SET_HEADER_TABLE_SIZE = 1, H2_SET_ENABLE_PUSH, H2_SET_MAX_CONCURRENT_STREAMS,
    H2_SET_INITIAL_WINDOW_SIZE, H2_SET_MAX_FRAME_SIZE, H2_SET_MAX_HEADER_LIST_SIZE,
    H2_SET_ENABLE_CONNECT_PROTOCOL = 8,
};

struct h2_frame {
    uint32_t length, id;
    uint8_t type, flags;
};

/* The last stream ids of a kind. */
struct h2_recent {
    uint32_t ids[H2_RECENT_IDS];
    uint32_t count; /* ever added */
};
static inline void h2_recent_add(struct h2_recent *r, uint32_t id)
{
    r->ids[r->count++ % H2_RECENT_IDS] = id;
}
static inline bool h2_recent_has(const struct h2_recent *r, uint32_t id)
{
    bool found = false;
    for (unsigned i = 0; i < H2_RECENT_IDS; i++)
        found |= r->ids[i] == id;
    return found;
}

/* Inbound frames are counted against what we did ourselves, as Envoy's Http2ProtocolOptions define it. */
struct h2_counts {
    uint64_t streams;        /* opened so far */
    uint64_t priority;       /* PRIORITY frames received */
    uint64_t window_updates; /* received */
    uint64_t data_sent;      /* DATA frames sent */
    uint32_t empty_run;      /* consecutive frames without payload and END_STREAM */
    uint32_t continuations;  /* since the last HEADERS */
    uint32_t control_queued; /* frames in `control` */
    uint32_t heads_queued;   /* header blocks that wait */
};

/* A window that we give. */
struct h2_window {
    int64_t left;   /* what the peer may still send; below 0 only through a smaller setting */
    int64_t size;   /* to which it is filled up */
    int64_t taken;  /* consumed, and not yet given back */
};

/* What the peer's SETTINGS say. */
struct h2_peer {
    uint32_t max_streams, initial_window;
    bool allows_connect;
};

struct h2_session {
    uint32_t magic;
    struct h2_opts opts;
    const struct h2_callbacks *cb;
    void *ctx;
    /* Streams. */
    struct list streams;         /* alive, by age */
    struct h2_stream **buckets;  /* by id; their number is a power of two */
    uint32_t bucket_count, stream_count;
    uint32_t last_peer_id;       /* server: highest stream that the peer opened */
    uint32_t next_id;            /* client */
    uint32_t opened_count;       /* client: streams whose HEADERS are out */
    /* Closed ones: DATA or HEADERS on a stream that the peer ended is a connection error (section
     * 5.1), while one that we reset may still see frames that were under way. */
    struct h2_recent ended, resets;
    /* The end. */
    enum h2_fault fault;
    uint32_t fault_code;         /* of the GOAWAY that follows */
    bool fault_written;          /* it is out: the session is over */
    bool goaway_received;
    uint32_t goaway_last;        /* highest stream that the peer will answer */
    bool goaway_sent;            /* a final one */
    char error_text[120];
    /* Limits. */
    struct h2_counts counts;
    uint64_t now_us, tokens_at_us, tokens_milli; /* rapid reset: tokens in thousandths */
    /* Settings. */
    struct h2_peer peer;
    bool settings_sent, settings_acked, settings_received;
    /* Receiving: the frame under way. `in` holds what starts at `at` while feeding. */
    struct buf *in;
    const uint8_t *at;
    uint32_t preface_left, payload_left;
    uint8_t head[H2_HEAD_BYTES];
    uint8_t head_bytes;
    bool in_frame;
    bool skipping;               /* its payload means nothing to us */
    bool pad_known;              /* DATA: the pad length has been read */
    uint32_t pad_left;
    struct h2_frame frame;
    struct buf partial;          /* payload of a frame that came in pieces */
    struct buf block;            /* header block that came in several frames */
    bool in_block;               /* only CONTINUATION may follow */
    struct h2_frame block_frame; /* its HEADERS */
    struct h2_stream *receiving; /* whose block it is; NULL: it is decoded and forgotten */
    struct hpack_decoder decoder;
    struct h2_window window;
    /* DATA received but not told yet, so that END_STREAM goes with the last bytes. */
    struct h2_stream *held;
    struct buf held_data;
    /* Sending. */
    struct hpack_encoder encoder;
    struct buf control;          /* whole frames that go first */
    struct list heads;           /* streams with header blocks to send, in the order of their ids */
    struct list ready;           /* streams with DATA that windows allow, or an end to send */
    struct list starved;         /* the same, but the connection's window is used up */
    struct list sent;            /* streams whose queue fell below the mark during a pull */
    int64_t send_window;
    bool pulling;
};

/* A header block to be sent, as it was when it was submitted. */
struct h2_block {
    struct h2_block *next;
    uint32_t count;
    bool end;
    size_t bytes; /* of text */
    struct hpack_field fields[];
};

struct h2_stream {
    struct h2_session *session;
    struct list node;
    struct h2_stream *next_in_bucket;
    uint32_t id;
    void *user;
    struct arena *arena;
    /* Receiving. */
    struct headers *block;
    struct h2_window window;
    size_t unconsumed;       /* bytes told whose window isn't given back */
    int64_t content_length;  /* promised; -1: unknown */
    int64_t content_received;
    uint32_t seen;           /* fields of this block: h2_message.c */
    const char *malformed;   /* why, or NULL */
    const char *overflow;    /* why the block being received is refused, or NULL */
    uint16_t status;         /* client */
    bool underscored;        /* refused by a name with an underscore */
    bool dropping;           /* refused: what else comes is thrown away */
    bool head_received;      /* final (not 1xx) head: what follows is trailers */
    bool end_received, reset_received;
    bool is_connect;         /* a tunnel: its two directions end one by one */
    bool is_head_request;    /* client */
    /* Sending. */
    struct list send_node;   /* in heads, ready or starved */
    struct list sent_node;
    struct h2_block *heads;  /* 1xx and the final one */
    uint32_t heads_count;    /* the arena may be gone when the session is freed */
    struct h2_block *trailers; /* to follow the data */
    struct buf queue;        /* DATA to be sent */
    int64_t send_window;
    size_t watermark;        /* 0: nobody wants to know */
    bool above;              /* queue passed the watermark */
    bool responded;          /* final head submitted (requests: always) */
    bool opened;             /* client: its HEADERS are out */
    bool send_ended;         /* nothing follows what is queued */
    bool end_sent;
};

static inline uint32_t h2_get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline void h2_put_u32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}
static inline void h2_put_head(uint8_t *p, size_t length, enum h2_frame_type type, uint8_t flags, uint32_t id)
{
    h2_put_u32(p, (uint32_t)length << 8 | (uint32_t)type);
    p[4] = flags;
    h2_put_u32(p + 5, id);
}
static inline void h2_stat(struct h2_session *s, enum h2_stat stat)
{
    if (s->cb->on_stat)
        s->cb->on_stat(s->ctx, stat);
}

/* ---- h2.c ---- */
void h2_fail(struct h2_session *s, enum h2_fault fault);
/* A protocol error with another code than usual; `text` is for logs. */
void h2_fail_with(struct h2_session *s, uint32_t code, const char *text);

/* ---- h2_streams.c ---- */
/* Server: id is the peer's; client: 0, and the next of ours is taken. */
struct h2_stream *h2_stream_new(struct h2_session *s, uint32_t id);
struct h2_stream *h2_stream_find(const struct h2_session *s, uint32_t id);
bool h2_stream_is_idle(const struct h2_session *s, uint32_t id); /* section 5.1: never opened */
/* Of one that is no more: by the peer's end or reset, as far as is known. */
bool h2_stream_was_ended(const struct h2_session *s, uint32_t id);
/* Forgets it: gives unconsumed bytes of the connection's window back, tells nobody. */
void h2_stream_drop(struct h2_stream *st);
/* Ended without an error of ours: tells on_close, drops. */
void h2_stream_close(struct h2_stream *st, uint32_t code, bool remote, const char *details);
/* Resets towards the peer and tells on_close: errors that we found ourselves. */
void h2_stream_abort(struct h2_stream *st, uint32_t code, const char *details);
void h2_stream_end_received(struct h2_session *s, uint32_t id); /* after what came with the end was told */
void h2_stream_end_was_sent(struct h2_stream *st);              /* may close it */
void h2_stream_table_fini(struct h2_session *s);

/* ---- h2_limits.c ---- */
uint32_t h2_continuations_allowed(const struct h2_opts *o);
/* A frame's header has come, and meets the limits before anything is done about the frame. False:
 * the session has failed. */
bool h2_check_frame(struct h2_session *s, const struct h2_frame *f);
bool h2_check_reset(struct h2_session *s);

/* ---- h2_control.c: whole frames ---- */
void h2_on_control_frame(struct h2_session *s, const struct h2_frame *f, const uint8_t *payload);
void h2_put_control(struct h2_session *s, enum h2_frame_type type, uint8_t flags, uint32_t id, const void *payload,
                    size_t n);
void h2_put_reset(struct h2_session *s, uint32_t id, uint32_t code);
void h2_put_preface(struct h2_session *s, struct buf *out);
void h2_put_goaway(struct buf *out, uint32_t last_id, uint32_t code);

/* ---- h2_headers.c ---- */
void h2_headers_begin(struct h2_session *s, const struct h2_frame *f); /* HEADERS' frame header */
void h2_on_headers_frame(struct h2_session *s, const struct h2_frame *f, const uint8_t *payload);
void h2_on_continuation(struct h2_session *s, const struct h2_frame *f, const uint8_t *payload);

/* ---- h2_message.c: RFC 9113 section 8 ---- */
extern const char h2_bad_field[], h2_bad_message[];
void h2_message_begin(struct h2_stream *st);
bool h2_message_field(struct h2_stream *st, const struct hpack_field *f);
/* Rules that need the whole block. */
bool h2_message_block(struct h2_stream *st, bool end);
bool h2_message_body(struct h2_stream *st, size_t n); /* n more bytes */
bool h2_message_end(const struct h2_stream *st);
bool h2_message_is_informational(const struct h2_stream *st);

/* ---- h2_data.c ---- */
void h2_data_begin(struct h2_session *s, const struct h2_frame *f);
/* Some of the payload, which lies at `p` in s->in. */
void h2_data_take(struct h2_session *s, const uint8_t *p, size_t n);
void h2_data_end(struct h2_session *s);
void h2_data_tell(struct h2_session *s, bool end); /* what is held of the present DATA frame */
void h2_window_init(struct h2_window *w, int64_t size);
void h2_window_consume(struct h2_session *s, size_t n); /* the connection's only */

/* ---- h2_schedule.c ---- */
/* Puts it where it belongs, if it has anything to send that windows allow. */
void h2_schedule(struct h2_stream *st);
void h2_schedule_head(struct h2_stream *st, struct h2_block *take_block);
void h2_schedule_starved(struct h2_session *s); /* the connection's window was opened */

#endif
