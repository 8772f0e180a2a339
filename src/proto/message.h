/* SPDX-License-Identifier: Apache-2.0
 *
 * Protobuf messages of any type: finding types, creating, unpacking with limits, packing, looking at
 * fields without knowing the type, merging, comparing.
 *
 * The C types stand in protoc-c's headers ("envoy/config/bootstrap/v3/bootstrap.pb-c.h"). Their
 * descriptors are made on first use from compact tables: hand `&envoy__..__descriptor` only to
 * functions of this room (or through proto_type_ready), and use these functions instead of
 * protobuf_c_message_unpack, _pack and the generated `__init`, which don't exist. The INIT macros
 * are fine. Strings of messages are never NULL ("" when unset), except optional ones of proto2.
 */
#ifndef PROTO_MESSAGE_H
#define PROTO_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/err.h"
#include "base/str.h"
#include "google/protobuf/any.pb-c.h"
#include "proto/arena.h"

/* Protobuf's own recursion limit; stops stack exhaustion by nested messages. */
#define PROTO_DEPTH_MAX 100
/* The largest packed message taken; one discovery response of a big mesh has a few MiB. */
#define PROTO_PACKED_MAX_BYTES ((size_t)256 << 20)

/* ---- types ---- */

/* By full name or by type URL (whatever stands before the last '/'); NULL: no such type. */
const ProtobufCMessageDescriptor *proto_type_find(struct str name_or_url);
/* Makes the descriptor (and all that it refers to) usable for protobuf-c; returns it. Thread-safe. */
const ProtobufCMessageDescriptor *proto_type_ready(const ProtobufCMessageDescriptor *desc);
/* "type.googleapis.com/<name>" into the arena or a strbuf. */
char *proto_type_url(struct proto_arena *arena, const ProtobufCMessageDescriptor *desc);
bool proto_type_is_map_entry(const ProtobufCMessageDescriptor *desc);
/* Is msg of the type? PROTO_CAST gives NULL where it is not. */
bool proto_is(const ProtobufCMessage *msg, const ProtobufCMessageDescriptor *desc);
#define PROTO_CAST(c_type, descriptor, msg)                                                        \
    ((c_type *)(proto_is((const ProtobufCMessage *)(msg), &(descriptor)) ? (void *)(msg) : NULL))

/* ---- making, packing, unpacking ---- */

/* A message with nothing set; NULL when the arena is full. */
ProtobufCMessage *proto_new(struct proto_arena *arena, const ProtobufCMessageDescriptor *desc);
#define PROTO_NEW(arena, c_type, descriptor) ((c_type *)proto_new(arena, &(descriptor)))

/* Errors: ERR_LIMIT (size, depth, arena), ERR_INVALID (broken wire format, a string that isn't UTF-8
 * or holds NUL, which a C string would cut short: a way around name checks). */
int proto_unpack(struct proto_arena *arena, const ProtobufCMessageDescriptor *desc,
                 struct str packed, ProtobufCMessage **out, struct err *err);
/* The type is Any's own; ERR_NOT_FOUND for an unknown one. The result is remembered: a second call
 * with the same arena and Any returns the same message. */
int proto_unpack_any(struct proto_arena *arena, const Google__Protobuf__Any *any,
                     ProtobufCMessage **out, struct err *err);
/* The same, refusing a type other than `desc` with ERR_INVALID. */
int proto_unpack_any_as(struct proto_arena *arena, const Google__Protobuf__Any *any,
                        const ProtobufCMessageDescriptor *desc, ProtobufCMessage **out,
                        struct err *err);

size_t proto_packed_size(const ProtobufCMessage *msg);
/* Appends. `out` may be NULL only for an empty message. */
void proto_pack(const ProtobufCMessage *msg, struct strbuf *out);
/* A new Any holding msg, packed; NULL when the arena is full. */
Google__Protobuf__Any *proto_pack_any(struct proto_arena *arena, const ProtobufCMessage *msg);

/* ---- fields without knowing the type ---- */

/* By its name in either case (snake_case or lowerCamelCase); NULL: no such field. */
const ProtobufCFieldDescriptor *proto_field_find(const ProtobufCMessageDescriptor *desc,
                                                 struct str name);
const ProtobufCFieldDescriptor *proto_field_by_id(const ProtobufCMessageDescriptor *desc, uint32_t id);
/* lowerCamelCase name into out, at most n - 1 bytes and a NUL. */
void proto_field_json_name(const ProtobufCFieldDescriptor *field, char *out, size_t n);
bool proto_field_is_map(const ProtobufCFieldDescriptor *field);
bool proto_field_is_sensitive(const ProtobufCFieldDescriptor *field);
bool proto_field_is_deprecated(const ProtobufCFieldDescriptor *field);
/* Name of the oneof that the field belongs to, or NULL. */
const char *proto_field_oneof_name(const ProtobufCMessageDescriptor *desc,
                                   const ProtobufCFieldDescriptor *field);

/* Set: chosen (oneof), present (message, optional), not empty (repeated), not the default (others). */
bool proto_field_is_set(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field);
/* Items of a repeated field; 1 or 0 (is_set) for others. */
size_t proto_field_count(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field);
/* Address of the index-th item of a repeated field or of the value itself; its C type follows from
 * field->type (char *, ProtobufCBinaryData, ProtobufCMessage *, int32_t, ...). */
const void *proto_field_at(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field,
                           size_t index);
/* For message fields: the index-th message, or NULL. */
ProtobufCMessage *proto_field_message(const ProtobufCMessage *msg,
                                      const ProtobufCFieldDescriptor *field, size_t index);

/* NULL for a number without a name. */
const char *proto_enum_name(const ProtobufCEnumDescriptor *desc, int number);
bool proto_enum_number(const ProtobufCEnumDescriptor *desc, struct str name, int *out);

/* Unsets a field that holds messages or is repeated. */
void proto_field_clear(ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field);

/* ---- whole messages ---- */

/* Protobuf's MergeFrom: set scalars overwrite, messages merge, repeated fields append, map entries
 * overwrite by key. dst shares src's strings and submessages: both must live in `arena`.
 * ERR_INVALID for different types, ERR_LIMIT for a full arena. */
int proto_merge(struct proto_arena *arena, ProtobufCMessage *dst, const ProtobufCMessage *src);
/* Field by field; maps without regard to order (of a key that stands twice, the last counts); NaN
 * equals NaN; unknown fields are not compared. */
bool proto_equal(const ProtobufCMessage *a, const ProtobufCMessage *b);
/* Deep copy into `arena`; NULL when it is full. */
ProtobufCMessage *proto_clone(struct proto_arena *arena, const ProtobufCMessage *msg);

#endif
