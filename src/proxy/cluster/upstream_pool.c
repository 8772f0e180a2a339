/* SPDX-License-Identifier: Apache-2.0
 *
 * The owner of one HTTP pool: makes its connections as the cluster says (source address, options, TLS
 * with the right name, PROXY protocol), holds it to the circuit breakers, and keeps the cluster's and
 * the host's statistics. TCP connections outside pools (tcp_proxy, CONNECT) go the same way.
 */
#include <errno.h>

#include "base/mem.h"
#include "http/codec/uri.h"
#include "proxy/cluster/cluster_priv.h"
#include "proxy/config/tls_source.h"
#include "proxy/stats/h2_stats.h"
#include "proxy/stats/tls_stats.h"

/* ---- connecting ---- */

static bool ip_of(struct str host, struct addr *a)
{
    struct err err;
    return addr_from_ip(a, host, 0, &err) == 0;
}

/* A server name is never an address (RFC 6066 section 3). */
static struct str sni_for(const struct cluster_spec *spec, const struct host *h, const struct upstream_pool *pool)
{
    if (pool && spec->http->auto_sni && pool->authority.n) {
        struct str host;
        struct addr ip = {0};
        int port;
        if (authority_split(pool->authority, &host, &port) && !ip_of(host, &ip))
            return host;
    }
    if (h->transport->auto_host_sni && h->hostname.n)
        return h->hostname;
    return h->transport->sni;
}

/* A connection without its TLS must not go on: it fails at the next turn. */
static void put_tls(struct cluster_worker *view, struct conn *c, struct tls_source *source, const struct tls_client_opts *opts)
{
    struct tls_context *ctx = tls_source_get(source);
    struct err err = {0};
    if (!ctx) { /* the text is Envoy's */
        stat_inc(view->cluster->tls_socket_stats, STAT_TLS_UPSTREAM_NOT_READY);
        conn_fail_later(c, "TLS error: Secret is not supplied by SDS");
    } else if (conn_start_tls(c, ctx, opts, &err) < 0) {
        conn_fail_later(c, err.message);
    }
    tls_context_unref(&ctx);
}

struct conn *upstream_connect_probe(struct cluster_worker *view, struct host *h, const struct transport_socket_spec *transport,
                                    const struct addr *remote, const struct str *alpn, uint32_t alpn_count, struct str proxy_header,
                                    const struct conn_handler *handler, void *user)
{
    const struct cluster_spec *spec = view->cluster->spec;
    const struct cluster_connection_spec *cs = spec->connection;
    struct conn_connect_opts opts = {
        .remote = remote,
        .bind = cs->has_bind ? &cs->bind : NULL,
        .other_bind = cs->has_other_bind ? &cs->other_bind : NULL,
        .options = cs->sock_opts,
        .option_count = cs->sock_opt_count,
        .proxy_header = proxy_header,
    };
    struct conn *c = conn_connect(view->loop, &opts, handler, user);
    struct tls_client_opts tls = {.sni = transport->auto_host_sni && h->hostname.n ? h->hostname : transport->sni,
                                  .alpn = alpn, .alpn_count = alpn_count};
    if (transport->tls)
        put_tls(view, c, transport->tls, &tls);
    return c;
}

static void start_tls(struct cluster_worker *view, struct host *h, const struct upstream_pool *pool, struct conn *c)
{
    const struct cluster_spec *spec = view->cluster->spec;
    static const struct str h2[] = {{"h2", 2}}, h1[] = {{"http/1.1", 8}}, both[] = {{"h2", 2}, {"http/1.1", 8}};
    struct tls_client_opts opts = {.sni = sni_for(spec, h, pool)};
    if (pool) {
        bool is_h2 = pool->opts.protocol == HTTP_2;
        opts.alpn = pool->alpn_count ? pool->alpn : pool->opts.alpn ? both : is_h2 ? h2 : h1;
        opts.alpn_count = pool->alpn_count ? pool->alpn_count : pool->opts.alpn ? 2 : 1;
        opts.alpn_is_fallback = !pool->alpn_count;
        if (spec->http->auto_san_validation && pool->san_name.n) {
            opts.sans = &pool->san;
            opts.san_count = 1;
        }
    }
    put_tls(view, c, h->transport->tls, &opts);
}

struct conn *upstream_connect(struct cluster_worker *view, struct host *h, const struct upstream_pool *pool,
                              const struct original_source *source,
                              struct str proxy_header, const struct conn_handler *handler, void *user)
{
    const struct cluster_spec *spec = view->cluster->spec;
    const struct cluster_connection_spec *cs = spec->connection;
    struct conn_connect_opts opts = {
        .remote = &h->addr,
        .alternatives = h->extra_addrs,
        .alternative_count = h->extra_addr_count,
        .first_family = cs->first_family,
        .first_family_count = cs->first_family_count,
        .bind = source ? &source->addr : cs->has_bind ? &cs->bind : NULL,
        .other_bind = !source && cs->has_other_bind ? &cs->other_bind : NULL,
        .mark = source ? source->mark : 0,
        .transparent = source != NULL,
        .connect_timeout_us = cs->connect_timeout_us,
        .options = cs->sock_opts,
        .option_count = cs->sock_opt_count,
        .keepalive = cs->keepalive,
        .keepalive_probes = cs->keepalive_probes,
        .keepalive_time_s = cs->keepalive_time_s,
        .keepalive_interval_s = cs->keepalive_interval_s,
        .proxy_header = proxy_header,
    };
    struct conn *c = conn_connect(view->loop, &opts, handler, user);
    conn_set_watermark(c, cs->buffer_limit_bytes);
    if (spec->prologue)
        conn_set_prologue(c, &spec->prologue->make(spec->prologue)->base);
    if (h->transport->tls)
        start_tls(view, h, pool, c);
    return c;
}

void cluster_tell_peer(struct conn *c, struct filter_state *keep)
{
    struct conn_prologue *p = conn_prologue(c);
    if (p)
        CONTAINER_OF(p, upstream_prologue, base)->tell = keep;
}

/* ---- statistics of connections ---- */

void upstream_conn_opened(struct cluster_worker *view, struct host *h)
{
    stat_inc(view->cluster->stats, STAT_CLUSTER_UPSTREAM_CX_TOTAL);
    stat_inc(view->cluster->stats, STAT_CLUSTER_UPSTREAM_CX_ACTIVE);
    host_stat_add(h, HOST_CX_TOTAL, 1);
    host_stat_add(h, HOST_CX_ACTIVE, 1);
}

void upstream_conn_connected(struct cluster_worker *view, struct conn *c)
{
    stat_record(view->cluster->stats, STAT_CLUSTER_UPSTREAM_CX_CONNECT_MS, conn_connect_us(c) / 1000);
    if (view->cluster->tls_stats && conn_tls(c))
        tls_stats_done(view->cluster->tls_stats, conn_tls(c));
}

static bool closed_by_peer(enum conn_close why)
{
    return why == CONN_CLOSE_REMOTE_EOF || why == CONN_CLOSE_REMOTE_RESET || why == CONN_CLOSE_IO_ERROR;
}

void upstream_conn_closed(struct cluster_worker *view, struct host *h, struct conn *c, bool was_ready,
                          enum conn_close why, uint32_t active)
{
    struct stat_scope *s = view->cluster->stats;
    bool remote = closed_by_peer(why);
    stat_dec(s, STAT_CLUSTER_UPSTREAM_CX_ACTIVE);
    host_stat_add(h, HOST_CX_ACTIVE, -1);
    if (c && conn_bind_failed(c))
        stat_inc(s, STAT_CLUSTER_BIND_ERRORS);
    if (!was_ready) {
        stat_inc(s, STAT_CLUSTER_UPSTREAM_CX_CONNECT_FAIL);
        host_stat_add(h, HOST_CX_CONNECT_FAIL, 1);
        if (why == CONN_CLOSE_CONNECT_TIMEOUT || why == CONN_CLOSE_TLS_TIMEOUT)
            stat_inc(s, STAT_CLUSTER_UPSTREAM_CX_CONNECT_TIMEOUT);
        if (view->cluster->tls_stats && why == CONN_CLOSE_TLS_FAILED)
            tls_stats_failed(view->cluster->tls_stats, c ? conn_tls(c) : NULL);
        return;
    }
    stat_inc(s, STAT_CLUSTER_UPSTREAM_CX_DESTROY);
    stat_inc(s, remote ? STAT_CLUSTER_UPSTREAM_CX_DESTROY_REMOTE : STAT_CLUSTER_UPSTREAM_CX_DESTROY_LOCAL);
    if (active) {
        stat_inc(s, STAT_CLUSTER_UPSTREAM_CX_DESTROY_WITH_ACTIVE_RQ);
        stat_inc(s, remote ? STAT_CLUSTER_UPSTREAM_CX_DESTROY_REMOTE_WITH_ACTIVE_RQ
                           : STAT_CLUSTER_UPSTREAM_CX_DESTROY_LOCAL_WITH_ACTIVE_RQ);
    }
    if (c) {
        stat_add(s, STAT_CLUSTER_UPSTREAM_CX_RX_BYTES_TOTAL, conn_bytes_read(c));
        stat_add(s, STAT_CLUSTER_UPSTREAM_CX_TX_BYTES_TOTAL, conn_bytes_written(c));
    }
}

/* ---- what the pool asks and tells ---- */

static struct cluster *cluster_of(const struct upstream_pool *p)
{
    return p->view->cluster;
}

static void release_connection(struct upstream_pool *p)
{
    p->connections--;
    cluster_breaker_release(cluster_of(p), p->priority, BREAKER_CONNECTIONS);
}

static void connecting_closed(struct conn *c, void *user, enum conn_close why)
{
    (void)c, (void)user, (void)why;
}

static const struct conn_handler connecting_handler = {.on_closed = connecting_closed};

static struct conn *on_connect(void *owner, struct loop *loop)
{
    (void)loop;
    struct upstream_pool *p = owner;
    struct conn *c = upstream_connect(p->view, p->host, p, p->source, p->proxy_header, &connecting_handler, p);
    if (!c)
        release_connection(p);
    return c;
}

/* A pool without any connection gets one past the limit: what waits in it must be able to move (Envoy does the same). */
static bool may_connect(void *owner)
{
    struct upstream_pool *p = owner;
    struct cluster *c = cluster_of(p);
    const struct cluster_breakers_spec *b = c->spec->breakers;
    bool host_full = b->has_per_host &&
                     atomic_load_explicit(&p->host->stats[HOST_CX_ACTIVE], memory_order_relaxed) >= b->per_host_max_connections;
    if (!host_full && cluster_breaker_acquire(c, p->priority, BREAKER_CONNECTIONS)) {
        p->connections++;
        return true;
    }
    stat_inc(c->stats, STAT_CLUSTER_UPSTREAM_CX_OVERFLOW);
    if (p->connections)
        return false;
    cluster_breaker_force(c, p->priority, BREAKER_CONNECTIONS);
    p->connections++;
    return true;
}

static bool may_pend(void *owner)
{
    struct upstream_pool *p = owner;
    if (cluster_breaker_acquire(cluster_of(p), p->priority, BREAKER_PENDING))
        return true;
    stat_inc(cluster_of(p)->stats, STAT_CLUSTER_UPSTREAM_RQ_PENDING_OVERFLOW);
    return false;
}

static bool may_start(void *owner)
{
    struct upstream_pool *p = owner;
    if (cluster_breaker_acquire(cluster_of(p), p->priority, BREAKER_REQUESTS))
        return true;
    stat_inc(cluster_of(p)->stats, STAT_CLUSTER_UPSTREAM_RQ_ACTIVE_OVERFLOW);
    return false;
}

static void on_not_started(void *owner)
{
    struct upstream_pool *p = owner;
    cluster_breaker_release(cluster_of(p), p->priority, BREAKER_REQUESTS);
}

static void on_connecting(void *owner, struct conn *c)
{
    (void)c;
    struct upstream_pool *p = owner;
    upstream_conn_opened(p->view, p->host);
}

static void on_connected(void *owner, struct http_client_conn *c)
{
    struct upstream_pool *p = owner;
    bool h2 = http_client_conn_protocol(c) == HTTP_2;
    stat_inc(cluster_of(p)->stats, h2 ? STAT_CLUSTER_UPSTREAM_CX_HTTP2_TOTAL : STAT_CLUSTER_UPSTREAM_CX_HTTP1_TOTAL);
    upstream_conn_connected(p->view, http_client_conn_conn(c));
}

static void on_conn_closed(void *owner, struct http_client_conn *c, bool was_ready, enum conn_close why, uint32_t active)
{
    struct upstream_pool *p = owner;
    upstream_conn_closed(p->view, p->host, http_client_conn_conn(c), was_ready, why, active);
    release_connection(p);
}

static void on_pending(void *owner, int delta)
{
    struct upstream_pool *p = owner;
    struct cluster *c = cluster_of(p);
    stat_add(c->stats, STAT_CLUSTER_UPSTREAM_RQ_PENDING_ACTIVE, (uint64_t)delta);
    host_stat_add(p->host, HOST_RQ_PENDING_ACTIVE, delta);
    if (delta > 0)
        stat_inc(c->stats, STAT_CLUSTER_UPSTREAM_RQ_PENDING_TOTAL);
    else
        for (int i = delta; i < 0; i++)
            cluster_breaker_release(c, p->priority, BREAKER_PENDING);
}

static void on_active(void *owner, int delta)
{
    struct upstream_pool *p = owner;
    stat_add(cluster_of(p)->stats, STAT_CLUSTER_UPSTREAM_RQ_ACTIVE, (uint64_t)delta);
    host_stat_add(p->host, HOST_RQ_ACTIVE, delta);
    for (int i = delta; i < 0; i++)
        cluster_breaker_release(cluster_of(p), p->priority, BREAKER_REQUESTS);
    if (delta > 0) {
        stat_inc(cluster_of(p)->stats, STAT_CLUSTER_UPSTREAM_RQ_TOTAL);
        host_stat_add(p->host, HOST_RQ_TOTAL, 1);
    }
}

static void on_max_requests(void *owner)
{
    stat_inc(cluster_of(owner)->stats, STAT_CLUSTER_UPSTREAM_CX_MAX_REQUESTS);
}

static void on_max_duration(void *owner)
{
    stat_inc(cluster_of(owner)->stats, STAT_CLUSTER_UPSTREAM_CX_MAX_DURATION_REACHED);
}

static void on_idle_timeout(void *owner)
{
    stat_inc(cluster_of(owner)->stats, STAT_CLUSTER_UPSTREAM_CX_IDLE_TIMEOUT);
}

static void on_protocol_error(void *owner, const char *details)
{
    (void)details;
    stat_inc(cluster_of(owner)->stats, STAT_CLUSTER_UPSTREAM_CX_PROTOCOL_ERROR);
}

static void on_h2_stat(void *owner, enum h2_stat stat)
{
    struct stat_scope *s = cluster_of(owner)->h2_stats;
    if (s)
        h2_stats_count(s, stat);
}

static void destroy(struct deferred *d)
{
    upstream_pool_free(CONTAINER_OF(d, upstream_pool, deferred));
}

/* Nothing left in it: a pool of a host that is gone goes, and so does one of a single client (PROXY protocol) or of a
 * name that a client chose (auto_sni): there may be any number of them. */
static void on_empty(void *owner)
{
    struct upstream_pool *p = owner;
    if (!p->is_draining && !p->proxy_header.p && !p->authority.n)
        return;
    if (p->deferred.destroy)
        return;
    view_forget_pool(p);
    loop_defer(p->view->loop, &p->deferred, destroy);
}

static const struct http_pool_events events = {
    .connect = on_connect,
    .may_connect = may_connect,
    .may_pend = may_pend,
    .may_start = may_start,
    .on_not_started = on_not_started,
    .on_connecting = on_connecting,
    .on_connected = on_connected,
    .on_conn_closed = on_conn_closed,
    .on_pending = on_pending,
    .on_active = on_active,
    .on_max_requests = on_max_requests,
    .on_max_duration = on_max_duration,
    .on_idle_timeout = on_idle_timeout,
    .on_protocol_error = on_protocol_error,
    .on_h2_stat = on_h2_stat,
    .on_empty = on_empty,
};

static struct str copy(struct str s)
{
    return s.n ? str_dup(s) : STR_NULL;
}

static void set_protocol(struct upstream_pool *p, const struct cluster_http_spec *http)
{
    p->opts.client = &http->client;
    p->opts.idle_timeout_ms = http->idle_timeout_ms;
    p->opts.max_requests_per_connection = http->max_requests_per_connection;
    p->opts.max_concurrent_streams = http->max_concurrent_streams;
    p->opts.preconnect_ratio = p->view->cluster->spec->preconnect_ratio;
    p->opts.alpn = http->alpn && p->host->transport->tls;
    p->opts.protocol = http->protocol;
    if (http->use_downstream_protocol)
        p->opts.protocol = p->downstream_protocol == HTTP_2 ? HTTP_2 : HTTP_11;
}

static bool is_that_ip(const void *arg, struct str name)
{
    struct addr wanted = {0}, shown = {0};
    return ip_of(*(const struct str *)arg, &wanted) && ip_of(name, &shown) && addr_eq(&wanted, &shown);
}

static struct tls_san_matcher san_of(const struct str *keep_host)
{
    struct addr ip = {0};
    if (ip_of(*keep_host, &ip))
        return (struct tls_san_matcher){.type = TLS_SAN_IP, .arg = keep_host, .match = is_that_ip};
    return (struct tls_san_matcher){.type = TLS_SAN_DNS, .arg = keep_host, .exact_dns = true};
}

/* The pool may outlive the configuration that the list is of. */
static void copy_alpn(struct upstream_pool *p, const struct pool_key *key)
{
    p->alpn_count = key->alpn_count;
    p->alpn = p->alpn_count ? mem_zalloc(p->alpn_count * sizeof(*p->alpn)) : NULL;
    for (uint32_t i = 0; i < p->alpn_count; i++)
        p->alpn[i] = copy(key->alpn[i]);
}

struct upstream_pool *upstream_pool_new(struct cluster_worker *view, struct host *h, const struct pool_key *key)
{
    struct upstream_pool *p = NEW(upstream_pool);
    p->view = view;
    p->host = host_ref(h);
    p->downstream_protocol = key->downstream_protocol;
    p->priority = key->priority;
    p->authority = copy(key->authority);
    if (key->source) {
        p->source = NEW(original_source);
        p->source->mark = key->source->mark;
        addr_copy(&p->source->addr, &key->source->addr);
    }
    copy_alpn(p, key);
    if (view->cluster->spec->http->auto_san_validation && p->authority.n) {
        int port;
        if (!authority_split(p->authority, &p->san_name, &port))
            p->san_name = p->authority;
        p->san = san_of(&p->san_name);
    }
    set_protocol(p, view->cluster->spec->http);
    p->pool = http_pool_new(view->loop, &p->opts, &events, p);
    return p;
}

void upstream_pool_free(struct upstream_pool *p)
{
    http_pool_free(&p->pool);
    host_unref(&p->host);
    str_free(&p->authority);
    str_free(&p->proxy_header);
    if (p->source)
        addr_fini(&p->source->addr);
    mem_free(p->source);
    for (uint32_t i = 0; i < p->alpn_count; i++)
        str_free(&p->alpn[i]);
    mem_free(p->alpn);
    mem_free(p);
}

/* ---- TCP ---- */

struct conn *cluster_connect_tcp(struct cluster_worker *cw, struct host *h, const struct conn *downstream, const struct original_source *source,
                                 const struct conn_handler *handler, void *user)
{
    struct cluster *c = cw->cluster;
    if (!cluster_breaker_acquire(c, PRIORITY_DEFAULT, BREAKER_CONNECTIONS)) {
        stat_inc(c->stats, STAT_CLUSTER_UPSTREAM_CX_OVERFLOW);
        return NULL;
    }
    struct str header = h->transport->proxy_protocol ? upstream_proxy_header(h->transport, downstream) : STR_NULL;
    struct conn *conn = upstream_connect(cw, h, NULL, source, header, handler, user);
    str_free(&header);
    if (!conn) {
        cluster_breaker_release(c, PRIORITY_DEFAULT, BREAKER_CONNECTIONS);
        return NULL;
    }
    upstream_conn_opened(cw, h);
    cw->connections++;
    view_note_tcp(cw, h, conn);
    return conn;
}

void cluster_tcp_closed(struct cluster_worker *cw, struct host *h, struct conn *c, bool was_connected, enum conn_close why)
{
    view_forget_tcp(cw, c);
    upstream_conn_closed(cw, h, c, was_connected, why, was_connected ? 1 : 0);
    if (!was_connected && why != CONN_CLOSE_LOCAL)
        cluster_report(cw, h, &(struct host_report){.result = why == CONN_CLOSE_CONNECT_TIMEOUT ? HOST_TIMED_OUT : HOST_CONNECT_FAILED});
    cluster_breaker_release(cw->cluster, PRIORITY_DEFAULT, BREAKER_CONNECTIONS);
    cw->connections--;
    view_check_over(cw);
}
