/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/warm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int warmed;

static void on_warm(void *arg)
{
    (void)arg;
    warmed++;
}

static void test_warmth_start__nothing_missing__warm_at_once(void **state)
{
    (void)state;
    struct warm_source ready;
    struct warmth *w = warmth_new(on_warm, NULL);
    warmed = 0;
    warm_source_init(&ready);
    warm_source_ready(&ready);
    warmth_wait(w, &ready);
    warmth_wait(w, NULL);
    assert_int_equal(warmed, 0);
    warmth_start(w);
    assert_int_equal(warmed, 1);
    warmth_free(&w);
}

static void test_warm_source_ready__last_of_all__warms_once(void **state)
{
    (void)state;
    struct warm_source a, b;
    struct warmth *w = warmth_new(on_warm, NULL), *other = warmth_new(on_warm, NULL);
    warmed = 0;
    warm_source_init(&a);
    warm_source_init(&b);
    warmth_wait(w, &a);
    warmth_wait(w, &b);
    warmth_wait(other, &b);
    warm_source_ready(&a);
    warmth_start(w);
    warmth_start(other);
    assert_int_equal(warmed, 0);
    warm_source_ready(&b);
    assert_int_equal(warmed, 2);
    warm_source_ready(&b);
    assert_int_equal(warmed, 2);
    warmth_free(&w);
    warmth_free(&other);
}

static void test_warmth_free__still_waiting__is_never_told(void **state)
{
    (void)state;
    struct warm_source a;
    struct warmth *w = warmth_new(on_warm, NULL);
    warmed = 0;
    warm_source_init(&a);
    warmth_wait(w, &a);
    warmth_start(w);
    warmth_free(&w);
    warm_source_ready(&a);
    assert_int_equal(warmed, 0);
}

static void test_warm_source_fini__somebody_waits__waits_no_longer(void **state)
{
    (void)state;
    struct warm_source a;
    struct warmth *w = warmth_new(on_warm, NULL);
    warmed = 0;
    warm_source_init(&a);
    warmth_wait(w, &a);
    warmth_start(w);
    warm_source_fini(&a);
    assert_int_equal(warmed, 1);
    warmth_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_warmth_start__nothing_missing__warm_at_once),
        cmocka_unit_test(test_warm_source_ready__last_of_all__warms_once),
        cmocka_unit_test(test_warmth_free__still_waiting__is_never_told),
        cmocka_unit_test(test_warm_source_fini__somebody_waits__waits_no_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
