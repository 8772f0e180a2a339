/* SPDX-License-Identifier: Apache-2.0 */
#include "http/codec/uri.h"

#include "base/check.h"

#include "../unit.h"

static void test_uri_parse_absolute__parts(void **state)
{
    (void)state;
    struct uri u;
    assert_true(uri_parse_absolute(STR("http://h:1/p?q"), &u));
    assert_str_equal(u.scheme, "http");
    assert_str_equal(u.authority, "h:1");
    assert_str_equal(u.path, "/p?q");
    assert_true(uri_parse_absolute(STR("a+b-c.1://h"), &u));
    assert_str_equal(u.path, "");
    assert_true(uri_parse_absolute(STR("x://h?q"), &u));
    assert_str_equal(u.path, "?q");
    assert_true(uri_parse_absolute(STR("x:///p"), &u));
    assert_str_equal(u.authority, "");
    assert_false(uri_parse_absolute(STR(""), &u));
    assert_false(uri_parse_absolute(STR("http:/h"), &u));
    assert_false(uri_parse_absolute(STR("http:"), &u));
    assert_false(uri_parse_absolute(STR("1http://h"), &u));
    assert_false(uri_parse_absolute(STR("/http://h"), &u));
}

static void check_split(const char *text, const char *host, int port)
{
    struct str h;
    int p;
    assert_true(authority_split(str_from(text), &h, &p));
    assert_str_equal(h, host);
    assert_int_equal(p, port);
}

static void test_authority_split__host_and_port(void **state)
{
    (void)state;
    struct str h;
    int p;
    check_split("a", "a", -1);
    check_split("a:80", "a", 80);
    check_split("a:0", "a", 0);
    check_split("a:65535", "a", 65535);
    check_split("a:", "a", -1);
    check_split("[::1]:80", "[::1]", 80);
    check_split("[::1]", "[::1]", -1);
    check_split("", "", -1);
    assert_false(authority_split(STR("a:65536"), &h, &p));
    assert_false(authority_split(STR("a:99999999999999999999"), &h, &p));
    assert_false(authority_split(STR("a:b"), &h, &p));
    assert_false(authority_split(STR("a:+1"), &h, &p));
    assert_false(authority_split(STR("::1"), &h, &p));
    assert_false(authority_split(STR("[::1]80"), &h, &p));
}

static void test_authority_is_valid__characters(void **state)
{
    (void)state;
    static const char *const good[] = {"a",     "a.b-c_d~e", "a:1",       "[::1]:1", "[v1.a:b]",
                                       "a%20b", "1.2.3.4",   "!$&'()*+,;=", "a:"};
    static const char *const bad[] = {"",    " ",    "a b",  "u@a",  "a/",  "a?",   "a#",    ":1",
                                      "[]",  "[::",  "[g]",  "a%2",  "a%zz", "a\\b", "a\x80", "a:x",
                                      "[::1]x", "a\tb", "<a>", "[::1%25e]"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        if (!authority_is_valid(str_from(good[i])))
            fail_msg("%s is valid", good[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (authority_is_valid(str_from(bad[i])))
            fail_msg("%s is not valid", bad[i]);
    }
}

static void test_path_and_query__are_cut(void **state)
{
    (void)state;
    assert_str_equal(path_without_query(STR("/a?b#c")), "/a");
    assert_str_equal(path_without_query(STR("/a#c?b")), "/a");
    assert_str_equal(path_without_query(STR("/a")), "/a");
    assert_str_equal(path_query(STR("/a?b?c#d")), "b?c");
    assert_str_equal(path_query(STR("/a?")), "");
    assert_non_null(path_query(STR("/a?")).p);
    assert_null(path_query(STR("/a")).p);
    assert_null(path_query(STR("/a#b?c")).p);
}

static void test_query_get__values(void **state)
{
    (void)state;
    struct str q = STR("a=1&b&c=&a=2&=x&d=e=f"), v;
    assert_true(query_get(q, STR("a"), &v));
    assert_str_equal(v, "1");
    assert_true(query_get(q, STR("b"), &v));
    assert_str_equal(v, "");
    assert_true(query_get(q, STR("c"), &v));
    assert_str_equal(v, "");
    assert_true(query_get(q, STR("d"), &v));
    assert_str_equal(v, "e=f");
    assert_false(query_get(q, STR("e"), &v));
    assert_false(query_get(STR_NULL, STR("a"), &v));
}

struct path_case {
    const char *in, *out; /* out NULL: PATH_INVALID */
};

static void check_paths(const struct path_opts *opts, const struct path_case *cases, size_t n,
                        enum path_result want)
{
    for (size_t i = 0; i < n; i++) {
        struct arena arena;
        struct str path = str_from(cases[i].in);
        arena_init(&arena, 0);
        enum path_result got = path_normalize(&path, opts, &arena);
        if (got != (cases[i].out ? want : PATH_INVALID))
            fail_msg("%s gave result %d", cases[i].in, (int)got);
        if (cases[i].out && !str_eq(path, str_from(cases[i].out)))
            fail_msg("%s gave %.*s, not %s", cases[i].in, STR_ARG(path), cases[i].out);
        arena_fini(&arena);
    }
}

static void test_path_normalize__canonical_form(void **state)
{
    (void)state;
    static const struct path_opts opts = {.normalize = true};
    static const struct path_case cases[] = {
        {"/", "/"}, {"/a/b", "/a/b"}, {"*", "*"},
        {"/a/./b", "/a/b"}, {"/a/../b", "/b"}, {"/a/b/..", "/a/"}, {"/a/.", "/a/"}, {"/.", "/"},
        {"/..", "/"}, {"/../../a", "/a"}, {"/a/b/../../c", "/c"}, {"/a/...", "/a/..."},
        {"/.a/..b", "/.a/..b"}, {"/a//../b", "/a/b"}, {"//", "//"}, {"/a//b", "/a//b"},
        {"/a/%2e/b", "/a/b"}, {"/a/%2E%2e/b", "/b"}, {"/a/.%2e", "/"}, {"/a/%2e%2e%2fb",
        "/a/..%2fb"}, {"/%41%7e%2D%5f", "/A~-_"}, {"/%2F%2f%5C%5c", "/%2F%2f%5C%5c"},
        {"/%252e%252e/", "/%252e%252e/"}, {"/a\\b", "/a/b"}, {"/a\\..\\b", "/b"},
        {"\\a", "/a"}, {"/a b\"<>^`{|}\x7f\xc3", "/a%20b%22%3C%3E%5E%60%7B%7C%7D%7F%C3"},
        {"/%zz%2", "/%zz%2"}, {"/%", "/%"},
        {"/%%32e/", "/%252e/"}, {"/%2%65", "/%252e"}, {"/%zz%41", "/%zzA"}, {"/%%41", "/%A"},
        {"/%%34%31", "/%2541"}, {"/%%34z", "/%4z"}, {"/a/..?b/../c", "/?b/../c"}, {"/?%41", "/?%41"},
        {"/a#b", "/a"}, {"/a/../b#c?d", "/b"}, {"/a?b#c", "/a?b"},
        {"/%00", NULL}, {"a", NULL}, {"", NULL}, {"?a", NULL}, {"#", NULL},
    };
    check_paths(&opts, cases, ARRAY_LEN(cases), PATH_OK);
}

static void test_path_normalize__slashes_and_fragment__follow_options(void **state)
{
    (void)state;
    static const struct path_opts off = {0};
    static const struct path_case unchanged[] = {
        {"/a//b/../%2e\\", "/a//b/../%2e\\"}, {"a", "a"}, {"/a#b", "/a"}};
    check_paths(&off, unchanged, ARRAY_LEN(unchanged), PATH_OK);

    static const struct path_opts merge = {.merge_slashes = true};
    static const struct path_case merged[] = {
        {"//", "/"}, {"//a///b//", "/a/b/"}, {"/a?b//c", "/a?b//c"}, {"/a/../b", "/a/../b"}};
    check_paths(&merge, merged, ARRAY_LEN(merged), PATH_OK);

    static const struct path_opts both = {.normalize = true, .merge_slashes = true};
    static const struct path_case merged_after[] = {{"/a//../b", "/a/b"}, {"/a\\\\b", "/a/b"}};
    check_paths(&both, merged_after, ARRAY_LEN(merged_after), PATH_OK);

    static const struct path_opts reject = {.reject_fragment = true,
                                            .escaped_slashes = PATH_SLASH_REJECT};
    static const struct path_case rejected[] = {
        {"/a#", NULL}, {"/a%2fb", NULL}, {"/a%5Cb", NULL}, {"/a?%2f", "/a?%2f"}, {"/%2e", "/%2e"}};
    check_paths(&reject, rejected, ARRAY_LEN(rejected), PATH_OK);

    static const struct path_opts forward = {.normalize = true,
                                             .escaped_slashes = PATH_SLASH_UNESCAPE_FORWARD};
    static const struct path_case forwarded[] = {
        {"/a%2f..%2fb", "/b"}, {"/a%5cb", "/a/b"}, {"/a?%2f", "/a?%2f"}, {"/%252f", "/%252f"}};
    check_paths(&forward, forwarded, ARRAY_LEN(forwarded), PATH_OK);

    static const struct path_opts redirect = {.escaped_slashes = PATH_SLASH_UNESCAPE_REDIRECT};
    static const struct path_case redirected[] = {{"/a%2Fb?c", "/a/b?c"}, {"/a%5Cb", "/a\\b"}};
    check_paths(&redirect, redirected, ARRAY_LEN(redirected), PATH_CHANGED_REDIRECT);
    static const struct path_case not_redirected[] = {{"/a%2eb", "/a%2eb"}};
    check_paths(&redirect, not_redirected, ARRAY_LEN(not_redirected), PATH_OK);
}

static void test_path_normalize__full_arena__is_invalid(void **state)
{
    (void)state;
    static const struct path_opts opts = {.normalize = true};
    struct arena arena;
    struct str path = STR("/a/../b");
    arena_init(&arena, 10);
    assert_int_equal(path_normalize(&path, &opts, &arena), PATH_INVALID);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uri_parse_absolute__parts),
        cmocka_unit_test(test_authority_split__host_and_port),
        cmocka_unit_test(test_authority_is_valid__characters),
        cmocka_unit_test(test_path_and_query__are_cut),
        cmocka_unit_test(test_query_get__values),
        cmocka_unit_test(test_path_normalize__canonical_form),
        cmocka_unit_test(test_path_normalize__slashes_and_fragment__follow_options),
        cmocka_unit_test(test_path_normalize__full_arena__is_invalid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
