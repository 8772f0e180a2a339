/* SPDX-License-Identifier: Apache-2.0
 *
 * The health_check filter's configuration. Main thread.
 */
#include "proxy/filter/health_check.h"

#include "proxy/config/config_priv.h"

static void free_config(void *config)
{
    struct health_filter_config *c = config;
    for (uint32_t i = 0; i < c->header_count; i++)
        header_matcher_fini(&c->headers[i]);
}

static void read_minimums(struct config_reader *cr, const pb_health_filter *m, struct arena *a, struct health_filter_config *c)
{
    uint32_t n = LEN(m, cluster_min_healthy_percentages);
    c->minimums = ARENA_ARRAY(a, struct cluster_minimum, n);
    c->minimum_count = n;
    for (uint32_t i = 0; i < n; i++) {
        __auto_type entry = m->cluster_min_healthy_percentages[i];
        const pb_percent *percent = GET(entry, value);
        c->minimums[i].cluster = arena_str(a, TEXT(entry, key));
        c->minimums[i].percent = percent ? GET(percent, value) : 0;
    }
}

int cfg_health_filter(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_health_filter *m = (const pb_health_filter *)msg;
    struct cfg_http_filter *f = out;
    struct arena *a = f->arena;
    struct health_filter_config *c = arena_zalloc(a, sizeof *c);
    __auto_type pass = GET(m, pass_through_mode);
    if (!pass)
        FAULT("pass_through_mode", "must be set");
    c->pass_through = pass && GET(pass, value);
    c->cache_us = proto_us_or(GET(m, cache_time), 0);
    c->cache = arena_zalloc(a, sizeof *c->cache);
    c->header_count = LEN(m, headers);
    c->headers = cfg_header_matchers(cr, "headers", m->headers, c->header_count, a);
    read_minimums(cr, m, a, c);
    if (!c->pass_through && c->cache_us)
        FAULT("cache_time", "must not be set when pass_through_mode is false");
    if (c->pass_through && c->minimum_count)
        FAULT("cluster_min_healthy_percentages", "must not be set when pass_through_mode is true");
    f->spec->config = c;
    f->spec->free_config = free_config;
    return 0;
}
