/* SPDX-License-Identifier: Apache-2.0
 *
 * Listening sockets: opening with every option Envoy's Listener has, and accepting on a loop with
 * a pause when descriptors run out (EMFILE/ENFILE: a reserve descriptor sheds one connection, the
 * listener rests 100 ms or until a connection closes, and goes on).
 */
#ifndef IO_LISTEN_H
#define IO_LISTEN_H

#include "base/err.h"
#include "io/addr.h"
#include "io/conn.h"
#include "io/loop.h"

struct listen_opts {
    bool reuse_port, ipv4_compat /* v6 socket takes v4 too */, transparent, freebind;
    uint32_t backlog;              /* 0 = 4096 (the kernel caps by somaxconn) */
    uint32_t tcp_fast_open_queue;  /* 0 = off */
    bool defer_accept;
    uint32_t unix_mode;            /* 0 = umask's */
    const struct sock_opt *options; /* before bind; those of state LISTENING after listen */
    size_t option_count;
    const struct sock_opt *listening_options;
    size_t listening_option_count;
    bool keepalive;
    int keepalive_probes, keepalive_time_s, keepalive_interval_s;
};
/* Non-blocking, close-on-exec, TCP_NODELAY (inherited by accepted sockets). On success *fd is owned by the caller and
 * *bound is the address with the kernel's port. Errors name the address and the reason ("address already in use"). */
int listen_open(const struct addr *a, const struct listen_opts *opts, int *fd, struct addr *bound, struct err *err);
/* The same in two steps: the address is taken, but connections are refused until listen_begin (with the address bound to). */
int listen_bind(const struct addr *a, const struct listen_opts *opts, int *fd, struct addr *bound, struct err *err);
int listen_begin(int fd, const struct addr *bound, const struct listen_opts *opts, struct err *err);

/* Takes a listening TCP socket out of LISTEN without letting go of its address: from then on the kernel itself answers a
 * SYN with RST, at once and at nobody's cost here, and resets what it had not yet handed out (whose number is returned,
 * 0 where the kernel doesn't tell). Nobody may watch or accept from it meanwhile. Linux; not for Unix sockets, which
 * can't come back. */
uint32_t listen_suspend(int fd);
int listen_resume(int fd, const struct listen_opts *opts, struct err *err);

struct acceptor;
/* A new connection: fd is non-blocking and owned by the callee. `remote` is borrowed. */
typedef void (*accept_fn)(void *user, int fd, const struct addr *remote);
/* Watches fd (shared between loops when several acceptors have it: EPOLLEXCLUSIVE). max_per_turn 0 = default. */
struct acceptor *acceptor_new(struct loop *loop, int fd, uint32_t max_per_turn, accept_fn on_accept, void *user, struct err *err);
void acceptor_free(struct acceptor **a); /* stops watching; doesn't close fd */
void acceptor_pause(struct acceptor *a);
void acceptor_resume(struct acceptor *a);
uint64_t acceptor_exhausted_count(const struct acceptor *a); /* times descriptors ran out */

#endif
