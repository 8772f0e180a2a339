/* SPDX-License-Identifier: Apache-2.0
 *
 * A connected byte stream: a socket, a transport (raw, TLS, later a tunnel's stream) and two
 * queues. Readers consume `in`; writers append to `out` and call conn_flush_later(): one gathered
 * write at the end of the turn carries everything. Edge-triggered: the connection remembers
 * readiness and reads on while its handler wants bytes, up to a budget a turn.
 *
 * Back-pressure: a handler that has enough calls conn_read_pause(); nothing is read from the
 * socket until conn_read_resume(). `out` above the high watermark is told by on_above_watermark,
 * and by on_below_watermark once it has drained to half.
 *
 * Death: conn_close() detaches at once (no handler call after it), closes the descriptor, frees at
 * the turn's end. The peer's end arrives as on_end (it shut its writing side: `in` may still hold
 * bytes) or on_closed (error or reset: the connection is dead when the call returns).
 */
#ifndef IO_CONN_H
#define IO_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "io/addr.h"
#include "io/loop.h"

enum io_result { IO_OK, IO_AGAIN, IO_EOF, IO_FAIL };

struct conn;
struct tls_session; /* io/tls.h */

/* Why a connection ended; each has a text used in logs (conn_close_text). */
#define CONN_CLOSE_TABLE(X)                                                                        \
    X(LOCAL, "closed locally")                                                                     \
    X(REMOTE_RESET, "reset by peer")                                                               \
    X(REMOTE_EOF, "closed by peer")                                                                \
    X(CONNECT_FAILED, "connect failed")                                                            \
    X(CONNECT_TIMEOUT, "connect timed out")                                                        \
    X(TLS_FAILED, "TLS handshake failed")                                                          \
    X(TLS_TIMEOUT, "transport socket timed out")                                                   \
    X(IO_ERROR, "input/output error")
enum conn_close {
#define X(name, text) CONN_CLOSE_##name,
    CONN_CLOSE_TABLE(X)
#undef X
};
const char *conn_close_text(enum conn_close c);

struct conn_handler {
    void (*on_connected)(struct conn *c, void *user);     /* connect and TLS handshake are done */
    void (*on_data)(struct conn *c, void *user);          /* conn_in() grew */
    void (*on_end)(struct conn *c, void *user);           /* EOF read; writing may go on (half-close) */
    void (*on_closed)(struct conn *c, void *user, enum conn_close why);
    void (*on_above_watermark)(struct conn *c, void *user); /* these two may be NULL */
    void (*on_below_watermark)(struct conn *c, void *user);
    void (*on_drained)(struct conn *c, void *user);       /* `out` became empty after a flush; may be NULL */
};

/* Takes an accepted, non-blocking fd. Addresses are copied; local NULL: asked from the kernel when needed. Reading
 * starts when a handler is set: at the end of this turn, before the descriptor is even watched. With conn_start_tls
 * set the handler in the same turn, or on_connected has nobody to go to. */
struct conn *conn_new_accepted(struct loop *loop, int fd, const struct addr *remote, const struct addr *local);

struct conn_connect_opts {
    const struct addr *remote;
    const struct addr *alternatives; /* further addresses of the same host (RFC 8305); conn_remote() is the one that won */
    size_t alternative_count;
    sa_family_t first_family;     /* tried first; 0 = remote's */
    uint32_t first_family_count;  /* addresses of it before one of another; 0 = 1 */
    const struct addr *bind;      /* source address, or NULL */
    const struct addr *other_bind; /* in its place for remotes of this one's family; NULL */
    uint64_t connect_timeout_us;  /* TCP connect and TLS handshake together; 0 = none */
    const struct sock_opt *options; /* applied before connect */
    size_t option_count;
    int mark;                     /* SO_MARK, 0 = none */
    bool transparent;             /* IP_TRANSPARENT for bind to a foreign address */
    int keepalive_probes, keepalive_time_s, keepalive_interval_s; /* TCP keep-alive; all 0 = off, -1 = system's default */
    bool keepalive;
    struct str proxy_header;      /* sent first of all (upstream PROXY protocol); borrowed till return */
};
/* A raw socket option (core.v3.SocketOption). */
struct sock_opt {
    int level, name;
    int int_value;
    struct str bytes_value; /* used when p != NULL */
};
/* Starts connecting. Never NULL: failure arrives as on_closed at the next turn. */
struct conn *conn_connect(struct loop *loop, const struct conn_connect_opts *opts,
                          const struct conn_handler *handler, void *user);
/* A connection that was just begun cannot go on (its TLS has no secret yet): on_closed(CONNECT_FAILED) at the next turn, with
 * this text. */
void conn_fail_later(struct conn *c, const char *why);

/* Messages that two ends send each other ahead of the connection's own bytes, in both directions, unseen by its handler:
 * what is received first goes through on_bytes until that is done, and only what is left is `in`. Neither side waits for
 * the other's: own bytes may follow at once. Embedded in what its maker keeps; the connection owns it. */
struct conn_prologue;
enum conn_prologue_step {
    CONN_PROLOGUE_MORE, /* keep what is there, more must come */
    CONN_PROLOGUE_DONE, /* what is left in `bytes` is the connection's own */
    CONN_PROLOGUE_FAIL, /* the connection is closed (IO_ERROR) */
};
struct conn_prologue_ops {
    /* The connection is open, its transport's handshake done: appends to conn_out what goes first. False: there is to be no
     * prologue here. Called within conn_set_prologue where it is open already. */
    bool (*on_open)(struct conn_prologue *p, struct conn *c);
    enum conn_prologue_step (*on_bytes)(struct conn_prologue *p, struct conn *c, struct buf *bytes, bool end);
    void (*free)(struct conn_prologue *p);
};
struct conn_prologue {
    const struct conn_prologue_ops *ops;
    struct buf held;
    uint64_t received, sent; /* bytes that conn_bytes_read and conn_bytes_written leave out */
    bool is_active;
};
/* Once per connection, in the turn in which it was made or became open; conn_prologue gives it back, NULL without. */
void conn_set_prologue(struct conn *c, struct conn_prologue *take_prologue);
struct conn_prologue *conn_prologue(const struct conn *c);

/* Replaces who listens (listener filters -> network filters; pool -> codec). If `in` holds bytes,
 * on_data is called at the end of the turn. */
void conn_set_handler(struct conn *c, const struct conn_handler *handler, void *user);
void *conn_user(const struct conn *c);

/* Puts TLS on top. Accepted: server side; bytes already in `in` are the ClientHello. Connecting: client side,
 * handshake starts once connected. Takes a reference inside; on_connected follows, or on_closed(TLS_FAILED). */
struct tls_context;
struct tls_client_opts; /* io/tls.h: SNI, ALPN and such per connection; NULL for servers */
int conn_start_tls(struct conn *c, struct tls_context *ctx, const struct tls_client_opts *opts, struct err *err);
struct tls_session *conn_tls(const struct conn *c); /* NULL when raw */

struct buf *conn_in(struct conn *c);
struct buf *conn_out(struct conn *c);
void conn_flush_later(struct conn *c);   /* gather: write at the end of this turn */
void conn_flush_now(struct conn *c);
void conn_read_pause(struct conn *c);    /* counted: as many resumes as pauses */
void conn_read_resume(struct conn *c);
void conn_set_watermark(struct conn *c, size_t high_bytes); /* for `out`; 0 = none. Also bounds what is read ahead into `in` */
/* Largest amount read in one go into `in` before the handler is called (default 1 block). A codec that
 * relays bodies raises it. */
void conn_set_read_chunk(struct conn *c, size_t bytes);

void conn_shutdown_write(struct conn *c); /* after `out` has drained: FIN (or TLS close_notify + FIN) */
void conn_close(struct conn *c, enum conn_close why);
/* Flush `out`, then FIN, then discard what the peer still sends until it closes or `timeout_ms` passed, then close: so
 * that a response isn't lost to a RST (RFC 9112 section 9.6). The handler is detached at once. */
void conn_close_delayed(struct conn *c, uint64_t timeout_ms);
/* The same for a peer that has said all it will say (it asked for the close, and its message is complete): where `out`
 * goes out at once and nothing unread is known to be there, there is nothing to wait for. */
void conn_close_flushed(struct conn *c, uint64_t timeout_ms);
/* Before a delayed close: who is told once, when it is over, by the timeout or otherwise (also when it never lingered). */
void conn_on_linger_end(struct conn *c, void (*tell)(void *arg, bool timed_out), void *take_arg);
/* Connections of this thread in conn_close_delayed, and their end at once (before the loop is freed). */
size_t conn_lingering_count(void);
void conn_close_lingering(void);
/* Makes the coming close a RST (SO_LINGER 0). */
void conn_reset(struct conn *c);

bool conn_is_connected(const struct conn *c);
uint64_t conn_id(const struct conn *c); /* unique in the process; 1.. */
struct loop *conn_loop(const struct conn *c);
int conn_fd(const struct conn *c); /* for splice and getsockopt; raw connections only may be spliced */
const struct addr *conn_remote(const struct conn *c);
const struct addr *conn_local(const struct conn *c);
void conn_set_remote(struct conn *c, const struct addr *a); /* PROXY protocol, original source */
void conn_set_local(struct conn *c, const struct addr *a);  /* restored original destination */
/* TLVs of the PROXY protocol header that came with it, as they stood there (type, length, value …). Copied. */
void conn_set_proxy_tlvs(struct conn *c, struct str tlvs);
struct str conn_proxy_tlvs(const struct conn *c); /* null str when there are none */
const struct addr *conn_direct_remote(const struct conn *c); /* the socket's own peer, always */
uint64_t conn_bytes_read(const struct conn *c);    /* above TLS */
uint64_t conn_bytes_written(const struct conn *c);
const char *conn_failure_text(const struct conn *c); /* "TLS_error:|…", "delayed connect error: Connection refused"; "" when none */
bool conn_bind_failed(const struct conn *c);       /* an attempt to connect couldn't take its source address */
uint64_t conn_connect_us(const struct conn *c);    /* time from start to on_connected */
/* Wire bytes, counted by the transport (for %UPSTREAM_WIRE_BYTES_*%); same as above for raw ones. */
uint64_t conn_wire_read(const struct conn *c);
uint64_t conn_wire_written(const struct conn *c);
/* Did the peer's TCP acknowledge any byte past the first `wire_offset` ones that were written? True when it can't be told
 * (Unix sockets). Valid up to and in on_closed. */
bool conn_peer_acknowledged(const struct conn *c, uint64_t wire_offset);
void conn_set_nodelay(struct conn *c, bool on);

/* Moves bytes between two raw connections with splice(2) until `c` ends; see io/splice.h. */

#endif
