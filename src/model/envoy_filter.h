/* SPDX-License-Identifier: Apache-2.0
 *
 * What EnvoyFilters patch with: values as messages of Envoy's API. Any thread.
 */
#ifndef MODEL_ENVOY_FILTER_H
#define MODEL_ENVOY_FILTER_H

#include "google/protobuf/struct.pb-c.h"
#include "proto/message.h"

/* Of what a patch is applied to (enum of istio.networking.v1alpha3.EnvoyFilter.ApplyTo); NULL: nothing. */
const ProtobufCMessageDescriptor *envoy_filter_type(int apply_to);
/* The value as a message of that type, by the Protobuf JSON mapping: what isn't in it could be sent to nobody, and is a fault with its
 * path in the value. NULL after faults. */
ProtobufCMessage *envoy_filter_value(struct proto_arena *arena, int apply_to, const Google__Protobuf__Struct *value,
                                     struct err_list *faults);

#endif
