/* SPDX-License-Identifier: Apache-2.0
 *
 * The endpoints of one service: of EndpointSlices, of a ServiceEntry's own list, of workloads that its selector names. Pure but for
 * look-ups in the world.
 */
#include "model/world_priv.h"

#include <stdlib.h>

#include "base/mem.h"
#include "istio/networking/service_entry.pb-c.h"
#include "k8s/core.pb-c.h"
#include "k8s/discovery.pb-c.h"

#define ENTRY Istio__Networking__V1alpha3__ServiceEntry
#define WORKLOAD Istio__Networking__V1alpha3__WorkloadEntry

struct builder {
    const struct world *w;
    const struct service *service;
    struct arena *arena; /* of the set: all text is copied into it */
    struct endpoint *items;
    uint32_t count;
    size_t cap;
};

static struct labels copy_labels(struct arena *a, const struct labels *from)
{
    struct label *items = arena_alloc(a, (from->count ? from->count : 1) * sizeof(*items));
    for (uint32_t i = 0; i < from->count; i++)
        items[i] = (struct label){arena_str(a, from->items[i].key), arena_str(a, from->items[i].value)};
    return (struct labels){items, from->count};
}

static struct endpoint *add(struct builder *b)
{
    b->items = mem_grow(b->items, &b->cap, b->count + 1, sizeof(*b->items));
    struct endpoint *e = &b->items[b->count++];
    const struct str none = STR("");
    *e = (struct endpoint){.region = none, .zone = none, .sub_zone = none, .network = none, .identity = none, .service_account = none,
                           .workload = none, .node = none, .ns = b->service->ns, .tls_mode = STR("disabled"), .cluster_id = STR("Kubernetes")};
    return e;
}

/* `is_entry`: a WorkloadEntry or an entry of a list. One with an account has a proxy, as istiod takes it; a Pod has one where its
 * label says so. */
static void set_identity(struct builder *b, struct endpoint *e, bool is_entry)
{
    struct str td = b->w->mesh->trust_domain;
    if (e->service_account.n)
        e->identity = arena_printf(b->arena, "spiffe://%.*s/ns/%.*s/sa/%.*s", STR_ARG(td), STR_ARG(e->ns), STR_ARG(e->service_account));
    struct str mode = labels_get(&e->labels, STR("security.istio.io/tlsMode"));
    if (mode.n)
        e->tls_mode = mode;
    else if (is_entry && e->service_account.n)
        e->tls_mode = STR("istio");
    e->is_hbone = str_eq(labels_get(&e->labels, STR("networking.istio.io/tunnel")), STR("http"));
}

/* What the workload behind an address tells. */
static void describe(struct builder *b, struct endpoint *e, const struct workload *wl)
{
    struct arena *a = b->arena;
    e->labels = copy_labels(a, &wl->labels);
    e->ns = arena_str(a, wl->ns);
    e->service_account = arena_str(a, wl->service_account);
    e->workload = arena_str(a, wl->name);
    e->node = arena_str(a, wl->node);
    e->region = arena_str(a, wl->region);
    e->zone = arena_str(a, wl->zone);
    e->sub_zone = arena_str(a, wl->sub_zone);
    e->network = arena_str(a, wl->network);
    set_identity(b, e, wl->object->kind->id == KIND_WORKLOAD_ENTRY);
}

/* ---- EndpointSlices ---- */

static enum endpoint_health health_of(const struct builder *b, const K8s__Discovery__V1__EndpointConditions *c)
{
    bool is_ready = !c || !c->ready || c->ready->value;
    return is_ready || b->service->publishes_not_ready ? ENDPOINT_HEALTHY : ENDPOINT_UNHEALTHY;
}

static void add_slice_address(struct builder *b, const K8s__Discovery__V1__Endpoint *from, const char *address, uint32_t port,
                              uint32_t service_port)
{
    struct endpoint *e = add(b);
    e->address = arena_str(b->arena, str_from(address));
    e->port = port;
    e->service_port = service_port;
    e->health = health_of(b, from->conditions);
    const struct workload *wl = map_get(b->w->workloads, e->address);
    if (wl)
        describe(b, e, wl);
    else
        e->zone = arena_str(b->arena, str_from(from->zone));
}

static const struct service_port *port_named(const struct service *s, const char *name)
{
    for (uint32_t i = 0; i < s->port_count; i++)
        if (str_eq(s->ports[i].name, str_from(name)))
            return &s->ports[i];
    return NULL;
}

static void add_slice(struct builder *b, const K8s__Discovery__V1__EndpointSlice *slice)
{
    for (size_t p = 0; p < slice->n_ports; p++) {
        const K8s__Discovery__V1__EndpointPort *port = slice->ports[p];
        const struct service_port *sp = port_named(b->service, port->name);
        if (!sp || !port->port)
            continue;
        for (size_t i = 0; i < slice->n_endpoints; i++)
            for (size_t k = 0; k < slice->endpoints[i]->n_addresses; k++)
                add_slice_address(b, slice->endpoints[i], slice->endpoints[i]->addresses[k], (uint32_t)port->port->value, sp->number);
    }
}

/* ---- workloads that a selector names ---- */

static uint32_t target_of_pod(const struct workload *wl, struct str name)
{
    const K8s__Core__V1__Pod *pod = (const K8s__Core__V1__Pod *)wl->object->body;
    for (size_t i = 0; pod->spec && i < pod->spec->n_containers; i++)
        for (size_t k = 0; k < pod->spec->containers[i]->n_ports; k++)
            if (str_eq(str_from(pod->spec->containers[i]->ports[k]->name), name))
                return (uint32_t)pod->spec->containers[i]->ports[k]->container_port;
    return 0;
}

static uint32_t port_by_name(Istio__Networking__V1alpha3__WorkloadEntry__PortsEntry *const *ports, size_t count, struct str name)
{
    for (size_t i = 0; i < count; i++)
        if (str_eq(str_from(ports[i]->key), name))
            return ports[i]->value;
    return 0;
}

static uint32_t target_of(const struct workload *wl, const struct service_port *p)
{
    uint32_t port = 0;
    if (wl->object->kind->id == KIND_WORKLOAD_ENTRY) {
        const WORKLOAD *e = (const WORKLOAD *)wl->object->body;
        port = port_by_name(e->ports, e->n_ports, p->name);
    } else if (p->target_name.n)
        return target_of_pod(wl, p->target_name);
    return port ? port : p->target ? p->target : p->number;
}

static void add_workload(struct builder *b, const struct workload *wl)
{
    for (uint32_t i = 0; i < b->service->port_count; i++) {
        uint32_t port = target_of(wl, &b->service->ports[i]);
        if (!port)
            continue;
        struct endpoint *e = add(b);
        e->address = arena_str(b->arena, wl->address);
        e->port = port;
        e->service_port = b->service->ports[i].number;
        if (wl->object->kind->id == KIND_WORKLOAD_ENTRY)
            e->weight = ((const WORKLOAD *)wl->object->body)->weight;
        describe(b, e, wl);
    }
}

static bool is_running(const struct workload *wl)
{
    const K8s__Core__V1__Pod *pod = (const K8s__Core__V1__Pod *)wl->object->body;
    return !pod->status || (strcmp(pod->status->phase, "Succeeded") != 0 && strcmp(pod->status->phase, "Failed") != 0);
}

static void add_matching(struct builder *b, const struct bag *workloads)
{
    for (size_t i = 0; workloads && i < workloads->count; i++) {
        const struct workload *wl = workloads->items[i];
        if ((wl->object->kind->id != KIND_POD || is_running(wl)) && labels_have_all(&wl->labels, &b->service->selector))
            add_workload(b, wl);
    }
}

/* Pods too for a ServiceEntry; a Kubernetes Service has its Pods by slices. */
static void add_selected(struct builder *b)
{
    if (b->service->selector.count == 0)
        return;
    add_matching(b, map_get(b->w->entries_in, b->service->ns));
    if (!b->service->is_kubernetes)
        add_matching(b, map_get(b->w->pods_in, b->service->ns));
}

/* ---- a ServiceEntry's own list ---- */

/* Endpoints of a list have no names: they are told apart by the entry's and their place. */
static void add_listed(struct builder *b, const WORKLOAD *from, size_t index)
{
    struct arena *a = b->arena;
    for (uint32_t i = 0; i < b->service->port_count; i++) {
        const struct service_port *p = &b->service->ports[i];
        uint32_t port = port_by_name(from->ports, from->n_ports, p->name);
        struct endpoint *e = add(b);
        e->address = arena_str(a, str_from(from->address));
        e->port = port ? port : p->target;
        e->service_port = p->number;
        e->weight = from->weight;
        e->workload = arena_printf(a, "%.*s-%zu", STR_ARG(b->service->object->name), index);
        e->network = arena_str(a, str_from(from->network));
        e->service_account = arena_str(a, str_from(from->service_account));
        locality_split(arena_str(a, str_from(from->locality)), &e->region, &e->zone, &e->sub_zone);
        struct label *items = arena_alloc(a, (from->n_labels ? from->n_labels : 1) * sizeof(*items));
        for (size_t k = 0; k < from->n_labels; k++)
            items[k] = (struct label){arena_str(a, str_from(from->labels[k]->key)), arena_str(a, str_from(from->labels[k]->value))};
        labels_sort(items, (uint32_t)from->n_labels);
        e->labels = (struct labels){items, (uint32_t)from->n_labels};
        set_identity(b, e, true);
    }
}

/* By DNS without a list: the host is the endpoint. */
static void add_host(struct builder *b, struct str host)
{
    for (uint32_t i = 0; i < b->service->port_count; i++) {
        struct endpoint *e = add(b);
        e->address = arena_str(b->arena, host);
        e->workload = arena_str(b->arena, b->service->object->name);
        e->port = b->service->ports[i].target;
        e->service_port = b->service->ports[i].number;
    }
}

static void add_entry(struct builder *b)
{
    const ENTRY *entry = (const ENTRY *)b->service->object->body;
    bool is_by_dns = b->service->resolution == RESOLUTION_DNS || b->service->resolution == RESOLUTION_DNS_ROUND_ROBIN;
    for (size_t i = 0; i < entry->n_endpoints; i++)
        add_listed(b, entry->endpoints[i], i);
    if (entry->n_endpoints == 0 && !entry->workload_selector && is_by_dns)
        add_host(b, b->service->host);
}

static void add_kubernetes(struct builder *b)
{
    const struct service *s = b->service;
    struct strbuf key = {0};
    strbuf_addf(&key, "%.*s/%.*s", STR_ARG(s->ns), STR_ARG(s->name));
    const struct bag *slices = map_get(b->w->slices, strbuf_str(&key));
    strbuf_fini(&key);
    for (size_t i = 0; slices && i < slices->count; i++) {
        const struct object *o = slices->items[i];
        add_slice(b, (const K8s__Discovery__V1__EndpointSlice *)o->body);
    }
    if (s->external_name.n)
        add_host(b, s->external_name);
}

static int by_place(const void *a, const void *b)
{
    return endpoint_compare(a, b);
}

const struct endpoint_set *endpoints_build(const struct world *w, const struct place *p)
{
    struct builder b = {.w = w, .service = p->service};
    struct endpoint_set *set = endpoint_set_new(&b.arena);
    set->host = arena_str(b.arena, p->service->host);
    set->ns = arena_str(b.arena, p->service->ns);
    if (p->service->is_kubernetes)
        add_kubernetes(&b);
    else
        add_entry(&b);
    add_selected(&b);
    if (b.count)
        qsort(b.items, b.count, sizeof(*b.items), by_place);
    struct endpoint *items = arena_alloc(b.arena, (b.count ? b.count : 1) * sizeof(*items));
    uint32_t kept = 0;
    for (uint32_t i = 0; i < b.count; i++) { /* two slices may tell of one address while they are rearranged */
        b.items[i].ns = arena_str(b.arena, b.items[i].ns);
        if (kept == 0 || endpoint_compare(&items[kept - 1], &b.items[i]) != 0)
            items[kept++] = b.items[i];
    }
    mem_free(b.items);
    set->items = items;
    set->count = kept;
    endpoint_set_seal(set);
    return set;
}
