/* SPDX-License-Identifier: Apache-2.0
 *
 * What can be asked of a connection and set on it. The local address is asked from the kernel on
 * first use: most connections never need it, and a system call per connection is not free.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "io/conn_priv.h"

#define FAILURE_TEXT_BYTES 1024

static const char *const close_texts[] = {
#define X(name, text) [CONN_CLOSE_##name] = text,
    CONN_CLOSE_TABLE(X)
#undef X
};

const char *conn_close_text(enum conn_close c)
{
    return close_texts[c];
}

void *conn_user(const struct conn *c)
{
    return c->user;
}
struct buf *conn_in(struct conn *c)
{
    return &c->in;
}
struct buf *conn_out(struct conn *c)
{
    return &c->out;
}
uint64_t conn_id(const struct conn *c)
{
    return c->id;
}
struct loop *conn_loop(const struct conn *c)
{
    return c->watch.loop;
}
int conn_fd(const struct conn *c)
{
    return c->fd;
}
bool conn_is_server(const struct conn *c)
{
    return c->is_server;
}
bool conn_is_connected(const struct conn *c)
{
    return c->state == CONN_OPEN;
}
uint64_t conn_bytes_read(const struct conn *c)
{
    uint64_t other = c->ext && c->ext->prologue ? c->ext->prologue->received + c->ext->prologue->held.len : 0;
    return c->bytes_read - other;
}
uint64_t conn_bytes_written(const struct conn *c)
{
    uint64_t other = c->ext && c->ext->prologue ? c->ext->prologue->sent : 0; /* it goes first, but may not be out yet */
    return c->bytes_written > other ? c->bytes_written - other : 0;
}
uint64_t conn_wire_read(const struct conn *c)
{
    return c->ops ? c->ext->wire_read : c->bytes_read;
}
uint64_t conn_wire_written(const struct conn *c)
{
    return c->ops ? c->ext->wire_written : c->bytes_written;
}
const char *conn_failure_text(const struct conn *c)
{
    return c->ext && c->ext->failure_text ? c->ext->failure_text : "";
}
uint64_t conn_connect_us(const struct conn *c)
{
    return c->ext ? c->ext->connect_us : 0;
}
struct tls_session *conn_tls(const struct conn *c)
{
    return c->ops ? c->ops->session(c->transport) : NULL;
}
void *conn_transport_state(const struct conn *c, const struct transport_ops *ops)
{
    return c->ops == ops ? c->transport : NULL;
}

void conn_set_failure_text(struct conn *c, const char *fmt, ...)
{
    struct conn_ext *x = conn_ext(c);
    if (x->failure_text)
        return;
    char text[FAILURE_TEXT_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    x->failure_text = mem_strdup(text);
}

bool conn_bind_failed(const struct conn *c)
{
    return c->ext && c->ext->bind_failed;
}

/* ---- addresses ---- */

const struct addr *conn_remote(const struct conn *c)
{
    return &c->remote;
}

void conn_set_proxy_tlvs(struct conn *c, struct str tlvs)
{
    struct conn_ext *x = conn_ext(c);
    str_free(&x->proxy_tlvs);
    if (!tlvs.n)
        return;
    x->proxy_tlvs = str_make(mem_alloc(tlvs.n), tlvs.n);
    memcpy((char *)(uintptr_t)x->proxy_tlvs.p, tlvs.p, tlvs.n);
}

struct str conn_proxy_tlvs(const struct conn *c)
{
    return c->ext ? c->ext->proxy_tlvs : STR_NULL;
}

const struct addr *conn_direct_remote(const struct conn *c)
{
    return c->ext && c->ext->has_direct_remote ? &c->ext->direct_remote : &c->remote;
}

void conn_set_remote(struct conn *c, const struct addr *a)
{
    struct conn_ext *x = conn_ext(c);
    if (!x->has_direct_remote) {
        x->has_direct_remote = true;
        addr_copy(&x->direct_remote, &c->remote);
    }
    addr_copy(&c->remote, a);
}

static struct addr *local_of(struct conn *c)
{
    if (!c->local)
        c->local = NEW(addr);
    return c->local;
}

const struct addr *conn_local(const struct conn *c)
{
    if (!c->local || c->state == CONN_CONNECTING) { /* not known for good before it is connected */
        struct sockaddr_storage ss;
        socklen_t n = sizeof(ss);
        struct addr *a = local_of((struct conn *)c); /* a cache: logically const */
        if (c->fd >= 0 && getsockname(c->fd, (struct sockaddr *)&ss, &n) == 0)
            addr_from_sockaddr(a, (const struct sockaddr *)&ss, n);
    }
    return c->local;
}

void conn_set_local(struct conn *c, const struct addr *a)
{
    addr_copy(local_of(c), a);
}

/* ---- limits ---- */

void conn_set_watermark(struct conn *c, size_t high_bytes)
{
    c->high_watermark = high_bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)high_bytes;
}

void conn_set_read_chunk(struct conn *c, size_t bytes)
{
    if (bytes > UINT32_MAX)
        bytes = UINT32_MAX;
    c->read_chunk = bytes ? (uint32_t)bytes : BUF_BLOCK_BYTES;
}

void conn_set_nodelay(struct conn *c, bool on)
{
    int value = on;
    if (addr_is_ip(conn_direct_remote(c)))
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &value, sizeof(value));
}
