/* SPDX-License-Identifier: Apache-2.0 */
#include "pool_harness.h"

static struct env *env_h2(void)
{
    struct env *e = env_new();

    e->far = FAR_H2;
    e->opts.protocol = HTTP_2;
    return e;
}

static void test_pool__h2__streams_share_one_connection(void **state)
{
    (void)state;
    struct env *e = env_h2();

    for (int i = 0; i < 5; i++)
        request(e, false);
    turn(e);
    assert_int_equal(e->connects, 1);
    assert_int_equal(e->active, 5);
    assert_int_equal(e->far_count, 5);
    for (int i = 0; i < 5; i++)
        answer_ok(e->far_streams[i].s);
    turn(e);
    for (int i = 0; i < 5; i++)
        assert_string_equal(rec_log(&e->users[i].rec), "H:200 D:2. C:OK ");
    assert_int_equal(e->active, 0);
    env_free(e);
}

static void test_pool__h2_stream_limit__further_connections(void **state)
{
    (void)state;
    for (int own = 0; own < 2; own++) {
        struct env *e = env_h2();

        if (own)
            e->opts.max_concurrent_streams = 2;
        else
            e->server.h2.max_concurrent_streams = 2;
        request(e, false); /* now the peer's limit is known */
        turn(e);
        answer_ok(e->far_streams[0].s);
        turn(e);
        for (int i = 0; i < 5; i++)
            request(e, false);
        for (int i = 0; i < 4; i++)
            turn(e);
        assert_int_equal(e->active, 5);
        assert_int_equal(e->connects, 3);
        env_free(e);
    }
}

static void test_pool__h2_goaway__new_requests_elsewhere(void **state)
{
    (void)state;
    struct env *e = env_h2();

    request(e, false);
    turn(e);
    http_server_conn_drain(e->far_conns[0]);
    turn(e);
    request(e, false);
    turn(e);
    assert_int_equal(e->connects, 2);
    assert_int_equal(e->far_count, 2);
    answer_ok(e->far_streams[0].s);
    turn(e);
    assert_string_equal(rec_log(&e->users[0].rec), "H:200 D:2. C:OK ");
    assert_int_equal(http_pool_connection_count(e->pool), 1);
    env_free(e);
}

static void test_pool__h2_max_requests__connection_replaced(void **state)
{
    (void)state;
    struct env *e = env_h2();

    e->opts.max_requests_per_connection = 2;
    for (int i = 0; i < 3; i++) {
        request(e, false);
        turn(e);
        answer_ok(e->far_streams[i].s);
        turn(e);
    }
    assert_int_equal(e->connects, 2);
    assert_int_equal(e->max_requests, 1);
    env_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool__h2__streams_share_one_connection),
        cmocka_unit_test(test_pool__h2_stream_limit__further_connections),
        cmocka_unit_test(test_pool__h2_goaway__new_requests_elsewhere),
        cmocka_unit_test(test_pool__h2_max_requests__connection_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
