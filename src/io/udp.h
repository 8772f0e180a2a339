/* SPDX-License-Identifier: Apache-2.0
 *
 * UDP sockets: non-blocking, close-on-exec, of IP addresses. What goes over them is up to their owners.
 */
#ifndef IO_UDP_H
#define IO_UDP_H

#include "base/err.h"
#include "io/addr.h"

/* A v6 address takes no v4. On success *fd is the caller's. */
int udp_bind(const struct addr *a, int *fd, struct err *err);
/* A port of the kernel's choice; only what comes from `peer` is received, and its ICMP errors are reported. */
int udp_connect(const struct addr *peer, int *fd, struct err *err);

#endif
