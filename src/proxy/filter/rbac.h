/* SPDX-License-Identifier: Apache-2.0
 *
 * Access control of requests and connections (extensions.filters.http.rbac.v3, extensions.filters.network.rbac.v3). What is
 * asked and how stands in rbac/rbac.h; here are the filters around it.
 */
#ifndef PROXY_FILTER_RBAC_H
#define PROXY_FILTER_RBAC_H

#include "proxy/filter/http_filter.h"
#include "proxy/filter/network_filter.h"
#include "proxy/rbac/rbac.h"

enum rbac_mode { RBAC_ENFORCED, RBAC_SHADOW, RBAC_MODES };
/* Names of what is left in dynamic metadata; with the prefixes that the configuration says. */
struct rbac_rules {
    struct rbac_engine *engine;      /* owned; NULL: nothing is asked */
    struct str stat_prefix;
    struct str policy_key, result_key; /* "shadow_effective_policy_id", "shadow_engine_result", or enforced_… */
    struct stat_scope *stats;        /* made by link */
    struct stat_scope **policy_stats; /* per name of the engine; NULL: aren't counted one by one */
};

/* Of the filter, and of a route, whose `rules` stand in the filter's place (its stat prefixes and scopes don't). */
struct rbac_config {
    struct rbac_rules rules[RBAC_MODES];
    bool track_policies;
};
extern const struct http_filter_def rbac_filter;

struct network_rbac_config {
    struct rbac_rules rules[RBAC_MODES];
    struct str stat_prefix;          /* ends with a dot */
    uint64_t delay_deny_ms;          /* a denied connection is closed after it */
};
extern const struct network_filter_def network_rbac_filter;

/* One table for each prefix, since the rules and the shadow rules of several filters may share one. */
#define RBAC_STATS(X)                                                                              \
    X(RBAC_ALLOWED, COUNTER, NONE, "allowed", "Let pass")                                          \
    X(RBAC_DENIED, COUNTER, NONE, "denied", "Refused")                                             \
    X(RBAC_SHADOW_ALLOWED, COUNTER, NONE, "shadow_allowed", "Would be let pass by the shadow rules") \
    X(RBAC_SHADOW_DENIED, COUNTER, NONE, "shadow_denied", "Would be refused by the shadow rules")
/* rbac_common.c, shared by both filters. */
extern const struct stat_table rbac_stats, rbac_lazy_stats; /* lazy ones aren't shown before they move */
void rbac_rules_fini(struct rbac_rules *r);
/* Asks, and counts into `stats` and the policy's own scope. */
struct rbac_verdict rbac_ask(const struct rbac_rules *r, enum rbac_mode mode, const struct rbac_input *in, struct stat_scope *stats);
#define RBAC_EXPLAINED_MAX 8 /* policies that didn't fit, in a record or an explanation */
/* "rbac_access_denied_matched_policy[NAME]", white space in the name as underscores. */
struct str rbac_denial(struct str policy, struct arena *a);

#endif
