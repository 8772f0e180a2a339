/* SPDX-License-Identifier: Apache-2.0
 *
 * PROXY_CONFIG.readinessProbe: the health of an application that no kubelet watches (a VM of a WorkloadGroup), told to istiod,
 * which gives its endpoint to others while it is well
 * (https://istio.io/latest/docs/reference/config/networking/workload-group/#ReadinessProbe). Main loop.
 */
#ifndef PROXY_AGENT_READINESS_H
#define PROXY_AGENT_READINESS_H

#include "proxy/agent/env.h"

struct loop;
struct readiness;
struct readiness *readiness_new(const struct agent_env *e, struct err_list *faults); /* NULL: there is none, or a fault */
void readiness_start(struct readiness *r, struct loop *loop);
void readiness_free(struct readiness **r);

#endif
