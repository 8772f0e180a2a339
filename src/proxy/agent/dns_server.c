/* SPDX-License-Identifier: Apache-2.0
 *
 *   query --table--> answer   --cache--> answer   --upstream--> waiting --answer, none in time--> answer
 *
 * Whatever is a query gets an answer, SERVFAIL where nothing better is known; what is none gets none. The number of queries
 * that wait is bounded: one too many fails at once, since its client asks again anyway. Main loop.
 */
#include "proxy/agent/dns_server_priv.h"

#include <errno.h>

#include "base/log.h"
#include "base/mem.h"

#define WAITING_MAX 4096          /* each holds a socket */
#define CACHE_MAX_ENTRIES 2048
#define CACHE_MAX_BYTES ((size_t)1 << 20)
#define MESH_TTL_S 30             /* pilot-agent's */
#define QUERIES_A_TURN 64
#define UDP_MAX_BYTES 65507       /* what a datagram holds over IPv4 */
#define TYPE_TRANSFER 252         /* of a zone: more than one message */

struct waiting {
    struct list node;             /* server->waiting */
    struct dns_server *server;
    struct dns_packet_query query;
    struct dns_asker by;
    struct dns_forward *forward;
    uint64_t begin_us;
    struct deferred deferred;
};

static const struct stat_desc rows[] = {DNS_PROXY_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, STAT_DNS_COUNT};
static const uint32_t time_bounds_ms[DNS_TIME_BUCKETS] = {1, 5, 10, 100, 1000, 5000};

static uint8_t answer_bytes[DNS_MESSAGE_MAX_BYTES]; /* main thread */

/* ---- answering ---- */

static size_t limit_of(const struct dns_packet_query *q, const struct dns_asker *by)
{
    if (by->client)
        return DNS_MESSAGE_MAX_BYTES;
    return q->udp_bytes < UDP_MAX_BYTES ? q->udp_bytes : UDP_MAX_BYTES;
}

static void send_answer(struct dns_server *s, const struct dns_asker *by, size_t n, bool was_waiting)
{
    if (dns_packet_flags(str_make((const char *)answer_bytes, n)) & DNS_FLAG_CUT)
        stat_inc(s->stats, STAT_DNS_CUT);
    if (by->client)
        dns_tcp_answer(by->client, answer_bytes, n, was_waiting);
    else if (udp_answer(by->udp, answer_bytes, n, &by->peer) < 0)
        stat_inc(s->stats, STAT_DNS_SEND_FAILURES);
}

static void send_own(struct dns_server *s, const struct dns_packet_query *q, const struct dns_asker *by,
                     const struct dns_packet_answer *a, bool was_waiting)
{
    send_answer(s, by, dns_packet_write(q, a, answer_bytes, limit_of(q, by)), was_waiting);
}

static void send_rcode(struct dns_server *s, const struct dns_packet_query *q, const struct dns_asker *by, enum dns_rcode rcode)
{
    send_own(s, q, by, &(struct dns_packet_answer){.rcode = rcode}, false);
}

static void send_others(struct dns_server *s, const struct dns_packet_query *q, const struct dns_asker *by, struct str answer,
                        bool was_waiting)
{
    send_answer(s, by, dns_packet_relay(q, answer, answer_bytes, limit_of(q, by)), was_waiting);
}

static bool answer_from_table(struct dns_server *s, const struct dns_packet_query *q, const struct dns_asker *by)
{
    struct name_answer found;
    if (!s->table || q->class != DNS_CLASS_IN || (q->type != DNS_TYPE_A && q->type != DNS_TYPE_AAAA) ||
        !name_table_find(s->table, &q->name, q->type, &found))
        return false;
    struct dns_packet_answer a = {.is_authority = true, .ttl_s = MESH_TTL_S, .addresses = found.addresses, .count = found.count,
                                  .first = (uint32_t)rng_below(loop_rng(s->loop), found.count)};
    if (found.count) /* an alias of nothing would be asked for again */
        a.alias = dns_name_str(&found.alias);
    stat_inc(s->stats, STAT_DNS_ANSWERED);
    send_own(s, q, by, &a, false);
    return true;
}

static bool answer_from_cache(struct dns_server *s, const struct dns_packet_query *q, const struct dns_asker *by)
{
    struct str kept = answer_cache_get(s->cache, q, loop_now_us(s->loop));
    if (!kept.n)
        return false;
    stat_inc(s->stats, STAT_DNS_CACHE_HITS);
    send_others(s, q, by, kept, false);
    return true;
}

/* ---- waiting for upstreams ---- */

static void destroy(struct deferred *d)
{
    mem_free(CONTAINER_OF(d, waiting, deferred));
}

static void end_waiting(struct waiting *w)
{
    list_remove(&w->node);
    w->server->waiting_count--;
    stat_dec(w->server->stats, STAT_DNS_WAITING);
    dns_forward_cancel(&w->forward);
    loop_defer(w->server->loop, &w->deferred, destroy);
}

static void note_time(struct dns_server *s, uint64_t us)
{
    int i = 0;
    while (i < DNS_TIME_BUCKETS && us > (uint64_t)time_bounds_ms[i] * 1000)
        i++;
    s->times[i]++;
    s->time_sum_us += us;
    stat_record(s->stats, STAT_DNS_UPSTREAM_TIME, us / 1000);
}

static void on_answer(void *user, struct str answer)
{
    struct waiting *w = user;
    struct dns_server *s = w->server;
    w->forward = NULL;
    end_waiting(w); /* an answer by TCP may be followed by the next query, or the end of the connection */
    note_time(s, loop_now_us(s->loop) - w->begin_us);
    if (answer.n) {
        answer_cache_put(s->cache, &w->query, answer, loop_now_us(s->loop));
        send_others(s, &w->query, &w->by, answer, true);
    } else {
        stat_inc(s->stats, STAT_DNS_UPSTREAM_FAILURES);
        send_own(s, &w->query, &w->by, &(struct dns_packet_answer){.rcode = DNS_RCODE_FAILURE}, true);
    }
}

static enum dns_asked ask_upstream(struct dns_server *s, struct str packet, const struct dns_packet_query *q, const struct dns_asker *by)
{
    if (s->waiting_count >= WAITING_MAX) {
        stat_inc(s->stats, STAT_DNS_OVERFLOW);
        send_rcode(s, q, by, DNS_RCODE_FAILURE);
        return DNS_ASKED_DONE;
    }
    struct waiting *w = NEW(waiting);
    w->server = s;
    w->query = *q;
    w->by = *by;
    w->begin_us = loop_now_us(s->loop);
    list_push_back(&s->waiting, &w->node);
    s->waiting_count++;
    stat_inc(s->stats, STAT_DNS_WAITING);
    stat_inc(s->stats, STAT_DNS_UPSTREAM_REQUESTS);
    w->forward = dns_forward_start(&s->forwarder, packet, q, by->client != NULL, on_answer, w);
    return DNS_ASKED_WAITS;
}

/* Rules that divert what the proxy itself asks bring it back: passed on again it would go round until nothing more can wait. */
static bool is_loop(struct dns_server *s, const struct dns_packet_query *q)
{
    if (!dns_forward_has_id(&s->forwarder, q->id))
        return false;
    LIST_EACH(it, safe, &s->waiting)
        if (dns_forward_asks(LIST_ENTRY(it, waiting, node)->forward, q)) {
            stat_inc(s->stats, STAT_DNS_LOOPS);
            LOG_SELDOM(DNS, ERROR, "queries to upstream resolvers come back to the DNS proxy: is its user exempt from capture?");
            return true;
        }
    return false;
}

enum dns_asked dns_server_ask(struct dns_server *s, struct str packet, const struct dns_asker *by)
{
    struct dns_packet_query q;
    enum dns_rcode rcode;
    enum dns_packet_kind kind = dns_packet_read_query(packet, &q, &rcode);
    stat_inc(s->stats, STAT_DNS_REQUESTS);
    if (kind != DNS_PACKET_QUERY)
        stat_inc(s->stats, STAT_DNS_MALFORMED);
    if (kind == DNS_PACKET_JUNK)
        return DNS_ASKED_JUNK;
    if (kind == DNS_PACKET_REFUSED) {
        send_rcode(s, &q, by, rcode);
    } else if (!s->table && !s->forwards_before_table) {
        stat_inc(s->stats, STAT_DNS_BEFORE_TABLE);
        send_rcode(s, &q, by, DNS_RCODE_FAILURE);
    } else if (q.type == TYPE_TRANSFER) {
        send_rcode(s, &q, by, DNS_RCODE_REFUSED);
    } else if (is_loop(s, &q)) {
        send_rcode(s, &q, by, DNS_RCODE_FAILURE);
    } else if (!answer_from_table(s, &q, by) && !answer_from_cache(s, &q, by)) {
        return ask_upstream(s, packet, &q, by);
    }
    return DNS_ASKED_DONE;
}

void dns_server_forget(struct dns_server *s, const struct dns_client *client)
{
    LIST_EACH(it, safe, &s->waiting) {
        struct waiting *w = LIST_ENTRY(it, waiting, node);
        if (w->by.client == client)
            end_waiting(w);
    }
}

static void on_datagram(struct watch *w, unsigned events)
{
    struct dns_socket *at = CONTAINER_OF(w, dns_socket, watch);
    char packet[DNS_QUERY_MAX_BYTES + 1]; /* the byte more tells of too long a one */
    (void)events;
    for (int i = 0; i < QUERIES_A_TURN; i++) {
        struct dns_asker by = {.udp = at->udp};
        ssize_t n = udp_receive(at->udp, packet, sizeof packet, &by.peer);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n >= 0)
            dns_server_ask(at->server, str_make(packet, (size_t)n), &by);
    }
}

/* ---- its life ---- */

static void take_upstreams(struct dns_server *s, const struct resolv_conf *from)
{
    for (uint32_t i = 0; i < from->server_count; i++)
        if (!dns_sockets_have(s, &from->servers[i]))
            addr_copy(&s->upstreams.servers[s->upstreams.server_count++], &from->servers[i]);
    if (!s->upstreams.server_count)
        LOG(DNS, WARNING, "resolv.conf names no upstream resolver: only names of the mesh will be answered");
}

struct dns_server *dns_server_new(const struct dns_server_opts *opts, struct err *err)
{
    struct dns_server *s = NEW(dns_server);
    list_init(&s->waiting);
    list_init(&s->clients);
    s->forwards_before_table = opts->forwards_before_table;
    s->cache = answer_cache_new(CACHE_MAX_ENTRIES, CACHE_MAX_BYTES);
    if (dns_sockets_take(s, opts->address, err) < 0) {
        dns_server_free(&s);
        return NULL;
    }
    take_upstreams(s, opts->upstreams);
    s->forwarder = (struct dns_forwarder){.upstreams = &s->upstreams, .timeout_ms = opts->timeout_ms, .is_parallel = opts->is_parallel};
    return s;
}

int dns_server_start(struct dns_server *s, struct loop *loop, struct err *err)
{
    s->loop = s->forwarder.loop = loop;
    s->stats = s->forwarder.stats = stat_scope_get(STR("agent.dns."), &table, STR("agent.dns."), NULL, 0);
    for (uint32_t i = 0; i < s->socket_count; i++) {
        struct dns_socket *at = &s->sockets[i];
        char text[ADDR_TEXT_BYTES];
        at->acceptor = acceptor_new(loop, at->tcp, 0, dns_tcp_accept, at, err);
        if (!at->acceptor || watch_add_level(loop, &at->watch, at->udp, on_datagram, err) < 0)
            return ERR_IO;
        LOG(MAIN, INFO, "DNS proxy: %s", addr_text(&at->at, text));
    }
    return 0;
}

void dns_server_stop(struct dns_server *s)
{
    if (!s->loop)
        return;
    for (uint32_t i = 0; i < s->socket_count; i++) {
        acceptor_free(&s->sockets[i].acceptor);
        watch_del(&s->sockets[i].watch);
    }
    dns_tcp_close_all(s);
    LIST_EACH(it, safe, &s->waiting)
        end_waiting(LIST_ENTRY(it, waiting, node));
    stat_scope_unref(&s->stats);
}

void dns_server_free(struct dns_server **p)
{
    struct dns_server *s = *p;
    *p = NULL;
    if (!s)
        return;
    dns_sockets_release(s);
    answer_cache_free(&s->cache);
    name_table_free(&s->table);
    resolv_conf_fini(&s->upstreams);
    mem_free(s);
}

void dns_server_set_table(struct dns_server *s, struct name_table *take_table)
{
    name_table_free(&s->table);
    s->table = take_table;
    stat_set(s->stats, STAT_DNS_NAMES, name_table_count(take_table));
}

const struct name_table *dns_server_table(const struct dns_server *s)
{
    return s->table;
}

/* ---- metrics ---- */

static void add_count(const struct dns_server *s, struct buf *out, const char *name, uint32_t row)
{
    buf_append_fmt(out, "# TYPE istio_agent_%s counter\nistio_agent_%s %lu\n", name, name, (unsigned long)stat_sum(s->stats, row));
}

void dns_server_metrics(const struct dns_server *s, struct buf *out)
{
    static const char time[] = "istio_agent_dns_upstream_request_duration_seconds";
    uint64_t sum = 0;
    if (!s->stats)
        return;
    add_count(s, out, "dns_requests_total", STAT_DNS_REQUESTS);
    add_count(s, out, "dns_upstream_requests_total", STAT_DNS_UPSTREAM_REQUESTS);
    add_count(s, out, "dns_upstream_failures_total", STAT_DNS_UPSTREAM_FAILURES);
    buf_append_fmt(out, "# TYPE %s histogram\n", time);
    for (int i = 0; i < DNS_TIME_BUCKETS; i++) {
        sum += s->times[i];
        buf_append_fmt(out, "%s_bucket{le=\"%g\"} %lu\n", time, time_bounds_ms[i] / 1000.0, (unsigned long)sum);
    }
    sum += s->times[DNS_TIME_BUCKETS];
    buf_append_fmt(out, "%s_bucket{le=\"+Inf\"} %lu\n%s_sum %.6f\n%s_count %lu\n", time, (unsigned long)sum, time,
                   (double)s->time_sum_us / 1e6, time, (unsigned long)sum);
}
