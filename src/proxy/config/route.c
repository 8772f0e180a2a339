/* SPDX-License-Identifier: Apache-2.0
 *
 * Route configurations and virtual hosts, given inline; single routes are route_entry.c's. Main thread.
 */
#include "proxy/route/route.h"

#include "base/mem.h"
#include "proxy/config/matcher_priv.h"
#include "proxy/config/route_priv.h"

#define DIRECT_BODY_BYTES 4096

/* ---- virtual hosts ---- */

static void read_domains(struct config_reader *cr, const pb_virtual_host *m, struct virtual_host *v, struct arena *a)
{
    v->domain_count = LEN(m, domains);
    v->domains = ARENA_ARRAY(a, struct str, v->domain_count);
    for (uint32_t i = 0; i < v->domain_count; i++) {
        struct str d = v->domains[i] = cfg_lower(a, str_from(m->domains[i]));
        ptrdiff_t star = str_find_char(d, '*');
        if (star > 0 && (size_t)star + 1 < d.n)
            FAULT("domains", "'%.*s': a wildcard must be the first or the last character", STR_ARG(d));
    }
}

static void read_virtual_clusters(struct config_reader *cr, const pb_virtual_host *m, struct virtual_host *v, struct arena *a)
{
    v->virtual_cluster_count = LEN(m, virtual_clusters);
    v->virtual_clusters = ARENA_ARRAY(a, struct virtual_cluster, v->virtual_cluster_count);
    for (uint32_t i = 0; i < v->virtual_cluster_count; i++)
        IN("virtual_clusters[%u]", i) {
            const pb_virtual_cluster *c = m->virtual_clusters[i];
            struct virtual_cluster *out = &v->virtual_clusters[i];
            out->name = arena_str(a, TEXT(c, name));
            out->header_count = LEN(c, headers);
            out->headers = cfg_header_matchers(cr, "headers", c->headers, out->header_count, a);
            if (!out->header_count)
                FAULT("headers", "must be set");
        }
}

/* What routes take from their virtual host where they say nothing themselves. */
static void read_inherited(struct config_reader *cr, const pb_virtual_host *m, struct route_reading *rr)
{
    const struct route_reading config = *rr;
    IN("retry_policy")
        rr->retry = cfg_retry_policy(cr, GET(m, retry_policy), rr);
    IN("hedge_policy")
        rr->hedge = cfg_hedge_policy(cr, GET(m, hedge_policy), rr->a);
    uint32_t n = LEN(m, request_mirror_policies);
    rr->mirrors = n ? cfg_mirrors(cr, m->request_mirror_policies, n, rr) : config.mirrors;
    rr->mirror_count = n ? n : config.mirror_count;
    rr->count_attempts_request = GET(m, include_request_attempt_count);
    rr->count_attempts_response = GET(m, include_attempt_count_in_response);
    rr->mark_timeout_retries = GET(m, include_is_timeout_retry_header);
    const Google__Protobuf__UInt32Value *old = GET(m, per_request_buffer_limit_bytes);
    const Google__Protobuf__UInt64Value *limit = GET(m, request_body_buffer_limit);
    rr->has_body_limit = old || limit;
    rr->filter_body_limit_bytes = limit ? limit->value : 0;
    rr->body_limit_bytes = limit ? limit->value : old ? old->value : 0;
}

/* ---- matcher trees, whose actions are routes ---- */

struct tree_reading {
    struct route_reading *rr;
    struct virtual_host *vhost;
    struct route_entry **all;
    size_t count, cap;
};

static void add_route(struct tree_reading *tr, struct config_reader *cr, const pb_route *m, struct route_list *list)
{
    struct route_entry *e = cfg_route(cr, m, tr->vhost, tr->rr);
    tr->all = mem_grow(tr->all, &tr->cap, tr->count + 1, sizeof *tr->all);
    tr->all[tr->count++] = list->items[list->count++] = e;
}

static const void *read_tree_action(struct matcher_reading *mr, const pb_xds_extension *m)
{
    struct config_reader *cr = mr->cr;
    struct tree_reading *tr = mr->arg;
    struct str type = proto_any_type(GET(m, typed_config));
    struct route_list *list = arena_zalloc(mr->a, sizeof *list);
    (void)GET(m, name);
    if (str_eq(type, STR("envoy.config.route.v3.Route"))) {
        const pb_route *r = PROTO_ANY_AS(&cr->r, "typed_config", m->typed_config, pb_route, envoy__config__route__v3__route__descriptor);
        list->items = ARENA_ARRAY(mr->a, struct route_entry *, 1);
        IN("typed_config")
            if (r)
                add_route(tr, cr, r, list);
    } else if (str_eq(type, STR("envoy.config.route.v3.RouteList"))) {
        const pb_route_list *l =
            PROTO_ANY_AS(&cr->r, "typed_config", m->typed_config, pb_route_list, envoy__config__route__v3__route_list__descriptor);
        uint32_t n = l ? LEN(l, routes) : 0;
        list->items = ARENA_ARRAY(mr->a, struct route_entry *, n);
        for (uint32_t i = 0; i < n; i++)
            IN("typed_config.routes[%u]", i)
                add_route(tr, cr, l->routes[i], list);
    } else {
        FAULT("typed_config", "must be a Route or a RouteList");
    }
    return list;
}

static void read_tree(struct config_reader *cr, const pb_virtual_host *m, struct virtual_host *v, struct route_reading *rr)
{
    struct tree_reading tr = {.rr = rr, .vhost = v};
    struct matcher_reading mr = {cr, rr->a, read_tree_action, &tr, false};
    IN("matcher")
        v->matcher = cfg_matcher(&mr, m->matcher);
    v->route_count = (uint32_t)tr.count;
    v->routes = ARENA_ARRAY(rr->a, struct route_entry *, tr.count);
    if (tr.count)
        memcpy(v->routes, tr.all, tr.count * sizeof *tr.all);
    mem_free(tr.all);
}

static void read_routes(struct config_reader *cr, const pb_virtual_host *m, struct virtual_host *v, struct route_reading *rr)
{
    if (GET(m, matcher)) {
        if (LEN(m, routes))
            FAULT("matcher", "excludes routes");
        else
            read_tree(cr, m, v, rr);
        return;
    }
    v->route_count = LEN(m, routes);
    v->routes = ARENA_ARRAY(rr->a, struct route_entry *, v->route_count);
    for (uint32_t i = 0; i < v->route_count; i++)
        IN("routes[%u]", i)
            v->routes[i] = cfg_route(cr, m->routes[i], v, rr);
}

static struct virtual_host *read_vhost(struct config_reader *cr, const pb_virtual_host *m, const struct route_reading *config)
{
    struct route_reading rr = *config;
    struct virtual_host *v = arena_zalloc(rr.a, sizeof *v);
    unsigned tls = (unsigned)GET(m, require_tls);
    v->name = arena_str(rr.a, TEXT(m, name));
    v->config = rr.spec;
    v->require_tls = tls <= VHOST_TLS_ALL ? (enum vhost_tls)tls : VHOST_TLS_NONE;
    read_domains(cr, m, v, rr.a);
    read_inherited(cr, m, &rr);
    read_virtual_clusters(cr, m, v, rr.a);
    IN("metadata")
        v->metadata = cfg_metadata(cr, GET(m, metadata), rr.a);
    READ_HEADER_RULES(m, &v->request_rules, &v->response_rules, rr.a);
    READ_OVERRIDES(m, &v->overrides, rr.a);
    uint32_t n = LEN(m, rate_limits);
    v->rate_limits = cfg_route_rate_limits(cr, m->rate_limits, n, &rr);
    read_routes(cr, m, v, &rr);
    return v;
}

/* ---- the configuration ---- */

static void read_config_level(struct config_reader *cr, const pb_route_config *m, struct route_config_spec *s, struct route_reading *rr)
{
    s->ignore_port_in_host = GET(m, ignore_port_in_host_matching);
    s->ignore_path_parameters = GET(m, ignore_path_parameters_in_path_matching);
    s->vhost_header = cfg_lower(rr->a, TEXT(m, vhost_header));
    s->most_specific_header_mutations_wins = GET(m, most_specific_header_mutations_wins);
    IN("metadata")
        s->metadata = cfg_metadata(cr, GET(m, metadata), rr->a);
    s->internal_only_header_count = LEN(m, internal_only_headers);
    s->internal_only_headers = ARENA_ARRAY(rr->a, struct str, s->internal_only_header_count);
    for (uint32_t i = 0; i < s->internal_only_header_count; i++)
        s->internal_only_headers[i] = cfg_lower(rr->a, str_from(m->internal_only_headers[i]));
    READ_HEADER_RULES(m, &s->request_rules, &s->response_rules, rr->a);
    READ_OVERRIDES(m, &s->overrides, rr->a);
    rr->mirror_count = LEN(m, request_mirror_policies);
    rr->mirrors = cfg_mirrors(cr, m->request_mirror_policies, rr->mirror_count, rr);
}

int cfg_route_config(struct config_reader *cr, const pb_route_config *m, struct arena *a, struct route_config_spec **out)
{
    struct route_config_spec *s = arena_zalloc(a, sizeof *s);
    const struct retry_policy *last_retry = NULL;
    struct route_reading rr = {.a = a, .spec = s, .owned = &s->owned, .last_retry = &last_retry};
    s->name = arena_str(a, TEXT(m, name));
    s->arena = a;
    rr.validate_clusters = proto_bool_or(GET(m, validate_clusters), true);
    rr.max_direct_body = proto_u32_or(GET(m, max_direct_response_body_size_bytes), DIRECT_BODY_BYTES);
    if (GET(m, vhds))
        IN("vhds.config_source")
            s->vhds = cfg_config_source(cr, GET(m->vhds, config_source));
    read_config_level(cr, m, s, &rr);
    s->validate_clusters = rr.validate_clusters;
    s->max_direct_body = rr.max_direct_body;
    s->mirrors = rr.mirrors;
    s->mirror_count = rr.mirror_count;
    uint32_t n = LEN(m, virtual_hosts);
    s->vhosts = ARENA_ARRAY(a, struct virtual_host *, n);
    for (; s->vhost_count < n; s->vhost_count++)
        IN("virtual_hosts[%u]", s->vhost_count)
            s->vhosts[s->vhost_count] = read_vhost(cr, m->virtual_hosts[s->vhost_count], &rr);
    *out = s;
    return 0;
}

int cfg_vhost_resource(struct config_reader *cr, const pb_virtual_host *m, const struct route_config_spec *config, struct vhost_resource *r)
{
    const struct retry_policy *last_retry = NULL;
    const struct route_reading rr = {
        .a = &r->arena, .spec = config, .owned = &r->owned, .last_retry = &last_retry, .validate_clusters = config->validate_clusters,
        .max_direct_body = config->max_direct_body, .mirrors = config->mirrors, .mirror_count = config->mirror_count};
    r->vhost = read_vhost(cr, m, &rr);
    return 0;
}
