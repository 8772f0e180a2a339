/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#define SAY(t, text) assert_int_equal(talk_say(t, text), 0)
#define HEAR(t, want) assert_string_equal(talk_hear(t), want)
#define ANSWERED(t, want) assert_str_equal(strbuf_str(&(t)->answers), want)

static void change(struct world *w, struct talk *t, int type, const char *text)
{
    world_set(w, type, text);
    xds_server_touch(t->server, 1u << type);
}

/* ---- state of the world ---- */

static void test_sotw__wildcard__all_of_it_each_time(void **state)
{
    (void)state;
    struct world w;
    struct talk t;
    world_init(&w);
    world_set(&w, W_CDS, "a1 b1|c1");
    talk_begin(&t, &w, false);
    HEAR(&t, "");
    SAY(&t, "cds node");
    HEAR(&t, "cds 1: a1 b1 c1");
    HEAR(&t, "");
    change(&w, &t, W_CDS, "a1 b2|c1");
    HEAR(&t, ""); /* one is under way */
    SAY(&t, "cds n=1");
    ANSWERED(&t, "cds ack 1");
    HEAR(&t, "cds 2: a1 b2 c1");
    SAY(&t, "cds n=2");
    xds_server_touch(t.server, 1u << W_CDS);
    HEAR(&t, ""); /* nothing is new */
    change(&w, &t, W_CDS, "");
    HEAR(&t, "cds 3:");
    talk_end(&t);
    world_fini(&w);
}

static void test_sotw__empty_world__wildcard_is_answered(void **state)
{
    (void)state;
    struct world w;
    struct talk t;
    world_init(&w);
    talk_begin(&t, &w, false);
    SAY(&t, "lds node");
    HEAR(&t, "lds 1:");
    SAY(&t, "eds +a");
    HEAR(&t, ""); /* it will come when it is there */
    change(&w, &t, W_EDS, "a1");
    HEAR(&t, "eds 2: a1");
    talk_end(&t);
    world_fini(&w);
}

static void test_sotw__names__only_what_is_new_of_a_type_that_isnt_whole(void **state)
{
    (void)state;
    struct world w;
    struct talk t;
    world_init(&w);
    world_set(&w, W_EDS, "a1 b1 c1 d1");
    talk_begin(&t, &w, false);
    SAY(&t, "eds node");
    HEAR(&t, "");
    SAY(&t, "eds +c +a");
    HEAR(&t, "eds 1: a1 c1");
    SAY(&t, "eds n=1 +c +a");
    HEAR(&t, "");
    change(&w, &t, W_EDS, "a1 b2 c2 d1");
    HEAR(&t, "eds 2: c2");
    SAY(&t, "eds n=2 +a +b +c");
    HEAR(&t, "eds 3: b2");
    SAY(&t, "eds n=3 +a +c");
    SAY(&t, "eds n=3 +a +b +c"); /* given up and asked for again: it was forgotten */
    HEAR(&t, "eds 4: b2");
    SAY(&t, "eds n=4");
    change(&w, &t, W_EDS, "a3 b3 c3 d3");
    HEAR(&t, "");
    talk_end(&t);
    world_fini(&w);
}

static void test_sotw__whole_type_by_names__those_alone(void **state)
{
    (void)state;
    struct world w;
    struct talk t;
    world_init(&w);
    world_set(&w, W_LDS, "a1 b1 c1");
    talk_begin(&t, &w, false);
    SAY(&t, "lds node +b");
    HEAR(&t, "lds 1: b1");
    SAY(&t, "lds n=1 +b +c");
    HEAR(&t, "lds 2: b1 c1");
    SAY(&t, "lds n=2"); /* names were said once: none now means nothing */
    HEAR(&t, "lds 3:");
    SAY(&t, "lds n=3 +* +a");
    HEAR(&t, "lds 4: a1 b1 c1");
    talk_end(&t);
    world_fini(&w);
}

static void test_sotw__stale_nonce__asks_but_doesnt_answer(void **state)
{
    (void)state;
    struct world w;
    struct talk t;
    world_init(&w);
    world_set(&w, W_EDS, "a1 b1");
    talk_begin(&t, &w, false);
    SAY(&t, "eds node n=old +a"); /* of another stream: a first request all the same */
    HEAR(&t, "eds 1: a1");
    SAY(&t, "eds +a +b");
    SAY(&t, "eds n=7 +a +b");
    ANSWERED(&t, "");
    HEAR(&t, "");
    SAY(&t, "eds n=1 +a +b");
    ANSWERED(&t, "eds ack 1");
    HEAR(&t, "eds 2: b1");
    SAY(&t, "eds n=1 +b"); /* crossed with the response; gives a up */
    SAY(&t, "eds n=2 +a +b");
    HEAR(&t, "eds 3: a1");
    talk_end(&t);
    world_fini(&w);
}

static void test_sotw__nack__kept_until_something_is_taken(void **state)
{
    (void)state;
    struct world w;
    struct talk t;
    struct xds_type_state s;
    world_init(&w);
    world_set(&w, W_CDS, "a1");
    talk_begin(&t, &w, false);
    SAY(&t, "cds node");
    HEAR(&t, "cds 1: a1");
    SAY(&t, "cds n=1 !bad");
    ANSWERED(&t, "cds nack 1 bad");
    xds_server_state(t.server, W_CDS, &s);
    assert_str_equal(s.nack_message, "bad");
    assert_int_equal(s.nack_code, 13);
    assert_int_equal(s.nacked_nonce, 1);
    assert_int_equal(s.acked_nonce, 0);
    HEAR(&t, ""); /* not sent again as it is */
    change(&w, &t, W_CDS, "a2");
    HEAR(&t, "cds 2: a2");
    SAY(&t, "cds n=2");
    xds_server_state(t.server, W_CDS, &s);
    assert_str_equal(s.nack_message, "");
    assert_int_equal(s.nack_count, 1);
    assert_int_equal(s.acked_version, s.sent_version);
    talk_end(&t);
    world_fini(&w);
}

static void test_order__of_one_push__as_the_table_has_it(void **state)
{
    (void)state;
    struct world w;
    struct talk t;
    world_init(&w);
    talk_begin(&t, &w, true);
    SAY(&t, "lds node");
    SAY(&t, "eds +a");
    SAY(&t, "cds");
    world_set(&w, W_CDS, "a1");
    world_set(&w, W_EDS, "a1");
    world_set(&w, W_LDS, "a1");
    HEAR(&t, "cds 1: a1");
    HEAR(&t, "eds 2: a1");
    HEAR(&t, ""); /* listeners name clusters: those have to be there */
    SAY(&t, "cds n=1");
    HEAR(&t, "");
    SAY(&t, "eds n=2");
    HEAR(&t, "lds 3: a1");
    SAY(&t, "lds n=3");
    for (int i = 2; i < 9; i++) { /* clusters that change as fast as they are answered don't hold the others up for ever */
        world_set(&w, W_LDS, i % 2 ? "a2" : "a3");
        xds_server_touch(t.server, 1u << W_LDS);
        change(&w, &t, W_CDS, (char[]){'a', (char)('0' + i), 0});
        if (strncmp(talk_hear(&t), "cds", 3) != 0 || strncmp(talk_hear(&t), "eds", 3) != 0)
            break;
        char answer[32];
        snprintf(answer, sizeof answer, "cds n=%d", i * 2);
        SAY(&t, answer);
        snprintf(answer, sizeof answer, "eds n=%d", i * 2 + 1);
        if (i < 7)
            SAY(&t, answer);
    }
    assert_int_equal(strncmp(t.line.p, "lds", 3), 0);
    talk_end(&t);
    world_fini(&w);
}

/* ---- delta ---- */

static void test_delta__wildcard__what_is_new_and_what_is_gone(void **state)
{
    (void)state;
    struct world w;
    struct talk t;
    world_init(&w);
    world_set(&w, W_CDS, "a1 b1|c1");
    talk_begin(&t, &w, true);
    SAY(&t, "cds node");
    HEAR(&t, "cds 1: a1 b1 c1");
    change(&w, &t, W_CDS, "a2 d1|c1");
    HEAR(&t, "");
    change(&w, &t, W_CDS, "a3 d1|c2"); /* only the newest is sent */
    SAY(&t, "cds n=1");
    HEAR(&t, "cds 2: a3 d1 c2 -b");
    SAY(&t, "cds n=2");
    change(&w, &t, W_CDS, "a3|d1 c2"); /* from one part to the other */
    HEAR(&t, "");
    change(&w, &t, W_CDS, "a3 c2|d2");
    HEAR(&t, "cds 3: d2");
    talk_end(&t);
    world_fini(&w);
}

static void test_delta__names__absent_ones_are_told(void **state)
{
    (void)state;
    struct world w;
    struct talk t;
    world_init(&w);
    world_set(&w, W_EDS, "a1 b1 c1");
    talk_begin(&t, &w, true);
    SAY(&t, "eds node");
    HEAR(&t, "");
    SAY(&t, "eds +a +x");
    HEAR(&t, "eds 1: a1 -x");
    SAY(&t, "eds n=1");
    SAY(&t, "eds +b -a");
    HEAR(&t, "eds 2: b1");
    SAY(&t, "eds +c"); /* counts though an answer is awaited */
    HEAR(&t, "");
    SAY(&t, "eds n=2");
    HEAR(&t, "eds 3: c1");
    SAY(&t, "eds n=3");
    change(&w, &t, W_EDS, "a2 b1 x1");
    HEAR(&t, "eds 4: x1 -c");
    SAY(&t, "eds n=4");
    SAY(&t, "eds +b"); /* asked for again: sent again */
    HEAR(&t, "eds 5: b1");
    SAY(&t, "eds n=5 -b");
    SAY(&t, "eds +b");
    HEAR(&t, "eds 6: b1");
    SAY(&t, "eds n=6 -c");
    SAY(&t, "eds +c");
    HEAR(&t, "eds 7: -c");
    talk_end(&t);
    world_fini(&w);
}

static void test_delta__reconnect__only_what_differs(void **state)
{
    (void)state;
    struct world w;
    struct talk t;
    world_init(&w);
    world_set(&w, W_CDS, "a1 b2 d1|e1");
    world_set(&w, W_EDS, "a1 b1");
    talk_begin(&t, &w, true);
    SAY(&t, "cds node a1 b1 c1 e?");
    HEAR(&t, "cds 1: b2 d1 e1 -c");
    SAY(&t, "cds n=1");
    SAY(&t, "eds +a +b +c a1 b1 c1");
    HEAR(&t, "eds 2: b1 -c"); /* the cluster b is another one now, and waits for its endpoints */
    SAY(&t, "eds n=2");
    change(&w, &t, W_CDS, "a1 b2 d2|e1");
    HEAR(&t, "cds 3: d2");
    talk_end(&t);
    world_fini(&w);
}

static void test_delta__wildcard_given_up__names_stay(void **state)
{
    (void)state;
    struct world w;
    struct talk t;
    world_init(&w);
    world_set(&w, W_CDS, "a1 b1 c1");
    talk_begin(&t, &w, true);
    SAY(&t, "cds node");
    HEAR(&t, "cds 1: a1 b1 c1");
    SAY(&t, "cds n=1 +b -*");
    HEAR(&t, "cds 2: b1");
    SAY(&t, "cds n=2");
    change(&w, &t, W_CDS, "a2 b1 c2");
    HEAR(&t, "");
    SAY(&t, "cds +*");
    HEAR(&t, "cds 3: a2 c2");
    SAY(&t, "cds n=3 -b"); /* in the wildcard still, which the client can't know */
    HEAR(&t, "cds 4: b1");
    talk_end(&t);
    world_fini(&w);
}

static void test_echo__a_cluster_changes__its_endpoints_come_again(void **state)
{
    (void)state;
    struct world w;
    struct talk t;
    for (int is_delta = 0; is_delta < 2; is_delta++) {
        world_init(&w);
        world_set(&w, W_CDS, "a1 b1 c1");
        world_set(&w, W_EDS, "a1 b1 c1");
        talk_begin(&t, &w, is_delta);
        SAY(&t, "cds node");
        HEAR(&t, "cds 1: a1 b1 c1");
        SAY(&t, "eds +a +b");
        HEAR(&t, "eds 2: a1 b1");
        SAY(&t, "cds n=1");
        SAY(&t, is_delta ? "eds n=2" : "eds n=2 +a +b");
        change(&w, &t, W_CDS, "a1 b2 c2 d1");
        HEAR(&t, is_delta ? "cds 3: b2 c2 d1" : "cds 3: a1 b2 c2 d1");
        HEAR(&t, "eds 4: b1");
        HEAR(&t, "");
        talk_end(&t);
        world_fini(&w);
    }
}

static void test_removal__of_what_another_type_may_name__comes_after_it(void **state)
{
    (void)state;
    struct world w;
    struct talk t;
    world_init(&w);
    world_set(&w, W_CDS, "a1 b1|i1");
    world_set(&w, W_LDS, "x1");
    talk_begin(&t, &w, true);
    SAY(&t, "cds node");
    HEAR(&t, "cds 1: a1 b1 i1");
    SAY(&t, "cds n=1");
    SAY(&t, "lds");
    HEAR(&t, "lds 2: x1");
    SAY(&t, "lds n=2");
    world_set(&w, W_LDS, "x2");
    change(&w, &t, W_CDS, "a1 c1|i1");
    xds_server_touch(t.server, 1u << W_LDS);
    HEAR(&t, "cds 3: c1"); /* b is in use still */
    HEAR(&t, "");
    SAY(&t, "cds n=3");
    HEAR(&t, "lds 4: x2");
    HEAR(&t, "");
    assert_false(xds_server_is_settled(t.server));
    SAY(&t, "lds n=4");
    HEAR(&t, "cds 5: -b");
    SAY(&t, "cds n=5");
    assert_true(xds_server_is_settled(t.server));
    change(&w, &t, W_CDS, "d1|i1");
    xds_server_touch(t.server, 1u << W_LDS); /* of which nothing is new */
    HEAR(&t, "cds 6: d1 -a -c");
    SAY(&t, "cds n=6");
    world_set(&w, W_LDS, "x3");
    change(&w, &t, W_CDS, "|i1");
    xds_server_touch(t.server, 1u << W_LDS);
    HEAR(&t, "lds 7: x3");
    change(&w, &t, W_CDS, "d1|i2"); /* it is back before it was gone */
    HEAR(&t, "cds 8: i2");
    SAY(&t, "cds n=8");
    SAY(&t, "lds n=7");
    HEAR(&t, "");
    talk_end(&t);
    world_fini(&w);
}

/* "r/a1 s/b1": virtual hosts below their route configurations. */
static void set_hosts(struct world *w, struct talk *t, const char *text)
{
    struct str rest = str_from(text);
    struct xds_set_builder *b = xds_set_begin(w->pool, world_types[W_VHDS].name, NULL);
    while (rest.n) {
        struct str one = str_split(rest, ' ', &rest);
        xds_set_put(b, str_make(one.p, 3), str_make((char[]){0x0a, 1, one.p[2], 0x10, (char)(one.p[3] - '0')}, 5));
    }
    xds_set_unref(&w->parts[W_VHDS][0]);
    w->parts[W_VHDS][0] = xds_set_end(&b);
    w->counts[W_VHDS] = 1;
    xds_server_touch(t->server, 1u << W_VHDS);
}

static void test_namespaced__a_name__asks_for_all_below_it(void **state)
{
    (void)state;
    struct world w;
    struct talk t;
    world_init(&w);
    talk_begin(&t, &w, true);
    set_hosts(&w, &t, "r/a1 r/b1 r/c1 s/d1");
    SAY(&t, "vhds node +r");
    HEAR(&t, "vhds 1: a1 b1 c1");
    SAY(&t, "vhds n=1 +s/d +s/x +q"); /* on demand: one by one */
    HEAR(&t, "vhds 2: d1 -q -s/x");
    SAY(&t, "vhds n=2");
    set_hosts(&w, &t, "r/a1 r/b2 r/e1 s/d2 s/f1");
    HEAR(&t, "vhds 3: b2 e1 d2 -r/c");
    talk_end(&t);
    talk_begin(&t, &w, true);
    SAY(&t, "vhds node +r");
    HEAR(&t, "vhds 1: a1 b2 e1");
    SAY(&t, "vhds n=1 -r");
    SAY(&t, "vhds +r");
    HEAR(&t, "vhds 2: a1 b2 e1");
    talk_end(&t);
    world_fini(&w);
}

/* ---- bad input ---- */

static void test_feed__bad_requests__the_stream_ends(void **state)
{
    (void)state;
    struct world w;
    struct talk t;
    char names[1024] = "eds node";
    world_init(&w);
    talk_begin(&t, &w, true);
    assert_int_equal(talk_say(&t, "cds"), ERR_INVALID);
    assert_int_equal(talk_say(&t, "cds stranger"), ERR_INVALID);
    assert_string_equal(t.err.message, "who are you");
    assert_int_equal(xds_server_feed(t.server, STR("\x0a\xff"), 0, &t.err), ERR_SYNTAX);
    SAY(&t, "pcds node");
    ANSWERED(&t, "?type.googleapis.com/pcds");
    SAY(&t, "eds n=12"); /* never sent */
    ANSWERED(&t, "");
    talk_end(&t);
    talk_begin(&t, &w, true);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 60; i++)
            snprintf(names + 8 + i * 4, 5, " +%c%d", 'a' + i % 26, i / 26 + round * 3);
        if (round == 0)
            SAY(&t, names);
        else
            assert_int_equal(talk_say(&t, names), ERR_LIMIT);
    }
    talk_end(&t);
    world_fini(&w);
}

/* ---- what is shared ---- */

static void test_sharing__many_who_go_the_same_way__encoded_once(void **state)
{
    (void)state;
    enum { N = 50 };
    struct world w;
    struct talk t[N];
    struct buf out[N] = {0};
    struct xds_sent sent;
    world_init(&w);
    struct xds_set_builder *b = xds_set_begin(w.pool, world_types[W_CDS].name, NULL);
    char *large = mem_zalloc(1 << 20);
    xds_set_put(b, STR("a"), str_make(large, 1 << 20));
    mem_free(large);
    w.parts[W_CDS][0] = xds_set_end(&b);
    w.counts[W_CDS] = 1;
    size_t before = buf_thread_usage().blocks_used;
    for (int i = 0; i < N; i++) {
        talk_begin(&t[i], &w, true);
        SAY(&t[i], "cds node");
        assert_true(xds_server_next(t[i].server, 0, &out[i], &sent));
        assert_true(out[i].len > 1 << 20);
    }
    assert_int_equal(xds_pool_usage(w.pool).encoded, 1);
    assert_int_equal(xds_pool_usage(w.pool).reused, N - 1);
    assert_in_range(buf_thread_usage().blocks_used - before, 64, 64 + 2 + N); /* one copy, and each one's own bytes */
    for (int i = 0; i < N; i++) {
        buf_fini(&out[i]);
        talk_end(&t[i]);
    }
    xds_pool_trim(w.pool, 1);
    assert_int_equal(xds_pool_usage(w.pool).kept, 0);
    world_fini(&w);
}

static void test_pool__equal_things__are_one(void **state)
{
    (void)state;
    struct xds_pool *pool = xds_pool_new(0);
    struct xds_item item;
    const char *type = "t";
    struct xds_set_builder *b = xds_set_begin(pool, type, NULL);
    xds_set_put(b, STR("b"), STR("1"));
    xds_set_put(b, STR("a"), STR("1"));
    xds_set_put(b, STR("b"), STR("2"));
    xds_set_put(b, STR("c"), STR("3"));
    xds_set_drop(b, STR("c"));
    struct xds_set *one = xds_set_end(&b);
    assert_int_equal(xds_set_count(one), 2);
    assert_true(xds_set_find(one, STR("b"), &item));
    assert_str_equal(item.packed, "2");
    b = xds_set_begin(pool, type, NULL);
    assert_true(xds_set_copy(b, one, STR("b")));
    assert_false(xds_set_copy(b, one, STR("c")));
    xds_set_put(b, STR("a"), STR("1"));
    struct xds_set *two = xds_set_end(&b);
    assert_ptr_equal(one, two);
    b = xds_set_begin(pool, type, one);
    xds_set_drop(b, STR("x"));
    xds_set_put(b, STR("aa"), STR("9"));
    struct xds_set *three = xds_set_end(&b);
    assert_int_equal(xds_set_count(three), 3);
    assert_str_equal(xds_set_at(three, 1).name, "aa");
    assert_int_equal(xds_pool_usage(pool).items, 3);
    assert_int_equal(xds_pool_usage(pool).sets, 2);
    xds_set_unref(&one);
    xds_set_unref(&two);
    xds_set_unref(&three);

    struct str names[] = {STR("b"), STR("a"), STR("b"), STR("")}, more[] = {STR("a"), STR("b"), STR("")};
    struct xds_names *n = xds_names_new(pool, names, 4), *m = xds_names_new(pool, more, 3);
    assert_ptr_equal(n, m);
    assert_int_equal(xds_names_count(n), 3);
    assert_str_equal(xds_names_at(n, 0), "");
    assert_true(xds_names_has(n, STR("a")));
    assert_false(xds_names_has(n, STR("c")));
    assert_null(xds_names_new(pool, names, 0));
    xds_names_unref(&n);
    xds_names_unref(&m);
    assert_int_equal(xds_pool_usage(pool).items, 0);
    xds_pool_free(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sotw__wildcard__all_of_it_each_time),
        cmocka_unit_test(test_sotw__empty_world__wildcard_is_answered),
        cmocka_unit_test(test_sotw__names__only_what_is_new_of_a_type_that_isnt_whole),
        cmocka_unit_test(test_sotw__whole_type_by_names__those_alone),
        cmocka_unit_test(test_sotw__stale_nonce__asks_but_doesnt_answer),
        cmocka_unit_test(test_sotw__nack__kept_until_something_is_taken),
        cmocka_unit_test(test_order__of_one_push__as_the_table_has_it),
        cmocka_unit_test(test_delta__wildcard__what_is_new_and_what_is_gone),
        cmocka_unit_test(test_delta__names__absent_ones_are_told),
        cmocka_unit_test(test_delta__reconnect__only_what_differs),
        cmocka_unit_test(test_delta__wildcard_given_up__names_stay),
        cmocka_unit_test(test_echo__a_cluster_changes__its_endpoints_come_again),
        cmocka_unit_test(test_removal__of_what_another_type_may_name__comes_after_it),
        cmocka_unit_test(test_namespaced__a_name__asks_for_all_below_it),
        cmocka_unit_test(test_feed__bad_requests__the_stream_ends),
        cmocka_unit_test(test_sharing__many_who_go_the_same_way__encoded_once),
        cmocka_unit_test(test_pool__equal_things__are_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
