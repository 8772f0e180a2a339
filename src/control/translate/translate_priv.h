/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of this room share: each makes one sort of thing. Messages live in t->protos.
 */
#ifndef CONTROL_TRANSLATE_PRIV_H
#define CONTROL_TRANSLATE_PRIV_H

#include "control/translate/translate.h"
#include "envoy/config/cluster/v3/cluster.pb-c.h"
#include "envoy/config/core/v3/base.pb-c.h"
#include "envoy/config/core/v3/config_source.pb-c.h"
#include "envoy/config/endpoint/v3/endpoint.pb-c.h"
#include "envoy/config/listener/v3/listener.pb-c.h"
#include "envoy/config/route/v3/route.pb-c.h"
#include "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.pb-c.h"

/* ---- common.c: building blocks ----
 *
 * What is constant stands as JSON text beside the code that needs it and becomes a message once. Resources share such messages:
 * a copy of the outermost struct gets the fields that differ. So nobody may change what lies below.
 */

/* The message of a literal; the literal's address and the type are its key. A fault in it is ours: CHECK. */
const ProtobufCMessage *constant(const struct translation *t, const ProtobufCMessageDescriptor *desc, const char *literal);
/* An Any of a literal with "@type". */
Google__Protobuf__Any *constant_any(const struct translation *t, const char *literal);
/* A new struct that begins as the literal's message. */
#define COPY_OF(t_, c_type_, descriptor_, literal_)                                                                                 \
    ({                                                                                                                              \
        c_type_ *copy_ = proto_arena_alloc((t_)->protos, sizeof(c_type_));                                                          \
        *copy_ = *(const c_type_ *)constant(t_, &(descriptor_), literal_);                                                          \
        copy_;                                                                                                                      \
    })
#define MAKE(t_, c_type_, descriptor_) ((c_type_ *)proto_new((t_)->protos, &(descriptor_)))
/* NUL-terminated in t->protos. */
char *text(const struct translation *t, struct str s);
char *textf(const struct translation *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Room for n pointers in t->protos. */
void *pointers(const struct translation *t, size_t n);
/* A repeated message field that grows: items stay in order. */
struct many {
    void **items;
    size_t count, cap;
};
void many_add(const struct translation *t, struct many *m, const void *item);

/* "outbound|9080|v1|reviews.bookinfo.svc.cluster.local". */
struct str cluster_name(struct arena *a, const char *direction, struct str subset, struct str host, uint32_t port);
/* "outbound_.9080_.v1_.reviews.bookinfo.svc.cluster.local", the same as a server name. */
struct str cluster_sni(struct arena *a, struct str subset, struct str host, uint32_t port);
Envoy__Config__Core__V3__Address *address_of(const struct translation *t, struct str address, uint32_t port);
Google__Protobuf__Duration *duration_of_ms(const struct translation *t, uint64_t ms);
Google__Protobuf__UInt32Value *u32_of(const struct translation *t, uint32_t v);
Google__Protobuf__BoolValue *bool_of(const struct translation *t, bool v);
Google__Protobuf__Any *any_of(const struct translation *t, const ProtobufCMessage *m);
/* filter_metadata of one name; `value` a Struct. */
Envoy__Config__Core__V3__Metadata *metadata_of(const struct translation *t, const char *name, Google__Protobuf__Struct *value);
/* {"config": "/apis/networking.istio.io/v1/namespaces/NS/destination-rule/NAME"} added to filter_metadata.istio. */
void metadata_add_config(const struct translation *t, Envoy__Config__Core__V3__Metadata **m, const struct object *o);
/* Struct building. */
Google__Protobuf__Struct *struct_new(const struct translation *t);
void struct_add(const struct translation *t, Google__Protobuf__Struct *s, const char *key, struct str value);
void struct_add_value(const struct translation *t, Google__Protobuf__Struct *s, const char *key, Google__Protobuf__Value *value);
Google__Protobuf__Value *value_of_struct(const struct translation *t, Google__Protobuf__Struct *s);
Google__Protobuf__Value *value_of_bool(const struct translation *t, bool b);
Google__Protobuf__Value *value_of_text(const struct translation *t, struct str s);
Google__Protobuf__Value *value_of_list(const struct translation *t, Google__Protobuf__Value **items, size_t count);

/* ---- tls.c: the mesh's mutual TLS ---- */
Envoy__Config__Core__V3__TransportSocket *upstream_mtls(const struct translation *t, struct str sni, const struct str *sans,
                                                        uint32_t san_count, bool is_http2);
Envoy__Config__Core__V3__TransportSocket *downstream_mtls(const struct translation *t, bool is_tcp);
Envoy__Config__Core__V3__TransportSocket *transport_socket_tls(const struct translation *t, const ProtobufCMessage *context);

/* ---- cluster.c, cluster_inbound.c ---- */
void clusters_outbound(const struct translation *t, struct resource_sink *out);
void clusters_inbound(const struct translation *t, struct resource_sink *out);
/* How the cluster finds its endpoints. Nobody's original destination is known to a gateway: it is told those of headless services. */
enum resolution cluster_resolution(const struct translation *t, const struct service *s);
Google__Protobuf__Value *services_value(const struct translation *t, const struct service *s);

/* ---- policy_traffic.c: destination rules ---- */
/* What a rule says of one cluster: a port of a service, whole or a subset of it. */
struct cluster_purpose {
    const struct scoped_service *service;
    const struct service_port *port;
    struct str subset;               /* "": the whole */
    const ProtobufCMessage *subset_spec; /* istio.networking.v1alpha3.Subset; NULL: the whole */
    struct str sni;
};
/* Balancing, pools, breakers, outliers, TLS: of the rule, the mesh's defaults, auto mTLS. */
void traffic_policy_apply(const struct translation *t, const struct cluster_purpose *p, Envoy__Config__Cluster__V3__Cluster *c);
/* Subsets of the rule, in its order; 0 without one. */
size_t rule_subset_count(const struct rule *r);
const ProtobufCMessage *rule_subset(const struct rule *r, size_t i, struct str *name);
/* What a rule says of one cluster's endpoints. */
struct endpoint_purpose {
    const ProtobufCMessage *locality; /* istio.networking.v1alpha3.LocalityLoadBalancerSetting; NULL: none */
    bool has_outliers;                /* without them nobody would turn elsewhere */
    bool is_mesh_tls;                 /* by the mesh's own mutual TLS where they take it */
};
struct endpoint_purpose endpoint_purpose_of(const struct translation *t, const struct cluster_purpose *p);
/* policy_traffic_http.c: connectionPool.http, and TLS of a mode that isn't the mesh's own. */
void cluster_http_options(const struct translation *t, const ProtobufCMessage *settings, Envoy__Config__Cluster__V3__Cluster *c);
/* `settings`: istio.networking.v1alpha3.ClientTLSSettings of mode SIMPLE or MUTUAL. */
void cluster_tls_of_files(const struct translation *t, const struct cluster_purpose *p, const ProtobufCMessage *settings,
                          Envoy__Config__Cluster__V3__Cluster *c);
/* Adds to filter_metadata.istio. */
void cluster_note(const struct translation *t, Envoy__Config__Cluster__V3__Cluster *c, const char *key, Google__Protobuf__Value *value);
/* The labels that endpoints of the subset have. NULL name or none: empty. */
void rule_subset_labels(const struct translation *t, const struct rule *r, struct str subset, struct labels *out);

/* ---- auto_mtls.c ---- */
/* What a client that no rule tells otherwise does: transport_socket_matches, transport_socket, or nothing. */
void auto_mtls_apply(const struct translation *t, const struct cluster_purpose *p, Envoy__Config__Cluster__V3__Cluster *c);
/* The identities that endpoints of the service may have, sorted, each once, in t->arena. */
size_t service_identities(const struct translation *t, const struct service *s, const struct str **out);

/* ---- endpoint.c ---- */
Envoy__Config__Endpoint__V3__ClusterLoadAssignment *assignment_of(const struct translation *t, const struct cluster_purpose *p,
                                                                  struct str cluster);

/* ---- name_table.c, extension.c ---- */
void name_table(const struct translation *t, struct resource_sink *out);
void extensions(const struct translation *t, struct resource_sink *out);

/* ---- listener_common.c ---- */
extern const char listener_tls_inspector[], listener_http_inspector[]; /* ListenerFilter, for `constant` */
Envoy__Config__Listener__V3__Listener *listener_new(const struct translation *t, const char *skeleton, const char *name, struct str address,
                                                    uint32_t port);
Envoy__Config__Listener__V3__FilterChain *filter_chain_new(const struct translation *t, const char *name); /* NULL: none */
/* Of a literal; `port` 0: whichever. */
Envoy__Config__Listener__V3__FilterChainMatch *filter_chain_match(const struct translation *t, const char *literal, uint32_t port);

/* Where connections go that the mesh knows nothing of: by the Sidecar's outboundTrafficPolicy, else the mesh's. */
struct str strangers_cluster(const struct translation *t);
bool strangers_are_let_through(const struct translation *t);
/* 0: none. */
uint32_t http_proxy_port(const struct translation *t);

/* ---- listener_outbound.c, listener_inbound.c, listener_gateway.c ---- */
void listeners_outbound(const struct translation *t, struct resource_sink *out);
void listeners_inbound(const struct translation *t, struct resource_sink *out);
void listeners_gateway(const struct translation *t, struct resource_sink *out);

/* ---- inbound.c ---- */
struct inbound_port {
    struct workload_service ws;
    struct str bind;     /* the null str: captured, virtualInbound has it */
    struct str address;  /* of the application; the null str: where the connection was going */
    uint32_t port;
};
/* Each port of the workload once, in t->arena. */
size_t inbound_ports(const struct translation *t, const struct inbound_port **out);

/* ---- route.c, route_http.c, route_gateway.c ---- */
void routes_sidecar(const struct translation *t, struct resource_sink *out);
void routes_sidecar_hosts(const struct translation *t, struct resource_sink *out);
void routes_gateway(const struct translation *t, struct resource_sink *out);
/* route_http.c: of the scope's virtual services. Adds the routes for the host and port; false: no virtual service holds for it. */
bool routes_by_rule(const struct translation *t, const struct scope_egress *e, const struct service *s, uint32_t port, struct many *routes);
/* All of one virtual service for traffic of `port` to a gateway ("mesh" or "ns/name"); true: the last catches all. */
bool routes_of_virtual_service(const struct translation *t, const struct scoped_route *vs, struct str gateway, uint32_t port,
                               struct many *routes);
/* The hash policies that a destination's rule asks for. */
void route_set_hash(const struct translation *t, const struct scoped_service *s, struct str subset, struct many *policies);
/* "host:port" for that domain alone. */
Envoy__Config__Route__V3__VirtualHost *vhost_of_host(const struct translation *t, struct str host, uint32_t port, const struct many *routes);
/* Virtual hosts of virtual services whose hosts no service has. `taken`: domains that stand already. */
struct map;
void vhosts_of_routes_alone(const struct translation *t, const struct scope_egress *e, uint32_t port, struct map *taken, struct many *vhosts);
/* All requests to one cluster: the configuration of an inbound port; the route of a service without a VirtualService. */
Envoy__Config__Route__V3__RouteConfiguration *routes_inbound(const struct translation *t, struct str cluster, struct str operation,
                                                             uint32_t port);
Envoy__Config__Route__V3__Route *route_default(const struct translation *t, struct str cluster, struct str operation);

/* ---- hcm.c: the connection manager and its HTTP filters; tcp.c: chains of bytes ---- */
struct chain_purpose {
    bool is_inbound, is_gateway;
    bool is_closed;          /* it ends at BlackHoleCluster whoever comes: no policy is asked */
    uint32_t port;           /* of the service (outbound), of the workload (inbound) */
    enum protocol protocol;
    struct str stat_prefix;  /* of HTTP; without the ';' */
    struct str route_name;   /* by RDS; else `routes` */
    Envoy__Config__Route__V3__RouteConfiguration *routes;
    const struct service *service; /* may be NULL */
};
/* What policies and telemetry say is the same in all chains of a side: the first that needs it makes it for the part. */
enum chain_side { SIDE_OUTBOUND, SIDE_INBOUND, SIDE_GATEWAY, SIDE_COUNT };
static inline enum chain_side chain_side(const struct chain_purpose *p)
{
    return p->is_gateway ? SIDE_GATEWAY : p->is_inbound ? SIDE_INBOUND : SIDE_OUTBOUND;
}
struct made_list {
    bool is_made;
    struct many items; /* shared: nobody may change them */
};
struct made {
    struct made_list http_policies[SIDE_COUNT], network_policies[SIDE_COUNT], access_logs[SIDE_COUNT];
    struct made_list metrics[SIDE_COUNT]; /* a configuration or NULL */
    struct made_list tracing[SIDE_COUNT]; /* Tracing or NULL, and a RequestIDExtension where it isn't the common one */
};
void many_add_all(const struct translation *t, struct many *m, const struct many *items);
/* What comes before and after; in the order in which they shall stand. */
Envoy__Config__Listener__V3__Filter *filter_hcm(const struct translation *t, const struct chain_purpose *p);
/* Fills a chain's filters: metadata exchange (inbound), policies, statistics, then tcp_proxy to `cluster`; also the statistics' prefix. */
void chain_tcp(const struct translation *t, const struct chain_purpose *p, struct str cluster, Envoy__Config__Listener__V3__FilterChain *c);
/* Where bytes go: one cluster, or several by weight. */
struct tcp_target {
    struct str cluster, stat_prefix; /* cluster: the null str for several */
    struct many weights;             /* of TcpProxy's weighted clusters */
};
void chain_tcp_to(const struct translation *t, const struct chain_purpose *p, const struct tcp_target *to,
                  Envoy__Config__Listener__V3__FilterChain *c);
/* The same for HTTP. */
void chain_http(const struct translation *t, const struct chain_purpose *p, Envoy__Config__Listener__V3__FilterChain *c);

typedef Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpFilter http_filter;
http_filter *http_filter_new(const struct translation *t, const char *name, Google__Protobuf__Any *config);

/* ---- policy_authz.c, policy_jwt.c: what the workload's policies add ---- */
void policy_http_filters(const struct translation *t, const struct chain_purpose *p, struct many *http_filters);
void policy_network_filters(const struct translation *t, const struct chain_purpose *p, struct many *filters);
/* Which rules' keys a service of the mesh has: what the filters depend on besides the policies. */
void policy_jwt_key(const struct translation *t, struct strbuf *key);

/* ---- provider.c ---- */
/* Which services of extension providers there are: listeners depend on it. */
void providers_key(const struct translation *t, struct strbuf *key);

/* ---- telemetry.c: Telemetry objects and mesh configuration ---- */
void telemetry_http_filters(const struct translation *t, const struct chain_purpose *p, struct many *http_filters);
void telemetry_network_filters(const struct translation *t, const struct chain_purpose *p, struct many *filters);
void telemetry_hcm(const struct translation *t, const struct chain_purpose *p,
                   Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpConnectionManager *hcm); /* tracing, access logs */
void telemetry_access_logs(const struct translation *t, const struct chain_purpose *p, struct many *access_logs); /* of tcp_proxy */
void telemetry_listener(const struct translation *t, bool is_inbound, Envoy__Config__Listener__V3__Listener *l);
/* What the proxy itself says that tracing depends on. */
void tracing_key(const struct translation *t, struct strbuf *key);

/* ---- envoy_filter.c: patches, after everything else ---- */
struct patches *envoy_filter_patches(const struct translation *t);
/* Which of them are for this proxy, by what it says of itself. */
void envoy_filter_key(const struct translation *t, struct strbuf *key);
/* false: it is removed. `service`: of an inbound cluster, whose name doesn't tell. */
bool envoy_filter_cluster(const struct translation *t, Envoy__Config__Cluster__V3__Cluster *c, bool is_inbound, struct str service)
    __attribute__((warn_unused_result));
bool envoy_filter_listener(const struct translation *t, Envoy__Config__Listener__V3__Listener *l, bool is_inbound)
    __attribute__((warn_unused_result));
void envoy_filter_routes(const struct translation *t, Envoy__Config__Route__V3__RouteConfiguration *r, bool is_inbound);
void envoy_filter_added(const struct translation *t, enum part p, struct resource_sink *out); /* ADD of whole resources, EXTENSION_CONFIG */

#endif
