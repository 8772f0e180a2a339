/* SPDX-License-Identifier: Apache-2.0
 *
 * The client of envoy.service.ratelimit.v3.RateLimitService: descriptors in, an answer out.
 */
#ifndef PROXY_SERVICE_RATE_LIMIT_SERVICE_H
#define PROXY_SERVICE_RATE_LIMIT_SERVICE_H

#include "proxy/filter/rate_limit_actions.h"
#include "proxy/metadata.h"
#include "proxy/service/grpc_call.h"

struct rate_limit_status {       /* of one descriptor, in the request's order */
    bool over_limit, has_limit;
    struct str limit_name;
    uint32_t requests_per_unit, window_s; /* window 0: unit unknown */
    uint32_t remaining;
    uint64_t reset_s;
};
struct rate_limit_header { struct str name, value; }; /* name in lower case */
struct rate_limit_answer {
    bool over_limit;
    struct rate_limit_status *statuses; uint32_t status_count;
    struct rate_limit_header *response_headers; uint32_t response_header_count;
    struct rate_limit_header *request_headers; uint32_t request_header_count;
    struct str body;
    struct meta_value metadata;  /* META_STRUCT, or META_NULL */
};
/* answer NULL: the service failed (down, timed out, said nonsense). The answer lives until the return. Once, last. */
typedef void (*rate_limit_fn)(void *user, const struct rate_limit_answer *answer);

struct rate_limit_call;
/* fn is never called from inside; NULL: failed at once. fn NULL: nobody waits for the answer. */
struct rate_limit_call *rate_limit_ask(const struct grpc_service *s, struct str domain, const struct rate_limit_descriptors *d,
                                       uint32_t hits_addend, const struct format_context *cx, rate_limit_fn fn, void *user);
void rate_limit_call_cancel(struct rate_limit_call **c); /* NULL is fine */

#endif
