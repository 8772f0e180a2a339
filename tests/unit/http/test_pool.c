/* SPDX-License-Identifier: Apache-2.0 */
#include "pool_harness.h"

static void test_pool__one_after_the_other__one_connection(void **state)
{
    (void)state;
    struct env *e = env_new();

    for (int i = 0; i < 3; i++) {
        struct user *u = request(e, false);
        assert_int_equal(u->waiting != NULL, i == 0);
        turn(e);
        assert_int_equal(e->active, 1);
        answer(e, 0);
        assert_string_equal(rec_log(&u->rec), "H:200 D:2. C:OK ");
        assert_int_equal(e->active, 0);
    }
    assert_int_equal(e->connects, 1);
    assert_int_equal(http_pool_connection_count(e->pool), 1);
    env_free(e);
}

static void test_pool__at_once__a_connection_each_then_last_used_first(void **state)
{
    (void)state;
    struct env *e = env_new();

    for (int i = 0; i < 3; i++)
        request(e, false);
    assert_int_equal(e->connects, 3);
    assert_int_equal(e->pending, 3);
    turn(e);
    assert_int_equal(e->active, 3);
    struct http_client_conn *last = e->users[1].c;
    for (int i = 0; i < 3; i++) {
        const int order[] = {0, 2, 1};
        answer(e, order[i]);
    }
    struct user *u = request(e, false);
    assert_int_equal(e->connects, 3);
    assert_ptr_equal(u->c, last);
    env_free(e);
}

static void test_pool__connection_limit__waits_in_order(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->conn_limit = 1;
    for (int i = 0; i < 3; i++)
        request(e, false);
    turn(e);
    assert_int_equal(e->connects, 1);
    for (int i = 0; i < 3; i++) {
        assert_non_null(e->users[i].rec.s);
        assert_int_equal(e->pending, 2 - i);
        answer(e, 0);
        assert_true(e->users[i].rec.closed);
    }
    env_free(e);
}

static void test_pool__limit_reached_elsewhere__still_one_connection(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->conn_limit = 1;
    e->conns_closed = -1; /* another pool of the same cluster has one */
    struct user *u = request(e, false);
    turn(e);
    assert_non_null(u->rec.s);
    e->conns_closed++;
    env_free(e);
}

static void test_pool__pending_limit__overflow(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->pending_limit = 1;
    request(e, false);
    struct user *u = request(e, false);
    assert_true(u->failed);
    assert_int_equal(u->why, STREAM_OVERFLOW);
    env_free(e);
}

static void test_pool__connect_fails__all_waiting_fail(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->far = FAR_REFUSED;
    for (int i = 0; i < 2; i++)
        request(e, false);
    for (int i = 0; i < 100 && e->conns_closed < 2; i++)
        loop_turn(e->loop, 1);
    for (int i = 0; i < 2; i++) {
        assert_true(e->users[i].failed);
        assert_int_equal(e->users[i].why, STREAM_CONNECT_FAILED);
    }
    assert_int_equal(e->empties, 1);
    env_free(e);
}

static void test_pool__retry_inside_on_failed__gets_a_new_connection(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->far = FAR_REFUSED;
    request(e, false)->retry_when_failed = true;
    e->far = FAR_RAW;
    for (int i = 0; i < 100 && e->user_count < 2; i++)
        loop_turn(e->loop, 1);
    turn(e);
    assert_true(e->users[0].failed);
    assert_non_null(e->users[1].rec.s);
    assert_int_equal(e->empties, 0);
    env_free(e);
}

static void test_pool__connect_refuses__fails_at_once(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->far = FAR_NONE;
    struct user *u = request(e, false);
    assert_true(u->failed);
    assert_int_equal(u->why, STREAM_CONNECT_FAILED);
    env_free(e);
}

static void test_pool__idle_timeout__closes_idle_ones_only(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->opts.idle_timeout_ms = 5;
    request(e, false);
    request(e, false);
    turn(e);
    answer(e, 0);
    for (int i = 0; i < 1000 && !e->conns_closed; i++)
        loop_turn(e->loop, 1);
    assert_int_equal(e->conns_closed, 1);
    assert_int_equal(e->idle_timeouts, 1);
    assert_false(e->users[1].rec.closed);
    answer(e, 1);
    for (int i = 0; i < 1000 && e->conns_closed < 2; i++)
        loop_turn(e->loop, 1);
    assert_int_equal(e->idle_timeouts, 2);
    assert_int_equal(e->empties, 1);
    env_free(e);
}

static void test_pool__max_requests_per_connection__new_one_after(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->opts.max_requests_per_connection = 2;
    for (int i = 0; i < 3; i++) {
        request(e, false);
        turn(e);
        answer(e, e->connects - 1);
    }
    assert_int_equal(e->connects, 2);
    assert_int_equal(e->max_requests, 1);
    assert_int_equal(e->conns_closed, 1);
    env_free(e);
}

static void test_pool__peer_closes_idle_connection__leaves_at_once(void **state)
{
    (void)state;
    struct env *e = env_new();

    request(e, false);
    turn(e);
    answer(e, 0);
    shutdown(e->peers[0].fd, SHUT_RDWR);
    turn(e);
    assert_int_equal(http_pool_connection_count(e->pool), 0);
    assert_int_equal(e->empties, 1);
    env_free(e);
}

static void test_pool__fresh__never_a_used_connection(void **state)
{
    (void)state;
    for (int limit = 0; limit < 2; limit++) {
        struct env *e = env_new();

        e->conn_limit = limit;
        request(e, false);
        turn(e);
        answer(e, 0);
        struct user *u = request(e, true);
        assert_null(u->rec.s);
        turn(e);
        assert_int_equal(e->connects, 2);
        assert_int_equal(e->conns_closed, limit); /* made room */
        assert_non_null(u->rec.s);
        assert_false(u->rec.s->reused_connection);
        env_free(e);
    }
}

static void test_pool__cancel__place_given_up(void **state)
{
    (void)state;
    struct env *e = env_new();

    struct user *u = request(e, false);
    http_pool_cancel(u->waiting);
    turn(e);
    assert_null(u->rec.s);
    assert_false(u->failed);
    assert_int_equal(http_pool_connection_count(e->pool), 1); /* for the next */
    assert_non_null(request(e, false)->rec.s);
    env_free(e);
}

static void test_pool__drain__idle_close_busy_finish_waiting_served(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->conn_limit = 2;
    for (int i = 0; i < 2; i++)
        request(e, false);
    turn(e);
    answer(e, 1);
    http_pool_drain(e->pool);
    assert_int_equal(e->conns_closed, 1);
    e->conn_limit = 1;
    request(e, false); /* still one that was on its way */
    answer(e, 0);
    assert_non_null(e->users[2].rec.s);
    assert_int_equal(e->empties, 0);
    answer(e, 0);
    assert_true(e->users[2].rec.closed);
    assert_int_equal(e->empties, 1);
    env_free(e);
}

/* The pool stays; what it has is not used again, and a busy connection must not be left open for nobody. */
static void test_pool__retire__idle_close_busy_end_with_their_request(void **state)
{
    (void)state;
    struct env *e = env_new();

    for (int i = 0; i < 2; i++)
        request(e, false);
    turn(e);
    answer(e, 1);
    http_pool_retire_connections(e->pool);
    assert_int_equal(e->conns_closed, 1);
    assert_false(e->users[0].rec.closed);
    answer(e, 0);
    assert_true(e->users[0].rec.closed);
    assert_int_equal(e->conns_closed, 2);
    request(e, false);
    turn(e);
    assert_int_equal(e->connects, 3);
    env_free(e);
}

/* What a balancer expects: connections for the next request, and none beyond the ratio. */
static void test_pool__preconnect__ahead_of_the_request_within_the_ratio(void **state)
{
    (void)state;
    struct env *e = env_new();
    uint64_t pending = 0, active = 0, room = 0;

    assert_true(http_pool_preconnect(e->pool, 2));
    assert_true(http_pool_preconnect(e->pool, 2));
    assert_false(http_pool_preconnect(e->pool, 2));
    http_pool_load(e->pool, &pending, &active, &room);
    assert_int_equal(pending + active, 0);
    assert_int_equal(room, 2);
    turn(e);
    request(e, false);
    turn(e);
    assert_int_equal(e->connects, 2);
    http_pool_load(e->pool, &pending, &active, &room);
    assert_int_equal(active, 1);
    assert_int_equal(room, 3); /* added to the 2 of before */
    answer(e, 0);
    env_free(e);
}

static void test_pool__drain_when_empty__told_at_once(void **state)
{
    (void)state;
    struct env *e = env_new();

    http_pool_drain(e->pool);
    assert_int_equal(e->empties, 1);
    env_free(e);
}

static void test_pool__free__waiting_fail_and_streams_end(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->conn_limit = 1;
    request(e, false);
    request(e, false);
    turn(e);
    http_pool_free(&e->pool);
    assert_int_equal(e->users[0].rec.why, STREAM_TERMINATED);
    assert_int_equal(e->users[1].why, STREAM_LOCAL);
    env_free(e);
}

static void test_pool__freed_inside_callbacks__nothing_told_twice(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->free_in_stream = true;
    request(e, false);
    request(e, false);
    turn(e);
    assert_null(e->pool);
    assert_true(e->users[0].rec.closed);
    assert_true(e->users[1].failed || e->users[1].rec.closed);
    env_free(e);

    e = env_new();
    e->far = FAR_REFUSED;
    e->free_when_failed = true;
    for (int i = 0; i < 3; i++)
        request(e, false);
    for (int i = 0; i < 100 && e->pool; i++)
        loop_turn(e->loop, 1);
    for (int i = 0; i < 3; i++)
        assert_true(e->users[i].failed);
    env_free(e);
}

static void test_pool__stream_ended_inside_on_stream__connection_goes_on(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->reset_in_stream = true;
    e->conn_limit = 1;
    for (int i = 0; i < 3; i++)
        request(e, false);
    turn(e);
    for (int i = 0; i < 3; i++)
        assert_true(e->users[i].rec.closed);
    assert_int_equal(e->connects, 1);
    assert_int_equal(http_pool_connection_count(e->pool), 1);
    env_free(e);
}

static void test_pool__connection_dies_with_requests_waiting__another_is_made(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->conn_limit = 1;
    request(e, false);
    request(e, false);
    turn(e);
    shutdown(e->peers[0].fd, SHUT_RDWR);
    turn(e);
    assert_int_equal(e->users[0].rec.why, STREAM_TERMINATED);
    assert_int_equal(e->connects, 2);
    answer(e, 1);
    assert_string_equal(rec_log(&e->users[1].rec), "H:200 D:2. C:OK ");
    env_free(e);
}

static void test_pool__preconnect__keeps_spare_connections(void **state)
{
    (void)state;
    struct env *e = env_new();

    e->opts.preconnect_ratio = 2.0f;
    request(e, false);
    assert_int_equal(e->connects, 2);
    turn(e);
    assert_int_equal(e->active, 1);
    assert_non_null(request(e, false)->rec.s);
    assert_int_equal(e->connects, 4);
    env_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool__one_after_the_other__one_connection),
        cmocka_unit_test(test_pool__at_once__a_connection_each_then_last_used_first),
        cmocka_unit_test(test_pool__connection_limit__waits_in_order),
        cmocka_unit_test(test_pool__limit_reached_elsewhere__still_one_connection),
        cmocka_unit_test(test_pool__pending_limit__overflow),
        cmocka_unit_test(test_pool__connect_fails__all_waiting_fail),
        cmocka_unit_test(test_pool__retry_inside_on_failed__gets_a_new_connection),
        cmocka_unit_test(test_pool__connect_refuses__fails_at_once),
        cmocka_unit_test(test_pool__idle_timeout__closes_idle_ones_only),
        cmocka_unit_test(test_pool__max_requests_per_connection__new_one_after),
        cmocka_unit_test(test_pool__peer_closes_idle_connection__leaves_at_once),
        cmocka_unit_test(test_pool__fresh__never_a_used_connection),
        cmocka_unit_test(test_pool__cancel__place_given_up),
        cmocka_unit_test(test_pool__drain__idle_close_busy_finish_waiting_served),
        cmocka_unit_test(test_pool__retire__idle_close_busy_end_with_their_request),
        cmocka_unit_test(test_pool__preconnect__ahead_of_the_request_within_the_ratio),
        cmocka_unit_test(test_pool__drain_when_empty__told_at_once),
        cmocka_unit_test(test_pool__free__waiting_fail_and_streams_end),
        cmocka_unit_test(test_pool__freed_inside_callbacks__nothing_told_twice),
        cmocka_unit_test(test_pool__stream_ended_inside_on_stream__connection_goes_on),
        cmocka_unit_test(test_pool__connection_dies_with_requests_waiting__another_is_made),
        cmocka_unit_test(test_pool__preconnect__keeps_spare_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
