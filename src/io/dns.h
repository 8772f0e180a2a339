/* SPDX-License-Identifier: Apache-2.0
 *
 * Name resolution over c-ares on a loop. Sockets and timers are the loop's; /etc/hosts is honoured.
 */
#ifndef IO_DNS_H
#define IO_DNS_H

#include "base/err.h"
#include "io/addr.h"
#include "io/loop.h"

enum dns_family { DNS_AUTO /* v6 first, v4 if none */, DNS_V4_ONLY, DNS_V6_ONLY, DNS_V4_PREFERRED, DNS_ALL };
enum dns_status { DNS_OK, DNS_NOT_FOUND /* NXDOMAIN or no records: an empty answer is an answer */, DNS_FAILED, DNS_TIMED_OUT };

struct dns_answer {
    struct addr *addrs; /* port 0 */
    size_t count;
    uint32_t ttl_s;     /* smallest; 0 when unknown */
    const char *reason; /* why there are none, the library's words; static; NULL when there are some */
};
struct dns_opts {
    const struct addr *servers; /* none: the system's */
    size_t server_count;
    bool tcp_only, no_search_domains, rotate;
    uint64_t query_timeout_ms;  /* 0 = 5000 */
    uint32_t tries;             /* 0 = 4 */
};
struct dns_resolver;
struct dns_resolver *dns_resolver_new(struct loop *loop, const struct dns_opts *opts, struct err *err);
void dns_resolver_free(struct dns_resolver **r); /* pending queries are cancelled without a call */

struct dns_query;
typedef void (*dns_fn)(void *user, enum dns_status status, const struct dns_answer *answer);
/* The callback never runs inside this call. Answers are borrowed for the call. IP literals answer at the next turn. */
struct dns_query *dns_resolve(struct dns_resolver *r, struct str name, enum dns_family family, dns_fn fn, void *user);
void dns_cancel(struct dns_query *q);

#endif
