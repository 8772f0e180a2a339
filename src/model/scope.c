/* SPDX-License-Identifier: Apache-2.0
 *
 * Scopes: made when somebody asks, kept until services, rules, routes or Sidecars change.
 */
#include "model/scope_priv.h"

#include <stdlib.h>

#include "base/mem.h"
#include "istio/networking/destination_rule.pb-c.h"
#include "istio/networking/sidecar.pb-c.h"
#include "istio/networking/virtual_service.pb-c.h"

#define SIDECAR Istio__Networking__V1alpha3__Sidecar
#define EGRESS Istio__Networking__V1alpha3__IstioEgressListener

struct scope_body {
    struct scope scope; /* first */
    struct arena arena;
    struct proto_arena *protos;
    const struct service **held; /* references */
    size_t held_count, held_cap;
    const struct object **objects;
    size_t object_count, object_cap;
    uint32_t refs;
};

const struct scope *scope_ref(const struct scope *s)
{
    ((struct scope_body *)(uintptr_t)s)->refs++;
    return s;
}

void scope_unref(const struct scope **s)
{
    struct scope_body *b = (struct scope_body *)(uintptr_t)*s;
    *s = NULL;
    if (!b || --b->refs)
        return;
    for (size_t i = 0; i < b->held_count; i++)
        service_unref(&b->held[i]);
    for (size_t i = 0; i < b->object_count; i++)
        object_unref(&b->objects[i]);
    mem_free(b->held);
    mem_free(b->objects);
    proto_arena_free(&b->protos);
    arena_fini(&b->arena);
    mem_free(b);
}

void scopes_forget(struct scopes *s)
{
    size_t pos = 0;
    struct str key;
    void *value;
    while (s->by_key && map_next(s->by_key, &pos, &key, &value)) {
        const struct scope *scope = value;
        scope_unref(&scope);
    }
    map_free(&s->by_key);
    s->by_key = map_new();
    rule_index_free(&s->rules);
    route_index_free(&s->routes);
}

void scopes_fini(struct scopes *s)
{
    scopes_forget(s);
    map_free(&s->by_key);
}

/* ---- which Sidecar ---- */

static bool sidecar_selects(const struct object *o, const struct labels *labels)
{
    const SIDECAR *s = (const SIDECAR *)o->body;
    for (size_t i = 0; i < s->workload_selector->n_labels; i++)
        if (!str_eq(labels_get(labels, str_from(s->workload_selector->labels[i]->key)), str_from(s->workload_selector->labels[i]->value)))
            return false;
    return true;
}

static const struct object *sidecar_in(const struct world *w, struct str ns, const struct labels *labels, bool with_selector)
{
    size_t n;
    const struct object *const *all = store_list_in(w->store, KIND_SIDECAR, ns, &n);
    for (size_t i = 0; i < n; i++) {
        const SIDECAR *s = (const SIDECAR *)all[i]->body;
        bool has_selector = s->workload_selector && s->workload_selector->n_labels;
        if (has_selector == with_selector && (!has_selector || sidecar_selects(all[i], labels)))
            return all[i];
    }
    return NULL;
}

static const struct object *sidecar_for(const struct world *w, struct str ns, const struct labels *labels)
{
    const struct object *o = sidecar_in(w, ns, labels, true);
    o = o ? o : sidecar_in(w, ns, labels, false);
    return o ? o : sidecar_in(w, w->mesh->root_namespace, labels, false);
}

/* ---- services of an egress listener ---- */

struct making {
    struct world *w;
    struct scope_body *b;
    const struct labels *labels;
    struct scoped_service *extra; /* outside the egress listeners, led to by their routes */
    size_t extra_count, extra_cap;
};

/* "ns/host" of an egress listener. */
static bool pattern_takes(const char *pattern, struct str own_ns, const struct service *s)
{
    struct str host, ns = str_split(str_from(pattern), '/', &host);
    if (str_eq(ns, STR("~")))
        return false;
    if (str_eq(ns, STR(".")))
        ns = own_ns;
    return (str_eq(ns, STR("*")) || str_eq(ns, s->ns)) && host_is_subset(s->host, host);
}

static bool egress_takes(const EGRESS *e, struct str own_ns, const struct service *s)
{
    if (!e)
        return true;
    /* a port of its own leads to services with that port; but a proxy that applications name leads to every port */
    if (e->port && e->port->number && !str_eq_nocase(str_from(e->port->protocol), STR("HTTP_PROXY")) && !service_port_find(s, e->port->number))
        return false;
    for (size_t i = 0; i < e->n_hosts; i++)
        if (pattern_takes(e->hosts[i], own_ns, s))
            return true;
    return false;
}

static bool is_better(const struct service *a, const struct service *than, struct str ns)
{
    bool a_own = str_eq(a->ns, ns), b_own = str_eq(than->ns, ns);
    if (a_own != b_own)
        return a_own;
    return a->is_kubernetes && !than->is_kubernetes; /* else the earlier one, which is the older */
}

static void hold(struct making *m, const struct service *s)
{
    m->b->held = mem_grow(m->b->held, &m->b->held_cap, m->b->held_count + 1, sizeof(*m->b->held));
    m->b->held[m->b->held_count++] = service_ref(s);
}

static void hold_objects(struct making *m, const struct object *const *objects, size_t count)
{
    struct scope_body *b = m->b;
    b->objects = mem_grow(b->objects, &b->object_cap, b->object_count + count, sizeof(*b->objects));
    for (size_t i = 0; i < count; i++)
        b->objects[b->object_count++] = object_ref(objects[i]);
}

static void add_service(struct making *m, const struct service *s, struct scoped_service *out)
{
    *out = (struct scoped_service){.service = s};
    out->rule = rule_find(m->w, m->w->scopes.rules, s, m->b->scope.ns, m->labels, &m->b->arena, m->b->protos);
    hold(m, s);
    if (out->rule)
        hold_objects(m, out->rule->objects, out->rule->object_count);
}

/* Of each host the one service that counts. */
static void fill_services(struct making *m, const EGRESS *e, struct scope_egress *out)
{
    size_t n, kept = 0;
    struct str ns = m->b->scope.ns;
    const struct service *const *all = world_services(m->w, &n);
    const struct service **chosen = mem_alloc((n + 1) * sizeof(*chosen));
    for (size_t i = 0; i < n; i++) {
        const struct service *s = all[i];
        /* an ExternalName is another name of somebody else's host: it has nothing of its own */
        if (s->external_name.n || !visibility_allows(&s->visibility, s->ns, ns) || !egress_takes(e, ns, s))
            continue;
        if (kept && str_eq(chosen[kept - 1]->host, s->host)) {
            if (is_better(s, chosen[kept - 1], ns))
                chosen[kept - 1] = s;
        } else
            chosen[kept++] = s;
    }
    struct scoped_service *services = arena_alloc(&m->b->arena, (kept + 1) * sizeof(*services));
    for (size_t i = 0; i < kept; i++)
        add_service(m, chosen[i], &services[i]);
    mem_free(chosen);
    out->services = services;
    out->service_count = (uint32_t)kept;
}

/* ---- routes of an egress listener ---- */

static bool route_is_taken(const EGRESS *e, struct str own_ns, const struct scoped_route *r)
{
    if (!e)
        return true;
    for (size_t i = 0; i < e->n_hosts; i++) {
        struct str host, ns = str_split(str_from(e->hosts[i]), '/', &host);
        if (str_eq(ns, STR(".")))
            ns = own_ns;
        if (!str_eq(ns, STR("*")) && !str_eq(ns, r->object->ns))
            continue;
        for (uint32_t k = 0; k < r->host_count; k++)
            if (host_overlaps(r->hosts[k], host))
                return true;
    }
    return false;
}

/* A scope outlives the index: its routes are copies that hold their objects. */
static void add_route(struct making *m, const struct scoped_route *r, struct scoped_route *out)
{
    struct arena *a = &m->b->arena;
    struct str *hosts = arena_alloc(a, (r->host_count + 1) * sizeof(*hosts)), *gateways = arena_alloc(a, (r->gateway_count + 1) * sizeof(*gateways));
    *out = *r;
    for (uint32_t i = 0; i < r->host_count; i++)
        hosts[i] = arena_str(a, r->hosts[i]);
    for (uint32_t i = 0; i < r->gateway_count; i++)
        gateways[i] = arena_str(a, r->gateways[i]);
    out->hosts = hosts;
    out->gateways = gateways;
    if (r->spec != r->object->body)
        out->spec = proto_clone(m->b->protos, r->spec);
    hold_objects(m, &r->object, 1);
}

static void fill_routes(struct making *m, const EGRESS *e, bool of_mesh, struct scope_egress *out)
{
    struct arena scratch;
    const struct scoped_route **visible;
    uint32_t kept = 0;
    arena_init(&scratch, 0);
    size_t n = routes_visible(m->w, m->w->scopes.routes, m->b->scope.ns, &scratch, &visible);
    struct scoped_route *routes = arena_alloc(&m->b->arena, (n + 1) * sizeof(*routes));
    for (size_t i = 0; i < n; i++)
        if ((!of_mesh || route_is_of_gateway(visible[i], STR("mesh"))) && route_is_taken(e, m->b->scope.ns, visible[i]))
            add_route(m, visible[i], &routes[kept++]);
    arena_fini(&scratch);
    out->routes = routes;
    out->route_count = kept;
}

/* ---- labels that routes look at ---- */

static void add_key(struct scope *s, struct str *room, const char *key)
{
    for (uint32_t i = 0; i < s->source_label_count; i++)
        if (str_eq(room[i], str_from(key)))
            return;
    room[s->source_label_count++] = str_from(key); /* of an object that the scope holds */
}

/* list_: http, tcp or tls. */
#define EACH_SOURCE_LABEL(route_, list_, key_)                                                                                      \
    for (size_t h_ = 0; h_ < (route_)->n_##list_; h_++)                                                                             \
        for (size_t m_ = 0; m_ < (route_)->list_[h_]->n_match; m_++)                                                                \
            for (size_t l_ = 0; l_ < (route_)->list_[h_]->match[m_]->n_source_labels &&                                             \
                                ((key_) = (route_)->list_[h_]->match[m_]->source_labels[l_]->key, true);                            \
                 l_++)

/* Counts where there is no room yet. */
static void add_labels_of(struct scope *s, const Istio__Networking__V1alpha3__VirtualService *vs, struct str *room, size_t *most)
{
    const char *key;
    EACH_SOURCE_LABEL (vs, http, key) {
        ++*most;
        if (room)
            add_key(s, room, key);
    }
    size_t of_requests = *most;
    EACH_SOURCE_LABEL (vs, tcp, key) {
        ++*most;
        if (room)
            add_key(s, room, key);
    }
    EACH_SOURCE_LABEL (vs, tls, key) {
        ++*most;
        if (room)
            add_key(s, room, key);
    }
    s->connections_have_labels |= *most != of_requests;
}

static void fill_source_labels(struct making *m)
{
    struct scope *s = &m->b->scope;
    struct str *room = NULL;
    for (int pass = 0; pass < 2; pass++) { /* counts, then fills */
        size_t most = 0;
        for (uint32_t e = 0; e < s->egress_count; e++)
            for (uint32_t i = 0; i < s->egress[e].route_count; i++)
                add_labels_of(s, (const Istio__Networking__V1alpha3__VirtualService *)s->egress[e].routes[i].spec, room, &most);
        if (pass == 0)
            room = arena_alloc(&m->b->arena, (most + 1) * sizeof(*room));
    }
    s->source_labels = room;
}

/* ---- making ---- */

static int by_host(const void *a, const void *b)
{
    return str_cmp(((const struct scoped_service *)a)->service->host, ((const struct scoped_service *)b)->service->host);
}

/* ---- where visible routes lead ---- */

/* A service outside what the Sidecar imports, for routes that it does import lead there (Istio: its destinations are added). */
static void add_destination(struct making *m, const struct scoped_route *r, const Istio__Networking__V1alpha3__Destination *d)
{
    struct scope *s = &m->b->scope;
    if (!d)
        return;
    struct str host = host_whole(&m->b->arena, str_from(d->host), r->object->ns, m->w->domain);
    const struct service *service = world_service(m->w, host, s->ns);
    if (!service || service->external_name.n)
        return;
    for (uint32_t e = 0; e < s->egress_count; e++)
        for (uint32_t i = 0; i < s->egress[e].service_count; i++)
            if (str_eq(s->egress[e].services[i].service->host, host))
                return;
    for (size_t i = 0; i < m->extra_count; i++)
        if (str_eq(m->extra[i].service->host, host))
            return;
    m->extra = mem_grow(m->extra, &m->extra_cap, m->extra_count + 1, sizeof(*m->extra));
    add_service(m, service, &m->extra[m->extra_count++]);
}

static void add_destinations(struct making *m, const struct scoped_route *r)
{
    const Istio__Networking__V1alpha3__VirtualService *vs = (const Istio__Networking__V1alpha3__VirtualService *)r->spec;
    for (size_t i = 0; i < vs->n_http; i++) {
        for (size_t k = 0; k < vs->http[i]->n_route; k++)
            add_destination(m, r, vs->http[i]->route[k]->destination);
        for (size_t k = 0; k < vs->http[i]->n_mirrors; k++)
            add_destination(m, r, vs->http[i]->mirrors[k]->destination);
        add_destination(m, r, vs->http[i]->mirror);
    }
    for (size_t i = 0; i < vs->n_tcp; i++)
        for (size_t k = 0; k < vs->tcp[i]->n_route; k++)
            add_destination(m, r, vs->tcp[i]->route[k]->destination);
    for (size_t i = 0; i < vs->n_tls; i++)
        for (size_t k = 0; k < vs->tls[i]->n_route; k++)
            add_destination(m, r, vs->tls[i]->route[k]->destination);
}

/* Without a Sidecar everything visible is there already. */
static void fill_destinations(struct making *m)
{
    const struct scope *s = &m->b->scope;
    for (uint32_t e = 0; s->sidecar && e < s->egress_count; e++)
        for (uint32_t i = 0; i < s->egress[e].route_count; i++)
            add_destinations(m, &s->egress[e].routes[i]);
}

static void join_services(struct making *m)
{
    struct scope *s = &m->b->scope;
    size_t most = m->extra_count, kept = 0;
    for (uint32_t i = 0; i < s->egress_count; i++)
        most += s->egress[i].service_count;
    struct scoped_service *all = arena_alloc(&m->b->arena, (most + 1) * sizeof(*all));
    most = 0;
    for (uint32_t i = 0; i < s->egress_count; i++)
        for (uint32_t k = 0; k < s->egress[i].service_count; k++)
            all[most++] = s->egress[i].services[k];
    for (size_t i = 0; i < m->extra_count; i++)
        all[most++] = m->extra[i];
    qsort(all, most, sizeof(*all), by_host);
    for (size_t i = 0; i < most; i++)
        if (kept == 0 || by_host(&all[kept - 1], &all[i]) != 0)
            all[kept++] = all[i];
    s->services = all;
    s->service_count = (uint32_t)kept;
}

/* ---- labels that rules tell distance by ---- */

#define POLICY Istio__Networking__V1alpha3__TrafficPolicy
#define BALANCER Istio__Networking__V1alpha3__LoadBalancerSettings

struct place_labels {
    struct arena *arena;
    struct str *items;
    uint32_t count, cap;
};

static void add_place_labels(struct place_labels *p, const BALANCER *b)
{
    for (size_t i = 0; b && b->locality_lb_setting && i < b->locality_lb_setting->n_failover_priority; i++) {
        struct str rest, key = str_split(str_from(b->locality_lb_setting->failover_priority[i]), '=', &rest);
        bool is_told = false;
        for (uint32_t k = 0; k < p->count; k++)
            is_told |= str_eq(p->items[k], key);
        if (is_told)
            continue;
        if (p->count == p->cap) {
            p->cap = p->cap ? p->cap * 2 : 8;
            struct str *grown = arena_alloc(p->arena, p->cap * sizeof(*grown));
            if (p->count)
                memcpy(grown, p->items, p->count * sizeof(*grown));
            p->items = grown;
        }
        p->items[p->count++] = arena_str(p->arena, key);
    }
}

static void add_policy_labels(struct place_labels *p, const POLICY *t)
{
    if (!t)
        return;
    add_place_labels(p, t->load_balancer);
    for (size_t i = 0; i < t->n_port_level_settings; i++)
        add_place_labels(p, t->port_level_settings[i]->load_balancer);
}

static void fill_place_labels(struct making *m)
{
    struct scope *s = &m->b->scope;
    struct place_labels p = {.arena = &m->b->arena};
    for (uint32_t i = 0; i < s->service_count; i++) {
        const struct rule *r = s->services[i].rule;
        const Istio__Networking__V1alpha3__DestinationRule *rule = r ? (const Istio__Networking__V1alpha3__DestinationRule *)r->merged : NULL;
        enum resolution resolution = s->services[i].service->resolution;
        s->has_names_to_resolve |= resolution == RESOLUTION_DNS || resolution == RESOLUTION_DNS_ROUND_ROBIN;
        if (!rule)
            continue;
        add_policy_labels(&p, rule->traffic_policy);
        for (size_t k = 0; k < rule->n_subsets; k++)
            add_policy_labels(&p, rule->subsets[k]->traffic_policy);
    }
    s->place_labels = p.items;
    s->place_label_count = p.count;
}

static uint64_t hash_of_service(uint64_t h, const struct scoped_service *s)
{
    h = hash_number(h, s->service->hash);
    for (uint32_t k = 0; s->rule && k < s->rule->object_count; k++)
        h = hash_number(h, s->rule->objects[k]->hash);
    return h;
}

static uint64_t services_hash(const struct making *m)
{
    const struct scope *s = &m->b->scope;
    uint64_t h = hash_text(7, s->ns);
    for (uint32_t e = 0; e < s->egress_count; e++)
        for (uint32_t i = 0; i < s->egress[e].service_count; i++)
            h = hash_of_service(h, &s->egress[e].services[i]);
    for (size_t i = 0; i < m->extra_count; i++)
        h = hash_of_service(h, &m->extra[i]);
    return hash_number(h, s->sidecar ? s->sidecar->hash : 0);
}

static uint64_t hash_of_route(uint64_t h, const struct scoped_route *r)
{
    h = hash_number(h, r->object->hash);
    return r->spec == r->object->body ? h : hash_number(h, delegates_hash(r->spec));
}

static void hash_routes(struct scope *s)
{
    s->hash = s->connections_hash = s->services_hash;
    for (uint32_t e = 0; e < s->egress_count; e++) {
        const struct scope_egress *g = &s->egress[e];
        for (uint32_t i = 0; i < g->route_count; i++) {
            const Istio__Networking__V1alpha3__VirtualService *vs = (const Istio__Networking__V1alpha3__VirtualService *)g->routes[i].spec;
            s->hash = hash_of_route(s->hash, &g->routes[i]);
            if (vs->n_tcp || vs->n_tls)
                s->connections_hash = hash_of_route(s->connections_hash, &g->routes[i]);
        }
        s->hash = hash_number(s->hash, g->route_count);
        s->connections_hash = hash_number(s->connections_hash, e);
    }
}

static struct scope *make(struct world *w, struct str ns, const struct labels *labels, const struct object *sidecar, bool of_mesh)
{
    struct making m = {.w = w, .b = NEW(scope_body), .labels = labels};
    struct scope *s = &m.b->scope;
    const SIDECAR *spec = sidecar ? (const SIDECAR *)sidecar->body : NULL;
    size_t n = spec && spec->n_egress ? spec->n_egress : 1;
    arena_init(&m.b->arena, 0);
    m.b->protos = proto_arena_new(0);
    m.b->refs = 1;
    s->ns = arena_str(&m.b->arena, ns);
    s->sidecar = sidecar;
    if (sidecar)
        hold_objects(&m, &sidecar, 1);
    if (!w->scopes.rules)
        w->scopes.rules = rule_index_new(w);
    if (!w->scopes.routes)
        w->scopes.routes = route_index_new(w);
    struct scope_egress *egress = arena_zalloc(&m.b->arena, n * sizeof(*egress));
    for (size_t i = 0; i < n; i++) {
        const EGRESS *e = spec && spec->n_egress ? spec->egress[i] : NULL;
        egress[i].spec = e ? &e->base : NULL;
        egress[i].port = e && e->port ? e->port->number : 0;
        fill_services(&m, e, &egress[i]);
        fill_routes(&m, e, of_mesh, &egress[i]);
    }
    s->egress = egress;
    s->egress_count = (uint32_t)n;
    fill_destinations(&m);
    join_services(&m);
    fill_source_labels(&m);
    fill_place_labels(&m);
    s->services_hash = services_hash(&m);
    mem_free(m.extra);
    hash_routes(s);
    return s;
}

static const struct scope *scope_get(struct world *w, struct str ns, const struct labels *labels, const struct object *sidecar, bool of_mesh)
{
    struct strbuf key = {0};
    strbuf_addf(&key, "%d %.*s ", of_mesh, STR_ARG(ns));
    if (sidecar)
        strbuf_addf(&key, "%.*s/%.*s ", STR_ARG(sidecar->ns), STR_ARG(sidecar->name));
    rule_selectors_key(w, ns, labels, &key);
    const struct scope *s = map_get(w->scopes.by_key, strbuf_str(&key));
    if (!s) {
        s = make(w, ns, labels, sidecar, of_mesh);
        map_set(w->scopes.by_key, strbuf_str(&key), (void *)(uintptr_t)s);
    }
    strbuf_fini(&key);
    return s;
}

const struct scope *scope_of_sidecar(struct world *w, struct str ns, const struct labels *labels)
{
    return scope_get(w, ns, labels, sidecar_for(w, ns, labels), true);
}

const struct scope *scope_of_gateway(struct world *w, struct str ns, const struct labels *labels)
{
    return scope_get(w, ns, labels, NULL, false);
}

const struct scoped_service *scope_service(const struct scope *s, struct str host)
{
    const struct service probe_service = {.host = host};
    const struct scoped_service probe = {.service = &probe_service};
    return bsearch(&probe, s->services, s->service_count, sizeof(probe), by_host);
}
