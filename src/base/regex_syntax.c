/* SPDX-License-Identifier: Apache-2.0
 *
 * Refuses what pcre2 takes and RE2 doesn't: back-references, look-around, atomic groups, possessive
 * quantifiers, recursion, conditionals, verbs and Perl's rarer escapes. It knows just enough of the
 * grammar to tell a construct from a literal: escapes, \Q..\E, classes and groups. Whatever else is
 * wrong with a pattern pcre2 says when compiling it. Pure; main thread.
 */
#include "base/regex_syntax.h"

#include <stdbool.h>

/* RE2 stops at 1000; larger counts multiply the compiled program. */
#define REGEX_MAX_REPEAT 1000

struct scan {
    struct str s;
    size_t i;
    bool after_quantifier; /* a '+' here would make it possessive */
};

static char scan_at(const struct scan *sc, size_t ahead)
{
    return sc->i + ahead < sc->s.n ? sc->s.p[sc->i + ahead] : '\0';
}

static int scan_fail(const struct scan *sc, struct err *err, const char *what)
{
    return err_set(err, ERR_INVALID, "regex '%.*s': %s at offset %zu %s", STR_ARG(sc->s), what, sc->i,
                   "is not part of RE2's syntax");
}

static bool escape_is_known(char c)
{
    if ((unsigned char)c >= 0x80)
        return false;
    bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    return !is_word || strchr("afnrtvxdDsSwWbBAzpPQCE", c) != NULL || (c >= '0' && c <= '7');
}

/* At a backslash. */
static int scan_escape(struct scan *sc, struct err *err)
{
    char c = scan_at(sc, 1);
    if (c == '\0' && sc->i + 1 >= sc->s.n)
        return scan_fail(sc, err, "a trailing backslash");
    if (c >= '1' && c <= '9' && !(c <= '7' && scan_at(sc, 2) >= '0' && scan_at(sc, 2) <= '7'))
        return scan_fail(sc, err, "a back-reference");
    if (!escape_is_known(c))
        return scan_fail(sc, err, "this escape");
    if (c == 'Q') {
        struct str rest = str_make(sc->s.p + sc->i, sc->s.n - sc->i);
        ptrdiff_t end = str_find(rest, STR("\\E"));
        sc->i += end < 0 ? rest.n : (size_t)end + 2;
        return 0;
    }
    sc->i += 2;
    return 0;
}

/* At '[': up to its ']'; escapes inside follow the same rules. */
static int scan_class(struct scan *sc, struct err *err)
{
    sc->i++;
    if (scan_at(sc, 0) == '^')
        sc->i++;
    if (scan_at(sc, 0) == ']')
        sc->i++;
    while (sc->i < sc->s.n && scan_at(sc, 0) != ']') {
        if (scan_at(sc, 0) == '\\') {
            if (scan_escape(sc, err) < 0)
                return ERR_INVALID;
        } else if (scan_at(sc, 0) == '[' && scan_at(sc, 1) == ':') {
            struct str rest = str_make(sc->s.p + sc->i, sc->s.n - sc->i);
            ptrdiff_t end = str_find(rest, STR(":]"));
            sc->i += end < 0 ? 1 : (size_t)end + 2;
        } else {
            sc->i++;
        }
    }
    sc->i++;
    return 0;
}

/* Flags of (?flags) and (?flags:re): RE2 has i, m, s, U. */
static int scan_flags(struct scan *sc, struct err *err)
{
    size_t i = 2;
    while (scan_at(sc, i) && strchr("imsU-", scan_at(sc, i)))
        i++;
    if (i == 2 && scan_at(sc, i) != ':')
        return scan_fail(sc, err, "this group");
    if (scan_at(sc, i) != ':' && scan_at(sc, i) != ')')
        return scan_fail(sc, err, "this group");
    sc->i += i;
    if (scan_at(sc, 0) == ':')
        sc->i++;
    return 0;
}

/* At '('. */
static int scan_group(struct scan *sc, struct err *err)
{
    if (scan_at(sc, 1) == '*')
        return scan_fail(sc, err, "a verb");
    if (scan_at(sc, 1) != '?') {
        sc->i++;
        return 0;
    }
    char c = scan_at(sc, 2), d = scan_at(sc, 3);
    if (c == '=' || c == '!' || (c == '<' && (d == '=' || d == '!')))
        return scan_fail(sc, err, "look-around");
    if (c == '>')
        return scan_fail(sc, err, "an atomic group");
    if ((c == 'P' && d == '<') || c == '<') {
        sc->i += 3;
        return 0;
    }
    return scan_flags(sc, err);
}

/* At '{': true when it is a counted repetition, with its bounds checked. */
static int scan_repeat(struct scan *sc, bool *is_repeat, struct err *err)
{
    size_t i = 1;
    uint64_t counts[2] = {0, 0};
    int at = 0;
    bool has_digit = false;
    for (; scan_at(sc, i) != '}'; i++) {
        char c = scan_at(sc, i);
        if (c >= '0' && c <= '9') {
            counts[at] = counts[at] > 99999 ? counts[at] : counts[at] * 10 + (uint64_t)(c - '0');
            has_digit = has_digit || at == 0;
        } else if (c == ',' && at == 0) {
            at = 1;
        } else {
            *is_repeat = false;
            return 0;
        }
    }
    *is_repeat = has_digit;
    if (has_digit && (counts[0] > REGEX_MAX_REPEAT || counts[1] > REGEX_MAX_REPEAT))
        return scan_fail(sc, err, "a repetition of more than 1000");
    if (has_digit)
        sc->i += i;
    return 0;
}

static int scan_step(struct scan *sc, struct err *err)
{
    char c = scan_at(sc, 0);
    bool was_quantifier = sc->after_quantifier, is_repeat = c == '*' || c == '+' || c == '?';
    sc->after_quantifier = false;
    if (c == '\\')
        return scan_escape(sc, err);
    if (c == '[')
        return scan_class(sc, err);
    if (c == '(')
        return scan_group(sc, err);
    if (is_repeat && was_quantifier) {
        if (c == '?') { /* lazy */
            sc->i++;
            return 0;
        }
        return scan_fail(sc, err, c == '+' ? "a possessive quantifier" : "a repeated quantifier");
    }
    if (c == '{' && scan_repeat(sc, &is_repeat, err) < 0)
        return ERR_INVALID;
    sc->after_quantifier = is_repeat;
    sc->i++;
    return 0;
}

int regex_syntax_check(struct str pattern, struct err *err)
{
    struct scan sc = {.s = pattern};
    while (sc.i < sc.s.n)
        if (scan_step(&sc, err) < 0)
            return ERR_INVALID;
    return 0;
}
