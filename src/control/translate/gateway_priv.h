/* SPDX-License-Identifier: Apache-2.0
 *
 * Gateways as one router proxy has them: the servers of all Gateways that select it, by the ports on which it listens (Istio: "Gateway",
 * merging).
 */
#ifndef CONTROL_TRANSLATE_GATEWAY_PRIV_H
#define CONTROL_TRANSLATE_GATEWAY_PRIV_H

#include "control/translate/translate_priv.h"
#include "istio/networking/gateway.pb-c.h"

#define SERVER Istio__Networking__V1alpha3__Server
#define SERVER_TLS Istio__Networking__V1alpha3__ServerTLSSettings
#define SERVER_TLS_MODE(x) ISTIO__NETWORKING__V1ALPHA3__SERVER_TLSSETTINGS__TLSMODE__##x

struct gateway_server {
    const struct object *object;
    const SERVER *spec;
    struct str gateway;    /* "ns/name" */
    struct str route_name; /* "": it has no HTTP */
    enum protocol protocol;
};

struct gateway_port {
    uint32_t number; /* of the proxy: behind a Service it is the target port */
    struct str bind; /* "0.0.0.0" where nothing is said */
    bool is_tls;
    bool is_http;    /* in plaintext: all servers share one route configuration */
    struct many servers; /* struct gateway_server, the oldest Gateway's first */
};

/* By number and address, in t->arena. Servers that can't stand beside an older one on their port are left out. */
size_t gateway_ports(const struct translation *t, const struct gateway_port **out);
/* Does the Gateway select the proxy? */
bool gateway_selects(const struct translation *t, const struct object *gateway);
bool server_terminates_tls(const SERVER *s);
/* A server's host ("ns/host", "./host", "host") without the namespace; the null str where virtual services of `ns` may not have it.
 * The null `ns`: of anybody. */
struct str server_host(const struct gateway_server *s, size_t i, struct str ns);
/* The hosts that both a server and a virtual service have: the narrower of the two; each once, in t->arena. */
size_t server_shared_hosts(const struct translation *t, const struct gateway_server *s, const struct scoped_route *vs, const struct str **out);

/* tls_gateway.c: what a server that ends TLS shows and asks for. */
Envoy__Config__Core__V3__TransportSocket *server_tls(const struct translation *t, const SERVER_TLS *tls, bool is_tcp);
/* "kubernetes://name" of a credential's name. */
struct str credential_resource(struct arena *a, const char *name);

#endif
