/* SPDX-License-Identifier: Apache-2.0
 *
 * EnvoyFilters: what each kind and operation changes, and what it leaves.
 */
#include "workload.h"

#define FILTER(name_, priority_, patches_)                                                                                          \
    OBJECT("networking.istio.io/v1alpha3", "EnvoyFilter", name_) "  priority: " priority_ "\n  configPatches:\n" patches_
#define PATCH(to_, match_, operation_, value_)                                                                                      \
    "  - {applyTo: " to_ ", match: {" match_ "}, patch: {operation: " operation_ ", value: " value_ "}}\n"
#define CLUSTER "cds outbound|80||app.foo.svc.cluster.local"
#define HCM "envoy.filters.network.http_connection_manager"
#define HTTP_FILTER "{name: mine, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 7}}"
#define AT_ROUTER "context: SIDECAR_INBOUND, listener: {filterChain: {filter: {name: " HCM ", subFilter: {name: envoy.filters.http.router}}}}"

static struct sent s;

static void given(const char *filters)
{
    struct strbuf all = {0};
    strbuf_addz(&all, WORKLOAD);
    strbuf_addz(&all, filters);
    strbuf_addc(&all, '\0');
    sent_init(&s, all.p, SIDECAR);
    strbuf_fini(&all);
}

static int teardown(void **state)
{
    (void)state;
    sent_fini(&s);
    return 0;
}

static void test_cluster__merge__changes_those_that_match(void **state)
{
    (void)state;
    given(FILTER("f", "0", PATCH("CLUSTER", "cluster: {service: app.foo.svc.cluster.local}", "MERGE", "{connect_timeout: 1.5s}")
                           PATCH("CLUSTER", "cluster: {service: app.foo.svc.cluster.local}", "MERGE", "{connect_timeout: 3s}")));
    assert_sent(&s, CLUSTER, "\"connect_timeout\":\"3s\"");
    assert_not_sent(&s, "cds outbound|8000||other.foo.svc.cluster.local", "\"connect_timeout\":\"3s\"");
}

static void test_cluster__priority__the_higher_is_later(void **state)
{
    (void)state;
    given(FILTER("a", "5", PATCH("CLUSTER", "context: SIDECAR_OUTBOUND", "MERGE", "{connect_timeout: 5s}"))
          FILTER("b", "1", PATCH("CLUSTER", "context: SIDECAR_OUTBOUND", "MERGE", "{connect_timeout: 1s}")));
    assert_sent(&s, CLUSTER, "\"connect_timeout\":\"5s\"");
}

static void test_cluster__remove_and_add__as_said(void **state)
{
    (void)state;
    given(FILTER("f", "0", PATCH("CLUSTER", "cluster: {name: 'outbound|80||app.foo.svc.cluster.local'}", "REMOVE", "{}")
                           PATCH("CLUSTER", "context: SIDECAR_OUTBOUND", "ADD", "{name: mine, type: STATIC}")));
    assert_not_sent(&s, CLUSTER, NULL);
    assert_sent(&s, "cds mine", "\"name\":\"mine\"");
}

static void test_cluster__merge_of_the_mesh_socket__goes_into_the_matches(void **state)
{
    (void)state;
    given(FILTER("f", "0", PATCH("CLUSTER", "cluster: {service: app.foo.svc.cluster.local}", "MERGE",
                                 "{transport_socket: {name: envoy.transport_sockets.tls, typed_config: {'@type': "
                                 "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, "
                                 "max_session_keys: 3}}, connect_timeout: 3s}")));
    assert_sent(&s, CLUSTER, "\"max_session_keys\":3");
    assert_sent(&s, CLUSTER, "\"connect_timeout\":\"3s\"");
    assert_not_sent(&s, CLUSTER, "}}],\"transport_socket\":{");
}

static void test_http_filter__insert_before__stands_before(void **state)
{
    (void)state;
    given(FILTER("f", "0", PATCH("HTTP_FILTER", AT_ROUTER, "INSERT_BEFORE", HTTP_FILTER)));
    assert_sent(&s, INBOUND, "\"max_request_bytes\":7}},{\"name\":\"envoy.filters.http.router\"");
    assert_not_sent(&s, "lds 0.0.0.0_80", "\"mine\"");
}

static void test_http_filter__remove__takes_it_from_all_chains_of_the_context(void **state)
{
    (void)state;
    given(FILTER("f", "0", PATCH("HTTP_FILTER",
                                 "context: SIDECAR_INBOUND, listener: {filterChain: {filter: {name: " HCM ", subFilter: {name: envoy.filters.http.cors}}}}",
                                 "REMOVE", "{}")));
    assert_not_sent(&s, INBOUND, "envoy.filters.http.cors");
    assert_sent(&s, "lds 0.0.0.0_80", "envoy.filters.http.cors");
}

static void test_http_filter__merge__leaves_the_constant_as_it_was(void **state)
{
    (void)state;
    given(FILTER("f", "0", PATCH("HTTP_FILTER",
                                 "context: SIDECAR_INBOUND, listener: {portNumber: 8080, filterChain: {filter: {name: " HCM ", subFilter: {name: envoy.filters.http.router}}}}",
                                 "MERGE", "{name: envoy.filters.http.router, typed_config: {'@type': "
                                 "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, start_child_span: true}}")));
    assert_sent(&s, INBOUND, "\"start_child_span\":true");
    assert_not_sent(&s, "lds 0.0.0.0_80", "start_child_span");
    assert_sent(&s, INBOUND, "envoy.extensions.filters.http.router.v3.Router\"}}"); /* of other ports */
}

static void test_network_filter__of_another_type__is_refused(void **state)
{
    (void)state;
    given(FILTER("f", "0", PATCH("NETWORK_FILTER", "listener: {filterChain: {filter: {name: envoy.filters.network.tcp_proxy}}}", "MERGE",
                                 "{typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}")));
    assert_not_sent(&s, INBOUND, "echo.v3.Echo");
    assert_sent(&s, INBOUND, "tcp_proxy.v3.TcpProxy");
}

static void test_listener__remove__is_not_sent(void **state)
{
    (void)state;
    given(FILTER("f", "0", PATCH("LISTENER", "listener: {name: virtualInbound}", "REMOVE", "{}")));
    assert_not_sent(&s, INBOUND, NULL);
}

static void test_route__lists__are_added_to_or_replaced(void **state)
{
    (void)state;
#define VHOST "context: SIDECAR_OUTBOUND, routeConfiguration: {vhost: {name: 'app.foo.svc.cluster.local:80'}}"
    given(FILTER("f", "0", PATCH("VIRTUAL_HOST", VHOST, "MERGE", "{request_headers_to_remove: [a]}")
                           PATCH("VIRTUAL_HOST", VHOST, "MERGE_AND_REPLACE_LIST", "{request_headers_to_remove: [b]}")
                           PATCH("VIRTUAL_HOST", VHOST, "MERGE", "{request_headers_to_remove: [c]}")
                           PATCH("HTTP_ROUTE", VHOST, "INSERT_FIRST", "{name: first, match: {prefix: /x}, direct_response: {status: 418}}")));
    assert_sent(&s, "rds 80", "\"request_headers_to_remove\":[\"b\",\"c\"]");
    assert_sent(&s, "rds 80", "\"routes\":[{\"match\":{\"prefix\":\"/x\"}");
}

static void test_extension__add__is_sent(void **state)
{
    (void)state;
    given(FILTER("f", "0", PATCH("EXTENSION_CONFIG", "context: ANY", "ADD", HTTP_FILTER)));
    assert_sent(&s, "ecds mine", "\"max_request_bytes\":7");
}

static void test_proxy_version__other__holds_for_nobody_and_is_in_the_key(void **state)
{
    struct strbuf mine = {0}, other = {0};
    (void)state;
    given(FILTER("f", "0", PATCH("CLUSTER", "proxy: {proxyVersion: '^1\\.2.*'}", "MERGE", "{connect_timeout: 3s}")));
    assert_not_sent(&s, CLUSTER, "\"connect_timeout\":\"3s\"");
    translate_key(&s.t, PART_CDS_OUTBOUND, &mine);
    s.node.version = STR("1.20.1");
    translate_key(&s.t, PART_CDS_OUTBOUND, &other);
    assert_false(str_eq(strbuf_str(&mine), strbuf_str(&other)));
    strbuf_fini(&mine);
    strbuf_fini(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_cluster__merge__changes_those_that_match, teardown),
        cmocka_unit_test_teardown(test_cluster__priority__the_higher_is_later, teardown),
        cmocka_unit_test_teardown(test_cluster__remove_and_add__as_said, teardown),
        cmocka_unit_test_teardown(test_cluster__merge_of_the_mesh_socket__goes_into_the_matches, teardown),
        cmocka_unit_test_teardown(test_http_filter__insert_before__stands_before, teardown),
        cmocka_unit_test_teardown(test_http_filter__remove__takes_it_from_all_chains_of_the_context, teardown),
        cmocka_unit_test_teardown(test_http_filter__merge__leaves_the_constant_as_it_was, teardown),
        cmocka_unit_test_teardown(test_network_filter__of_another_type__is_refused, teardown),
        cmocka_unit_test_teardown(test_listener__remove__is_not_sent, teardown),
        cmocka_unit_test_teardown(test_route__lists__are_added_to_or_replaced, teardown),
        cmocka_unit_test_teardown(test_extension__add__is_sent, teardown),
        cmocka_unit_test_teardown(test_proxy_version__other__holds_for_nobody_and_is_in_the_key, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
