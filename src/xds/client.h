/* SPDX-License-Identifier: Apache-2.0
 *
 * The client's end of one discovery stream as a state machine that does no I/O: messages go in, updates come out by a callback,
 * requests are taken out one by one when there is room to send them. What it asks for outlives the stream: on the next one it
 * asks for all of it again, saying what it has (Envoy: "xDS REST and gRPC protocol").
 *
 *     want / unwant -> what is due -> xds_client_next() -> a request
 *     a response -> xds_client_feed() -> on_update -> ACK, or NACK with every fault -> due -> xds_client_next()
 *
 * Requests are made when they are taken, from the state of that moment: what changes meanwhile goes into one request.
 * One thread, whichever.
 */
#ifndef XDS_CLIENT_H
#define XDS_CLIENT_H

#include "xds/message.h"

struct xds_client;

/* A type of resources. */
struct xds_type {
    const char *name;    /* "envoy.config.cluster.v3.Cluster" */
    unsigned name_field; /* where a resource has its own name (state of the world); 0: it has none */
    bool is_whole;       /* state of the world: a response tells all that there is of what was asked for */
    bool is_namespaced;  /* a name asks for all below it: "routes" for "routes/host" (VHDS) */
};

/* What a response brought; all of it is valid during the call. Heartbeats aren't among it. */
struct xds_update {
    const struct xds_resource *items; uint32_t count;
    const struct str *removed; uint32_t removed_count; /* said by the server, or past its time to live */
    bool is_whole;                                     /* of what was asked for, what isn't among the items is gone */
    struct str version;
};
struct xds_client_ops {
    /* Resources that aren't taken add to `faults`, each with its name at the head of the path; the others are taken.
     * May want and unwant. */
    void (*on_update)(void *user, uint32_t type, const struct xds_update *u, struct err_list *faults);
    /* What the server says it couldn't give. May be NULL. */
    void (*on_error)(void *user, uint32_t type, const struct xds_resource_error *e);
};
struct xds_client_opts {
    bool is_delta;
    bool node_on_first_message_only;
    struct str keep_node;                  /* core.v3.Node, packed */
    const struct xds_type *keep_types;     /* `type` below is an index into this */
    uint32_t type_count;
};

struct xds_client *xds_client_new(const struct xds_client_opts *opts, const struct xds_client_ops *keep_ops, void *user);
void xds_client_free(struct xds_client **c);

/* ---- what is asked for ---- */

/* "" or "*": everything. Wanting twice is wanting once. */
void xds_client_want(struct xds_client *c, uint32_t type, struct str name);
void xds_client_unwant(struct xds_client *c, uint32_t type, struct str name);
/* Nothing more is sent of the type until it has been resumed as often as it was held. */
void xds_client_hold(struct xds_client *c, uint32_t type);
void xds_client_resume(struct xds_client *c, uint32_t type);
bool xds_client_wants(const struct xds_client *c, uint32_t type); /* anything */

/* ---- what is told ---- */

/* A request of a type that nothing is asked of and no answer comes to (istio.v1.HealthInformation): its error_detail is
 * `error`, or not there for STR_NULL. It goes out on this stream and on every later one, once each, behind the first request
 * of type `after`; what is reported anew takes its place. Of one type alone. */
void xds_client_report(struct xds_client *c, uint32_t type, uint32_t after, struct str error);

/* ---- the stream ---- */

void xds_client_connected(struct xds_client *c);    /* a new stream: nonces are forgotten, everything is due */
void xds_client_disconnected(struct xds_client *c); /* nothing is due before the next */
/* The next message to send, into `out` (emptied first); false: nothing is due. */
bool xds_client_next(struct xds_client *c, struct strbuf *out);
bool xds_client_is_due(const struct xds_client *c); /* something that isn't held */
uint32_t xds_client_pending(const struct xds_client *c); /* types of which something is due, held ones included */

enum xds_fed {
    XDS_TAKEN,   /* an ACK is due */
    XDS_REFUSED, /* a NACK is due; `faults` say why */
    XDS_IGNORED, /* of a type that nobody asks for */
    XDS_BROKEN,  /* not a message of the protocol: the stream has to be given up */
};
/* One message of the server. `faults` are added to. */
enum xds_fed xds_client_feed(struct xds_client *c, struct str message, uint64_t now_us, struct err_list *faults);

/* Of the last response of any type; "" none. */
struct str xds_client_control_plane(const struct xds_client *c);
/* Of the last response taken of the type; "" none. */
struct str xds_client_version(const struct xds_client *c, uint32_t type);

/* ---- times to live ---- */

/* When the next resource passes away unless the server says that it lives; 0: none will. */
uint64_t xds_client_expiry_us(const struct xds_client *c);
/* What is past its time is told of as removed. */
void xds_client_expire(struct xds_client *c, uint64_t now_us);

#endif
