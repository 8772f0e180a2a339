/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of this folder share: the listener as all threads hold it (manager.c), and a
 * connection on its way to its terminal filter (connection.c).
 */
#ifndef PROXY_LISTENER_LISTENER_PRIV_H
#define PROXY_LISTENER_LISTENER_PRIV_H

#include <stdatomic.h>

#include "proxy/listener/listener_filter.h"

#define LISTENER_MAGIC 0x4c53544eu

/* Connections of a listener on one worker: written by it, read by all (limits, balance). */
struct worker_count {
    _Atomic uint64_t connections;
    char pad[56]; /* a cache line each: workers share nothing on the path */
};

/* One socket of a listener on one worker. */
struct active_socket {
    struct active *active;
    struct acceptor *acceptor;
    bool is_tcp;
    const struct addr *local; /* every connection's local address; NULL: each has its own */
};

struct active {
    struct active_listener base;
    struct active_socket *sockets;
    uint32_t socket_count;
    struct stat_scope *worker_stats;
    bool is_started, is_stopped, is_released;
    bool is_refusing; /* TCP sockets are left alone: the kernel refuses, or is about to */
    struct timer drain_timer; /* gradual draining */
    uint64_t drain_end_us;
};

struct listener {
    uint32_t magic;
    _Atomic uint32_t refs; /* the manager's and one for each worker that runs it */
    struct list node;
    struct server *server;
    struct listener_spec *spec;
    int *fds; /* address by address; reuse_port: one a worker */
    uint32_t fd_count;
    uint32_t *first_fd; /* of each address; [address_count] is fd_count */
    struct addr *bound;
    struct stat_scope *stats, *tls_stats, *tls_socket_stats, **filter_stats;
    const struct filter_chain *sole; /* every connection's, without looking */
    _Atomic uint64_t limit;          /* connections; 0 = none */
    struct worker_count *counts;
    struct active *actives; /* one a worker */
    bool is_stopped;
    bool refuses, is_suspended; /* main thread: wanted, and done */
};

#define WORKER_LISTENER_STATS(X)                                                                   \
    X(WORKER_LISTENER_CX_TOTAL, COUNTER, NONE, "downstream_cx_total",                              \
      "Connections on this worker")                                                                \
    X(WORKER_LISTENER_CX_ACTIVE, GAUGE, NONE, "downstream_cx_active",                              \
      "Open connections on this worker")
enum worker_listener_stat { WORKER_LISTENER_STATS(STAT_ENUM_ROW) };

static inline struct listener *listener_of(const struct active_listener *al)
{
    return OBJECT(listener, LISTENER_MAGIC, al->shared);
}
static inline struct active *active_of(struct active_listener *al)
{
    return CONTAINER_OF(al, active, base);
}

/* manager.c */
struct list *listener_manager_list(struct listener_manager *m); /* main thread: struct listener */
struct server *listener_manager_server(struct listener_manager *m);
/* The last connection of a stopped listener has gone, perhaps. */
void active_connection_gone(struct active *a);

/* connection.c */
void connection_accept(void *active_socket, int fd, const struct addr *remote); /* accept_fn */
/* Now: terminal filter or not. */
void connection_close(struct downstream *d);
void connection_drain(struct downstream *d);

#endif
