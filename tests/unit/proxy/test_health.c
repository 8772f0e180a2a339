/* SPDX-License-Identifier: Apache-2.0
 *
 * The pure parts of health: payloads, ranges, gRPC answers, the threshold of success rates.
 */
#include <math.h>

#include "base/check.h"
#include "proxy/health/health_priv.h"
#include "proxy/health/outlier.h"
#include "../unit.h"

static void test_health_payload_matches__in_order_with_gaps__true(void **state)
{
    (void)state;
    const struct str parts[] = {STR("all"), STR("well")};
    assert_true(health_payload_matches(parts, 2, STR("all is well here")));
    assert_true(health_payload_matches(parts, 2, STR("allwell")));
    assert_true(health_payload_matches(NULL, 0, STR_NULL));
}

static void test_health_payload_matches__out_of_order_or_overlapping__false(void **state)
{
    (void)state;
    const struct str parts[] = {STR("all"), STR("well")}, overlapping[] = {STR("aba"), STR("aba")};
    assert_false(health_payload_matches(parts, 2, STR("well, all")));
    assert_false(health_payload_matches(parts, 2, STR("all")));
    assert_false(health_payload_matches(parts, 2, STR_NULL));
    assert_false(health_payload_matches(overlapping, 2, STR("ababa")));
}

static void test_health_status_in__edges__half_open(void **state)
{
    (void)state;
    const struct status_range ranges[] = {{200, 201}, {204, 206}};
    const struct { unsigned status; bool in; } cases[] = {{199, false}, {200, true}, {201, false}, {204, true}, {205, true}, {206, false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(health_status_in(ranges, 2, cases[i].status), cases[i].in);
    assert_false(health_status_in(NULL, 0, 200));
}

static void test_health_grpc_is_serving__whole_messages__by_their_status(void **state)
{
    (void)state;
    static const char serving[] = "\0\0\0\0\2\x08\1", not_serving[] = "\0\0\0\0\2\x08\2", empty[] = "\0\0\0\0\0";
    static const char with_unknown[] = "\0\0\0\0\6\x12\2ab\x08\1";
    assert_true(health_grpc_is_serving(str_make(serving, 7)));
    assert_true(health_grpc_is_serving(str_make(with_unknown, 11)));
    assert_false(health_grpc_is_serving(str_make(not_serving, 7)));
    assert_false(health_grpc_is_serving(str_make(empty, 5)));
}

static void test_health_grpc_is_serving__cut_anywhere_or_compressed__false(void **state)
{
    (void)state;
    static const char message[] = "\0\0\0\0\6\x12\2ab\x08\1", compressed[] = "\1\0\0\0\2\x08\1", overlong[] = "\0\0\0\0\3\x12\x7f\x08";
    for (size_t n = 0; n < 11; n++)
        assert_false(health_grpc_is_serving(str_make(message, n)));
    assert_false(health_grpc_is_serving(str_make(compressed, 7)));
    assert_false(health_grpc_is_serving(str_make(overlong, 8)));
}

static void test_outlier_rate_threshold__one_of_five_is_bad__mean_less_deviations(void **state)
{
    (void)state;
    const double rates[] = {50, 100, 100, 100, 100};
    double mean, threshold = outlier_rate_threshold(rates, 5, 1.9, &mean);
    assert_true(fabs(mean - 90) < 1e-9);
    assert_true(fabs(threshold - (90 - 1.9 * 20)) < 1e-9);
}

static void test_outlier_rate_threshold__all_alike__the_mean(void **state)
{
    (void)state;
    const double rates[] = {75, 75, 75};
    double mean;
    assert_true(outlier_rate_threshold(rates, 3, 1.9, &mean) == 75);
}

static const struct health_spec pauses = {.interval_ms = 100, .unhealthy_ms = 200, .unhealthy_edge_ms = 300, .healthy_edge_ms = 400,
                                          .no_traffic_ms = 500, .no_traffic_healthy_ms = 600};

static void test_health_pause_ms__each_state__its_own_interval(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    assert_int_equal(health_pause_ms(&pauses, &rng, true, true, false), 100);
    assert_int_equal(health_pause_ms(&pauses, &rng, true, false, false), 200);
    assert_int_equal(health_pause_ms(&pauses, &rng, true, false, true), 300);
    assert_int_equal(health_pause_ms(&pauses, &rng, true, true, true), 400);
    for (int edge = 0; edge < 2; edge++) {
        assert_int_equal(health_pause_ms(&pauses, &rng, false, false, edge), 500);
        assert_int_equal(health_pause_ms(&pauses, &rng, false, true, edge), 600);
    }
}

/* Both jitters add up, and reach from nothing to just below their limits. */
static void test_health_pause_ms__jitters__within_their_sum(void **state)
{
    (void)state;
    struct health_spec spec = pauses;
    struct rng rng;
    uint64_t least = UINT64_MAX, most = 0;
    spec.interval_jitter_pct = 50;
    spec.interval_jitter_ms = 20;
    rng_seed(&rng, 2);
    for (int i = 0; i < 20000; i++) {
        uint64_t ms = health_pause_ms(&spec, &rng, true, true, false);
        least = ms < least ? ms : least;
        most = ms > most ? ms : most;
    }
    assert_int_equal(least, 100);
    assert_int_equal(most, 100 + 49 + 19);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_health_payload_matches__in_order_with_gaps__true),
        cmocka_unit_test(test_health_payload_matches__out_of_order_or_overlapping__false),
        cmocka_unit_test(test_health_status_in__edges__half_open),
        cmocka_unit_test(test_health_grpc_is_serving__whole_messages__by_their_status),
        cmocka_unit_test(test_health_grpc_is_serving__cut_anywhere_or_compressed__false),
        cmocka_unit_test(test_outlier_rate_threshold__one_of_five_is_bad__mean_less_deviations),
        cmocka_unit_test(test_outlier_rate_threshold__all_alike__the_mean),
        cmocka_unit_test(test_health_pause_ms__each_state__its_own_interval),
        cmocka_unit_test(test_health_pause_ms__jitters__within_their_sum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
