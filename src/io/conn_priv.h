/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection's body, shared by conn*.c and splice.c only.
 *
 *   CONNECTING -> HANDSHAKE (with a transport) -> OPEN -> DRAINING (close_delayed) -> DEAD
 *   accepted:     HANDSHAKE (with a transport) /           any state -> FAILING -> DEAD
 *
 * FAILING lasts for the call of on_closed: the descriptor is still open, nobody is called any more.
 */
#ifndef IO_CONN_PRIV_H
#define IO_CONN_PRIV_H

#include "io/io_priv.h"

#define CONN_MAGIC 0x636f6e6eu

struct conn_race;

enum conn_state {
    CONN_CONNECTING,
    CONN_HANDSHAKE,
    CONN_OPEN,
    CONN_DRAINING,
    CONN_FAILING,
    CONN_DEAD,
};

/* What the connection's turn task has to do. */
enum {
    WORK_STEP = 1,  /* connect or handshake goes on */
    WORK_FLUSH = 2,
    WORK_READ = 4,
    WORK_DATA = 8,  /* `in` holds bytes that the (new, resumed) handler hasn't been told of */
    WORK_WATCH = 16, /* not yet watched: an accepted connection reads before it is registered */
    WORK_FAIL = 32,
    WORK_DRAIN = 64, /* go on discarding */
};

/* What few connections need; made on demand, dies with the connection. */
struct conn_ext {
    struct timer timer; /* connect timeout, then delayed close */
    struct conn *owner;
    struct list lingering;     /* among this thread's in conn_close_delayed */
    struct addr direct_remote; /* set when the remote address was replaced */
    struct buf preface;        /* goes out before anything else, TLS included */
    void (*on_linger_end)(void *arg, bool timed_out);
    void *linger_arg;
    uint64_t start_us, connect_us, linger_us;
    uint64_t wire_read, wire_written;
    char *failure_text;
    struct str proxy_tlvs; /* owned */
    struct conn_prologue *prologue; /* owned */
    struct conn_race *race;    /* while connecting to a host of several addresses */
    enum conn_close fail_why; /* for WORK_FAIL */
    bool has_direct_remote;
    bool bind_failed;
};

struct conn {
    uint32_t magic;
    uint8_t state;
    uint8_t work;
    uint16_t pauses;
    struct watch watch; /* .loop, .fd are set from the start */
    struct turn_task task;
    const struct conn_handler *handler;
    void *user;
    const struct transport_ops *ops; /* NULL: raw */
    void *transport;
    struct buf in, out;
    uint64_t id;
    uint64_t bytes_read, bytes_written;
    struct conn_ext *ext;
    struct addr *local; /* asked from the kernel on first use */
    struct addr remote;
    uint32_t read_chunk, high_watermark;
    uint32_t budget_turn, budget_taken; /* bytes read in that turn of the loop */
    struct deferred deferred;
    int fd;
    int16_t last_errno;
    bool is_server : 1;
    bool can_read : 1, can_write : 1; /* remembered edges */
    bool peer_ended : 1;              /* EPOLLRDHUP or EPOLLHUP: read on until end of file */
    bool got_eof : 1;
    bool write_failed : 1; /* `out` goes nowhere; what the peer said before is still read */
    bool doomed : 1;       /* failed while nobody listened: the next handler is told */
    bool is_above : 1;
    bool shut_wanted : 1, shut_done : 1;
    bool reset_wanted : 1;
    bool tcp_connected : 1;
};

struct conn *conn_alloc(struct loop *loop, int fd);
struct conn_ext *conn_ext(struct conn *c);
void conn_later(struct conn *c, unsigned work);
int conn_watch(struct conn *c);
void conn_release(struct conn *c); /* a relay lets go: readiness is the connection's own again */
int conn_socket_error(const struct conn *c); /* SO_ERROR, fetched and cleared */
void conn_fail(struct conn *c, enum conn_close why);
void conn_destroy(struct conn *c); /* closes the descriptor; memory goes at the turn's end */
enum conn_close conn_close_of_errno(int e);

void conn_read_loop(struct conn *c);  /* conn_read.c */
void conn_discard_loop(struct conn *c);
void conn_flush(struct conn *c);      /* conn_write.c */
bool conn_has_output(const struct conn *c);
void conn_connect_ready(struct conn *c); /* conn_connect.c */
int conn_open_socket(struct conn *c, const struct addr *remote, const struct conn_connect_opts *o);
void conn_step(struct conn *c);
void conn_race_new(struct conn *c, const struct conn_connect_opts *o); /* conn_race.c */
bool conn_race_go(struct conn *c); /* begins the next attempt; false: none is left and none runs */
void conn_race_end(struct conn *c); /* idempotent */
void conn_drain_progress(struct conn *c); /* conn.c */
void conn_prologue_open(struct conn *c); /* conn_prologue.c */
void conn_prologue_take(struct conn *c, bool end); /* what was read goes through it */
void conn_prologue_free(struct conn_ext *x);
static inline bool conn_has_prologue(const struct conn *c)
{
    return c->ext && c->ext->prologue && c->ext->prologue->is_active;
}

#endif
