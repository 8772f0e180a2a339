/* SPDX-License-Identifier: Apache-2.0
 *
 * Pages without a connection: what a request gives.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/admin/json_out.h"
#include "proxy/runtime.h"
#include "proxy/stats/registry.h"

#include "../unit.h"

static const struct stat_desc rows[] = {
    {"b_total", STAT_COUNTER, STAT_UNIT_NONE, ""},
    {"a_active", STAT_GAUGE, STAT_UNIT_NONE, ""},
    {"time", STAT_HISTOGRAM, STAT_UNIT_MS, ""},
};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

static struct server server;
static struct err_list unsupported;
static struct stat_scope *scope;
static struct admin_request last;

static const char *request(const char *method, const char *target)
{
    struct str query, path = str_split(str_from(target), '?', &query);
    strbuf_fini(&last.body);
    buf_fini(&last.long_body);
    last = (struct admin_request){.server = &server,
                                  .method = str_from(method),
                                  .path = path,
                                  .query = query,
                                  .status = 200,
                                  .content_type = "text/plain; charset=UTF-8"};
    admin_run(&last);
    if (last.long_body.len) { /* one text, for looking at */
        size_t n = last.long_body.len;
        char *text = mem_alloc(n + 1);
        buf_copy_out(&last.long_body, 0, text, n);
        strbuf_add(&last.body, text, n);
        mem_free(text);
    }
    return last.body.p ? last.body.p : "";
}

static int setup(void **state)
{
    (void)state;
    stats_init(1);
    memset(&server, 0, sizeof(server));
    server.main_loop = loop_new("main", NULL);
    server.clusters = map_new();
    server.unsupported = &unsupported;
    scope = stat_scope_get(STR("x."), &table, STR("x."), NULL, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    strbuf_fini(&last.body);
    buf_fini(&last.long_body);
    memset(&last, 0, sizeof(last));
    map_free((struct map **)(uintptr_t)&server.clusters);
    err_list_fini(&unsupported);
    loop_free(&server.main_loop);
    stats_fini();
    return 0;
}

static void test_admin_run__unknown_path__404_with_help(void **state)
{
    (void)state;
    assert_non_null(strstr(request("GET", "/nope"), "invalid path. admin commands are:\n"));
    assert_int_equal(last.status, 404);
}

static void test_admin_run__mutation_by_get__405(void **state)
{
    (void)state;
    assert_string_equal(request("GET", "/reset_counters"), "Method GET not allowed, POST required.");
    assert_int_equal(last.status, 405);
    assert_string_equal(request("POST", "/healthcheck/fail"), "OK\n");
}

static void test_ready__states__as_envoy(void **state)
{
    (void)state;
    assert_string_equal(request("GET", "/ready"), "LIVE\n");
    assert_int_equal(last.status, 200);
    request("POST", "/healthcheck/fail");
    assert_string_equal(request("GET", "/ready"), "DRAINING\n");
    assert_int_equal(last.status, 503);
    request("POST", "/healthcheck/ok");
    server.state = SERVER_INITIALIZING;
    assert_string_equal(request("GET", "/ready"), "INITIALIZING\n");
    assert_int_equal(last.status, 503);
}

static void test_stats__text__sorted_histograms_last(void **state)
{
    (void)state;
    stat_add(scope, 0, 3);
    stat_dec(scope, 1);
    assert_string_equal(request("GET", "/stats"), "x.a_active: -1\nx.b_total: 3\nx.time: No recorded values\n");
    stat_record(scope, 2, 10);
    assert_non_null(strstr(request("GET", "/stats?type=Histograms"), "x.time: P0(nan,10.5)"));
    stats_flush(NULL, NULL);
    assert_string_equal(request("GET", "/stats?type=Histograms"),
                        "x.time: P0(10.5,10.5) P25(10.5,10.5) P50(10.5,10.5) P75(10.5,10.5) P90(10.5,10.5) P95(10.5,10.5) "
                        "P99(10.5,10.5) P99.5(10.5,10.5) P99.9(10.5,10.5) P100(10.5,10.5)\n");
    assert_non_null(strstr(request("GET", "/stats?filter=time&histogram_buckets=cumulative"),
                           "x.time: B0.5(0,0) B1(0,0) B5(0,0) B10(1,1) B25(1,1)"));
    assert_non_null(strstr(last.body.p, " B1.8e+06(1,1) B3.6e+06(1,1)\n"));
    assert_non_null(strstr(request("GET", "/stats?filter=time&histogram_buckets=disjoint"), "B10(1,1) B25(0,0)"));
    assert_non_null(strstr(request("GET", "/stats?filter=time&histogram_buckets=detailed"),
                           "x.time:\n  totals=10,1:1\n  intervals=10,1:1\n  summary=P0(10.5,10.5)"));
}

static void test_stats__json__layout(void **state)
{
    (void)state;
    assert_string_equal(request("GET", "/stats?format=json&filter=_"),
                        "{\"stats\":[{\"name\":\"x.a_active\",\"value\":0},{\"name\":\"x.b_total\",\"value\":0}]}");
    assert_string_equal(last.content_type, "application/json");
    assert_non_null(strstr(request("GET", "/stats?format=json&filter=time"),
                           "{\"stats\":[{\"histograms\":{\"supported_quantiles\":[0,25,50,75,90,95,99,99.5,99.9,100],"
                           "\"computed_quantiles\":[{\"name\":\"x.time\",\"values\":[{\"cumulative\":null,\"interval\":null}"));
    assert_string_equal(request("GET", "/stats?format=json&filter=none"), "{\"stats\":[]}");
    stat_record(scope, 2, 1);
    stats_flush(NULL, NULL);
    assert_non_null(strstr(request("GET", "/stats?format=json&filter=time&histogram_buckets=cumulative"),
                           "{\"stats\":[{\"histograms\":[{\"name\":\"x.time\",\"buckets\":[{\"upper_bound\":0.5,\"interval\":0,"
                           "\"cumulative\":0},{\"upper_bound\":1,\"interval\":1,\"cumulative\":1}"));
}

static void test_stats__selection__filters(void **state)
{
    (void)state;
    stat_inc(scope, 0);
    assert_string_equal(request("GET", "/stats?usedonly"), "x.b_total: 1\n");
    assert_string_equal(request("GET", "/stats?filter=_&invert_filter"), "x.time: No recorded values\n");
    assert_string_equal(request("GET", "/stats?type=Gauges"), "x.a_active: 0\n");
    static const char *const bad[] = {"/stats?filter=(", "/stats?type=x", "/stats?format=x", "/stats?histogram_buckets=x"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        request("GET", bad[i]);
        assert_int_equal(last.status, 400);
    }
    request("POST", "/reset_counters");
    assert_string_equal(request("GET", "/stats?filter=total"), "x.b_total: 0\n");
}

static void test_logging__levels__set_and_refused(void **state)
{
    (void)state;
    assert_non_null(strstr(request("POST", "/logging?level=warning"), "  http: warning\n"));
    assert_non_null(strstr(request("POST", "/logging?http=debug"), "  http: debug\n"));
    assert_non_null(strstr(request("POST", "/logging?paths=http:trace%2Cupstream:error"), "  upstream: error\n"));
    assert_true(strncmp(last.body.p, "active loggers:\n  admin: warning\n", 33) == 0);
    static const struct {
        const char *query, *wrong;
    } bad[] = {
        {"level=bogus", "error: unknown logger level\n\nusage: /logging?<name>=<level> (change single level)\n"},
        {"nope=info", "error: unknown logger name\n"},
        {"http=bogus", "error: unknown logger level\n"},
        {"paths=http", "error: empty logger name or empty logger level\n"},
        {"paths=http:info,nope:info", "error: unknown logger name\n"},
        {"a=b&c=d", "error: invalid number of parameters\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char target[64];
        snprintf(target, sizeof(target), "/logging?%s", bad[i].query);
        const char *text = request("POST", target);
        assert_true(str_has_prefix(str_from(text), str_from(bad[i].wrong)));
        assert_int_equal(last.status, 400);
        assert_non_null(strstr(text, "  http: trace\n")); /* nothing changed */
    }
}

static void test_runtime_modify__values__need_an_admin_layer(void **state)
{
    (void)state;
    struct runtime_layer_spec admin = {.name = STR("admin"), .is_admin = true};
    struct runtime *rt = runtime_new(NULL, 0);
    request("POST", "/runtime_modify?a=1");
    assert_int_equal(last.status, 503);
    runtime_free(&rt);
    rt = runtime_new(&admin, 1);
    assert_string_equal(request("POST", "/runtime_modify?a.b=5&c=%78"), "OK\n");
    assert_int_equal(runtime_u64(STR("a.b"), 0), 5);
    assert_str_equal(runtime_get(STR("c")), "x");
    request("POST", "/runtime_modify?c=");
    assert_int_equal(runtime_get(STR("c")).n, 0);
    assert_non_null(strstr(request("POST", "/runtime_modify"), "usage: /runtime_modify?key1=value1"));
    assert_int_equal(last.status, 400);
    assert_non_null(strstr(request("GET", "/runtime"), "\"a.b\""));
    runtime_free(&rt);
}

static void test_unsupported__two_fields__are_listed(void **state)
{
    (void)state;
    assert_string_equal(request("GET", "/unsupported"), "");
    err_list_addf(&unsupported, ERR_UNSUPPORTED, "static_resources.listeners[0].x", "not \"supported\"");
    assert_string_equal(request("GET", "/unsupported"), "static_resources.listeners[0].x: not \"supported\"\n");
    assert_string_equal(request("GET", "/unsupported?format=json"),
                        "{\n \"unsupported\": [\n  {\n   \"path\": \"static_resources.listeners[0].x\",\n"
                        "   \"message\": \"not \\\"supported\\\"\"\n  }\n ]\n}\n");
}

static void test_pages__bare_server__answer(void **state)
{
    (void)state;
    static const char *const pages[] = {"/", "/help", "/memory", "/server_info", "/clusters", "/clusters?format=json", "/certs",
                                        "/listeners", "/listeners?format=json", "/stats/prometheus", "/stats?format=prometheus"};
    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        request("GET", pages[i]);
        assert_int_equal(last.status, 200);
    }
    assert_non_null(strstr(request("GET", "/server_info"), "\n \"state\": \"LIVE\",\n \"uptime_current_epoch\": \""));
    assert_non_null(strstr(request("GET", "/memory"), "\n \"allocated\": \""));
    assert_string_equal(request("GET", "/certs"), "{\n \"certificates\": []\n}\n");
}

static void test_json_address__kinds__as_envoy(void **state)
{
    (void)state;
    struct addr a = {0};
    struct strbuf b = {0};
    struct json_out j = {.b = &b};
    addr_from_ip(&a, STR("::1"), 80, NULL);
    json_open(&j, NULL, '[');
    admin_json_address(&j, NULL, &a);
    addr_fini(&a);
    addr_from_unix(&a, STR("/tmp/s"), NULL);
    admin_json_address(&j, NULL, &a);
    json_close(&j, ']');
    assert_string_equal(b.p, "[\n {\n  \"socket_address\": {\n   \"address\": \"::1\",\n   \"port_value\": 80\n  }\n },\n"
                             " {\n  \"pipe\": {\n   \"path\": \"/tmp/s\"\n  }\n }\n]\n");
    addr_fini(&a);
    strbuf_fini(&b);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_admin_run__unknown_path__404_with_help),
        T(test_admin_run__mutation_by_get__405),
        T(test_ready__states__as_envoy),
        T(test_stats__text__sorted_histograms_last),
        T(test_stats__json__layout),
        T(test_stats__selection__filters),
        T(test_logging__levels__set_and_refused),
        T(test_runtime_modify__values__need_an_admin_layer),
        T(test_unsupported__two_fields__are_listed),
        T(test_pages__bare_server__answer),
        T(test_json_address__kinds__as_envoy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
