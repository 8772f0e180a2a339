/* SPDX-License-Identifier: Apache-2.0
 *
 * Endpoints for /config_dump?include_eds: those that discovery assigned as they came, those of the
 * bootstrap as they are written there. Main thread.
 */
#include "proxy/config/dump_endpoints.h"

#include "proxy/config/dump_parts.h"

typedef Envoy__Admin__V3__EndpointsConfigDump pb_endpoints_dump;
typedef Envoy__Admin__V3__EndpointsConfigDump__DynamicEndpointConfig pb_dynamic_endpoints;
typedef Envoy__Admin__V3__EndpointsConfigDump__StaticEndpointConfig pb_static_endpoints;

struct collecting {
    struct proto_arena *arena;
    pb_endpoints_dump *dump;
    size_t cap;
};

static void count(const struct resource *r, void *arg)
{
    (void)r;
    ++((struct collecting *)arg)->cap;
}

static void add(const struct resource *r, void *arg)
{
    struct collecting *c = arg;
    pb_dynamic_endpoints *item = PROTO_NEW(c->arena, pb_dynamic_endpoints,
                                           envoy__admin__v3__endpoints_config_dump__dynamic_endpoint_config__descriptor);
    if (!item || c->dump->n_dynamic_endpoint_configs == c->cap)
        return;
    item->version_info = proto_arena_strdup(c->arena, r->version);
    item->endpoint_config = dump_any(c->arena, RESOURCE_ENDPOINTS, r->packed);
    c->dump->dynamic_endpoint_configs[c->dump->n_dynamic_endpoint_configs++] = item;
}

static void add_static(struct collecting *c, const pb_cluster *m)
{
    pb_static_endpoints *item = PROTO_NEW(c->arena, pb_static_endpoints,
                                          envoy__admin__v3__endpoints_config_dump__static_endpoint_config__descriptor);
    if (!item || !m->load_assignment)
        return;
    item->endpoint_config = proto_pack_any(c->arena, &m->load_assignment->base);
    c->dump->static_endpoint_configs[c->dump->n_static_endpoint_configs++] = item;
}

pb_endpoints_dump *dump_endpoints(struct proto_arena *a, const pb_bootstrap *boot)
{
    struct collecting c = {.arena = a};
    size_t n = boot->static_resources ? boot->static_resources->n_clusters : 0;
    c.dump = PROTO_NEW(a, pb_endpoints_dump, envoy__admin__v3__endpoints_config_dump__descriptor);
    if (!c.dump)
        return NULL;
    discovery_each_kept(RESOURCE_ENDPOINTS, count, &c);
    c.dump->dynamic_endpoint_configs = proto_arena_alloc(a, (c.cap + 1) * sizeof *c.dump->dynamic_endpoint_configs);
    c.dump->static_endpoint_configs = proto_arena_alloc(a, (n + 1) * sizeof *c.dump->static_endpoint_configs);
    if (!c.dump->dynamic_endpoint_configs || !c.dump->static_endpoint_configs)
        return NULL;
    discovery_each_kept(RESOURCE_ENDPOINTS, add, &c);
    for (size_t i = 0; i < n; i++)
        add_static(&c, boot->static_resources->clusters[i]);
    return c.dump;
}
