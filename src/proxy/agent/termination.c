/* SPDX-License-Identifier: Apache-2.0
 *
 * One timer: to the end, or to the next look at the connections.
 */
#include "proxy/agent/termination.h"

#include "base/log.h"
#include "proxy/listener/listener.h"

#define LOOK_MS 1000 /* pilot-agent's step */

static void on_time(struct timer *timer)
{
    struct termination *t = CONTAINER_OF(timer, termination, timer);
    uint64_t left = t->until_idle ? listener_manager_connections(t->server->listeners) : 0;
    if (!left) {
        server_end(t->server);
        return;
    }
    LOG(MAIN, INFO, "%lu connections are left", (unsigned long)left);
    timer_set_ms(timer, LOOK_MS);
}

void termination_begin(struct termination *t, struct server *s, const struct agent_env *env)
{
    uint64_t wait_ms = env->exit_on_zero_connections ? env->minimum_drain_ms : env->config.termination_drain_ms;
    t->server = s;
    t->until_idle = env->exit_on_zero_connections;
    LOG(MAIN, INFO, "the pod ends: inbound connections drain; the end is in %lu ms%s", (unsigned long)wait_ms,
        t->until_idle ? ", or when the last connection has gone" : "");
    server_drain_listeners(s, true, true, false);
    timer_init(&t->timer, s->main_loop, on_time);
    timer_set_ms(&t->timer, wait_ms);
}

void termination_stop(struct termination *t)
{
    if (t->server)
        timer_clear(&t->timer);
}
