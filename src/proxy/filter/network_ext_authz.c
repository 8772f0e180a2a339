/* SPDX-License-Identifier: Apache-2.0
 *
 * envoy.filters.network.ext_authz: asks an authorization service once whether a connection may go on, when it (and its TLS)
 * stands and before its first byte is read; what the client sends meanwhile waits in its socket. On the connection's worker;
 * a running call is cancelled when the connection goes.
 */
#include "base/mem.h"
#include "proxy/filter/ext_authz.h"
#include "proxy/filter/filter_scope.h"
#include "proxy/filter/simple_network_filters.h"
#include "proxy/listener/listener.h"
#include "proxy/server.h"

#define METADATA_SPACE STR("envoy.filters.network.ext_authz")

static const struct stat_desc rows[] = {NETWORK_EXT_AUTHZ_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

struct asking {
    struct downstream *d;
    const struct network_ext_authz_config *config;
    struct authz_call *call;
};

/* True: the connection may go on. */
static bool judge(const struct network_ext_authz_config *c, struct downstream *d, const struct authz_answer *answer)
{
    bool pass = false;
    if (answer->metadata.kind == META_STRUCT)
        metadata_merge(&d->metadata, downstream_arena(d), METADATA_SPACE, &answer->metadata);
    if (answer->verdict == AUTHZ_OK) {
        stat_inc(c->stats, STAT_TCP_AUTHZ_OK);
        return true;
    }
    if (answer->verdict == AUTHZ_ERROR) {
        stat_inc(c->stats, STAT_TCP_AUTHZ_ERROR);
        pass = c->failure_mode_allow;
        if (pass)
            stat_inc(c->stats, STAT_TCP_AUTHZ_FAILURE_MODE_ALLOWED);
    } else {
        stat_inc(c->stats, STAT_TCP_AUTHZ_DENIED);
    }
    if (!pass) {
        stat_inc(c->stats, STAT_TCP_AUTHZ_CX_CLOSED);
        d->termination_details = answer->verdict == AUTHZ_ERROR ? STR("ext_authz_error") : STR("ext_authz_denied");
    }
    return pass;
}

static void close_it(struct downstream *d)
{
    conn_set_handler(d->conn, NULL, NULL);
    conn_close(d->conn, CONN_CLOSE_LOCAL);
    downstream_closed(d, true, CONN_CLOSE_LOCAL);
}

static void on_answer(void *user, const struct authz_answer *answer)
{
    struct asking *q = user;
    struct downstream *d = q->d;
    const struct network_ext_authz_config *c = q->config;
    stat_dec(c->stats, STAT_TCP_AUTHZ_ACTIVE);
    mem_free(q);
    if (judge(c, d, answer))
        downstream_continue(d);
    else
        close_it(d);
}

static enum prologue on_connection(struct downstream *d, const void *config, void **state)
{
    static const struct authz_answer failed = {.verdict = AUTHZ_ERROR};
    const struct network_ext_authz_config *c = config;
    struct stream_info info;
    downstream_describe(d, &info);
    info.metadata = d->metadata;
    if (c->enabled_metadata && !metadata_matches(c->enabled_metadata, &info.metadata)) {
        stat_inc(c->stats, STAT_TCP_AUTHZ_DISABLED);
        return PROLOGUE_PASS;
    }
    struct format_context cx = {.info = &info};
    const struct authz_check check = {.telling = &c->telling, .info = &info};
    struct asking *q = NEW(asking);
    q->d = d;
    q->config = c;
    stat_inc(c->stats, STAT_TCP_AUTHZ_TOTAL);
    q->call = authz_ask(&c->service, &check, &cx, on_answer, q);
    if (q->call) {
        stat_inc(c->stats, STAT_TCP_AUTHZ_ACTIVE);
        *state = q;
        return PROLOGUE_WAIT;
    }
    mem_free(q);
    if (judge(c, d, &failed))
        return PROLOGUE_PASS;
    close_it(d);
    return PROLOGUE_CLOSED;
}

static void on_abort(struct downstream *d, void *state)
{
    (void)d;
    struct asking *q = state;
    stat_dec(q->config->stats, STAT_TCP_AUTHZ_ACTIVE);
    authz_call_cancel(&q->call);
    mem_free(q);
}

static void link_config(void *config, struct link_context *cx)
{
    (void)cx;
    struct network_ext_authz_config *c = config;
    if (!c->stats)
        c->stats = network_filter_scope("ext_authz", c->stat_prefix, STR("envoy.ext_authz_prefix"), &table);
}

const struct network_filter_def network_ext_authz_filter = {
    .name = "envoy.filters.network.ext_authz",
    .on_connection = on_connection,
    .on_abort = on_abort,
    .link = link_config,
};
