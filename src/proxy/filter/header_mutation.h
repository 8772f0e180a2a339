/* SPDX-License-Identifier: Apache-2.0
 *
 * What header_mutation changes (extensions.filters.http.header_mutation.v3), for the filter and at each level of the routes.
 */
#ifndef PROXY_FILTER_HEADER_MUTATION_H
#define PROXY_FILTER_HEADER_MUTATION_H

#include "proxy/filter/http_filter.h"
#include "proxy/route/header_rules.h"

struct query_mutation {
    bool remove;
    struct str key;
    struct format *value;
    enum header_append action;
};
struct mutations {
    struct header_rules request, request_trailers, response, response_trailers;
    struct query_mutation *queries; uint32_t query_count;
};
struct header_mutation_config {
    struct mutations mutations;
    bool most_specific_wins; /* routes' lists run from the least specific on; else from the most specific on */
};
extern const struct http_filter_def header_mutation_filter;

/* The path with its query changed; in the arena. Parameters come out sorted by name, as Envoy writes them. */
struct str query_mutations_apply(const struct query_mutation *m, uint32_t n, struct str path, const struct format_context *cx,
                                 struct arena *a);

#endif
