/* SPDX-License-Identifier: Apache-2.0
 *
 * The router filter's configuration. Lives in the connection manager's arena but for its access logs. Main thread.
 */
#include "base/mem.h"
#include "proxy/config/config_priv.h"
#include "proxy/hcm/hcm.h"

static const char *const strict_names[] = {ROUTER_STRICT_HEADERS};

static void read_strict(struct config_reader *cr, const pb_router *m, struct router_config *c)
{
    uint32_t n = LEN(m, strict_check_headers);
    for (uint32_t i = 0; i < n; i++)
        for (size_t k = 0; k < ARRAY_LEN(strict_names); k++)
            if (str_eq_nocase(str_from(m->strict_check_headers[i]), str_from(strict_names[k])))
                c->strict_headers |= 1u << k;
}

static void free_router(void *config)
{
    struct router_config *c = config;
    for (uint32_t i = 0; i < c->upstream_log_count; i++)
        access_log_free(&c->upstream_logs[i]);
}

static void read_logs(struct config_reader *cr, const pb_router *m, struct router_config *c, struct arena *a)
{
    if (LEN(m, upstream_log))
        c->upstream_logs = cfg_access_logs(cr, "upstream_log", m->upstream_log, (uint32_t)m->n_upstream_log, a,
                                           &c->upstream_log_count);
    if (GET(m, upstream_log_options))
        IN("upstream_log_options") {
            const pb_router_log_options *o = m->upstream_log_options;
            c->log_new_streams = GET(o, flush_upstream_log_on_upstream_stream);
            c->log_interval_ms = proto_ms_or(GET(o, upstream_log_flush_interval), 0);
        }
}

int cfg_router(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_router *m = (const pb_router *)msg;
    struct cfg_http_filter *f = out;
    struct router_config *c = arena_zalloc(f->arena, sizeof *c);
    c->dynamic_stats = proto_bool_or(GET(m, dynamic_stats), true);
    c->start_child_span = GET(m, start_child_span);
    c->suppress_envoy_headers = GET(m, suppress_envoy_headers);
    c->respect_expected_rq_timeout = GET(m, respect_expected_rq_timeout);
    c->suppress_grpc_stats = GET(m, suppress_grpc_request_failure_code_stats);
    read_strict(cr, m, c);
    read_logs(cr, m, c, f->arena);
    f->spec->config = c;
    f->spec->free_config = free_router;
    return 0;
}
