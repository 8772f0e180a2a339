/* SPDX-License-Identifier: Apache-2.0
 *
 * envoy.filters.network.echo: writes back what it reads. On the connection's worker. What a slow reader doesn't take back
 * stops the reading.
 */
#include "proxy/filter/simple_network_filters.h"
#include "proxy/listener/listener.h"

#define CLOSE_LINGER_MS 1000

static void over(struct downstream *d, bool local, enum conn_close why)
{
    d->terminal_state = NULL;
    downstream_closed(d, local, why);
}

static void on_nothing(struct conn *c, void *user)
{
    (void)c, (void)user;
}

static void on_data(struct conn *c, void *user)
{
    (void)user;
    buf_move(conn_out(c), conn_in(c));
    conn_flush_later(c);
}

static void on_end(struct conn *c, void *user)
{
    over(user, false, CONN_CLOSE_REMOTE_EOF);
    conn_set_handler(c, NULL, NULL);
    conn_close_flushed(c, CLOSE_LINGER_MS);
}

static void on_closed(struct conn *c, void *user, enum conn_close why)
{
    (void)c;
    over(user, false, why);
}

static void on_above(struct conn *c, void *user)
{
    (void)user;
    conn_read_pause(c);
}

static void on_below(struct conn *c, void *user)
{
    (void)user;
    conn_read_resume(c);
}

static const struct conn_handler handler = {
    .on_connected = on_nothing,
    .on_data = on_data,
    .on_end = on_end,
    .on_closed = on_closed,
    .on_above_watermark = on_above,
    .on_below_watermark = on_below,
};

static void attach(struct downstream *d, const void *config)
{
    (void)config;
    d->terminal_state = d;
    conn_set_watermark(d->conn, d->listener->spec->buffer_limit_bytes);
    conn_set_handler(d->conn, &handler, d);
    if (conn_in(d->conn)->len) /* what inspectors have read */
        on_data(d->conn, d);
}

static void close_now(struct downstream *d)
{
    struct conn *c = d->conn;
    if (!d->terminal_state)
        return;
    over(d, true, CONN_CLOSE_LOCAL);
    conn_set_handler(c, NULL, NULL);
    conn_close(c, CONN_CLOSE_LOCAL);
}

const struct network_filter_def echo_filter = {
    .name = "envoy.filters.network.echo",
    .is_terminal = true,
    .attach = attach,
    .close = close_now,
};
