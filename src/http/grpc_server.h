/* SPDX-License-Identifier: Apache-2.0
 *
 * The server's end of gRPC over HTTP/2 connections (https://github.com/grpc/grpc, doc/PROTOCOL-HTTP2): methods by path, calls of
 * all four kinds, which are one kind here: messages come until the client has said all, messages go until the call is ended.
 * TLS is the connection's. Messages aren't compressed, and compressed ones are refused (UNIMPLEMENTED). Runs on one loop.
 */
#ifndef HTTP_GRPC_SERVER_H
#define HTTP_GRPC_SERVER_H

#include "base/buf.h"
#include "http/grpc.h"
#include "http/server.h"

struct grpc_server;
struct grpc_stream;

/* ---- calls ---- */

/* What a method's owner does with a call. All may be NULL but on_call and on_message. Within any of them the call may be ended. */
struct grpc_method_ops {
    /* A call begins: answers with what `call` shall be below. */
    void *(*on_call)(void *owner, struct grpc_stream *s);
    /* One message, in one piece; valid during the call. */
    void (*on_message)(void *call, struct grpc_stream *s, struct str message);
    void (*on_half_close)(void *call, struct grpc_stream *s); /* the client has said all; without this ops: ended OK */
    void (*on_writable)(void *call, struct grpc_stream *s);   /* after grpc_stream_can_write was false */
    /* Last, once, whoever ended it: `s` is dead after it. Not told where on_call ended the call and answered NULL. */
    void (*on_closed)(void *call, struct grpc_stream *s);
};

/* A message in its bytes, which are moved. They may be shared with others (buf_share): nothing is copied. */
void grpc_stream_send(struct grpc_stream *s, struct buf *message);
void grpc_stream_send_bytes(struct grpc_stream *s, struct str message);
/* False: more waits for the client than its share (opts.buffer_bytes). What is sent all the same waits, too. */
bool grpc_stream_can_write(const struct grpc_stream *s);
size_t grpc_stream_queued(const struct grpc_stream *s);
/* Messages aren't read until as many resumes as pauses. */
void grpc_stream_pause(struct grpc_stream *s, bool on);
/* Trailers follow what waits; nothing comes from the client any more. on_closed comes when it is over, not inside. Idempotent:
 * the first status counts. */
void grpc_stream_end(struct grpc_stream *s, enum grpc_status status, struct str message);

struct str grpc_stream_metadata(const struct grpc_stream *s, struct str lower_name); /* the null str: none */
struct str grpc_stream_path(const struct grpc_stream *s);
/* For addresses and the peer's certificate (conn_tls); NULL once it is gone. */
struct conn *grpc_stream_conn(const struct grpc_stream *s);

/* ---- the server ---- */

struct grpc_server_opts {              /* 0: the default in brackets */
    uint32_t message_bytes_max;        /* [4 MiB] of one message from a client: RESOURCE_EXHAUSTED past it */
    uint32_t connections_max;          /* [100000] more are closed at once */
    uint32_t streams_max;              /* [100000] calls at a time, over all connections: RESOURCE_EXHAUSTED past it */
    uint32_t connection_streams_max;   /* [100] of one connection; told to the client by SETTINGS */
    size_t gather_bytes_max;           /* [256 MiB] of messages that have come in part, over all calls: RESOURCE_EXHAUSTED past it */
    size_t buffer_bytes;               /* [128 KiB] that may wait for a client: of a call before can_write says no, and of a
                                        * connection, as frames, for the kernel */
    uint64_t ping_interval_ms, ping_timeout_ms; /* [30000, 10000] */
    uint64_t idle_ms;                  /* [1 h] without a call */
    uint64_t max_connection_ms;        /* [none] then it is drained */
    uint64_t drain_ms;                 /* [5000] in which the calls of a connection that is being drained are ended, at a random moment */
};

struct grpc_server *grpc_server_new(struct loop *loop, const struct grpc_server_opts *opts);
/* Before the first connection. `path`: "/package.Service/Method", static. */
void grpc_server_add(struct grpc_server *g, const char *path, const struct grpc_method_ops *keep_ops, void *owner);
/* An accepted connection, plain or with TLS on its way. */
void grpc_server_accept(struct grpc_server *g, struct conn *take_conn);
/* No calls are taken any more (UNAVAILABLE); connections are told (GOAWAY), and their calls ended, spread over drain_ms, so
 * that those who turn to another server don't do so all at once. on_drained comes once, never inside. */
void grpc_server_drain(struct grpc_server *g, void (*on_drained)(void *user), void *user);
void grpc_server_free(struct grpc_server **g); /* cuts off what is left; on_closed is told */

struct grpc_server_counters {
    uint32_t connections, streams;          /* now */
    uint64_t connections_total, streams_total, refused; /* refused: past a limit */
    uint64_t messages_in, messages_out, bytes_in, bytes_out;
};
const struct grpc_server_counters *grpc_server_counters(const struct grpc_server *g);

#endif
