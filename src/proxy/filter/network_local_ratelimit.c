/* SPDX-License-Identifier: Apache-2.0
 *
 * envoy.filters.network.local_ratelimit: a token for each connection, from a bucket of all workers and, by share_key, of
 * several filter chains. A connection without a token is closed. On the connection's worker.
 */
#include "proxy/filter/simple_network_filters.h"

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"
#include "proxy/filter/filter_scope.h"
#include "proxy/server.h"

#define NETWORK_LOCAL_RATELIMIT_STATS(X)                                                           \
    X(NETWORK_LOCAL_RL_LIMITED, COUNTER, NONE, "rate_limited", "Connections closed for want of a token")
enum { NETWORK_LOCAL_RATELIMIT_STATS(STAT_ENUM_ROW) };
static const struct stat_desc rows[] = {NETWORK_LOCAL_RATELIMIT_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

static struct map *shared; /* share_key and numbers -> struct shared_bucket; main thread */

static struct str key_of(struct str key, const struct token_bucket_spec *spec, struct strbuf *out)
{
    strbuf_adds(out, key);
    strbuf_add(out, spec, sizeof *spec);
    return strbuf_str(out);
}

struct shared_bucket *shared_bucket_get(struct str key, const struct token_bucket_spec *spec)
{
    struct strbuf text = {0};
    struct shared_bucket *b = shared && key.n ? map_get(shared, key_of(key, spec, &text)) : NULL;
    if (!b) {
        b = NEW(shared_bucket);
        b->spec = *spec;
    }
    if (key.n && !b->refs) {
        shared = shared ? shared : map_new();
        strbuf_reset(&text);
        map_set(shared, key_of(key, spec, &text), b);
    }
    b->refs++;
    strbuf_fini(&text);
    return b;
}

void shared_bucket_unref(struct shared_bucket **bucket)
{
    struct shared_bucket *b = *bucket;
    size_t at = 0;
    struct str key;
    void *value;
    *bucket = NULL;
    if (!b || --b->refs)
        return;
    while (shared && map_next(shared, &at, &key, &value))
        if (value == b) {
            map_del(shared, key);
            break;
        }
    if (shared && !map_count(shared))
        map_free(&shared);
    mem_free(b);
}

static enum prologue on_connection(struct downstream *d, const void *config, void **state)
{
    (void)state;
    const struct network_local_ratelimit_config *c = config;
    struct conn *conn = d->conn;
    bool on = c->runtime_key.n ? runtime_bool(c->runtime_key, c->enabled) : c->enabled;
    if (!on || token_bucket_take(&c->bucket->bucket, &c->spec, 1, loop_now_us(d->worker->loop)))
        return PROLOGUE_PASS;
    stat_inc(c->stats, STAT_NETWORK_LOCAL_RL_LIMITED);
    downstream_closed(d, true, CONN_CLOSE_LOCAL);
    conn_set_handler(conn, NULL, NULL);
    conn_close(conn, CONN_CLOSE_LOCAL);
    return PROLOGUE_CLOSED;
}

static void link(void *config, struct link_context *cx)
{
    (void)cx;
    struct network_local_ratelimit_config *c = config;
    if (!c->stats)
        c->stats = network_filter_scope("local_rate_limit", c->stat_prefix, STR("envoy.local_network_ratelimit_prefix"), &table);
}

const struct network_filter_def network_local_ratelimit_filter = {
    .name = "envoy.filters.network.local_ratelimit",
    .on_connection = on_connection,
    .link = link,
};
