/* SPDX-License-Identifier: Apache-2.0
 *
 * Engines: policies in the order of their names, or a matcher tree. ALLOW lets pass what a policy fits, DENY what none fits,
 * LOG everything; a tree that comes to nothing denies (Envoy: "Role Based Access Control"). Built on the main thread, then
 * read by every worker.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "proxy/cel/cel.h"
#include "proxy/match/matcher.h"
#include "proxy/rbac/rbac_priv.h"

struct rbac_engine *rbac_engine_new(enum rbac_action action)
{
    struct rbac_engine *e = NEW(rbac_engine);
    arena_init(&e->arena, 0);
    e->action = action;
    return e;
}

struct arena *rbac_engine_arena(struct rbac_engine *e)
{
    return &e->arena;
}

struct rbac_policy *rbac_engine_policies(struct rbac_engine *e, uint32_t count)
{
    e->count = count;
    e->policies = count ? arena_zalloc(&e->arena, count * sizeof(*e->policies)) : NULL;
    return e->policies;
}

static void policy_fini(struct rbac_policy *p)
{
    rbac_rule_fini(&p->permissions);
    rbac_rule_fini(&p->principals);
    cel_free(&p->condition);
}

static int by_name(const void *a, const void *b)
{
    const struct rbac_policy *x = a, *y = b;
    size_t n = x->name.n < y->name.n ? x->name.n : y->name.n;
    int cmp = n ? memcmp(x->name.p, y->name.p, n) : 0;
    return cmp ? cmp : (x->name.n > y->name.n) - (x->name.n < y->name.n);
}

/* Entries of a Protobuf map: a later one replaces an earlier one of that name. */
static void drop_replaced(struct rbac_engine *e)
{
    struct map *last = map_new();
    uint32_t kept = 0;
    for (uint32_t i = 0; i < e->count; i++)
        map_set(last, e->policies[i].name, &e->policies[i]);
    for (uint32_t i = 0; i < e->count; i++) {
        if (map_get(last, e->policies[i].name) != &e->policies[i])
            policy_fini(&e->policies[i]);
        else
            e->policies[kept++] = e->policies[i]; /* a kept one is the last of its name: its own place is never asked again */
    }
    e->count = kept;
    map_free(&last);
}

void rbac_engine_build(struct rbac_engine *e)
{
    drop_replaced(e);
    if (e->count > 1)
        qsort(e->policies, e->count, sizeof(*e->policies), by_name);
    const uint32_t peer = 1u << RBAC_AUTHENTICATED | 1u << RBAC_VALIDATED | 1u << RBAC_SAN;
    for (uint32_t i = 0; i < e->count && !e->wants_peer; i++)
        e->wants_peer = rbac_rule_has(&e->policies[i].permissions, peer) || rbac_rule_has(&e->policies[i].principals, peer);
    e->index = rbac_index_new(e->policies, e->count);
}

void rbac_engine_use_tree(struct rbac_engine *e, struct matcher *take_tree, const struct rbac_tree_action *const *actions,
                          uint32_t count)
{
    e->tree = take_tree;
    e->actions = actions;
    e->action_count = count;
    for (uint32_t i = 0; i < count; i++)
        e->has_log = e->has_log || actions[i]->action == RBAC_LOG;
}

void rbac_engine_free(struct rbac_engine **at)
{
    struct rbac_engine *e = *at;
    if (!e)
        return;
    for (uint32_t i = 0; i < e->count; i++)
        policy_fini(&e->policies[i]);
    rbac_index_free(&e->index);
    if (e->tree)
        matcher_fini(e->tree);
    arena_fini(&e->arena);
    mem_free(e);
    *at = NULL;
}

bool rbac_engine_wants_peer(const struct rbac_engine *e)
{
    return e && e->wants_peer;
}

bool rbac_engine_is_settled(const struct rbac_engine *e)
{
    const uint32_t left = 1u << RBAC_METADATA | 1u << RBAC_FILTER_STATE;
    for (uint32_t i = 0; i < e->count; i++)
        if (e->policies[i].condition || rbac_rule_has(&e->policies[i].permissions, left) || rbac_rule_has(&e->policies[i].principals, left))
            return false;
    return !e->tree;
}

uint32_t rbac_engine_name_count(const struct rbac_engine *e)
{
    return e->tree ? e->action_count : e->count;
}

struct str rbac_engine_name(const struct rbac_engine *e, uint32_t index)
{
    return e->tree ? e->actions[index]->name : e->policies[index].name;
}

bool rbac_policy_matches(const struct rbac_policy *p, const struct rbac_input *in)
{
    return rbac_rule_matches(&p->permissions, in) && rbac_rule_matches(&p->principals, in) &&
           (!p->condition || cel_is_true(p->condition, in->format));
}

static struct rbac_verdict ask_tree(const struct rbac_engine *e, const struct rbac_input *in)
{
    struct matcher_data data = {.headers = in->headers, .info = in->info};
    const struct rbac_tree_action *a = matcher_find(e->tree, &data);
    if (!a)
        return (struct rbac_verdict){.is_allowed = false};
    return (struct rbac_verdict){.is_allowed = a->action != RBAC_DENY,
                                 .says_log = e->has_log,
                                 .log = a->action == RBAC_LOG,
                                 .policy = a->name,
                                 .policy_index = a->index};
}

struct rbac_verdict rbac_decide(const struct rbac_engine *e, const struct rbac_input *in)
{
    if (e->tree)
        return ask_tree(e, in);
    uint32_t found = rbac_index_first(e->index, in, rbac_policy_matches);
    bool matched = found != UINT32_MAX;
    return (struct rbac_verdict){
        .is_allowed = e->action == RBAC_LOG || matched == (e->action == RBAC_ALLOW),
        .says_log = e->action == RBAC_LOG,
        .log = matched,
        .policy = matched ? e->policies[found].name : STR_NULL,
        .policy_index = matched ? found : 0,
    };
}
