/* SPDX-License-Identifier: Apache-2.0
 *
 * What the checker and its kinds of probes share. Main thread.
 */
#ifndef PROXY_HEALTH_HEALTH_PRIV_H
#define PROXY_HEALTH_HEALTH_PRIV_H

#include "proxy/cluster/cluster_priv.h"
#include "proxy/health/health_check.h"

enum health_failure { HEALTH_ACTIVE, HEALTH_PASSIVE, HEALTH_NETWORK, HEALTH_NETWORK_TIMEOUT };

/* One kind of question. `start` sends it (connecting first where needed); it ends by health_passed or health_failed, once,
 * perhaps from inside `start`. `stop` gives up what is under way without a word: the time is over, or the host is gone
 * (then `forget`: connections go as well). */
struct health_probe {
    void (*start)(struct health_session *s);
    void (*stop)(struct health_session *s, bool forget);
};
extern const struct health_probe health_http_probe, health_tcp_probe, health_grpc_probe;

struct health_session {
    struct list node;            /* the checker's */
    struct health_checker *checker;
    struct host *host;           /* referenced */
    struct timer interval, timeout;
    uint32_t healthy_row, unhealthy_row;
    bool first;                  /* no result yet */
    bool asking;
    bool gone;
    struct deferred deferred;

    /* the probe's */
    struct http_client_conn *client;
    struct http_stream *stream;
    struct http_sink sink;
    const struct health_answer *answer;
    struct conn *conn;           /* TCP */
    struct arena arena;          /* of one question */
    bool has_arena;
    bool is_ready, leaving;      /* the client takes a stream; it must not be used again */
    unsigned status;
    bool is_complete, degraded, immediate_fail, verified, wrong_service, is_grpc, has_grpc_status;
    uint32_t grpc_status;
    struct strbuf received;
};

struct health_checker {
    struct cluster *cluster;     /* its owner */
    const struct health_spec *spec;
    const struct health_probe *probe;
    struct stat_scope *stats;
    struct event_log **logs; uint32_t log_count;
    struct list sessions;
    uint32_t unknown;            /* sessions without a result */
    uint32_t healthy, degraded;
    void (*on_known)(void *arg);
    void *on_known_arg;
};

void health_count_verified(struct health_session *s);
void health_passed(struct health_session *s, bool degraded);
void health_failed(struct health_session *s, enum health_failure why, bool retriable);
/* A connection for the session, TLS as the cluster's, with `alpn` offered unless the check brings its own. */
const struct transport_socket_spec *health_transport(const struct health_session *s);
struct conn *health_connect(struct health_session *s, const struct str *alpn, uint32_t alpn_count, struct str first_bytes,
                            const struct conn_handler *handler, void *user);

/* What a kind of question over HTTP makes of the answer. */
struct health_answer {
    void (*on_headers)(struct health_session *s, const struct headers *h, bool end); /* s->status is known */
    size_t (*bytes_max)(const struct health_session *s);                            /* how much of the body is kept */
    void (*on_trailers)(struct health_session *s, const struct headers *h);          /* NULL: they say nothing */
    void (*judge)(struct health_session *s);                                        /* it is whole: passed or failed */
};
/* health_http.c, for gRPC too: opens a stream on the session's (possibly new) connection and sends. */
void health_http_ask(struct health_session *s, const struct health_answer *answer);
void health_http_stop(struct health_session *s, bool forget);
/* Keeps the first `most` bytes of an answer, drops the rest. */
void health_http_keep(struct health_session *s, struct buf *data, size_t most);
bool health_grpc_is_serving(struct str answer); /* a length-prefixed HealthCheckResponse */

/* health_log.c */
enum health_event { HEALTH_EVENT_ADD, HEALTH_EVENT_EJECT, HEALTH_EVENT_FAILURE, HEALTH_EVENT_SUCCESS, HEALTH_EVENT_DEGRADED,
                    HEALTH_EVENT_NOT_DEGRADED };
void health_log(const struct health_session *s, enum health_event event, enum health_failure why);

#endif
