/* SPDX-License-Identifier: Apache-2.0
 *
 * on_demand: a request whose host no virtual host has waits until the management server has been asked for it
 * by name (VHDS), then goes on with what the routes say now. How long it waits is bounded by the stream's own
 * timeouts, as Envoy's. Unlike Envoy's the filters before it aren't run again: they have seen a request
 * without a route. On the exchange's worker.
 */
#include "proxy/filter/on_demand.h"

#include "proxy/route/vhost_ask.h"

struct state {
    struct vhost_ask *ask; /* NULL: not waiting */
};

static void on_answer(void *arg)
{
    struct http_filter *f = arg;
    struct state *s = f->state;
    s->ask = NULL;
    exchange_renew_routes(f->x);
    exchange_continue_request(f);
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)h, (void)end;
    struct state *s = f->state;
    s->ask = exchange_ask_vhost(f->x, on_answer, f);
    return s->ask ? FILTER_HEADERS_STOP_ALL_WATERMARK : FILTER_HEADERS_CONTINUE;
}

static void on_destroy(struct http_filter *f)
{
    struct state *s = f->state;
    vhost_ask_cancel(&s->ask);
}

const struct http_filter_def on_demand_filter = {
    .name = "envoy.filters.http.on_demand",
    .state_bytes = sizeof(struct state),
    .on_request_headers = on_request_headers,
    .on_destroy = on_destroy,
};
