/* SPDX-License-Identifier: Apache-2.0
 *
 * When a listener filter is left out (Envoy: ListenerFilterChainMatchPredicate). Pure; any thread.
 */
#include "proxy/listener/listener_filter.h"

bool listener_predicate_holds(const struct listener_predicate *p, const struct addr *local)
{
    switch (p->kind) {
    case PORTS_ANY:
        return true;
    case PORTS_NOT:
        return !listener_predicate_holds(p->children, local);
    case PORTS_ALL:
        for (uint32_t i = 0; i < p->child_count; i++)
            if (!listener_predicate_holds(&p->children[i], local))
                return false;
        return true;
    case PORTS_ONE:
        for (uint32_t i = 0; i < p->child_count; i++)
            if (listener_predicate_holds(&p->children[i], local))
                return true;
        return false;
    case PORTS_RANGE:
        return addr_is_ip(local) && addr_port(local) >= p->start && addr_port(local) < p->end;
    }
    return false;
}
