/* SPDX-License-Identifier: Apache-2.0
 *
 * Starting an exchange again with changed request headers (internal redirects): the pass that ends is completed
 * and logged like a request of its own, as Envoy does, though no answer of it is counted; then a new decision, a new chain, the same client.
 * Only what the request and its connection are stays: filter state, the client's address, the request's id.
 * On the exchange's worker.
 */
#include "proxy/hcm/exchange.h"

static void forget_pass(struct exchange *x)
{
    struct stream_info was = x->info;
    x->info = (struct stream_info){0};
    exchange_note_connection(x);
    x->info.downstream_remote = was.downstream_remote;
    x->info.is_internal = was.is_internal;
    x->info.is_health_check = was.is_health_check;
    x->info.request_id = was.request_id;
    x->info.request_end_us = loop_now_us(x->loop);
    x->info.filter_state = was.filter_state;
    x->slots = NULL;
    x->slot_count = 0;
    x->response = x->response_trailers = NULL;
    x->is_head = str_eq(headers_get_id(x->request, HDR_METHOD), STR("HEAD"));
    exchange_clear_route_cache(x);
}

void exchange_restart(struct exchange *x, struct headers *response, struct buf *body)
{
    bool end = body->len == 0;
    x->response = response;
    exchange_settle(x);
    forget_pass(x);
    if (x->config->explain_header)
        exchange_begin_record(x);
    stat_inc(x->config->stats, STAT_HCM_RQ_TOTAL);
    stat_inc(x->config->stats, STAT_HCM_RQ_ACTIVE);
    stat_inc(x->config->stats, x->info.protocol == HTTP_2 ? STAT_HCM_RQ_HTTP2_TOTAL : STAT_HCM_RQ_HTTP1_TOTAL);
    if (x->config->tracing)
        tracing_begin(x);
    chain_init(x);
    if (x->arena->overflowed) {
        exchange_local_reply(x, OUTCOME(INTERNAL), 431, STR_NULL, STR_NULL, NULL, NULL);
        return;
    }
    chain_request_headers(x, end);
    if (!end && !x->finished && !x->local_reply)
        chain_request_data(x, body, true);
}
