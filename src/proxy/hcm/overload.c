/* SPDX-License-Identifier: Apache-2.0
 *
 * What overload does to HTTP connections: requests are refused at their head, keep-alive ends,
 * timers are brought forward, streams that hold much memory are reset. On the connection's worker.
 */
#include "proxy/overload/overload.h"

#include "proxy/hcm/exchange.h"

#define RESETS_A_ROUND 50 /* the next refresh goes on: memory is freed at the turn's end, not at once */
#define HEAVY_CLASSES 8   /* powers of two above the smallest that is looked at */

static __thread uint32_t resets_left;
static __thread uint64_t resets_turn_us;

static void add_overloaded(struct headers *h, void *arg)
{
    (void)arg;
    headers_add(h, STR("x-envoy-local-overloaded"), STR("true"));
}

/* True: answered with 503. */
bool overload_refuses_request(struct exchange *x)
{
    struct rng *rng = loop_rng(x->loop);
    bool bypass = x->hc->downstream->listener->spec->bypass_overload;
    if (bypass || (!overload_hits(OVERLOAD_STOP_ACCEPTING_REQUESTS, rng) && !overload_hits(OVERLOAD_DECODE_HEADERS, rng) &&
                   !overload_hits(OVERLOAD_FILTER_CHECK, rng)))
        return false;
    stat_inc(x->config->stats, STAT_HCM_RQ_OVERLOAD_CLOSE);
    exchange_local_reply(x, OUTCOME(OVERLOAD), 503, STR("envoy overloaded"), STR_NULL,
                         x->config->append_local_overload ? add_overloaded : NULL, NULL);
    return true;
}

/* With the response's head: the connection is let go after this exchange. */
void overload_end_keepalive(struct exchange *x)
{
    struct http_server_conn *c = x->hc->server;
    if (!overload_hits(OVERLOAD_DISABLE_HTTP_KEEPALIVE, loop_rng(x->loop)) || !c || http_server_conn_is_draining(c))
        return;
    stat_inc(x->config->stats, STAT_HCM_CX_OVERLOAD_DISABLE_KEEPALIVE);
    http_server_conn_drain(c);
}

/* ---- timers ---- */

uint64_t hcm_idle_us(uint64_t us)
{
    return overload_timeout_us(OVERLOAD_TIMER_CONNECTION_IDLE, us);
}

static void bring_forward(struct timer *t, struct loop *loop, uint64_t us)
{
    if (us && timer_is_set(t) && loop_now_us(loop) + us < t->due_us)
        timer_set_us(t, us);
}

void hcm_retime(struct downstream *d)
{
    struct hcm_conn *hc = d->terminal == &hcm_filter ? d->terminal_state : NULL;
    if (!hc || !hc->server)
        return;
    http_server_conn_retime(hc->server);
    LIST_EACH(it, safe, &hc->exchanges) {
        struct exchange *x = LIST_ENTRY(it, exchange, node);
        bring_forward(&x->idle_timer, x->loop, overload_timeout_us(OVERLOAD_TIMER_STREAM_IDLE, x->stream_idle_us));
    }
}

/* ---- memory ---- */

static uint64_t held_bytes(const struct exchange *x)
{
    uint64_t n = x->down && x->down->ops->queued ? x->down->ops->queued(x->down) : 0;
    for (uint32_t i = 0; i < x->slot_count; i++) {
        const struct filter_slot *slot = &x->slots[i];
        n += slot->request.held.len + slot->response.held.len;
        if (slot->f.def->held_bytes)
            n += slot->f.def->held_bytes(&slot->f);
    }
    return n;
}

void hcm_reset_heavy(struct downstream *d)
{
    struct hcm_conn *hc = d->terminal == &hcm_filter ? d->terminal_state : NULL;
    if (!hc || !hc->server)
        return;
    uint64_t now = loop_now_us(d->worker->loop);
    if (now != resets_turn_us) {
        resets_turn_us = now;
        resets_left = RESETS_A_ROUND;
    }
    LIST_EACH(it, safe, &hc->exchanges) {
        struct exchange *x = LIST_ENTRY(it, exchange, node);
        if (!resets_left)
            return;
        if (held_bytes(x) < overload_heavy_bytes(HEAVY_CLASSES))
            continue;
        resets_left--;
        overload_count_reset();
        exchange_reset(x, OUTCOME(OVERLOAD));
        if (!d->terminal_state || !hc->server) /* an HTTP/1 connection ends with its stream */
            return;
    }
}
