/* SPDX-License-Identifier: Apache-2.0
 *
 * Places in filter chains (HTTP, network, listener filters) whose settings come by discovery
 * (core.v3.ExtensionConfigSource, ECDS). All places of a kind that name the same resource share one subscription; each reads it for itself, since filters
 * keep state with their settings. What comes is taken by all places or by none. Main thread, but for
 * filter_source_now.
 */
#ifndef PROXY_FILTER_FILTER_SOURCE_H
#define PROXY_FILTER_FILTER_SOURCE_H

#include "base/list.h"
#include "proxy/cluster/slot.h"
#include "proxy/filter/http_filter.h"
#include "proxy/filter/network_filter.h"
#include "proxy/listener/listener.h"
#include "proxy/snapshot.h"

struct config_source;
struct filter_feed;
struct warmth;

/* kind; as in statistics' names */
#define FILTER_PLACE_TABLE(X)                                                                      \
    X(HTTP, "http_filter")                                                                         \
    X(NETWORK, "network_filter") /* not the terminal one */                                        \
    X(LISTENER, "tcp_listener_filter")
enum filter_place {
#define X(id, text) PLACE_##id,
    FILTER_PLACE_TABLE(X)
#undef X
};

struct filter_config { /* one version, for one place */
    struct snapshot base;
    enum filter_place kind;
    union {
        struct http_filter_spec spec;
        struct network_filter_spec network;
        struct listener_filter_spec listener;
    };
    struct stat_scope *stats; /* LISTENER: what the filter counts in; NULL */
    struct arena arena;
    struct cluster_slots slots;
};
struct filter_source {
    struct snapshot_place place;
    enum filter_place kind;
    struct list node;                   /* the feed's */
    struct str name;                    /* the resource's, which is the filter's too; kept by who made it, as the types are */
    struct str *types; uint32_t type_count; /* what it may be */
    bool is_terminal;                   /* must it be: the chain's last */
    bool has_fallback, is_fallback_linked;
    bool warms;                         /* the listener waits */
    const struct config_source *from;   /* a reference */
    struct filter_config fallback;      /* default_config */
    struct filter_feed *feed;           /* once linked, as */
    struct server *server;
    struct stat_scope *stats;           /* the connection manager's (HTTP) */
};

/* Any thread, as snapshot_now says; NULL: there is none, requests can't be served. */
static inline struct filter_config *filter_source_now(const struct filter_source *s)
{
    struct snapshot *now = snapshot_now(&s->place);
    return now ? CONTAINER_OF(now, filter_config, base) : NULL;
}
/* `stats`: the connection manager's, of an HTTP filter. Idempotent. */
void filter_source_link(struct filter_source *s, struct server *keep_server, struct stat_scope *stats);
void filter_source_wait(struct filter_source *s, struct warmth *w); /* w may be NULL */
void filter_source_fini(struct filter_source *s);
/* The one that stands in for all of them in a chain's configuration: whether a place is terminal is known, the rest isn't. */
extern const struct http_filter_def dynamic_filter, dynamic_terminal_filter;
extern const struct network_filter_def dynamic_network_filter;
extern const struct listener_filter_def dynamic_listener_filter;
/* Answers 500 (flag NFCF) in the place of a filter whose settings haven't come. */
extern const struct http_filter_def missing_filter;

void filter_config_free(struct filter_config **c); /* NULL is fine */

/* What has come, for dumps. */
struct filter_feed_state { struct str name, version, packed; uint64_t updated_wall_us; };
void filter_feeds_each(void (*fn)(const struct filter_feed_state *s, void *arg), void *arg);

#endif
