/* SPDX-License-Identifier: Apache-2.0 */
#include "xds/message.h"

#include "base/mem.h"

#include "../unit.h"

static void test_request__each_form__reads_as_written(void **state)
{
    (void)state;
    struct str names[] = {STR("a"), STR("b")}, gone[] = {STR("c")};
    struct xds_versioned versions[] = {{STR("a"), STR("1")}, {STR("b"), STR("")}};
    for (int delta = 0; delta < 2; delta++) {
        struct xds_request in = {
            .is_delta = delta, .has_node = true, .node = STR("\x0a\x01n"), .version = delta ? STR_NULL : STR("v"), .type_url = STR("t/x"),
            .nonce = STR("n"), .names = names, .name_count = 2, .has_error = true, .error_code = 13, .error_message = STR("bad")};
        struct xds_request out;
        struct strbuf b = {0}, again = {0};
        struct arena a;
        struct err err = {0};
        if (delta)
            in.unsubscribed = gone, in.unsubscribed_count = 1, in.initial_versions = versions, in.initial_count = 2;
        arena_init(&a, 0);
        xds_request_write(&in, &b);
        assert_int_equal(xds_request_read(&a, delta, strbuf_str(&b), &out, &err), 0);
        assert_int_equal(out.name_count, 2);
        assert_str_equal(out.names[1], "b");
        assert_str_equal(out.error_message, "bad");
        assert_true(out.has_node && out.has_error && out.error_code == 13);
        assert_int_equal(out.initial_count, delta ? 2 : 0);
        assert_int_equal(out.unsubscribed_count, delta ? 1 : 0);
        xds_request_write(&out, &again);
        assert_true(str_eq(strbuf_str(&b), strbuf_str(&again)));
        strbuf_fini(&b);
        strbuf_fini(&again);
        arena_fini(&a);
    }
}

static void test_response__each_form__reads_as_written(void **state)
{
    (void)state;
    struct str aliases[] = {STR("x"), STR("y")}, removed[] = {STR("gone")};
    struct xds_resource_error errors[] = {{STR("e"), STR("no such"), 5}};
    for (int delta = 0; delta < 2; delta++) {
        struct xds_resource items[] = {
            {.type_url = STR("t/x"), .packed = STR("\x0a\x01r"), .has_body = true},
            {.name = STR("r2"), .version = STR("7"), .has_ttl = true, .ttl_us = 1500000},
        };
        struct xds_response in = {.is_delta = delta, .version = STR("v"), .type_url = STR("t/x"), .nonce = STR("n"), .control_plane = STR("cp"),
                                  .resources = items, .resource_count = 2, .errors = errors, .error_count = 1};
        struct xds_response out;
        struct strbuf b = {0}, again = {0};
        struct arena a;
        struct err err = {0};
        if (delta) {
            items[0].name = STR("r1"), items[0].aliases = aliases, items[0].alias_count = 2;
            in.removed = removed, in.removed_count = 1;
        }
        arena_init(&a, 0);
        xds_response_write(&in, &b);
        assert_int_equal(xds_response_read(&a, delta, strbuf_str(&b), &out, &err), 0);
        assert_int_equal(out.resource_count, 2);
        assert_str_equal(out.resources[0].packed, "\x0a\x01r");
        assert_str_equal(out.resources[1].name, "r2");
        assert_true(out.resources[1].has_ttl && out.resources[1].ttl_us == 1500000 && !out.resources[1].has_body);
        assert_str_equal(out.control_plane, "cp");
        assert_str_equal(out.errors[0].message, "no such");
        assert_int_equal(out.resources[0].alias_count, delta ? 2 : 0);
        xds_response_write(&out, &again);
        assert_true(str_eq(strbuf_str(&b), strbuf_str(&again)));
        strbuf_fini(&b);
        strbuf_fini(&again);
        arena_fini(&a);
    }
}

static int read_bytes(bool delta, struct str packed, size_t limit)
{
    struct arena a;
    struct err err = {0};
    struct xds_response out;
    arena_init(&a, limit);
    int rc = xds_response_read(&a, delta, packed, &out, &err);
    arena_fini(&a);
    return rc;
}

static void test_response_read__broken__says_so(void **state)
{
    (void)state;
    static const struct str broken[] = {
        {"\x0a\x05v", 3}, {"\x0a\x01\xff", 3}, {"\x0a\x02v\0", 4}, {"\x12\x02\x0a\x05", 4}, {"\x10\x01", 2}, {"\x2a\x01\xc0", 3}, {"\x13", 1},
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        assert_int_equal(read_bytes(false, broken[i], 0), ERR_SYNTAX);
        assert_int_equal(read_bytes(true, broken[i], 0), ERR_SYNTAX);
    }
    assert_int_equal(read_bytes(true, STR("\x12\x04\x32\x02\x08\x05"), 0), 0);
    assert_int_equal(read_bytes(true, STR("\x12\x0d\x32\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), 0), ERR_SYNTAX); /* ttl -1 s */
}

static void test_response_read__too_many__limit(void **state)
{
    (void)state;
    size_t n = XDS_ITEMS_MAX + 1;
    char *bytes = mem_alloc(2 * n);
    for (size_t i = 0; i < n; i++) {
        bytes[2 * i] = 0x12;
        bytes[2 * i + 1] = 0;
    }
    assert_int_equal(read_bytes(false, str_make(bytes, 2 * n), 0), ERR_LIMIT);
    assert_int_equal(read_bytes(true, str_make(bytes, 2 * n), 0), ERR_LIMIT);
    assert_int_equal(read_bytes(true, str_make(bytes, 2000), 1000), ERR_LIMIT);
    mem_free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request__each_form__reads_as_written),
        cmocka_unit_test(test_response__each_form__reads_as_written),
        cmocka_unit_test(test_response_read__broken__says_so),
        cmocka_unit_test(test_response_read__too_many__limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
