/* SPDX-License-Identifier: Apache-2.0
 *
 * core.v3.ExtensionConfigSource of filters, and the TypedExtensionConfigs that it brings: read into
 * one place of a chain, of the types that the place allows. Types that aren't known (Wasm) are refused by
 * name where the place is read, before anything is asked for. Main thread.
 */
#include "proxy/filter/filter_source.h"

#include "base/mem.h"
#include "proxy/config/resources_priv.h"
#include "proxy/discovery/discovery.h"

static const enum extension_kind kinds[] = {
    [PLACE_HTTP] = EXT_HTTP_FILTER, [PLACE_NETWORK] = EXT_NETWORK_FILTER, [PLACE_LISTENER] = EXT_LISTENER_FILTER};

static bool is_allowed(const struct filter_source *s, struct str type)
{
    for (uint32_t i = 0; i < s->type_count; i++)
        if (str_eq(s->types[i], type))
            return true;
    return false;
}

static void read_types(struct config_reader *cr, const pb_extension_config_source *m, struct arena *a, struct filter_source *s)
{
    s->type_count = LEN(m, type_urls);
    s->types = ARENA_ARRAY(a, struct str, s->type_count);
    for (uint32_t i = 0; i < s->type_count; i++)
        IN("type_urls[%u]", i) {
            pb_any any = {.type_url = m->type_urls[i]};
            s->types[i] = arena_str(a, proto_any_type(&any));
            if (!cfg_extension_is_named(kinds[s->kind], s->types[i]))
                UNSUPPORTED("", m->type_urls[i]);
        }
    if (!s->type_count)
        FAULT("type_urls", "one at least must be set");
}

static void read_http(struct config_reader *cr, const char *field, const struct extension *ext, ProtobufCMessage *msg,
                      const struct filter_source *s, struct filter_config *out)
{
    struct cfg_http_filter to = {&out->spec, &out->arena};
    out->spec.name = s->name;
    out->spec.def = ext->def;
    if (out->spec.def->is_terminal != s->is_terminal)
        FAULT(field, s->is_terminal ? "must be a terminal filter, as the last one" : "is a terminal filter and must be the last one");
    IN("%s", field)
        ext->read(cr, msg, &to);
}

static void read_network(struct config_reader *cr, const char *field, const struct extension *ext, ProtobufCMessage *msg,
                         const struct filter_source *s, struct filter_config *out)
{
    struct cfg_network_filter to = {.spec = &out->network, .arena = &out->arena};
    out->network.name = s->name;
    out->network.def = ext->def;
    if (out->network.def->is_terminal) { /* its reader looks at the listener */
        proto_read_whole(&cr->r, msg);
        FAULT(field, "is a terminal filter, which can't come by discovery");
        return;
    }
    IN("%s", field)
        ext->read(cr, msg, &to);
}

static void read_listener(struct config_reader *cr, const char *field, const struct extension *ext, ProtobufCMessage *msg,
                          const struct filter_source *s, struct filter_config *out)
{
    struct cfg_listener_filter to = {&out->listener, &out->arena};
    out->listener.name = s->name;
    out->listener.def = ext->def;
    IN("%s", field)
        ext->read(cr, msg, &to);
}

/* The settings of `any` for the place; what it makes goes to `out`, which is freed by its owner also after faults. */
static void read_config(struct config_reader *cr, const char *field, const pb_any *any, const struct filter_source *s,
                        struct filter_config *out)
{
    ProtobufCMessage *msg = NULL;
    out->kind = s->kind;
    struct cluster_slots *outer = cr->slots;
    struct str type = any ? proto_any_content_type(cr->r.arena, any) : STR_NULL;
    if (any && !is_allowed(s, type)) {
        proto_read_whole(&cr->r, &any->base);
        FAULT(field, "has the type %.*s, which is none of type_urls", STR_ARG(type));
        return;
    }
    const struct extension *ext = cfg_extension(cr, kinds[s->kind], field, s->name, any, &msg);
    if (!ext)
        return;
    cr->slots = &out->slots;
    if (s->kind == PLACE_HTTP)
        read_http(cr, field, ext, msg, s, out);
    else if (s->kind == PLACE_NETWORK)
        read_network(cr, field, ext, msg, s, out);
    else
        read_listener(cr, field, ext, msg, s, out);
    cr->slots = outer;
}

struct filter_source *cfg_filter_source(struct config_reader *cr, enum filter_place kind, struct str name,
                                        const pb_extension_config_source *m, bool is_last, struct arena *a)
{
    struct filter_source *s = arena_zalloc(a, sizeof *s);
    s->kind = kind;
    s->name = arena_str(a, name);
    s->is_terminal = is_last;
    IN("config_source")
        s->from = cfg_config_source(cr, GET(m, config_source));
    if (!s->from)
        FAULT("config_source", "must be set");
    read_types(cr, m, a, s);
    s->warms = !GET(m, apply_default_config_without_warming);
    const pb_any *fallback = GET(m, default_config);
    if (fallback) {
        s->has_fallback = true;
        arena_init(&s->fallback.arena, 0);
        read_config(cr, "default_config", fallback, s, &s->fallback);
    } else if (!s->warms) {
        FAULT("default_config", "must be set with apply_default_config_without_warming");
    }
    return s;
}

int config_read_filter(struct config_batch *b, struct str packed, const struct filter_source *place, struct filter_config **out,
                       struct err_list *faults)
{
    struct config_resource r;
    struct filter_config *c = *out = NEW(filter_config);
    const ProtobufCMessage *msg =
        cfg_resource_begin(&r, b, &envoy__config__core__v3__typed_extension_config__descriptor, packed, faults);
    struct config_reader *cr = &r.cr;
    arena_init(&c->arena, 0);
    if (msg) {
        const pb_typed_extension *m = (const pb_typed_extension *)msg;
        cr->slots = &c->slots;
        if (!str_eq(TEXT(m, name), place->name))
            FAULT("name", "is not the resource's");
        read_config(cr, "typed_config", GET(m, typed_config), place, c);
    }
    int rc = cfg_resource_end(&r, msg);
    if (rc)
        filter_config_free(out);
    return rc;
}
