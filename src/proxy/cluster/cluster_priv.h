/* SPDX-License-Identifier: Apache-2.0
 *
 * Room-private parts of clusters: the shared object (cluster.c), a worker's view of it and its
 * pools (view.c, upstream_pool.c), membership from DNS (cluster_dns.c) and from connections
 * (original_dst.c).
 */
#ifndef PROXY_CLUSTER_CLUSTER_PRIV_H
#define PROXY_CLUSTER_CLUSTER_PRIV_H

#include <pthread.h>

#include "base/check.h"
#include "base/list.h"
#include "base/map.h"
#include "proxy/cluster/cluster.h"

#define CLUSTER_MAGIC 0x434c5553u

struct cluster_dns;
struct forward_proxy;
struct outlier_detector;
struct health_checker;
struct warmth;
struct cluster {
    uint32_t magic;
    _Atomic uint32_t refs;
    struct cluster_spec *spec;
    struct stat_scope *stats, *tls_stats; /* tls_stats NULL for raw ones */
    struct stat_scope *tls_socket_stats;  /* NULL for raw ones */
    struct stat_scope **transport_stats;  /* of each transport match, then of the default; NULL without matches */
    struct warmth *secrets;               /* until it is warm */
    struct stat_scope *h2_stats;          /* NULL where HTTP/2 is never spoken */
    struct stat_scope *budget_stats, *size_stats; /* tracked_stats.c; NULL */
    struct endpoint_stats *endpoint_stats;
    struct zone_stats *_Atomic zones;     /* zone_stats.c */
    struct stat_scope *remaining[ROUTING_PRIORITIES]; /* NULL without track_remaining */
    struct circuit_thresholds limits[ROUTING_PRIORITIES]; /* the spec's, as runtime overrode them at start */
    _Atomic uint32_t used[ROUTING_PRIORITIES][BREAKER_COUNT];
    struct load_policy load;              /* main thread: the spec's, or the last assignment's */
    struct subscription *assignment;      /* EDS */
    bool is_assigned;                     /* it has been answered, or given up */
    bool is_retired;                      /* main thread: its members don't change any more, nor do the gauges of its name */
    struct rng rng;                       /* main thread: where cursors start */
    struct timer weigh;                   /* main thread: client_side_weighted_round_robin */
    pthread_mutex_t hosts_lock;           /* publishing, and a worker's first look; never on a request's path */
    struct host_set *hosts;
    struct cluster_dns *dns;
    struct forward_proxy *forward_proxy;  /* NULL unless FORWARD_PROXY */
    struct outlier_detector *outlier;     /* NULL without outlier detection */
    struct health_checker *checker;       /* NULL without active checks */
    struct turn_task health_task;         /* publishing what changed of members' health in this turn */
    void (*on_ready)(void *arg);
    void *on_ready_arg;
    uint64_t generation;
    struct cluster_worker **views;        /* by stat_thread; each its own thread's */
    struct list all;                      /* main thread: clusters_each */
};

/* tracked_stats.c */
void cluster_track(struct cluster *c);
void cluster_untrack(struct cluster *c);

/* zone_stats.c, main thread */
void cluster_zones_note(struct cluster *c, struct host *const *hosts, uint32_t count);
void cluster_zones_fini(struct cluster *c);

/* A pool and what parts it from other pools to the same host. */
struct upstream_pool {
    struct upstream_pool *next;           /* same bucket */
    struct cluster_worker *view;
    struct host *host;                    /* referenced */
    struct http_pool *pool;
    enum http_protocol downstream_protocol;
    unsigned priority;
    struct str authority;                 /* owned; "" when it doesn't matter */
    struct original_source *source;       /* owned; NULL */
    struct str proxy_header;              /* owned; upstream PROXY protocol, then the pool is one client's */
    struct str sni;                       /* owned */
    struct str *alpn; uint32_t alpn_count; /* owned; what a filter has offered in TLS instead of the cluster's list */
    uint32_t connections;                 /* this pool's, connecting ones too */
    bool is_draining;
    struct http_pool_opts opts;
    struct tls_san_matcher san;           /* auto_san_validation */
    struct str san_name;
    struct deferred deferred;
};

#define PEEKED_MAX 8u
struct original_dst;
struct aggregate;
struct cluster_worker {
    struct cluster *cluster;
    struct host_set *hosts;               /* referenced */
    struct loop *loop;
    struct upstream_pool **buckets;
    uint32_t bucket_count, pool_count;
    uint32_t users;                       /* view_hold */
    uint32_t connections;                 /* outside pools */
    bool is_retired, has_left;            /* has_left: an empty shell for those who still hold it */
    struct turn_task over;
    struct original_dst *original_dst;
    struct aggregate *aggregate;
    struct map *forward_hosts;            /* FORWARD_PROXY: by name; NULL before the first choice */
    /* TCP connections outside pools, kept where they have to end with their host's health. */
    struct tcp_member { struct conn *conn; struct host *host; } *tcp; /* the host is the connection's owner's reference */
    uint32_t tcp_count, tcp_cap;
    struct host *peeked[PEEKED_MAX];      /* chosen ahead, of `hosts`: predict.c */
    uint32_t peeked_first, peeked_count;
};

/* predict.c */
void cluster_predict(struct cluster_worker *cw, const struct pool_key *key);
struct host *cluster_predicted(struct cluster_worker *cw, const struct lb_context *ctx); /* NULL: choose now */
void cluster_forget_predictions(struct cluster_worker *cw);

/* retire.c: when nothing is left of a retired view it goes at this turn's end. */
void view_check_over(struct cluster_worker *v);
void view_drain_all(struct cluster_worker *v); /* view.c: pools finish what they have */

/* cluster.c; main thread */
struct stat_scope *cluster_scope(const struct cluster_spec *spec, const char *suffix, const struct stat_table *table);
/* Health bits of members changed: groups and shares are made anew and published, once for all of this turn; or now. */
void cluster_health_changed(struct cluster *c);
void cluster_health_publish(struct cluster *c);
/* A member has just become unhealthy: its connections are not used for new requests. */
void cluster_host_failed(struct cluster *c, struct host *h);

/* breakers.c */
void cluster_breakers_init(struct cluster *c);
void cluster_breakers_fini(struct cluster *c);

/* view.c */
void view_publish(struct cluster *c, struct host_set *hosts); /* main thread: hands it to every worker */
void view_host_failed(struct cluster *c, struct host *h);     /* main thread: tells every worker */
void view_note_tcp(struct cluster_worker *v, struct host *h, struct conn *c);
void view_forget_tcp(struct cluster_worker *v, const struct conn *c);
void view_forget_pool(struct upstream_pool *p);
struct http_pool *view_http_pool(struct cluster_worker *cw, struct host *h, const struct pool_key *key);
const struct locality *clusters_here(void);
struct host_set *cluster_local_hosts(const struct cluster *c); /* referenced; NULL when zone-aware routing has nothing to go by */
void clusters_note_change(struct cluster *c); /* the local cluster's change concerns all others */
uint64_t cluster_slow_start_ms(const struct cluster *c);
/* What balancing learns of an attempt; cluster_report calls it. Any worker. */
void cluster_note_result(struct cluster *c, struct host *h, const struct host_report *report, uint64_t now_ms);
struct loop *clusters_worker_loop(uint32_t thread); /* by stat_thread, from 1; 0 is the main one */

/* upstream_pool.c */
struct upstream_pool *upstream_pool_new(struct cluster_worker *view, struct host *h, const struct pool_key *key);
/* One that is in no view any more: what it was counted in there has been given back. Touches neither view nor cluster, which may be
 * gone by the end of the turn in which it left. */
void upstream_pool_free(struct upstream_pool *p);
struct conn *upstream_connect(struct cluster_worker *view, struct host *h, const struct upstream_pool *pool,
                              const struct original_source *source,
                              struct str proxy_header, const struct conn_handler *handler, void *user);
/* A connection of the proxy's own to `remote`, TLS as `transport` says; in no statistics and no breaker. Never NULL. */
struct conn *upstream_connect_probe(struct cluster_worker *view, struct host *h, const struct transport_socket_spec *transport,
                                    const struct addr *remote, const struct str *alpn, uint32_t alpn_count, struct str proxy_header,
                                    const struct conn_handler *handler, void *user);
void upstream_conn_opened(struct cluster_worker *view, struct host *h);
void upstream_conn_connected(struct cluster_worker *view, struct conn *c);
void upstream_conn_closed(struct cluster_worker *view, struct host *h, struct conn *c, bool was_ready,
                          enum conn_close why, uint32_t active);

/* assignment.c: EDS. cluster_assigned: the first answer came, or will not. */
void assignment_start(struct cluster *c);
void cluster_assigned(struct cluster *c);

/* cluster_dns.c */
void cluster_dns_start(struct cluster *c, void (*on_ready)(void *arg), void *arg);
void cluster_dns_stop(struct cluster *c);

/* original_dst.c */
struct host *original_dst_pick(struct cluster_worker *view, const struct lb_context *ctx);
void original_dst_free(struct original_dst **o);

/* forward_proxy.c */
void forward_proxy_start(struct cluster *c); /* main thread, as is stop */
void forward_proxy_stop(struct cluster *c);
struct host *forward_proxy_pick(struct cluster_worker *view, const struct lb_context *ctx);
void forward_proxy_leave(struct cluster_worker *view);

/* Makes a member, takes members (each referenced) as the cluster's. Main thread. */
struct host *cluster_make_member(const struct cluster *c, const struct endpoint_spec *e);
void cluster_set_members(struct cluster *c, struct host **take_hosts, uint32_t count);
/* view.c: lets the pools to a host of this worker finish what they have and go. */
void view_drain_pools_of(struct cluster_worker *v, const struct host *h);

/* aggregate.c: the host of one of the clusters below, borrowed; NULL: none. */
struct host *aggregate_choose(struct cluster_worker *view, struct lb_context *ctx);
void aggregate_free(struct aggregate **a);
void aggregates_forget(const struct cluster_worker *child); /* those of this thread let go of one that is retired */
/* cluster.c: borrowed. */
struct host *view_choose(struct cluster_worker *view, struct lb_context *ctx);

/* upstream_proxy_protocol.c: the header for a connection made on behalf of `downstream` (NULL: LOCAL). Heap. */
struct str upstream_proxy_header(const struct transport_socket_spec *spec, const struct conn *downstream);

/* ---- transport_match.c ---- */
const struct transport_socket_spec *cluster_transport_of(const struct cluster_spec *spec, const struct metadata *endpoint,
                                                         const struct metadata *locality);
/* The same for a host that is made now: counted. */
const struct transport_socket_spec *cluster_take_transport(const struct cluster *c, const struct metadata *endpoint,
                                                           const struct metadata *locality);
/* By criteria in place of an endpoint's metadata (transport_socket_match_criteria of health checks). */
const struct transport_socket_spec *cluster_transport_by(const struct cluster_spec *spec, const struct meta_value *criteria);
void cluster_each_transport(const struct cluster_spec *spec, void (*fn)(const struct transport_socket_spec *t, void *arg), void *arg);
bool cluster_may_use_tls(const struct cluster_spec *spec);
void cluster_wait_for_secrets(const struct cluster_spec *spec, struct warmth *w);
void cluster_transport_stats_new(struct cluster *c);
void cluster_transport_stats_free(struct cluster *c);

#endif
