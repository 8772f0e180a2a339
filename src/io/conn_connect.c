/* SPDX-License-Identifier: Apache-2.0
 *
 * Connecting, and the steps between a socket and an open connection: the preface (PROXY protocol)
 * and the transport's handshake. conn_connect never fails in its caller's face: a socket that can't
 * be made or bound is reported by on_closed at the end of the turn, as any refused connection.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "io/conn_priv.h"
#include "io/sockopt.h"
#include "io/sys.h"

static int bind_source(int fd, const struct addr *remote, const struct conn_connect_opts *o, struct err *err)
{
    const struct addr *from = o->other_bind && o->other_bind->sa.sa_family == remote->sa.sa_family ? o->other_bind : o->bind;
    struct sockaddr_storage ss;
    socklen_t n = addr_to_sockaddr(from, &ss);
    int rc = 0;
    /* The port is chosen at connect: it needs to be unique per destination only. */
    if (addr_is_ip(from) && addr_port(from) == 0)
        rc = sock_set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1, "IP_BIND_ADDRESS_NO_PORT", err);
    if (!rc && bind(fd, (const struct sockaddr *)&ss, n) != 0) {
        char text[ADDR_TEXT_BYTES];
        rc = err_set_errno(err, errno, "cannot bind to source address %s", addr_text(from, text));
    }
    return rc;
}

static int prepare(struct conn *c, int fd, const struct addr *remote, const struct conn_connect_opts *o, struct err *err)
{
    int family = remote->sa.sa_family, rc = 0;
    if (addr_is_ip(remote))
        rc = sock_set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY", err);
    if (!rc && o->mark)
        rc = sock_set_int(fd, SOL_SOCKET, SO_MARK, o->mark, "SO_MARK", err);
    if (!rc && o->transparent)
        rc = sock_set_transparent(fd, family, err);
    if (!rc && o->keepalive)
        rc = sock_set_keepalive(fd, o->keepalive_probes, o->keepalive_time_s,
                                o->keepalive_interval_s, err);
    if (!rc)
        rc = sock_set_raw(fd, o->options, o->option_count, err);
    if (!rc && o->bind) {
        rc = bind_source(fd, remote, o, err);
        c->ext->bind_failed = c->ext->bind_failed || rc;
    }
    return rc;
}

static void fail_later(struct conn *c)
{
    conn_ext(c)->fail_why = CONN_CLOSE_CONNECT_FAILED;
    conn_later(c, WORK_FAIL);
}

void conn_fail_later(struct conn *c, const char *why)
{
    conn_set_failure_text(c, "%s", why);
    fail_later(c);
}

/* Texts as Envoy's (%UPSTREAM_TRANSPORT_FAILURE_REASON%): people's log queries know them. */
static void immediate_error(struct conn *c, const struct addr *remote, int e)
{
    char text[ADDR_TEXT_BYTES];
    conn_set_failure_text(c, "immediate connect error: %s|remote address:%s", strerror(e),
                          addr_text(remote, text));
}

static int connect_to(int fd, const struct addr *remote)
{
    struct sockaddr_storage ss;
    socklen_t n = addr_to_sockaddr(remote, &ss);
    int rc;
    do {
        rc = sys_connect(fd, (const struct sockaddr *)&ss, n);
    } while (rc != 0 && errno == EINTR);
    return rc == 0 || errno == EINPROGRESS || errno == EALREADY ? 0 : -1;
}

/* A socket on its way to `remote`, or -1 with the connection's failure text set. */
int conn_open_socket(struct conn *c, const struct addr *remote, const struct conn_connect_opts *o)
{
    struct err err = {0};
    int fd = socket(remote->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        immediate_error(c, remote, errno);
        return -1;
    }
    if (prepare(c, fd, remote, o, &err) != 0) {
        LOG(CONNECTION, DEBUG, "[C%lu] %s", (unsigned long)c->id, err.message);
        conn_set_failure_text(c, "%s", err.message);
    } else if (connect_to(fd, remote) != 0) {
        immediate_error(c, remote, errno);
    } else {
        return fd;
    }
    close(fd);
    acceptor_descriptor_freed();
    return -1;
}

/* The usual case of one address: the connection has its descriptor from the start. */
static bool start(struct conn *c, const struct conn_connect_opts *o)
{
    c->fd = c->watch.fd = conn_open_socket(c, o->remote, o);
    if (c->fd < 0 || conn_watch(c) != 0)
        return false;
    if (!addr_is_ip(o->remote)) { /* Unix sockets connect at once; if not, the step finds out */
        c->can_write = true;
        conn_later(c, WORK_STEP);
    }
    return true;
}

static bool start_race(struct conn *c, const struct conn_connect_opts *o)
{
    conn_race_new(c, o);
    return conn_race_go(c);
}

struct conn *conn_connect(struct loop *loop, const struct conn_connect_opts *opts,
                          const struct conn_handler *handler, void *user)
{
    struct conn *c = conn_alloc(loop, -1);
    struct conn_ext *x = conn_ext(c);
    c->state = CONN_CONNECTING;
    c->handler = handler;
    c->user = user;
    addr_copy(&c->remote, opts->remote);
    x->start_us = loop_now_us(loop);
    buf_append_str(&x->preface, opts->proxy_header);
    if (!(opts->alternative_count ? start_race(c, opts) : start(c, opts)))
        fail_later(c);
    else if (opts->connect_timeout_us)
        timer_set_us(&x->timer, opts->connect_timeout_us);
    return c;
}

/* IO_OK once nothing of the preface is left. */
static enum io_result send_preface(struct conn *c)
{
    struct buf *b = &c->ext->preface;
    while (b->len) {
        struct str piece = buf_front(b);
        ssize_t put = conn_sock_write(c, piece.p, piece.n);
        if (put < 0)
            return put == -EAGAIN ? IO_AGAIN : IO_FAIL;
        buf_drain(b, (size_t)put);
    }
    return IO_OK;
}

static void opened(struct conn *c)
{
    c->state = CONN_OPEN;
    if (c->ext) {
        timer_clear(&c->ext->timer);
        c->ext->connect_us = loop_now_us(c->watch.loop) - c->ext->start_us;
    }
    if (c->ext && c->ext->prologue)
        conn_prologue_open(c);
    if (conn_has_output(c))
        conn_later(c, WORK_FLUSH);
    if (c->handler && c->handler->on_connected)
        c->handler->on_connected(c, c->user);
    conn_read_loop(c);
}

int conn_socket_error(const struct conn *c)
{
    int e = 0;
    socklen_t n = sizeof(e);
    return getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &n) == 0 ? e : errno;
}

/* Writable while connecting: connected, refused, or the preface may go on. */
void conn_connect_ready(struct conn *c)
{
    /* An error comes with EPOLLERR, which made it readable too; a good one isn't asked. */
    if (!c->tcp_connected && c->can_read) {
        int e = conn_socket_error(c);
        if (e) {
            conn_set_failure_text(c, "delayed connect error: %s", strerror(e));
            conn_fail(c, CONN_CLOSE_CONNECT_FAILED);
            return;
        }
    }
    c->tcp_connected = true;
    switch (send_preface(c)) {
    case IO_OK:
        break;
    case IO_AGAIN:
        return;
    case IO_EOF:
    case IO_FAIL:
        conn_fail(c, conn_close_of_errno(c->last_errno));
        return;
    }
    if (c->ops) {
        c->state = CONN_HANDSHAKE;
        conn_step(c);
    } else {
        opened(c);
    }
}

void conn_step(struct conn *c)
{
    switch (c->ops->handshake(c->transport, c)) {
    case IO_OK:
        opened(c);
        return;
    case IO_AGAIN:
        return;
    case IO_EOF:
        conn_fail(c, CONN_CLOSE_REMOTE_EOF);
        return;
    case IO_FAIL:
        conn_fail(c, CONN_CLOSE_TLS_FAILED);
        return;
    }
}
