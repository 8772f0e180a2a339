/* SPDX-License-Identifier: Apache-2.0
 *
 * Room-private: one request and its response on their way through the filter chain, and the
 * downstream connection they belong to. The exchange lives in the downstream stream's arena, from
 * the request's head to the stream's on_closed.
 */
#ifndef PROXY_HCM_EXCHANGE_H
#define PROXY_HCM_EXCHANGE_H

#include "base/check.h"
#include "proxy/hcm/hcm.h"
#include "proxy/listener/listener.h"
#include "proxy/server.h"

#define HCM_CONN_MAGIC 0x48434d43u
#define EXCHANGE_MAGIC 0x45584348u

/* Of filters that keep something per connection. */
struct connection_data {
    struct connection_data *next;
    const void *key;
    size_t size;
    char bytes[] __attribute__((aligned(16)));
};
struct hcm_conn {
    uint32_t magic;
    uint32_t active;                  /* exchanges running */
    const struct hcm_config *config;  /* kept alive by the listener that the downstream holds */
    struct downstream *downstream;
    struct http_server_conn *server;
    struct list exchanges;
    uint64_t requests;
    uint32_t lost;                    /* exchanges that ended with the connection */
    bool counted_protocol;
    bool is_tls;
    enum http_protocol protocol;
    struct connection_data *data;
    struct deferred deferred;
};

/* Where one direction stands at one filter. */
enum hop_state { HOP_OPEN, HOP_STOPPED, HOP_STOPPED_ALL_BUFFER, HOP_STOPPED_ALL_WATERMARK };
struct hop {
    uint8_t state;       /* enum hop_state */
    bool saw_headers;    /* the filter was given the headers */
    bool passed_headers; /* and let them go on */
    bool passed_end;
    bool overfull;       /* this hop pauses the sender */
    bool has_trailers;   /* trailers wait here */
    bool end;            /* the held bytes are the last */
    bool adds_trailers;  /* its filter has just put trailers behind the last bytes */
    struct buf held;
};
struct filter_slot {
    struct http_filter f;
    struct hop request, response;
};

struct kept_snapshot { /* held until the exchange is over */
    struct kept_snapshot *next;
    struct snapshot *snapshot;
};
struct rehearsal; /* hcm/rehearsal.h */
struct exchange {
    struct http_sink sink; /* of the downstream stream */
    uint32_t magic;
    struct list node;
    struct hcm_conn *hc;
    const struct hcm_config *config;
    struct http_stream *down; /* NULL once closed */
    struct loop *loop;
    struct arena *arena;

    struct headers *request, *request_trailers;
    struct headers *response, *response_trailers;
    struct filter_slot *slots;
    uint32_t slot_count;

    const struct route_snapshot *routes; /* what the decision was made with; NULL: not looked at, or none there */
    struct kept_snapshot *kept;
    struct route_decision decision;
    struct cluster_worker *here;      /* of the decision's cluster; held, so that logs and filters may look at it to the end */
    bool route_known;
    uint64_t random;

    bool request_end;      /* last byte of the request seen */
    bool response_started; /* headers went to the stream */
    bool response_end;     /* all of the response went to the stream */
    bool local_reply;      /* ours; the terminal filter is out of the game */
    bool in_local_reply;
    bool is_grpc, is_head, is_upgrade, is_connect;
    bool finished;
    bool request_id_made;
    uint32_t request_pauses;
    uint64_t body_limit_bytes;
    uint64_t stream_idle_us;

    struct format_context format;
    struct timer idle_timer, request_timer, duration_timer;
    struct str local_body; /* for %LOCAL_REPLY_BODY% */
    struct str decorator;  /* the route's name for the operation, still to be told */
    struct rehearsal *rehearsal;   /* nobody sent this request: answers are noted, nothing is timed; NULL */
    struct stream_info info;
};

/* hcm/hcm.c */
void hcm_count_response(const struct hcm_conn *hc, unsigned status);

/* hcm/exchange.c */
struct exchange *exchange_new(struct hcm_conn *hc, struct http_stream *s);
const struct route_config_spec *exchange_route_spec(struct exchange *x); /* decision.c: the scope's, or the one there is; NULL */
bool exchange_keep(struct exchange *x, struct snapshot *s); /* decision.c: to its end; idempotent; false: no memory */
void exchange_release(struct exchange *x);                  /* all that it keeps */
bool exchange_filter_is_off(struct exchange *x, uint32_t index); /* decision.c: by its place in the chain's configuration */
void exchange_begin_record(struct exchange *x); /* explain/record.h; where the configuration lets requests ask for one */
void exchange_touch(struct exchange *x); /* restarts the idle timer */
void exchange_note_connection(struct exchange *x); /* into info: what the connection tells */
void exchange_settle(struct exchange *x);  /* completes filters and info: logged, destroyed */
void exchange_end_with(struct exchange *x, const struct outcome *o);

/* hcm/durations.c: max_stream_duration as the route says it. */
void duration_settle(struct exchange *x);
/* hcm/tracing.c; only where tracing is configured. The last one only where there is a span. */
void tracing_begin(struct exchange *x);
void tracing_on_response(struct exchange *x, struct headers *h);
void tracing_end(struct exchange *x);
/* hcm/misdirected.c: the request's authority belongs to another filter chain of the listener (RFC 9110 section 15.5.20). */
bool request_is_misdirected(const struct exchange *x);

/* hcm/chain.c */
void chain_init(struct exchange *x);
void chain_destroy(struct exchange *x);
void chain_complete(struct exchange *x);
void chain_request_headers(struct exchange *x, bool end);
void chain_request_data(struct exchange *x, struct buf *data, bool end);
void chain_request_trailers(struct exchange *x);
void chain_response_headers(struct exchange *x, uint32_t from, bool end);
void chain_response_data(struct exchange *x, uint32_t from, struct buf *data, bool end);
bool chain_response_was_seen(const struct exchange *x); /* by any filter */
void chain_downstream_watermark(struct exchange *x, bool above);

/* hcm/ingress.c: what the connection manager does to a request before the filters see it. False: it has been answered. */
bool ingress_prepare(struct exchange *x);
void ingress_note_kind(struct exchange *x); /* its first step: gRPC, CONNECT, upgrade, HEAD */
bool ingress_shape(struct exchange *x);     /* and the last one, behind what overload says */
/* hcm/rehearsal.c: an answer to a rehearsed request. */
void rehearsal_note(struct exchange *x, const struct outcome *o, unsigned status, struct str body, struct str details,
                    void (*edit)(struct headers *h, void *arg), void *arg);
/* hcm/egress.c: and to a response before the codec does. */
void egress_prepare(struct exchange *x, struct headers *h);
void via_append(struct exchange *x, struct headers *h); /* both ways; ", " between hops */
struct str http_date_now(struct loop *loop); /* this thread's text, changes every second: copy it */
/* hcm/overload.c */
bool overload_refuses_request(struct exchange *x);
void overload_end_keepalive(struct exchange *x);
uint64_t hcm_idle_us(uint64_t us);
/* hcm/xfcc.c */
void xfcc_apply(struct exchange *x);
/* hcm/client_address.c: x-forwarded-for and who is internal. False: refused by an ip detection extension. */
bool client_address_apply(struct exchange *x);
void client_address_init(void); /* main thread, before the first request */
/* hcm/local_reply.c */
void local_reply_rewrite(struct exchange *x, unsigned *status, struct str *body, struct str *content_type,
                         struct headers *h);

/* the stream's end of the chain, exchange.c */
void exchange_send_headers(struct exchange *x, struct headers *h, bool end);
void exchange_send_data(struct exchange *x, struct buf *data, bool end);
void exchange_send_trailers(struct exchange *x, struct headers *h);

#endif
