/* SPDX-License-Identifier: Apache-2.0
 *
 * Dynamic forward proxies: the DNS cache's settings, the cluster that takes its endpoints from a cache, and the HTTP and
 * network filters that wait for a name. All that name one cache must say the same of it. Main thread.
 */
#include "proxy/filter/dynamic_forward_proxy.h"

#include "base/mem.h"
#include "proxy/cluster/dns_cache.h"
#include "proxy/config/config_priv.h"
#include "proxy/config/dns.h"
#include "proxy/config/shared.h"

/* ---- the cache ---- */

static void read_times(struct config_reader *cr, const pb_dns_cache *m, struct dns_cache_spec *s)
{
    s->refresh_ms = proto_ms_or(GET(m, dns_refresh_rate), 60000);
    s->min_refresh_ms = proto_ms_or(GET(m, dns_min_refresh_rate), 5000);
    s->host_ttl_ms = proto_ms_or(GET(m, host_ttl), 300000);
    s->query_timeout_ms = proto_ms_or(GET(m, dns_query_timeout), 5000);
    s->no_refresh_on_failure = GET(m, disable_dns_refresh_on_failure);
    const pb_refresh_rate *failure = GET(m, dns_failure_refresh_rate);
    if (failure) {
        s->failure_base_ms = proto_ms_or(GET(failure, base_interval), 0);
        s->failure_max_ms = proto_ms_or(GET(failure, max_interval), s->failure_base_ms * 10);
    }
}

static void read_limits(struct config_reader *cr, const pb_dns_cache *m, struct dns_cache_spec *s)
{
    s->max_hosts = proto_u32_or(GET(m, max_hosts), 1024);
    s->max_pending = 1024;
    if (GET(m, dns_cache_circuit_breaker))
        IN("dns_cache_circuit_breaker")
            s->max_pending = proto_u32_or(GET(m->dns_cache_circuit_breaker, max_pending_requests), 1024);
}

static void read_preresolve(struct config_reader *cr, const pb_dns_cache *m, struct dns_cache_spec *s, struct arena *a)
{
    uint32_t n = LEN(m, preresolve_hostnames);
    s->preresolve = ARENA_ARRAY(a, struct dns_cache_preresolve, n);
    s->preresolve_count = n;
    for (uint32_t i = 0; i < n; i++)
        IN("preresolve_hostnames[%u]", i) {
            const pb_socket_address *at = m->preresolve_hostnames[i];
            s->preresolve[i].host = arena_str(a, TEXT(at, address));
            s->preresolve[i].port = (uint16_t)GET(at, port_value);
        }
    if (n > s->max_hosts)
        FAULT("preresolve_hostnames", "DNS Cache [%.*s] configured with preresolve_hostnames=%u larger than max_hosts=%u",
              STR_ARG(s->name), n, s->max_hosts);
}

static void cache_key(struct strbuf *key, const struct dns_cache_spec *s)
{
    strbuf_addz(key, "dns_cache:");
    cfg_key_str(key, s->name);
    strbuf_addf(key, "%d:%llu:%llu:%llu:%llu:%llu:%llu:%u:%u:%d:%d%d%d:%llu:%u", s->family, (unsigned long long)s->refresh_ms,
                (unsigned long long)s->min_refresh_ms, (unsigned long long)s->host_ttl_ms,
                (unsigned long long)s->failure_base_ms, (unsigned long long)s->failure_max_ms,
                (unsigned long long)s->query_timeout_ms, s->max_hosts, s->max_pending, s->no_refresh_on_failure,
                s->opts.tcp_only, s->opts.no_search_domains, s->opts.rotate, (unsigned long long)s->opts.query_timeout_ms,
                s->opts.tries);
    for (size_t i = 0; i < s->opts.server_count; i++) {
        char text[ADDR_TEXT_BYTES];
        cfg_key_str(key, str_from(addr_text(&s->opts.servers[i], text)));
    }
    for (uint32_t i = 0; i < s->preresolve_count; i++) {
        strbuf_addf(key, "|%u:", s->preresolve[i].port);
        cfg_key_str(key, s->preresolve[i].host);
    }
}

/* A reference of shared.h's. */
static const struct dns_cache_spec *read_cache(struct config_reader *cr, const pb_dns_cache *m)
{
    static const enum dns_family families[] = {DNS_AUTO, DNS_V4_ONLY, DNS_V6_ONLY, DNS_V4_PREFERRED, DNS_ALL};
    struct dns_cache_spec s;
    struct arena a;
    struct cfg_dns d = {.memory = &a};
    struct strbuf key = {0};
    arena_init(&a, 0);
    memset(&s, 0, sizeof s);
    s.name = arena_str(&a, TEXT(m, name));
    unsigned family = (unsigned)GET(m, dns_lookup_family);
    s.family = family < ARRAY_LEN(families) ? families[family] : DNS_AUTO;
    read_times(cr, m, &s);
    read_limits(cr, m, &s);
    cfg_dns_resolver(cr, GET(m, typed_dns_resolver_config), GET(m, dns_resolution_config), GET(m, use_tcp_for_dns_lookups), &d);
    s.opts = d.spec.opts;
    read_preresolve(cr, m, &s, &a);
    cache_key(&key, &s);
    const struct dns_cache_spec *shared = shared_get(strbuf_str(&key), &s, sizeof s, &a, NULL);
    strbuf_fini(&key);
    const struct dns_cache_spec *known = map_get(cr->dns_caches, shared->name);
    if (known && known != shared)
        FAULT("", "config specified DNS cache '%.*s' with different settings", STR_ARG(shared->name));
    else
        map_set(cr->dns_caches, shared->name, (void *)(uintptr_t)shared);
    return shared;
}

/* ---- the cluster ---- */

int cfg_forward_proxy_cluster(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_forward_cluster *m = (const pb_forward_cluster *)msg;
    struct cfg_dns *d = out;
    d->type = CLUSTER_FORWARD_PROXY;
    d->allow_insecure = GET(m, allow_insecure_cluster_options);
    if (m->cluster_implementation_specifier_case !=
        ENVOY__EXTENSIONS__CLUSTERS__DYNAMIC_FORWARD_PROXY__V3__CLUSTER_CONFIG__CLUSTER_IMPLEMENTATION_SPECIFIER_DNS_CACHE_CONFIG) {
        if (!m->cluster_implementation_specifier_case)
            FAULT("dns_cache_config", "must be set");
        return 0; /* sub_clusters_config stays unread: refused by name */
    }
    IN("dns_cache_config")
        d->cluster->dns_cache = read_cache(cr, GET(m, dns_cache_config));
    return 0;
}

/* ---- filters ---- */

static void free_config(void *config)
{
    struct forward_proxy_config *c = config;
    dns_cache_unref(&c->cache);
    shared_unref(c->spec);
    c->spec = NULL;
}

int cfg_forward_proxy(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_forward_proxy *m = (const pb_forward_proxy *)msg;
    struct cfg_http_filter *f = out;
    struct forward_proxy_config *c = arena_zalloc(f->arena, sizeof *c);
    f->spec->config = c;
    f->spec->free_config = free_config;
    c->save_upstream_address = GET(m, save_upstream_address);
    c->host_from_filter_state = GET(m, allow_dynamic_host_from_filter_state);
    if (m->implementation_specifier_case ==
        ENVOY__EXTENSIONS__FILTERS__HTTP__DYNAMIC_FORWARD_PROXY__V3__FILTER_CONFIG__IMPLEMENTATION_SPECIFIER_DNS_CACHE_CONFIG)
        IN("dns_cache_config")
            c->spec = read_cache(cr, GET(m, dns_cache_config));
    else if (!m->implementation_specifier_case)
        FAULT("dns_cache_config", "must be set");
    return 0;
}

int cfg_forward_proxy_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_forward_proxy_route *m = (const pb_forward_proxy_route *)msg;
    struct cfg_route_filter *f = out;
    struct forward_proxy_route *c = arena_zalloc(f->arena, sizeof *c);
    f->override->config = c;
    switch (m->host_rewrite_specifier_case) {
    case ENVOY__EXTENSIONS__FILTERS__HTTP__DYNAMIC_FORWARD_PROXY__V3__PER_ROUTE_CONFIG__HOST_REWRITE_SPECIFIER_HOST_REWRITE_LITERAL:
        c->host_rewrite = arena_str(f->arena, TEXT(m, host_rewrite_literal));
        break;
    case ENVOY__EXTENSIONS__FILTERS__HTTP__DYNAMIC_FORWARD_PROXY__V3__PER_ROUTE_CONFIG__HOST_REWRITE_SPECIFIER_HOST_REWRITE_HEADER:
        c->host_rewrite_header = cfg_lower(f->arena, TEXT(m, host_rewrite_header));
        break;
    default:
        break;
    }
    return 0;
}

static void free_sni_config(void *config)
{
    free_config(config);
    mem_free(config);
}

int cfg_sni_forward_proxy(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_sni_forward_proxy *m = (const pb_sni_forward_proxy *)msg;
    struct cfg_network_filter *f = out;
    struct forward_proxy_config *c = NEW(forward_proxy_config);
    f->spec->config = c;
    f->spec->free_config = free_sni_config;
    c->save_upstream_address = GET(m, save_upstream_address);
    c->port = 443;
    if (m->port_specifier_case ==
        ENVOY__EXTENSIONS__FILTERS__NETWORK__SNI_DYNAMIC_FORWARD_PROXY__V3__FILTER_CONFIG__PORT_SPECIFIER_PORT_VALUE)
        c->port = (uint16_t)GET(m, port_value);
    if (GET(m, dns_cache_config))
        IN("dns_cache_config")
            c->spec = read_cache(cr, m->dns_cache_config);
    return 0;
}
