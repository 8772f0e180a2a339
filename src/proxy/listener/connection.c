/* SPDX-License-Identifier: Apache-2.0
 *
 * A downstream connection from accept to its terminal filter, and its end. On its worker.
 *
 *     accepted -> listener filters -> chain chosen -> TLS handshake -> prologue filters -> terminal
 *         any of these -> over
 *
 * Where nothing is to be looked at or waited for, accept reaches the terminal filter within one
 * call and one allocation. What only the stages before it need (timer, inspection) is a struct
 * pending, gone once the terminal filter has taken over. Invariant: `is_over` is set once, by
 * over(); from then on only the turn's end touches the downstream.
 */
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "proxy/config/tls_source.h"
#include "proxy/filter/filter_source.h"
#include "proxy/listener/listener_priv.h"
#include "proxy/overload/overload.h"
#include "proxy/log/access_log.h"
#include "proxy/stats/tls_stats.h"

#define DOWNSTREAMS_IDLE_MAX 256

struct connection;
struct pending {
    struct connection *owner;
    struct timer timer;
    struct inspection in;
    uint32_t filter;
    struct deferred deferred;
};
/* What stood in a place that discovery fills when the connection came by; kept, so that a filter sees one version. */
struct held {
    struct held *next;
    const struct filter_source *place;
    struct filter_config *config;
};
struct connection {
    struct downstream d;
    struct held *held;
    struct pending *pending;
    struct deferred deferred;
    bool is_over, is_counted, is_inspected, is_handed, owns_name;
};

static __thread struct recycler idle_connections = {.max_idle = DOWNSTREAMS_IDLE_MAX,
                                                    .object_bytes = sizeof(struct connection)};

static struct connection *of(struct downstream *d)
{
    return CONTAINER_OF(d, connection, d);
}

static struct listener *shared_of(const struct connection *c)
{
    return listener_of(c->d.listener);
}

static void inspect(struct connection *c);

/* ---- the end ---- */

static void free_pending(struct deferred *deferred)
{
    struct pending *p = CONTAINER_OF(deferred, pending, deferred);
    for (uint32_t i = 0; i < p->in.protocol_count; i++)
        str_free(&p->in.protocols[i]);
    mem_free(p->in.protocols);
    mem_free(p);
}

static void drop_pending(struct connection *c)
{
    struct pending *p = c->pending;
    if (!p)
        return;
    c->pending = NULL;
    timer_clear(&p->timer);
    loop_defer(c->d.worker->loop, &p->deferred, free_pending);
}

static void free_connection(struct deferred *deferred)
{
    struct connection *c = CONTAINER_OF(deferred, connection, deferred);
    if (c->owns_name)
        str_free(&c->d.server_name);
    filter_state_fini(&c->d.filter_state);
    if (c->d.arena) {
        arena_fini(c->d.arena);
        mem_free(c->d.arena);
    }
    recycler_put(&idle_connections, c);
}

static void log_end(struct connection *c, uint32_t flags, struct str details)
{
    const struct listener_spec *spec = c->d.listener->spec;
    struct conn *conn = c->d.conn;
    if (!spec->access_log_count)
        return;
    struct stream_info info = {
        .start_us = c->d.start_us,
        .start_wall_us = c->d.start_wall_us,
        .end_us = loop_now_us(c->d.worker->loop),
        .flags = flags,
        .details = details,
        .downstream = conn,
        .connection_id = conn_id(conn),
        .downstream_remote = conn_remote(conn),
        .downstream_direct_remote = conn_direct_remote(conn),
        .downstream_local = conn_local(conn),
        .bytes_received = conn_bytes_read(conn),
        .bytes_sent = conn_bytes_written(conn),
        .wire_bytes_received = conn_wire_read(conn),
        .wire_bytes_sent = conn_wire_written(conn),
        .downstream_failure = str_from(conn_failure_text(conn)),
        .requested_server_name = c->d.server_name,
        .filter_chain_name = c->d.chain ? c->d.chain->name : STR_NULL,
        .termination_details = c->d.termination_details,
        .metadata = c->d.metadata,
        .filter_state = {.parent = &c->d.filter_state},
    };
    struct format_context cx = {.info = &info, .log_type = "NotSet"};
    for (uint32_t i = 0; i < spec->access_log_count; i++)
        access_log_write(spec->access_logs[i], &cx);
}

static void uncount(struct connection *c)
{
    struct active *a = active_of(c->d.listener);
    if (!c->is_counted)
        return;
    stat_dec(a->base.stats, STAT_LISTENER_CX_ACTIVE);
    stat_inc(a->base.stats, STAT_LISTENER_CX_DESTROY);
    stat_dec(a->worker_stats, STAT_WORKER_LISTENER_CX_ACTIVE);
    stat_record(a->base.stats, STAT_LISTENER_CX_LENGTH_MS,
                (loop_now_us(c->d.worker->loop) - c->d.start_us) / 1000);
}

/* ---- what discovery brought ---- */

/* NULL: nothing is there. */
static struct filter_config *hold(struct connection *c, const struct filter_source *place)
{
    struct held *h = c->held;
    while (h && h->place != place)
        h = h->next;
    if (h)
        return h->config;
    struct filter_config *now = filter_source_now(place);
    if (!now || !(h = arena_alloc(downstream_arena(&c->d), sizeof *h)))
        return NULL;
    *h = (struct held){c->held, place, now};
    c->held = h;
    snapshot_hold(&now->base);
    return now;
}

static void release_held(struct connection *c)
{
    for (const struct held *h = c->held; h; h = h->next)
        snapshot_release(&h->config->base, c->d.worker->loop);
    c->held = NULL;
}

/* Of the chain, NULL: its settings haven't come. */
static const struct network_filter_spec *network_filter_at(struct connection *c, uint32_t index)
{
    const struct network_filter_spec *f = &c->d.chain->filters[index];
    struct filter_config *now = f->dynamic ? hold(c, f->dynamic) : NULL;
    return now ? &now->network : f->dynamic ? NULL : f;
}

/* ---- its parts end ---- */

static void leave_inspection(struct connection *c)
{
    if (!c->is_inspected)
        return;
    release_held(c);
    c->is_inspected = false;
    stat_dec(c->d.listener->stats, STAT_LISTENER_PRE_CX_ACTIVE);
    timer_clear(&c->pending->timer);
}

static void leave_listener(struct connection *c)
{
    atomic_fetch_sub_explicit(&shared_of(c)->counts[c->d.worker->index].connections, 1, memory_order_relaxed);
    list_remove(&c->d.node);
}

static void over(struct connection *c, uint32_t flags, struct str details)
{
    struct worker *w = c->d.worker;
    struct active *a = active_of(c->d.listener);
    if (COUNT_IF(c->is_over, "a downstream connection ended twice"))
        return;
    c->is_over = true;
    leave_inspection(c);
    uncount(c);
    log_end(c, flags, details);
    for (struct downstream_hook *next, *hook = c->d.hooks; hook; hook = next) {
        next = hook->next;
        hook->on_gone(&c->d, hook);
    }
    release_held(c);
    drop_pending(c);
    leave_listener(c);
    loop_defer(w->loop, &c->deferred, free_connection);
    __atomic_store_n(&w->connections, w->connections - 1, __ATOMIC_RELAXED);
    active_connection_gone(a);
}

struct arena *downstream_arena(struct downstream *d)
{
    if (!d->arena) {
        d->arena = mem_alloc(sizeof(*d->arena));
        arena_init(d->arena, DOWNSTREAM_ARENA_BYTES);
    }
    return d->arena;
}

void downstream_closed(struct downstream *d, bool local, enum conn_close why)
{
    (void)local, (void)why;
    over(of(d), 0, STR_NULL);
}

static void refuse(struct connection *c, uint32_t flags, struct str details)
{
    over(c, flags, details);
    conn_set_handler(c->d.conn, NULL, NULL);
    conn_close(c->d.conn, CONN_CLOSE_LOCAL);
}

void connection_close(struct downstream *d)
{
    struct connection *c = of(d);
    bool is_waiting = d->chain && !d->terminal && d->prologue_state;
    const struct network_filter_spec *waiting =
        is_waiting ? network_filter_at(c, d->prologue_at) : NULL;
    if (d->terminal && d->terminal->close) {
        d->terminal->close(d);
        return;
    }
    if (waiting && waiting->def->on_abort)
        waiting->def->on_abort(d, d->prologue_state);
    if (!c->is_over)
        refuse(c, 0, STR_NULL);
}

void connection_drain(struct downstream *d)
{
    if (d->terminal && d->terminal->drain)
        d->terminal->drain(d);
}

void connection_move(struct downstream *d, struct active *to)
{
    leave_listener(of(d));
    d->listener = &to->base;
    list_push_back(&to->base.connections, &d->node);
    atomic_fetch_add_explicit(&listener_of(&to->base)->counts[d->worker->index].connections, 1, memory_order_relaxed);
}

/* A generation that came while this connection was looked at: it is the next one's where that has its chain too. */
static void follow_chain(struct connection *c, const struct filter_chain *chain)
{
    struct active *from = active_of(c->d.listener);
    struct listener *next;
    if (!from->is_stopped)
        return;
    while ((next = shared_of(c)->successor) && next->actives[c->d.worker->index].is_started && !is_replaced_by(next, chain))
        connection_move(&c->d, &next->actives[c->d.worker->index]);
    if (active_of(c->d.listener) != from)
        active_connection_gone(from);
}

/* ---- network filters ---- */

static void on_nothing(struct conn *conn, void *user)
{
    (void)conn, (void)user;
}

static void on_waiting_closed(struct conn *conn, void *user, enum conn_close why)
{
    (void)conn, (void)why;
    struct connection *c = user;
    const struct network_filter_spec *waiting = network_filter_at(c, c->d.prologue_at);
    if (waiting->def->on_abort)
        waiting->def->on_abort(&c->d, c->d.prologue_state);
    over(c, 0, STR_NULL);
}

static const struct conn_handler waiting_handler = {.on_connected = on_nothing,
                                                    .on_data = on_nothing,
                                                    .on_end = on_nothing,
                                                    .on_closed = on_waiting_closed};

static void attach(struct connection *c, const struct network_filter_spec *f)
{
    struct active *a = active_of(c->d.listener);
    drop_pending(c);
    c->d.terminal = f->def;
    f->def->attach(&c->d, f->config);
    if (!c->is_over && a->base.draining && !timer_is_set(&a->drain_timer))
        connection_drain(&c->d);
}

static void run_network_filters(struct connection *c)
{
    const struct filter_chain *chain = c->d.chain;
    for (; c->d.prologue_at + 1 < chain->filter_count; c->d.prologue_at++) {
        const struct network_filter_spec *f = network_filter_at(c, c->d.prologue_at);
        c->d.prologue_state = NULL;
        if (!f) {
            stat_inc(c->d.listener->stats, STAT_LISTENER_NETWORK_EXTENSION_CONFIG_MISSING);
            refuse(c, FLAG_NFCF, STR_NULL);
            return;
        }
        switch (f->def->on_connection(&c->d, f->config, &c->d.prologue_state)) {
        case PROLOGUE_PASS:
            break;
        case PROLOGUE_WAIT:
            conn_read_pause(c->d.conn); /* what comes meanwhile waits in the socket */
            conn_set_handler(c->d.conn, &waiting_handler, c);
            return;
        case PROLOGUE_CLOSED:
            return;
        }
    }
    if (!chain->filter_count)
        refuse(c, 0, STR_NULL); /* Envoy too closes where no filter is */
    else
        attach(c, &chain->filters[chain->filter_count - 1]);
}

void downstream_continue(struct downstream *d)
{
    conn_read_resume(d->conn);
    d->prologue_at++;
    run_network_filters(of(d));
}

/* ---- transport ---- */

static void on_secured(struct conn *conn, void *user)
{
    struct connection *c = user;
    struct tls_session *tls = conn_tls(conn);
    tls_stats_done(c->d.listener->tls_stats, tls);
    if (!c->d.server_name.n)
        c->d.server_name =
            tls_session_sni(tls); /* the session's, which the conn outlives us with */
    c->d.alpn = tls_session_alpn(tls);
    run_network_filters(c);
}

static void on_handshake_closed(struct conn *conn, void *user, enum conn_close why)
{
    struct connection *c = user;
    if (why == CONN_CLOSE_TLS_FAILED)
        tls_stats_failed(c->d.listener->tls_stats, conn_tls(conn));
    over(c, 0, STR_NULL);
}

static void on_handshake_end(struct conn *conn, void *user)
{
    over(user, 0, STR_NULL);
    conn_close(conn, CONN_CLOSE_REMOTE_EOF);
}

static const struct conn_handler handshake_handler = {.on_connected = on_secured,
                                                      .on_data = on_nothing,
                                                      .on_end = on_handshake_end,
                                                      .on_closed = on_handshake_closed};

static struct pending *pending_of(struct connection *c, timer_fn on_timer, uint64_t ms)
{
    struct pending *p = c->pending;
    if (!p) {
        p = c->pending = NEW(pending);
        p->owner = c;
        p->in.conn = c->d.conn;
        p->in.downstream = &c->d;
    }
    timer_clear(&p->timer);
    timer_init(&p->timer, c->d.worker->loop, on_timer);
    if (ms)
        timer_set_ms(&p->timer, ms);
    return p;
}

static void on_handshake_timeout(struct timer *t)
{
    struct connection *c = CONTAINER_OF(t, pending, timer)->owner;
    stat_inc(c->d.listener->stats, STAT_LISTENER_CX_TRANSPORT_TIMEOUT);
    over(c, 0, STR_NULL);
    conn_close(c->d.conn, CONN_CLOSE_TLS_TIMEOUT);
}

static void start_tls(struct connection *c)
{
    struct err err = {0};
    struct tls_context *ctx = tls_source_get(c->d.chain->tls);
    int rc = ctx ? conn_start_tls(c->d.conn, ctx, NULL, &err) : ERR_STATE;
    tls_context_unref(&ctx);
    if (rc) {
        LOG(CONN_HANDLER, DEBUG, "[C%lu] no TLS: %s", (unsigned long)conn_id(c->d.conn),
            rc == ERR_STATE ? "no certificate yet" : err.message);
        if (rc == ERR_STATE)
            stat_inc(c->d.listener->tls_socket_stats, STAT_TLS_DOWNSTREAM_NOT_READY);
        refuse(c, 0, STR_NULL);
        return;
    }
    conn_set_handler(c->d.conn, &handshake_handler, c);
    uint64_t timeout_us = overload_timeout_us(OVERLOAD_TIMER_TRANSPORT_CONNECT, c->d.chain->transport_timeout_ms * 1000);
    if (timeout_us)
        pending_of(c, on_handshake_timeout, (timeout_us + 999) / 1000);
}

static void start_chain(struct connection *c, const struct filter_chain *chain)
{
    follow_chain(c, chain);
    struct active *a = active_of(c->d.listener);
    c->d.chain = chain;
    c->is_counted = true;
    stat_inc(a->base.stats, STAT_LISTENER_CX_TOTAL);
    stat_inc(a->base.stats, STAT_LISTENER_CX_ACTIVE);
    stat_inc(a->worker_stats, STAT_WORKER_LISTENER_CX_TOTAL);
    stat_inc(a->worker_stats, STAT_WORKER_LISTENER_CX_ACTIVE);
    if (chain->tls)
        start_tls(c);
    else
        run_network_filters(c);
}

/* ---- the chain ---- */

static const struct filter_chain *choose(const struct connection *c)
{
    const struct listener_spec *spec = c->d.listener->spec;
    const struct pending *p = c->pending;
    struct chain_query q = {
        .destination = conn_local(c->d.conn),
        .source = conn_remote(c->d.conn),
        .direct_source = conn_direct_remote(c->d.conn),
        .server_name = c->d.server_name,
        .transport_protocol =
            c->d.detected_transport.n ? c->d.detected_transport : STR("raw_buffer"),
        .application_protocols = p ? p->in.protocols : NULL,
        .application_protocol_count = p ? p->in.protocol_count : 0,
    };
    const struct filter_chain *chain = spec->index ? chain_index_find(spec->index, &q) : NULL;
    return chain ? chain : spec->default_chain;
}

static void choose_chain(struct connection *c)
{
    const struct filter_chain *chain = shared_of(c)->sole;
    if (!chain)
        chain = choose(c);
    if (chain) {
        start_chain(c, chain);
        return;
    }
    stat_inc(c->d.listener->stats, STAT_LISTENER_NO_FILTER_CHAIN);
    LOG(CONN_HANDLER, DEBUG, "[C%lu] closing: no matching filter chain found",
        (unsigned long)conn_id(c->d.conn));
    refuse(c, FLAG_NR, STR("filter_chain_not_found"));
}

/* ---- listener filters ---- */

/* A peer's text may hold NULs. */
static struct str copy(struct str s)
{
    char *p = mem_alloc(s.n);
    memcpy(p, s.p, s.n);
    return str_make(p, s.n);
}

void inspection_set_name(struct inspection *in, struct str name)
{
    struct connection *c = of(in->downstream);
    if (c->owns_name)
        str_free(&c->d.server_name);
    c->owns_name = name.n > 0;
    c->d.server_name = name.n ? copy(name) : STR_NULL;
}

void inspection_add_protocol(struct inspection *in, struct str name)
{
    in->protocols = mem_realloc(in->protocols, (in->protocol_count + 1) * sizeof(*in->protocols));
    in->protocols[in->protocol_count++] = copy(name);
}

static bool hand_over(struct connection *c);

static void on_inspected_data(struct conn *conn, void *user)
{
    (void)conn;
    inspect(user);
}

static void on_inspected_end(struct conn *conn, void *user)
{
    struct connection *c = user;
    stat_inc(c->d.listener->stats, STAT_LISTENER_LF_REMOTE_CLOSE);
    over(c, 0, STR_NULL);
    conn_close(conn, CONN_CLOSE_REMOTE_EOF);
}

static void on_inspected_closed(struct conn *conn, void *user, enum conn_close why)
{
    (void)conn, (void)why;
    struct connection *c = user;
    stat_inc(c->d.listener->stats, STAT_LISTENER_LF_ERROR); /* as Envoy: reading failed */
    over(c, 0, STR_NULL);
}

static const struct conn_handler inspect_handler = {.on_connected = on_nothing,
                                                    .on_data = on_inspected_data,
                                                    .on_end = on_inspected_end,
                                                    .on_closed = on_inspected_closed};

static void on_inspection_timeout(struct timer *t)
{
    struct connection *c = CONTAINER_OF(t, pending, timer)->owner;
    const struct listener_spec *spec = c->d.listener->spec;
    stat_inc(c->d.listener->stats, STAT_LISTENER_PRE_CX_TIMEOUT);
    leave_inspection(c);
    if (spec->continue_on_listener_filters_timeout) {
        conn_set_handler(c->d.conn, NULL, NULL);
        if (!hand_over(c))
            choose_chain(c);
    } else {
        refuse(c, 0, STR_NULL);
    }
}

/* ---- the listener that it was meant for (use_original_dst) ---- */

static bool is_past_own_limit(struct active *a);
static void look_at(struct connection *c);

/* Counted and limited by who takes it; the listener that accepted it is free of it. */
static bool hand_over(struct connection *c)
{
    struct active *from = active_of(c->d.listener);
    if (!from->base.spec->use_original_dst || c->is_handed || !c->d.original_dst_restored)
        return false;
    struct active *to = active_at(c->d.worker, conn_local(c->d.conn));
    if (!to || to == from)
        return false;
    c->is_handed = true;
    connection_move(&c->d, to);
    active_connection_gone(from);
    if (is_past_own_limit(to)) {
        refuse(c, 0, STR_NULL);
        return true;
    }
    look_at(c);
    return true;
}

static void inspect(struct connection *c)
{
    const struct listener_spec *spec = c->d.listener->spec;
    struct pending *p = c->pending;
    for (; p->filter < spec->listener_filter_count; p->filter++) {
        const struct listener_filter_spec *f = &spec->listener_filters[p->filter];
        if (f->disabled && listener_predicate_holds(f->disabled, conn_local(c->d.conn)))
            continue;
        struct filter_config *now = f->dynamic ? hold(c, f->dynamic) : NULL;
        if (f->dynamic && !now) {
            stat_inc(c->d.listener->stats, STAT_LISTENER_EXTENSION_CONFIG_MISSING);
            refuse(c, FLAG_NFCF, STR_NULL);
            return;
        }
        p->in.stats = now ? now->stats : shared_of(c)->filter_stats[p->filter];
        switch ((now ? now->listener.def : f->def)->look(&p->in, now ? now->listener.config : f->config)) {
        case INSPECT_DONE:
            p->in.seen = 0;
            break;
        case INSPECT_MORE:
            return;
        case INSPECT_CLOSE:
            refuse(c, 0, STR_NULL);
            return;
        }
    }
    leave_inspection(c);
    conn_set_handler(c->d.conn, NULL, NULL);
    if (!hand_over(c))
        choose_chain(c);
}

/* ---- the beginning ---- */

static void look_at(struct connection *c)
{
    const struct listener_spec *spec = c->d.listener->spec;
    if (!spec->listener_filter_count) {
        choose_chain(c);
        return;
    }
    stat_inc(c->d.listener->stats, STAT_LISTENER_PRE_CX_ACTIVE);
    c->is_inspected = true;
    struct pending *p = pending_of(c, on_inspection_timeout, spec->listener_filters_timeout_ms);
    p->filter = 0;
    p->in.seen = 0;
    conn_set_handler(c->d.conn, &inspect_handler, c);
    inspect(c);
}

static void start(struct active *a, int fd, const struct addr *remote, const struct addr *local)
{
    struct worker *w = a->base.worker;
    struct connection *c = recycler_get(&idle_connections);
    *c = (struct connection){.d = {
                                 .conn = conn_new_accepted(w->loop, fd, remote, local),
                                 .worker = w,
                                 .listener = &a->base,
                                 .start_us = loop_now_us(w->loop),
                                 .start_wall_us = loop_wall_us(w->loop),
                             }};
    list_push_back(&a->base.connections, &c->d.node);
    check_context.connection_id = conn_id(c->d.conn);
    look_at(c);
}

static void count_in(struct listener *l, struct worker *w, int64_t n)
{
    atomic_fetch_add(&l->counts[w->index].connections, (uint64_t)n);
    __atomic_store_n(&w->connections, w->connections + (uint64_t)n, __ATOMIC_SEQ_CST);
}

static uint64_t listener_total(struct listener *l)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < l->server->worker_count; i++)
        n += atomic_load(&l->counts[i].connections);
    return n;
}

static uint64_t global_total(struct server *s)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < s->worker_count; i++)
        n += __atomic_load_n(&s->workers[i].connections, __ATOMIC_SEQ_CST);
    return n;
}

static bool is_past_own_limit(struct active *a)
{
    struct listener *l = listener_of(&a->base);
    uint64_t limit = atomic_load_explicit(&l->limit, memory_order_relaxed);
    if (!limit || listener_total(l) <= limit)
        return false;
    stat_inc(a->base.stats, STAT_LISTENER_CX_OVERFLOW);
    return true;
}

/* Counted first, then checked: workers that race for the last place may both be refused, never both
 * be let in. */
static bool is_past_limit(struct active *a)
{
    struct listener *l = listener_of(&a->base);
    struct rng *rng = loop_rng(a->base.worker->loop);
    if (!l->spec->bypass_overload &&
        (overload_hits(OVERLOAD_REJECT_INCOMING_CONNECTIONS, rng) || overload_hits(OVERLOAD_TCP_LISTENER_ACCEPT, rng))) {
        stat_inc(a->base.stats, STAT_LISTENER_CX_OVERLOAD_REJECT);
        return true;
    }
    uint64_t global = __atomic_load_n(&l->server->max_connections_global, __ATOMIC_RELAXED);
    if (global && !l->spec->ignore_global_conn_limit && global_total(l->server) > global) {
        stat_inc(a->base.stats, STAT_LISTENER_GLOBAL_CX_OVERFLOW);
        return true;
    }
    return is_past_own_limit(a);
}

struct handed {
    struct active *active;
    const struct addr *local;
    int fd;
    struct addr remote;
};

/* A generation may have followed while the connection was on its way. */
static void follow_listener(struct handed *h)
{
    struct active *from = h->active;
    struct listener *next;
    uint32_t index = from->base.worker->index;
    while (h->active->is_stopped && (next = listener_of(&h->active->base)->successor) && next->actives[index].is_started)
        h->active = &next->actives[index];
    if (h->active == from)
        return;
    h->local = NULL; /* the other listener's, who may go */
    atomic_fetch_add(&listener_of(&h->active->base)->counts[index].connections, 1);
    atomic_fetch_sub(&listener_of(&from->base)->counts[index].connections, 1);
    active_connection_gone(from);
}

static void take_handed(void *arg)
{
    struct handed *h = arg;
    struct worker *w = h->active->base.worker;
    follow_listener(h);
    __atomic_store_n(&w->connections, w->connections + 1, __ATOMIC_SEQ_CST);
    if (h->active->is_stopped) {
        close(h->fd);
        __atomic_store_n(&w->connections, w->connections - 1, __ATOMIC_SEQ_CST);
        atomic_fetch_sub(&listener_of(&h->active->base)->counts[w->index].connections, 1);
        active_connection_gone(h->active);
    } else {
        start(h->active, h->fd, &h->remote, h->local);
    }
    addr_fini(&h->remote);
    mem_free(h);
}

/* exact_balance: the worker with the fewest; its count includes those on their way to it. */
static struct active *fewest(struct active *self)
{
    struct listener *l = listener_of(&self->base);
    uint32_t best = self->base.worker->index;
    uint64_t least = atomic_load_explicit(&l->counts[best].connections, memory_order_relaxed);
    for (uint32_t i = 0; i < l->server->worker_count; i++) {
        uint64_t n = atomic_load_explicit(&l->counts[i].connections, memory_order_relaxed);
        if (n < least) {
            least = n;
            best = i;
        }
    }
    return &l->actives[best];
}

void connection_accept(void *active_socket, int fd, const struct addr *remote)
{
    const struct active_socket *socket = active_socket;
    struct active *a = socket->active;
    struct listener *l = listener_of(&a->base);
    struct active *to = l->spec->exact_balance ? fewest(a) : a;
    count_in(l, a->base.worker, 1);
    if (is_past_limit(a)) {
        count_in(l, a->base.worker, -1);
        close(fd);
        return;
    }
    if (to == a) {
        start(a, fd, remote, socket->local);
        return;
    }
    struct handed *h = NEW(handed);
    count_in(l, a->base.worker, -1);
    atomic_fetch_add(&l->counts[to->base.worker->index].connections, 1);
    h->active = to;
    h->local = socket->local;
    h->fd = fd;
    addr_copy(&h->remote, remote);
    loop_post(to->base.worker->loop, take_handed, h);
}
