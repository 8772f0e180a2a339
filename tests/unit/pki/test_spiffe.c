/* SPDX-License-Identifier: Apache-2.0 */
#include "pki/spiffe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_spiffe_id_parse__good__parts(void **state)
{
    (void)state;
    struct spiffe_id id;
    struct spiffe_workload w;
    assert_int_equal(spiffe_id_parse(STR("spiffe://cluster.local/ns/shop/sa/cart"), &id, NULL), 0);
    assert_true(str_eq(id.trust_domain, STR("cluster.local")));
    assert_true(str_eq(id.path, STR("/ns/shop/sa/cart")));
    assert_true(spiffe_id_workload(&id, &w));
    assert_true(str_eq(w.namespace_name, STR("shop")) && str_eq(w.service_account, STR("cart")));
    assert_int_equal(spiffe_id_parse(STR("spiffe://td"), &id, NULL), 0);
    assert_int_equal(id.path.n, 0);
    assert_false(spiffe_id_workload(&id, &w));
}

static void test_spiffe_id_parse__broken_rules__refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "spiffe:/td/a", "SPIFFE://td/a", "https://td/a", "spiffe://", "spiffe:///a",
        "spiffe://Td/a", "spiffe://td:80/a", "spiffe://u@td/a", "spiffe://td/", "spiffe://td/a/",
        "spiffe://td//a", "spiffe://td/./a", "spiffe://td/../a", "spiffe://td/a%20b",
        "spiffe://td/a?q", "spiffe://td/a#f", "spiffe://td/a b", "spiffe://td?q"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct spiffe_id id;
        struct err err = {0};
        if (spiffe_id_parse(str_from(bad[i]), &id, &err) != ERR_INVALID || !err.message[0])
            fail_msg("\"%s\" was taken", bad[i]);
    }
}

static void test_spiffe_id_parse__limits__at_and_past(void **state)
{
    (void)state;
    static char text[3000];
    struct spiffe_id id;
    memset(text, 'a', sizeof text);
    memcpy(text, "spiffe://", 9);
    assert_int_equal(spiffe_id_parse(str_make(text, 9 + 255), &id, NULL), 0);
    assert_int_equal(spiffe_id_parse(str_make(text, 9 + 256), &id, NULL), ERR_INVALID);
    text[11] = '/';
    assert_int_equal(spiffe_id_parse(str_make(text, 2048), &id, NULL), 0);
    assert_int_equal(spiffe_id_parse(str_make(text, 2049), &id, NULL), ERR_INVALID);
}

static void test_spiffe_id_workload__other_paths__false(void **state)
{
    (void)state;
    static const char *const other[] = {"spiffe://td/a", "spiffe://td/ns/a", "spiffe://td/ns/a/sa",
                                        "spiffe://td/ns/a/sa/b/c", "spiffe://td/x/a/sa/b"};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        struct spiffe_id id;
        struct spiffe_workload w;
        assert_int_equal(spiffe_id_parse(str_from(other[i]), &id, NULL), 0);
        assert_false(spiffe_id_workload(&id, &w));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spiffe_id_parse__good__parts),
        cmocka_unit_test(test_spiffe_id_parse__broken_rules__refused),
        cmocka_unit_test(test_spiffe_id_parse__limits__at_and_past),
        cmocka_unit_test(test_spiffe_id_workload__other_paths__false),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
