/* SPDX-License-Identifier: Apache-2.0
 *
 * envoy.filters.network.rbac: decides about a connection once it stands (after TLS, so that its peer is known) and before
 * anything is read from it or said to it. What rules may ask of a connection doesn't change afterwards, so asking once is
 * also what enforcement_type CONTINUOUS comes to. A denied connection is closed at once or after delay_deny, unread
 * meanwhile. On the connection's worker.
 */
#include "base/mem.h"
#include "proxy/filter/rbac.h"
#include "proxy/filter/simple_network_filters.h"
#include "proxy/listener/listener.h"
#include "proxy/log/access_log.h"
#include "proxy/server.h"

#define SPACE STR("envoy.filters.network.rbac")

struct delayed { /* a denied connection that isn't closed yet */
    struct downstream *d;
    struct timer timer;
    struct deferred deferred;
};

static void leave(struct downstream *d, struct str space, struct str key, struct meta_value v)
{
    metadata_set(&d->metadata, downstream_arena(d), space, key, &v);
}

static void ask_shadow(struct downstream *d, const struct rbac_rules *r, const struct rbac_input *in)
{
    struct rbac_verdict v = rbac_ask(r, RBAC_SHADOW, in, r->stats);
    if (v.policy.n)
        leave(d, SPACE, r->policy_key, (struct meta_value){.kind = META_STRING, .u.string = v.policy});
    struct str result = v.is_allowed ? STR("allowed") : STR("denied");
    leave(d, SPACE, r->result_key, (struct meta_value){.kind = META_STRING, .u.string = result});
}

static void close_it(struct downstream *d)
{
    struct conn *conn = d->conn;
    downstream_closed(d, true, CONN_CLOSE_LOCAL);
    conn_set_handler(conn, NULL, NULL);
    conn_close(conn, CONN_CLOSE_LOCAL);
}

static void free_delayed(struct deferred *deferred)
{
    mem_free(CONTAINER_OF(deferred, delayed, deferred));
}

static void end_delay(struct delayed *w)
{
    timer_clear(&w->timer);
    loop_defer(w->d->worker->loop, &w->deferred, free_delayed);
}

static void on_delay(struct timer *t)
{
    struct delayed *w = CONTAINER_OF(t, delayed, timer);
    end_delay(w);
    close_it(w->d);
}

static void on_abort(struct downstream *d, void *state)
{
    (void)d;
    end_delay(state);
}

static enum prologue refuse(struct downstream *d, const struct network_rbac_config *c, struct str policy, void **state)
{
    d->termination_details = rbac_denial(policy, downstream_arena(d));
    if (!c->delay_deny_ms) {
        close_it(d);
        return PROLOGUE_CLOSED;
    }
    struct delayed *w = NEW(delayed);
    w->d = d;
    timer_init(&w->timer, d->worker->loop, on_delay);
    timer_set_ms(&w->timer, c->delay_deny_ms);
    *state = w;
    return PROLOGUE_WAIT;
}

static enum prologue on_connection(struct downstream *d, const void *config, void **state)
{
    const struct network_rbac_config *c = config;
    const struct rbac_rules *shadow = &c->rules[RBAC_SHADOW], *rules = &c->rules[RBAC_ENFORCED];
    struct stream_info info;
    struct rbac_input in;
    downstream_describe(d, &info);
    rbac_input_init(&in, NULL, &info, rbac_engine_wants_peer(rules->engine) || rbac_engine_wants_peer(shadow->engine));
    struct format_context cx = {.info = &info};
    in.format = &cx;
    if (shadow->engine)
        ask_shadow(d, shadow, &in);
    if (!rules->engine)
        return PROLOGUE_PASS;
    info.metadata = d->metadata;
    struct rbac_verdict v = rbac_ask(rules, RBAC_ENFORCED, &in, rules->stats);
    if (v.says_log)
        leave(d, STR("envoy.common"), STR("access_log_hint"), (struct meta_value){.kind = META_BOOL, .u.boolean = v.log});
    return v.is_allowed ? PROLOGUE_PASS : refuse(d, c, v.policy, state);
}

static void explain(const void *config, const struct stream_info *info, struct filter_words *out)
{
    const struct network_rbac_config *c = config;
    const struct rbac_rules *rules = &c->rules[RBAC_ENFORCED];
    struct format_context cx = {.info = info};
    struct rbac_input in;
    out->is_certain = !rules->engine || rbac_engine_is_settled(rules->engine);
    if (!rules->engine)
        return;
    rbac_input_init(&in, NULL, info, true);
    in.format = &cx;
    struct rbac_verdict v = rbac_decide(rules->engine, &in);
    rbac_explain(rules->engine, &in, RBAC_EXPLAINED_MAX, out->say, out->arg);
    out->closes = !v.is_allowed;
    if (out->closes)
        out->details = rbac_denial(v.policy, out->arena);
}

static void link(void *config, struct link_context *cx)
{
    (void)cx;
    struct network_rbac_config *c = config;
    struct strbuf prefix = {0};
    for (int m = 0; m < RBAC_MODES; m++) {
        struct rbac_rules *r = &c->rules[m];
        if (r->stats)
            continue;
        strbuf_reset(&prefix);
        strbuf_addf(&prefix, "%.*srbac.%.*s", STR_ARG(c->stat_prefix), STR_ARG(r->stat_prefix));
        r->stats = stat_scope_get(strbuf_str(&prefix), r->stat_prefix.n ? &rbac_lazy_stats : &rbac_stats, strbuf_str(&prefix), NULL, 0);
    }
    strbuf_fini(&prefix);
}

const struct network_filter_def network_rbac_filter = {
    .name = "envoy.filters.network.rbac",
    .on_connection = on_connection,
    .on_abort = on_abort,
    .link = link,
    .explain = explain,
};
