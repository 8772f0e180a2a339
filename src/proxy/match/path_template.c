/* SPDX-License-Identifier: Apache-2.0
 *
 * URI templates, turned into a regular expression with one group a variable. The characters that "*"
 * and "**" take are RFC 3986's pchar (and '/'). Refused as Envoy refuses: more than five variables,
 * names longer than 16 or used twice, anything but a literal after "**", nested braces, "//".
 */
#include "proxy/match/path_template.h"

#include "base/mem.h"
#include "proxy/match/string_match.h"

#define NAME_BYTES_MAX 16
#define SEGMENT_CHARS "a-zA-Z0-9\\-._~%!$&'()+,;:@="

struct path_template {
    struct regex *regex;
    struct str names[PATH_TEMPLATE_VARIABLES_MAX]; /* into `text` */
    uint32_t name_count;
    char *text;
};

struct piece {
    struct str literal; /* when variable < 0; into the rewrite's text */
    int variable;
};
struct path_template_rewrite {
    struct piece *pieces;
    size_t count, cap;
    char *text;
};

struct parse {
    struct str all;
    struct path_template *t;
    struct strbuf re;
    bool after_glob; /* "**" was seen: no operator may follow */
    struct err *err;
};

static int fail(struct parse *p, const char *why)
{
    return err_set(p->err, ERR_INVALID, "path template '%.*s': %s", STR_ARG(p->all), why);
}

static bool is_name(struct str s)
{
    if (!s.n || s.n > NAME_BYTES_MAX || !((s.p[0] | 0x20) >= 'a' && (s.p[0] | 0x20) <= 'z'))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = ascii_lower(s.p[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'))
            return false;
    }
    return true;
}

static bool is_literal(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = ascii_lower(s.p[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c && strchr("-._~%!$&'()+,;:@=", c))))
            return false;
    }
    return s.n > 0;
}

static void add_literal(struct strbuf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (strchr(".$()+", s.p[i]))
            strbuf_addc(b, '\\');
        strbuf_addc(b, s.p[i]);
    }
}

/* "*", "**" or a literal; one segment of a path or of a variable's pattern. */
static int parse_plain(struct parse *p, struct str segment)
{
    bool glob = str_eq(segment, STR("**"));
    if (glob || str_eq(segment, STR("*"))) {
        if (p->after_glob)
            return fail(p, "** must be the last operator");
        p->after_glob = glob;
        strbuf_addz(&p->re, glob ? "[" SEGMENT_CHARS "/]*" : "[" SEGMENT_CHARS "]+");
        return 0;
    }
    if (!is_literal(segment))
        return fail(p, "a segment must be *, **, {variable} or text of a path");
    add_literal(&p->re, segment);
    return 0;
}

static int parse_pattern(struct parse *p, struct str pattern)
{
    bool first = true;
    while (pattern.p) {
        struct str one = str_split(pattern, '/', &pattern);
        if (!first)
            strbuf_addc(&p->re, '/');
        first = false;
        if (parse_plain(p, one) < 0)
            return ERR_INVALID;
    }
    return 0;
}

static int parse_variable(struct parse *p, struct str inside)
{
    struct str pattern, name = str_split(inside, '=', &pattern);
    struct path_template *t = p->t;
    if (!is_name(name))
        return fail(p, "a variable's name must be a letter and up to 15 letters, digits or underscores");
    for (uint32_t i = 0; i < t->name_count; i++)
        if (str_eq(t->names[i], name))
            return fail(p, "a variable stands twice");
    if (t->name_count == PATH_TEMPLATE_VARIABLES_MAX)
        return fail(p, "more than 5 variables");
    t->names[t->name_count++] = name;
    strbuf_addc(&p->re, '(');
    int rc = parse_pattern(p, pattern.p ? pattern : STR("*"));
    strbuf_addc(&p->re, ')');
    return rc;
}

/* One segment, which may hold text behind an operator ("**.mp4", "{name}.json"): an operator follows nothing but text. */
static int parse_segment(struct parse *p, struct str rest)
{
    bool after_operator = false;
    while (rest.n) {
        size_t n = 0;
        bool is_operator = rest.p[0] == '{' || rest.p[0] == '*';
        if (is_operator && after_operator)
            return fail(p, "only text may follow an operator within a segment");
        after_operator = after_operator || is_operator;
        if (rest.p[0] == '{') {
            ptrdiff_t end = str_find_char(rest, '}');
            if (end < 0)
                return fail(p, "a brace isn't closed");
            if (parse_variable(p, str_make(rest.p + 1, (size_t)end - 1)) < 0)
                return ERR_INVALID;
            n = (size_t)end + 1;
        } else {
            while (n < rest.n && rest.p[n] != '{' && (rest.p[n] == '*') == (rest.p[0] == '*'))
                n++;
            if (parse_plain(p, str_make(rest.p, n)) < 0)
                return ERR_INVALID;
        }
        rest = str_make(rest.p + n, rest.n - n);
    }
    return 0;
}

/* The '/' inside braces doesn't end a segment. */
static size_t segment_length(struct str s)
{
    size_t n = 0;
    for (int depth = 0; n < s.n && (depth || s.p[n] != '/'); n++)
        depth += s.p[n] == '{' ? 1 : s.p[n] == '}' ? -1 : 0;
    return n;
}

static int parse(struct parse *p, struct str text)
{
    if (!text.n || text.p[0] != '/')
        return fail(p, "must begin with '/'");
    strbuf_addz(&p->re, "\\A");
    while (text.n) {
        size_t n = segment_length(str_make(text.p + 1, text.n - 1));
        if (n == 0 && text.n > 1)
            return fail(p, "an empty segment");
        strbuf_addc(&p->re, '/');
        if (parse_segment(p, str_make(text.p + 1, n)) < 0)
            return ERR_INVALID;
        text = str_make(text.p + 1 + n, text.n - 1 - n);
    }
    strbuf_addz(&p->re, "\\z");
    return 0;
}

struct path_template *path_template_new(struct str text, struct err *err)
{
    struct path_template *t = NEW(path_template);
    t->text = mem_strndup(text.p ? text.p : "", text.n);
    struct parse p = {.all = text, .t = t, .err = err};
    if (parse(&p, str_make(t->text, text.n)) == 0)
        t->regex = regex_new(strbuf_str(&p.re), err);
    strbuf_fini(&p.re);
    if (!t->regex)
        path_template_free(&t);
    return t;
}

void path_template_free(struct path_template **t)
{
    if (!*t)
        return;
    regex_free(&(*t)->regex);
    mem_free((*t)->text);
    mem_free(*t);
    *t = NULL;
}

bool path_template_matches(const struct path_template *t, struct str path)
{
    return regex_matches(t->regex, path);
}

/* ---- rewriting ---- */

static void push(struct path_template_rewrite *r, struct str literal, int variable)
{
    if (!literal.n && variable < 0)
        return;
    r->pieces = mem_grow(r->pieces, &r->cap, r->count + 1, sizeof *r->pieces);
    r->pieces[r->count++] = (struct piece){literal, variable};
}

static int find_name(const struct path_template *t, struct str name)
{
    for (uint32_t i = 0; i < t->name_count; i++)
        if (str_eq(t->names[i], name))
            return (int)i;
    return -1;
}

static int parse_rewrite(struct path_template_rewrite *r, struct str all, const struct path_template *match, struct err *err)
{
    struct str rest = all;
    if (!all.n || all.p[0] != '/' || str_find(all, STR("//")) >= 0)
        return err_set(err, ERR_INVALID, "path template '%.*s': must begin with '/' and have no empty segment", STR_ARG(all));
    while (rest.n) {
        size_t n = 0;
        while (n < rest.n && rest.p[n] != '{')
            n++;
        push(r, str_make(rest.p, n), -1);
        rest = str_make(rest.p + n, rest.n - n);
        if (!rest.n)
            break;
        ptrdiff_t end = str_find_char(rest, '}');
        struct str name = end < 0 ? STR_NULL : str_make(rest.p + 1, (size_t)end - 1);
        int variable = end < 0 ? -1 : find_name(match, name);
        if (variable < 0)
            return err_set(err, ERR_INVALID, "path template '%.*s': '%.*s' is no variable of the route's match", STR_ARG(all),
                           STR_ARG(name));
        push(r, STR_NULL, variable);
        rest = str_make(rest.p + end + 1, rest.n - (size_t)end - 1);
    }
    return 0;
}

struct path_template_rewrite *path_template_rewrite_new(struct str text, const struct path_template *match, struct err *err)
{
    struct path_template_rewrite *r = NEW(path_template_rewrite);
    r->text = mem_strndup(text.p ? text.p : "", text.n);
    if (parse_rewrite(r, str_make(r->text, text.n), match, err) < 0)
        path_template_rewrite_free(&r);
    return r;
}

void path_template_rewrite_free(struct path_template_rewrite **r)
{
    if (!*r)
        return;
    mem_free((*r)->pieces);
    mem_free((*r)->text);
    mem_free(*r);
    *r = NULL;
}

struct str path_template_rewrite_run(const struct path_template_rewrite *r, const struct path_template *match, struct str path,
                                     struct arena *a)
{
    struct str groups[REGEX_GROUPS_MAX] = {0};
    if (!regex_search(match->regex, path, groups))
        return STR_NULL;
    size_t n = 0;
    for (size_t i = 0; i < r->count; i++)
        n += r->pieces[i].variable < 0 ? r->pieces[i].literal.n : groups[r->pieces[i].variable + 1].n;
    char *p = arena_bytes(a, n + 1), *at = p;
    for (size_t i = 0; p && i < r->count; i++) {
        struct str s = r->pieces[i].variable < 0 ? r->pieces[i].literal : groups[r->pieces[i].variable + 1];
        if (s.n)
            memcpy(at, s.p, s.n);
        at += s.n;
    }
    return p ? str_make(p, n) : STR_NULL;
}
