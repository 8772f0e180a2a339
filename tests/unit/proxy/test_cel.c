/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/cel/cel.h"

#include <string.h>

#include "base/check.h"
#include "proxy/filter_state.h"
#include "proxy/log/access_log.h"

#include "../unit.h"

static struct arena arena;
static struct headers request, response;
static struct stream_info info;
static struct format_context cx;

#define TEXT(s_) {.kind = META_STRING, .u.string = {s_, sizeof(s_) - 1}}
static struct meta_field labels[] = {{{"app", 3}, TEXT("web")}};
static struct meta_field peer_fields[] = {{{"workload", 8}, TEXT("web-v1")}, {{"labels", 6}, {.kind = META_STRUCT, .u.fields = {labels, 1}}}};
static const struct meta_value peer_value = {.kind = META_STRUCT, .u.fields = {peer_fields, 2}};
static struct filter_state_object peer = {.fields = &peer_value, .text = {"web", 3}, .refs = 1};
static struct meta_field node_fields[] = {{{"id", 2}, TEXT("me")}};
static const struct meta_value node = {.kind = META_STRUCT, .u.fields = {node_fields, 1}};

static int set_up(void **state)
{
    (void)state;
    struct meta_value name = {.kind = META_STRING, .u.string = STR("blue")}, count = {.kind = META_NUMBER, .u.number = 3};
    arena_init(&arena, 0);
    headers_init(&request, &arena);
    headers_init(&response, &arena);
    headers_add(&request, STR(":method"), STR("GET"));
    headers_add(&request, STR(":path"), STR("/items/42?q=1"));
    headers_add(&request, STR(":authority"), STR("shop.local"));
    headers_add(&request, STR("x-user"), STR("ann"));
    headers_add(&response, STR("content-type"), STR("text/plain"));
    info = (struct stream_info){.status = 503, .start_us = 1000000, .end_us = 1250000, .bytes_sent = 100, .flags = 2};
    info.details = STR("via_upstream");
    metadata_set(&info.metadata, &arena, STR("shop"), STR("colour"), &name);
    metadata_set(&info.metadata, &arena, STR("shop"), STR("count"), &count);
    info.start_wall_us = 1700000000000000;
    filter_state_set(&info.filter_state, STR("plain"), STR("text"), false, FILTER_STATE_PRIVATE);
    filter_state_set_object(&info.filter_state, STR("downstream_peer"), &peer, FILTER_STATE_PRIVATE);
    cel_set_node(&node);
    cx = (struct format_context){.info = &info, .request = &request, .response = &response};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    filter_state_fini(&info.filter_state);
    arena_fini(&arena);
    arena_thread_fini();
    return 0;
}

static void test_cel_is_true__expressions__as_the_language_has_it(void **state)
{
    (void)state;
    static const struct { const char *text; bool is_true; } rows[] = {
        {"true", true}, {"!true", false}, {"1 + 2 * 3 == 7", true}, {"(1 + 2) * 3 == 9", true}, {"7 / 2 == 3 && 7 % 2 == 1", true},
        {"-1 < 0", true}, {"1 == 1.0", true}, {"1u == 1", true}, {"'a' < 'b'", true}, {"'a' == 1", false}, {"'a' < 1", false},
        {"0x1F == 31", true}, {"1.5e2 == 150.0", true}, {"'a' + 'b' == 'ab'", true}, {"\"\\u00e9\".size() == 1", true},
        {"r'\\d' == '\\\\d'", true}, {"1 in [1, 2]", true}, {"3 in [1, 2]", false}, {"[1, 2][1] == 2", true}, {"[1][5] == 1", false},
        {"size([1, 2, 3]) == 3", true}, {"true ? false : true", false}, {"1 / 0 == 1", false}, {"1 / 0 == 1 || true", true},
        {"true || 1 / 0 == 1", true}, {"1 / 0 == 1 && false", false}, {"9223372036854775807 + 1 > 0", false},
        {"int('42') == 42", true}, {"string(42) == '42'", true}, {"double(1) == 1.0", true}, {"int('x') == 0", false},
        {"response.code >= 500", true}, {"response.code == 503 && request.method == 'GET'", true},
        {"request.path.startsWith('/items')", true}, {"request.url_path == '/items/42'", true}, {"request.query == 'q=1'", true},
        {"request.path.matches('[0-9]+')", true}, {"matches(request.path, '^[0-9]+$')", false}, {"request.path.contains('42?')", true},
        {"request.headers['x-user'] == 'ann'", true}, {"request.headers['X-User'].endsWith('n')", true},
        {"'x-user' in request.headers", true}, {"'x-none' in request.headers", false}, {"has(request.headers.host)", true},
        {"has(request.headers.nothing)", false}, {"request.headers['nothing'] == ''", false}, {"!(request.headers['nothing'] == 'a')", false},
        {"response.headers['content-type'].contains('plain')", true}, {"response.size == 100", true}, {"response.flags == 2", true},
        {"request.duration > duration('100ms') && request.duration < duration('1s')", true},
        {"metadata.filter_metadata['shop']['colour'] == 'blue'", true}, {"metadata.filter_metadata['shop'].count == 3", true},
        {"has(metadata.filter_metadata.none)", false}, {"connection.mtls", false}, {"response.code_details == 'via_upstream'", true},
        {"response.code", false}, {"upstream.port == 80", false},
        /* macros */
        {"[1, 2, 3].all(x, x > 0)", true}, {"[1, 2, 3].all(x, x > 1)", false}, {"[].all(x, false)", true}, {"[].exists(x, true)", false},
        {"[1, 2, 3].exists(x, x == 2)", true}, {"[1, 2, 2].exists_one(x, x == 2)", false}, {"[1, 2, 3].exists_one(x, x == 2)", true},
        {"[1, 2, 3].map(x, x * 2) == [2, 4, 6]", true}, {"[1, 2, 3].map(x, x > 1, x * 2) == [4, 6]", true},
        {"[1, 2, 3].filter(x, x % 2 == 1) == [1, 3]", true}, {"[1, 2].exists(x, 1 / 0 == x || x == 2)", true},
        {"['a', 'b'].exists(x, x == 'b' || 1 / 0 == 1)", true}, {"[1, 2].all(x, 1 / 0 == x)", false}, {"[1, 0].exists(x, 1 / x == 1)", true},
        {"[[1, 2], [3]].all(l, l.exists(x, x > 1))", true}, {"[1, 2].all(x, [x].all(x, x > 0))", true}, {"size([1, 2].filter(x, x > 5)) == 0", true},
        {"{'a': 1, 'b': 2}.all(k, k < 'c')", true}, {"{'a': 1}.map(k, k) == ['a']", true}, {"'abc'.all(c, true)", false},
        {"request.headers.exists(h, h.startsWith('x-') && request.headers[h] == 'ann')", true}, {"request.headers.all(h, h != 'x-none')", true},
        {"metadata.filter_metadata.exists(n, n == 'shop')", true}, {"metadata.filter_metadata.shop.map(k, k).size() == 2", true},
        /* maps */
        {"{'a': 1}['a'] == 1 && {'a': 1}.a == 1", true}, {"'a' in {'a': 1}", true}, {"'b' in {'a': 1}", false}, {"{1: 'x'}[1] == 'x'", true},
        {"{'a': 1, 'b': [2]} == {'b': [2], 'a': 1}", true}, {"{'a': 1} == {'a': 2}", false}, {"{} == {}", true}, {"size({'a': 1, 'b': 2,}) == 2", true},
        {"{'a': 1}.b == 1", false}, {"has({'a': {'b': 1}}.a.b)", true}, {"has({'a': 1}.b)", false}, {"[1, 2,] + [3] == [1, 2, 3]", true},
        /* bytes, strings */
        {"b'abc' == bytes('abc')", true}, {"b'\\xff'.size() == 1", true}, {"'\\xff'.size() == 1 && size(bytes('\\xff')) == 2", true}, {"b'a' == 'a'", false},
        {"br'\\n'.size() == 2", true}, {"string(b'abc') == 'abc'", true}, {"b'a' + b'b' == b'ab' && b'a' < b'b'", true}, {"'\\101' == 'A'", true},
        {"\"\"\"a\nb\"\"\" == 'a\\nb'", true}, {"\"\" == ''", true}, {"dyn(1) == 1", true}, {"null == null", true},
        /* times */
        {"timestamp('2024-02-29T12:30:45.250Z').getFullYear() == 2024", true}, {"timestamp('2024-02-29T12:30:45.250Z').getMonth() == 1", true},
        {"timestamp('2024-02-29T12:30:45.250Z').getDate() == 29 && timestamp('2024-02-29T12:30:45.250Z').getDayOfMonth() == 28", true},
        {"timestamp('2024-02-29T12:30:45.250Z').getDayOfWeek() == 4 && timestamp('2024-02-29T12:30:45Z').getDayOfYear() == 59", true},
        {"timestamp('2024-02-29T12:30:45.250Z').getHours() == 12 && timestamp('2024-02-29T12:30:45.250Z').getMilliseconds() == 250", true},
        {"timestamp('2024-02-29T12:30:45Z').getHours('+02:30') == 15", true}, {"timestamp('2024-02-29T12:30:45Z').getMinutes('-00:31') == 59", true},
        {"timestamp('2024-02-29T12:30:45Z').getHours('nowhere') == 15", false}, {"timestamp('2024-01-01T01:00:00+01:00') == timestamp('2024-01-01T00:00:00Z')", true},
        {"timestamp('2024-01-01T00:00:00Z') + duration('24h') == timestamp('2024-01-02T00:00:00Z')", true},
        {"timestamp('2024-01-02T00:00:00Z') - timestamp('2024-01-01T00:00:00Z') == duration('24h')", true},
        {"timestamp('2024-01-02T00:00:00Z') - duration('1h') > timestamp('2024-01-01T00:00:00Z')", true}, {"timestamp(0) == timestamp('1970-01-01T00:00:00Z')", true},
        {"int(timestamp('1970-01-01T00:01:00Z')) == 60", true}, {"string(timestamp('2024-01-01T00:00:00.5Z')) == '2024-01-01T00:00:00.5Z'", true},
        {"timestamp('1969-12-31T23:59:59.5Z').getMilliseconds() == 500", true}, {"duration('1h30m').getMinutes() == 90", true},
        {"duration('-1.5s') == duration('-1500ms') && -duration('1s') == duration('-1s')", true}, {"string(duration('90m')) == '5400s'", true},
        {"duration(request.headers['x-user']) == duration('1s')", false}, {"request.time > timestamp('2020-01-01T00:00:00Z')", true},
        /* peers and nodes */
        {"filter_state.downstream_peer.workload == 'web-v1'", true}, {"filter_state['downstream_peer'].workload == 'web-v1'", true},
        {"has(filter_state.downstream_peer.version)", false}, {"has(filter_state.upstream_peer)", false}, {"filter_state.plain == 'text'", true},
        {"filter_state.downstream_peer.labels['app'] == 'web'", true}, {"xds.node.id == 'me'", true}, {"xds.cluster_metadata.filter_metadata.istio.x == 1", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {0};
        struct cel *e = cel_new(str_from(rows[i].text), &err);
        if (!e)
            fail_msg("%s: %s", rows[i].text, err.message);
        if (cel_is_true(e, &cx) != rows[i].is_true)
            fail_msg("%s is not %d", rows[i].text, rows[i].is_true);
        cel_free(&e);
    }
}

static void test_cel_new__what_is_not_understood__is_named(void **state)
{
    (void)state;
    static const struct { const char *text, *what; } rows[] = {
        {"", "expected a value"}, {"1 +", "expected a value"}, {"(1", "expected )"}, {"'a", "a string doesn't end"}, {"1 2", "unexpected text"},
        {"request.colour == 1", "there is no attribute request.colour"}, {"colour", "there is no attribute colour"},
        {"[1].exists(x)", "a macro takes a variable"}, {"[1].exists(1, true)", "a macro takes a variable"}, {"[1].exists(x, y)", "there is no attribute y"},
        {"[1].map(x, x) == x", "there is no attribute x"}, {"timestamp('x')", "not a timestamp"}, {"timestamp('2024-02-30T00:00:00Z')", "not a timestamp"},
        {"{1 2}", "expected :"}, {"[1 2]", "expected , or ]"}, {"b'\\q'", "an escape that isn't one"}, {"\"\"\"a\"\"", "a string doesn't end"},
        {"type(1) == int", "not supported: type"}, {"[1].all(a, [1].all(b, [1].all(c, [1].all(d, [1].all(e, [1].all(f, [1].all(g, [1].all(h, "
         "[1].all(i, [1].all(j, [1].all(k, [1].all(l, [1].all(m, [1].all(n, [1].all(o, [1].all(p, [1].all(q, true)))))))))))))))))", "too many macros"},
        {"'a'.matches(request.path)", "a pattern that is a literal"}, {"'a'.matches('(')", ""}, {"has(1)", "has() takes a member"},
        {"99999999999999999999", "not a number"}, {"'\\q'", "an escape that isn't one"}, {"request", "can't be used by itself"},
        {"duration('1 year')", "not a duration"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {0};
        struct cel *e = cel_new(str_from(rows[i].text), &err);
        if (e)
            fail_msg("%s was taken", rows[i].text);
        if (!strstr(err.message, rows[i].what))
            fail_msg("%s: %s", rows[i].text, err.message);
    }
}

static void test_cel_new__deep_and_long__refused(void **state)
{
    (void)state;
    static const char *const parts[] = {"(", "!", "-", "1+", "[", "true?", "1<"};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        struct strbuf text = {0};
        struct err err = {0};
        for (int k = 0; k < 100000; k++)
            strbuf_addz(&text, parts[i]);
        assert_null(cel_new(strbuf_str(&text), &err));
        assert_true(err.code < 0);
        strbuf_fini(&text);
    }
}

static void test_cel_text__values__as_envoy_prints_them(void **state)
{
    (void)state;
    static const struct { const char *expression, *text; } rows[] = {
        {"'a' + 'b'", "ab"}, {"1 + 1", "2"}, {"2u", "2"}, {"1.5", "1.5"}, {"true && !false", "true"}, {"request.method", "GET"},
        {"response.code", "503"}, {"duration('1500ms')", "1.5s"}, {"timestamp('2024-01-01T00:00:00Z')", "2024-01-01T00:00:00+00:00"},
        {"duration('90m')", "1h30m"}, {"duration('3661.5s')", "1h1m1.5s"}, {"duration('1500us')", "1.5ms"}, {"duration('-2s')", "-2s"}, {"duration('0')", "0"},
        {"filter_state.downstream_peer.workload", "web-v1"}, {"request.headers['none']", NULL}, {"[1]", NULL}, {"{}", NULL}, {"null", NULL},
        {"1 / 0", NULL}, {"has(request.headers['x'].y) ? 'a' : 'b'", "b"}, {"metadata.filter_metadata.shop.count", "3"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {0};
        struct str text;
        struct cel *e = cel_new(str_from(rows[i].expression), &err);
        if (!e)
            fail_msg("%s: %s", rows[i].expression, err.message);
        bool known = cel_text(e, &cx, &arena, &text);
        if (known != (rows[i].text != NULL) || (known && !str_eq(text, str_from(rows[i].text))))
            fail_msg("%s gives %.*s", rows[i].expression, STR_ARG(text));
        cel_free(&e);
    }
}

#define TWICE ".map(x, [x, x]).map(x, [x, x]).map(x, [x, x]).map(x, [x, x]).map(x, [x, x])"
/* Macros in macros over what they made: an end in steps and memory, and soon. */
static void test_cel_is_true__expressions_that_explode__end_as_errors(void **state)
{
    (void)state;
    static const char *const rows[] = {
        /* a small list that holds itself 2^40 times over, compared with itself */
        "[[[1]]" TWICE TWICE TWICE TWICE TWICE TWICE TWICE TWICE ", [[1]]" TWICE TWICE TWICE TWICE TWICE TWICE TWICE TWICE "].exists_one(x, "
        "x == [[1]]" TWICE TWICE TWICE TWICE TWICE TWICE TWICE TWICE ")",
        "[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, [1,2,3,4,5,6,7,8,9].all(d, "
        "[1,2,3,4,5,6,7,8,9].all(e, [1,2,3,4,5,6,7,8,9].all(f, [1,2,3,4,5,6,7,8,9].all(g, [1,2,3,4,5,6,7,8,9].all(h, true))))))))",
        "[1,2,3,4,5,6,7,8].map(a, ['xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx','y','z','w'].map(b, ['xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx','y','z'].map(c, "
        "['xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx','y','z','v'].map(d, b + c + d + b + c + d + b + c + d + b + c + d + b + c + d)))).size() == 8"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {0};
        struct cel *e = cel_new(str_from(rows[i]), &err);
        assert_non_null(e);
        assert_false(cel_is_true(e, &cx));
        cel_free(&e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cel_is_true__expressions__as_the_language_has_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cel_text__values__as_envoy_prints_them, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cel_is_true__expressions_that_explode__end_as_errors, set_up, tear_down),
        cmocka_unit_test(test_cel_new__what_is_not_understood__is_named),
        cmocka_unit_test(test_cel_new__deep_and_long__refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
