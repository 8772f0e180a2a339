/* SPDX-License-Identifier: Apache-2.0
 *
 * What this folder's files share. A *channel* is one conversation with one server (or file): ADS, or what a subscription with a
 * source of its own has to itself. It holds a protocol client (xds/client.h), whichever way the messages go.
 *
 *     subscription -> watched (one name of one type) -> channel -> xds_client -> stream.c, rest.c, file.c
 */
#ifndef PROXY_DISCOVERY_PRIV_H
#define PROXY_DISCOVERY_PRIV_H

#include "base/list.h"
#include "base/map.h"
#include "io/loop.h"
#include "proxy/discovery/cache.h"
#include "proxy/discovery/discovery.h"
#include "proxy/server.h"
#include "xds/client.h"

struct channel;

/* How a channel's messages go. */
struct carrier {
    /* Begins to talk (discovery has started); NULL where it can't, which was logged. */
    void *(*start)(struct channel *c);
    void (*stop)(void *carrier);
    void (*pump)(void *carrier); /* something may be due */
};
extern const struct carrier stream_carrier, rest_carrier, file_carrier;

/* One name of one type on one channel. */
struct watched {
    struct list node;             /* channel->watched */
    struct channel *channel;
    struct list subscriptions;
    enum resource_type type;
    struct str name;              /* "" everything */
    struct str body, version;     /* last good one, of named ones; body.p NULL: none yet */
};

struct channel {
    struct list node;             /* discovery.channels */
    const struct config_source *source; /* of ADS: of the bootstrap; NULL: not yet known */
    bool is_ads;
    struct list watched;
    struct map *by_name[RESOURCE_TYPE_COUNT]; /* name -> watched; lazily */
    struct xds_client *client;
    const struct carrier *carrier;
    void *carried;                /* the carrier's; NULL before the start */
    enum resource_type type;      /* of those that aren't ADS */
    struct str stat_prefix;       /* for control_plane.*: of its first subscription; "" for ADS */
    struct turn_task pump;
    struct timer expiry;          /* of times to live */
    struct kept *below;           /* what came below namespaces; NULL: nobody stands above any */
    uint32_t namespaces;          /* watched */
    bool was_restored[RESOURCE_TYPE_COUNT]; /* delta: from the cache, so that the server doesn't know what we have */
};

struct subscription {
    struct list node;             /* watched->subscriptions */
    struct watched *watched;
    const struct config_source *source;
    const struct subscription_ops *ops;
    void *user;
    struct subscription_stats *stats; /* NULL: counted nowhere */
    struct timer fetch;           /* initial_fetch_timeout */
    struct list turn;             /* discovery.latecomers, or discovery.dead; of itself: neither */
    bool is_dead, has_heard;
};

struct discovery {
    struct server *server;        /* NULL before the start and after the stop */
    const struct discovery_opts *opts;
    struct list channels;
    struct channel *ads;
    uint32_t held[RESOURCE_TYPE_COUNT];
    struct list latecomers;       /* subscriptions to what is there already */
    struct turn_task tell;
    struct list dead;             /* subscriptions that ended in this turn */
    struct turn_task bury;
    uint32_t depth;               /* of deliveries under way */
    struct cache *cache;          /* NULL: none */
    bool knows_health;            /* discovery_report_health was called */
    struct str unhealthy;         /* … with this; owned */
};
extern struct discovery discovery;

extern const struct xds_type discovery_types[RESOURCE_TYPE_COUNT];
struct str resource_type_text(enum resource_type t); /* "cds" */
struct method {                   /* of a stream of a type's own, and of REST; NULL: there is none */
    const char *sotw, *delta, *rest;
};
extern const struct method discovery_methods[RESOURCE_TYPE_COUNT];

/* channel.c */
struct channel *channel_new(const struct config_source *source, bool is_ads, enum resource_type type);
void channel_start(struct channel *c);
void channel_stop(struct channel *c);
void channel_free(struct channel **c);
void channel_pump_later(struct channel *c);
void channel_report_health(struct channel *c); /* of ADS: what discovery has been told */
struct watched *channel_watch(struct channel *c, enum resource_type type, struct str name);
void channel_unwatch(struct watched *w); /* freed; nothing is subscribed to it any more */
/* For carriers: a message came (XDS_BROKEN: give up the stream); none can come for now, `why` is logged. */
enum xds_fed channel_feed(struct channel *c, struct str message);
void channel_failed(struct channel *c);
bool channel_is_delta(const struct channel *c);

/* deliver.c */
void discovery_deliver(struct channel *c, enum resource_type type, const struct xds_update *u, struct err_list *faults);
void discovery_tell_later(struct subscription *s);
void channel_restore(struct channel *c); /* the server doesn't answer: from the cache, if that has something */

/* kept.c: resources by namespace, "routes/" for "routes/host" */
bool is_namespace(struct str name);
struct str namespace_of(struct str name); /* "" none */
struct kept *kept_new(void);
void kept_free(struct kept **k); /* NULL is fine */
struct str kept_find(const struct kept *k, struct str name); /* its bytes; a null str: none */
void kept_put(struct kept *k, struct str name, struct str version, struct str packed);
void kept_del(struct kept *k, struct str name);
uint32_t kept_count(const struct kept *k, struct str namespace);
void kept_each(const struct kept *k, struct str namespace, void (*fn)(const struct resource *r, void *arg), void *arg);
/* Something has come, so that there being nothing below a namespace says something. */
bool kept_is_answered(const struct kept *k); /* NULL is fine */
void kept_note_answer(struct kept *k);
/* What there is came from the cache: the next answer is all that there is. */
void kept_note_restored(struct kept *k);
bool kept_take_restored(struct kept *k); /* true once */
/* Names that are kept and aren't among these; the array and its texts are the caller's. */
struct str *kept_absent(const struct kept *k, const struct resource *items, uint32_t count, uint32_t *absent);

/* subscription_stats.c */
/* NULL for "". Nothing is counted before discovery has started. */
struct subscription_stats *subscription_stats_new(struct str prefix);
void subscription_stats_free(struct subscription_stats **s);
void subscription_stats_attempt(struct subscription_stats *s); /* NULL is fine in all */
void subscription_stats_failure(struct subscription_stats *s);
void subscription_stats_timeout(struct subscription_stats *s);
void subscription_stats_rejected(struct subscription_stats *s);
void subscription_stats_success(struct subscription_stats *s, struct str version, uint64_t now_us, uint64_t took_us);

/* control_stats.c: control_plane.* */
struct control_stats *control_stats_new(struct str prefix);
void control_stats_free(struct control_stats **s);
void control_stats_connected(struct control_stats *s, bool is_connected);
void control_stats_pending(struct control_stats *s, uint32_t count);
void control_stats_limited(struct control_stats *s);
void control_stats_identifier(struct control_stats *s, struct str identifier);

#endif
