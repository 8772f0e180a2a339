/* SPDX-License-Identifier: Apache-2.0
 *
 * Delegates merged into their roots. Not done yet: a root with a delegate keeps those of its routes that have none.
 */
#include "model/scope_priv.h"

#include "istio/networking/virtual_service.pb-c.h"

const ProtobufCMessage *route_with_delegates(const struct world *w, const struct object *root, struct proto_arena *pa)
{
    (void)w, (void)pa;
    return root->body;
}

uint64_t delegates_hash(const ProtobufCMessage *merged)
{
    struct strbuf b = {0};
    proto_pack(merged, &b);
    uint64_t h = hash_text(11, strbuf_str(&b));
    strbuf_fini(&b);
    return h;
}
