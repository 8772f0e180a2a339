/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON text <-> messages, by the Protobuf JSON mapping. RFC 8259, strict: no comments, no trailing
 * commas, duplicate keys are faults, and all of a document's faults are found in one go.
 */
#ifndef PROTO_JSON_H
#define PROTO_JSON_H

#include "proto/doc.h"

/* Text -> tree. On syntax errors NULL with one fault, "FILE:LINE:COLUMN: ...". The tree borrows
 * `text` where strings hold no escapes: it must live as long. Duplicate keys are faults too, but
 * leave the tree. */
const struct doc_node *json_read(struct proto_arena *arena, struct str text, const char *file,
                                 struct err_list *faults);
/* json_read and doc_decode. Unknown fields are faults with the nearest known name. */
int json_decode(struct proto_arena *arena, struct str text, const ProtobufCMessageDescriptor *desc,
                const char *file, ProtobufCMessage **out, struct err_list *faults);

enum json_flag {
    JSON_CAMEL = 1,        /* lowerCamelCase names; default is snake_case as Envoy's admin shows */
    JSON_INDENT = 2,       /* one space a level, as Envoy's admin */
    JSON_REDACT = 4,       /* sensitive fields show "[redacted]" */
    JSON_DEFAULTS = 8,     /* fields without presence are written even when unset */
    JSON_INT_ENUMS = 16,
};
/* Appends. An Any of an unknown type or with broken bytes is shown as {"@type": .., "value": base64}. */
void json_encode(const ProtobufCMessage *msg, unsigned flags, struct strbuf *out);

#endif
