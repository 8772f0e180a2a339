/* SPDX-License-Identifier: Apache-2.0
 *
 * Evaluation. Errors travel as values: "||" and "&&" let a decided side win over one (langdef: "Logical
 * Operators"), all else that meets one is one. Numbers of different kinds compare by value. Any worker.
 */
#include "proxy/cel/cel_priv.h"

#include <math.h>
#include <string.h>

/* ---- comparing ---- */

static bool is_number(const struct cel_value *v)
{
    return v->kind == CEL_INT || v->kind == CEL_UINT || v->kind == CEL_DOUBLE;
}

static long double number(const struct cel_value *v)
{
    return v->kind == CEL_INT ? (long double)v->v.i : v->kind == CEL_UINT ? (long double)v->v.u : (long double)v->v.d;
}

static bool equal(const struct cel_value *a, const struct cel_value *b)
{
    if (is_number(a) && is_number(b))
        return number(a) == number(b);
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case CEL_NULL:
        return true;
    case CEL_BOOL:
        return a->v.b == b->v.b;
    case CEL_STRING:
        return str_eq(a->v.s, b->v.s);
    case CEL_DURATION:
        return a->v.i == b->v.i;
    case CEL_META:
        return meta_equal(a->v.meta, b->v.meta);
    case CEL_LIST:
        if (a->v.list.count != b->v.list.count)
            return false;
        for (uint32_t i = 0; i < a->v.list.count; i++)
            if (!equal(&a->v.list.items[i], &b->v.list.items[i]))
                return false;
        return true;
    default:
        return false;
    }
}

static struct cel_value compare(enum cel_op op, const struct cel_value *a, const struct cel_value *b)
{
    int order;
    if (is_number(a) && is_number(b)) {
        long double x = number(a), y = number(b);
        if (isnan(x) || isnan(y))
            return cel_bool(false);
        order = x < y ? -1 : x > y;
    } else if (a->kind == CEL_STRING && b->kind == CEL_STRING) {
        order = str_cmp(a->v.s, b->v.s);
    } else if (a->kind == b->kind && (a->kind == CEL_BOOL || a->kind == CEL_DURATION)) {
        int64_t x = a->kind == CEL_BOOL ? a->v.b : a->v.i, y = b->kind == CEL_BOOL ? b->v.b : b->v.i;
        order = x < y ? -1 : x > y;
    } else {
        return cel_error();
    }
    switch (op) {
    case CEL_LT:
        return cel_bool(order < 0);
    case CEL_LE:
        return cel_bool(order <= 0);
    case CEL_GT:
        return cel_bool(order > 0);
    default:
        return cel_bool(order >= 0);
    }
}

/* ---- containers ---- */

static struct cel_value at(const struct cel_value *in, const struct cel_value *key, const struct format_context *cx, struct arena *a)
{
    if (in->kind == CEL_MAP && key->kind == CEL_STRING)
        return cel_map_get(in->v.map, key->v.s, cx, a);
    if (in->kind == CEL_META && in->v.meta->kind == META_STRUCT && key->kind == CEL_STRING)
        return cel_of_meta(meta_field(in->v.meta, key->v.s));
    if (in->kind == CEL_META && in->v.meta->kind == META_LIST && key->kind == CEL_INT && key->v.i >= 0 &&
        (uint64_t)key->v.i < in->v.meta->u.list.count)
        return cel_of_meta(&in->v.meta->u.list.items[key->v.i]);
    if (in->kind == CEL_LIST && key->kind == CEL_INT && key->v.i >= 0 && (uint64_t)key->v.i < in->v.list.count)
        return in->v.list.items[key->v.i];
    return cel_error();
}

static struct cel_value is_in(const struct cel_value *what, const struct cel_value *in, const struct format_context *cx, struct arena *a)
{
    if (in->kind == CEL_MAP || (in->kind == CEL_META && in->v.meta->kind == META_STRUCT))
        return what->kind == CEL_STRING ? cel_bool(at(in, what, cx, a).kind != CEL_ERROR) : cel_error();
    if (in->kind == CEL_LIST) {
        for (uint32_t i = 0; i < in->v.list.count; i++)
            if (equal(what, &in->v.list.items[i]))
                return cel_bool(true);
        return cel_bool(false);
    }
    if (in->kind == CEL_META) {
        for (uint32_t i = 0; i < in->v.meta->u.list.count; i++) {
            struct cel_value item = cel_of_meta(&in->v.meta->u.list.items[i]);
            if (equal(what, &item))
                return cel_bool(true);
        }
        return cel_bool(false);
    }
    return cel_error();
}

static struct cel_value size_of(const struct cel_value *v)
{
    int64_t n = 0;
    switch (v->kind) {
    case CEL_STRING: /* code points */
        for (size_t i = 0; i < v->v.s.n; i++)
            n += ((unsigned char)v->v.s.p[i] & 0xc0) != 0x80;
        return cel_int(n);
    case CEL_LIST:
        return cel_int(v->v.list.count);
    case CEL_META:
        return cel_int(v->v.meta->kind == META_LIST ? v->v.meta->u.list.count : v->v.meta->u.fields.count);
    default:
        return cel_error();
    }
}

/* ---- arithmetic: overflow is an error ---- */

static struct cel_value concat(const struct cel_value *a, const struct cel_value *b, struct arena *arena)
{
    size_t n = a->v.s.n + b->v.s.n;
    char *p = n >= a->v.s.n ? arena_bytes(arena, n + 1) : NULL;
    if (!p)
        return cel_error();
    if (a->v.s.n)
        memcpy(p, a->v.s.p, a->v.s.n);
    if (b->v.s.n)
        memcpy(p + a->v.s.n, b->v.s.p, b->v.s.n);
    return cel_string(str_make(p, n));
}

static struct cel_value calculate_int(enum cel_op op, int64_t a, int64_t b, enum cel_kind kind)
{
    struct cel_value r = {.kind = kind};
    bool bad;
    switch (op) {
    case CEL_ADD:
        bad = __builtin_add_overflow(a, b, &r.v.i);
        break;
    case CEL_SUB:
        bad = __builtin_sub_overflow(a, b, &r.v.i);
        break;
    case CEL_MUL:
        bad = __builtin_mul_overflow(a, b, &r.v.i);
        break;
    default:
        bad = b == 0 || (a == INT64_MIN && b == -1);
        if (!bad)
            r.v.i = op == CEL_DIV ? a / b : a % b;
    }
    return bad ? cel_error() : r;
}

static struct cel_value calculate_uint(enum cel_op op, uint64_t a, uint64_t b)
{
    struct cel_value r = {.kind = CEL_UINT};
    bool bad;
    switch (op) {
    case CEL_ADD:
        bad = __builtin_add_overflow(a, b, &r.v.u);
        break;
    case CEL_SUB:
        bad = __builtin_sub_overflow(a, b, &r.v.u);
        break;
    case CEL_MUL:
        bad = __builtin_mul_overflow(a, b, &r.v.u);
        break;
    default:
        bad = b == 0;
        if (!bad)
            r.v.u = op == CEL_DIV ? a / b : a % b;
    }
    return bad ? cel_error() : r;
}

static struct cel_value calculate(enum cel_op op, const struct cel_value *a, const struct cel_value *b, struct arena *arena)
{
    if (a->kind != b->kind)
        return cel_error();
    struct cel_value r = {.kind = CEL_DOUBLE};
    switch (a->kind) {
    case CEL_STRING:
        return op == CEL_ADD ? concat(a, b, arena) : cel_error();
    case CEL_DURATION:
        return op == CEL_ADD || op == CEL_SUB ? calculate_int(op, a->v.i, b->v.i, CEL_DURATION) : cel_error();
    case CEL_INT:
        return calculate_int(op, a->v.i, b->v.i, CEL_INT);
    case CEL_UINT:
        return calculate_uint(op, a->v.u, b->v.u);
    case CEL_DOUBLE:
        if (op == CEL_MOD)
            return cel_error();
        r.v.d = op == CEL_ADD ? a->v.d + b->v.d : op == CEL_SUB ? a->v.d - b->v.d : op == CEL_MUL ? a->v.d * b->v.d : a->v.d / b->v.d;
        return r;
    default:
        return cel_error();
    }
}

static struct cel_value convert(enum cel_op op, const struct cel_value *v, struct arena *a)
{
    struct cel_value r = {.kind = op == CEL_TO_INT ? CEL_INT : op == CEL_TO_UINT ? CEL_UINT : CEL_DOUBLE};
    if (op == CEL_TO_STRING) {
        switch (v->kind) {
        case CEL_STRING:
            return *v;
        case CEL_BOOL:
            return cel_string(v->v.b ? STR("true") : STR("false"));
        case CEL_INT:
            return cel_string(arena_printf(a, "%lld", (long long)v->v.i));
        case CEL_UINT:
            return cel_string(arena_printf(a, "%llu", (unsigned long long)v->v.u));
        case CEL_DOUBLE:
            return cel_string(arena_printf(a, "%.15g", v->v.d));
        default:
            return cel_error();
        }
    }
    if (v->kind == CEL_STRING) {
        bool ok = op == CEL_TO_INT    ? str_to_i64(v->v.s, &r.v.i)
                  : op == CEL_TO_UINT ? str_to_u64(v->v.s, &r.v.u)
                                      : str_to_double(v->v.s, &r.v.d);
        return ok ? r : cel_error();
    }
    if (!is_number(v))
        return cel_error();
    long double x = number(v);
    if (op == CEL_TO_DOUBLE) {
        r.v.d = (double)x;
        return r;
    }
    if (isnan(x) || (op == CEL_TO_INT && (x < -0x1p63L || x >= 0x1p63L)) || (op == CEL_TO_UINT && (x < 0 || x >= 0x1p64L)))
        return cel_error();
    if (op == CEL_TO_INT)
        r.v.i = (int64_t)x;
    else
        r.v.u = (uint64_t)x;
    return r;
}

/* "1.5s" */
static struct cel_value print_duration(const struct cel_value *v, struct arena *a)
{
    return cel_string(arena_printf(a, "%.15gs", (double)v->v.i / 1e6));
}

/* ---- nodes ---- */

static struct cel_value logical(const struct cel_node *n, bool decides, const struct format_context *cx, struct arena *a)
{
    bool failed = false;
    for (uint32_t i = 0; i < 2; i++) {
        struct cel_value v = cel_eval(n->args[i], cx, a);
        if (v.kind == CEL_BOOL && v.v.b == decides)
            return v;
        failed |= v.kind != CEL_BOOL;
    }
    return failed ? cel_error() : cel_bool(!decides);
}

static struct cel_value text_test(const struct cel_node *n, const struct cel_value *a, const struct cel_value *b)
{
    if (a->kind != CEL_STRING || b->kind != CEL_STRING)
        return cel_error();
    switch (n->op) {
    case CEL_STARTS_WITH:
        return cel_bool(str_has_prefix(a->v.s, b->v.s));
    case CEL_ENDS_WITH:
        return cel_bool(str_has_suffix(a->v.s, b->v.s));
    case CEL_CONTAINS:
        return cel_bool(!b->v.s.n || str_find(a->v.s, b->v.s) >= 0);
    default: {
        struct str groups[REGEX_GROUPS_MAX];
        return cel_bool(regex_search(n->regex, a->v.s, groups) > 0);
    }
    }
}

static struct cel_value list_of(const struct cel_node *n, const struct format_context *cx, struct arena *a)
{
    struct cel_value v = {.kind = CEL_LIST};
    v.v.list.count = n->arg_count;
    v.v.list.items = arena_zalloc(a, (n->arg_count + 1) * sizeof(struct cel_value));
    if (!v.v.list.items)
        return cel_error();
    for (uint32_t i = 0; i < n->arg_count; i++) {
        v.v.list.items[i] = cel_eval(n->args[i], cx, a);
        if (v.v.list.items[i].kind == CEL_ERROR)
            return cel_error();
    }
    return v;
}

static struct cel_value binary(const struct cel_node *n, const struct format_context *cx, struct arena *arena)
{
    struct cel_value a = cel_eval(n->args[0], cx, arena), b = cel_eval(n->args[1], cx, arena);
    if (a.kind == CEL_ERROR || b.kind == CEL_ERROR)
        return cel_error();
    switch (n->op) {
    case CEL_INDEX:
        return at(&a, &b, cx, arena);
    case CEL_EQ:
        return cel_bool(equal(&a, &b));
    case CEL_NE:
        return cel_bool(!equal(&a, &b));
    case CEL_LT:
    case CEL_LE:
    case CEL_GT:
    case CEL_GE:
        return compare(n->op, &a, &b);
    case CEL_IN:
        return is_in(&a, &b, cx, arena);
    case CEL_STARTS_WITH:
    case CEL_ENDS_WITH:
    case CEL_CONTAINS:
    case CEL_MATCHES:
        return text_test(n, &a, &b);
    default:
        return calculate(n->op, &a, &b, arena);
    }
}

static struct cel_value unary(const struct cel_node *n, const struct format_context *cx, struct arena *arena)
{
    struct cel_value a = cel_eval(n->args[0], cx, arena);
    if (n->op == CEL_HAS)
        return cel_bool(a.kind != CEL_ERROR);
    if (a.kind == CEL_ERROR)
        return a;
    switch (n->op) {
    case CEL_NOT:
        return a.kind == CEL_BOOL ? cel_bool(!a.v.b) : cel_error();
    case CEL_NEGATE:
        if (a.kind == CEL_DOUBLE)
            return (struct cel_value){.kind = CEL_DOUBLE, .v.d = -a.v.d};
        return a.kind == CEL_INT ? calculate_int(CEL_SUB, 0, a.v.i, CEL_INT) : cel_error();
    case CEL_SIZE:
        return size_of(&a);
    default:
        return convert(n->op, &a, arena);
    }
}

struct cel_value cel_eval(const struct cel_node *n, const struct format_context *cx, struct arena *a)
{
    switch (n->op) {
    case CEL_CONST:
        return n->value;
    case CEL_ATTRIBUTE:
        return cel_attribute_value(n, cx, a);
    case CEL_LIST_OF:
        return list_of(n, cx, a);
    case CEL_OR:
        return logical(n, true, cx, a);
    case CEL_AND:
        return logical(n, false, cx, a);
    case CEL_TERNARY: {
        struct cel_value test = cel_eval(n->args[0], cx, a);
        return test.kind == CEL_BOOL ? cel_eval(n->args[test.v.b ? 1 : 2], cx, a) : cel_error();
    }
    case CEL_HAS:
    case CEL_NOT:
    case CEL_NEGATE:
    case CEL_SIZE:
    case CEL_TO_INT:
    case CEL_TO_UINT:
    case CEL_TO_DOUBLE:
    case CEL_TO_STRING:
        return unary(n, cx, a);
    default:
        return binary(n, cx, a);
    }
}

bool cel_is_true(const struct cel *e, const struct format_context *cx)
{
    struct arena scratch;
    arena_init(&scratch, 0);
    struct cel_value v = cel_eval(e->root, cx, &scratch);
    bool is_true = v.kind == CEL_BOOL && v.v.b && !scratch.overflowed;
    arena_fini(&scratch);
    return is_true;
}

static bool print_value(const struct cel_value *v, struct arena *a, struct str *out)
{
    struct cel_value text = v->kind == CEL_STRING ? *v : v->kind == CEL_DURATION ? print_duration(v, a) : convert(CEL_TO_STRING, v, a);
    *out = text.kind == CEL_STRING ? text.v.s : STR_NULL;
    return text.kind == CEL_STRING;
}

bool cel_text(const struct cel *e, const struct format_context *cx, struct arena *a, struct str *out)
{
    struct cel_value v = cel_eval(e->root, cx, a);
    return print_value(&v, a, out) && !a->overflowed;
}

bool cel_count(const struct cel *e, const struct format_context *cx, uint64_t *out)
{
    struct arena scratch;
    arena_init(&scratch, 0);
    struct cel_value v = cel_eval(e->root, cx, &scratch);
    bool ok = !scratch.overflowed;
    arena_fini(&scratch);
    switch (v.kind) {
    case CEL_INT:
        *out = (uint64_t)v.v.i;
        return ok && v.v.i >= 0;
    case CEL_UINT:
        *out = v.v.u;
        return ok;
    case CEL_DOUBLE:
        *out = v.v.d >= 0 && v.v.d < 0x1p63 ? (uint64_t)v.v.d : 0;
        return ok && v.v.d >= 0 && v.v.d < 0x1p63;
    case CEL_DURATION:
        *out = v.v.i > 0 ? (uint64_t)v.v.i / 1000 : 0;
        return ok && v.v.i >= 0;
    default:
        return false;
    }
}
