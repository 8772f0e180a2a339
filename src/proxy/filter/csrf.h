/* SPDX-License-Identifier: Apache-2.0
 *
 * CSRF policies (extensions.filters.http.csrf.v3.CsrfPolicy), of the filter and of routes.
 */
#ifndef PROXY_FILTER_CSRF_H
#define PROXY_FILTER_CSRF_H

#include "proxy/filter/http_filter.h"
#include "proxy/match/string_match.h"
#include "proxy/runtime.h"

struct csrf_policy {
    struct runtime_fraction enabled, shadow;
    bool has_shadow;
    struct string_match *origins; uint32_t origin_count; /* allowed beside the request's own host */
    struct stat_scope *stats; /* http.<prefix>.csrf.; the filter's own, routes have none */
};
extern const struct http_filter_def csrf_filter;

#endif
