/* SPDX-License-Identifier: Apache-2.0
 *
 * Endpoints: addresses (literal ones for STATIC, names for DNS clusters), weights, priorities,
 * localities, health as configured. Localities are kept once a file. Main thread.
 */
#include "proxy/config/endpoints.h"

#include "proxy/cluster/metadata_pool.h"

#include <stdio.h>

#define HEALTH(x) ENVOY__CONFIG__CORE__V3__HEALTH_STATUS__##x

static const struct locality *read_locality(struct config_reader *cr, const pb_locality *m)
{
    if (!m)
        return NULL;
    struct str region = TEXT(m, region), zone = TEXT(m, zone), sub_zone = TEXT(m, sub_zone);
    if (region.n + zone.n + sub_zone.n == 0)
        return NULL;
    struct strbuf key = {0};
    cfg_key_str(&key, region);
    cfg_key_str(&key, zone);
    cfg_key_str(&key, sub_zone);
    struct locality *l = map_get(cr->localities, strbuf_str(&key));
    if (!l) {
        struct arena *a = &cr->lasting->arena;
        l = arena_zalloc(a, sizeof *l);
        *l = (struct locality){arena_str(a, region), arena_str(a, zone), arena_str(a, sub_zone)};
        map_set(cr->localities, strbuf_str(&key), l);
    }
    strbuf_fini(&key);
    return l;
}

static uint32_t health_bits(struct config_reader *cr, const pb_lb_endpoint *m)
{
    switch (GET(m, health_status)) {
    case HEALTH(UNHEALTHY):
    case HEALTH(TIMEOUT):
        return HOST_FAILED_EDS;
    case HEALTH(DRAINING):
        return HOST_FAILED_EDS | HOST_EDS_DRAINING;
    case HEALTH(DEGRADED):
        return HOST_DEGRADED_EDS;
    default:
        return 0;
    }
}

/* A name and a port: what DNS clusters resolve. Literal addresses are names too. */
static int read_name(struct config_reader *cr, const pb_address *m, struct endpoint_spec *e, struct arena *a)
{
    if (m->address_case != ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_SOCKET_ADDRESS) {
        proto_read_whole(&cr->r, &m->base);
        return FAULT("", "a DNS cluster needs a socket_address");
    }
    const pb_socket_address *s = GET(m, socket_address);
    (void)GET(s, protocol);
    if (s->port_specifier_case != ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__PORT_SPECIFIER_PORT_VALUE)
        return FAULT("socket_address.port_value", "must be set");
    e->dns_name = arena_str(a, TEXT(s, address));
    e->addr.in4.sin_family = AF_INET;
    addr_set_port(&e->addr, (uint16_t)GET(s, port_value));
    return 0;
}

static void read_extra(struct config_reader *cr, const pb_endpoint *m, struct endpoint_spec *e, struct arena *a)
{
    e->extra_addr_count = LEN(m, additional_addresses);
    e->extra_addrs = ARENA_ARRAY(a, struct addr, e->extra_addr_count);
    for (uint32_t i = 0; i < e->extra_addr_count; i++)
        IN("additional_addresses[%u].address", i) {
            const pb_address *x = GET(m->additional_addresses[i], address);
            if (!x)
                FAULT("", "must be set");
            else if (cfg_address(cr, x, &e->extra_addrs[i], NULL, NULL) == 0 && !addr_is_ip(&e->extra_addrs[i]))
                FAULT("", "an additional address must be an IP address");
        }
}

static void read_endpoint(struct config_reader *cr, const pb_endpoint *m, const struct endpoints *out, struct endpoint_spec *e)
{
    struct arena *a = out->arena;
    bool is_literal = out->type == CLUSTER_STATIC || out->type == CLUSTER_EDS;
    struct str hostname = TEXT(m, hostname);
    const pb_address *address = GET(m, address);
    if (hostname.n)
        e->hostname = arena_str(a, hostname);
    if (GET(m, health_check_config))
        IN("health_check_config")
            cfg_endpoint_check(cr, m->health_check_config, a, e);
    if (!address) {
        FAULT("address", "must be set");
        return;
    }
    IN("address") {
        if (is_literal)
            cfg_address(cr, address, &e->addr, NULL, NULL);
        else
            read_name(cr, address, e, a);
    }
    if (m->n_additional_addresses && !is_literal)
        FAULT("additional_addresses", "only endpoints with literal addresses may have more than one");
    else
        read_extra(cr, m, e, a);
}

/* Endpoints that come and go by themselves share metadata of equal content. */
static void read_metadata(struct config_reader *cr, const pb_metadata *m, const struct endpoints *out, struct endpoint_spec *e)
{
    struct metadata *read = cfg_metadata(cr, m, out->arena);
    e->metadata = read;
    if (!read || out->type != CLUSTER_EDS)
        return;
    struct strbuf key = {0};
    proto_pack(&m->base, &key);
    e->metadata = metadata_pool_get(strbuf_str(&key), read);
    e->has_pooled_metadata = true;
    strbuf_fini(&key);
}

static void read_lb_endpoint(struct config_reader *cr, const pb_lb_endpoint *m, const struct endpoints *out, struct endpoint_spec *e)
{
    e->weight = proto_u32_or(GET(m, load_balancing_weight), 1);
    e->health = health_bits(cr, m);
    IN("metadata")
        read_metadata(cr, GET(m, metadata), out, e);
    if (m->host_identifier_case == ENVOY__CONFIG__ENDPOINT__V3__LB_ENDPOINT__HOST_IDENTIFIER_ENDPOINT_NAME) {
        (void)GET(m, endpoint_name);
        UNSUPPORTED("endpoint_name", NULL);
    } else if (m->host_identifier_case == ENVOY__CONFIG__ENDPOINT__V3__LB_ENDPOINT__HOST_IDENTIFIER_ENDPOINT) {
        IN("endpoint")
            read_endpoint(cr, GET(m, endpoint), out, e);
    } else {
        FAULT("endpoint", "must be set");
    }
}

/* An endpoint behind an internal listener (Istio's ambient mesh: HBONE through "connect_originate") can't be had; the others of
 * its assignment can, so that it is left out alone. */
static bool leave_out(struct config_reader *cr, const pb_lb_endpoint *m, struct endpoints *out)
{
    if (out->type != CLUSTER_EDS || m->host_identifier_case != ENVOY__CONFIG__ENDPOINT__V3__LB_ENDPOINT__HOST_IDENTIFIER_ENDPOINT ||
        !m->endpoint->address || m->endpoint->address->address_case != ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_ENVOY_INTERNAL_ADDRESS)
        return false;
    proto_read_whole(&cr->r, &m->base);
    if (out->left_out++ == 0)
        snprintf(out->first_left_out, sizeof out->first_left_out, "%s.endpoint.address.envoy_internal_address", proto_path(&cr->r));
    return true;
}

static void read_policy(struct config_reader *cr, const pb_load_assignment *m, struct load_policy *s)
{
    __auto_type policy = GET(m, policy);
    s->overprovisioning_pct = 140;
    if (!policy)
        return;
    s->overprovisioning_pct = proto_u32_or(GET(policy, overprovisioning_factor), 140);
    s->weighted_priority_health = GET(policy, weighted_priority_health);
    uint32_t n = LEN(policy, drop_overloads);
    if (n > 1) /* Envoy takes one category */
        FAULT("policy.drop_overloads", "may have one category only, not %u", n);
    for (uint32_t i = 0; i < n && n == 1; i++)
        IN("policy.drop_overloads[%u]", i) {
            (void)TEXT(policy->drop_overloads[i], category);
            __auto_type percent = GET(policy->drop_overloads[i], drop_percentage);
            struct runtime_fraction f = {0};
            if (percent)
                f = cfg_fraction(cr, percent);
            s->drop_per_million = percent ? (uint32_t)((uint64_t)f.numerator * 1000000 / f.denominator) : 0;
        }
}

/* One whose endpoints are left out is there all the same. */
static void check_priorities(struct config_reader *cr, const pb_load_assignment *m)
{
    uint32_t highest = 0;
    for (size_t i = 0; i < m->n_endpoints; i++)
        if (m->endpoints[i]->n_lb_endpoints && m->endpoints[i]->priority > highest)
            highest = m->endpoints[i]->priority;
    for (uint32_t p = 0; p < highest; p++) {
        bool found = false;
        for (size_t i = 0; i < m->n_endpoints && !found; i++)
            found = m->endpoints[i]->n_lb_endpoints && m->endpoints[i]->priority == p;
        if (!found) {
            FAULT("endpoints", "priority %u is missing: priorities must be 0 to %u without a gap", p, highest);
            return;
        }
    }
}

void cfg_endpoints(struct config_reader *cr, const pb_load_assignment *m, struct endpoints *out)
{
    uint32_t groups = LEN(m, endpoints), at = 0;
    (void)GET(m, cluster_name); /* the cluster's own name counts, as for Envoy */
    read_policy(cr, m, &out->load);
    for (uint32_t i = 0; i < groups; i++)
        out->count += (uint32_t)m->endpoints[i]->n_lb_endpoints;
    out->items = ARENA_ARRAY(out->arena, struct endpoint_spec, out->count);
    if (out->type == CLUSTER_LOGICAL_DNS && out->count != 1)
        FAULT("endpoints", "a LOGICAL_DNS cluster has exactly one endpoint, not %u", out->count);
    for (uint32_t i = 0; i < groups; i++) {
        const pb_locality_endpoints *g = m->endpoints[i];
        const struct locality *locality = read_locality(cr, GET(g, locality));
        uint32_t priority = GET(g, priority), n = LEN(g, lb_endpoints);
        uint32_t weight = proto_u32_or(GET(g, load_balancing_weight), 0);
        const struct metadata *metadata = NULL;
        IN("endpoints[%u].metadata", i)
            metadata = cfg_metadata(cr, GET(g, metadata), out->arena);
        for (uint32_t j = 0; j < n; j++) {
            struct endpoint_spec *e = &out->items[at];
            e->priority = priority;
            e->locality = locality;
            e->locality_weight = weight;
            e->locality_metadata = metadata;
            IN("endpoints[%u].lb_endpoints[%u]", i, j) {
                if (!leave_out(cr, g->lb_endpoints[j], out)) {
                    read_lb_endpoint(cr, g->lb_endpoints[j], out, e);
                    at++;
                }
            }
        }
    }
    out->count = at;
    check_priorities(cr, m);
}

void cfg_endpoints_fini(struct endpoint_spec *items, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct endpoint_spec *e = &items[i];
        addr_fini(&e->addr);
        addr_fini(&e->check_addr);
        for (uint32_t j = 0; j < e->extra_addr_count; j++)
            addr_fini(&e->extra_addrs[j]);
        if (e->has_pooled_metadata)
            metadata_pool_unref(e->metadata);
    }
}
