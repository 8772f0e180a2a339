/* SPDX-License-Identifier: Apache-2.0
 *
 * istio.metadata_exchange: proxies of a mesh tell each other which workload they stand beside, in headers of requests and
 * responses (io.istio.http.peer_metadata.Config), or ahead of the first byte of a connection whose ALPN says so
 * (envoy.tcp.metadataexchange.config.MetadataExchange).
 */
#ifndef PROXY_FILTER_ISTIO_METADATA_EXCHANGE_H
#define PROXY_FILTER_ISTIO_METADATA_EXCHANGE_H

#include "proxy/cluster/cluster.h"
#include "proxy/filter/http_filter.h"
#include "proxy/filter/istio_peer.h"
#include "proxy/filter/network_filter.h"

/* One direction: whom its messages tell of, and what we add to those that we pass on. */
struct istio_mx_side {
    bool discovers, propagates;
    bool skips_external; /* says nothing to clusters outside the mesh */
};
struct istio_mx_config {
    struct istio_mx_side downstream, upstream;
    struct str id, metadata; /* what our headers hold */
    enum filter_state_sharing sharing; /* of the downstream's peer */
    struct istio_peers *peers;
};
extern const struct http_filter_def istio_http_mx_filter;

/* Of connections: downstream ones (a network filter) and a cluster's (Cluster.filters). */
#define ISTIO_EXCHANGE_STATS(X)                                                                    \
    X(EXCHANGE_ALPN_FOUND, COUNTER, NONE, "alpn_protocol_found", "Connections that agreed on an exchange")       \
    X(EXCHANGE_ALPN_NOT_FOUND, COUNTER, NONE, "alpn_protocol_not_found", "Connections that didn't")            \
    X(EXCHANGE_NO_MAGIC, COUNTER, NONE, "initial_header_not_found", "Peers that began with something else")      \
    X(EXCHANGE_NO_HEADER, COUNTER, NONE, "header_not_found", "Peers whose metadata can't be understood")        \
    X(EXCHANGE_ADDED, COUNTER, NONE, "metadata_added", "Peers that told who they are")
enum istio_exchange_stat { ISTIO_EXCHANGE_STATS(STAT_ENUM_ROW) };
#define ISTIO_NO_PEER STR("peer_not_found") /* in the filter state, once it is sure that the peer tells nothing */
struct istio_exchange_config {
    struct upstream_prologue_spec upstream; /* as a cluster's filter */
    struct str protocol; /* the ALPN that means an exchange */
    struct str hello;    /* what we send, whole */
    struct stat_scope *stats; /* metadata_exchange., made by link; NULL: nothing is counted (clusters) */
    struct arena arena;  /* of a network filter's configuration */
};
extern const struct network_filter_def istio_tcp_mx_filter;
struct upstream_prologue *istio_upstream_prologue(const struct upstream_prologue_spec *spec);
/* Magic, length and an Any around our Struct and id, as they go over the wire. */
void istio_pack_hello(struct str own_struct, struct str id, struct strbuf *out);

#endif
