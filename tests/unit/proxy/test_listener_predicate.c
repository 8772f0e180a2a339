/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proxy/listener/listener_filter.h"

static bool holds_at(const struct listener_predicate *p, uint16_t port)
{
    struct addr a = {.unix_path = NULL};
    struct err err;
    assert_int_equal(addr_from_ip(&a, STR("10.0.0.1"), port, &err), 0);
    return listener_predicate_holds(p, &a);
}

static void test_listener_predicate_holds__range__is_half_open(void **state)
{
    (void)state;
    struct listener_predicate range = {.kind = PORTS_RANGE, .start = 80, .end = 82};
    assert_false(holds_at(&range, 79));
    assert_true(holds_at(&range, 80));
    assert_true(holds_at(&range, 81));
    assert_false(holds_at(&range, 82));
}

static void test_listener_predicate_holds__sets__follow_logic(void **state)
{
    (void)state;
    struct listener_predicate parts[] = {{.kind = PORTS_RANGE, .start = 80, .end = 90}, {.kind = PORTS_RANGE, .start = 85, .end = 100}};
    struct listener_predicate one = {.kind = PORTS_ONE, .children = parts, .child_count = 2};
    struct listener_predicate all = {.kind = PORTS_ALL, .children = parts, .child_count = 2};
    struct listener_predicate not_all = {.kind = PORTS_NOT, .children = &all, .child_count = 1};
    struct listener_predicate any = {.kind = PORTS_ANY};
    assert_true(holds_at(&one, 80) && holds_at(&one, 99));
    assert_false(holds_at(&one, 100));
    assert_true(holds_at(&all, 85));
    assert_false(holds_at(&all, 80) || holds_at(&all, 90));
    assert_true(holds_at(&not_all, 80));
    assert_false(holds_at(&not_all, 85));
    assert_true(holds_at(&any, 1));
}

static void test_listener_predicate_holds__unix_socket__has_no_port(void **state)
{
    (void)state;
    struct addr a = {.unix_path = NULL};
    struct err err;
    struct listener_predicate range = {.kind = PORTS_RANGE, .start = 0, .end = 65536};
    assert_int_equal(addr_from_unix(&a, STR("@x"), &err), 0);
    assert_false(listener_predicate_holds(&range, &a));
    addr_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listener_predicate_holds__range__is_half_open),
        cmocka_unit_test(test_listener_predicate_holds__sets__follow_logic),
        cmocka_unit_test(test_listener_predicate_holds__unix_socket__has_no_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
