/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the two halves of the DNS cache: dns_cache.c (main thread) and dns_cache_view.c (workers).
 */
#ifndef PROXY_CLUSTER_DNS_CACHE_PRIV_H
#define PROXY_CLUSTER_DNS_CACHE_PRIV_H

#include "base/map.h"
#include "io/loop.h"
#include "proxy/cluster/dns_cache.h"

struct dns_cache_view;
struct dns_cache {
    _Atomic uint32_t refs;
    struct dns_cache_spec spec;          /* a copy with its own name, without what `opts` and `preresolve` point to */
    struct stat_scope *stats;
    _Atomic uint32_t hosts, pending;
    struct dns_cache_view **views;       /* by stat_thread, each its own thread's */
    uint32_t view_count;
    /* main thread */
    struct list node;                    /* of all caches */
    struct dns_resolver *resolver;
    struct map *names;                   /* struct dns_name */
    struct list listeners;
};

/* What the main thread tells a worker: a name's new state; without a host the name's end, or its refusal. No name: that was
 * all there were when the worker asked. */
struct dns_cache_news {
    struct dns_cache *cache;             /* referenced */
    struct dns_host *host;               /* referenced */
    bool is_refusal;
    size_t name_bytes;
    char name[];
};
struct dns_cache_news *dns_cache_news_new(struct dns_cache *c, struct str name, struct dns_host *host);
void dns_cache_on_news(void *news);      /* workers */
/* What a worker asks the main thread: for one name, or (an empty one) for all that there are. */
struct dns_cache_question {
    struct dns_cache *cache;             /* referenced */
    uint32_t thread;
    size_t name_bytes;
    char name[];
};
void dns_cache_on_question(void *question);
void dns_cache_views_free(struct dns_cache *c);

#endif
