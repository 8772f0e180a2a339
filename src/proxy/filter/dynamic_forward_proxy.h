/* SPDX-License-Identifier: Apache-2.0
 *
 * Dynamic forward proxy filters: for HTTP (extensions.filters.http.dynamic_forward_proxy.v3) and for TLS by its server name
 * (extensions.filters.network.sni_dynamic_forward_proxy.v3).
 */
#ifndef PROXY_FILTER_DYNAMIC_FORWARD_PROXY_H
#define PROXY_FILTER_DYNAMIC_FORWARD_PROXY_H

#include "proxy/filter/http_filter.h"
#include "proxy/filter/network_filter.h"

struct dns_cache;
struct dns_cache_spec;
struct forward_proxy_config {
    const struct dns_cache_spec *spec;
    struct dns_cache *cache;       /* linked */
    bool save_upstream_address;    /* under envoy.stream.upstream_address in filter state */
    bool host_from_filter_state;   /* HTTP */
    uint16_t port;                 /* SNI */
};
struct forward_proxy_route {
    struct str host_rewrite, host_rewrite_header; /* "" none; the header's name in lower case */
};
extern const struct http_filter_def forward_proxy_filter;
extern const struct network_filter_def sni_forward_proxy_filter;

#endif
