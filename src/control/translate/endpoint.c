/* SPDX-License-Identifier: Apache-2.0
 *
 * Load assignments: a service's endpoints (or a subset's) by locality and priority.
 */
#include "control/translate/locality_priv.h"

#include <stdlib.h>

#define LOCALITY Envoy__Config__Endpoint__V3__LocalityLbEndpoints
#define ENDPOINT Envoy__Config__Endpoint__V3__LbEndpoint

/* An endpoint of the cluster and how soon it is turned to. */
struct placed {
    const struct endpoint *endpoint;
    uint32_t priority;
};

static struct str label_or(const struct labels *l, const char *key, struct str otherwise)
{
    struct str v = labels_get(l, str_from(key));
    return v.n ? v : otherwise;
}

/* "workload;namespace;canonical name;canonical revision;cluster": what the peer is taken for before it has spoken. */
static Envoy__Config__Core__V3__Metadata *metadata(const struct translation *t, const struct endpoint *e, bool is_mesh_tls)
{
    struct str app = label_or(&e->labels, "app", label_or(&e->labels, "app.kubernetes.io/name", e->workload));
    struct str name = label_or(&e->labels, "service.istio.io/canonical-name", app);
    struct str revision = label_or(&e->labels, "service.istio.io/canonical-revision", label_or(&e->labels, "version", STR("")));
    Google__Protobuf__Struct *istio = struct_new(t);
    struct_add(t, istio, "workload",
               arena_printf(t->arena, "%.*s;%.*s;%.*s;%.*s;%.*s", STR_ARG(e->workload), STR_ARG(e->ns), STR_ARG(name), STR_ARG(revision),
                            STR_ARG(e->cluster_id)));
    if (!is_mesh_tls || !str_eq(e->tls_mode, STR("istio")))
        return metadata_of(t, "istio", istio);
    Google__Protobuf__Struct *match = struct_new(t);
    struct_add(t, match, "tlsMode", e->tls_mode);
    Envoy__Config__Core__V3__Metadata *m = metadata_of(t, "envoy.transport_socket_match", match);
    Envoy__Config__Core__V3__Metadata *other = metadata_of(t, "istio", istio);
    Envoy__Config__Core__V3__Metadata__FilterMetadataEntry **both = pointers(t, 2);
    both[0] = m->filter_metadata[0];
    both[1] = other->filter_metadata[0];
    m->filter_metadata = both;
    m->n_filter_metadata = 2;
    return m;
}

static ENDPOINT *lb_endpoint(const struct translation *t, const struct endpoint *e, bool is_mesh_tls)
{
    static const Envoy__Config__Core__V3__HealthStatus statuses[] = {
        [ENDPOINT_UNKNOWN] = ENVOY__CONFIG__CORE__V3__HEALTH_STATUS__UNKNOWN,
        [ENDPOINT_HEALTHY] = ENVOY__CONFIG__CORE__V3__HEALTH_STATUS__HEALTHY,
        [ENDPOINT_UNHEALTHY] = ENVOY__CONFIG__CORE__V3__HEALTH_STATUS__UNHEALTHY,
        [ENDPOINT_DRAINING] = ENVOY__CONFIG__CORE__V3__HEALTH_STATUS__DRAINING,
    };
    ENDPOINT *out = MAKE(t, ENDPOINT, envoy__config__endpoint__v3__lb_endpoint__descriptor);
    out->host_identifier_case = ENVOY__CONFIG__ENDPOINT__V3__LB_ENDPOINT__HOST_IDENTIFIER_ENDPOINT;
    out->endpoint = MAKE(t, Envoy__Config__Endpoint__V3__Endpoint, envoy__config__endpoint__v3__endpoint__descriptor);
    out->endpoint->address = address_of(t, e->address, e->port);
    out->load_balancing_weight = u32_of(t, e->weight ? e->weight : 1);
    out->health_status = statuses[e->health];
    out->metadata = metadata(t, e, is_mesh_tls);
    return out;
}

static int by_locality(const void *a, const void *b)
{
    const struct placed *p = a, *q = b;
    const struct endpoint *x = p->endpoint, *y = q->endpoint;
    int c = str_cmp(x->region, y->region);
    c = c ? c : str_cmp(x->zone, y->zone);
    c = c ? c : str_cmp(x->sub_zone, y->sub_zone);
    c = c ? c : (p->priority > q->priority) - (p->priority < q->priority);
    c = c ? c : str_cmp(x->address, y->address);
    return c ? c : (x > y) - (x < y);
}

static bool is_same_place(const struct placed *p, const struct placed *q)
{
    const struct endpoint *x = p->endpoint, *y = q->endpoint;
    return str_eq(x->region, y->region) && str_eq(x->zone, y->zone) && str_eq(x->sub_zone, y->sub_zone) && p->priority == q->priority;
}

static LOCALITY *locality_of(const struct translation *t, const struct endpoint_purpose *purpose, const struct placed *items, size_t count)
{
    LOCALITY *l = MAKE(t, LOCALITY, envoy__config__endpoint__v3__locality_lb_endpoints__descriptor);
    uint32_t weight = 0;
    l->locality = MAKE(t, Envoy__Config__Core__V3__Locality, envoy__config__core__v3__locality__descriptor);
    l->locality->region = text(t, items[0].endpoint->region);
    l->locality->zone = text(t, items[0].endpoint->zone);
    l->locality->sub_zone = text(t, items[0].endpoint->sub_zone);
    l->priority = items[0].priority;
    l->lb_endpoints = pointers(t, count);
    l->n_lb_endpoints = count;
    for (size_t i = 0; i < count; i++) {
        l->lb_endpoints[i] = lb_endpoint(t, items[i].endpoint, purpose->is_mesh_tls);
        weight += l->lb_endpoints[i]->load_balancing_weight->value;
    }
    l->load_balancing_weight = u32_of(t, weight);
    return l;
}

static size_t endpoints_of(const struct translation *t, const struct cluster_purpose *p, const struct endpoint_purpose *purpose,
                           struct placed **out)
{
    const struct endpoint_set *set = world_endpoints(t->world, p->service->service);
    struct labels wanted = {0};
    size_t n = 0;
    rule_subset_labels(t, p->service->rule, p->subset, &wanted);
    *out = arena_alloc(t->arena, (set && set->count ? set->count : 1) * sizeof(**out));
    for (uint32_t i = 0; set && i < set->count; i++) {
        const struct endpoint *e = &set->items[i];
        if (e->service_port == p->port->number && labels_have_all(&e->labels, &wanted))
            (*out)[n++] = (struct placed){e, locality_priority(t, purpose, e)};
    }
    qsort(*out, n, sizeof(**out), by_locality);
    return n;
}

ASSIGNMENT *assignment_of(const struct translation *t, const struct cluster_purpose *p, struct str cluster)
{
    ASSIGNMENT *a = MAKE(t, ASSIGNMENT, envoy__config__endpoint__v3__cluster_load_assignment__descriptor);
    struct endpoint_purpose purpose = endpoint_purpose_of(t, p);
    struct placed *items;
    struct many localities = {0};
    size_t n = endpoints_of(t, p, &purpose, &items);
    a->cluster_name = text(t, cluster);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && is_same_place(&items[i], &items[end]);)
            end++;
        many_add(t, &localities, locality_of(t, &purpose, &items[i], end - i));
    }
    a->endpoints = (LOCALITY **)localities.items;
    a->n_endpoints = localities.count;
    locality_close_gaps(a);
    locality_distribute(t, &purpose, a);
    return a;
}
