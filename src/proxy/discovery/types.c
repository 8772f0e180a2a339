/* SPDX-License-Identifier: Apache-2.0
 *
 * The types of resources: what the protocol has to know of each, and where each is asked for when it isn't ADS
 * (Envoy: "xDS API endpoints").
 */
#include "proxy/discovery/discovery_priv.h"

static const char *const short_names[] = {
#define X(id, type, text) text,
    RESOURCE_TYPE_TABLE(X)
#undef X
};

struct str resource_type_text(enum resource_type t)
{
    return str_from(short_names[t]);
}

#define ROW(id, field, whole, namespaced) \
    [RESOURCE_##id] = {.name_field = (field), .is_whole = (whole), .is_namespaced = (namespaced), .name = RESOURCE_NAME_##id}
#define X(id, type, text) static const char RESOURCE_NAME_##id[] = type;
RESOURCE_TYPE_TABLE(X)
#undef X

/* Clusters and listeners are whole by the protocol; scopes by what Envoy makes of them. */
const struct xds_type discovery_types[RESOURCE_TYPE_COUNT] = {
    ROW(CLUSTER, 1, true, false), ROW(ENDPOINTS, 1, false, false), ROW(LISTENER, 1, true, false), ROW(ROUTES, 1, false, false),
    ROW(SCOPED_ROUTES, 1, true, false), ROW(VIRTUAL_HOST, 1, false, true), ROW(SECRET, 1, false, false),
    ROW(EXTENSION, 1, false, false), ROW(RUNTIME, 1, false, false), ROW(NAME_TABLE, 0, false, false),
    ROW(PROXY_CONFIG, 0, false, false), ROW(HEALTH_INFORMATION, 0, false, false),
};

#define SERVICE(package, noun, path) \
    {"/envoy.service." package "/Stream" noun, "/envoy.service." package "/Delta" noun, "/v3/discovery:" path}
const struct method discovery_methods[RESOURCE_TYPE_COUNT] = {
    [RESOURCE_CLUSTER] = SERVICE("cluster.v3.ClusterDiscoveryService", "Clusters", "clusters"),
    [RESOURCE_ENDPOINTS] = SERVICE("endpoint.v3.EndpointDiscoveryService", "Endpoints", "endpoints"),
    [RESOURCE_LISTENER] = SERVICE("listener.v3.ListenerDiscoveryService", "Listeners", "listeners"),
    [RESOURCE_ROUTES] = SERVICE("route.v3.RouteDiscoveryService", "Routes", "routes"),
    [RESOURCE_SCOPED_ROUTES] = SERVICE("route.v3.ScopedRoutesDiscoveryService", "ScopedRoutes", "scoped-routes"),
    [RESOURCE_VIRTUAL_HOST] = {NULL, "/envoy.service.route.v3.VirtualHostDiscoveryService/DeltaVirtualHosts", NULL},
    [RESOURCE_SECRET] = SERVICE("secret.v3.SecretDiscoveryService", "Secrets", "secrets"),
    [RESOURCE_EXTENSION] = SERVICE("extension.v3.ExtensionConfigDiscoveryService", "ExtensionConfigs", "extension_configs"),
    [RESOURCE_RUNTIME] = SERVICE("runtime.v3.RuntimeDiscoveryService", "Runtime", "runtime"),
};
