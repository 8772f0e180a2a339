/* SPDX-License-Identifier: Apache-2.0
 *
 * One request/response exchange at one end of the proxy, whatever the protocol below. A server
 * connection gives streams to its handler (request in, response out); a client connection or pool
 * takes requests and gives streams (request out, response in). Everything above this header speaks
 * only this.
 *
 * The legal order of events towards a sink:
 *     on_headers  on_data*  [on_trailers]  on_closed
 * with client streams seeing any number of on_informational first. `end` is set on the last of
 * headers/data; trailers always end. on_closed comes exactly once and last, for every stream: with
 * STREAM_OK when both directions are complete, with a reason otherwise. After it the stream pointer
 * is dead (its memory lives until the loop's turn ends, and so does its arena unless shared).
 * The order towards the stream is the same: send_headers, send_data*, send_trailers or an end flag.
 */
#ifndef HTTP_STREAM_H
#define HTTP_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "http/codec/headers.h"
#include "io/conn.h"

/* Why a stream ended early. The router's table turns these into response flags. */
#define STREAM_RESET_TABLE(X)                                                                      \
    X(OK, "")                                                                                      \
    X(LOCAL, "local reset")                                                                        \
    X(LOCAL_REFUSED, "local refused stream reset")                                                 \
    X(REMOTE, "remote reset")                                                                      \
    X(REMOTE_REFUSED, "remote refused stream reset")                                               \
    X(CONNECT_FAILED, "remote connection failure")                                                 \
    X(CONNECT_TIMEOUT, "connection timeout")                                                       \
    X(TERMINATED, "connection termination")                                                        \
    X(OVERFLOW, "overflow")                                                                        \
    X(CONNECT_ERROR, "remote error with CONNECT request")                                          \
    X(PROTOCOL_ERROR, "protocol error")                                                            \
    X(TIMEOUT, "http2 ping timeout")                                                               \
    X(IDLE_TIMEOUT, "stream idle timeout")
enum stream_reset {
#define X(name, text) STREAM_##name,
    STREAM_RESET_TABLE(X)
#undef X
};
const char *stream_reset_text(enum stream_reset r); /* Envoy's words, used in details */

struct http_stream;
struct http_sink;

struct http_sink_ops {
    void (*on_headers)(struct http_sink *sink, struct headers *h, bool end);
    void (*on_informational)(struct http_sink *sink, struct headers *h); /* client streams; 100-199 but 101 */
    void (*on_data)(struct http_sink *sink, struct buf *data, bool end); /* take (move) all of it */
    void (*on_trailers)(struct http_sink *sink, struct headers *h);
    void (*on_closed)(struct http_sink *sink, enum stream_reset why, const char *details);
    /* The stream's send queue passed its high watermark (above) or drained to half of it. */
    void (*on_watermark)(struct http_sink *sink, bool above);
};
struct http_sink { /* embedded in whoever listens */
    const struct http_sink_ops *ops;
};

/* For a stream whose owner has gone on before the codec closed it: takes every event, and drops the data. */
extern struct http_sink http_deaf_sink;

enum http_protocol { HTTP_10, HTTP_11, HTTP_2, HTTP_3 };
const char *http_protocol_text(enum http_protocol p); /* "HTTP/1.1" */

struct http_stream_ops {
    void (*send_informational)(struct http_stream *s, struct headers *h); /* server */
    void (*send_headers)(struct http_stream *s, struct headers *h, bool end);
    void (*send_data)(struct http_stream *s, struct buf *data, bool end); /* takes all bytes */
    void (*send_trailers)(struct http_stream *s, struct headers *h);
    void (*reset)(struct http_stream *s, enum stream_reset why); /* on_closed follows before this returns */
    /* Stop/start giving on_data; counted. Closes the HTTP/2 window or stops reading the HTTP/1 socket. */
    void (*pause)(struct http_stream *s, bool on);
    size_t (*queued)(const struct http_stream *s); /* bytes not yet handed to the socket */
};

struct http_stream { /* first member of the codecs' streams */
    const struct http_stream_ops *ops;
    struct http_sink *sink;      /* set by the owner; never NULL while events may come */
    struct conn *conn;           /* the connection below; NULL once it is gone */
    struct arena *arena;         /* the stream's: headers' text lives here */
    uint64_t id;                 /* per connection: 0,1,2… (HTTP/1), stream id (HTTP/2) */
    enum http_protocol protocol;
    bool is_server;
    bool reused_connection;      /* client: not the connection's first request */
    /* client, once it is closed: the connection died and the peer's kernel had acknowledged no byte of this request, so
     * nobody can have acted on it. False when that isn't known. */
    bool request_never_arrived;
    bool is_connection_close;    /* server HTTP/1: this exchange will be the last (seen or decided) */
    uint64_t bytes_received, bytes_sent;           /* body bytes */
    uint64_t header_bytes_received, header_bytes_sent; /* as on the wire (HTTP/2: compressed size is approximated by text) */
    uint64_t wire_bytes_received, wire_bytes_sent;
};

static inline void stream_send_headers(struct http_stream *s, struct headers *h, bool end)
{
    s->ops->send_headers(s, h, end);
}
static inline void stream_send_data(struct http_stream *s, struct buf *data, bool end)
{
    s->ops->send_data(s, data, end);
}
static inline void stream_send_trailers(struct http_stream *s, struct headers *h)
{
    s->ops->send_trailers(s, h);
}
static inline void stream_send_informational(struct http_stream *s, struct headers *h)
{
    s->ops->send_informational(s, h);
}
static inline void stream_reset(struct http_stream *s, enum stream_reset why)
{
    s->ops->reset(s, why);
}
static inline void stream_pause(struct http_stream *s, bool on)
{
    s->ops->pause(s, on);
}

/* Upgrades and CONNECT inside the proxy have HTTP/1's form ("connection: upgrade", "upgrade: websocket"; ":method: CONNECT"
 * with or without ":protocol" on HTTP/2); codecs translate (RFC 8441). A request stream that asks for one has `end` false; after
 * a 101 (or 2xx to CONNECT) data flows both ways raw until either side ends. */
bool headers_is_upgrade(const struct headers *request); /* Upgrade wanted, HTTP/1 form */
bool headers_is_connect(const struct headers *request);
/* RFC 9110 section 7.6.1: removes Connection and what it names, keep-alive, proxy-connection, te (but trailers), upgrade
 * (kept when `keep_upgrade`), transfer-encoding. */
void headers_strip_hop_by_hop(struct headers *h, bool keep_upgrade);
bool headers_is_grpc_request(const struct headers *request);   /* content-type application/grpc[+…] */

#endif
