/* SPDX-License-Identifier: Apache-2.0
 *
 * istio.metadata_exchange: proxies of a mesh tell each other which workload they stand beside, in headers of requests and
 * responses (io.istio.http.peer_metadata.Config), or ahead of the first byte of a connection whose ALPN says so
 * (envoy.tcp.metadataexchange.config.MetadataExchange).
 */
#ifndef PROXY_FILTER_ISTIO_METADATA_EXCHANGE_H
#define PROXY_FILTER_ISTIO_METADATA_EXCHANGE_H

#include "proxy/filter/http_filter.h"
#include "proxy/filter/istio_peer.h"

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

#endif
