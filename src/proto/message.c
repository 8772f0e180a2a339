/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages and fields without knowing their type: making, finding fields, asking what is set,
 * walking values. Pure functions of a message and its (ready) descriptor.
 */
#include "proto/message.h"

#include "base/check.h"
#include "proto/proto_priv.h"

ProtobufCMessage *proto_new(struct proto_arena *arena, const ProtobufCMessageDescriptor *desc)
{
    desc = proto_type_ready(desc);
    ProtobufCMessage *msg = proto_arena_alloc(arena, desc->sizeof_message);
    if (!msg)
        return NULL;
    msg->descriptor = desc;
    for (unsigned i = 0; i < desc->n_fields; i++) { /* the arena's memory is zeroed */
        const ProtobufCFieldDescriptor *f = &desc->fields[i];
        if (!f->default_value || f->label == PROTOBUF_C_LABEL_REPEATED ||
            (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
            continue;
        if (f->type == PROTOBUF_C_TYPE_STRING)
            *(const char **)proto_member(msg, f->offset) = f->default_value;
        else if (f->type == PROTOBUF_C_TYPE_BOOL)
            *(protobuf_c_boolean *)proto_member(msg, f->offset) =
                *(const protobuf_c_boolean *)f->default_value;
    }
    return msg;
}

bool proto_is(const ProtobufCMessage *msg, const ProtobufCMessageDescriptor *desc)
{
    return msg && msg->descriptor == desc;
}

/* ---- finding fields ---- */

void proto_field_json_name(const ProtobufCFieldDescriptor *field, char *out, size_t n)
{
    size_t at = 0;
    for (const char *p = field->name; *p && at + 1 < n; p++) {
        if (*p == '_' && p[1]) {
            p++;
            out[at++] = *p >= 'a' && *p <= 'z' ? (char)(*p - 0x20) : *p;
        } else if (*p != '_') {
            out[at++] = *p;
        }
    }
    out[at] = 0;
}

static bool is_json_name(const char *snake, struct str name)
{
    size_t at = 0;
    for (const char *p = snake; *p; p++) {
        char c = *p;
        if (c == '_') {
            c = *++p;
            if (!c)
                break;
            if (c >= 'a' && c <= 'z')
                c = (char)(c - 0x20);
        }
        if (at == name.n || name.p[at++] != c)
            return false;
    }
    return at == name.n;
}

const ProtobufCFieldDescriptor *proto_field_find(const ProtobufCMessageDescriptor *desc,
                                                 struct str name)
{
    size_t low = 0, high = desc->n_fields;
    while (low < high) {
        size_t mid = (low + high) / 2;
        const ProtobufCFieldDescriptor *f = &desc->fields[desc->fields_sorted_by_name[mid]];
        int order = str_cmp(name, str_from(f->name));
        if (order == 0)
            return f;
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    for (size_t i = 0; i < desc->n_fields; i++)
        if (is_json_name(desc->fields[i].name, name))
            return &desc->fields[i];
    return NULL;
}

const ProtobufCFieldDescriptor *proto_field_by_id(const ProtobufCMessageDescriptor *desc, uint32_t id)
{
    size_t low = 0, high = desc->n_fields;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (desc->fields[mid].id == id)
            return &desc->fields[mid];
        if (id < desc->fields[mid].id)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

bool proto_field_is_map(const ProtobufCFieldDescriptor *field)
{
    return field->type == PROTOBUF_C_TYPE_MESSAGE && field->label == PROTOBUF_C_LABEL_REPEATED &&
           proto_type_is_map_entry(field->descriptor);
}

bool proto_field_is_sensitive(const ProtobufCFieldDescriptor *field)
{
    return proto_field_extra(field) & PROTO_FIELD_SENSITIVE;
}

bool proto_field_is_deprecated(const ProtobufCFieldDescriptor *field)
{
    return field->flags & PROTOBUF_C_FIELD_FLAG_DEPRECATED;
}

const char *proto_field_oneof_name(const ProtobufCMessageDescriptor *desc,
                                   const ProtobufCFieldDescriptor *field)
{
    const struct proto_table_message *row = proto_type_row(desc);
    if (!(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
        return NULL;
    for (unsigned i = 0; i < row->n_oneofs; i++) {
        const struct proto_table_oneof *oneof = &proto_table_oneofs[row->first_oneof + i];
        if (oneof->quantifier_offset == field->quantifier_offset)
            return proto_text(oneof->name);
    }
    return NULL;
}

/* ---- values ---- */

size_t proto_item_bytes(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_ENUM:
        return 4;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    }
    CHECK(!"a type of the tables");
    return 0;
}

static bool value_is_default(const ProtobufCFieldDescriptor *field, const void *value)
{
    static const char zeros[8];
    const char *text;
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        text = *(char *const *)value;
        return !text || text == field->default_value || !*text;
    case PROTOBUF_C_TYPE_BYTES:
        return ((const ProtobufCBinaryData *)value)->len == 0;
    case PROTOBUF_C_TYPE_MESSAGE:
        return !*(void *const *)value;
    default:
        return memcmp(value, zeros, proto_item_bytes(field->type)) == 0;
    }
}

bool proto_field_is_set(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field)
{
    const void *quantifier = proto_member(msg, field->quantifier_offset);
    const void *value = proto_member(msg, field->offset);
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return *(const size_t *)quantifier > 0;
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return *(const uint32_t *)quantifier == field->id;
    if (field->label == PROTOBUF_C_LABEL_OPTIONAL) { /* proto2 */
        if (field->type == PROTOBUF_C_TYPE_STRING)
            return *(char *const *)value && *(char *const *)value != field->default_value;
        if (field->type != PROTOBUF_C_TYPE_MESSAGE)
            return *(const protobuf_c_boolean *)quantifier;
    }
    return field->label == PROTOBUF_C_LABEL_REQUIRED || !value_is_default(field, value);
}

void proto_field_mark_set(ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field)
{
    void *quantifier = proto_member(msg, field->quantifier_offset);
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        *(uint32_t *)quantifier = field->id;
    else if (field->label == PROTOBUF_C_LABEL_OPTIONAL && field->type != PROTOBUF_C_TYPE_STRING &&
             field->type != PROTOBUF_C_TYPE_MESSAGE)
        *(protobuf_c_boolean *)quantifier = 1;
}

void proto_field_clear(ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field)
{
    DCHECK(field->type == PROTOBUF_C_TYPE_MESSAGE || field->label == PROTOBUF_C_LABEL_REPEATED);
    if (!proto_field_is_set(msg, field))
        return;
    *(void **)proto_member(msg, field->offset) = NULL;
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        *(size_t *)proto_member(msg, field->quantifier_offset) = 0;
    else if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        *(uint32_t *)proto_member(msg, field->quantifier_offset) = 0;
}

size_t proto_field_count(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field)
{
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return *(const size_t *)proto_member(msg, field->quantifier_offset);
    return proto_field_is_set(msg, field);
}

const void *proto_field_at(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field,
                           size_t index)
{
    const char *value = proto_member(msg, field->offset);
    if (field->label != PROTOBUF_C_LABEL_REPEATED)
        return value;
    const char *items = *(const char *const *)value; /* NULL when there are none */
    return items ? items + index * proto_item_bytes(field->type) : NULL;
}

ProtobufCMessage *proto_field_message(const ProtobufCMessage *msg,
                                      const ProtobufCFieldDescriptor *field, size_t index)
{
    DCHECK(field->type == PROTOBUF_C_TYPE_MESSAGE);
    if (index >= proto_field_count(msg, field))
        return NULL;
    return *(ProtobufCMessage *const *)proto_field_at(msg, field, index);
}
