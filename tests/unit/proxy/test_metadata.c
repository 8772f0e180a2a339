/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/metadata.h"

#include "base/check.h"
#include "proxy/filter_state.h"

#include "../unit.h"

static struct meta_value text(const char *s)
{
    return (struct meta_value){.kind = META_STRING, .u.string = str_from(s)};
}

static struct meta_value number(double v)
{
    return (struct meta_value){.kind = META_NUMBER, .u.number = v};
}

static void expect_json(const struct meta_value *v, bool bare, const char *want)
{
    struct strbuf out = {0};
    assert_non_null(v);
    meta_print_json(v, bare, &out);
    assert_string_equal(out.p, want);
    strbuf_fini(&out);
}

static void test_metadata_set__many_keys__found_and_replaced(void **state)
{
    (void)state;
    struct arena a;
    struct metadata m = {0};
    arena_init(&a, 0);
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        struct meta_value v = number(i);
        assert_true(metadata_set(&m, &a, STR("ns"), str_from(key), &v));
    }
    struct meta_value v = text("seven");
    assert_true(metadata_set(&m, &a, STR("ns"), STR("k7"), &v));
    assert_true(metadata_set(&m, &a, STR("other"), STR("x"), &v));
    assert_int_equal(m.count, 2);
    assert_int_equal(metadata_find(&m, STR("ns"), NULL, 0)->u.fields.count, 100);
    expect_json(metadata_find(&m, STR("ns"), &STR("k7"), 1), false, "\"seven\"");
    expect_json(metadata_find(&m, STR("ns"), &STR("k99"), 1), false, "99");
    assert_null(metadata_find(&m, STR("ns"), &STR("k100"), 1));
    assert_null(metadata_find(&m, STR("none"), NULL, 0));
    assert_null(metadata_find(NULL, STR("ns"), NULL, 0));
    arena_fini(&a);
    arena_thread_fini();
}

static void test_metadata_set__too_many_keys__refused(void **state)
{
    (void)state;
    struct arena a;
    struct metadata m = {0};
    arena_init(&a, 0);
    struct meta_value v = number(1);
    for (int i = 0; i < METADATA_KEYS_MAX; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        assert_true(metadata_set(&m, &a, STR("ns"), str_from(key), &v));
    }
    assert_false(metadata_set(&m, &a, STR("ns"), STR("one more"), &v));
    assert_true(metadata_set(&m, &a, STR("ns"), STR("k0"), &v));
    arena_fini(&a);
    arena_thread_fini();
}

static void test_metadata_set__full_arena__false_and_unchanged(void **state)
{
    (void)state;
    struct arena a;
    struct metadata m = {0};
    arena_init(&a, 512);
    struct meta_value small = number(1), big = text("0123456789012345678901234567890123456789012345678901234567890123");
    assert_true(metadata_set(&m, &a, STR("ns"), STR("k"), &small));
    bool ok = true;
    for (int i = 0; i < 20 && ok; i++)
        ok = metadata_set(&m, &a, STR("ns"), STR("k"), &big);
    assert_false(ok);
    assert_non_null(metadata_find(&m, STR("ns"), &STR("k"), 1));
    arena_fini(&a);
    arena_thread_fini();
}

/* What set_metadata's documentation says of merging: structs recursively, lists appended, all else replaced. */
static void test_metadata_merge__structs_and_lists__as_documented(void **state)
{
    (void)state;
    struct arena a;
    struct metadata m = {0};
    arena_init(&a, 0);
    struct meta_value one[] = {number(1)}, two[] = {number(2.5), text("z")};
    struct meta_field inner1[] = {{STR("x"), text("a")}, {STR("y"), text("b")}}, inner2[] = {{STR("y"), text("c")}};
    struct meta_field first[] = {
        {STR("list"), {.kind = META_LIST, .u.list = {one, 1}}},
        {STR("map"), {.kind = META_STRUCT, .u.fields = {inner1, 2}}},
        {STR("v"), text("old")},
    };
    struct meta_field second[] = {
        {STR("list"), {.kind = META_LIST, .u.list = {two, 2}}},
        {STR("map"), {.kind = META_STRUCT, .u.fields = {inner2, 1}}},
        {STR("v"), {.kind = META_BOOL, .u.boolean = true}},
    };
    struct meta_value v1 = {.kind = META_STRUCT, .u.fields = {first, 3}}, v2 = {.kind = META_STRUCT, .u.fields = {second, 3}};
    assert_true(metadata_merge(&m, &a, STR("ns"), &v1));
    assert_true(metadata_merge(&m, &a, STR("ns"), &v2));
    expect_json(metadata_find(&m, STR("ns"), NULL, 0), false,
                "{\"list\":[1,2.5,\"z\"],\"map\":{\"x\":\"a\",\"y\":\"c\"},\"v\":true}");
    expect_json(metadata_find(&m, STR("ns"), (struct str[]){STR("map"), STR("x")}, 2), true, "a");
    assert_int_equal(v1.u.fields.items[0].value.u.list.count, 1); /* the source is untouched */
    arena_fini(&a);
    arena_thread_fini();
}

static void test_meta_equal__order_of_fields__ignored(void **state)
{
    (void)state;
    struct meta_field ab[] = {{STR("a"), number(1)}, {STR("b"), text("x")}}, ba[] = {{STR("b"), text("x")}, {STR("a"), number(1)}};
    struct meta_value v1 = {.kind = META_STRUCT, .u.fields = {ab, 2}}, v2 = {.kind = META_STRUCT, .u.fields = {ba, 2}};
    assert_true(meta_equal(&v1, &v2));
    ba[1].value.u.number = 2;
    assert_false(meta_equal(&v1, &v2));
    struct meta_value null = {0}, no = {.kind = META_BOOL};
    assert_false(meta_equal(&null, &no));
    assert_true(meta_equal(&null, &null));
}

static void test_meta_print_json__numbers_and_text__json(void **state)
{
    (void)state;
    struct meta_value v = number(-3);
    expect_json(&v, false, "-3");
    static const struct { double v; const char *text; } numbers[] = {
        {0, "0"}, {0.1, "0.1"}, {10000, "10000"}, {100000, "1e+05"}, {123456, "123456"}, {2.5, "2.5"}, {-1.25e-7, "-1.25e-07"},
        {0.000001, "1e-06"}, {0.00012, "0.00012"}, {123456789012345680000.0, "123456789012345683968"}, {1e22, "1e+22"},
        {1e300, "1e+300"}, {1.0 / 3, "0.3333333333333333"}, {12.5, "12.5"},
    };
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        v = number(numbers[i].v);
        expect_json(&v, false, numbers[i].text);
    }
    v = text("a\"b");
    expect_json(&v, false, "\"a\\\"b\"");
    expect_json(&v, true, "a\"b");
    v = (struct meta_value){0};
    expect_json(&v, false, "null");
}

static void test_filter_state_set__read_only__stays(void **state)
{
    (void)state;
    struct filter_state connection = {0}, s = {.parent = &connection};
    assert_true(filter_state_set(&connection, STR("c"), STR("1"), true, FILTER_STATE_PRIVATE));
    assert_true(filter_state_set(&s, STR("k"), STR("v"), false, FILTER_STATE_PRIVATE));
    assert_true(filter_state_set(&s, STR("k"), STR("w"), true, FILTER_STATE_SHARED_ONCE));
    assert_false(filter_state_set(&s, STR("k"), STR("x"), false, FILTER_STATE_PRIVATE));
    assert_false(filter_state_set(&s, STR("c"), STR("2"), false, FILTER_STATE_PRIVATE));
    assert_true(str_eq(filter_state_find(&s, STR("k"))->value, STR("w")));
    assert_true(str_eq(filter_state_find(&s, STR("c"))->value, STR("1")));
    assert_null(filter_state_find(&s, STR("none")));
    filter_state_fini(&s);
    filter_state_fini(&connection);
    assert_null(filter_state_find(&s, STR("k")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metadata_set__many_keys__found_and_replaced),
        cmocka_unit_test(test_metadata_set__too_many_keys__refused),
        cmocka_unit_test(test_metadata_set__full_arena__false_and_unchanged),
        cmocka_unit_test(test_metadata_merge__structs_and_lists__as_documented),
        cmocka_unit_test(test_meta_equal__order_of_fields__ignored),
        cmocka_unit_test(test_meta_print_json__numbers_and_text__json),
        cmocka_unit_test(test_filter_state_set__read_only__stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
