/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening listening sockets. Options that accepted sockets inherit (TCP_NODELAY, keep-alive) are
 * set here once, so that accepting costs one system call a connection. A Unix socket's stale file
 * is removed only when nobody answers behind it: a running process never loses its socket to us.
 */
#include "io/listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/sockopt.h"

#define DEFAULT_BACKLOG 4096
#define DEFER_ACCEPT_S 5

static int ip_options(int fd, const struct addr *a, const struct listen_opts *o, struct err *err)
{
    bool v6 = a->sa.sa_family == AF_INET6;
    /* As every server does: a restart mustn't wait for TIME_WAIT. Two live listeners still clash. */
    int rc = sock_set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR", err);
    if (!rc)
        rc = sock_set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY", err);
    if (!rc && o->reuse_port)
        rc = sock_set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT", err);
    if (!rc && v6)
        rc = sock_set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, !o->ipv4_compat, "IPV6_V6ONLY", err);
    if (!rc && o->transparent)
        rc = sock_set_transparent(fd, a->sa.sa_family, err);
    if (!rc && o->freebind) {
        if (v6)
            rc = sock_set_int(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1, "IPV6_FREEBIND", err);
        else
            rc = sock_set_int(fd, IPPROTO_IP, IP_FREEBIND, 1, "IP_FREEBIND", err);
    }
    if (!rc && o->defer_accept)
        rc = sock_set_int(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, DEFER_ACCEPT_S, "TCP_DEFER_ACCEPT", err);
    if (!rc && o->keepalive)
        rc = sock_set_keepalive(fd, o->keepalive_probes, o->keepalive_time_s,
                                o->keepalive_interval_s, err);
    return rc;
}

/* True when the file is a socket that refuses connections: left behind by a process that died. */
static bool is_stale(const struct addr *a)
{
    struct stat st;
    struct sockaddr_storage ss;
    if (a->unix_path[0] == '@' || lstat(a->unix_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    socklen_t n = addr_to_sockaddr(a, &ss);
    bool refused = connect(fd, (const struct sockaddr *)&ss, n) != 0 && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

static int bind_to(int fd, const struct addr *a, const char *text, struct err *err)
{
    struct sockaddr_storage ss;
    socklen_t n = addr_to_sockaddr(a, &ss);
    if (bind(fd, (const struct sockaddr *)&ss, n) == 0)
        return 0;
    int fault = errno;
    if (fault == EADDRINUSE && a->sa.sa_family == AF_UNIX && is_stale(a)) {
        unlink(a->unix_path);
        if (bind(fd, (const struct sockaddr *)&ss, n) == 0)
            return 0;
        fault = errno;
    }
    return err_set_errno(err, fault, "cannot bind '%s'", text);
}

static int do_listen(int fd, const struct listen_opts *o)
{
    return listen(fd, (int)(o->backlog ? o->backlog : DEFAULT_BACKLOG));
}

static int bind_at(int fd, const struct addr *a, const struct listen_opts *o, struct err *err)
{
    char text[ADDR_TEXT_BYTES];
    addr_text(a, text);
    int rc = bind_to(fd, a, text, err);
    if (rc)
        return rc;
    if (a->sa.sa_family == AF_UNIX && o->unix_mode && a->unix_path[0] != '@' &&
        chmod(a->unix_path, o->unix_mode) != 0)
        return err_set_errno(err, errno, "cannot set mode %o of '%s'", o->unix_mode, text);
    return 0;
}

int listen_begin(int fd, const struct addr *a, const struct listen_opts *o, struct err *err)
{
    char text[ADDR_TEXT_BYTES];
    int rc = 0;
    if (addr_is_ip(a) && o->tcp_fast_open_queue)
        rc = sock_set_int(fd, IPPROTO_TCP, TCP_FASTOPEN, (int)o->tcp_fast_open_queue, "TCP_FASTOPEN",
                          err);
    if (!rc && do_listen(fd, o) != 0)
        rc = err_set_errno(err, errno, "cannot listen on '%s'", addr_text(a, text));
    if (!rc)
        rc = sock_set_raw(fd, o->listening_options, o->listening_option_count, err);
    return rc;
}

/* A socket with everything that is set before bind. */
static int prepared(const struct addr *a, const struct listen_opts *o, int *fd, struct err *err)
{
    char text[ADDR_TEXT_BYTES];
    int s = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0)
        return err_set_errno(err, errno, "cannot make a socket for '%s'", addr_text(a, text));
    int rc = addr_is_ip(a) ? ip_options(s, a, o, err) : 0;
    if (!rc)
        rc = sock_set_raw(s, o->options, o->option_count, err);
    if (rc)
        close(s);
    else
        *fd = s;
    return rc;
}

static void bound_to(int fd, struct addr *out)
{
    struct sockaddr_storage ss;
    socklen_t n = sizeof(ss);
    if (getsockname(fd, (struct sockaddr *)&ss, &n) == 0)
        addr_from_sockaddr(out, (const struct sockaddr *)&ss, n);
}

/* The kernel holds a port that was asked for by number, not one that it chose itself: listen_suspend would lose that. So
 * another socket lets it choose, and keeps the port until ours is bound to it. */
static int choose_port(const struct addr *a, const struct listen_opts *o, int *holder, struct addr *chosen, struct err *err)
{
    char text[ADDR_TEXT_BYTES];
    addr_copy(chosen, a);
    if (!addr_is_ip(a) || addr_port(a) != 0)
        return 0;
    int rc = prepared(a, o, holder, err);
    if (!rc)
        rc = bind_to(*holder, a, addr_text(a, text), err);
    if (!rc)
        bound_to(*holder, chosen);
    return rc;
}

int listen_bind(const struct addr *a, const struct listen_opts *opts, int *fd, struct addr *bound,
                struct err *err)
{
    struct addr chosen = {.unix_path = NULL};
    int s = -1, holder = -1;
    int rc = choose_port(a, opts, &holder, &chosen, err);
    if (!rc)
        rc = prepared(a, opts, &s, err);
    if (!rc)
        rc = bind_at(s, &chosen, opts, err);
    if (!rc && bound)
        bound_to(s, bound);
    if (rc && s >= 0)
        close(s);
    else if (!rc)
        *fd = s;
    if (holder >= 0)
        close(holder);
    addr_fini(&chosen);
    return rc;
}

int listen_open(const struct addr *a, const struct listen_opts *opts, int *fd, struct addr *bound,
                struct err *err)
{
    struct addr at = {.unix_path = NULL};
    int rc = listen_bind(a, opts, fd, &at, err);
    if (rc)
        return rc;
    rc = listen_begin(*fd, &at, opts, err);
    if (rc)
        close(*fd);
    else if (bound)
        addr_copy(bound, &at);
    addr_fini(&at);
    return rc;
}

uint32_t listen_suspend(int fd)
{
    struct tcp_info info = {0};
    socklen_t n = sizeof info;
    bool is_known = getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) == 0 && info.tcpi_state == TCP_LISTEN;
    shutdown(fd, SHUT_RD);
    return is_known ? info.tcpi_unacked : 0; /* of a listening socket: how many wait to be accepted */
}

int listen_resume(int fd, const struct listen_opts *opts, struct err *err)
{
    if (do_listen(fd, opts) != 0)
        return err_set_errno(err, errno, "cannot listen again");
    return sock_set_raw(fd, opts->listening_options, opts->listening_option_count, err);
}
