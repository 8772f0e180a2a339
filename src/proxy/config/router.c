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
    c->dynamic_stats = proto_bool_or(GET(m, dynamic_stats), true);
    c->suppress_envoy_headers = GET(m, suppress_envoy_headers);
    c->respect_expected_rq_timeout = GET(m, respect_expected_rq_timeout);
    c->suppress_grpc_stats = GET(m, suppress_grpc_request_failure_code_stats);
    f->spec->config = c;
    return 0;
}
