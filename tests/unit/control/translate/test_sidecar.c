/* SPDX-License-Identifier: Apache-2.0
 *
 * What sidecars are sent: TCP and TLS routes, and listeners that a Sidecar asks for.
 */
#include "translate_test.h"

#define NODE(more_)                                                                                                                 \
    "{\"id\":\"sidecar~10.0.0.9~a-0.foo~foo.svc.cluster.local\",\"metadata\":{\"NAMESPACE\":\"foo\",\"ISTIO_VERSION\":\"1.31.0\","  \
    "\"LABELS\":{\"app\":\"a\"}" more_ "}}"
#define OBJECT(kind_, name_)                                                                                                        \
    "---\napiVersion: networking.istio.io/v1\nkind: " kind_ "\nmetadata: {name: " name_ ", namespace: foo}\nspec:\n"
#define SERVICE(name_, address_, ports_)                                                                                            \
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: " name_ ", namespace: foo}\n"                                             \
    "spec: {clusterIP: " address_ ", ports: [" ports_ "]}\n"
#define WEB SERVICE("web", "10.1.0.1", "{name: http, port: 80}, {name: http-admin, port: 8080}")
#define BYTES SERVICE("bytes", "10.1.0.2", "{name: tcp, port: 9000}")
#define SECURE SERVICE("secure", "10.1.0.3", "{name: tls, port: 443}")

static struct sent s;

static void given(const char *objects, const char *node)
{
    sent_init(&s, objects, node);
}

static int teardown(void **state)
{
    (void)state;
    sent_fini(&s);
    return 0;
}

/* ---- TCP and TLS routes ---- */

static void test_tcp_route__with_weights__shares_connections(void **state)
{
    (void)state;
    given(BYTES OBJECT("VirtualService", "bytes") "  hosts: [bytes]\n  tcp: [{route: [{destination: {host: one, port: {number: 1}}, weight: 20}, "
          "{destination: {host: two, port: {number: 2}}, weight: 80}]}]\n", NODE(""));
    assert_sent(&s, "lds 10.1.0.2_9000", "\"stat_prefix\":\"bytes.foo\"");
    assert_sent(&s, "lds 10.1.0.2_9000", "{\"name\":\"outbound|2||two.foo.svc.cluster.local\",\"weight\":80}");
    assert_not_sent(&s, "lds 10.1.0.2_9000", "outbound|9000||bytes");
}

static void test_tcp_route__for_other_sources__is_not_taken(void **state)
{
    (void)state;
    given(BYTES OBJECT("VirtualService", "bytes") "  hosts: [bytes]\n  tcp: [{match: [{sourceLabels: {app: b}}], "
          "route: [{destination: {host: one, port: {number: 1}}}]}]\n", NODE(""));
    assert_sent(&s, "lds 10.1.0.2_9000", "\"cluster\":\"outbound|9000||bytes.foo.svc.cluster.local\"");
    assert_not_sent(&s, "lds 10.1.0.2_9000", "one.foo");
}

static void test_tcp_route__for_a_subnet__leaves_the_rest_to_the_service(void **state)
{
    (void)state;
    given(BYTES OBJECT("VirtualService", "bytes") "  hosts: [bytes]\n  tcp: [{match: [{destinationSubnets: [10.1.0.0/24]}], "
          "route: [{destination: {host: one, port: {number: 1}}}]}]\n", NODE(""));
    assert_sent(&s, "lds 10.1.0.2_9000", "\"prefix_ranges\":[{\"address_prefix\":\"10.1.0.0\",\"prefix_len\":24}]");
    assert_sent(&s, "lds 10.1.0.2_9000", "\"default_filter_chain\"");
    assert_sent(&s, "lds 10.1.0.2_9000", "\"cluster\":\"outbound|9000||bytes.foo.svc.cluster.local\"");
}

static void test_tls_route__is_told_by_the_server_name(void **state)
{
    (void)state;
    given(SECURE OBJECT("VirtualService", "secure") "  hosts: [secure]\n  tls: [{match: [{sniHosts: [secure]}], "
          "route: [{destination: {host: one, port: {number: 1}}}]}]\n", NODE(""));
    assert_sent(&s, "lds 10.1.0.3_443", "\"server_names\":[\"secure\"]");
    assert_sent(&s, "lds 10.1.0.3_443", "envoy.filters.listener.tls_inspector");
    assert_sent(&s, "lds 10.1.0.3_443", "\"name\":\"PassthroughFilterChain\"");
}

static void test_key__of_listeners__has_the_labels_that_tcp_routes_look_at(void **state)
{
    struct strbuf a = {0}, b = {0};
    (void)state;
    given(BYTES OBJECT("VirtualService", "bytes") "  hosts: [bytes]\n  tcp: [{match: [{sourceLabels: {app: a}}], "
          "route: [{destination: {host: one, port: {number: 1}}}]}]\n", NODE(""));
    translate_key(&s.t, PART_LDS_OUTBOUND, &a);
    struct label other[] = {{STR("app"), STR("b")}};
    s.node.labels = (struct labels){other, 1};
    translate_key(&s.t, PART_LDS_OUTBOUND, &b);
    assert_false(str_eq(strbuf_str(&a), strbuf_str(&b)));
    strbuf_fini(&a);
    strbuf_fini(&b);
}

/* ---- Sidecar ---- */

static void test_egress__with_a_port__has_a_listener_with_its_hosts_alone(void **state)
{
    (void)state;
    given(WEB SERVICE("more", "10.1.0.4", "{name: http, port: 80}") OBJECT("Sidecar", "default")
          "  egress:\n  - {port: {number: 80, protocol: HTTP, name: egress}, hosts: [./web.foo.svc.cluster.local]}\n  - {hosts: ['./*']}\n", NODE(""));
    assert_sent(&s, "lds 0.0.0.0_80", "\"route_config_name\":\"80\"");
    assert_sent(&s, "lds 0.0.0.0_80", "\"bind_to_port\":false");
    assert_sent(&s, "rds 80", "web.foo.svc.cluster.local:80");
    assert_not_sent(&s, "rds 80", "more.foo.svc.cluster.local");
    assert_sent(&s, "cds outbound|80||more.foo.svc.cluster.local", "EDS");
}

static void test_egress__uncaptured__binds_its_port(void **state)
{
    (void)state;
    given(BYTES OBJECT("Sidecar", "default")
          "  egress:\n  - {port: {number: 9000, protocol: TCP, name: egress}, captureMode: NONE, hosts: ['./*']}\n", NODE(""));
    assert_sent(&s, "lds 127.0.0.1_9000", "\"cluster\":\"outbound|9000||bytes.foo.svc.cluster.local\"");
    assert_not_sent(&s, "lds 127.0.0.1_9000", "bind_to_port");
    assert_not_sent(&s, "lds 10.1.0.2_9000", NULL);
}

static void test_interception__none__has_no_listener_that_needs_it(void **state)
{
    (void)state;
    given(WEB, NODE(",\"INTERCEPTION_MODE\":\"NONE\",\"HTTP_PROXY_PORT\":\"15002\""));
    assert_not_sent(&s, "lds virtualOutbound", NULL);
    assert_not_sent(&s, "lds 0.0.0.0_80", NULL);
    assert_sent(&s, "lds 127.0.0.1_15002", "\"route_config_name\":\"http_proxy\"");
}

static void test_http_proxy__leads_to_each_host_by_its_port(void **state)
{
    (void)state;
    given(WEB BYTES, NODE(",\"HTTP_PROXY_PORT\":\"15002\""));
    assert_sent(&s, "rds http_proxy", "\"domains\":[\"web.foo.svc.cluster.local\",\"web.foo.svc.cluster.local:80\"");
    assert_sent(&s, "rds http_proxy", "\"domains\":[\"web.foo.svc.cluster.local:8080\"");
    assert_sent(&s, "rds http_proxy", "\"cluster\":\"outbound|8080||web.foo.svc.cluster.local\"");
    assert_not_sent(&s, "rds http_proxy", "bytes.foo");
    assert_not_sent(&s, "rds http_proxy", "ignore_port_in_host_matching");
}

static void test_outbound_policy__of_the_sidecar__closes_what_is_unknown(void **state)
{
    (void)state;
    given(WEB OBJECT("Sidecar", "default") "  outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n", NODE(""));
    assert_sent(&s, "rds 80", "\"name\":\"block_all\"");
    assert_not_sent(&s, "lds virtualOutbound", "PassthroughCluster");
}

static void test_scope__has_where_imported_routes_lead(void **state)
{
    (void)state;
    given(WEB "---\napiVersion: v1\nkind: Service\nmetadata: {name: far, namespace: bar}\n"
          "spec: {clusterIP: 10.1.0.7, ports: [{name: http, port: 80}]}\n"
          "---\napiVersion: v1\nkind: Service\nmetadata: {name: other, namespace: bar}\n"
          "spec: {clusterIP: 10.1.0.8, ports: [{name: http, port: 80}]}\n"
          OBJECT("Sidecar", "default") "  egress: [{hosts: ['./*']}]\n"
          OBJECT("VirtualService", "web") "  hosts: [web]\n  http: [{route: [{destination: {host: far.bar.svc.cluster.local}}]}]\n", NODE(""));
    assert_sent(&s, "cds outbound|80||far.bar.svc.cluster.local", "EDS");
    assert_not_sent(&s, "rds 80", "\"far.bar.svc.cluster.local:80\"");
    assert_not_sent(&s, "cds outbound|80||other.bar.svc.cluster.local", NULL);
}

/* ---- ingress ---- */

#define OWN                                                                                                                         \
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: own, namespace: foo}\n"                                                   \
    "spec: {clusterIP: 10.1.0.9, selector: {app: a}, ports: [{name: http, port: 80, targetPort: 8080}]}\n"                           \
    "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n"                                               \
    "metadata: {name: own-1, namespace: foo, labels: {kubernetes.io/service-name: own}}\n"                                          \
    "endpoints: [{addresses: [10.0.0.9], conditions: {ready: true}}]\n"                                                             \
    "ports: [{name: http, port: 8080, protocol: TCP}]\n"
#define INGRESS(listener_) OWN OBJECT("Sidecar", "default") "  ingress: [{port: {number: 9090, protocol: HTTP, name: in}, " listener_ "}]\n"

static void test_ingress__takes_the_place_of_services(void **state)
{
    (void)state;
    given(INGRESS("defaultEndpoint: '127.0.0.1:8081'"), NODE(""));
    assert_sent(&s, "lds virtualInbound", "\"destination_port\":9090");
    assert_not_sent(&s, "lds virtualInbound", "\"destination_port\":8080");
    assert_sent(&s, "cds inbound|9090||", "\"address\":\"127.0.0.1\",\"port_value\":8081");
    assert_not_sent(&s, "cds inbound|8080||", NULL);
}

static void test_ingress__to_a_unix_socket(void **state)
{
    (void)state;
    given(INGRESS("defaultEndpoint: 'unix:///run/app.sock'"), NODE(""));
    assert_sent(&s, "cds inbound|9090||", "\"pipe\":{\"path\":\"/run/app.sock\"}");
}

static void test_ingress__without_an_endpoint__keeps_the_destination(void **state)
{
    (void)state;
    given(INGRESS("bind: 0.0.0.0"), NODE(""));
    assert_sent(&s, "cds inbound|9090||", "ORIGINAL_DST");
}

static void test_ingress__uncaptured__binds_its_port(void **state)
{
    (void)state;
    given(INGRESS("bind: 10.0.0.9, captureMode: NONE, defaultEndpoint: '127.0.0.1:8081'"), NODE(""));
    assert_sent(&s, "lds 10.0.0.9_9090", "\"cluster\":\"inbound|9090||\"");
    assert_sent(&s, "lds 10.0.0.9_9090", "tls_inspector");
    assert_not_sent(&s, "lds 10.0.0.9_9090", "destination_port");
    assert_not_sent(&s, "lds virtualInbound", "9090");
}

static void test_interception__none__binds_the_services_ports_before_the_application(void **state)
{
    (void)state;
    given(OWN, NODE(",\"INTERCEPTION_MODE\":\"NONE\""));
    assert_not_sent(&s, "lds virtualInbound", NULL);
    assert_sent(&s, "lds 10.0.0.9_8080", "\"cluster\":\"inbound|8080||\"");
    assert_sent(&s, "cds inbound|8080||", "\"address\":\"127.0.0.1\",\"port_value\":8080");
}

/* ---- names ---- */

static void test_names__are_those_with_addresses(void **state)
{
    (void)state;
    given(WEB OWN SERVICE("headless", "None", "{name: tcp, port: 1}")
          OBJECT("ServiceEntry", "out") "  hosts: [x.test]\n  addresses: [240.0.0.1, 10.9.0.0/16]\n  resolution: NONE\n"
          "  ports: [{number: 80, name: http, protocol: HTTP}]\n"
          OBJECT("ServiceEntry", "bare") "  hosts: [y.test]\n  resolution: DNS\n  ports: [{number: 80, name: http, protocol: HTTP}]\n", NODE(""));
    assert_sent(&s, "nds nametable", "\"web.foo.svc.cluster.local\":{\"ips\":[\"10.1.0.1\"],\"registry\":\"Kubernetes\",\"shortname\":\"web\",\"namespace\":\"foo\"}");
    assert_sent(&s, "nds nametable", "\"x.test\":{\"ips\":[\"240.0.0.1\"],\"registry\":\"External\"}");
    assert_not_sent(&s, "nds nametable", "y.test");
    assert_not_sent(&s, "nds nametable", "headless");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_tcp_route__with_weights__shares_connections, teardown),
        cmocka_unit_test_teardown(test_tcp_route__for_other_sources__is_not_taken, teardown),
        cmocka_unit_test_teardown(test_tcp_route__for_a_subnet__leaves_the_rest_to_the_service, teardown),
        cmocka_unit_test_teardown(test_tls_route__is_told_by_the_server_name, teardown),
        cmocka_unit_test_teardown(test_key__of_listeners__has_the_labels_that_tcp_routes_look_at, teardown),
        cmocka_unit_test_teardown(test_egress__with_a_port__has_a_listener_with_its_hosts_alone, teardown),
        cmocka_unit_test_teardown(test_egress__uncaptured__binds_its_port, teardown),
        cmocka_unit_test_teardown(test_interception__none__has_no_listener_that_needs_it, teardown),
        cmocka_unit_test_teardown(test_http_proxy__leads_to_each_host_by_its_port, teardown),
        cmocka_unit_test_teardown(test_outbound_policy__of_the_sidecar__closes_what_is_unknown, teardown),
        cmocka_unit_test_teardown(test_scope__has_where_imported_routes_lead, teardown),
        cmocka_unit_test_teardown(test_ingress__takes_the_place_of_services, teardown),
        cmocka_unit_test_teardown(test_ingress__to_a_unix_socket, teardown),
        cmocka_unit_test_teardown(test_ingress__without_an_endpoint__keeps_the_destination, teardown),
        cmocka_unit_test_teardown(test_ingress__uncaptured__binds_its_port, teardown),
        cmocka_unit_test_teardown(test_interception__none__binds_the_services_ports_before_the_application, teardown),
        cmocka_unit_test_teardown(test_names__are_those_with_addresses, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
