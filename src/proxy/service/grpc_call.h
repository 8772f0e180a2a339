/* SPDX-License-Identifier: Apache-2.0
 *
 * gRPC out of the proxy: unary calls and client streams over upstream_call, framing and status mapping
 * (gRPC over HTTP/2; https://github.com/grpc/grpc, doc/PROTOCOL-HTTP2). Messages are bytes here: who
 * calls encodes and decodes them.
 */
#ifndef PROXY_SERVICE_GRPC_CALL_H
#define PROXY_SERVICE_GRPC_CALL_H

#include "http/grpc.h"
#include "proxy/cluster/upstream_call.h"

struct format_context;

/* core.v3.GrpcService (envoy_grpc; google_grpc's target_uri is refused by name), read by proxy/config/grpc_service.c */
struct grpc_service {
    struct str cluster_name;
    struct cluster_slot *cluster;
    struct str authority;         /* "" = the cluster's name */
    uint64_t timeout_ms;          /* 0 none */
    struct header_mutation *metadata; uint32_t metadata_count; /* initial_metadata */
    uint32_t max_receive_bytes;   /* 4 MiB */
    uint64_t queue_limit_bytes;   /* of what a call may keep waiting for the peer; 0: upstream_call's own */
    bool skip_envoy_headers;
    uint32_t retry_on;            /* retry_policy: enum retry_on bits; of unary calls, before their answer begins */
    uint32_t retries;
    uint64_t backoff_base_ms, backoff_max_ms; /* 25, 250 */
};
void grpc_service_fini(struct grpc_service *s); /* formats of the metadata; the rest is an arena's */

struct grpc_call;
struct grpc_call_handler { /* any may be NULL; never called from inside the functions below */
    void (*on_message)(void *user, const uint8_t *bytes, size_t n); /* valid during the call */
    /* Exactly once, last; status as grpc-status (UNAVAILABLE 14 for transport failures …). Not after cancel. */
    void (*on_done)(void *user, unsigned status, struct str message);
    void (*on_watermark)(void *user, bool above);
};
/* path: "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit". One message with half-close = unary; `message` may be
 * NULL to open a stream. NULL: failed at once, *status says how. `more` (NULL) are headers of this call (trace context …);
 * metadata's %OPERATORS% see `cx` (NULL: nothing). With retries `s` must outlive the call. */
struct grpc_call *grpc_call_start(const struct grpc_service *s, struct str path, const struct headers *more,
                                  const struct format_context *cx, const uint8_t *message, size_t n, bool half_close,
                                  const struct grpc_call_handler *handler, void *user, unsigned *status);
/* False: not sent, more than the call's limit waits already (the call goes on), or it is past sending. */
bool grpc_call_send(struct grpc_call *c, const uint8_t *message, size_t n, bool half_close);
size_t grpc_call_queued(const struct grpc_call *c); /* bytes that the peer hasn't taken yet */
void grpc_call_cancel(struct grpc_call **c); /* NULL is fine */
struct host *grpc_call_host(const struct grpc_call *c); /* borrowed */

#endif
