/* SPDX-License-Identifier: Apache-2.0
 *
 * Roots that istiod pushes besides those of the workload's own certificate (PCDS, meshes of several roots), when
 * PROXY_CONFIG_XDS_AGENT asks for it. Main thread.
 */
#ifndef PROXY_AGENT_PUSHED_ROOTS_H
#define PROXY_AGENT_PUSHED_ROOTS_H

#include "proxy/agent/trust.h"

struct pushed_roots;
/* Subscribes over ADS; `keep_trust` lives longer. */
struct pushed_roots *pushed_roots_new(struct trust *keep_trust);
void pushed_roots_free(struct pushed_roots **p);

#endif
