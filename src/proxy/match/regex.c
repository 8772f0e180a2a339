/* SPDX-License-Identifier: Apache-2.0
 *
 * Regular expressions on pcre2, in RE2's language (regex_syntax.c says what that leaves out).
 *
 * A pattern is compiled on the main thread and read by every worker. Attack: a pattern that
 * backtracks for seconds on a chosen header (ReDoS). Every match has a step limit and a heap limit;
 * hitting one is "no match". Subjects may hold any bytes: invalid UTF-8 never matches anything but
 * can't fail either. Match data is one per thread, reused.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/regex_syntax.h"
#include "proxy/match/string_match.h"

/* Steps of pcre2's matcher: about 1 ms at worst on today's machines. */
#define REGEX_MATCH_LIMIT 100000
#define REGEX_HEAP_LIMIT_KIB 1024
#define REGEX_MAX_PATTERN_BYTES 16384 /* a configuration's pattern, not a program */

struct regex {
    pcre2_code *whole; /* anchored at both ends */
    pcre2_code *search;
    uint32_t groups;
    char pattern[64]; /* its beginning, for people */
};
static _Atomic uint64_t limit_hits;

static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
static pcre2_match_context *limits;
static __thread pcre2_match_data *scratch;

static void scratch_free(void *p)
{
    pcre2_match_data_free(p);
}

static void scratch_setup(void)
{
    pthread_key_create(&scratch_key, scratch_free);
    limits = pcre2_match_context_create(NULL);
    pcre2_set_match_limit(limits, REGEX_MATCH_LIMIT);
    pcre2_set_depth_limit(limits, REGEX_MATCH_LIMIT);
    pcre2_set_heap_limit(limits, REGEX_HEAP_LIMIT_KIB);
}

static pcre2_match_data *scratch_get(void)
{
    if (!scratch) {
        scratch = pcre2_match_data_create(REGEX_GROUPS_MAX, NULL);
        pthread_setspecific(scratch_key, scratch);
    }
    return scratch;
}

static pcre2_code *compile(struct str pattern, uint32_t options, struct err *err)
{
    int code = 0;
    size_t offset = 0;
    /* RE2's '$' is the end of the text, never before a final newline. */
    options |= PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern.p, pattern.n, options, &code, &offset, NULL);
    if (!re) {
        PCRE2_UCHAR text[128];
        pcre2_get_error_message(code, text, sizeof text);
        err_set(err, ERR_INVALID, "regex '%.*s': %s at offset %zu", STR_ARG(pattern), (char *)text,
                offset);
    }
    return re;
}

static struct regex *make(struct str pattern, bool is_re2, struct err *err)
{
    pthread_once(&scratch_once, scratch_setup);
    if (pattern.n > REGEX_MAX_PATTERN_BYTES) {
        err_set(err, ERR_LIMIT, "a regex of %zu bytes is longer than %d", pattern.n,
                REGEX_MAX_PATTERN_BYTES);
        return NULL;
    }
    if (!pattern.p)
        pattern = STR("");
    if (is_re2 && regex_syntax_check(pattern, err) < 0)
        return NULL;
    struct regex *r = NEW(regex);
    snprintf(r->pattern, sizeof r->pattern, "%.*s", STR_ARG(pattern));
    r->whole = compile(pattern, PCRE2_ANCHORED | PCRE2_ENDANCHORED, err);
    r->search = r->whole ? compile(pattern, 0, err) : NULL;
    if (!r->search) {
        regex_free(&r);
        return NULL;
    }
    pcre2_pattern_info(r->search, PCRE2_INFO_CAPTURECOUNT, &r->groups);
    return r;
}

struct regex *regex_new(struct str pattern, struct err *err)
{
    return make(pattern, true, err);
}

struct regex *regex_new_ecmascript(struct str pattern, struct err *err)
{
    return make(pattern, false, err);
}

void regex_free(struct regex **r)
{
    if (!*r)
        return;
    pcre2_code_free((*r)->whole);
    pcre2_code_free((*r)->search);
    mem_free(*r);
    *r = NULL;
}

uint64_t regex_limit_hits(void)
{
    return atomic_load_explicit(&limit_hits, memory_order_relaxed);
}

/* pcre2_match, which also counts matches that were given up. */
static int match(const struct regex *r, const pcre2_code *code, struct str s, size_t at)
{
    int rc = pcre2_match(code, (PCRE2_SPTR)s.p, s.n, at, 0, scratch_get(), limits);
    if (__builtin_expect(rc >= PCRE2_ERROR_NOMATCH, 1))
        return rc;
    atomic_fetch_add_explicit(&limit_hits, 1, memory_order_relaxed);
    LOG_SELDOM(MISC, WARNING, "regular expression '%s' takes too long on a text of %zu bytes: no match", r->pattern, s.n);
    return rc;
}

bool regex_matches(const struct regex *r, struct str s)
{
    return match(r, r->whole, s.p ? s : STR(""), 0) >= 0;
}

/* The text of a match with \0..\9 filled in. */
static void substitute(struct str s, struct str substitution, const size_t *ov, int count,
                       struct strbuf *out)
{
    for (size_t i = 0; i < substitution.n; i++) {
        char c = substitution.p[i];
        if (c != '\\' || i + 1 == substitution.n) {
            strbuf_addc(out, c);
            continue;
        }
        char d = substitution.p[++i];
        if (d < '0' || d > '9')
            strbuf_addc(out, d);
        else if (d - '0' < count && ov[2 * (d - '0')] != PCRE2_UNSET)
            strbuf_add(out, s.p + ov[2 * (d - '0')], ov[2 * (d - '0') + 1] - ov[2 * (d - '0')]);
    }
}

bool regex_replace(const struct regex *r, struct str s, struct str substitution, struct strbuf *out)
{
    pcre2_match_data *md = scratch_get();
    const size_t *ov = pcre2_get_ovector_pointer(md);
    size_t at = 0;
    if (!s.p)
        s = STR("");
    while (at <= s.n) {
        int count = match(r, r->search, s, at);
        if (count == PCRE2_ERROR_NOMATCH)
            break;
        if (count < 0)
            return false;
        count = count == 0 ? REGEX_GROUPS_MAX : count; /* more groups than \0..\9 can name */
        strbuf_add(out, s.p + at, ov[0] - at);
        substitute(s, substitution, ov, count, out);
        if (ov[1] > ov[0]) {
            at = ov[1];
            continue;
        }
        if (ov[1] < s.n) /* an empty match: step over one byte */
            strbuf_addc(out, s.p[ov[1]]);
        at = ov[1] + 1;
    }
    if (at < s.n)
        strbuf_add(out, s.p + at, s.n - at);
    return true;
}

int regex_search(const struct regex *r, struct str s, struct str groups[REGEX_GROUPS_MAX])
{
    pcre2_match_data *md = scratch_get();
    const size_t *ov = pcre2_get_ovector_pointer(md);
    if (!s.p)
        s = STR("");
    int count = match(r, r->search, s, 0);
    if (count < 0)
        return 0;
    count = count == 0 ? REGEX_GROUPS_MAX : count;
    for (int i = 0; i < count; i++)
        groups[i] = ov[2 * i] == PCRE2_UNSET ? STR_NULL : str_make(s.p + ov[2 * i], ov[2 * i + 1] - ov[2 * i]);
    return count;
}

bool regex_substitution_is_valid(const struct regex *r, struct str substitution, struct err *err)
{
    for (size_t i = 0; i < substitution.n; i++) {
        if (substitution.p[i] != '\\')
            continue;
        char d = i + 1 < substitution.n ? substitution.p[++i] : '\0';
        if (d == '\\')
            continue;
        if (d < '0' || d > '9') {
            err_set(err, ERR_INVALID, "substitution '%.*s': a backslash must be followed by a digit or a backslash",
                    STR_ARG(substitution));
            return false;
        }
        if ((uint32_t)(d - '0') > r->groups) {
            err_set(err, ERR_INVALID, "substitution '%.*s' refers to group %c, but the regex has %u",
                    STR_ARG(substitution), d, r->groups);
            return false;
        }
    }
    return true;
}
