/* SPDX-License-Identifier: Apache-2.0
 *
 * String matching as type.matcher.v3.StringMatcher means it, compiled once on the main thread and
 * read by every worker. Regexes are RE2's syntax (what RE2 refuses is refused: back-references,
 * look-around), matched whole-string by pcre2 with match and depth limits: a pattern can't burn a
 * worker; hitting the limit counts as no match.
 */
#ifndef PROXY_MATCH_STRING_MATCH_H
#define PROXY_MATCH_STRING_MATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct regex;
struct regex *regex_new(struct str pattern, struct err *err); /* RE2's language and no more */
/* Patterns that Envoy gives to std::regex (tags of statistics): they may look around, too. */
struct regex *regex_new_ecmascript(struct str pattern, struct err *err);
void regex_free(struct regex **r);
uint64_t regex_limit_hits(void); /* matches given up in this process, all threads */
bool regex_matches(const struct regex *r, struct str s); /* whole string */
/* Replaces every match; \1 style references. `out` is appended to. False when a limit was hit. */
bool regex_replace(const struct regex *r, struct str s, struct str substitution, struct strbuf *out);
/* Anywhere in s. groups[0] is the match, groups[1..] its groups (null str: not taken part). Returns how many are set,
 * 0: no match. */
#define REGEX_GROUPS_MAX 10
int regex_search(const struct regex *r, struct str s, struct str groups[REGEX_GROUPS_MAX]);
bool regex_substitution_is_valid(const struct regex *r, struct str substitution, struct err *err);

enum string_match_kind { MATCH_EXACT, MATCH_PREFIX, MATCH_SUFFIX, MATCH_CONTAINS, MATCH_REGEX, MATCH_ANY };
struct string_match {
    enum string_match_kind kind;
    bool ignore_case;
    struct str text;      /* owned; of a regex its pattern, for people */
    struct regex *regex;  /* owned */
};
int string_match_init(struct string_match *m, enum string_match_kind kind, struct str text, bool ignore_case, struct err *err);
void string_match_fini(struct string_match *m);
bool string_matches(const struct string_match *m, struct str s);

#endif
