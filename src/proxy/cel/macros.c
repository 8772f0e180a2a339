/* SPDX-License-Identifier: Apache-2.0
 *
 * The macros over lists and maps (langdef: "Macros"): each binds a variable to one element after the
 * other. Maps give their keys. Errors of single elements count as "||" and "&&" would count them.
 */
#include "proxy/cel/cel_priv.h"

static struct cel_value list_new(uint32_t n, struct arena *a)
{
    struct cel_value v = {.kind = CEL_LIST};
    v.v.list.items = arena_alloc(a, (n + 1) * sizeof(struct cel_value));
    return v.v.list.items ? v : cel_error();
}

static struct cel_value elements_of_meta(const struct meta_value *m, struct cel_run *r)
{
    bool is_list = m->kind == META_LIST;
    uint32_t n = is_list ? m->u.list.count : m->u.fields.count;
    struct cel_value v = list_new(n, r->arena);
    if (v.kind == CEL_ERROR)
        return v;
    for (uint32_t i = 0; i < n; i++)
        v.v.list.items[i] = is_list ? cel_of_meta(&m->u.list.items[i]) : cel_string(m->u.fields.items[i].name);
    v.v.list.count = n;
    return v;
}

struct cel_value cel_elements(const struct cel_value *in, struct cel_run *r)
{
    if (in->kind == CEL_LIST)
        return *in;
    if (in->kind == CEL_META)
        return elements_of_meta(in->v.meta, r);
    if (in->kind == CEL_MAP) {
        struct cel_value keys = cel_map_keys(in->v.map, r->cx, r->arena);
        if (keys.kind == CEL_LIST) /* each name was compared with those before it */
            r->steps += keys.v.list.count * (keys.v.list.count / 16 + 1);
        return r->steps > CEL_STEPS_MAX ? cel_error() : keys;
    }
    if (in->kind != CEL_PAIRS)
        return cel_error();
    struct cel_value v = list_new(in->v.list.count / 2, r->arena);
    for (uint32_t i = 0; v.kind != CEL_ERROR && i < in->v.list.count; i += 2)
        v.v.list.items[v.v.list.count++] = in->v.list.items[i];
    return v;
}

/* all and exists: the first element that decides ends it. */
static struct cel_value decide(const struct cel_node *n, const struct cel_value *range, bool decides, struct cel_run *r)
{
    bool failed = false;
    for (uint32_t i = 0; i < range->v.list.count; i++) {
        r->variables[n->slot] = range->v.list.items[i];
        struct cel_value v = cel_eval(n->args[1], r);
        if (v.kind == CEL_BOOL && v.v.b == decides)
            return v;
        failed |= v.kind != CEL_BOOL;
        if (r->steps > CEL_STEPS_MAX)
            break;
    }
    return failed ? cel_error() : cel_bool(!decides);
}

static struct cel_value exactly_one(const struct cel_node *n, const struct cel_value *range, struct cel_run *r)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < range->v.list.count; i++) {
        r->variables[n->slot] = range->v.list.items[i];
        struct cel_value v = cel_eval(n->args[1], r);
        if (v.kind != CEL_BOOL)
            return cel_error();
        found += v.v.b;
    }
    return cel_bool(found == 1);
}

/* map(x, e), map(x, p, e), filter(x, p): args[1] is the predicate, args[2] what is made; either may be NULL. */
static struct cel_value collect(const struct cel_node *n, const struct cel_value *range, struct cel_run *r)
{
    struct cel_value out = list_new(range->v.list.count, r->arena);
    for (uint32_t i = 0; out.kind != CEL_ERROR && i < range->v.list.count; i++) {
        r->variables[n->slot] = range->v.list.items[i];
        struct cel_value keep = n->args[1] ? cel_eval(n->args[1], r) : cel_bool(true);
        if (keep.kind != CEL_BOOL)
            return cel_error();
        if (!keep.v.b)
            continue;
        struct cel_value made = n->args[2] ? cel_eval(n->args[2], r) : range->v.list.items[i];
        if (made.kind == CEL_ERROR)
            return made;
        out.v.list.items[out.v.list.count++] = made;
    }
    return out;
}

struct cel_value cel_macro(const struct cel_node *n, struct cel_run *r)
{
    struct cel_value in = cel_eval(n->args[0], r), range = in.kind == CEL_ERROR ? in : cel_elements(&in, r);
    if (range.kind == CEL_ERROR)
        return range;
    switch (n->op) {
    case CEL_ALL:
        return decide(n, &range, false, r);
    case CEL_EXISTS:
        return decide(n, &range, true, r);
    case CEL_EXISTS_ONE:
        return exactly_one(n, &range, r);
    default:
        return collect(n, &range, r);
    }
}
