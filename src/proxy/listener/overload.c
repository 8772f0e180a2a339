/* SPDX-License-Identifier: Apache-2.0
 *
 * What overload asks of a worker's listeners: stop and go on accepting, visit every connection.
 * Listeners with bypass_overload_manager are left alone.
 */
#include "proxy/listener/listener_priv.h"

void listeners_accept(struct worker *w, bool on)
{
    LIST_EACH(it, safe, &w->listeners) {
        struct active *a = CONTAINER_OF(LIST_ENTRY(it, active_listener, node), active, base);
        if (a->is_stopped || a->base.spec->bypass_overload)
            continue;
        for (uint32_t i = 0; i < a->socket_count; i++) {
            if (on)
                acceptor_resume(a->sockets[i].acceptor);
            else
                acceptor_pause(a->sockets[i].acceptor);
        }
    }
}

void listeners_each_connection(struct worker *w, void (*fn)(struct downstream *d))
{
    LIST_EACH(it, safe, &w->listeners) {
        struct active_listener *a = LIST_ENTRY(it, active_listener, node);
        if (a->spec->bypass_overload)
            continue;
        LIST_EACH(at, next, &a->connections)
            fn(LIST_ENTRY(at, downstream, node));
    }
}
