/* SPDX-License-Identifier: Apache-2.0
 *
 * Adding, setting and removing headers by rule: what HeaderValueOption lists and removal lists say, and
 * what header_mutation's lists say. Compiled on the main thread, run by every worker.
 */
#ifndef PROXY_ROUTE_HEADER_RULES_H
#define PROXY_ROUTE_HEADER_RULES_H

#include "base/arena.h"
#include "http/codec/headers.h"
#include "proxy/log/access_log.h"
#include "proxy/match/string_match.h"

enum header_append { HEADER_APPEND, HEADER_ADD_IF_ABSENT, HEADER_OVERWRITE_OR_ADD, HEADER_OVERWRITE_IF_EXISTS };
struct header_mutation {
    struct str name;         /* lower case; ":authority" and the like only where allowed (config says so) */
    struct format *value;
    struct str literal;      /* instead of `value` where the text holds no operator; null otherwise */
    enum header_append action;
    bool keep_empty;         /* an empty result is added all the same */
};
enum header_rule_kind { HEADER_RULE_MUTATE, HEADER_RULE_REMOVE, HEADER_RULE_REMOVE_MATCHING };
struct header_rule {
    enum header_rule_kind kind;
    struct header_mutation mutation;  /* MUTATE */
    struct str name;                  /* REMOVE; lower case */
    struct string_match matching;     /* REMOVE_MATCHING, of names */
};
struct header_rules {
    struct header_rule *items;
    uint32_t count;
    bool at_once; /* Envoy's way with the lists of routes: removals first, all values from the headers as they are then, then
                   * overwriting, then adding. Else one rule after the other, each seeing what the former did. */
};
/* In order. Values see `cx` (and `h` through it). Text goes into `a`. Pseudo headers and host are never removed. */
void header_rules_apply(const struct header_rules *r, struct headers *h, const struct format_context *cx, struct arena *a);
void header_mutation_apply(const struct header_mutation *m, struct headers *h, const struct format_context *cx, struct arena *a);
void header_rules_fini(struct header_rules *r); /* formats and matchers; the array is an arena's */

#endif
