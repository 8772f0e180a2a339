/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the status server share.
 */
#ifndef PROXY_AGENT_STATUS_PRIV_H
#define PROXY_AGENT_STATUS_PRIV_H

#include "http/server.h"
#include "io/listen.h"
#include "proxy/agent/dns_proxy.h"
#include "proxy/agent/probes.h"
#include "proxy/agent/status.h"

struct status {
    struct agent_env *env;
    struct server *server;          /* once it runs */
    int fd;
    struct acceptor *acceptor;
    struct http_server_opts opts;
    struct list conns;
    struct probes *probes;
    const struct dns_proxy *dns;    /* NULL: none */
    struct turn_task leave;
    bool was_ready;
    bool scrapes_app;               /* the application's page is at … */
    struct addr app;
    struct str app_path;
    uint64_t scrapes, scrape_failures;
};

/* A statistic of this process by its scope and row; false: there is none of that name (yet). */
bool status_stat(struct str prefix, const char *row, uint64_t *out);
void status_own_metrics(const struct status *st, struct buf *out);
void status_read_annotations(struct status *st, struct err_list *faults);

#endif
