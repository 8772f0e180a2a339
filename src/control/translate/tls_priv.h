/* SPDX-License-Identifier: Apache-2.0
 *
 * What TLS of the mesh (tls.c) and of gateways (tls_gateway.c) share.
 */
#ifndef CONTROL_TRANSLATE_TLS_PRIV_H
#define CONTROL_TRANSLATE_TLS_PRIV_H

#include "control/translate/translate_priv.h"
#include "envoy/extensions/transport_sockets/tls/v3/tls.pb-c.h"

#define AGENT_SDS(name_, timeout_)                                                                                                  \
    "{" name_ "\"sds_config\":{\"api_config_source\":{\"api_type\":\"GRPC\",\"transport_api_version\":\"V3\","                    \
    "\"grpc_services\":[{\"envoy_grpc\":{\"cluster_name\":\"sds-grpc\"}}],\"set_node_on_first_message_only\":true}," timeout_      \
    "\"resource_api_version\":\"V3\"}}"
/* A secret from the proxy's own agent: the workload's certificate and roots; waited for without an end. */
#define SDS_OF_AGENT(name_) AGENT_SDS("\"name\":\"" name_ "\",", "\"initial_fetch_timeout\":\"0s\",")
/* Files ("file-cert:…", "file-root:…"), whose name is added; they may be missing. */
#define FILE_SDS_OF_AGENT AGENT_SDS("", "")

#define TLS_COMMON Envoy__Extensions__TransportSockets__Tls__V3__CommonTlsContext
#define TLS_COMBINED Envoy__Extensions__TransportSockets__Tls__V3__CommonTlsContext__CombinedCertificateValidationContext
#define TLS_VALIDATION Envoy__Extensions__TransportSockets__Tls__V3__CertificateValidationContext
#define TLS_VALIDATION_COMBINED                                                                                                     \
    ENVOY__EXTENSIONS__TRANSPORT_SOCKETS__TLS__V3__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_COMBINED_VALIDATION_CONTEXT

TLS_COMMON *tls_common_copy(const struct translation *t, const TLS_COMMON *from);
/* One of the names must be among the peer's. */
TLS_VALIDATION *tls_validation_of_names(const struct translation *t, const struct str *names, uint32_t count, bool are_prefixes);
/* The mesh's roots, and what else `names` asks for. */
void tls_validate_by_mesh(const struct translation *t, TLS_COMMON *common, TLS_VALIDATION *names);

#endif
