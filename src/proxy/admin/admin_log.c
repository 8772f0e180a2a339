/* SPDX-License-Identifier: Apache-2.0
 *
 * The admin server's own access logs (admin.access_log). Requests are few: each line is written at
 * once, from the main thread's buffer. Runs when the answer is ready, before it is sent.
 */
#include "http/server.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/config/bootstrap.h"
#include "proxy/log/access_log.h"
#include "proxy/log/log_file.h"

void admin_log(const struct admin_request *rq, struct http_server_conn *c, const struct headers *request,
               const struct headers *response, uint64_t start_us, uint64_t start_wall_us)
{
    const struct config_admin *cfg = rq->server->opts.config ? &rq->server->opts.config->admin : NULL;
    if (!cfg || !cfg->access_log_count)
        return;
    struct conn *conn = http_server_conn_conn(c);
    struct stream_info info = {
        .start_us = start_us,
        .start_wall_us = start_wall_us,
        .request_end_us = loop_now_us(conn_loop(conn)),
        .end_us = loop_now_us(conn_loop(conn)),
        .status = (uint16_t)rq->status,
        .details = STR("admin_filter_response"),
        .bytes_received = rq->body_bytes,
        .bytes_sent = rq->body.n + rq->long_body.len,
        .protocol = http_server_conn_protocol(c),
        .has_protocol = true,
        .downstream = conn,
        .connection_id = conn_id(conn),
        .downstream_remote = conn_remote(conn),
        .downstream_direct_remote = conn_direct_remote(conn),
        .downstream_local = conn_local(conn),
    };
    struct format_context cx = {.info = &info, .request = request, .response = response, .log_type = "DownstreamEnd"};
    for (uint32_t i = 0; i < cfg->access_log_count; i++)
        access_log_write(cfg->access_logs[i], &cx);
    log_file_flush_here();
}
