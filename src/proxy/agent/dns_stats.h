/* SPDX-License-Identifier: Apache-2.0
 *
 * What the agent's name server counts, under "agent.dns.".
 */
#ifndef PROXY_AGENT_DNS_STATS_H
#define PROXY_AGENT_DNS_STATS_H

#include "proxy/stats/stats.h"

#define DNS_PROXY_STATS(X)                                                                         \
    X(DNS_REQUESTS, COUNTER, NONE, "requests", "Messages that came")                               \
    X(DNS_MALFORMED, COUNTER, NONE, "malformed", "Messages that were no query of one question")    \
    X(DNS_ANSWERED, COUNTER, NONE, "answered", "Queries for names of the mesh")                    \
    X(DNS_BEFORE_TABLE, COUNTER, NONE, "before_table", "Queries that came before the first table, and failed") \
    X(DNS_CACHE_HITS, COUNTER, NONE, "cache_hits", "Queries that an upstream had answered before") \
    X(DNS_UPSTREAM_REQUESTS, COUNTER, NONE, "upstream_requests", "Queries passed on to upstream resolvers") \
    X(DNS_UPSTREAM_FAILURES, COUNTER, NONE, "upstream_failures", "Queries that no upstream resolver answered") \
    X(DNS_UPSTREAM_NEXT, COUNTER, NONE, "upstream_next", "Times that another upstream resolver was asked too") \
    X(DNS_UPSTREAM_IGNORED, COUNTER, NONE, "upstream_ignored", "Messages of upstream resolvers that answered no question of ours") \
    X(DNS_LOOPS, COUNTER, NONE, "loops", "Queries of our own that came back to us, and failed")    \
    X(DNS_OVERFLOW, COUNTER, NONE, "overflow", "Queries that failed since too many were waiting")  \
    X(DNS_CUT, COUNTER, NONE, "cut", "Answers that were too long for who asked")                   \
    X(DNS_SEND_FAILURES, COUNTER, NONE, "send_failures", "Answers that the kernel didn't take")    \
    X(DNS_TCP_ACTIVE, GAUGE, NONE, "tcp_active", "Connections of clients")                         \
    X(DNS_TCP_OVERFLOW, COUNTER, NONE, "tcp_overflow", "Connections refused since there were too many") \
    X(DNS_WAITING, GAUGE, NONE, "waiting", "Queries that upstream resolvers have yet to answer")   \
    X(DNS_NAMES, GAUGE, NONE, "names", "Names of the mesh, shorter forms included")                \
    X(DNS_UPSTREAM_TIME, HISTOGRAM, MS, "upstream_time", "How long upstream resolvers took")
enum dns_stat { DNS_PROXY_STATS(STAT_ENUM_ROW) STAT_DNS_COUNT };

#endif
