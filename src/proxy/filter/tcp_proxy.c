/* SPDX-License-Identifier: Apache-2.0
 *
 * Joins a downstream connection with one of a cluster's. On the downstream's worker.
 *
 *     connecting (the downstream isn't read: what it sends waits in its socket)
 *       -> relaying: by splice(2) where both sides are raw, else from queue to queue
 *       -> over
 *
 * Ends are carried through one direction at a time; a side that fails ends both. Back-pressure: a
 * queue above its mark stops the reading on the other side. Invariant: over() runs once; from then
 * on both connections have no handler of ours.
 */
#include "proxy/filter/tcp_proxy_priv.h"

#include "base/mem.h"
#include "proxy/filter/filter_scope.h"
#include "proxy/filter/simple_network_filters.h"
#include "proxy/log/access_log.h"
#include "proxy/route/route.h"

#define RELAY_CHUNK_BYTES 65536
#define CLOSE_LINGER_MS 1000

static const struct stat_desc rows[] = {TCP_PROXY_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

static struct tcp_session *of(void *user)
{
    return OBJECT(tcp_session, SESSION_MAGIC, user);
}

static struct loop *loop_of(const struct tcp_session *s)
{
    return s->d->worker->loop;
}

/* ---- counting and logging ---- */

static void count_bytes(struct tcp_session *s)
{
    struct stat_scope *stats = s->config->stats;
    struct conn *down = s->d->conn;
    uint64_t rx = conn_bytes_read(down), tx = conn_bytes_written(down);
    uint64_t waiting_tx = s->is_over ? 0 : conn_out(down)->len;
    uint64_t waiting_rx = s->is_over ? 0 : s->up ? conn_out(s->up)->len : tcp_tunnel_queued(s);
    stat_add(stats, STAT_TCP_CX_RX_BYTES_TOTAL, rx - s->counted_rx);
    stat_add(stats, STAT_TCP_CX_TX_BYTES_TOTAL, tx - s->counted_tx);
    stat_add(stats, STAT_TCP_CX_TX_BYTES_BUFFERED, waiting_tx - s->buffered_tx);
    stat_add(stats, STAT_TCP_CX_RX_BYTES_BUFFERED, waiting_rx - s->buffered_rx);
    s->counted_rx = rx;
    s->counted_tx = tx;
    s->buffered_tx = waiting_tx;
    s->buffered_rx = waiting_rx;
}

static void describe_upstream(const struct tcp_session *s, struct stream_info *info)
{
    info->cluster = s->cluster;
    info->host = s->host;
    info->upstream_connect_us = s->upstream_connect_us;
    info->upstream_failure = s->failure;
    if (!s->up || !s->is_connected)
        return;
    info->upstream_connection_id = conn_id(s->up);
    info->upstream_local = *conn_local(s->up);
    info->upstream_remote = *conn_remote(s->up);
    info->has_upstream_addrs = true;
    info->upstream_tls = conn_tls(s->up);
    info->up_wire_bytes_received = conn_wire_read(s->up);
    info->up_wire_bytes_sent = conn_wire_written(s->up);
}

static void describe(const struct tcp_session *s, struct stream_info *info)
{
    struct conn *down = s->d->conn;
    *info = (struct stream_info){
        .start_us = s->d->start_us,
        .start_wall_us = s->d->start_wall_us,
        .end_us = s->is_over ? loop_now_us(loop_of(s)) : 0,
        .flags = s->flags,
        .attempts = (uint16_t)s->attempts,
        .bytes_received = conn_bytes_read(down),
        .bytes_sent = conn_bytes_written(down),
        .wire_bytes_received = conn_wire_read(down),
        .wire_bytes_sent = conn_wire_written(down),
        .downstream = down,
        .connection_id = conn_id(down),
        .downstream_remote = conn_remote(down),
        .downstream_direct_remote = conn_direct_remote(down),
        .downstream_local = conn_local(down),
        .downstream_failure = str_from(conn_failure_text(down)),
        .requested_server_name = s->d->server_name,
        .filter_chain_name = s->d->chain->name,
        .filter_state.parent = &s->d->filter_state,
        .metadata = s->d->metadata,
    };
    describe_upstream(s, info);
}

static void write_log(const struct tcp_session *s, const char *type)
{
    const struct tcp_proxy_config *cfg = s->config;
    struct stream_info info;
    if (!cfg->access_log_count)
        return;
    describe(s, &info);
    struct format_context cx = {.info = &info, .log_type = type};
    for (uint32_t i = 0; i < cfg->access_log_count; i++)
        access_log_write(cfg->access_logs[i], &cx);
}

static void on_flush_log(struct timer *t)
{
    struct tcp_session *s = CONTAINER_OF(t, tcp_session, flush_log);
    write_log(s, "TcpPeriodic");
    timer_set_ms(t, s->config->access_log_flush_interval_ms);
}

/* ---- the end ---- */

static void destroy(struct deferred *d)
{
    struct tcp_session *s = CONTAINER_OF(d, tcp_session, deferred);
    host_unref(&s->host);
    view_release(&s->view);
    view_release(&s->here);
    str_free(&s->failure);
    s->magic = 0;
    mem_free(s);
}

static void leave_upstream(struct tcp_session *s, enum ending how, enum conn_close why)
{
    struct conn *up = s->up;
    tcp_tunnel_leave(s);
    if (!up)
        return;
    cluster_tcp_closed(s->view, s->host, up, s->is_connected,
                       how == UP_GONE || how == BOTH_ENDED ? why : CONN_CLOSE_LOCAL);
    s->up = NULL;
    if (how == UP_GONE)
        return;
    conn_set_handler(up, NULL, NULL);
    if (how == DOWN_GONE && s->is_connected &&
        conn_out(up)->len) { /* what was taken on is delivered */
        stat_inc(s->config->stats, STAT_TCP_UPSTREAM_FLUSH_TOTAL);
        conn_close_delayed(up, s->idle_timeout_ms);
        return;
    }
    conn_close(up, CONN_CLOSE_LOCAL);
}

void session_over(struct tcp_session *s, enum ending how, enum conn_close why)
{
    struct downstream *d = s->d;
    struct conn *down = d->conn;
    if (s->is_over)
        return;
    s->is_over = true;
    timer_clear(&s->idle);
    timer_clear(&s->life);
    timer_clear(&s->flush_log);
    timer_clear(&s->backoff);
    if (s->relay)
        splice_free(&s->relay);
    if (how == DOWN_GONE && !s->is_connected)
        s->flags |= FLAG_DC;
    count_bytes(s);
    write_log(s, "TcpConnectionEnd");
    downstream_ending(d);
    leave_upstream(s, how, why);
    loop_defer(loop_of(s), &s->deferred, destroy);
    d->terminal_state = NULL;
    downstream_closed(d, how != DOWN_GONE && how != BOTH_ENDED, why);
    if (how == DOWN_GONE)
        return;
    conn_set_handler(down, NULL, NULL);
    if (how == UP_GONE && s->is_connected)
        conn_close_delayed(down, CLOSE_LINGER_MS);
    else
        conn_close(down, CONN_CLOSE_LOCAL);
}

static void on_idle(struct timer *t)
{
    struct tcp_session *s = CONTAINER_OF(t, tcp_session, idle);
    stat_inc(s->config->stats, STAT_TCP_IDLE_TIMEOUT);
    session_over(s, WE_CLOSE, CONN_CLOSE_LOCAL);
}

static void on_life(struct timer *t)
{
    struct tcp_session *s = CONTAINER_OF(t, tcp_session, life);
    stat_inc(s->config->stats, STAT_TCP_MAX_DURATION);
    s->flags |= FLAG_DT;
    session_over(s, WE_CLOSE, CONN_CLOSE_LOCAL);
}

static void push_idle(struct tcp_session *s)
{
    if (s->idle_timeout_ms)
        timer_set_ms(&s->idle, s->idle_timeout_ms);
}

/* ---- relaying from queue to queue ---- */

static void pass(struct tcp_session *s, struct conn *from, struct conn *to)
{
    buf_move(conn_out(to), conn_in(from));
    conn_flush_later(to);
    push_idle(s);
    count_bytes(s);
}

static void end_if_both_ended(struct tcp_session *s)
{
    if (s->down_ended && s->up_ended && !conn_out(s->d->conn)->len && !conn_out(s->up)->len)
        session_over(s, BOTH_ENDED, CONN_CLOSE_REMOTE_EOF);
}

static void begin(struct tcp_session *s);

static void on_down_data(struct conn *c, void *user)
{
    struct tcp_session *s = of(user);
    if (s->is_connected && s->call) {
        tcp_tunnel_pass(s, false);
    } else if (s->is_connected) {
        pass(s, c, s->up);
    } else if (!s->has_begun) { /* its first bytes were waited for; more wait in the socket */
        conn_read_pause(c);
        begin(s);
    }
}

static void on_down_end(struct conn *c, void *user)
{
    (void)c;
    struct tcp_session *s = of(user);
    s->down_ended = true;
    if (!s->has_begun)
        session_over(s, BOTH_ENDED, CONN_CLOSE_REMOTE_EOF);
    if (!s->is_connected)
        return;
    if (s->call) {
        tcp_tunnel_pass(s, true);
        return;
    }
    conn_shutdown_write(s->up);
    end_if_both_ended(s);
}

static void on_down_closed(struct conn *c, void *user, enum conn_close why)
{
    (void)c;
    session_over(of(user), DOWN_GONE, why);
}

/* The downstream takes nothing more: nothing more is read from the upstream. */
static void on_down_above(struct conn *c, void *user)
{
    (void)c;
    struct tcp_session *s = of(user);
    if (!s->is_connected)
        return;
    if (s->call)
        tcp_tunnel_pause(s, true);
    else
        conn_read_pause(s->up);
    stat_inc(cluster_stats(s->cluster), STAT_CLUSTER_UPSTREAM_FLOW_PAUSED);
}

static void on_down_below(struct conn *c, void *user)
{
    (void)c;
    struct tcp_session *s = of(user);
    if (!s->is_connected)
        return;
    if (s->call)
        tcp_tunnel_pause(s, false);
    else
        conn_read_resume(s->up);
    stat_inc(cluster_stats(s->cluster), STAT_CLUSTER_UPSTREAM_FLOW_RESUMED);
}

static void on_drained(struct conn *c, void *user)
{
    (void)c;
    struct tcp_session *s = of(user);
    count_bytes(s);
    if (s->is_connected && s->up)
        end_if_both_ended(s);
}

static void on_nothing(struct conn *c, void *user)
{
    (void)c, (void)user;
}

static const struct conn_handler down_handler = {
    .on_connected = on_nothing,
    .on_data = on_down_data,
    .on_end = on_down_end,
    .on_closed = on_down_closed,
    .on_above_watermark = on_down_above,
    .on_below_watermark = on_down_below,
    .on_drained = on_drained,
};

/* ---- splicing ---- */

static void on_moved(struct splice_relay *r, void *user)
{
    (void)r;
    struct tcp_session *s = of(user);
    push_idle(s);
    count_bytes(s);
}

static void on_spliced(struct splice_relay *r, void *user, enum conn_close why, bool a_failed)
{
    (void)r;
    struct tcp_session *s = of(user);
    struct conn *down = s->d->conn, *up = s->up;
    if (why == CONN_CLOSE_REMOTE_EOF) {
        session_over(s, BOTH_ENDED, why);
        return;
    }
    session_over(s, a_failed ? DOWN_GONE : UP_GONE, why);
    conn_close(a_failed ? down : up, why); /* the relay leaves even the failed one open */
}

static const struct splice_handler splice_ops = {.on_moved = on_moved, .on_done = on_spliced};

/* ---- the upstream ---- */

static void try_upstream(struct tcp_session *s);

static void on_up_data(struct conn *c, void *user)
{
    struct tcp_session *s = of(user);
    pass(s, c, s->d->conn);
}

static void on_up_end(struct conn *c, void *user)
{
    (void)c;
    struct tcp_session *s = of(user);
    s->up_ended = true;
    conn_shutdown_write(s->d->conn);
    end_if_both_ended(s);
}

static void on_up_above(struct conn *c, void *user)
{
    (void)c;
    struct tcp_session *s = of(user);
    conn_read_pause(s->d->conn);
    stat_inc(s->config->stats, STAT_TCP_FLOW_PAUSED);
}

static void on_up_below(struct conn *c, void *user)
{
    (void)c;
    struct tcp_session *s = of(user);
    conn_read_resume(s->d->conn);
    stat_inc(s->config->stats, STAT_TCP_FLOW_RESUMED);
}

static void start_relay(struct tcp_session *s)
{
    struct conn *down = s->d->conn;
    conn_read_resume(down);
    if (!conn_tls(down) && !conn_tls(s->up) && !s->down_ended) {
        s->relay = splice_start(down, s->up, &splice_ops, s);
        return;
    }
    conn_set_read_chunk(down, RELAY_CHUNK_BYTES);
    conn_set_read_chunk(s->up, RELAY_CHUNK_BYTES);
    if (conn_in(down)->len)
        pass(s, down, s->up);
    if (s->down_ended)
        conn_shutdown_write(s->up);
}

void session_active(struct tcp_session *s)
{
    push_idle(s);
    count_bytes(s);
}

void session_connected(struct tcp_session *s)
{
    s->is_connected = true;
    s->connected_at_us = loop_now_us(loop_of(s));
    if (conn_in(s->d->conn)->len)
        stat_inc(s->config->stats, STAT_TCP_EARLY_DATA);
    push_idle(s);
    if (s->config->flush_log_on_connected)
        write_log(s, "TcpUpstreamConnected");
}

static void on_up_connected(struct conn *c, void *user)
{
    struct tcp_session *s = of(user);
    s->upstream_connect_us = conn_connect_us(c);
    cluster_report(s->view, s->host, &(struct host_report){.result = HOST_CONNECTED_FINAL});
    session_connected(s);
    conn_set_watermark(c, s->d->listener->spec->buffer_limit_bytes);
    start_relay(s);
}

static void keep_failure(struct tcp_session *s, const struct conn *c)
{
    const char *text = conn_failure_text(c);
    str_free(&s->failure);
    s->failure = *text ? str_from(mem_strdup(text)) : STR_NULL;
}

static void on_up_closed(struct conn *c, void *user, enum conn_close why)
{
    struct tcp_session *s = of(user);
    if (s->is_connected) {
        session_over(s, UP_GONE, why);
        return;
    }
    keep_failure(s, c);
    s->flags |= FLAG_UF;
    cluster_tcp_closed(s->view, s->host, c, false, why);
    s->up = NULL;
    session_try_again(s);
}

static const struct conn_handler up_handler = {
    .on_connected = on_up_connected,
    .on_data = on_up_data,
    .on_end = on_up_end,
    .on_closed = on_up_closed,
    .on_above_watermark = on_up_above,
    .on_below_watermark = on_up_below,
    .on_drained = on_drained,
};

void session_give_up(struct tcp_session *s, uint32_t flag)
{
    s->flags |= flag;
    session_over(s, WE_CLOSE, CONN_CLOSE_LOCAL);
}

/* Exponential, with full jitter (core.v3.BackoffStrategy). */
void session_try_again(struct tcp_session *s)
{
    const struct tcp_proxy_config *c = s->config;
    uint32_t doublings = s->attempts < 32 ? s->attempts - 1 : 31;
    uint64_t ceiling_ms = c->backoff_base_ms << doublings;
    if (!c->backoff_base_ms || s->attempts >= c->max_connect_attempts) {
        try_upstream(s);
        return;
    }
    if (ceiling_ms > c->backoff_max_ms)
        ceiling_ms = c->backoff_max_ms;
    timer_set_ms(&s->backoff, rng_below(loop_rng(loop_of(s)), ceiling_ms) + 1);
}

static void on_backoff(struct timer *t)
{
    try_upstream(CONTAINER_OF(t, tcp_session, backoff));
}

static void hash_connection(const struct tcp_session *s, struct lb_context *lb)
{
    struct stream_info info;
    struct arena scratch;
    if (!s->config->hash_count)
        return;
    downstream_describe(s->d, &info);
    arena_init(&scratch, 0);
    struct hash_source from = {NULL, &info};
    lb->has_hash = route_hash(s->config->hashes, s->config->hash_count, &from, &scratch, &lb->hash, NULL);
    arena_fini(&scratch);
}

static void try_upstream(struct tcp_session *s)
{
    struct conn *down = s->d->conn;
    struct lb_context lb = {.downstream_remote = conn_remote(down),
                            .downstream_local = conn_local(down),
                            .local_is_restored = s->d->original_dst_restored,
                            .metadata_match = s->metadata_match,
                            .rng = loop_rng(loop_of(s))};
    if (s->attempts >= (s->config->max_connect_attempts ? s->config->max_connect_attempts : 1)) {
        stat_inc(cluster_stats(s->cluster), STAT_CLUSTER_UPSTREAM_CX_ATTEMPTS_EXCEEDED);
        session_give_up(s, FLAG_URX);
        return;
    }
    s->attempts++;
    hash_connection(s, &lb);
    cluster_note_destination(s->cluster, &lb, &s->d->filter_state, s->d->server_name);
    host_unref(&s->host);
    if (tcp_tunnel_is_wanted(s)) {
        tcp_tunnel_connect(s, &lb);
        return;
    }
    s->host = cluster_pick(s->here, &lb);
    view_release(&s->view);
    s->view = view_hold(lb.owner);
    if (!s->host) {
        session_give_up(s, FLAG_UH);
        return;
    }
    s->up = cluster_connect_tcp(s->view, s->host, down, s->d->original_source, &up_handler, s);
    if (!s->up)
        session_give_up(s, FLAG_UO);
    else
        cluster_tell_peer(s->up, &s->d->filter_state);
}

/* A filter before us may have named it (sni_cluster, set_filter_state). */
static struct cluster *choose_cluster(const struct downstream *d, const struct tcp_proxy_config *c, struct rng *rng,
                                      const struct metadata **metadata_match)
{
    *metadata_match = c->target_count ? c->targets[0].metadata_match : NULL;
    const struct filter_state_entry *named = filter_state_find(&d->filter_state, STR("envoy.tcp_proxy.cluster"));
    if (named)
        return cluster_named(named->value);
    uint64_t total = 0, at;
    for (uint32_t i = 0; i < c->target_count; i++)
        total += c->targets[i].weight;
    at = c->target_count > 1 ? rng_below(rng, total) : 0;
    for (uint32_t i = 0; i < c->target_count; i++) {
        if (at < c->targets[i].weight) {
            *metadata_match = c->targets[i].metadata_match;
            return cluster_slot_now(c->targets[i].cluster);
        }
        at -= c->targets[i].weight;
    }
    return NULL;
}

static void begin(struct tcp_session *s)
{
    s->has_begun = true;
    s->cluster = choose_cluster(s->d, s->config, loop_rng(loop_of(s)), &s->metadata_match);
    if (!s->cluster) {
        stat_inc(s->config->stats, STAT_TCP_CX_NO_ROUTE);
        session_give_up(s, FLAG_NC);
        return;
    }
    s->here = view_hold(cluster_here(s->cluster));
    try_upstream(s);
}

static uint64_t life_ms(const struct tcp_session *s)
{
    uint64_t ms = s->config->max_duration_ms, spread = ms * s->config->max_duration_jitter_pct / 10000;
    return ms + (spread ? rng_below(loop_rng(loop_of(s)), spread) : 0);
}

static void set_idle_timeout(struct tcp_session *s)
{
    const struct filter_state_entry *own = filter_state_find(&s->d->filter_state, STR("envoy.tcp_proxy.per_connection_idle_timeout_ms"));
    s->idle_timeout_ms = s->config->idle_timeout_ms;
    if (own)
        str_to_u64(own->value, &s->idle_timeout_ms);
}

/* ---- the network filter ---- */

static void attach(struct downstream *d, const void *config)
{
    struct tcp_session *s = NEW(tcp_session);
    s->magic = SESSION_MAGIC;
    s->d = d;
    s->config = config;
    d->terminal_state = s;
    timer_init(&s->idle, d->worker->loop, on_idle);
    timer_init(&s->life, d->worker->loop, on_life);
    timer_init(&s->flush_log, d->worker->loop, on_flush_log);
    timer_init(&s->backoff, d->worker->loop, on_backoff);
    set_idle_timeout(s);
    stat_inc(s->config->stats, STAT_TCP_CX_TOTAL);
    conn_set_watermark(d->conn, d->listener->spec->buffer_limit_bytes);
    conn_read_pause(d->conn);
    conn_set_handler(d->conn, &down_handler, s);
    if (s->config->max_duration_ms)
        timer_set_ms(&s->life, life_ms(s));
    if (s->config->access_log_flush_interval_ms)
        timer_set_ms(&s->flush_log, s->config->access_log_flush_interval_ms);
    if (s->config->flush_log_on_start)
        write_log(s, "TcpConnectionStart");
    if (s->config->waits_for_data && !conn_in(d->conn)->len)
        conn_read_resume(d->conn);
    else
        begin(s);
}

static void describe_session(const struct downstream *d, struct stream_info *out)
{
    if (d->terminal_state)
        describe(d->terminal_state, out);
}

static void close_now(struct downstream *d)
{
    struct tcp_session *s = d->terminal_state;
    if (s)
        session_over(s, WE_CLOSE, CONN_CLOSE_LOCAL);
}

void tcp_proxy_config_link(void *config, struct link_context *cx)
{
    (void)cx;
    struct tcp_proxy_config *c = config;
    if (!c->stats)
        c->stats = network_filter_scope("tcp", c->stat_prefix, STR("envoy.tcp_prefix"), &table);
}

void tcp_proxy_config_free(void *config)
{
    struct tcp_proxy_config *c = config;
    if (!c)
        return;
    for (uint32_t i = 0; i < c->access_log_count; i++)
        access_log_free(&c->access_logs[i]);
    if (c->tunnel) {
        format_free(&c->tunnel->hostname);
        header_rules_fini(&c->tunnel->headers);
    }
    stat_scope_unref(&c->stats);
    arena_fini(&c->arena);
    mem_free(c);
}

const struct network_filter_def tcp_proxy_filter = {
    .name = "envoy.filters.network.tcp_proxy",
    .is_terminal = true,
    .attach = attach,
    .close = close_now,
    .describe = describe_session,
    .link = tcp_proxy_config_link,
};
