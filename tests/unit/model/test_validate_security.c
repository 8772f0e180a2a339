/* SPDX-License-Identifier: Apache-2.0 */
#include "validate_test.h"

static void test_peer_authentication__rules(void **state)
{
    (void)state;
    RULES(KIND_PEER_AUTHENTICATION, false,
          {"{mtls: {mode: STRICT}}", ""},
          {"{selector: {matchLabels: {a: b}}, portLevelMtls: {80: {mode: DISABLE}}}", ""},
          {"{portLevelMtls: {80: {mode: DISABLE}}}",
           "spec.portLevelMtls: needs a selector: a mesh or a namespace has no ports\n"},
          {"{selector: {matchLabels: {a: 'b*'}}, portLevelMtls: {0: {}, 70000: {}}}",
           "spec.selector.matchLabels[\"a\"]: wildcards are not known in selectors\n"
           "spec.portLevelMtls[\"0\"]: must be between 1 and 65535, is 0\n"
           "spec.portLevelMtls[\"70000\"]: must be between 1 and 65535, is 70000\n"});
    RULES(KIND_PEER_AUTHENTICATION, true,
          {"{selector: {}}", "spec.selector: selects by no label: holds for all workloads of the namespace\n"});
}

static void test_request_authentication__rules(void **state)
{
    (void)state;
    RULES(KIND_REQUEST_AUTHENTICATION, false,
          {"{jwtRules: [{issuer: a, jwksUri: 'https://a.b:8443/keys', fromHeaders: [{name: x}], outputClaimToHeaders: [{header: x-a, claim: b}]}]}", ""},
          {"{jwtRules: [{issuer: a, jwks: '{\"keys\": []}'}, {issuer: b, jwks: '{\"kty\": \"RSA\"}'}]}", ""},
          {"{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: x}]}",
           "spec.selector: only one of selector, targetRef and targetRefs may be set\n"},
          {"{targetRef: {kind: Gateway}}",
           "spec.targetRef.name: is missing\n"
           "spec.targetRef.kind: 'Gateway' of the group '' is none of Service, ServiceEntry, Gateway and GatewayClass\n"},
          {"{jwtRules: [{audiences: [''], fromParams: [''], fromCookies: [''], spaceDelimitedClaims: [''], fromHeaders: [{}], jwksUri: 'ftp://x', timeout: 0s, "
           "outputClaimToHeaders: [{header: 'a b'}]}]}",
           "spec.jwtRules[0].issuer: is missing\nspec.jwtRules[0].audiences[0]: must not be empty\n"
           "spec.jwtRules[0].fromParams[0]: must not be empty\nspec.jwtRules[0].fromCookies[0]: must not be empty\n"
           "spec.jwtRules[0].spaceDelimitedClaims[0]: must not be empty\n"
           "spec.jwtRules[0].jwksUri: 'ftp://x' is not of the form https://host/path\n"
           "spec.jwtRules[0].fromHeaders[0].name: is missing\n"
           "spec.jwtRules[0].outputClaimToHeaders[0].claim: is missing\n"
           "spec.jwtRules[0].outputClaimToHeaders[0].header: 'a b' is not a header's name\n"
           "spec.jwtRules[0].timeout: must be at least 1ms\n"},
          {"{jwtRules: [{issuer: a, jwksUri: 'https:///keys'}, {issuer: a, jwksUri: 'https://[::1]:0/keys'}]}",
           "spec.jwtRules[0].jwksUri: 'https:///keys' has no host\nspec.jwtRules[1].jwksUri: '0' is not a port\n"},
          {"{jwtRules: [{issuer: a, jwks: '{'}, {issuer: b, jwks: '{}', jwksUri: 'https://a'}]}",
           "spec.jwtRules[0].jwks: is neither a set of JSON web keys nor one of them: the text ends too early\n"
           "spec.jwtRules[1].jwks: is neither a set of JSON web keys nor one of them\n"
           "spec.jwtRules[1].jwks: must not stand beside jwksUri\n"});
}

#define RULE(rule) "{rules: [" rule "]}"
#define WHEN(rest) RULE("{when: [{" rest "}]}")

static void test_authorization_policy__rules(void **state)
{
    (void)state;
    RULES(KIND_AUTHORIZATION_POLICY, false,
          {"{}", ""},
          {"{rules: [{}]}", ""},
          {RULE("{from: [{source: {principals: ['*'], ipBlocks: [10.0.0.0/8]}}], to: [{operation: {paths: ['/a/{*}/b/{**}', /x*], ports: ['80']}}], when: [{key: 'request.headers[x]', values: [a]}]}"), ""},
          {"{action: DENY}", "spec.rules: is missing, so that nothing is ever matched; an empty rule {} matches all\n"},
          {"{action: CUSTOM, rules: [{}]}", "spec.provider.name: is missing, which CUSTOM needs\n"},
          {"{provider: {name: x}}", "spec.provider: is for the action CUSTOM\n"},
          {RULE("{from: [{}, {source: {}}], to: [{}, {operation: {}}]}"),
           "spec.rules[0].from[0].source: is missing\nspec.rules[0].from[1].source: must not be empty\n"
           "spec.rules[0].to[0].operation: is missing\nspec.rules[0].to[1].operation: must not be empty\n"},
          {RULE("{from: [{source: {principals: [''], notPrincipals: [''], requestPrincipals: [''], namespaces: [''], ipBlocks: [x], notIpBlocks: [1.2.3.4/33], remoteIpBlocks: ['']}}]}"),
           "spec.rules[0].from[0].source.principals[0]: '' must not be empty\n"
           "spec.rules[0].from[0].source.notPrincipals[0]: '' must not be empty\n"
           "spec.rules[0].from[0].source.requestPrincipals[0]: '' must not be empty\n"
           "spec.rules[0].from[0].source.namespaces[0]: '' must not be empty\n"
           "spec.rules[0].from[0].source.ipBlocks[0]: 'x' is neither an IP address nor a CIDR range\n"
           "spec.rules[0].from[0].source.notIpBlocks[0]: '1.2.3.4/33' is neither an IP address nor a CIDR range\n"
           "spec.rules[0].from[0].source.remoteIpBlocks[0]: '' is neither an IP address nor a CIDR range\n"},
          {RULE("{from: [{source: {serviceAccounts: [a, b/c]}}]}"), ""},
          {RULE("{from: [{source: {serviceAccounts: [a/b/c, /x, 'a*'], namespaces: [q]}}]}"),
           "spec.rules[0].from[0].source.serviceAccounts: must not stand beside principals or namespaces\n"
           "spec.rules[0].from[0].source.serviceAccounts[0]: 'a/b/c' is not of the form account or namespace/account\n"
           "spec.rules[0].from[0].source.serviceAccounts[1]: '/x' is not of the form account or namespace/account\n"
           "spec.rules[0].from[0].source.serviceAccounts[2]: 'a*' must not have wildcards\n"},
          {RULE("{from: [{source: {trustDomains: ['a/b', 'a*b', '*a'], notTrustDomains: ['']}}]}"),
           "spec.rules[0].from[0].source.trustDomains[0]: 'a/b' must not have a '/'\n"
           "spec.rules[0].from[0].source.trustDomains[1]: 'a*b' may have one '*', at either end\n"
           "spec.rules[0].from[0].source.notTrustDomains[0]: '' must not be empty\n"},
          {RULE("{to: [{operation: {ports: ['70000'], notPorts: [x], hosts: [''], methods: [''], paths: ['', '/{**}/{*}', '/{a}', '/{*}/b c'], notPaths: ['/a{*}']}}]}"),
           "spec.rules[0].to[0].operation.hosts[0]: '' must not be empty\n"
           "spec.rules[0].to[0].operation.ports[0]: '70000' is not a port\n"
           "spec.rules[0].to[0].operation.notPorts[0]: 'x' is not a port\n"
           "spec.rules[0].to[0].operation.methods[0]: '' must not be empty\n"
           "spec.rules[0].to[0].operation.paths[0]: '' must not be empty\n"
           "spec.rules[0].to[0].operation.paths[1]: '/{**}/{*}' has something behind {**}\n"
           "spec.rules[0].to[0].operation.paths[2]: '/{a}' has braces that are neither {*} nor {**}\n"
           "spec.rules[0].to[0].operation.paths[3]: '/{*}/b c' has a segment that a path can't have, beside {*} or {**}\n"
           "spec.rules[0].to[0].operation.notPaths[0]: '/a{*}' has braces that are neither {*} nor {**}\n"},
          {WHEN(""), "spec.rules[0].when[0].key: is missing\n"},
          {WHEN("key: source.ip"), "spec.rules[0].when[0].values: one of values and notValues must be set\n"},
          {WHEN("key: destination.user, values: [a]"), "spec.rules[0].when[0].key: 'destination.user' is not known\n"},
          {WHEN("key: request.headers, values: [a]"),
           "spec.rules[0].when[0].key: 'request.headers' is not of the form request.headers[key]\n"},
          {WHEN("key: 'request.auth.claims[]', values: ['']"),
           "spec.rules[0].when[0].key: 'request.auth.claims[]' is not of the form request.auth.claims[key]\n"
           "spec.rules[0].when[0].values[0]: '' must not be empty\n"},
          {WHEN("key: source.ip, values: [x], notValues: ['']"),
           "spec.rules[0].when[0].values[0]: 'x' is neither an IP address nor a CIDR range\n"
           "spec.rules[0].when[0].notValues[0]: '' is neither an IP address nor a CIDR range\n"},
          {WHEN("key: destination.port, values: ['70000']"), "spec.rules[0].when[0].values[0]: '70000' is not a port\n"});
}

static void test_authorization_policy__custom_and_warnings(void **state)
{
    (void)state;
    RULES(KIND_AUTHORIZATION_POLICY, false,
          {"{action: CUSTOM, provider: {name: p}, rules: [{to: [{operation: {paths: [/a]}}]}]}", ""});
    RULES(KIND_AUTHORIZATION_POLICY, true,
          {"{action: CUSTOM, provider: {name: p}, rules: [{from: [{source: {principals: [a], notNamespaces: [b], requestPrincipals: [c], trustDomains: [d]}}], when: [{key: source.principal, values: [a]}, {key: 'request.auth.claims[a]', values: [a]}]}]}",
           "spec.rules[0].from[0].source.notNamespaces: is refused by Istio with the action CUSTOM\n"
           "spec.rules[0].from[0].source.trustDomains: is refused by Istio with the action CUSTOM\n"
           "spec.rules[0].from[0].source.principals: is refused by Istio with the action CUSTOM\n"
           "spec.rules[0].from[0].source.requestPrincipals: is refused by Istio with the action CUSTOM\n"
           "spec.rules[0].when[0].key: 'source.principal' is refused by Istio with the action CUSTOM\n"
           "spec.rules[0].when[1].key: 'request.auth.claims[a]' is refused by Istio with the action CUSTOM\n"},
          {"{action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]}",
           "spec.rules[0]: denies all of TCP too, which has none of what HTTP has: name the ports that are meant\n"},
          {"{action: DENY, rules: [{from: [{source: {requestPrincipals: ['*']}}]}]}",
           "spec.rules[0]: denies all of TCP too, which has none of what HTTP has: name the ports that are meant\n"},
          {"{action: DENY, rules: [{to: [{operation: {methods: [GET], ports: ['80']}}]}, {from: [{source: {namespaces: [a]}}]}]}", ""});
}

static void test_dry_run__annotation(void **state)
{
    (void)state;
#define ANNOTATED(group, kind, value, spec)                                                                                         \
    "apiVersion: " group "\nkind: " kind "\nmetadata: {name: o, namespace: ns, annotations: {istio.io/dry-run: '" value "'}}\nspec: " spec "\n"
    static const struct { const char *text, *says; } rows[] = {
        {ANNOTATED("security.istio.io/v1", "AuthorizationPolicy", "true", "{}"), ""},
        {ANNOTATED("security.istio.io/v1", "AuthorizationPolicy", "maybe", "{action: AUDIT}"),
         "f.yaml:3:50: AuthorizationPolicy ns/o: metadata.annotations[\"istio.io/dry-run\"]: must be true or false, is 'maybe'\n"
         "f.yaml:3:50: AuthorizationPolicy ns/o: metadata.annotations[\"istio.io/dry-run\"]: is for the actions ALLOW and DENY\n"},
        {ANNOTATED("security.istio.io/v1", "PeerAuthentication", "true", "{}"),
         "f.yaml:3:50: PeerAuthentication ns/o: metadata.annotations[\"istio.io/dry-run\"]: is for AuthorizationPolicies only\n"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct object_list list = {0};
        read_gives(rows[i].text, "f.yaml", 0, &list, rows[i].says);
        object_list_fini(&list);
    }
}

static void test_telemetry_and_proxy_config__rules(void **state)
{
    (void)state;
    RULES(KIND_TELEMETRY, false,
          {"{tracing: [{providers: [{name: a}], randomSamplingPercentage: 50}], metrics: [{overrides: [{tagOverrides: {a: {value: b}, c: {operation: REMOVE}}}]}]}", ""},
          {"{tracing: [{providers: [{}], randomSamplingPercentage: 101, customTags: {a: {literal: {}}, b: {header: {}}, c: {environment: {}}, d: {formatter: {}}}}]}",
           "spec.tracing[0].providers[0].name: is missing\nspec.tracing[0].randomSamplingPercentage: must be between 0 and 100, is 101\n"
           "spec.tracing[0].customTags[\"a\"].literal.value: is missing\nspec.tracing[0].customTags[\"b\"].header.name: is missing\n"
           "spec.tracing[0].customTags[\"c\"].environment.name: is missing\n"
           "spec.tracing[0].customTags[\"d\"].formatter.value: is missing\n"},
          {"{metrics: [{providers: [{}], reportingInterval: 0s, overrides: [{match: {customMetric: ''}, tagOverrides: {a: {}, b: {operation: REMOVE, value: x}}}]}], accessLogging: [{providers: [{}]}]}",
           "spec.metrics[0].providers[0].name: is missing\n"
           "spec.metrics[0].overrides[0].tagOverrides[\"a\"].value: is missing, which UPSERT needs\n"
           "spec.metrics[0].overrides[0].tagOverrides[\"b\"].value: is for the operation UPSERT\n"
           "spec.metrics[0].overrides[0].match.customMetric: must not be empty\n"
           "spec.metrics[0].reportingInterval: must be at least 1ms\nspec.accessLogging[0].providers[0].name: is missing\n"},
          {"{selector: {matchLabels: {a: b}}, targetRef: {kind: Service, name: x}}",
           "spec.selector: only one of selector, targetRef and targetRefs may be set\n"});
    RULES(KIND_TELEMETRY, true,
          {"{tracing: [{providers: [{name: a}, {name: b}]}, {}]}",
           "spec.tracing: only the first is used\nspec.tracing[0].providers: only the first is used\n"});
    RULES(KIND_PROXY_CONFIG, false,
          {"{concurrency: 0}", ""},
          {"{concurrency: -1}", "spec.concurrency: must not be negative, is -1\n"});
}

static void test_kubernetes_kinds__rules(void **state)
{
    (void)state;
    RULES(KIND_SERVICE, false,
          {"spec: {clusterIP: None, ports: [{port: 80, targetPort: http}], selector: {a: b}}", ""},
          {"spec: {ports: [{port: 53, name: dns, protocol: UDP}, {port: 53, name: dns-tcp, protocol: TCP}]}", ""},
          {"spec: {type: Cluster, clusterIP: x, ports: [{port: 0, targetPort: 0}, {port: 80, name: A, protocol: tcp, targetPort: a_b}]}",
           "spec.type: 'Cluster' is none of ClusterIP, NodePort, LoadBalancer and ExternalName\n"
           "spec.clusterIP: 'x' is neither an IP address nor None\nspec.ports[0].port: must be between 1 and 65535, is 0\n"
           "spec.ports[0].targetPort: must be a port's number or name\n"
           "spec.ports[0].name: is missing, which services of several ports need\n"
           "spec.ports[1].targetPort: 'a_b' must be at most 15 lower-case letters, digits and '-'\n"
           "spec.ports[1].protocol: must be TCP, UDP or SCTP, is 'tcp'\n"
           "spec.ports[1].name: 'A' must be at most 63 lower-case letters, digits and '-'\n"},
          {"spec: {ports: [{port: 80, name: a}, {port: 80, name: a}]}",
           "spec.ports[1].name: 'a' is the name of spec.ports[0] as well\nspec.ports[1].port: 80 is the number of spec.ports[0] as well\n"},
          {"spec: {type: ExternalName, externalName: a_b}", "spec.externalName: 'a_b' is not a host name\n"});
    RULES(KIND_ENDPOINT_SLICE, false,
          {"addressType: IPv4\nendpoints: [{addresses: [1.2.3.4]}]\nports: [{port: 80, name: http}, {}]", ""},
          {"addressType: IP\nendpoints: [{}, {addresses: [x]}]\nports: [{port: 70000}]",
           "addressType: must be IPv4, IPv6 or FQDN, is 'IP'\nendpoints[0].addresses: is missing\n"
           "endpoints[1].addresses[0]: 'x' is not an IP address\nports[0].port: must be between 1 and 65535, is 70000\n"});
    RULES(KIND_INGRESS, false,
          {"spec: {rules: [{host: '*.a.b', http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: s, port: {number: 80}}}}]}}]}", ""},
          {"spec: {}", "spec: must have defaultBackend or rules\n"},
          {"spec: {defaultBackend: {}, rules: [{host: a_b, http: {paths: [{path: x, pathType: Prefix, backend: {service: {}}}, {}]}}]}",
           "spec.defaultBackend: must have service or resource\n"
           "spec.rules[0].host: 'a_b' is neither a host name nor a wildcard like *.example.com\n"
           "spec.rules[0].http.paths[0].path: must begin with '/', is 'x'\n"
           "spec.rules[0].http.paths[0].backend.service.name: is missing\n"
           "spec.rules[0].http.paths[0].backend.service.port: must have a name or a number\n"
           "spec.rules[0].http.paths[1].pathType: must be Exact, Prefix or ImplementationSpecific, is ''\n"
           "spec.rules[0].http.paths[1].backend: must have service or resource\n"});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peer_authentication__rules),
        cmocka_unit_test(test_request_authentication__rules),
        cmocka_unit_test(test_authorization_policy__rules),
        cmocka_unit_test(test_authorization_policy__custom_and_warnings),
        cmocka_unit_test(test_dry_run__annotation),
        cmocka_unit_test(test_telemetry_and_proxy_config__rules),
        cmocka_unit_test(test_kubernetes_kinds__rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
