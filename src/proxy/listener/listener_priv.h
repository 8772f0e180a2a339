/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of this folder share: a listener as all threads hold it (generation.c), its sockets
 * (sockets.c), a worker's share of it (active.c), which of them serve (manager.c), and a connection on
 * its way to its terminal filter (connection.c).
 */
#ifndef PROXY_LISTENER_LISTENER_PRIV_H
#define PROXY_LISTENER_LISTENER_PRIV_H

#include <stdatomic.h>

#include "base/map.h"
#include "proxy/listener/listener_filter.h"
#include "proxy/warm.h"

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
    bool is_paused;   /* overload */
    struct timer drain_timer; /* gradual draining */
    uint64_t drain_end_us;
};

/* Sockets of one address, one a worker or one for all; shared by listeners that follow each other there. Main thread. */
struct listen_group {
    struct str key; /* address and options */
    uint32_t refs;
    struct addr bound;
    int *fds;
    uint32_t count;
    bool is_listening;
};

/* One generation of a listener. */
struct listener {
    uint32_t magic;
    _Atomic uint32_t refs; /* the manager's, one for each worker that runs it, and its predecessor's */
    struct list node;
    struct listener_manager *manager;
    struct server *server;
    struct listener_spec *spec;
    struct listen_group **groups; /* one an address; NULL: not bound */
    int *fds; /* the groups', address by address */
    uint32_t fd_count;
    uint32_t *first_fd; /* of each address; [address_count] is fd_count */
    struct addr *bound;
    struct stat_scope *stats, *tls_stats, *tls_socket_stats, **filter_stats;
    const struct filter_chain *sole; /* every connection's, without looking */
    _Atomic uint64_t limit;          /* connections; 0 = none */
    struct worker_count *counts;
    struct active *actives; /* one a worker */
    /* The next generation, referenced; set before a worker hears of it. */
    struct listener *successor;
    uint64_t generation;
    /* Main thread. */
    bool is_static, is_stopped;
    bool refuses, is_suspended; /* wanted, and done */
    struct warmth *warmth;
    struct str packed, version; /* dynamic ones: what they are made of */
    uint64_t wall_us;
    struct timer drain_limit;
    uint32_t released;       /* workers that have let go of a draining one */
    uint32_t chains_leaving; /* drained on their own: in-place update */
    bool is_draining, has_left, is_followed_in_place;
    uint64_t left_wall_us;
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
static inline bool is_replaced_by(const struct listener *next, const struct filter_chain *chain)
{
    return atomic_load_explicit(&((struct filter_chain *)(uintptr_t)chain)->generation, memory_order_relaxed) < next->generation;
}

/* ---- generation.c; main thread ---- */
/* Statistics and workers' shares; no sockets yet. Takes the spec. */
struct listener *listener_new(struct listener_manager *m, struct server *s, struct listener_spec *take_spec);
struct listener *listener_ref(struct listener *l); /* any thread */
void listener_unref(struct listener *l);           /* any thread */
void listener_link(struct listener *l, struct warmth *warm);
void listener_refresh_limit(struct listener *l);

/* ---- sockets.c; main thread ---- */
/* Groups of sockets by key. */
struct listen_groups;
struct listen_groups *listen_groups_new(void);
void listen_groups_free(struct listen_groups **g);
/* Binds every address of the listener, or takes over sockets that are there. A fault leaves nothing behind. */
int listener_bind(struct listener *l, struct listen_groups *g, struct err *err);
int listener_listen(struct listener *l, struct err *err); /* those that don't yet */
/* The last listener there closes them. */
void listener_close(struct listener *l, struct listen_groups *g);

/* ---- manager.c ---- */
struct list *listener_manager_list(struct listener_manager *m); /* main thread: struct listener; those that serve */
struct server *listener_manager_server(struct listener_manager *m);
void listener_manager_released(void *listener); /* main thread; a worker has let go of a draining one */

/* ---- active.c; on the worker ---- */
int active_start(struct active *a, struct err *err);
void active_stop(struct active *a);
/* The next generation takes over: sockets, connections of chains that it has; the others drain. `next` may be NULL. */
int active_replace(struct active *a, struct listener *next, uint64_t drain_us);
void active_drain(struct active *a, uint64_t drain_us);
void active_close_connections(struct active *a);
/* Perhaps the last connection of a stopped listener has gone. */
void active_connection_gone(struct active *a);
/* Who takes connections to this address: Envoy's order of exact address, any address of the family. NULL: nobody. */
struct active *active_at(const struct worker *w, const struct addr *local);

/* ---- connection.c ---- */
void connection_accept(void *active_socket, int fd, const struct addr *remote); /* accept_fn */
/* Now: terminal filter or not. */
void connection_close(struct downstream *d);
void connection_drain(struct downstream *d);
void connection_move(struct downstream *d, struct active *to); /* counts and all; the chain is both's */

#endif
