/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/log/access_log.h"

#include "base/check.h"

#include "../unit.h"

struct fixture {
    struct arena arena;
    struct headers request, response;
    struct stream_info info;
    struct format_context cx;
    struct addr remote;
};

static void setup(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    arena_init(&f->arena, 0);
    headers_init(&f->request, &f->arena);
    headers_init(&f->response, &f->arena);
    headers_add(&f->request, STR(":path"), STR("/a?x=1&y=2"));
    headers_add(&f->request, STR(":method"), STR("GET"));
    headers_add(&f->request, STR("x-a"), STR("abcdef"));
    headers_add(&f->request, STR("content-type"), STR("application/grpc"));
    headers_add(&f->response, STR("grpc-status"), STR("14"));
    addr_from_ip(&f->remote, STR("10.0.0.1"), 1234, NULL);
    f->info.start_us = 1000000;
    f->info.end_us = 1007000;
    f->info.start_wall_us = 1700000000123456;
    f->info.status = 200;
    f->info.flags = FLAG_UF | FLAG_URX;
    f->info.bytes_sent = 42;
    f->info.has_protocol = true;
    f->info.protocol = HTTP_2;
    f->info.details = STR("a b");
    f->info.downstream_remote = &f->remote;
    struct meta_value text = {.kind = META_STRING, .u.string = STR("text")}, number = {.kind = META_NUMBER, .u.number = 5};
    metadata_set(&f->info.metadata, &f->arena, STR("ns"), STR("s"), &text);
    metadata_set(&f->info.metadata, &f->arena, STR("ns"), STR("n"), &number);
    filter_state_set(&f->info.filter_state, STR("k"), STR("v"), false, FILTER_STATE_PRIVATE);
    f->cx = (struct format_context){.info = &f->info, .request = &f->request, .response = &f->response};
}

static void drop(struct fixture *f)
{
    filter_state_fini(&f->info.filter_state);
    arena_fini(&f->arena);
    arena_thread_fini();
}

static void test_format_run__operators__exact_text(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"plain", "plain"},
        {"100%%", "100%"},
        {"%REQ(X-A)%", "abcdef"},
        {"%REQ(X-A):3%", "abc"},
        {"%REQ(NONE?X-A)%", "abcdef"},
        {"%REQ(NONE)%", "-"},
        {"%RESP(grpc-status)%|%RESPONSE_CODE%", "14|200"},
        {"%RESPONSE_FLAGS%", "UF,URX"},
        {"%RESPONSE_CODE_DETAILS%", "a_b"},
        {"%BYTES_SENT% %DURATION%", "42 7"},
        {"%PROTOCOL%", "HTTP/2"},
        {"%START_TIME%", "2023-11-14T22:13:20.123Z"},
        {"%START_TIME(%Y/%m/%d %s %3f %6f)%", "2023/11/14 1700000000 123 123456"},
        {"%START_TIME(%3s)%", "1700000000123"},
        {"%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_PORT%",
         "10.0.0.1:1234 10.0.0.1 1234"},
        {"%UPSTREAM_HOST%", "-"},
        {"%DOWNSTREAM_TLS_VERSION%", "-"},
        {"%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS_NUMBER%", "Unavailable UNAVAILABLE 14"},
        {"%PATH(NQ)% %PATH(WQ:PATH)%", "/a /a?x=1&y=2"},
        {"%QUERY_PARAM(y)%", "2"},
        {"%DYNAMIC_METADATA(ns:s)% %DYNAMIC_METADATA(ns:s):2% %DYNAMIC_METADATA(ns:n)% %DYNAMIC_METADATA(ns:x)%", "text te 5 -"},
        {"%DYNAMIC_METADATA(ns)% %METADATA(DYNAMIC:ns:n)%", "{\"n\":5,\"s\":\"text\"} 5"},
        {"%CLUSTER_METADATA(ns)% %UPSTREAM_METADATA(ns:a)% %METADATA(ROUTE:ns)%", "- - -"},
        {"%FILTER_STATE(k:PLAIN)% %FILTER_STATE(k)% %FILTER_STATE(k:TYPED):3% %FILTER_STATE(none)%", "v \"v\" \"v\" -"},
    };
    struct fixture f;
    setup(&f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        struct strbuf out = {0};
        struct format *format = format_new(str_from(cases[i][0]), false, &err);
        if (!format)
            fail_msg("%s: %s", cases[i][0], err.message);
        format_run(format, &f.cx, &out);
        assert_str_equal(strbuf_str(&out), cases[i][1]);
        format_free(&format);
        strbuf_fini(&out);
    }
    drop(&f);
}

static void test_format_new__bad_text__says_what(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"%NOPE%", "NOPE"},       {"%REQ%", "argument"},      {"%REQ(x", "parenthesis"},
        {"50% of", "alone"},      {"%PROTOCOL(x)%", "takes no argument"}, {"%REQ(x):y%", "number"},
        {"%PROTOCOL", "closing"}, {"%GRPC_STATUS(X)%", "CAMEL_STRING"},
        {"%COMMON_DURATION(a:b:c)%", "DS_RX_BEG"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        struct format *format = format_new(str_from(cases[i][0]), false, &err);
        assert_null(format);
        if (!strstr(err.message, cases[i][1]))
            fail_msg("%s: %s", cases[i][0], err.message);
    }
}

static void test_format_run__json__keeps_types_and_escapes(void **state)
{
    (void)state;
    struct json_format_node children[] = {
        {.key = STR("code"), .kind = JSON_FORMAT_TEXT, .text = STR("%RESPONSE_CODE%")},
        {.key = STR("a\"b"), .kind = JSON_FORMAT_TEXT, .text = STR("\"%REQ(X-A)%\"")},
        {.key = STR("none"), .kind = JSON_FORMAT_TEXT, .text = STR("%REQ(none)%")},
        {.key = STR("flag"), .kind = JSON_FORMAT_BOOL, .text = STR("true")},
        {.key = STR("meta"), .kind = JSON_FORMAT_TEXT, .text = STR("%DYNAMIC_METADATA(ns)%")},
        {.key = STR("text"), .kind = JSON_FORMAT_TEXT, .text = STR("%DYNAMIC_METADATA(ns:s)%")},
        {.key = STR("state"), .kind = JSON_FORMAT_TEXT, .text = STR("%FILTER_STATE(k:PLAIN)%")},
    };
    struct json_format_node root = {.kind = JSON_FORMAT_OBJECT, .children = children, .child_count = ARRAY_LEN(children)};
    struct fixture f;
    struct err err;
    setup(&f);
    struct strbuf out = {0};
    struct format *format = format_new_json(&root, false, false, &err);
    format_run(format, &f.cx, &out);
    assert_str_equal(strbuf_str(&out), "{\"code\":200,\"a\\\"b\":\"\\\"abcdef\\\"\",\"none\":null,\"flag\":true,"
                                         "\"meta\":{\"n\":5,\"s\":\"text\"},\"text\":\"text\",\"state\":\"v\"}\n");
    format_free(&format);
    strbuf_reset(&out);
    format = format_new_json(&root, true, false, &err);
    format_run(format, &f.cx, &out);
    assert_str_equal(strbuf_str(&out), "{\"code\":200,\"a\\\"b\":\"\\\"abcdef\\\"\",\"flag\":true,"
                                         "\"meta\":{\"n\":5,\"s\":\"text\"},\"text\":\"text\",\"state\":\"v\"}\n");
    format_free(&format);
    strbuf_fini(&out);
    drop(&f);
}

static void test_format_default_http__compiles(void **state)
{
    (void)state;
    struct err err = {0};
    struct format *format = format_new(format_default_http(), false, &err);
    assert_non_null(format);
    format_free(&format);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format_run__operators__exact_text),
        cmocka_unit_test(test_format_new__bad_text__says_what),
        cmocka_unit_test(test_format_run__json__keeps_types_and_escapes),
        cmocka_unit_test(test_format_default_http__compiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
