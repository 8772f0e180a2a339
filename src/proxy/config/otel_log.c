/* SPDX-License-Identifier: Apache-2.0
 *
 * OpenTelemetryAccessLogConfig. Values may be strings, lists and maps, as in Envoy; resource attributes are fixed, body
 * and attributes have %OPERATORS%. Main thread.
 */
#include "proxy/service/otel_log.h"

#include "proxy/config/config_priv.h"

#define VALUE(x) OPENTELEMETRY__PROTO__COMMON__V1__ANY_VALUE__VALUE_##x

static void read_pairs(struct config_reader *cr, const pb_otel_pairs *m, bool with_operators, struct arena *a, struct otel_value *out);

static void read_text(struct config_reader *cr, struct str text, bool with_operators, struct arena *a, struct otel_value *out)
{
    struct err err = {0};
    out->kind = OTEL_TEXT;
    out->literal = arena_str(a, text);
    if (!with_operators)
        return;
    out->format = format_new(text, false, &err);
    if (!out->format)
        cfg_fault_err(cr, "string_value", &err);
}

static void read_value(struct config_reader *cr, const pb_otel_value *m, bool with_operators, struct arena *a, struct otel_value *out)
{
    const Opentelemetry__Proto__Common__V1__ArrayValue *list;
    switch (m ? m->value_case : 0) {
    case VALUE(STRING_VALUE):
        read_text(cr, TEXT(m, string_value), with_operators, a, out);
        return;
    case VALUE(KVLIST_VALUE):
        IN("kvlist_value")
            read_pairs(cr, GET(m, kvlist_value), with_operators, a, out);
        return;
    case VALUE(ARRAY_VALUE):
        list = GET(m, array_value);
        out->kind = OTEL_LIST;
        out->child_count = LEN(list, values);
        out->children = ARENA_ARRAY(a, struct otel_value, out->child_count);
        for (uint32_t i = 0; i < out->child_count; i++)
            IN("array_value.values[%u]", i)
                read_value(cr, list->values[i], with_operators, a, &out->children[i]);
        return;
    default:
        if (m)
            proto_read_whole(&cr->r, &m->base);
        FAULT("", "only strings, lists and maps are taken here");
    }
}

static void read_pairs(struct config_reader *cr, const pb_otel_pairs *m, bool with_operators, struct arena *a, struct otel_value *out)
{
    out->kind = OTEL_MAP;
    out->child_count = LEN(m, values);
    out->children = ARENA_ARRAY(a, struct otel_value, out->child_count);
    for (uint32_t i = 0; i < out->child_count; i++)
        IN("values[%u]", i) {
            out->children[i].key = arena_str(a, TEXT(m->values[i], key));
            IN("value")
                read_value(cr, GET(m->values[i], value), with_operators, a, &out->children[i]);
        }
}

/* ---- the resource ---- */

static void add_label(const char *key, struct str value, struct strbuf *out)
{
    struct otel_value pair = {.key = str_from(key), .literal = value};
    struct otel_value map = {.kind = OTEL_MAP, .children = &pair, .child_count = 1};
    otel_pairs_add(&map, 1, NULL, out);
}

static void pack_resource(struct config_reader *cr, const pb_otel_log *m, struct str log_name, struct arena *a, struct strbuf *out)
{
    const struct node_info *n = &cr->out->node;
    struct otel_value configured = {.kind = OTEL_MAP};
    if (!GET(m, disable_builtin_labels)) {
        add_label("log_name", log_name, out);
        add_label("zone_name", n->zone, out);
        add_label("cluster_name", n->cluster, out);
        add_label("node_name", n->id, out);
    }
    if (GET(m, resource_attributes))
        IN("resource_attributes")
            read_pairs(cr, m->resource_attributes, false, a, &configured);
    otel_pairs_add(&configured, 1, NULL, out);
}

static struct log_channel *make_channel(struct config_reader *cr, const pb_grpc_log_common *m, struct str stat_prefix, struct str key,
                                        struct str resource)
{
    struct log_channel_opts o = {0};
    struct strbuf prefix = {0};
    cfg_log_channel_opts(cr, m, &o);
    strbuf_addz(&prefix, "access_logs.open_telemetry_access_log.");
    if (stat_prefix.n)
        strbuf_addf(&prefix, "%.*s.", STR_ARG(stat_prefix));
    o.batch.stat_prefix = strbuf_str(&prefix);
    struct log_channel *c = otel_channel_new(key, &o, resource);
    strbuf_fini(&prefix);
    return c;
}

static struct log_channel *get_channel(struct config_reader *cr, const pb_otel_log *m, const pb_grpc_log_common *common, struct arena *a)
{
    struct strbuf key = {0}, resource = {0};
    struct str stat_prefix = TEXT(m, stat_prefix);
    pack_resource(cr, m, TEXT(common, log_name), a, &resource);
    strbuf_addf(&key, "o%.*s:%zu:", STR_ARG(stat_prefix), resource.n);
    strbuf_adds(&key, strbuf_str(&resource));
    proto_pack(&common->base, &key);
    struct log_channel *c = log_channel_find(strbuf_str(&key));
    IN("common_config") {
        if (c)
            proto_read_whole(&cr->r, &common->base);
        else
            c = make_channel(cr, common, stat_prefix, strbuf_str(&key), strbuf_str(&resource));
    }
    strbuf_fini(&key);
    strbuf_fini(&resource);
    return c;
}

int cfg_otel_logger(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    const pb_otel_log *m = (const pb_otel_log *)msg;
    const pb_grpc_log_common *common = GET(m, common_config);
    if (!common)
        return FAULT("common_config", "must be set");
    struct otel_log *l = otel_log_new();
    l->channel = get_channel(cr, m, common, &l->arena);
    cfg_formatters(cr, m->formatters, LEN(m, formatters));
    l->has_body = GET(m, body) != NULL;
    if (l->has_body)
        IN("body")
            read_value(cr, m->body, true, &l->arena, &l->body);
    if (GET(m, attributes))
        IN("attributes")
            read_pairs(cr, m->attributes, true, &l->arena, &l->attributes);
    access_log_to_otel(out, l);
    return 0;
}
