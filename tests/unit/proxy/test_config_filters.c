/* SPDX-License-Identifier: Apache-2.0 */
#include "config_fixture.h"

#include "../unit.h"

#define HTTP "type.googleapis.com/envoy.extensions.filters.http."
#define NETWORK "type.googleapis.com/envoy.extensions.filters.network."

/* What comes after this round is refused by the name that people know it by. */
static void test_config_load__filters_of_later__are_refused_by_name(void **state)
{
    (void)state;
    static const char *const filters[][2] = {
        {"lua", "lua.v3.Lua"}, {"wasm", "wasm.v3.Wasm"}, {"ext_proc", "ext_proc.v3.ExternalProcessor"}, {"oauth2", "oauth2.v3.OAuth2"},
        {"grpc_json_transcoder", "grpc_json_transcoder.v3.GrpcJsonTranscoder"},
        {"adaptive_concurrency", "adaptive_concurrency.v3.AdaptiveConcurrency"},
    };
    for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
        char yaml[1024], fault[512];
        snprintf(yaml, sizeof yaml,
                 "static_resources: {listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: "
                 "[{filters: [{name: h, typed_config: {'@type': " NETWORK "http_connection_manager.v3.HttpConnectionManager, "
                 "stat_prefix: s, route_config: {}, http_filters: [{name: envoy.filters.http.%s, typed_config: {'@type': " HTTP
                 "%s}}, {name: r, typed_config: {'@type': " HTTP "router.v3.Router}}]}}]}]}]}", filters[i][0], filters[i][1]);
        snprintf(fault, sizeof fault, "http_filters[0].typed_config: envoy.filters.http.%s (envoy.extensions.filters.http.%s) is not "
                 "supported yet", filters[i][0], filters[i][1]);
        struct loaded l = load_with(yaml, false);
        assert_true(has_fault(&l.faults, fault));
        unload(&l);
    }
}

static void test_config_load__network_filters_of_later__are_refused_by_name(void **state)
{
    (void)state;
    static const char *const filters[][2] = {
        {"mongo_proxy", "mongo_proxy.v3.MongoProxy"}, {"redis_proxy", "redis_proxy.v3.RedisProxy"},
        {"thrift_proxy", "thrift_proxy.v3.ThriftProxy"}, {"dubbo_proxy", "dubbo_proxy.v3.DubboProxy"},
        {"zookeeper_proxy", "zookeeper_proxy.v3.ZooKeeperProxy"}, {"wasm", "wasm.v3.Wasm"},
    };
    for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
        char yaml[1024], fault[512];
        snprintf(yaml, sizeof yaml,
                 "static_resources: {listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: "
                 "[{filters: [{name: envoy.filters.network.%s, typed_config: {'@type': " NETWORK "%s}}]}]}]}", filters[i][0], filters[i][1]);
        snprintf(fault, sizeof fault, "filters[0].typed_config: envoy.filters.network.%s (envoy.extensions.filters.network.%s) is not "
                 "supported yet", filters[i][0], filters[i][1]);
        struct loaded l = load_with(yaml, false);
        assert_true(has_fault(&l.faults, fault));
        unload(&l);
    }
}

#define POLICY(what, who) "rules: {policies: {p: {permissions: [{" what "}], principals: [{" who "}]}}}"
#define RULE(what) POLICY(what, "any: true")
#define CONDITION(expr) "rules: {policies: {p: {permissions: [{any: true}], principals: [{any: true}], condition: {" expr "}}}}"

/* What Envoy refuses too, and what of a filter isn't done here. */
static void test_config_load__filters_set_wrongly__faults_by_path(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"stateful_session.v3.StatefulSession",
         "session_state: {name: envoy.http.stateful_session.envelope, typed_config: {'@type': "
         "type.googleapis.com/envoy.extensions.http.stateful_session.envelope.v3.EnvelopeSessionState, header: {name: x}}}",
         "session_state.typed_config: envoy.http.stateful_session.envelope"},
        {"header_to_metadata.v3.Config", "request_rules: [{header: x}]", "request_rules[0].on_header_present: one of"},
        {"header_to_metadata.v3.Config", "request_rules: [{cookie: x, remove: true, on_header_present: {key: k}}]",
         "request_rules[0].remove: a cookie can't be removed"},
        {"header_to_metadata.v3.Config", "request_rules: [{header: x, on_header_missing: {key: k}}]",
         "request_rules[0].on_header_missing.value: must be set"},
        {"header_mutation.v3.HeaderMutation", "mutations: {query_parameter_mutations: [{append: {entry: {key: a, value: Yg==}}}]}",
         "query_parameter_mutations[0].append.record: must be set"},
        {"header_mutation.v3.HeaderMutation", "mutations: {request_mutations: [{remove: ':path'}]}", "may not be removed"},
        {"set_filter_state.v3.Config",
         "on_request_headers: [{object_key: mine, format_string: {text_format_source: {inline_string: x}}}]",
         "on_request_headers[0].object_key: 'mine' does not have an object factory"},
        {"set_metadata.v3.Config",
         "metadata: [{metadata_namespace: a, typed_value: {'@type': type.googleapis.com/google.protobuf.Struct, value: {}}}]",
         "metadata[0].typed_value"},
        {"rbac.v3.RBAC", RULE("destination_port_range: {start: 9, end: 9}"), "rules.policies[p].permissions[0].destination_port_range: [9, 9)"},
        {"rbac.v3.RBAC", RULE("url_path: {}"), "permissions[0].url_path.path: must be set"},
        {"rbac.v3.RBAC", RULE("matcher: {name: m, typed_config: {'@type': type.googleapis.com/envoy.extensions.rbac.matchers."
                              "upstream_ip_port.v3.UpstreamIpPortMatcher, upstream_ip: {address_prefix: 10.0.0.0}}}"),
         "permissions[0].matcher.typed_config"},
        {"rbac.v3.RBAC", POLICY("any: true", "authenticated: {principal_name: {safe_regex: {regex: '('}}}"), "principals[0].authenticated.principal_name"},
        {"rbac.v3.RBAC", CONDITION("comprehension_expr: {iter_var: x}"), "condition.comprehension_expr"},
        {"rbac.v3.RBAC", CONDITION("ident_expr: {name: 'a || true'}"), "condition.ident_expr.name: \"a || true\" is no name"},
        {"rbac.v3.RBAC", CONDITION("call_expr: {function: '_==_', args: [{const_expr: {int64_value: 1}}]}"), "condition.call_expr.args: _==_ takes 2"},
        {"rbac.v3.RBAC", CONDITION("call_expr: {function: 'f(', args: []}"), "condition.call_expr.function: \"f(\" is no function"},
        {"rbac.v3.RBAC", CONDITION("const_expr: {bytes_value: YQ==}"), "condition.const_expr"},
        {"rbac.v3.RBAC", "rules: {audit_logging_options: {audit_condition: ON_DENY}}", "rules.audit_logging_options"},
        {"csrf.v3.CsrfPolicy", "additional_origins: []", "filter_enabled"},
        {"buffer.v3.Buffer", "max_request_bytes: 0", "max_request_bytes"},
        {"bandwidth_limit.v3.BandwidthLimit", "stat_prefix: x, limit_kbps: 10, fill_interval: 0.001s", "fill_interval"},
        {"admission_control.v3.AdmissionControl", "success_criteria: {http_criteria: {http_success_status: [{start: 500, end: 200}]}}",
         "http_success_status[0]"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char yaml[2048];
        snprintf(yaml, sizeof yaml,
                 "static_resources: {listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: "
                 "[{filters: [{name: h, typed_config: {'@type': " NETWORK "http_connection_manager.v3.HttpConnectionManager, "
                 "stat_prefix: s, route_config: {}, http_filters: [{name: f, typed_config: {'@type': " HTTP
                 "%s, %s}}, {name: r, typed_config: {'@type': " HTTP "router.v3.Router}}]}}]}]}]}", cases[i][0], cases[i][1]);
        struct loaded l = load_with(yaml, false);
        if (!has_fault(&l.faults, cases[i][2])) {
            char text[1024];
            for (size_t k = 0; k < l.faults.count; k++)
                print_message("have: %s\n", err_format(&l.faults.items[k], text, sizeof text));
            fail_msg("no fault like: %s", cases[i][2]);
        }
        unload(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_load__filters_of_later__are_refused_by_name),
        cmocka_unit_test(test_config_load__network_filters_of_later__are_refused_by_name),
        cmocka_unit_test(test_config_load__filters_set_wrongly__faults_by_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
