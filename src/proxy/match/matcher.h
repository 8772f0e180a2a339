/* SPDX-License-Identifier: Apache-2.0
 *
 * Matcher trees (xds.type.matcher.v3.Matcher): lists of predicates and maps of values, each leading
 * to an action or to another tree. What an action is, the owner of the tree knows.
 */
#ifndef PROXY_MATCH_MATCHER_H
#define PROXY_MATCH_MATCHER_H

#include "base/arena.h"
#include "base/map.h"
#include "http/codec/headers.h"
#include "proxy/match/string_match.h"
#include "proxy/stream_info.h"

enum matcher_input_kind {
    INPUT_HEADER, INPUT_QUERY_PARAMETER, INPUT_COOKIE, INPUT_FILTER_STATE,
    INPUT_SOURCE_IP, INPUT_SOURCE_PORT, INPUT_DIRECT_SOURCE_IP, INPUT_DESTINATION_IP, INPUT_DESTINATION_PORT,
    INPUT_SOURCE_TYPE, INPUT_SERVER_NAME,
    INPUT_URI_SAN, INPUT_DNS_SAN, INPUT_SUBJECT /* of the peer's certificate; an unverified one has none */
};
struct matcher_input {
    enum matcher_input_kind kind;
    struct str name;                     /* header (lower case), parameter, key */
};
struct matcher_data {                    /* what inputs are taken from */
    const struct headers *headers;
    const struct stream_info *info;      /* may be NULL: inputs of the connection are missing then */
};

enum predicate_kind { PREDICATE_VALUE, PREDICATE_AND, PREDICATE_OR, PREDICATE_NOT };
struct predicate {
    enum predicate_kind kind;
    struct matcher_input input;          /* VALUE; a missing one matches nothing */
    struct string_match value;
    struct predicate *children; uint32_t child_count; /* NOT: one */
};
struct matcher;
struct on_match {
    struct matcher *matcher;             /* goes on there, or … */
    const void *action;                  /* … this is it; both NULL: nothing */
    bool keep_matching;                  /* as if it had not matched */
};
enum matcher_kind { MATCHER_LIST, MATCHER_EXACT_MAP, MATCHER_PREFIX_MAP };
struct matcher {
    enum matcher_kind kind;
    struct { struct predicate predicate; struct on_match on; } *items; uint32_t item_count; /* LIST */
    struct matcher_input input;          /* maps */
    struct map *map;                     /* text -> struct on_match; owned */
    size_t *lengths; uint32_t length_count; /* PREFIX_MAP: of its keys, the longest first */
    struct on_match otherwise;           /* on_no_match */
};
/* The action, or NULL. */
const void *matcher_find(const struct matcher *m, const struct matcher_data *d);
void matcher_fini(struct matcher *m); /* what it owns beside arrays and nodes, which are an arena's */

#endif
