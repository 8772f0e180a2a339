/* SPDX-License-Identifier: Apache-2.0
 *
 * From text to tree, by recursive descent over cel-spec's grammar. Names are checked here: what an
 * expression asks for and this file doesn't know is a fault of the configuration, with its place.
 * Depth and size are bounded. Main thread.
 */
#include "proxy/cel/cel_priv.h"

#include <string.h>

#include "base/check.h"
#include "base/mem.h"

struct parser {
    struct cel *cel;
    struct str text;
    size_t at;
    uint32_t depth;
    struct err *err;
    bool failed;
    struct str variables[CEL_VARIABLES_MAX]; /* of the macros that are being read */
    uint32_t variable_count;
    bool in_bytes;      /* the literal that is being read: \xff is one byte there, a code point elsewhere */
};

static struct cel_node *expression(struct parser *p);

/* ---- words ---- */

static struct cel_node *fail(struct parser *p, const char *what, struct str name)
{
    if (!p->failed)
        err_set(p->err, ERR_SYNTAX, "CEL, character %zu: %s%s%.*s", p->at + 1, what, name.n ? " " : "", STR_ARG(name));
    p->failed = true;
    return NULL;
}

static void skip_space(struct parser *p)
{
    while (p->at < p->text.n && strchr(" \t\r\n", p->text.p[p->at]))
        p->at++;
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char peek(struct parser *p)
{
    skip_space(p);
    return p->at < p->text.n ? p->text.p[p->at] : '\0';
}

/* An operator; those that begin with it must be asked for first. */
static bool take(struct parser *p, const char *op)
{
    skip_space(p);
    size_t n = strlen(op);
    if (p->text.n - p->at < n || memcmp(p->text.p + p->at, op, n) != 0)
        return false;
    p->at += n;
    return true;
}

static struct str take_word(struct parser *p)
{
    skip_space(p);
    size_t from = p->at;
    if (from < p->text.n && is_digit(p->text.p[from]))
        return STR_NULL;
    while (p->at < p->text.n && is_word(p->text.p[p->at]))
        p->at++;
    return p->at > from ? str_make(p->text.p + from, p->at - from) : STR_NULL;
}

static bool take_keyword(struct parser *p, const char *word)
{
    size_t before = p->at;
    if (str_eq(take_word(p), str_from(word)))
        return true;
    p->at = before;
    return false;
}

/* ---- nodes ---- */

static struct cel_node *node(struct parser *p, enum cel_op op, struct cel_node *a, struct cel_node *b)
{
    struct cel_node *n = arena_zalloc(&p->cel->arena, sizeof *n + 3 * sizeof(struct cel_node *));
    if (!n || ++p->cel->node_count > CEL_NODES_MAX)
        return fail(p, "the expression is too large", STR(""));
    n->op = op;
    n->args = (struct cel_node **)(n + 1);
    n->args[0] = a;
    n->args[1] = b;
    n->arg_count = (a != NULL) + (b != NULL);
    n->next = p->cel->all;
    p->cel->all = n;
    return n;
}

static struct cel_node *constant(struct parser *p, struct cel_value v)
{
    struct cel_node *n = node(p, CEL_CONST, NULL, NULL);
    if (n)
        n->value = v;
    return n;
}

static struct cel_node *attribute(struct parser *p, struct str path)
{
    const struct cel_attribute *at = cel_attribute_find(path);
    if (!at)
        return fail(p, "there is no attribute", path);
    struct cel_node *n = node(p, CEL_ATTRIBUTE, NULL, NULL);
    if (n) {
        n->attribute = at;
        n->format = at->operators ? format_new(str_from(at->operators), false, p->err) : NULL;
    }
    return n;
}

/* ---- literals ---- */

static int hex_digits(struct parser *p, int count, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < count; i++, p->at++) {
        char c = p->at < p->text.n ? p->text.p[p->at] : '\0';
        int d = is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0)
            return -1;
        *out = *out * 16 + (uint32_t)d;
    }
    return 0;
}

static void add_utf8(struct strbuf *b, uint32_t c)
{
    if (c < 0x80) {
        strbuf_addc(b, (char)c);
    } else if (c < 0x800) {
        strbuf_addc(b, (char)(0xc0 | c >> 6));
        strbuf_addc(b, (char)(0x80 | (c & 0x3f)));
    } else {
        if (c >= 0x10000) {
            strbuf_addc(b, (char)(0xf0 | c >> 18));
            strbuf_addc(b, (char)(0x80 | (c >> 12 & 0x3f)));
        } else {
            strbuf_addc(b, (char)(0xe0 | c >> 12));
        }
        strbuf_addc(b, (char)(0x80 | (c >> 6 & 0x3f)));
        strbuf_addc(b, (char)(0x80 | (c & 0x3f)));
    }
}

static void add_code(const struct parser *p, struct strbuf *b, uint32_t code)
{
    if (p->in_bytes)
        strbuf_addc(b, (char)code);
    else
        add_utf8(b, code);
}

static bool escape(struct parser *p, struct strbuf *b)
{
    static const char plain[][2] = {{'n', '\n'}, {'t', '\t'}, {'r', '\r'}, {'a', '\a'},  {'b', '\b'}, {'f', '\f'},
                                    {'v', '\v'}, {'\\', '\\'}, {'\'', '\''}, {'"', '"'}, {'`', '`'}, {'?', '?'}};
    char c = p->at < p->text.n ? p->text.p[p->at++] : '\0';
    uint32_t code;
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        if (plain[i][0] == c) {
            strbuf_addc(b, plain[i][1]);
            return true;
        }
    }
    int digits = c == 'x' || c == 'X' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (c >= '0' && c <= '3') { /* \ooo */
        int second = p->at < p->text.n ? p->text.p[p->at] - '0' : -1, third = p->at + 1 < p->text.n ? p->text.p[p->at + 1] - '0' : -1;
        if (second < 0 || second > 7 || third < 0 || third > 7)
            return false;
        p->at += 2;
        add_code(p, b, (uint32_t)((c - '0') * 64 + second * 8 + third));
        return true;
    }
    if (!digits || hex_digits(p, digits, &code) < 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return false;
    if (digits == 2)
        add_code(p, b, code);
    else
        add_utf8(b, code);
    return true;
}

static bool has_quotes(const struct parser *p, char quote, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p->at + i >= p->text.n || p->text.p[p->at + i] != quote)
            return false;
    return true;
}

static struct cel_node *string_literal(struct parser *p, bool raw, enum cel_kind kind)
{
    char quote = p->text.p[p->at];
    size_t quotes = has_quotes(p, quote, 3) ? 3 : 1;
    struct strbuf b = {0};
    bool ok = false;
    p->in_bytes = kind == CEL_BYTES;
    p->at += quotes;
    while (p->at < p->text.n) {
        if (has_quotes(p, quote, quotes)) {
            p->at += quotes;
            ok = true;
            break;
        }
        char c = p->text.p[p->at++];
        if ((c == '\n' && quotes == 1) || (c == '\\' && !raw && !escape(p, &b)))
            break;
        if (c != '\\' || raw)
            strbuf_addc(&b, c);
    }
    struct str s = arena_str(&p->cel->arena, strbuf_str(&b));
    strbuf_fini(&b);
    return ok ? constant(p, (struct cel_value){.kind = kind, .v.s = s}) : fail(p, "a string doesn't end, or has an escape that isn't one", STR(""));
}

static struct cel_node *number_literal(struct parser *p)
{
    size_t from = p->at;
    bool is_double = false;
    if (p->text.n - from > 2 && p->text.p[from] == '0' && (p->text.p[from + 1] | 32) == 'x') {
        uint64_t v = 0;
        for (p->at = from + 2; p->at < p->text.n && is_word(p->text.p[p->at]) && p->text.p[p->at] != 'u'; p->at++) {
            char c = p->text.p[p->at];
            int d = is_digit(c) ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
            if (d < 0 || v >> 60)
                return fail(p, "not a number", STR(""));
            v = v << 4 | (uint64_t)d;
        }
        if (take(p, "u"))
            return constant(p, (struct cel_value){.kind = CEL_UINT, .v.u = v});
        return v > INT64_MAX ? fail(p, "the number is too large", STR("")) : constant(p, cel_int((int64_t)v));
    }
    for (; p->at < p->text.n; p->at++) {
        char c = p->text.p[p->at], before = p->at > from ? p->text.p[p->at - 1] : '\0';
        bool is_part = is_digit(c) || ((c == '+' || c == '-') && (before | 32) == 'e');
        if (c == '.' && p->at + 1 < p->text.n && is_digit(p->text.p[p->at + 1]))
            is_part = is_double = true;
        if ((c | 32) == 'e' && p->at > from)
            is_part = is_double = true;
        if (!is_part)
            break;
    }
    struct str s = str_make(p->text.p + from, p->at - from);
    struct cel_value v = {.kind = is_double ? CEL_DOUBLE : CEL_INT};
    if (!is_double && p->at < p->text.n && (p->text.p[p->at] | 32) == 'u') {
        v.kind = CEL_UINT;
        p->at++;
        return str_to_u64(s, &v.v.u) ? constant(p, v) : fail(p, "not a number:", s);
    }
    bool ok = is_double ? str_to_double(s, &v.v.d) : str_to_i64(s, &v.v.i);
    return ok ? constant(p, v) : fail(p, "not a number:", s);
}

/* ---- calls ---- */

static struct cel_node *closed(struct parser *p, struct cel_node *n)
{
    return !n || take(p, ")") ? n : fail(p, "expected )", STR(""));
}

static struct cel_node *method(struct parser *p, struct cel_node *on, struct str name)
{
    static const struct { const char *name; enum cel_op op; } methods[] = {
        {"startsWith", CEL_STARTS_WITH}, {"endsWith", CEL_ENDS_WITH}, {"contains", CEL_CONTAINS}, {"matches", CEL_MATCHES}};
    if (str_eq(name, STR("size")))
        return closed(p, node(p, CEL_SIZE, on, NULL));
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        if (!str_eq(name, str_from(methods[i].name)))
            continue;
        struct cel_node *arg = expression(p), *n = arg ? node(p, methods[i].op, on, arg) : NULL;
        if (n && n->op == CEL_MATCHES) {
            if (arg->op != CEL_CONST || arg->value.kind != CEL_STRING)
                return fail(p, "matches() takes a pattern that is a literal", STR(""));
            n->regex = regex_new(arg->value.v.s, p->err);
            if (!n->regex) {
                p->failed = true;
                return NULL;
            }
        }
        return closed(p, n);
    }
    return fail(p, "this function is not supported:", name);
}

/* "1.5s" and "2024-01-31T12:00:00Z" written out are checked and made now. */
static struct cel_node *time_literal(struct parser *p, enum cel_op op)
{
    struct cel_node *arg = expression(p);
    struct cel_value v = {.kind = op == CEL_TO_DURATION ? CEL_DURATION : CEL_TIMESTAMP};
    if (!arg || arg->op != CEL_CONST || arg->value.kind != CEL_STRING)
        return closed(p, arg ? node(p, op, arg, NULL) : NULL);
    struct str text = arg->value.v.s;
    if (op == CEL_TO_DURATION ? !cel_parse_duration(text, &v.v.i) : !cel_parse_timestamp(text, &v.v.i))
        return fail(p, op == CEL_TO_DURATION ? "not a duration:" : "not a timestamp:", text);
    return closed(p, constant(p, v));
}

/* The variable of a macro, for as long as its body is read. */
static struct cel_node *macro(struct parser *p, struct cel_node *on, enum cel_op op)
{
    struct str name = take_word(p);
    if (!name.n || !take(p, ","))
        return fail(p, "a macro takes a variable and an expression", STR(""));
    if (p->variable_count == CEL_VARIABLES_MAX)
        return fail(p, "too many macros inside each other", STR(""));
    uint32_t slot = p->variable_count;
    p->variables[p->variable_count++] = name;
    struct cel_node *body = expression(p), *made = NULL;
    if (body && op == CEL_MAPPED && take(p, ","))
        made = expression(p);
    p->variable_count--;
    if (!body || p->failed)
        return NULL;
    struct cel_node *n = node(p, op, on, body);
    if (!n)
        return NULL;
    n->slot = (uint8_t)slot;
    if (op == CEL_MAPPED && !made) {
        n->args[2] = body;
        n->args[1] = NULL;
    } else {
        n->args[2] = made;
    }
    n->arg_count = 3;
    return closed(p, n);
}

static struct cel_node *time_part(struct parser *p, struct cel_node *on, enum cel_part part)
{
    struct cel_node *zone = peek(p) == ')' ? NULL : expression(p), *n = p->failed ? NULL : node(p, CEL_TIME_PART, on, zone);
    if (n)
        n->slot = (uint8_t)part;
    return closed(p, n);
}

static bool find_part(struct str name, enum cel_part *part)
{
    static const char *const parts[] = {
        [CEL_YEAR] = "getFullYear",        [CEL_MONTH] = "getMonth",           [CEL_DAY_OF_YEAR] = "getDayOfYear",
        [CEL_DATE] = "getDate",            [CEL_DAY_OF_MONTH] = "getDayOfMonth", [CEL_DAY_OF_WEEK] = "getDayOfWeek",
        [CEL_HOURS] = "getHours",          [CEL_MINUTES] = "getMinutes",       [CEL_SECONDS] = "getSeconds",
        [CEL_MILLISECONDS] = "getMilliseconds"};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (str_eq(name, str_from(parts[i]))) {
            *part = (enum cel_part)i;
            return true;
        }
    }
    return false;
}

static bool find_macro(struct str name, enum cel_op *op)
{
    static const struct { const char *name; enum cel_op op; } macros[] = {
        {"all", CEL_ALL}, {"exists", CEL_EXISTS}, {"exists_one", CEL_EXISTS_ONE}, {"map", CEL_MAPPED}, {"filter", CEL_FILTERED}};
    for (size_t i = 0; i < ARRAY_LEN(macros); i++) {
        if (str_eq(name, str_from(macros[i].name))) {
            *op = macros[i].op;
            return true;
        }
    }
    return false;
}

/* a.name(…) */
static struct cel_node *call_on(struct parser *p, struct cel_node *on, struct str name)
{
    enum cel_op op;
    enum cel_part part;
    if (find_macro(name, &op))
        return macro(p, on, op);
    if (find_part(name, &part))
        return time_part(p, on, part);
    return method(p, on, name);
}

static struct cel_node *function(struct parser *p, struct str name)
{
    static const struct { const char *name; enum cel_op op; } functions[] = {
        {"size", CEL_SIZE}, {"int", CEL_TO_INT}, {"uint", CEL_TO_UINT}, {"double", CEL_TO_DOUBLE}, {"string", CEL_TO_STRING},
        {"bytes", CEL_TO_BYTES}, {"dyn", CEL_TO_ITSELF}};
    if (str_eq(name, STR("duration")))
        return time_literal(p, CEL_TO_DURATION);
    if (str_eq(name, STR("timestamp")))
        return time_literal(p, CEL_TO_TIMESTAMP);
    if (str_eq(name, STR("matches"))) {
        struct cel_node *on = expression(p);
        return on && take(p, ",") ? method(p, on, name) : fail(p, "matches() takes a text and a pattern", STR(""));
    }
    if (str_eq(name, STR("has"))) {
        struct cel_node *arg = expression(p);
        if (arg && !arg->is_select && arg->op != CEL_ATTRIBUTE)
            return fail(p, "has() takes a member: has(a.b)", STR(""));
        return closed(p, arg ? node(p, CEL_HAS, arg, NULL) : NULL);
    }
    for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
        if (str_eq(name, str_from(functions[i].name))) {
            struct cel_node *arg = expression(p);
            return closed(p, arg ? node(p, functions[i].op, arg, NULL) : NULL);
        }
    }
    return fail(p, "this function is not supported:", name);
}

/* ---- the grammar, from its tightest level ---- */

static bool add_item(struct parser *p, struct cel_node *n, uint32_t *cap, struct cel_node *item)
{
    if (item && n->arg_count == *cap) {
        struct cel_node **bigger = arena_zalloc(&p->cel->arena, (*cap * 2 + 4) * sizeof(*bigger));
        if (!bigger)
            return fail(p, "the expression is too large", STR("")) != NULL;
        if (*cap)
            memcpy(bigger, n->args, *cap * sizeof(*bigger));
        n->args = bigger;
        *cap = *cap * 2 + 4;
    }
    if (item)
        n->args[n->arg_count++] = item;
    return item != NULL;
}

/* [a, b] and {a: b, c: d}; a comma may stand behind the last. */
static struct cel_node *literal_of(struct parser *p, enum cel_op op, const char *close)
{
    struct cel_node *n = node(p, op, NULL, NULL);
    uint32_t cap = 0;
    while (n && !take(p, close)) {
        if (n->arg_count && !take(p, ","))
            return fail(p, "expected , or", str_from(close));
        if (n->arg_count && take(p, close))
            break;
        if (!add_item(p, n, &cap, expression(p)))
            return NULL;
        if (op == CEL_PAIRS_OF && (!take(p, ":") || !add_item(p, n, &cap, expression(p))))
            return fail(p, "expected : and a value", STR(""));
    }
    return n;
}

static struct cel_node *variable(struct parser *p, struct str name)
{
    for (uint32_t i = p->variable_count; i > 0; i--) {
        if (!str_eq(p->variables[i - 1], name))
            continue;
        struct cel_node *n = node(p, CEL_VARIABLE, NULL, NULL);
        if (n)
            n->slot = (uint8_t)(i - 1);
        return n;
    }
    return NULL;
}

/* "request.method": the attribute takes its first select with it. */
static struct cel_node *root(struct parser *p, struct str name)
{
    if (cel_attribute_find(name)) /* filter_state, metadata: by themselves */
        return attribute(p, name);
    if (!cel_is_root(name))
        return fail(p, "there is no attribute", name);
    if (!take(p, "."))
        return fail(p, "can't be used by itself:", name);
    struct str member = take_word(p);
    return member.n ? attribute(p, arena_printf(&p->cel->arena, "%.*s.%.*s", STR_ARG(name), STR_ARG(member)))
                    : fail(p, "expected a name", STR(""));
}

/* r"", b"", rb"", br"" in either case; then `at` is on the quote. */
static bool string_prefix(struct parser *p, bool *raw, bool *is_bytes)
{
    size_t n = 0;
    *raw = *is_bytes = false;
    for (; n < 2 && p->at + n < p->text.n; n++) {
        char c = p->text.p[p->at + n] | 32;
        bool *mark = c == 'r' ? raw : c == 'b' ? is_bytes : NULL;
        if (!mark || *mark)
            break;
        *mark = true;
    }
    char quote = p->at + n < p->text.n ? p->text.p[p->at + n] : '\0';
    if (!n || (quote != '"' && quote != '\''))
        return false;
    p->at += n;
    return true;
}

static struct cel_node *primary(struct parser *p)
{
    bool raw, is_bytes;
    char c = peek(p), after = p->at + 1 < p->text.n ? p->text.p[p->at + 1] : '\0';
    if (c == '"' || c == '\'')
        return string_literal(p, false, CEL_STRING);
    if (string_prefix(p, &raw, &is_bytes))
        return string_literal(p, raw, is_bytes ? CEL_BYTES : CEL_STRING);
    if (is_digit(c) || (c == '.' && is_digit(after)))
        return number_literal(p);
    if (take(p, "("))
        return closed(p, expression(p));
    if (take(p, "["))
        return literal_of(p, CEL_LIST_OF, "]");
    if (take(p, "{"))
        return literal_of(p, CEL_PAIRS_OF, "}");
    struct str name = take_word(p);
    if (!name.n)
        return fail(p, "expected a value", STR(""));
    if (str_eq(name, STR("true")) || str_eq(name, STR("false")))
        return constant(p, cel_bool(name.n == 4));
    if (str_eq(name, STR("null")))
        return constant(p, (struct cel_value){.kind = CEL_NULL});
    struct cel_node *bound = peek(p) == '(' ? NULL : variable(p, name);
    if (bound || p->failed)
        return bound;
    return take(p, "(") ? function(p, name) : root(p, name);
}

static struct cel_node *member(struct parser *p)
{
    struct cel_node *n = primary(p);
    while (n && !p->failed) {
        if (take(p, "[")) {
            struct cel_node *key = expression(p);
            n = key && take(p, "]") ? node(p, CEL_INDEX, n, key) : fail(p, "expected ]", STR(""));
        } else if (take(p, ".")) {
            struct str name = take_word(p);
            if (!name.n)
                return fail(p, "expected a name", STR(""));
            if (take(p, "(")) {
                n = call_on(p, n, name);
                continue;
            }
            n = node(p, CEL_INDEX, n, constant(p, cel_string(arena_str(&p->cel->arena, name))));
            if (n)
                n->is_select = true;
        } else {
            break;
        }
    }
    return p->failed ? NULL : n;
}

static struct cel_node *prefixed(struct parser *p)
{
    char c = peek(p);
    if (c != '!' && c != '-')
        return member(p);
    if (++p->depth > CEL_DEPTH_MAX)
        return fail(p, "nested too deeply", STR(""));
    p->at++;
    struct cel_node *on = prefixed(p);
    p->depth--;
    return on ? node(p, c == '!' ? CEL_NOT : CEL_NEGATE, on, NULL) : NULL;
}

struct level { const char *text; enum cel_op op; };
static const struct level products[] = {{"*", CEL_MUL}, {"/", CEL_DIV}, {"%", CEL_MOD}, {NULL, 0}};
static const struct level sums[] = {{"+", CEL_ADD}, {"-", CEL_SUB}, {NULL, 0}};
static const struct level relations[] = {{"==", CEL_EQ}, {"!=", CEL_NE}, {"<=", CEL_LE}, {">=", CEL_GE},
                                         {"<", CEL_LT},  {">", CEL_GT},  {NULL, 0}};
static const struct level ands[] = {{"&&", CEL_AND}, {NULL, 0}};
static const struct level ors[] = {{"||", CEL_OR}, {NULL, 0}};

static bool take_op(struct parser *p, const struct level *ops, enum cel_op *op)
{
    for (; ops->text; ops++) {
        if (take(p, ops->text)) {
            *op = ops->op;
            return true;
        }
    }
    return false;
}

static struct cel_node *chain_of(struct parser *p, const struct level *ops, struct cel_node *(*below)(struct parser *p))
{
    enum cel_op op;
    struct cel_node *n = below(p);
    /* Trees of a chain grow to the left, and evaluation goes down them. */
    for (uint32_t length = 0; n && take_op(p, ops, &op); length++) {
        if (length > CEL_DEPTH_MAX)
            return fail(p, "too long a chain; use parentheses", STR(""));
        struct cel_node *right = below(p);
        n = right ? node(p, op, n, right) : NULL;
    }
    return n;
}

static struct cel_node *product(struct parser *p)
{
    return chain_of(p, products, prefixed);
}
static struct cel_node *sum(struct parser *p)
{
    return chain_of(p, sums, product);
}
static struct cel_node *relation(struct parser *p)
{
    struct cel_node *n = chain_of(p, relations, sum);
    while (n && take_keyword(p, "in")) {
        struct cel_node *right = sum(p);
        n = right ? node(p, CEL_IN, n, right) : NULL;
    }
    return n;
}
static struct cel_node *conjunction(struct parser *p)
{
    return chain_of(p, ands, relation);
}

static struct cel_node *expression(struct parser *p)
{
    if (++p->depth > CEL_DEPTH_MAX)
        return fail(p, "nested too deeply", STR(""));
    struct cel_node *n = chain_of(p, ors, conjunction);
    if (n && take(p, "?")) {
        struct cel_node *yes = expression(p), *no = yes && take(p, ":") ? expression(p) : fail(p, "expected :", STR(""));
        n = no ? node(p, CEL_TERNARY, n, yes) : NULL;
        if (n) {
            n->args[2] = no;
            n->arg_count = 3;
        }
    }
    p->depth--;
    return n;
}

struct cel *cel_new(struct str text, struct err *err)
{
    struct cel *e = NEW(cel);
    arena_init(&e->arena, 0);
    struct parser p = {.cel = e, .text = arena_str(&e->arena, text), .err = err};
    e->root = text.n > CEL_TEXT_MAX ? fail(&p, "the expression is too long", STR("")) : expression(&p);
    if (e->root && peek(&p))
        e->root = fail(&p, "unexpected text after the expression", STR(""));
    if (!e->root)
        cel_free(&e);
    return e;
}

void cel_free(struct cel **cel)
{
    struct cel *e = *cel;
    *cel = NULL;
    if (!e)
        return;
    for (struct cel_node *n = e->all; n; n = n->next) {
        format_free(&n->format);
        regex_free(&n->regex);
    }
    arena_fini(&e->arena);
    mem_free(e);
}
