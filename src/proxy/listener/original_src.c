/* SPDX-License-Identifier: Apache-2.0
 *
 * Listener filter: connections upstream shall come from where the downstream one came from, as far as the
 * filters before it know (Envoy: "Original Source"). It only says so; whoever connects needs CAP_NET_ADMIN
 * for the foreign address and routes that bring the answers back. A peer without an IP address keeps the
 * cluster's own source.
 */
#include "base/arena.h"
#include "proxy/cluster/cluster.h"
#include "proxy/listener/listener_filter.h"

static enum inspect look(struct inspection *in, const void *config)
{
    const struct original_src_config *c = config;
    const struct addr *remote = conn_remote(in->conn);
    if (!addr_is_ip(remote))
        return INSPECT_DONE;
    struct original_source *s = arena_zalloc(downstream_arena(in->downstream), sizeof(*s));
    if (!s)
        return INSPECT_CLOSE;
    addr_copy(&s->addr, remote); /* IP: owns nothing */
    if (!c->bind_port)
        addr_set_port(&s->addr, 0);
    s->mark = c->mark;
    in->downstream->original_source = s;
    return INSPECT_DONE;
}

const struct listener_filter_def original_src_filter = {
    .name = "envoy.filters.listener.original_src", .look = look};
