/* SPDX-License-Identifier: Apache-2.0
 *
 * The sampling decision. A request id that already says why it is traced is believed (its sender decided); otherwise
 * x-client-trace-id, x-envoy-force-trace and chance are asked in turn; the overall limit comes last and may undo all.
 */
#include "proxy/trace/sampling.h"

#define UUID_BYTES 36
#define REASON_AT 14
#define STEPS 10000 /* of the request id's value: the same id gives the same answer at each proxy */

static const char reason_char[] = {[TRACE_NONE] = '4', [TRACE_SAMPLED] = '9', [TRACE_FORCED] = 'a', [TRACE_CLIENT] = 'b'};

enum trace_reason request_id_reason(struct str id)
{
    if (id.n != UUID_BYTES)
        return TRACE_NONE;
    for (enum trace_reason r = TRACE_SAMPLED; r <= TRACE_CLIENT; r++)
        if (id.p[REASON_AT] == reason_char[r])
            return r;
    return TRACE_NONE;
}

void request_id_set_reason(struct headers *h, enum trace_reason reason)
{
    struct str id = headers_get_id(h, HDR_X_REQUEST_ID);
    char text[UUID_BYTES];
    if (id.n != UUID_BYTES || id.p[REASON_AT] == reason_char[reason])
        return;
    memcpy(text, id.p, UUID_BYTES);
    text[REASON_AT] = reason_char[reason];
    headers_set_id(h, HDR_X_REQUEST_ID, str_make(text, UUID_BYTES));
}

static enum trace_reason choose(const struct sampling_rules *r, const struct headers *h, struct rng *rng, uint64_t value)
{
    if (headers_has_id(h, HDR_X_CLIENT_TRACE_ID) && runtime_fraction_hits(&r->client, rng_next(rng)))
        return TRACE_CLIENT;
    if (headers_has_id(h, HDR_ENVOY_FORCE_TRACE))
        return TRACE_FORCED;
    return runtime_fraction_hits(&r->random, value) ? TRACE_SAMPLED : TRACE_NONE;
}

enum trace_reason sampling_decide(const struct sampling_rules *r, struct headers *h, struct rng *rng)
{
    struct str id = headers_get_id(h, HDR_X_REQUEST_ID);
    uint64_t value;
    if (!r->use_request_id)
        return TRACE_SAMPLED; /* the tracer decides */
    if (id.n < 8 || !str_to_u64_hex(str_make(id.p, 8), &value))
        return TRACE_NONE;
    value %= STEPS;
    enum trace_reason was = request_id_reason(id), reason = was != TRACE_NONE ? was : choose(r, h, rng, value);
    if (reason != TRACE_NONE && !runtime_fraction_hits(&r->overall, value))
        reason = TRACE_NONE;
    if (reason != was && r->pack_reason)
        request_id_set_reason(h, reason);
    return reason;
}
