/* SPDX-License-Identifier: Apache-2.0
 *
 * What the connection manager does to every request before the filters see it, in this order:
 * refuse what isn't routable, normalise path and host, settle who the client is (client_address.c),
 * clean what an outsider may not say, scheme, request id, XFCC, via, upgrades. The order is that of
 * Envoy's connection manager documentation ("HTTP header manipulation", "HTTP header sanitizing").
 */
#include "proxy/hcm/exchange.h"

#include "base/rng.h"
#include "proxy/trace/sampling.h"

static void refuse(struct exchange *x, const struct outcome *o)
{
    exchange_local_reply(x, o, (unsigned)o->http_status, STR_NULL, STR_NULL, NULL, NULL);
}

static bool check_target(struct exchange *x)
{
    struct headers *h = x->request;
    if (!headers_has_id(h, HDR_AUTHORITY)) {
        refuse(x, OUTCOME(MISSING_HOST));
        return false;
    }
    struct str path = headers_get_id(h, HDR_PATH);
    if (x->is_connect && !path.p)
        return true;
    if (!path.n) {
        refuse(x, OUTCOME(MISSING_PATH));
        return false;
    }
    if (path.p[0] == '/' || (str_eq(path, STR("*")) && str_eq(headers_get_id(h, HDR_METHOD), STR("OPTIONS"))))
        return true;
    stat_inc(x->config->stats, STAT_HCM_RQ_NON_RELATIVE_PATH);
    refuse(x, OUTCOME(ABSOLUTE_PATH));
    return false;
}

static void edit_location(struct headers *h, void *arg)
{
    headers_set_id(h, HDR_LOCATION, *(struct str *)arg);
}

static bool normalize_path(struct exchange *x)
{
    struct str path = headers_get_id(x->request, HDR_PATH);
    if (!path.p || path.p[0] != '/')
        return true;
    struct str before = path;
    enum path_result r = path_normalize(&path, &x->config->path, x->arena);
    if (r == PATH_INVALID) {
        refuse(x, OUTCOME(PATH_INVALID));
        return false;
    }
    if (path.p != before.p || path.n != before.n)
        headers_set_id_ref(x->request, HDR_PATH, path);
    if (r == PATH_CHANGED_REDIRECT) {
        stat_inc(x->config->stats, STAT_HCM_RQ_REDIRECTED_NORMALIZED_PATH);
        exchange_local_reply(x, OUTCOME(PATH_REDIRECT), 307, STR_NULL, STR_NULL, edit_location, &path);
        return false;
    }
    return true;
}

static void normalize_host(struct exchange *x)
{
    const struct hcm_config *c = x->config;
    if (!c->strip_any_port && !c->strip_matching_port && !c->strip_trailing_dot)
        return;
    struct str authority = headers_get_id(x->request, HDR_AUTHORITY), host;
    int port;
    if (!authority_split(authority, &host, &port))
        return;
    bool strip = c->strip_any_port && port >= 0;
    if (c->strip_matching_port && port >= 0)
        strip = port == addr_port(x->info.downstream_local);
    bool dot = c->strip_trailing_dot && host.n > 1 && host.p[host.n - 1] == '.';
    struct str bare = dot ? str_make(host.p, host.n - 1) : host;
    if (strip || (dot && port < 0))
        headers_set_id_ref(x->request, HDR_AUTHORITY, bare);
    else if (dot)
        headers_set_id_ref(x->request, HDR_AUTHORITY, arena_printf(x->arena, "%.*s:%d", STR_ARG(bare), port));
}

static void settle_scheme(struct exchange *x)
{
    const struct hcm_config *c = x->config;
    struct headers *h = x->request;
    struct str own = x->hc->is_tls ? STR("https") : STR("http");
    if (!headers_has_id(h, HDR_X_FORWARDED_PROTO))
        headers_add_id_ref(h, HDR_X_FORWARDED_PROTO, own);
    if (c->scheme_to_overwrite.n) {
        headers_set_id_ref(h, HDR_SCHEME, c->scheme_to_overwrite);
        return;
    }
    struct str scheme = headers_get_id(h, HDR_SCHEME);
    if (!scheme.n)
        scheme = headers_get_id(h, HDR_X_FORWARDED_PROTO);
    if (str_eq_nocase(scheme, STR("https")))
        headers_set_id_ref(h, HDR_SCHEME, STR("https"));
    else if (str_eq_nocase(scheme, STR("http")))
        headers_set_id_ref(h, HDR_SCHEME, STR("http"));
    else
        headers_set_id_ref(h, HDR_SCHEME, own);
}

static void settle_request_id(struct exchange *x, bool is_edge)
{
    const struct hcm_config *c = x->config;
    struct headers *h = x->request;
    bool there = headers_has_id(h, HDR_X_REQUEST_ID);
    if (c->generate_request_id && (!there || (is_edge && !c->preserve_external_request_id))) {
        char *id = arena_bytes(x->arena, 36);
        if (!id)
            return;
        rng_uuid4(loop_rng(x->loop), id);
        headers_set_id_ref(h, HDR_X_REQUEST_ID, str_make(id, 36));
    } else if (is_edge && there && c->pack_trace_reason) {
        request_id_set_reason(h, TRACE_NONE); /* whether it is traced isn't the outsider's to say */
    }
    x->info.request_id = headers_get_id(h, HDR_X_REQUEST_ID);
}

/* What only the mesh itself may say to its proxies (Envoy: "HTTP header sanitizing"). */
static void sanitize(struct headers *h, bool is_edge)
{
    static const uint8_t internal_only[] = {
        HDR_ENVOY_RETRY_ON,        HDR_ENVOY_RETRY_GRPC_ON, HDR_ENVOY_MAX_RETRIES, HDR_ENVOY_TIMEOUT,
        HDR_ENVOY_PER_TRY_TIMEOUT, HDR_ENVOY_FORCE_TRACE,   HDR_ENVOY_EXPECTED_TIMEOUT, HDR_ENVOY_HEDGE,
    };
    static const uint8_t edge_only[] = {HDR_ENVOY_DECORATOR, HDR_ENVOY_DOWNSTREAM_CLUSTER, HDR_ENVOY_DOWNSTREAM_NODE,
                                        HDR_ENVOY_ORIGINAL_PATH};
    static const uint64_t mask = 1ull << HDR_ENVOY_RETRY_ON | 1ull << HDR_ENVOY_RETRY_GRPC_ON |
                                 1ull << HDR_ENVOY_MAX_RETRIES | 1ull << HDR_ENVOY_TIMEOUT |
                                 1ull << HDR_ENVOY_PER_TRY_TIMEOUT | 1ull << HDR_ENVOY_FORCE_TRACE |
                                 1ull << HDR_ENVOY_EXPECTED_TIMEOUT | 1ull << HDR_ENVOY_HEDGE;
    if (h->mask & mask)
        for (size_t i = 0; i < ARRAY_LEN(internal_only); i++)
            headers_remove_id(h, internal_only[i]);
    for (size_t i = 0; is_edge && i < ARRAY_LEN(edge_only); i++)
        headers_remove_id(h, edge_only[i]);
    headers_remove(h, STR("x-envoy-upstream-alt-stat-name"));
    headers_remove(h, STR("x-envoy-upstream-rq-timeout-alt-response"));
    headers_remove(h, STR("x-envoy-ip-tags"));
    headers_remove(h, STR("x-envoy-original-url"));
}

static void identify(struct exchange *x)
{
    const struct hcm_config *c = x->config;
    struct headers *h = x->request;
    bool is_edge = !x->info.is_internal && c->use_remote_address;
    if (x->info.is_internal) {
        headers_set_id_ref(h, HDR_ENVOY_INTERNAL, STR("true"));
    } else {
        headers_remove_id(h, HDR_ENVOY_INTERNAL);
        sanitize(h, is_edge);
        const struct route_config_spec *routes = exchange_route_spec(x);
        for (uint32_t i = 0; routes && i < routes->internal_only_header_count; i++)
            headers_remove(h, routes->internal_only_headers[i]);
    }
    if (is_edge) {
        char text[ADDR_TEXT_BYTES];
        headers_set_id(h, HDR_ENVOY_EXTERNAL_ADDRESS, str_from(addr_ip_text(x->info.downstream_remote, text)));
    }
    settle_request_id(x, is_edge);
    const struct node_info *node = &x->hc->downstream->worker->server->node;
    if (c->add_user_agent) {
        headers_set_id_ref(h, HDR_ENVOY_DOWNSTREAM_CLUSTER, node->cluster);
        headers_set_id_ref(h, HDR_ENVOY_DOWNSTREAM_NODE, node->id);
        if (!headers_has_id(h, HDR_USER_AGENT))
            headers_add_id_ref(h, HDR_USER_AGENT, node->cluster);
    }
}

/* Envoy: early_header_mutation_extensions, after path and host are settled and before anything else reads a header. */
static void mutate_early(struct exchange *x)
{
    const struct hcm_config *c = x->config;
    for (uint32_t i = 0; i < c->early_mutation_count; i++)
        header_rules_apply(&c->early_mutations[i], x->request, exchange_format_context(x), x->arena);
}

static const struct upgrade_spec *find_upgrade(const struct upgrade_spec *specs, uint32_t n, struct str type)
{
    for (uint32_t i = 0; i < n; i++)
        if (str_eq_nocase(specs[i].type, type))
            return &specs[i];
    return NULL;
}

/* Route over connection manager; neither naming it means refused. Without a route the answer is 404, not 403. */
static bool upgrade_is_allowed(struct exchange *x)
{
    struct str type = x->is_connect ? STR("CONNECT") : str_trim(headers_get_id(x->request, HDR_UPGRADE));
    const struct route_entry *r = exchange_route(x);
    if (!r)
        return true;
    const struct upgrade_spec *u = find_upgrade(r->upgrades, r->upgrade_count, type);
    if (!u)
        u = find_upgrade(x->config->upgrades, x->config->upgrade_count, type);
    return u && u->enabled;
}

void ingress_note_kind(struct exchange *x)
{
    const struct headers *h = x->request;
    x->is_connect = headers_is_connect(h);
    x->is_upgrade = !x->is_connect && headers_is_upgrade(h);
    x->is_grpc = headers_is_grpc_request(h);
    x->is_head = str_eq(headers_get_id(h, HDR_METHOD), STR("HEAD"));
}

bool ingress_shape(struct exchange *x)
{
    struct headers *h = x->request;
    headers_strip_hop_by_hop(h, x->is_upgrade);
    if (!check_target(x) || !normalize_path(x))
        return false;
    normalize_host(x);
    mutate_early(x);
    if (!client_address_apply(x))
        return false;
    settle_scheme(x);
    identify(x);
    xfcc_apply(x);
    via_append(x, h);
    if (request_is_misdirected(x)) {
        refuse(x, OUTCOME(MISDIRECTED));
        return false;
    }
    if ((x->is_upgrade || x->is_connect) && !upgrade_is_allowed(x)) {
        stat_inc(x->config->stats, STAT_HCM_RQ_WS_ON_NON_WS_ROUTE);
        refuse(x, OUTCOME(UPGRADE_REFUSED));
        return false;
    }
    return true;
}

bool ingress_prepare(struct exchange *x)
{
    ingress_note_kind(x); /* overload's answer too depends on it */
    return !overload_refuses_request(x) && ingress_shape(x);
}
