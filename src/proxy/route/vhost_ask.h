/* SPDX-License-Identifier: Apache-2.0
 *
 * Asking for a virtual host on demand (VHDS): a request whose host no virtual host has waits until the
 * management server has answered for that name. Nobody waits longer than his request lives.
 */
#ifndef PROXY_ROUTE_VHOST_ASK_H
#define PROXY_ROUTE_VHOST_ASK_H

#include "base/list.h"
#include "proxy/route/route_source.h"

struct headers;
struct loop;

struct asked;
/* One request's; both threads hold it. */
struct vhost_ask {
    struct list node;                 /* main thread: who waits for the name */
    struct asked *waited_for;
    struct route_source *source;
    struct loop *loop;                /* the asker's */
    void (*on_answer)(void *arg);     /* the asker's thread; NULL: he waits no longer */
    void *arg;
    _Atomic uint32_t refs;
    uint32_t host_bytes;
    char host[];
};

/* A worker. `routes` were looked into and have no virtual host for these headers. NULL: there is nothing to ask, or the name
 * can't be one. on_answer comes on `loop`, whether or not there is such a virtual host now, unless it is cancelled before. */
struct vhost_ask *vhost_ask_new(struct route_source *source, const struct route_snapshot *routes, const struct headers *h,
                                struct loop *loop, void (*on_answer)(void *arg), void *arg);
void vhost_ask_cancel(struct vhost_ask **a); /* NULL is fine; not after on_answer */
/* Main thread: taken out of its list, and told. */
void vhost_ask_answer(struct vhost_ask *a);

#endif
