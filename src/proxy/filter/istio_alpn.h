/* SPDX-License-Identifier: Apache-2.0
 *
 * istio.alpn: what is offered in TLS to a host depends on what the request will be spoken in, so that the proxy at the other
 * end finds the right filter chain (istio.envoy.config.filter.http.alpn.v2alpha1).
 */
#ifndef PROXY_FILTER_ISTIO_ALPN_H
#define PROXY_FILTER_ISTIO_ALPN_H

#include "proxy/filter/http_filter.h"

struct istio_alpn_list { struct str *names; uint32_t count; };
struct istio_alpn_config {
    struct istio_alpn_list lists[HTTP_2 + 1]; /* by enum http_protocol; count 0: the cluster's own */
};
extern const struct http_filter_def istio_alpn_filter;

#endif
