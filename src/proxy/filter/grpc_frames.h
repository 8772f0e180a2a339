/* SPDX-License-Identifier: Apache-2.0
 *
 * What gRPC's readers share: counting messages in a body that passes, a method in a path. Pure.
 */
#ifndef PROXY_FILTER_GRPC_FRAMES_H
#define PROXY_FILTER_GRPC_FRAMES_H

#include "base/buf.h"
#include "http/codec/headers.h"
#include "http/grpc.h"

struct grpc_frame_counter { /* zeroed = at a frame's start */
    uint32_t length;
    uint32_t left;  /* payload bytes still to come */
    uint8_t at;     /* bytes of the frame's header seen; 0..4 */
};
/* Passes a part of a header or of a payload: how many bytes of n (> 0) it is, and whether a frame begins or ends with it. */
size_t grpc_frame_step(struct grpc_frame_counter *c, const uint8_t *p, size_t n, bool *begins, bool *ends);
/* Frames that begin in these bytes; they are left where they are. */
uint32_t grpc_frames_count(struct grpc_frame_counter *c, const struct buf *data);

/* "/service/method?…": false when the path isn't two segments. */
bool grpc_path_split(struct str path, struct str *service, struct str *method);
/* application/grpc, application/grpc+…; not grpc-web */
bool grpc_is_content_type(struct str value);
/* A gRPC response by its head: trailers-only with a status, or 200 with a gRPC content type. */
bool grpc_is_response(const struct headers *h, bool end);

#endif
