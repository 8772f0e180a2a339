/* SPDX-License-Identifier: Apache-2.0
 *
 * A proxy as it tells of itself (xDS node: ../ref of Istio's node metadata) and as we know it (its Pod or WorkloadEntry).
 * Immutable after node_read but for its place (node_locate).
 */
#ifndef CONTROL_TRANSLATE_NODE_H
#define CONTROL_TRANSLATE_NODE_H

#include "google/protobuf/struct.pb-c.h"
#include "model/scope.h"

enum node_type { NODE_SIDECAR, NODE_ROUTER, NODE_WAYPOINT, NODE_ZTUNNEL, NODE_GRPC /* GENERATOR=grpc */, NODE_OTHER };
enum interception { INTERCEPT_REDIRECT, INTERCEPT_TPROXY, INTERCEPT_NONE };

struct node {
    enum node_type type;
    struct str id, name, ns, service_account, domain; /* domain: "bookinfo.svc.cluster.local" */
    struct str cluster_id, mesh_id, network, version, workload_name, node_name;
    const struct str *addresses; uint32_t address_count; /* INSTANCE_IPS, valid ones */
    struct labels labels;
    struct str region, zone, sub_zone; /* of its Pod's node where we know it, else as it says */
    struct str canonical_name, canonical_revision;
    enum interception interception;
    uint32_t http_proxy_port;
    uint64_t idle_timeout_ms;
    bool dns_capture, dns_auto_allocate, http10, unprivileged, self_discovery;
    bool takes_istio_filters; /* it declares them (weft-proxy), or is Istio's own build; a plain Envoy doesn't: nothing Istio-only is sent */
    bool takes_vhds;          /* metadata WEFT_VHDS: virtual hosts may travel one by one */
    bool exact_balance_inbound, exact_balance_outbound;
    struct str tls_server_cert_chain, tls_server_key, tls_server_root; /* TLS_SERVER_*: files in place of SDS */
    struct str tls_client_cert_chain, tls_client_key, tls_client_root;
    const ProtobufCMessage *message; /* envoy.config.core.v3.Node */
};

/* Everything in `a`. ERR_INVALID with what is wrong with the id or the metadata. */
int node_read(struct arena *a, struct proto_arena *pa, struct str packed, const struct world *w, struct node *out, struct err *err);
/* A member of metadata, or of a Struct within it; NULL: there is none. */
const Google__Protobuf__Value *struct_member(const Google__Protobuf__Struct *s, const char *key);
const Google__Protobuf__Value *node_metadata(const struct node *n, const char *key);
/* Takes the locality of its workload where the world knows that by now: it counts, not what the node says. */
void node_locate(struct node *n, struct arena *a, const struct world *w);
bool node_has_address(const struct node *n, struct str address);

#endif
