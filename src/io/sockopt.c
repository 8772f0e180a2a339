/* SPDX-License-Identifier: Apache-2.0
 *
 * Socket options with errors that a person can act on.
 */
#include "io/sockopt.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

int sock_set_int(int fd, int level, int name, int value, const char *text, struct err *err)
{
    if (setsockopt(fd, level, name, &value, sizeof(value)) == 0)
        return 0;
    return err_set_errno(err, errno, "cannot set socket option %s to %d", text, value);
}

int sock_set_raw(int fd, const struct sock_opt *opts, size_t count, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        const struct sock_opt *o = &opts[i];
        const void *p = o->bytes_value.p ? (const void *)o->bytes_value.p : &o->int_value;
        socklen_t n = o->bytes_value.p ? (socklen_t)o->bytes_value.n : sizeof(o->int_value);
        if (setsockopt(fd, o->level, o->name, p, n) != 0)
            return err_set_errno(err, errno, "cannot set socket option level %d name %d", o->level,
                                 o->name);
    }
    return 0;
}

int sock_set_transparent(int fd, int family, struct err *err)
{
    if (family == AF_INET6)
        return sock_set_int(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1, "IPV6_TRANSPARENT", err);
    return sock_set_int(fd, IPPROTO_IP, IP_TRANSPARENT, 1, "IP_TRANSPARENT", err);
}

int sock_set_keepalive(int fd, int probes, int time_s, int interval_s, struct err *err)
{
    int rc = sock_set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1, "SO_KEEPALIVE", err);
    if (!rc && probes > 0)
        rc = sock_set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, probes, "TCP_KEEPCNT", err);
    if (!rc && time_s > 0)
        rc = sock_set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, time_s, "TCP_KEEPIDLE", err);
    if (!rc && interval_s > 0)
        rc = sock_set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval_s, "TCP_KEEPINTVL", err);
    return rc;
}
