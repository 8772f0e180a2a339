/* SPDX-License-Identifier: Apache-2.0
 *
 * The fault filter's configuration, for the filter and for routes alike: the same message. Into the caller's arena, but for
 * header matchers, which are freed with it. Main thread.
 */
#include "proxy/filter/fault.h"

#include "proxy/config/config_priv.h"

#define DELAY(x) ENVOY__EXTENSIONS__FILTERS__COMMON__FAULT__V3__FAULT_DELAY__FAULT_DELAY_SECIFIER_##x
#define LIMIT(x) ENVOY__EXTENSIONS__FILTERS__COMMON__FAULT__V3__FAULT_RATE_LIMIT__LIMIT_TYPE_##x
#define ABORT(x) ENVOY__EXTENSIONS__FILTERS__HTTP__FAULT__V3__FAULT_ABORT__ERROR_TYPE_##x

static void free_config(void *config)
{
    struct fault_config *c = config;
    for (uint32_t i = 0; i < c->header_count; i++)
        header_matcher_fini(&c->headers[i]);
    stat_scope_unref(&c->stats);
}

static struct str key_or(struct arena *a, struct str key, struct str otherwise)
{
    return key.n ? arena_str(a, key) : otherwise;
}

static struct runtime_fraction read_fraction(struct config_reader *cr, const pb_fractional_percent *m, struct str key)
{
    struct runtime_fraction f = {0};
    IN("percentage")
        f = cfg_fraction(cr, m);
    f.key = key;
    return f;
}

static void read_delay(struct config_reader *cr, const pb_fault *all, struct arena *a, struct fault_config *c)
{
    const pb_fault_delay *m = GET(all, delay);
    struct str percent_key = key_or(a, TEXT(all, delay_percent_runtime), STR("fault.http.delay.fixed_delay_percent"));
    c->delay_key = key_or(a, TEXT(all, delay_duration_runtime), STR("fault.http.delay.fixed_duration_ms"));
    if (!m)
        return;
    c->has_delay = true;
    c->delay_by_header = m->fault_delay_secifier_case == DELAY(HEADER_DELAY);
    if (c->delay_by_header)
        proto_read_whole(&cr->r, &GET(m, header_delay)->base);
    else
        c->delay_ms = proto_ms_or(GET(m, fixed_delay), 0);
    c->delay_fraction = read_fraction(cr, GET(m, percentage), percent_key);
}

static void read_abort(struct config_reader *cr, const pb_fault *all, struct arena *a, struct fault_config *c)
{
    const pb_fault_abort *m = GET(all, abort);
    struct str percent_key = key_or(a, TEXT(all, abort_percent_runtime), STR("fault.http.abort.abort_percent"));
    c->http_status_key = key_or(a, TEXT(all, abort_http_status_runtime), STR("fault.http.abort.http_status"));
    c->grpc_status_key = key_or(a, TEXT(all, abort_grpc_status_runtime), STR("fault.http.abort.grpc_status"));
    if (!m)
        return;
    c->has_abort = true;
    c->abort_by_header = m->error_type_case == ABORT(HEADER_ABORT);
    if (c->abort_by_header)
        proto_read_whole(&cr->r, &GET(m, header_abort)->base);
    else if (m->error_type_case == ABORT(GRPC_STATUS))
        c->grpc_status = (int32_t)GET(m, grpc_status);
    else
        c->http_status = GET(m, http_status);
    c->abort_fraction = read_fraction(cr, GET(m, percentage), percent_key);
}

static void read_rate(struct config_reader *cr, const pb_fault *all, struct arena *a, struct fault_config *c)
{
    const pb_fault_rate *m = GET(all, response_rate_limit);
    struct str key = key_or(a, TEXT(all, response_rate_limit_percent_runtime), STR("fault.http.rate_limit.response_percent"));
    if (!m)
        return;
    c->has_rate = true;
    c->rate_by_header = m->limit_type_case == LIMIT(HEADER_LIMIT);
    if (c->rate_by_header) {
        proto_read_whole(&cr->r, &GET(m, header_limit)->base);
    } else if (GET(m, fixed_limit)) {
        c->rate_kbps = GET(m->fixed_limit, limit_kbps);
        if (c->rate_kbps > UINT32_MAX)
            FAULT("fixed_limit.limit_kbps", "%llu KiB/s are more than can be counted",
                  (unsigned long long)c->rate_kbps);
    }
    c->rate_fraction = read_fraction(cr, GET(m, percentage), key);
}

static void read_matching(struct config_reader *cr, const pb_fault *m, struct arena *a, struct fault_config *c)
{
    c->cluster = arena_str(a, TEXT(m, upstream_cluster));
    c->header_count = LEN(m, headers);
    c->headers = cfg_header_matchers(cr, "headers", m->headers, c->header_count, a);
    c->node_count = LEN(m, downstream_nodes);
    c->nodes = ARENA_ARRAY(a, struct str, c->node_count);
    for (uint32_t i = 0; i < c->node_count; i++)
        c->nodes[i] = arena_str(a, str_from(m->downstream_nodes[i]));
}

static struct fault_config *read_fault(struct config_reader *cr, const pb_fault *m, struct arena *a)
{
    struct fault_config *c = arena_zalloc(a, sizeof *c);
    c->grpc_status = -1;
    IN("delay")
        read_delay(cr, m, a, c);
    IN("abort")
        read_abort(cr, m, a, c);
    IN("response_rate_limit")
        read_rate(cr, m, a, c);
    read_matching(cr, m, a, c);
    c->has_max_active = GET(m, max_active_faults) != NULL;
    c->max_active = proto_u32_or(m->max_active_faults, 0);
    c->max_active_key = key_or(a, TEXT(m, max_active_faults_runtime), STR("fault.http.max_active_faults"));
    c->disable_cluster_stats = GET(m, disable_downstream_cluster_stats);
    c->metadata = cfg_struct(cr, GET(m, filter_metadata), a);
    return c;
}

int cfg_fault(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_http_filter *f = out;
    f->spec->config = read_fault(cr, (const pb_fault *)msg, f->arena);
    f->spec->free_config = free_config;
    return 0;
}

int cfg_fault_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_route_filter *f = out;
    f->override->config = read_fault(cr, (const pb_fault *)msg, f->arena);
    f->override->free_config = free_config;
    return 0;
}
