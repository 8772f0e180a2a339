/* SPDX-License-Identifier: Apache-2.0
 *
 * What an attempt answers: is it to be tried again, followed (internal redirects), waited out because another
 * attempt may do better (hedging), or handed downstream. The first answer handed on makes its attempt the final
 * one; all others are given up.
 */
#include "proxy/filter/router_priv.h"

/* ---- how the host did ---- */

static unsigned status_of_grpc(const struct headers *h, bool *there)
{
    uint64_t code;
    *there = str_to_u64(headers_get_id(h, HDR_GRPC_STATUS), &code) && code <= INT32_MAX;
    return *there ? http_status_of_grpc((int)code) : 0;
}

/* A gRPC answer's success is known once grpc-status is, which may be in the trailers. */
static void count_success(struct upstream_try *t, bool grpc_said, unsigned grpc_status, bool end)
{
    struct router *r = t->router;
    if (!r->is_grpc)
        host_stat_add(t->host, HOST_RQ_SUCCESS, 1);
    else if (end)
        host_stat_add(t->host, grpc_said && grpc_status < 500 ? HOST_RQ_SUCCESS : HOST_RQ_ERROR, 1);
    else
        t->grpc_result_due = true;
}

static void settle_grpc_result(struct upstream_try *t, const struct headers *trailers)
{
    bool said = false;
    if (!t->grpc_result_due)
        return;
    unsigned status = trailers ? status_of_grpc(trailers, &said) : 0;
    t->grpc_result_due = false;
    if (t->host)
        host_stat_add(t->host, said && status < 500 ? HOST_RQ_SUCCESS : HOST_RQ_ERROR, 1);
}

/* ---- towards the client ---- */

static void become_final(struct upstream_try *t)
{
    struct router *r = t->router;
    if (r->final)
        return;
    bool alone = r->tries.next == &t->node && r->tries.prev == &t->node;
    list_remove(&t->node);
    r->final = t;
    retry_over(r);
    r->retry = NULL;
    if (!alone) {
        tries_abandon(r, t);
        try_show(t);
    }
    for (uint32_t i = 0; i < r->downstream_above && t->stream; i++)
        stream_pause(t->stream, true);
    r->keeps_body = false;
    buf_drain(&r->body, r->body.len);
    r->body_lost = true;
}

static void add_service_time(struct router *r, struct headers *h)
{
    const struct stream_info *info = exchange_info(r->x);
    if (r->config->suppress_envoy_headers || !r->request_end || !info->request_end_us)
        return; /* the answer to half a request says nothing about the service */
    char *digits = arena_bytes(exchange_arena(r->x), 20);
    uint64_t ms = (loop_now_us(exchange_loop(r->x)) - info->request_end_us) / 1000;
    if (digits)
        headers_set_id_ref(h, HDR_ENVOY_UPSTREAM_SERVICE_TIME, str_make(digits, u64_format(ms, digits)));
}

static void edit_response(struct router *r, struct headers *h)
{
    add_service_time(r, h);
    for (uint32_t i = 0; i < r->set_cookie_count; i++)
        headers_add_id_ref(h, HDR_SET_COOKIE, r->set_cookies[i]);
    route_edit_response(r->decision, h, exchange_format_context(r->x), exchange_arena(r->x));
    if (r->route->include_attempt_count_in_response)
        headers_set_id_ref(h, HDR_ENVOY_ATTEMPT_COUNT,
                           arena_printf(exchange_arena(r->x), "%u", (unsigned)exchange_info(r->x)->attempts));
}

static void response_complete(struct upstream_try *t)
{
    struct router *r = t->router;
    exchange_info(r->x)->upstream_last_rx_us = loop_now_us(exchange_loop(r->x));
    stats_time(r, t);
    timer_clear(&r->timer);
    timeouts_clear(t);
    if (t->span)
        trace_attempt_over(t);
    try_take_totals(t); /* the exchange may end, and be logged, before the upstream stream does */
    r->done = true;
}

/* ---- the attempt's events ---- */

/* True: another attempt follows this answer, or a better one is waited for; the attempt is gone. */
static bool passes_over(struct upstream_try *t, const struct headers *h, unsigned status)
{
    struct router *r = t->router;
    bool unlucky = false;
    if (!r->retry) {
        unlucky = r->hedged && status >= 500;
    } else if (t->retried) {
        unlucky = retry_would_for_response(r, h, status);
    } else {
        switch (retry_for_response(r, h, status)) {
        case RETRY_YES:
            retry_note_host(t);
            host_stat_add(t->host, HOST_RQ_ERROR, 1);
            stats_retried(r, status);
            try_abandon(t);
            return true;
        case RETRY_OVERFLOW:
            exchange_info(r->x)->flags |= FLAG_UO;
            unlucky = true;
            break;
        case RETRY_LIMIT:
            exchange_info(r->x)->flags |= FLAG_URX;
            unlucky = true;
            break;
        case RETRY_NO:
            break;
        }
    }
    bool others = r->tries.next != &t->node || r->tries.prev != &t->node;
    if (!unlucky || !(others || retry_is_pending(r)))
        return false;
    host_stat_add(t->host, HOST_RQ_ERROR, 1);
    try_abandon(t);
    return true;
}

static bool wants_redirect(const struct router *r, unsigned status)
{
    const struct internal_redirect_policy *p = r->route->internal_redirect;
    for (uint32_t i = 0; p && i < p->code_count; i++)
        if (p->codes[i] == status)
            return true;
    return false;
}

void router_on_headers(struct upstream_try *t, struct headers *h, bool end)
{
    struct router *r = t->router;
    struct stream_info *info = exchange_info(r->x);
    uint64_t status = 0;
    bool grpc_said = false;
    str_to_u64(headers_get_id(h, HDR_STATUS), &status);
    unsigned grpc_status = r->is_grpc ? status_of_grpc(h, &grpc_said) : 0;
    t->status = (uint16_t)status;
    stats_report(r, t, HOST_RESPONDED, grpc_said ? grpc_status : (unsigned)status, h);
    if (!r->final && passes_over(t, h, (unsigned)status))
        return;
    if (!r->final && wants_redirect(r, (unsigned)status) && redirect_follow(t, h, (unsigned)status))
        return;
    become_final(t);
    info->upstream_first_rx_us = loop_now_us(exchange_loop(r->x));
    info->details = str_from(OUTCOME(VIA_UPSTREAM)->details);
    info->status = (uint16_t)status;
    t->is_canary = stats_answer_is_canary(h, t->host);
    stats_code(r, (unsigned)status, t->is_canary, t->host);
    if (status < 500)
        count_success(t, grpc_said, grpc_status, end);
    edit_response(r, h);
    if (end)
        response_complete(t);
    exchange_respond_headers(r->x, h, end);
}

void router_on_informational(struct upstream_try *t, struct headers *h)
{
    struct router *r = t->router;
    uint64_t status = 0;
    str_to_u64(headers_get_id(h, HDR_STATUS), &status);
    stats_code(r, (unsigned)status, stats_answer_is_canary(h, t->host), t->host);
    become_final(t); /* the client has seen something: no other attempt can follow */
    exchange_response_informational(r->x, h);
}

void router_on_data(struct upstream_try *t, struct buf *data, bool end)
{
    if (end) {
        settle_grpc_result(t, NULL);
        response_complete(t);
    }
    exchange_respond_data(t->router->x, data, end);
}

void router_on_trailers(struct upstream_try *t, struct headers *h)
{
    settle_grpc_result(t, h);
    stats_report_trailers(t, h);
    response_complete(t);
    exchange_respond_trailers(t->router->x, h);
}
