/* SPDX-License-Identifier: Apache-2.0
 *
 * What both ends of gRPC share (https://github.com/grpc/grpc, doc/PROTOCOL-HTTP2). Pure.
 */
#ifndef HTTP_GRPC_H
#define HTTP_GRPC_H

#include "base/arena.h"
#include "base/str.h"

#define GRPC_FRAME_HEADER_BYTES 5 /* a flag byte and a big-endian length: gRPC over HTTP/2, "Length-Prefixed-Message" */

/* The codes that are made here (https://grpc.io, "Status codes"). */
enum grpc_status {
    GRPC_OK = 0, GRPC_CANCELLED = 1, GRPC_UNKNOWN = 2, GRPC_INVALID_ARGUMENT = 3, GRPC_DEADLINE_EXCEEDED = 4, GRPC_NOT_FOUND = 5,
    GRPC_PERMISSION_DENIED = 7, GRPC_RESOURCE_EXHAUSTED = 8, GRPC_FAILED_PRECONDITION = 9, GRPC_UNIMPLEMENTED = 12, GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14, GRPC_UNAUTHENTICATED = 16,
};

/* grpc-timeout (gRPC over HTTP/2, "Timeout": up to eight digits and a unit), in milliseconds, rounded up. False: not one. */
bool grpc_timeout_read(struct str text, uint64_t *ms);
/* In the finest unit from milliseconds up that eight digits hold. */
#define GRPC_TIMEOUT_TEXT_BYTES 9
struct str grpc_timeout_write(uint64_t ms, char out[GRPC_TIMEOUT_TEXT_BYTES]);

/* grpc-message is percent-encoded; the null str where the arena is full. */
struct str grpc_message_write(struct arena *a, struct str text);

#endif
