/* SPDX-License-Identifier: Apache-2.0
 *
 * What one proxy sees of the world: Sidecar scoping, visibility, and the rules (destination rules, virtual services) that hold for
 * it, merged as Istio merges them. Proxies for which the answers are the same share one scope. Istio: "Sidecar", "Destination
 * Rule" (merging), "Virtual Service" (delegates). Main thread; immutable, reference-counted.
 */
#ifndef MODEL_SCOPE_H
#define MODEL_SCOPE_H

#include "model/world.h"

/* Destination rules that hold for a host, merged. */
struct rule {
    const struct object *const *objects; uint32_t object_count; /* in the order merged; the first gives the traffic policy */
    const ProtobufCMessage *merged;  /* istio.networking.v1alpha3.DestinationRule */
};

/* A service as the scope sees it. */
struct scoped_service {
    const struct service *service;
    const struct rule *rule; /* NULL: none */
    bool by_egress;          /* an egress listener of a Sidecar limits it to the ports that it names */
};

/* A virtual service with its delegates merged in, short host names made whole. */
struct scoped_route {
    const struct object *object;
    const ProtobufCMessage *spec; /* istio.networking.v1alpha3.VirtualService */
    const struct str *hosts; uint32_t host_count;
    const struct str *gateways; uint32_t gateway_count; /* "mesh", "ns/name" */
};

/* One IstioEgressListener; without a Sidecar one that catches all. */
struct scope_egress {
    const ProtobufCMessage *spec; /* istio.networking.v1alpha3.IstioEgressListener; NULL: catches all */
    uint32_t port;                /* 0: none said */
    const struct scoped_service *services; uint32_t service_count; /* by host */
    const struct scoped_route *routes; uint32_t route_count;       /* for the gateway "mesh", oldest first */
};

struct scope {
    struct str ns;
    const struct object *sidecar; /* NULL: the default */
    const struct scope_egress *egress; uint32_t egress_count;
    const struct scoped_service *services; uint32_t service_count; /* of all egress listeners, by host, each once */
    /* Scopes with equal hashes see the same (services, rules and routes by their hashes; not endpoints). */
    uint64_t hash;
    uint64_t services_hash;    /* but for the routes */
    uint64_t connections_hash; /* but for routes of HTTP alone */
    /* Keys of labels that routes look at (sourceLabels), each once: proxies that differ in others alone have the same routes. */
    const struct str *source_labels; uint32_t source_label_count;
    const struct str *place_labels; uint32_t place_label_count; /* those that rules tell distance by (failoverPriority) */
    bool has_names_to_resolve; /* clusters with endpoints of their own (DNS) */
    bool connections_have_labels; /* TCP and TLS routes look at some: listeners differ by them, too */
};
const struct scope *scope_ref(const struct scope *s);
void scope_unref(const struct scope **s);

/* The scope of a sidecar proxy in `ns` with these labels; of gateways (router): all that their namespace may see, and the routes of
 * the gateways named. Scopes are kept and shared until the world changes in what they are made of: asking again is cheap. */
const struct scope *scope_of_sidecar(struct world *w, struct str ns, const struct labels *labels);
const struct scope *scope_of_gateway(struct world *w, struct str ns, const struct labels *labels);
/* Binary search; NULL: not in scope. */
const struct scoped_service *scope_service(const struct scope *s, struct str host);

/* `gateway`: "mesh", "ns/name". */
bool route_is_of_gateway(const struct scoped_route *r, struct str gateway);

/* ---- what holds for a workload: policies by selector ---- */

/* Objects of a kind that hold for a workload of `ns` with these labels: of the root namespace, of its namespace without a selector, with a
 * selector that matches; in Istio's order of each kind (oldest first within a level). Arena's array. */
size_t policies_for(const struct world *w, enum kind_id kind, struct str ns, const struct labels *labels, struct arena *a,
                    const struct object *const **out);

enum mtls_mode { MTLS_UNKNOWN, MTLS_DISABLE, MTLS_PERMISSIVE, MTLS_STRICT };
/* Of PeerAuthentications (mesh, namespace, workload, port); UNKNOWN: none says, which means PERMISSIVE. */
enum mtls_mode mtls_mode_for(const struct world *w, struct str ns, const struct labels *labels, uint32_t port);

/* ---- hosts ---- */

/* "a.b" and "*.b": does the one hold all of the other (Istio: host.Name.SubsetOf), have they anything in common (Matches)? */
bool host_is_subset(struct str a, struct str of);
bool host_overlaps(struct str a, struct str b);
/* "reviews" in an object of `ns` means "reviews.<ns>.svc.<domain>"; names with a dot and wildcards stay. */
struct str host_whole(struct arena *a, struct str host, struct str ns, struct str domain);

#endif
