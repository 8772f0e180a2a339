/* SPDX-License-Identifier: Apache-2.0
 *
 * The wheel against a reference model: every timer fires in the first advance at or after its
 * millisecond, never before. Time is a number here.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/rng.h"
#include "io/wheel.h"

struct probe {
    struct timer timer;
    uint64_t fired_at, fires;
};

static uint64_t now_us;
static struct wheel wheel;
static uint64_t order_floor;

static void on_fire(struct timer *t)
{
    struct probe *p = CONTAINER_OF(t, probe, timer);
    p->fired_at = now_us;
    p->fires++;
    assert_true(t->due_us == 0);
    assert_true(t->wheel_due_us >= order_floor);
    order_floor = t->wheel_due_us;
}

static void start(uint64_t at_us)
{
    now_us = at_us;
    wheel_init(&wheel, now_us);
}

static void arm(struct probe *p, uint64_t due_us)
{
    p->timer.on_fire = on_fire;
    if (p->timer.node.next)
        wheel_unfile(&wheel, &p->timer);
    p->timer.due_us = due_us;
    wheel_file(&wheel, &p->timer);
}

static uint64_t advance(uint64_t to_us)
{
    now_us = to_us;
    order_floor = 0;
    return wheel_advance(&wheel, now_us);
}

static void test_wheel_advance__every_boundary__fires_exactly_then(void **state)
{
    (void)state;
    static const uint64_t starts[] = {0, 1000, 63000, 64000, 4095000, 262143000, 16777215000};
    static const uint64_t ahead_ms[] = {1, 2, 63, 64, 65, 4095, 4096, 4097, 262143, 262144, 16777216};
    for (size_t s = 0; s < ARRAY_LEN(starts); s++) {
        for (size_t a = 0; a < ARRAY_LEN(ahead_ms); a++) {
            struct probe p = {0};
            start(starts[s]);
            arm(&p, starts[s] + ahead_ms[a] * 1000);
            uint64_t due = starts[s] + ahead_ms[a] * 1000;
            assert_int_equal(advance(due - 1), 0);
            assert_int_equal(advance(due), 1);
            assert_int_equal(wheel.count, 0);
            assert_true(wheel_next_us(&wheel) == UINT64_MAX);
        }
    }
}

static void test_wheel_advance__one_long_jump__fires_all_in_order(void **state)
{
    (void)state;
    struct probe p[200] = {0};
    start(12345678);
    for (size_t i = 0; i < ARRAY_LEN(p); i++)
        arm(&p[i], now_us + (i * 7919 % 200) * 997 * 1000);
    assert_int_equal(advance(now_us + UINT64_C(400) * 24 * 3600 * 1000000), ARRAY_LEN(p));
    assert_int_equal(wheel.count, 0);
}

static void test_wheel_next_us__far_timer__reached_in_few_steps(void **state)
{
    (void)state;
    struct probe p = {0};
    start(1000);
    arm(&p, UINT64_C(30) * 24 * 3600 * 1000000);
    int steps = 0;
    while (!p.fires) {
        uint64_t next = wheel_next_us(&wheel);
        assert_true(next <= UINT64_C(30) * 24 * 3600 * 1000000);
        advance(next);
        steps++;
    }
    assert_true(steps <= WHEEL_LEVELS);
}

static void test_wheel_advance__moved_later__fires_once_at_the_later_time(void **state)
{
    (void)state;
    struct probe p = {0};
    start(0);
    arm(&p, 5000);
    p.timer.due_us = 90000; /* what timer_set_us does when it moves a deadline later */
    assert_int_equal(advance(89999), 0);
    assert_int_equal(advance(90000), 1);
}

static void test_wheel_file__very_far__is_clamped_and_kept(void **state)
{
    (void)state;
    struct probe p = {0};
    start(0);
    arm(&p, UINT64_MAX);
    assert_int_equal(advance(UINT64_C(100) * 365 * 24 * 3600 * 1000000), 0);
    assert_int_equal(wheel.count, 1);
    wheel_unfile(&wheel, &p.timer);
}

#define COUNT 2000
static void test_wheel_advance__random_timers__agree_with_a_model(void **state)
{
    (void)state;
    static struct probe p[COUNT];
    struct rng rng;
    rng_seed(&rng, 42);
    start(rng_below(&rng, UINT64_C(1) << 40));
    for (int round = 0; round < 3000; round++) {
        for (int k = 0; k < 20; k++) {
            struct probe *q = &p[rng_below(&rng, COUNT)];
            uint64_t what = rng_below(&rng, 10);
            if (what == 0 && q->timer.node.next) {
                wheel_unfile(&wheel, &q->timer);
                q->timer.due_us = 0;
            } else {
                arm(q, now_us + rng_below(&rng, UINT64_C(1) << (10 + rng_below(&rng, 26))));
            }
            q->fires = 0;
        }
        uint64_t to = now_us + rng_below(&rng, UINT64_C(1) << (8 + rng_below(&rng, 18)));
        uint64_t floor_ms = now_us / 1000;
        uint64_t expected = 0;
        for (int i = 0; i < COUNT; i++) {
            if (!p[i].timer.node.next)
                continue;
            uint64_t tick = (p[i].timer.due_us + 999) / 1000;
            if (tick <= floor_ms)
                tick = floor_ms + 1;
            expected += tick <= to / 1000;
        }
        assert_int_equal(advance(to), expected);
        for (int i = 0; i < COUNT; i++)
            assert_true(!p[i].timer.node.next || p[i].timer.due_us > to - to % 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wheel_advance__every_boundary__fires_exactly_then),
        cmocka_unit_test(test_wheel_advance__one_long_jump__fires_all_in_order),
        cmocka_unit_test(test_wheel_next_us__far_timer__reached_in_few_steps),
        cmocka_unit_test(test_wheel_advance__moved_later__fires_once_at_the_later_time),
        cmocka_unit_test(test_wheel_file__very_far__is_clamped_and_kept),
        cmocka_unit_test(test_wheel_advance__random_timers__agree_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
