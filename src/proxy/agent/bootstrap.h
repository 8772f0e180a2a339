/* SPDX-License-Identifier: Apache-2.0
 *
 * The bootstrap that pilot-agent would write for Envoy, for this process: node, admin, the static listeners of readiness and
 * Prometheus, ADS. Where the agent's Unix sockets stood there is the control plane itself (cluster "xds-grpc" is discovery,
 * "ca-grpc" the CA); docs/differences.md has the list. It is JSON, so that /config_dump, overrides and the reader of
 * configurations treat it as any other. No secret is in it. Main thread.
 */
#ifndef PROXY_AGENT_BOOTSTRAP_H
#define PROXY_AGENT_BOOTSTRAP_H

#include "proxy/agent/env.h"

#define AGENT_XDS_CLUSTER "xds-grpc"
#define AGENT_SDS_CLUSTER "sds-grpc"
#define AGENT_CA_CLUSTER "ca-grpc"

/* Appends. Faults are annotations that can't be read. */
int agent_bootstrap(const struct agent_env *e, struct strbuf *out, struct err_list *faults);

/* Parts of it; appended. */
void agent_node_id(const struct agent_env *e, struct strbuf *out);      /* sidecar~10.1.2.3~pod.ns~ns.svc.cluster.local */
void agent_node_cluster(const struct agent_env *e, struct strbuf *out); /* what traces call the service */
void agent_node_metadata(const struct agent_env *e, struct strbuf *out); /* JSON */

#endif
