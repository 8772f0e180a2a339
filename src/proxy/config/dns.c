/* SPDX-License-Identifier: Apache-2.0
 *
 * How a cluster's names are resolved: the cluster's own members (older and newer forms), the DNS
 * cluster extension, the c-ares resolver extension, and the bootstrap's defaults. Main thread.
 */
#include "proxy/config/dns.h"

#include "proxy/config/config_priv.h"
#include "proxy/config/shared.h"

#define REFRESH_DEFAULT_MS 5000u
#define RESOLVERS_MAX 16 /* c-ares asks them in turn: more is a mistake */

static void read_servers(struct config_reader *cr, const char *field, pb_address *const *items, size_t n, struct cfg_dns *d)
{
    if (n == 0)
        return;
    if (n > RESOLVERS_MAX) {
        FAULT(field, "%zu resolvers are more than %d", n, RESOLVERS_MAX);
        n = RESOLVERS_MAX;
    }
    struct addr *servers = ARENA_ARRAY(d->memory, struct addr, n);
    for (size_t i = 0; i < n; i++)
        IN("%s[%zu]", field, i)
            if (cfg_address(cr, items[i], &servers[i], NULL, NULL) == 0 && !addr_is_ip(&servers[i]))
                FAULT("", "a resolver needs an IP address");
    d->spec.opts.servers = servers;
    d->spec.opts.server_count = n;
}

static void read_resolver_options(struct config_reader *cr, const pb_dns_resolver_options *m, struct cfg_dns *d)
{
    if (!m)
        return;
    d->spec.opts.tcp_only = GET(m, use_tcp_for_dns_lookups);
    d->spec.opts.no_search_domains = GET(m, no_default_search_domain);
}

int cfg_cares(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_cares_config *m = (const pb_cares_config *)msg;
    struct cfg_dns *d = out;
    read_servers(cr, "resolvers", GET(m, resolvers), LEN(m, resolvers), d);
    read_resolver_options(cr, GET(m, dns_resolver_options), d);
    d->spec.opts.query_timeout_ms = proto_u64_or(GET(m, query_timeout_seconds), 0) * 1000;
    d->spec.opts.tries = proto_u32_or(GET(m, query_tries), 0);
    d->spec.opts.rotate = GET(m, rotate_nameservers);
    (void)GET(m, udp_max_queries); /* c-ares leaves its ports whenever no query is under way: one sees a burst at most */
    return 0;
}

static void read_typed_resolver(struct config_reader *cr, const char *field, const pb_typed_extension *m, struct cfg_dns *d)
{
    ProtobufCMessage *msg = NULL;
    IN("%s", field) {
        const struct extension *ext =
            cfg_extension(cr, EXT_DNS_RESOLVER, "typed_config", TEXT(m, name), GET(m, typed_config), &msg);
        if (ext)
            IN("typed_config")
                ext->read(cr, msg, d);
    }
}

static void read_resolution(struct config_reader *cr, const char *field, const pb_dns_resolution *m, struct cfg_dns *d)
{
    IN("%s", field) {
        read_servers(cr, "resolvers", GET(m, resolvers), LEN(m, resolvers), d);
        read_resolver_options(cr, GET(m, dns_resolver_options), d);
    }
}

/* A cluster that says nothing takes the bootstrap's resolver. */
static void read_default_resolver(struct config_reader *cr, struct cfg_dns *d)
{
    const pb_bootstrap *boot = cr->boot;
    struct proto_reader *r = &cr->r;
    if (!boot)
        return;
    size_t mark = r->path.n;
    struct strbuf path = r->path; /* the fault is the bootstrap's, not this cluster's */
    memset(&r->path, 0, sizeof r->path);
    d->spec.opts.tcp_only = GET(boot, use_tcp_for_dns_lookups);
    if (GET(boot, typed_dns_resolver_config))
        read_typed_resolver(cr, "typed_dns_resolver_config", boot->typed_dns_resolver_config, d);
    else if (GET(boot, dns_resolution_config))
        read_resolution(cr, "dns_resolution_config", boot->dns_resolution_config, d);
    strbuf_fini(&r->path);
    r->path = path;
    r->path.n = mark;
}

void cfg_dns_resolver(struct config_reader *cr, const pb_typed_extension *typed, const pb_dns_resolution *resolution, bool tcp_only,
                      struct cfg_dns *d)
{
    if (typed) {
        read_typed_resolver(cr, "typed_dns_resolver_config", typed, d);
    } else if (resolution) {
        read_resolution(cr, "dns_resolution_config", resolution, d);
    } else {
        read_default_resolver(cr, d);
        d->spec.opts.tcp_only = tcp_only || d->spec.opts.tcp_only;
    }
}

int cfg_dns_cluster(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    static const enum dns_family families[] = {DNS_AUTO, DNS_AUTO, DNS_V4_ONLY, DNS_V6_ONLY, DNS_V4_PREFERRED, DNS_ALL};
    const pb_dns_cluster *m = (const pb_dns_cluster *)msg;
    struct cfg_dns *d = out;
    d->spec.refresh_ms = proto_ms_or(GET(m, dns_refresh_rate), REFRESH_DEFAULT_MS);
    __auto_type failure = GET(m, dns_failure_refresh_rate);
    if (failure) {
        d->spec.failure_base_ms = proto_ms_or(GET(failure, base_interval), 0);
        d->spec.failure_max_ms = proto_ms_or(GET(failure, max_interval), d->spec.failure_base_ms * 10);
    }
    d->spec.respect_ttl = GET(m, respect_dns_ttl);
    d->spec.jitter_ms = proto_ms_or(GET(m, dns_jitter), 0);
    unsigned family = (unsigned)GET(m, dns_lookup_family);
    d->spec.family = family < ARRAY_LEN(families) ? families[family] : DNS_AUTO;
    if (GET(m, typed_dns_resolver_config))
        read_typed_resolver(cr, "typed_dns_resolver_config", m->typed_dns_resolver_config, d);
    else
        read_default_resolver(cr, d);
    d->is_logical = GET(m, all_addresses_in_single_endpoint);
    d->type = d->is_logical ? CLUSTER_LOGICAL_DNS : CLUSTER_STRICT_DNS;
    return 0;
}

void cfg_dns_of_cluster(struct config_reader *cr, const pb_cluster *m, struct cfg_dns *d)
{
    static const enum dns_family families[] = {DNS_AUTO, DNS_V4_ONLY, DNS_V6_ONLY, DNS_V4_PREFERRED, DNS_ALL};
    d->spec.refresh_ms = proto_ms_or(GET(m, dns_refresh_rate), REFRESH_DEFAULT_MS);
    const pb_refresh_rate *failure = GET(m, dns_failure_refresh_rate);
    if (failure) {
        d->spec.failure_base_ms = proto_ms_or(GET(failure, base_interval), 0);
        d->spec.failure_max_ms = proto_ms_or(GET(failure, max_interval), d->spec.failure_base_ms * 10);
    }
    d->spec.respect_ttl = GET(m, respect_dns_ttl);
    d->spec.jitter_ms = proto_ms_or(GET(m, dns_jitter), 0);
    unsigned family = (unsigned)GET(m, dns_lookup_family);
    d->spec.family = family < ARRAY_LEN(families) ? families[family] : DNS_AUTO;
    if (GET(m, typed_dns_resolver_config)) {
        read_typed_resolver(cr, "typed_dns_resolver_config", m->typed_dns_resolver_config, d);
    } else if (GET(m, dns_resolution_config)) {
        read_resolution(cr, "dns_resolution_config", m->dns_resolution_config, d);
    } else if (LEN(m, dns_resolvers) > 0) {
        d->spec.opts.tcp_only = GET(m, use_tcp_for_dns_lookups);
        read_servers(cr, "dns_resolvers", m->dns_resolvers, m->n_dns_resolvers, d);
    } else {
        read_default_resolver(cr, d);
        d->spec.opts.tcp_only = GET(m, use_tcp_for_dns_lookups) || d->spec.opts.tcp_only;
    }
}

const struct cluster_dns_spec *cfg_dns_share(struct cfg_dns *d)
{
    struct strbuf key = {0};
    struct cluster_dns_spec flat = d->spec;
    flat.opts.servers = NULL;
    strbuf_addz(&key, "dns:");
    strbuf_add(&key, &flat, sizeof flat);
    for (size_t i = 0; i < d->spec.opts.server_count; i++) {
        char text[ADDR_TEXT_BYTES];
        cfg_key_str(&key, str_from(addr_text(&d->spec.opts.servers[i], text)));
    }
    const struct cluster_dns_spec *shared = shared_get(strbuf_str(&key), &d->spec, sizeof d->spec, d->memory, NULL);
    strbuf_fini(&key);
    return shared;
}
