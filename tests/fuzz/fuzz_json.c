/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON text -> bootstrap -> rules -> JSON text -> the same bootstrap.
 */
#include "base/check.h"
#include "envoy/config/bootstrap/v3/bootstrap.pb-c.h"
#include "proto/dump.h"
#include "proto/validate.h"

#define FUZZ_ARENA_BYTES ((size_t)16 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proto_arena *arena = proto_arena_new(FUZZ_ARENA_BYTES);
    struct err_list faults = {0};
    struct strbuf text = {0};
    ProtobufCMessage *msg, *again;
    const ProtobufCMessageDescriptor *desc = &envoy__config__bootstrap__v3__bootstrap__descriptor;
    if (json_decode(arena, str_make((const char *)data, size), desc, "f.json", &msg, &faults) == 0) {
        (void)!proto_validate(arena, msg, NULL, &faults);
        proto_dump(msg, &text);
        strbuf_reset(&text);
        json_encode(msg, 0, &text);
        if (json_decode(arena, strbuf_str(&text), desc, NULL, &again, &faults) == 0)
            CHECK(proto_packed_size(msg) == proto_packed_size(again));
        else
            CHECK(proto_arena_is_full(arena));
    } else {
        CHECK(faults.count > 0);
    }
    strbuf_fini(&text);
    err_list_fini(&faults);
    proto_arena_free(&arena);
    return 0;
}
