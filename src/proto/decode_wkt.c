/* SPDX-License-Identifier: Apache-2.0
 *
 * The well-known types whose JSON isn't their fields: Any, durations, timestamps, wrappers, field
 * masks, and the Struct family. An Any is decoded by the type it names, packed, and remembered, so
 * that readers need not unpack it again. Refuses an Any of an unknown type.
 */
#include "google/protobuf/field_mask.pb-c.h"
#include "google/protobuf/struct.pb-c.h"
#include "proto/doc_priv.h"
#include "proto/fields.h"

static bool is_text(const struct doc_node *node)
{
    return node->kind == DOC_STRING || (node->plain && node->kind < DOC_LIST);
}

static bool bad_text(struct decoder *d, const struct doc_node *node, const char *what)
{
    char buf[128];
    return decode_fault(d, node, "must be %s, is %s", what, doc_describe(node, buf, sizeof(buf)));
}

/* ---- Any ---- */

static bool any_content(struct decoder *d, const struct doc_node *node, ProtobufCMessage *msg)
{
    enum proto_wkt wkt = proto_type_wkt(msg->descriptor);
    if (wkt == WKT_NONE)
        return decode_members(d, node, msg, true);
    const struct doc_node *value = NULL;
    for (const struct doc_node *c = node->first; c; c = c->next) {
        if (str_eq(c->key, STR("value")))
            value = c;
        else if (!str_eq(c->key, STR("@type")))
            return decode_fault(d, c, "'%.*s' has no place beside '@type' and 'value'", STR_ARG(c->key));
    }
    if (!value)
        return wkt == WKT_EMPTY || decode_fault(d, node, "'value' is missing");
    size_t mark = decode_enter(d, d->path.n ? "." : "", STR("value"), "");
    bool ok = decode_message(d, value, msg);
    decode_leave(d, mark);
    return ok;
}

static bool any_pack(struct decoder *d, const struct doc_node *node, struct str url,
                     Google__Protobuf__Any *any, ProtobufCMessage *msg)
{
    any->type_url = proto_arena_strdup(d->arena, url);
    any->value.len = proto_packed_size(msg);
    any->value.data = proto_arena_alloc(d->arena, any->value.len);
    if (!any->type_url || !any->value.data)
        return decode_nomem(d, node);
    protobuf_c_message_pack(msg, any->value.data);
    proto_arena_any_set(d->arena, any, msg);
    return true;
}

static bool decode_any(struct decoder *d, const struct doc_node *node, Google__Protobuf__Any *any)
{
    const struct doc_node *type = NULL;
    if (node->kind != DOC_MAP)
        return bad_text(d, node, "an object with '@type'");
    for (const struct doc_node *c = node->first; c && !type; c = c->next)
        if (str_eq(c->key, STR("@type")))
            type = c;
    if (!type)
        return !node->first || decode_fault(d, node, "'@type' is missing");
    if (!is_text(type) || str_find_char(type->text, '/') < 0)
        return bad_text(d, type, "a type URL like type.googleapis.com/envoy.config.cluster.v3.Cluster");
    const ProtobufCMessageDescriptor *desc = proto_type_find(type->text);
    if (!desc)
        return decode_fault(d, type, "unknown type '%.*s'", STR_ARG(type->text));
    ProtobufCMessage *msg = proto_new(d->arena, desc);
    if (!msg)
        return decode_nomem(d, node);
    bool failed_before = d->failed;
    d->failed = false;
    any_content(d, node, msg);
    bool ok = !d->failed && any_pack(d, node, type->text, any, msg);
    d->failed |= failed_before;
    return ok;
}

/* ---- text forms ---- */

static bool decode_duration(struct decoder *d, const struct doc_node *node,
                            Google__Protobuf__Duration *out)
{
    if (d->flags & (DOC_KUBERNETES | DOC_GO_DURATIONS))
        return (is_text(node) && duration_parse_go(node->text, &out->seconds, &out->nanos)) ||
               bad_text(d, node, "a duration like 1.5s, 800ms or 1h30m");
    return (is_text(node) && duration_parse(node->text, &out->seconds, &out->nanos)) ||
           bad_text(d, node, "a duration like 1.5s, within 315576000000s either way");
}

static bool decode_timestamp(struct decoder *d, const struct doc_node *node,
                             Google__Protobuf__Timestamp *out)
{
    return (is_text(node) && timestamp_parse(node->text, &out->seconds, &out->nanos)) ||
           bad_text(d, node, "a time like 2024-01-31T12:00:00Z");
}

static char *mask_path(struct proto_arena *arena, struct str path)
{
    char *out = proto_arena_alloc(arena, path.n * 2 + 1);
    size_t at = 0;
    for (size_t i = 0; out && i < path.n; i++) {
        if (path.p[i] >= 'A' && path.p[i] <= 'Z')
            out[at++] = '_';
        out[at++] = ascii_lower(path.p[i]);
    }
    return out;
}

static bool decode_field_mask(struct decoder *d, const struct doc_node *node,
                              Google__Protobuf__FieldMask *out)
{
    if (!is_text(node) || (node->text.n && memchr(node->text.p, 0, node->text.n)))
        return bad_text(d, node, "a comma-separated list of field paths");
    size_t n = node->text.n != 0;
    for (size_t i = 0; i < node->text.n; i++)
        n += node->text.p[i] == ',';
    char **paths = decode_array(d, node, &out->base, &out->base.descriptor->fields[0], n);
    struct str rest = node->text;
    for (size_t i = 0; paths && i < n; i++) {
        struct str next = str_split(rest, ',', &rest);
        paths[i] = mask_path(d->arena, next);
        if (!paths[i])
            return decode_nomem(d, node);
    }
    out->n_paths = paths ? n : 0;
    return paths != NULL;
}

/* ---- Struct ---- */

static bool decode_value_kind(struct decoder *d, const struct doc_node *node, ProtobufCMessage *msg)
{
    static const uint8_t ids[] = {
        [DOC_NULL] = GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE,
        [DOC_BOOL] = GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE,
        [DOC_NUMBER] = GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE,
        [DOC_STRING] = GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE,
        [DOC_LIST] = GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE,
        [DOC_MAP] = GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE,
    };
    struct doc_node word;
    bool flag;
    if (d->flags & DOC_KUBERNETES && decode_is_yaml11_bool(node, &flag)) {
        word = *node;
        word.kind = DOC_BOOL;
        word.flag = flag;
        node = &word;
    }
    const ProtobufCFieldDescriptor *field = proto_field_by_id(msg->descriptor, ids[node->kind]);
    if (node->kind == DOC_NULL) { /* NULL_VALUE is 0, which the member is */
        proto_field_mark_set(msg, field);
        return true;
    }
    return decode_field(d, node, msg, field);
}

bool decode_wkt(struct decoder *d, const struct doc_node *node, ProtobufCMessage *msg,
                enum proto_wkt wkt)
{
    switch (wkt) {
    case WKT_ANY:
        return decode_any(d, node, (Google__Protobuf__Any *)msg);
    case WKT_DURATION:
        return decode_duration(d, node, (Google__Protobuf__Duration *)msg);
    case WKT_TIMESTAMP:
        return decode_timestamp(d, node, (Google__Protobuf__Timestamp *)msg);
    case WKT_FIELD_MASK:
        return decode_field_mask(d, node, (Google__Protobuf__FieldMask *)msg);
    case WKT_STRUCT:
    case WKT_LIST_VALUE: /* the value is that of the one field */
    case WKT_WRAPPER:
        return decode_field(d, node, msg, &msg->descriptor->fields[0]);
    case WKT_VALUE:
        return decode_value_kind(d, node, msg);
    case WKT_EMPTY:
    case WKT_NONE:
        return decode_members(d, node, msg, false);
    }
    return false;
}
