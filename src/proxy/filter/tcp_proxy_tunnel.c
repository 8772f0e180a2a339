/* SPDX-License-Identifier: Apache-2.0
 *
 * tcp_proxy over HTTP: the client's bytes are the body of a CONNECT or POST to the cluster, the answer's body comes back. On the
 * downstream's worker. Until a 2xx has come the client isn't read; any other answer is a failed attempt. When the upstream's
 * side ends the session ends, once the client has been given all. Back-pressure: a client that reads slowly stops the stream, a
 * stream that takes nothing stops the client.
 */
#include "base/mem.h"
#include "proxy/cluster/upstream_call.h"
#include "proxy/filter/simple_network_filters.h"
#include "proxy/filter/tcp_proxy_priv.h"
#include "proxy/log/access_log.h"

#define TUNNEL_HEADERS_BYTES 65536
#define TUNNEL_BODY_BYTES (16u << 20) /* never reached: reading stops at the connection's watermark */

static struct tcp_session *of(void *user)
{
    return OBJECT(tcp_session, SESSION_MAGIC, user);
}

bool tcp_tunnel_is_wanted(const struct tcp_session *s)
{
    const struct filter_state_entry *off = filter_state_find(&s->d->filter_state, STR("envoy.tcp_proxy.disable_tunneling"));
    return s->config->tunnel && !(off && str_eq(off->value, STR("true")));
}

/* ---- the answer ---- */

static void failed(struct tcp_session *s, uint32_t flag)
{
    upstream_call_cancel(&s->call);
    s->flags |= flag;
    session_try_again(s);
}

static void on_headers(void *user, struct headers *h, bool end)
{
    struct tcp_session *s = of(user);
    uint64_t status = 0;
    str_to_u64(headers_get_id(h, HDR_STATUS), &status);
    if (status / 100 != 2 || end) {
        failed(s, FLAG_UF);
        return;
    }
    session_connected(s);
    conn_read_resume(s->d->conn);
    if (conn_in(s->d->conn)->len || s->down_ended)
        tcp_tunnel_pass(s, s->down_ended);
}

static void on_data(void *user, struct buf *data, bool end)
{
    (void)end; /* on_done follows */
    struct tcp_session *s = of(user);
    buf_move(conn_out(s->d->conn), data);
    conn_flush_later(s->d->conn);
    session_active(s);
}

static void on_done(void *user, enum stream_reset why, const char *details)
{
    struct tcp_session *s = of(user);
    s->call = NULL;
    if (s->is_connected) {
        session_over(s, UP_GONE, why == STREAM_OK ? CONN_CLOSE_REMOTE_EOF : CONN_CLOSE_LOCAL);
        return;
    }
    str_free(&s->failure);
    s->failure = details && *details ? str_from(mem_strdup(details)) : STR_NULL;
    failed(s, why == STREAM_OVERFLOW ? FLAG_UO : FLAG_UF);
}

static void on_watermark(void *user, bool above)
{
    struct tcp_session *s = of(user);
    if (!s->is_connected)
        return;
    if (above) {
        conn_read_pause(s->d->conn);
        stat_inc(s->config->stats, STAT_TCP_FLOW_PAUSED);
    } else {
        conn_read_resume(s->d->conn);
        stat_inc(s->config->stats, STAT_TCP_FLOW_RESUMED);
    }
}

static const struct upstream_call_handler handler = {
    .on_headers = on_headers, .on_data = on_data, .on_done = on_done, .on_watermark = on_watermark};

/* ---- the request ---- */

static void build_request(const struct tcp_session *s, struct arena *a, struct headers *h)
{
    const struct tcp_tunnel_config *t = s->config->tunnel;
    struct stream_info info;
    struct strbuf host = {0};
    downstream_describe(s->d, &info);
    struct format_context cx = {.info = &info, .log_type = "NotSet"};
    format_run(t->hostname, &cx, &host);
    headers_init(h, a);
    headers_add_id_ref(h, HDR_METHOD, t->use_post ? STR("POST") : STR("CONNECT"));
    headers_set_id(h, HDR_AUTHORITY, strbuf_str(&host));
    if (t->use_post) {
        headers_add_id_ref(h, HDR_PATH, t->post_path);
        headers_add_id_ref(h, HDR_SCHEME, STR("http"));
    }
    header_rules_apply(&t->headers, h, &cx, a);
    strbuf_fini(&host);
}

void tcp_tunnel_connect(struct tcp_session *s, const struct lb_context *lb)
{
    struct arena a;
    struct headers h;
    enum stream_reset why = STREAM_OK;
    arena_init(&a, TUNNEL_HEADERS_BYTES);
    build_request(s, &a, &h);
    const struct upstream_call_opts o = {.cluster = s->cluster, .body_limit_bytes = TUNNEL_BODY_BYTES, .lb = lb};
    s->call = upstream_call_start(&o, &h, NULL, false, &handler, s, &why);
    arena_fini(&a);
    if (!s->call)
        session_give_up(s, why == STREAM_OVERFLOW ? FLAG_UO : FLAG_UH);
    else if (upstream_call_host(s->call))
        s->host = host_ref(upstream_call_host(s->call));
}

void tcp_tunnel_pass(struct tcp_session *s, bool end)
{
    upstream_call_send(s->call, conn_in(s->d->conn), end);
    session_active(s);
}

void tcp_tunnel_leave(struct tcp_session *s)
{
    upstream_call_cancel(&s->call);
}

size_t tcp_tunnel_queued(const struct tcp_session *s)
{
    return s->call ? upstream_call_queued(s->call) : 0;
}

void tcp_tunnel_pause(struct tcp_session *s, bool on)
{
    upstream_call_pause(s->call, on);
}
