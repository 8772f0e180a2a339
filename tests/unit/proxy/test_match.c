/* SPDX-License-Identifier: Apache-2.0 */
#include "config_fixture.h"

#include "proxy/match/header_match.h"

static bool matches(enum string_match_kind kind, const char *text, bool ignore_case, const char *s)
{
    struct string_match m;
    struct err err = {0};
    assert_int_equal(string_match_init(&m, kind, str_from(text), ignore_case, &err), 0);
    bool yes = string_matches(&m, str_from(s));
    string_match_fini(&m);
    return yes;
}

static void test_string_matches__kinds__match_what_they_say(void **state)
{
    (void)state;
    assert_true(matches(MATCH_EXACT, "abc", false, "abc"));
    assert_false(matches(MATCH_EXACT, "abc", false, "ABC"));
    assert_true(matches(MATCH_EXACT, "aBc", true, "AbC"));
    assert_true(matches(MATCH_PREFIX, "ab", false, "abc"));
    assert_true(matches(MATCH_SUFFIX, "BC", true, "abc"));
    assert_true(matches(MATCH_CONTAINS, "B", true, "abc"));
    assert_false(matches(MATCH_CONTAINS, "x", false, "abc"));
    assert_true(matches(MATCH_REGEX, "a.c", false, "abc"));
    assert_false(matches(MATCH_REGEX, "a.", false, "abc"));
    assert_true(matches(MATCH_EXACT, "", false, ""));
}

static void test_regex_new__what_re2_refuses__is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"(a)\\1", "(?=a)", "(?!a)", "(?<=a)b", "(?<!a)b", "(?>a)", "a++", "a*+", "(?R)",
                                      "(*ACCEPT)a", "\\K", "\\Ga", "(a", "[a", "a{1001}", "(?x)a", "a**", "\\", "(?P>n)"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = {0};
        struct regex *r = regex_new(str_from(bad[i]), &err);
        if (r)
            fail_msg("%s was taken", bad[i]);
        assert_int_equal(err.code, ERR_INVALID);
    }
}

static void test_regex_new__what_re2_takes__is_taken(void **state)
{
    (void)state;
    static const char *const good[] = {"", "a|b", "(?i)abc", "(?P<n>a)", "(?:a)+?", "[[:alpha:]]+", "[^]a]", "\\d{1,3}", "\\Qa(\\E",
                                       "\\pL", "\\x{41}", "a{,3}", "a{2}?", "[+*?]+", "\\.\\*", "^/a/.*$"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct err err = {0};
        struct regex *r = regex_new(str_from(good[i]), &err);
        if (!r)
            fail_msg("%s: %s", good[i], err.message);
        regex_free(&r);
    }
}

static void test_regex_matches__pattern_that_explodes__is_no_match(void **state)
{
    (void)state;
    struct err err = {0};
    char subject[64];
    memset(subject, 'a', sizeof subject);
    struct regex *r = regex_new(STR("(a+)+b"), &err);
    assert_false(regex_matches(r, str_make(subject, sizeof subject)));
    regex_free(&r);
}

static void test_regex_matches__invalid_utf8__does_not_fail(void **state)
{
    (void)state;
    struct err err = {0};
    struct regex *r = regex_new(STR(".*"), &err);
    regex_matches(r, STR("a\xff\xfe"));
    assert_true(regex_matches(r, STR("a\xc3\xa9")));
    regex_free(&r);
}

static void test_regex_replace__groups__are_filled_in(void **state)
{
    (void)state;
    struct err err = {0};
    struct strbuf out = {0};
    struct regex *r = regex_new(STR("/v(\\d+)/"), &err);
    assert_true(regex_replace(r, STR("x/v1/y/v22/z"), STR("<\\1\\\\>"), &out));
    assert_string_equal(out.p, "x<1\\>y<22\\>z");
    assert_true(regex_substitution_is_valid(r, STR("\\0\\1\\\\"), &err));
    assert_false(regex_substitution_is_valid(r, STR("\\2"), &err));
    assert_false(regex_substitution_is_valid(r, STR("\\x"), &err));
    strbuf_fini(&out);
    regex_free(&r);
}

static void test_regex_search__groups__are_found(void **state)
{
    (void)state;
    struct err err = {0};
    struct str groups[REGEX_GROUPS_MAX];
    struct regex *r = regex_new(STR("^cluster\\.((.+?)\\.)"), &err);
    assert_int_equal(regex_search(r, STR("cluster.a.rq"), groups), 3);
    assert_true(str_eq(groups[2], STR("a")));
    assert_int_equal(regex_search(r, STR("x"), groups), 0);
    regex_free(&r);
}

static void test_header_matches__missing_present_inverted(void **state)
{
    (void)state;
    struct arena a;
    struct headers h;
    struct header_matcher m;
    arena_init(&a, 0);
    headers_init(&h, &a);
    headers_add(&h, STR("x-a"), STR("1"));
    headers_add(&h, STR("x-a"), STR("2"));
    header_matcher_init(&m, STR("X-A"));
    assert_true(header_matches(&m, &h));
    m.invert = true;
    assert_false(header_matches(&m, &h));
    assert_true(header_matches(&m, NULL));
    m.invert = false;
    m.kind = HEADER_MATCH_STRING;
    string_match_init(&m.string, MATCH_EXACT, STR("2"), false, NULL);
    assert_true(header_matches(&m, &h));
    m.invert = true;
    assert_false(header_matches(&m, NULL)); /* missing: not matched, inverted or not */
    m.treat_missing_as_empty = true;
    assert_true(header_matches(&m, NULL));
    header_matcher_fini(&m);
    arena_fini(&a);
}

static void test_header_matches__range__is_half_open(void **state)
{
    (void)state;
    struct arena a;
    struct headers h;
    struct header_matcher m;
    arena_init(&a, 0);
    headers_init(&h, &a);
    headers_add(&h, STR("n"), STR("-5"));
    header_matcher_init(&m, STR("n"));
    m.kind = HEADER_MATCH_RANGE;
    m.range_start = -5;
    m.range_end = -4;
    assert_true(header_matches(&m, &h));
    m.range_start = -6;
    m.range_end = -5;
    assert_false(header_matches(&m, &h));
    header_matcher_fini(&m);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_string_matches__kinds__match_what_they_say),
        cmocka_unit_test(test_regex_new__what_re2_refuses__is_refused),
        cmocka_unit_test(test_regex_new__what_re2_takes__is_taken),
        cmocka_unit_test(test_regex_matches__pattern_that_explodes__is_no_match),
        cmocka_unit_test(test_regex_matches__invalid_utf8__does_not_fail),
        cmocka_unit_test(test_regex_replace__groups__are_filled_in),
        cmocka_unit_test(test_regex_search__groups__are_found),
        cmocka_unit_test(test_header_matches__missing_present_inverted),
        cmocka_unit_test(test_header_matches__range__is_half_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
