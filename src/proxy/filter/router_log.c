/* SPDX-License-Identifier: Apache-2.0
 *
 * Access logs of attempts (Envoy: router filter's upstream_log): a line each, with what is the attempt's own in the
 * place of the exchange's: host, connection, status, flags, times. The exchange's info stays as it is.
 */
#include "proxy/filter/router_priv.h"
#include "proxy/log/access_log.h"

void attempt_info(const struct upstream_try *t, struct stream_info *out)
{
    struct router *r = t->router;
    struct stream_info info = *exchange_info(r->x);
    uint64_t now = loop_now_us(exchange_loop(r->x));
    info.start_wall_us += t->start_us - info.start_us;
    info.start_us = t->start_us;
    info.end_us = now;
    info.status = t->status;
    info.flags = t->flags;
    info.host = t->host;
    info.details = t->status ? str_from(OUTCOME(VIA_UPSTREAM)->details) : STR_NULL;
    info.upstream_first_tx_us = t->first_tx_us;
    if (!t->status)
        info.upstream_first_rx_us = info.upstream_last_rx_us = 0;
    *out = info;
}

void log_attempt(struct upstream_try *t, const char *log_type)
{
    struct router *r = t->router;
    struct stream_info info;
    attempt_info(t, &info);
    struct format_context cx = {
        .info = &info,
        .request = exchange_request_headers(r->x),
        .response = t->response,
        .trailers = t->trailers,
        .log_type = log_type,
    };
    for (uint32_t i = 0; i < r->config->upstream_log_count; i++)
        access_log_write(r->config->upstream_logs[i], &cx);
}
