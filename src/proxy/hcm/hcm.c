/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP connection manager as a network filter: takes a downstream connection over, gives it a
 * server codec, makes an exchange of every stream, keeps the connection's statistics, drains and
 * closes. One hcm_conn a connection, on its worker.
 */
#include "base/mem.h"
#include "proxy/config/bootstrap.h"
#include "proxy/hcm/exchange.h"
#include "proxy/filter/filter_source.h"
#include "proxy/route/scope_source.h"
#include "proxy/overload/overload.h"
#include "proxy/warm.h"
#include "proxy/stats/h2_stats.h"
#include "proxy/trace/tracer.h"

static const struct stat_desc hcm_rows[] = {HCM_STATS(STAT_DESC_ROW)};
static const struct stat_table hcm_table = {hcm_rows, ARRAY_LEN(hcm_rows)};

/* The same answers again for each listener: listener.<address>.http.<prefix>. (Envoy: listener HTTP statistics). */
#define LISTENER_HTTP_STATS(X)                                                                                         \
    X(LH_COMPLETED, COUNTER, NONE, "downstream_rq_completed", "Responses")                                             \
    X(LH_1XX, COUNTER, NONE, "downstream_rq_1xx", "") X(LH_2XX, COUNTER, NONE, "downstream_rq_2xx", "")                \
    X(LH_3XX, COUNTER, NONE, "downstream_rq_3xx", "") X(LH_4XX, COUNTER, NONE, "downstream_rq_4xx", "")                \
    X(LH_5XX, COUNTER, NONE, "downstream_rq_5xx", "")
enum listener_http_stat {
    LISTENER_HTTP_STATS(STAT_ENUM_ROW)
};
static const struct stat_desc listener_http_rows[] = {LISTENER_HTTP_STATS(STAT_DESC_ROW)};
static const struct stat_table listener_http_table = {listener_http_rows, ARRAY_LEN(listener_http_rows)};

void hcm_count_response(const struct hcm_conn *hc, unsigned status)
{
    struct stat_scope *s = hc->config->stats, *l = hc->config->listener_stats;
    if (!status)
        return;
    stat_inc(s, STAT_HCM_RQ_COMPLETED);
    stat_inc(l, STAT_LH_COMPLETED);
    if (status < 100 || status > 599)
        return;
    stat_inc(s, STAT_HCM_RQ_1XX + status / 100 - 1);
    stat_inc(l, STAT_LH_1XX + status / 100 - 1);
}

static struct stat_scope *listener_scope(const struct hcm_config *c, const struct listener_spec *l)
{
    char listener[ADDR_TEXT_BYTES];
    struct strbuf prefix = {0};
    struct str name = listener_stat_name(l, listener);
    strbuf_addf(&prefix, "listener.%.*s.http.%.*s.", STR_ARG(name), STR_ARG(c->stat_prefix));
    struct stat_tag tags[] = {{STR("envoy.listener_address"), name},
                              {STR("envoy.http_conn_manager_prefix"), c->stat_prefix}};
    struct stat_scope *s = stat_scope_get(strbuf_str(&prefix), &listener_http_table, STR("listener.http."), tags, 2);
    strbuf_fini(&prefix);
    return s;
}

static void link_routes(struct hcm_config *c, struct link_context *cx)
{
    struct route_snapshot *fixed = route_source_now(c->routes);
    if (fixed)
        route_config_link(fixed->spec);
    for (uint32_t i = 0; c->scopes && i < c->scopes->count; i++) {
        struct route_scope *scope = &c->scopes->items[i];
        if (scope->rds_name.n)
            scope->routes = route_source_get(c->scopes->rds, scope->rds_name, c->stat_prefix, cx->server->opts.config->frame);
        else
            route_config_link(route_source_now(scope->routes)->spec);
    }
    if (c->scopes && c->scopes->srds.source)
        c->scopes->dynamic = scope_source_get(c->scopes->srds.source, c->scopes->rds, c->scopes->srds.name, c->stat_prefix,
                                              cx->server->opts.config->frame);
    if (!c->rds.source)
        return;
    c->routes = route_source_get(c->rds.source, c->rds.name, c->stat_prefix, cx->server->opts.config->frame);
}

/* Each listener that has this configuration waits for itself. */
static void wait_for_parts(const struct hcm_config *c, struct link_context *cx)
{
    for (uint32_t i = 0; i < c->filter_count; i++)
        if (c->filters[i].dynamic)
            filter_source_wait(c->filters[i].dynamic, cx->warm);
    for (uint32_t i = 0; cx->warm && c->scopes && i < c->scopes->count; i++)
        warmth_wait(cx->warm, route_source_warm(c->scopes->items[i].routes));
    if (cx->warm && c->scopes && c->scopes->dynamic)
        warmth_wait(cx->warm, scope_source_warm(c->scopes->dynamic));
    if (cx->warm && c->routes)
        warmth_wait(cx->warm, route_source_warm(c->routes));
}

void hcm_config_link(struct hcm_config *c, struct link_context *cx)
{
    if (c->stats) {
        wait_for_parts(c, cx);
        return;
    }
    struct strbuf prefix = {0};
    strbuf_addz(&prefix, "http.");
    strbuf_adds(&prefix, c->stat_prefix);
    strbuf_addc(&prefix, '.');
    struct stat_tag tag = {STR("envoy.http_conn_manager_prefix"), c->stat_prefix};
    c->stats = stat_scope_get(strbuf_str(&prefix), &hcm_table, STR("http."), &tag, 1);
    c->listener_stats = listener_scope(c, cx->listener);
    c->server.idle_us = hcm_idle_us;
    c->h2_stats = h2_stats_downstream();
    client_address_init();
    c->explain_header = runtime_bool(STR("weft.explain.allow_header"), false);
    if (c->tracing)
        c->tracing->is_egress = cx->listener->is_outbound;
    for (uint32_t i = 0; i < c->filter_count; i++)
        if (c->filters[i].dynamic)
            filter_source_link(c->filters[i].dynamic, cx->server, c->stats);
        else if (c->filters[i].def->link)
            c->filters[i].def->link((void *)(uintptr_t)c->filters[i].config, c->stats);
    link_routes(c, cx);
    wait_for_parts(c, cx);
    strbuf_fini(&prefix);
}

static struct hcm_conn *of_user(void *user)
{
    return OBJECT(hcm_conn, HCM_CONN_MAGIC, user);
}

static struct stat_scope *stats_of(const struct hcm_conn *hc)
{
    return hc->config->stats;
}

/* ---- the codec's events ---- */

static void reset_without_memory(struct http_stream *s)
{
    static const struct http_sink_ops none_ops;
    static struct http_sink none = {&none_ops};
    s->sink = &none;
    stream_reset(s, STREAM_OVERFLOW);
}

static void on_stream(void *user, struct http_server_conn *c, struct http_stream *s)
{
    (void)c;
    struct hcm_conn *hc = of_user(user);
    struct exchange *x = exchange_new(hc, s);
    if (!x) {
        reset_without_memory(s);
        return;
    }
    s->sink = &x->sink;
}

static void on_codec(void *user, struct http_server_conn *c, enum http_protocol p)
{
    struct hcm_conn *hc = of_user(user);
    bool h2 = p == HTTP_2;
    hc->protocol = p;
    hc->counted_protocol = true;
    stat_inc(stats_of(hc), h2 ? STAT_HCM_CX_HTTP2_TOTAL : STAT_HCM_CX_HTTP1_TOTAL);
    stat_inc(stats_of(hc), h2 ? STAT_HCM_CX_HTTP2_ACTIVE : STAT_HCM_CX_HTTP1_ACTIVE);
    if (!hc->downstream->listener->spec->bypass_overload &&
        overload_hits(OVERLOAD_CREATING_CODEC, loop_rng(hc->downstream->worker->loop)))
        http_server_conn_close(c);
}

/* What a request that never became an exchange counts as: begun, reset by the client's fault, answered. */
static void count_refused(struct hcm_conn *hc, unsigned status)
{
    struct stat_scope *s = stats_of(hc);
    stat_inc(s, STAT_HCM_CX_PROTOCOL_ERROR);
    stat_inc(s, STAT_HCM_RQ_TOTAL);
    stat_inc(s, STAT_HCM_RQ_HTTP1_TOTAL);
    stat_inc(s, STAT_HCM_RQ_RX_RESET);
    hcm_count_response(hc, status);
}

/* The codec's own answer looks like every other of ours. */
static void local_reply(void *user, struct http_server_conn *c, unsigned status, const char *details,
                        struct headers *h, struct buf *body)
{
    (void)details;
    struct hcm_conn *hc = of_user(user);
    const struct hcm_config *cfg = hc->config;
    struct str reason = str_from(http_reason(status));
    char digits[20];
    buf_append_str(body, reason);
    headers_add(h, STR("content-length"), str_make(digits, u64_format(reason.n, digits)));
    headers_add_id_ref(h, HDR_CONTENT_TYPE, STR("text/plain"));
    headers_add(h, STR("date"), http_date_now(conn_loop(http_server_conn_conn(c))));
    if (cfg->server_header != SERVER_PASS_THROUGH)
        headers_add_id_ref(h, HDR_SERVER, cfg->server_name);
}

/* A message that never became an exchange still gets its line in the access log. */
static void on_protocol_error(void *user, struct http_server_conn *c, unsigned status, const char *details)
{
    struct hcm_conn *hc = of_user(user);
    const struct hcm_config *cfg = hc->config;
    struct conn *conn = http_server_conn_conn(c);
    struct stream_info info = {0};
    count_refused(hc, status);
    if (!cfg->access_log_count)
        return;
    info.start_us = info.end_us = loop_now_us(conn_loop(conn));
    info.start_wall_us = loop_wall_us(conn_loop(conn));
    info.has_protocol = true;
    info.protocol = hc->protocol;
    info.flags = FLAG_DPE;
    info.status = (uint16_t)status;
    info.details = str_from(details);
    info.downstream = conn;
    info.connection_id = conn_id(conn);
    info.downstream_remote = conn_remote(conn);
    info.downstream_direct_remote = conn_direct_remote(conn);
    info.downstream_local = conn_local(conn);
    info.requested_server_name = hc->downstream->server_name;
    info.filter_chain_name = hc->downstream->chain->name;
    struct format_context cx = {.info = &info, .log_type = "DownstreamEnd"};
    for (uint32_t i = 0; i < cfg->access_log_count; i++)
        access_log_write(cfg->access_logs[i], &cx);
}

static void on_idle_timeout(void *user, struct http_server_conn *c)
{
    (void)c;
    stat_inc(stats_of(of_user(user)), STAT_HCM_CX_IDLE_TIMEOUT);
}

static void on_limit(void *user, enum http_server_limit which)
{
    static const uint16_t rows[] = {
        [HTTP_LIMIT_AGE] = STAT_HCM_CX_MAX_DURATION_REACHED,
        [HTTP_LIMIT_REQUESTS] = STAT_HCM_CX_MAX_REQUESTS_REACHED,
        [HTTP_LIMIT_HEAD_TIME] = STAT_HCM_RQ_HEADER_TIMEOUT,
    };
    stat_inc(stats_of(of_user(user)), rows[which]);
}

/* A connection of ours that waits for its peer's end: RFC 9112 section 9.6. */
struct lingering {
    const struct hcm_config *config;
    struct active_listener *listener;
};

static void on_linger_end(void *arg, bool timed_out)
{
    struct lingering *l = arg;
    if (timed_out)
        stat_inc(l->config->stats, STAT_HCM_CX_DELAYED_CLOSE_TIMEOUT);
    active_listener_let_go(&l->listener);
    mem_free(l);
}

/* The listener, and our configuration with it, may be removed before the connection is gone. */
static void on_delayed_close(void *user, struct conn *conn)
{
    struct hcm_conn *hc = of_user(user);
    struct lingering *l = NEW(lingering);
    l->config = hc->config;
    l->listener = active_listener_keep(hc->downstream->listener);
    conn_on_linger_end(conn, on_linger_end, l);
}

static void destroy(struct deferred *d)
{
    struct hcm_conn *hc = CONTAINER_OF(d, hcm_conn, deferred);
    for (struct connection_data *next, *data = hc->data; data; data = next) {
        next = data->next;
        mem_free(data);
    }
    hc->magic = 0;
    mem_free(hc);
}

static void count_destroy(struct hcm_conn *hc, bool local, uint32_t active)
{
    struct stat_scope *s = stats_of(hc);
    stat_dec(s, STAT_HCM_CX_ACTIVE);
    stat_inc(s, STAT_HCM_CX_DESTROY);
    stat_inc(s, local ? STAT_HCM_CX_DESTROY_LOCAL : STAT_HCM_CX_DESTROY_REMOTE);
    if (active) {
        stat_inc(s, STAT_HCM_CX_DESTROY_ACTIVE_RQ);
        stat_inc(s, local ? STAT_HCM_CX_DESTROY_LOCAL_ACTIVE_RQ : STAT_HCM_CX_DESTROY_REMOTE_ACTIVE_RQ);
    }
    if (hc->counted_protocol)
        stat_dec(s, hc->protocol == HTTP_2 ? STAT_HCM_CX_HTTP2_ACTIVE : STAT_HCM_CX_HTTP1_ACTIVE);
    if (hc->is_tls)
        stat_dec(s, STAT_HCM_CX_SSL_ACTIVE);
}

static void on_closed(void *user, struct http_server_conn *c, bool local, enum conn_close why)
{
    struct hcm_conn *hc = of_user(user);
    struct conn *conn = http_server_conn_conn(c);
    struct downstream *d = hc->downstream;
    struct loop *loop = d->worker->loop;
    count_destroy(hc, local, hc->active + hc->lost);
    if (conn) {
        stat_add(stats_of(hc), STAT_HCM_CX_RX_BYTES_TOTAL, conn_bytes_read(conn));
        stat_add(stats_of(hc), STAT_HCM_CX_TX_BYTES_TOTAL, conn_bytes_written(conn));
    }
    stat_record(stats_of(hc), STAT_HCM_CX_LENGTH_MS, (loop_now_us(loop) - d->start_us) / 1000);
    d->terminal_state = NULL;
    hc->server = NULL;
    loop_defer(loop, &hc->deferred, destroy);
    downstream_closed(d, local, why);
}

static void on_h2_stat(void *user, struct http_server_conn *c, enum h2_stat stat)
{
    struct hcm_conn *hc = of_user(user);
    (void)c;
    h2_stats_count(hc->config->h2_stats, stat);
    if (stat == H2_STAT_RAPID_RESET)
        stat_inc(stats_of(hc), STAT_HCM_RQ_TOO_MANY_PREMATURE_RESETS);
}

static const struct http_server_handler server_handler = {
    .on_stream = on_stream,
    .on_protocol_error = on_protocol_error,
    .local_reply = local_reply,
    .on_idle_timeout = on_idle_timeout,
    .on_h2_stat = on_h2_stat,
    .on_limit = on_limit,
    .on_delayed_close = on_delayed_close,
    .on_codec = on_codec,
    .on_closed = on_closed,
};

/* ---- the network filter ---- */

static void attach(struct downstream *d, const void *config)
{
    struct hcm_conn *hc = NEW(hcm_conn);
    hc->magic = HCM_CONN_MAGIC;
    hc->config = config;
    hc->downstream = d;
    hc->protocol = HTTP_11;
    hc->is_tls = conn_tls(d->conn) != NULL;
    list_init(&hc->exchanges);
    d->terminal_state = hc;
    stat_inc(stats_of(hc), STAT_HCM_CX_TOTAL);
    stat_inc(stats_of(hc), STAT_HCM_CX_ACTIVE);
    if (hc->is_tls) {
        stat_inc(stats_of(hc), STAT_HCM_CX_SSL_TOTAL);
        stat_inc(stats_of(hc), STAT_HCM_CX_SSL_ACTIVE);
    }
    hc->server = http_server_conn_new(d->conn, &hc->config->server, &server_handler, hc);
}

static void drain(struct downstream *d)
{
    struct hcm_conn *hc = d->terminal_state;
    if (!hc || !hc->server)
        return;
    if (!http_server_conn_is_draining(hc->server))
        stat_inc(stats_of(hc), STAT_HCM_CX_DRAIN_CLOSE);
    if (d->listener->idle_may_wait)
        http_server_conn_retire(hc->server);
    else
        http_server_conn_drain(hc->server);
}

static void close_now(struct downstream *d)
{
    struct hcm_conn *hc = d->terminal_state;
    if (hc && hc->server)
        http_server_conn_close(hc->server);
}

static void link_config(void *config, struct link_context *cx)
{
    hcm_config_link(config, cx);
}

const struct network_filter_def hcm_filter = {
    .name = "envoy.filters.network.http_connection_manager",
    .is_terminal = true,
    .attach = attach,
    .drain = drain,
    .close = close_now,
    .link = link_config,
};
