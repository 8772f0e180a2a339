/* SPDX-License-Identifier: Apache-2.0 */
#include "validate_test.h"

#define POLICY(policy) "{host: a, trafficPolicy: " policy "}"
#define LB(lb) POLICY("{loadBalancer: " lb "}")
#define LOCALITY(lb) POLICY("{outlierDetection: {}, loadBalancer: {localityLbSetting: " lb "}}")
#define TLS(tls) POLICY("{tls: " tls "}")
#define IN_POLICY "spec.trafficPolicy."

static void test_destination_rule__host_subsets_export(void **state)
{
    (void)state;
    RULES(KIND_DESTINATION_RULE, false,
          {"{host: '*.a.b'}", ""},
          {"{}", "spec.host: '' is neither a host name nor a wildcard like *.example.com\n"},
          {"{host: a, subsets: [{name: v1, labels: {a: b}}, {name: v1}, {name: v_2, labels: {'a b': c}, trafficPolicy: {}}]}",
           "spec.subsets[1].name: 'v1' is the name of subsets[0] as well\n"
           "spec.subsets[2].name: 'v_2' must be 1 to 63 letters, digits and '-'\n"
           "spec.subsets[2].labels[\"a b\"]: the key 'a b' must be a DNS name and '/' or nothing, then 1 to 63 letters, digits, '-', '_', '.', and begin and end with one of the former two\n"
           "spec.subsets[2].trafficPolicy: says nothing\n"},
          {"{host: a, workloadSelector: {matchLabels: {a: b}}, exportTo: [.]}", ""},
          {"{host: a, workloadSelector: {matchLabels: {'a*': b}}, exportTo: [other]}",
           "spec.exportTo[0]: with a workloadSelector only the own namespace may be exported to\n"
           "spec.workloadSelector.matchLabels[\"a*\"]: wildcards are not known in selectors\n"});
}

static void test_destination_rule__pools_and_outliers(void **state)
{
    (void)state;
    RULES(KIND_DESTINATION_RULE, false,
          {POLICY("{}"), "spec.trafficPolicy: says nothing\n"},
          {POLICY("{connectionPool: {}}"), IN_POLICY "connectionPool: must have tcp or http\n"},
          {POLICY("{connectionPool: {tcp: {maxConnections: -1, connectTimeout: 0s, maxConnectionDuration: 0s, idleTimeout: 0s, tcpKeepalive: {time: 0s, interval: 0s}}}}"),
           IN_POLICY "connectionPool.tcp.maxConnections: must not be negative, is -1\n"
           IN_POLICY "connectionPool.tcp.connectTimeout: must be at least 1ms\n"
           IN_POLICY "connectionPool.tcp.maxConnectionDuration: must be at least 1ms\n"
           IN_POLICY "connectionPool.tcp.tcpKeepalive.time: must be at least 1ms\n"
           IN_POLICY "connectionPool.tcp.tcpKeepalive.interval: must be at least 1ms\n"},
          {POLICY("{connectionPool: {http: {http1MaxPendingRequests: -1, http2MaxRequests: -1, maxRequestsPerConnection: -1, maxRetries: -1, maxConcurrentStreams: -1, idleTimeout: 0s}}}"),
           IN_POLICY "connectionPool.http.http1MaxPendingRequests: must not be negative, is -1\n"
           IN_POLICY "connectionPool.http.http2MaxRequests: must not be negative, is -1\n"
           IN_POLICY "connectionPool.http.maxRequestsPerConnection: must not be negative, is -1\n"
           IN_POLICY "connectionPool.http.maxRetries: must not be negative, is -1\n"
           IN_POLICY "connectionPool.http.maxConcurrentStreams: must not be negative, is -1\n"
           IN_POLICY "connectionPool.http.idleTimeout: must be at least 1ms\n"},
          {POLICY("{connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}}"),
           IN_POLICY "connectionPool.http.useClientProtocol: must not be true where h2UpgradePolicy is UPGRADE\n"},
          {POLICY("{outlierDetection: {interval: 0s, baseEjectionTime: 0s, maxEjectionPercent: 101, minHealthPercent: -1, consecutiveLocalOriginFailures: 5, outlierDetectionHttpErrorCodes: [99]}}"),
           IN_POLICY "outlierDetection.baseEjectionTime: must be at least 1ms\n"
           IN_POLICY "outlierDetection.interval: must be at least 1ms\n"
           IN_POLICY "outlierDetection.maxEjectionPercent: must be between 0 and 100, is 101\n"
           IN_POLICY "outlierDetection.minHealthPercent: must be between 0 and 100, is -1\n"
           IN_POLICY "outlierDetection.consecutiveLocalOriginFailures: needs splitExternalLocalOriginErrors\n"
           IN_POLICY "outlierDetection.outlierDetectionHttpErrorCodes[0]: must be between 100 and 599, is 99\n"});
}

static void test_destination_rule__balancing(void **state)
{
    (void)state;
    RULES(KIND_DESTINATION_RULE, false,
          {LB("{consistentHash: {httpCookie: {name: c, attributes: [{name: a}]}, maglev: {tableSize: 65537}}}"), ""},
          {LB("{consistentHash: {httpCookie: {attributes: [{name: a}, {name: a}, {}]}, maglev: {tableSize: 6}, minimumRingSize: 5}}"),
           IN_POLICY "loadBalancer.consistentHash.httpCookie.name: is missing\n"
           IN_POLICY "loadBalancer.consistentHash.httpCookie.attributes[1].name: 'a' stands twice\n"
           IN_POLICY "loadBalancer.consistentHash.httpCookie.attributes[2].name: is missing\n"
           IN_POLICY "loadBalancer.consistentHash.minimumRingSize: must not stand beside ringHash or maglev\n"
           IN_POLICY "loadBalancer.consistentHash.maglev.tableSize: must be a prime number below 5000011, is 6\n"},
          {LB("{warmup: {minimumPercent: 101, aggression: 0}, warmupDurationSecs: 0s}"),
           IN_POLICY "loadBalancer.warmupDurationSecs: must be at least 1ms\n"
           IN_POLICY "loadBalancer.warmup.duration: is missing\n"
           IN_POLICY "loadBalancer.warmup.minimumPercent: must be between 0 and 100, is 101\n"
           IN_POLICY "loadBalancer.warmup.aggression: must be above 0, is 0\n"},
          {LB("{localityLbSetting: {}, zoneAwareLbSetting: {failover: [{from: a/b, to: a/b}], failoverPriority: [topology.kubernetes.io/zone]}}"),
           IN_POLICY "loadBalancer.zoneAwareLbSetting: must not stand beside localityLbSetting\n"
           IN_POLICY "loadBalancer.zoneAwareLbSetting.failover[0]: must lead from one region to another\n"
           IN_POLICY "loadBalancer.zoneAwareLbSetting.failover[0]: takes regions only, without '/' and '*'\n"
           IN_POLICY "loadBalancer.zoneAwareLbSetting.failoverPriority[0]: 'topology.kubernetes.io/zone' is cared for already\n"},
          {LOCALITY("{distribute: [{from: r1/*, to: {r1/z1: 80, r1/z2: 20}}, {from: r2/z1, to: {r2: 100}}]}"), ""},
          {LOCALITY("{distribute: [{from: r1/*, to: {r1/z1: 80, r1/z1/*: 0, '*/z': 20}}, {from: r1/z, to: {a: 100}}], failover: [{from: a, to: a}, {from: a/b, to: c}]}"),
           IN_POLICY "loadBalancer.localityLbSetting.failover: must not stand beside distribute\n"
           IN_POLICY "loadBalancer.localityLbSetting.distribute[0].to[\"r1/z1/*\"]: must be between 1 and 100, is 0\n"
           IN_POLICY "loadBalancer.localityLbSetting.distribute[0].to[\"r1/z1/*\"]: 'r1/z1/*' and 'r1/z1' overlap\n"
           IN_POLICY "loadBalancer.localityLbSetting.distribute[0].to[\"*/z\"]: '*/z' is not of the form region/zone/subzone, with '*' at most at its end\n"
           IN_POLICY "loadBalancer.localityLbSetting.distribute[1].from: 'r1/z' and 'r1/*' overlap\n"
           IN_POLICY "loadBalancer.localityLbSetting.failover[0]: must lead from one region to another\n"
           IN_POLICY "loadBalancer.localityLbSetting.failover[1]: takes regions only, without '/' and '*'\n"},
          {LOCALITY("{distribute: [{from: a, to: {b: 50}}]}"),
           IN_POLICY "loadBalancer.localityLbSetting.distribute[0].to: the percentages must make 100, make 50\n"},
          {LOCALITY("{failover: [{from: a, to: b}], failoverPriority: [topology.kubernetes.io/region]}"),
           IN_POLICY "loadBalancer.localityLbSetting.failoverPriority[0]: 'topology.kubernetes.io/region' must not stand beside failover\n"});
}

static void test_destination_rule__tls_ports_tunnel(void **state)
{
    (void)state;
    RULES(KIND_DESTINATION_RULE, false,
          {TLS("{mode: MUTUAL, clientCertificate: /a, privateKey: /b}"), ""},
          {TLS("{mode: MUTUAL}"), IN_POLICY "tls.clientCertificate: is missing, which MUTUAL needs\n"
                                  IN_POLICY "tls.privateKey: is missing, which MUTUAL needs\n"},
          {TLS("{mode: MUTUAL, credentialName: c, caCrl: /x}"),
           IN_POLICY "tls.credentialName: must not stand beside certificates from files\n"},
          {TLS("{mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [a]}"),
           IN_POLICY "tls.insecureSkipVerify: contradicts what the server is to be verified by\n"},
          {TLS("{mode: SIMPLE, credentialName: 'configmap://other/x'}"),
           IN_POLICY "tls.credentialName: 'configmap://other/x' must be of the own namespace, ns\n"},
          {POLICY("{portLevelSettings: [{}, {port: {number: 0}, tls: {mode: DISABLE}}]}"),
           IN_POLICY "portLevelSettings[0].port: is missing\n" IN_POLICY "portLevelSettings[0]: says nothing\n"
           IN_POLICY "portLevelSettings[1].port.number: must be between 1 and 65535, is 0\n"},
          {POLICY("{tunnel: {protocol: GET, targetHost: a_b, targetPort: 0}, proxyProtocol: {version: V2}}"),
           IN_POLICY "proxyProtocol: must not stand beside tunnel\n"
           IN_POLICY "tunnel.protocol: must be CONNECT or POST, is 'GET'\n" IN_POLICY "tunnel.targetHost: 'a_b' is not a host name\n"
           IN_POLICY "tunnel.targetPort: must be between 1 and 65535, is 0\n"},
          {POLICY("{retryBudget: {percent: 101, budgetInterval: 0s}}"),
           IN_POLICY "retryBudget.percent: must be between 0 and 100, is 101\n"
           IN_POLICY "retryBudget.budgetInterval: must be at least 1ms\n"});
    RULES(KIND_DESTINATION_RULE, true,
          {LB("{localityLbSetting: {failover: [{from: a, to: b}]}}"),
           IN_POLICY "loadBalancer.localityLbSetting: without outlierDetection nothing ever fails over\n"},
          {POLICY("{outlierDetection: {consecutiveErrors: 5}}"),
           IN_POLICY "outlierDetection.consecutiveErrors: is deprecated: use consecutiveGatewayErrors or consecutive5xxErrors\n"},
          {LB("{consistentHash: {useSourceIp: true, minimumRingSize: 5}}"),
           IN_POLICY "loadBalancer.consistentHash.minimumRingSize: is deprecated: use ringHash.minimumRingSize\n"});
}

#define SERVER(rest) "{servers: [{port: {number: 443, name: p, protocol: HTTPS}, hosts: ['*'], tls: " rest "}]}"

static void test_gateway__servers(void **state)
{
    (void)state;
    RULES(KIND_GATEWAY, false,
          {"{servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*', ns/*.a.b, ./a.b, '*/c.d', 1.2.3.4]}]}", ""},
          {"{servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*'], tls: {httpsRedirect: true}}]}", ""},
          {"{}", "spec.servers: is missing\n"},
          {"{servers: [{}]}", "spec.servers[0].hosts: is missing\nspec.servers[0].port: is missing\n"},
          {"{servers: [{port: {number: 0, protocol: QUIC, targetPort: 5}, hosts: [short, A_/b.c, '*x.b', a.*.b]}]}",
           "spec.servers[0].hosts[0]: 'short' must be a full name: short ones are not known here\n"
           "spec.servers[0].hosts[1]: 'A_' is neither a namespace nor '*' nor '.'\n"
           "spec.servers[0].hosts[2]: '*x.b' is neither a host name nor a wildcard like *.example.com\n"
           "spec.servers[0].hosts[3]: 'a.*.b' is neither a host name nor a wildcard like *.example.com\n"
           "spec.servers[0].port.protocol: 'QUIC' is none of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, REDIS, MYSQL, TCP and TLS\n"
           "spec.servers[0].port.number: must be between 1 and 65535, is 0\n"
           "spec.servers[0].port.targetPort: means nothing here\nspec.servers[0].port.name: is missing\n"},
          {"{servers: [{bind: 'unix:///a', port: {number: 0, name: p, protocol: HTTP}, hosts: ['*']}]}", ""},
          {"{servers: [{bind: 'unix://a', port: {number: 5, name: p, protocol: HTTP}, hosts: ['*']}, {bind: h, port: {number: 80, name: p, protocol: HTTP}, hosts: ['*']}]}",
           "spec.servers[0].bind: 'a' is neither the absolute path of a file nor an abstract name like @name\n"
           "spec.servers[0].port.number: must be 0 where a Unix socket is bound to\n"
           "spec.servers[1].bind: 'h' is neither an IP address nor of the form unix:///path\n"
           "spec.servers[1].port.name: 'p' is the name of servers[0]'s port as well\n"},
          {"{servers: [{port: {number: 80, name: p, protocol: HTTPS}, hosts: ['*']}, {port: {number: 80, name: q, protocol: HTTP}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: c}}, "
           "{port: {number: 80, name: r, protocol: TCP}, hosts: ['*'], tls: {}}]}",
           "spec.servers[0].tls: is missing, which HTTPS needs\nspec.servers[1].tls: must not be set for HTTP, but for httpsRedirect\n"
           "spec.servers[2].tls: must not be set for TCP\n"});
}

static void test_gateway__tls(void **state)
{
    (void)state;
    RULES(KIND_GATEWAY, false,
          {SERVER("{mode: SIMPLE, credentialName: c}"), ""},
          {SERVER("{mode: MUTUAL, credentialNames: [c, d], minProtocolVersion: TLSV1_2}"), ""},
          {SERVER("{mode: PASSTHROUGH}"), ""},
          {SERVER("{mode: SIMPLE}"), "spec.servers[0].tls.serverCertificate: is missing, which SIMPLE needs\n"
                                     "spec.servers[0].tls.privateKey: is missing, which SIMPLE needs\n"},
          {SERVER("{mode: OPTIONAL_MUTUAL, serverCertificate: /a, privateKey: /b}"),
           "spec.servers[0].tls.caCertificates: is missing, which MUTUAL needs\n"},
          {SERVER("{mode: SIMPLE, tlsCertificates: [{serverCertificate: /a}, {privateKey: /b}]}"),
           "spec.servers[0].tls.tlsCertificates[0].privateKey: is missing\n"
           "spec.servers[0].tls.tlsCertificates[1].serverCertificate: is missing\n"},
          {SERVER("{mode: SIMPLE, credentialName: c, credentialNames: [d]}"),
           "spec.servers[0].tls: only one of credentialName, credentialNames, serverCertificate with privateKey, and tlsCertificates may be set\n"},
          {SERVER("{mode: ISTIO_MUTUAL, credentialName: c}"),
           "spec.servers[0].tls.credentialName: must not be set: with ISTIO_MUTUAL the certificate is the workload's own\n"},
          {SERVER("{mode: SIMPLE, serverCertificate: /a, privateKey: /b, caCrl: /c}"), "spec.servers[0].tls.caCrl: is for MUTUAL\n"},
          {SERVER("{mode: MUTUAL, credentialName: c, caCrl: /c}"),
           "spec.servers[0].tls.caCrl: must not stand beside credentialName: it belongs into the credential\n"},
          {SERVER("{mode: SIMPLE, credentialName: c, minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2}"),
           "spec.servers[0].tls.minProtocolVersion: is above maxProtocolVersion\n"});
    RULES(KIND_GATEWAY, true,
          {SERVER("{mode: SIMPLE, credentialName: c, minProtocolVersion: TLSV1_0}"),
           "spec.servers[0].tls.minProtocolVersion: below TLSV1_2 needs cipherSuites: none of those used by default fits\n"},
          {SERVER("{mode: SIMPLE, credentialName: c, cipherSuites: [NONE, AES128-SHA, AES128-SHA]}"),
           "spec.servers[0].tls.cipherSuites[0]: 'NONE' is not known, and is left out\n"
           "spec.servers[0].tls.cipherSuites[2]: 'AES128-SHA' stands twice\n"},
          {SERVER("{mode: PASSTHROUGH, credentialName: c}"), "spec.servers[0].tls.credentialName: is not used: this mode ends no TLS\n"},
          {"{servers: [{port: {number: 80, name: r, protocol: TLS}, hosts: ['*'], tls: {httpsRedirect: true}}]}",
           "spec.servers[0].tls.httpsRedirect: is for servers of HTTP only\n"});
}

#define PORTS "ports: [{number: 80, name: http, protocol: HTTP}]"

static void test_service_entry__hosts_ports_addresses(void **state)
{
    (void)state;
    RULES(KIND_SERVICE_ENTRY, false,
          {"{hosts: [a.b, '*.c'], addresses: [10.0.0.0/8, 1.2.3.4, '::1/64'], " PORTS "}", ""},
          {"{hosts: [a], exportTo: ['~'], " PORTS "}", ""},
          {"{" PORTS "}", "spec.hosts: is missing\n"},
          {"{hosts: ['*', a_b], exportTo: ['~', x], " PORTS "}",
           "spec.hosts[0]: '*' names no host\nspec.hosts[1]: 'a_b' is neither a host name nor a wildcard like *.example.com\n"
           "spec.exportTo[0]: '~' exports to nobody; others beside it contradict it\n"},
          {"{hosts: [a], addresses: [x, 10.0.0.0/8], resolution: DNS, " PORTS "}",
           "spec.addresses[0]: 'x' is neither an IP address nor a CIDR range\n"
           "spec.addresses[1]: '10.0.0.0/8' is a range, which only the resolutions NONE and STATIC take\n"},
          {"{hosts: [a], ports: [{number: 80, name: p}, {number: 80, name: p, protocol: FTP}, {number: 0, name: '', targetPort: 70000}]}",
           "spec.ports[1].protocol: 'FTP' is not known\nspec.ports[1].name: 'p' is the name of ports[0] as well\n"
           "spec.ports[1].number: 80 is the number of ports[0] as well\nspec.ports[2].number: must be between 1 and 65535, is 0\n"
           "spec.ports[2].name: '' must be 1 to 63 letters, digits and '-'\n"
           "spec.ports[2].targetPort: must be between 1 and 65535, is 70000\n"},
          {"{hosts: [a, b], resolution: STATIC, ports: [{number: 80, name: p, protocol: TCP}]}",
           "spec.ports[0].protocol: must be one of HTTP or TLS: several hosts aren't told apart otherwise\n"},
          {"{hosts: [a], workloadSelector: {labels: {a: '*'}}, endpoints: [{address: 1.2.3.4}], resolution: STATIC, " PORTS "}",
           "spec.workloadSelector.labels[\"a\"]: wildcards are not known in selectors\n"
           "spec.endpoints: must not stand beside workloadSelector\n"});
    RULES(KIND_SERVICE_ENTRY, true,
          {"{hosts: ['*a.b'], " PORTS "}", "spec.hosts[0]: '*a.b' is known by its whole first label only: write *.\n"},
          {"{hosts: [a], workloadSelector: {}, " PORTS "}",
           "spec.workloadSelector: selects by no label: holds for all workloads of the namespace\n"
           "spec.workloadSelector: is not used where resolution is NONE\n"});
}

static void test_service_entry__resolutions(void **state)
{
    (void)state;
    RULES(KIND_SERVICE_ENTRY, false,
          {"{hosts: [a], endpoints: [{address: 1.2.3.4}], " PORTS "}", "spec.endpoints: must not be set where resolution is NONE\n"},
          {"{hosts: [a], resolution: STATIC, endpoints: [{address: h.x}, {}, {address: 'unix:///a', ports: {http: 1}}, {address: 1.2.3.4, ports: {q: 0}, labels: {'': b}}], " PORTS "}",
           "spec.endpoints[0].address: 'h.x' is not an IP address\nspec.endpoints[1].address: is missing\n"
           "spec.endpoints[2].ports: must not be set for a Unix socket\n"
           "spec.endpoints[3].ports[\"q\"]: the service entry has no port 'q'\n"
           "spec.endpoints[3].ports[\"q\"]: must be between 1 and 65535, is 0\n"
           "spec.endpoints[3].labels[\"\"]: the key '' must be a DNS name and '/' or nothing, then 1 to 63 letters, digits, '-', '_', '.', and begin and end with one of the former two\n"},
          {"{hosts: [a], resolution: STATIC, endpoints: [{address: 'unix://@x'}], ports: [{number: 80, name: p}, {number: 81, name: q}]}",
           "spec.endpoints[0].address: a Unix socket is for services of exactly one port\n"},
          {"{hosts: [a.b], resolution: DNS, " PORTS "}", ""},
          {"{hosts: ['*.b'], resolution: DNS, endpoints: [{address: c.d}], " PORTS "}", ""},
          {"{hosts: ['*.b'], resolution: DNS, " PORTS "}",
           "spec.hosts[0]: '*.b' can't be looked up, and there are no endpoints to look up instead\n"},
          {"{hosts: [a], resolution: DNS_ROUND_ROBIN, endpoints: [{address: a.b}, {address: c_d}], " PORTS "}",
           "spec.endpoints: DNS_ROUND_ROBIN takes one at most\n"
           "spec.endpoints[1].address: 'c_d' is not an IP address and no host name\n"},
          {"{hosts: ['*.b'], resolution: DYNAMIC_DNS, ports: [{number: 80, name: p, protocol: HTTP}]}", ""},
          {"{hosts: [a], resolution: DYNAMIC_DNS, addresses: [1.2.3.4], endpoints: [{address: 1.2.3.4}], ports: [{number: 80, name: p, protocol: TCP}]}",
           "spec.hosts[0]: DYNAMIC_DNS is for wildcards; 'a' is none\nspec.addresses: must not be set with DYNAMIC_DNS\n"
           "spec.endpoints: must not be set with DYNAMIC_DNS\n"
           "spec.ports[0].protocol: DYNAMIC_DNS takes HTTP, HTTP2, GRPC and TLS only, is 'TCP'\n"});
}

static void test_workloads__entries_and_groups(void **state)
{
    (void)state;
    RULES(KIND_WORKLOAD_ENTRY, false,
          {"{address: a.b, ports: {http: 80}}", ""},
          {"{network: w}", ""},
          {"{}", "spec.address: is missing\n"},
          {"{address: a_b, ports: {'a b': 70000}}",
           "spec.address: 'a_b' is not an IP address and no host name\nspec.ports[\"a b\"]: 'a b' is not a port's name\n"
           "spec.ports[\"a b\"]: must be between 1 and 65535, is 70000\n"},
          {"{address: 'unix://x/'}", "spec.address: 'x/' is neither the absolute path of a file nor an abstract name like @name\n"});
    RULES(KIND_WORKLOAD_ENTRY, true,
          {"{network: w}", "spec.address: is missing: only the gateway of the network 'w' leads to it\n"});
    RULES(KIND_WORKLOAD_GROUP, false,
          {"{template: {}, probe: {httpGet: {port: 80}}}", ""},
          {"{metadata: {labels: {a: 'b c'}}}",
           "spec.template: is missing\nspec.metadata.labels[\"a\"]: 'b c' must be at most 63 letters, digits, '-', '_', '.', and begin and end with one of the former two\n"},
          {"{template: {}, probe: {initialDelaySeconds: -1, timeoutSeconds: -1, periodSeconds: -1, successThreshold: -1, failureThreshold: -1}}",
           "spec.probe.initialDelaySeconds: must not be negative, is -1\nspec.probe.timeoutSeconds: must not be negative, is -1\n"
           "spec.probe.periodSeconds: must not be negative, is -1\nspec.probe.successThreshold: must not be negative, is -1\n"
           "spec.probe.failureThreshold: must not be negative, is -1\n"
           "spec.probe: one of httpGet, tcpSocket, exec and grpc must be set\n"},
          {"{template: {}, probe: {httpGet: {port: 0, scheme: http, httpHeaders: [{}]}}}",
           "spec.probe.httpGet.port: must be between 1 and 65535, is 0\n"
           "spec.probe.httpGet.scheme: must be HTTP or HTTPS, is 'http'\nspec.probe.httpGet.httpHeaders[0].name: '' is not a header's name\n"},
          {"{template: {}, probe: {tcpSocket: {}}}", "spec.probe.tcpSocket.port: must be between 1 and 65535, is 0\n"},
          {"{template: {}, probe: {grpc: {}}}", "spec.probe.grpc.port: must be between 1 and 65535, is 0\n"},
          {"{template: {}, probe: {exec: {}}}", "spec.probe.exec.command: is missing\n"});
}

static void test_sidecar__rules(void **state)
{
    (void)state;
    RULES(KIND_SIDECAR, false,
          {"{egress: [{port: {number: 80, protocol: HTTP}, hosts: [./*, '*/a.b', '~/*', ~ns/*]}, {hosts: ['*/*']}]}", ""},
          {"{}", "spec: says nothing\n"},
          {"{egress: [{hosts: [a]}, {}]}",
           "spec.egress[0].hosts[0]: 'a' is not of the form namespace/host\n"
           "spec.egress[0].port: is missing: only the last listener may take whatever the others don't\n"
           "spec.egress[1].hosts: is missing\n"},
          {"{egress: [{port: {number: 80}, hosts: [A/a.b, ns/short], bind: x}, {port: {number: 80, name: 'a b', protocol: FTP, targetPort: 5}, hosts: ['*/*']}]}",
           "spec.egress[0].hosts[0]: 'A' is neither a namespace nor '*' nor '.'\n"
           "spec.egress[0].hosts[1]: 'short' must be a full name: short ones are not known here\n"
           "spec.egress[0].bind: 'x' is not an IP address\n"
           "spec.egress[1].port.name: 'a b' must be at most 63 letters, digits and '-'\n"
           "spec.egress[1].port.protocol: 'FTP' is not known\nspec.egress[1].port.targetPort: means nothing here\n"
           "spec.egress[1].port: egress[0] listens there as well\n"},
          {"{egress: [{port: {number: 0}, bind: 'unix:///a', captureMode: IPTABLES, hosts: ['*/*']}, {port: {number: 0}, bind: 1.2.3.4, hosts: ['*/*']}]}",
           "spec.egress[0].captureMode: must be DEFAULT or NONE for a Unix socket\n"
           "spec.egress[1].bind: must be unix:///path where the port is 0, is '1.2.3.4'\n"},
          {"{ingress: [{port: {number: 80}, defaultEndpoint: '127.0.0.1:80'}, {port: {number: 81}, defaultEndpoint: '[::1]:80'}, {port: {number: 82}, defaultEndpoint: 'unix:///x'}]}", ""},
          {"{ingress: [{}, {port: {number: 80}, defaultEndpoint: '1.2.3.4:80', bind: x}, {port: {number: 80}, defaultEndpoint: '127.0.0.1:0'}]}",
           "spec.ingress[0].port: is missing\n"
           "spec.ingress[1].defaultEndpoint: '1.2.3.4:80' is none of 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT, :PORT and unix:///path\n"
           "spec.ingress[1].bind: 'x' is not an IP address\n"
           "spec.ingress[2].defaultEndpoint: '127.0.0.1:0' is none of 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT, :PORT and unix:///path\n"
           "spec.ingress[2].port.number: 80 is the port of ingress[1] as well\n"},
          {"{ingress: [{port: {number: 80}, tls: {mode: ISTIO_MUTUAL, subjectAltNames: [a], httpsRedirect: true}, connectionPool: {}}], inboundConnectionPool: {}}",
           "spec.ingress[0].tls.subjectAltNames: is not supported here\nspec.ingress[0].tls.httpsRedirect: is not supported here\n"
           "spec.ingress[0].tls.mode: must be SIMPLE, MUTUAL, OPTIONAL_MUTUAL or PASSTHROUGH\n"
           "spec.ingress[0].connectionPool: must have tcp or http\nspec.inboundConnectionPool: must have tcp or http\n"},
          {"{ingress: [{port: {number: 80}, tls: {mode: SIMPLE, credentialName: c}}]}",
           "spec.ingress[0].tls.credentialName: is not supported here\n"},
          {"{outboundTrafficPolicy: {mode: REGISTRY_ONLY, egressProxy: {host: '*'}}}",
           "spec.outboundTrafficPolicy.egressProxy: is for the mode ALLOW_ANY\n"
           "spec.outboundTrafficPolicy.egressProxy.port: is missing\n"
           "spec.outboundTrafficPolicy.egressProxy.host: '*' is not a host name\n"
           "spec.outboundTrafficPolicy.egressProxy.host: must name a host\n"});
    RULES(KIND_SIDECAR, true,
          {"{workloadSelector: {}, egress: [{hosts: ['*/*', a/b.c, a/b.c]}]}",
           "spec.workloadSelector: selects by no label: holds for all workloads of the namespace\n"
           "spec.egress[0].hosts[0]: '*/*' is everything; others beside it say nothing\n"
           "spec.egress[0].hosts[2]: 'a/b.c' stands twice\n"},
          {"{ingress: [{port: {number: 80, protocol: TCP}, connectionPool: {http: {maxRetries: 1}}}]}",
           "spec.ingress[0].connectionPool.http: is not used: the port's protocol is not HTTP\n"});
}

#define PATCH(rest) "{configPatches: [{" rest "}]}"
#define IN_PATCH "spec.configPatches[0]."

static void test_envoy_filter__rules(void **state)
{
    (void)state;
    RULES(KIND_ENVOY_FILTER, false,
          {PATCH("applyTo: HTTP_FILTER, match: {listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: x}}}}}, patch: {operation: INSERT_BEFORE, value: {name: a}}"), ""},
          {PATCH("applyTo: CLUSTER, patch: {operation: MERGE, value: {connect_timeout: 5s, dns_refresh_rate: 500ms, lbPolicy: RANDOM}}"), ""},
          {PATCH("applyTo: CLUSTER, patch: {operation: MERGE, value: {conect_timeout: 5s, name: on, typed_extension_protocol_options: {x: {'@type': type.googleapis.com/no.Such}}}}"),
           IN_PATCH "patch.value.conect_timeout: no such field in envoy.config.cluster.v3.Cluster; did you mean 'connect_timeout'?\n"
           IN_PATCH "patch.value.name: must be a string, is true\n"
           IN_PATCH "patch.value.typed_extension_protocol_options[\"x\"]: unknown type 'type.googleapis.com/no.Such'\n"},
          {PATCH(""), IN_PATCH "applyTo: is missing\n" IN_PATCH "patch: is missing\n"},
          {PATCH("applyTo: CLUSTER, patch: {}"), IN_PATCH "patch.operation: is missing\n"},
          {PATCH("applyTo: CLUSTER, patch: {operation: ADD}"), IN_PATCH "patch.value: is missing\n"},
          {PATCH("applyTo: CLUSTER, match: {proxy: {proxyVersion: '('}, listener: {}}, patch: {operation: REMOVE}"),
           IN_PATCH "match.proxy.proxyVersion: regex '(': missing closing parenthesis at offset 1\n"
           IN_PATCH "match: this applyTo is picked by match.cluster only\n"},
          {PATCH("applyTo: HTTP_ROUTE, match: {cluster: {}}, patch: {operation: REMOVE}"),
           IN_PATCH "match: this applyTo is picked by match.routeConfiguration only\n"},
          {PATCH("applyTo: NETWORK_FILTER, match: {routeConfiguration: {}}, patch: {operation: REMOVE}"),
           IN_PATCH "match: this applyTo is picked by match.listener only\n"},
          {PATCH("applyTo: NETWORK_FILTER, match: {listener: {filterChain: {filter: {subFilter: {}}}}}, patch: {operation: REMOVE}"),
           IN_PATCH "match.listener.filterChain.filter.name: is missing\n"
           IN_PATCH "match.listener.filterChain.filter.subFilter: is for applyTo HTTP_FILTER only\n"
           IN_PATCH "match.listener.filterChain.filter.name: must be envoy.filters.network.http_connection_manager for subFilter\n"
           IN_PATCH "match.listener.filterChain.filter.subFilter.name: is missing\n"},
          {"{workloadSelector: {labels: {a: b}}, targetRefs: [{kind: Pod, name: x, namespace: q, group: ''}], configPatches: []}",
           "spec.targetRefs: must not stand beside workloadSelector\n"
           "spec.targetRefs[0].namespace: must not be set: only objects of the same namespace are referred to\n"
           "spec.targetRefs[0].kind: 'Pod' of the group '' is none of Service, ServiceEntry, Gateway and GatewayClass\n"});
    RULES(KIND_ENVOY_FILTER, true,
          {PATCH("applyTo: LISTENER, match: {listener: {filterChain: {filter: {name: x}}}}, patch: {operation: REMOVE}"),
           IN_PATCH "match.listener.filterChain.filter: means nothing for whole listeners and filter chains\n"});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_destination_rule__host_subsets_export),
        cmocka_unit_test(test_destination_rule__pools_and_outliers),
        cmocka_unit_test(test_destination_rule__balancing),
        cmocka_unit_test(test_destination_rule__tls_ports_tunnel),
        cmocka_unit_test(test_gateway__servers),
        cmocka_unit_test(test_gateway__tls),
        cmocka_unit_test(test_service_entry__hosts_ports_addresses),
        cmocka_unit_test(test_service_entry__resolutions),
        cmocka_unit_test(test_workloads__entries_and_groups),
        cmocka_unit_test(test_sidecar__rules),
        cmocka_unit_test(test_envoy_filter__rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
