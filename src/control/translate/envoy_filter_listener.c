/* SPDX-License-Identifier: Apache-2.0
 *
 * Patches of listeners and of all that stands in them. Level by level: the listener, its filters, its chains, their filters, the
 * filters of connection managers; at each what is removed, added and inserted first, then what is merged.
 */
#include "control/translate/envoy_filter_priv.h"

#define LISTENER Envoy__Config__Listener__V3__Listener
#define CHAIN Envoy__Config__Listener__V3__FilterChain
#define FILTER Envoy__Config__Listener__V3__Filter
#define LISTENER_FILTER Envoy__Config__Listener__V3__ListenerFilter
#define HCM Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpConnectionManager
#define HCM_NAME "envoy.filters.network.http_connection_manager"
#define LISTENER_MATCH Istio__Networking__V1alpha3__EnvoyFilter__ListenerMatch
#define CHAIN_MATCH Istio__Networking__V1alpha3__EnvoyFilter__ListenerMatch__FilterChainMatch

struct place {
    const struct translation *t;
    patch_context context;
    LISTENER *listener;
    CHAIN *chain;
    FILTER *filter;
};

/* ---- what a patch is for ---- */

static const LISTENER_MATCH *match_of(const struct patch *p)
{
    return p->match && p->match->object_types_case == MATCH_OF(LISTENER) ? p->match->listener : NULL;
}

/* These take any port's connections: a port is looked for among their chains. */
static bool is_virtual(const LISTENER *l)
{
    return strcmp(l->name, "virtualInbound") == 0 || strcmp(l->name, "virtualOutbound") == 0;
}

static bool is_listener(const LISTENER *l, const struct patch *p)
{
    const LISTENER_MATCH *m = match_of(p);
    if (!m)
        return true;
    if (m->name[0] && strcmp(m->name, l->name) != 0)
        return false;
    if (m->port_number == 0 || (p->spec->apply_to != APPLY_TO(LISTENER) && is_virtual(l)))
        return true;
    return l->address && l->address->address_case == ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_SOCKET_ADDRESS &&
           l->address->socket_address->port_value == m->port_number;
}

static bool has_text(char *const *items, size_t n, struct str s)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(str_from(items[i]), s))
            return true;
    return false;
}

static bool has_all(char *const *items, size_t n, struct str list)
{
    for (struct str rest = list; rest.p && list.n;)
        if (!has_text(items, n, str_split(rest, ',', &rest)))
            return false;
    return true;
}

static bool is_chain(const struct place *at, const struct patch *p)
{
    static const Envoy__Config__Listener__V3__FilterChainMatch none = ENVOY__CONFIG__LISTENER__V3__FILTER_CHAIN_MATCH__INIT;
    const LISTENER_MATCH *l = match_of(p);
    const Envoy__Config__Listener__V3__FilterChainMatch *of = at->chain->filter_chain_match ? at->chain->filter_chain_match : &none;
    uint32_t port = of->destination_port ? of->destination_port->value : 0;
    if (!l || (is_virtual(at->listener) && l->port_number && l->port_number != port))
        return !l;
    const CHAIN_MATCH *m = l->filter_chain;
    return !m || ((!m->name[0] || strcmp(m->name, at->chain->name) == 0) &&
                  (!m->sni[0] || has_text(of->server_names, of->n_server_names, str_from(m->sni))) &&
                  (!m->transport_protocol[0] || strcmp(m->transport_protocol, of->transport_protocol) == 0) &&
                  has_all(of->application_protocols, of->n_application_protocols, str_from(m->application_protocols)) &&
                  (!m->destination_port || m->destination_port == port));
}

static const char *listener_filter_named(const struct patch *p)
{
    const LISTENER_MATCH *m = match_of(p);
    return m && m->listener_filter[0] ? m->listener_filter : NULL;
}

static const char *filter_named(const struct patch *p)
{
    const LISTENER_MATCH *m = match_of(p);
    return m && m->filter_chain && m->filter_chain->filter ? m->filter_chain->filter->name : NULL;
}

static const char *http_filter_named(const struct patch *p)
{
    return filter_named(p) && match_of(p)->filter_chain->filter->sub_filter ? match_of(p)->filter_chain->filter->sub_filter->name : NULL;
}

static bool is_named(const char *wanted, const char *name)
{
    return !wanted || strcmp(wanted, name) == 0;
}

static bool is_listener_filter(const void *item, const struct patch *p)
{
    return is_named(listener_filter_named(p), ((const LISTENER_FILTER *)item)->name);
}

static bool is_filter(const void *item, const struct patch *p)
{
    return is_named(filter_named(p), ((const FILTER *)item)->name);
}

static bool is_http_filter(const void *item, const struct patch *p)
{
    return is_named(http_filter_named(p), ((const http_filter *)item)->name);
}

static bool is_merge(const struct patch *p)
{
    return p->operation == OPERATION(MERGE) || p->operation == OPERATION(MERGE_AND_REPLACE_LIST);
}

/* Removing and replacing want to be told what. */
static bool needs_name(const struct patch *p)
{
    return p->operation == OPERATION(REMOVE) || p->operation == OPERATION(REPLACE);
}

/* ---- filters of connection managers ---- */

static void merge_http_filter(const struct place *at, struct patch *p, http_filter *f)
{
    http_filter *from = (http_filter *)patch_value(at->t, p);
    const int typed = ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_FILTER__CONFIG_TYPE_TYPED_CONFIG;
    if (!from)
        return;
    Google__Protobuf__Any *own = (int)f->config_type_case == typed ? f->typed_config : NULL;
    Google__Protobuf__Any *other = (int)from->config_type_case == typed ? from->typed_config : NULL;
    if (other)
        from->config_type_case = 0;
    (void)proto_merge(at->t->protos, &f->base, &from->base);
    if (other) {
        f->config_type_case = typed;
        f->typed_config = merge_any(at->t, p, own, other);
    }
}

static bool is_for_http_filters(const struct place *at, const struct patch *p)
{
    return is_listener(at->listener, p) && is_chain(at, p) && is_filter(at->filter, p);
}

static void patch_http_filters(const struct place *at, HCM *hcm)
{
    size_t pos = 0;
    for (struct patch *p; (p = patch_next(at->t, APPLY_TO(HTTP_FILTER), at->context, &pos));) {
        const char *name = http_filter_named(p);
        if (!is_merge(p) && is_for_http_filters(at, p) && (name || !needs_name(p)))
            patch_list(at->t, p, name != NULL, is_http_filter, (void ***)&hcm->http_filters, &hcm->n_http_filters);
    }
    for (size_t i = 0; i < hcm->n_http_filters; i++) {
        pos = 0;
        for (struct patch *p; (p = patch_next(at->t, APPLY_TO(HTTP_FILTER), at->context, &pos));)
            if (is_merge(p) && is_for_http_filters(at, p) && is_http_filter(hcm->http_filters[i], p))
                merge_http_filter(at, p, hcm->http_filters[i]);
    }
}

static bool wants_http_filters(const struct place *at)
{
    size_t pos = 0;
    for (const struct patch *p; (p = patch_next(at->t, APPLY_TO(HTTP_FILTER), at->context, &pos));)
        if (is_for_http_filters(at, p))
            return true;
    return false;
}

static void open_hcm(const struct place *at)
{
    ProtobufCMessage *hcm;
    if (strcmp(at->filter->name, HCM_NAME) != 0 || !wants_http_filters(at) ||
        at->filter->config_type_case != ENVOY__CONFIG__LISTENER__V3__FILTER__CONFIG_TYPE_TYPED_CONFIG ||
        proto_unpack_any_as(at->t->protos, at->filter->typed_config,
                            &envoy__extensions__filters__network__http_connection_manager__v3__http_connection_manager__descriptor, &hcm,
                            NULL))
        return;
    patch_http_filters(at, (HCM *)hcm);
    at->filter->typed_config = any_of(at->t, hcm);
}

/* ---- network filters ---- */

static void merge_filter(const struct place *at, struct patch *p)
{
    FILTER *f = at->filter, *from = (FILTER *)patch_value(at->t, p);
    const int typed = ENVOY__CONFIG__LISTENER__V3__FILTER__CONFIG_TYPE_TYPED_CONFIG;
    if (!from)
        return;
    Google__Protobuf__Any *own = (int)f->config_type_case == typed ? f->typed_config : NULL;
    Google__Protobuf__Any *other = (int)from->config_type_case == typed ? from->typed_config : NULL;
    if (from->name[0])
        f->name = from->name;
    if (other) {
        f->config_type_case = typed;
        f->typed_config = merge_any(at->t, p, own, other);
    }
}

static void patch_filters(struct place *at)
{
    CHAIN *c = at->chain;
    size_t pos = 0;
    for (struct patch *p; (p = patch_next(at->t, APPLY_TO(NETWORK_FILTER), at->context, &pos));) {
        const char *name = filter_named(p);
        if (!is_merge(p) && is_listener(at->listener, p) && is_chain(at, p) && (name || !needs_name(p)))
            patch_list(at->t, p, name != NULL, is_filter, (void ***)&c->filters, &c->n_filters);
    }
    for (size_t i = 0; i < c->n_filters; i++) {
        at->filter = c->filters[i];
        pos = 0;
        for (struct patch *p; (p = patch_next(at->t, APPLY_TO(NETWORK_FILTER), at->context, &pos));)
            if (is_merge(p) && is_listener(at->listener, p) && is_chain(at, p) && is_filter(at->filter, p))
                merge_filter(at, p);
        open_hcm(at);
    }
}

/* ---- chains ---- */

static void merge_chain(const struct place *at, struct patch *p)
{
    CHAIN *c = at->chain, *from = (CHAIN *)patch_value(at->t, p);
    if (from && from->transport_socket) {
        if (c->transport_socket && strcmp(c->transport_socket->name, from->transport_socket->name) == 0)
            patch_merge_socket(at->t, p, c->transport_socket, from->transport_socket);
        else
            c->transport_socket = from->transport_socket;
    }
    patch_merge(at->t, p, &c->base);
}

/* false: it is removed. */
static bool patch_chain(struct place *at, CHAIN *c)
{
    size_t pos = 0;
    at->chain = c;
    for (struct patch *p; (p = patch_next(at->t, APPLY_TO(FILTER_CHAIN), at->context, &pos));) {
        if (!is_listener(at->listener, p) || !is_chain(at, p))
            continue;
        if (p->operation == OPERATION(REMOVE))
            return false;
        if (is_merge(p))
            merge_chain(at, p);
    }
    patch_filters(at);
    return true;
}

static void patch_chains(struct place *at)
{
    LISTENER *l = at->listener;
    size_t kept = 0, pos = 0;
    for (size_t i = 0; i < l->n_filter_chains; i++)
        if (patch_chain(at, l->filter_chains[i]))
            l->filter_chains[kept++] = l->filter_chains[i];
    l->n_filter_chains = kept;
    if (l->default_filter_chain && !patch_chain(at, l->default_filter_chain))
        l->default_filter_chain = NULL;
    for (struct patch *p; (p = patch_next(at->t, APPLY_TO(FILTER_CHAIN), at->context, &pos));)
        if (p->operation == OPERATION(ADD) && is_listener(l, p))
            patch_list(at->t, p, false, NULL, (void ***)&l->filter_chains, &l->n_filter_chains);
}

/* ---- listeners ---- */

static void merge_listener_filter(const struct place *at, struct patch *p, LISTENER_FILTER *f)
{
    LISTENER_FILTER *from = (LISTENER_FILTER *)patch_value(at->t, p);
    const int typed = ENVOY__CONFIG__LISTENER__V3__LISTENER_FILTER__CONFIG_TYPE_TYPED_CONFIG;
    if (!from)
        return;
    Google__Protobuf__Any *own = (int)f->config_type_case == typed ? f->typed_config : NULL;
    Google__Protobuf__Any *other = (int)from->config_type_case == typed ? from->typed_config : NULL;
    if (other)
        from->config_type_case = 0;
    (void)proto_merge(at->t->protos, &f->base, &from->base);
    if (other) {
        f->config_type_case = typed;
        f->typed_config = merge_any(at->t, p, own, other);
    }
}

static void patch_listener_filters(const struct place *at)
{
    LISTENER *l = at->listener;
    size_t pos = 0;
    for (struct patch *p; (p = patch_next(at->t, APPLY_TO(LISTENER_FILTER), at->context, &pos));) {
        const char *name = listener_filter_named(p);
        if (!is_listener(l, p))
            continue;
        if (!is_merge(p)) {
            if (name || !needs_name(p))
                patch_list(at->t, p, name != NULL, is_listener_filter, (void ***)&l->listener_filters, &l->n_listener_filters);
            continue;
        }
        for (size_t i = 0; i < l->n_listener_filters; i++)
            if (is_listener_filter(l->listener_filters[i], p))
                merge_listener_filter(at, p, l->listener_filters[i]);
    }
}

static bool is_wanted(const struct translation *t, patch_context context, const LISTENER *l)
{
    static const apply_to of_listeners[] = {APPLY_TO(LISTENER), APPLY_TO(LISTENER_FILTER), APPLY_TO(FILTER_CHAIN), APPLY_TO(NETWORK_FILTER),
                                            APPLY_TO(HTTP_FILTER)};
    for (size_t i = 0; i < sizeof(of_listeners) / sizeof(of_listeners[0]); i++) {
        size_t pos = 0;
        for (const struct patch *p; (p = patch_next(t, of_listeners[i], context, &pos));)
            if (is_listener(l, p))
                return true;
    }
    return false;
}

bool envoy_filter_listener(const struct translation *t, LISTENER *l, bool is_inbound)
{
    struct place at = {.t = t, .context = patch_context_of(t, is_inbound), .listener = l};
    size_t pos = 0;
    if (!is_wanted(t, at.context, l))
        return true;
    *l = *(LISTENER *)proto_clone(t->protos, &l->base);
    for (struct patch *p; (p = patch_next(t, APPLY_TO(LISTENER), at.context, &pos));) {
        if (p->operation == OPERATION(ADD) || !is_listener(l, p))
            continue;
        if (p->operation == OPERATION(REMOVE))
            return false;
        patch_merge(t, p, &l->base);
    }
    patch_listener_filters(&at);
    patch_chains(&at);
    return l->n_filter_chains > 0 || l->default_filter_chain;
}
