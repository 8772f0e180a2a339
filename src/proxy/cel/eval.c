/* SPDX-License-Identifier: Apache-2.0
 *
 * Evaluation. Errors travel as values: "||" and "&&" let a decided side win over one (langdef: "Logical
 * Operators"), all else that meets one is one. Numbers of different kinds compare by value. Each
 * evaluation has a bound of steps and of memory, past which it is an error. Any worker.
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

static bool meta_is(const struct cel_value *a, const struct cel_value *b, struct cel_run *r);

static bool pairs_equal(const struct cel_value *a, const struct cel_value *b, struct cel_run *r)
{
    uint32_t found = 0, n = a->v.list.count;
    for (uint32_t i = 0; i < n; i += 2)
        for (uint32_t j = 0; j < n; j += 2)
            found += cel_equal(&a->v.list.items[i], &b->v.list.items[j], r) && cel_equal(&a->v.list.items[i + 1], &b->v.list.items[j + 1], r);
    return found * 2 == n;
}

bool cel_equal(const struct cel_value *a, const struct cel_value *b, struct cel_run *r)
{
    if (++r->steps > CEL_STEPS_MAX)
        return false;
    if (is_number(a) && is_number(b))
        return number(a) == number(b);
    if (a->kind == CEL_META && b->kind == CEL_LIST)
        return meta_is(a, b, r);
    if (a->kind == CEL_LIST && b->kind == CEL_META)
        return meta_is(b, a, r);
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case CEL_NULL:
        return true;
    case CEL_BOOL:
        return a->v.b == b->v.b;
    case CEL_STRING:
    case CEL_BYTES:
        return str_eq(a->v.s, b->v.s);
    case CEL_DURATION:
    case CEL_TIMESTAMP:
        return a->v.i == b->v.i;
    case CEL_PAIRS:
        return a->v.list.count == b->v.list.count && pairs_equal(a, b, r);
    case CEL_META:
        return meta_equal(a->v.meta, b->v.meta);
    case CEL_LIST:
        if (a->v.list.count != b->v.list.count)
            return false;
        for (uint32_t i = 0; i < a->v.list.count; i++)
            if (!cel_equal(&a->v.list.items[i], &b->v.list.items[i], r))
                return false;
        return true;
    default:
        return false;
    }
}

/* A list of metadata against one that the expression made. */
static bool meta_is(const struct cel_value *a, const struct cel_value *b, struct cel_run *r)
{
    const struct meta_value *m = a->v.meta;
    bool same = m->kind == META_LIST && m->u.list.count == b->v.list.count;
    for (uint32_t i = 0; same && i < b->v.list.count; i++) {
        struct cel_value item = cel_of_meta(&m->u.list.items[i]);
        same = cel_equal(&item, &b->v.list.items[i], r);
    }
    return same;
}

static struct cel_value compare(enum cel_op op, const struct cel_value *a, const struct cel_value *b)
{
    int order;
    if (is_number(a) && is_number(b)) {
        long double x = number(a), y = number(b);
        if (isnan(x) || isnan(y))
            return cel_bool(false);
        order = x < y ? -1 : x > y;
    } else if (a->kind == b->kind && (a->kind == CEL_STRING || a->kind == CEL_BYTES)) {
        order = str_cmp(a->v.s, b->v.s);
    } else if (a->kind == b->kind && (a->kind == CEL_BOOL || a->kind == CEL_DURATION || a->kind == CEL_TIMESTAMP)) {
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

static struct cel_value at(const struct cel_value *in, const struct cel_value *key, struct cel_run *r)
{
    if (in->kind == CEL_MAP && key->kind == CEL_STRING)
        return cel_map_get(in->v.map, key->v.s, r->cx, r->arena);
    for (uint32_t i = 0; in->kind == CEL_PAIRS && i < in->v.list.count; i += 2)
        if (cel_equal(&in->v.list.items[i], key, r))
            return in->v.list.items[i + 1];
    if (in->kind == CEL_META && in->v.meta->kind == META_STRUCT && key->kind == CEL_STRING)
        return cel_of_meta(meta_field(in->v.meta, key->v.s));
    if (in->kind == CEL_META && in->v.meta->kind == META_LIST && key->kind == CEL_INT && key->v.i >= 0 &&
        (uint64_t)key->v.i < in->v.meta->u.list.count)
        return cel_of_meta(&in->v.meta->u.list.items[key->v.i]);
    if (in->kind == CEL_LIST && key->kind == CEL_INT && key->v.i >= 0 && (uint64_t)key->v.i < in->v.list.count)
        return in->v.list.items[key->v.i];
    return cel_error();
}

static struct cel_value is_in(const struct cel_value *what, const struct cel_value *in, struct cel_run *r)
{
    if (in->kind == CEL_PAIRS)
        return cel_bool(at(in, what, r).kind != CEL_ERROR);
    if (in->kind == CEL_MAP || (in->kind == CEL_META && in->v.meta->kind == META_STRUCT))
        return what->kind == CEL_STRING ? cel_bool(at(in, what, r).kind != CEL_ERROR) : cel_error();
    if (in->kind == CEL_LIST) {
        for (uint32_t i = 0; i < in->v.list.count; i++)
            if (cel_equal(what, &in->v.list.items[i], r))
                return cel_bool(true);
        return cel_bool(false);
    }
    if (in->kind == CEL_META) {
        for (uint32_t i = 0; i < in->v.meta->u.list.count; i++) {
            struct cel_value item = cel_of_meta(&in->v.meta->u.list.items[i]);
            if (cel_equal(what, &item, r))
                return cel_bool(true);
        }
        return cel_bool(false);
    }
    return cel_error();
}

static struct cel_value size_of(const struct cel_value *v, struct cel_run *r)
{
    int64_t n = 0;
    switch (v->kind) {
    case CEL_STRING: /* code points */
        for (size_t i = 0; i < v->v.s.n; i++)
            n += ((unsigned char)v->v.s.p[i] & 0xc0) != 0x80;
        return cel_int(n);
    case CEL_BYTES:
        return cel_int((int64_t)v->v.s.n);
    case CEL_LIST:
        return cel_int(v->v.list.count);
    case CEL_PAIRS:
        return cel_int(v->v.list.count / 2);
    case CEL_MAP: {
        struct cel_value keys = cel_elements(v, r);
        return keys.kind == CEL_LIST ? cel_int(keys.v.list.count) : keys;
    }
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

/* Times: what is between two of them is a duration, which moves one. */
static struct cel_value calculate_time(enum cel_op op, const struct cel_value *a, const struct cel_value *b)
{
    if (op == CEL_SUB && a->kind == CEL_TIMESTAMP)
        return calculate_int(op, a->v.i, b->v.i, b->kind == CEL_TIMESTAMP ? CEL_DURATION : CEL_TIMESTAMP);
    return op == CEL_ADD && !(a->kind == CEL_TIMESTAMP && b->kind == CEL_TIMESTAMP) ? calculate_int(op, a->v.i, b->v.i, CEL_TIMESTAMP)
                                                                                   : cel_error();
}

static struct cel_value join_lists(const struct cel_value *a, const struct cel_value *b, struct arena *arena)
{
    struct cel_value r = {.kind = CEL_LIST};
    uint32_t n = a->v.list.count;
    r.v.list.count = n + b->v.list.count;
    r.v.list.items = arena_alloc(arena, (r.v.list.count + 1) * sizeof(struct cel_value));
    if (!r.v.list.items)
        return cel_error();
    for (uint32_t i = 0; i < r.v.list.count; i++)
        r.v.list.items[i] = i < n ? a->v.list.items[i] : b->v.list.items[i - n];
    return r;
}

static bool is_time(const struct cel_value *v)
{
    return v->kind == CEL_DURATION || v->kind == CEL_TIMESTAMP;
}

static struct cel_value calculate(enum cel_op op, const struct cel_value *a, const struct cel_value *b, struct arena *arena)
{
    if (is_time(a) && is_time(b) && (a->kind == CEL_TIMESTAMP || b->kind == CEL_TIMESTAMP))
        return calculate_time(op, a, b);
    if (a->kind != b->kind)
        return cel_error();
    struct cel_value r = {.kind = CEL_DOUBLE};
    switch (a->kind) {
    case CEL_STRING:
    case CEL_BYTES: {
        struct cel_value whole = op == CEL_ADD ? concat(a, b, arena) : cel_error();
        if (whole.kind == CEL_STRING)
            whole.kind = a->kind;
        return whole;
    }
    case CEL_LIST:
        return op == CEL_ADD ? join_lists(a, b, arena) : cel_error();
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

static struct cel_value to_text(const struct cel_value *v, struct arena *a)
{
    struct cel_value r = *v;
    switch (v->kind) {
    case CEL_STRING:
        return r;
    case CEL_BYTES:
        r.kind = CEL_STRING;
        return r;
    case CEL_BOOL:
        return cel_string(v->v.b ? STR("true") : STR("false"));
    case CEL_INT:
        return cel_string(arena_printf(a, "%lld", (long long)v->v.i));
    case CEL_UINT:
        return cel_string(arena_printf(a, "%llu", (unsigned long long)v->v.u));
    case CEL_DOUBLE:
        return cel_string(arena_printf(a, "%.15g", v->v.d));
    case CEL_DURATION:
    case CEL_TIMESTAMP:
        return cel_print_time(v, a);
    default:
        return cel_error();
    }
}

static struct cel_value to_number(enum cel_op op, const struct cel_value *v)
{
    struct cel_value r = {.kind = op == CEL_TO_INT ? CEL_INT : op == CEL_TO_UINT ? CEL_UINT : CEL_DOUBLE};
    if (v->kind == CEL_STRING) {
        bool ok = op == CEL_TO_INT    ? str_to_i64(v->v.s, &r.v.i)
                  : op == CEL_TO_UINT ? str_to_u64(v->v.s, &r.v.u)
                                      : str_to_double(v->v.s, &r.v.d);
        return ok ? r : cel_error();
    }
    if (v->kind == CEL_TIMESTAMP && op == CEL_TO_INT)
        return cel_int(v->v.i / 1000000);
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

static struct cel_value convert(enum cel_op op, const struct cel_value *v, struct arena *a)
{
    struct cel_value r = *v;
    switch (op) {
    case CEL_TO_ITSELF:
        return r;
    case CEL_TO_STRING:
        return to_text(v, a);
    case CEL_TO_BYTES:
        r.kind = CEL_BYTES;
        return v->kind == CEL_STRING || v->kind == CEL_BYTES ? r : cel_error();
    case CEL_TO_DURATION:
        r.kind = CEL_DURATION;
        return v->kind == CEL_DURATION || (v->kind == CEL_STRING && cel_parse_duration(v->v.s, &r.v.i)) ? r : cel_error();
    case CEL_TO_TIMESTAMP:
        r.kind = CEL_TIMESTAMP;
        if (v->kind == CEL_INT)
            return __builtin_mul_overflow(v->v.i, 1000000, &r.v.i) ? cel_error() : r;
        return v->kind == CEL_TIMESTAMP || (v->kind == CEL_STRING && cel_parse_timestamp(v->v.s, &r.v.i)) ? r : cel_error();
    default:
        return to_number(op, v);
    }
}

/* ---- nodes ---- */

static struct cel_value logical(const struct cel_node *n, bool decides, struct cel_run *r)
{
    bool failed = false;
    for (uint32_t i = 0; i < 2; i++) {
        struct cel_value v = cel_eval(n->args[i], r);
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

static struct cel_value list_of(const struct cel_node *n, struct cel_run *r)
{
    struct cel_value v = {.kind = n->op == CEL_LIST_OF ? CEL_LIST : CEL_PAIRS};
    v.v.list.count = n->arg_count;
    v.v.list.items = arena_zalloc(r->arena, (n->arg_count + 1) * sizeof(struct cel_value));
    if (!v.v.list.items)
        return cel_error();
    for (uint32_t i = 0; i < n->arg_count; i++) {
        v.v.list.items[i] = cel_eval(n->args[i], r);
        if (v.v.list.items[i].kind == CEL_ERROR)
            return cel_error();
    }
    return v;
}

/* Work on long texts counts as the steps that it takes the time of. */
static void charge(const struct cel_value *v, struct cel_run *r)
{
    if (v->kind == CEL_STRING || v->kind == CEL_BYTES)
        r->steps += (uint32_t)(v->v.s.n / 64);
}

static struct cel_value binary(const struct cel_node *n, struct cel_run *r)
{
    struct cel_value a = cel_eval(n->args[0], r), b = cel_eval(n->args[1], r);
    charge(&a, r);
    charge(&b, r);
    if (r->steps > CEL_STEPS_MAX)
        return cel_error();
    if (a.kind == CEL_ERROR || b.kind == CEL_ERROR)
        return cel_error();
    switch (n->op) {
    case CEL_INDEX:
        return at(&a, &b, r);
    case CEL_EQ:
        return cel_bool(cel_equal(&a, &b, r));
    case CEL_NE:
        return cel_bool(!cel_equal(&a, &b, r));
    case CEL_LT:
    case CEL_LE:
    case CEL_GT:
    case CEL_GE:
        return compare(n->op, &a, &b);
    case CEL_IN:
        return is_in(&a, &b, r);
    case CEL_STARTS_WITH:
    case CEL_ENDS_WITH:
    case CEL_CONTAINS:
    case CEL_MATCHES:
        return text_test(n, &a, &b);
    default:
        return calculate(n->op, &a, &b, r->arena);
    }
}

static struct cel_value unary(const struct cel_node *n, struct cel_run *r)
{
    struct cel_value a = cel_eval(n->args[0], r);
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
        return a.kind == CEL_INT || a.kind == CEL_DURATION ? calculate_int(CEL_SUB, 0, a.v.i, a.kind) : cel_error();
    case CEL_SIZE:
        return size_of(&a, r);
    case CEL_TIME_PART: {
        struct cel_value zone = n->arg_count > 1 ? cel_eval(n->args[1], r) : cel_error();
        return cel_time_part((enum cel_part)n->slot, &a, n->arg_count > 1 ? &zone : NULL);
    }
    default:
        return convert(n->op, &a, r->arena);
    }
}

struct cel_value cel_eval(const struct cel_node *n, struct cel_run *r)
{
    if (++r->steps > CEL_STEPS_MAX)
        return cel_error();
    switch (n->op) {
    case CEL_CONST:
        return n->value;
    case CEL_ATTRIBUTE:
        return cel_attribute_value(n, r->cx, r->arena);
    case CEL_VARIABLE:
        return r->variables[n->slot];
    case CEL_LIST_OF:
    case CEL_PAIRS_OF:
        return list_of(n, r);
    case CEL_OR:
        return logical(n, true, r);
    case CEL_AND:
        return logical(n, false, r);
    case CEL_TERNARY: {
        struct cel_value test = cel_eval(n->args[0], r);
        return test.kind == CEL_BOOL ? cel_eval(n->args[test.v.b ? 1 : 2], r) : cel_error();
    }
    case CEL_ALL:
    case CEL_EXISTS:
    case CEL_EXISTS_ONE:
    case CEL_MAPPED:
    case CEL_FILTERED:
        return cel_macro(n, r);
    case CEL_HAS:
    case CEL_NOT:
    case CEL_NEGATE:
    case CEL_SIZE:
    case CEL_TIME_PART:
    case CEL_TO_INT:
    case CEL_TO_UINT:
    case CEL_TO_DOUBLE:
    case CEL_TO_STRING:
    case CEL_TO_BYTES:
    case CEL_TO_DURATION:
    case CEL_TO_TIMESTAMP:
    case CEL_TO_ITSELF:
        return unary(n, r);
    default:
        return binary(n, r);
    }
}

/* ---- the outside ---- */

static struct cel_value run(const struct cel *e, const struct format_context *cx, struct arena *a)
{
    struct cel_run r = {.cx = cx, .arena = a};
    struct cel_value v = cel_eval(e->root, &r);
    return r.steps > CEL_STEPS_MAX || a->overflowed ? cel_error() : v;
}

bool cel_is_true(const struct cel *e, const struct format_context *cx)
{
    struct arena scratch;
    arena_init(&scratch, CEL_MEMORY_MAX);
    struct cel_value v = run(e, cx, &scratch);
    arena_fini(&scratch);
    return v.kind == CEL_BOOL && v.v.b;
}

bool cel_text(const struct cel *e, const struct format_context *cx, struct arena *a, struct str *out)
{
    struct arena scratch;
    arena_init(&scratch, CEL_MEMORY_MAX);
    struct cel_value v = run(e, cx, &scratch), text = to_text(&v, &scratch);
    bool ok = text.kind == CEL_STRING;
    if (ok && is_time(&v))
        text.v.s = cel_show_time(&v, &scratch);
    ok = ok && !scratch.overflowed;
    *out = ok ? arena_str(a, text.v.s) : STR_NULL;
    arena_fini(&scratch);
    return ok && !a->overflowed;
}

bool cel_count(const struct cel *e, const struct format_context *cx, uint64_t *out)
{
    struct arena scratch;
    arena_init(&scratch, CEL_MEMORY_MAX);
    struct cel_value v = run(e, cx, &scratch);
    arena_fini(&scratch);
    switch (v.kind) {
    case CEL_INT:
        *out = (uint64_t)v.v.i;
        return v.v.i >= 0;
    case CEL_UINT:
        *out = v.v.u;
        return true;
    case CEL_DOUBLE:
        *out = v.v.d >= 0 && v.v.d < 0x1p63 ? (uint64_t)v.v.d : 0;
        return v.v.d >= 0 && v.v.d < 0x1p63;
    case CEL_DURATION:
        *out = v.v.i > 0 ? (uint64_t)v.v.i / 1000 : 0;
        return v.v.i >= 0;
    default:
        return false;
    }
}
