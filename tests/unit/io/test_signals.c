/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "io/signals.h"

static struct signals *signals;
static int seen[64];

static void on_signal(void *user, int number)
{
    seen[number]++;
    if (user)
        signals_free(&signals);
}

static void test_signals__raised__told_on_the_loop_and_freed_inside(void **state)
{
    (void)state;
    struct loop *loop = loop_new("test", NULL);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    sigaddset(&mask, SIGHUP);
    signals = signals_new(loop, &mask, on_signal, NULL, NULL);
    assert_non_null(signals);
    raise(SIGHUP);
    raise(SIGHUP);
    raise(SIGUSR1);
    loop_turn(loop, -1);
    assert_int_equal(seen[SIGHUP], 1);
    assert_int_equal(seen[SIGUSR1], 1);
    signals_free(&signals);
    signals = signals_new(loop, &mask, on_signal, loop, NULL);
    raise(SIGHUP);
    raise(SIGUSR1);
    loop_turn(loop, -1);
    assert_int_equal(seen[SIGHUP] + seen[SIGUSR1], 3);
    assert_null(signals);
    loop_free(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signals__raised__told_on_the_loop_and_freed_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
