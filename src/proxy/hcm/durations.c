/* SPDX-License-Identifier: Apache-2.0
 *
 * How long a stream may live in all, once its route is known (Envoy: route's max_stream_duration with
 * grpc_timeout_header_max and grpc_timeout_header_offset, else the connection manager's), and what a gRPC client's own
 * deadline becomes on its way (gRPC over HTTP/2: grpc-timeout).
 */
#include "proxy/hcm/exchange.h"

#define GRPC_TIMEOUT_MAX 99999999u /* eight digits */

/* Milliseconds, rounded up; false: no or an invalid timeout. */
static bool read_grpc_timeout(struct str text, uint64_t *ms)
{
    uint64_t v;
    if (text.n < 2 || text.n > 9 || !str_to_u64(str_make(text.p, text.n - 1), &v))
        return false;
    switch (text.p[text.n - 1]) {
    case 'H':
        *ms = v * 3600000;
        return true;
    case 'M':
        *ms = v * 60000;
        return true;
    case 'S':
        *ms = v * 1000;
        return true;
    case 'm':
        *ms = v;
        return true;
    case 'u':
        *ms = (v + 999) / 1000;
        return true;
    case 'n':
        *ms = (v + 999999) / 1000000;
        return true;
    default:
        return false;
    }
}

static void put_grpc_timeout(struct exchange *x, uint64_t ms)
{
    static const struct { char unit; uint32_t factor; } steps[] = {{'m', 1}, {'S', 1000}, {'M', 60}, {'H', 60}};
    uint64_t v = ms;
    size_t i = 0;
    while (v > GRPC_TIMEOUT_MAX && i + 1 < ARRAY_LEN(steps))
        v /= steps[++i].factor;
    if (v > GRPC_TIMEOUT_MAX)
        v = GRPC_TIMEOUT_MAX;
    struct str text = arena_printf(x->arena, "%llu%c", (unsigned long long)v, steps[i].unit);
    if (text.p)
        headers_set_id_ref(x->request, HDR_GRPC_TIMEOUT, text);
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
    bool has_grpc = headers_has_id(x->request, HDR_GRPC_TIMEOUT) &&
                    read_grpc_timeout(headers_get_id(x->request, HDR_GRPC_TIMEOUT), &asked);
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
