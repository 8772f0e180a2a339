/* SPDX-License-Identifier: Apache-2.0
 *
 * CORS policies (extensions.filters.http.cors.v3.CorsPolicy), held by routes, virtual hosts and route configurations.
 */
#ifndef PROXY_FILTER_CORS_H
#define PROXY_FILTER_CORS_H

#include "proxy/filter/http_filter.h"
#include "proxy/match/string_match.h"
#include "proxy/runtime.h"

enum cors_answer { CORS_UNSAID, CORS_NO, CORS_YES };
struct cors_policy {
    struct string_match *origins; uint32_t origin_count;
    struct str methods, headers, expose, max_age; /* "": as less specific policies say */
    enum cors_answer credentials, private_network, forward_not_matching;
    bool has_enabled, has_shadow;
    struct runtime_fraction enabled, shadow;
};
struct cors_config {
    struct stat_scope *stats; /* http.<prefix>.cors. */
};
extern const struct http_filter_def cors_filter;

#endif
