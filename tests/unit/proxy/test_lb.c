/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/lb/lb.h"

#include <math.h>

#include "base/check.h"
#include "base/mem.h"

#include "../unit.h"

#define MAX_HOSTS 64

static struct host_set *make_set(const uint32_t *weights, const uint32_t *priorities, const uint32_t *health, uint32_t n,
                                 const struct lb_policy_spec *spec)
{
    struct host **hosts = mem_alloc((n + 1) * sizeof(*hosts));
    for (uint32_t i = 0; i < n; i++) {
        struct addr a = {0};
        addr_from_ip(&a, STR("127.0.0.1"), (uint16_t)(1000 + i), NULL);
        hosts[i] = host_new(&a, STR_NULL, weights ? weights[i] : 1, priorities ? priorities[i] : 0, NULL);
        atomic_store(&hosts[i]->health, health ? health[i] : 0);
    }
    return host_set_new(hosts, n, spec, 140);
}

static void count_picks(const struct host_set *s, const struct lb_policy_spec *spec, uint32_t picks, uint32_t *counts)
{
    const struct host_group *g = &s->priorities[0].healthy;
    static struct rng rng;
    rng_seed(&rng, 42);
    struct lb_context ctx = {.rng = &rng};
    _Atomic uint64_t cursor = 0;
    memset(counts, 0, MAX_HOSTS * sizeof(*counts));
    for (uint32_t i = 0; i < picks; i++)
        counts[spec->policy->pick(spec, g->schedule, g->hosts, g->count, &cursor, &ctx)]++;
}

static void test_round_robin__equal_weights__exactly_even(void **state)
{
    (void)state;
    struct lb_policy_spec spec = {.policy = &lb_round_robin, .panic_pct = 50};
    struct host_set *s = make_set(NULL, NULL, NULL, 3, &spec);
    uint32_t counts[MAX_HOSTS];
    count_picks(s, &spec, 3000, counts);
    for (int i = 0; i < 3; i++)
        assert_int_equal(counts[i], 1000);
    host_set_unref(&s);
}

static void test_round_robin__small_weights__exact_and_spread(void **state)
{
    (void)state;
    struct lb_policy_spec spec = {.policy = &lb_round_robin, .panic_pct = 50};
    static const uint32_t weights[] = {10, 20, 30};
    struct host_set *s = make_set(weights, NULL, NULL, 3, &spec);
    uint32_t counts[MAX_HOSTS];
    count_picks(s, &spec, 6, counts); /* one whole round after dividing by the common factor */
    assert_int_equal(counts[0], 1);
    assert_int_equal(counts[1], 2);
    assert_int_equal(counts[2], 3);
    host_set_unref(&s);
}

static void test_round_robin__large_weights__proportional_within_a_thousandth(void **state)
{
    (void)state;
    struct lb_policy_spec spec = {.policy = &lb_round_robin, .panic_pct = 50};
    static const uint32_t weights[] = {1000003, 2000003, 7000001};
    struct host_set *s = make_set(weights, NULL, NULL, 3, &spec);
    uint32_t counts[MAX_HOSTS];
    double total = 1000003.0 + 2000003.0 + 7000001.0;
    count_picks(s, &spec, 100000, counts);
    for (int i = 0; i < 3; i++)
        assert_true(fabs(counts[i] - 100000 * (weights[i] / total)) < 10);
    host_set_unref(&s);
}

static void test_random__weights__within_four_sigma(void **state)
{
    (void)state;
    struct lb_policy_spec spec = {.policy = &lb_random, .panic_pct = 50};
    static const uint32_t weights[] = {1, 3};
    struct host_set *s = make_set(weights, NULL, NULL, 2, &spec);
    uint32_t counts[MAX_HOSTS];
    count_picks(s, &spec, 40000, counts);
    assert_true(fabs(counts[0] - 10000.0) < 4 * sqrt(40000 * 0.25 * 0.75));
    host_set_unref(&s);
}

static void test_least_request__busy_host__gets_less(void **state)
{
    (void)state;
    struct lb_policy_spec spec = {.policy = &lb_least_request, .choice_count = 2, .active_request_bias = 1, .panic_pct = 50};
    struct host_set *s = make_set(NULL, NULL, NULL, 4, &spec);
    uint32_t counts[MAX_HOSTS];
    host_stat_add(s->hosts[0], HOST_RQ_ACTIVE, 100);
    count_picks(s, &spec, 16000, counts);
    /* Only drawn twice in a row is it taken: 1 in 16. */
    assert_true(fabs(counts[0] - 1000.0) < 4 * sqrt(16000 / 16.0));
    host_set_unref(&s);
}

static void test_host_set__priorities__failover_with_overprovisioning(void **state)
{
    (void)state;
    struct lb_policy_spec spec = {.policy = &lb_round_robin, .panic_pct = 50};
    static const uint32_t priorities[] = {0, 0, 0, 0, 1, 1};
    static const uint32_t health[] = {0, 0, HOST_FAILED_EDS, HOST_FAILED_EDS, 0, 0};
    struct host_set *s = make_set(NULL, priorities, health, 6, &spec);
    assert_int_equal(s->priority_count, 2);
    assert_int_equal(s->priorities[0].healthy_load, 70); /* 50 % healthy * 1.4 */
    assert_int_equal(s->priorities[1].healthy_load, 30);
    assert_false(s->priorities[0].panic);
    assert_int_equal(s->priorities[0].healthy.count, 2);
    host_set_unref(&s);
}

static void test_host_set__most_unhealthy__panics(void **state)
{
    (void)state;
    struct lb_policy_spec spec = {.policy = &lb_round_robin, .panic_pct = 50};
    static const uint32_t health[] = {0, HOST_FAILED_EDS, HOST_FAILED_EDS};
    struct host_set *s = make_set(NULL, NULL, health, 3, &spec);
    assert_true(s->priorities[0].panic);
    assert_int_equal(s->priorities[0].all.count, 3);
    host_set_unref(&s);
    spec.panic_pct = 0;
    s = make_set(NULL, NULL, health, 3, &spec);
    assert_false(s->priorities[0].panic);
    assert_int_equal(s->priorities[0].healthy_load, 100);
    host_set_unref(&s);
}

static void test_host_set__degraded__take_what_healthy_ones_cannot(void **state)
{
    (void)state;
    struct lb_policy_spec spec = {.policy = &lb_round_robin, .panic_pct = 50};
    static const uint32_t health[] = {0, HOST_DEGRADED_EDS, HOST_DEGRADED_EDS, HOST_DEGRADED_EDS};
    struct host_set *s = make_set(NULL, NULL, health, 4, &spec);
    assert_int_equal(s->priorities[0].healthy_load, 35);
    assert_int_equal(s->priorities[0].degraded_load, 65);
    assert_false(s->priorities[0].panic);
    host_set_unref(&s);
}

static void test_host_set__empty__has_nobody(void **state)
{
    (void)state;
    struct lb_policy_spec spec = {.policy = &lb_round_robin, .panic_pct = 50};
    struct host_set *s = make_set(NULL, NULL, NULL, 0, &spec);
    assert_int_equal(s->priority_count, 1);
    assert_int_equal(s->priorities[0].healthy.count, 0);
    host_set_unref(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_robin__equal_weights__exactly_even),
        cmocka_unit_test(test_round_robin__small_weights__exact_and_spread),
        cmocka_unit_test(test_round_robin__large_weights__proportional_within_a_thousandth),
        cmocka_unit_test(test_random__weights__within_four_sigma),
        cmocka_unit_test(test_least_request__busy_host__gets_less),
        cmocka_unit_test(test_host_set__priorities__failover_with_overprovisioning),
        cmocka_unit_test(test_host_set__most_unhealthy__panics),
        cmocka_unit_test(test_host_set__degraded__take_what_healthy_ones_cannot),
        cmocka_unit_test(test_host_set__empty__has_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
