/* SPDX-License-Identifier: Apache-2.0
 *
 * A relay of bytes between two raw connections that nobody looks into (TCP proxy, upgraded and
 * CONNECT streams). Bulk goes by splice(2) through a pipe and never enters user space; short
 * messages go by read and write, which is cheaper for them. Each direction is held back by the
 * other side's socket, carries its end (half-close) on its own, and holds a pipe only while bytes
 * are in it.
 */
#ifndef IO_SPLICE_H
#define IO_SPLICE_H

#include <stdbool.h>
#include <stdint.h>

#include "io/conn.h"

struct splice_relay;
struct splice_handler {
    /* Bytes moved in some direction (at most once a readiness): push idle timers. May be NULL. */
    void (*on_moved)(struct splice_relay *r, void *user);
    /* The peer of a (from_a) or b ended its sending, and that was passed on. The other direction
     * may go on. May be NULL. */
    void (*on_half_closed)(struct splice_relay *r, void *user, bool from_a);
    /* Over: both directions have ended (REMOTE_EOF), or a connection failed; `a_failed` says which.
     * Nothing moves any more. Both connections are still open and the owner's to close. */
    void (*on_done)(struct splice_relay *r, void *user, enum conn_close why, bool a_failed);
};

/* Both connected and raw (conn_tls() NULL), on one loop; borrowed until splice_free. Their handlers
 * are detached; what is in their queues goes first. Moving starts at the end of the turn. */
struct splice_relay *splice_start(struct conn *a, struct conn *b, const struct splice_handler *handler,
                                  void *user);
/* Stops; also from inside a callback. The connections stay open without a handler. Call it before
 * closing either of them. */
void splice_free(struct splice_relay **r);
/* conn_bytes_read/written of both connections count on too. */
uint64_t splice_bytes(const struct splice_relay *r, bool from_a);
/* Gives back the thread's idle pipes (at a thread's end, and in tests). */
void splice_trim(void);

#endif
