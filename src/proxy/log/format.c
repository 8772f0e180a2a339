/* SPDX-License-Identifier: Apache-2.0
 *
 * Substitution formats: "%NAME(argument):max%" among literal text, "%%" for a percent sign, as Envoy's
 * access-log documentation defines them. Compiled on the main thread; run by every worker without
 * allocation but the output's growth. Unknown operators are errors, by name.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "proxy/cel/cel.h"
#include "proxy/log/format_priv.h"

/* ---- parsing ---- */

static struct format_piece *add_piece(struct format_text *t, size_t *cap)
{
    t->pieces = mem_grow(t->pieces, cap, t->count + 1, sizeof(*t->pieces));
    struct format_piece *p = &t->pieces[t->count++];
    *p = (struct format_piece){.max_len = SIZE_MAX};
    return p;
}

static void add_literal(struct format_text *t, size_t *cap, struct str s)
{
    if (s.n)
        add_piece(t, cap)->text = str_dup(s);
}

static bool is_name_char(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The argument may hold '%' (a time format) and nested parentheses: it ends at the ')' that closes it before ':' or '%'. */
static ptrdiff_t find_close(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == ')' && i + 1 < s.n && (s.p[i + 1] == '%' || s.p[i + 1] == ':'))
            return (ptrdiff_t)i;
    return -1;
}

static int parse_length(struct str *rest, struct format_piece *p, struct err *err)
{
    if (!rest->n || rest->p[0] != ':')
        return 0;
    size_t n = 1;
    while (n < rest->n && rest->p[n] != '%')
        n++;
    uint64_t v;
    if (!str_to_u64(str_make(rest->p + 1, n - 1), &v))
        return err_set(err, ERR_INVALID, "%%%s:%.*s%%: the length after ':' must be a number", p->op->name,
                       (int)n - 1, rest->p + 1);
    p->max_len = v;
    *rest = str_make(rest->p + n, rest->n - n);
    return 0;
}

static int parse_argument(struct str *rest, struct format_piece *p, struct err *err)
{
    bool there = rest->n && rest->p[0] == '(';
    if (there && p->op->argument == ARG_NONE)
        return err_set(err, ERR_INVALID, "%%%s%% takes no argument", p->op->name);
    if (!there && p->op->argument == ARG_REQUIRED)
        return err_set(err, ERR_INVALID, "%%%s%% needs an argument in parentheses", p->op->name);
    if (!there)
        return 0;
    ptrdiff_t close = find_close(*rest);
    if (close < 0)
        return err_set(err, ERR_SYNTAX, "%%%s(: no closing parenthesis", p->op->name);
    p->text = str_dup(str_make(rest->p + 1, (size_t)close - 1));
    *rest = str_make(rest->p + close + 1, rest->n - (size_t)close - 1);
    return 0;
}

/* *rest begins after the first '%'. */
static int parse_operator(struct format_text *t, size_t *cap, struct str *rest, struct err *err)
{
    size_t n = 0;
    while (n < rest->n && is_name_char(rest->p[n]))
        n++;
    struct str name = str_make(rest->p, n);
    const struct operator_def *op = operator_find(name);
    if (!n)
        return err_set(err, ERR_SYNTAX, "a '%%' stands alone in the format; write %%%% for a percent sign");
    if (!op)
        return err_set(err, ERR_UNSUPPORTED, "%%%.*s%% is not a command operator that is supported", STR_ARG(name));
    struct format_piece *p = add_piece(t, cap);
    p->op = op;
    *rest = str_make(rest->p + n, rest->n - n);
    int rc = parse_argument(rest, p, err);
    if (rc == 0)
        rc = parse_length(rest, p, err);
    if (rc == 0 && op->check)
        rc = op->check(p, err);
    if (rc < 0)
        return rc;
    if (!rest->n || rest->p[0] != '%')
        return err_set(err, ERR_SYNTAX, "%%%s: the closing '%%' is missing", op->name);
    *rest = str_make(rest->p + 1, rest->n - 1);
    return 0;
}

int format_text_parse(struct str text, struct format_text *out, struct err *err)
{
    size_t cap = 0;
    *out = (struct format_text){0};
    struct str rest = text;
    while (rest.n) {
        ptrdiff_t at = str_find_char(rest, '%');
        if (at < 0) {
            add_literal(out, &cap, rest);
            break;
        }
        add_literal(out, &cap, str_make(rest.p, (size_t)at));
        rest = str_make(rest.p + at + 1, rest.n - (size_t)at - 1);
        if (rest.n && rest.p[0] == '%') {
            add_literal(out, &cap, STR("%"));
            rest = str_make(rest.p + 1, rest.n - 1);
            continue;
        }
        int rc = parse_operator(out, &cap, &rest, err);
        if (rc < 0) {
            format_text_fini(out);
            return rc;
        }
    }
    return 0;
}

void format_text_fini(struct format_text *t)
{
    for (uint32_t i = 0; i < t->count; i++) {
        struct format_piece *p = &t->pieces[i];
        cel_free(&p->cel);
        str_free(&p->text);
        mem_free(p->extra);
    }
    mem_free(t->pieces);
    *t = (struct format_text){0};
}

/* ---- running ---- */

void format_text_run(const struct format_text *t, const struct format_context *cx, bool omit_empty, struct strbuf *out)
{
    for (uint32_t i = 0; i < t->count; i++) {
        const struct format_piece *p = &t->pieces[i];
        if (!p->op) {
            strbuf_adds(out, p->text);
            continue;
        }
        size_t before = out->n;
        if (!p->op->run(p, cx, out)) {
            if (!omit_empty)
                strbuf_addc(out, '-');
        } else if (out->n - before > p->max_len) {
            out->n = before + p->max_len;
        }
    }
}

/* ---- the public form ---- */

struct json_leaf_tree {
    struct str key;
    int kind;
    struct format_text text;
    struct str literal;
    struct json_leaf_tree *children;
    uint32_t child_count;
};
/* A JSON format whose shape doesn't depend on values is run as one list: what stands before a leaf, then the leaf. */
struct json_step {
    struct str before;
    const struct format_text *leaf; /* in the tree; NULL: the end */
};
struct format {
    bool omit_empty, is_json;
    struct format_text text;
    struct json_leaf_tree json;
    struct json_step *steps; /* NULL: the tree is walked, since leaves that are empty go with their keys */
    uint32_t step_count;
};

struct format *format_new(struct str text, bool omit_empty, struct err *err)
{
    struct format *f = NEW(format);
    f->omit_empty = omit_empty;
    if (format_text_parse(text, &f->text, err) < 0)
        format_free(&f);
    return f;
}

static int by_key(const void *a, const void *b)
{
    return str_cmp(((const struct json_leaf_tree *)a)->key, ((const struct json_leaf_tree *)b)->key);
}

static int compile_node(const struct json_format_node *n, bool sort_keys, struct json_leaf_tree *out, struct err *err)
{
    out->key = str_dup(n->key);
    out->kind = n->kind;
    if (n->kind == JSON_FORMAT_TEXT && format_text_parse(n->text, &out->text, err) < 0)
        return err_prefix(err, "%.*s", STR_ARG(n->key));
    out->literal = str_dup(n->text);
    out->child_count = n->child_count;
    out->children = n->child_count ? mem_zalloc(n->child_count * sizeof(*out->children)) : NULL;
    for (uint32_t i = 0; i < n->child_count; i++) {
        if (compile_node(&n->children[i], sort_keys, &out->children[i], err) < 0)
            return n->key.n ? err_prefix(err, "%.*s", STR_ARG(n->key)) : err->code;
    }
    if (sort_keys && n->kind == JSON_FORMAT_OBJECT && n->child_count)
        qsort(out->children, out->child_count, sizeof(*out->children), by_key);
    return 0;
}

struct flattening {
    struct format *f;
    size_t cap;
    struct strbuf before;
};

static void add_step(struct flattening *x, const struct format_text *leaf)
{
    struct format *f = x->f;
    f->steps = mem_grow(f->steps, &x->cap, f->step_count + 1, sizeof(*f->steps));
    f->steps[f->step_count++] = (struct json_step){str_dup(strbuf_str(&x->before)), leaf};
    strbuf_reset(&x->before);
}

static void flatten(struct flattening *x, const struct json_leaf_tree *n)
{
    bool object = n->kind == JSON_FORMAT_OBJECT;
    if (n->kind == JSON_FORMAT_TEXT) {
        add_step(x, &n->text);
        return;
    }
    if (!object && n->kind != JSON_FORMAT_LIST) {
        strbuf_adds(&x->before, n->kind == JSON_FORMAT_NULL ? STR("null") : n->literal);
        return;
    }
    strbuf_addc(&x->before, object ? '{' : '[');
    for (uint32_t i = 0; i < n->child_count; i++) {
        if (i)
            strbuf_addc(&x->before, ',');
        if (object) {
            strbuf_addc(&x->before, '"');
            strbuf_add_json(&x->before, n->children[i].key);
            strbuf_addz(&x->before, "\":");
        }
        flatten(x, &n->children[i]);
    }
    strbuf_addc(&x->before, object ? '}' : ']');
}

static void make_steps(struct format *f)
{
    struct flattening x = {.f = f};
    flatten(&x, &f->json);
    strbuf_addc(&x.before, '\n');
    add_step(&x, NULL);
    strbuf_fini(&x.before);
}

struct format *format_new_json(const struct json_format_node *root, bool omit_empty, bool sort_keys, struct err *err)
{
    struct format *f = NEW(format);
    struct err own;
    f->omit_empty = omit_empty;
    f->is_json = true;
    if (compile_node(root, sort_keys, &f->json, err ? err : &own) < 0)
        format_free(&f);
    else if (!omit_empty)
        make_steps(f);
    return f;
}

static void json_fini(struct json_leaf_tree *n)
{
    str_free(&n->key);
    str_free(&n->literal);
    format_text_fini(&n->text);
    for (uint32_t i = 0; i < n->child_count; i++)
        json_fini(&n->children[i]);
    mem_free(n->children);
}

void format_free(struct format **f)
{
    if (!*f)
        return;
    format_text_fini(&(*f)->text);
    json_fini(&(*f)->json);
    for (uint32_t i = 0; i < (*f)->step_count; i++)
        str_free(&(*f)->steps[i].before);
    mem_free((*f)->steps);
    mem_free(*f);
    *f = NULL;
}

static bool needs_escape(unsigned char c)
{
    return c < 0x20 || c >= 0x7f || c == '"' || c == '\\';
}

/* Eight bytes at once: does any of them need escaping? May say yes for none, where a carry goes into a neighbour. */
static bool word_needs_look(const char *p)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t w;
    memcpy(&w, p, sizeof(w));
    uint64_t quote = w ^ ones * '"', slash = w ^ ones * '\\';
    return ((w - ones * 0x20) | w | (w + ones) | (quote - ones) | (slash - ones)) & tops;
}

static size_t plain_length(struct str s)
{
    size_t i = 0;
    while (i + 8 <= s.n && !word_needs_look(s.p + i))
        i += 8;
    while (i < s.n && !needs_escape((unsigned char)s.p[i]))
        i++;
    return i;
}

/* Escapes what stands in `out` from `from` on; nearly always there is nothing to do. */
static void escape_tail(struct strbuf *out, size_t from)
{
    if (plain_length(str_make(out->p + from, out->n - from)) == out->n - from)
        return;
    struct strbuf raw = {0};
    strbuf_add(&raw, out->p + from, out->n - from);
    out->n = from;
    strbuf_add_json(out, strbuf_str(&raw));
    strbuf_fini(&raw);
}

/* A leaf that is one operator alone keeps its type: a number, null when absent. */
static bool json_operator(const struct format *f, const struct format_piece *p, const struct format_context *cx,
                          struct strbuf *out)
{
    size_t start = out->n, quote = p->op->shape == SHAPE_STRING;
    if (quote)
        strbuf_addc(out, '"');
    bool there = p->op->shape == SHAPE_VALUE ? operator_json(p, cx, out) : p->op->run(p, cx, out);
    if (!there) {
        out->n = start;
        if (!f->omit_empty)
            strbuf_adds(out, STR("null"));
        return !f->omit_empty;
    }
    if (p->op->shape == SHAPE_VALUE)
        return true;
    if (out->n - start - quote > p->max_len)
        out->n = start + quote + p->max_len;
    if (quote) {
        escape_tail(out, start + 1);
        strbuf_addc(out, '"');
    }
    return true;
}

/* Everything else is a string. False: nothing to write (omit_empty). */
static bool json_text(const struct format *f, const struct format_text *t, const struct format_context *cx,
                      struct strbuf *out)
{
    if (t->count == 1 && t->pieces[0].op)
        return json_operator(f, &t->pieces[0], cx, out);
    strbuf_addc(out, '"');
    size_t from = out->n;
    format_text_run(t, cx, f->omit_empty, out);
    escape_tail(out, from);
    strbuf_addc(out, '"');
    return true;
}

static bool json_node(const struct format *f, const struct json_leaf_tree *n, const struct format_context *cx,
                      struct strbuf *out);

static bool json_children(const struct format *f, const struct json_leaf_tree *n, const struct format_context *cx,
                          struct strbuf *out)
{
    bool object = n->kind == JSON_FORMAT_OBJECT, any = false;
    strbuf_addc(out, object ? '{' : '[');
    for (uint32_t i = 0; i < n->child_count; i++) {
        const struct json_leaf_tree *c = &n->children[i];
        size_t before = out->n;
        if (any)
            strbuf_addc(out, ',');
        if (object) {
            strbuf_addc(out, '"');
            strbuf_add_json(out, c->key);
            strbuf_addz(out, "\":");
        }
        if (json_node(f, c, cx, out))
            any = true;
        else
            out->n = before;
    }
    strbuf_addc(out, object ? '}' : ']');
    return true;
}

static bool json_node(const struct format *f, const struct json_leaf_tree *n, const struct format_context *cx,
                      struct strbuf *out)
{
    switch (n->kind) {
    case JSON_FORMAT_TEXT:
        return json_text(f, &n->text, cx, out);
    case JSON_FORMAT_OBJECT:
    case JSON_FORMAT_LIST:
        return json_children(f, n, cx, out);
    case JSON_FORMAT_NULL:
        strbuf_addz(out, "null");
        return true;
    default:
        strbuf_adds(out, n->literal);
        return true;
    }
}

void format_run(const struct format *f, const struct format_context *cx, struct strbuf *out)
{
    if (!f->is_json) {
        format_text_run(&f->text, cx, f->omit_empty, out);
        return;
    }
    for (uint32_t i = 0; i < f->step_count; i++) {
        strbuf_adds(out, f->steps[i].before);
        if (f->steps[i].leaf)
            json_text(f, f->steps[i].leaf, cx, out);
    }
    if (f->steps)
        return;
    json_node(f, &f->json, cx, out);
    strbuf_addc(out, '\n');
}

struct str format_default_http(void)
{
    return STR("[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% "
               "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
               "\"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" "
               "\"%UPSTREAM_HOST%\"\n");
}
