/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to the HTTP/2 codec: the session shared by h2.c (life, pulling), h2_feed.c (the peer's
 * bytes), h2_recv.c (what they mean), h2_send.c (what we send) and h2_mem.c (memory for nghttp2).
 */
#ifndef HTTP_CODEC_H2_PRIV_H
#define HTTP_CODEC_H2_PRIV_H

#include "base/check.h"
#include "base/list.h"
#include "http/codec/h2.h"

#include <nghttp2/nghttp2.h>

#define H2_SESSION_MAGIC 0x48325345
#define H2_RECENT_IDS 16

/* The last stream ids of a kind. */
struct h2_recent {
    uint32_t ids[H2_RECENT_IDS];
    uint32_t count; /* ever added */
};
static inline void h2_recent_add(struct h2_recent *r, int32_t id)
{
    r->ids[r->count++ % H2_RECENT_IDS] = (uint32_t)id;
}
static inline bool h2_recent_has(const struct h2_recent *r, int32_t id)
{
    bool found = false;
    for (unsigned i = 0; i < H2_RECENT_IDS; i++)
        found |= r->ids[i] == (uint32_t)id;
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
    uint32_t headers_queued; /* HEADERS in nghttp2's queue: all else in there is control frames */
};

struct h2_session {
    uint32_t magic;
    nghttp2_session *ng;
    struct h2_opts opts;
    const struct h2_callbacks *cb;
    void *ctx;
    struct list streams;    /* alive */
    struct list sent;       /* streams whose queue fell below the mark during a pull */
    uint32_t stream_count;
    enum h2_fault fault;
    uint32_t fault_code;    /* of the GOAWAY that we write ourselves */
    bool fault_written;     /* it is out: the session is over */
    bool settings_sent;     /* our preface is out */
    bool goaway_received;
    bool goaway_submitted;  /* a final one */
    uint32_t goaway_code;   /* of the GOAWAY that the owner asked for */
    struct h2_counts counts;
    /* Rapid reset: tokens in thousandths. */
    uint64_t now_us, tokens_at_us, tokens_milli;
    /* While feeding: `in` holds what starts at `at`. */
    struct buf *in;
    const uint8_t *at;
    /* While pulling. */
    struct buf *out;
    size_t out_max;
    struct h2_stream *receiving; /* whose header block is being received; NULL: ignore it */
    /* DATA received but not told yet, so that END_STREAM goes with the last bytes. */
    struct h2_stream *held;
    struct buf held_data;
    /* Closed streams: DATA or HEADERS on one that the peer ended is a connection error (RFC 9113
     * section 5.1), while one that we reset may still see frames that were under way. */
    struct h2_recent ended, resets;
    int32_t last_peer_id;   /* server: highest stream that the peer opened */
    /* Where in the peer's bytes we are; nghttp2 is fed a frame at a time, so that each frame meets
     * the limits before anything is done about it, those that nghttp2 ignores included. */
    uint32_t preface_left, payload_left;
    uint8_t head[9];
    uint8_t head_bytes;
    char error_text[120];
};

struct h2_stream {
    struct h2_session *session;
    struct list node;
    struct list sent_node;
    void *user;
    struct arena *arena;
    struct headers *block;   /* being received */
    struct buf queue;        /* DATA to be sent */
    size_t watermark;        /* 0: nobody wants to know */
    size_t unconsumed;       /* bytes told whose window isn't given back */
    const struct headers *trailers; /* to follow the data */
    const char *details;     /* why it is being reset by ourselves */
    int32_t id;
    bool above;              /* queue passed the watermark */
    bool deferred;           /* nghttp2 waits for data */
    bool responded;          /* final HEADERS submitted (requests: always) */
    bool send_ended;         /* nothing follows what is queued */
    bool end_sent, end_received;
    bool head_received;      /* final (not 1xx) head: what follows is trailers */
    bool is_connect;         /* a tunnel: its two directions end one by one */
    bool is_head_request;
    const char *overflow;    /* why the block being received is refused, or NULL */
    bool underscored;        /* so is it by a name with an underscore */
    bool dropping;           /* refused: what else comes is thrown away */
    bool reset_received;
    uint32_t reset_code;
};

nghttp2_mem *h2_mem(void);

void h2_set_recv_callbacks(nghttp2_session_callbacks *cbs);
void h2_set_send_callbacks(nghttp2_session_callbacks *cbs);
/* Marks the session as failed and gives the value that makes nghttp2 stop. */
int h2_fail(struct h2_session *s, enum h2_fault fault);
enum h2_fault h2_fault_of(ssize_t nghttp2_error);
void h2_stat(struct h2_session *s, enum h2_stat stat);
struct h2_stream *h2_stream_new(struct h2_session *s, int32_t id);
/* Forgets it: gives unconsumed bytes of the connection's window back, tells nobody. */
void h2_stream_drop(struct h2_stream *st);
/* Resets towards the peer and tells on_close: errors that we found ourselves. */
void h2_stream_abort(struct h2_stream *st, uint32_t code, const char *details);
/* Tells what is held of the present DATA frame. */
void h2_tell_data(struct h2_session *s, bool end);
uint32_t h2_continuations_allowed(const struct h2_opts *o);
bool h2_check_outbound(struct h2_session *s);
/* A frame's header has come; false: the session has failed. */
bool h2_check_frame(struct h2_session *s, const nghttp2_frame_hd *hd);

#endif
