/* SPDX-License-Identifier: Apache-2.0
 *
 * What listener filters are configured with (made by proxy/config), and their descriptors. `config`
 * of a filter that has nothing to say is NULL.
 */
#ifndef PROXY_LISTENER_LISTENER_FILTER_CONFIG_H
#define PROXY_LISTENER_LISTENER_FILTER_CONFIG_H

#include "base/str.h"
#include "proxy/listener/listener.h"

extern const struct listener_filter_def tls_inspector_filter, http_inspector_filter, proxy_protocol_filter,
    original_dst_filter;

struct tls_inspector_config {
    uint32_t max_client_hello_bytes; /* max_client_hello_size; 16 KiB */
    bool close_on_parse_error;       /* close_connection_on_client_hello_parsing_errors */
};

/* A TLV to keep as metadata (ProxyProtocol.rules). */
struct proxy_protocol_rule {
    uint8_t type;
    struct str metadata_namespace, key;
};
struct proxy_protocol_config {
    struct str stat_prefix; /* "" = none: "proxy_proto." */
    bool allow_without;     /* allow_requests_without_proxy_protocol */
    bool disallow_v1, disallow_v2;
    struct proxy_protocol_rule *rules;
    uint32_t rule_count;
    bool keep_all_tlvs;     /* pass_through_tlvs: INCLUDE_ALL */
    uint8_t *keep_tlvs;     /* … INCLUDE: these types */
    uint32_t keep_tlv_count;
};

#endif
