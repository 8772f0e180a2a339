/* SPDX-License-Identifier: Apache-2.0
 *
 * CSRF: one message for the filter and for routes. Into the caller's arena, but for matchers. Main thread.
 */
#include "proxy/filter/csrf.h"

#include "proxy/config/config_priv.h"

static void free_policy(void *config)
{
    struct csrf_policy *p = config;
    for (uint32_t i = 0; i < p->origin_count; i++)
        string_match_fini(&p->origins[i]);
    stat_scope_unref(&p->stats);
}

static struct csrf_policy *read_policy(struct config_reader *cr, const pb_csrf_policy *m, struct arena *a)
{
    struct csrf_policy *p = arena_zalloc(a, sizeof *p);
    const pb_runtime_fraction *enabled = GET(m, filter_enabled), *shadow = GET(m, shadow_enabled);
    if (!enabled)
        FAULT("filter_enabled", "must be set");
    IN("filter_enabled")
        p->enabled = cfg_runtime_fraction(cr, a, enabled, 100);
    IN("shadow_enabled")
        p->shadow = cfg_runtime_fraction(cr, a, shadow, 0);
    p->has_shadow = shadow != NULL;
    p->origin_count = LEN(m, additional_origins);
    p->origins = ARENA_ARRAY(a, struct string_match, p->origin_count);
    for (uint32_t i = 0; i < p->origin_count; i++)
        IN("additional_origins[%u]", i)
            cfg_string_match(cr, m->additional_origins[i], &p->origins[i]);
    return p;
}

int cfg_csrf(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_http_filter *f = out;
    f->spec->config = read_policy(cr, (const pb_csrf_policy *)msg, f->arena);
    f->spec->free_config = free_policy;
    return 0;
}

int cfg_csrf_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_route_filter *f = out;
    f->override->config = read_policy(cr, (const pb_csrf_policy *)msg, f->arena);
    f->override->free_config = free_policy;
    return 0;
}
