/* SPDX-License-Identifier: Apache-2.0
 *
 * type.matcher.v3.ValueMatcher over metadata values. A missing value is the null matcher's alone.
 */
#ifndef PROXY_MATCH_VALUE_MATCH_H
#define PROXY_MATCH_VALUE_MATCH_H

#include "proxy/match/string_match.h"
#include "proxy/metadata.h"

enum value_match_kind { VALUE_NULL, VALUE_NUMBER, VALUE_RANGE, VALUE_STRING, VALUE_BOOL, VALUE_PRESENT, VALUE_LIST, VALUE_OR };
struct value_matcher {
    enum value_match_kind kind;
    double start, end;               /* NUMBER: start; RANGE: half open */
    struct string_match string;
    bool boolean;                    /* BOOL, PRESENT: what is wanted */
    struct value_matcher *children;  /* LIST: one, which one of the items must match; OR: any of them */
    uint32_t child_count;
};
bool value_matches(const struct value_matcher *m, const struct meta_value *v); /* v NULL: there is none */
void value_matcher_fini(struct value_matcher *m); /* what it owns beside the array of children, which is an arena's */

#endif
