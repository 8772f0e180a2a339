/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of this room share: the transport under a connection. A raw connection has none
 * (ops == NULL, the kernel's socket is used directly); TLS plugs in with conn_set_transport().
 *
 * A transport talks to the socket only through conn_sock_read()/conn_sock_write(): they keep the
 * connection's edge-triggered readiness and count wire bytes. It never calls a handler, never
 * closes the connection and never allocates timers: it returns a result and the connection acts.
 */
#ifndef IO_PRIV_H
#define IO_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "io/conn.h"

struct transport_ops {
    /* One step, on readiness in either direction (first call: at the end of the turn in which the
     * transport was set, or once connected).
     * IO_OK: done, on_connected follows. IO_AGAIN: wait for the socket.
     * IO_EOF: the peer closed in the middle. IO_FAIL: see conn_set_failure_text(). */
    enum io_result (*handshake)(void *state, struct conn *c);
    /* Appends up to about `max` plain bytes to `in`; *n says how many. IO_OK only with *n > 0.
     * IO_AGAIN: the socket has nothing more (never while has_pending). IO_EOF: clean end. */
    enum io_result (*read)(void *state, struct conn *c, struct buf *in, size_t max, size_t *n);
    /* Consumes (drains) from `out` what it has taken, and tells how much in *n, whatever it
     * returns. Called with an empty `out` too, to push on what wants_write told of.
     * IO_OK: everything is with the kernel. IO_AGAIN: the socket is full. */
    enum io_result (*write)(void *state, struct conn *c, struct buf *out, size_t *n);
    /* Says goodbye (close_notify); the connection sends the FIN afterwards. IO_AGAIN: call again
     * when writable. Called once before conn_close too, then the result is ignored. */
    enum io_result (*shutdown)(void *state, struct conn *c);
    /* Plain bytes can be had without reading the socket. */
    bool (*has_pending)(const void *state);
    /* Ciphertext waits for the socket. */
    bool (*wants_write)(const void *state);
    struct tls_session *(*session)(void *state);
    /* At the end of the turn in which the connection died, never inside another op. */
    void (*free)(void *state);
};

/* Once per connection, before any application byte was written. The caller first takes the bytes
 * read so far (the ClientHello seen by an inspector) with buf_move(&state->pre, conn_in(c)); they
 * don't count as read. `take_state` is freed by ops->free, also when the connection dies at once. */
void conn_set_transport(struct conn *c, const struct transport_ops *ops, void *take_state);
void *conn_transport_state(const struct conn *c, const struct transport_ops *ops); /* NULL if another's */

/* Socket access for transports. > 0: bytes; 0: end of file (read only); -EAGAIN: readiness is
 * cleared, return IO_AGAIN; other negative: -errno. EINTR never shows. A read that gave less than
 * asked clears readiness too (unless the peer is known to have ended): ask conn_sock_readable()
 * before a second read, or just read and get -EAGAIN without a system call. */
ssize_t conn_sock_read(struct conn *c, void *p, size_t n);
ssize_t conn_sock_readv(struct conn *c, const struct iovec *iov, int count);
ssize_t conn_sock_write(struct conn *c, const void *p, size_t n);
ssize_t conn_sock_writev(struct conn *c, const struct iovec *iov, int count);
bool conn_sock_readable(const struct conn *c);

/* Text for conn_failure_text(), copied; the first one set wins. */
void conn_set_failure_text(struct conn *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
bool conn_is_server(const struct conn *c); /* made by conn_new_accepted */

/* A connection of this thread closed its descriptor: acceptors resting for want of one go on. */
void acceptor_descriptor_freed(void);

#endif
