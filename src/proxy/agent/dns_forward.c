/* SPDX-License-Identifier: Apache-2.0
 *
 * A query is an attempt at each upstream, one after the other from a random one on: the next begins when those before have
 * failed or had their share of the time. Earlier ones go on: a late answer is an answer. A refusal of any kind is taken only
 * where nobody is left to ask. Sockets are connected, so the kernel drops what others than the upstream send; what comes from
 * it must have the id and the question. Main loop.
 */
#include "proxy/agent/dns_forward.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "io/conn.h"
#include "io/udp.h"

#define DATAGRAMS_A_TURN 16

struct attempt {
    struct dns_forward *forward;
    const struct addr *server;
    struct watch watch;     /* UDP */
    struct conn *conn;      /* TCP */
    int fd;                 /* UDP; -1 */
    uint16_t id;
    bool is_waiting;
};
struct dns_forward {
    struct dns_forwarder *by;
    struct dns_packet_query query;
    uint8_t *packet;
    size_t packet_bytes;
    bool by_tcp, is_over;
    dns_forward_fn fn;
    void *user;
    struct timer next, end;
    struct deferred deferred;
    uint32_t begun, waiting;
    struct attempt attempts[RESOLV_SERVERS_MAX];
};

static uint8_t datagram[DNS_MESSAGE_MAX_BYTES]; /* main thread */

/* ---- ids ---- */

bool dns_forward_has_id(const struct dns_forwarder *by, uint16_t id)
{
    return by->ids[id / 64] >> (id % 64) & 1;
}

/* Not to be guessed, and no other attempt's: those under way are bounded far below what there is. */
static uint16_t take_id(struct dns_forwarder *by)
{
    uint16_t id;
    do {
        rng_secret_bytes(&id, sizeof id);
    } while (dns_forward_has_id(by, id));
    by->ids[id / 64] |= 1ull << (id % 64);
    return id;
}

static void give_id(struct dns_forwarder *by, uint16_t id)
{
    by->ids[id / 64] &= ~(1ull << (id % 64));
}

bool dns_forward_asks(const struct dns_forward *f, const struct dns_packet_query *q)
{
    for (uint32_t i = 0; i < f->begun; i++)
        if (f->attempts[i].is_waiting && f->attempts[i].id == q->id)
            return q->type == f->query.type && str_eq(dns_name_str(&q->name), dns_name_str(&f->query.name));
    return false;
}

/* ---- the end ---- */

static void end_attempt(struct attempt *a)
{
    if (!a->is_waiting)
        return;
    a->is_waiting = false;
    give_id(a->forward->by, a->id);
    a->forward->waiting--;
    if (a->conn)
        conn_close(a->conn, CONN_CLOSE_LOCAL);
    a->conn = NULL;
    if (a->fd >= 0) {
        watch_forget(&a->watch);
        close(a->fd);
    }
    a->fd = -1;
}

static void destroy(struct deferred *d)
{
    struct dns_forward *f = CONTAINER_OF(d, dns_forward, deferred);
    mem_free(f->packet);
    mem_free(f);
}

static void end(struct dns_forward *f)
{
    f->is_over = true;
    for (uint32_t i = 0; i < f->begun; i++)
        end_attempt(&f->attempts[i]);
    timer_clear(&f->next);
    timer_clear(&f->end);
    loop_defer(f->by->loop, &f->deferred, destroy);
}

static void tell(struct dns_forward *f, struct str answer)
{
    dns_forward_fn fn = f->fn;
    void *user = f->user;
    end(f);
    fn(user, answer);
}

void dns_forward_cancel(struct dns_forward **p)
{
    struct dns_forward *f = *p;
    *p = NULL;
    if (f && !f->is_over)
        end(f);
}

static void on_end(struct timer *t)
{
    struct dns_forward *f = CONTAINER_OF(t, dns_forward, end);
    LOG_SELDOM(DNS, WARNING, "no upstream resolver answered");
    tell(f, STR_NULL);
}

/* ---- answers ---- */

static bool is_last(const struct dns_forward *f)
{
    return f->waiting <= 1 && f->begun == f->by->upstreams->server_count;
}

static void fail(struct attempt *a, const char *why)
{
    struct dns_forward *f = a->forward;
    char text[ADDR_TEXT_BYTES];
    LOG_SELDOM(DNS, INFO, "upstream resolver %s: %s", addr_text(a->server, text), why);
    end_attempt(a);
    if (f->begun < f->by->upstreams->server_count)
        timer_set_ms(&f->next, 0);
    else if (f->waiting == 0)
        timer_set_ms(&f->end, 0);
}

/* What a server says that didn't understand the query, and so can't repeat it. */
static bool is_bare_refusal(struct str packet)
{
    return packet.n == DNS_HEADER_BYTES && dns_packet_flags(packet) & DNS_FLAG_ANSWER && dns_packet_flags(packet) & DNS_FLAGS_RCODE;
}

/* A message of the upstream. False: it isn't for us, and others may come. */
static bool take(struct attempt *a, struct str packet)
{
    struct dns_forward *f = a->forward;
    bool is_ours = packet.n >= DNS_HEADER_BYTES && dns_packet_id(packet) == a->id;
    if (is_ours && is_bare_refusal(packet)) {
        fail(a, "it doesn't understand the query");
        return true;
    }
    if (!is_ours || !dns_packet_answers(packet, &f->query)) {
        stat_inc(f->by->stats, STAT_DNS_UPSTREAM_IGNORED);
        return false;
    }
    unsigned rcode = dns_packet_flags(packet) & DNS_FLAGS_RCODE;
    if ((rcode == DNS_RCODE_OK || rcode == DNS_RCODE_NO_NAME) || is_last(f))
        tell(f, packet);
    else
        fail(a, "it refuses or fails");
    return true;
}

/* ---- UDP ---- */

static void on_udp(struct watch *w, unsigned events)
{
    struct attempt *a = CONTAINER_OF(w, attempt, watch);
    (void)events;
    for (int i = 0; i < DATAGRAMS_A_TURN; i++) {
        ssize_t n = recv(a->fd, datagram, sizeof datagram, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) {
            fail(a, strerror(errno));
            return;
        }
        if (take(a, str_make((const char *)datagram, (size_t)n)))
            return;
    }
}

static int begin_udp(struct attempt *a, struct err *err)
{
    struct dns_forward *f = a->forward;
    int rc = udp_connect(a->server, &a->fd, err);
    if (rc == 0)
        rc = watch_add_level(f->by->loop, &a->watch, a->fd, on_udp, err);
    if (rc == 0 && send(a->fd, f->packet, f->packet_bytes, 0) < 0)
        rc = err_set_errno(err, errno, "cannot send");
    return rc;
}

/* ---- TCP ---- */

static void on_tcp_connected(struct conn *c, void *user)
{
    struct attempt *a = user;
    struct dns_forward *f = a->forward;
    uint8_t length[2] = {(uint8_t)(f->packet_bytes >> 8), (uint8_t)f->packet_bytes};
    dns_packet_set_id(f->packet, a->id);
    buf_append(conn_out(c), length, 2);
    buf_append(conn_out(c), f->packet, f->packet_bytes);
    conn_flush_later(c);
}

static void on_tcp_data(struct conn *c, void *user)
{
    struct attempt *a = user;
    struct buf *in = conn_in(c);
    uint8_t length[2];
    if (buf_copy_out(in, 0, length, 2) < 2)
        return;
    size_t n = (size_t)length[0] << 8 | length[1];
    if (in->len < 2 + n)
        return;
    buf_copy_out(in, 2, datagram, n);
    if (!take(a, str_make((const char *)datagram, n)))
        fail(a, "its answer is none");
}

static void on_tcp_end(struct conn *c, void *user)
{
    (void)c;
    fail(user, "it closed the connection");
}

static void on_tcp_closed(struct conn *c, void *user, enum conn_close why)
{
    (void)c;
    struct attempt *a = user;
    a->conn = NULL;
    fail(a, conn_close_text(why));
}

static const struct conn_handler tcp_handler = {.on_connected = on_tcp_connected, .on_data = on_tcp_data, .on_end = on_tcp_end,
                                                .on_closed = on_tcp_closed};

static int begin_tcp(struct attempt *a)
{
    struct conn_connect_opts o = {.remote = a->server};
    a->conn = conn_connect(a->forward->by->loop, &o, &tcp_handler, a);
    return 0;
}

/* ---- attempts ---- */

static void begin(struct dns_forward *f)
{
    const struct resolv_conf *to = f->by->upstreams;
    struct attempt *a = &f->attempts[f->begun++];
    struct err err = {0};
    a->is_waiting = true;
    f->waiting++;
    a->id = take_id(f->by);
    dns_packet_set_id(f->packet, a->id);
    if ((f->by_tcp ? begin_tcp(a) : begin_udp(a, &err)) < 0)
        fail(a, err.message);
    if (f->begun > 1)
        stat_inc(f->by->stats, STAT_DNS_UPSTREAM_NEXT);
    if (f->begun < to->server_count && !f->by->is_parallel && !timer_is_set(&f->next))
        timer_set_ms(&f->next, f->by->timeout_ms / to->server_count);
}

static void on_next(struct timer *t)
{
    struct dns_forward *f = CONTAINER_OF(t, dns_forward, next);
    if (f->begun < f->by->upstreams->server_count)
        begin(f);
}

struct dns_forward *dns_forward_start(struct dns_forwarder *keep_by, struct str packet, const struct dns_packet_query *q,
                                      bool by_tcp, dns_forward_fn fn, void *user)
{
    const struct resolv_conf *to = keep_by->upstreams;
    struct dns_forward *f = NEW(dns_forward);
    uint32_t first = (uint32_t)rng_below(loop_rng(keep_by->loop), to->server_count);
    *f = (struct dns_forward){.by = keep_by, .query = *q, .by_tcp = by_tcp, .fn = fn, .user = user};
    f->packet = mem_alloc(packet.n);
    f->packet_bytes = packet.n;
    memcpy(f->packet, packet.p, packet.n);
    timer_init(&f->next, keep_by->loop, on_next);
    timer_init(&f->end, keep_by->loop, on_end);
    timer_set_ms(&f->end, to->server_count ? keep_by->timeout_ms : 0);
    for (uint32_t i = 0; i < to->server_count; i++)
        f->attempts[i] = (struct attempt){.forward = f, .server = &to->servers[(first + i) % to->server_count], .fd = -1};
    for (uint32_t now = keep_by->is_parallel ? to->server_count : to->server_count > 0; now > 0; now--)
        begin(f);
    return f;
}
