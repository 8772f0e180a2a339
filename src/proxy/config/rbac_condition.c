/* SPDX-License-Identifier: Apache-2.0
 *
 * Conditions of policies come as parsed CEL (google.api.expr.v1alpha1.Expr), and go on as text to the one compiler there is.
 * Names are checked and texts are escaped on the way, so that a tree can't say anything but what it is. What the compiler
 * doesn't take (messages, comprehensions, bytes, times) is refused by name. Depth is bounded by the decoder. Main thread.
 */
#include <math.h>
#include <stdio.h>

#include "base/check.h"
#include "proxy/config/rbac_priv.h"

#define EXPR(x) GOOGLE__API__EXPR__V1ALPHA1__EXPR__EXPR_KIND_##x
#define CONSTANT(x) GOOGLE__API__EXPR__V1ALPHA1__CONSTANT__CONSTANT_KIND_##x

static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!is_letter && !(i && c >= '0' && c <= '9'))
            return false;
    }
    return s.n > 0;
}

static void add_text(struct str s, struct strbuf *out)
{
    strbuf_addc(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\' || c < 0x20)
            strbuf_addf(out, "\\x%02x", c);
        else
            strbuf_addc(out, (char)c);
    }
    strbuf_addc(out, '"');
}

static void add_double(struct config_reader *cr, double d, struct strbuf *out)
{
    char text[40];
    if (!isfinite(d)) {
        UNSUPPORTED("const_expr.double_value", NULL);
        return;
    }
    snprintf(text, sizeof(text), "%.17g", d);
    strbuf_addf(out, strpbrk(text, ".e") ? "(%s)" : "(%s.0)", text);
}

static void add_constant(struct config_reader *cr, const pb_cel_constant *m, struct strbuf *out)
{
    switch (m->constant_kind_case) {
    case CONSTANT(NULL_VALUE):
        (void)GET(m, null_value);
        strbuf_addz(out, "null");
        break;
    case CONSTANT(BOOL_VALUE):
        strbuf_addz(out, GET(m, bool_value) ? "true" : "false");
        break;
    case CONSTANT(INT64_VALUE):
        if (GET(m, int64_value) == INT64_MIN) /* its digits alone are too large a number */
            strbuf_addz(out, "(-9223372036854775807 - 1)");
        else
            strbuf_addf(out, "(%lld)", (long long)m->int64_value);
        break;
    case CONSTANT(UINT64_VALUE):
        strbuf_addf(out, "%lluu", (unsigned long long)GET(m, uint64_value));
        break;
    case CONSTANT(DOUBLE_VALUE):
        add_double(cr, GET(m, double_value), out);
        break;
    case CONSTANT(STRING_VALUE):
        add_text(TEXT(m, string_value), out);
        break;
    default:
        proto_read_whole(&cr->r, &m->base);
        UNSUPPORTED("const_expr", "only null, bool, int64, uint64, double and string");
    }
}

static void add_list(struct config_reader *cr, const char *field, pb_cel_expr *const *items, size_t n, struct strbuf *out)
{
    for (size_t i = 0; i < n; i++) {
        strbuf_addz(out, i ? ", " : "");
        IN("%s[%zu]", field, i)
            cfg_cel_text(cr, items[i], out);
    }
}

static void add_select(struct config_reader *cr, const Google__Api__Expr__V1alpha1__Expr__Select *m, struct strbuf *out)
{
    struct str field = TEXT(m, field);
    bool is_test = GET(m, test_only);
    if (!GET(m, operand)) {
        FAULT("operand", "must be set");
        return;
    }
    strbuf_addz(out, is_test ? "has(" : "");
    IN("operand")
        cfg_cel_text(cr, m->operand, out);
    if (is_name(field)) {
        strbuf_addc(out, '.');
        strbuf_adds(out, field);
    } else {
        strbuf_addc(out, '[');
        add_text(field, out);
        strbuf_addc(out, ']');
    }
    strbuf_addz(out, is_test ? ")" : "");
}

/* Operators by the names that CEL's parsers give them; '1', '2' and '3' are the arguments. */
static const struct { const char *function, *form; } operators[] = {
    {"_==_", "(1 == 2)"}, {"_!=_", "(1 != 2)"}, {"_<_", "(1 < 2)"},   {"_<=_", "(1 <= 2)"},    {"_>_", "(1 > 2)"},
    {"_>=_", "(1 >= 2)"}, {"_&&_", "(1 && 2)"}, {"_||_", "(1 || 2)"}, {"!_", "!(1)"},          {"-_", "-(1)"},
    {"_+_", "(1 + 2)"},   {"_-_", "(1 - 2)"},   {"_*_", "(1 * 2)"},   {"_/_", "(1 / 2)"},      {"_%_", "(1 % 2)"},
    {"_[_]", "1[2]"},     {"@in", "(1 in 2)"},  {"_in_", "(1 in 2)"}, {"_?_:_", "(1 ? 2 : 3)"},
};

static bool add_operator(struct config_reader *cr, const Google__Api__Expr__V1alpha1__Expr__Call *m, struct str function,
                         struct strbuf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(operators); i++) {
        if (!str_eq(function, str_from(operators[i].function)))
            continue;
        uint32_t n = LEN(m, args), wanted = strchr(operators[i].form, '3') ? 3 : strchr(operators[i].form, '2') ? 2 : 1;
        if (n != wanted) {
            FAULT("args", "%.*s takes %u", STR_ARG(function), wanted);
            return true;
        }
        for (const char *p = operators[i].form; *p; p++)
            if (*p >= '1' && *p <= '3')
                IN("args[%d]", *p - '1')
                    cfg_cel_text(cr, m->args[*p - '1'], out);
            else
                strbuf_addc(out, *p);
        return true;
    }
    return false;
}

static void add_call(struct config_reader *cr, const Google__Api__Expr__V1alpha1__Expr__Call *m, struct strbuf *out)
{
    struct str function = TEXT(m, function);
    if (add_operator(cr, m, function, out))
        return;
    if (!is_name(function)) {
        FAULT("function", "\"%.*s\" is no function", STR_ARG(function));
        return;
    }
    if (GET(m, target)) {
        IN("target")
            cfg_cel_text(cr, m->target, out);
        strbuf_addc(out, '.');
    }
    strbuf_adds(out, function);
    strbuf_addc(out, '(');
    add_list(cr, "args", m->args, LEN(m, args), out);
    strbuf_addc(out, ')');
}

void cfg_cel_text(struct config_reader *cr, const pb_cel_expr *m, struct strbuf *out)
{
    (void)GET(m, id);
    switch (m->expr_kind_case) {
    case EXPR(CONST_EXPR):
        add_constant(cr, GET(m, const_expr), out);
        break;
    case EXPR(IDENT_EXPR): {
        struct str name = TEXT(GET(m, ident_expr), name);
        if (is_name(name))
            strbuf_adds(out, name);
        else
            FAULT("ident_expr.name", "\"%.*s\" is no name", STR_ARG(name));
        break;
    }
    case EXPR(SELECT_EXPR):
        IN("select_expr")
            add_select(cr, GET(m, select_expr), out);
        break;
    case EXPR(CALL_EXPR):
        IN("call_expr")
            add_call(cr, GET(m, call_expr), out);
        break;
    case EXPR(LIST_EXPR):
        strbuf_addc(out, '[');
        IN("list_expr")
            add_list(cr, "elements", GET(m, list_expr)->elements, LEN(m->list_expr, elements), out);
        strbuf_addc(out, ']');
        break;
    case EXPR(STRUCT_EXPR):
    case EXPR(COMPREHENSION_EXPR):
        proto_read_whole(&cr->r, &m->base);
        UNSUPPORTED(m->expr_kind_case == EXPR(STRUCT_EXPR) ? "struct_expr" : "comprehension_expr", NULL);
        break;
    default:
        FAULT("", "an expression must be set");
    }
}
