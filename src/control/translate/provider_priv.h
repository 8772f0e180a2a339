/* SPDX-License-Identifier: Apache-2.0
 *
 * Extension providers: services that the mesh's configuration names, to which policies and telemetry refer (Istio: "MeshConfig",
 * extensionProviders).
 */
#ifndef CONTROL_TRANSLATE_PROVIDER_PRIV_H
#define CONTROL_TRANSLATE_PROVIDER_PRIV_H

#include "control/translate/translate_priv.h"
#include "istio/mesh/mesh_config.pb-c.h"

#define PROVIDER Istio__Mesh__V1alpha1__ExtensionProvider

const Istio__Mesh__V1alpha1__MeshConfig *mesh_config(const struct translation *t);
/* NULL: none of that name. */
const PROVIDER *provider_find(const struct translation *t, struct str name);

struct provider_service {
    struct str host, cluster;
};
/* `service`: "host" or "namespace/host". ERR_NOT_FOUND, ERR_INVALID with what is wrong. */
int provider_service(const struct translation *t, const char *service, uint32_t port, struct provider_service *out, struct err *err);
/* Calls to it, without a deadline. */
Envoy__Config__Core__V3__GrpcService *provider_grpc(const struct translation *t, const struct provider_service *to);

#endif
