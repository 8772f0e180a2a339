/* SPDX-License-Identifier: Apache-2.0
 *
 * External authorization of requests and connections (extensions.filters.http.ext_authz.v3, extensions.filters.network
 * .ext_authz.v3). How a service is asked stands in service/authz_service.h.
 */
#ifndef PROXY_FILTER_EXT_AUTHZ_H
#define PROXY_FILTER_EXT_AUTHZ_H

#include "proxy/filter/http_filter.h"
#include "proxy/filter/network_filter.h"
#include "proxy/route/match.h"
#include "proxy/runtime.h"
#include "proxy/service/authz_service.h"

struct ext_authz_body { bool is_on, allows_partial, as_bytes; uint32_t max_bytes; };

struct ext_authz_config {
    struct authz_service service;
    struct authz_telling telling;
    struct ext_authz_body body;
    bool failure_mode_allow, failure_mode_header, clear_route_cache, validate_mutations, takes_metadata, charges_cluster;
    uint32_t max_denied_body_bytes; /* of what a refusal's body keeps; 0: all */
    uint16_t error_status;
    struct runtime_fraction enabled;
    struct metadata_matcher *enabled_metadata; /* NULL: always */
    struct str deny_at_disable_key; bool deny_at_disable;
    struct str stat_prefix;
    const char *stat_family;          /* of clusters: "ext_authz[.<prefix>]" */
    struct stat_scope *stats;         /* made by link */
};
struct ext_authz_route_config {
    bool disabled, no_body;
    struct authz_text *extensions; uint32_t extension_count;
    struct ext_authz_body body;
    struct authz_service *service;    /* in place of the filter's; NULL */
};
extern const struct http_filter_def ext_authz_filter;

struct network_ext_authz_config {
    struct authz_service service;
    struct authz_telling telling;
    bool failure_mode_allow;
    struct metadata_matcher *enabled_metadata;
    struct str stat_prefix;
    struct stat_scope *stats;
};
extern const struct network_filter_def network_ext_authz_filter;

#define EXT_AUTHZ_STATS(X)                                                                         \
    X(EXT_AUTHZ_OK, COUNTER, NONE, "ok", "Requests that the service allowed")                      \
    X(EXT_AUTHZ_DENIED, COUNTER, NONE, "denied", "Requests that it refused")                       \
    X(EXT_AUTHZ_ERROR, COUNTER, NONE, "error", "Questions without an answer that can be read")     \
    X(EXT_AUTHZ_DISABLED, COUNTER, NONE, "disabled", "Requests that it wasn't asked about: the filter is off for them") \
    X(EXT_AUTHZ_FAILURE_MODE_ALLOWED, COUNTER, NONE, "failure_mode_allowed", "Requests that passed without an answer") \
    X(EXT_AUTHZ_INVALID, COUNTER, NONE, "invalid", "Answers refused for headers that can't stand in a message") \
    X(EXT_AUTHZ_IGNORED_METADATA, COUNTER, NONE, "ignored_dynamic_metadata", "Answers whose metadata wasn't taken")
#define NETWORK_EXT_AUTHZ_STATS(X)                                                                 \
    X(TCP_AUTHZ_TOTAL, COUNTER, NONE, "total", "Connections asked about")                          \
    X(TCP_AUTHZ_ERROR, COUNTER, NONE, "error", "Questions without an answer that can be read")     \
    X(TCP_AUTHZ_DENIED, COUNTER, NONE, "denied", "Connections that the service refused")           \
    X(TCP_AUTHZ_OK, COUNTER, NONE, "ok", "Connections that it allowed")                            \
    X(TCP_AUTHZ_FAILURE_MODE_ALLOWED, COUNTER, NONE, "failure_mode_allowed", "Connections that passed without an answer") \
    X(TCP_AUTHZ_DISABLED, COUNTER, NONE, "disabled", "Connections that it wasn't asked about")     \
    X(TCP_AUTHZ_CX_CLOSED, COUNTER, NONE, "cx_closed", "Connections closed")                       \
    X(TCP_AUTHZ_ACTIVE, GAUGE, NONE, "active", "Questions under way")
enum { EXT_AUTHZ_STATS(STAT_ENUM_ROW) EXT_AUTHZ_STAT_COUNT };
enum { NETWORK_EXT_AUTHZ_STATS(STAT_ENUM_ROW) NETWORK_EXT_AUTHZ_STAT_COUNT };

#endif
