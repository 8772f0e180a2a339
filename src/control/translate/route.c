/* SPDX-License-Identifier: Apache-2.0
 *
 * Route configurations of sidecars: one for each HTTP port of the scope, with a virtual host for each service, and one for each
 * service and port that has to be told from its first bytes.
 */
#include "control/translate/translate_priv.h"

#include "base/map.h"
#include "istio/networking/sidecar.pb-c.h"

#define EGRESS Istio__Networking__V1alpha3__IstioEgressListener
#define ROUTES Envoy__Config__Route__V3__RouteConfiguration
#define VHOST Envoy__Config__Route__V3__VirtualHost
#define ROUTE Envoy__Config__Route__V3__Route
#define ACTION Envoy__Config__Route__V3__RouteAction

static const char configuration[] =
    "{\"validate_clusters\":false,\"max_direct_response_body_size_bytes\":1048576,\"ignore_port_in_host_matching\":true}";
static const char configuration_inbound[] = "{\"validate_clusters\":false}";
static const char action_outbound[] =
    "{\"timeout\":\"0s\",\"max_grpc_timeout\":\"0s\",\"retry_policy\":{\"retry_on\":"
    "\"connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes\",\"num_retries\":2,\"retry_host_predicate\":["
    "{\"name\":\"envoy.retry_host_predicates.previous_hosts\",\"typed_config\":{\"@type\":"
    "\"type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate\"}}],"
    "\"host_selection_retry_max_attempts\":\"5\"}}";
static const char action_inbound[] =
    "{\"timeout\":\"0s\",\"retry_policy\":{\"retry_on\":\"reset-before-request\",\"num_retries\":2},"
    "\"max_stream_duration\":{\"max_stream_duration\":\"0s\",\"grpc_timeout_header_max\":\"0s\"}}";
static const char action_passthrough[] = "{\"timeout\":\"0s\",\"max_grpc_timeout\":\"0s\"}";
static const char match_all[] = "{\"prefix\":\"/\"}";
static const char blocked[] = "{\"name\":\"block_all\",\"match\":{\"prefix\":\"/\"},\"direct_response\":{\"status\":502}}";

static ROUTE *route_to(const struct translation *t, const char *name, const char *action, struct str cluster, struct str operation)
{
    ROUTE *r = MAKE(t, ROUTE, envoy__config__route__v3__route__descriptor);
    ACTION *a = COPY_OF(t, ACTION, envoy__config__route__v3__route_action__descriptor, action);
    r->name = text(t, str_from(name));
    r->match = COPY_OF(t, Envoy__Config__Route__V3__RouteMatch, envoy__config__route__v3__route_match__descriptor, match_all);
    a->cluster_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER;
    a->cluster = text(t, cluster);
    r->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE;
    r->route = a;
    if (operation.n) {
        r->decorator = MAKE(t, Envoy__Config__Route__V3__Decorator, envoy__config__route__v3__decorator__descriptor);
        r->decorator->operation = text(t, operation);
    }
    return r;
}

ROUTE *route_default(const struct translation *t, struct str cluster, struct str operation)
{
    return route_to(t, "default", action_outbound, cluster, operation);
}

static VHOST *vhost_new(const struct translation *t, const char *name, const struct many *domains, const struct many *routes)
{
    VHOST *v = MAKE(t, VHOST, envoy__config__route__v3__virtual_host__descriptor);
    v->name = text(t, str_from(name));
    v->domains = (char **)domains->items;
    v->n_domains = domains->count;
    v->routes = (ROUTE **)routes->items;
    v->n_routes = routes->count;
    return v;
}

static VHOST *vhost_of_all(const struct translation *t, const char *name, ROUTE *route)
{
    struct many domains = {0}, routes = {0};
    many_add(t, &domains, text(t, STR("*")));
    many_add(t, &routes, route);
    return vhost_new(t, name, &domains, &routes);
}

ROUTES *routes_inbound(const struct translation *t, struct str cluster, struct str operation, uint32_t port)
{
    ROUTES *rc = COPY_OF(t, ROUTES, envoy__config__route__v3__route_configuration__descriptor, configuration_inbound);
    struct many vhosts = {0};
    many_add(t, &vhosts, vhost_of_all(t, textf(t, "inbound|http|%u", port), route_to(t, "default", action_inbound, cluster, operation)));
    rc->name = text(t, cluster);
    rc->virtual_hosts = (VHOST **)vhosts.items;
    rc->n_virtual_hosts = vhosts.count;
    envoy_filter_routes(t, rc, true);
    return rc;
}

VHOST *vhost_of_host(const struct translation *t, struct str host, uint32_t port, const struct many *routes)
{
    struct many domains = {0};
    many_add(t, &domains, text(t, host));
    VHOST *v = vhost_new(t, textf(t, "%.*s:%u", STR_ARG(host), port), &domains, routes);
    v->include_request_attempt_count = true;
    return v;
}

/* ---- domains ---- */

/* The longest tail that the proxy's own domain and the host share, in whole labels: names may be written without it. */
static void add_short_names(const struct translation *t, struct many *domains, struct str host)
{
    struct str domain = t->node->domain; /* "bookinfo.svc.cluster.local" */
    struct str ns, rest, name, after;
    name = str_split(host, '.', &after);
    ns = str_split(domain, '.', &rest);
    if (str_eq(after, domain)) {
        many_add(t, domains, text(t, name));
        many_add(t, domains, textf(t, "%.*s.%.*s.svc", STR_ARG(name), STR_ARG(ns)));
        many_add(t, domains, textf(t, "%.*s.%.*s", STR_ARG(name), STR_ARG(ns)));
        return;
    }
    struct str other_ns, other_rest;
    other_ns = str_split(after, '.', &other_rest);
    if (str_eq(other_rest, rest)) {
        many_add(t, domains, textf(t, "%.*s.%.*s", STR_ARG(name), STR_ARG(other_ns)));
        many_add(t, domains, textf(t, "%.*s.%.*s.svc", STR_ARG(name), STR_ARG(other_ns)));
    }
}

static void add_domain(const struct translation *t, struct many *domains, struct map *taken, const char *domain)
{
    if (map_set(taken, str_from(domain), taken))
        return; /* an earlier virtual host has it: Envoy refuses a domain that stands twice */
    many_add(t, domains, domain);
}

/* All names of a service in one port's configuration; those that another has already are left out. */
static struct many domains_of(const struct translation *t, const struct service *s, struct map *taken)
{
    struct many wanted = {0}, got = {0};
    many_add(t, &wanted, text(t, s->host));
    many_add(t, &wanted, textf(t, "%.*s.", STR_ARG(s->host)));
    add_short_names(t, &wanted, s->host); /* of a ServiceEntry in the mesh's domain too */
    if (s->is_headless)
        for (size_t i = 0, n = wanted.count; i < n; i++)
            many_add(t, &wanted, textf(t, "*.%s", (const char *)wanted.items[i]));
    for (uint32_t i = 0; i < s->address_count; i++)
        if (str_find_char(s->addresses[i], '/') < 0)
            many_add(t, &wanted, text(t, s->addresses[i]));
    for (size_t i = 0; i < wanted.count; i++)
        add_domain(t, &got, taken, wanted.items[i]);
    return got;
}

/* ---- outbound ---- */

/* What one listener's configuration is made of. */
struct served {
    const struct scope_egress *egress;
    struct str name;
    uint32_t port;
    bool of_all_ports; /* as a proxy that applications name: "host:port" tells which */
};

/* A hash leads to one host, again too. */
static Envoy__Config__Route__V3__RetryPolicy *retries_anywhere(const struct translation *t, const Envoy__Config__Route__V3__RetryPolicy *from)
{
    Envoy__Config__Route__V3__RetryPolicy *r = proto_arena_alloc(t->protos, sizeof(*r));
    *r = *from;
    r->n_retry_host_predicate = 0;
    return r;
}

static VHOST *vhost_of_service(const struct translation *t, const struct scope_egress *e, const struct scoped_service *s, uint32_t port,
                               struct map *taken)
{
    const struct service *service = s->service;
    struct many routes = {0}, domains = domains_of(t, service, taken);
    if (domains.count == 0)
        return NULL;
    struct str cluster = cluster_name(t->arena, "outbound", STR(""), service->host, port);
    struct str operation = arena_printf(t->arena, "%.*s:%u/*", STR_ARG(service->host), port);
    if (!routes_by_rule(t, e, service, port, &routes)) {
        ROUTE *r = route_default(t, cluster, operation);
        struct many hashes = {0};
        route_set_hash(t, s, STR(""), &hashes);
        r->route->hash_policy = (void *)hashes.items;
        r->route->n_hash_policy = hashes.count;
        if (hashes.count)
            r->route->retry_policy = retries_anywhere(t, r->route->retry_policy);
        many_add(t, &routes, r);
    }
    VHOST *v = vhost_new(t, textf(t, "%.*s:%u", STR_ARG(service->host), port), &domains, &routes);
    v->include_request_attempt_count = true;
    return v;
}

/* Requests to hosts that the mesh doesn't know. */
static VHOST *vhost_of_strangers(const struct translation *t)
{
    ROUTE *r = strangers_are_let_through(t)
                   ? route_to(t, "allow_any", action_passthrough, strangers_cluster(t), STR(""))
                   : COPY_OF(t, ROUTE, envoy__config__route__v3__route__descriptor, blocked);
    VHOST *v = vhost_of_all(t, r->name, r);
    v->include_request_attempt_count = true;
    return v;
}

/* EnvoyFilters look at route configurations whole: with one, they are sent so. */
static bool is_by_vhds(const struct translation *t)
{
    const struct object *const *filters;
    return t->node->takes_vhds && policies_for(t->world, KIND_ENVOY_FILTER, t->node->ns, &t->node->labels, t->arena, &filters) == 0;
}

static void add_configuration(const struct translation *t, struct resource_sink *out, const char *name, struct many *vhosts)
{
    static const char by_discovery[] =
        "{\"validate_clusters\":false,\"max_direct_response_body_size_bytes\":1048576,\"ignore_port_in_host_matching\":true,"
        "\"vhds\":{\"config_source\":{\"ads\":{},\"initial_fetch_timeout\":\"0s\",\"resource_api_version\":\"V3\"}}}";
    ROUTES *rc = COPY_OF(t, ROUTES, envoy__config__route__v3__route_configuration__descriptor,
                         is_by_vhds(t) ? by_discovery : configuration);
    many_add(t, vhosts, vhost_of_strangers(t));
    rc->name = text(t, str_from(name));
    rc->virtual_hosts = (VHOST **)vhosts->items;
    rc->n_virtual_hosts = vhosts->count;
    envoy_filter_routes(t, rc, false);
    out->add(out, str_from(name), &rc->base);
}

/* All services whose port of this number speaks HTTP. */
static void hosts_of_port(const struct translation *t, const struct served *l, struct many *vhosts)
{
    struct map *taken = map_new();
    const struct scope_egress *e = l->egress;
    for (uint32_t i = 0; i < e->service_count; i++) {
        const struct service_port *p = service_port_find(e->services[i].service, l->port);
        if (!p || !(protocol_is_http(p->protocol) || (e->port && p->protocol == PROTOCOL_AUTO)))
            continue;
        VHOST *v = vhost_of_service(t, e, &e->services[i], l->port, taken);
        if (v)
            many_add(t, vhosts, v);
    }
    vhosts_of_routes_alone(t, e, l->port, taken, vhosts);
    map_free(&taken);
}

/* "host:port" for each name; of port 80 the name alone, too, which clients write so. */
static void set_domains_with_port(const struct translation *t, VHOST *v, uint32_t port)
{
    struct many domains = {0};
    for (size_t i = 0; i < v->n_domains; i++) {
        if (port == 80)
            many_add(t, &domains, v->domains[i]);
        many_add(t, &domains, textf(t, "%s:%u", v->domains[i], port));
    }
    v->domains = (char **)domains.items;
    v->n_domains = domains.count;
}

static void add_of_all_ports(const struct translation *t, struct resource_sink *out, const struct served *l)
{
    static const char with_ports[] = "{\"validate_clusters\":false,\"max_direct_response_body_size_bytes\":1048576}";
    ROUTES *rc = COPY_OF(t, ROUTES, envoy__config__route__v3__route_configuration__descriptor, with_ports);
    struct many vhosts = {0};
    for (uint32_t i = 0; i < l->egress->service_count; i++) {
        const struct scoped_service *s = &l->egress->services[i];
        for (uint32_t k = 0; k < s->service->port_count; k++) {
            const struct service_port *p = &s->service->ports[k];
            if (!protocol_is_http(p->protocol) && p->protocol != PROTOCOL_AUTO)
                continue;
            struct map *taken = map_new(); /* names of two services differ, and ports of one */
            VHOST *v = vhost_of_service(t, l->egress, s, p->number, taken);
            map_free(&taken);
            if (!v)
                continue;
            set_domains_with_port(t, v, p->number);
            many_add(t, &vhosts, v);
        }
    }
    many_add(t, &vhosts, vhost_of_strangers(t));
    rc->name = text(t, l->name);
    rc->virtual_hosts = (VHOST **)vhosts.items;
    rc->n_virtual_hosts = vhosts.count;
    envoy_filter_routes(t, rc, false);
    out->add(out, l->name, &rc->base);
}

static void add_port(const struct translation *t, struct resource_sink *out, const struct served *l)
{
    struct many vhosts = {0};
    if (l->of_all_ports) {
        add_of_all_ports(t, out, l);
        return;
    }
    if (!is_by_vhds(t))
        hosts_of_port(t, l, &vhosts);
    add_configuration(t, out, text(t, l->name), &vhosts);
}

/* The virtual hosts of a port's configuration, each a resource whose name Envoy takes for the virtual host's. */
static void add_port_hosts(const struct translation *t, struct resource_sink *out, const struct served *l)
{
    struct many vhosts = {0};
    if (l->of_all_ports)
        return;
    hosts_of_port(t, l, &vhosts);
    for (size_t i = 0; i < vhosts.count; i++) {
        VHOST *v = vhosts.items[i];
        v->name = textf(t, "%.*s/%s", STR_ARG(l->name), v->name);
        out->add(out, str_from(v->name), &v->base);
    }
}

/* One whose protocol isn't said, by its host and port: whatever name the request has, it was sent to that service's address. */
static void add_sniffed(const struct translation *t, struct resource_sink *out, const struct scope_egress *e, const struct scoped_service *s,
                        uint32_t port)
{
    ROUTES *rc = COPY_OF(t, ROUTES, envoy__config__route__v3__route_configuration__descriptor, configuration);
    struct many vhosts = {0};
    struct map *taken = map_new();
    VHOST *v = vhost_of_service(t, e, s, port, taken);
    map_free(&taken);
    v->domains = pointers(t, 1);
    v->domains[0] = text(t, STR("*"));
    v->n_domains = 1;
    many_add(t, &vhosts, v);
    rc->name = v->name;
    rc->virtual_hosts = (VHOST **)vhosts.items;
    rc->n_virtual_hosts = vhosts.count;
    envoy_filter_routes(t, rc, false);
    out->add(out, str_from(rc->name), &rc->base);
}

typedef void (*served_fn)(const struct translation *t, struct resource_sink *out, const struct served *l);

/* A port of a Sidecar's own; a Unix socket has the number 0. */
static void each_of_port(const struct translation *t, struct resource_sink *out, const struct scope_egress *e, struct map *names, served_fn fn)
{
    const EGRESS *spec = (const EGRESS *)e->spec;
    enum protocol protocol = protocol_parse(STR(""), str_from(spec->port->protocol), spec->port->number, STR("TCP"));
    struct served l = {.egress = e, .port = spec->port->number};
    l.name = l.port ? arena_printf(t->arena, "%u", l.port) : str_from(spec->bind);
    l.of_all_ports = l.port == 0 || protocol == PROTOCOL_HTTP_PROXY;
    if ((protocol_is_http(protocol) || protocol == PROTOCOL_AUTO) && !map_set(names, l.name, names))
        fn(t, out, &l);
}

static void each_of_services(const struct translation *t, struct resource_sink *out, const struct scope_egress *e, struct map *names, served_fn fn)
{
    for (uint32_t i = 0; i < e->service_count; i++) {
        const struct service *s = e->services[i].service;
        for (uint32_t k = 0; k < s->port_count; k++) {
            struct served l = {.egress = e, .name = arena_printf(t->arena, "%u", s->ports[k].number), .port = s->ports[k].number};
            if (protocol_is_http(s->ports[k].protocol) && !map_set(names, l.name, names))
                fn(t, out, &l);
        }
    }
}

static void each_served(const struct translation *t, struct resource_sink *out, served_fn fn)
{
    struct map *names = map_new();
    for (uint32_t i = 0; i < t->scope->egress_count; i++) {
        const struct scope_egress *e = &t->scope->egress[i];
        bool has_port = e->spec && ((const EGRESS *)e->spec)->port;
        if (has_port)
            each_of_port(t, out, e, names, fn);
        else
            each_of_services(t, out, e, names, fn);
        if (!has_port && http_proxy_port(t) && !map_set(names, STR("http_proxy"), names))
            fn(t, out, &(struct served){.egress = e, .name = STR("http_proxy"), .of_all_ports = true});
    }
    map_free(&names);
}

void routes_sidecar(const struct translation *t, struct resource_sink *out)
{
    struct map *names = map_new();
    each_served(t, out, add_port);
    for (uint32_t e = 0; e < t->scope->egress_count; e++)
        for (uint32_t i = 0; i < t->scope->egress[e].service_count; i++) {
            const struct scoped_service *s = &t->scope->egress[e].services[i];
            for (uint32_t k = 0; k < s->service->port_count; k++) {
                const struct service_port *p = &s->service->ports[k];
                struct str name = arena_printf(t->arena, "%.*s:%u", STR_ARG(s->service->host), p->number);
                if (p->protocol == PROTOCOL_AUTO && s->service->address_count && !map_set(names, name, names))
                    add_sniffed(t, out, &t->scope->egress[e], s, p->number);
            }
        }
    map_free(&names);
}

void routes_sidecar_hosts(const struct translation *t, struct resource_sink *out)
{
    if (is_by_vhds(t))
        each_served(t, out, add_port_hosts);
}
