/* SPDX-License-Identifier: Apache-2.0
 *
 * /hystrix_event_stream: server-sent events for a Hystrix Dashboard, as long as the reader stays. What is told and when is
 * the hystrix sink's. Main thread.
 */
#include "http/stream.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/sink/hystrix.h"

static void on_events(struct hystrix_reader *r, struct str events)
{
    admin_live_write(r->user, events);
}

static void on_open(struct admin_live *l)
{
    struct hystrix_reader *r = arena_zalloc(l->stream->arena, sizeof *r);
    if (!r) {
        stream_reset(l->stream, STREAM_OVERFLOW);
        return;
    }
    r->on_events = on_events;
    r->user = l;
    l->user = r;
    hystrix_subscribe(stats_sinks_find(l->server->sinks, &hystrix_sink), r);
}

static void on_closed(struct admin_live *l)
{
    if (l->user)
        hystrix_unsubscribe(l->user);
}

/* A dashboard runs in a page of another origin. */
static const struct admin_header headers[] = {
    {"access-control-allow-headers", "Accept, Cache-Control, X-Requested-With, Last-Event-ID"},
    {"access-control-allow-origin", "*"},
};
static const struct admin_live_def events = {"text/event-stream", headers, ARRAY_LEN(headers), on_open, on_closed};

void page_hystrix(struct admin_request *rq)
{
    if (stats_sinks_find(rq->server->sinks, &hystrix_sink))
        rq->live = &events;
    else
        admin_refuse(rq, 404, "the sink envoy.stat_sinks.hystrix is not configured\n");
}
