/* SPDX-License-Identifier: Apache-2.0
 *
 * Which part is made by what, and what each depends on.
 */
#include "control/translate/translate_priv.h"

#include "istio/mesh/mesh_config.pb-c.h"

#define KIND(id_) (UINT64_C(1) << KIND_##id_)

static const struct part_row {
    const char *type;
    void (*sidecar)(const struct translation *t, struct resource_sink *out);
    void (*gateway)(const struct translation *t, struct resource_sink *out);
    bool is_outbound;
    uint64_t kinds; /* whose changes matter beyond what the key tells */
} rows[PART_COUNT] = {
    [PART_CDS_OUTBOUND] = {"envoy.config.cluster.v3.Cluster", clusters_outbound, clusters_outbound, true, KIND(PEER_AUTHENTICATION)},
    [PART_CDS_INBOUND] = {"envoy.config.cluster.v3.Cluster", clusters_inbound, NULL, false, 0},
    [PART_LDS_OUTBOUND] = {"envoy.config.listener.v3.Listener", listeners_outbound, listeners_gateway, true, KIND(GATEWAY)},
    [PART_LDS_INBOUND] = {"envoy.config.listener.v3.Listener", listeners_inbound, NULL, false, KIND(PEER_AUTHENTICATION)},
    [PART_RDS] = {"envoy.config.route.v3.RouteConfiguration", routes_sidecar, routes_gateway, true, KIND(GATEWAY)},
    [PART_VHDS] = {"envoy.config.route.v3.VirtualHost", routes_sidecar_hosts, NULL, true, 0},
    [PART_NDS] = {"istio.networking.nds.v1.NameTable", name_table, name_table, true, 0},
    [PART_ECDS] = {"envoy.config.core.v3.TypedExtensionConfig", extensions, extensions, true, 0},
};

const char *part_type_url(enum part p)
{
    return rows[p].type;
}

static void add_number(struct strbuf *key, uint64_t n)
{
    strbuf_add(key, &n, sizeof(n));
}

static void add_text(struct strbuf *key, struct str s)
{
    add_number(key, s.n);
    strbuf_adds(key, s);
}

static void add_labels(struct strbuf *key, const struct labels *l)
{
    for (uint32_t i = 0; i < l->count; i++) {
        add_text(key, l->items[i].key);
        add_text(key, l->items[i].value);
    }
    add_number(key, l->count);
}

/* Does an endpoint of a headless service of the scope stand at the address? */
static bool is_headless_member(const struct translation *t, struct str address)
{
    const struct workload_service *all;
    size_t n = world_services_of(t->world, &address, 1, t->node->ns, &t->node->labels, t->arena, &all);
    for (size_t i = 0; i < n; i++)
        if (all[i].service->is_headless)
            return true;
    return false;
}

/* Policies that hold for the workload, by what they say. */
static void add_policies(const struct translation *t, enum kind_id kind, struct strbuf *key)
{
    const struct object *const *found;
    size_t n = policies_for(t->world, kind, t->node->ns, &t->node->labels, t->arena, &found);
    for (size_t i = 0; i < n; i++)
        add_number(key, found[i]->hash);
    add_number(key, n);
}

static void add_workload_services(const struct translation *t, struct strbuf *key)
{
    const struct workload_service *all;
    const struct node *n = t->node;
    size_t count = world_services_of(t->world, n->addresses, n->address_count, n->ns, &n->labels, t->arena, &all);
    for (size_t i = 0; i < count; i++) {
        const struct scoped_service *scoped = scope_service(t->scope, all[i].service->host);
        add_number(key, scoped && scoped->rule ? scoped->rule->objects[0]->hash : 0);
        add_number(key, all[i].service->hash);
        add_number(key, all[i].target);
    }
    add_number(key, count);
    add_number(key, t->scope->sidecar ? t->scope->sidecar->hash : 0); /* ingress listeners */
    if (t->scope->sidecar || n->interception == INTERCEPT_NONE)
        add_text(key, n->addresses[0]); /* where they bind or lead */
}

static void add_who(const struct node *n, struct strbuf *key)
{
    add_text(key, n->ns);
    add_text(key, n->domain);
    add_text(key, n->cluster_id);
    add_text(key, n->network);
    add_text(key, n->mesh_id);
    add_number(key, n->type | n->interception << 4 | n->takes_istio_filters << 8 | n->takes_vhds << 9 | n->dns_capture << 10 |
                        n->http10 << 11 | n->self_discovery << 12 | n->unprivileged << 13);
    add_number(key, n->http_proxy_port);
    add_number(key, n->idle_timeout_ms);
}

/* How near endpoints are is told by it. */
static void add_place(const struct translation *t, struct strbuf *key)
{
    const struct node *n = t->node;
    const Istio__Mesh__V1alpha1__MeshConfig *mesh = (const Istio__Mesh__V1alpha1__MeshConfig *)world_mesh(t->world)->config;
    add_text(key, n->region);
    add_text(key, n->zone);
    add_text(key, n->sub_zone);
    add_text(key, n->network);
    for (uint32_t i = 0; i < t->scope->place_label_count; i++)
        add_text(key, labels_get(&n->labels, t->scope->place_labels[i]));
    if (mesh && mesh->locality_lb_setting && mesh->locality_lb_setting->n_failover_priority)
        add_labels(key, &n->labels);
}

/* Of the scope as much as the part is made of. */
static uint64_t scope_hash(const struct translation *t, enum part p)
{
    if (p == PART_CDS_OUTBOUND || p == PART_NDS)
        return t->scope->services_hash;
    return p == PART_LDS_OUTBOUND && t->node->type != NODE_ROUTER ? t->scope->connections_hash : t->scope->hash;
}

void translate_key(const struct translation *t, enum part p, struct strbuf *key)
{
    add_number(key, p);
    add_number(key, world_mesh(t->world)->hash);
    add_who(t->node, key);
    add_policies(t, KIND_ENVOY_FILTER, key);
    envoy_filter_key(t, key);
    if (rows[p].is_outbound)
        add_number(key, scope_hash(t, p));
    if (!rows[p].is_outbound || t->node->type == NODE_ROUTER)
        add_workload_services(t, key);
    if (p == PART_LDS_OUTBOUND || p == PART_LDS_INBOUND) {
        add_text(key, t->node->canonical_name);
        add_text(key, t->node->canonical_revision);
        add_policies(t, KIND_TELEMETRY, key);
        providers_key(t, key);
        tracing_key(t, key);
    }
    if (p == PART_LDS_INBOUND || t->node->type == NODE_ROUTER) {
        add_policies(t, KIND_PEER_AUTHENTICATION, key);
        add_policies(t, KIND_REQUEST_AUTHENTICATION, key);
        add_policies(t, KIND_AUTHORIZATION_POLICY, key);
        policy_jwt_key(t, key);
    }
    if (p == PART_LDS_OUTBOUND && t->node->type == NODE_SIDECAR) /* headless services: not its own address */
        for (uint32_t i = 0; i < t->node->address_count; i++)
            if (is_headless_member(t, t->node->addresses[i]))
                add_text(key, t->node->addresses[i]);
    if (t->node->type == NODE_ROUTER)
        add_labels(key, &t->node->labels);
    if (p == PART_CDS_OUTBOUND && t->scope->has_names_to_resolve)
        add_place(t, key);
    bool has_sources = p == PART_RDS || p == PART_VHDS || (p == PART_LDS_OUTBOUND && t->scope->connections_have_labels);
    for (uint32_t i = 0; has_sources && i < t->scope->source_label_count; i++)
        add_text(key, labels_get(&t->node->labels, t->scope->source_labels[i]));
}

void translate_part(const struct translation *t, enum part p, struct resource_sink *out)
{
    void (*make)(const struct translation *, struct resource_sink *) = t->node->type == NODE_ROUTER ? rows[p].gateway : rows[p].sidecar;
    struct translation with = *t;
    with.patches = envoy_filter_patches(t);
    with.made = arena_zalloc(t->arena, sizeof(*with.made));
    if (make)
        make(&with, out);
    envoy_filter_added(&with, p, out);
}

bool translate_concerns(const struct translation *t, enum part p, const struct world_delta *d)
{
    if (d->everything || (d->kinds & rows[p].kinds))
        return true;
    for (uint32_t i = 0; rows[p].is_outbound && i < d->service_count; i++)
        if (scope_service(t->scope, d->services[i]))
            return true;
    return false;
}

/* ---- assignments ---- */

static void add_assignment(const struct translation *t, struct cluster_purpose *p, struct resource_sink *out)
{
    struct str cluster = cluster_name(t->arena, "outbound", p->subset, p->service->service->host, p->port->number);
    out->add(out, cluster, &assignment_of(t, p, cluster)->base);
}

static void add_assignments(const struct translation *t, const struct scoped_service *s, struct resource_sink *out)
{
    for (uint32_t k = 0; cluster_resolution(t, s->service) == RESOLUTION_CLIENT_SIDE && k < s->service->port_count; k++) {
        struct cluster_purpose p = {.service = s, .port = &s->service->ports[k]};
        if (p.port->protocol == PROTOCOL_UDP)
            continue;
        add_assignment(t, &p, out);
        for (size_t i = 0, n = rule_subset_count(s->rule); i < n; i++) {
            p.subset_spec = rule_subset(s->rule, i, &p.subset);
            add_assignment(t, &p, out);
        }
    }
}

void translate_assignments(const struct translation *t, struct str host, struct resource_sink *out)
{
    if (host.p) {
        const struct scoped_service *s = scope_service(t->scope, host);
        if (s)
            add_assignments(t, s, out);
        return;
    }
    for (uint32_t i = 0; i < t->scope->service_count; i++)
        add_assignments(t, &t->scope->services[i], out);
}

void translate_assignments_key(const struct translation *t, struct strbuf *key)
{
    add_number(key, t->scope->services_hash);
    add_number(key, t->node->type);
    add_text(key, t->node->cluster_id);
    add_number(key, world_mesh(t->world)->hash);
    add_place(t, key);
}
