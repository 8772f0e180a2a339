/* SPDX-License-Identifier: Apache-2.0
 *
 * Configuration on its way to proxies: who is connected, what each asked for, and when it gets what. Proxies come in over gRPC
 * (http/grpc_server.h) and speak the aggregated discovery service, state of the world or delta (xds/server.h). What they are to
 * have comes from a source, which is asked at the moment in which a response is made: so nothing is computed for a proxy that can't
 * take it, and a proxy that can gets the newest.
 *
 *     push_changed() -> quiet for 100 ms, at most 10 s -> source->refresh() -> every proxy is looked at -> those whose sets differ
 *
 * Main thread. Nothing here is on a lock; encoding is confined to xds_pool, which could move to a thread of its own.
 */
#ifndef CONTROL_PUSH_PUSH_H
#define CONTROL_PUSH_PUSH_H

#include "base/err.h"
#include "http/grpc_server.h"
#include "xds/server.h"

/* Istio's short names; in the order in which they are pushed (istiod's). Name, type, then as xds_served_type: whole, named,
 * namespaced, echo. */
#define PUSH_TYPE_TABLE(X)                                                                         \
    X(CDS, "cds", "envoy.config.cluster.v3.Cluster", true, false, false, PUSH_EDS)                 \
    X(EDS, "eds", "envoy.config.endpoint.v3.ClusterLoadAssignment", false, true, false, -1)        \
    X(LDS, "lds", "envoy.config.listener.v3.Listener", true, false, false, -1)                     \
    X(RDS, "rds", "envoy.config.route.v3.RouteConfiguration", false, true, false, -1)              \
    X(VHDS, "vhds", "envoy.config.route.v3.VirtualHost", false, false, true, -1)                   \
    X(SDS, "sds", "envoy.extensions.transport_sockets.tls.v3.Secret", false, true, false, -1)      \
    X(ECDS, "ecds", "envoy.config.core.v3.TypedExtensionConfig", false, true, false, -1)           \
    X(NDS, "nds", "istio.networking.nds.v1.NameTable", true, false, false, -1)                     \
    X(PCDS, "pcds", "istio.mesh.v1alpha1.ProxyConfig", true, false, false, -1)
enum push_type {
#define X(id, text, name, whole, named, below, echo) PUSH_##id,
    PUSH_TYPE_TABLE(X)
#undef X
    PUSH_TYPE_COUNT
};
const char *push_type_text(enum push_type t); /* "cds" */
const char *push_type_name(enum push_type t); /* "envoy.config.cluster.v3.Cluster": for xds_set_begin */

/* ---- who gives: the translator ---- */

struct push_proxy;              /* a connected one */
struct push_peer {              /* valid during the call */
    struct push_proxy *proxy;   /* for push_touch and push_end, until close; NULL: a stream of load reports */
    struct grpc_stream *stream; /* for metadata, addresses and the peer's certificate */
    bool is_delta;
    bool is_plain;              /* of the listener for plaintext: nobody vouches for the peer */
    void *visitor;              /* what `arrive` gave */
};
struct push_refusal {           /* ends the stream */
    unsigned status;            /* enum grpc_status: GRPC_UNAUTHENTICATED, GRPC_PERMISSION_DENIED ... */
    struct err err;             /* its text is told to the peer */
};
struct push_about {             /* for status pages; text borrowed from the client */
    struct str id, type, cluster_id, version; /* node id; "sidecar", "router"; ISTIO_VERSION */
};

/* A change, as far as it is this room's business. */
enum push_kind {
    PUSH_ENDPOINTS = 1, /* endpoints alone: CDS and others need no look */
    PUSH_FULL = 2,
};

struct push_source;
struct push_source_ops {
    /* A stream has begun, and hasn't said who it is yet: what is kept of it until it ends. *is_asking: who it is must be asked
     * elsewhere; its messages wait until the source resumes the stream, once, not from inside. NULL: nobody is asked. */
    void *(*arrive)(struct push_source *s, const struct push_peer *peer, bool *is_asking);
    void (*leave)(struct push_source *s, void *visitor);
    /* A proxy has said who it is: *client is the source's own record of it, kept until close. Other than 0: refused. */
    int (*open)(struct push_source *s, const struct push_peer *peer, struct str node, void **client, struct push_refusal *why);
    void (*close)(struct push_source *s, void *client);
    void (*about)(struct push_source *s, const void *client, struct push_about *out);
    /* As xds_server_ops.parts. Called for each proxy and type that it asked for in each push, so it should come down to a
     * look-up where nothing changed; equal proxies should get the same sets (the pool makes equal sets one, but only after they
     * were built). The returned sets are the source's: they live until it is asked for the same client and type again, or longer. */
    uint32_t (*parts)(struct push_source *s, void *client, enum push_type type, const struct xds_names *names,
                      struct xds_set *out[XDS_PARTS_MAX]);
    /* It has been quiet for long enough: from now on `parts` tells of everything that push_changed was called for. Returns the types
     * (1 << push_type) that may be others now for anybody. */
    uint32_t (*refresh)(struct push_source *s, unsigned kinds);
    /* Whether the proxy needs a look at all after this refresh. May be NULL: it does. */
    bool (*concerns)(struct push_source *s, void *client);
    /* Resources were taken or refused. May be NULL. */
    void (*on_answer)(struct push_source *s, void *client, enum push_type type, const struct xds_answer *a);
    /* A request of a type that isn't in the table above (istio.v1.HealthInformation: a workload's health). May be NULL. */
    void (*on_other)(struct push_source *s, void *client, const struct xds_request *r);
};
struct push_source { /* embedded in whoever gives */
    const struct push_source_ops *ops;
};

/* ---- the push itself ---- */

struct push_opts {               /* 0: the default in brackets */
    struct str keep_identifier;  /* of this control plane; in each response (JSON with its name and version, as istiod's) */
    uint64_t debounce_ms;        /* [100] of quiet after the last change */
    uint64_t debounce_max_ms;    /* [10000] after the first */
    uint64_t endpoint_debounce_ms; /* [as debounce_ms] of changes of endpoints alone, which don't wait for others nor the others for them */
    uint32_t first_pushes_max;   /* [64] proxies that are being given their first configuration at a time; the others wait their turn,
                                  * those that have nothing yet before those that come back with something */
    uint32_t streams_max;        /* [100000] more are refused with RESOURCE_EXHAUSTED */
    uint32_t names_max;          /* [100000] asked for of a type by one proxy */
    size_t names_bytes_max;      /* [4 MiB] */
    size_t kept_bytes_max;       /* [128 MiB] of encoded responses that others may need, too */
};

struct push;
struct push *push_new(struct loop *loop, const struct push_opts *opts, struct push_source *keep_source);
void push_free(struct push **p); /* after its servers */
struct xds_pool *push_pool(struct push *p); /* for making sets */

/* Serves the aggregated discovery service on a server (which may have other services, too); is_plain is told to the source.
 * The server's limits, keep-alive and draining are its own; it goes before the push does. */
void push_serve(struct push *p, struct grpc_server *g, bool is_plain);

/* Something changed. Cheap: any number of times. `since_us`: when it came in (loop_now_us; 0: now), for the convergence time. */
void push_changed(struct push *p, enum push_kind kind, uint64_t since_us);
/* Something changed that concerns one proxy alone (its labels, a secret of its own): these types (1 << push_type) are looked at
 * without waiting. */
void push_touch(struct push_proxy *proxy, uint32_t types);
/* Ends its stream (its identity was withdrawn ...); close follows, not inside. */
void push_end(struct push_proxy *proxy, enum grpc_status status, struct str message);

/* ---- what it tells of itself ---- */

uint32_t push_proxy_count(const struct push *p);
void push_syncz(const struct push *p, struct strbuf *json);        /* as istiod's /debug/syncz */
/* What a proxy was sent, by its id, for whoever can read it (xds_server_state). NULL: no such proxy. */
const struct xds_server *push_state_of(const struct push *p, struct str proxy_id);
void push_metrics(const struct push *p, struct strbuf *prometheus); /* pilot_xds … */

#endif
