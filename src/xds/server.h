/* SPDX-License-Identifier: Apache-2.0
 *
 * The server's end of one discovery stream as a state machine that does no I/O, the twin of xds/client.h: requests go in,
 * responses are taken out one by one when there is room to send them (Envoy: "xDS REST and gRPC protocol").
 *
 *     a request -> xds_server_feed() -> what is asked for, ACK or NACK -> due -> xds_server_next() -> a response
 *     something changed -> xds_server_touch() -> due -> xds_server_next() -> a response, where it matters to this client
 *
 * Of a type one response is under way: the next is made when this one has been answered, from the state of that moment, so that
 * a slow client gets the newest state and delays only itself. What a client has been sent isn't remembered resource by
 * resource but as the sets and the names that it was made from: what is new is then the same for all clients that went the
 * same way, it is worked out and encoded once, and each sends the same bytes (docs/decisions/0015).
 * One thread, the pool's.
 */
#ifndef XDS_SERVER_H
#define XDS_SERVER_H

#include "base/buf.h"
#include "xds/message.h"
#include "xds/server_set.h"

struct xds_server;

#define XDS_PARTS_MAX 4

/* A type of resources. Their order in the table is the order in which changes of several are sent. */
struct xds_served_type {
    const char *name; /* "envoy.config.cluster.v3.Cluster" */
    bool is_whole;    /* state of the world: a response tells all that there is of what was asked for */
    bool is_named;    /* a first request without names asks for nothing; else for everything */
    bool is_namespaced; /* a name asks for all below it, too: "routes" for "routes/host" (VHDS) */
    /* A resource that is sent again makes those of the same name of this type be sent again too; -1: none. A cluster that
     * was changed warms until its assignment has come once more (Envoy: "xDS protocol", resource warming). */
    int echo;
    /* Delta: that a resource is gone is told once what is new of these types (1 << type) has been answered; 0: with the rest. A
     * cluster goes after the routes that named it (Envoy: "xDS protocol", make before break). */
    uint32_t removes_after;
    /* Isn't sent while a response of these types (1 << type) is under way: routes come after the clusters that they name, and
     * after those clusters' endpoints. Not for ever, where those never come to rest. */
    uint32_t sent_after;
};

struct xds_answer { /* to a response */
    bool is_ack;
    uint64_t nonce;
    struct str message; uint32_t code; /* a NACK's */
    uint64_t sent_us;                  /* when its response was made */
};

struct xds_server_ops {
    /* The resources of a type as they are now, as parts without a name in common; part i takes the place of part i of the
     * time before. `names`: what is asked for, sorted; NULL: everything. Fills out[] (NULL where a part is empty) with borrowed sets,
     * and returns how many; parts may hold more than is asked for, if they needn't be made for this client alone. */
    uint32_t (*parts)(void *user, uint32_t type, const struct xds_names *names, struct xds_set *out[XDS_PARTS_MAX]);
    /* The first message of a stream tells it. Other than 0 ends the stream with this err. */
    int (*on_node)(void *user, struct str node, struct err *err);
    void (*on_answer)(void *user, uint32_t type, const struct xds_answer *a);       /* may be NULL */
    /* A request of a type that isn't served. May be NULL. */
    void (*on_other)(void *user, const struct xds_request *r);
};
struct xds_server_opts {
    bool is_delta;
    struct xds_pool *keep_pool;
    struct str keep_identifier;                   /* of the control plane, in each response */
    const struct xds_served_type *keep_types; uint32_t type_count;
    uint32_t names_max;                           /* asked for of a type: stops one client from filling the memory with names */
    size_t names_bytes_max;                       /* their length together */
};

struct xds_server *xds_server_new(const struct xds_server_opts *opts, const struct xds_server_ops *keep_ops, void *user);
void xds_server_free(struct xds_server **s);

/* One message of the client. ERR_SYNTAX: not one of the protocol; ERR_INVALID: the first one has no node; ERR_LIMIT; or what
 * on_node said: the stream has to be given up. */
int xds_server_feed(struct xds_server *s, struct str message, uint64_t now_us, struct err *err);

/* The parts of these types (1 << type) may be others now. */
void xds_server_touch(struct xds_server *s, uint32_t types);
bool xds_server_is_due(const struct xds_server *s); /* something might have to be sent */
bool xds_server_is_settled(const struct xds_server *s); /* nothing is due, and everything sent was answered */
bool xds_server_is_fresh(const struct xds_server *s); /* the client hasn't said that it has something from a stream before */
/* Appends the next message to send; false: there is none before the next request or touch. */
struct xds_sent {
    uint32_t type, resources, removed;
    size_t bytes;
    bool is_first; /* of its type on this stream */
};
bool xds_server_next(struct xds_server *s, uint64_t now_us, struct buf *out, struct xds_sent *sent);

/* ---- what a type has come to, for status pages ---- */

struct xds_type_state {
    bool is_asked, is_everything, is_waiting;  /* waiting: for the answer to the last response */
    const struct xds_names *names;             /* borrowed; those asked for by name */
    uint64_t sent_nonce, acked_nonce, nacked_nonce; /* 0: none; counted through the stream */
    uint64_t sent_version, acked_version;      /* of what was sent as a whole */
    uint64_t sent_us, answered_us;
    struct str nack_message; uint32_t nack_code; /* of the last NACK; "" none, or something was taken since */
    uint64_t sent_count, nack_count;
    struct xds_set *const *parts; uint32_t part_count; /* as last sent; borrowed */
};
void xds_server_state(const struct xds_server *s, uint32_t type, struct xds_type_state *out);

#endif
