/* SPDX-License-Identifier: Apache-2.0
 *
 * envoy.filters.network.connection_limit: no more connections of this filter chain than so many, over all workers. One too
 * many is closed, after a delay where one is configured; it counts until then. On the connection's worker; the number is one
 * atomic in the configuration.
 */
#include "proxy/filter/simple_network_filters.h"

#include "base/check.h"
#include "base/mem.h"
#include "proxy/filter/filter_scope.h"
#include "proxy/server.h"

static const struct stat_desc rows[] = {CONNECTION_LIMIT_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

struct counted {
    struct downstream_hook hook;
    struct connection_limit_config *config;
    struct downstream *d;
    struct timer delay;
    struct deferred deferred;
};

static void destroy(struct deferred *deferred)
{
    mem_free(CONTAINER_OF(deferred, counted, deferred));
}

static void on_gone(struct downstream *d, struct downstream_hook *hook)
{
    struct counted *c = CONTAINER_OF(hook, counted, hook);
    timer_clear(&c->delay);
    atomic_fetch_sub_explicit(&c->config->connections, 1, memory_order_relaxed);
    stat_dec(c->config->stats, STAT_CONNECTION_LIMIT_ACTIVE);
    loop_defer(d->worker->loop, &c->deferred, destroy);
}

static void refuse(struct downstream *d)
{
    struct conn *conn = d->conn;
    downstream_closed(d, true, CONN_CLOSE_LOCAL);
    conn_set_handler(conn, NULL, NULL);
    conn_close(conn, CONN_CLOSE_LOCAL);
}

static void on_delay(struct timer *t)
{
    refuse(CONTAINER_OF(t, counted, delay)->d);
}

static enum prologue on_connection(struct downstream *d, const void *config, void **state)
{
    struct connection_limit_config *c = (struct connection_limit_config *)(uintptr_t)config;
    if (!(c->runtime_key.n ? runtime_bool(c->runtime_key, c->enabled) : c->enabled))
        return PROLOGUE_PASS;
    struct counted *k = NEW(counted);
    k->config = c;
    k->d = d;
    k->hook.on_gone = on_gone;
    timer_init(&k->delay, d->worker->loop, on_delay);
    downstream_on_gone(d, &k->hook);
    stat_inc(c->stats, STAT_CONNECTION_LIMIT_ACTIVE);
    if (atomic_fetch_add_explicit(&c->connections, 1, memory_order_relaxed) < c->max_connections)
        return PROLOGUE_PASS;
    stat_inc(c->stats, STAT_CONNECTION_LIMIT_LIMITED);
    if (!c->delay_ms) {
        refuse(d);
        return PROLOGUE_CLOSED;
    }
    timer_set_ms(&k->delay, c->delay_ms);
    *state = k;
    return PROLOGUE_WAIT;
}

static void link(void *config, struct link_context *cx)
{
    (void)cx;
    struct connection_limit_config *c = config;
    if (!c->stats)
        c->stats = network_filter_scope("connection_limit", c->stat_prefix, STR("envoy.connection_limit_prefix"), &table);
}

const struct network_filter_def connection_limit_filter = {
    .name = "envoy.filters.network.connection_limit",
    .on_connection = on_connection,
    .link = link,
};
