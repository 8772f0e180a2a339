/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the name server share.
 */
#ifndef PROXY_AGENT_DNS_SERVER_PRIV_H
#define PROXY_AGENT_DNS_SERVER_PRIV_H

#include "proxy/agent/answer_cache.h"
#include "proxy/agent/dns_forward.h"
#include "proxy/agent/dns_server.h"

#include "base/list.h"
#include "io/listen.h"
#include "io/udp.h"

#define DNS_SOCKETS_MAX 2
#define DNS_TIME_BUCKETS 6

struct dns_socket { /* one address */
    struct dns_server *server;
    struct addr at;
    int udp, tcp;
    struct watch watch;
    struct acceptor *acceptor;
};
struct dns_server {
    struct loop *loop;            /* once it runs */
    struct stat_scope *stats;
    struct dns_socket sockets[DNS_SOCKETS_MAX];
    uint32_t socket_count;
    struct resolv_conf upstreams; /* without itself */
    struct dns_forwarder forwarder;
    struct answer_cache *cache;
    struct name_table *table;     /* NULL: none yet */
    bool forwards_before_table;
    struct list waiting;          /* for upstreams */
    uint32_t waiting_count;
    struct list clients;          /* by TCP */
    uint32_t client_count;
    uint64_t times[DNS_TIME_BUCKETS + 1], time_sum_us; /* of upstreams: one count a bucket, the last without a bound */
};

/* Whom an answer goes to. */
struct dns_client;
struct dns_asker {
    struct dns_client *client;    /* by TCP; else */
    int udp;
    struct udp_peer peer;
};
/* dns_server.c: an answer was given, comes when an upstream has one, or is due to nobody. */
enum dns_asked { DNS_ASKED_DONE, DNS_ASKED_WAITS, DNS_ASKED_JUNK };
enum dns_asked dns_server_ask(struct dns_server *s, struct str packet, const struct dns_asker *by);
void dns_server_forget(struct dns_server *s, const struct dns_client *client); /* what it waits for */

/* dns_sockets.c */
int dns_sockets_take(struct dns_server *s, struct str address, struct err *err); /* takes all or none */
void dns_sockets_release(struct dns_server *s);
bool dns_sockets_have(const struct dns_server *s, const struct addr *a); /* what went there would come back */

/* dns_tcp.c */
void dns_tcp_accept(void *socket, int fd, const struct addr *remote);
void dns_tcp_answer(struct dns_client *c, const uint8_t *bytes, size_t n, bool was_waiting);
void dns_tcp_close_all(struct dns_server *s);

#endif
