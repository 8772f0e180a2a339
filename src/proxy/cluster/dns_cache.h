/* SPDX-License-Identifier: Apache-2.0
 *
 * A cache of resolved names for dynamic forward proxies (extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig), shared
 * by name between clusters and filters. The main thread asks and keeps names fresh; each worker has a table of its own
 * that the main thread fills by mail, so that a known name costs a request one look-up. Requests for a name that isn't
 * known wait for the same one query.
 *
 * Bounded: by max_hosts names (a name that nobody used for host_ttl goes) and by max_pending_requests waiting requests.
 */
#ifndef PROXY_CLUSTER_DNS_CACHE_H
#define PROXY_CLUSTER_DNS_CACHE_H

#include <stdatomic.h>

#include "base/list.h"
#include "io/addr.h"
#include "io/dns.h"
#include "proxy/stats/stats.h"

struct dns_cache_preresolve {
    struct str host;
    uint16_t port;
};
struct dns_cache_spec { /* config/shared.h */
    struct str name;
    enum dns_family family;
    uint64_t refresh_ms;                 /* 60000: of names that have no answer yet */
    uint64_t min_refresh_ms;             /* 5000: of answers whose TTL is shorter */
    uint64_t host_ttl_ms;                /* 300000 */
    uint64_t failure_base_ms, failure_max_ms; /* 0 = refresh_ms */
    uint64_t query_timeout_ms;           /* 5000; 0 none */
    uint32_t max_hosts, max_pending;     /* 1024, 1024 */
    bool no_refresh_on_failure;          /* a name that fails goes: the next request asks again */
    struct dns_opts opts;
    struct dns_cache_preresolve *preresolve; uint32_t preresolve_count;
};

#define DNS_CACHE_STATS(X)                                                                         \
    X(DNS_CACHE_LOAD, COUNTER, NONE, "cache_load", "Names taken from a store; there is none")      \
    X(DNS_CACHE_ADDRESS_FILTER_OUT, COUNTER, NONE, "dns_address_filter_out", "")                   \
    X(DNS_CACHE_QUERY_ATTEMPT, COUNTER, NONE, "dns_query_attempt", "Queries")                      \
    X(DNS_CACHE_QUERY_FAILURE, COUNTER, NONE, "dns_query_failure", "Queries that failed")          \
    X(DNS_CACHE_QUERY_SUCCESS, COUNTER, NONE, "dns_query_success", "Queries answered, even by nothing") \
    X(DNS_CACHE_QUERY_TIMEOUT, COUNTER, NONE, "dns_query_timeout", "Queries that took too long")   \
    X(DNS_CACHE_RQ_PENDING_OVERFLOW, COUNTER, NONE, "dns_rq_pending_overflow", "Requests refused: too many wait") \
    X(DNS_CACHE_HOST_ADDED, COUNTER, NONE, "host_added", "Names entered")                          \
    X(DNS_CACHE_HOST_ADDRESS_CHANGED, COUNTER, NONE, "host_address_changed", "Names whose address changed") \
    X(DNS_CACHE_HOST_OVERFLOW, COUNTER, NONE, "host_overflow", "Requests refused: too many names") \
    X(DNS_CACHE_HOST_REMOVED, COUNTER, NONE, "host_removed", "Names that nobody used any more")    \
    X(DNS_CACHE_NUM_HOSTS, GAUGE, NONE, "num_hosts", "Names")                                      \
    X(DNS_CACHE_CB_RQ_PENDING_OPEN, GAUGE, NONE, "circuit_breakers.rq_pending_open", "1: no further request may wait") \
    X(DNS_CACHE_CB_RQ_PENDING_REMAINING, GAUGE, NONE, "circuit_breakers.rq_pending_remaining", "Requests that may still wait")
enum dns_cache_stat { DNS_CACHE_STATS(STAT_ENUM_ROW) };

/* One state of one name; never changes, but for when it was last used. */
struct dns_host {
    _Atomic uint32_t refs;
    _Atomic uint64_t used_ms;
    struct str name;                     /* "host:port", lower case */
    struct addr *addrs; uint32_t addr_count; /* with the port; none: `failure` says why */
    char failure[128];                   /* details of the answer to requests for it */
};
struct dns_host *dns_host_ref(struct dns_host *h);
void dns_host_unref(struct dns_host **h);

struct dns_cache;
/* ---- main thread ---- */
/* The living cache of that name, or a new one, which asks for its preresolve_hostnames at once. A new reference. */
struct dns_cache *dns_cache_open(const struct dns_cache_spec *spec);
struct dns_cache *dns_cache_ref(struct dns_cache *c); /* any thread, as is the other */
void dns_cache_unref(struct dns_cache **c);
/* Told of every name with addresses (again when they change) and of its end, before workers are. */
struct dns_cache_listener {
    struct list node;
    void (*on_host)(struct dns_cache_listener *l, struct dns_host *h);
    void (*on_removed)(struct dns_cache_listener *l, struct str name);
};
void dns_cache_listen(struct dns_cache *c, struct dns_cache_listener *l); /* tells of those there are */
void dns_cache_unlisten(struct dns_cache_listener *l);

/* What filters say in filter state of whom to go to, where it isn't what the client says. */
#define DYNAMIC_HOST_KEY STR("envoy.upstream.dynamic_host")
#define DYNAMIC_PORT_KEY STR("envoy.upstream.dynamic_port")

/* ---- workers ---- */
#define DNS_CACHE_NAME_BYTES 264 /* a domain name's 253 bytes, a port, and some */
/* "host:port" in lower case, in `text`. Null str: it can't be a name (empty, too long). */
struct str dns_cache_name(struct str authority, uint16_t default_port, char text[DNS_CACHE_NAME_BYTES]);

enum dns_cache_result { DNS_CACHE_KNOWN, DNS_CACHE_WAIT, DNS_CACHE_TOO_MANY_WAIT, DNS_CACHE_TOO_MANY_HOSTS };
struct dns_cache_wait { /* embedded; zeroed: not waiting */
    struct list node;
    struct dns_cache *cache;             /* NULL: not waiting */
    /* Once, on the worker. NULL: the cache is full. It is borrowed for the call. */
    void (*on_loaded)(struct dns_cache_wait *w, const struct dns_host *h);
};
/* KNOWN: *out is borrowed for this turn. WAIT: on_loaded comes in a later turn unless cancelled. */
enum dns_cache_result dns_cache_load(struct dns_cache *c, struct str name, struct dns_cache_wait *w, const struct dns_host **out);
void dns_cache_cancel(struct dns_cache_wait *w);
void dns_host_touch(const struct dns_host *h, uint64_t now_ms);

#endif
