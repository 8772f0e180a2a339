/* SPDX-License-Identifier: Apache-2.0
 *
 * Room-private: an engine's inside, and the index over its policies.
 */
#ifndef PROXY_RBAC_PRIV_H
#define PROXY_RBAC_PRIV_H

#include "base/map.h"
#include "proxy/rbac/rbac.h"

/* Which policies can match at all: index.c makes it, lookup.c reads it. */
#define HEADERS_MAX 8           /* header names that are looked up at each request */
#define RANGES_MAX 12           /* address, family and length of prefixes that are looked up at each request */

enum dimension {
    DIM_NAME, DIM_NAMESPACE, DIM_PATH, DIM_PREFIX, DIM_PORT, DIM_SERVER_NAME,
    DIM_HEADER, DIM_RANGE = DIM_HEADER + HEADERS_MAX, DIM_COUNT = DIM_RANGE + RANGES_MAX
};
/* Ranges of one kind of address that are equally long: one look-up. */
struct range_shape { enum rbac_rule_kind kind; uint8_t family, prefix_bits; };
struct posting { uint32_t *ids, count, cap; };
struct prefix { struct str text; const struct posting *posting; uint32_t parent; /* the longest that this one begins with, from 1; 0 none */ };

struct rbac_index {
    struct arena arena;
    const struct rbac_policy *policies;
    struct map *maps[DIM_COUNT];    /* text -> struct posting; NULL: nobody asks. PREFIX: while building */
    const struct header_matcher *headers[HEADERS_MAX]; uint32_t header_count;
    struct prefix *prefixes; uint32_t prefix_count;
    struct range_shape ranges[RANGES_MAX]; uint32_t range_count;
    struct posting always;
};
struct str rbac_next_namespace(struct str *rest);
int rbac_prefix_compare(const void *a, const void *b); /* of struct prefix, by text */

struct rbac_index *rbac_index_new(const struct rbac_policy *policies, uint32_t count);
void rbac_index_free(struct rbac_index **x);
/* The first policy (by its place) for which `matches` holds; UINT32_MAX: none. */
uint32_t rbac_index_first(const struct rbac_index *x, const struct rbac_input *in,
                          bool (*matches)(const struct rbac_policy *p, const struct rbac_input *in));

struct rbac_engine {
    struct arena arena;
    enum rbac_action action;
    struct rbac_policy *policies; uint32_t count;
    struct rbac_index *index;
    struct matcher *tree;            /* instead of policies */
    const struct rbac_tree_action *const *actions; uint32_t action_count;
    bool wants_peer, has_log;        /* has_log: an action of the tree logs */
};
/* The address that a rule of that kind asks for; NULL: there is none. */
const struct addr *rbac_address_of(enum rbac_rule_kind kind, const struct rbac_input *in);
bool rbac_policy_matches(const struct rbac_policy *p, const struct rbac_input *in);
void rbac_rule_fini(struct rbac_rule *r);

#endif
