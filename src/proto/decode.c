/* SPDX-License-Identifier: Apache-2.0
 *
 * Document trees -> messages, by the Protobuf JSON mapping. Goes on after a fault, so that a person
 * sees all of them at once; depth is bounded by PROTO_DEPTH_MAX. Refuses unknown fields, two members
 * of one oneof, a field under both of its names.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "proto/doc_priv.h"

#define NAME_BYTES 128 /* of a field, in JSON's spelling */

/* ---- faults and paths ---- */

bool decode_fault(struct decoder *d, const struct doc_node *node, const char *fmt, ...)
{
    char text[ERR_MESSAGE_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    const char *path = d->path.n ? d->path.p : "";
    struct strbuf titled = {0};
    if (d->title)
        strbuf_addf(&titled, "%s%s%s", d->title, *path ? ": " : "", path);
    doc_fault(d->faults, ERR_INVALID, d->file, node->line, node->column, titled.p ? titled.p : path, "%s", text);
    strbuf_fini(&titled);
    d->failed = true;
    return false;
}

bool decode_nomem(struct decoder *d, const struct doc_node *node)
{
    return decode_fault(d, node, "the configuration takes more memory than is allowed");
}

size_t decode_enter(struct decoder *d, const char *prefix, struct str name, const char *suffix)
{
    size_t mark = d->path.n;
    strbuf_addz(&d->path, prefix);
    strbuf_adds(&d->path, name);
    strbuf_addz(&d->path, suffix);
    return mark;
}

size_t decode_enter_index(struct decoder *d, size_t index)
{
    size_t mark = d->path.n;
    strbuf_addc(&d->path, '[');
    strbuf_addu(&d->path, index);
    strbuf_addc(&d->path, ']');
    return mark;
}

void decode_leave(struct decoder *d, size_t mark)
{
    d->path.n = mark;
    if (d->path.p)
        d->path.p[mark] = 0;
}

/* ---- values ---- */

static bool decode_submessage(struct decoder *d, const struct doc_node *node,
                              const ProtobufCMessageDescriptor *desc, ProtobufCMessage **out)
{
    *out = proto_new(d->arena, desc);
    return *out ? decode_message(d, node, *out) : decode_nomem(d, node);
}

static bool decode_value(struct decoder *d, const struct doc_node *node,
                         const ProtobufCFieldDescriptor *field, void *out)
{
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return decode_submessage(d, node, field->descriptor, out);
    return decode_scalar(d, node, field, out);
}

void *decode_array(struct decoder *d, const struct doc_node *node, ProtobufCMessage *msg,
                   const ProtobufCFieldDescriptor *field, size_t n)
{
    void *items = proto_arena_alloc(d->arena, n * proto_item_bytes(field->type));
    if (!items)
        decode_nomem(d, node);
    *(void **)proto_member(msg, field->offset) = items;
    *(size_t *)proto_member(msg, field->quantifier_offset) = 0;
    return items;
}

static bool takes_null(const ProtobufCFieldDescriptor *field)
{
    return field->type == PROTOBUF_C_TYPE_MESSAGE &&
           proto_type_wkt(field->descriptor) == WKT_VALUE;
}

static bool decode_list(struct decoder *d, const struct doc_node *node, ProtobufCMessage *msg,
                        const ProtobufCFieldDescriptor *field)
{
    char buf[128];
    if (node->kind != DOC_LIST)
        return decode_fault(d, node, "must be a list, is %s", doc_describe(node, buf, sizeof(buf)));
    size_t item_bytes = proto_item_bytes(field->type), n = doc_length(node), at = 0;
    char *items = decode_array(d, node, msg, field, n);
    if (!items)
        return false;
    for (const struct doc_node *item = node->first; item; item = item->next, at++) {
        size_t mark = decode_enter_index(d, at);
        if (item->kind == DOC_NULL && !takes_null(field))
            decode_fault(d, item, "a list must not hold null");
        else
            decode_value(d, item, field, items + at * item_bytes);
        decode_leave(d, mark);
    }
    *(size_t *)proto_member(msg, field->quantifier_offset) = at;
    return true;
}

/* A key's text becomes a value of the key field; quoted numbers and booleans are what JSON has. */
static bool decode_map_key(struct decoder *d, const struct doc_node *item, ProtobufCMessage *entry)
{
    const ProtobufCFieldDescriptor *field = &entry->descriptor->fields[0];
    struct doc_node key = {.kind = DOC_STRING, .line = item->key_line, .column = item->key_column,
                           .text = item->key};
    if (field->type == PROTOBUF_C_TYPE_BOOL && str_eq(item->key, STR("true")))
        key.flag = true;
    if (field->type == PROTOBUF_C_TYPE_BOOL && (key.flag || str_eq(item->key, STR("false"))))
        key.kind = DOC_BOOL;
    return decode_scalar(d, &key, field, proto_member(entry, field->offset));
}

static bool decode_entry(struct decoder *d, const struct doc_node *item, ProtobufCMessage *entry)
{
    const ProtobufCFieldDescriptor *value = &entry->descriptor->fields[1];
    if (!decode_map_key(d, item, entry))
        return false;
    if (item->kind == DOC_NULL && !takes_null(value))
        return decode_fault(d, item, "a map must not hold null");
    return decode_value(d, item, value, proto_member(entry, value->offset));
}

static bool decode_map(struct decoder *d, const struct doc_node *node, ProtobufCMessage *msg,
                       const ProtobufCFieldDescriptor *field)
{
    char buf[128];
    if (node->kind != DOC_MAP)
        return decode_fault(d, node, "must be an object, is %s", doc_describe(node, buf, sizeof(buf)));
    size_t n = doc_length(node), at = 0;
    ProtobufCMessage **entries = decode_array(d, node, msg, field, n);
    if (!entries)
        return false;
    for (const struct doc_node *item = node->first; item; item = item->next, at++) {
        size_t mark = decode_enter(d, "[\"", item->key, "\"]");
        entries[at] = proto_new(d->arena, field->descriptor);
        if (!entries[at])
            return decode_nomem(d, item);
        decode_entry(d, item, entries[at]);
        decode_leave(d, mark);
    }
    *(size_t *)proto_member(msg, field->quantifier_offset) = at;
    return true;
}

bool decode_field(struct decoder *d, const struct doc_node *node, ProtobufCMessage *msg,
                  const ProtobufCFieldDescriptor *field)
{
    if (proto_field_is_map(field))
        return decode_map(d, node, msg, field);
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return decode_list(d, node, msg, field);
    void *out = proto_member(msg, field->offset);
    if (!decode_value(d, node, field, out))
        return false;
    proto_field_mark_set(msg, field);
    return true;
}

/* ---- messages ---- */

/* The field's name as this document's people know it; `buf` lives as long as the name. */
static const char *shown_name(const struct decoder *d, const ProtobufCFieldDescriptor *field, char *buf, size_t n)
{
    if (!(d->flags & DOC_KUBERNETES))
        return field->name;
    proto_field_json_name(field, buf, n);
    return buf;
}

static void unknown_field(struct decoder *d, const struct doc_node *item,
                          const ProtobufCMessageDescriptor *desc)
{
    struct doc_node at = *item;
    struct nearest near = {item->key, NULL, 0};
    char names[2][NAME_BYTES]; /* the one tried, the nearest */
    size_t mark = decode_enter(d, d->path.n ? "." : "", item->key, "");
    at.line = item->key_line;
    at.column = item->key_column;
    for (size_t i = 0; i < desc->n_fields; i++) {
        nearest_try(&near, shown_name(d, &desc->fields[i], names[0], sizeof(names[0])));
        if (near.name == names[0])
            near.name = memcpy(names[1], names[0], sizeof(names[1]));
    }
    decode_fault(d, &at, "no such field in %s%s%s%s", desc->name, near.name ? "; did you mean '" : "",
                 near.name ? near.name : "", near.name ? "'?" : "");
    decode_leave(d, mark);
}

/* Is there an earlier member with the same key? The reader has reported that. */
static bool is_repeated_key(const struct doc_node *map, const struct doc_node *item)
{
    for (const struct doc_node *c = map->first; c != item; c = c->next)
        if (str_eq(c->key, item->key))
            return true;
    return false;
}

/* May the field be set by this item? Not twice, and not beside another member of its oneof. */
static bool may_set(struct decoder *d, const struct doc_node *map, const struct doc_node *item,
                    ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field, uint64_t *seen)
{
    size_t index = (size_t)(field - msg->descriptor->fields);
    if (seen[index / 64] >> (index % 64) & 1)
        return is_repeated_key(map, item) ||
               decode_fault(d, item, "is set twice, under both of its names");
    seen[index / 64] |= (uint64_t)1 << (index % 64);
    if (!(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
        return true;
    uint32_t chosen = *(const uint32_t *)proto_member(msg, field->quantifier_offset);
    if (chosen == 0)
        return true;
    char name[NAME_BYTES];
    return decode_fault(d, item, "'%s' is set as well, but only one member of '%s' may be",
                        shown_name(d, proto_field_by_id(msg->descriptor, chosen), name, sizeof(name)),
                        proto_field_oneof_name(msg->descriptor, field));
}

static void decode_member(struct decoder *d, const struct doc_node *map, const struct doc_node *item,
                          ProtobufCMessage *msg, uint64_t *seen)
{
    const ProtobufCFieldDescriptor *field = proto_field_find(msg->descriptor, item->key);
    if (!field) {
        if (!(d->flags & DOC_LENIENT))
            unknown_field(d, item, msg->descriptor);
        return;
    }
    if (item->kind == DOC_NULL && !takes_null(field))
        return;
    char name[NAME_BYTES];
    size_t mark = decode_enter(d, d->path.n ? "." : "", str_from(shown_name(d, field, name, sizeof(name))), "");
    if (may_set(d, map, item, msg, field, seen))
        decode_field(d, item, msg, field);
    decode_leave(d, mark);
}

bool decode_members(struct decoder *d, const struct doc_node *node, ProtobufCMessage *msg,
                    bool skip_type)
{
    char buf[128];
    uint64_t seen[PROTO_FIELDS_MAX / 64] = {0};
    if (node->kind != DOC_MAP)
        return decode_fault(d, node, "must be an object, is %s", doc_describe(node, buf, sizeof(buf)));
    for (const struct doc_node *item = node->first; item; item = item->next)
        if (!skip_type || !str_eq(item->key, STR("@type")))
            decode_member(d, node, item, msg, seen);
    return true;
}

bool decode_message(struct decoder *d, const struct doc_node *node, ProtobufCMessage *msg)
{
    enum proto_wkt wkt = proto_type_wkt(msg->descriptor);
    if (d->depth >= PROTO_DEPTH_MAX)
        return decode_fault(d, node, "messages are nested deeper than %d levels", PROTO_DEPTH_MAX);
    d->depth++;
    bool ok = wkt != WKT_NONE ? decode_wkt(d, node, msg, wkt) : decode_members(d, node, msg, false);
    d->depth--;
    return ok;
}

int doc_decode_as(struct proto_arena *arena, const struct doc_node *root, const ProtobufCMessageDescriptor *desc,
                  unsigned flags, const struct doc_place *place, ProtobufCMessage **out, struct err_list *faults)
{
    struct decoder d = {
        .arena = arena, .file = place->file, .title = place->title, .flags = flags, .faults = faults};
    if (place->path)
        strbuf_addz(&d.path, place->path);
    *out = NULL;
    ProtobufCMessage *msg = proto_new(arena, desc);
    if (msg)
        decode_message(&d, root, msg);
    else
        decode_nomem(&d, root);
    strbuf_fini(&d.path);
    if (proto_arena_is_full(arena))
        return ERR_LIMIT;
    *out = msg;
    return d.failed ? ERR_INVALID : 0;
}

int doc_decode(struct proto_arena *arena, const struct doc_node *root,
               const ProtobufCMessageDescriptor *desc, const char *file, ProtobufCMessage **out,
               struct err_list *faults)
{
    return doc_decode_as(arena, root, desc, 0, &(struct doc_place){.file = file}, out, faults);
}
