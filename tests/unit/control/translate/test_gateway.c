/* SPDX-License-Identifier: Apache-2.0
 *
 * What router proxies are sent for Gateways.
 */
#include "translate_test.h"

#define NODE(labels_)                                                                                                               \
    "{\"id\":\"router~10.0.0.9~gw-0.foo~foo.svc.cluster.local\",\"metadata\":{\"NAMESPACE\":\"foo\",\"ISTIO_VERSION\":\"1.31.0\","  \
    "\"LABELS\":{\"istio\":\"" labels_ "\"}}}"

#define OBJECT(kind_, name_)                                                                                                        \
    "---\napiVersion: networking.istio.io/v1\nkind: " kind_ "\nmetadata: {name: " name_ ", namespace: foo}\nspec:\n"
#define GATEWAY(servers_) OBJECT("Gateway", "gw") "  selector: {istio: gw}\n  servers:\n" servers_
#define HTTP "  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*.example.com']}\n"
#define HTTPS(host_, name_, tls_) "  - {port: {number: 443, name: " name_ ", protocol: HTTPS}, hosts: [" host_ "], tls: {" tls_ "}}\n"
#define SIMPLE "mode: SIMPLE, credentialName: cred"
#define ROUTE(name_, host_, gateways_, match_)                                                                                      \
    OBJECT("VirtualService", name_) "  hosts: [" host_ "]\n  gateways: [" gateways_ "]\n"                                           \
    "  http: [{" match_ "route: [{destination: {host: " name_ ", port: {number: 80}}}]}]\n"

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

static void test_gateway__http__is_one_listener_with_its_routes(void **state)
{
    (void)state;
    given(GATEWAY(HTTP) ROUTE("a", "a.example.com", "gw", "") ROUTE("b", "other.com", "gw", "") ROUTE("c", "c.example.com", "foo/other", ""),
          NODE("gw"));
    assert_sent(&s, "lds 0.0.0.0_80", "\"route_config_name\":\"http.80\"");
    assert_sent(&s, "rds http.80", "\"cluster\":\"outbound|80||a.foo.svc.cluster.local\"");
    assert_not_sent(&s, "rds http.80", "other.com");
    assert_not_sent(&s, "rds http.80", "c.example.com");
}

static void test_gateway__that_selects_others__gives_nothing(void **state)
{
    (void)state;
    given(GATEWAY(HTTP), NODE("other"));
    assert_not_sent(&s, "lds 0.0.0.0_80", NULL);
    assert_not_sent(&s, "rds http.80", NULL);
}

static void test_gateway__without_routes__answers_404(void **state)
{
    (void)state;
    given(GATEWAY(HTTP), NODE("gw"));
    assert_sent(&s, "rds http.80", "\"name\":\"blackhole:80\",\"domains\":[\"*\"]");
}

static void test_gateway__several_routes_of_a_host__that_which_catches_all_is_last(void **state)
{
    (void)state;
    given(GATEWAY(HTTP) ROUTE("a", "x.example.com", "gw", "") ROUTE("b", "x.example.com", "gw", "match: [{uri: {prefix: /b}}], "), NODE("gw"));
    const char *json = sent_json(&s, "rds http.80");
    assert_non_null(json);
    assert_true(strstr(json, "outbound|80||b.foo") < strstr(json, "outbound|80||a.foo"));
}

static void test_gateway__redirect__is_asked_of_all_its_hosts(void **state)
{
    (void)state;
    given(GATEWAY("  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*.example.com'], tls: {httpsRedirect: true}}\n")
              ROUTE("a", "a.example.com", "gw", ""), NODE("gw"));
    assert_sent(&s, "rds http.80", "\"domains\":[\"*.example.com\"],\"require_tls\":\"ALL\"");
    assert_sent(&s, "rds http.80", "\"require_tls\":\"ALL\",\"include_request_attempt_count\":true}],\"validate_clusters\"");
}

static void test_gateway__behind_a_service__listens_on_its_target(void **state)
{
    (void)state;
    given(GATEWAY(HTTP HTTPS("a.example.com", "https", SIMPLE))
          "---\napiVersion: v1\nkind: Service\nmetadata: {name: gw, namespace: foo}\n"
          "spec: {clusterIP: 10.1.1.1, selector: {istio: gw}, ports: [{name: http2, port: 80, targetPort: 8080}, {name: https, port: 443, "
          "targetPort: 8443}]}\n---\n"
          "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n"
          "metadata: {name: gw-1, namespace: foo, labels: {kubernetes.io/service-name: gw}}\n"
          "endpoints: [{addresses: [10.0.0.9], conditions: {ready: true}}]\n"
          "ports: [{name: http2, port: 8080, protocol: TCP}, {name: https, port: 8443, protocol: TCP}]\n", NODE("gw"));
    assert_sent(&s, "lds 0.0.0.0_8080", "\"route_config_name\":\"http.8080\"");
    assert_sent(&s, "lds 0.0.0.0_8443", "\"route_config_name\":\"https.443.https.gw.foo\"");
    assert_not_sent(&s, "lds 0.0.0.0_80", NULL);
}

static void test_gateway__https__is_chosen_by_server_name(void **state)
{
    (void)state;
    given(GATEWAY(HTTPS("a.example.com", "one", SIMPLE) HTTPS("b.example.com", "two", "mode: MUTUAL, credentialName: both")
                      HTTPS("a.example.com", "three", SIMPLE)), NODE("gw"));
    assert_sent(&s, "lds 0.0.0.0_443", "\"server_names\":[\"a.example.com\"]");
    assert_sent(&s, "lds 0.0.0.0_443", "\"name\":\"kubernetes://cred\"");
    assert_sent(&s, "lds 0.0.0.0_443", "\"name\":\"kubernetes://both-cacert\"");
    assert_not_sent(&s, "lds 0.0.0.0_443", "https.443.three"); /* a name leads to one chain */
    assert_not_sent(&s, "rds https.443.three.gw.foo", NULL);
}

static void test_gateway__passthrough__goes_by_tls_routes(void **state)
{
    (void)state;
    given(GATEWAY("  - {port: {number: 443, name: tls, protocol: TLS}, hosts: [b.example.com], tls: {mode: PASSTHROUGH}}\n")
          OBJECT("VirtualService", "b") "  hosts: [b.example.com]\n  gateways: [gw]\n"
          "  tls: [{match: [{sniHosts: [b.example.com], port: 443}], route: [{destination: {host: one, port: {number: 1}}, weight: 30}, "
          "{destination: {host: two, port: {number: 2}}, weight: 70}]}]\n", NODE("gw"));
    assert_sent(&s, "lds 0.0.0.0_443", "\"server_names\":[\"b.example.com\"]");
    assert_sent(&s, "lds 0.0.0.0_443", "{\"name\":\"outbound|1||one.foo.svc.cluster.local\",\"weight\":30}");
    assert_not_sent(&s, "lds 0.0.0.0_443", "transport_socket\"");
}

static void test_gateway__of_bytes__goes_by_tcp_routes(void **state)
{
    (void)state;
    given(GATEWAY("  - {port: {number: 9000, name: tcp, protocol: TCP}, hosts: ['*']}\n")
          OBJECT("VirtualService", "b") "  hosts: [b.example.com]\n  gateways: [gw]\n"
          "  tcp: [{match: [{port: 9000}], route: [{destination: {host: x, port: {number: 1}}}]}]\n", NODE("gw"));
    assert_sent(&s, "lds 0.0.0.0_9000", "\"cluster\":\"outbound|1||x.foo.svc.cluster.local\"");
}

/* ---- secrets ---- */

#define SECRET(name_, ns_, data_)                                                                                                   \
    "---\napiVersion: v1\nkind: Secret\nmetadata: {name: " name_ ", namespace: " ns_ "}\nstringData: {" data_ "}\n"

static bool has_secret(const char *name)
{
    s.part = "sds";
    return translate_secret(&s.t, str_from(name), &s.sink);
}

static void test_secret__that_its_gateway_names__is_given(void **state)
{
    (void)state;
    given(GATEWAY(HTTPS("a.example.com", "one", SIMPLE) HTTPS("b.example.com", "two", "mode: MUTUAL, credentialName: both"))
          SECRET("cred", "foo", "tls.crt: CHAIN, tls.key: KEY") SECRET("both", "foo", "cert: CHAIN, key: KEY, cacert: ROOTS")
          SECRET("another", "foo", "tls.crt: CHAIN, tls.key: KEY"), NODE("gw"));
    assert_true(has_secret("kubernetes://cred"));
    assert_sent(&s, "sds kubernetes://cred", "\"private_key\":{\"inline_bytes\":\"S0VZ\"}");
    assert_true(has_secret("kubernetes://both-cacert"));
    assert_sent(&s, "sds kubernetes://both-cacert", "\"trusted_ca\":{\"inline_bytes\":\"Uk9PVFM=\"}");
    assert_not_sent(&s, "sds kubernetes://both-cacert", "S0VZ");
    assert_false(has_secret("kubernetes://another")); /* nobody names it */
    assert_false(has_secret("kubernetes://bar/cred"));
    assert_false(has_secret("default"));
}

static void test_secret__for_a_gateway_that_is_not_selected__is_not_given(void **state)
{
    (void)state;
    given(GATEWAY(HTTPS("a.example.com", "one", SIMPLE)) SECRET("cred", "foo", "tls.crt: CHAIN, tls.key: KEY"), NODE("other"));
    assert_false(has_secret("kubernetes://cred"));
}

static void test_secret__of_one_whose_pod_is_no_gateway__is_not_given(void **state)
{
    (void)state;
    given(GATEWAY(HTTPS("a.example.com", "one", SIMPLE)) SECRET("cred", "foo", "tls.crt: CHAIN, tls.key: KEY")
          "---\napiVersion: v1\nkind: Pod\nmetadata: {name: gw-0, namespace: foo, labels: {app: liar}}\n"
          "spec: {containers: [{name: a}]}\nstatus: {phase: Running, podIP: 10.0.0.9}\n", NODE("gw"));
    assert_false(has_secret("kubernetes://cred"));
}

static void test_secret__of_a_sidecar__is_not_given(void **state)
{
    (void)state;
    given(GATEWAY(HTTPS("a.example.com", "one", SIMPLE)) SECRET("cred", "foo", "tls.crt: CHAIN, tls.key: KEY"),
          "{\"id\":\"sidecar~10.0.0.9~a-0.foo~foo.svc.cluster.local\",\"metadata\":{\"LABELS\":{\"istio\":\"gw\"}}}");
    assert_false(has_secret("kubernetes://cred"));
}

#define CLAIMS(headers_) GATEWAY(HTTP) ROUTE("a", "a.example.com", "gw", "match: [{" headers_ "}], ")

static void test_route__claims_among_headers__are_matched_in_what_the_token_left(void **state)
{
    (void)state;
    given(CLAIMS("headers: {'@request.auth.claims.a.b': {exact: x}}, withoutHeaders: {'@request.auth.claims[c][d]': {prefix: why}}"), NODE("gw"));
    assert_sent(&s, "rds http.80", "\"path\":[{\"key\":\"payload\"},{\"key\":\"a\"},{\"key\":\"b\"}],\"value\":{\"or_match\"");
    assert_sent(&s, "rds http.80", "{\"string_match\":{\"prefix\":\"why\"}}]}},\"invert\":true}");
    assert_not_sent(&s, "rds http.80", "\"@request");
}

static void test_route__claim_too_deep__is_nobodys(void **state)
{
    (void)state;
    given(CLAIMS("headers: {'@request.auth.claims.a.b.c.d.e.f.g.h.i': {exact: x}}"), NODE("gw"));
    assert_sent(&s, "rds http.80", "{\"key\":\"@request.auth.claims.a.b.c.d.e.f.g.h.i\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_gateway__http__is_one_listener_with_its_routes, teardown),
        cmocka_unit_test_teardown(test_gateway__that_selects_others__gives_nothing, teardown),
        cmocka_unit_test_teardown(test_gateway__without_routes__answers_404, teardown),
        cmocka_unit_test_teardown(test_gateway__several_routes_of_a_host__that_which_catches_all_is_last, teardown),
        cmocka_unit_test_teardown(test_gateway__redirect__is_asked_of_all_its_hosts, teardown),
        cmocka_unit_test_teardown(test_gateway__behind_a_service__listens_on_its_target, teardown),
        cmocka_unit_test_teardown(test_gateway__https__is_chosen_by_server_name, teardown),
        cmocka_unit_test_teardown(test_gateway__passthrough__goes_by_tls_routes, teardown),
        cmocka_unit_test_teardown(test_gateway__of_bytes__goes_by_tcp_routes, teardown),
        cmocka_unit_test_teardown(test_secret__that_its_gateway_names__is_given, teardown),
        cmocka_unit_test_teardown(test_secret__for_a_gateway_that_is_not_selected__is_not_given, teardown),
        cmocka_unit_test_teardown(test_secret__of_one_whose_pod_is_no_gateway__is_not_given, teardown),
        cmocka_unit_test_teardown(test_secret__of_a_sidecar__is_not_given, teardown),
        cmocka_unit_test_teardown(test_route__claims_among_headers__are_matched_in_what_the_token_left, teardown),
        cmocka_unit_test_teardown(test_route__claim_too_deep__is_nobodys, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
