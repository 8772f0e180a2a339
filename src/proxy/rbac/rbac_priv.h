/* SPDX-License-Identifier: Apache-2.0
 *
 * Room-private: an engine's inside, and the index over its policies.
 */
#ifndef PROXY_RBAC_PRIV_H
#define PROXY_RBAC_PRIV_H

#include "base/map.h"
#include "proxy/rbac/rbac.h"

/* index.c. Which policies can match at all. */
struct rbac_index;
struct rbac_index *rbac_index_new(const struct rbac_policy *policies, uint32_t count);
void rbac_index_free(struct rbac_index **x);
/* The first policy (by its place) for which `matches` holds; UINT32_MAX: none. */
uint32_t rbac_index_first(const struct rbac_index *x, const struct rbac_input *in,
                          bool (*matches)(const struct rbac_policy *p, const struct rbac_input *in));
uint32_t rbac_index_unindexed(const struct rbac_index *x); /* policies that are asked each time; for tests */

struct rbac_engine {
    struct arena arena;
    enum rbac_action action;
    struct rbac_policy *policies; uint32_t count;
    struct rbac_index *index;
    struct matcher *tree;            /* instead of policies */
    const struct rbac_tree_action *const *actions; uint32_t action_count;
    bool wants_peer, has_log;        /* has_log: an action of the tree logs */
};
bool rbac_policy_matches(const struct rbac_policy *p, const struct rbac_input *in);
void rbac_rule_fini(struct rbac_rule *r);

#endif
