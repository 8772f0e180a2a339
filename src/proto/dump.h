/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages as the admin page shows them (/config_dump): JSON with sensitive fields redacted, cut
 * down to a field mask.
 */
#ifndef PROTO_DUMP_H
#define PROTO_DUMP_H

#include "proto/json.h"

/* A copy of msg (in `arena`) with only the fields that the mask names: paths as in FieldMask,
 * comma-separated, snake_case or camelCase, each going down through messages (and through what an
 * Any holds). A repeated field in the middle of a path applies to every item.
 * ERR_INVALID for a path that the type doesn't have; ERR_LIMIT for a full arena. */
int proto_mask(struct proto_arena *arena, const ProtobufCMessage *msg, struct str mask,
               ProtobufCMessage **out, struct err *err);

/* json_encode with JSON_INDENT and JSON_REDACT. */
void proto_dump(const ProtobufCMessage *msg, struct strbuf *out);

#endif
