/* SPDX-License-Identifier: Apache-2.0
 *
 * Services and their endpoints in one form, whatever they were made of: Kubernetes Services with EndpointSlices and Pods,
 * ServiceEntries with their endpoints, WorkloadEntries and Pods. What translates reads these and never asks where they came
 * from. Immutable; reference-counted; one thread counts.
 */
#ifndef MODEL_SERVICE_H
#define MODEL_SERVICE_H

#include "model/object.h"

/* Istio: "Protocol Selection". By a port's appProtocol, else its name's prefix. */
enum protocol {
    PROTOCOL_AUTO, /* not said: told from the first bytes */
    PROTOCOL_TCP,
    PROTOCOL_TLS,
    PROTOCOL_HTTPS,
    PROTOCOL_HTTP,
    PROTOCOL_HTTP2,
    PROTOCOL_GRPC,
    PROTOCOL_GRPC_WEB,
    PROTOCOL_HTTP_PROXY,
    PROTOCOL_MONGO,
    PROTOCOL_MYSQL,
    PROTOCOL_REDIS,
    PROTOCOL_UDP,
};
/* "" app_protocol and a name without a known prefix: AUTO, but TCP for well-known ports of server-first protocols (25, 3306, 27017...
 * as Istio does). */
enum protocol protocol_parse(struct str app_protocol, struct str port_name, uint32_t port, struct str l4_protocol);
bool protocol_is_http(enum protocol p); /* HTTP, HTTP2, GRPC, GRPC_WEB, HTTP_PROXY */
bool protocol_is_http2(enum protocol p);
bool protocol_is_tls(enum protocol p);  /* TLS, HTTPS */

struct service_port {
    struct str name;
    uint32_t number;
    uint32_t target;        /* of the workload; 0: by `target_name`, or the same number */
    struct str target_name; /* a container port's name */
    enum protocol protocol;
};

enum resolution { RESOLUTION_CLIENT_SIDE /* endpoints that we know */, RESOLUTION_DNS, RESOLUTION_DNS_ROUND_ROBIN, RESOLUTION_PASSTHROUGH };

/* Who may see a thing: exportTo. */
struct visibility {
    bool everyone, nobody; /* "*", "~" */
    bool own_namespace;    /* "." */
    const struct str *namespaces; uint32_t namespace_count;
};
bool visibility_allows(const struct visibility *v, struct str own_ns, struct str ns);

struct service {
    struct str host;         /* "reviews.bookinfo.svc.cluster.local", "*.example.com" */
    struct str name, ns;     /* of the object that tells of it */
    const struct service_port *ports; uint32_t port_count;
    const struct str *addresses; uint32_t address_count; /* cluster IPs or VIPs, also CIDRs; none: headless, or by host name only */
    enum resolution resolution;
    bool is_external;        /* MESH_EXTERNAL */
    bool is_kubernetes;      /* from a Service; else a ServiceEntry */
    bool is_headless;
    bool publishes_not_ready;
    struct str external_name; /* of type ExternalName */
    struct str node_local;    /* "", or the internalTrafficPolicy / trafficDistribution it asks for */
    struct visibility visibility;
    const struct str *sans; uint32_t san_count; /* subjectAltNames */
    struct labels labels;     /* of the object */
    struct labels selector;   /* of workloads; empty: none */
    const struct object *object; /* borrowed: lives as long as the service */
    int64_t created_s;
    uint64_t hash;            /* services with equal hashes are equal */
};
const struct service *service_ref(const struct service *s);
void service_unref(const struct service **s);
const struct service_port *service_port_find(const struct service *s, uint32_t number);

enum endpoint_health { ENDPOINT_UNKNOWN /* nobody tells: it is sent to */, ENDPOINT_HEALTHY, ENDPOINT_UNHEALTHY, ENDPOINT_DRAINING };

/* One address of a service's port (Istio: IstioEndpoint). */
struct endpoint {
    struct str address;       /* IP, host name (DNS resolution), or "unix://path" */
    uint32_t port;            /* of the workload */
    uint32_t service_port;    /* the service's number */
    struct labels labels;     /* of the workload: subsets select by them */
    struct str ns, service_account, workload, node;
    struct str region, zone, sub_zone, network, cluster_id;
    struct str identity;      /* SPIFFE ID, "" unknown */
    struct str tls_mode;      /* "istio", or "disabled"; from security.istio.io/tlsMode */
    enum endpoint_health health;
    uint32_t weight;          /* 0: not said */
    bool is_hbone;
};

/* All endpoints of one service: replaced whole when one of them changes. */
struct endpoint_set {
    struct str host, ns;
    const struct endpoint *items; uint32_t count; /* sorted by service_port, address */
    uint64_t hash;
    uint64_t identities; /* of who they are and whether they take mutual TLS: clusters depend on that, assignments on all */
};
const struct endpoint_set *endpoint_set_ref(const struct endpoint_set *s);
void endpoint_set_unref(const struct endpoint_set **s);

#endif
