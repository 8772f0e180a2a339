/* SPDX-License-Identifier: Apache-2.0
 *
 * The router filter's configuration. Lives in the connection manager's arena. Main thread.
 */
#include "proxy/config/config_priv.h"
#include "proxy/hcm/hcm.h"

int cfg_router(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_router *m = (const pb_router *)msg;
    struct cfg_http_filter *f = out;
    struct router_config *c = arena_zalloc(f->arena, sizeof *c);
    if (proto_bool_or(m->dynamic_stats, true)) /* false stays unread, as whatever else changes something */
        (void)GET(m, dynamic_stats);
    c->dynamic_stats = true;
    c->suppress_envoy_headers = GET(m, suppress_envoy_headers);
    f->spec->config = c;
    return 0;
}
