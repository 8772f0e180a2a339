/* SPDX-License-Identifier: Apache-2.0
 *
 * The configurations of grpc_web and grpc_http1_bridge. Live in the connection manager's arena. Main thread.
 */
#include "proxy/filter/grpc_web.h"

#include "proxy/config/config_priv.h"

static void free_grpc_web(void *config)
{
    struct grpc_web_config *c = config;
    grpc_counts_table_unref(&c->counts);
}

int cfg_grpc_web(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    (void)cr, (void)msg;
    struct cfg_http_filter *f = out;
    f->spec->config = arena_zalloc(f->arena, sizeof(struct grpc_web_config));
    f->spec->free_config = free_grpc_web;
    return 0;
}

int cfg_grpc_http1_bridge(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_grpc_http1_bridge *m = (const pb_grpc_http1_bridge *)msg;
    struct cfg_http_filter *f = out;
    struct grpc_bridge_config *c = arena_zalloc(f->arena, sizeof *c);
    c->upgrade_protobuf = GET(m, upgrade_protobuf_to_grpc);
    c->ignore_query = GET(m, ignore_query_parameters);
    f->spec->config = c;
    return 0;
}
