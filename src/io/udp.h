/* SPDX-License-Identifier: Apache-2.0
 *
 * UDP sockets: non-blocking, close-on-exec, of IP addresses. What goes over them is up to their owners.
 */
#ifndef IO_UDP_H
#define IO_UDP_H

#include <sys/types.h>

#include "base/err.h"
#include "io/addr.h"

/* Where a datagram came from, and to which address of ours where the socket takes those of all: an answer from another one
 * would be a stranger's. */
struct udp_peer {
    struct sockaddr_storage remote;
    socklen_t remote_bytes;
    sa_family_t local_family;     /* 0: the socket's own address */
    union {
        struct in_addr in4;
        struct in6_addr in6;
    } local;
};
/* As recv(2) and send(2): -1 with errno. */
ssize_t udp_receive(int fd, void *p, size_t n, struct udp_peer *from);
ssize_t udp_answer(int fd, const void *p, size_t n, const struct udp_peer *to);

/* A v6 address takes no v4. On success *fd is the caller's. */
int udp_bind(const struct addr *a, int *fd, struct err *err);
/* A port of the kernel's choice; only what comes from `peer` is received, and its ICMP errors are reported. */
int udp_connect(const struct addr *peer, int *fd, struct err *err);

#endif
