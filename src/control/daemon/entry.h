/* SPDX-License-Identifier: Apache-2.0
 *
 * Where connections come in: one listening address, its acceptor, and who takes the connections.
 */
#ifndef CONTROL_DAEMON_ENTRY_H
#define CONTROL_DAEMON_ENTRY_H

#include "io/conn.h"
#include "io/listen.h"

typedef void (*entry_fn)(void *user, struct conn *take_conn);

struct entry {
    struct loop *loop;
    struct acceptor *acceptor;
    int fd;           /* -1: none */
    uint16_t port;    /* bound to; 0: none */
    entry_fn fn;
    void *user;
};
/* `address`: "IP:PORT"; "" leaves the entry closed, which is no error. */
int entry_open(struct entry *e, struct loop *loop, const char *address, entry_fn fn, void *user, struct err *err);
void entry_close(struct entry *e); /* one that was never opened, too (fd -1 or zeroed loop) */

#endif
