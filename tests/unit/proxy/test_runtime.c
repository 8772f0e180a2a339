/* SPDX-License-Identifier: Apache-2.0 */
#include "config_fixture.h"

#include "proxy/runtime.h"

static struct runtime *make(bool with_admin)
{
    static const struct str keys[] = {STR_NULL, STR_NULL, STR_NULL};
    struct str k[] = {STR("a"), STR("b.c"), STR("f")}, v[] = {STR("5"), STR("true"), STR("3/10000")};
    struct str k2[] = {STR("a")}, v2[] = {STR("7")};
    struct runtime_layer_spec layers[] = {
        {STR("one"), false, 3, k, v}, {STR("two"), false, 1, k2, v2}, {STR("adm"), true, 0, keys, keys}};
    return runtime_new(layers, with_admin ? 3 : 2);
}

static void test_runtime_get__several_layers__last_wins(void **state)
{
    (void)state;
    struct runtime *rt = make(true);
    assert_int_equal(runtime_u64(STR("a"), 1), 7);
    assert_true(runtime_bool(STR("b.c"), false));
    assert_null(runtime_get(STR("none")).p);
    assert_int_equal(runtime_u64(STR("none"), 3), 3);
    runtime_free(&rt);
    assert_int_equal(runtime_u64(STR("a"), 1), 1);
}

static void test_runtime_modify__admin_layer__overrides_and_gives_back(void **state)
{
    (void)state;
    struct err err = {0};
    struct runtime *rt = make(true);
    assert_int_equal(runtime_modify(STR("a"), STR("9"), &err), 0);
    assert_int_equal(runtime_u64(STR("a"), 1), 9);
    assert_int_equal(runtime_modify(STR("a"), STR(""), &err), 0);
    assert_int_equal(runtime_u64(STR("a"), 1), 7);
    runtime_free(&rt);
}

static void test_runtime_modify__no_admin_layer__fails(void **state)
{
    (void)state;
    struct err err = {0};
    struct runtime *rt = make(false);
    assert_int_equal(runtime_modify(STR("a"), STR("9"), &err), ERR_STATE);
    runtime_free(&rt);
}

static void test_runtime_fraction__forms__count(void **state)
{
    (void)state;
    struct runtime *rt = make(true);
    assert_true(runtime_fraction(STR("a"), 0, 1000000, 106)); /* 7 % by the runtime's plain number */
    assert_false(runtime_fraction(STR("a"), 0, 1000000, 107));
    assert_true(runtime_fraction(STR("f"), 0, 100, 2));
    assert_false(runtime_fraction(STR("f"), 0, 100, 3));
    assert_true(runtime_fraction(STR("none"), 1, 2, 4));
    assert_false(runtime_fraction(STR("none"), 1, 2, 5));
    runtime_free(&rt);
}

static void test_runtime_dump_json__layers__are_shown(void **state)
{
    (void)state;
    struct strbuf out = {0};
    struct runtime *rt = make(true);
    runtime_dump_json(&out);
    assert_non_null(strstr(out.p, "\"final_value\": \"7\""));
    assert_non_null(strstr(out.p, "\"adm\""));
    strbuf_fini(&out);
    runtime_free(&rt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runtime_get__several_layers__last_wins),
        cmocka_unit_test(test_runtime_modify__admin_layer__overrides_and_gives_back),
        cmocka_unit_test(test_runtime_modify__no_admin_layer__fails),
        cmocka_unit_test(test_runtime_fraction__forms__count),
        cmocka_unit_test(test_runtime_dump_json__layers__are_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
