/* SPDX-License-Identifier: Apache-2.0
 *
 * Metadata and google.protobuf.Struct from messages into an arena. Nesting is bounded by the decoder
 * (proto/json.h, proto/message.h refuse deeper input). Main thread.
 */
#include "proxy/config/config_priv.h"

#define KIND(x) GOOGLE__PROTOBUF__VALUE__KIND_##x

struct meta_value cfg_value(struct config_reader *cr, const pb_value *m, struct arena *a)
{
    struct meta_value v = {0};
    switch (m->kind_case) {
    case KIND(BOOL_VALUE):
        v.kind = META_BOOL;
        v.u.boolean = m->bool_value;
        break;
    case KIND(NUMBER_VALUE):
        v.kind = META_NUMBER;
        v.u.number = m->number_value;
        break;
    case KIND(STRING_VALUE):
        v.kind = META_STRING;
        v.u.string = arena_str(a, TEXT(m, string_value));
        break;
    case KIND(LIST_VALUE):
        v.kind = META_LIST;
        v.u.list.count = (uint32_t)m->list_value->n_values;
        v.u.list.items = ARENA_ARRAY(a, struct meta_value, v.u.list.count);
        for (uint32_t i = 0; i < v.u.list.count; i++)
            v.u.list.items[i] = cfg_value(cr, m->list_value->values[i], a);
        break;
    case KIND(STRUCT_VALUE):
        return cfg_struct(cr, m->struct_value, a);
    default:
        break;
    }
    return v;
}

struct meta_value cfg_struct(struct config_reader *cr, const pb_struct *m, struct arena *a)
{
    struct meta_value v = {.kind = META_STRUCT};
    if (!m)
        return v;
    proto_read_whole(&cr->r, &m->base);
    v.u.fields.count = (uint32_t)m->n_fields;
    v.u.fields.items = ARENA_ARRAY(a, struct meta_field, v.u.fields.count);
    for (uint32_t i = 0; i < v.u.fields.count; i++) {
        v.u.fields.items[i].name = arena_str(a, str_from(m->fields[i]->key));
        if (m->fields[i]->value)
            v.u.fields.items[i].value = cfg_value(cr, m->fields[i]->value, a);
    }
    return v;
}

struct metadata *cfg_metadata(struct config_reader *cr, const pb_metadata *m, struct arena *a)
{
    if (!m)
        return NULL;
    struct metadata *out = arena_zalloc(a, sizeof *out);
    out->count = LEN(m, filter_metadata); /* typed_filter_metadata stays unread */
    out->items = ARENA_ARRAY(a, struct meta_field, out->count);
    for (uint32_t i = 0; i < out->count; i++) {
        out->items[i].name = arena_str(a, str_from(m->filter_metadata[i]->key));
        out->items[i].value = cfg_struct(cr, m->filter_metadata[i]->value, a);
    }
    return out;
}
