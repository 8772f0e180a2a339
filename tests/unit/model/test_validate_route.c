/* SPDX-License-Identifier: Apache-2.0 */
#include "validate_test.h"

#define TO "route: [{destination: {host: a}}]"
#define HTTP(route) "{hosts: [a], http: [" route "]}"
#define MATCH(match) HTTP("{match: [" match "], " TO "}")

static void test_virtual_service__hosts_and_gateways(void **state)
{
    (void)state;
    RULES(KIND_VIRTUAL_SERVICE, false,
          {"{hosts: [a, a.b.c, '*.d.e', 1.2.3.4], http: [{" TO "}]}", ""},
          {"{hosts: ['*'], gateways: [g], http: [{" TO "}]}", ""},
          {"{hosts: ['*'], http: [{" TO "}]}",
           "spec.hosts[0]: '*' is for virtual services of gateways; in the mesh every host must be named\n"},
          {"{hosts: ['*'], gateways: [g, mesh], http: [{" TO "}]}",
           "spec.hosts[0]: '*' is for virtual services of gateways; in the mesh every host must be named\n"},
          {"{hosts: [a_b, 'x.*.c', ''], http: [{" TO "}]}",
           "spec.hosts[0]: 'a_b' is neither a host name nor a wildcard like *.example.com\n"
           "spec.hosts[1]: 'x.*.c' is neither a host name nor a wildcard like *.example.com\n"
           "spec.hosts[2]: '' is neither a host name nor a wildcard like *.example.com\n"},
          {"{hosts: [a.b, '*.b', c, c], http: [{" TO "}]}",
           "spec.hosts[1]: '*.b' and 'a.b' name the same hosts\nspec.hosts[3]: 'c' and 'c' name the same hosts\n"},
          {"{hosts: [a]}", "spec: one of http, tls and tcp must be set\n"},
          {"{hosts: [a], gateways: [n/g, g, mesh, N/g, n/g_, n/g/h], http: [{" TO "}]}",
           "spec.gateways[3]: 'N/g' is not of the form namespace/name\n"
           "spec.gateways[4]: 'n/g_' is not of the form namespace/name\n"
           "spec.gateways[5]: 'n/g/h' is not of the form namespace/name\n"},
          {"{hosts: [a], exportTo: [., ns], http: [{" TO "}]}", "spec.exportTo[1]: 'ns' is there already, as '.'\n"},
          {"{hosts: [a], exportTo: ['*', x], http: [{" TO "}]}",
           "spec.exportTo[0]: '*' exports to everyone; others beside it say nothing\n"},
          {"{hosts: [a], exportTo: ['~'], http: [{" TO "}]}", "spec.exportTo[0]: '~' is for ServiceEntries only\n"},
          {"{hosts: [a], exportTo: [X], http: [{" TO "}]}", "spec.exportTo[0]: 'X' is neither a namespace nor '.' nor '*'\n"});
}

static void test_virtual_service__delegates(void **state)
{
    (void)state;
    RULES(KIND_VIRTUAL_SERVICE, false,
          {"{http: [{" TO "}]}", ""},
          {"{gateways: [g], http: [{" TO "}], tls: [{match: [{sniHosts: [a]}], " TO "}], tcp: [{" TO "}]}",
           "spec.gateways: must not be set in a virtual service without hosts, which others delegate to\n"
           "spec.tls: must not be set in a virtual service without hosts: only HTTP is delegated\n"
           "spec.tcp: must not be set in a virtual service without hosts: only HTTP is delegated\n"
           "spec.tls[0].match[0].sniHosts[0]: 'a' is not among the hosts of the virtual service\n"},
          {"{http: [{" TO ", delegate: {name: x}}]}",
           "spec.http[0].delegate: must not be set in a virtual service that others delegate to: there is one level\n"},
          {HTTP("{delegate: {name: x, namespace: z}}"), ""},
          {HTTP("{delegate: {}, redirect: {uri: /x}, " TO "}"),
           "spec.http[0].delegate.name: is missing\nspec.http[0].redirect: must not stand beside delegate\n"
           "spec.http[0].route: must not stand beside delegate\n"});
}

static void test_virtual_service__what_a_route_does(void **state)
{
    (void)state;
    RULES(KIND_VIRTUAL_SERVICE, false,
          {HTTP("{}"), "spec.http[0]: one of route, redirect, directResponse and delegate must be set\n"},
          {HTTP("{redirect: {uri: /x}, directResponse: {status: 200}, " TO ", fault: {abort: {httpStatus: 500}}, rewrite: {uri: /}}"),
           "spec.http[0].directResponse: must not stand beside redirect\nspec.http[0].route: must not stand beside redirect\n"
           "spec.http[0].fault: must not stand beside redirect\nspec.http[0].rewrite: must not stand beside redirect\n"},
          {HTTP("{directResponse: {status: 200}, " TO "}"), "spec.http[0].route: must not stand beside directResponse\n"},
          {HTTP("{redirect: {}}"), "spec.http[0].redirect: changes nothing: set uri, prefixRewrite, authority, scheme or a port\n"},
          {HTTP("{redirect: {uri: /a, prefixRewrite: /b}}"), "spec.http[0].redirect: only one of uri and prefixRewrite may be set\n"},
          {HTTP("{match: [{uri: {exact: /a}}], redirect: {prefixRewrite: /b}}"),
           "spec.http[0].redirect.prefixRewrite: needs matches of the URI by prefix only\n"},
          {HTTP("{redirect: {uri: /a, redirectCode: 200, scheme: ftp, port: 70000}}"),
           "spec.http[0].redirect.redirectCode: must be 3xx, is 200\n"
           "spec.http[0].redirect.scheme: must be http or https, is 'ftp'\n"
           "spec.http[0].redirect.port: must be between 1 and 65535, is 70000\n"},
          {HTTP("{directResponse: {status: 600}}"), "spec.http[0].directResponse.status: must be between 200 and 599, is 600\n"},
          {HTTP("{rewrite: {}, " TO "}"), "spec.http[0].rewrite: changes nothing: set uri, uriRegexRewrite or authority\n"},
          {HTTP("{rewrite: {uri: /, uriRegexRewrite: {match: '('}}, " TO "}"),
           "spec.http[0].rewrite: only one of uri and uriRegexRewrite may be set\n"
           "spec.http[0].rewrite.uriRegexRewrite.rewrite: is missing\n"
           "spec.http[0].rewrite.uriRegexRewrite.match: regex '(': missing closing parenthesis at offset 1\n"},
          {HTTP("{timeout: 0s, " TO "}"), "spec.http[0].timeout: must be at least 1ms\n"},
          {HTTP("{timeout: 1.0005s, " TO "}"), "spec.http[0].timeout: must be whole milliseconds\n"});
}

static void test_virtual_service__destinations_and_mirrors(void **state)
{
    (void)state;
    RULES(KIND_VIRTUAL_SERVICE, false,
          {HTTP("{route: [{weight: 1}]}"), "spec.http[0].route[0].destination: is missing\n"},
          {HTTP("{route: [{destination: {host: '*'}}, {destination: {host: a, subset: v_1, port: {number: 0}}}]}"),
           "spec.http[0].route[0].destination.host: must name a host\n"
           "spec.http[0].route[1].destination.subset: 'v_1' must be at most 63 letters, digits and '-'\n"
           "spec.http[0].route[1].destination.port.number: must be between 1 and 65535, is 0\n"
           "spec.http[0].route: one destination must have a weight above 0\n"},
          {HTTP("{route: [{destination: {host: a}, weight: -1}]}"), "spec.http[0].route[0].weight: must not be negative, is -1\n"},
          {HTTP("{" TO ", mirror: {host: a}, mirrors: [{}, {destination: {host: b}, percentage: {value: 101}}]}"),
           "spec.http[0].mirrors: must not stand beside mirror\nspec.http[0].mirrors[0].destination: is missing\n"
           "spec.http[0].mirrors[1].percentage.value: must be between 0 and 100, is 101\n"},
          {HTTP("{" TO ", mirror: {host: a}, mirrorPercent: 101, mirrorPercentage: {value: -1}}"),
           "spec.http[0].mirrorPercent: must be between 0 and 100, is 101\n"
           "spec.http[0].mirrorPercentage.value: must be between 0 and 100, is -1\n"});
}

static void test_virtual_service__matches(void **state)
{
    (void)state;
    RULES(KIND_VIRTUAL_SERVICE, false,
          {MATCH("{uri: {prefix: ''}, headers: {a: {exact: b}}, withoutHeaders: {c: {regex: '*'}}, queryParams: {d: {regex: '*'}}}"), ""},
          {MATCH("{scheme: {prefix: ''}, method: {prefix: ''}, authority: {prefix: ''}}"),
           "spec.http[0].match[0].scheme: a prefix must not be empty\nspec.http[0].match[0].method: a prefix must not be empty\n"
           "spec.http[0].match[0].authority: a prefix must not be empty\n"},
          {MATCH("{uri: {regex: ''}}"), "spec.http[0].match[0].uri: a regular expression must not be empty\n"},
          {MATCH("{uri: {regex: '(?=a)'}}"),
           "spec.http[0].match[0].uri: regex '(?=a)': look-around at offset 0 is not part of RE2's syntax\n"},
          {MATCH("{headers: {'a b': {exact: x}}, withoutHeaders: {c: {regex: '['}}}"),
           "spec.http[0].match[0].headers[\"a b\"]: 'a b' is not a header's name\n"
           "spec.http[0].match[0].withoutHeaders[\"c\"]: regex '[': missing terminating ] for character class at offset 1\n"},
          {MATCH("{port: 65536, sourceNamespace: A, sourceLabels: {a: 'b c'}, gateways: [a_b]}"),
           "spec.http[0].match[0].port: must be between 1 and 65535, is 65536\n"
           "spec.http[0].match[0].sourceLabels[\"a\"]: 'b c' must be at most 63 letters, digits, '-', '_', '.', and begin and end with one of the former two\n"
           "spec.http[0].match[0].gateways[0]: 'a_b' is not a host name\n"
           "spec.http[0].match[0].sourceNamespace: 'A' is not a namespace\n"},
          {MATCH("{headers: {'@request.auth.claims.sub': {exact: x}}}"),
           "spec.http[0].match[0].headers: '@request.auth.claims.sub' routes by claims, which only gateways do\n"},
          {"{hosts: [a], gateways: [g], http: [{match: [{headers: {'@request.auth.claims[sub][x]': {exact: x}}}], " TO "}]}", ""});
}

static void test_virtual_service__headers(void **state)
{
    (void)state;
    RULES(KIND_VIRTUAL_SERVICE, false,
          {HTTP("{" TO ", headers: {request: {set: {a: '%REQ(b)% 5%% %START_TIME%', host: h}, remove: [c]}, response: {add: {d: e}}}}"), ""},
          {HTTP("{" TO ", headers: {request: {set: {':path': x, b: '5%', c: '%REQ(a'}, remove: [':authority', '']}, response: {add: {host: x}}}}"),
           "spec.http[0].headers.request.set[\":path\"]: ':path' must not be changed here\n"
           "spec.http[0].headers.request.set[\"b\"]: '5%' has a '%' without its other; a percent sign is written '%%'\n"
           "spec.http[0].headers.request.set[\"c\"]: '%REQ(a' has a '%' without its other; a percent sign is written '%%'\n"
           "spec.http[0].headers.request.remove[0]: ':authority' must not be changed here\n"
           "spec.http[0].headers.request.remove[1]: a header's name must not be empty\n"
           "spec.http[0].headers.response.add[\"host\"]: 'host' must not be changed here\n"},
          {HTTP("{" TO ", rewrite: {authority: x}, headers: {request: {set: {Host: z}}}}"),
           "spec.http[0].headers.request: the authority is set more than once\n"},
          {HTTP("{route: [{destination: {host: a}, headers: {response: {set: {':status': '1'}}}}]}"),
           "spec.http[0].route[0].headers.response.set[\":status\"]: ':status' must not be changed here\n"});
}

static void test_virtual_service__retries_faults_cors(void **state)
{
    (void)state;
    RULES(KIND_VIRTUAL_SERVICE, false,
          {HTTP("{" TO ", retries: {attempts: 2, retryOn: '5xx,503,connect-failure', perTryTimeout: 1s}}"), ""},
          {HTTP("{" TO ", retries: {attempts: -1, retryOn: 'never,999', perTryTimeout: 0s, backoff: 0s}}"),
           "spec.http[0].retries.attempts: must not be negative, is -1\nspec.http[0].retries.perTryTimeout: must be at least 1ms\n"
           "spec.http[0].retries.backoff: must be at least 1ms\n"
           "spec.http[0].retries.retryOn: 'never' is no condition that retries know\n"
           "spec.http[0].retries.retryOn: '999' is no condition that retries know\n"},
          {HTTP("{" TO ", retries: {retryOn: 5xx}}"),
           "spec.http[0].retries.attempts: is 0, which turns retries off; the rest contradicts that\n"},
          {HTTP("{" TO ", fault: {}}"), "spec.http[0].fault: must have abort or delay\n"},
          {HTTP("{" TO ", fault: {abort: {httpStatus: 100, percentage: {value: 0.00001}}, delay: {fixedDelay: 0s, percentage: {value: 101}}}}"),
           "spec.http[0].fault.abort.percentage.value: must be 0 or between 0.0001 and 100, is 1e-05\n"
           "spec.http[0].fault.abort.httpStatus: must be between 200 and 599, is 100\n"
           "spec.http[0].fault.delay.percentage.value: must be 0 or between 0.0001 and 100, is 101\n"
           "spec.http[0].fault.delay.fixedDelay: must be at least 1ms\n"},
          {HTTP("{" TO ", fault: {abort: {grpcStatus: GONE}, delay: {exponentialDelay: 1s}}}"),
           "spec.http[0].fault.abort.grpcStatus: 'GONE' is no status of gRPC, such as NOT_FOUND\n"
           "spec.http[0].fault.delay.exponentialDelay: is not supported\n"},
          {HTTP("{" TO ", fault: {abort: {http2Error: X}}}"), "spec.http[0].fault.abort.http2Error: is not supported\n"},
          {HTTP("{" TO ", corsPolicy: {allowOrigins: [{exact: ''}, {regex: '('}], allowMethods: [GET, get], allowHeaders: ['*', 'a b'], "
                "exposeHeaders: ['c d'], maxAge: 1.5s}}"),
           "spec.http[0].corsPolicy.allowOrigins[0]: must not be empty\n"
           "spec.http[0].corsPolicy.allowOrigins[1]: regex '(': missing closing parenthesis at offset 1\n"
           "spec.http[0].corsPolicy.allowMethods[1]: 'get' is no method of HTTP\n"
           "spec.http[0].corsPolicy.allowHeaders[1]: 'a b' is not a header's name\n"
           "spec.http[0].corsPolicy.exposeHeaders[0]: 'c d' is not a header's name\n"
           "spec.http[0].corsPolicy.maxAge: must be whole seconds\n"});
}

static void test_virtual_service__tls_and_tcp(void **state)
{
    (void)state;
    RULES(KIND_VIRTUAL_SERVICE, false,
          {"{hosts: ['*.b'], tls: [{match: [{sniHosts: [a.b, '*.c.b'], port: 443, destinationSubnets: [10.0.0.0/8]}], " TO "}]}", ""},
          {"{hosts: ['*.b'], gateways: [g], tls: [{match: [{sniHosts: ['outbound_.80_.v1_.x.b']}], " TO "}]}", ""},
          {"{hosts: [a.b], tls: [{}, {match: [{}]," TO "}, {match: [{sniHosts: [a.c, a_b], destinationSubnets: [10.0.0.0/33], port: 70000, gateways: [X/y]}], " TO "}]}",
           "spec.tls[0].match: is missing\nspec.tls[0].route: is missing\nspec.tls[1].match[0].sniHosts: is missing\n"
           "spec.tls[2].match[0].sniHosts[0]: 'a.c' is not among the hosts of the virtual service\n"
           "spec.tls[2].match[0].sniHosts[1]: 'a_b' is neither a host name nor a wildcard like *.example.com\n"
           "spec.tls[2].match[0].destinationSubnets[0]: '10.0.0.0/33' is neither an IP address nor a CIDR range\n"
           "spec.tls[2].match[0].port: must be between 1 and 65535, is 70000\n"
           "spec.tls[2].match[0].gateways[0]: 'X/y' is not of the form namespace/name\n"},
          {"{hosts: [a], tcp: [{match: [{sourceSubnet: x, destinationSubnets: [w], port: 70000}]}]}",
           "spec.tcp[0].match[0].destinationSubnets[0]: 'w' is neither an IP address nor a CIDR range\n"
           "spec.tcp[0].match[0].port: must be between 1 and 65535, is 70000\n"
           "spec.tcp[0].match[0].sourceSubnet: 'x' is neither an IP address nor a CIDR range\nspec.tcp[0].route: is missing\n"},
          {"{hosts: [a], tcp: [{route: [{}, {destination: {host: a}}]}]}",
           "spec.tcp[0].route[0].destination: is missing\nspec.tcp[0].route: one destination must have a weight above 0\n"});
}

static void test_virtual_service__warnings(void **state)
{
    (void)state;
    RULES(KIND_VIRTUAL_SERVICE, true,
          {HTTP("{" TO "}, {" TO "}"), "spec.http[1]: is never used: http[0] before it matches all\n"},
          {HTTP("{match: [{uri: {prefix: /a}, name: x}], " TO "}, {match: [{uri: {prefix: /a}, name: z}], " TO "}"),
           "spec.http[1]: is never used: rules before it have all of its matches\n"},
          {HTTP("{" TO ", mirrorPercent: 5, mirror: {host: a}}"), "spec.http[0].mirrorPercent: is deprecated: use mirrorPercentage\n"},
          {"{hosts: [a], gateways: [g.ns.svc], http: [{" TO "}]}",
           "spec.gateways[0]: names of gateways with dots are of old; write namespace/name\n"},
          {"{hosts: [1.2.3.4], tls: [{match: [{sniHosts: [1.2.3.4]}], " TO "}]}",
           "spec.tls[0].match[0].sniHosts[0]: '1.2.3.4' is an IP address, which most clients never send as SNI\n"},
          {"{hosts: [a], tcp: [{" TO "}, {" TO "}]}", "spec.tcp[0]: matches all: the rules behind it are never used\n"},
          {HTTP("{" TO ", fault: {abort: {}}}"), "spec.http[0].fault.abort: says no status to abort with\n"});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_virtual_service__hosts_and_gateways),
        cmocka_unit_test(test_virtual_service__delegates),
        cmocka_unit_test(test_virtual_service__what_a_route_does),
        cmocka_unit_test(test_virtual_service__destinations_and_mirrors),
        cmocka_unit_test(test_virtual_service__matches),
        cmocka_unit_test(test_virtual_service__headers),
        cmocka_unit_test(test_virtual_service__retries_faults_cors),
        cmocka_unit_test(test_virtual_service__tls_and_tcp),
        cmocka_unit_test(test_virtual_service__warnings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
