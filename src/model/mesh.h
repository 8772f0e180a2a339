/* SPDX-License-Identifier: Apache-2.0
 *
 * The mesh's own configuration (MeshConfig, MeshNetworks) with Istio's defaults filled in. Immutable.
 */
#ifndef MODEL_MESH_H
#define MODEL_MESH_H

#include "base/arena.h"
#include "base/err.h"
#include "model/service.h"
#include "proto/arena.h"

enum mesh_outbound { MESH_ALLOW_ANY, MESH_REGISTRY_ONLY, MESH_ALLOW_ANY_DYNAMIC_DNS };
/* Istio: "ProxyPathNormalization". */
enum mesh_normalization { MESH_PATH_NONE, MESH_PATH_BASE, MESH_PATH_MERGE_SLASHES, MESH_PATH_DECODE_AND_MERGE_SLASHES };

struct mesh {
    struct str root_namespace, trust_domain, domain; /* "istio-system", "cluster.local", "cluster.local" */
    const struct str *trust_domain_aliases; uint32_t alias_count;
    bool auto_mtls, access_log_json, ingress_strict, ingress_off;
    bool tracing, prometheus_merge, h2_upgrade, inbound_localhost;
    enum mesh_outbound outbound;
    enum mesh_normalization path_normalization;
    uint64_t connect_timeout_ms, protocol_detection_timeout_ms, dns_refresh_ms, hbone_idle_ms;
    uint32_t proxy_listen_port, inbound_listen_port, http_proxy_port; /* 15001, 15006, 0 */
    struct visibility default_service_export, default_route_export, default_rule_export;
    struct str access_log_file, access_log_format;
    struct str ingress_class, ingress_service, ingress_selector;
    const ProtobufCMessage *config;   /* istio.mesh.v1alpha1.MeshConfig: the rest (extensionProviders, defaultProviders,
                                         localityLbSetting, defaultConfig, defaultHttpRetryPolicy, pathNormalization, ...) */
    const ProtobufCMessage *networks; /* istio.mesh.v1alpha1.MeshNetworks; NULL: none */
    uint64_t hash;
};

/* Istio's defaults; text "" gives only those. Faults as object_read_all's. NULL after faults. The text is a MeshConfig, or the
 * ConfigMap `istio` with one under `mesh` and the networks under `meshNetworks`. */
const struct mesh *mesh_read(struct str text, const char *file, struct err_list *faults);
/* The same; what is legal but hardly meant goes to `warnings`, providers that aren't right among it (nobody may use them). */
const struct mesh *mesh_read_warning(struct str text, const char *file, struct err_list *faults, struct err_list *warnings);
const struct mesh *mesh_ref(const struct mesh *m);
void mesh_unref(const struct mesh **m);

#endif
