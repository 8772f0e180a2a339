/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole messages: merging (Protobuf's MergeFrom), comparing, copying, for any type. Recursion is
 * bounded by the depth of messages, which the readers bound. Pure but for the arena.
 */
#include "base/check.h"
#include "base/map.h"
#include "proto/proto_priv.h"

static bool value_equal(const ProtobufCFieldDescriptor *field, const void *a, const void *b)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        return str_eq(str_from(*(char *const *)a), str_from(*(char *const *)b));
    case PROTOBUF_C_TYPE_BYTES: {
        const ProtobufCBinaryData *x = a, *y = b;
        return x->len == y->len && (x->len == 0 || memcmp(x->data, y->data, x->len) == 0);
    }
    case PROTOBUF_C_TYPE_MESSAGE:
        return proto_equal(*(ProtobufCMessage *const *)a, *(ProtobufCMessage *const *)b);
    case PROTOBUF_C_TYPE_DOUBLE: {
        double x = *(const double *)a, y = *(const double *)b;
        return !(x < y) && !(x > y) && (x != x) == (y != y);
    }
    case PROTOBUF_C_TYPE_FLOAT: {
        float x = *(const float *)a, y = *(const float *)b;
        return !(x < y) && !(x > y) && (x != x) == (y != y);
    }
    default:
        return memcmp(a, b, proto_item_bytes(field->type)) == 0;
    }
}

static struct str map_key(const ProtobufCMessage *entry)
{
    const ProtobufCFieldDescriptor *key = &entry->descriptor->fields[0];
    const void *value = proto_member(entry, key->offset);
    if (key->type == PROTOBUF_C_TYPE_STRING)
        return str_from(*(char *const *)value);
    return str_make(value, proto_item_bytes(key->type));
}

/* Key -> place of its entry in the list. Packed bytes may hold a key twice; the last one counts, as
 * Protobuf says. Hashed, since a peer chooses how many there are. */
static struct map *map_index(ProtobufCMessage *const *entries, size_t n)
{
    struct map *index = map_new();
    for (size_t i = 0; i < n; i++)
        map_set(index, map_key(entries[i]), (void *)(uintptr_t)&entries[i]);
    return index;
}

static bool map_equal(const ProtobufCMessage *a, const ProtobufCMessage *b,
                      const ProtobufCFieldDescriptor *field)
{
    ProtobufCMessage *const *x = proto_field_at(a, field, 0), *const *y = proto_field_at(b, field, 0);
    struct map *mine = map_index(x, proto_field_count(a, field));
    struct map *other = map_index(y, proto_field_count(b, field));
    bool equal = map_count(mine) == map_count(other);
    size_t pos = 0;
    struct str key;
    void *at;
    while (equal && map_next(mine, &pos, &key, &at)) {
        ProtobufCMessage *const *twin = map_get(other, key);
        equal = twin && proto_equal(*(ProtobufCMessage *const *)at, *twin);
    }
    map_free(&mine);
    map_free(&other);
    return equal;
}

static bool field_equal(const ProtobufCMessage *a, const ProtobufCMessage *b,
                        const ProtobufCFieldDescriptor *field)
{
    size_t n = proto_field_count(a, field), other = proto_field_count(b, field);
    if (n && other && proto_field_is_map(field))
        return map_equal(a, b, field);
    if (n != other)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!value_equal(field, proto_field_at(a, field, i), proto_field_at(b, field, i)))
            return false;
    return true;
}

bool proto_equal(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    if (a == b)
        return true;
    if (!a || !b || a->descriptor != b->descriptor)
        return false;
    proto_type_ready(a->descriptor);
    for (size_t i = 0; i < a->descriptor->n_fields; i++)
        if (!field_equal(a, b, &a->descriptor->fields[i]))
            return false;
    return true;
}

static bool merge_repeated(struct proto_arena *arena, ProtobufCMessage *dst,
                           const ProtobufCMessage *src, const ProtobufCFieldDescriptor *field)
{
    size_t *count = proto_member(dst, field->quantifier_offset), add = proto_field_count(src, field);
    size_t item = proto_item_bytes(field->type);
    char **items = proto_member(dst, field->offset);
    char *all = proto_arena_alloc(arena, (*count + add) * item);
    if (!all)
        return false;
    if (*count)
        memcpy(all, *items, *count * item);
    *items = all;
    if (!proto_field_is_map(field)) {
        memcpy(all + *count * item, proto_field_at(src, field, 0), add * item);
        *count += add;
        return true;
    }
    ProtobufCMessage **entries = (ProtobufCMessage **)(void *)all;
    struct map *index = map_index(entries, *count);
    for (size_t i = 0; i < add; i++) {
        ProtobufCMessage *entry = proto_field_message(src, field, i);
        ProtobufCMessage **at = map_get(index, map_key(entry));
        if (!at) {
            at = &entries[(*count)++];
            map_set(index, map_key(entry), at);
        }
        *at = entry;
    }
    map_free(&index);
    return true;
}

static int merge_field(struct proto_arena *arena, ProtobufCMessage *dst,
                       const ProtobufCMessage *src, const ProtobufCFieldDescriptor *field)
{
    if (!proto_field_is_set(src, field))
        return 0;
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return merge_repeated(arena, dst, src, field) ? 0 : ERR_LIMIT;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE && proto_field_is_set(dst, field))
        return proto_merge(arena, proto_field_message(dst, field, 0),
                           proto_field_message(src, field, 0));
    memcpy(proto_member(dst, field->offset), proto_member(src, field->offset),
           proto_item_bytes(field->type));
    proto_field_mark_set(dst, field);
    return 0;
}

int proto_merge(struct proto_arena *arena, ProtobufCMessage *dst, const ProtobufCMessage *src)
{
    if (dst->descriptor != src->descriptor)
        return ERR_INVALID;
    proto_type_ready(dst->descriptor);
    for (size_t i = 0; i < dst->descriptor->n_fields; i++) {
        int rc = merge_field(arena, dst, src, &dst->descriptor->fields[i]);
        if (rc != 0)
            return rc;
    }
    /* what was remembered of an Any's content is stale now */
    if (proto_type_wkt(dst->descriptor) == WKT_ANY &&
        proto_arena_any(arena, (const Google__Protobuf__Any *)dst))
        proto_arena_any_set(arena, (const Google__Protobuf__Any *)dst, NULL);
    return 0;
}

ProtobufCMessage *proto_clone(struct proto_arena *arena, const ProtobufCMessage *msg)
{
    struct strbuf packed = {0};
    ProtobufCMessage *copy = NULL;
    proto_pack(msg, &packed);
    (void)!proto_unpack(arena, msg->descriptor, strbuf_str(&packed), &copy, NULL);
    strbuf_fini(&packed);
    return copy;
}
