/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/cluster/slot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

/* Slots only carry clusters: any address will do. */
static char stand_ins[2];
#define FIRST ((struct cluster *)&stand_ins[0])
#define SECOND ((struct cluster *)&stand_ins[1])

static void test_cluster_slot_get__same_name__same_slot(void **state)
{
    (void)state;
    struct cluster_slot *a = cluster_slot_get(STR("a")), *again = cluster_slot_get(STR("a")), *b = cluster_slot_get(STR("b"));
    assert_ptr_equal(a, again);
    assert_ptr_not_equal(a, b);
    cluster_slot_unref(&a);
    cluster_slot_unref(&again);
    cluster_slot_unref(&b);
    assert_null(again);
}

static void test_cluster_slot_put__holders_and_names__see_what_stands_there(void **state)
{
    (void)state;
    struct cluster_slot *s = cluster_slot_get(STR("x"));
    assert_null(cluster_named(STR("x")));
    assert_null(cluster_slot_put(s, FIRST));
    assert_ptr_equal(cluster_slot_now(s), FIRST);
    assert_ptr_equal(cluster_named(STR("x")), FIRST);
    assert_ptr_equal(cluster_slot_put(s, SECOND), FIRST);
    assert_ptr_equal(cluster_named(STR("x")), SECOND);
    assert_ptr_equal(cluster_slot_put(s, NULL), SECOND);
    assert_null(cluster_named(STR("x")));
    cluster_slot_unref(&s);
    assert_null(cluster_slot_now(NULL));
}

static void test_cluster_slot_unref__last_holder__name_is_forgotten(void **state)
{
    (void)state;
    struct cluster_slot *first = cluster_slot_get(STR("first")), *s = cluster_slot_get(STR("s"));
    cluster_slot_put(first, FIRST);
    cluster_slot_unref(&s);
    assert_null(cluster_named(STR("s")));
    s = cluster_slot_get(STR("s"));
    assert_null(cluster_slot_now(s));
    assert_ptr_equal(cluster_named(STR("first")), FIRST);
    cluster_slot_put(first, NULL);
    cluster_slot_unref(&first);
    cluster_slot_unref(&s);
}

/* Names that come and go leave gaps; the table grows with what is there, not with what was. */
static void test_cluster_slot_get__many_that_come_and_go__all_are_found(void **state)
{
    enum { MANY = 3000 };
    static struct cluster_slot *slots[MANY];
    char name[32];
    (void)state;
    for (int turn = 0; turn < 3; turn++) {
        for (int i = 0; i < MANY; i++) {
            int n = snprintf(name, sizeof name, "outbound|80||svc-%d-%d", turn, i);
            slots[i] = cluster_slot_get(str_make(name, (size_t)n));
            cluster_slot_put(slots[i], i % 2 ? FIRST : SECOND);
        }
        for (int i = 0; i < MANY; i++) {
            int n = snprintf(name, sizeof name, "outbound|80||svc-%d-%d", turn, i);
            assert_ptr_equal(cluster_named(str_make(name, (size_t)n)), i % 2 ? FIRST : SECOND);
        }
        for (int i = 0; i < MANY; i++) {
            cluster_slot_put(slots[i], NULL);
            cluster_slot_unref(&slots[i]);
        }
    }
    assert_null(cluster_named(STR("outbound|80||svc-0-0")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cluster_slot_get__same_name__same_slot),
        cmocka_unit_test(test_cluster_slot_put__holders_and_names__see_what_stands_there),
        cmocka_unit_test(test_cluster_slot_unref__last_holder__name_is_forgotten),
        cmocka_unit_test(test_cluster_slot_get__many_that_come_and_go__all_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
