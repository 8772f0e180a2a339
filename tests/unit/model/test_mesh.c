/* SPDX-License-Identifier: Apache-2.0 */
#include "istio/mesh/mesh_config.pb-c.h"
#include "istio/mesh/network.pb-c.h"
#include "model/mesh.h"
#include "model_test.h"

/* Faults, then warnings with "warning: " before them. */
static const struct mesh *mesh_from(const char *text, const char *says)
{
    struct err_list faults = {0}, warnings = {0};
    struct strbuf got = {0}, warned = {0};
    const struct mesh *m = mesh_read_warning(str_from(text), "m.yaml", &faults, &warnings);
    lines_add(&got, &faults);
    lines_add(&warned, &warnings);
    if (warned.n)
        strbuf_addf(&got, "warnings:\n%s", warned.p);
    assert_string_equal(got.p ? got.p : "", says);
    assert_int_equal(m != NULL, faults.count == 0);
    strbuf_fini(&got);
    strbuf_fini(&warned);
    err_list_fini(&faults);
    err_list_fini(&warnings);
    return m;
}

static void test_mesh_read__nothing_said__istios_defaults(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "# nothing\n", "{}", "outboundTrafficPolicy: {}\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const struct mesh *m = mesh_from(texts[i], "");
        assert_true(str_eq(m->root_namespace, STR("istio-system")) && str_eq(m->trust_domain, STR("cluster.local")));
        assert_true(m->auto_mtls && m->tracing && m->prometheus_merge && m->ingress_strict && !m->ingress_off && !m->h2_upgrade);
        assert_int_equal(m->outbound, MESH_ALLOW_ANY);
        assert_int_equal(m->path_normalization, MESH_PATH_BASE);
        assert_int_equal(m->connect_timeout_ms, 10000);
        assert_int_equal(m->protocol_detection_timeout_ms, 0);
        assert_int_equal(m->dns_refresh_ms, 60000);
        assert_int_equal(m->proxy_listen_port, 15001);
        assert_int_equal(m->inbound_listen_port, 15006);
        assert_true(m->default_service_export.everyone && m->default_route_export.everyone && m->default_rule_export.everyone);
        assert_int_equal(m->access_log_file.n, 0);
        assert_non_null(m->config);
        assert_null(m->networks);
        mesh_unref(&m);
    }
}

static void test_mesh_read__values__as_said(void **state)
{
    (void)state;
    const struct mesh *m = mesh_from(
        "rootNamespace: root\ntrustDomain: td\ntrustDomainAliases: [a, b.c]\nenableAutoMtls: false\nenableTracing: false\n"
        "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\npathNormalization: {normalization: MERGE_SLASHES}\nconnectTimeout: 500ms\n"
        "protocolDetectionTimeout: 0s\ndnsRefreshRate: 5s\nproxyListenPort: 1\nproxyInboundListenPort: 2\nproxyHttpPort: 3\n"
        "defaultServiceExportTo: [., x]\ndefaultVirtualServiceExportTo: ['~']\naccessLogFile: /dev/stdout\naccessLogEncoding: JSON\n"
        "ingressControllerMode: \"OFF\"\nh2UpgradePolicy: UPGRADE\ninboundTrafficPolicy: {mode: LOCALHOST}\n"
        "enablePrometheusMerge: false\nmeshMTLS: {minProtocolVersion: TLSV1_3}\n"
        "defaultConfig: {proxyMetadata: {A: b}, tracing: {sampling: 5}}\n", "");
    assert_true(str_eq(m->root_namespace, STR("root")) && str_eq(m->trust_domain, STR("td")));
    assert_int_equal(m->alias_count, 2);
    assert_true(str_eq(m->trust_domain_aliases[1], STR("b.c")));
    assert_false(m->auto_mtls || m->tracing || m->prometheus_merge || m->ingress_strict);
    assert_true(m->ingress_off && m->h2_upgrade && m->inbound_localhost && m->access_log_json);
    assert_int_equal(m->outbound, MESH_REGISTRY_ONLY);
    assert_int_equal(m->path_normalization, MESH_PATH_MERGE_SLASHES);
    assert_int_equal(m->connect_timeout_ms, 500);
    assert_int_equal(m->dns_refresh_ms, 5000);
    assert_int_equal(m->proxy_listen_port + m->inbound_listen_port * 10 + m->http_proxy_port * 100, 321);
    assert_true(m->default_service_export.own_namespace && !m->default_service_export.everyone);
    assert_int_equal(m->default_service_export.namespace_count, 1);
    assert_true(m->default_route_export.nobody && m->default_rule_export.everyone);
    const Istio__Mesh__V1alpha1__MeshConfig *c = (const Istio__Mesh__V1alpha1__MeshConfig *)m->config;
    assert_string_equal(c->default_config->proxy_metadata[0]->value, "b");
    const struct mesh *same = mesh_ref(m), *other = mesh_from("rootNamespace: root\n", "");
    assert_int_not_equal(same->hash, other->hash);
    mesh_unref(&same);
    mesh_unref(&other);
    mesh_unref(&m);
}

static void test_mesh_read__said_or_not__has_another_hash(void **state)
{
    (void)state;
    const struct mesh *silent = mesh_from("rootNamespace: root\n", ""), *off = mesh_from("{rootNamespace: root, enableTracing: false}\n", "");
    assert_int_not_equal(silent->hash, off->hash);
    mesh_unref(&silent);
    mesh_unref(&off);
}

static void test_mesh_read__config_map__mesh_and_networks(void **state)
{
    (void)state;
    const struct mesh *m = mesh_from("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio}\ndata:\n  mesh: |-\n    trustDomain: td\n"
                                     "  meshNetworks: |-\n    networks:\n      n1: {endpoints: [{fromRegistry: c1}], gateways: "
                                     "[{address: 1.2.3.4, port: 15443}]}\n", "");
    assert_true(str_eq(m->trust_domain, STR("td")));
    assert_int_equal(((const Istio__Mesh__V1alpha1__MeshNetworks *)m->networks)->n_networks, 1);
    mesh_unref(&m);
    mesh_from("kind: ConfigMap\ndata:\n  mesh: |\n    trustDomian: td\n  meshNetworks: |\n    networks: {n1: {endpoints: [{fromCidr: x}, "
              "{fromRegistry: 'a b'}], gateways: [{address: a_b, port: 0}, {registryServiceName: a_b, port: 1}]}}\n",
              "m.yaml(mesh):1:1: trustDomian: no such field in istio.mesh.v1alpha1.MeshConfig; did you mean 'trustDomain'?\n"
              "m.yaml(meshNetworks):1:30: networks[\"n1\"].endpoints[0].fromCidr: 'x' is not a CIDR range\n"
              "m.yaml(meshNetworks):1:45: networks[\"n1\"].endpoints[1].fromRegistry: 'a b' is not a registry's name\n"
              "m.yaml(meshNetworks):1:80: networks[\"n1\"].gateways[0].address: 'a_b' is neither an IP address nor a host name\n"
              "m.yaml(meshNetworks):1:94: networks[\"n1\"].gateways[0].port: must be between 1 and 65535, is 0\n"
              "m.yaml(meshNetworks):1:105: networks[\"n1\"].gateways[1].registryServiceName: 'a_b' is not a host name\n");
}

static void test_mesh_read__rules__each_at_its_place(void **state)
{
    (void)state;
    static const struct { const char *text, *says; } rows[] = {
        {"trustDomain: a_b\ntrustDomainAliases: [c_d]\nrootNamespace: A\nmeshMTLS: {ecdhCurves: [P-256]}\n",
         "m.yaml:1:1: trustDomain: 'a_b' is not a trust domain\nm.yaml:2:22: trustDomainAliases[0]: 'c_d' is not a trust domain\n"
         "m.yaml:3:1: rootNamespace: 'A' is not a namespace\nm.yaml:4:12: meshMTLS.ecdhCurves: is not supported between workloads\n"},
        {"proxyListenPort: -1\nproxyInboundListenPort: 70000\nproxyHttpPort: 70000\n",
         "m.yaml:1:1: proxyListenPort: must be between 1 and 65535, is -1\n"
         "m.yaml:2:1: proxyInboundListenPort: must be between 1 and 65535, is 70000\n"
         "m.yaml:3:1: proxyHttpPort: must be between 1 and 65535, is 70000\n"},
        {"connectTimeout: 2h\nprotocolDetectionTimeout: 1us\ndnsRefreshRate: 0s\n",
         "m.yaml:1:1: connectTimeout: must be at most an hour\nm.yaml:2:1: protocolDetectionTimeout: must be at least 1ms\n"
         "m.yaml:3:1: dnsRefreshRate: must be at least 1ms\n"},
        {"defaultServiceExportTo: [A]\ndefaultHttpRetryPolicy: {attempts: -1}\nlocalityLbSetting: {failover: [{from: a, to: a}]}\n"
         "defaultTrafficPolicy: {connectionPool: {}}\nserviceSettings: [{hosts: [a_b]}]\n",
         "m.yaml:3:32: localityLbSetting.failover[0]: must lead from one region to another\n"
         "m.yaml:2:26: defaultHttpRetryPolicy.attempts: must not be negative, is -1\n"
         "m.yaml:1:26: defaultServiceExportTo[0]: 'A' is neither a namespace nor '.' nor '*' nor '~'\n"
         "m.yaml:4:24: defaultTrafficPolicy.connectionPool: must have tcp or http\n"
         "m.yaml:5:28: serviceSettings[0].hosts[0]: 'a_b' is neither a host name nor a wildcard like *.example.com\n"},
        {"discoverySelectors: [{matchLabels: {a: b}}, {matchExpressions: [{key: a, operator: In, values: [b]}, {key: a, operator: Has}, "
         "{key: a, operator: In}, {key: a, operator: Exists, values: [b]}]}]\n",
         "m.yaml:1:111: discoverySelectors[1].matchExpressions[1].operator: 'Has' is none of In, NotIn, Exists and DoesNotExist\n"
         "m.yaml:1:127: discoverySelectors[1].matchExpressions[2].values: is missing\n"
         "m.yaml:1:178: discoverySelectors[1].matchExpressions[3].values: must not be set\n"},
        {"defaultConfig:\n  drainDuration: 1.5s\n  discoveryAddress: istiod\n  proxyAdminPort: 70000\n  statusPort: 70000\n"
         "  concurrency: -1\n  tracing: {sampling: 101, zipkin: {address: 'a_b:1'}}\n"
         "  connectionSettings: {httpIdleTimeout: -1s, http2InitialStreamWindowSize: 1, listenerConnectionLimit: 0}\n",
         "m.yaml:2:3: defaultConfig.drainDuration: must be whole seconds\n"
         "m.yaml:3:3: defaultConfig.discoveryAddress: 'istiod' is not of the form host:port\n"
         "m.yaml:4:3: defaultConfig.proxyAdminPort: must be between 1 and 65535, is 70000\n"
         "m.yaml:5:3: defaultConfig.statusPort: must be between 1 and 65535, is 70000\n"
         "m.yaml:6:3: defaultConfig.concurrency: must not be negative, is -1\n"
         "m.yaml:7:37: defaultConfig.tracing.zipkin.address: 'a_b:1' is not of the form host:port\n"
         "m.yaml:7:13: defaultConfig.tracing.sampling: must be between 0 and 100, is 101\n"
         "m.yaml:8:46: defaultConfig.connectionSettings.http2InitialStreamWindowSize: must be at least 65535, is 1\n"
         "m.yaml:8:79: defaultConfig.connectionSettings.listenerConnectionLimit: must be at least 1, is 0\n"
         "m.yaml:8:24: defaultConfig.connectionSettings.httpIdleTimeout: must not be negative\n"},
        {"ingressControllerMode: OFF\n",
         "m.yaml:1:24: ingressControllerMode: must be a string, and OFF without quotes is a boolean to Kubernetes\n"},
        {"a: [\n", "m.yaml:2:1: flow sequence without a closing bracket\n"},
        {"5\n", "m.yaml:1:1: must be an object, is the number 5\n"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_null(mesh_from(rows[i].text, rows[i].says));
}

static void test_mesh_read__providers__wrong_ones_are_warned_of(void **state)
{
    (void)state;
    const struct mesh *m = mesh_from(
        "extensionProviders:\n- {name: a, zipkin: {service: z.x, port: 9411}}\n- {name: b, prometheus: {}}\n- {name: a, zipkin: {}}\n- {}\n"
        "- name: c\n  envoyExtAuthzHttp: {service: ns/a.b, port: 80, pathPrefix: x, statusOnError: '1'}\n",
        "warnings:\n"
        "m.yaml:4:4: extensionProviders[2].name: 'a' is the name of extensionProviders[0] as well\n"
        "m.yaml:4:13: extensionProviders[2].zipkin.service: is missing\n"
        "m.yaml:4:13: extensionProviders[2].zipkin.port: must be between 1 and 65535, is 0\n"
        "m.yaml:5:3: extensionProviders[3].name: is missing\nm.yaml:5:3: extensionProviders[3]: is of no kind\n"
        "m.yaml:7:65: extensionProviders[4].envoyExtAuthzHttp.statusOnError: '1' is no status of HTTP\n"
        "m.yaml:7:50: extensionProviders[4].envoyExtAuthzHttp.pathPrefix: 'x' must begin with '/'\n");
    mesh_unref(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mesh_read__nothing_said__istios_defaults),
        cmocka_unit_test(test_mesh_read__values__as_said),
        cmocka_unit_test(test_mesh_read__said_or_not__has_another_hash),
        cmocka_unit_test(test_mesh_read__config_map__mesh_and_networks),
        cmocka_unit_test(test_mesh_read__rules__each_at_its_place),
        cmocka_unit_test(test_mesh_read__providers__wrong_ones_are_warned_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
