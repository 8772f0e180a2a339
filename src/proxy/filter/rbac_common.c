/* SPDX-License-Identifier: Apache-2.0
 *
 * What the access control of requests and that of connections share: asking, counting, and the words of a denial.
 */
#include "base/check.h"
#include "proxy/filter/rbac.h"
#include "proxy/stats/stats.h"

enum { RBAC_STATS(STAT_ENUM_ROW) };
static const struct stat_desc rows[] = {RBAC_STATS(STAT_DESC_ROW)};
const struct stat_table rbac_stats = {rows, ARRAY_LEN(rows)};

#define LAZY_ROW(id, kind, unit, name, help) {name, STAT_##kind, STAT_UNIT_LAZY, help},
static const struct stat_desc lazy_rows[] = {RBAC_STATS(LAZY_ROW)};
const struct stat_table rbac_lazy_stats = {lazy_rows, ARRAY_LEN(lazy_rows)};

void rbac_rules_fini(struct rbac_rules *r)
{
    for (uint32_t i = 0; r->policy_stats && i < rbac_engine_name_count(r->engine); i++)
        stat_scope_unref(&r->policy_stats[i]);
    stat_scope_unref(&r->stats);
    rbac_engine_free(&r->engine);
}

struct rbac_verdict rbac_ask(const struct rbac_rules *r, enum rbac_mode mode, const struct rbac_input *in, struct stat_scope *stats)
{
    static const uint32_t row_of[RBAC_MODES][2] = {
        [RBAC_ENFORCED] = {STAT_RBAC_DENIED, STAT_RBAC_ALLOWED},
        [RBAC_SHADOW] = {STAT_RBAC_SHADOW_DENIED, STAT_RBAC_SHADOW_ALLOWED},
    };
    struct rbac_verdict v = rbac_decide(r->engine, in);
    uint32_t row = row_of[mode][v.is_allowed];
    stat_inc(stats, row);
    if (v.policy.n && r->policy_stats)
        stat_inc(r->policy_stats[v.policy_index], row);
    return v;
}

struct str rbac_denial(struct str policy, struct arena *a)
{
    struct str text = arena_printf(a, "rbac_access_denied_matched_policy[%.*s]", STR_ARG(policy.n ? policy : STR("none")));
    for (char *p = (char *)(uintptr_t)text.p; text.n && p < text.p + text.n; p++)
        if (*p == ' ' || (*p >= '\t' && *p <= '\r'))
            *p = '_';
    return text;
}
