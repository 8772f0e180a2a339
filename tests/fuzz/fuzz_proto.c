/* SPDX-License-Identifier: Apache-2.0
 *
 * Packed bytes as a discovery response hands them over -> message -> rules, copy, merge, unread walk,
 * JSON. The first byte chooses the type.
 */
#include "base/check.h"
#include "envoy/config/bootstrap/v3/bootstrap.pb-c.h"
#include "envoy/config/cluster/v3/cluster.pb-c.h"
#include "envoy/config/listener/v3/listener.pb-c.h"
#include "envoy/config/route/v3/route.pb-c.h"
#include "envoy/service/discovery/v3/discovery.pb-c.h"
#include "google/protobuf/struct.pb-c.h"
#include "proto/dump.h"
#include "proto/fields.h"
#include "proto/validate.h"

#define FUZZ_ARENA_BYTES ((size_t)16 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void exercise(struct proto_arena *arena, ProtobufCMessage *msg)
{
    struct err_list faults = {0};
    struct strbuf text = {0};
    struct proto_reader r;
    (void)!proto_validate(arena, msg, NULL, &faults);
    proto_reader_init(&r, arena, &faults);
    (void)!proto_unread(&r, msg, NULL, &faults);
    proto_reader_fini(&r);
    proto_dump(msg, &text);
    ProtobufCMessage *copy = proto_clone(arena, msg);
    if (copy) {
        CHECK(proto_equal(msg, copy));
        (void)!proto_merge(arena, copy, msg);
    }
    strbuf_fini(&text);
    err_list_fini(&faults);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const ProtobufCMessageDescriptor *const types[] = {
        &envoy__config__bootstrap__v3__bootstrap__descriptor,
        &envoy__config__cluster__v3__cluster__descriptor,
        &envoy__config__listener__v3__listener__descriptor,
        &envoy__config__route__v3__route_configuration__descriptor,
        &envoy__service__discovery__v3__discovery_response__descriptor,
        &google__protobuf__struct__descriptor,
    };
    if (size == 0)
        return 0;
    struct proto_arena *arena = proto_arena_new(FUZZ_ARENA_BYTES);
    struct err err = {0};
    ProtobufCMessage *msg;
    int rc = proto_unpack(arena, types[data[0] % ARRAY_LEN(types)],
                          str_make((const char *)data + 1, size - 1), &msg, &err);
    if (rc == 0)
        exercise(arena, msg);
    proto_arena_free(&arena);
    return 0;
}
