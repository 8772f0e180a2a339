/* SPDX-License-Identifier: Apache-2.0
 *
 * What istiod sends that Envoy's own API doesn't name: TypedStruct and Istio's filters.
 */
#include "config_fixture.h"

#include "../unit.h"

#define TYPED_STRUCT(package_, type_, value_) \
    "typed_config: {'@type': type.googleapis.com/" package_ ".TypedStruct, type_url: 'type.googleapis.com/" type_ "', value: " value_ "}"
#define WITH_FILTER(filter_) \
    RESOURCES_OF(LISTENER(HCM_OPEN "http_filters: [" filter_ ", " ROUTER "], route_config: {virtual_hosts: [{name: v, domains: ['*'], " \
                 "routes: [" TO_A "]}]}}}"), CLUSTER("a"))
#define BUFFER "envoy.extensions.filters.http.buffer.v3.Buffer"

static void test_config_load__typed_structs__stand_for_their_messages(void **state)
{
    (void)state;
    struct loaded l = load(WITH_FILTER("{name: b, " TYPED_STRUCT("udpa.type.v1", BUFFER, "{max_request_bytes: 17}") "}"));
    unload(&l);
    l = load(WITH_FILTER("{name: b, " TYPED_STRUCT("xds.type.v3", BUFFER, "{maxRequestBytes: 17}") "}"));
    unload(&l);
}

static void test_config_load__typed_structs_that_say_nonsense__faults_with_their_path(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {WITH_FILTER("{name: b, " TYPED_STRUCT("udpa.type.v1", BUFFER, "{max_request_bites: 17}") "}"),
         "http_filters[0].typed_config.value.max_request_bites: no such field in " BUFFER},
        {WITH_FILTER("{name: b, " TYPED_STRUCT("udpa.type.v1", BUFFER, "{max_request_bytes: [1]}") "}"),
         "http_filters[0].typed_config.value.max_request_bytes: "},
        {WITH_FILTER("{name: b, " TYPED_STRUCT("xds.type.v3", BUFFER, "{max_request_bytes: 0}") "}"),
         "http_filters[0].typed_config.value.max_request_bytes: must be above 0"},
        {WITH_FILTER("{name: b, " TYPED_STRUCT("xds.type.v3", "no.such.Type", "{}") "}"),
         "http_filters[0].typed_config: no.such.Type is not supported yet"},
        {WITH_FILTER("{name: b, " TYPED_STRUCT("xds.type.v3", "envoy.config.cluster.v3.Cluster", "{}") "}"),
         "http_filters[0].typed_config: envoy.config.cluster.v3.Cluster is not supported yet"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_faults(cases[i][0], &cases[i][1], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_load__typed_structs__stand_for_their_messages),
        cmocka_unit_test(test_config_load__typed_structs_that_say_nonsense__faults_with_their_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
