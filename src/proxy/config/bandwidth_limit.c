/* SPDX-License-Identifier: Apache-2.0
 *
 * Bandwidth limits: one message for the filter and for routes, each with a bucket of its own. Main thread.
 */
#include "proxy/filter/bandwidth_limit.h"

#include "base/mem.h"
#include "proxy/config/config_priv.h"
#include "proxy/stats/stats.h"

#define MODE(x) ENVOY__EXTENSIONS__FILTERS__HTTP__BANDWIDTH_LIMIT__V3__BANDWIDTH_LIMIT__ENABLE_MODE__##x

static void free_config(void *config)
{
    struct bandwidth_config *c = config;
    mem_free(c->bucket);
    stat_scope_unref(&c->stats);
}

static void read_flag(struct config_reader *cr, const pb_runtime_flag *m, struct arena *a, struct bandwidth_config *c)
{
    c->enabled = true;
    if (!m)
        return;
    c->enabled = proto_bool_or(GET(m, default_value), true);
    c->enabled_key = arena_str(a, TEXT(m, runtime_key));
}

static struct bandwidth_config *read_limit(struct config_reader *cr, const pb_bandwidth_limit *m, struct arena *a, bool of_route)
{
    struct bandwidth_config *c = arena_zalloc(a, sizeof *c);
    int mode = GET(m, enable_mode);
    uint64_t kbps = proto_u64_or(GET(m, limit_kbps), 0);
    struct str prefix = TEXT(m, response_trailer_prefix);
    c->limit_request = mode == MODE(REQUEST) || mode == MODE(REQUEST_AND_RESPONSE);
    c->limit_response = mode == MODE(RESPONSE) || mode == MODE(REQUEST_AND_RESPONSE);
    c->interval_us = proto_us_or(GET(m, fill_interval), 50000);
    c->trailers = GET(m, enable_response_trailers);
    c->trailer_prefix = prefix.n ? arena_printf(a, "%.*s-", STR_ARG(prefix)) : STR("");
    c->stat_prefix = arena_str(a, TEXT(m, stat_prefix));
    read_flag(cr, GET(m, runtime_enabled), a, c);
    if (of_route && !kbps)
        FAULT("limit_kbps", "must be set in a route's settings");
    if (kbps > UINT32_MAX)
        FAULT("limit_kbps", "%llu KiB/s are more than can be counted", (unsigned long long)kbps);
    if (c->interval_us < 20000 || c->interval_us > 1000000)
        FAULT("fill_interval", "must be between 20 ms and 1 s");
    if (kbps) {
        c->bucket = mem_zalloc(sizeof *c->bucket);
        c->bucket->bytes_per_s = kbps * 1024;
    }
    return c;
}

int cfg_bandwidth_limit(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_http_filter *f = out;
    f->spec->config = read_limit(cr, (const pb_bandwidth_limit *)msg, f->arena, false);
    f->spec->free_config = free_config;
    return 0;
}

int cfg_bandwidth_limit_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_route_filter *f = out;
    f->override->config = read_limit(cr, (const pb_bandwidth_limit *)msg, f->arena, true);
    f->override->free_config = free_config;
    f->override->link = bandwidth_limit_link;
    return 0;
}
