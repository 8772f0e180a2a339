/* SPDX-License-Identifier: Apache-2.0
 *
 * The messages of the discovery protocol, both ends: bytes <-> plain structs (envoy.service.discovery.v3; Envoy: "xDS REST and
 * gRPC protocol"). Reading copies nothing: what is read points into the packed bytes, arrays are the arena's. Resources stay
 * packed, so that a response of megabytes costs no more than its index. Any thread.
 */
#ifndef XDS_MESSAGE_H
#define XDS_MESSAGE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/* The most resources (and names) in one message: stops a message of empty ones from taking a hundred times its size. */
#define XDS_ITEMS_MAX (1u << 20)

/* What a response says of one resource. State of the world: the name isn't told, except where the resource is wrapped. */
struct xds_resource {
    struct str name, version;
    struct str type_url, packed; /* of the Any; "" where there is none (a heartbeat) */
    const struct str *aliases; uint32_t alias_count;
    uint64_t ttl_us;
    bool has_ttl, has_body;
};
/* What the server says it could not give. */
struct xds_resource_error {
    struct str name, message;
    uint32_t code;
};
/* DiscoveryResponse and DeltaDiscoveryResponse */
struct xds_response {
    bool is_delta;
    struct str version, type_url, nonce, control_plane;
    struct xds_resource *resources; uint32_t resource_count;
    struct str *removed; uint32_t removed_count;                 /* delta */
    struct xds_resource_error *errors; uint32_t error_count;
};

struct xds_versioned { struct str name, version; };
/* DiscoveryRequest and DeltaDiscoveryRequest */
struct xds_request {
    bool is_delta, has_node, has_error;
    struct str node;                                             /* core.v3.Node, packed */
    struct str version, type_url, nonce;                         /* version: state of the world */
    struct str *names; uint32_t name_count;                      /* resource_names, or resource_names_subscribe */
    struct str *unsubscribed; uint32_t unsubscribed_count;       /* delta */
    struct xds_versioned *initial_versions; uint32_t initial_count; /* delta */
    uint32_t error_code; struct str error_message;
};

/* ERR_SYNTAX: not such a message; ERR_LIMIT: too many items, or the arena's limit. */
int xds_response_read(struct arena *a, bool is_delta, struct str packed, struct xds_response *out, struct err *err);
int xds_request_read(struct arena *a, bool is_delta, struct str packed, struct xds_request *out, struct err *err);
void xds_response_write(const struct xds_response *r, struct strbuf *out);
void xds_request_write(const struct xds_request *r, struct strbuf *out);

#endif
