/* SPDX-License-Identifier: Apache-2.0 */
#include "control/graph/graph.h"

#include "../../unit.h"

#include "base/check.h"

#define SECOND 1000000ull
#define START (1000 * SECOND)
#define REVIEWS STR("reviews.bookinfo.svc.cluster.local")

struct world {
    struct graph *graph;
    struct graph_reporter *one;
    uint64_t now_us;
    struct strbuf text;
};

static void begin(struct world *w, const struct graph_opts *opts)
{
    struct err err = {0};
    *w = (struct world){.graph = graph_new(opts), .now_us = START};
    assert_int_equal(graph_reporter_new(w->graph, STR("bookinfo"), STR("productpage"), &w->one, &err), 0);
}

static void end(struct world *w)
{
    graph_reporter_free(&w->one);
    graph_free(&w->graph);
    strbuf_fini(&w->text);
}

static void report(struct world *w, struct graph_reporter *r, struct str host, struct graph_load load)
{
    struct err err = {0};
    graph_report_begin(r, w->now_us);
    assert_int_equal(graph_report_add(r, host, &load, &err), 0);
    graph_report_end(r);
}

static const char *shown(struct world *w)
{
    strbuf_reset(&w->text);
    graph_json(w->graph, w->now_us, &w->text);
    strbuf_addc(&w->text, '\0');
    return w->text.p;
}

#define SHOWS(w, what) assert_non_null(strstr(shown(w), what))
#define HIDES(w, what) assert_null(strstr(shown(w), what))

static void test_destination__of_cluster_names(void **state)
{
    (void)state;
    static const struct { struct str cluster, host; } rows[] = {
        {STR("outbound|9080|v1|reviews.b.svc.cluster.local"), STR("reviews.b.svc.cluster.local")},
        {STR("outbound|443||*.example.com"), STR("*.example.com")},
        {STR("outbound_.9080_.v1_.reviews.b.svc.cluster.local"), STR("reviews.b.svc.cluster.local")},
        {STR("outbound_.9080_._.reviews.b.svc.cluster.local"), STR("reviews.b.svc.cluster.local")},
        {STR("PassthroughCluster"), STR("PassthroughCluster")},
        {STR("inbound|9080||"), STR("")}, {STR("xds-grpc"), STR("")}, {STR("outbound|9080|v1"), STR("")},
        {STR("outbound|9080||"), STR("")}, {STR("outbound_.9080_.v1"), STR("")}, {STR(""), STR("")},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str host;
        assert_int_equal(graph_destination(rows[i].cluster, &host), rows[i].host.n > 0);
        if (rows[i].host.n)
            assert_true(str_eq(host, rows[i].host));
    }
}

static void test_report__sums_what_is_of_the_window(void **state)
{
    (void)state;
    struct world w;
    begin(&w, &(struct graph_opts){0});
    report(&w, w.one, REVIEWS, (struct graph_load){.issued = 10, .successes = 8, .errors = 2});
    SHOWS(&w, "{\"source\":\"productpage\",\"source_namespace\":\"bookinfo\",\"destination\":\"reviews\",\"destination_namespace\":\"bookinfo\","
              "\"destination_host\":\"reviews.bookinfo.svc.cluster.local\",\"requests\":10,\"errors\":2,\"active\":0,\"requests_per_s\":2.000}");
    w.now_us += 30 * SECOND;
    report(&w, w.one, REVIEWS, (struct graph_load){.issued = 5, .successes = 5});
    SHOWS(&w, "\"requests\":15,\"errors\":2");
    w.now_us += 29 * SECOND; /* the first is 59 s old */
    SHOWS(&w, "\"requests\":15,\"errors\":2");
    w.now_us += 1 * SECOND;
    SHOWS(&w, "\"requests\":5,\"errors\":0");
    SHOWS(&w, "\"requests_per_s\":0.091}"); /* 5 in 55 s */
    end(&w);
}

static void test_edge__with_nothing_in_its_window__fades(void **state)
{
    (void)state;
    struct world w;
    begin(&w, &(struct graph_opts){0});
    report(&w, w.one, REVIEWS, (struct graph_load){.issued = 1, .successes = 1});
    w.now_us += 59 * SECOND;
    assert_int_equal(graph_counters(w.graph).edges, 1);
    SHOWS(&w, "\"requests\":1");
    w.now_us += 1 * SECOND;
    SHOWS(&w, "\"edges\":[]");
    assert_int_equal(graph_counters(w.graph).edges, 0);
    end(&w);
}

/* A loop's clock counts from the machine's start, so that buckets that were never used look young then. */
static void test_edge__soon_after_the_machines_start__fades(void **state)
{
    (void)state;
    struct world w;
    begin(&w, &(struct graph_opts){0});
    w.now_us = 2 * SECOND;
    report(&w, w.one, REVIEWS, (struct graph_load){.active = 1});
    report(&w, w.one, REVIEWS, (struct graph_load){0});
    w.now_us += 5 * SECOND;
    SHOWS(&w, "\"edges\":[]");
    end(&w);
}

static void test_requests_that_end_later__are_counted_once(void **state)
{
    (void)state;
    struct world w;
    begin(&w, &(struct graph_opts){0});
    report(&w, w.one, REVIEWS, (struct graph_load){.issued = 3, .active = 3});
    SHOWS(&w, "\"requests\":3,\"errors\":0,\"active\":3");
    w.now_us += 5 * SECOND;
    report(&w, w.one, REVIEWS, (struct graph_load){.successes = 2, .errors = 1});
    SHOWS(&w, "\"requests\":3,\"errors\":1,\"active\":0");
    end(&w);
}

static void test_older_client__that_tells_no_beginnings__has_its_ends_counted(void **state)
{
    (void)state;
    struct world w;
    begin(&w, &(struct graph_opts){0});
    report(&w, w.one, REVIEWS, (struct graph_load){.successes = 2, .errors = 1});
    SHOWS(&w, "\"requests\":3,\"errors\":1");
    end(&w);
}

static void test_under_way__is_the_sum_of_all_and_of_the_last_reports(void **state)
{
    (void)state;
    struct world w;
    struct graph_reporter *two;
    struct err err = {0};
    struct graph_load load = {.active = 2};
    begin(&w, &(struct graph_opts){0});
    assert_int_equal(graph_reporter_new(w.graph, STR("bookinfo"), STR("productpage"), &two, &err), 0);
    graph_report_begin(w.one, w.now_us); /* two subsets */
    graph_report_add(w.one, REVIEWS, &load, &err);
    graph_report_add(w.one, REVIEWS, &load, &err);
    graph_report_end(w.one);
    report(&w, two, REVIEWS, (struct graph_load){.active = 3});
    SHOWS(&w, "\"active\":7");
    report(&w, w.one, REVIEWS, (struct graph_load){.active = 1});
    SHOWS(&w, "\"active\":4");
    w.now_us += 3600 * SECOND; /* what is under way keeps it */
    SHOWS(&w, "\"requests\":0,\"errors\":0,\"active\":4");
    report(&w, w.one, STR("other.example.com"), (struct graph_load){.issued = 1});
    SHOWS(&w, "\"active\":3");
    graph_reporter_free(&two);
    w.now_us += 5 * SECOND;
    HIDES(&w, "reviews");
    end(&w);
}

static void test_latency__is_the_mean_of_who_told__absent_without(void **state)
{
    (void)state;
    struct world w;
    begin(&w, &(struct graph_opts){0});
    report(&w, w.one, REVIEWS, (struct graph_load){.issued = 4, .successes = 4});
    HIDES(&w, "latency_ms");
    report(&w, w.one, REVIEWS, (struct graph_load){.issued = 4, .successes = 4, .timed = 4, .time_ms = 10});
    SHOWS(&w, "\"requests\":8,\"errors\":0,\"active\":0,\"requests_per_s\":1.600,\"latency_ms\":2.500}");
    end(&w);
}

static void test_limits__new_edges_are_counted_and_dropped__room_is_given_back(void **state)
{
    (void)state;
    struct world w;
    struct graph_reporter *two;
    struct err err = {0};
    begin(&w, &(struct graph_opts){.edges_max = 3, .source_edges_max = 2});
    assert_int_equal(graph_reporter_new(w.graph, STR("bookinfo"), STR("reviews"), &two, &err), 0);
    static const char *const hosts[] = {"a", "b", "c"};
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        report(&w, w.one, str_from(hosts[i]), (struct graph_load){.issued = 1});
        report(&w, two, str_from(hosts[i]), (struct graph_load){.issued = 1, .active = 1});
    }
    struct graph_counters c = graph_counters(w.graph);
    assert_int_equal(c.edges, 3);
    assert_int_equal(c.dropped, 3);
    assert_int_equal(c.sources, 2);
    report(&w, w.one, STR("a"), (struct graph_load){.issued = 1}); /* known ones go on */
    assert_int_equal(graph_counters(w.graph).dropped, 3);
    w.now_us += 60 * SECOND;
    report(&w, w.one, STR("c"), (struct graph_load){.issued = 1});
    assert_int_equal(graph_counters(w.graph).dropped, 4); /* the sweep comes after */
    report(&w, w.one, STR("c"), (struct graph_load){.issued = 1});
    SHOWS(&w, "\"destination\":\"c\"");
    graph_reporter_free(&two);
    end(&w);
}

static void test_loads__that_cannot_be__refused(void **state)
{
    (void)state;
    struct world w;
    struct err err = {0};
    char text[GRAPH_NAME_BYTES_MAX + 1];
    struct graph_reporter *none;
    begin(&w, &(struct graph_opts){0});
    memset(text, 'a', sizeof(text));
    graph_report_begin(w.one, w.now_us);
    assert_int_equal(graph_report_add(w.one, REVIEWS, &(struct graph_load){.issued = UINT64_MAX}, &err), ERR_LIMIT);
    assert_int_equal(graph_report_add(w.one, REVIEWS, &(struct graph_load){.timed = 1, .time_ms = -1}, &err), ERR_LIMIT);
    assert_int_equal(graph_report_add(w.one, REVIEWS, &(struct graph_load){.timed = 1, .time_ms = __builtin_nan("")}, &err), ERR_LIMIT);
    assert_int_equal(graph_report_add(w.one, str_make(text, sizeof(text)), &(struct graph_load){.issued = 1}, &err), ERR_LIMIT);
    graph_report_end(w.one);
    assert_int_equal(graph_reporter_new(w.graph, STR("a"), str_make(text, sizeof(text)), &none, &err), ERR_LIMIT);
    SHOWS(&w, "\"edges\":[]");
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_destination__of_cluster_names),
        cmocka_unit_test(test_report__sums_what_is_of_the_window),
        cmocka_unit_test(test_edge__with_nothing_in_its_window__fades),
        cmocka_unit_test(test_edge__soon_after_the_machines_start__fades),
        cmocka_unit_test(test_requests_that_end_later__are_counted_once),
        cmocka_unit_test(test_older_client__that_tells_no_beginnings__has_its_ends_counted),
        cmocka_unit_test(test_under_way__is_the_sum_of_all_and_of_the_last_reports),
        cmocka_unit_test(test_latency__is_the_mean_of_who_told__absent_without),
        cmocka_unit_test(test_limits__new_edges_are_counted_and_dropped__room_is_given_back),
        cmocka_unit_test(test_loads__that_cannot_be__refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
