/* SPDX-License-Identifier: Apache-2.0
 *
 * Config dumps: the packed bootstrap is unpacked into an arena, laid out as Envoy's admin messages,
 * masked, filtered by name and written as redacted JSON; then the arena goes. Main thread; a dump of
 * thousands of clusters takes tens of milliseconds, during which admin and DNS wait, traffic doesn't.
 */
#include "proxy/config/dump.h"

#include "base/mem.h"
#include "envoy/admin/v3/config_dump.pb-c.h"
#include "envoy/admin/v3/config_dump_shared.pb-c.h"
#include "proto/dump.h"
#include "proto/fields.h"
#include "proto/wire.h"
#include "proxy/config/dump_clusters.h"
#include "proxy/config/dump_endpoints.h"
#include "proxy/config/dump_listeners.h"
#include "proxy/config/dump_parts.h"
#include "proxy/config/dump_store.h"
#include "proxy/config/pb.h"
#include "proxy/config/secret_source.h"
#include "proxy/filter/filter_source.h"
#include "proxy/match/string_match.h"
#include "proxy/route/route_source.h"
#include "proxy/route/scope_source.h"
#include "proxy/route/vhds.h"

#define HCM_TYPE "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

struct dump_store {
    struct str packed;
    uint64_t wall_us;
};

struct dump_store *dump_store_new(struct str take_packed, uint64_t wall_us)
{
    struct dump_store *s = NEW(dump_store);
    *s = (struct dump_store){take_packed, wall_us};
    return s;
}

void dump_store_free(struct dump_store **s)
{
    if (!*s)
        return;
    if ((*s)->packed.p)
        explicit_bzero((char *)(*s)->packed.p, (*s)->packed.n); /* inline keys */
    mem_free((char *)(*s)->packed.p);
    mem_free(*s);
    *s = NULL;
}

struct str dump_store_packed(const struct dump_store *s)
{
    return s->packed;
}

uint64_t dump_store_wall_us(const struct dump_store *s)
{
    return s->wall_us;
}

struct dumping {
    bool include_eds;
    const struct server *server;
    struct proto_arena *arena;
    const pb_bootstrap *boot;
    Google__Protobuf__Timestamp *updated;
    struct regex *names; /* NULL: all */
    struct str mask;
    ProtobufCMessage **items; /* what is shown */
    size_t count, cap;
    struct err *err;
    int rc;
};

static void push_item(struct dumping *d, ProtobufCMessage *m)
{
    d->items = mem_grow(d->items, &d->cap, d->count + 1, sizeof *d->items);
    d->items[d->count++] = m;
}

/* One resource: the mask must fit it. */
static void add_item(struct dumping *d, ProtobufCMessage *m)
{
    if (!m || d->rc < 0)
        return;
    if (d->mask.n)
        d->rc = proto_mask(d->arena, m, d->mask, &m, d->err);
    if (d->rc == 0)
        push_item(d, m);
}

/* One of the dumps: a mask that doesn't fit it leaves it out, as Envoy does: "bootstrap" fits one only. */
static void add_dump(struct dumping *d, ProtobufCMessage *m)
{
    if (m && (!d->mask.n || proto_mask(d->arena, m, d->mask, &m, NULL) == 0))
        push_item(d, m);
}

static bool is_wanted(const struct dumping *d, const char *name)
{
    return !d->names || regex_matches(d->names, str_from(name));
}

typedef Envoy__Admin__V3__ClustersConfigDump__StaticCluster pb_static_cluster;
typedef Envoy__Admin__V3__ListenersConfigDump__StaticListener pb_static_listener;
typedef Envoy__Admin__V3__RoutesConfigDump__StaticRouteConfig pb_static_route;
typedef Envoy__Admin__V3__RoutesConfigDump__DynamicRouteConfig pb_dynamic_route;
typedef Envoy__Admin__V3__ScopedRoutesConfigDump__DynamicScopedRouteConfigs pb_dynamic_scopes;
typedef Envoy__Admin__V3__EcdsConfigDump__EcdsFilterConfig pb_ecds_filter;
typedef Envoy__Admin__V3__SecretsConfigDump__StaticSecret pb_static_secret;
typedef Envoy__Admin__V3__SecretsConfigDump__DynamicSecret pb_dynamic_secret;

static void add_dynamic_clusters(struct dumping *d, Envoy__Admin__V3__ClustersConfigDump *dump)
{
    struct dumped_cluster *items;
    size_t n = dump_dynamic_clusters(d->arena, d->server, &items);
    dump->dynamic_active_clusters = proto_arena_alloc(d->arena, (n + 1) * sizeof *dump->dynamic_active_clusters);
    dump->dynamic_warming_clusters = proto_arena_alloc(d->arena, (n + 1) * sizeof *dump->dynamic_warming_clusters);
    for (size_t i = 0; dump->dynamic_active_clusters && dump->dynamic_warming_clusters && i < n; i++) {
        if (!is_wanted(d, items[i].name.p))
            continue;
        if (items[i].is_warming)
            dump->dynamic_warming_clusters[dump->n_dynamic_warming_clusters++] = items[i].item;
        else
            dump->dynamic_active_clusters[dump->n_dynamic_active_clusters++] = items[i].item;
    }
}

static void dynamic_cluster_items(struct dumping *d, bool warming)
{
    struct dumped_cluster *items;
    size_t n = dump_dynamic_clusters(d->arena, d->server, &items);
    for (size_t i = 0; i < n; i++)
        if (items[i].is_warming == warming && is_wanted(d, items[i].name.p))
            add_item(d, &items[i].item->base);
}

static ProtobufCMessage *clusters_dump(struct dumping *d, bool items_only)
{
    Envoy__Admin__V3__ClustersConfigDump *dump =
        PROTO_NEW(d->arena, Envoy__Admin__V3__ClustersConfigDump, envoy__admin__v3__clusters_config_dump__descriptor);
    const pb_static_resources *s = d->boot->static_resources;
    size_t n = s ? s->n_clusters : 0;
    if (!dump)
        return NULL;
    dump->static_clusters = proto_arena_alloc(d->arena, (n + 1) * sizeof *dump->static_clusters);
    for (size_t i = 0; dump->static_clusters && i < n; i++) {
        pb_static_cluster *item = PROTO_NEW(d->arena, pb_static_cluster,
                                            envoy__admin__v3__clusters_config_dump__static_cluster__descriptor);
        if (!item || !is_wanted(d, s->clusters[i]->name))
            continue;
        item->cluster = proto_pack_any(d->arena, &s->clusters[i]->base);
        item->last_updated = d->updated;
        if (items_only)
            add_item(d, &item->base);
        else
            dump->static_clusters[dump->n_static_clusters++] = item;
    }
    if (!items_only)
        add_dynamic_clusters(d, dump);
    return &dump->base;
}

static void add_dynamic_listeners(struct dumping *d, Envoy__Admin__V3__ListenersConfigDump *dump)
{
    Envoy__Admin__V3__ListenersConfigDump__DynamicListener **items;
    size_t n = dump_dynamic_listeners(d->arena, d->server, &items);
    dump->dynamic_listeners = items;
    for (size_t i = 0; i < n; i++)
        if (is_wanted(d, items[i]->name))
            dump->dynamic_listeners[dump->n_dynamic_listeners++] = items[i];
}

static void dynamic_listener_items(struct dumping *d)
{
    Envoy__Admin__V3__ListenersConfigDump__DynamicListener **items;
    size_t n = dump_dynamic_listeners(d->arena, d->server, &items);
    for (size_t i = 0; i < n; i++)
        if (is_wanted(d, items[i]->name))
            add_item(d, &items[i]->base);
}

static ProtobufCMessage *listeners_dump(struct dumping *d, bool items_only)
{
    Envoy__Admin__V3__ListenersConfigDump *dump =
        PROTO_NEW(d->arena, Envoy__Admin__V3__ListenersConfigDump, envoy__admin__v3__listeners_config_dump__descriptor);
    const pb_static_resources *s = d->boot->static_resources;
    size_t n = s ? s->n_listeners : 0;
    if (!dump)
        return NULL;
    dump->static_listeners = proto_arena_alloc(d->arena, (n + 1) * sizeof *dump->static_listeners);
    for (size_t i = 0; dump->static_listeners && i < n; i++) {
        pb_static_listener *item = PROTO_NEW(d->arena, pb_static_listener,
                                             envoy__admin__v3__listeners_config_dump__static_listener__descriptor);
        if (!item || !is_wanted(d, s->listeners[i]->name))
            continue;
        item->listener = proto_pack_any(d->arena, &s->listeners[i]->base);
        item->last_updated = d->updated;
        if (items_only)
            add_item(d, &item->base);
        else
            dump->static_listeners[dump->n_static_listeners++] = item;
    }
    if (!items_only)
        add_dynamic_listeners(d, dump);
    return &dump->base;
}

/* Calls fn for each inline route configuration of each connection manager. */
static void each_chain_route(struct dumping *d, const pb_filter_chain *chain,
                             void (*fn)(struct dumping *d, pb_route_config *r, void *arg), void *arg)
{
    for (size_t i = 0; chain && i < chain->n_filters; i++) {
        const pb_network_filter *f = chain->filters[i];
        ProtobufCMessage *msg = NULL;
        if (f->config_type_case != ENVOY__CONFIG__LISTENER__V3__FILTER__CONFIG_TYPE_TYPED_CONFIG ||
            !str_eq(proto_any_type(f->typed_config), STR(HCM_TYPE)) ||
            proto_unpack_any(d->arena, f->typed_config, &msg, NULL) < 0)
            continue;
        pb_hcm *hcm = (pb_hcm *)msg;
        if (hcm->route_specifier_case ==
            ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_ROUTE_CONFIG)
            fn(d, hcm->route_config, arg);
    }
}

static void each_route(struct dumping *d, void (*fn)(struct dumping *d, pb_route_config *r, void *arg), void *arg)
{
    const pb_static_resources *s = d->boot->static_resources;
    for (size_t i = 0; s && i < s->n_listeners; i++) {
        for (size_t j = 0; j < s->listeners[i]->n_filter_chains; j++)
            each_chain_route(d, s->listeners[i]->filter_chains[j], fn, arg);
        each_chain_route(d, s->listeners[i]->default_filter_chain, fn, arg);
    }
}

static void count_route(struct dumping *d, pb_route_config *r, void *arg)
{
    (void)d, (void)r;
    ++*(size_t *)arg;
}

struct route_collection {
    Envoy__Admin__V3__RoutesConfigDump *dump;
    bool items_only;
    struct dumping *dumping;
};

static void collect_route(struct dumping *d, pb_route_config *r, void *arg)
{
    struct route_collection *c = arg;
    pb_static_route *item = PROTO_NEW(d->arena, pb_static_route,
                                      envoy__admin__v3__routes_config_dump__static_route_config__descriptor);
    if (!item || !is_wanted(d, r->name))
        return;
    item->route_config = proto_pack_any(d->arena, &r->base);
    item->last_updated = d->updated;
    if (c->items_only)
        add_item(d, &item->base);
    else
        c->dump->static_route_configs[c->dump->n_static_route_configs++] = item;
}

static void add_vhost(const struct resource *r, void *arg)
{
    wire_bytes(arg, 2 /* virtual_hosts */, r->packed.p, r->packed.n);
}

/* Virtual hosts that came by themselves stand among the others, as Envoy shows them: fields of a message may stand anywhere. */
static pb_any *with_vhosts(struct dumping *d, const struct route_source_state *s)
{
    struct strbuf whole = {0};
    strbuf_adds(&whole, s->packed);
    vhds_each(s->vhds, add_vhost, &whole);
    char *copy = proto_arena_strdup(d->arena, strbuf_str(&whole));
    size_t n = copy ? whole.n : 0;
    strbuf_fini(&whole);
    return dump_any(d->arena, RESOURCE_ROUTES, str_make(copy, n));
}

static void count_dynamic_route(const struct route_source_state *s, void *arg)
{
    (void)s;
    ++*(size_t *)arg;
}

static void collect_dynamic_route(const struct route_source_state *s, void *arg)
{
    struct route_collection *c = arg;
    struct dumping *d = c->dumping;
    pb_dynamic_route *item;
    if (!s->packed.p || (d->names && !regex_matches(d->names, s->name)))
        return;
    item = PROTO_NEW(d->arena, pb_dynamic_route, envoy__admin__v3__routes_config_dump__dynamic_route_config__descriptor);
    if (!item || !(item->version_info = proto_arena_strdup(d->arena, s->version)))
        return;
    item->route_config = s->vhds ? with_vhosts(d, s) : dump_any(d->arena, RESOURCE_ROUTES, s->packed);
    item->last_updated = dump_timestamp(d->arena, s->updated_wall_us);
    if (c->items_only)
        add_item(d, &item->base);
    else
        c->dump->dynamic_route_configs[c->dump->n_dynamic_route_configs++] = item;
}

static ProtobufCMessage *dynamic_routes_dump(struct dumping *d, Envoy__Admin__V3__RoutesConfigDump *dump, bool items_only)
{
    size_t n = 0;
    struct route_collection c = {.dump = dump, .items_only = items_only, .dumping = d};
    if (!dump)
        return NULL;
    route_sources_each(count_dynamic_route, &n);
    dump->dynamic_route_configs = proto_arena_alloc(d->arena, (n + 1) * sizeof *dump->dynamic_route_configs);
    if (dump->dynamic_route_configs)
        route_sources_each(collect_dynamic_route, &c);
    return &dump->base;
}

/* ---- scopes ---- */

struct scope_collection {
    struct dumping *dumping;
    Envoy__Admin__V3__ScopedRoutesConfigDump *dump; /* NULL: only counted */
    size_t count;
};

static void collect_scopes(const struct scope_source_state *s, void *arg)
{
    struct scope_collection *c = arg;
    struct proto_arena *a = c->dumping->arena;
    c->count++;
    if (!c->dump)
        return;
    pb_dynamic_scopes *item = PROTO_NEW(a, pb_dynamic_scopes,
                                        envoy__admin__v3__scoped_routes_config_dump__dynamic_scoped_route_configs__descriptor);
    if (!item || !(item->name = proto_arena_strdup(a, s->name)) || !(item->version_info = proto_arena_strdup(a, s->version)))
        return;
    item->scoped_route_configs = proto_arena_alloc(a, (s->count + 1) * sizeof *item->scoped_route_configs);
    for (uint32_t i = 0; item->scoped_route_configs && i < s->count; i++)
        item->scoped_route_configs[item->n_scoped_route_configs++] = dump_any(a, RESOURCE_SCOPED_ROUTES, s->scopes[i]->packed);
    item->last_updated = dump_timestamp(a, s->updated_wall_us);
    c->dump->dynamic_scoped_route_configs[c->dump->n_dynamic_scoped_route_configs++] = item;
}

/* Of those by discovery; the others are shown with their listeners. */
static ProtobufCMessage *scopes_dump(struct dumping *d)
{
    struct scope_collection c = {.dumping = d};
    scope_sources_each(collect_scopes, &c);
    c.dump = PROTO_NEW(d->arena, Envoy__Admin__V3__ScopedRoutesConfigDump, envoy__admin__v3__scoped_routes_config_dump__descriptor);
    if (!c.dump)
        return NULL;
    c.dump->dynamic_scoped_route_configs = proto_arena_alloc(d->arena, (c.count + 1) * sizeof *c.dump->dynamic_scoped_route_configs);
    if (c.dump->dynamic_scoped_route_configs)
        scope_sources_each(collect_scopes, &c);
    return &c.dump->base;
}

/* ---- extensions ---- */

struct extension_collection {
    struct dumping *dumping;
    Envoy__Admin__V3__EcdsConfigDump *dump; /* NULL: only counted, or items */
    bool items_only;
    size_t count;
};

static void collect_extension(const struct filter_feed_state *s, void *arg)
{
    struct extension_collection *c = arg;
    struct dumping *d = c->dumping;
    c->count++;
    if ((!c->dump && !c->items_only) || !s->packed.p || (d->names && !regex_matches(d->names, s->name)))
        return;
    pb_ecds_filter *item = PROTO_NEW(d->arena, pb_ecds_filter, envoy__admin__v3__ecds_config_dump__ecds_filter_config__descriptor);
    if (!item || !(item->version_info = proto_arena_strdup(d->arena, s->version)))
        return;
    item->ecds_filter = dump_any(d->arena, RESOURCE_EXTENSION, s->packed);
    item->last_updated = dump_timestamp(d->arena, s->updated_wall_us);
    if (c->items_only)
        add_item(d, &item->base);
    else
        c->dump->ecds_filters[c->dump->n_ecds_filters++] = item;
}

/* There only where filters come by discovery. */
static ProtobufCMessage *extensions_dump(struct dumping *d)
{
    struct extension_collection c = {.dumping = d};
    filter_feeds_each(collect_extension, &c);
    if (!c.count)
        return NULL;
    Envoy__Admin__V3__EcdsConfigDump *dump =
        PROTO_NEW(d->arena, Envoy__Admin__V3__EcdsConfigDump, envoy__admin__v3__ecds_config_dump__descriptor);
    if (!dump || !(dump->ecds_filters = proto_arena_alloc(d->arena, c.count * sizeof *dump->ecds_filters)))
        return NULL;
    c.dump = dump;
    filter_feeds_each(collect_extension, &c);
    return &dump->base;
}

static Envoy__Admin__V3__RoutesConfigDump *new_routes_dump(struct dumping *d)
{
    return PROTO_NEW(d->arena, Envoy__Admin__V3__RoutesConfigDump, envoy__admin__v3__routes_config_dump__descriptor);
}

static ProtobufCMessage *routes_dump(struct dumping *d, bool items_only)
{
    size_t n = 0;
    struct route_collection c = {.items_only = items_only};
    c.dump = new_routes_dump(d);
    each_route(d, count_route, &n);
    if (!c.dump)
        return NULL;
    c.dump->static_route_configs = proto_arena_alloc(d->arena, (n + 1) * sizeof *c.dump->static_route_configs);
    if (c.dump->static_route_configs)
        each_route(d, collect_route, &c);
    if (!items_only)
        dynamic_routes_dump(d, c.dump, false);
    return &c.dump->base;
}

static void collect_static_secrets(struct dumping *d, Envoy__Admin__V3__SecretsConfigDump *dump)
{
    const pb_static_resources *s = d->boot->static_resources;
    size_t n = s ? s->n_secrets : 0;
    dump->static_secrets = proto_arena_alloc(d->arena, (n + 1) * sizeof *dump->static_secrets);
    for (size_t i = 0; dump->static_secrets && i < n; i++) {
        pb_static_secret *item =
            PROTO_NEW(d->arena, pb_static_secret, envoy__admin__v3__secrets_config_dump__static_secret__descriptor);
        if (!item || !is_wanted(d, s->secrets[i]->name))
            continue;
        item->name = s->secrets[i]->name;
        item->secret = proto_pack_any(d->arena, &s->secrets[i]->base);
        item->last_updated = d->updated;
        dump->static_secrets[dump->n_static_secrets++] = item;
    }
}

struct secret_dumping {
    struct dumping *d;
    Envoy__Admin__V3__SecretsConfigDump *dump; /* NULL: only counted */
    size_t count;
};

/* One that hasn't come is shown with its name alone. */
static Google__Protobuf__Any *dumped_secret(struct dumping *d, const struct secret_view *v, char *name)
{
    pb_secret *none = PROTO_NEW(d->arena, pb_secret, envoy__extensions__transport_sockets__tls__v3__secret__descriptor);
    if (!none)
        return NULL;
    none->name = name;
    Google__Protobuf__Any *any = proto_pack_any(d->arena, &none->base);
    if (any && v->packed.n)
        any->value = (ProtobufCBinaryData){.len = v->packed.n, .data = (uint8_t *)(uintptr_t)v->packed.p};
    return any;
}

static void collect_dynamic_secret(const struct secret_view *v, void *arg)
{
    struct secret_dumping *s = arg;
    s->count++;
    if (!s->dump)
        return;
    pb_dynamic_secret *item =
        PROTO_NEW(s->d->arena, pb_dynamic_secret, envoy__admin__v3__secrets_config_dump__dynamic_secret__descriptor);
    char *name = proto_arena_strdup(s->d->arena, v->name);
    if (!item || !name || !is_wanted(s->d, name))
        return;
    item->name = name;
    item->version_info = v->packed.n ? proto_arena_strdup(s->d->arena, v->version) : (char *)"uninitialized";
    item->last_updated = v->packed.n ? dump_timestamp(s->d->arena, v->updated_wall_us) : s->d->updated;
    item->secret = dumped_secret(s->d, v, name);
    if (v->packed.n)
        s->dump->dynamic_active_secrets[s->dump->n_dynamic_active_secrets++] = item;
    else
        s->dump->dynamic_warming_secrets[s->dump->n_dynamic_warming_secrets++] = item;
}

static Envoy__Admin__V3__SecretsConfigDump *collect_secrets(struct dumping *d)
{
    Envoy__Admin__V3__SecretsConfigDump *dump =
        PROTO_NEW(d->arena, Envoy__Admin__V3__SecretsConfigDump, envoy__admin__v3__secrets_config_dump__descriptor);
    struct secret_dumping s = {.d = d};
    if (!dump)
        return NULL;
    collect_static_secrets(d, dump);
    secret_sources_each(collect_dynamic_secret, &s);
    dump->dynamic_active_secrets = proto_arena_alloc(d->arena, (s.count + 1) * sizeof *dump->dynamic_active_secrets);
    dump->dynamic_warming_secrets = proto_arena_alloc(d->arena, (s.count + 1) * sizeof *dump->dynamic_warming_secrets);
    if (dump->dynamic_active_secrets && dump->dynamic_warming_secrets) {
        s.dump = dump;
        secret_sources_each(collect_dynamic_secret, &s);
    }
    return dump;
}

static ProtobufCMessage *secrets_dump(struct dumping *d)
{
    Envoy__Admin__V3__SecretsConfigDump *dump = collect_secrets(d);
    return dump ? &dump->base : NULL;
}

static void add_items(struct dumping *d, void *list, size_t n)
{
    ProtobufCMessage **items = list;
    for (size_t i = 0; i < n; i++)
        add_item(d, items[i]);
}

/* The items of one list alone; false: `resource` is none of the lists of secrets. */
static bool collect_secret_items(struct dumping *d, struct str resource)
{
    bool is_static = str_eq(resource, STR("static_secrets")), is_active = str_eq(resource, STR("dynamic_active_secrets"));
    if (!is_static && !is_active && !str_eq(resource, STR("dynamic_warming_secrets")))
        return false;
    Envoy__Admin__V3__SecretsConfigDump *dump = collect_secrets(d);
    if (dump && is_static)
        add_items(d, dump->static_secrets, dump->n_static_secrets);
    else if (dump && is_active)
        add_items(d, dump->dynamic_active_secrets, dump->n_dynamic_active_secrets);
    else if (dump)
        add_items(d, dump->dynamic_warming_secrets, dump->n_dynamic_warming_secrets);
    return true;
}

static ProtobufCMessage *bootstrap_dump(struct dumping *d)
{
    Envoy__Admin__V3__BootstrapConfigDump *dump =
        PROTO_NEW(d->arena, Envoy__Admin__V3__BootstrapConfigDump, envoy__admin__v3__bootstrap_config_dump__descriptor);
    if (!dump)
        return NULL;
    dump->bootstrap = (pb_bootstrap *)d->boot;
    dump->last_updated = d->updated;
    return &dump->base;
}

static void add_endpoints(struct dumping *d)
{
    Envoy__Admin__V3__EndpointsConfigDump *dump = dump_endpoints(d->arena, d->boot);
    if (dump)
        add_dump(d, &dump->base);
}

static void endpoint_items(struct dumping *d, bool dynamic)
{
    Envoy__Admin__V3__EndpointsConfigDump *dump = dump_endpoints(d->arena, d->boot);
    for (size_t i = 0; dump && dynamic && i < dump->n_dynamic_endpoint_configs; i++)
        add_item(d, &dump->dynamic_endpoint_configs[i]->base);
    for (size_t i = 0; dump && !dynamic && i < dump->n_static_endpoint_configs; i++)
        add_item(d, &dump->static_endpoint_configs[i]->base);
}

static int collect(struct dumping *d, struct str resource)
{
    if (resource.n == 0) {
        add_dump(d, bootstrap_dump(d));
        add_dump(d, clusters_dump(d, false));
        add_dump(d, extensions_dump(d));
        add_dump(d, listeners_dump(d, false));
        add_dump(d, scopes_dump(d));
        add_dump(d, routes_dump(d, false));
        add_dump(d, secrets_dump(d));
        if (d->include_eds)
            add_endpoints(d);
        return 0;
    }
    if (str_eq(resource, STR("bootstrap")))
        return err_set(d->err, ERR_INVALID, "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field");
    if (str_eq(resource, STR("static_clusters")))
        clusters_dump(d, true);
    else if (str_eq(resource, STR("dynamic_active_clusters")))
        dynamic_cluster_items(d, false);
    else if (str_eq(resource, STR("dynamic_warming_clusters")))
        dynamic_cluster_items(d, true);
    else if (str_eq(resource, STR("static_listeners")))
        listeners_dump(d, true);
    else if (str_eq(resource, STR("dynamic_listeners")))
        dynamic_listener_items(d);
    else if (str_eq(resource, STR("static_route_configs")))
        routes_dump(d, true);
    else if (str_eq(resource, STR("ecds_filters")))
        filter_feeds_each(collect_extension, &(struct extension_collection){.dumping = d, .items_only = true});
    else if (str_eq(resource, STR("dynamic_route_configs")))
        dynamic_routes_dump(d, new_routes_dump(d), true);
    else if (str_eq(resource, STR("static_endpoint_configs")) || str_eq(resource, STR("dynamic_endpoint_configs")))
        endpoint_items(d, resource.p[0] == 'd');
    else if (!collect_secret_items(d, resource))
        return err_set(d->err, ERR_NOT_FOUND, "%.*s not found in config dump", STR_ARG(resource));
    return d->rc;
}

static int write_dump(struct dumping *d, struct strbuf *out)
{
    Envoy__Admin__V3__ConfigDump *dump =
        PROTO_NEW(d->arena, Envoy__Admin__V3__ConfigDump, envoy__admin__v3__config_dump__descriptor);
    if (!dump)
        return err_set(d->err, ERR_NOMEM, "the dump is too large");
    dump->configs = proto_arena_alloc(d->arena, (d->count + 1) * sizeof *dump->configs);
    for (size_t i = 0; dump->configs && i < d->count; i++) {
        Google__Protobuf__Any *any = proto_pack_any(d->arena, d->items[i]);
        if (any)
            dump->configs[dump->n_configs++] = any;
    }
    if (proto_arena_is_full(d->arena))
        return err_set(d->err, ERR_LIMIT, "the dump is too large");
    proto_dump(&dump->base, out);
    strbuf_addc(out, '\n'); /* as Envoy's printer ends */
    return 0;
}

int config_dump_json(const struct server *s, struct str resource, struct str mask, struct str name_regex, bool include_eds,
                     struct strbuf *out, struct err *err)
{
    const struct dump_store *store = s->config_dump;
    struct dumping d = {.server = s, .mask = mask, .err = err, .include_eds = include_eds};
    ProtobufCMessage *boot = NULL;
    if (!store)
        return err_set(err, ERR_STATE, "no configuration yet");
    if (name_regex.n && !(d.names = regex_new(name_regex, err)))
        return ERR_INVALID;
    d.arena = proto_arena_new(0);
    d.rc = proto_unpack(d.arena, &envoy__config__bootstrap__v3__bootstrap__descriptor, store->packed, &boot, err);
    d.boot = (const pb_bootstrap *)boot;
    d.updated = dump_timestamp(d.arena, store->wall_us);
    if (d.rc == 0)
        d.rc = collect(&d, resource);
    if (d.rc == 0)
        d.rc = write_dump(&d, out);
    mem_free(d.items);
    regex_free(&d.names);
    proto_arena_free(&d.arena);
    return d.rc;
}
