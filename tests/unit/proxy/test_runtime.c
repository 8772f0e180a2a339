/* SPDX-License-Identifier: Apache-2.0 */
#include "config_fixture.h"

#include "proxy/runtime.h"

static struct runtime *make(bool with_admin)
{
    struct str k[] = {STR("a"), STR("b.c"), STR("f")}, v[] = {STR("5"), STR("true"), STR("3/10000")};
    struct str k2[] = {STR("a")}, v2[] = {STR("7")};
    struct runtime_layer_spec layers[] = {
        {.name = STR("one"), .count = 3, .keys = k, .values = v},
        {.name = STR("two"), .count = 1, .keys = k2, .values = v2},
        {.name = STR("adm"), .is_admin = true}};
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

static void test_runtime_replace_layer__other_values__the_old_version_is_the_callers(void **state)
{
    (void)state;
    struct runtime *rt = make(true);
    struct str keys[] = {STR("a"), STR("new")}, values[] = {STR("9"), STR("x")};
    struct runtime_version *old = runtime_replace_layer(1, keys, values, 2);
    assert_non_null(old);
    runtime_version_free(old);
    assert_int_equal(runtime_u64(STR("a"), 0), 9);
    assert_true(str_eq(runtime_get(STR("new")), STR("x")));
    assert_null(runtime_replace_layer(1, keys, values, 2));
    runtime_version_free(runtime_replace_layer(1, NULL, NULL, 0));
    assert_int_equal(runtime_u64(STR("a"), 0), 5);
    assert_null(runtime_get(STR("new")).p);
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
        cmocka_unit_test(test_runtime_replace_layer__other_values__the_old_version_is_the_callers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
