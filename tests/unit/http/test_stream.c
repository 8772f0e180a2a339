/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "http/stream.h"

struct pair {
    const char *name, *value;
};

static void fill(struct headers *h, struct arena *a, const struct pair *pairs)
{
    headers_init(h, a);
    for (; pairs->name; pairs++)
        assert_true(headers_add(h, str_from(pairs->name), str_from(pairs->value)));
}

static const struct {
    bool keep_upgrade;
    struct pair before[8], after[8];
} strips[] = {
    {false, {{":method", "GET"}, {"accept", "a"}}, {{":method", "GET"}, {"accept", "a"}}},
    {false, {{"connection", "keep-alive"}, {"keep-alive", "5"}, {"x", "1"}}, {{"x", "1"}}},
    {false,
     {{"connection", "X, keep-alive,y"}, {"x", "1"}, {"y", "2"}, {"z", "3"}},
     {{"z", "3"}}},
    {false,
     {{"connection", "x"}, {"x", "1"}, {"connection", "y"}, {"y", "2"}, {"x", "3"}},
     {{NULL, NULL}}},
    /* Connection can't take away what the message is about. */
    {false,
     {{"host", "h"}, {"connection", "host, content-length, :path"}, {"content-length", "3"},
      {":path", "/"}},
     {{"host", "h"}, {"content-length", "3"}, {":path", "/"}}},
    {false, {{"te", "gzip, trailers"}}, {{"te", "trailers"}}},
    {false, {{"te", "gzip"}, {"proxy-connection", "close"}, {"http2-settings", "A"}}, {{NULL, NULL}}},
    {false, {{"connection", "Upgrade"}, {"upgrade", "websocket"}}, {{NULL, NULL}}},
    {true,
     {{"upgrade", "websocket"}, {"connection", "keep-alive, Upgrade"}},
     {{"upgrade", "websocket"}, {"connection", "upgrade"}}},
    {true, {{"upgrade", "websocket"}}, {{NULL, NULL}}},
    {true, {{"upgrade", "h2c"}, {"connection", "upgrade"}}, {{NULL, NULL}}},
    {false, {{"transfer-encoding", "chunked"}}, {{NULL, NULL}}},
};

static void test_headers_strip_hop_by_hop__table__left_as_expected(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(strips) / sizeof(strips[0]); i++) {
        struct arena a;
        struct headers h;
        uint32_t n = 0;

        arena_init(&a, 0);
        fill(&h, &a, strips[i].before);
        headers_strip_hop_by_hop(&h, strips[i].keep_upgrade);
        for (; strips[i].after[n].name; n++) {
            assert_true(n < h.count);
            assert_true(str_eq(h.items[n].name, str_from(strips[i].after[n].name)));
            assert_true(str_eq(h.items[n].value, str_from(strips[i].after[n].value)));
        }
        assert_int_equal(h.count, n);
        arena_fini(&a);
    }
}

static void test_headers_is_upgrade__needs_both_fields(void **state)
{
    (void)state;
    const struct {
        struct pair pairs[4];
        bool expected;
    } cases[] = {
        {{{"upgrade", "websocket"}, {"connection", "Upgrade"}}, true},
        {{{"connection", "a"}, {"upgrade", "websocket"}, {"connection", "b, upgrade"}}, true},
        {{{"upgrade", "websocket"}}, false},
        {{{"connection", "upgrade"}}, false},
        {{{"upgrade", "websocket"}, {"connection", "upgraded"}}, false},
        {{{"upgrade", "h2c"}, {"connection", "upgrade"}}, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena a;
        struct headers h;

        arena_init(&a, 0);
        fill(&h, &a, cases[i].pairs);
        assert_int_equal(headers_is_upgrade(&h), cases[i].expected);
        arena_fini(&a);
    }
}

static void test_headers_is_grpc_request__by_content_type(void **state)
{
    (void)state;
    const struct {
        const char *type;
        bool expected;
    } cases[] = {
        {"application/grpc", true},      {"application/grpc+proto", true},
        {"application/grpc-web", false}, {"application/grpcx", false},
        {"application/json", false},     {"application/grp", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pair pairs[] = {{"content-type", cases[i].type}, {NULL, NULL}};
        struct arena a;
        struct headers h;

        arena_init(&a, 0);
        fill(&h, &a, pairs);
        assert_int_equal(headers_is_grpc_request(&h), cases[i].expected);
        arena_fini(&a);
    }
}

static void test_stream_reset_text__every_reason__has_one(void **state)
{
    (void)state;
    assert_string_equal(stream_reset_text(STREAM_OK), "");
    assert_string_equal(stream_reset_text(STREAM_TERMINATED), "connection termination");
    assert_string_equal(stream_reset_text(STREAM_IDLE_TIMEOUT), "stream idle timeout");
    assert_string_equal(http_protocol_text(HTTP_10), "HTTP/1.0");
    assert_string_equal(http_protocol_text(HTTP_2), "HTTP/2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers_strip_hop_by_hop__table__left_as_expected),
        cmocka_unit_test(test_headers_is_upgrade__needs_both_fields),
        cmocka_unit_test(test_headers_is_grpc_request__by_content_type),
        cmocka_unit_test(test_stream_reset_text__every_reason__has_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
