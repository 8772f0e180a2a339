/* SPDX-License-Identifier: Apache-2.0
 *
 * Queries passed on to upstream resolvers: each from a socket and under an id of its own, so that nobody else's answer is
 * taken. Main loop.
 */
#ifndef PROXY_AGENT_DNS_FORWARD_H
#define PROXY_AGENT_DNS_FORWARD_H

#include "io/loop.h"
#include "proxy/agent/dns_packet.h"
#include "proxy/agent/dns_stats.h"
#include "proxy/agent/resolv_conf.h"

struct dns_forwarder { /* whom to ask and how; borrowed by every query */
    struct loop *loop;
    const struct resolv_conf *upstreams;
    uint64_t timeout_ms;   /* of all together; each gets its share of it to itself before the next is asked too */
    bool is_parallel;      /* all are asked at once */
    struct stat_scope *stats;
    uint64_t ids[1024];    /* a bit each: those of attempts under way, each once */
};
struct dns_forward;
/* Null str: nobody answered in time, or anything of use. `answer` (dns_packet_answers, of another id) lasts until it returns. */
typedef void (*dns_forward_fn)(void *user, struct str answer);
/* `q` is what `packet` says; both are copied. fn is told once, never within the call. */
struct dns_forward *dns_forward_start(struct dns_forwarder *keep_by, struct str packet, const struct dns_packet_query *q,
                                      bool by_tcp, dns_forward_fn fn, void *user);
/* Might a query of that id be one of ours (false: it's nobody's), and is it of this one? */
bool dns_forward_has_id(const struct dns_forwarder *by, uint16_t id);
bool dns_forward_asks(const struct dns_forward *f, const struct dns_packet_query *q);
void dns_forward_cancel(struct dns_forward **f); /* fn isn't told. NULL is fine */

#endif
