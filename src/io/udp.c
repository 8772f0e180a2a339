/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening UDP sockets. Any thread.
 */
#include "io/udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/sockopt.h"

static int make(const struct addr *a, int *fd, struct err *err)
{
    char text[ADDR_TEXT_BYTES];
    *fd = socket(a->sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return err_set_errno(err, errno, "cannot make a UDP socket for '%s'", addr_text(a, text));
    return 0;
}

static int fail(int *fd, const struct addr *a, const char *what, struct err *err)
{
    char text[ADDR_TEXT_BYTES];
    int fault = errno;
    close(*fd);
    *fd = -1;
    return err_set_errno(err, fault, "cannot %s '%s'", what, addr_text(a, text));
}

int udp_bind(const struct addr *a, int *fd, struct err *err)
{
    struct sockaddr_storage ss;
    socklen_t n = addr_to_sockaddr(a, &ss);
    int rc = make(a, fd, err);
    if (rc == 0 && a->sa.sa_family == AF_INET6)
        rc = sock_set_int(*fd, IPPROTO_IPV6, IPV6_V6ONLY, 1, "IPV6_V6ONLY", err);
    if (rc < 0)
        return rc;
    return bind(*fd, (const struct sockaddr *)&ss, n) == 0 ? 0 : fail(fd, a, "bind UDP", err);
}

int udp_connect(const struct addr *peer, int *fd, struct err *err)
{
    struct sockaddr_storage ss;
    socklen_t n = addr_to_sockaddr(peer, &ss);
    int rc = make(peer, fd, err);
    if (rc < 0)
        return rc;
    return connect(*fd, (const struct sockaddr *)&ss, n) == 0 ? 0 : fail(fd, peer, "reach by UDP", err);
}
