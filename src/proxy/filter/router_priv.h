/* SPDX-License-Identifier: Apache-2.0
 *
 * Room-private parts of the router. router.c: the request, by its decision. router_try.c: one attempt at
 * one host. router_response.c: what attempts answer. router_failure.c: how they fail, and answers of our
 * own. router_retry.c: whether and when there is another one. router_timeouts.c, router_stats.c,
 * router_shadow.c (mirrors), router_redirect.c (internal redirects), router_tunnel.c (CONNECT ended here).
 */
#ifndef PROXY_FILTER_ROUTER_PRIV_H
#define PROXY_FILTER_ROUTER_PRIV_H

#include "base/check.h"
#include "base/list.h"
#include "proxy/cluster/cluster.h"
#include "proxy/filter/http_filter.h"
#include "proxy/hcm/hcm.h"
#include "proxy/route/route.h"

#define ROUTER_MAX_REPLAYS 2 /* of one request onto fresh connections, after stale ones */

struct try_timers {
    struct upstream_try *of;
    struct timer timeout, idle, duration; /* per try; per try idle; upstream's max_stream_duration */
    struct timer log;                     /* upstream_log_flush_interval */
};

/* One attempt: a host, a place in its pool's queue or a stream on one of its connections. */
struct upstream_try {
    struct http_sink sink;
    struct list node;                  /* router.tries; out of it once nothing more is expected */
    struct upstream_try *next;         /* router.all_tries */
    struct router *router;
    struct host *host;                 /* referenced */
    struct cluster_worker *view;       /* the host's: not the router's where its cluster is an aggregate */
    uint32_t priority;                 /* the host's, in the router's cluster */
    struct http_pool_request *waiting; /* in the pool's queue */
    struct http_stream *stream;        /* NULL before and after */
    struct buf pending;                /* body that the stream hasn't been given */
    struct try_timers *timers;         /* NULL: none is wanted */
    bool headers_sent, end_sent;
    bool response_started, response_end;
    bool above;                        /* its send queue is full: the request is paused for it */
    bool retried;                      /* slow: another one was started beside it (hedging) */
    bool grpc_result_due;              /* whether the host did well stands in the trailers */
    bool is_canary;
    bool outlier_told;                 /* its timeout was reported */
    bool logged, recorded;
    uint16_t status;                   /* of its response; 0 none yet */
    uint32_t flags;                    /* its own response flags, for upstream logs */
    const struct headers *response, *trailers;
    struct span *span;                 /* its own; NULL */
    uint64_t start_us, first_tx_us;
};

struct retry_state;
struct mirror;

struct router {
    struct http_filter *f;
    struct exchange *x;
    const struct router_config *config;
    const struct route_decision *decision;
    const struct route_entry *route;
    struct cluster *cluster;
    struct cluster_worker *here;
    struct list tries;       /* those that may still answer, newest first; without the final one once it answers */
    struct upstream_try *all_tries;
    struct upstream_try first;
    struct upstream_try *final; /* its response goes downstream */
    void *tunnel;            /* router_tunnel.c */
    struct retry_state *retry; /* NULL: no retry is wanted any more */
    struct mirror *mirrors;
    const struct virtual_cluster *vcluster;
    struct stat_scope *vcluster_stats;

    struct buf body;         /* kept for further attempts: all of it (keeps_body), or what a reused connection was given */
    bool keeps_body;
    bool body_lost;          /* more was sent than may be kept */
    bool body_overflowed;    /* and retries or redirects were given up for it */
    bool is_replayable;      /* method is idempotent (RFC 9110 section 9.2.2) */
    uint8_t replays;
    bool request_end;        /* no more body will come (trailers included) */
    struct headers *trailers;
    bool paused_downstream;  /* pending is over its limit */
    bool timed_out, done;
    bool is_grpc, is_retry, wants_tunnel;
    bool rare_headers;       /* the request has x-envoy-* headers beyond those with an id */
    bool hedged;             /* several attempts from the start: a bad answer waits for the others */
    bool no_http_code_stats; /* suppress_grpc_request_failure_code_stats */
    bool answer_is_overload;
    bool is_upstream_ours;   /* a cluster was found: answers carry its headers */
    uint32_t downstream_above; /* the client reads slowly: the upstream is paused */

    bool hedge_on_per_try_timeout;
    bool has_hash; uint64_t hash;
    struct str set_cookies[4]; uint32_t set_cookie_count; /* of hash policies */
    struct str alt_stat_name; /* x-envoy-upstream-alt-stat-name */
    uint16_t timeout_status; /* 504; 204 by x-envoy-upstream-rq-timeout-alt-response */
    uint64_t timeout_ms, per_try_ms, per_try_idle_ms, duration_ms; /* 0: none */
    struct timer timer;      /* of the whole, from the request's end */
};

/* ---- router.c ---- */
bool router_request_is_tunnel(const struct router *r); /* upgrades and CONNECT: no timeouts after the request */
bool router_is_internal(const struct router *r);       /* x-envoy-internal */

/* ---- router_try.c. Starting and failing call back before they return. ---- */
/* A new one; fresh: on a connection that nobody used. The body so far is handed to it (kept, or `left` of the one before). */
void try_start(struct router *r, bool fresh, struct buf *left);
bool try_pick(struct upstream_try *t);         /* sets host, view, priority; false: none is there */
void try_send_body(struct upstream_try *t);    /* what is pending, when the stream is there */
void tries_give_body(struct router *r, struct buf *data);
size_t tries_pending_bytes(struct router *r);
void try_take_totals(struct upstream_try *t);  /* its bytes so far, for the access log */
void try_show(struct upstream_try *t);         /* stream info speaks of it */
void try_record(struct upstream_try *t);       /* into the exchange's decision record, once; only where there is one */
void try_abandon(struct upstream_try *t);      /* reset or leave the queue; no event follows */
void tries_leave(struct router *r); /* last of all */
void tries_abandon(struct router *r, const struct upstream_try *but);
bool tries_await_headers(struct router *r);

/* ---- router_response.c: an attempt's events ---- */
void router_on_headers(struct upstream_try *t, struct headers *h, bool end);
void router_on_informational(struct upstream_try *t, struct headers *h);
void router_on_data(struct upstream_try *t, struct buf *data, bool end);
void router_on_trailers(struct upstream_try *t, struct headers *h);

/* ---- router_failure.c ---- */
/* `stale`: it failed on a reused connection before any byte of a response, and may go out once more. The attempt is out of
 * the list already and let go. */
void router_on_failed(struct upstream_try *t, enum stream_reset why, const char *transport_failure, bool stale);
void router_on_no_host(struct router *r);
void router_on_no_memory(struct router *r);
/* An attempt or the whole took too long; `o` says which. */
void router_on_timeout(struct router *r, const struct outcome *o, unsigned status, struct str body);
const struct outcome *router_outcome_of(enum stream_reset why, bool started);
/* True: another attempt follows. False: nothing more can come of it. */
bool router_retry_reset(struct upstream_try *t, enum stream_reset why);
void router_charge_abort(struct upstream_try *t, unsigned status);
void router_answer(struct router *r, const struct outcome *o, unsigned status, struct str body, struct str details);
void router_end(struct router *r);             /* timers, retries, attempts: nothing is to come */
void router_edit_answer(struct headers *h, void *router);

/* ---- router_retry.c ---- */
enum retry_answer { RETRY_NO, RETRY_YES, RETRY_OVERFLOW, RETRY_LIMIT };
void retry_settle(struct router *r, struct headers *h); /* from the route and the request's headers, which go */
enum retry_answer retry_for_response(struct router *r, const struct headers *h, unsigned status);
enum retry_answer retry_for_reset(struct router *r, enum stream_reset why, bool had_started);
enum retry_answer retry_for_slow_try(struct router *r);
bool retry_would_for_response(const struct router *r, const struct headers *h, unsigned status);
bool retry_is_pending(const struct router *r);
void retry_note_timeout(struct router *r); /* what is asked next is asked because a try took too long */
void retry_note_host(const struct upstream_try *t); /* it has been tried */
void retry_steer(struct router *r, struct lb_context *cx);
void retry_over(struct router *r);

/* ---- router_timeouts.c ---- */
void timeouts_settle(struct router *r, struct headers *h);
void timeouts_tell(struct router *r, struct headers *h); /* x-envoy-expected-rq-timeout-ms, before each attempt */
void timeouts_on_request_complete(struct router *r);
void timeouts_on_stream(struct upstream_try *t);
void timeouts_touch(struct upstream_try *t);
void timeouts_clear(struct upstream_try *t);

/* ---- router_stats.c ---- */
void stats_settle(struct router *r, struct headers *h);
void stats_code(struct router *r, unsigned status, bool is_canary, const struct host *h);
bool stats_answer_is_canary(const struct headers *response, const struct host *h);
bool stats_host_is_canary(const struct host *h); /* by the endpoint's metadata: envoy.lb canary */
void stats_retried(struct router *r, unsigned status);
void stats_time(struct router *r, const struct upstream_try *t);
/* track_cluster_stats: an attempt's answer began; an attempt is over (s: its stream, NULL where it had none). */
void stats_track_answer(const struct upstream_try *t, const struct headers *h);
void stats_track_attempt(const struct upstream_try *t, const struct http_stream *s);
void stats_row(struct router *r, uint32_t route_row); /* of the route and the virtual cluster */
void stats_report(struct router *r, struct upstream_try *t, enum host_result result, unsigned status, const struct headers *h);
void stats_report_trailers(struct upstream_try *t, const struct headers *trailers); /* a load report may stand there */

/* ---- router_log.c: upstream_log, a line each attempt ---- */
void log_attempt(struct upstream_try *t, const char *log_type);
/* What is the attempt's own in the place of the exchange's; borrowed throughout, nothing of it is given back. */
void attempt_info(const struct upstream_try *t, struct stream_info *out);

/* ---- router_trace.c: spans of attempts; only where info's span is, the last three (cancelled, failed, over) only where the attempt's is ---- */
void trace_attempt(struct upstream_try *t);
void trace_inject(struct upstream_try *t);             /* into the request's headers, before they are sent */
void trace_mirror(struct router *r, bool sampled, struct headers *copy); /* a copy's context: the request's span is its parent */
void trace_attempt_cancelled(struct upstream_try *t);
void trace_attempt_failed(struct upstream_try *t, const char *why);
void trace_attempt_over(struct upstream_try *t);

/* ---- router_strict.c: strict_check_headers ---- */
/* The first listed header that can't be read; NULL: all can. */
const struct header *strict_fault(const struct router_config *c, const struct headers *h);

/* ---- router_shadow.c: mirrored requests ---- */
void shadow_start(struct router *r, const struct headers *h, bool end);
void shadow_data(struct router *r, const struct buf *data, bool end);
void shadow_trailers(struct router *r, const struct headers *trailers);
void shadow_stop(struct router *r); /* the exchange ends; what was begun and whole goes on by itself */

/* ---- router_redirect.c ---- */
/* True: the exchange starts again as the response's Location says; this router is gone. */
bool redirect_follow(struct upstream_try *t, struct headers *response, unsigned status);

/* ---- router_tunnel.c: CONNECT with connect_config: bytes to a TCP connection of the cluster. ---- */
void connect_start(struct router *r);
void connect_data(struct router *r, struct buf *data, bool end);
void connect_pause(struct router *r, bool on);
void connect_abandon(struct router *r);

#endif
