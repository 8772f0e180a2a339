/* SPDX-License-Identifier: Apache-2.0
 *
 * envoy.filters.network.ratelimit: asks a rate-limit service whether a connection may go on, before its first byte is
 * read; what the client sends meanwhile waits in its socket. On the connection's worker; a running call is cancelled
 * when the connection goes.
 */
#include "proxy/filter/ratelimit.h"

#include "base/mem.h"
#include "proxy/filter/filter_scope.h"
#include "proxy/listener/listener.h"
#include "proxy/server.h"
#include "proxy/service/rate_limit_service.h"

#define ARENA_BYTES 65536

static const struct stat_desc rows[] = {NETWORK_RATELIMIT_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

struct asking {
    struct downstream *d;
    const struct network_ratelimit_config *config;
    struct rate_limit_call *call;
};

static void describe_connection(const struct downstream *d, struct stream_info *info)
{
    *info = (struct stream_info){
        .start_us = d->start_us,
        .start_wall_us = d->start_wall_us,
        .downstream = d->conn,
        .connection_id = conn_id(d->conn),
        .downstream_remote = conn_remote(d->conn),
        .downstream_direct_remote = conn_direct_remote(d->conn),
        .downstream_local = conn_local(d->conn),
        .requested_server_name = d->server_name,
        .filter_chain_name = d->chain->name,
    };
}

static void run_formats(const struct network_ratelimit_config *c, const struct format_context *cx, struct arena *a,
                        struct rate_limit_descriptors *out)
{
    struct strbuf text = {0};
    out->items = arena_zalloc(a, c->descriptor_count * sizeof *out->items);
    for (uint32_t i = 0; out->items && i < c->descriptor_count; i++) {
        const struct network_rate_limit_descriptor *from = &c->descriptors[i];
        struct rate_limit_descriptor *d = &out->items[out->count++];
        *d = from->fixed;
        d->entries = arena_zalloc(a, from->count * sizeof *d->entries);
        for (uint32_t k = 0; d->entries && k < from->count; k++) {
            strbuf_reset(&text);
            format_run(from->entries[k].value, cx, &text);
            d->entries[d->count++] = (struct rate_limit_entry){from->entries[k].key, arena_str(a, strbuf_str(&text))};
        }
    }
    strbuf_fini(&text);
}

static bool is_enforced(struct downstream *d)
{
    return runtime_fraction(STR("ratelimit.tcp_filter_enforcing"), 100, 100, rng_next(loop_rng(d->worker->loop)));
}

/* Counts an answer; true: the connection may go on. */
static bool judge(const struct network_ratelimit_config *c, struct downstream *d, const struct rate_limit_answer *answer)
{
    bool pass = true;
    if (!answer) {
        stat_inc(c->stats, STAT_NETWORK_RATELIMIT_ERROR);
        pass = !c->failure_mode_deny;
        if (pass)
            stat_inc(c->stats, STAT_NETWORK_RATELIMIT_FAILURE_MODE_ALLOWED);
    } else if (answer->over_limit) {
        stat_inc(c->stats, STAT_NETWORK_RATELIMIT_OVER_LIMIT);
        pass = !is_enforced(d);
    } else {
        stat_inc(c->stats, STAT_NETWORK_RATELIMIT_OK);
    }
    if (!pass)
        stat_inc(c->stats, STAT_NETWORK_RATELIMIT_CX_CLOSED);
    return pass;
}

static void close_it(struct downstream *d)
{
    conn_set_handler(d->conn, NULL, NULL);
    conn_close(d->conn, CONN_CLOSE_LOCAL);
    downstream_closed(d, true, CONN_CLOSE_LOCAL);
}

static void on_answer(void *user, const struct rate_limit_answer *answer)
{
    struct asking *q = user;
    struct downstream *d = q->d;
    const struct network_ratelimit_config *c = q->config;
    stat_dec(c->stats, STAT_NETWORK_RATELIMIT_ACTIVE);
    mem_free(q);
    if (judge(c, d, answer))
        downstream_continue(d);
    else
        close_it(d);
}

static enum prologue on_connection(struct downstream *d, const void *config, void **state)
{
    const struct network_ratelimit_config *c = config;
    struct rate_limit_descriptors descriptors = {0};
    struct stream_info info;
    struct arena a;
    if (!runtime_fraction(STR("ratelimit.tcp_filter_enabled"), 100, 100, rng_next(loop_rng(d->worker->loop))))
        return PROLOGUE_PASS;
    describe_connection(d, &info);
    struct format_context cx = {.info = &info};
    arena_init(&a, ARENA_BYTES);
    run_formats(c, &cx, &a, &descriptors);
    struct asking *q = NEW(asking);
    q->d = d;
    q->config = c;
    stat_inc(c->stats, STAT_NETWORK_RATELIMIT_TOTAL);
    q->call = rate_limit_ask(&c->service, c->domain, &descriptors, 0, &cx, on_answer, q);
    arena_fini(&a);
    if (q->call) {
        stat_inc(c->stats, STAT_NETWORK_RATELIMIT_ACTIVE);
        *state = q;
        return PROLOGUE_WAIT;
    }
    mem_free(q);
    if (judge(c, d, NULL))
        return PROLOGUE_PASS;
    close_it(d);
    return PROLOGUE_CLOSED;
}

static void on_abort(struct downstream *d, void *state)
{
    (void)d;
    struct asking *q = state;
    stat_dec(q->config->stats, STAT_NETWORK_RATELIMIT_ACTIVE);
    rate_limit_call_cancel(&q->call);
    mem_free(q);
}

static void link_config(void *config, struct link_context *cx)
{
    (void)cx;
    struct network_ratelimit_config *c = config;
    if (!c->stats)
        c->stats = network_filter_scope("ratelimit", c->stat_prefix, STR("envoy.ratelimit_prefix"), &table);
}

const struct network_filter_def network_ratelimit_filter = {
    .name = "envoy.filters.network.ratelimit",
    .on_connection = on_connection,
    .on_abort = on_abort,
    .link = link_config,
};
