/* SPDX-License-Identifier: Apache-2.0
 *
 * The ports at which a sidecar receives for its workload: those that its Sidecar's ingress listeners name, else those that services
 * lead to. Where nothing is captured the proxy binds them itself, and the application is behind it on 127.0.0.1.
 */
#include "control/translate/translate_priv.h"

#include "istio/networking/sidecar.pb-c.h"

#define SIDECAR Istio__Networking__V1alpha3__Sidecar
#define INGRESS Istio__Networking__V1alpha3__IstioIngressListener

static bool is_told(const struct workload_service *services, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (services[k].target == services[i].target)
            return true;
    return false;
}

static size_t ports_of_services(const struct translation *t, const struct workload_service *services, size_t count, struct inbound_port *out)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (is_told(services, i)) /* the first service wins */
            continue;
        out[n] = (struct inbound_port){.ws = services[i]};
        if (t->node->interception == INTERCEPT_NONE) {
            out[n].bind = t->node->addresses[0];
            out[n].address = STR("127.0.0.1");
            out[n].port = services[i].target;
        }
        n++;
    }
    return n;
}

/* ---- ingress listeners ---- */

/* The service that leads to the port, else one that stands for the Sidecar itself. */
static const struct service *service_of(const struct translation *t, const struct workload_service *services, size_t count, uint32_t port)
{
    const struct object *o = t->scope->sidecar;
    for (size_t i = 0; i < count; i++)
        if (services[i].target == port || services[i].port->number == port)
            return services[i].service;
    struct service *s = arena_zalloc(t->arena, sizeof(*s));
    s->host = arena_printf(t->arena, "%.*s.%.*s", STR_ARG(o->name), STR_ARG(o->ns));
    s->name = o->name;
    s->ns = o->ns;
    return s;
}

/* "127.0.0.1:8080", "0.0.0.0:8080" (the workload's own address), "unix:///path"; "": wherever the connection was going. */
static void set_endpoint(const struct translation *t, const INGRESS *from, struct inbound_port *out)
{
    struct str all = str_from(from->default_endpoint), port;
    uint64_t number = 0;
    if (str_has_prefix(all, STR("unix://"))) {
        out->address = all;
        return;
    }
    if (all.n == 0) {
        if (out->bind.p) { /* nobody redirected it: there is no other destination */
            out->address = STR("127.0.0.1");
            out->port = from->port->number;
        }
        return;
    }
    struct str host = str_split(all, ':', &port);
    out->address = str_eq(host, STR("0.0.0.0")) ? t->node->addresses[0] : STR("127.0.0.1");
    if (port.p && str_to_u64(port, &number))
        out->port = (uint32_t)number;
}

static void port_of_ingress(const struct translation *t, const INGRESS *from, const struct service *s, struct inbound_port *out)
{
    struct service_port *p = arena_zalloc(t->arena, sizeof(*p));
    bool is_bound = from->capture_mode == ISTIO__NETWORKING__V1ALPHA3__CAPTURE_MODE__NONE ||
                    (from->capture_mode == ISTIO__NETWORKING__V1ALPHA3__CAPTURE_MODE__DEFAULT && t->node->interception == INTERCEPT_NONE);
    p->name = str_from(from->port->name);
    p->number = from->port->number;
    p->protocol = protocol_parse(STR(""), str_from(from->port->protocol), p->number, STR("TCP"));
    *out = (struct inbound_port){.ws = {s, p, p->number}};
    if (is_bound)
        out->bind = from->bind[0] ? str_from(from->bind) : STR("0.0.0.0");
    set_endpoint(t, from, out);
}

size_t inbound_ports(const struct translation *t, const struct inbound_port **out)
{
    const struct node *n = t->node;
    const struct workload_service *services;
    const SIDECAR *sidecar = t->scope->sidecar ? (const SIDECAR *)t->scope->sidecar->body : NULL;
    size_t count = world_services_of(t->world, n->addresses, n->address_count, n->ns, &n->labels, t->arena, &services);
    size_t ingress = sidecar ? sidecar->n_ingress : 0, made = 0;
    struct inbound_port *ports = arena_alloc(t->arena, (count + ingress + 1) * sizeof(*ports));
    *out = ports;
    if (!ingress)
        return ports_of_services(t, services, count, ports);
    for (size_t i = 0; i < ingress; i++) {
        const INGRESS *from = sidecar->ingress[i];
        if (from->port)
            port_of_ingress(t, from, service_of(t, services, count, from->port->number), &ports[made++]);
    }
    return made;
}
