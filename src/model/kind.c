/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of kinds and its look-ups. Any thread.
 */
#include "model/kind.h"

static const struct kind kinds[KIND_COUNT] = {
#define X(id_, kind_, plural_, group_, versions_, shape_, namespaced_, message_)                                                    \
    [KIND_##id_] = {.id = KIND_##id_,                                                                                               \
                    .name = kind_,                                                                                                  \
                    .plural = plural_,                                                                                              \
                    .group = group_,                                                                                                \
                    .versions = versions_,                                                                                          \
                    .message = message_,                                                                                            \
                    .shape = shape_,                                                                                                \
                    .is_namespaced = namespaced_},
    MODEL_KINDS(X)
#undef X
};

const struct kind *kind_of(enum kind_id id)
{
    return &kinds[id];
}

const ProtobufCMessageDescriptor *kind_message(const struct kind *k)
{
    return proto_type_find(str_from(k->message));
}
