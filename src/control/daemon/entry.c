/* SPDX-License-Identifier: Apache-2.0
 *
 * Listening addresses of the daemon.
 */
#include "control/daemon/entry.h"

#include <unistd.h>

static void on_accept(void *user, int fd, const struct addr *remote)
{
    struct entry *e = user;
    e->fn(e->user, conn_new_accepted(e->loop, fd, remote, NULL));
}

int entry_open(struct entry *e, struct loop *loop, const char *address, entry_fn fn, void *user, struct err *err)
{
    struct addr at = {0}, bound = {0};
    const struct listen_opts opts = {0};
    *e = (struct entry){.loop = loop, .fd = -1, .fn = fn, .user = user};
    if (!*address)
        return 0;
    int rc = addr_from_ip_port(&at, str_from(address), err);
    if (rc == 0)
        rc = listen_open(&at, &opts, &e->fd, &bound, err);
    if (rc == 0) {
        e->port = addr_port(&bound);
        e->acceptor = acceptor_new(loop, e->fd, 0, on_accept, e, err);
        rc = e->acceptor ? 0 : ERR_IO;
    } else
        e->fd = -1;
    addr_fini(&at);
    addr_fini(&bound);
    return rc;
}

void entry_close(struct entry *e)
{
    if (!e->loop)
        return;
    acceptor_free(&e->acceptor);
    if (e->fd >= 0)
        close(e->fd);
    e->fd = -1;
}
