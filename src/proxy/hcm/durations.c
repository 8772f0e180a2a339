/* SPDX-License-Identifier: Apache-2.0
 *
 * How long a stream may live in all, once its route is known (Envoy: route's max_stream_duration with
 * grpc_timeout_header_max and grpc_timeout_header_offset, else the connection manager's), and what a gRPC client's own
 * deadline becomes on its way (gRPC over HTTP/2: grpc-timeout).
 */
#include "proxy/filter/grpc_frames.h"
#include "proxy/hcm/exchange.h"

static void put_grpc_timeout(struct exchange *x, uint64_t ms)
{
    char *text = arena_bytes(x->arena, GRPC_TIMEOUT_TEXT_BYTES);
    if (text)
        headers_set_id_ref(x->request, HDR_GRPC_TIMEOUT, grpc_timeout_write(ms, text));
}

static uint64_t by_grpc(const struct max_stream_duration *d, uint64_t asked)
{
    uint64_t ms = asked;
    if (d->grpc_max_ms && ms > d->grpc_max_ms)
        ms = d->grpc_max_ms;
    if (ms && d->grpc_offset_ms)
        ms = d->grpc_offset_ms < ms ? ms - d->grpc_offset_ms : 0;
    return ms;
}

void duration_settle(struct exchange *x)
{
    const struct max_stream_duration *d = x->decision.route->max_stream_duration;
    uint64_t asked = 0, ms = x->config->max_stream_duration_ms;
    if (d->is_older_form) /* concerns the route's timeout alone (router_timeouts.c) */
        return;
    bool has_grpc = headers_has_id(x->request, HDR_GRPC_TIMEOUT) &&
                    grpc_timeout_read(headers_get_id(x->request, HDR_GRPC_TIMEOUT), &asked);
    bool by_client = has_grpc && d->has_grpc_max;
    if (by_client)
        ms = by_grpc(d, asked);
    else if (d->has_max)
        ms = d->max_ms;
    timer_clear(&x->duration_timer);
    if (!ms && !by_client)
        return;
    if (headers_has_id(x->request, HDR_GRPC_TIMEOUT)) /* one that can't be read is replaced, too */
        put_grpc_timeout(x, ms);
    uint64_t used_us = loop_now_us(x->loop) - x->info.start_us, us = ms * 1000;
    timer_set_us(&x->duration_timer, us > used_us ? us - used_us : 0);
}
