/* SPDX-License-Identifier: Apache-2.0
 *
 * pilot-agent's status server (PROXY_CONFIG.statusPort, 15020): readiness, the merged metrics, the application's probes, and
 * what ends or drains the proxy. Main loop.
 */
#ifndef PROXY_AGENT_STATUS_H
#define PROXY_AGENT_STATUS_H

#include "proxy/agent/env.h"
#include "proxy/server.h"

struct dns_proxy;
struct status;
/* Takes the port, before the bootstrap is written: port 0 becomes the kernel's choice in `e`. NULL with faults. */
struct status *status_new(struct agent_env *e, const struct dns_proxy *keep_dns /* NULL: none */, struct err_list *faults);
int status_start(struct status *st, struct server *s, struct err *err); /* serves from the loop's first turn on */
void status_stop(struct status *st);
void status_free(struct status **st);

#endif
