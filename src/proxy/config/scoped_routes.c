/* SPDX-License-Identifier: Apache-2.0
 *
 * ScopedRoutes: given inline, their route configurations inline or by name (RDS), or by discovery themselves
 * (SRDS), then by name. Scopes on demand and xdstp locators are refused by name. Main thread.
 */
#include "proxy/route/scope_source.h"

#include "base/mem.h"
#include "proxy/config/resources_priv.h"
#include "proxy/hcm/hcm.h"

#define SCOPED(x) ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__SCOPED_ROUTES__##x
#define EXTRACT(x) SCOPED(SCOPE_KEY_BUILDER__FRAGMENT_BUILDER__HEADER_VALUE_EXTRACTOR__EXTRACT_TYPE_##x)

static void read_extractor(struct config_reader *cr, const pb_header_extractor *m, struct scope_fragment *f, struct arena *a)
{
    f->header = cfg_lower(a, TEXT(m, name));
    f->separator = arena_str(a, TEXT(m, element_separator));
    if (m->extract_type_case == EXTRACT(INDEX)) {
        f->index = GET(m, index);
        if (f->index && !f->separator.n)
            FAULT("index", "must be 0 without element_separator");
    } else if (m->extract_type_case == EXTRACT(ELEMENT)) {
        f->by_key = true;
        f->key_separator = arena_str(a, TEXT(GET(m, element), separator));
        f->key = arena_str(a, TEXT(m->element, key));
    } else {
        FAULT("", "one of index and element must be set");
    }
}

static void read_builder(struct config_reader *cr, const pb_scope_key_builder *m, struct route_scopes *s, struct arena *a)
{
    s->fragment_count = LEN(m, fragments);
    s->fragments = ARENA_ARRAY(a, struct scope_fragment, s->fragment_count);
    for (uint32_t i = 0; i < s->fragment_count; i++)
        IN("fragments[%u].header_value_extractor", i)
            if (m->fragments[i]->type_case)
                read_extractor(cr, GET(m->fragments[i], header_value_extractor), &s->fragments[i], a);
            else
                FAULT("", "must be set");
}

static void read_key(struct config_reader *cr, const pb_scoped_route *m, struct route_scope *scope, struct arena *a)
{
    if (!GET(m, key)) {
        FAULT("key", "must be set");
        return;
    }
    scope->key_count = LEN(m->key, fragments);
    scope->key = ARENA_ARRAY(a, struct str, scope->key_count);
    for (uint32_t i = 0; i < scope->key_count; i++)
        scope->key[i] = arena_str(a, TEXT(m->key->fragments[i], string_key));
}

static void read_scope(struct config_reader *cr, const pb_scoped_route *m, struct route_scope *scope, struct arena *a)
{
    scope->name = arena_str(a, TEXT(m, name));
    read_key(cr, m, scope, a);
    scope->rds_name = arena_str(a, TEXT(m, route_configuration_name));
    if (scope->rds_name.n && GET(m, route_configuration))
        FAULT("route_configuration_name", "excludes route_configuration");
    else if (!scope->rds_name.n && !GET(m, route_configuration))
        FAULT("", "one of route_configuration and route_configuration_name must be set");
    else if (!scope->rds_name.n)
        IN("route_configuration")
            cfg_route_config(cr, m->route_configuration, a, &scope->spec);
}

static void read_srds(struct config_reader *cr, const pb_scoped_rds *m, struct route_scopes *s)
{
    if (!m) {
        FAULT("", "one of scoped_rds and scoped_route_configurations_list must be set");
        return;
    }
    IN("scoped_rds_config_source")
        s->srds.source = cfg_config_source(cr, GET(m, scoped_rds_config_source));
    if (!s->srds.source)
        FAULT("scoped_rds_config_source", "must be set");
    if (TEXT(m, srds_resources_locator).n)
        UNSUPPORTED("srds_resources_locator", m->srds_resources_locator);
}

struct route_scopes *cfg_scoped_routes(struct config_reader *cr, const pb_scoped_routes *m, struct arena *a)
{
    struct err err = {0};
    size_t faults = cr->r.faults->count;
    struct route_scopes *s = arena_zalloc(a, sizeof *s);
    (void)TEXT(m, name);
    IN("scope_key_builder")
        if (GET(m, scope_key_builder))
            read_builder(cr, m->scope_key_builder, s, a);
        else
            FAULT("", "must be set");
    IN("rds_config_source")
        s->rds = cfg_config_source(cr, GET(m, rds_config_source));
    if (m->config_specifier_case != SCOPED(CONFIG_SPECIFIER_SCOPED_ROUTE_CONFIGURATIONS_LIST)) {
        s->srds.name = arena_str(a, TEXT(m, name));
        IN("scoped_rds")
            read_srds(cr, GET(m, scoped_rds), s);
        if (!s->rds)
            FAULT("rds_config_source", "must be set");
        route_scopes_init(s, &err); /* of none */
        return s;
    }
    const pb_scoped_list *list = GET(m, scoped_route_configurations_list);
    uint32_t n = LEN(list, scoped_route_configurations);
    s->items = ARENA_ARRAY(a, struct route_scope, n);
    IN("scoped_route_configurations_list")
        for (; s->count < n; s->count++)
            IN("scoped_route_configurations[%u]", s->count)
                read_scope(cr, list->scoped_route_configurations[s->count], &s->items[s->count], a);
    for (uint32_t i = 0; !s->rds && i < s->count; i++)
        if (s->items[i].rds_name.n)
            FAULT("rds_config_source", "must be set: scope '%.*s' names its routes", STR_ARG(s->items[i].name));
    if (cr->r.faults->count == faults && route_scopes_init(s, &err) < 0)
        cfg_fault_err(cr, "scoped_route_configurations_list", &err);
    return s;
}

/* ---- one by discovery ---- */

static void read_resource(struct config_reader *cr, const pb_scoped_route *m, struct str name, struct scope_resource *out)
{
    struct err err = {0};
    struct strbuf key = {0};
    struct route_scope *scope = &out->scope;
    scope->name = arena_str(&out->arena, TEXT(m, name));
    if (!str_eq(scope->name, name))
        FAULT("name", "is not the resource's");
    read_key(cr, m, scope, &out->arena);
    scope->rds_name = arena_str(&out->arena, TEXT(m, route_configuration_name));
    if (!scope->rds_name.n)
        FAULT("route_configuration_name", "must be set");
    if (GET(m, route_configuration)) {
        proto_read_whole(&cr->r, &m->route_configuration->base);
        UNSUPPORTED("route_configuration", NULL);
    }
    if (GET(m, on_demand))
        UNSUPPORTED("on_demand", NULL);
    if (route_scope_key(scope, &key, &err) < 0)
        cfg_fault_err(cr, "key", &err);
    strbuf_fini(&key);
}

int config_read_scope(struct config_batch *b, struct str packed, struct str name, struct scope_resource **out, struct err_list *faults)
{
    struct config_resource r;
    struct cluster_slots none = {0};
    const ProtobufCMessage *m =
        cfg_resource_begin(&r, b, &envoy__config__route__v3__scoped_route_configuration__descriptor, packed, faults);
    struct scope_resource *s = *out = NEW(scope_resource);
    s->refs = 1;
    arena_init(&s->arena, 0);
    r.cr.slots = &none;
    if (m)
        read_resource(&r.cr, (const pb_scoped_route *)m, name, s);
    int rc = cfg_resource_end(&r, m);
    if (rc)
        scope_resource_unref(out);
    return rc;
}
