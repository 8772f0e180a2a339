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

/* ---- common.c: building blocks ---- */

/* "outbound|9080|v1|reviews.bookinfo.svc.cluster.local"; direction "outbound_" gives the SNI form ("outbound_.9080_.v1_.reviews..."). */
struct str cluster_name(struct arena *a, const char *direction, struct str subset, struct str host, uint32_t port);
/* Constant parts are written as JSON text and decoded once: the Any of a message of the type in the text's "@type". */
Google__Protobuf__Any *any_of_json(const struct translation *t, const char *json);
Envoy__Config__Core__V3__Address *address_of(const struct translation *t, struct str address, uint32_t port);
Google__Protobuf__Duration *duration_of_ms(const struct translation *t, uint64_t ms);
Envoy__Config__Core__V3__ConfigSource *ads_source(const struct translation *t);
/* filter_metadata.istio: {"config": "/apis/networking.istio.io/v1/namespaces/NS/destination-rule/NAME", ...} */
Envoy__Config__Core__V3__Metadata *metadata_of_object(const struct translation *t, const struct object *o);
const Envoy__Config__Core__V3__TransportSocket *upstream_mtls(const struct translation *t, struct str sni, const struct str *sans,
                                                              uint32_t san_count, bool is_http2);
const Envoy__Config__Core__V3__TransportSocket *downstream_mtls(const struct translation *t, const char *const *alpn, bool require_client);

/* ---- cluster.c, cluster_inbound.c, policy_traffic.c ---- */
void clusters_outbound(const struct translation *t, struct resource_sink *out);
void clusters_inbound(const struct translation *t, struct resource_sink *out);
void clusters_gateway(const struct translation *t, struct resource_sink *out);

/* ---- listener_outbound.c, listener_inbound.c, listener_gateway.c ---- */
void listeners_outbound(const struct translation *t, struct resource_sink *out);
void listeners_inbound(const struct translation *t, struct resource_sink *out);
void listeners_gateway(const struct translation *t, struct resource_sink *out);

/* ---- route.c, route_http.c, route_gateway.c ---- */
void routes_sidecar(const struct translation *t, struct resource_sink *out);
void routes_gateway(const struct translation *t, struct resource_sink *out);
/* One VirtualService's http routes as Envoy's, for traffic of `port` to gateways `gateway` ("mesh" or "ns/name"). NULL-terminated. */
Envoy__Config__Route__V3__Route **routes_of_virtual_service(const struct translation *t, const struct scoped_route *vs,
                                                            struct str gateway, uint32_t port, size_t *count);
/* The route of an inbound port, and of a service without a VirtualService. */
Envoy__Config__Route__V3__Route *route_default(const struct translation *t, struct str cluster, struct str operation, bool is_inbound);

/* ---- hcm.c: the connection manager and its HTTP filters; tcp.c: tcp_proxy chains ---- */
struct chain_purpose {
    bool is_inbound, is_gateway;
    uint32_t port;                          /* of the service (outbound), of the workload (inbound) */
    enum protocol protocol;
    struct str stat_prefix, route_name;     /* route_name: by RDS; else `routes` */
    Envoy__Config__Route__V3__RouteConfiguration *routes;
    const struct service *service;          /* may be NULL */
};
Envoy__Config__Listener__V3__Filter *filter_hcm(const struct translation *t, const struct chain_purpose *p);
/* Metadata exchange, policies, statistics, then tcp_proxy to the cluster (or weighted clusters of a VirtualService's route). */
Envoy__Config__Listener__V3__Filter **filters_tcp(const struct translation *t, const struct chain_purpose *p, struct str cluster,
                                                  const ProtobufCMessage *route, size_t *count);

/* ---- policy_authz.c, policy_jwt.c, telemetry.c: what the workload's policies add; arrays in t->arena ---- */
/* HTTP filters before the router in Istio's order: authn (jwt), authz CUSTOM, DENY, ALLOW. */
size_t policy_http_filters(const struct translation *t, const struct chain_purpose *p, const ProtobufCMessage ***out);
size_t policy_network_filters(const struct translation *t, const struct chain_purpose *p, const ProtobufCMessage ***out);
/* istio.stats and access loggers, tracing: of Telemetry objects and mesh configuration. */
size_t telemetry_http_filters(const struct translation *t, const struct chain_purpose *p, const ProtobufCMessage ***out);
size_t telemetry_network_filters(const struct translation *t, const struct chain_purpose *p, const ProtobufCMessage ***out);
size_t telemetry_access_logs(const struct translation *t, const struct chain_purpose *p, const ProtobufCMessage ***out);
const ProtobufCMessage *telemetry_tracing(const struct translation *t, const struct chain_purpose *p); /* HttpConnectionManager.Tracing */

/* ---- envoy_filter.c: patches, after everything else ---- */
void envoy_filter_cluster(const struct translation *t, Envoy__Config__Cluster__V3__Cluster *c, bool is_inbound);
void envoy_filter_listener(const struct translation *t, Envoy__Config__Listener__V3__Listener *l, bool is_inbound);
void envoy_filter_routes(const struct translation *t, Envoy__Config__Route__V3__RouteConfiguration *r, bool is_inbound);
void envoy_filter_added(const struct translation *t, enum part p, struct resource_sink *out); /* ADD of whole resources, EXTENSION_CONFIG */

#endif
