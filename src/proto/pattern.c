/* SPDX-License-Identifier: Apache-2.0
 *
 * A matcher for the few regular expressions of the API's own rules (they come from the build, never
 * from a peer): branches, anchors, classes, '.', '*', '+', '?'. tools/protogen refuses a pattern
 * outside this subset. Works on bytes, which for these patterns is the same as on characters.
 * Backtracks; a greedy step is given back only as far as the text is long.
 */
#include "base/check.h"
#include "proto/proto_priv.h"

struct pattern {
    const char *end; /* of the branch */
    const char *text_end;
};

static int hex_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : ascii_lower(c) - 'a' + 10;
}

/* One literal character of a pattern, escapes resolved; moves *p behind it. */
static unsigned char literal(const char **p)
{
    const char *at = *p;
    if (*at != '\\') {
        *p = at + 1;
        return (unsigned char)*at;
    }
    if (at[1] == 'x') {
        *p = at + 4;
        return (unsigned char)(hex_of(at[2]) << 4 | hex_of(at[3]));
    }
    *p = at + 2;
    return (unsigned char)at[1];
}

static bool class_has(const char *p, unsigned char c)
{
    bool negated = *++p == '^', found = false;
    p += negated;
    while (*p != ']') {
        unsigned char low = literal(&p), high = low;
        if (p[0] == '-' && p[1] != ']') {
            p++;
            high = literal(&p);
        }
        found |= c >= low && c <= high;
    }
    return found != negated;
}

static const char *atom_end(const char *p)
{
    if (*p != '[') {
        literal(&p);
        return p;
    }
    for (p += 1 + (p[1] == '^'); *p != ']';)
        literal(&p);
    return p + 1;
}

static bool atom_matches(const char *p, unsigned char c)
{
    if (*p == '[')
        return class_has(p, c);
    return *p == '.' ? c != '\n' : literal(&p) == c;
}

static bool match_here(const struct pattern *m, const char *p, const char *s)
{
    while (p < m->end) {
        if (*p == '$' && p + 1 == m->end)
            return s == m->text_end;
        const char *next = atom_end(p);
        char repeat = next < m->end && strchr("*+?", *next) ? *next : 0;
        if (!repeat) {
            if (s == m->text_end || !atom_matches(p, (unsigned char)*s))
                return false;
            p = next;
            s++;
            continue;
        }
        const char *least = s + (repeat == '+'), *at = s;
        while (at < m->text_end && atom_matches(p, (unsigned char)*at) && (repeat != '?' || at == s))
            at++;
        for (; at >= least; at--) {
            if (match_here(m, next + 1, at))
                return true;
        }
        return false;
    }
    return true;
}

/* End of the branch that begins at p. */
static const char *branch_end(const char *p)
{
    while (*p && *p != '|')
        p = *p == '^' || *p == '$' || *p == '*' || *p == '+' || *p == '?' ? p + 1 : atom_end(p);
    return p;
}

bool proto_pattern_matches(const char *pattern, struct str text)
{
    for (const char *p = pattern;;) {
        struct pattern m = {branch_end(p), text.p + text.n};
        bool anchored = *p == '^';
        for (const char *s = text.p; s <= m.text_end; s++) {
            if (match_here(&m, p + anchored, s))
                return true;
            if (anchored)
                break;
        }
        if (!*m.end)
            return false;
        p = m.end + 1;
    }
}
