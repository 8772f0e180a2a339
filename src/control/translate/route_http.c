/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP routes of virtual services (Istio: "Virtual Service"). The first route that catches all ends the list.
 */
#include "control/translate/route_priv.h"

#include "base/map.h"
#include "istio/networking/destination_rule.pb-c.h"

#define ROUTE Envoy__Config__Route__V3__Route
#define ACTION Envoy__Config__Route__V3__RouteAction
#define WEIGHT Envoy__Config__Route__V3__WeightedCluster__ClusterWeight
#define OPTION Envoy__Config__Core__V3__HeaderValueOption
#define OPERATIONS Istio__Networking__V1alpha3__Headers__HeaderOperations
#define VIRTUAL Istio__Networking__V1alpha3__VirtualService

struct making {
    const struct translation *t;
    const struct scoped_route *vs;
    uint32_t port; /* of the listener */
};

/* ---- where to ---- */

struct str destination_cluster(const struct translation *t, const struct scoped_route *vs, const DESTINATION *d, uint32_t port, uint32_t *port_out,
                               struct str *host_out)
{
    struct str host = host_whole(t->arena, str_from(d->host), vs->object->ns, world_mesh(t->world)->domain);
    const struct scoped_service *s = scope_service(t->scope, host);
    uint32_t number = d->port && d->port->number ? d->port->number : port;
    /* At a gateway the listener's port says nothing of the service's; a sidecar's traffic is for the port that it was sent to. */
    if (!(d->port && d->port->number) && t->node->type == NODE_ROUTER && s && s->service->port_count == 1)
        number = s->service->ports[0].number;
    *port_out = number;
    *host_out = host;
    return cluster_name(t->arena, "outbound", str_from(d->subset), host, number);
}

/* ---- headers ---- */

static OPTION *option_of(const struct translation *t, const char *key, const char *value, bool is_set)
{
    OPTION *o = MAKE(t, OPTION, envoy__config__core__v3__header_value_option__descriptor);
    o->header = MAKE(t, Envoy__Config__Core__V3__HeaderValue, envoy__config__core__v3__header_value__descriptor);
    o->header->key = text(t, str_from(key));
    o->header->value = text(t, str_from(value));
    if (is_set)
        o->append_action = ENVOY__CONFIG__CORE__V3__HEADER_VALUE_OPTION__HEADER_APPEND_ACTION__OVERWRITE_IF_EXISTS_OR_ADD;
    return o;
}

static void headers_of(const struct translation *t, const OPERATIONS *from, OPTION ***add, size_t *add_count, char ***remove, size_t *remove_count)
{
    struct many all = {0};
    if (!from)
        return;
    for (size_t i = 0; i < from->n_set; i++)
        many_add(t, &all, option_of(t, from->set[i]->key, from->set[i]->value, true));
    for (size_t i = 0; i < from->n_add; i++)
        many_add(t, &all, option_of(t, from->add[i]->key, from->add[i]->value, false));
    *add = (OPTION **)all.items;
    *add_count = all.count;
    *remove = from->remove;
    *remove_count = from->n_remove;
}

/* "Host" among the headers to set is a rewrite of the authority. */
static const char *authority_of(const OPERATIONS *o)
{
    for (size_t i = 0; o && i < o->n_set; i++)
        if (str_eq_nocase(str_from(o->set[i]->key), STR("host")) || strcmp(o->set[i]->key, ":authority") == 0)
            return o->set[i]->value;
    return NULL;
}

/* ---- the action ---- */

static void set_weights(const struct making *m, const HTTP_ROUTE *h, ACTION *a)
{
    const struct translation *t = m->t;
    struct many all = {0};
    for (size_t i = 0; i < h->n_route; i++) {
        const Istio__Networking__V1alpha3__HTTPRouteDestination *d = h->route[i];
        uint32_t port;
        struct str host;
        if (d->weight == 0)
            continue;
        WEIGHT *w = MAKE(t, WEIGHT, envoy__config__route__v3__weighted_cluster__cluster_weight__descriptor);
        w->name = text(t, destination_cluster(t, m->vs, d->destination, m->port, &port, &host));
        w->weight = u32_of(t, (uint32_t)d->weight);
        if (d->headers) {
            headers_of(t, d->headers->request, &w->request_headers_to_add, &w->n_request_headers_to_add, &w->request_headers_to_remove,
                       &w->n_request_headers_to_remove);
            headers_of(t, d->headers->response, &w->response_headers_to_add, &w->n_response_headers_to_add, &w->response_headers_to_remove,
                       &w->n_response_headers_to_remove);
        }
        many_add(t, &all, w);
    }
    a->cluster_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS;
    a->weighted_clusters = MAKE(t, Envoy__Config__Route__V3__WeightedCluster, envoy__config__route__v3__weighted_cluster__descriptor);
    a->weighted_clusters->clusters = (WEIGHT **)all.items;
    a->weighted_clusters->n_clusters = all.count;
}

static void set_cluster(const struct making *m, const HTTP_ROUTE *h, ROUTE *r, ACTION *a)
{
    const struct translation *t = m->t;
    const Istio__Networking__V1alpha3__Headers *headers = h->route[0]->headers;
    uint32_t port;
    struct str host;
    a->cluster_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER;
    a->cluster = text(t, destination_cluster(t, m->vs, h->route[0]->destination, m->port, &port, &host));
    if (!headers)
        return;
    headers_of(t, headers->request, &r->request_headers_to_add, &r->n_request_headers_to_add, &r->request_headers_to_remove,
               &r->n_request_headers_to_remove);
    headers_of(t, headers->response, &r->response_headers_to_add, &r->n_response_headers_to_add, &r->response_headers_to_remove,
               &r->n_response_headers_to_remove);
}

static void set_rewrite(const struct translation *t, const Istio__Networking__V1alpha3__HTTPRewrite *w, ACTION *a)
{
    if (!w)
        return;
    if (w->uri_regex_rewrite) {
        a->regex_rewrite = MAKE(t, Envoy__Type__Matcher__V3__RegexMatchAndSubstitute,
                                envoy__type__matcher__v3__regex_match_and_substitute__descriptor);
        a->regex_rewrite->pattern = MAKE(t, Envoy__Type__Matcher__V3__RegexMatcher, envoy__type__matcher__v3__regex_matcher__descriptor);
        a->regex_rewrite->pattern->regex = text(t, str_from(w->uri_regex_rewrite->match));
        a->regex_rewrite->substitution = text(t, str_from(w->uri_regex_rewrite->rewrite));
    } else
        a->prefix_rewrite = text(t, str_from(w->uri));
    if (w->authority[0]) {
        a->host_rewrite_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_HOST_REWRITE_LITERAL;
        a->host_rewrite_literal = text(t, str_from(w->authority));
    }
}

static void add_mirror(const struct making *m, const DESTINATION *d, double percent, struct many *all)
{
    const struct translation *t = m->t;
    Envoy__Config__Route__V3__RouteAction__RequestMirrorPolicy *p =
        MAKE(t, Envoy__Config__Route__V3__RouteAction__RequestMirrorPolicy,
             envoy__config__route__v3__route_action__request_mirror_policy__descriptor);
    uint32_t port;
    struct str host;
    p->cluster = text(t, destination_cluster(t, m->vs, d, m->port, &port, &host));
    p->runtime_fraction = runtime_percent(t, percent);
    p->trace_sampled = bool_of(t, false);
    p->disable_shadow_host_suffix_append = true;
    many_add(t, all, p);
}

static void set_mirrors(const struct making *m, const HTTP_ROUTE *h, ACTION *a)
{
    struct many all = {0};
    for (size_t i = 0; i < h->n_mirrors; i++)
        add_mirror(m, h->mirrors[i]->destination, h->mirrors[i]->percentage ? h->mirrors[i]->percentage->value : 100, &all);
    if (h->mirror && h->n_mirrors == 0)
        add_mirror(m, h->mirror, h->mirror_percentage ? h->mirror_percentage->value : h->mirror_percent ? h->mirror_percent->value : 100, &all);
    a->request_mirror_policies = (void *)all.items;
    a->n_request_mirror_policies = all.count;
}

/* ---- hashing: the destination's rule balances by a hash, the route tells of what ---- */

#define HASH Envoy__Config__Route__V3__RouteAction__HashPolicy
#define CONSISTENT Istio__Networking__V1alpha3__LoadBalancerSettings__ConsistentHashLB

static const CONSISTENT *consistent_of(const struct scoped_service *s, struct str subset)
{
    const Istio__Networking__V1alpha3__DestinationRule *rule =
        s && s->rule ? (const Istio__Networking__V1alpha3__DestinationRule *)s->rule->merged : NULL;
    const Istio__Networking__V1alpha3__TrafficPolicy *p = rule ? rule->traffic_policy : NULL;
    for (size_t i = 0; rule && i < rule->n_subsets; i++)
        if (str_eq(str_from(rule->subsets[i]->name), subset) && rule->subsets[i]->traffic_policy &&
            rule->subsets[i]->traffic_policy->load_balancer &&
            rule->subsets[i]->traffic_policy->load_balancer->lb_policy_case ==
                ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__LB_POLICY_CONSISTENT_HASH)
            p = rule->subsets[i]->traffic_policy;
    const Istio__Networking__V1alpha3__LoadBalancerSettings *b = p ? p->load_balancer : NULL;
    return b && b->lb_policy_case == ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__LB_POLICY_CONSISTENT_HASH ? b->consistent_hash : NULL;
}

static void fill_cookie(const struct translation *t, const Istio__Networking__V1alpha3__LoadBalancerSettings__ConsistentHashLB__HTTPCookie *from,
                        HASH *h)
{
    h->policy_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_COOKIE;
    h->cookie = MAKE(t, Envoy__Config__Route__V3__RouteAction__HashPolicy__Cookie,
                     envoy__config__route__v3__route_action__hash_policy__cookie__descriptor);
    h->cookie->name = text(t, str_from(from->name));
    h->cookie->path = text(t, str_from(from->path));
    h->cookie->ttl = from->ttl;
}

static HASH *hash_policy(const struct translation *t, const CONSISTENT *c)
{
    HASH *h = MAKE(t, HASH, envoy__config__route__v3__route_action__hash_policy__descriptor);
    switch (c->hash_key_case) {
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_KEY_HTTP_HEADER_NAME:
        h->policy_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_HEADER;
        h->header = MAKE(t, Envoy__Config__Route__V3__RouteAction__HashPolicy__Header,
                         envoy__config__route__v3__route_action__hash_policy__header__descriptor);
        h->header->header_name = text(t, str_from(c->http_header_name));
        return h;
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_KEY_HTTP_COOKIE:
        fill_cookie(t, c->http_cookie, h);
        return h;
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_KEY_USE_SOURCE_IP:
        h->policy_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_CONNECTION_PROPERTIES;
        h->connection_properties = MAKE(t, Envoy__Config__Route__V3__RouteAction__HashPolicy__ConnectionProperties,
                                        envoy__config__route__v3__route_action__hash_policy__connection_properties__descriptor);
        h->connection_properties->source_ip = c->use_source_ip;
        return h;
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_KEY_HTTP_QUERY_PARAMETER_NAME:
        h->policy_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_QUERY_PARAMETER;
        h->query_parameter = MAKE(t, Envoy__Config__Route__V3__RouteAction__HashPolicy__QueryParameter,
                                  envoy__config__route__v3__route_action__hash_policy__query_parameter__descriptor);
        h->query_parameter->name = text(t, str_from(c->http_query_parameter_name));
        return h;
    default:
        return NULL;
    }
}

void route_set_hash(const struct translation *t, const struct scoped_service *s, struct str subset, struct many *policies)
{
    const CONSISTENT *c = consistent_of(s, subset);
    HASH *h = c ? hash_policy(t, c) : NULL;
    if (h)
        many_add(t, policies, h);
}

static void set_hashes(const struct making *m, const HTTP_ROUTE *h, ACTION *a)
{
    struct many all = {0};
    for (size_t i = 0; i < h->n_route; i++) {
        uint32_t port;
        struct str host;
        destination_cluster(m->t, m->vs, h->route[i]->destination, m->port, &port, &host);
        route_set_hash(m->t, scope_service(m->t->scope, host), str_from(h->route[i]->destination->subset), &all);
    }
    a->hash_policy = (HASH **)all.items;
    a->n_hash_policy = all.count;
}

/* ---- other endings ---- */

static void set_redirect(const struct translation *t, const Istio__Networking__V1alpha3__HTTPRedirect *from, ROUTE *r)
{
    Envoy__Config__Route__V3__RedirectAction *a =
        MAKE(t, Envoy__Config__Route__V3__RedirectAction, envoy__config__route__v3__redirect_action__descriptor);
    a->host_redirect = text(t, str_from(from->authority));
    if (from->prefix_rewrite[0] || from->uri[0]) {
        bool is_prefix = from->prefix_rewrite[0];
        a->path_rewrite_specifier_case = is_prefix ? ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PREFIX_REWRITE
                                                   : ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PATH_REDIRECT;
        *(is_prefix ? &a->prefix_rewrite : &a->path_redirect) = text(t, str_from(is_prefix ? from->prefix_rewrite : from->uri));
    }
    if (from->scheme[0]) {
        a->scheme_rewrite_specifier_case = ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_SCHEME_REDIRECT;
        a->scheme_redirect = text(t, str_from(from->scheme));
    }
    if (from->redirect_port_case == ISTIO__NETWORKING__V1ALPHA3__HTTPREDIRECT__REDIRECT_PORT_PORT)
        a->port_redirect = from->port;
    switch (from->redirect_code) {
    case 302:
        a->response_code = ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__FOUND;
        break;
    case 303:
        a->response_code = ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__SEE_OTHER;
        break;
    case 307:
        a->response_code = ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__TEMPORARY_REDIRECT;
        break;
    case 308:
        a->response_code = ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__PERMANENT_REDIRECT;
        break;
    default:
        break;
    }
    r->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_REDIRECT;
    r->redirect = a;
}

static void set_direct_response(const struct translation *t, const Istio__Networking__V1alpha3__HTTPDirectResponse *from, ROUTE *r)
{
    Envoy__Config__Route__V3__DirectResponseAction *a =
        MAKE(t, Envoy__Config__Route__V3__DirectResponseAction, envoy__config__route__v3__direct_response_action__descriptor);
    a->status = from->status;
    if (from->body) {
        a->body = MAKE(t, Envoy__Config__Core__V3__DataSource, envoy__config__core__v3__data_source__descriptor);
        if (from->body->specifier_case == ISTIO__NETWORKING__V1ALPHA3__HTTPBODY__SPECIFIER_BYTES) {
            a->body->specifier_case = ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_BYTES;
            a->body->inline_bytes = from->body->bytes;
        } else {
            a->body->specifier_case = ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_STRING;
            a->body->inline_string = text(t, str_from(from->body->string));
        }
    }
    r->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_DIRECT_RESPONSE;
    r->direct_response = a;
}

static void set_action(const struct making *m, const HTTP_ROUTE *h, ROUTE *r)
{
    static const char skeleton[] = "{\"timeout\":\"0s\",\"max_grpc_timeout\":\"0s\"}";
    const struct translation *t = m->t;
    ACTION *a = COPY_OF(t, ACTION, envoy__config__route__v3__route_action__descriptor, skeleton);
    r->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE;
    r->route = a;
    if (h->timeout)
        a->timeout = a->max_grpc_timeout = h->timeout;
    a->retry_policy = retry_policy(t, h->retries);
    set_rewrite(t, h->rewrite, a);
    set_mirrors(m, h, a);
    set_hashes(m, h, a);
    if (a->n_hash_policy && a->retry_policy && h->n_route == 1)
        a->retry_policy->n_retry_host_predicate = 0; /* the hash leads to one host, again too */
    const char *authority = h->headers ? authority_of(h->headers->request) : NULL;
    if (authority && a->host_rewrite_specifier_case == 0) {
        a->host_rewrite_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_HOST_REWRITE_LITERAL;
        a->host_rewrite_literal = text(t, str_from(authority));
    }
    if (h->n_route == 1)
        set_cluster(m, h, r, a);
    else
        set_weights(m, h, a);
}

/* ---- the route ---- */

static struct str path_of(const struct translation *t, const HTTP_MATCH *match)
{
    if (!match || !match->uri)
        return STR("/*");
    if (match->uri->match_type_case == ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_PREFIX)
        return arena_printf(t->arena, "%s*", match->uri->prefix);
    if (match->uri->match_type_case == ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_EXACT)
        return str_from(match->uri->exact);
    return match->uri->match_type_case == ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_REGEX ? str_from(match->uri->regex) : STR("/*");
}

static void set_decorator(const struct making *m, const HTTP_ROUTE *h, const HTTP_MATCH *match, ROUTE *r)
{
    const struct translation *t = m->t;
    struct str host = m->vs->object->name, path = path_of(t, match);
    uint32_t port = m->port;
    if (h->n_route == 1)
        destination_cluster(t, m->vs, h->route[0]->destination, m->port, &port, &host);
    r->decorator = MAKE(t, Envoy__Config__Route__V3__Decorator, envoy__config__route__v3__decorator__descriptor);
    r->decorator->operation = textf(t, "%.*s:%u%.*s", STR_ARG(host), port, STR_ARG(path));
}

static void add_filter_config(const struct translation *t, struct many *all, const char *name, Google__Protobuf__Any *config)
{
    Envoy__Config__Route__V3__Route__TypedPerFilterConfigEntry *e =
        MAKE(t, Envoy__Config__Route__V3__Route__TypedPerFilterConfigEntry,
             envoy__config__route__v3__route__typed_per_filter_config_entry__descriptor);
    e->key = text(t, str_from(name));
    e->value = config;
    many_add(t, all, e);
}

static void set_filters(const struct translation *t, const HTTP_ROUTE *h, ROUTE *r)
{
    struct many all = {0};
    if (h->cors_policy)
        add_filter_config(t, &all, "envoy.filters.http.cors", cors_config(t, h->cors_policy));
    if (h->fault)
        add_filter_config(t, &all, "envoy.filters.http.fault", fault_config(t, h->fault));
    r->typed_per_filter_config = (void *)all.items;
    r->n_typed_per_filter_config = all.count;
}

static char *name_of(const struct translation *t, const HTTP_ROUTE *h, const HTTP_MATCH *match)
{
    if (match && match->name[0])
        return textf(t, h->name[0] ? "%s.%s" : "%s%s", h->name, match->name);
    return text(t, str_from(h->name));
}

static ROUTE *route_of(const struct making *m, const HTTP_ROUTE *h, const HTTP_MATCH *match)
{
    const struct translation *t = m->t;
    ROUTE *r = MAKE(t, ROUTE, envoy__config__route__v3__route__descriptor);
    r->name = name_of(t, h, match);
    r->match = route_match(t, match);
    metadata_add_config(t, &r->metadata, m->vs->object);
    if (match && match->stat_prefix[0])
        r->stat_prefix = text(t, str_from(match->stat_prefix));
    set_decorator(m, h, match, r);
    if (h->headers) {
        headers_of(t, h->headers->request, &r->request_headers_to_add, &r->n_request_headers_to_add, &r->request_headers_to_remove,
                   &r->n_request_headers_to_remove);
        headers_of(t, h->headers->response, &r->response_headers_to_add, &r->n_response_headers_to_add, &r->response_headers_to_remove,
                   &r->n_response_headers_to_remove);
    }
    if (h->redirect)
        set_redirect(t, h->redirect, r);
    else if (h->direct_response)
        set_direct_response(t, h->direct_response, r);
    else
        set_action(m, h, r);
    set_filters(t, h, r);
    return r;
}

/* Returns whether it caught all. */
static bool add_route(const struct making *m, const HTTP_ROUTE *h, struct str gateway, struct many *routes)
{
    if (h->n_match == 0) {
        many_add(m->t, routes, route_of(m, h, NULL));
        return true;
    }
    for (size_t i = 0; i < h->n_match; i++) {
        if (!match_is_for(m->t, m->vs, h->match[i], gateway, m->port))
            continue;
        many_add(m->t, routes, route_of(m, h, h->match[i]));
        if (match_catches_all(h->match[i]))
            return true;
    }
    return false;
}

bool routes_of_virtual_service(const struct translation *t, const struct scoped_route *vs, struct str gateway, uint32_t port, struct many *routes)
{
    struct making m = {t, vs, port};
    const VIRTUAL *spec = (const VIRTUAL *)vs->spec;
    for (size_t i = 0; i < spec->n_http; i++) {
        const HTTP_ROUTE *h = spec->http[i];
        if (!h->delegate && (h->n_route || h->redirect || h->direct_response) && add_route(&m, h, gateway, routes))
            return true;
    }
    return false;
}

/* ---- which virtual service ---- */

/* The exact host first, then the longest wildcard that holds it; of equals the oldest. */
static const struct scoped_route *rule_for(const struct scope_egress *e, struct str host)
{
    const struct scoped_route *best = NULL;
    size_t longest = 0;
    for (uint32_t i = 0; i < e->route_count; i++) {
        const struct scoped_route *r = &e->routes[i];
        for (uint32_t k = 0; k < r->host_count; k++) {
            if (str_eq(r->hosts[k], host))
                return r;
            if (r->hosts[k].p[0] == '*' && r->hosts[k].n > longest && host_is_subset(host, r->hosts[k])) {
                best = r;
                longest = r->hosts[k].n;
            }
        }
    }
    return best;
}

bool routes_by_rule(const struct translation *t, const struct scope_egress *e, const struct service *s, uint32_t port, struct many *routes)
{
    const struct scoped_route *r = rule_for(e, s->host);
    if (!r || ((const VIRTUAL *)r->spec)->n_http == 0)
        return false;
    routes_of_virtual_service(t, r, STR("mesh"), port, routes);
    return routes->count > 0;
}

/* Sidecars learn of hosts that no service has by port 80. */
void vhosts_of_routes_alone(const struct translation *t, const struct scope_egress *e, uint32_t port, struct map *taken, struct many *vhosts)
{
    for (uint32_t i = 0; port == 80 && i < e->route_count; i++) {
        const struct scoped_route *r = &e->routes[i];
        for (uint32_t k = 0; k < r->host_count; k++) {
            struct many routes = {0};
            if (map_set(taken, r->hosts[k], taken))
                continue;
            routes_of_virtual_service(t, r, STR("mesh"), port, &routes);
            if (routes.count)
                many_add(t, vhosts, vhost_of_host(t, r->hosts[k], port, &routes));
        }
    }
}
