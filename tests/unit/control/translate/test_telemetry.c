/* SPDX-License-Identifier: Apache-2.0
 *
 * Telemetry objects and the mesh's defaults: metrics, tracing, access logs.
 */
#include "workload.h"

#define TELEMETRY(spec_) OBJECT("telemetry.istio.io/v1", "Telemetry", "t") spec_
#define OUTBOUND "lds 0.0.0.0_80"

static struct sent s;

static void given(const char *mesh, const char *objects)
{
    struct strbuf all = {0};
    strbuf_addz(&all, WORKLOAD);
    strbuf_addz(&all, objects);
    strbuf_addc(&all, '\0');
    sent_init_in_mesh(&s, mesh, all.p, SIDECAR);
    strbuf_fini(&all);
}

static int teardown(void **state)
{
    (void)state;
    sent_fini(&s);
    return 0;
}

/* ---- access logs ---- */

static void test_log__nobody_asks__is_none(void **state)
{
    (void)state;
    given("", "");
    assert_not_sent(&s, INBOUND, "access_log");
}

static void test_log__file_of_the_mesh__is_text_everywhere(void **state)
{
    (void)state;
    given("accessLogFile: /dev/stdout\n", "");
    assert_sent(&s, INBOUND, "\"path\":\"/dev/stdout\",\"log_format\":{\"text_format_source\":{\"inline_string\":\"[%START_TIME%] ");
    assert_sent(&s, INBOUND, "\"response_flag_filter\":{\"flags\":[\"NR\"]}");
    assert_sent(&s, OUTBOUND, "\"path\":\"/dev/stdout\"");
}

static void test_log__json_of_the_mesh__has_the_labels_that_are_said(void **state)
{
    (void)state;
    given("{accessLogFile: /l, accessLogEncoding: JSON, accessLogFormat: '{\"code\": \"%RESPONSE_CODE%\"}'}\n", "");
    assert_sent(&s, INBOUND, "\"json_format\":{\"code\":\"%RESPONSE_CODE%\"}");
}

#define FILE_PROVIDER "extensionProviders: [{name: mine, envoyFileAccessLog: {path: /mine, logFormat: {text: 'x'}}}]\n"

static void test_log__provider_of_clients__is_not_asked_for_servers(void **state)
{
    (void)state;
    given(FILE_PROVIDER, TELEMETRY("  accessLogging: [{providers: [{name: mine}], match: {mode: CLIENT}}]\n"));
    assert_not_sent(&s, INBOUND, "/mine");
    assert_sent(&s, OUTBOUND, "\"path\":\"/mine\",\"log_format\":{\"text_format_source\":{\"inline_string\":\"x\\n\"}}");
}

static void test_log__disabled__is_none_even_with_the_meshs_file(void **state)
{
    (void)state;
    given("accessLogFile: /dev/stdout\n" FILE_PROVIDER, TELEMETRY("  accessLogging: [{providers: [{name: mine}], disabled: true}]\n"));
    assert_not_sent(&s, INBOUND, "access_log");
}

static void test_log__expression__filters(void **state)
{
    (void)state;
    given(FILE_PROVIDER, TELEMETRY("  accessLogging: [{providers: [{name: mine}], filter: {expression: 'response.code >= 500'}}]\n"));
    assert_sent(&s, INBOUND, "\"expression\":\"response.code >= 500\"");
    assert_sent(&s, INBOUND, "\"and_filter\":{\"filters\":[{\"response_flag_filter\"");
}

static void test_log__open_telemetry__goes_to_its_cluster(void **state)
{
    (void)state;
    given("extensionProviders: [{name: otel, envoyOtelAls: {service: other.foo.svc.cluster.local, port: 9000, logFormat: {labels: {a: '%B%'}}}}]\n"
          "defaultProviders: {accessLogging: [otel]}\n", "");
    assert_sent(&s, INBOUND, "\"cluster_name\":\"outbound|9000||other.foo.svc.cluster.local\"");
    assert_sent(&s, INBOUND, "\"attributes\":{\"values\":[{\"key\":\"a\",\"value\":{\"string_value\":\"%B%\"}}]}");
}

/* ---- tracing ---- */

#define ZIPKIN "extensionProviders: [{name: z, zipkin: {service: other.foo.svc.cluster.local, port: 8000}}]\n"

static void test_tracing__switched_off_by_the_mesh__is_none(void **state)
{
    (void)state;
    given("enableTracing: false\n", "");
    assert_not_sent(&s, OUTBOUND, "\"tracing\"");
}

static void test_tracing__reporting_disabled__is_none(void **state)
{
    (void)state;
    given(ZIPKIN "defaultProviders: {tracing: [z]}\n", TELEMETRY("  tracing: [{disableSpanReporting: true, match: {mode: SERVER}}]\n"));
    assert_not_sent(&s, INBOUND, "\"tracing\"");
    assert_sent(&s, OUTBOUND, "envoy.tracers.zipkin");
}

static void test_tracing__without_istios_tags__keeps_those_of_dry_runs(void **state)
{
    (void)state;
    given(ZIPKIN, TELEMETRY("  tracing: [{providers: [{name: z}], enableIstioTags: false}]\n"));
    assert_not_sent(&s, OUTBOUND, "istio.canonical_service");
    assert_sent(&s, OUTBOUND, "istio.authorization.dry_run.allow_policy.name");
}

static void test_tracing__otlp__bears_the_proxys_own_name_and_key(void **state)
{
    struct strbuf key = {0};
    (void)state;
    given("extensionProviders: [{name: o, opentelemetry: {service: other.foo.svc.cluster.local, port: 9000}}]\n"
          "defaultProviders: {tracing: [o]}\n", "");
    assert_sent(&s, OUTBOUND, "\"service_name\":\"app.foo\"");
    translate_key(&s.t, PART_LDS_OUTBOUND, &key);
    assert_true(str_find(strbuf_str(&key), STR("app.foo")) >= 0);
    strbuf_fini(&key);
}

static void test_tracing__sampling_of_the_proxy__is_before_the_meshs(void **state)
{
    struct strbuf all = {0};
    (void)state;
    strbuf_addz(&all, WORKLOAD);
    strbuf_addc(&all, '\0');
    sent_init_in_mesh(&s, "defaultConfig: {tracing: {sampling: 5}}\n", all.p,
                      "{\"id\":\"sidecar~10.0.0.9~app-0.foo~foo.svc.cluster.local\",\"metadata\":{\"NAMESPACE\":\"foo\","
                      "\"PROXY_CONFIG\":{\"tracing\":{\"sampling\":42}}}}");
    strbuf_fini(&all);
    assert_sent(&s, OUTBOUND, "\"random_sampling\":{\"value\":42}");
}

static void test_tracing__sampling_of_the_mesh__is_taken(void **state)
{
    (void)state;
    given("defaultConfig: {tracing: {sampling: 5}}\n", "");
    assert_sent(&s, OUTBOUND, "\"random_sampling\":{\"value\":5}");
}

/* ---- metrics ---- */

static void test_metrics__all_disabled__has_no_filter(void **state)
{
    (void)state;
    given("", TELEMETRY("  metrics: [{overrides: [{match: {metric: ALL_METRICS}, disabled: true}]}]\n"));
    assert_not_sent(&s, INBOUND, "istio.stats");
}

static void test_metrics__override_of_clients__leaves_servers(void **state)
{
    (void)state;
    given("", TELEMETRY("  metrics: [{overrides: [{match: {metric: REQUEST_COUNT, mode: CLIENT}, tagOverrides: {a: {value: b}}}]}]\n"));
    assert_sent(&s, OUTBOUND, "\"metrics\":[{\"dimensions\":{\"a\":\"b\"},\"name\":\"requests_total\"}]");
    assert_not_sent(&s, INBOUND, "requests_total");
}

static void test_metrics__no_default_provider__has_no_filter(void **state)
{
    (void)state;
    given("defaultProviders: {}\n", "");
    assert_not_sent(&s, INBOUND, "istio.stats");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_log__nobody_asks__is_none, teardown),
        cmocka_unit_test_teardown(test_log__file_of_the_mesh__is_text_everywhere, teardown),
        cmocka_unit_test_teardown(test_log__json_of_the_mesh__has_the_labels_that_are_said, teardown),
        cmocka_unit_test_teardown(test_log__provider_of_clients__is_not_asked_for_servers, teardown),
        cmocka_unit_test_teardown(test_log__disabled__is_none_even_with_the_meshs_file, teardown),
        cmocka_unit_test_teardown(test_log__expression__filters, teardown),
        cmocka_unit_test_teardown(test_log__open_telemetry__goes_to_its_cluster, teardown),
        cmocka_unit_test_teardown(test_tracing__switched_off_by_the_mesh__is_none, teardown),
        cmocka_unit_test_teardown(test_tracing__reporting_disabled__is_none, teardown),
        cmocka_unit_test_teardown(test_tracing__without_istios_tags__keeps_those_of_dry_runs, teardown),
        cmocka_unit_test_teardown(test_tracing__otlp__bears_the_proxys_own_name_and_key, teardown),
        cmocka_unit_test_teardown(test_tracing__sampling_of_the_proxy__is_before_the_meshs, teardown),
        cmocka_unit_test_teardown(test_tracing__sampling_of_the_mesh__is_taken, teardown),
        cmocka_unit_test_teardown(test_metrics__all_disabled__has_no_filter, teardown),
        cmocka_unit_test_teardown(test_metrics__override_of_clients__leaves_servers, teardown),
        cmocka_unit_test_teardown(test_metrics__no_default_provider__has_no_filter, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
