/* SPDX-License-Identifier: Apache-2.0
 *
 * Clients by TCP (RFC 7766): messages behind their length, answers in the order in which they are known. A connection may have
 * a few queries under way; more are left unread. One that neither asks nor takes what it is given is closed after a while, so
 * that it can't hold a place. Main loop.
 */
#include "proxy/agent/dns_server_priv.h"

#include <unistd.h>

#include "base/mem.h"

#define CLIENTS_MAX 256
#define CLIENT_WAITING_MAX 32
#define CLIENT_OUT_BYTES ((size_t)256 << 10)
#define IDLE_MS 10000
#define CLOSE_MS 1000

struct dns_client {
    struct list node;             /* server->clients */
    struct dns_server *server;
    struct conn *conn;
    struct timer idle;
    struct deferred deferred;
    uint32_t waiting;
    bool is_full;                 /* reading is paused: too much waits, or isn't taken */
    bool is_at_end;               /* it says no more */
};

/* ---- the end ---- */

static void destroy(struct deferred *d)
{
    mem_free(CONTAINER_OF(d, dns_client, deferred));
}

static void forget(struct dns_client *c)
{
    list_remove(&c->node);
    c->server->client_count--;
    stat_dec(c->server->stats, STAT_DNS_TCP_ACTIVE);
    timer_clear(&c->idle);
    if (c->waiting)
        dns_server_forget(c->server, c);
    loop_defer(c->server->loop, &c->deferred, destroy);
}

static void end(struct dns_client *c)
{
    conn_close(c->conn, CONN_CLOSE_LOCAL);
    forget(c);
}

void dns_tcp_close_all(struct dns_server *s)
{
    LIST_EACH(it, safe, &s->clients)
        end(LIST_ENTRY(it, dns_client, node));
}

static void on_closed(struct conn *conn, void *user, enum conn_close why)
{
    (void)conn, (void)why;
    forget(user);
}

static void on_idle(struct timer *t)
{
    struct dns_client *c = CONTAINER_OF(t, dns_client, idle);
    if (c->waiting)
        timer_set_ms(t, IDLE_MS);
    else
        end(c);
}

/* Everything asked before the end is answered: flush and go. */
static bool is_over(struct dns_client *c)
{
    if (!c->is_at_end || c->waiting || c->is_full)
        return false;
    conn_close_flushed(c->conn, CLOSE_MS);
    forget(c);
    return true;
}

/* ---- queries ---- */

static bool has_room(const struct dns_client *c)
{
    return c->waiting < CLIENT_WAITING_MAX && conn_out(c->conn)->len < CLIENT_OUT_BYTES;
}

static void hold(struct dns_client *c, bool full)
{
    if (full == c->is_full)
        return;
    c->is_full = full;
    if (full)
        conn_read_pause(c->conn);
    else
        conn_read_resume(c->conn);
}

/* False: the connection is over. */
static bool read_queries(struct dns_client *c)
{
    struct buf *in = conn_in(c->conn);
    struct dns_asker by = {.client = c, .udp = -1};
    uint8_t length[2], packet[DNS_QUERY_MAX_BYTES];
    while (has_room(c) && buf_copy_out(in, 0, length, 2) == 2) {
        size_t n = (size_t)length[0] << 8 | length[1];
        if (n > sizeof packet || n < DNS_HEADER_BYTES) {
            stat_inc(c->server->stats, STAT_DNS_MALFORMED);
            end(c);
            return false;
        }
        if (in->len < 2 + n)
            break;
        buf_copy_out(in, 2, packet, n);
        buf_drain(in, 2 + n);
        timer_set_ms(&c->idle, IDLE_MS);
        enum dns_asked asked = dns_server_ask(c->server, str_make((const char *)packet, n), &by);
        c->waiting += asked == DNS_ASKED_WAITS;
        if (asked == DNS_ASKED_JUNK) {
            end(c);
            return false;
        }
    }
    hold(c, !has_room(c));
    return true;
}

static void on_data(struct conn *conn, void *user)
{
    (void)conn;
    read_queries(user);
}

static void on_end(struct conn *conn, void *user)
{
    struct dns_client *c = user;
    (void)conn;
    c->is_at_end = true;
    is_over(c);
}

static void on_drained(struct conn *conn, void *user)
{
    (void)conn;
    struct dns_client *c = user;
    if (c->is_full && read_queries(c))
        is_over(c);
}

static const struct conn_handler handler = {.on_data = on_data, .on_end = on_end, .on_closed = on_closed, .on_drained = on_drained};

void dns_tcp_answer(struct dns_client *c, const uint8_t *bytes, size_t n, bool was_waiting)
{
    uint8_t length[2] = {(uint8_t)(n >> 8), (uint8_t)n};
    buf_append(conn_out(c->conn), length, 2);
    buf_append(conn_out(c->conn), bytes, n);
    conn_flush_later(c->conn);
    timer_set_ms(&c->idle, IDLE_MS);
    if (!was_waiting)
        return; /* read_queries goes on */
    c->waiting--;
    if (c->is_full && !read_queries(c))
        return;
    is_over(c);
}

void dns_tcp_accept(void *socket, int fd, const struct addr *remote)
{
    struct dns_server *s = ((struct dns_socket *)socket)->server;
    if (s->client_count >= CLIENTS_MAX) {
        stat_inc(s->stats, STAT_DNS_TCP_OVERFLOW);
        close(fd);
        return;
    }
    struct dns_client *c = NEW(dns_client);
    c->server = s;
    list_push_back(&s->clients, &c->node);
    s->client_count++;
    stat_inc(s->stats, STAT_DNS_TCP_ACTIVE);
    timer_init(&c->idle, s->loop, on_idle);
    timer_set_ms(&c->idle, IDLE_MS);
    c->conn = conn_new_accepted(s->loop, fd, remote, NULL);
    conn_set_handler(c->conn, &handler, c);
}
