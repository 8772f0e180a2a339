/* SPDX-License-Identifier: Apache-2.0 */
#include "route_fixture.h"

#include "base/mem.h"
#include "base/rng.h"
#include "proxy/route/path_index.h"

struct case_of {
    const char *match, *request;
    bool found;
};

static void check_cases(const struct case_of *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct strbuf b = {0};
        strbuf_addf(&b, "{name: it, match: {%s}, route: {cluster: a}}", cases[i].match);
        struct routes r = routes_of(b.p);
        strbuf_fini(&b);
        if ((taken(&r, cases[i].request).n > 0) != cases[i].found)
            fail_msg("case %zu: {%s} and \"%s\"", i, cases[i].match, cases[i].request);
        routes_drop(&r);
    }
}

static void test_route_matches__paths__as_their_kind_says(void **state)
{
    (void)state;
    static const struct case_of cases[] = {
        {"prefix: /a?x", "GET h /a?x", false}, /* the query is no part of it */
        {"prefix: /A, case_sensitive: false", "GET h /ab", true},
        {"path: /A", "GET h /a", false},
        {"path: /A, case_sensitive: false", "GET h /a?q", true},
        {"path_separated_prefix: /A, case_sensitive: false", "GET h /a/b", true},
        {"safe_regex: {regex: '/[a-z]+/x'}", "GET h /abc/x?y", true},
        {"safe_regex: {regex: '/[a-z]+/x'}", "GET h /abc/xy", false},
        {"connect_matcher: {}", "CONNECT h:443 -", true},
        {"connect_matcher: {}", "GET h /", false},
        {"prefix: /", "CONNECT h:443 -", false},
    };
    check_cases(cases, ARRAY_LEN(cases));
}

#define TEMPLATE(text) "path_match_policy: {name: t, typed_config: {'@type': type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: '" text "'}}"
static void test_route_matches__path_templates__take_segments(void **state)
{
    (void)state;
    static const struct case_of cases[] = {
        {TEMPLATE("/a/{lang}/c"), "GET h /a/en/c", true},
        {TEMPLATE("/a/{lang}/c"), "GET h /a/en/d/c", false},
        {TEMPLATE("/a/*"), "GET h /a/b?q=1", true},
        {TEMPLATE("/a/*"), "GET h /a/", false},
        {TEMPLATE("/a/**"), "GET h /a/", true},
        {TEMPLATE("/a/**"), "GET h /a/b/c", true},
        {TEMPLATE("/a/{x=*}/{rest=**}"), "GET h /a/b/c/d", true},
        {TEMPLATE("/v/**.m4s"), "GET h /v/x/y.m4s", true},
        {TEMPLATE("/v/**.m4s"), "GET h /v/x/ym4s", false},
    };
    check_cases(cases, ARRAY_LEN(cases));
}

static void test_route_matches__headers_queries_grpc__all_must_agree(void **state)
{
    (void)state;
    static const struct case_of cases[] = {
        {"prefix: /, headers: [{name: X, string_match: {exact: a}}]", "GET h / x:a", true},
        {"prefix: /, headers: [{name: X, string_match: {exact: a}}]", "GET h / x:b", false},
        {"prefix: /, headers: [{name: x, string_match: {exact: b}}]", "GET h / x:a x:b", true},
        {"prefix: /, headers: [{name: x, string_match: {exact: a}, invert_match: true}]", "GET h / x:b", true},
        {"prefix: /, headers: [{name: x, present_match: true}]", "GET h /", false},
        {"prefix: /, headers: [{name: x, present_match: true, invert_match: true}]", "GET h /", true},
        {"prefix: /, headers: [{name: x, range_match: {start: -5, end: 3}}]", "GET h / x:-5", true},
        {"prefix: /, headers: [{name: x, range_match: {start: -5, end: 3}}]", "GET h / x:3", false},
        {"prefix: /, headers: [{name: x, string_match: {exact: ''}, treat_missing_header_as_empty: true}]", "GET h /", true},
        {"prefix: /, headers: [{name: x, string_match: {safe_regex: {regex: 'a+'}}}]", "GET h / x:aaa", true},
        {"prefix: /, headers: [{name: host, string_match: {exact: h}}]", "GET h /", true},
        {"prefix: /, headers: [{name: ':method', string_match: {exact: POST}}]", "GET h /", false},
        {"prefix: /, query_parameters: [{name: q, string_match: {prefix: x}}]", "GET h /?a=1&q=xy", true},
        {"prefix: /, query_parameters: [{name: q, string_match: {prefix: x}}]", "GET h /?q=y&q=x", false},
        {"prefix: /, query_parameters: [{name: q}]", "GET h /?q", true},
        {"prefix: /, query_parameters: [{name: q, present_match: true}]", "GET h /?qq=1", false},
        {"prefix: /, grpc: {}", "POST h / content-type:application/grpc+proto", true},
        {"prefix: /, grpc: {}", "POST h / content-type:application/grpcx", false},
        {"prefix: /, tls_context: {presented: false}", "GET h /", true},
        {"prefix: /, tls_context: {validated: true}", "GET h /", false},
        {"prefix: /, runtime_fraction: {default_value: {numerator: 0}}", "GET h /", false},
        {"prefix: /, runtime_fraction: {default_value: {numerator: 1}}", "GET h /", true}, /* 0 % 100 < 1 */
    };
    check_cases(cases, ARRAY_LEN(cases));
}

static bool matches_with(struct routes *r, const struct stream_info *info, const struct headers *h)
{
    struct route_request rq = {.headers = h, .info = info};
    struct route_decision d = {0};
    return route_decide(route_source_now(r->hcm->routes)->table, &rq, NULL, &d);
}

static void test_route_matches__metadata_and_filter_state__of_the_request(void **state)
{
    (void)state;
    struct routes r = routes_of("{match: {prefix: /, dynamic_metadata: [{filter: f, path: [{key: k}], value: {or_match: {value_matchers: "
                                "[{string_match: {exact: x}}, {list_match: {one_of: {double_match: {range: {start: 1, end: 2}}}}}]}}}], "
                                "filter_state: [{key: s, string_match: {prefix: ab}}, {key: ip, address_match: {ranges: "
                                "[{address_prefix: 10.0.0.0, prefix_len: 8}]}}]}, route: {cluster: a}}");
    struct headers h = request_of(&r, "GET h /");
    struct stream_info info = {0};
    struct meta_value item = {.kind = META_NUMBER, .u.number = 1.5};
    struct meta_value list = {.kind = META_LIST, .u.list = {&item, 1}};
    assert_false(matches_with(&r, &info, &h));
    assert_true(metadata_set(&info.metadata, &r.arena, STR("f"), STR("k"), &list));
    assert_false(matches_with(&r, &info, &h));
    assert_true(filter_state_set(&info.filter_state, STR("s"), STR("abc"), false, FILTER_STATE_PRIVATE));
    assert_false(matches_with(&r, &info, &h));
    assert_true(filter_state_set(&info.filter_state, STR("ip"), STR("10.1.2.3:80"), false, FILTER_STATE_PRIVATE));
    assert_true(matches_with(&r, &info, &h));
    item.u.number = 2;
    assert_true(metadata_set(&info.metadata, &r.arena, STR("f"), STR("k"), &list));
    assert_false(matches_with(&r, &info, &h));
    filter_state_fini(&info.filter_state);
    routes_drop(&r);
}

static void test_route_match_refusal__each_part__is_named(void **state)
{
    (void)state;
    struct routes r = routes_of("{match: {prefix: /a, headers: [{name: x}, {name: y}], query_parameters: [{name: q}]}, route: {cluster: a}}");
    const struct route_match *m = &route_source_now(r.hcm->routes)->spec->vhosts[0]->routes[0]->match;
    static const struct { const char *request; enum route_refusal why; uint32_t index; } cases[] = {
        {"GET h /b", ROUTE_REFUSED_PATH, 0},
        {"GET h /a x:1", ROUTE_REFUSED_HEADER, 1},
        {"GET h /a x:1 y:2", ROUTE_REFUSED_QUERY, 0},
        {"GET h /a?q=1 x:1 y:2", ROUTE_TAKEN, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct headers h = request_of(&r, cases[i].request);
        struct route_request rq = {.headers = &h};
        uint32_t index = 99;
        assert_int_equal(route_match_refusal(m, &rq, false, &index), cases[i].why);
        if (cases[i].why != ROUTE_TAKEN)
            assert_int_equal(index, cases[i].index);
    }
    assert_string_equal(route_refusal_text(ROUTE_REFUSED_HEADER), "headers");
    routes_drop(&r);
}

/* ---- virtual hosts ---- */

static void test_route_decide__require_tls__redirects_who_came_in_the_clear(void **state)
{
    (void)state;
    struct routes r = routes_from("virtual_hosts: [{name: v, domains: ['*'], require_tls: EXTERNAL_ONLY, routes: [{name: it, match: "
                                  "{prefix: /}, route: {cluster: a}}]}]");
    struct headers h = request_of(&r, "GET h:80 /x x-forwarded-proto:http");
    struct route_decision d = decide(&r, &h, 0);
    assert_true(d.needs_tls && d.vhost && !d.route);
    assert_str_equal(route_https_location(&h, &r.arena), "https://h:80/x");
    assert_str_equal(taken(&r, "GET h / x-forwarded-proto:http x-envoy-internal:true"), "it");
    assert_str_equal(taken(&r, "GET h / x-forwarded-proto:https"), "it");
    routes_drop(&r);
}

static void test_route_decide__vhost_header__stands_for_the_host(void **state)
{
    (void)state;
    struct routes r = routes_from("vhost_header: X-V, ignore_path_parameters_in_path_matching: true, virtual_hosts: [{name: v, "
                                  "domains: [one], routes: [{name: it, match: {path: /a}, route: {cluster: a}}]}]");
    assert_str_equal(taken(&r, "GET one /a"), "");
    assert_str_equal(taken(&r, "GET other /a;p=1?q x-v:ONE"), "it");
    routes_drop(&r);
}

/* ---- the index ---- */

static void test_path_index_literal__regexes__what_is_certain(void **state)
{
    (void)state;
    static const struct { const char *regex, *literal; } cases[] = {
        {"/api/v1/.*", "/api/v1/"}, {"/ab?c", "/a"}, {"/a+", "/a"}, {"/a|/b", ""}, {"(?i)/a", ""}, {"/a{0}b", "/"}, {"\\/a", ""}, {"/x", "/x"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_str_equal(path_index_literal(str_from(cases[i].regex)), cases[i].literal);
}

static const char *const pieces[] = {"/a", "/b", "/ab", "/", "/a/b", "/B", "/c-c"};

static struct str some_path(struct rng *g, struct arena *a)
{
    struct strbuf b = {0};
    for (uint64_t n = 1 + rng_below(g, 4); n; n--)
        strbuf_addz(&b, pieces[rng_below(g, ARRAY_LEN(pieces))]);
    struct str s = arena_str(a, strbuf_str(&b));
    strbuf_fini(&b);
    return s;
}

static struct route_entry *some_route(struct rng *g, struct arena *a)
{
    struct route_entry *e = arena_zalloc(a, sizeof *e);
    static const enum path_match_kind kinds[] = {PATH_PREFIX, PATH_EXACT, PATH_SEPARATED_PREFIX, PATH_REGEX, PATH_ANY, PATH_PREFIX};
    struct route_match *m = &e->match;
    struct err err;
    m->kind = kinds[rng_below(g, ARRAY_LEN(kinds))];
    m->path = some_path(g, a);
    m->ignore_case = rng_below(g, 8) == 0;
    m->grpc = m->kind == PATH_ANY || rng_below(g, 4) == 0;
    if (m->kind == PATH_REGEX) {
        m->path = arena_printf(a, "%.*s.*", STR_ARG(m->path));
        m->regex = regex_new(m->path, &err);
    }
    return e;
}

static void test_path_index_find__random_lists__is_the_first_match_of_the_list(void **state)
{
    (void)state;
    struct rng g;
    rng_seed(&g, 4711);
    for (int round = 0; round < 60; round++) {
        struct arena a;
        struct route_entry *routes[200];
        arena_init(&a, 0);
        uint32_t n = 1 + (uint32_t)rng_below(&g, ARRAY_LEN(routes));
        for (uint32_t i = 0; i < n; i++)
            routes[i] = some_route(&g, &a);
        struct path_index *x = path_index_new(routes, n);
        for (int k = 0; k < 100; k++) {
            struct headers h;
            headers_init(&h, &a);
            headers_add_id_ref(&h, HDR_PATH, some_path(&g, &a));
            if (rng_below(&g, 2))
                headers_add_id_ref(&h, HDR_CONTENT_TYPE, STR("application/grpc"));
            struct route_request rq = {.headers = &h};
            struct route_look l;
            route_look_init(&l, &rq, false);
            const struct route_entry *want = NULL;
            for (uint32_t i = 0; i < n && !want; i++)
                want = route_look_refusal(&routes[i]->match, &l, NULL) == ROUTE_TAKEN ? routes[i] : NULL;
            assert_ptr_equal(path_index_find(x, &l), want);
        }
        path_index_free(&x);
        for (uint32_t i = 0; i < n; i++)
            regex_free(&routes[i]->match.regex);
        arena_fini(&a);
    }
    arena_thread_fini();
}

static void test_route_table_new__bad_matches__are_refused(void **state)
{
    (void)state;
    static const struct { const char *routes, *fault; } cases[] = {
        {"{match: {path_separated_prefix: /a/}, route: {cluster: a}}", "path_separated_prefix"},
        {"{match: {safe_regex: {regex: '(a'}}, route: {cluster: a}}", "safe_regex.regex"},
        {"{match: {" TEMPLATE("/a/{x}/{x}") "}, route: {cluster: a}}", "a variable stands twice"},
        {"{match: {" TEMPLATE("/**/*") "}, route: {cluster: a}}", "** must be the last operator"},
        {"{match: {}, route: {cluster: a}}", "must be set"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct strbuf b = {0};
        strbuf_addf(&b, "virtual_hosts: [{name: v, domains: ['*'], routes: [%s]}]", cases[i].routes);
        struct loaded l = load_routes(b.p);
        strbuf_fini(&b);
        if (!has_fault(&l.faults, cases[i].fault))
            fail_msg("no fault like %s", cases[i].fault);
        unload(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_route_matches__paths__as_their_kind_says),
        cmocka_unit_test(test_route_matches__path_templates__take_segments),
        cmocka_unit_test(test_route_matches__headers_queries_grpc__all_must_agree),
        cmocka_unit_test(test_route_matches__metadata_and_filter_state__of_the_request),
        cmocka_unit_test(test_route_match_refusal__each_part__is_named),
        cmocka_unit_test(test_route_decide__require_tls__redirects_who_came_in_the_clear),
        cmocka_unit_test(test_route_decide__vhost_header__stands_for_the_host),
        cmocka_unit_test(test_path_index_literal__regexes__what_is_certain),
        cmocka_unit_test(test_path_index_find__random_lists__is_the_first_match_of_the_list),
        cmocka_unit_test(test_route_table_new__bad_matches__are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
