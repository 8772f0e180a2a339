/* SPDX-License-Identifier: Apache-2.0
 *
 * What server.c and server_workers.c share.
 */
#ifndef PROXY_SERVER_PRIV_H
#define PROXY_SERVER_PRIV_H

#include "proxy/cluster/manager.h"
#include "proxy/discovery/discovery.h"
#include "proxy/listener/listener.h"
#include "proxy/runtime.h"
#include "proxy/warm.h"
#include "proxy/server.h"

struct signals;

/* The server and what only these files may see of it. */
struct frame {
    struct server server;
    struct signals *signals;
    struct runtime *runtime;
    struct overload *overload;
    struct loop **worker_loops; /* for clusters_init */
    struct timer tick, warm_up, drain, drain_listeners;
    uint64_t ticks;
    struct rtds *rtds;
    struct lrs *lrs;
    struct cds *cds;
    struct lds *lds;
    struct warmth *init;    /* of listeners, before serving */
    struct discovery_opts discovery;
    int exit_code;
    bool is_live, is_stopping, is_forced;
    bool is_terminating;       /* the agent says when the end is */
    bool workers_run;
    bool drain_inbound_only, drain_then_exit;
};

int workers_make(struct server *s, struct err *err); /* loops only */
int workers_start(struct server *s);                 /* threads; faults are logged */
void workers_stop(struct server *s, bool at_once);   /* connections are closed, threads joined */
void workers_free(struct server *s);

#endif
