/* SPDX-License-Identifier: Apache-2.0
 *
 * Room-private: one session of tcp_proxy. tcp_proxy.c joins it with a TCP connection, tcp_proxy_tunnel.c with an HTTP stream.
 */
#ifndef PROXY_FILTER_TCP_PROXY_PRIV_H
#define PROXY_FILTER_TCP_PROXY_PRIV_H

#include "base/check.h"
#include "io/splice.h"
#include "proxy/cluster/cluster.h"
#include "proxy/filter/tcp_proxy.h"
#include "proxy/lb/lb.h"
#include "proxy/listener/listener.h"

struct upstream_call;

#define SESSION_MAGIC 0x74637078u

struct tcp_session {
    uint32_t magic;
    struct downstream *d;
    const struct tcp_proxy_config *config;
    struct cluster *cluster;
    struct cluster_worker *here;      /* of the cluster; held */
    struct cluster_worker *view;      /* of the host's, held: another where the cluster is made of clusters */
    const struct metadata *metadata_match; /* of the target; the configuration's */
    struct host *host; /* of `up`, and of the last attempt */
    struct conn *up;
    struct upstream_call *call; /* instead of `up`: tcp_proxy_tunnel.c */
    struct splice_relay *relay;
    struct timer idle, life, flush_log, backoff;
    uint64_t idle_timeout_ms;
    struct str failure; /* transport failure of the last attempt; owned */
    uint64_t upstream_connect_us, connected_at_us;
    uint64_t counted_rx, counted_tx, buffered_rx, buffered_tx;
    uint32_t flags, attempts;
    bool is_connected, is_over, has_begun;
    bool down_ended, up_ended;
    struct deferred deferred;
};

/* Which side ended it. A side that is gone already must not be touched. */
enum ending { DOWN_GONE, UP_GONE, BOTH_ENDED, WE_CLOSE };

/* tcp_proxy.c */
void session_over(struct tcp_session *s, enum ending how, enum conn_close why);
void session_give_up(struct tcp_session *s, uint32_t flag);
void session_try_again(struct tcp_session *s); /* another attempt, perhaps after a while */
void session_connected(struct tcp_session *s); /* upstream is there: counts, logs, timers */
void session_active(struct tcp_session *s);    /* bytes have moved */

/* tcp_proxy_tunnel.c: CONNECT or POST over the cluster's HTTP. */
bool tcp_tunnel_is_wanted(const struct tcp_session *s);
void tcp_tunnel_connect(struct tcp_session *s, const struct lb_context *lb);
void tcp_tunnel_pass(struct tcp_session *s, bool end); /* what the client has sent */
void tcp_tunnel_leave(struct tcp_session *s);
size_t tcp_tunnel_queued(const struct tcp_session *s);
void tcp_tunnel_pause(struct tcp_session *s, bool on);

#endif
