/* SPDX-License-Identifier: Apache-2.0
 *
 * google.protobuf.Struct and our metadata values, both ways. For this room only.
 */
#ifndef PROXY_SERVICE_VALUES_H
#define PROXY_SERVICE_VALUES_H

#include "envoy/config/core/v3/address.pb-c.h"
#include "google/protobuf/struct.pb-c.h"
#include "io/addr.h"
#include "proto/arena.h"
#include "proxy/metadata.h"

/* Deep copies into `a`; depth is bounded by the decoder. */
struct meta_value value_from_struct(const Google__Protobuf__Struct *m, struct arena *a);
struct meta_value value_from_pb(const Google__Protobuf__Value *m, struct arena *a);
/* NULL when the arena is full. Texts are copied. */
Google__Protobuf__Value *value_to_pb(const struct meta_value *v, struct proto_arena *a);
Google__Protobuf__Struct *value_to_struct(const struct meta_value *v, struct proto_arena *a); /* {} unless META_STRUCT */
/* A copy with invalid UTF-8 replaced by '?': proto3 strings must be UTF-8, headers needn't be. "" when the arena is full. */
char *text_to_pb(struct str s, struct proto_arena *a);
Envoy__Config__Core__V3__Address *address_to_pb(const struct addr *from, struct proto_arena *a); /* NULL for NULL */

#endif
