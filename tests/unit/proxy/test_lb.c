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
    struct host_set_opts opts = {.overprovisioning_pct = 140};
    return host_set_new(hosts, n, spec, &opts);
}

static void count_picks(const struct host_set *s, const struct lb_policy_spec *spec, uint32_t picks, uint32_t *counts)
{
    const struct host_group *g = &s->priorities[0].healthy;
    static struct rng rng;
    rng_seed(&rng, 42);
    struct lb_context ctx = {.rng = &rng};
    memset(counts, 0, MAX_HOSTS * sizeof(*counts));
    for (uint32_t i = 0; i < picks; i++)
        counts[spec->policy->pick(spec, g, &ctx)]++;
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

static void test_least_request__idle_hosts__exactly_even(void **state)
{
    (void)state;
    struct lb_policy_spec spec = {.policy = &lb_least_request, .choice_count = 2, .active_request_bias = 1, .panic_pct = 50};
    struct host_set *s = make_set(NULL, NULL, NULL, 3, &spec);
    uint32_t counts[MAX_HOSTS];
    count_picks(s, &spec, 3000, counts);
    for (int i = 0; i < 3; i++)
        assert_int_equal(counts[i], 1000);
    host_set_unref(&s);
}

/* weight / (running + 1) ^ bias: 1 and 3 idle give 1/4 and 3/4; three running on the second make both equal. */
static void test_least_request__weights__in_proportion_to_weight_by_load(void **state)
{
    (void)state;
    struct lb_policy_spec spec = {.policy = &lb_least_request, .choice_count = 2, .active_request_bias = 1, .panic_pct = 50};
    static const uint32_t weights[] = {1, 3};
    struct host_set *s = make_set(weights, NULL, NULL, 2, &spec);
    uint32_t counts[MAX_HOSTS];
    count_picks(s, &spec, 40000, counts);
    assert_true(fabs(counts[0] - 10000.0) < 4 * sqrt(40000 * 0.25 * 0.75));
    host_stat_add(s->hosts[1], HOST_RQ_ACTIVE, 2);
    count_picks(s, &spec, 40000, counts);
    assert_true(fabs(counts[0] - 20000.0) < 4 * sqrt(40000 * 0.5 * 0.5));
    spec.active_request_bias = 0;
    count_picks(s, &spec, 40000, counts);
    assert_true(fabs(counts[0] - 10000.0) < 4 * sqrt(40000 * 0.25 * 0.75));
    host_set_unref(&s);
}

static void test_least_request__full_scan__takes_the_only_idle_one(void **state)
{
    (void)state;
    struct lb_policy_spec spec = {.policy = &lb_least_request, .full_scan = true, .active_request_bias = 1, .panic_pct = 50};
    struct host_set *s = make_set(NULL, NULL, NULL, 50, &spec);
    uint32_t counts[MAX_HOSTS];
    for (int i = 0; i < 50; i++)
        host_stat_add(s->hosts[i], HOST_RQ_ACTIVE, i != 17);
    count_picks(s, &spec, 100, counts);
    assert_int_equal(counts[17], 100);
    host_set_unref(&s);
}

static void fails_fast(const struct lb_policy *policy)
{
    struct lb_policy_spec spec = {.policy = policy, .choice_count = 2, .active_request_bias = 1, .panic_pct = 50};
    struct host_set *s = make_set(NULL, NULL, NULL, 3, &spec);
    uint32_t counts[MAX_HOSTS];
    host_stat_add(s->hosts[1], HOST_RQ_ACTIVE, 5); /* the others are at work, the failing one never is */
    host_stat_add(s->hosts[2], HOST_RQ_ACTIVE, 5);
    for (int i = 0; i < 100; i++)
        host_note_attempt(s->hosts[0], true);
    count_picks(s, &spec, 9000, counts);
    assert_true(counts[0] < 9000 / 3);
    assert_true(counts[0] > 0); /* somebody has to see it recover */
    for (int i = 0; i < 500; i++)
        host_note_attempt(s->hosts[0], false);
    assert_int_equal(atomic_load(&s->hosts[0]->failing), 0);
    host_set_unref(&s);
}

static void test_takes_turn__host_fails_fast__gets_less_than_its_share(void **state)
{
    (void)state;
    fails_fast(&lb_round_robin);
    fails_fast(&lb_least_request);
}

static void test_slow_start__half_of_the_window__half_of_the_share(void **state)
{
    (void)state;
    struct lb_policy_spec spec = {.policy = &lb_round_robin, .panic_pct = 50, .slow_start_ms = 60000, .slow_start_aggression = 1,
                                  .slow_start_min_pct = 10};
    struct host *h = host_new(&(struct addr){0}, STR_NULL, 1, 0, NULL);
    atomic_store(&h->healthy_since_ms, 1000);
    assert_true(fabs(lb_slow_start_factor(&spec, h, 31000) - 0.5) < 1e-9);
    assert_true(fabs(lb_slow_start_factor(&spec, h, 1000) - 0.1) < 1e-9);
    assert_true(fabs(lb_slow_start_factor(&spec, h, 61000) - 1) < 1e-9);
    spec.slow_start_aggression = 2;
    assert_true(fabs(lb_slow_start_factor(&spec, h, 16000) - 0.5) < 1e-9); /* 0.25 ^ (1 / 2) */
    host_unref(&h);
}

/* ---- by hash ---- */

static void test_murmur2__known_values__as_libstdcxx(void **state)
{
    (void)state;
    assert_int_equal(lb_murmur2(STR(""), 0xc70f6907u), 6142509188972423790ull);
    assert_int_equal(lb_murmur2(STR("a"), 0xc70f6907u), 4993892634952068459ull);
    assert_int_equal(lb_murmur2(STR("abc"), 0xc70f6907u), 3663726644998027833ull);
}

static void test_hash_policies__no_weights__share_evenly_and_stay(void **state)
{
    (void)state;
    static const struct lb_policy *const policies[] = {&lb_ring_hash, &lb_maglev};
    for (int p = 0; p < 2; p++) {
        struct lb_policy_spec spec = {.policy = policies[p], .panic_pct = 50, .min_ring = 65536, .max_ring = 1 << 23,
                                      .table_size = 65537};
        struct host_set *s = make_set(NULL, NULL, NULL, 10, &spec), *less = make_set(NULL, NULL, NULL, 9, &spec);
        struct rng rng;
        rng_seed(&rng, 7);
        uint32_t counts[MAX_HOSTS] = {0}, moved = 0, before_ninth = 0;
        for (int i = 0; i < 20000; i++) {
            struct lb_context a = {.rng = &rng, .has_hash = true, .hash = rng_next(&rng)}, b = a;
            struct host *x = host_set_choose(s, &a), *y = host_set_choose(less, &b);
            counts[addr_port(&x->addr) - 1000]++;
            before_ninth += addr_port(&x->addr) != 1009;
            moved += addr_port(&x->addr) != 1009 && addr_port(&x->addr) != addr_port(&y->addr);
        }
        for (int i = 0; i < 10; i++)
            assert_true(fabs(counts[i] - 2000.0) < 250);
        assert_true(moved * 10 < before_ninth); /* those of hosts that stayed mostly stay too */
        host_set_unref(&s);
        host_set_unref(&less);
    }
}

static void test_bounded_load__host_is_over_its_share__another_takes_it(void **state)
{
    (void)state;
    struct lb_policy_spec spec = {.policy = &lb_maglev, .panic_pct = 50, .table_size = 65537, .balance_pct = 120};
    struct host_set *s = make_set(NULL, NULL, NULL, 4, &spec);
    struct rng rng;
    rng_seed(&rng, 7);
    struct lb_context ctx = {.rng = &rng, .has_hash = true, .hash = 12345, .cluster_active = 40};
    struct host *first = host_set_choose(s, &ctx);
    host_stat_add(first, HOST_RQ_ACTIVE, 40); /* its share of 120 % would be 13 */
    struct host *other = host_set_choose(s, &ctx);
    assert_ptr_not_equal(first, other);
    assert_ptr_equal(other, host_set_choose(s, &ctx)); /* the same one every time */
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
        cmocka_unit_test(test_least_request__idle_hosts__exactly_even),
        cmocka_unit_test(test_least_request__weights__in_proportion_to_weight_by_load),
        cmocka_unit_test(test_least_request__full_scan__takes_the_only_idle_one),
        cmocka_unit_test(test_takes_turn__host_fails_fast__gets_less_than_its_share),
        cmocka_unit_test(test_slow_start__half_of_the_window__half_of_the_share),
        cmocka_unit_test(test_murmur2__known_values__as_libstdcxx),
        cmocka_unit_test(test_hash_policies__no_weights__share_evenly_and_stay),
        cmocka_unit_test(test_bounded_load__host_is_over_its_share__another_takes_it),
        cmocka_unit_test(test_least_request__busy_host__gets_less),
        cmocka_unit_test(test_host_set__priorities__failover_with_overprovisioning),
        cmocka_unit_test(test_host_set__most_unhealthy__panics),
        cmocka_unit_test(test_host_set__degraded__take_what_healthy_ones_cannot),
        cmocka_unit_test(test_host_set__empty__has_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
