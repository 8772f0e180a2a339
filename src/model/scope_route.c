/* SPDX-License-Identifier: Apache-2.0
 *
 * Virtual services as scopes see them. Delegates are merged into their roots (Istio: "Virtual Service", delegate).
 */
#include "model/scope_priv.h"

#include "base/mem.h"
#include "istio/networking/virtual_service.pb-c.h"

#define ROUTE Istio__Networking__V1alpha3__VirtualService

struct route_index {
    struct arena arena;
    struct proto_arena *protos;
    struct scoped_route *items; /* oldest first */
    size_t count;
};

bool route_is_exported(const struct world *w, const struct object *o, struct str ns)
{
    const ROUTE *vs = (const ROUTE *)o->body;
    if (vs->n_export_to == 0)
        return visibility_allows(&w->mesh->default_route_export, o->ns, ns);
    for (size_t i = 0; i < vs->n_export_to; i++) {
        struct str word = str_from(vs->export_to[i]);
        if (str_eq(word, STR("*")) || str_eq(word, ns) || (str_eq(word, STR(".")) && str_eq(o->ns, ns)))
            return true;
    }
    return false;
}

/* "gw" is in the route's own namespace; "mesh" is no gateway. */
static struct str gateway_whole(struct arena *a, struct str name, struct str ns)
{
    if (str_eq(name, STR("mesh")) || str_find_char(name, '/') >= 0)
        return arena_str(a, name);
    return arena_printf(a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
}

static void fill(struct route_index *x, const struct world *w, const struct object *o, struct scoped_route *r)
{
    const ROUTE *vs = (const ROUTE *)o->body;
    struct str *hosts = arena_alloc(&x->arena, (vs->n_hosts + 1) * sizeof(*hosts));
    struct str *gateways = arena_alloc(&x->arena, (vs->n_gateways + 1) * sizeof(*gateways));
    for (size_t i = 0; i < vs->n_hosts; i++)
        hosts[i] = host_whole(&x->arena, str_from(vs->hosts[i]), o->ns, w->domain);
    for (size_t i = 0; i < vs->n_gateways; i++)
        gateways[i] = gateway_whole(&x->arena, str_from(vs->gateways[i]), o->ns);
    gateways[vs->n_gateways] = STR("mesh");
    *r = (struct scoped_route){.object = o,
                               .spec = route_with_delegates(w, o, x->protos),
                               .hosts = hosts,
                               .host_count = (uint32_t)vs->n_hosts,
                               .gateways = gateways,
                               .gateway_count = (uint32_t)(vs->n_gateways ? vs->n_gateways : 1)};
}

struct route_index *route_index_new(const struct world *w)
{
    struct route_index *x = NEW(route_index);
    size_t n;
    const struct object *const *all = store_list(w->store, KIND_VIRTUAL_SERVICE, &n);
    arena_init(&x->arena, 0);
    x->protos = proto_arena_new(0);
    x->items = arena_alloc(&x->arena, (n + 1) * sizeof(*x->items));
    for (size_t i = 0; i < n; i++)
        if (((const ROUTE *)all[i]->body)->n_hosts) /* without hosts: a delegate */
            fill(x, w, all[i], &x->items[x->count++]);
    return x;
}

void route_index_free(struct route_index **px)
{
    struct route_index *x = *px;
    *px = NULL;
    if (!x)
        return;
    proto_arena_free(&x->protos);
    arena_fini(&x->arena);
    mem_free(x);
}

size_t routes_visible(const struct world *w, const struct route_index *x, struct str ns, struct arena *a, const struct scoped_route ***out)
{
    size_t n = 0;
    *out = arena_alloc(a, (x->count + 1) * sizeof(**out));
    for (size_t i = 0; i < x->count; i++)
        if (route_is_exported(w, x->items[i].object, ns))
            (*out)[n++] = &x->items[i];
    return n;
}

bool route_is_of_gateway(const struct scoped_route *r, struct str gateway)
{
    for (uint32_t i = 0; i < r->gateway_count; i++)
        if (str_eq(r->gateways[i], gateway))
            return true;
    return false;
}
