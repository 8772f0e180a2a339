/* SPDX-License-Identifier: Apache-2.0
 *
 * envoy.filters.network.direct_response: says one thing and closes. On the connection's worker; the text is the
 * configuration's and is copied, since the connection may outlive it while it lingers.
 */
#include "proxy/filter/simple_network_filters.h"

#define CLOSE_LINGER_MS 1000

static void attach(struct downstream *d, const void *config)
{
    const struct direct_response_config *c = config;
    struct conn *conn = d->conn;
    buf_append_str(conn_out(conn), c->text);
    conn_flush_later(conn);
    downstream_closed(d, true, CONN_CLOSE_LOCAL);
    conn_set_handler(conn, NULL, NULL);
    conn_close_delayed(conn, CLOSE_LINGER_MS);
}

const struct network_filter_def direct_response_filter = {
    .name = "envoy.filters.network.direct_response",
    .is_terminal = true,
    .attach = attach,
};
