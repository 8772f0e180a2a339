/* SPDX-License-Identifier: Apache-2.0
 *
 * The admin server: Envoy's paths on the main thread, built on the same HTTP server as the data plane.
 * It reads all of the proxy and nobody includes it but cmd/, which hands these to the server's hooks.
 */
#ifndef PROXY_ADMIN_ADMIN_H
#define PROXY_ADMIN_ADMIN_H

#include "base/err.h"

struct buf;
struct server;

/* Listens on server->admin_addr (nothing to do without one) and writes the bound address to
 * --admin-address-path. Main thread. */
int admin_start(struct server *s, struct err *err);
void admin_stop(struct server *s);
/* Appends what /stats/prometheus shows: for pages that it is a part of. */
void admin_prometheus(struct server *s, struct buf *out);

#endif
