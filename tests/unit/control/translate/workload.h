/* SPDX-License-Identifier: Apache-2.0
 *
 * One workload for the tests of what is said about workloads: "app" in "foo" with an HTTP port 80 (8080 of its own) and a port of bytes 90
 * (9090), and a service "other" that answers for others.
 */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include "translate_test.h"

#define WORKLOAD                                                                                                                    \
    "apiVersion: v1\nkind: Service\nmetadata: {name: app, namespace: foo}\n"                                                        \
    "spec: {clusterIP: 10.1.0.1, selector: {app: app}, ports: [{name: http, port: 80, targetPort: 8080}, "                           \
    "{name: tcp, port: 90, targetPort: 9090}]}\n"                                                                                   \
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: other, namespace: foo}\n"                                                 \
    "spec: {clusterIP: 10.1.0.2, ports: [{name: http, port: 8000}, {name: grpc, port: 9000}]}\n"                                    \
    "---\napiVersion: v1\nkind: Pod\nmetadata: {name: app-0, namespace: foo, labels: {app: app}}\n"                                 \
    "spec: {serviceAccountName: app, containers: [{name: app}]}\nstatus: {phase: Running, podIP: 10.0.0.9, podIPs: [{ip: 10.0.0.9}]}\n"                \
    "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n"                                               \
    "metadata: {name: app-1, namespace: foo, labels: {kubernetes.io/service-name: app}}\n"                                          \
    "endpoints: [{addresses: [10.0.0.9], conditions: {ready: true}, targetRef: {kind: Pod, name: app-0, namespace: foo}}]\n"        \
    "ports: [{name: http, port: 8080, protocol: TCP}, {name: tcp, port: 9090, protocol: TCP}]\n"
#define SIDECAR                                                                                                                     \
    "{\"id\":\"sidecar~10.0.0.9~app-0.foo~foo.svc.cluster.local\",\"cluster\":\"app.foo\",\"metadata\":{\"NAMESPACE\":\"foo\","      \
    "\"ISTIO_VERSION\":\"1.31.0\",\"LABELS\":{\"app\":\"app\"}}}"

#define OBJECT(api_, kind_, name_) "---\napiVersion: " api_ "\nkind: " kind_ "\nmetadata: {name: " name_ ", namespace: foo}\nspec:\n"
#define INBOUND "lds virtualInbound"

#endif
