/* SPDX-License-Identifier: Apache-2.0
 *
 * CORS: the filter's configuration is empty, its policies stand in routes. Main thread.
 */
#include "proxy/filter/cors.h"

#include "proxy/config/config_priv.h"

static void free_config(void *config)
{
    struct cors_config *c = config;
    stat_scope_unref(&c->stats);
}

int cfg_cors(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    (void)cr, (void)msg;
    struct cfg_http_filter *f = out;
    f->spec->config = arena_zalloc(f->arena, sizeof(struct cors_config));
    f->spec->free_config = free_config;
    return 0;
}

static void free_policy(void *config)
{
    struct cors_policy *p = config;
    for (uint32_t i = 0; i < p->origin_count; i++)
        string_match_fini(&p->origins[i]);
}

static enum cors_answer answer(const Google__Protobuf__BoolValue *v)
{
    return !v ? CORS_UNSAID : v->value ? CORS_YES : CORS_NO;
}

int cfg_cors_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_cors_policy *m = (const pb_cors_policy *)msg;
    struct cfg_route_filter *f = out;
    struct arena *a = f->arena;
    struct cors_policy *p = arena_zalloc(a, sizeof *p);
    p->origin_count = LEN(m, allow_origin_string_match);
    p->origins = ARENA_ARRAY(a, struct string_match, p->origin_count);
    for (uint32_t i = 0; i < p->origin_count; i++)
        IN("allow_origin_string_match[%u]", i)
            cfg_string_match(cr, m->allow_origin_string_match[i], &p->origins[i]);
    p->methods = arena_str(a, TEXT(m, allow_methods));
    p->headers = arena_str(a, TEXT(m, allow_headers));
    p->expose = arena_str(a, TEXT(m, expose_headers));
    p->max_age = arena_str(a, TEXT(m, max_age));
    p->credentials = answer(GET(m, allow_credentials));
    p->private_network = answer(GET(m, allow_private_network_access));
    p->forward_not_matching = answer(GET(m, forward_not_matching_preflights));
    p->has_enabled = GET(m, filter_enabled) != NULL;
    p->has_shadow = GET(m, shadow_enabled) != NULL;
    IN("filter_enabled")
        p->enabled = cfg_runtime_fraction(cr, a, m->filter_enabled, 100);
    IN("shadow_enabled")
        p->shadow = cfg_runtime_fraction(cr, a, m->shadow_enabled, 0);
    f->override->config = p;
    f->override->free_config = free_policy;
    return 0;
}
