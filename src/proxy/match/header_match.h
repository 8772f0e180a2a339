/* SPDX-License-Identifier: Apache-2.0
 *
 * Header matching as route.v3.HeaderMatcher means it. A header that occurs several times matches when
 * one of its values does (as in Envoy 1.40; earlier ones joined them). A missing header matches nothing
 * but `present: false` and, when treat_missing_as_empty is set, whatever the empty value matches;
 * `invert` turns the answer of a header that is there (or treated as if) around, and that of a missing
 * one only for `present`.
 */
#ifndef PROXY_MATCH_HEADER_MATCH_H
#define PROXY_MATCH_HEADER_MATCH_H

#include "http/codec/headers.h"
#include "proxy/match/string_match.h"

enum header_match_kind { HEADER_MATCH_STRING, HEADER_MATCH_RANGE, HEADER_MATCH_PRESENT };
struct header_matcher {
    struct str name; /* lower case, owned */
    enum header_id id;
    enum header_match_kind kind;
    struct string_match string;
    int64_t range_start, range_end; /* half open */
    bool present;                   /* PRESENT: what is wanted */
    bool invert, treat_missing_as_empty;
};
/* `name` is copied and lowered; the rest is the caller's to fill. */
void header_matcher_init(struct header_matcher *m, struct str name);
void header_matcher_fini(struct header_matcher *m);
bool header_matches(const struct header_matcher *m, const struct headers *h); /* h NULL: no headers */

#endif
