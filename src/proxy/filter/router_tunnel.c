/* SPDX-License-Identifier: Apache-2.0
 *
 * CONNECT that ends here (RouteAction upgrade_configs CONNECT with connect_config): the request's
 * body goes to a TCP connection of the cluster as it is, and back (RFC 9110 section 9.3.6). Half-close
 * is carried both ways; back-pressure as everywhere.
 */
#include "base/check.h"
#include "proxy/filter/router_priv.h"

struct tunnel {
    struct router *router;
    struct conn *conn;
    struct host *host;
    bool connected, sent_end, got_end, above;
};

static void finish(struct tunnel *t, enum conn_close why)
{
    struct router *r = t->router;
    if (!t->conn)
        return;
    cluster_tcp_closed(r->here, t->host, t->conn, t->connected, why);
    t->conn = NULL;
    host_unref(&t->host);
}

static void on_connected(struct conn *c, void *user)
{
    struct tunnel *t = user;
    struct router *r = t->router;
    struct arena *a = exchange_arena(r->x);
    struct headers *h = arena_zalloc(a, sizeof(*h));
    t->connected = true;
    if (!h) {
        exchange_reset(r->x, OUTCOME(INTERNAL));
        return;
    }
    headers_init(h, a);
    headers_add_id_ref(h, HDR_STATUS, STR("200"));
    exchange_info(r->x)->details = str_from(OUTCOME(VIA_UPSTREAM)->details);
    exchange_info(r->x)->upstream_connection_id = conn_id(c);
    router_note_status(r, 200);
    if (r->pending.len) {
        buf_move(conn_out(c), &r->pending);
        conn_flush_later(c);
    }
    if (t->sent_end)
        conn_shutdown_write(c);
    if (r->paused_downstream) {
        r->paused_downstream = false;
        exchange_pause_request(r->x, false);
    }
    exchange_respond_headers(r->x, h, false);
}

static void on_data(struct conn *c, void *user)
{
    struct tunnel *t = user;
    struct buf data = BUF_INIT;
    buf_move(&data, conn_in(c));
    exchange_respond_data(t->router->x, &data, false);
    buf_fini(&data);
}

static void close_when_both_ended(struct tunnel *t)
{
    if (t->conn && t->got_end && t->sent_end) {
        struct conn *c = t->conn;
        finish(t, CONN_CLOSE_REMOTE_EOF);
        conn_close_delayed(c, 1000);
    }
}

static void on_end(struct conn *c, void *user)
{
    (void)c;
    struct tunnel *t = user;
    struct buf none = BUF_INIT;
    t->got_end = true;
    t->router->done = t->sent_end;
    close_when_both_ended(t);
    exchange_respond_data(t->router->x, &none, true);
}

static void on_closed(struct conn *c, void *user, enum conn_close why)
{
    struct tunnel *t = user;
    struct router *r = t->router;
    bool connected = t->connected;
    const char *text = conn_failure_text(c);
    finish(t, why);
    router_on_failed(r, connected ? STREAM_TERMINATED
                        : why == CONN_CLOSE_CONNECT_TIMEOUT ? STREAM_CONNECT_TIMEOUT : STREAM_CONNECT_FAILED,
                     text, false);
}

static void on_above(struct conn *c, void *user)
{
    (void)c;
    struct tunnel *t = user;
    t->above = true;
    exchange_pause_request(t->router->x, true);
}

static void on_below(struct conn *c, void *user)
{
    (void)c;
    struct tunnel *t = user;
    t->above = false;
    exchange_pause_request(t->router->x, false);
}

static const struct conn_handler handler = {
    .on_connected = on_connected,
    .on_data = on_data,
    .on_end = on_end,
    .on_closed = on_closed,
    .on_above_watermark = on_above,
    .on_below_watermark = on_below,
};

void tunnel_start(struct router *r)
{
    struct stream_info *info = exchange_info(r->x);
    struct lb_context cx = {.request = exchange_request_headers(r->x),
                            .downstream_remote = info->downstream_remote,
                            .downstream_local = info->downstream_local,
                            .rng = loop_rng(exchange_loop(r->x))};
    struct tunnel *t = arena_zalloc(exchange_arena(r->x), sizeof(*t));
    struct host *host = cluster_pick(r->here, &cx);
    if (!host || !t) {
        host_unref(&host);
        router_on_no_host(r);
        return;
    }
    t->router = r;
    t->host = host;
    info->host = host_ref(host);
    info->attempts++;
    t->conn = cluster_connect_tcp(r->here, host, info->downstream, &handler, t);
    if (!t->conn) {
        host_unref(&t->host);
        router_on_overflow(r);
        return;
    }
    r->tunnel = t;
}

void tunnel_data(struct router *r, struct buf *data, bool end)
{
    struct tunnel *t = r->tunnel;
    t->sent_end |= end;
    if (!t->conn || !t->connected) {
        buf_move(&r->pending, data);
        if (!r->paused_downstream && r->pending.len > exchange_body_limit_bytes(r->x)) {
            r->paused_downstream = true;
            exchange_pause_request(r->x, true);
        }
        return;
    }
    buf_move(conn_out(t->conn), data);
    conn_flush_later(t->conn);
    if (end)
        conn_shutdown_write(t->conn);
    close_when_both_ended(t);
}

void tunnel_pause(struct router *r, bool on)
{
    struct tunnel *t = r->tunnel;
    if (!t->conn)
        return;
    if (on)
        conn_read_pause(t->conn);
    else
        conn_read_resume(t->conn);
}

void tunnel_abandon(struct router *r)
{
    struct tunnel *t = r->tunnel;
    if (t->conn) {
        struct conn *c = t->conn;
        finish(t, CONN_CLOSE_LOCAL);
        conn_close(c, CONN_CLOSE_LOCAL);
    }
    r->tunnel = NULL;
}
