/* SPDX-License-Identifier: Apache-2.0
 *
 * What route.v3.RouteMatch says: all of its parts must agree. Pure.
 */
#ifndef PROXY_ROUTE_MATCH_H
#define PROXY_ROUTE_MATCH_H

#include "io/addr.h"
#include "proxy/match/header_match.h"
#include "proxy/match/string_match.h"
#include "proxy/metadata.h"
#include "proxy/runtime.h"

enum path_match_kind {
    PATH_PREFIX, PATH_EXACT, PATH_SEPARATED_PREFIX, PATH_REGEX, PATH_CONNECT, PATH_TEMPLATE,
    PATH_ANY /* routes inside a matcher tree may leave the path open */
};
struct path_template; /* match/path_template.h */
struct query_matcher { struct str name; bool has_value; bool present; struct string_match value; };
struct cookie_matcher { struct str name; struct string_match value; bool invert; };
/* type.matcher.v3.ValueMatcher over metadata (match/value_match.c). */
struct value_matcher;
struct metadata_matcher { struct str space; struct str *path; uint32_t path_count; struct value_matcher *value; bool invert; };
struct filter_state_matcher { struct str key; struct string_match value; struct cidr *ranges; uint32_t range_count; /* instead of value */ };
struct tls_match { bool on; int8_t presented, validated; /* -1 doesn't matter, else what is wanted */ };

struct route_match {
    enum path_match_kind kind;
    struct str path;
    bool ignore_case;
    struct regex *regex;
    struct path_template *path_template;
    struct header_matcher *headers; uint32_t header_count;
    struct query_matcher *queries; uint32_t query_count;
    struct cookie_matcher *cookies; uint32_t cookie_count;
    bool grpc;
    struct tls_match tls;
    struct metadata_matcher *metadata; uint32_t metadata_count;
    struct filter_state_matcher *filter_state; uint32_t filter_state_count;
    bool has_fraction; struct runtime_fraction fraction;
};

/* ---- matching, and why not ---- */
#define ROUTE_REFUSAL_TABLE(X)                                                                     \
    X(ROUTE_TAKEN, "taken") X(ROUTE_REFUSED_PATH, "path") X(ROUTE_REFUSED_FRACTION, "runtime_fraction") \
    X(ROUTE_REFUSED_GRPC, "grpc") X(ROUTE_REFUSED_HEADER, "headers") X(ROUTE_REFUSED_QUERY, "query_parameters") \
    X(ROUTE_REFUSED_COOKIE, "cookies") X(ROUTE_REFUSED_TLS, "tls_context")                         \
    X(ROUTE_REFUSED_METADATA, "dynamic_metadata") X(ROUTE_REFUSED_FILTER_STATE, "filter_state")
enum route_refusal {
#define X(name, text) name,
    ROUTE_REFUSAL_TABLE(X)
#undef X
};
struct route_request; /* route.h */
/* The first part that doesn't agree; `index` (may be NULL): which of its items, for headers and the like. */
enum route_refusal route_match_refusal(const struct route_match *m, const struct route_request *rq, bool ignore_path_parameters,
                                       uint32_t *index);
const char *route_refusal_text(enum route_refusal why); /* the field of RouteMatch */
bool metadata_matches(const struct metadata_matcher *m, const struct metadata *md);
struct stream_info; /* proxy/stream_info.h */
bool filter_state_matches(const struct filter_state_matcher *m, const struct stream_info *info); /* info NULL: nothing is there */
void route_match_fini(struct route_match *m); /* what it owns beside arrays, which are an arena's */

#endif
