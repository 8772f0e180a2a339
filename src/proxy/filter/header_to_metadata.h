/* SPDX-License-Identifier: Apache-2.0
 *
 * Rules of header_to_metadata (extensions.filters.http.header_to_metadata.v3), of the filter or, instead, of a route.
 */
#ifndef PROXY_FILTER_HEADER_TO_METADATA_H
#define PROXY_FILTER_HEADER_TO_METADATA_H

#include "proxy/filter/http_filter.h"
#include "proxy/match/string_match.h"

enum h2m_type { H2M_STRING, H2M_NUMBER, H2M_PROTOBUF_VALUE };
struct h2m_value {
    bool is_set;
    struct str space, key;
    struct str value;        /* instead of the header's; "" none */
    struct regex *regex;     /* rewrites the header's; NULL none */
    struct str substitution;
    enum h2m_type type;
    bool is_base64;
};
struct h2m_rule {
    struct str header;       /* lower case; "" when it is a cookie */
    struct str cookie;
    bool remove;
    struct h2m_value present, missing;
};
struct h2m_rules { struct h2m_rule *items; uint32_t count; };
struct header_to_metadata_config {
    struct h2m_rules request, response;
    struct str stat_prefix;   /* "" : nothing is counted */
    struct stat_scope *stats; /* http_filter_name.<stat_prefix>. */
};
extern const struct http_filter_def header_to_metadata_filter;
void header_to_metadata_link(void *config); /* of routes; the filter's own through its link */

#endif
