/* SPDX-License-Identifier: Apache-2.0
 *
 * From the world to what proxies are sent: Envoy's v3 resources, as istiod makes them (names, order, statistics prefixes and metadata
 * are its own: dashboards, EnvoyFilters and people's habits depend on them). Pure: no sockets, no clock; the same input gives
 * the same bytes. Every function adds to a builder; nothing is kept. Main thread.
 *
 * What a resource depends on decides how widely it is shared: parts of one proxy's configuration are made for a key, and proxies with
 * equal keys share the part (translate_key).
 */
#ifndef CONTROL_TRANSLATE_TRANSLATE_H
#define CONTROL_TRANSLATE_TRANSLATE_H

#include "control/translate/node.h"

struct constants; /* what is the same in every resource, made once (translate_priv.h) */
struct patches;   /* of EnvoyFilters (envoy_filter_priv.h) */
struct made;      /* what a part's resources share (translate_priv.h) */
struct translation {
    struct world *world;
    const struct node *node;
    const struct scope *scope;
    struct arena *arena;        /* for scratch; reset by the caller */
    struct proto_arena *protos; /* for messages; reset by the caller */
    struct constants *constants;
    struct patches *patches;    /* these two are translate_part's: others leave them NULL */
    struct made *made;
};
/* One for the process, or one a thread. */
struct constants *constants_new(void);
void constants_free(struct constants **c);

/* Takes packed resources; names are unique within a part. */
struct resource_sink {
    void (*add)(struct resource_sink *s, struct str name, const ProtobufCMessage *resource);
};

/* A part of a type's resources. The outbound parts depend on the scope and on little else. */
enum part {
    PART_CDS_OUTBOUND, PART_CDS_INBOUND,
    PART_LDS_OUTBOUND, PART_LDS_INBOUND, /* gateways: all in OUTBOUND */
    PART_RDS,                            /* the route configurations that the listeners name */
    PART_VHDS,                           /* their virtual hosts, "ROUTES/HOST:PORT", for who takes them one by one (node.takes_vhds) */
    PART_NDS,
    PART_ECDS,
    PART_COUNT
};
const char *part_type_url(enum part p);
/* All that the part depends on besides the world, as bytes that are equal exactly where the parts are: appended to `key`. */
void translate_key(const struct translation *t, enum part p, struct strbuf *key);
void translate_part(const struct translation *t, enum part p, struct resource_sink *out);
/* Does the change matter to the part? false only where it certainly doesn't. */
bool translate_concerns(const struct translation *t, enum part p, const struct world_delta *d);

/* The ClusterLoadAssignments of a host's clusters, of all in scope for the null str. They depend on the scope's services and rules and on
 * the node's locality and network: `key` as above. */
void translate_assignments(const struct translation *t, struct str host, struct resource_sink *out);
void translate_assignments_key(const struct translation *t, struct strbuf *key);
/* The host within a cluster's name; the null str where it has none. */
struct str cluster_name_host(struct str cluster);

/* A secret named by a gateway ("kubernetes://name", "-cacert"): false when there is none or this proxy may not have it. */
bool translate_secret(const struct translation *t, struct str name, struct resource_sink *out);

#endif
