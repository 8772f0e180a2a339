/* SPDX-License-Identifier: Apache-2.0
 *
 * The application's probes and lifecycle hooks that injection has moved to the sidecar: ISTIO_KUBE_APP_PROBERS, path -> what
 * is really asked (core/v1 Probe: httpGet, tcpSocket, grpc). Main loop.
 */
#ifndef PROXY_AGENT_PROBES_H
#define PROXY_AGENT_PROBES_H

#include "proxy/agent/env.h"
#include "http/fetch.h"

struct probes;
struct probes *probes_new(const struct agent_env *e, struct err_list *faults); /* faults: nothing is probed where JSON is bad */
void probes_free(struct probes **p);
/* Asks what stands under `path`, with the kubelet's headers. NULL: no such path. */
struct fetch *probes_ask(const struct probes *p, struct str path, const struct headers *request, struct loop *loop,
                         fetch_fn fn, void *user);
/* What the kubelet is answered. */
unsigned probes_status(const struct probes *p, struct str path, const struct fetch_answer *a);

#endif
