/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "io/loop.h"

static struct loop *loop;

static int setup(void **state)
{
    (void)state;
    loop = loop_new("test", NULL);
    return loop ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    loop_free(&loop);
    return 0;
}

/* ---- watches ---- */

struct peer {
    struct watch watch;
    int fds[2];
    unsigned events, calls;
    struct peer *kill; /* deleted by this one's callback */
};

static void on_ready(struct watch *w, unsigned events)
{
    struct peer *p = CONTAINER_OF(w, peer, watch);
    p->events = events;
    p->calls++;
    if (p->kill)
        watch_del(&p->kill->watch);
}

static void peer_open(struct peer *p)
{
    *p = (struct peer){0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p->fds), 0);
}

static void peer_close(struct peer *p)
{
    watch_del(&p->watch);
    close(p->fds[0]);
    close(p->fds[1]);
}

static void test_watch_add__edge__reports_each_change_once(void **state)
{
    (void)state;
    struct peer p;
    peer_open(&p);
    assert_int_equal(watch_add(loop, &p.watch, p.fds[0], on_ready, NULL), 0);
    loop_turn(loop, 0);
    assert_int_equal(p.events, WATCH_OUT);
    assert_int_equal(write(p.fds[1], "x", 1), 1);
    loop_turn(loop, -1);
    assert_int_equal(p.events & WATCH_IN, WATCH_IN);
    assert_int_equal(p.calls, 2);
    loop_turn(loop, 0);
    assert_int_equal(p.calls, 2);
    shutdown(p.fds[1], SHUT_WR);
    loop_turn(loop, -1);
    assert_int_equal(p.events & (WATCH_IN | WATCH_RDHUP), WATCH_IN | WATCH_RDHUP);
    peer_close(&p);
}

static void test_watch_del__other_ready_in_the_same_batch__report_is_dropped(void **state)
{
    (void)state;
    struct peer a, b;
    peer_open(&a);
    peer_open(&b);
    a.kill = &b;
    b.kill = &a;
    watch_add(loop, &a.watch, a.fds[0], on_ready, NULL);
    watch_add(loop, &b.watch, b.fds[0], on_ready, NULL);
    loop_turn(loop, -1);
    assert_int_equal(a.calls + b.calls, 1);
    assert_int_equal(loop_counters(loop)->stale_events, 1);
    peer_close(&a);
    peer_close(&b);
}

static void test_watch_forget__slot_reused__old_report_isnt_the_new_watch_s(void **state)
{
    (void)state;
    struct peer a, b;
    peer_open(&a);
    peer_open(&b);
    watch_add(loop, &a.watch, a.fds[0], on_ready, NULL);
    watch_forget(&a.watch); /* still in epoll: as if its close were late */
    assert_false(watch_is_added(&a.watch));
    watch_add(loop, &b.watch, b.fds[1], on_ready, NULL);
    loop_turn(loop, 0);
    assert_int_equal(b.calls, 1);
    assert_int_equal(a.calls, 0);
    assert_int_equal(loop_counters(loop)->stale_events, 1);
    peer_close(&a);
    peer_close(&b);
}

static void test_watch_set_level__mask_changed__follows(void **state)
{
    (void)state;
    struct peer p;
    peer_open(&p);
    watch_set_level(loop, &p.watch, p.fds[0], WATCH_IN, on_ready, NULL);
    loop_turn(loop, 0);
    assert_int_equal(p.calls, 0);
    watch_set_level(loop, &p.watch, p.fds[0], WATCH_IN | WATCH_OUT, on_ready, NULL);
    loop_turn(loop, 0);
    loop_turn(loop, 0);
    assert_int_equal(p.calls, 2);
    assert_int_equal(p.events, WATCH_OUT);
    peer_close(&p);
}

static void test_watch_add__bad_descriptor__error_names_it(void **state)
{
    (void)state;
    struct peer p = {0};
    struct err err;
    assert_int_not_equal(watch_add(loop, &p.watch, 999, on_ready, &err), 0);
    assert_non_null(strstr(err.message, "999"));
    assert_false(watch_is_added(&p.watch));
}

/* ---- timers ---- */

struct tick {
    struct timer timer;
    uint64_t due_us, fires;
    struct timer *clear;
    uint64_t again_us;
};

static void on_tick(struct timer *t)
{
    struct tick *k = CONTAINER_OF(t, tick, timer);
    k->fires++;
    assert_true(loop_now_us(loop) >= k->due_us);
    assert_false(timer_is_set(t));
    if (k->clear)
        timer_clear(k->clear);
    if (k->again_us) {
        timer_set_us(t, k->again_us);
        k->due_us = loop_now_us(loop) + k->again_us;
    }
}

static void tick_set(struct tick *k, uint64_t us)
{
    if (!k->timer.loop)
        timer_init(&k->timer, loop, on_tick);
    k->due_us = loop_now_us(loop) + us;
    timer_set_us(&k->timer, us);
}

static void turn_until(const uint64_t *counter, uint64_t at_least)
{
    while (*counter < at_least)
        loop_turn(loop, -1);
}

static void test_timer_set__moved_earlier_and_later__fires_at_the_last_choice(void **state)
{
    (void)state;
    struct tick a = {0}, b = {0};
    tick_set(&a, 50000000);
    tick_set(&a, 3000);
    tick_set(&b, 2000);
    tick_set(&b, 6000);
    turn_until(&b.fires, 1);
    assert_int_equal(a.fires, 1);
    assert_int_equal(b.fires, 1);
}

static void test_timer_clear__from_a_callback_of_the_same_tick__doesnt_fire(void **state)
{
    (void)state;
    struct tick a = {0}, b = {0};
    tick_set(&a, 1000);
    tick_set(&b, 1000);
    a.clear = &b.timer;
    b.clear = &a.timer;
    turn_until(&a.fires, 1);
    loop_turn(loop, 3);
    assert_int_equal(a.fires + b.fires, 1);
    timer_clear(&a.timer);
    timer_clear(&b.timer);
}

static void test_timer_set__zero_delay_from_its_callback__lets_the_turn_end(void **state)
{
    (void)state;
    struct tick a = {.again_us = 0};
    tick_set(&a, 0);
    turn_until(&a.fires, 1);
    a.again_us = 1;
    tick_set(&a, 0);
    turn_until(&a.fires, 5);
    uint64_t turns = loop_counters(loop)->turns;
    assert_true(turns >= 5);
    timer_clear(&a.timer);
}

static void test_timer_clear__zero_initialised__is_nothing(void **state)
{
    (void)state;
    struct timer t = {0};
    timer_clear(&t);
    assert_false(timer_is_set(&t));
}

/* ---- tasks and deferred frees ---- */

struct job {
    struct turn_task task;
    struct deferred deferred;
    int runs, again, *order, mark;
    bool next;
};
static int sequence;

static void job_destroy(struct deferred *d)
{
    struct job *j = CONTAINER_OF(d, job, deferred);
    *j->order = ++sequence;
    mem_free(j);
}

static void job_run(struct turn_task *t)
{
    struct job *j = CONTAINER_OF(t, job, task);
    j->runs++;
    j->mark = ++sequence;
    if (j->again-- > 0) {
        if (j->next)
            loop_at_next_turn(loop, t);
        else
            loop_at_turn_end(loop, t);
    }
}

static void test_loop_at_turn_end__queued_twice_and_again__runs_once_then_again(void **state)
{
    (void)state;
    struct job j = {.task.run = job_run, .again = 1};
    loop_at_turn_end(loop, &j.task);
    loop_at_turn_end(loop, &j.task);
    loop_turn(loop, -1);
    assert_int_equal(j.runs, 2);
}

static void test_loop_at_next_turn__from_a_task__runs_once_a_turn(void **state)
{
    (void)state;
    struct job j = {.task.run = job_run, .again = 2, .next = true};
    loop_at_next_turn(loop, &j.task);
    loop_turn(loop, -1);
    assert_int_equal(j.runs, 1);
    loop_turn(loop, -1);
    assert_int_equal(j.runs, 2);
    turn_task_cancel(&j.task);
    loop_turn(loop, 0);
    assert_int_equal(j.runs, 2);
}

/* On a busy machine two turns may be far apart: hence several tries. */
static void test_loop_coalesce__turns_follow_closely__sleeps_once(void **state)
{
    (void)state;
    uint64_t rests = 0, took_us = 0;
    for (int tries = 0; tries < 1000 && !rests; tries++) {
        loop_turn(loop, 0);
        loop_turn(loop, 0);
        loop_coalesce(loop, 500);
        loop_coalesce(loop, 100); /* the longest counts */
        uint64_t before_us = loop_now_us(loop);
        loop_turn(loop, 0);
        rests = loop_counters(loop)->rests;
        took_us = loop_now_us(loop) - before_us;
    }
    assert_int_equal(rests, 1);
    assert_true(took_us >= 500);
    loop_turn(loop, 0);
    assert_int_equal(loop_counters(loop)->rests, 1);
}

static void test_loop_coalesce__work_is_due__doesnt_sleep(void **state)
{
    (void)state;
    struct job j = {.task.run = job_run};
    for (int i = 0; i < 100; i++) {
        loop_turn(loop, 0);
        loop_coalesce(loop, 900);
        loop_at_next_turn(loop, &j.task);
        loop_turn(loop, 0);
    }
    assert_int_equal(j.runs, 100);
    assert_int_equal(loop_counters(loop)->rests, 0);
}

/* Sparse turns wait long enough by themselves. */
static void test_loop_coalesce__turns_far_apart__doesnt_sleep(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        loop_turn(loop, 2);
        loop_coalesce(loop, 900);
        loop_turn(loop, 2);
    }
    assert_int_equal(loop_counters(loop)->rests, 0);
}

static void test_loop_defer__with_tasks_queued__destroys_after_them(void **state)
{
    (void)state;
    int destroyed = 0;
    struct job *d = NEW(job);
    struct job t = {.task.run = job_run, .again = 1};
    d->order = &destroyed;
    loop_defer(loop, &d->deferred, job_destroy);
    loop_at_turn_end(loop, &t.task);
    loop_turn(loop, -1);
    assert_true(destroyed > t.mark);
}

/* ---- threads ---- */

#define POSTS 20000
struct sender {
    pthread_t thread;
    int id, next;
};
struct message {
    struct sender *from;
    int n;
};
static int received;

static void on_message(void *arg)
{
    struct message *m = arg;
    assert_ptr_equal(loop_current(), loop);
    assert_int_equal(m->n, m->from->next++);
    received++;
    mem_free(m);
}

static void *send_all(void *arg)
{
    struct sender *s = arg;
    for (int i = 0; i < POSTS; i++) {
        struct message *m = NEW(message);
        *m = (struct message){s, i};
        loop_post(loop, on_message, m);
    }
    return NULL;
}

static void test_loop_post__three_threads__each_in_order_and_none_lost(void **state)
{
    (void)state;
    struct sender s[3] = {0};
    received = 0;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&s[i].thread, NULL, send_all, &s[i]), 0);
    while (received < 3 * POSTS)
        loop_turn(loop, -1);
    for (int i = 0; i < 3; i++)
        pthread_join(s[i].thread, NULL);
    assert_null(loop_current());
}

static void *run_loop(void *arg)
{
    loop_run(arg);
    return NULL;
}

static void test_loop_stop__from_another_thread__ends_an_idle_loop(void **state)
{
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run_loop, loop), 0);
    loop_stop(loop);
    pthread_join(thread, NULL);
}

static void free_arg(void *arg)
{
    mem_free(arg);
}

static void test_loop_free__letters_unread__are_still_run(void **state)
{
    (void)state;
    struct loop *l = loop_new("other", NULL);
    loop_post(l, free_arg, mem_alloc(10)); /* the leak checker is the assertion */
    loop_free(&l);
    assert_null(l);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_watch_add__edge__reports_each_change_once),
        T(test_watch_del__other_ready_in_the_same_batch__report_is_dropped),
        T(test_watch_forget__slot_reused__old_report_isnt_the_new_watch_s),
        T(test_watch_set_level__mask_changed__follows),
        T(test_watch_add__bad_descriptor__error_names_it),
        T(test_timer_set__moved_earlier_and_later__fires_at_the_last_choice),
        T(test_timer_clear__from_a_callback_of_the_same_tick__doesnt_fire),
        T(test_timer_set__zero_delay_from_its_callback__lets_the_turn_end),
        T(test_timer_clear__zero_initialised__is_nothing),
        T(test_loop_at_turn_end__queued_twice_and_again__runs_once_then_again),
        T(test_loop_at_next_turn__from_a_task__runs_once_a_turn),
        T(test_loop_coalesce__turns_follow_closely__sleeps_once),
        T(test_loop_coalesce__work_is_due__doesnt_sleep),
        T(test_loop_coalesce__turns_far_apart__doesnt_sleep),
        T(test_loop_defer__with_tasks_queued__destroys_after_them),
        T(test_loop_post__three_threads__each_in_order_and_none_lost),
        T(test_loop_stop__from_another_thread__ends_an_idle_loop),
        T(test_loop_free__letters_unread__are_still_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
