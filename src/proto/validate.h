/* SPDX-License-Identifier: Apache-2.0
 *
 * The API's own rules (`validate.rules` options), enforced generically on any message and on what
 * its Any fields hold.
 */
#ifndef PROTO_VALIDATE_H
#define PROTO_VALIDATE_H

#include "proto/message.h"

/* Adds every violation with its path ("clusters[3].connect_timeout: must be above 0s, is -1s").
 * `prefix` (may be NULL or "") goes before each path. Any fields are unpacked into `arena` (the
 * messages stay known to proto_unpack_any); one that can't be unpacked is a fault, one of an unknown
 * type is not (whoever reads it says so). Returns 0 or ERR_INVALID. */
int proto_validate(struct proto_arena *arena, const ProtobufCMessage *msg, const char *prefix,
                   struct err_list *faults);

#endif
