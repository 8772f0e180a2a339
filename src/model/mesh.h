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

enum mesh_outbound { MESH_ALLOW_ANY, MESH_REGISTRY_ONLY };

struct mesh {
    struct str root_namespace, trust_domain, domain; /* "istio-system", "cluster.local", "cluster.local" */
    const struct str *trust_domain_aliases; uint32_t alias_count;
    bool auto_mtls, access_log_json, ingress_strict;
    enum mesh_outbound outbound;
    uint64_t connect_timeout_ms, protocol_detection_timeout_ms;
    uint32_t proxy_listen_port, inbound_listen_port, http_proxy_port; /* 15001, 15006, 0 */
    struct visibility default_service_export, default_route_export, default_rule_export;
    struct str access_log_file, access_log_format;
    struct str ingress_class, ingress_service, ingress_selector;
    const ProtobufCMessage *config;   /* istio.mesh.v1alpha1.MeshConfig: the rest (extensionProviders, defaultProviders,
                                         localityLbSetting, defaultConfig, defaultHttpRetryPolicy, pathNormalization, ...) */
    const ProtobufCMessage *networks; /* istio.mesh.v1alpha1.MeshNetworks */
    uint64_t hash;
};

/* Istio's defaults; text "" gives only those. Faults as object_read_all's. NULL after faults.
 * Networks aren't read yet. */
const struct mesh *mesh_read(struct str text, const char *file, struct err_list *faults);
const struct mesh *mesh_ref(const struct mesh *m);
void mesh_unref(const struct mesh **m);

#endif
