/* SPDX-License-Identifier: Apache-2.0
 *
 * Configurations of what calls services over gRPC: rate limits and access logs. Every fault of a file comes out in one go.
 */
#include "config_fixture.h"

#define TYPE(x) "\"@type\": type.googleapis.com/envoy.extensions." x
#define SVC "clusters: [{name: svc, load_assignment: {cluster_name: svc}}]"
#define GRPC "grpc_service: {envoy_grpc: {cluster_name: svc}}"
#define SERVICE "rate_limit_service: {transport_api_version: V3, " GRPC "}"
#define LIMIT_OPEN "{name: rl, typed_config: {" TYPE("filters.http.ratelimit.v3.RateLimit") ", domain: d, "
#define LOG_OPEN "{name: log, typed_config: {" TYPE("access_loggers.grpc.v3.HttpGrpcAccessLogConfig") ", common_config: {log_name: n, "

static void build(char *out, size_t n, const char *filter, const char *log, const char *route)
{
    snprintf(out, n,
             "static_resources: {" SVC ", listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, "
             "filter_chains: [{filters: [" HCM_OPEN "http_filters: [%s " ROUTER "], access_log: [%s], "
             "route_config: {name: r, virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, "
             "route: {cluster: svc, %s}}]}]}}}]}]}]}",
             filter, log, route);
}

static void assert_loads(const char *filter, const char *log, const char *route)
{
    char yaml[8192];
    build(yaml, sizeof yaml, filter, log, route);
    struct loaded l = load(yaml);
    unload(&l);
}

static void assert_refused(const char *filter, const char *log, const char *route, const char *fault)
{
    char yaml[8192];
    build(yaml, sizeof yaml, filter, log, route);
    assert_faults(yaml, &fault, 1);
}

#define ACTIONS(x) "rate_limits: [{actions: [" x "]}]"

static void test_cfg_rate_limits__every_action__read(void **state)
{
    (void)state;
    assert_loads("", "",
                 ACTIONS("{source_cluster: {}}, {destination_cluster: {}}, {remote_address: {}}, "
                         "{request_headers: {header_name: x, descriptor_key: k, skip_if_absent: true}}, "
                         "{query_parameters: {query_parameter_name: q, descriptor_key: k}}, "
                         "{masked_remote_address: {v4_prefix_mask_len: 24}}, {generic_key: {descriptor_value: v}}, "
                         "{header_value_match: {descriptor_value: v, headers: [{name: x, string_match: {prefix: a}}]}}, "
                         "{query_parameter_value_match: {descriptor_value: v, query_parameters: [{name: q, string_match: {exact: a}}]}}, "
                         "{dynamic_metadata: {descriptor_key: k, metadata_key: {key: a, path: [{key: b}]}}}, "
                         "{metadata: {descriptor_key: k, source: ROUTE_ENTRY, metadata_key: {key: a, path: [{key: b}]}}}"));
}

static void test_cfg_rate_limits__what_cannot_be__refused_by_name(void **state)
{
    (void)state;
    assert_refused("", "", ACTIONS("{extension: {name: envoy.rate_limit_descriptors.expr, typed_config: {\"@type\": "
                                   "type.googleapis.com/envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor, descriptor_key: k, text: a}}}"),
                   "rate_limits[0].actions[0].extension: envoy.rate_limit_descriptors.expr is not supported yet");
    assert_refused("", "", "rate_limits: [{actions: [{generic_key: {descriptor_value: v}}], hits_addend: {number: 1, format: '%BYTES_SENT%'}}]",
                   "number and format exclude each other");
}

static void test_cfg_http_ratelimit__whole__read(void **state)
{
    (void)state;
    assert_loads(LIMIT_OPEN "timeout: 1s, stage: 3, request_type: internal, failure_mode_deny: true, enable_x_ratelimit_headers: "
                            "DRAFT_VERSION_03, rate_limited_status: {code: 503}, response_headers_to_add: [{header: {key: a, value: b}}], "
                            "stat_prefix: p, rate_limits: [{actions: [{generic_key: {descriptor_value: v}}]}], " SERVICE "}},",
                 "", "");
}

static void test_cfg_http_ratelimit__faults__each_at_its_place(void **state)
{
    (void)state;
    assert_refused(LIMIT_OPEN "rate_limit_service: {transport_api_version: V3, grpc_service: {google_grpc: {target_uri: 'a:1', stat_prefix: g}}}}},",
                   "", "", "grpc_service.google_grpc: is not supported yet");
    assert_refused(LIMIT_OPEN "rate_limit_service: {transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: none}}}}},", "", "",
                   "envoy_grpc.cluster_name: unknown cluster 'none'");
    assert_refused(LIMIT_OPEN "rate_limit_service: {" GRPC "}}},", "", "", "transport_api_version: must be V3");
    assert_refused(LIMIT_OPEN "rate_limits: [{stage: 1, actions: [{generic_key: {descriptor_value: v}}]}], " SERVICE "}},", "", "",
                   "stage and disable_key are not supported here");
}

static void test_cfg_http_grpc_logger__whole__read(void **state)
{
    (void)state;
    assert_loads("",
                 LOG_OPEN "transport_api_version: V3, buffer_size_bytes: 0, buffer_flush_interval: 3s, filter_state_objects_to_log: [a], "
                          "grpc_stream_retry_policy: {num_retries: 2, retry_back_off: {base_interval: 1s}}, custom_tags: "
                          "[{tag: a, literal: {value: b}}, {tag: f, value: '%PROTOCOL%'}], " GRPC "}, additional_request_headers_to_log: [X-A]}}",
                 "");
}

static void test_cfg_http_grpc_logger__faults__each_at_its_place(void **state)
{
    (void)state;
    assert_refused("", LOG_OPEN GRPC "}}}", "", "common_config.transport_api_version: must be V3");
    assert_refused("", LOG_OPEN "transport_api_version: V3, custom_tags: [{tag: f, value: '%NO_SUCH%'}], " GRPC "}}}", "", "custom_tags[0].value");
}

static void test_cfg_otel_logger__values__texts_lists_and_maps_only(void **state)
{
    (void)state;
#define OTEL(x) "{name: log, typed_config: {" TYPE("access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig") \
    ", common_config: {log_name: n, transport_api_version: V3, " GRPC "}, body: " x "}}"
    assert_loads("", OTEL("{kvlist_value: {values: [{key: a, value: {array_value: {values: [{string_value: '%PROTOCOL%'}]}}}]}}"), "");
    assert_refused("", OTEL("{int_value: 3}"), "", "body: only strings, lists and maps are taken here");
    assert_refused("", OTEL("{string_value: '%NO_SUCH%'}"), "", "body.string_value");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cfg_rate_limits__every_action__read),
        cmocka_unit_test(test_cfg_rate_limits__what_cannot_be__refused_by_name),
        cmocka_unit_test(test_cfg_http_ratelimit__whole__read),
        cmocka_unit_test(test_cfg_http_ratelimit__faults__each_at_its_place),
        cmocka_unit_test(test_cfg_http_grpc_logger__whole__read),
        cmocka_unit_test(test_cfg_http_grpc_logger__faults__each_at_its_place),
        cmocka_unit_test(test_cfg_otel_logger__values__texts_lists_and_maps_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
