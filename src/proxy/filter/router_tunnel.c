/* SPDX-License-Identifier: Apache-2.0
 *
 * CONNECT that ends here (RouteAction upgrade_configs CONNECT with connect_config): the request's
 * body goes to a TCP connection of the cluster as it is, and back (RFC 9110 section 9.3.6). Half-close
 * is carried both ways; back-pressure as everywhere.
 */
#include "base/check.h"
#include "proxy/filter/router_priv.h"

struct tunnel {
    struct upstream_try attempt; /* host and router of it; it has no stream */
    struct conn *conn;
    bool connected, got_end;
};

static void finish(struct tunnel *t, enum conn_close why)
{
    if (!t->conn)
        return;
    cluster_tcp_closed(t->attempt.view, t->attempt.host, t->conn, t->connected, why);
    t->conn = NULL;
}

static void on_connected(struct conn *c, void *user)
{
    struct tunnel *t = user;
    struct router *r = t->attempt.router;
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
    stats_code(r, 200, false, t->attempt.host);
    if (r->body.len) {
        buf_move(conn_out(c), &r->body);
        conn_flush_later(c);
    }
    if (r->request_end)
        conn_shutdown_write(c);
    if (r->paused_downstream) {
        r->paused_downstream = false;
        exchange_pause_request(r->x, false);
    }
    route_edit_response(r->decision, h, exchange_format_context(r->x), a);
    exchange_respond_headers(r->x, h, false);
}

static void on_data(struct conn *c, void *user)
{
    struct tunnel *t = user;
    struct buf data = BUF_INIT;
    buf_move(&data, conn_in(c));
    exchange_respond_data(t->attempt.router->x, &data, false);
    buf_fini(&data);
}

static void close_when_both_ended(struct tunnel *t)
{
    if (t->conn && t->got_end && t->attempt.router->request_end) {
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
    struct router *r = t->attempt.router;
    t->got_end = true;
    r->done = r->request_end;
    close_when_both_ended(t);
    exchange_respond_data(r->x, &none, true);
}

static void on_closed(struct conn *c, void *user, enum conn_close why)
{
    struct tunnel *t = user;
    struct router *r = t->attempt.router;
    bool connected = t->connected, late = why == CONN_CLOSE_CONNECT_TIMEOUT;
    const char *text = conn_failure_text(c);
    finish(t, why);
    r->tunnel = NULL;
    stats_report(r, &t->attempt, connected ? HOST_RESET : late ? HOST_CONNECT_TIMEOUT : HOST_CONNECT_FAILED, 0, NULL);
    router_on_failed(&t->attempt, connected ? STREAM_TERMINATED : late ? STREAM_CONNECT_TIMEOUT : STREAM_CONNECT_FAILED, text,
                     false);
    host_unref(&t->attempt.host);
}

static void on_above(struct conn *c, void *user)
{
    (void)c;
    struct tunnel *t = user;
    exchange_pause_request(t->attempt.router->x, true);
}

static void on_below(struct conn *c, void *user)
{
    (void)c;
    struct tunnel *t = user;
    exchange_pause_request(t->attempt.router->x, false);
}

static const struct conn_handler handler = {
    .on_connected = on_connected,
    .on_data = on_data,
    .on_end = on_end,
    .on_closed = on_closed,
    .on_above_watermark = on_above,
    .on_below_watermark = on_below,
};

void connect_start(struct router *r)
{
    struct stream_info *info = exchange_info(r->x);
    struct tunnel *t = arena_zalloc(exchange_arena(r->x), sizeof(*t));
    if (!t) {
        router_on_no_memory(r);
        return;
    }
    list_init(&t->attempt.node);
    t->attempt.router = r;
    t->attempt.next = r->all_tries;
    r->all_tries = &t->attempt;
    if (!try_pick(&t->attempt)) {
        router_on_no_host(r);
        return;
    }
    try_show(&t->attempt);
    t->conn = cluster_connect_tcp(t->attempt.view, t->attempt.host, info->downstream, info->original_source, &handler, t);
    if (!t->conn) {
        router_on_failed(&t->attempt, STREAM_OVERFLOW, "", false);
        host_unref(&t->attempt.host);
        return;
    }
    r->tunnel = t;
}

void connect_data(struct router *r, struct buf *data, bool end)
{
    struct tunnel *t = r->tunnel;
    r->request_end |= end;
    if (!t || !t->conn || !t->connected) {
        buf_move(&r->body, data);
        if (!r->paused_downstream && r->body.len > exchange_body_limit_bytes(r->x)) {
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

void connect_pause(struct router *r, bool on)
{
    struct tunnel *t = r->tunnel;
    if (!t->conn)
        return;
    if (on)
        conn_read_pause(t->conn);
    else
        conn_read_resume(t->conn);
}

void connect_abandon(struct router *r)
{
    struct tunnel *t = r->tunnel;
    if (t->conn) {
        struct conn *c = t->conn;
        finish(t, CONN_CLOSE_LOCAL);
        conn_close(c, CONN_CLOSE_LOCAL);
    }
    host_unref(&t->attempt.host);
    r->tunnel = NULL;
}
