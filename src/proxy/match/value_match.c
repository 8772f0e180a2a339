/* SPDX-License-Identifier: Apache-2.0
 *
 * ValueMatcher. Pure, any worker; depth is bounded by the configuration's.
 */
#include "proxy/match/value_match.h"

static bool any_child(const struct value_matcher *m, const struct meta_value *v)
{
    for (uint32_t i = 0; i < m->child_count; i++)
        if (value_matches(&m->children[i], v))
            return true;
    return false;
}

static bool list_matches(const struct value_matcher *m, const struct meta_value *v)
{
    for (uint32_t i = 0; m->child_count && i < v->u.list.count; i++)
        if (value_matches(&m->children[0], &v->u.list.items[i]))
            return true;
    return false;
}

bool value_matches(const struct value_matcher *m, const struct meta_value *v)
{
    if (m->kind == VALUE_OR)
        return any_child(m, v);
    if (!v)
        return false;
    switch (m->kind) {
    case VALUE_NULL:
        return v->kind == META_NULL;
    case VALUE_NUMBER:
        return v->kind == META_NUMBER && v->u.number == m->start;
    case VALUE_RANGE:
        return v->kind == META_NUMBER && v->u.number >= m->start && v->u.number < m->end;
    case VALUE_STRING:
        return v->kind == META_STRING && string_matches(&m->string, v->u.string);
    case VALUE_BOOL:
        return v->kind == META_BOOL && v->u.boolean == m->boolean;
    case VALUE_PRESENT:
        return m->boolean;
    case VALUE_LIST:
        return v->kind == META_LIST && list_matches(m, v);
    case VALUE_OR:
        break;
    }
    return false;
}

void value_matcher_fini(struct value_matcher *m)
{
    if (m->kind == VALUE_STRING)
        string_match_fini(&m->string);
    for (uint32_t i = 0; i < m->child_count; i++)
        value_matcher_fini(&m->children[i]);
}
