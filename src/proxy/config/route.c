/* SPDX-License-Identifier: Apache-2.0
 *
 * Route configurations given inline: virtual hosts, path matches, cluster and direct_response
 * actions. Whatever a route says beyond that is refused by name. Main thread.
 */
#include "proxy/route/route.h"

#include "base/mem.h"
#include "proxy/config/config_priv.h"

#include <stdio.h>

#define DIRECT_BODY_BYTES 4096
#define TIMEOUT_MS 15000
#define MATCH(x) ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_##x
#define ACTION(x) ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_##x
#define TO(x) ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_##x
#define NOT_FOUND(x) ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_NOT_FOUND_RESPONSE_CODE__##x

struct route_reading {
    struct arena *a;
    bool validate_clusters;
    size_t max_direct_body;
    const struct retry_policy *last_retry; /* most routes have the same: kept once */
    const pb_retry_policy *vhost_retry;
};

void cfg_cluster_ref(struct config_reader *cr, const char *field, struct str name, struct cluster **slot, bool must_exist)
{
    struct config_result *out = cr->out;
    if (must_exist && !map_get(cr->cluster_names, name)) {
        FAULT(field, "unknown cluster '%.*s'", STR_ARG(name));
        return;
    }
    out->refs = mem_grow(out->refs, &out->ref_cap, out->ref_count + 1, sizeof *out->refs);
    out->refs[out->ref_count++] = (struct config_cluster_ref){name, slot};
}

/* ---- match ---- */

static void read_match(struct config_reader *cr, const pb_route_match *m, struct route_match *out, struct arena *a)
{
    if (!m) {
        FAULT("", "must be set");
        return;
    }
    out->ignore_case = !proto_bool_or(GET(m, case_sensitive), true);
    switch (m->path_specifier_case) {
    case MATCH(PREFIX):
        out->kind = PATH_PREFIX;
        out->path = arena_str(a, TEXT(m, prefix));
        break;
    case MATCH(PATH):
        out->kind = PATH_EXACT;
        out->path = arena_str(a, TEXT(m, path));
        break;
    case MATCH(PATH_SEPARATED_PREFIX):
        out->kind = PATH_SEPARATED_PREFIX;
        out->path = arena_str(a, TEXT(m, path_separated_prefix));
        break;
    case MATCH(CONNECT_MATCHER):
        out->kind = PATH_CONNECT;
        (void)GET(m, connect_matcher);
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER__NOT_SET:
        FAULT("", "one of prefix, path, path_separated_prefix and connect_matcher must be set");
        break;
    default:
        break; /* safe_regex, path_match_policy stay unread */
    }
}

/* ---- retries ---- */

static uint32_t read_retry_on(struct config_reader *cr, struct str list)
{
    static const struct { const char *text; uint32_t bit; } names[] = {
#define X(bit, name, text) {text, 1u << (bit)},
        RETRY_ON_TABLE(X)
#undef X
    };
    uint32_t on = 0;
    while (list.p) {
        struct str rest, one = str_trim(str_split(list, ',', &rest));
        uint32_t bit = 0;
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            bit = str_eq(one, str_from(names[i].text)) ? 1u << i : bit;
        list = rest;
        if (one.n && !bit) {
            char what[128];
            snprintf(what, sizeof what, "%.*s", STR_ARG(one));
            UNSUPPORTED("retry_on", what);
        }
        on |= bit;
    }
    return on;
}

static const struct retry_policy *read_retry(struct config_reader *cr, const pb_retry_policy *m, struct route_reading *rr)
{
    struct retry_policy policy = {0};
    if (!m)
        return NULL;
    policy.on = read_retry_on(cr, TEXT(m, retry_on));
    policy.num_retries = proto_u32_or(GET(m, num_retries), 1);
    if (policy.on == 0)
        return NULL;
    if (!rr->last_retry || memcmp(rr->last_retry, &policy, sizeof policy) != 0) {
        struct retry_policy *kept = arena_alloc(rr->a, sizeof *kept);
        *kept = policy;
        rr->last_retry = kept;
    }
    return rr->last_retry;
}

/* ---- actions ---- */

static void read_upgrades(struct config_reader *cr, const pb_route_action *m, struct route_entry *e, struct arena *a)
{
    e->upgrade_count = LEN(m, upgrade_configs);
    e->upgrades = ARENA_ARRAY(a, struct upgrade_spec, e->upgrade_count);
    for (uint32_t i = 0; i < e->upgrade_count; i++)
        IN("upgrade_configs[%u]", i) {
            const pb_route_upgrade *u = m->upgrade_configs[i];
            e->upgrades[i].type = cfg_lower(a, TEXT(u, upgrade_type));
            e->upgrades[i].enabled = proto_bool_or(GET(u, enabled), true);
            e->upgrades[i].connect_terminate = GET(u, connect_config) != NULL;
            if (u->connect_config && !str_eq(e->upgrades[i].type, STR("connect")))
                FAULT("connect_config", "is for the upgrade_type CONNECT");
        }
}

static uint16_t not_found_status(int code)
{
    switch (code) {
    case NOT_FOUND(NOT_FOUND):
        return 404;
    case NOT_FOUND(INTERNAL_SERVER_ERROR):
        return 500;
    default:
        return 503;
    }
}

static void read_action(struct config_reader *cr, const pb_route_action *m, struct route_entry *e, struct route_reading *rr)
{
    e->action = ROUTE_CLUSTER;
    if (m->cluster_specifier_case == TO(CLUSTER)) {
        e->cluster_name = arena_str(rr->a, TEXT(m, cluster));
        cfg_cluster_ref(cr, "cluster", e->cluster_name, &e->cluster, rr->validate_clusters);
    } else if (m->cluster_specifier_case == ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER__NOT_SET) {
        FAULT("cluster", "must be set");
    }
    e->cluster_not_found_status = not_found_status(GET(m, cluster_not_found_response_code));
    e->timeout_ms = (int64_t)proto_ms_or(GET(m, timeout), TIMEOUT_MS);
    e->idle_timeout_ms = GET(m, idle_timeout) ? (int64_t)proto_ms_or(m->idle_timeout, 0) : -1;
    e->priority = GET(m, priority) == ENVOY__CONFIG__CORE__V3__ROUTING_PRIORITY__HIGH ? PRIORITY_HIGH : PRIORITY_DEFAULT;
    read_upgrades(cr, m, e, rr->a);
    IN("retry_policy")
        e->retry = read_retry(cr, GET(m, retry_policy) ? m->retry_policy : rr->vhost_retry, rr);
}

static void read_direct(struct config_reader *cr, const pb_direct_response *m, struct route_entry *e, struct route_reading *rr)
{
    e->action = ROUTE_DIRECT_RESPONSE;
    e->direct_status = (uint16_t)GET(m, status);
    e->direct_content_type = STR("text/plain");
    if (GET(m, body))
        IN("body")
            cfg_data_source(cr, rr->a, m->body, rr->max_direct_body, &e->direct_body);
}

static struct route_entry *read_route(struct config_reader *cr, const pb_route *m, struct virtual_host *vhost, struct route_reading *rr)
{
    struct route_entry *e = arena_zalloc(rr->a, sizeof *e);
    struct str name = TEXT(m, name);
    e->vhost = vhost;
    e->timeout_ms = TIMEOUT_MS;
    e->idle_timeout_ms = -1;
    if (name.n)
        e->name = arena_str(rr->a, name);
    IN("match")
        read_match(cr, GET(m, match), &e->match, rr->a);
    if (GET(m, metadata)) /* see cluster.c */
        proto_read_whole(&cr->r, &m->metadata->base);
    switch (m->action_case) {
    case ACTION(ROUTE):
        IN("route")
            read_action(cr, GET(m, route), e, rr);
        break;
    case ACTION(DIRECT_RESPONSE):
        IN("direct_response")
            read_direct(cr, GET(m, direct_response), e, rr);
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION__NOT_SET:
        FAULT("", "one of route and direct_response must be set");
        break;
    default:
        break; /* redirect and others stay unread */
    }
    return e;
}

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

static struct virtual_host *read_vhost(struct config_reader *cr, const pb_virtual_host *m, struct route_reading *rr)
{
    struct virtual_host *v = arena_zalloc(rr->a, sizeof *v);
    v->name = arena_str(rr->a, TEXT(m, name));
    read_domains(cr, m, v, rr->a);
    rr->vhost_retry = GET(m, retry_policy);
    if (GET(m, require_tls) != ENVOY__CONFIG__ROUTE__V3__VIRTUAL_HOST__TLS_REQUIREMENT_TYPE__NONE)
        proto_unsupported_enum(&cr->r, "require_tls",
                               &envoy__config__route__v3__virtual_host__tls_requirement_type__descriptor, (int)m->require_tls);
    if (GET(m, metadata))
        proto_read_whole(&cr->r, &m->metadata->base);
    v->route_count = LEN(m, routes);
    v->routes = ARENA_ARRAY(rr->a, struct route_entry *, v->route_count);
    for (uint32_t i = 0; i < v->route_count; i++)
        IN("routes[%u]", i)
            v->routes[i] = read_route(cr, m->routes[i], v, rr);
    return v;
}

int cfg_route_config(struct config_reader *cr, const pb_route_config *m, struct arena *a, struct route_config_spec **out)
{
    struct route_reading rr = {.a = a};
    struct route_config_spec *s = arena_zalloc(a, sizeof *s);
    s->name = arena_str(a, TEXT(m, name));
    s->arena = a;
    s->ignore_port_in_host = GET(m, ignore_port_in_host_matching);
    rr.validate_clusters = proto_bool_or(GET(m, validate_clusters), true);
    rr.max_direct_body = proto_u32_or(GET(m, max_direct_response_body_size_bytes), DIRECT_BODY_BYTES);
    if (GET(m, metadata))
        proto_read_whole(&cr->r, &m->metadata->base);
    s->vhost_count = LEN(m, virtual_hosts);
    s->vhosts = ARENA_ARRAY(a, struct virtual_host *, s->vhost_count);
    for (uint32_t i = 0; i < s->vhost_count; i++)
        IN("virtual_hosts[%u]", i)
            s->vhosts[i] = read_vhost(cr, m->virtual_hosts[i], &rr);
    *out = s;
    return 0;
}
