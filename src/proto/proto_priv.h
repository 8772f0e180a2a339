/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of this room share.
 */
#ifndef PROTO_PRIV_H
#define PROTO_PRIV_H

#include "proto/message.h"
#include "proto/tables.h"

/* Of one message type; sizes bitmaps. */
#define PROTO_FIELDS_MAX 512

/* ---- arena.c: which message an Any of this arena holds ---- */
ProtobufCMessage *proto_arena_any(const struct proto_arena *arena, const Google__Protobuf__Any *any);
void proto_arena_any_set(struct proto_arena *arena, const Google__Protobuf__Any *any,
                         ProtobufCMessage *msg);

/* ---- types.c ---- */
/* Row of a descriptor in the tables. `desc` must be one of ours. */
const struct proto_table_message *proto_type_row(const ProtobufCMessageDescriptor *desc);
/* What types.c leaves in a field descriptor's reserved members. */
static inline unsigned proto_field_extra(const ProtobufCFieldDescriptor *field)
{
    return field->reserved_flags;
}
static inline unsigned proto_field_rules(const ProtobufCFieldDescriptor *field)
{
    return (unsigned)(uintptr_t)field->reserved2;
}
static inline const char *proto_text(uint32_t offset)
{
    return proto_table_text + offset;
}

/* Types with a JSON form of their own (Protobuf JSON mapping). */
enum proto_wkt {
    WKT_NONE,
    WKT_ANY,
    WKT_DURATION,
    WKT_TIMESTAMP,
    WKT_FIELD_MASK,
    WKT_STRUCT,
    WKT_VALUE,
    WKT_LIST_VALUE,
    WKT_EMPTY,
    WKT_WRAPPER, /* google.protobuf.*Value: one field `value` */
};
static inline enum proto_wkt proto_type_wkt(const ProtobufCMessageDescriptor *desc)
{
    return (enum proto_wkt)(uintptr_t)desc->reserved1;
}

/* ---- message.c ---- */
/* Bytes of one value of a C type. */
size_t proto_item_bytes(ProtobufCType type);
static inline void *proto_member(const ProtobufCMessage *msg, unsigned offset)
{
    return (char *)(uintptr_t)msg + offset;
}
/* Marks a singular field as present (oneof case, has_ flag). */
void proto_field_mark_set(ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field);

/* ---- unpack.c ---- */
bool proto_utf8_is_valid(struct str s);

/* ---- pattern.c: the regular expressions of validate.rules (subset in tools/protogen_patterns.py) */
bool proto_pattern_matches(const char *pattern, struct str s);

#endif
