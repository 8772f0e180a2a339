/* SPDX-License-Identifier: Apache-2.0
 *
 * What tools/protogen generates into libenvoyproto.a: every type of the API as tables of offsets
 * into one string blob. No pointers, hence no relocations: the tables stay clean, shared pages and
 * cost nothing at start-up; types.c makes descriptors of those that are used. Private to this room.
 */
#ifndef PROTO_TABLES_H
#define PROTO_TABLES_H

#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#define PROTO_TABLE_NONE 0xffff

enum proto_field_extra {
    PROTO_FIELD_SENSITIVE = 1,    /* udpa.annotations.sensitive: never dumped */
    PROTO_FIELD_DISALLOWED = 2,   /* envoy.annotations.disallowed_by_default */
    PROTO_FIELD_EMPTY_STRING = 4, /* default_value is the empty string */
    PROTO_FIELD_DEFAULT_TRUE = 8, /* proto2 default of a bool */
};

struct proto_table_field {
    uint32_t name; /* into proto_table_text */
    uint32_t id;
    uint16_t quantifier_offset, offset;
    uint16_t type_index; /* of the message or enum, or PROTO_TABLE_NONE */
    uint16_t rules;      /* 0: none */
    uint8_t label, type, flags, extra;
};

enum proto_message_flag {
    PROTO_MESSAGE_MAP_ENTRY = 1,
    PROTO_MESSAGE_NO_RULES = 2, /* validate.disabled or validate.ignored */
};

struct proto_table_message {
    uint32_t name; /* sorted by it, bytewise */
    uint32_t first_field;
    uint32_t sizeof_message;
    uint16_t n_fields;
    uint16_t first_oneof;
    uint8_t n_oneofs, flags;
};

struct proto_table_oneof {
    uint32_t name;
    uint16_t quantifier_offset;
    uint16_t is_required;
};

struct proto_table_enum {
    uint32_t name;
    uint32_t first_value, first_alias;
    uint16_t n_values, n_names;
};

struct proto_table_value { /* by number, each number once */
    uint32_t name;
    int32_t number;
};

struct proto_table_alias { /* every name, bytewise sorted */
    uint32_t name;
    uint32_t index;
};

struct proto_table_rules { /* a packed validate.FieldRules */
    uint32_t offset, n;
};

extern const char proto_table_text[];
extern const uint32_t proto_table_message_count, proto_table_enum_count, proto_table_rules_count;
extern const struct proto_table_message proto_table_messages[];
extern const struct proto_table_field proto_table_fields[]; /* by id within a message */
extern const uint16_t proto_table_fields_by_name[];
extern const struct proto_table_oneof proto_table_oneofs[];
extern const struct proto_table_enum proto_table_enums[];
extern const struct proto_table_value proto_table_values[];
extern const struct proto_table_alias proto_table_aliases[];
extern const struct proto_table_rules proto_table_rules[];
extern const uint8_t proto_table_rule_bytes[];

/* The descriptors' storage: zeroed until types.c fills it. The symbols that protoc-c's headers
 * declare (`envoy__..__descriptor`) are aliases into these two. */
extern ProtobufCMessageDescriptor proto_message_storage[];
extern ProtobufCEnumDescriptor proto_enum_storage[];

#endif
