/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/stats/stats.h"

#include <math.h>
#include <pthread.h>

#include "base/check.h"
#include "base/mem.h"
#include "proxy/stats/registry.h"

#include "../unit.h"

static const struct stat_desc rows[] = {
    {"total", STAT_COUNTER, STAT_UNIT_NONE, ""},
    {"active", STAT_GAUGE, STAT_UNIT_NONE, ""},
    {"time", STAT_HISTOGRAM, STAT_UNIT_MS, ""},
};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

struct found {
    const char *name;
    bool seen;
    struct stat_sample sample;
};

static void look(const struct stat_sample *s, void *arg)
{
    struct found *f = arg;
    if (str_eq(s->name, str_from(f->name))) {
        f->seen = true;
        f->sample = *s;
    }
}

static struct found find(const char *name)
{
    struct found f = {.name = name};
    stats_each(true, true, look, &f);
    return f;
}

static void *count_on_worker(void *arg)
{
    struct stat_scope *s = arg;
    stat_thread = 1;
    for (int i = 0; i < 1000; i++) {
        stat_inc(s, 0);
        stat_inc(s, 1);
        stat_dec(s, 1);
        stat_record(s, 2, 7);
        stat_code(s, "rq", 200);
        stat_named(s, "ciphers", "AES");
    }
    stat_inc(s, 1);
    return NULL;
}

static void test_stats__two_threads__sums_and_kinds(void **state)
{
    (void)state;
    stats_init(2);
    struct stat_scope *s = stat_scope_get(STR("cluster.a."), &table, STR("cluster."), NULL, 0);
    pthread_t t;
    pthread_create(&t, NULL, count_on_worker, s);
    for (int i = 0; i < 500; i++) {
        stat_inc(s, 0);
        stat_code(s, "rq", 200);
        stat_code(s, "rq", 503);
        (void)stat_sum(s, 0);
    }
    pthread_join(t, NULL);
    assert_int_equal(stat_sum(s, 0), 1500);
    assert_int_equal((int64_t)stat_sum(s, 1), 1);
    assert_int_equal(find("cluster.a.rq_200").sample.value, 1500);
    assert_int_equal(find("cluster.a.rq_503").sample.value, 500);
    assert_int_equal(find("cluster.a.ciphers.AES").sample.value, 1000);
    stat_scope_unref(&s);
    stats_fini();
}

static void test_stat_scope_get__same_prefix__same_values(void **state)
{
    (void)state;
    stats_init(1);
    struct stat_scope *a = stat_scope_get(STR("x."), &table, STR("x."), NULL, 0);
    stat_inc(a, 0);
    struct stat_scope *b = stat_scope_get(STR("x."), &table, STR("x."), NULL, 0);
    assert_ptr_equal(a, b);
    stat_scope_unref(&a);
    assert_int_equal(stat_sum(b, 0), 1);
    stat_scope_unref(&b);
    assert_false(find("x.total").seen);
    stats_fini();
}

static void test_stats_each__untouched__is_not_used(void **state)
{
    (void)state;
    stats_init(1);
    struct stat_scope *s = stat_scope_get(STR("x."), &table, STR("x."), NULL, 0);
    assert_true(find("x.total").seen);
    assert_false(find("x.total").sample.used);
    stat_inc(s, 1);
    stat_dec(s, 1);
    assert_true(find("x.active").sample.used);
    stat_scope_unref(&s);
    stats_fini();
}

static void test_stats_reset__counters_start_again__gauges_stay(void **state)
{
    (void)state;
    stats_init(1);
    struct stat_scope *s = stat_scope_get(STR("x."), &table, STR("x."), NULL, 0);
    stat_add(s, 0, 5);
    stat_add(s, 1, 3);
    stat_code(s, "rq", 200);
    stats_reset_counters();
    assert_int_equal(stat_sum(s, 0), 0);
    assert_int_equal(stat_sum(s, 1), 3);
    stat_inc(s, 0);
    stat_code(s, "rq", 200);
    stats_reset_counters();
    stat_inc(s, 0);
    stat_code(s, "rq", 200);
    assert_int_equal(stat_sum(s, 0), 1);
    assert_int_equal(find("x.rq_200").sample.value, 1);
    stat_scope_unref(&s);
    stats_fini();
}

static void test_histogram__values__two_digits_are_kept(void **state)
{
    (void)state;
    static const uint64_t values[] = {0, 1, 9, 10, 11, 99, 100, 109, 110, 12345, 999999999};
    static struct histogram_view v;
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        struct histogram *h = histogram_new();
        memset(&v, 0, sizeof(v));
        histogram_record(h, values[i]);
        histogram_add_to(h, &v);
        assert_int_equal(v.count, 1);
        double middle = histogram_quantile(&v, 0.5), value = (double)values[i];
        assert_true(fabs(middle - value) <= value / 20 + 0.051);
        histogram_free(&h);
    }
}

static void test_histogram__uniform__median_and_cumulative(void **state)
{
    (void)state;
    struct histogram *h = histogram_new();
    static struct histogram_view v;
    memset(&v, 0, sizeof(v));
    for (uint64_t i = 1; i <= 1000; i++)
        histogram_record(h, i);
    histogram_add_to(h, &v);
    assert_true(fabs(histogram_quantile(&v, 0.5) - 500) < 11);
    assert_true(isnan(histogram_quantile(&(struct histogram_view){0}, 0.5)));
    assert_int_equal(histogram_count_below(&v, 250), 259); /* the bin [250,260) is counted whole */
    uint64_t counts[3];
    histogram_cumulative(&v, (const double[]){0.5, 1, 5000}, 3, counts);
    assert_int_equal(counts[0], 0);
    assert_int_equal(counts[1], 1);
    assert_int_equal(counts[2], 1000);
    histogram_free(&h);
}

/* Numbers seen in Envoy for two and for eight samples of 1. */
static void test_histogram_quantile__few_samples__as_circllhist(void **state)
{
    (void)state;
    struct histogram *h = histogram_new();
    static struct histogram_view v;
    histogram_record(h, 1);
    histogram_record(h, 1);
    memset(&v, 0, sizeof(v));
    histogram_add_to(h, &v);
    assert_true(fabs(histogram_quantile(&v, 0) - 1.0333333333333334) < 1e-12);
    assert_true(fabs(histogram_quantile(&v, 0.5) - 1.0333333333333334) < 1e-12);
    assert_true(fabs(histogram_quantile(&v, 1) - 1.0666666666666667) < 1e-12);
    histogram_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stats__two_threads__sums_and_kinds),
        cmocka_unit_test(test_stat_scope_get__same_prefix__same_values),
        cmocka_unit_test(test_stats_each__untouched__is_not_used),
        cmocka_unit_test(test_stats_reset__counters_start_again__gauges_stay),
        cmocka_unit_test(test_histogram__values__two_digits_are_kept),
        cmocka_unit_test(test_histogram__uniform__median_and_cumulative),
        cmocka_unit_test(test_histogram_quantile__few_samples__as_circllhist),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
