/* SPDX-License-Identifier: Apache-2.0
 *
 * What is known of a workload at the other end: the facts that proxies of an Istio mesh tell each
 * other (metadata exchange) and that standard metrics are labelled with. A peer is made once of its
 * Struct and shared by all requests from it; one thread's alone, as the caches are.
 */
#ifndef PROXY_FILTER_ISTIO_PEER_H
#define PROXY_FILTER_ISTIO_PEER_H

#include "base/check.h"
#include "proxy/filter_state.h"
#include "proxy/metadata.h"

#define ISTIO_DOWNSTREAM_PEER STR("downstream_peer")
#define ISTIO_UPSTREAM_PEER STR("upstream_peer")
#define ISTIO_PEER_BYTES_MAX 16384  /* of a Struct: what a peer says of itself must not fill our memory */
#define ISTIO_PEER_MEMORY_MAX (64 * (size_t)ISTIO_PEER_BYTES_MAX) /* while it is read: a field of two bytes makes a value */
#define ISTIO_PEERS_MAX 500         /* remembered by id, per thread */
#define ISTIO_PEER_LABELS_MAX 128

/* Facts and their names as expressions call them (filter_state.downstream_peer.workload). */
#define ISTIO_PEER_FACTS(X)                                                                        \
    X(WORKLOAD, "workload") X(TYPE, "type") X(NAME, "name") X(CLUSTER, "cluster")                  \
    X(NAMESPACE, "namespace") X(SERVICE, "service") X(REVISION, "revision") X(APP, "app")          \
    X(VERSION, "version") X(IDENTITY, "identity") X(REGION, "region")                              \
    X(ZONE, "availability_zone")
enum istio_peer_fact {
#define X(id, name) ISTIO_PEER_##id,
    ISTIO_PEER_FACTS(X)
#undef X
    ISTIO_PEER_FACT_COUNT
};
struct istio_peer {
    struct filter_state_object object; /* its fields: the facts, and labels */
    struct str facts[ISTIO_PEER_FACT_COUNT]; /* "" unknown */
    struct str packed;                 /* all facts in one text, for keys: equal where all facts are */
    struct arena arena;
};
/* Of what a workload says of itself: NAME, NAMESPACE, LABELS … as node metadata has them. A new reference. */
struct istio_peer *istio_peer_new(const struct meta_value *fields);
/* The same from the Struct's wire form; NULL: malformed or too large. */
struct istio_peer *istio_peer_from_wire(struct str bytes);
/* A Struct's fields; all in `a`. False: malformed or too large. */
bool istio_struct_from_wire(struct str bytes, struct arena *a, struct meta_value *out);
static inline struct istio_peer *istio_peer_of(struct filter_state_object *o)
{
    return o ? CONTAINER_OF(o, istio_peer, object) : NULL;
}
/* The peer that a filter state holds under `key`; NULL: none, or something else stands there. */
const struct istio_peer *istio_peer_find(const struct filter_state *s, struct str key);

/* What we tell of ourselves, made of our node's metadata; main thread. Struct in wire form with its keys in order, so that the
 * same workload always sends the same bytes. */
void istio_pack_self(const struct meta_value *node_metadata, const struct str *extra_labels, uint32_t extra_count, struct strbuf *out);
/* A Struct of fields in order. */
void istio_pack_struct(const struct meta_value *fields, struct strbuf *out);

/* ---- peers by id, remembered per thread; shared by all configurations ---- */
struct istio_peers;
struct istio_peers *istio_peers_ref(void);        /* main thread */
void istio_peers_unref(struct istio_peers **p);   /* main thread; workers use it no more */
/* The peer of an id and of what it says (base64 of a Struct, as the header has it); borrowed until the next call, so take a
 * reference. NULL: it can't be understood. `id` "": nothing is remembered but the answer of this call. */
struct istio_peer *istio_peers_look_up(struct istio_peers *p, struct str id, struct str base64);

#endif
