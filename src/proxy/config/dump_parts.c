/* SPDX-License-Identifier: Apache-2.0
 *
 * Times and resources of /config_dump. Main thread.
 */
#include "proxy/config/dump_parts.h"

#define TYPE_URL "type.googleapis.com/"

Google__Protobuf__Timestamp *dump_timestamp(struct proto_arena *a, uint64_t wall_us)
{
    Google__Protobuf__Timestamp *t = PROTO_NEW(a, Google__Protobuf__Timestamp, google__protobuf__timestamp__descriptor);
    if (t) {
        t->seconds = (int64_t)(wall_us / 1000000);
        t->nanos = (int32_t)(wall_us / 1000 % 1000) * 1000000;
    }
    return t;
}

Google__Protobuf__Any *dump_any(struct proto_arena *a, enum resource_type type, struct str packed)
{
    static const char *const urls[] = {
#define X(id, name, text) TYPE_URL name,
        RESOURCE_TYPE_TABLE(X)
#undef X
    };
    Google__Protobuf__Any *any = PROTO_NEW(a, Google__Protobuf__Any, google__protobuf__any__descriptor);
    if (any) {
        any->type_url = (char *)(uintptr_t)urls[type];
        any->value = (ProtobufCBinaryData){.len = packed.n, .data = (uint8_t *)(uintptr_t)packed.p};
    }
    return any;
}
