/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/match/matcher.h"
#include "proxy/match/path_template.h"
#include "proxy/match/value_match.h"
#include "proxy/route/scopes.h"

#include "base/check.h"

#include "route_fixture.h"

#define HEADER(name) "{name: h, typed_config: {'@type': type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: " name "}}"
#define ACTION(name) "{name: r, typed_config: {'@type': type.googleapis.com/envoy.config.route.v3.Route, name: " name ", match: {prefix: /}, direct_response: {status: 200}}}"

static struct routes tree_of(const char *matcher)
{
    struct strbuf b = {0};
    strbuf_addf(&b, "virtual_hosts: [{name: v, domains: ['*'], matcher: {%s}}]", matcher);
    struct routes r = routes_from(b.p);
    strbuf_fini(&b);
    return r;
}

static void test_matcher_find__keep_matching__goes_on(void **state)
{
    (void)state;
    struct routes r = tree_of("matcher_list: {matchers: [{predicate: {single_predicate: {input: " HEADER("x") ", value_match: {prefix: a}}}, "
                              "on_match: {keep_matching: true, action: " ACTION("kept") "}}, {predicate: {single_predicate: {input: " HEADER("x") ", "
                              "value_match: {exact: AB, ignore_case: true}}}, on_match: {action: " ACTION("second") "}}]}, "
                              "on_no_match: {action: " ACTION("none") "}");
    assert_str_equal(taken(&r, "GET h / x:ab"), "second");
    assert_str_equal(taken(&r, "GET h / x:a"), "none");
    assert_str_equal(taken(&r, "GET h /"), "none");
    routes_drop(&r);
}

static void test_matcher_find__prefix_map__longest_first_then_shorter(void **state)
{
    (void)state;
    struct routes r = tree_of("matcher_tree: {input: " HEADER("':path'") ", prefix_match_map: {map: {/a: {action: " ACTION("a") "}, /a/b: {matcher: "
                              "{matcher_tree: {input: " HEADER("x") ", exact_match_map: {map: {'1': {action: " ACTION("nested") "}}}}}}}}}");
    assert_str_equal(taken(&r, "GET h /a/b x:1"), "nested");
    assert_str_equal(taken(&r, "GET h /a/b x:2"), "a");
    assert_str_equal(taken(&r, "GET h /b"), "");
    routes_drop(&r);
}

static void test_matcher_find__connection_inputs__of_the_stream(void **state)
{
    (void)state;
#define INPUT(kind) "{name: i, typed_config: {'@type': type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3." kind "}}"
    static const struct { const char *input, *value; } cases[] = {
        {INPUT("SourceIPInput"), "10.0.0.1"}, {INPUT("SourcePortInput"), "5000"}, {INPUT("DestinationIPInput"), "::1"},
        {INPUT("DestinationPortInput"), "80"}, {INPUT("ServerNameInput"), "a.test"},
    };
    struct addr remote = {0}, local = {0};
    assert_int_equal(addr_from_ip(&remote, STR("10.0.0.1"), 5000, NULL), 0);
    assert_int_equal(addr_from_ip(&local, STR("::1"), 80, NULL), 0);
    struct stream_info info = {.downstream_remote = &remote, .downstream_local = &local, .requested_server_name = STR("a.test")};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct strbuf b = {0};
        strbuf_addf(&b, "matcher_tree: {input: %s, exact_match_map: {map: {'%s': {action: " ACTION("it") "}}}}", cases[i].input, cases[i].value);
        struct routes r = tree_of(b.p);
        strbuf_fini(&b);
        struct headers h = request_of(&r, "GET h /");
        struct route_request rq = {.headers = &h, .info = &info};
        struct route_decision d = {0};
        if (!route_decide(route_source_now(r.hcm->routes)->table, &rq, NULL, &d))
            fail_msg("case %zu", i);
        rq.info = NULL;
        assert_false(route_decide(route_source_now(r.hcm->routes)->table, &rq, NULL, &d));
        routes_drop(&r);
    }
}

static void test_value_matches__missing__only_or_looks_at_it(void **state)
{
    (void)state;
    struct value_matcher null = {.kind = VALUE_NULL}, present = {.kind = VALUE_PRESENT, .boolean = true};
    struct meta_value nothing = {.kind = META_NULL};
    assert_false(value_matches(&null, NULL));
    assert_true(value_matches(&null, &nothing));
    assert_false(value_matches(&present, NULL));
    assert_true(value_matches(&present, &nothing));
}

static void test_path_template_rewrite__unknown_variable__is_refused(void **state)
{
    (void)state;
    struct err err = {0};
    struct path_template *t = path_template_new(STR("/a/{x}"), &err);
    assert_non_null(t);
    assert_null(path_template_rewrite_new(STR("/{y}"), t, &err));
    assert_non_null(strstr(err.message, "'y' is no variable"));
    assert_null(path_template_rewrite_new(STR("/{x"), t, &err));
    path_template_free(&t);
    static const char *const bad[] = {"", "a", "/a//b", "/{x}/{x}", "/{1x}", "/{x", "/a/{x=**}/*", "/{a}/{b}/{c}/{d}/{e}/{f}", "/{abcdefghijklmnopq}", "/a b"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (path_template_new(str_from(bad[i]), &err))
            fail_msg("%s was taken", bad[i]);
}

static void test_route_scopes_init__same_key_twice__is_refused(void **state)
{
    (void)state;
    struct route_config_spec spec = {0};
    struct str key[] = {STR("a"), STR("b")}, other[] = {STR("ab"), STR("")};
    struct route_scope items[] = {{.name = STR("1"), .key = key, .key_count = 2, .spec = &spec}, {.name = STR("2"), .key = other, .key_count = 2, .spec = &spec}};
    struct route_scopes s = {.items = items, .count = 2};
    struct err err = {0};
    assert_int_equal(route_scopes_init(&s, &err), 0);
    route_scopes_fini(&s);
    items[0].spec = items[1].spec = &spec;
    items[1].key = key;
    assert_int_not_equal(route_scopes_init(&s, &err), 0);
    assert_non_null(strstr(err.message, "has the key of an earlier one"));
    route_scopes_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matcher_find__keep_matching__goes_on),
        cmocka_unit_test(test_matcher_find__prefix_map__longest_first_then_shorter),
        cmocka_unit_test(test_matcher_find__connection_inputs__of_the_stream),
        cmocka_unit_test(test_value_matches__missing__only_or_looks_at_it),
        cmocka_unit_test(test_path_template_rewrite__unknown_variable__is_refused),
        cmocka_unit_test(test_route_scopes_init__same_key_twice__is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
