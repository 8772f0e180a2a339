/* SPDX-License-Identifier: Apache-2.0 */
#include "route_fixture.h"

#include <xxhash.h>

#include "base/mem.h"
#include "proxy/route/redirect.h"
#include "proxy/route/rewrite.h"

/* ---- weighted clusters ---- */

static void test_route_decide__weighted_clusters__random_modulo_total(void **state)
{
    (void)state;
    struct routes r = routes_of("{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: a, weight: 3}, {name: b, weight: 0}, "
                                "{name: c, weight: 7}]}}}");
    struct headers h = request_of(&r, "GET h /");
    static const struct { uint64_t random; const char *name; } cases[] = {
        {0, "a"}, {2, "a"}, {3, "c"}, {9, "c"}, {10, "a"}, {UINT64_MAX, "c"}, /* …615 % 10 = 5 */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_str_equal(decide(&r, &h, cases[i].random).cluster_name, cases[i].name);
    unsigned counts[3] = {0};
    for (uint64_t i = 0; i < 1000; i++)
        counts[decide(&r, &h, i).cluster_name.p[0] - 'a']++;
    assert_int_equal(counts[0], 300);
    assert_int_equal(counts[1], 0);
    assert_int_equal(counts[2], 700);
    routes_drop(&r);
}

static void test_route_decide__weighted_by_header__its_number_counts(void **state)
{
    (void)state;
    struct routes r = routes_of("{match: {prefix: /}, route: {weighted_clusters: {header_name: X-R, clusters: [{name: a, weight: 1}, "
                                "{cluster_header: X-C, weight: 1}]}}}");
    static const struct { const char *request; uint64_t random; const char *name; } cases[] = {
        {"GET h / x-r:0", 1, "a"},
        {"GET h / x-r:1 x-c:d", 0, "d"},
        {"GET h / x-r:1", 0, ""},
        {"GET h / x-r:x", 0, "a"},
        {"GET h / x-r:1 x-r:1", 0, "a"}, /* of two nobody knows which */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct headers h = request_of(&r, cases[i].request);
        assert_str_equal(decide(&r, &h, cases[i].random).cluster_name, cases[i].name);
    }
    routes_drop(&r);
}

static void test_route_decide__cluster_header__names_it(void **state)
{
    (void)state;
    struct routes r = routes_of("{match: {prefix: /}, route: {cluster_header: X-C}}");
    struct headers with = request_of(&r, "GET h / x-c:b"), without = request_of(&r, "GET h /");
    assert_str_equal(decide(&r, &with, 0).cluster_name, "b");
    struct route_decision d = decide(&r, &without, 0);
    assert_non_null(d.route);
    assert_int_equal(d.cluster_name.n, 0);
    routes_drop(&r);
}

/* ---- rewrites ---- */

static struct headers edited(struct routes *r, const char *request)
{
    struct headers h = request_of(r, request);
    struct route_decision d = decide(r, &h, 0);
    struct format_context cx = {.request = &h};
    assert_non_null(d.route);
    route_edit_request(&d, &h, &cx, false, &r->arena);
    return h;
}

static void test_route_edit_request__path_rewrites__keep_the_query(void **state)
{
    (void)state;
    static const struct { const char *route, *request, *path; } cases[] = {
        {"match: {prefix: /a}, route: {cluster: a, prefix_rewrite: /b}", "GET h /a/x?q", "/b/x?q"},
        {"match: {path: /a}, route: {cluster: a, prefix_rewrite: /b}", "GET h /a?q", "/b?q"},
        {"match: {path_separated_prefix: /a}, route: {cluster: a, prefix_rewrite: /b}", "GET h /a/x", "/b/x"},
        {"match: {safe_regex: {regex: '/.*'}}, route: {cluster: a, prefix_rewrite: /b}", "GET h /a/x?q", "/b?q"},
        {"match: {prefix: /}, route: {cluster: a, regex_rewrite: {pattern: {regex: '^/(\\w+)/(\\w+)$'}, substitution: '/\\2/\\1'}}",
         "GET h /a/x?q=/a/b", "/x/a?q=/a/b"},
        {"match: {path_match_policy: {name: t, typed_config: {'@type': type.googleapis.com/envoy.extensions.path.match.uri_template.v3."
         "UriTemplateMatchConfig, path_template: '/a/{x}/{y=**}'}}}, route: {cluster: a, path_rewrite_policy: {name: t, typed_config: "
         "{'@type': type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig, path_template_rewrite: "
         "'/{y}/of/{x}'}}}",
         "GET h /a/1/2/3?q", "/2/3/of/1?q"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct strbuf b = {0};
        strbuf_addf(&b, "{%s}", cases[i].route);
        struct routes r = routes_of(b.p);
        strbuf_fini(&b);
        struct headers h = edited(&r, cases[i].request);
        assert_str_equal(headers_get_id(&h, HDR_PATH), cases[i].path);
        assert_str_equal(headers_get_id(&h, HDR_ENVOY_ORIGINAL_PATH), strrchr(cases[i].request, ' ') + 1);
        routes_drop(&r);
    }
}

static void test_route_edit_request__host_rewrites__tell_the_old_one(void **state)
{
    (void)state;
    static const struct { const char *rewrite, *request, *host, *forwarded; } cases[] = {
        {"host_rewrite_literal: n, append_x_forwarded_host: true", "GET h /", "n", "h"},
        {"host_rewrite_literal: n, append_x_forwarded_host: true", "GET h / x-forwarded-host:g", "n", "g,h"},
        {"host_rewrite_literal: n, append_x_forwarded_host: true", "GET h / x-forwarded-host:g,h", "n", "g,h"},
        {"host_rewrite_header: X-H", "GET h / x-h:m x-h:o", "m", ""},
        {"host_rewrite_header: X-H", "GET h /", "h", ""},
        {"host_rewrite_path_regex: {pattern: {regex: '^/(.+)/.+$'}, substitution: '\\1'}", "GET h /u/v?q", "u", ""},
        {"auto_host_rewrite: true", "GET h /", "h", ""}, /* the router's, once an endpoint is chosen */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct strbuf b = {0};
        strbuf_addf(&b, "{match: {prefix: /}, route: {cluster: a, %s}}", cases[i].rewrite);
        struct routes r = routes_of(b.p);
        strbuf_fini(&b);
        struct headers h = edited(&r, cases[i].request);
        assert_str_equal(headers_get_id(&h, HDR_AUTHORITY), cases[i].host);
        assert_str_equal(headers_get_id(&h, HDR_X_FORWARDED_HOST), cases[i].forwarded);
        if (strcmp(cases[i].host, "h") != 0)
            assert_str_equal(headers_get(&h, STR("x-envoy-original-host")), "h");
        routes_drop(&r);
    }
}

/* ---- headers ---- */

#define ADD(name, value, more) "{header: {key: " name ", value: '" value "'}" more "}"
static void test_route_edit_request__levels__most_specific_first(void **state)
{
    (void)state;
    static const char *const wins[] = {"false", "true"};
    static const char *const expected[] = {"config", "route"};
    for (int i = 0; i < 2; i++) {
        struct strbuf b = {0};
        strbuf_addf(&b,
                    "most_specific_header_mutations_wins: %s, request_headers_to_add: [" ADD("x", "config", ", append_action: OVERWRITE_IF_EXISTS_OR_ADD")
                    "], virtual_hosts: [{name: v, domains: ['*'], request_headers_to_add: [" ADD("x", "vhost", ", append_action: OVERWRITE_IF_EXISTS_OR_ADD")
                    "], routes: [{match: {prefix: /}, route: {cluster: a}, request_headers_to_add: ["
                    ADD("x", "route", ", append_action: OVERWRITE_IF_EXISTS_OR_ADD") "]}]}]",
                    wins[i]);
        struct routes r = routes_from(b.p);
        strbuf_fini(&b);
        struct headers h = edited(&r, "GET h /");
        assert_str_equal(headers_get_joined(&h, STR("x"), &r.arena), expected[i]);
        routes_drop(&r);
    }
}

static void test_header_rules_apply__append_actions__as_named(void **state)
{
    (void)state;
    static const struct { const char *rules, *request, *x; } cases[] = {
        {"request_headers_to_add: [" ADD("x", "n", "") "]", "GET h / x:o", "o,n"},
        {"request_headers_to_add: [" ADD("x", "n", ", append: false") "]", "GET h / x:o x:p", "n"},
        {"request_headers_to_add: [" ADD("x", "n", ", append_action: ADD_IF_ABSENT") "]", "GET h / x:o", "o"},
        {"request_headers_to_add: [" ADD("x", "n", ", append_action: ADD_IF_ABSENT") "]", "GET h /", "n"},
        {"request_headers_to_add: [" ADD("x", "n", ", append_action: OVERWRITE_IF_EXISTS") "]", "GET h /", "-"},
        {"request_headers_to_add: [" ADD("x", "n", ", append_action: OVERWRITE_IF_EXISTS") "]", "GET h / x:o", "n"},
        {"request_headers_to_add: [" ADD("x", "%REQ(none)%", "") "]", "GET h /", "-"},
        {"request_headers_to_add: [" ADD("x", "%REQ(none)%", ", keep_empty_value: true") "]", "GET h /", ""},
        {"request_headers_to_add: [" ADD("x", "<%REQ(y)%>", "") "]", "GET h / y:v", "<v>"},
        {"request_headers_to_remove: [X], request_headers_to_add: [" ADD("x", "n", "") "]", "GET h / x:o", "n"},
        /* values are those before any rule of the list wrote; overwriting goes before adding */
        {"request_headers_to_add: [" ADD("x", "1", "") ", " ADD("x", "%REQ(x)%2", ", append_action: OVERWRITE_IF_EXISTS_OR_ADD") "]",
         "GET h / x:0", "02,1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct strbuf b = {0};
        strbuf_addf(&b, "{match: {prefix: /}, route: {cluster: a}, %s}", cases[i].rules);
        struct routes r = routes_of(b.p);
        strbuf_fini(&b);
        struct headers h = edited(&r, cases[i].request);
        struct str x = headers_find(&h, STR("x")) ? headers_get_joined(&h, STR("x"), &r.arena) : STR("-");
        if (!str_eq(x, str_from(cases[i].x)))
            fail_msg("case %zu: \"%.*s\"", i, STR_ARG(x));
        routes_drop(&r);
    }
}

static void test_header_rules_apply__value_with_line_break__cannot_split(void **state)
{
    (void)state;
    struct routes r = routes_of("{match: {prefix: /}, route: {cluster: a}, request_headers_to_add: [" ADD("x", "%REQ(y)%", "") "]}");
    struct headers h = request_of(&r, "GET h /");
    headers_add_ref(&h, STR("y"), STR("a\r\nb: c"));
    struct route_decision d = decide(&r, &h, 0);
    struct format_context cx = {.request = &h};
    route_edit_request(&d, &h, &cx, false, &r.arena);
    assert_true(header_value_is_valid(headers_get(&h, STR("x"))));
    routes_drop(&r);
}

static void test_cfg_header_rules__what_may_not_change__is_refused(void **state)
{
    (void)state;
    static const struct { const char *rules, *fault; } cases[] = {
        {"request_headers_to_add: [" ADD("':path'", "n", "") "]", "may not be modified"},
        {"request_headers_to_add: [" ADD("Host", "n", "") "]", "may not be modified"},
        {"response_headers_to_remove: [':status']", "may not be removed"},
        {"request_headers_to_add: [" ADD("x", "%NOPE%", "") "]", "header.value"},
        {"request_headers_to_add: [" ADD("x", "n", ", append: true, append_action: ADD_IF_ABSENT") "]", "excludes append_action"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct strbuf b = {0};
        strbuf_addf(&b, "virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: a}, %s}]}]", cases[i].rules);
        struct loaded l = load_routes(b.p);
        strbuf_fini(&b);
        if (!has_fault(&l.faults, cases[i].fault))
            fail_msg("case %zu: no fault like %s", i, cases[i].fault);
        unload(&l);
    }
}

/* ---- redirects ---- */

static void test_route_redirect_location__forms__as_envoy_makes_them(void **state)
{
    (void)state;
    static const struct { const char *match, *redirect, *request, *location; unsigned status; } cases[] = {
        {"prefix: /", "https_redirect: true", "GET h /a?q", "https://h/a?q", 301},
        {"prefix: /", "https_redirect: true", "GET h:80 / x-forwarded-proto:http", "https://h/", 301},
        {"prefix: /", "https_redirect: true", "GET [::1]:80 / x-forwarded-proto:http", "https://[::1]/", 301},
        {"prefix: /", "https_redirect: true", "GET h:81 / x-forwarded-proto:http", "https://h:81/", 301},
        {"prefix: /", "scheme_redirect: ftp, port_redirect: 21, response_code: FOUND", "GET h:81 /", "ftp://h:21/", 302},
        {"prefix: /", "host_redirect: n, response_code: SEE_OTHER", "GET h:81 /x", "http://n/x", 303},
        {"prefix: /", "path_redirect: /n, response_code: TEMPORARY_REDIRECT", "GET h /x?q", "http://h/n?q", 307},
        {"prefix: /", "path_redirect: '/n?r', strip_query: true", "GET h /x?q", "http://h/n?r", 301},
        {"prefix: /", "path_redirect: /n, strip_query: true", "GET h /x?q", "http://h/n", 301},
        {"prefix: /a", "prefix_rewrite: /b, strip_query: true, response_code: PERMANENT_REDIRECT", "GET h /a/x?q", "http://h/b/x", 308},
        {"safe_regex: {regex: '/.*'}", "regex_rewrite: {pattern: {regex: '/(\\w+)'}, substitution: '/<\\1>'}", "GET h /a?q", "http://h/<a>?q", 301},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct strbuf b = {0};
        strbuf_addf(&b, "{match: {%s}, redirect: {%s}}", cases[i].match, cases[i].redirect);
        struct routes r = routes_of(b.p);
        strbuf_fini(&b);
        struct headers h = request_of(&r, cases[i].request);
        struct route_decision d = decide(&r, &h, 0);
        unsigned status;
        route_redirect_rewrite(&d, &h, NULL, false, &r.arena);
        struct str location = route_redirect_location(&d, &h, NULL, &r.arena, &status);
        if (!str_eq(location, str_from(cases[i].location)))
            fail_msg("case %zu: %.*s", i, STR_ARG(location));
        assert_int_equal(status, cases[i].status);
        routes_drop(&r);
    }
}

static void test_route_redirect_location__direct_response__where_its_status_wants_one(void **state)
{
    (void)state;
    struct routes r = routes_of("{match: {path: /a}, direct_response: {status: 201}}, {match: {prefix: /}, direct_response: {status: 200}}");
    struct headers a = request_of(&r, "GET h /a"), b = request_of(&r, "GET h /b");
    struct route_decision da = decide(&r, &a, 0), db = decide(&r, &b, 0);
    unsigned status;
    assert_str_equal(route_redirect_location(&da, &a, NULL, &r.arena, &status), "http://h/a");
    assert_int_equal(route_redirect_location(&db, &b, NULL, &r.arena, &status).n, 0);
    assert_int_equal(status, 200);
    routes_drop(&r);
}

/* ---- hashes ---- */

static uint64_t x64(const char *text)
{
    return XXH64(text, strlen(text), 0);
}

static uint64_t rotated(uint64_t v)
{
    return v << 1 | v >> 63;
}

static bool hash_of(struct routes *r, const char *request, const struct stream_info *info, uint64_t *out, struct str *cookie)
{
    struct headers h = request_of(r, request);
    struct route_decision d = decide(r, &h, 0);
    struct hash_source src = {&h, info};
    *cookie = STR_NULL;
    return route_hash(d.route->hashes, d.route->hash_count, &src, &r->arena, out, cookie);
}

static void test_route_hash__policies__are_combined_in_order(void **state)
{
    (void)state;
    struct routes r = routes_of("{match: {prefix: /}, route: {cluster: a, hash_policy: [{header: {header_name: X}, terminal: true}, "
                                "{query_parameter: {name: q}}, {header: {header_name: y, regex_rewrite: {pattern: {regex: '\\d+'}, "
                                "substitution: N}}}]}}");
    uint64_t h;
    struct str cookie;
    assert_false(hash_of(&r, "GET h /", NULL, &h, &cookie));
    assert_true(hash_of(&r, "GET h /?q=z x:a y:1", NULL, &h, &cookie));
    assert_int_equal(h, x64("a"));
    assert_true(hash_of(&r, "GET h /?q=z y:k12", NULL, &h, &cookie));
    assert_int_equal(h, rotated(x64("z")) ^ x64("kN"));
    assert_true(hash_of(&r, "GET h / x:b x:a", NULL, &h, &cookie));
    assert_int_equal(h, x64("ab")); /* sorted, one after the other */
    routes_drop(&r);
}

static void test_route_hash__missing_cookie__is_made_of_the_connection(void **state)
{
    (void)state;
    struct routes r = routes_of("{match: {prefix: /}, route: {cluster: a, hash_policy: [{cookie: {name: C, ttl: 60s, path: /p, attributes: "
                                "[{name: Secure}, {name: SameSite, value: Lax}]}}, {connection_properties: {source_ip: true}}]}}");
    struct addr remote = {0}, local = {0};
    assert_int_equal(addr_from_ip(&remote, STR("10.0.0.1"), 5000, NULL), 0);
    assert_int_equal(addr_from_ip(&local, STR("10.0.0.2"), 80, NULL), 0);
    struct stream_info info = {.downstream_remote = &remote, .downstream_local = &local};
    char hex[17], want[200];
    snprintf(hex, sizeof hex, "%016llx", (unsigned long long)x64("10.0.0.1:500010.0.0.2:80"));
    snprintf(want, sizeof want, "C=\"%s\"; Max-Age=60; Path=/p; Secure; SameSite=Lax; HttpOnly", hex);
    uint64_t h;
    struct str cookie;
    assert_true(hash_of(&r, "GET h /", &info, &h, &cookie));
    assert_str_equal(cookie, want);
    assert_int_equal(h, rotated(x64(hex)) ^ x64("10.0.0.1"));
    assert_true(hash_of(&r, "GET h / cookie:B=1;C=\"v\"", &info, &h, &cookie));
    assert_int_equal(cookie.n, 0);
    assert_int_equal(h, rotated(x64("v")) ^ x64("10.0.0.1"));
    routes_drop(&r);
}

/* ---- everything that a route says ---- */

static void test_cfg_route__policies__are_read(void **state)
{
    (void)state;
    struct routes r = routes_of(
        "{match: {prefix: /}, name: it, stat_prefix: s, decorator: {operation: op, propagate: false}, tracing: {random_sampling: {numerator: 5}}, "
        "request_body_buffer_limit: 7, metadata: {filter_metadata: {n: {k: v}}}, route: {cluster: a, timeout: 0.5s, retry_policy: {retry_on: "
        "'5xx,retriable-status-codes,unavailable', num_retries: 4, per_try_timeout: 1s, per_try_idle_timeout: 2s, retriable_status_codes: [404, 409], "
        "retry_back_off: {base_interval: 0.01s, max_interval: 0.1s}, rate_limited_retry_back_off: {reset_headers: [{name: Retry-After, format: "
        "UNIX_TIMESTAMP}], max_interval: 9s}, host_selection_retry_max_attempts: 3, retriable_headers: [{name: x}], retry_host_predicate: [{name: p, "
        "typed_config: {'@type': type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}], retry_priority: {name: q, "
        "typed_config: {'@type': type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig, "
        "update_frequency: 2}}}, hedge_policy: {hedge_on_per_try_timeout: true}, max_stream_duration: {max_stream_duration: 3s, "
        "grpc_timeout_header_max: 0s, grpc_timeout_header_offset: 0.1s}, request_mirror_policies: [{cluster: b, runtime_fraction: {default_value: "
        "{numerator: 10}}}], internal_redirect_policy: {max_internal_redirects: 3, redirect_response_codes: [301, 200, 307], predicates: [{name: w, "
        "typed_config: {'@type': type.googleapis.com/envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig, "
        "allowed_route_names: [n]}}]}, metadata_match: {filter_metadata: {envoy.lb: {version: '2'}}}}}");
    const struct route_entry *e = route_source_now(r.hcm->routes)->spec->vhosts[0]->routes[0];
    assert_int_equal(e->retry->on, RETRY_ON_5XX | RETRY_ON_RETRIABLE_STATUS_CODES | RETRY_ON_GRPC_UNAVAILABLE);
    assert_int_equal(e->retry->per_try_timeout_ms, 1000);
    assert_int_equal(e->retry->status_codes[1], 409);
    assert_int_equal(e->retry->max_interval_ms, 100);
    assert_int_equal(e->retry->reset_headers[0].format, RETRY_RESET_UNIX_TIMESTAMP);
    assert_true(e->retry->skip_previous_hosts);
    assert_int_equal(e->retry->previous_priorities_frequency, 2);
    assert_int_equal(e->retry->host_selection_attempts, 3);
    assert_true(e->hedge->on_per_try_timeout);
    assert_true(e->max_stream_duration->has_grpc_max);
    assert_int_equal(e->max_stream_duration->grpc_offset_ms, 100);
    assert_str_equal(e->mirrors[0].cluster_name, "b");
    assert_int_equal(e->internal_redirect->code_count, 2);
    assert_str_equal(e->internal_redirect->allow_listed_routes[0], "n");
    assert_str_equal(metadata_find(e->metadata_match, STR("envoy.lb"), (struct str[]){STR("version")}, 1)->u.string, "2");
    assert_int_equal(e->tracing->random.numerator, 5);
    assert_false(e->tracing->has_client);
    assert_false(e->decorator_propagate);
    assert_int_equal(e->filter_body_limit_bytes, 7);
    assert_int_equal(e->timeout_ms, 500);
    assert_false(e->timeout_is_default);
    routes_drop(&r);
}

static void test_cfg_route__vhost_policies__are_inherited(void **state)
{
    (void)state;
    struct routes r = routes_from("request_mirror_policies: [{cluster: b}], virtual_hosts: [{name: v, domains: ['*'], include_request_attempt_count: true, "
                                  "retry_policy: {retry_on: reset}, routes: [{match: {path: /a}, route: {cluster: a}}, {match: {prefix: /}, route: "
                                  "{cluster: a, retry_policy: {}, request_mirror_policies: [{cluster: c}]}}], "
                                  "virtual_clusters: [{name: vc, headers: [{name: ':path'}]}]}]");
    struct route_entry *const *e = route_source_now(r.hcm->routes)->spec->vhosts[0]->routes;
    assert_int_equal(e[0]->retry->on, RETRY_ON_RESET);
    assert_int_equal(e[1]->retry->on, 0);
    assert_str_equal(e[0]->mirrors[0].cluster_name, "b");
    assert_str_equal(e[1]->mirrors[0].cluster_name, "c");
    assert_true(e[0]->include_attempt_count_in_request);
    routes_drop(&r);
}

static void test_cfg_route__contradictions__are_refused(void **state)
{
    (void)state;
    static const struct { const char *route, *fault; } cases[] = {
        {"route: {cluster: a, prefix_rewrite: /b, regex_rewrite: {pattern: {regex: a}, substitution: b}}", "only one of prefix_rewrite"},
        {"route: {cluster: a, regex_rewrite: {pattern: {regex: a}, substitution: '\\1'}}", "refers to group 1"},
        {"route: {weighted_clusters: {clusters: [{name: a, weight: 0}]}}", "the sum of weights must be greater than 0"},
        {"route: {weighted_clusters: {clusters: [{name: a, cluster_header: x, weight: 1}]}}", "name excludes cluster_header"},
        {"route: {cluster: nope}", "unknown cluster 'nope'"},
        {"route: {cluster: a, retry_policy: {retry_back_off: {base_interval: 1s, max_interval: 0.5s}}}", "must not be less than base_interval"},
        {"route: {cluster: a}, typed_per_filter_config: {f: {'@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute}}", "LuaPerRoute"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct strbuf b = {0};
        strbuf_addf(&b, "virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, %s}]}]", cases[i].route);
        struct loaded l = load_routes(b.p);
        strbuf_fini(&b);
        if (!has_fault(&l.faults, cases[i].fault))
            fail_msg("case %zu: no fault like %s", i, cases[i].fault);
        unload(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_route_decide__weighted_clusters__random_modulo_total),
        cmocka_unit_test(test_route_decide__weighted_by_header__its_number_counts),
        cmocka_unit_test(test_route_decide__cluster_header__names_it),
        cmocka_unit_test(test_route_edit_request__path_rewrites__keep_the_query),
        cmocka_unit_test(test_route_edit_request__host_rewrites__tell_the_old_one),
        cmocka_unit_test(test_route_edit_request__levels__most_specific_first),
        cmocka_unit_test(test_header_rules_apply__append_actions__as_named),
        cmocka_unit_test(test_header_rules_apply__value_with_line_break__cannot_split),
        cmocka_unit_test(test_cfg_header_rules__what_may_not_change__is_refused),
        cmocka_unit_test(test_route_redirect_location__forms__as_envoy_makes_them),
        cmocka_unit_test(test_route_redirect_location__direct_response__where_its_status_wants_one),
        cmocka_unit_test(test_route_hash__policies__are_combined_in_order),
        cmocka_unit_test(test_route_hash__missing_cookie__is_made_of_the_connection),
        cmocka_unit_test(test_cfg_route__policies__are_read),
        cmocka_unit_test(test_cfg_route__vhost_policies__are_inherited),
        cmocka_unit_test(test_cfg_route__contradictions__are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
