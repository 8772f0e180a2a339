/* SPDX-License-Identifier: Apache-2.0
 *
 * Listeners as a whole: sockets (opened on the main thread, so that faults show before anything
 * starts), statistics, and each worker's share. Workers accept on their own; the manager reaches
 * them by broadcast only. A listener lives until the manager and every worker has let go, and is
 * freed on the main thread. Refuses a listener of which any address can't be had, naming both.
 */
#include <errno.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "proxy/listener/listener_priv.h"
#include "proxy/runtime.h"
#include "proxy/stats/tls_stats.h"

#include <stdio.h>

#define DRAIN_TICK_MS 100

static const struct stat_desc listener_rows[] = {LISTENER_STATS(STAT_DESC_ROW)};
static const struct stat_table listener_table = {listener_rows, ARRAY_LEN(listener_rows)};
static const struct stat_desc worker_rows[] = {WORKER_LISTENER_STATS(STAT_DESC_ROW)};
static const struct stat_table worker_table = {worker_rows, ARRAY_LEN(worker_rows)};

#define MANAGER_STATS(X)                                                                           \
    X(LM_ADDED, COUNTER, NONE, "listener_added", "Listeners added")                                \
    X(LM_CREATE_FAILURE, COUNTER, NONE, "listener_create_failure",                                 \
      "Listeners that a worker could not start")                                                   \
    X(LM_CREATE_SUCCESS, COUNTER, NONE, "listener_create_success",                                 \
      "Listeners started, a count for each worker")                                                \
    X(LM_IN_PLACE_UPDATED, COUNTER, NONE, "listener_in_place_updated", "")                         \
    X(LM_MODIFIED, COUNTER, NONE, "listener_modified", "")                                         \
    X(LM_REMOVED, COUNTER, NONE, "listener_removed", "")                                           \
    X(LM_STOPPED, COUNTER, NONE, "listener_stopped", "Listeners stopped")                          \
    X(LM_CHAINS_DRAINING, GAUGE, NONE, "total_filter_chains_draining", "")                         \
    X(LM_ACTIVE, GAUGE, NONE, "total_listeners_active", "Listeners running")                       \
    X(LM_DRAINING, GAUGE, NONE, "total_listeners_draining", "Listeners draining")                  \
    X(LM_WARMING, GAUGE, NONE, "total_listeners_warming", "")                                      \
    X(LM_WORKERS_PINNED, GAUGE, NONE, "workers_pinned", "")                                        \
    X(LM_WORKERS_STARTED, GAUGE, NONE, "workers_started", "1 once the workers run")
enum manager_stat { MANAGER_STATS(STAT_ENUM_ROW) };
static const struct stat_desc manager_rows[] = {MANAGER_STATS(STAT_DESC_ROW)};
static const struct stat_table manager_table = {manager_rows, ARRAY_LEN(manager_rows)};

struct listener_manager {
    struct server *server;
    struct list listeners;
    struct stat_scope *stats;
    uint32_t active, draining;
    bool is_started;
};

/* ---- a listener's life ---- */

static void close_sockets(struct listener *l)
{
    for (uint32_t i = 0; i < l->fd_count; i++)
        close(l->fds[i]);
    l->fd_count = 0;
    for (uint32_t i = 0; l->bound && i < l->spec->address_count; i++) {
        const struct addr *a = &l->bound[i];
        if (a->sa.sa_family == AF_UNIX && a->unix_path && a->unix_path[0] == '/')
            unlink(a->unix_path);
    }
}

static void destroy(void *arg)
{
    struct listener *l = arg;
    close_sockets(l);
    for (uint32_t i = 0; i < l->spec->address_count; i++)
        addr_fini(&l->bound[i]);
    for (uint32_t i = 0; i < l->spec->listener_filter_count; i++)
        stat_scope_unref(&l->filter_stats[i]);
    for (uint32_t i = 0; i < l->server->worker_count; i++) {
        stat_scope_unref(&l->actives[i].worker_stats);
        mem_free(l->actives[i].sockets);
    }
    stat_scope_unref(&l->stats);
    stat_scope_unref(&l->tls_stats);
    stat_scope_unref(&l->tls_socket_stats);
    listener_spec_free(&l->spec);
    mem_free(l->fds);
    mem_free(l->first_fd);
    mem_free(l->bound);
    mem_free(l->filter_stats);
    mem_free(l->counts);
    mem_free(l->actives);
    l->magic = 0;
    mem_free(l);
}

static void unref(struct listener *l)
{
    if (atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (worker_current())
        loop_post(l->server->main_loop, destroy, l);
    else
        destroy(l);
}

/* ---- statistics ---- */

static struct stat_scope *scope(const char *middle, struct str name, const char *suffix,
                                const char *extracted, const struct stat_table *table)
{
    struct strbuf prefix = {0};
    strbuf_addz(&prefix, middle);
    strbuf_adds(&prefix, name);
    strbuf_addz(&prefix, suffix);
    struct stat_tag tag = {STR("envoy.listener_address"), name};
    struct stat_scope *s = stat_scope_get(strbuf_str(&prefix), table, str_from(extracted), &tag, 1);
    strbuf_fini(&prefix);
    return s;
}

struct str listener_stat_name(const struct listener_spec *spec, char text[ADDR_TEXT_BYTES])
{
    if (spec->stat_prefix.n)
        return spec->stat_prefix;
    addr_text(&spec->addresses[0], text); /* as configured: port 0 stays 0, as Envoy has it */
    for (char *p = text; *p; p++)
        if (*p == ':')
            *p = '_';
    return str_from(text);
}

static struct stat_scope *worker_scope(struct str name, uint32_t index)
{
    struct strbuf prefix = {0};
    char id[12];
    strbuf_addz(&prefix, "listener.");
    strbuf_adds(&prefix, name);
    strbuf_addf(&prefix, ".worker_%u.", index);
    struct stat_tag tags[] = {{STR("envoy.listener_address"), name},
                              {STR("envoy.worker_id"), str_make(id, u64_format(index, id))}};
    struct stat_scope *s =
        stat_scope_get(strbuf_str(&prefix), &worker_table, STR("listener.worker_"), tags, 2);
    strbuf_fini(&prefix);
    return s;
}

static bool has_tls(const struct listener_spec *spec)
{
    for (uint32_t i = 0; i < spec->chain_count; i++)
        if (spec->chains[i]->tls)
            return true;
    return spec->default_chain && spec->default_chain->tls;
}

static void make_stats(struct listener *l)
{
    const struct listener_spec *spec = l->spec;
    char text[ADDR_TEXT_BYTES];
    struct str name = listener_stat_name(spec, text);
    l->stats = scope("listener.", name, ".", "listener.", &listener_table);
    if (has_tls(spec)) {
        l->tls_stats = scope("listener.", name, ".ssl.", "listener.ssl.", &tls_stat_table);
        l->tls_socket_stats =
            scope("listener.", name, ".server_ssl_socket_factory.", "listener.server_ssl_socket_factory.", &tls_socket_stat_table);
    }
    for (uint32_t i = 0; i < l->server->worker_count; i++)
        l->actives[i].worker_stats = worker_scope(name, i);
    for (uint32_t i = 0; i < spec->listener_filter_count; i++) {
        const struct listener_filter_spec *f = &spec->listener_filters[i];
        l->filter_stats[i] = f->def->stats ? f->def->stats(f->config) : NULL;
    }
}

static void link_filters(const struct filter_chain *chain, struct link_context *cx)
{
    for (uint32_t i = 0; chain && i < chain->filter_count; i++)
        if (chain->filters[i].def->link)
            chain->filters[i].def->link((void *)(uintptr_t)chain->filters[i].config, cx);
}

/* ---- sockets ---- */

static int open_one(struct listener *l, uint32_t address, bool first, struct err *err)
{
    struct listen_opts opts = l->spec->listen[address];
    int rc = listen_open(first ? &l->spec->addresses[address] : &l->bound[address], &opts,
                         &l->fds[l->fd_count], first ? &l->bound[address] : NULL, err);
    if (rc == 0)
        l->fd_count++;
    return rc;
}

static int open_sockets(struct listener *l, struct err *err)
{
    const struct listener_spec *spec = l->spec;
    uint32_t workers = l->server->worker_count;
    l->fds = mem_alloc((size_t)spec->address_count * workers * sizeof(*l->fds));
    for (uint32_t i = 0; i < spec->address_count; i++) {
        uint32_t n = !spec->bind_to_port ? 0 : spec->listen[i].reuse_port ? workers : 1;
        l->first_fd[i] = l->fd_count;
        if (!n)
            addr_copy(&l->bound[i], &spec->addresses[i]);
        for (uint32_t k = 0; k < n; k++) {
            int rc = open_one(l, i, k == 0, err);
            if (rc)
                return rc;
        }
    }
    l->first_fd[spec->address_count] = l->fd_count;
    return 0;
}

static void log_listening(const struct listener *l)
{
    char text[ADDR_TEXT_BYTES];
    for (uint32_t i = 0; i < l->spec->address_count; i++)
        LOG(CONFIG, INFO, "listener '%.*s': %s %s", STR_ARG(l->spec->name),
            l->spec->bind_to_port ? "listening on" : "not bound,", addr_text(&l->bound[i], text));
}

static bool matches_anything(const struct chain_match_spec *m)
{
    return !m->has_destination_port && !m->prefix_count && !m->server_name_count &&
           !m->transport_protocol.n && !m->application_protocol_count && !m->direct_source_count &&
           m->source_type == SOURCE_ANY && !m->source_count && !m->source_port_count;
}

static const struct filter_chain *sole_chain(const struct listener_spec *spec)
{
    if (spec->chain_count == 0)
        return spec->default_chain;
    return spec->chain_count == 1 && matches_anything(&spec->chains[0]->match) ? spec->chains[0]
                                                                               : NULL;
}

static void refresh_limit(struct listener *l)
{
    char key[512];
    int n = snprintf(key, sizeof(key), "envoy.resource_limits.listener.%.*s.connection_limit",
                     STR_ARG(l->spec->name));
    uint64_t limit = l->spec->max_connections;
    if (n > 0 && (size_t)n < sizeof(key))
        limit = runtime_u64(str_make(key, (size_t)n), limit);
    atomic_store_explicit(&l->limit, limit, memory_order_relaxed);
}

static struct listener *make(struct server *s, struct listener_spec *take_spec)
{
    struct listener *l = NEW(listener);
    l->magic = LISTENER_MAGIC;
    atomic_init(&l->refs, 1);
    l->server = s;
    l->spec = take_spec;
    list_init(&l->node);
    l->first_fd = mem_zalloc((take_spec->address_count + 1) * sizeof(*l->first_fd));
    l->bound = mem_zalloc((take_spec->address_count + 1) * sizeof(*l->bound));
    l->filter_stats = mem_zalloc((take_spec->listener_filter_count + 1) * sizeof(*l->filter_stats));
    l->counts = mem_zalloc(s->worker_count * sizeof(*l->counts));
    l->actives = mem_zalloc(s->worker_count * sizeof(*l->actives));
    l->sole = sole_chain(take_spec);
    return l;
}

int listener_manager_add(struct listener_manager *m, struct listener_spec *take_spec,
                         struct err *err)
{
    struct listener *l = make(m->server, take_spec);
    int rc = open_sockets(l, err);
    if (rc) {
        err_prefix(err, "listener '%.*s'", STR_ARG(take_spec->name));
        stat_inc(m->stats, STAT_LM_CREATE_FAILURE);
        destroy(l);
        return rc;
    }
    make_stats(l);
    struct link_context cx = {.server = m->server};
    for (uint32_t i = 0; i < take_spec->chain_count; i++)
        link_filters(take_spec->chains[i], &cx);
    link_filters(take_spec->default_chain, &cx);
    for (uint32_t i = 0; i < m->server->worker_count; i++)
        l->actives[i].base = (struct active_listener){.worker = &m->server->workers[i],
                                                      .spec = l->spec,
                                                      .shared = l,
                                                      .stats = l->stats,
                                                      .tls_stats = l->tls_stats,
                                                      .tls_socket_stats = l->tls_socket_stats};
    refresh_limit(l);
    list_push_back(&m->listeners, &l->node);
    log_listening(l);
    stat_inc(m->stats, STAT_LM_ADDED);
    return 0;
}

struct listener_manager *listener_manager_new(struct server *s)
{
    struct listener_manager *m = NEW(listener_manager);
    m->server = s;
    list_init(&m->listeners);
    m->stats =
        stat_scope_get(STR("listener_manager."), &manager_table, STR("listener_manager."), NULL, 0);
    return m;
}

void listener_manager_free(struct listener_manager **manager)
{
    struct listener_manager *m = *manager;
    *manager = NULL;
    if (!m)
        return;
    LIST_EACH(it, safe, &m->listeners) {
        list_remove(it);
        unref(LIST_ENTRY(it, listener, node));
    }
    stat_scope_unref(&m->stats);
    mem_free(m);
}

struct active_listener *active_listener_keep(struct active_listener *a)
{
    atomic_fetch_add_explicit(&listener_of(a)->refs, 1, memory_order_relaxed);
    return a;
}

void active_listener_let_go(struct active_listener **a)
{
    if (*a)
        unref(listener_of(*a));
    *a = NULL;
}

struct list *listener_manager_list(struct listener_manager *m)
{
    return &m->listeners;
}

struct server *listener_manager_server(struct listener_manager *m)
{
    return m->server;
}

void listener_manager_refresh(struct listener_manager *m)
{
    LIST_EACH(it, safe, &m->listeners)
        refresh_limit(LIST_ENTRY(it, listener, node));
}

/* ---- a worker's share ---- */

static void free_acceptors(struct active *a)
{
    for (uint32_t i = 0; i < a->socket_count; i++)
        acceptor_free(&a->sockets[i].acceptor);
}

/* The local address of all that a socket accepts, so that nobody need ask the kernel: not where it
 * listens on every address, or takes connections to foreign ones. */
static const struct addr *fixed_local(const struct listener *l, uint32_t address)
{
    const struct addr *a = &l->bound[address];
    if (l->spec->transparent || !addr_is_ip(a))
        return NULL;
    if (a->sa.sa_family == AF_INET)
        return a->in4.sin_addr.s_addr == htonl(INADDR_ANY) ? NULL : a;
    return IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr) ? NULL : a;
}

static int start_active(struct active *a, struct err *err)
{
    struct listener *l = listener_of(&a->base);
    struct worker *w = a->base.worker;
    atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
    list_init(&a->base.connections);
    list_push_back(&w->listeners, &a->base.node);
    a->is_started = true;
    a->sockets = mem_zalloc((l->spec->address_count + 1) * sizeof(*a->sockets));
    for (uint32_t i = 0; i < l->spec->address_count; i++) {
        uint32_t first = l->first_fd[i], n = l->first_fd[i + 1] - first;
        struct active_socket *s = &a->sockets[a->socket_count];
        if (!n)
            continue;
        *s = (struct active_socket){.active = a, .is_tcp = addr_is_ip(&l->bound[i]), .local = fixed_local(l, i)};
        s->acceptor = acceptor_new(w->loop, l->fds[n > 1 ? first + w->index : first],
                                   l->spec->max_accepts_per_event, connection_accept, s, err);
        if (!s->acceptor)
            return err->code;
        a->socket_count++;
    }
    return 0;
}

static void start_on_worker(struct worker *w, void *arg)
{
    struct listener_manager *m = arg;
    LIST_EACH(it, safe, &m->listeners) {
        struct err err = {0};
        struct listener *l = LIST_ENTRY(it, listener, node);
        if (start_active(&l->actives[w->index], &err) == 0) {
            stat_inc(m->stats, STAT_LM_CREATE_SUCCESS);
        } else {
            stat_inc(m->stats, STAT_LM_CREATE_FAILURE);
            LOG(CONN_HANDLER, CRITICAL, "listener '%.*s': %s", STR_ARG(l->spec->name), err.message);
        }
    }
}

static void on_started(void *arg)
{
    struct listener_manager *m = arg;
    stat_set(m->stats, STAT_LM_WORKERS_STARTED, 1);
}

void listener_manager_start(struct listener_manager *m)
{
    m->is_started = true;
    for (struct list *it = m->listeners.next; it != &m->listeners; it = it->next)
        m->active++;
    stat_set(m->stats, STAT_LM_ACTIVE, m->active);
    server_on_workers(m->server, start_on_worker, on_started, m);
}

void active_connection_gone(struct active *a)
{
    struct listener *l = listener_of(&a->base);
    uint32_t index = a->base.worker->index;
    if (l->server->draining && a->base.worker->connections == 0)
        server_note_idle(l->server);
    if (!a->is_stopped || a->is_released || atomic_load(&l->counts[index].connections))
        return;
    a->is_released = true;
    timer_clear(&a->drain_timer);
    list_remove(&a->base.node);
    unref(l);
}

static void stop_active(struct active *a)
{
    if (!a->is_started || a->is_stopped)
        return;
    free_acceptors(a);
    a->is_stopped = true;
    active_connection_gone(a);
}

/* ---- stopping and draining ---- */

struct order {
    struct listener_manager *manager;
    bool inbound_only;
    uint64_t drain_us; /* 0: at once */
};

static struct order *order_new(struct listener_manager *m, bool inbound_only)
{
    struct order *o = NEW(order);
    o->manager = m;
    o->inbound_only = inbound_only;
    return o;
}

static bool concerns(const struct order *o, const struct active_listener *al)
{
    return !o->inbound_only || al->spec->is_inbound;
}

static void stop_on_worker(struct worker *w, void *arg)
{
    LIST_EACH(it, safe, &w->listeners) {
        struct active_listener *al = LIST_ENTRY(it, active_listener, node);
        if (concerns(arg, al))
            stop_active(active_of(al));
    }
}

static void on_stopped(void *arg)
{
    struct order *o = arg;
    struct listener_manager *m = o->manager;
    LIST_EACH(it, safe, &m->listeners) {
        struct listener *l = LIST_ENTRY(it, listener, node);
        if (l->is_stopped || (o->inbound_only && !l->spec->is_inbound))
            continue;
        l->is_stopped = true;
        close_sockets(l);
        m->active--;
        stat_inc(m->stats, STAT_LM_STOPPED);
    }
    stat_set(m->stats, STAT_LM_ACTIVE, m->active);
    server_note_idle(m->server);
    mem_free(o);
}

void listener_manager_stop(struct listener_manager *m, bool inbound_only)
{
    if (m->is_started)
        server_on_workers(m->server, stop_on_worker, on_stopped, order_new(m, inbound_only));
}

/* Each connection's chance to be drained in this tick makes the whole end by drain_end_us. */
static void on_drain_tick(struct timer *t)
{
    struct active *a = CONTAINER_OF(t, active, drain_timer);
    struct loop *loop = a->base.worker->loop;
    uint64_t now = loop_now_us(loop);
    uint64_t left = a->drain_end_us > now ? a->drain_end_us - now : 0;
    LIST_EACH(it, safe, &a->base.connections)
        if (rng_below(loop_rng(loop), left + 1) < DRAIN_TICK_MS * 1000)
            connection_drain(LIST_ENTRY(it, downstream, node));
    if (left && !a->is_released)
        timer_set_ms(&a->drain_timer, DRAIN_TICK_MS);
}

static void drain_on_worker(struct worker *w, void *arg)
{
    struct order *o = arg;
    LIST_EACH(it, safe, &w->listeners) {
        struct active_listener *al = LIST_ENTRY(it, active_listener, node);
        struct active *a = active_of(al);
        if (!concerns(o, al))
            continue;
        al->draining = true;
        timer_clear(&a->drain_timer);
        timer_init(&a->drain_timer, w->loop, on_drain_tick);
        a->drain_end_us = loop_now_us(w->loop) + o->drain_us;
        on_drain_tick(&a->drain_timer);
    }
}

/* Every worker has begun: only now does the gauge say so. */
static void on_draining(void *arg)
{
    struct order *o = arg;
    struct listener_manager *m = o->manager;
    uint32_t n = 0;
    LIST_EACH(it, safe, &m->listeners)
        n += !o->inbound_only || LIST_ENTRY(it, listener, node)->spec->is_inbound;
    stat_set(m->stats, STAT_LM_DRAINING, n);
    mem_free(o);
}

static void drain(struct listener_manager *m, bool inbound_only, uint64_t us)
{
    struct order *o = order_new(m, inbound_only);
    o->drain_us = us;
    server_on_workers(m->server, drain_on_worker, on_draining, o);
}

void listener_manager_drain(struct listener_manager *m, bool inbound_only)
{
    drain(m, inbound_only, 0);
}

void listener_manager_drain_over(struct listener_manager *m, bool inbound_only, uint64_t us)
{
    drain(m, inbound_only, us);
}

void listeners_leave(struct worker *w)
{
    LIST_EACH(it, safe, &w->listeners) {
        struct active *a = active_of(LIST_ENTRY(it, active_listener, node));
        free_acceptors(a);
        timer_clear(&a->drain_timer);
        LIST_EACH(c, next, &a->base.connections)
            connection_close(LIST_ENTRY(c, downstream, node));
        stop_active(a);
    }
}

static void close_on_worker(struct worker *w, void *arg)
{
    (void)arg;
    LIST_EACH(it, safe, &w->listeners)
        LIST_EACH(c, next, &LIST_ENTRY(it, active_listener, node)->connections)
            connection_close(LIST_ENTRY(c, downstream, node));
}

void listener_manager_close_all(struct listener_manager *m)
{
    server_on_workers(m->server, close_on_worker, NULL, NULL);
}

void listener_manager_each(struct listener_manager *m,
                           void (*fn)(const struct listener_spec *spec, const struct addr *bound,
                                      uint32_t bound_count, void *arg),
                           void *arg)
{
    LIST_EACH(it, safe, &m->listeners) {
        struct listener *l = LIST_ENTRY(it, listener, node);
        fn(l->spec, l->bound, l->spec->address_count, arg);
    }
}
