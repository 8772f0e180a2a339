/* SPDX-License-Identifier: Apache-2.0
 *
 * One value against one rule. Each gives true, or false with the reason in `why` ("must be above 0,
 * is -1").
 */
#ifndef PROTO_RULES_PRIV_H
#define PROTO_RULES_PRIV_H

#include "proto/proto_priv.h"
#include "validate/validate.pb-c.h"

/* rules_number.c: any numeric rules message, or Duration/Timestamp rules, against a value of the
 * type that they are about (for the two: a pointer to the message pointer). */
bool rules_number(const ProtobufCMessage *rules, ProtobufCType type, const void *value,
                  struct strbuf *why);
/* rules_text.c */
bool rules_string(const Validate__StringRules *rules, struct str value, struct strbuf *why);
bool rules_bytes(const Validate__BytesRules *rules, struct str value, struct strbuf *why);

#endif
