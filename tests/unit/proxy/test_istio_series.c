/* SPDX-License-Identifier: Apache-2.0
 *
 * Label sets of standard metrics: found by key, shared where labels are equal, bounded.
 */
#include "proxy/filter/istio_series.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "proxy/filter/istio_stats.h"

#include "../unit.h"

static const struct stat_tag labels[] = {{{"reporter", 8}, {"source", 6}}, {{"destination", 11}, {"reviews", 7}}};

static int set_up(void **state)
{
    stats_init(1);
    *state = istio_series_ref();
    istio_series_link(*state);
    return 0;
}

static int tear_down(void **state)
{
    struct istio_series_set *s = *state;
    istio_series_unref(&s);
    stats_fini();
    return 0;
}

static struct istio_series *make(struct istio_series_set *s, const void *key, size_t n, uint32_t label_count)
{
    struct istio_series *x = istio_series_add(s, key, n);
    if (!x)
        return NULL;
    istio_series_describe(x, STAT_ISTIO_REQUESTS, &istio_metric_table, STAT_ISTIO_REQUESTS, labels, label_count);
    istio_series_describe(x, STAT_ISTIO_DURATION, &istio_metric_table, STAT_ISTIO_DURATION, labels, label_count);
    istio_series_count(x, STAT_ISTIO_REQUESTS, 2); /* before its scopes are there */
    istio_series_record(x, STAT_ISTIO_DURATION, 7);
    istio_series_ask(s, x);
    return x;
}

static uint64_t counted(const char *prefix)
{
    struct stat_scope *scope = stat_scope_get(str_from(prefix), &istio_metric_table, STR("istiocustom."), NULL, 0);
    uint64_t n = stat_sum(scope, STAT_ISTIO_REQUESTS);
    stat_scope_unref(&scope);
    return n;
}

static void test_istio_series_count__before_and_after_the_answer__each_once(void **state)
{
    struct istio_series *x = make(*state, "key", 3, 2);
    istio_series_count(x, STAT_ISTIO_REQUESTS, 3);
    istio_series_count(x, STAT_ISTIO_RESPONSE_BYTES, 1); /* wasn't described: dropped by configuration */
    assert_ptr_equal(istio_series_find(*state, "key", 3), x);
    assert_null(istio_series_find(*state, "kez", 3));
    assert_int_equal(counted("istiocustom.reporter.source.destination.reviews."), 5);
}

static void test_istio_series_add__equal_labels_of_other_keys__one_scope(void **state)
{
    make(*state, "a", 1, 2);
    make(*state, "b", 1, 2);
    make(*state, "c", 1, 1);
    assert_int_equal(counted("istiocustom.reporter.source.destination.reviews."), 4);
    assert_int_equal(counted("istiocustom.reporter.source."), 2);
}

static void test_istio_series_add__past_the_limit__refused_and_counted(void **state)
{
    char key[16];
    for (unsigned i = 0; i < ISTIO_SERIES_MAX; i++)
        assert_non_null(istio_series_add(*state, key, (size_t)snprintf(key, sizeof key, "%u", i)));
    assert_null(istio_series_add(*state, "one more", 8));
    assert_non_null(istio_series_find(*state, "19999", 5));
}

static void test_istio_series_rules_id__equal_rules__equal_numbers(void **state)
{
    uint32_t a = istio_series_rules_id(*state, STR("a")), b = istio_series_rules_id(*state, STR("b"));
    assert_true(a && b && a != b);
    assert_int_equal(istio_series_rules_id(*state, STR("a")), a);
}

/* What a request costs once its labels are known: facts, key, look-up, four metrics. With WEFT_ISTIO_TIMES=1, in a release
 * build: a few hundred nanoseconds. */
static void test_istio_stats_series__the_same_again__no_new_set_and_quick(void **state)
{
    (void)state;
    static struct meta_field names[] = {{{"WORKLOAD_NAME", 13}, {.kind = META_STRING, .u.string = {"reviews-v1", 10}}},
                                        {{"NAMESPACE", 9}, {.kind = META_STRING, .u.string = {"bookinfo", 8}}}};
    static const struct meta_value node = {.kind = META_STRUCT, .u.fields = {names, 2}};
    struct istio_stats_config c = {.reporter = ISTIO_REPORTS_DESTINATION, .host_fallback = true, .series = istio_series_ref(), .id = 1,
                                   .local = istio_peer_new(&node)};
    struct istio_peer *peer = istio_peer_new(&node);
    struct filter_state_object *objects[] = {&peer->object, &c.local->object};
    struct stream_info info = {.status = 200};
    bool times = getenv("WEFT_ISTIO_TIMES") != NULL;
    uint32_t rounds = times ? 2000000 : 1000;
    struct istio_series *first = NULL;
    filter_state_set_object(&info.filter_state, ISTIO_DOWNSTREAM_PEER, &peer->object, FILTER_STATE_PRIVATE);
    uint64_t from = clock_mono_us();
    for (uint32_t i = 0; i < rounds; i++) {
        struct istio_facts f = {.kind = ISTIO_HTTP, .grpc_status = -1, .status = 200,
                                .peer_san = STR("spiffe://cluster.local/ns/bookinfo/sa/bookinfo-productpage"),
                                .local_san = STR("spiffe://cluster.local/ns/bookinfo/sa/bookinfo-reviews")};
        istio_facts_of_peer(&f, &c, &info, STR("reviews.bookinfo.svc.cluster.local:9080"));
        struct istio_series *x = istio_stats_series(&c, &f);
        assert_true(x && (!first || x == first));
        first = x;
        istio_series_count(x, STAT_ISTIO_REQUESTS, 1);
        istio_series_record(x, STAT_ISTIO_DURATION, 3);
        istio_series_record(x, STAT_ISTIO_REQUEST_BYTES, 300);
        istio_series_record(x, STAT_ISTIO_RESPONSE_BYTES, 4000);
    }
    if (times)
        print_message("%.0f ns a request\n", 1000.0 * (double)(clock_mono_us() - from) / rounds);
    filter_state_fini(&info.filter_state);
    for (size_t i = 0; i < ARRAY_LEN(objects); i++)
        filter_state_object_unref(&objects[i]);
    istio_series_unref(&c.series);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_istio_series_count__before_and_after_the_answer__each_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_istio_series_add__equal_labels_of_other_keys__one_scope, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_istio_series_add__past_the_limit__refused_and_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_istio_stats_series__the_same_again__no_new_set_and_quick, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_istio_series_rules_id__equal_rules__equal_numbers, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
