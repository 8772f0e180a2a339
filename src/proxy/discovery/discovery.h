/* SPDX-License-Identifier: Apache-2.0
 *
 * Subscriptions: to resources of the API that a management server, a file, or this process itself
 * hands out (Envoy: "xDS REST and gRPC protocol"). A subscriber names a source, a type and a name, and
 * is told of every new version; how that came about (ADS or streams of their own, state of the world or
 * delta, files, REST) is this folder's. Main thread.
 *
 * Subscriptions may be made while configuration is read: nothing is asked for before discovery_start.
 */
#ifndef PROXY_DISCOVERY_DISCOVERY_H
#define PROXY_DISCOVERY_DISCOVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct grpc_service; /* proxy/service/grpc_call.h */
struct server;

/* type: the resource's type; short name as in statistics and logs */
#define RESOURCE_TYPE_TABLE(X)                                                                     \
    X(CLUSTER, "envoy.config.cluster.v3.Cluster", "cds")                                           \
    X(ENDPOINTS, "envoy.config.endpoint.v3.ClusterLoadAssignment", "eds")                          \
    X(LISTENER, "envoy.config.listener.v3.Listener", "lds")                                        \
    X(ROUTES, "envoy.config.route.v3.RouteConfiguration", "rds")                                   \
    X(SCOPED_ROUTES, "envoy.config.route.v3.ScopedRouteConfiguration", "srds")                     \
    X(VIRTUAL_HOST, "envoy.config.route.v3.VirtualHost", "vhds")                                   \
    X(SECRET, "envoy.extensions.transport_sockets.tls.v3.Secret", "sds")                           \
    X(EXTENSION, "envoy.config.core.v3.TypedExtensionConfig", "ecds")                              \
    X(RUNTIME, "envoy.service.runtime.v3.Runtime", "rtds")                                         \
    X(NAME_TABLE, "istio.networking.nds.v1.NameTable", "nds")                                      \
    X(PROXY_CONFIG, "istio.mesh.v1alpha1.ProxyConfig", "pcds")                                     \
    X(HEALTH_INFORMATION, "istio.v1.HealthInformation", "health")
enum resource_type {
#define X(id, type, text) RESOURCE_##id,
    RESOURCE_TYPE_TABLE(X)
#undef X
    RESOURCE_TYPE_COUNT
};
const char *resource_type_name(enum resource_type t); /* the full type name */

/* core.v3.ConfigSource, read by config/config_source.c; one shared copy for each distinct content (config/shared.h). */
enum config_source_kind { SOURCE_ADS /* and self */, SOURCE_GRPC, SOURCE_DELTA_GRPC, SOURCE_REST, SOURCE_FILE };
struct config_source {
    enum config_source_kind kind;
    const struct grpc_service *services; uint32_t service_count; /* GRPC kinds: the first that answers */
    struct str cluster;                /* REST */
    uint64_t refresh_ms, request_timeout_ms; /* REST: none, 1000 */
    struct str path, watched_dir;      /* FILE; "" : the path's own folder */
    bool node_on_first_message_only;
    uint64_t initial_fetch_timeout_ms; /* 15000; 0: for ever */
    bool has_rate_limit; uint32_t rate_limit_tokens; double rate_limit_per_s; /* of requests */
};

/* One resource as it came. All of it is valid during the call. */
struct resource {
    struct str name, version;
    struct str packed;                 /* the message's bytes, of the type that was asked for */
    const struct str *aliases; uint32_t alias_count; /* delta */
};
struct resource_update {
    const struct resource *items; uint32_t count;
    const struct str *removed; uint32_t removed_count; /* names */
    /* The items are all that there is (state of the world of CDS and LDS): what isn't among them is gone. */
    bool is_whole;
    bool *refused;                     /* below a namespace: by item, to be set where one isn't taken, so that it isn't kept */
    struct str version;                /* of the response */
};
const struct config_source *config_source_ref(const struct config_source *s); /* main thread; NULL is fine */
void config_source_unref(const struct config_source **s); /* NULL is fine */

struct subscription_ops {
    /* A resource that isn't taken adds to `faults` (its name at the head of the path) and changes nothing; the rest is
     * taken. Faults are told to the management server (NACK) and counted as update_rejected. */
    void (*on_update)(void *user, const struct resource_update *u, struct err_list *faults);
    /* The first answer hasn't come within initial_fetch_timeout; it may come yet. May be NULL. */
    void (*on_fetch_timeout)(void *user);
};
struct subscription;
/* `name` of "" or "*" asks for everything (CDS, LDS and such). `stat_prefix`: where update_success and such are counted, as
 * "cluster_manager.cds." or "cluster.<name>."; "" nowhere. `source` is borrowed for the subscription's life. The same
 * (source, type, name) may be subscribed to any number of times: a later one is told at once of what is there. */
/* A name that ends in '/' (virtual hosts, delta only) asks for all that stands below it: the server is asked for everything,
 * as Envoy asks, or for single names ("routes/host"), and what has come is kept, also for names that nobody stands above yet:
 * a server that tells of virtual hosts before it tells of their route configuration leaves no time between the two. */
struct subscription *discovery_subscribe(const struct config_source *source, enum resource_type type, struct str name,
                                         struct str stat_prefix, const struct subscription_ops *ops, void *user);
void discovery_unsubscribe(struct subscription **s); /* NULL is fine; also from inside on_update */

/* What is kept below a subscription's name. */
void discovery_each_below(const struct subscription *s, void (*fn)(const struct resource *r, void *arg), void *arg);
/* Once discovery has started: does the source speak delta? */
bool discovery_is_delta(const struct config_source *source);

/* While held, nothing more is asked for of a type on ADS, so that one request tells all of a batch (EDS while CDS is taken,
 * RDS while LDS is: Envoy's order, "Eventual consistency considerations"). Counted. */
void discovery_hold(enum resource_type type);
void discovery_resume(enum resource_type type);

/* istio.v1.HealthInformation over ADS: why the application isn't healthy; STR_NULL: it is. Told once the listeners have been
 * asked for, again on every new stream, and again when this is called again. */
void discovery_report_health(struct str why_not);

/* The last good resources of a type that somebody has asked for by name; valid during the call. */
void discovery_each_kept(enum resource_type type, void (*fn)(const struct resource *r, void *arg), void *arg);

/* What cmd/ and the server call, in this order. */
struct discovery_opts {
    struct str packed_node;            /* core.v3.Node */
    const struct config_source *ads;   /* dynamic_resources.ads_config as GRPC or DELTA_GRPC; NULL: none */
    struct str cache_path;             /* last good resources are kept here; "" none */
};
void discovery_start(struct server *s, const struct discovery_opts *keep_opts);
/* Streams end; subscriptions stay as they are and hear no more. */
void discovery_stop(void);
bool discovery_is_connected(void);     /* control_plane.connected_state of ADS */

#endif
