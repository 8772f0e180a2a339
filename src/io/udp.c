/* SPDX-License-Identifier: Apache-2.0
 *
 * UDP sockets, and datagrams with the address of ours that they were sent to. Any thread.
 */
#include "io/udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
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

/* Of a socket for all addresses: which of them each datagram was sent to. */
static int ask_for_local(int fd, const struct addr *a, struct err *err)
{
    if (a->sa.sa_family == AF_INET6)
        return IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr) ? sock_set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1, "IPV6_RECVPKTINFO", err) : 0;
    return a->in4.sin_addr.s_addr == INADDR_ANY ? sock_set_int(fd, IPPROTO_IP, IP_PKTINFO, 1, "IP_PKTINFO", err) : 0;
}

int udp_bind(const struct addr *a, int *fd, struct err *err)
{
    struct sockaddr_storage ss;
    socklen_t n = addr_to_sockaddr(a, &ss);
    int rc = make(a, fd, err);
    if (rc == 0 && a->sa.sa_family == AF_INET6)
        rc = sock_set_int(*fd, IPPROTO_IPV6, IPV6_V6ONLY, 1, "IPV6_V6ONLY", err);
    if (rc == 0)
        rc = ask_for_local(*fd, a, err);
    if (rc < 0 && *fd >= 0) {
        close(*fd);
        *fd = -1;
    }
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

/* ---- datagrams ---- */

union control { /* one of either, aligned */
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

ssize_t udp_receive(int fd, void *p, size_t n, struct udp_peer *from)
{
    union control control;
    struct iovec piece = {p, n};
    struct msghdr m = {.msg_name = &from->remote, .msg_namelen = sizeof from->remote, .msg_iov = &piece, .msg_iovlen = 1,
                       .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(fd, &m, 0);
    from->remote_bytes = m.msg_namelen;
    from->local_family = 0;
    for (struct cmsghdr *c = got < 0 ? NULL : CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        struct in_pktinfo in4;
        struct in6_pktinfo in6;
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            memcpy(&in4, CMSG_DATA(c), sizeof in4);
            from->local_family = AF_INET;
            from->local.in4 = in4.ipi_spec_dst;
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            memcpy(&in6, CMSG_DATA(c), sizeof in6);
            from->local_family = AF_INET6;
            from->local.in6 = in6.ipi6_addr;
        }
    }
    return got;
}

static size_t put_local(const struct udp_peer *to, union control *out)
{
    struct in_pktinfo in4 = {.ipi_spec_dst = to->local.in4};
    struct in6_pktinfo in6 = {.ipi6_addr = to->local.in6};
    bool is_v4 = to->local_family == AF_INET;
    size_t n = is_v4 ? sizeof in4 : sizeof in6;
    memset(out, 0, sizeof *out);
    out->head = (struct cmsghdr){.cmsg_len = CMSG_LEN(n), .cmsg_level = is_v4 ? IPPROTO_IP : IPPROTO_IPV6,
                                 .cmsg_type = is_v4 ? IP_PKTINFO : IPV6_PKTINFO};
    memcpy(CMSG_DATA(&out->head), is_v4 ? (void *)&in4 : (void *)&in6, n);
    return CMSG_SPACE(n);
}

ssize_t udp_answer(int fd, const void *p, size_t n, const struct udp_peer *to)
{
    union control control;
    struct iovec piece = {(void *)(uintptr_t)p, n};
    struct msghdr m = {.msg_name = (void *)(uintptr_t)&to->remote, .msg_namelen = to->remote_bytes, .msg_iov = &piece, .msg_iovlen = 1};
    if (to->local_family) {
        m.msg_control = &control;
        m.msg_controllen = put_local(to, &control);
    }
    return sendmsg(fd, &m, 0);
}
