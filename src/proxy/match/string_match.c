/* SPDX-License-Identifier: Apache-2.0
 *
 * Plain string matching; regular expressions are regex.c's. Compiled on the main thread, read-only
 * afterwards. Case folding is ASCII's, as Envoy's is; a regex ignores `ignore_case`, which is what
 * Envoy documents.
 */
#include "proxy/match/string_match.h"

#include "base/mem.h"

int string_match_init(struct string_match *m, enum string_match_kind kind, struct str text,
                      bool ignore_case, struct err *err)
{
    *m = (struct string_match){.kind = kind, .ignore_case = ignore_case};
    if (kind == MATCH_REGEX) {
        m->regex = regex_new(text, err);
        if (!m->regex)
            return ERR_INVALID;
    }
    char *copy = mem_strndup(text.p ? text.p : "", text.n);
    for (size_t i = 0; ignore_case && kind != MATCH_REGEX && i < text.n; i++)
        copy[i] = ascii_lower(copy[i]);
    m->text = str_make(copy, text.n);
    return 0;
}

void string_match_fini(struct string_match *m)
{
    mem_free((char *)m->text.p);
    regex_free(&m->regex);
    *m = (struct string_match){.kind = MATCH_EXACT};
}

/* `lower` is in lower case already. */
static bool find_nocase(struct str s, struct str lower)
{
    for (size_t i = 0; i + lower.n <= s.n; i++)
        if (str_eq_nocase(str_make(s.p + i, lower.n), lower))
            return true;
    return false;
}

bool string_matches(const struct string_match *m, struct str s)
{
    switch (m->kind) {
    case MATCH_EXACT:
        return m->ignore_case ? str_eq_nocase(s, m->text) : str_eq(s, m->text);
    case MATCH_PREFIX:
        return m->ignore_case ? str_has_prefix_nocase(s, m->text) : str_has_prefix(s, m->text);
    case MATCH_SUFFIX:
        return m->ignore_case ? str_has_suffix_nocase(s, m->text) : str_has_suffix(s, m->text);
    case MATCH_CONTAINS:
        return m->ignore_case ? find_nocase(s, m->text) : str_find(s, m->text) >= 0;
    case MATCH_REGEX:
        return regex_matches(m->regex, s);
    case MATCH_ANY:
        return true;
    }
    return false;
}
