/* SPDX-License-Identifier: Apache-2.0
 *
 * Keeps what is worked out of objects in step with them. A commit of the store goes through in three steps: objects come and go in
 * the indexes and mark the places (service and its endpoints) that depend on them; marked places are built again; those that came
 * out different are told of.
 */
#include "model/world_priv.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/mem.h"

/* ---- bags ---- */

void bag_add(struct bag *b, void *item)
{
    b->items = mem_grow(b->items, &b->cap, b->count + 1, sizeof(*b->items));
    b->items[b->count++] = item;
}

void bag_remove(struct bag *b, const void *item)
{
    for (size_t i = 0; b && i < b->count; i++)
        if (b->items[i] == item) {
            b->items[i] = b->items[--b->count];
            return;
        }
}

void bag_fini(struct bag *b)
{
    mem_free(b->items);
    *b = (struct bag){0};
}

struct bag *bag_at(struct map *m, struct str key)
{
    struct bag *b = map_get(m, key);
    if (!b) {
        b = NEW(bag);
        map_set(m, key, b);
    }
    return b;
}

void bag_map_free(struct map **m)
{
    size_t pos = 0;
    struct str key;
    void *b;
    while (map_next(*m, &pos, &key, &b)) {
        bag_fini(b);
        mem_free(b);
    }
    map_free(m);
}

/* ---- places ---- */

void place_mark(struct world *w, struct place *p)
{
    if (p->is_dirty)
        return;
    p->is_dirty = true;
    bag_add(&w->dirty, p);
}

static int service_compare(const struct service *x, const struct service *y)
{
    if (x->created_s != y->created_s)
        return x->created_s < y->created_s ? -1 : 1;
    int c = str_cmp(x->name, y->name);
    return c ? c : str_cmp(x->ns, y->ns);
}

static void leave_addresses(struct world *w, struct place *p)
{
    for (uint32_t i = 0; p->set && i < p->set->count; i++)
        bag_remove(map_get(w->at_address, p->set->items[i].address), p);
}

/* A place stands once at an address, however many ports it has there. */
static void enter_addresses(struct world *w, struct place *p)
{
    for (uint32_t i = 0; i < p->set->count; i++) {
        struct bag *b = bag_at(w->at_address, p->set->items[i].address);
        bool is_in = false;
        for (size_t k = 0; k < b->count; k++)
            is_in |= b->items[k] == p;
        if (!is_in)
            bag_add(b, p);
    }
}

static struct map *selecting_of(const struct world *w, const struct place *p)
{
    return p->service->is_kubernetes ? w->selecting_entries : w->selecting;
}

static void place_add(struct world *w, struct bag *owner, const struct service *take_service)
{
    struct place *p = NEW(place);
    p->service = take_service;
    struct bag *hosts = bag_at(w->by_host, p->service->host);
    bag_add(hosts, p);
    for (size_t i = hosts->count - 1; i > 0; i--) { /* the oldest first */
        struct place *before = hosts->items[i - 1];
        if (service_compare(before->service, p->service) <= 0)
            break;
        hosts->items[i] = before;
        hosts->items[i - 1] = p;
    }
    bag_add(&w->places, p);
    bag_add(owner, p);
    if (p->service->selector.count)
        bag_add(bag_at(selecting_of(w, p), p->service->ns), p);
    w->is_sorted = false;
    map_set(w->changed_services, p->service->host, w);
    place_mark(w, p);
}

static void place_remove(struct world *w, struct place *p)
{
    struct bag *hosts = map_get(w->by_host, p->service->host);
    size_t kept = 0;
    for (size_t i = 0; i < hosts->count; i++) /* keeps their order */
        if (hosts->items[i] != p)
            hosts->items[kept++] = hosts->items[i];
    hosts->count = kept;
    leave_addresses(w, p);
    bag_remove(&w->places, p);
    if (p->is_dirty)
        bag_remove(&w->dirty, p);
    if (p->service->selector.count)
        bag_remove(map_get(selecting_of(w, p), p->service->ns), p);
    map_set(w->changed_services, p->service->host, w);
    w->is_sorted = false;
    if (p->set)
        endpoint_set_unref(&p->set);
    service_unref(&p->service);
    mem_free(p);
}

/* Addresses of endpoints that stand in one of the two alone: workloads there serve something else than before. */
static void note_addresses(struct world *w, const struct endpoint_set *old, const struct endpoint_set *now)
{
    uint32_t i = 0, k = 0, n = old ? old->count : 0;
    while (i < n || k < now->count) {
        int c = i == n ? 1 : k == now->count ? -1 : endpoint_compare(&old->items[i], &now->items[k]);
        if (c)
            map_set(w->changed_addresses, c < 0 ? old->items[i].address : now->items[k].address, w);
        i += c <= 0;
        k += c >= 0;
    }
}

static void place_build(struct world *w, struct place *p)
{
    const struct endpoint_set *set = endpoints_build(w, p);
    p->is_dirty = false;
    if (p->set && p->set->hash == set->hash) {
        endpoint_set_unref(&set);
        return;
    }
    /* clusters name identities, those by DNS the endpoints themselves; listeners stand at a headless service's */
    if (!p->set || p->set->identities != set->identities || p->service->resolution != RESOLUTION_CLIENT_SIDE)
        map_set(w->changed_services, p->service->host, w);
    note_addresses(w, p->set, set);
    leave_addresses(w, p);
    if (p->set)
        endpoint_set_unref(&p->set);
    p->set = set;
    enter_addresses(w, p);
    map_set(w->changed_endpoints, p->service->host, w);
}

/* ---- changes of objects ---- */

static void object_key(struct strbuf *b, const struct object *o)
{
    strbuf_reset(b);
    strbuf_addf(b, "%s %.*s/%.*s", o->kind->name, STR_ARG(o->ns), STR_ARG(o->name));
}

/* The place of a service that is equal, taken out of `b`. */
static struct place *place_take(struct bag *b, const struct service *s)
{
    for (size_t i = 0; i < b->count; i++) {
        struct place *p = b->items[i];
        if (str_eq(p->service->host, s->host) && p->service->hash == s->hash) {
            bag_remove(b, p);
            return p;
        }
    }
    return NULL;
}

/* The object says the same of the service as before: nobody is told, but endpoints may come from what else it says. */
static void place_renew(struct world *w, struct place *p, const struct service *take_service)
{
    service_unref(&p->service);
    p->service = take_service;
    w->is_sorted = false;
    place_mark(w, p);
}

static void services_changed(struct world *w, const struct change *c)
{
    struct strbuf key = {0};
    struct arena arena;
    const struct service **services;
    arena_init(&arena, 0);
    object_key(&key, change_object(c));
    struct bag *b = bag_at(w->by_object, strbuf_str(&key));
    struct bag old = *b;
    *b = (struct bag){0};
    size_t n = c->after ? services_of_object(w, c->after, &arena, &services) : 0;
    for (size_t i = 0; i < n; i++) {
        struct place *same = place_take(&old, services[i]);
        if (same) {
            place_renew(w, same, services[i]);
            bag_add(b, same);
        } else
            place_add(w, b, services[i]);
    }
    for (size_t i = 0; i < old.count; i++)
        place_remove(w, old.items[i]);
    bag_fini(&old);
    if (b->count == 0) {
        bag_fini(b);
        mem_free(map_del(w->by_object, strbuf_str(&key)));
    }
    arena_fini(&arena);
    strbuf_fini(&key);
}

static void mark_service_of_slice(struct world *w, const struct object *slice)
{
    struct strbuf b = {0};
    struct str name = labels_get(&slice->labels, STR("kubernetes.io/service-name"));
    strbuf_addf(&b, "Service %.*s/%.*s", STR_ARG(slice->ns), STR_ARG(name));
    const struct bag *places = map_get(w->by_object, strbuf_str(&b));
    for (size_t i = 0; places && i < places->count; i++)
        place_mark(w, places->items[i]);
    strbuf_fini(&b);
}

static void slice_changed(struct world *w, const struct change *c)
{
    const struct object *const both[] = {c->before, c->after};
    for (int i = 0; i < 2; i++) {
        const struct object *o = both[i];
        if (!o)
            continue;
        struct strbuf key = {0};
        strbuf_addf(&key, "%.*s/%.*s", STR_ARG(o->ns), STR_ARG(labels_get(&o->labels, STR("kubernetes.io/service-name"))));
        struct bag *b = bag_at(w->slices, strbuf_str(&key));
        if (i == 1)
            bag_add(b, (void *)(uintptr_t)object_ref(o));
        else {
            bag_remove(b, o);
            const struct object *gone = o;
            object_unref(&gone);
        }
        strbuf_fini(&key);
        mark_service_of_slice(w, o);
    }
}

static void mark_all(struct world *w)
{
    for (size_t i = 0; i < w->places.count; i++)
        place_mark(w, w->places.items[i]);
}

/* Localities of Pods come from their nodes. */
static void node_changed(struct world *w)
{
    size_t n;
    const struct object *const *pods = store_list(w->store, KIND_POD, &n);
    for (size_t i = 0; i < n; i++)
        workload_changed(w, &(struct change){NULL, pods[i]});
    mark_all(w);
}

static void apply(struct world *w, const struct change *c)
{
    enum kind_id kind = change_object(c)->kind->id;
    if (service_object_gives(kind))
        services_changed(w, c);
    else if (kind == KIND_ENDPOINT_SLICE)
        slice_changed(w, c);
    else if (kind == KIND_POD || kind == KIND_WORKLOAD_ENTRY)
        workload_changed(w, c);
}

/* ---- what differs ---- */

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static const struct str *keys_of(const struct map *m, struct arena *a, uint32_t *count)
{
    size_t pos = 0, n = 0;
    void *value;
    struct str key, *out = arena_alloc(a, (map_count(m) ? map_count(m) : 1) * sizeof(*out));
    while (map_next(m, &pos, &key, &value))
        out[n++] = key;
    qsort(out, n, sizeof(*out), by_text);
    *count = (uint32_t)n;
    return out;
}

static void tell(struct world *w, const struct change *changes, size_t count, bool everything)
{
    struct arena a;
    struct world_delta d = {.changes = changes, .change_count = (uint32_t)count, .everything = everything};
    arena_init(&a, 0);
    for (size_t i = 0; i < count; i++)
        d.kinds |= UINT64_C(1) << change_object(&changes[i])->kind->id;
    d.services = keys_of(w->changed_services, &a, &d.service_count);
    d.endpoints = keys_of(w->changed_endpoints, &a, &d.endpoint_count);
    d.addresses = keys_of(w->changed_addresses, &a, &d.address_count);
    if (w->changed)
        w->changed(w->user, &d);
    arena_fini(&a);
    map_free(&w->changed_services);
    map_free(&w->changed_endpoints);
    map_free(&w->changed_addresses);
    w->changed_services = map_new();
    w->changed_endpoints = map_new();
    w->changed_addresses = map_new();
}

static void build_marked(struct world *w)
{
    for (size_t i = 0; i < w->dirty.count; i++)
        place_build(w, w->dirty.items[i]);
    w->dirty.count = 0;
}

static bool only_endpoints(const struct change *changes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        enum kind_id kind = change_object(&changes[i])->kind->id;
        if (kind != KIND_ENDPOINT_SLICE && kind != KIND_POD && kind != KIND_NODE && kind != KIND_WORKLOAD_ENTRY)
            return false;
    }
    return true;
}

static void on_store(void *user, const struct change *changes, size_t count)
{
    struct world *w = user;
    bool nodes = false, everything = false;
    for (size_t i = 0; i < count; i++) { /* nodes stand before the pods on them */
        nodes |= change_object(&changes[i])->kind->id == KIND_NODE;
        everything |= change_object(&changes[i])->kind->id == KIND_NAMESPACE;
    }
    for (size_t i = 0; i < count; i++)
        apply(w, &changes[i]);
    if (nodes)
        node_changed(w);
    build_marked(w);
    if (everything || !only_endpoints(changes, count) || map_count(w->changed_services))
        scopes_forget(&w->scopes);
    tell(w, changes, count, everything);
}

/* ---- life ---- */

struct world *world_new(struct store *keep_store, const struct mesh *keep_mesh, struct str domain)
{
    struct world *w = NEW(world);
    w->store = keep_store;
    w->mesh = keep_mesh;
    w->domain = str_dup(domain);
    w->by_object = map_new();
    w->by_host = map_new();
    w->slices = map_new();
    w->workloads = map_new();
    w->at_address = map_new();
    w->selecting = map_new();
    w->selecting_entries = map_new();
    w->pods_in = map_new();
    w->entries_in = map_new();
    w->changed_services = map_new();
    w->changed_endpoints = map_new();
    w->changed_addresses = map_new();
    scopes_forget(&w->scopes);
    store_watch(w->store, on_store, w);
    return w;
}

static void free_slices(struct world *w)
{
    size_t pos = 0;
    struct str key;
    void *value;
    while (map_next(w->slices, &pos, &key, &value)) {
        struct bag *b = value;
        for (size_t i = 0; i < b->count; i++) {
            const struct object *o = b->items[i];
            object_unref(&o);
        }
    }
    bag_map_free(&w->slices);
}

static void free_workloads(struct world *w)
{
    size_t pos = 0;
    struct str key;
    void *value;
    while (map_next(w->workloads, &pos, &key, &value))
        workload_free(value);
    map_free(&w->workloads);
}

void world_free(struct world **pw)
{
    struct world *w = *pw;
    *pw = NULL;
    if (!w)
        return;
    store_unwatch(w->store, on_store, w);
    scopes_fini(&w->scopes);
    while (w->places.count)
        place_remove(w, w->places.items[w->places.count - 1]);
    bag_fini(&w->places);
    bag_fini(&w->dirty);
    bag_map_free(&w->by_object);
    bag_map_free(&w->by_host);
    free_slices(w);
    free_workloads(w);
    bag_map_free(&w->at_address);
    bag_map_free(&w->selecting);
    bag_map_free(&w->selecting_entries);
    bag_map_free(&w->pods_in);
    bag_map_free(&w->entries_in);
    map_free(&w->changed_services);
    map_free(&w->changed_endpoints);
    map_free(&w->changed_addresses);
    mem_free(w->sorted);
    str_free(&w->domain);
    mem_free(w);
}

/* Defaults of visibility and the trust domain are in every service. */
void world_set_mesh(struct world *w, const struct mesh *keep_mesh)
{
    size_t n;
    w->mesh = keep_mesh;
    const enum kind_id kinds[] = {KIND_SERVICE, KIND_SERVICE_ENTRY};
    for (int k = 0; k < 2; k++) {
        const struct object *const *objects = store_list(w->store, kinds[k], &n);
        for (size_t i = 0; i < n; i++)
            services_changed(w, &(struct change){objects[i], objects[i]});
    }
    build_marked(w);
    scopes_forget(&w->scopes);
    tell(w, NULL, 0, true);
}

void world_watch(struct world *w, world_changed_fn changed, void *user)
{
    w->changed = changed;
    w->user = user;
}

/* ---- look-ups ---- */

const struct mesh *world_mesh(const struct world *w)
{
    return w->mesh;
}

const struct store *world_store(const struct world *w)
{
    return w->store;
}

const struct service *world_service(const struct world *w, struct str host, struct str ns)
{
    const struct bag *b = map_get(w->by_host, host);
    const struct service *found = NULL;
    for (size_t i = 0; b && i < b->count; i++) {
        const struct service *s = ((const struct place *)b->items[i])->service;
        if (!visibility_allows(&s->visibility, s->ns, ns))
            continue;
        if (str_eq(s->ns, ns))
            return s;
        /* a Service wins over what somebody else says of its host */
        if (!found || (s->is_kubernetes && !found->is_kubernetes))
            found = s;
    }
    return found;
}

static int by_host(const void *a, const void *b)
{
    const struct service *x = *(const struct service *const *)a, *y = *(const struct service *const *)b;
    int c = str_cmp(x->host, y->host);
    c = c ? c : str_cmp(x->ns, y->ns);
    return c ? c : service_compare(x, y);
}

const struct service *const *world_services(const struct world *cw, size_t *count)
{
    struct world *w = (struct world *)(uintptr_t)cw; /* the list is made when it is asked for */
    if (!w->is_sorted) {
        mem_free(w->sorted);
        w->sorted_count = w->places.count;
        w->sorted = mem_alloc((w->sorted_count + 1) * sizeof(*w->sorted));
        for (size_t i = 0; i < w->sorted_count; i++)
            w->sorted[i] = ((const struct place *)w->places.items[i])->service;
        qsort(w->sorted, w->sorted_count, sizeof(*w->sorted), by_host);
        w->is_sorted = true;
    }
    *count = w->sorted_count;
    return w->sorted;
}

/* Scopes hold services that may have been replaced since: those of the same host, namespace and sort stand for them. */
const struct endpoint_set *world_endpoints(const struct world *w, const struct service *s)
{
    const struct bag *b = map_get(w->by_host, s->host);
    const struct place *found = NULL;
    for (size_t i = 0; b && i < b->count; i++) {
        const struct place *p = b->items[i];
        if (p->service == s)
            return p->set;
        if (!found && str_eq(p->service->ns, s->ns) && p->service->is_kubernetes == s->is_kubernetes)
            found = p;
    }
    return found ? found->set : NULL;
}

const struct workload *world_workload(const struct world *w, struct str address)
{
    return map_get(w->workloads, address);
}

/* ---- the services of a workload ---- */

static int by_service(const void *a, const void *b)
{
    const struct workload_service *x = a, *y = b;
    int c = service_compare(x->service, y->service);
    c = c ? c : str_cmp(x->service->host, y->service->host);
    return c ? c : (x->port > y->port) - (x->port < y->port);
}

static bool is_among(struct str address, const struct str *addresses, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (str_eq(addresses[i], address))
            return true;
    return false;
}

static void add_of_place(const struct place *p, const struct str *addresses, size_t address_count, struct bag *out, struct arena *a)
{
    for (uint32_t i = 0; i < p->set->count; i++) {
        const struct endpoint *e = &p->set->items[i];
        if (!is_among(e->address, addresses, address_count))
            continue;
        struct workload_service *ws = arena_alloc(a, sizeof(*ws));
        *ws = (struct workload_service){p->service, service_port_find(p->service, e->service_port), e->port};
        if (ws->port && ws->port->protocol != PROTOCOL_UDP)
            bag_add(out, ws);
    }
}

size_t world_services_of(const struct world *w, const struct str *addresses, size_t address_count, struct str ns,
                         const struct labels *labels, struct arena *a, const struct workload_service **out)
{
    struct bag found = {0}, seen = {0};
    (void)labels;
    for (size_t i = 0; i < address_count; i++) {
        const struct bag *b = map_get(w->at_address, addresses[i]);
        for (size_t k = 0; b && k < b->count; k++) {
            const struct place *p = b->items[k];
            bool is_seen = false;
            for (size_t m = 0; m < seen.count; m++)
                is_seen |= seen.items[m] == p;
            if (is_seen || !str_eq(p->service->ns, ns))
                continue;
            bag_add(&seen, b->items[k]);
            add_of_place(p, addresses, address_count, &found, a);
        }
    }
    struct workload_service *all = arena_alloc(a, (found.count ? found.count : 1) * sizeof(*all));
    for (size_t i = 0; i < found.count; i++)
        all[i] = *(const struct workload_service *)found.items[i];
    size_t n = found.count;
    qsort(all, n, sizeof(*all), by_service);
    bag_fini(&found);
    bag_fini(&seen);
    *out = all;
    return n;
}
