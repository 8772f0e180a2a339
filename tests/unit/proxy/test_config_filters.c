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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_load__filters_of_later__are_refused_by_name),
        cmocka_unit_test(test_config_load__network_filters_of_later__are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
