/* SPDX-License-Identifier: Apache-2.0
 *
 * The end of a pod. The application ends at the same time and still calls others, and those that haven't heard yet still call
 * it: both go on, while inbound connections are asked to go elsewhere. Then the proxy ends: after terminationDrainDuration,
 * or with EXIT_ON_ZERO_ACTIVE_CONNECTIONS once MINIMUM_DRAIN_DURATION is over and no connection of the mesh's is left
 * (pilot-agent's rules). Main thread.
 */
#ifndef PROXY_AGENT_TERMINATION_H
#define PROXY_AGENT_TERMINATION_H

#include "proxy/agent/env.h"
#include "proxy/server.h"

struct termination {
    struct server *server;
    struct timer timer;
    bool until_idle;
};
void termination_begin(struct termination *t, struct server *s, const struct agent_env *env);
void termination_stop(struct termination *t); /* whether it began or not */

#endif
