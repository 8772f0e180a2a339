/* SPDX-License-Identifier: Apache-2.0
 *
 * YAML text -> bootstrap, with everything located again by its path.
 */
#include "base/check.h"
#include "envoy/config/bootstrap/v3/bootstrap.pb-c.h"
#include "proto/validate.h"
#include "proto/yaml.h"

#define FUZZ_ARENA_BYTES ((size_t)16 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proto_arena *arena = proto_arena_new(FUZZ_ARENA_BYTES);
    struct err_list faults = {0};
    ProtobufCMessage *msg;
    const struct doc_node *root = yaml_read(arena, str_make((const char *)data, size), NULL, &faults);
    CHECK(root || faults.count > 0);
    if (root && doc_decode(arena, root, &envoy__config__bootstrap__v3__bootstrap__descriptor, NULL, &msg,
                           &faults) == 0)
        (void)!proto_validate(arena, msg, NULL, &faults);
    if (root)
        doc_locate_faults(root, "f.yaml", NULL, &faults, 0);
    err_list_fini(&faults);
    proto_arena_free(&arena);
    return 0;
}
