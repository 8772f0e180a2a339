/* SPDX-License-Identifier: Apache-2.0
 *
 * The kinds of objects that the mesh is configured by: one row of one table each. Code, documentation, CRD manifests and the
 * Kubernetes client follow the table.
 */
#ifndef MODEL_KIND_H
#define MODEL_KIND_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/message.h"

/* How a document becomes a message. */
enum kind_shape {
    KIND_SPEC,  /* `spec` is the message (Istio's kinds); unknown fields are faults */
    KIND_WHOLE, /* all but apiVersion, kind and metadata is (Kubernetes' own kinds); fields that the schema leaves out are dropped */
};

/* X(enum, kind, plural, group, versions (the stored one first), shape, is_namespaced, message) */
#define MODEL_KINDS(X)                                                                                                              \
    X(VIRTUAL_SERVICE, "VirtualService", "virtualservices", "networking.istio.io", "v1 v1beta1 v1alpha3", KIND_SPEC, true,          \
      "istio.networking.v1alpha3.VirtualService")                                                                                   \
    X(DESTINATION_RULE, "DestinationRule", "destinationrules", "networking.istio.io", "v1 v1beta1 v1alpha3", KIND_SPEC, true,       \
      "istio.networking.v1alpha3.DestinationRule")                                                                                  \
    X(GATEWAY, "Gateway", "gateways", "networking.istio.io", "v1 v1beta1 v1alpha3", KIND_SPEC, true,                                \
      "istio.networking.v1alpha3.Gateway")                                                                                          \
    X(SERVICE_ENTRY, "ServiceEntry", "serviceentries", "networking.istio.io", "v1 v1beta1 v1alpha3", KIND_SPEC, true,               \
      "istio.networking.v1alpha3.ServiceEntry")                                                                                     \
    X(WORKLOAD_ENTRY, "WorkloadEntry", "workloadentries", "networking.istio.io", "v1 v1beta1 v1alpha3", KIND_SPEC, true,            \
      "istio.networking.v1alpha3.WorkloadEntry")                                                                                    \
    X(WORKLOAD_GROUP, "WorkloadGroup", "workloadgroups", "networking.istio.io", "v1 v1beta1 v1alpha3", KIND_SPEC, true,             \
      "istio.networking.v1alpha3.WorkloadGroup")                                                                                    \
    X(SIDECAR, "Sidecar", "sidecars", "networking.istio.io", "v1 v1beta1 v1alpha3", KIND_SPEC, true,                                \
      "istio.networking.v1alpha3.Sidecar")                                                                                          \
    X(ENVOY_FILTER, "EnvoyFilter", "envoyfilters", "networking.istio.io", "v1alpha3", KIND_SPEC, true,                              \
      "istio.networking.v1alpha3.EnvoyFilter")                                                                                      \
    X(PROXY_CONFIG, "ProxyConfig", "proxyconfigs", "networking.istio.io", "v1beta1", KIND_SPEC, true,                               \
      "istio.networking.v1beta1.ProxyConfig")                                                                                       \
    X(PEER_AUTHENTICATION, "PeerAuthentication", "peerauthentications", "security.istio.io", "v1 v1beta1", KIND_SPEC, true,         \
      "istio.security.v1beta1.PeerAuthentication")                                                                                  \
    X(REQUEST_AUTHENTICATION, "RequestAuthentication", "requestauthentications", "security.istio.io", "v1 v1beta1", KIND_SPEC,      \
      true, "istio.security.v1beta1.RequestAuthentication")                                                                         \
    X(AUTHORIZATION_POLICY, "AuthorizationPolicy", "authorizationpolicies", "security.istio.io", "v1 v1beta1", KIND_SPEC, true,     \
      "istio.security.v1beta1.AuthorizationPolicy")                                                                                 \
    X(TELEMETRY, "Telemetry", "telemetries", "telemetry.istio.io", "v1 v1alpha1", KIND_SPEC, true,                                  \
      "istio.telemetry.v1alpha1.Telemetry")                                                                                         \
    X(SERVICE, "Service", "services", "", "v1", KIND_WHOLE, true, "k8s.core.v1.Service")                                            \
    X(ENDPOINT_SLICE, "EndpointSlice", "endpointslices", "discovery.k8s.io", "v1", KIND_WHOLE, true,                                \
      "k8s.discovery.v1.EndpointSlice")                                                                                             \
    X(POD, "Pod", "pods", "", "v1", KIND_WHOLE, true, "k8s.core.v1.Pod")                                                            \
    X(NODE, "Node", "nodes", "", "v1", KIND_WHOLE, false, "k8s.core.v1.Node")                                                       \
    X(NAMESPACE, "Namespace", "namespaces", "", "v1", KIND_WHOLE, false, "k8s.core.v1.Namespace")                                   \
    X(SECRET, "Secret", "secrets", "", "v1", KIND_WHOLE, true, "k8s.core.v1.Secret")                                                \
    X(CONFIG_MAP, "ConfigMap", "configmaps", "", "v1", KIND_WHOLE, true, "k8s.core.v1.ConfigMap")                                   \
    X(SERVICE_ACCOUNT, "ServiceAccount", "serviceaccounts", "", "v1", KIND_WHOLE, true, "k8s.core.v1.ServiceAccount")               \
    X(INGRESS, "Ingress", "ingresses", "networking.k8s.io", "v1", KIND_WHOLE, true, "k8s.networking.v1.Ingress")                    \
    X(INGRESS_CLASS, "IngressClass", "ingressclasses", "networking.k8s.io", "v1", KIND_WHOLE, false,                                \
      "k8s.networking.v1.IngressClass")

enum kind_id {
#define X(id, ...) KIND_##id,
    MODEL_KINDS(X)
#undef X
    KIND_COUNT
};

struct kind {
    enum kind_id id;
    const char *name, *plural, *group, *versions, *message;
    enum kind_shape shape;
    bool is_namespaced;
};

const struct kind *kind_of(enum kind_id id);
bool kind_has_version(const struct kind *k, struct str version); /* "v1beta1" */
/* By `apiVersion` ("networking.istio.io/v1", "v1") and `kind`. NULL: none; *nearest is then the one that may be meant (its name in
 * another version or group, a name of the group that differs little), or NULL. */
const struct kind *kind_find(struct str api_version, struct str name, const struct kind **nearest);
const ProtobufCMessageDescriptor *kind_message(const struct kind *k);

#endif
