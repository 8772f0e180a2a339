/* SPDX-License-Identifier: Apache-2.0
 *
 * envoy.filters.http.ratelimit with its per-route message, and envoy.filters.network.ratelimit. Main thread.
 */
#include "proxy/filter/ratelimit.h"

#include "base/mem.h"
#include "proxy/config/config_priv.h"

#define HTTP(x) ENVOY__EXTENSIONS__FILTERS__HTTP__RATELIMIT__V3__##x
#define DEFAULT_TIMEOUT_MS 20

/* ---- shared ---- */

static void read_service(struct config_reader *cr, const pb_rate_limit_service *m, const Google__Protobuf__Duration *timeout,
                         struct arena *a, struct grpc_service *out)
{
    if (!m) {
        FAULT("rate_limit_service", "must be set");
        return;
    }
    IN("rate_limit_service") {
        if (GET(m, transport_api_version) != ENVOY__CONFIG__CORE__V3__API_VERSION__V3)
            FAULT("transport_api_version", "must be V3");
        IN("grpc_service")
            cfg_grpc_service(cr, GET(m, grpc_service), a, out);
    }
    out->timeout_ms = proto_ms_or(timeout, DEFAULT_TIMEOUT_MS);
}

/* ---- HTTP ---- */

static void free_http(void *config)
{
    struct ratelimit_config *c = config;
    grpc_service_fini(&c->service);
    header_rules_fini(&c->response_headers);
    rate_limit_rules_fini((struct rate_limit_rules *)(uintptr_t)c->rules);
}

static enum rate_limit_requests read_requests(struct config_reader *cr, struct str type)
{
    if (str_eq(type, STR("internal")))
        return RL_REQUESTS_INTERNAL;
    if (str_eq(type, STR("external")))
        return RL_REQUESTS_EXTERNAL;
    if (type.n && !str_eq(type, STR("both")))
        FAULT("request_type", "'%.*s' is none of internal, external, both", STR_ARG(type));
    return RL_REQUESTS_BOTH;
}

static uint16_t read_status(struct config_reader *cr, const pb_http_status *m, uint16_t otherwise)
{
    unsigned code = m ? (unsigned)GET(m, code) : 0;
    return code >= 400 && code < 600 ? (uint16_t)code : otherwise;
}

static struct runtime_fraction fraction_or(struct config_reader *cr, struct arena *a, const char *field, const pb_runtime_fraction *m,
                                           struct str key)
{
    struct runtime_fraction f = {key, 100, 100};
    if (m)
        IN("%s", field)
            f = cfg_runtime_fraction(cr, a, m, 100);
    return f;
}

static void read_fractions(struct config_reader *cr, const pb_http_ratelimit *m, struct arena *a, struct ratelimit_config *c)
{
    c->enabled = fraction_or(cr, a, "filter_enabled", GET(m, filter_enabled), STR("ratelimit.http_filter_enabled"));
    c->enforced = fraction_or(cr, a, "filter_enforced", GET(m, filter_enforced), STR("ratelimit.http_filter_enforcing"));
    c->has_deny_fraction = GET(m, failure_mode_deny_percent) != NULL;
    if (c->has_deny_fraction)
        c->deny_fraction = fraction_or(cr, a, "failure_mode_deny_percent", m->failure_mode_deny_percent, STR(""));
}

static void read_replies(struct config_reader *cr, const pb_http_ratelimit *m, struct arena *a, struct ratelimit_config *c)
{
    c->as_resource_exhausted = GET(m, rate_limited_as_resource_exhausted);
    c->x_ratelimit_headers =
        GET(m, enable_x_ratelimit_headers) == HTTP(RATE_LIMIT__XRATE_LIMIT_HEADERS_RFCVERSION__DRAFT_VERSION_03);
    c->no_envoy_header = GET(m, disable_x_envoy_ratelimited_header);
    IN("rate_limited_status")
        c->limited_status = read_status(cr, GET(m, rate_limited_status), 429);
    IN("status_on_error")
        c->error_status = read_status(cr, GET(m, status_on_error), 500);
    cfg_header_rules(cr, "response_headers_to_add", GET(m, response_headers_to_add), LEN(m, response_headers_to_add), NULL, NULL, 0,
                     a, &c->response_headers);
}

int cfg_http_ratelimit(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_http_ratelimit *m = (const pb_http_ratelimit *)msg;
    struct cfg_http_filter *f = out;
    struct arena *a = f->arena;
    struct ratelimit_config *c = arena_zalloc(a, sizeof *c);
    f->spec->config = c;
    f->spec->free_config = free_http;
    c->domain = arena_str(a, TEXT(m, domain));
    c->stage = GET(m, stage);
    c->requests = read_requests(cr, TEXT(m, request_type));
    c->failure_mode_deny = GET(m, failure_mode_deny);
    c->stat_family = cfg_stat_family("ratelimit", TEXT(m, stat_prefix));
    read_service(cr, GET(m, rate_limit_service), GET(m, timeout), a, &c->service);
    read_fractions(cr, m, a, c);
    read_replies(cr, m, a, c);
    c->rules = cfg_filter_rate_limits(cr, "rate_limits", GET(m, rate_limits), LEN(m, rate_limits), a);
    return 0;
}

static void free_per_route(void *config)
{
    struct ratelimit_route_config *c = config;
    rate_limit_rules_fini((struct rate_limit_rules *)(uintptr_t)c->rules);
}

int cfg_http_ratelimit_per_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_http_ratelimit_per_route *m = (const pb_http_ratelimit_per_route *)msg;
    struct cfg_route_filter *f = out;
    struct ratelimit_route_config *c = arena_zalloc(f->arena, sizeof *c);
    f->override->config = c;
    f->override->free_config = free_per_route;
    switch (GET(m, vh_rate_limits)) {
    case HTTP(RATE_LIMIT_PER_ROUTE__VH_RATE_LIMITS_OPTIONS__INCLUDE):
        c->vhost = RL_VHOST_INCLUDE;
        break;
    case HTTP(RATE_LIMIT_PER_ROUTE__VH_RATE_LIMITS_OPTIONS__IGNORE):
        c->vhost = RL_VHOST_IGNORE;
        break;
    default:
        c->vhost = RL_VHOST_OVERRIDE;
    }
    c->rules = cfg_filter_rate_limits(cr, "rate_limits", GET(m, rate_limits), LEN(m, rate_limits), f->arena);
    c->domain = arena_str(f->arena, TEXT(m, domain));
    return 0;
}

/* ---- network ---- */

static void free_network(void *config)
{
    struct network_ratelimit_config *c = config;
    for (uint32_t i = 0; i < c->descriptor_count; i++)
        for (uint32_t k = 0; k < c->descriptors[i].count; k++)
            format_free(&c->descriptors[i].entries[k].value);
    grpc_service_fini(&c->service);
    stat_scope_unref(&c->stats);
}

static void read_entry(struct config_reader *cr, const Envoy__Extensions__Common__Ratelimit__V3__RateLimitDescriptor__Entry *m,
                       struct arena *a, struct network_rate_limit_entry *out)
{
    struct err err = {0};
    out->key = arena_str(a, TEXT(m, key));
    out->value = format_new(TEXT(m, value), false, &err);
    if (!out->value)
        cfg_fault_err(cr, "value", &err);
}

static void read_descriptor(struct config_reader *cr, const pb_rate_limit_descriptor *m, struct arena *a,
                            struct network_rate_limit_descriptor *out)
{
    uint32_t n = LEN(m, entries);
    out->entries = ARENA_ARRAY(a, struct network_rate_limit_entry, n);
    for (; out->count < n; out->count++)
        IN("entries[%u]", out->count)
            read_entry(cr, m->entries[out->count], a, &out->entries[out->count]);
    out->fixed.has_limit = GET(m, limit) != NULL;
    if (out->fixed.has_limit) {
        out->fixed.limit_requests = GET(m->limit, requests_per_unit);
        out->fixed.limit_unit = (uint32_t)GET(m->limit, unit);
    }
    out->fixed.has_hits = GET(m, hits_addend) != NULL;
    if (out->fixed.has_hits)
        out->fixed.hits = m->hits_addend->value;
}

int cfg_network_ratelimit(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_network_ratelimit *m = (const pb_network_ratelimit *)msg;
    struct cfg_network_filter *f = out;
    struct arena *a = f->arena;
    struct network_ratelimit_config *c = arena_zalloc(a, sizeof *c);
    f->spec->config = c;
    f->spec->free_config = free_network;
    c->stat_prefix = arena_str(a, TEXT(m, stat_prefix));
    c->domain = arena_str(a, TEXT(m, domain));
    c->failure_mode_deny = GET(m, failure_mode_deny);
    read_service(cr, GET(m, rate_limit_service), GET(m, timeout), a, &c->service);
    uint32_t n = LEN(m, descriptors);
    c->descriptors = ARENA_ARRAY(a, struct network_rate_limit_descriptor, n);
    for (; c->descriptor_count < n; c->descriptor_count++)
        IN("descriptors[%u]", c->descriptor_count)
            read_descriptor(cr, m->descriptors[c->descriptor_count], a, &c->descriptors[c->descriptor_count]);
    return 0;
}
