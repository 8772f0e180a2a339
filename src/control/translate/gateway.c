/* SPDX-License-Identifier: Apache-2.0
 *
 * Which servers a router proxy has. Servers that share a port are merged as Istio merges them: plaintext HTTP with plaintext HTTP, TLS
 * with TLS of other server names; what doesn't fit an older one is left out.
 */
#include "control/translate/gateway_priv.h"

#include <stdlib.h>

#include "base/map.h"

#define GATEWAY Istio__Networking__V1alpha3__Gateway

struct merging {
    const struct translation *t;
    struct many ports;       /* struct gateway_port */
    struct map *names;       /* "port bind host" of TLS servers, and route names of HTTPS */
    const struct workload_service *services;
    size_t service_count;
};

bool gateway_selects(const struct translation *t, const struct object *o)
{
    const GATEWAY *g = (const GATEWAY *)o->body;
    for (size_t i = 0; i < g->n_selector; i++)
        if (!str_eq(labels_get(&t->node->labels, str_from(g->selector[i]->key)), str_from(g->selector[i]->value)))
            return false;
    return true;
}

static bool passes_tls_through(const SERVER *s)
{
    return s->tls && (s->tls->mode == SERVER_TLS_MODE(PASSTHROUGH) || s->tls->mode == SERVER_TLS_MODE(AUTO_PASSTHROUGH));
}

bool server_terminates_tls(const SERVER *s)
{
    return s->tls && !passes_tls_through(s);
}

/* "http.8080", "https.443.https.gateway.ns" */
static struct str route_name_of(struct arena *a, const struct gateway_server *s, uint32_t port)
{
    const SERVER *spec = s->spec;
    const char *dot = spec->bind[0] ? "." : "";
    if (protocol_is_http(s->protocol))
        return arena_printf(a, "http.%u%s%s", port, dot, spec->bind);
    if (s->protocol == PROTOCOL_HTTPS && server_terminates_tls(spec))
        return arena_printf(a, "https.%u.%s.%.*s.%.*s%s%s", spec->port->number, spec->port->name, STR_ARG(s->object->name),
                            STR_ARG(s->object->ns), dot, spec->bind);
    return STR("");
}

struct str server_host(const struct gateway_server *s, size_t i, struct str ns)
{
    struct str host, all = str_from(s->spec->hosts[i]), own = str_split(all, '/', &host);
    if (!host.p)
        return all;
    if (str_eq(own, STR(".")))
        own = s->object->ns;
    return !ns.p || str_eq(own, STR("*")) || str_eq(own, ns) ? host : STR_NULL;
}

/* Envoy refuses two chains for one server name. Takes the names when nobody has any of them. */
static bool takes_names(struct merging *m, const struct gateway_server *s, uint32_t port)
{
    struct str *keys = arena_alloc(m->t->arena, (s->spec->n_hosts + 1) * sizeof(*keys));
    for (size_t i = 0; i < s->spec->n_hosts; i++) {
        keys[i] = arena_printf(m->t->arena, "%u %s %.*s", port, s->spec->bind, STR_ARG(server_host(s, i, STR_NULL)));
        if (map_get(m->names, keys[i]))
            return false;
    }
    for (size_t i = 0; i < s->spec->n_hosts; i++)
        map_set(m->names, keys[i], m);
    return !(s->route_name.n && map_set(m->names, s->route_name, m));
}

static struct gateway_port *port_at(const struct merging *m, uint32_t number, struct str bind)
{
    for (size_t i = 0; i < m->ports.count; i++) {
        struct gateway_port *p = m->ports.items[i];
        if (p->number == number && str_eq(p->bind, bind))
            return p;
    }
    return NULL;
}

static void add_server(struct merging *m, struct gateway_server *s, uint32_t number)
{
    const struct translation *t = m->t;
    struct str bind = s->spec->bind[0] ? str_from(s->spec->bind) : STR("0.0.0.0");
    struct gateway_port *p = port_at(m, number, bind);
    bool is_tls = s->spec->tls && protocol_is_tls(s->protocol), is_http = protocol_is_http(s->protocol);
    if (t->node->unprivileged && number < 1024)
        return;
    s->route_name = route_name_of(t->arena, s, number);
    if (p && !(p->is_tls && is_tls) && !(p->is_http && is_http))
        return;
    if (is_tls && !takes_names(m, s, number))
        return;
    if (!p) {
        p = arena_zalloc(t->arena, sizeof(*p));
        *p = (struct gateway_port){.number = number, .bind = bind, .is_tls = is_tls, .is_http = is_http};
        many_add(t, &m->ports, p);
    }
    many_add(t, &p->servers, s);
}

/* Behind a Service the proxy listens on the ports that the Service's port leads to; elsewhere on the server's own. */
static size_t targets_of(const struct merging *m, uint32_t number, uint32_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < m->service_count; i++) {
        bool is_told = false;
        for (size_t k = 0; k < n; k++)
            is_told |= out[k] == m->services[i].target;
        if (m->services[i].port->number == number && m->services[i].target && !is_told)
            out[n++] = m->services[i].target;
    }
    if (n == 0)
        out[n++] = number;
    return n;
}

static void add_ports(struct merging *m, const struct object *o, const SERVER *spec)
{
    struct arena *a = m->t->arena;
    uint32_t *targets = arena_alloc(a, (m->service_count + 1) * sizeof(*targets));
    size_t n = targets_of(m, spec->port->number, targets);
    for (size_t i = 0; i < n; i++) {
        struct gateway_server *s = arena_zalloc(a, sizeof(*s));
        s->object = o;
        s->spec = spec;
        s->gateway = arena_printf(a, "%.*s/%.*s", STR_ARG(o->ns), STR_ARG(o->name));
        s->protocol = protocol_parse(STR(""), str_from(spec->port->protocol), spec->port->number, STR("TCP"));
        add_server(m, s, targets[i]);
    }
}

static int by_number(const void *a, const void *b)
{
    const struct gateway_port *x = a, *y = b;
    return x->number != y->number ? (x->number > y->number) - (x->number < y->number) : str_cmp(x->bind, y->bind);
}

size_t gateway_ports(const struct translation *t, const struct gateway_port **out)
{
    const struct node *n = t->node;
    struct merging m = {.t = t, .names = map_new()};
    size_t count;
    const struct object *const *all = store_list(world_store(t->world), KIND_GATEWAY, &count);
    m.service_count = world_services_of(t->world, n->addresses, n->address_count, n->ns, &n->labels, t->arena, &m.services);
    for (size_t i = 0; i < count; i++) {
        const GATEWAY *g = (const GATEWAY *)all[i]->body;
        for (size_t k = 0; k < g->n_servers && gateway_selects(t, all[i]); k++)
            if (g->servers[k]->port)
                add_ports(&m, all[i], g->servers[k]);
    }
    map_free(&m.names);
    struct gateway_port *ports = arena_alloc(t->arena, (m.ports.count + 1) * sizeof(*ports));
    for (size_t i = 0; i < m.ports.count; i++)
        ports[i] = *(const struct gateway_port *)m.ports.items[i];
    qsort(ports, m.ports.count, sizeof(*ports), by_number);
    *out = ports;
    return m.ports.count;
}

size_t server_shared_hosts(const struct translation *t, const struct gateway_server *s, const struct scoped_route *vs, const struct str **out)
{
    struct str *all = arena_alloc(t->arena, (s->spec->n_hosts * vs->host_count + 1) * sizeof(*all));
    size_t n = 0;
    for (size_t i = 0; i < s->spec->n_hosts; i++) {
        struct str host = server_host(s, i, vs->object->ns);
        for (uint32_t k = 0; host.p && k < vs->host_count; k++) {
            bool is_narrower = host_is_subset(vs->hosts[k], host), is_told = false;
            if (!is_narrower && !host_is_subset(host, vs->hosts[k]))
                continue;
            struct str shared = is_narrower ? vs->hosts[k] : host;
            for (size_t j = 0; j < n; j++)
                is_told |= str_eq(all[j], shared);
            if (!is_told)
                all[n++] = shared;
        }
    }
    *out = all;
    return n;
}
