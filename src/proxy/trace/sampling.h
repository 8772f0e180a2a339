/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a request is traced, by its headers and runtime (Envoy: "Tracing", "How does tracing work"). The answer stands in
 * the 15th character of x-request-id, so that all proxies of a mesh decide alike. Pure but for runtime and random numbers.
 */
#ifndef PROXY_TRACE_SAMPLING_H
#define PROXY_TRACE_SAMPLING_H

#include "base/rng.h"
#include "http/codec/headers.h"
#include "proxy/runtime.h"

enum trace_reason { TRACE_NONE, TRACE_SAMPLED, TRACE_FORCED, TRACE_CLIENT, TRACE_HEALTH_CHECK };
static inline bool trace_reason_is_traced(enum trace_reason r)
{
    return r == TRACE_SAMPLED || r == TRACE_FORCED || r == TRACE_CLIENT;
}

struct sampling_rules {
    struct runtime_fraction client, random, overall;
    bool use_request_id, pack_reason; /* of the UUID request id extension */
};
/* May rewrite x-request-id. */
enum trace_reason sampling_decide(const struct sampling_rules *r, struct headers *h, struct rng *rng);
enum trace_reason request_id_reason(struct str id);
void request_id_set_reason(struct headers *h, enum trace_reason reason);

#endif
