/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to this folder: what every item of /config_dump is made of.
 */
#ifndef PROXY_CONFIG_DUMP_PARTS_H
#define PROXY_CONFIG_DUMP_PARTS_H

#include "proto/fields.h"
#include "proxy/discovery/discovery.h"

/* NULL when the arena is full. */
Google__Protobuf__Timestamp *dump_timestamp(struct proto_arena *a, uint64_t wall_us); /* in milliseconds, as Envoy shows */
/* A resource as it came; the bytes are borrowed. */
Google__Protobuf__Any *dump_any(struct proto_arena *a, enum resource_type type, struct str packed);

#endif
