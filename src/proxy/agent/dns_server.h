/* SPDX-License-Identifier: Apache-2.0
 *
 * A name server over UDP and TCP: names of a table are answered here, all others by upstream resolvers, with a cache between.
 * Main loop.
 */
#ifndef PROXY_AGENT_DNS_SERVER_H
#define PROXY_AGENT_DNS_SERVER_H

#include "proxy/agent/dns_stats.h"
#include "proxy/agent/name_table.h"
#include "proxy/agent/resolv_conf.h"

#include "base/buf.h"
#include "io/loop.h"

struct dns_server_opts {
    struct str address;                  /* "host:port", an IP or localhost: both loopback addresses, where there are both */
    const struct resolv_conf *upstreams; /* borrowed; those that are the server itself are left out */
    uint64_t timeout_ms;
    bool is_parallel;
    bool forwards_before_table;          /* else queries fail until there is a table */
};
struct dns_server;
/* Takes the addresses; nobody is answered yet. Port 0: the kernel's choice. NULL with `err`. */
struct dns_server *dns_server_new(const struct dns_server_opts *opts, struct err *err);
int dns_server_start(struct dns_server *s, struct loop *loop, struct err *err);
void dns_server_stop(struct dns_server *s); /* clients hear no more */
void dns_server_free(struct dns_server **s);

/* From the next query on. */
void dns_server_set_table(struct dns_server *s, struct name_table *take_table);
const struct name_table *dns_server_table(const struct dns_server *s); /* NULL: none yet */
/* pilot-agent's metrics of its DNS proxy, in Prometheus' form. */
void dns_server_metrics(const struct dns_server *s, struct buf *out);

#endif
