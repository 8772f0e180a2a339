/* SPDX-License-Identifier: Apache-2.0
 *
 * Room-private parts of the router: the logical layer (router.c: route, timeouts, replay), the
 * concrete and endpoint layers (router_try.c: one attempt at one host), retries (router_retry.c), and
 * CONNECT ended here (router_tunnel.c).
 */
#ifndef PROXY_FILTER_ROUTER_PRIV_H
#define PROXY_FILTER_ROUTER_PRIV_H

#include "proxy/cluster/cluster.h"
#include "proxy/filter/http_filter.h"
#include "proxy/hcm/hcm.h"
#include "proxy/route/route.h"

#define ROUTER_MAX_REPLAYS 2 /* of one request onto fresh connections, after stale ones */

/* One attempt: a host, a place in its pool's queue or a stream on one of its connections. */
struct upstream_try {
    struct http_sink sink;
    struct router *router;
    struct host *host;                 /* referenced */
    struct http_pool_request *waiting; /* in the pool's queue */
    struct http_stream *stream;        /* NULL before and after */
    bool headers_sent, end_sent;
    bool response_started, response_end;
    bool holds_request_slot;           /* circuit breaker */
    uint64_t start_us;
};

struct router {
    struct http_filter *f;
    struct exchange *x;
    const struct router_config *config;
    const struct route_entry *route;
    struct cluster *cluster;
    struct cluster_worker *here;
    struct upstream_try attempt;
    void *tunnel;            /* router_tunnel.c */

    struct buf pending;      /* body that has no stream yet */
    struct buf replay;       /* shares what was sent (on a reused connection, or where retries may follow), until the response
                              * begins */
    bool replay_lost;        /* more was sent than may be kept */
    bool is_replayable;      /* method is idempotent (RFC 9110 section 9.2.2) */
    uint8_t replays;
    bool request_end;        /* no more body will come (trailers included) */
    struct headers *trailers;
    bool paused_downstream;  /* pending is over its limit */
    uint32_t downstream_above; /* the client reads slowly: the upstream is paused */
    bool timed_out, done;
    int64_t timeout_ms;
    struct timer timer;

    uint32_t retries;        /* made or on their way */
    bool holds_retry_slot;   /* circuit breaker */
    struct timer retry_timer;
};

/* router_try.c. Starting and failing call back into router.c before they return. */
void try_start(struct router *r, bool fresh);
void try_send_body(struct router *r);       /* what is pending, when the stream is there */
void try_take_totals(struct router *r);     /* its bytes so far, for the access log */
void try_abandon(struct router *r);         /* reset or leave the queue; no event follows */
/* router.c: events of the attempt */
void router_on_headers(struct router *r, struct headers *h, bool end);
void router_on_informational(struct router *r, struct headers *h);
void router_on_data(struct router *r, struct buf *data, bool end);
void router_on_trailers(struct router *r, struct headers *h);
void router_on_failed(struct router *r, enum stream_reset why, const char *transport_failure, bool stale);
void router_on_no_host(struct router *r);
void router_on_overflow(struct router *r);

/* router_retry.c */
void retry_init(struct router *r);
bool retry_wanted_for_response(const struct router *r, const struct headers *h, unsigned status);
bool retry_wanted_for_reset(const struct router *r, enum stream_reset why);
/* True: another attempt will start; the present one must have been let go. */
bool retry_schedule(struct router *r);
void retry_over(struct router *r, bool ended_well); /* no attempt will follow */

/* router_tunnel.c: CONNECT with connect_config: bytes to a TCP connection of the cluster. */
void tunnel_start(struct router *r);
void tunnel_data(struct router *r, struct buf *data, bool end);
void tunnel_pause(struct router *r, bool on);
void tunnel_abandon(struct router *r);

void router_note_status(struct router *r, unsigned status); /* cluster statistics by code */

#endif
