/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/cel/cel.h"

#include <string.h>

#include "base/check.h"
#include "proxy/log/access_log.h"

#include "../unit.h"

static struct arena arena;
static struct headers request, response;
static struct stream_info info;
static struct format_context cx;

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
    cx = (struct format_context){.info = &info, .request = &request, .response = &response};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
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
        {"[1].exists(x, x == 1)", "not supported: exists"}, {"timestamp('x')", "not supported: timestamp"},
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cel_is_true__expressions__as_the_language_has_it, set_up, tear_down),
        cmocka_unit_test(test_cel_new__what_is_not_understood__is_named),
        cmocka_unit_test(test_cel_new__deep_and_long__refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
