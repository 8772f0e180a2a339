/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker's share of a listener: it accepts, holds connections, drains and is done, on the worker's thread.
 *
 *     started -> stopped (replaced, removed, or all of them) -> released, with its last connection
 *
 * Where a generation takes over, sockets change hands within one turn and stay open throughout, so that
 * nothing in a backlog is lost; connections whose filter chain the next one has go over to it as they are.
 * The table of addresses is for use_original_dst (Envoy: "Listener configuration").
 */
#include <netinet/in.h>

#include "base/log.h"
#include "base/mem.h"
#include "proxy/listener/listener_priv.h"

#define DRAIN_TICK_MS 100

/* ---- by address ---- */

#define ADDRESS_KEY_BYTES 19
enum table { EXACT = 1, COMPATIBLE /* IPv4 by a socket of both families */ };

static struct str address_key(char key[ADDRESS_KEY_BYTES], enum table table, int family, uint16_t port, const void *bytes)
{
    size_t n = family == AF_INET ? 4 : 16;
    key[0] = (char)table;
    memcpy(key + 1, &port, sizeof(port));
    if (bytes)
        memcpy(key + 3, bytes, n);
    else
        memset(key + 3, 0, n);
    return str_make(key, n + 3);
}

static const void *ip_bytes(const struct addr *a)
{
    return a->sa.sa_family == AF_INET ? (const void *)&a->in4.sin_addr : (const void *)&a->in6.sin6_addr;
}

static bool takes_both(const struct listener *l, uint32_t i)
{
    const struct addr *a = &l->bound[i];
    return a->sa.sa_family == AF_INET6 && l->spec->listen[i].ipv4_compat && IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr);
}

static void enter(struct worker *w, struct str key, struct active *a, bool on)
{
    if (!w->listener_map)
        w->listener_map = map_new();
    if (on)
        map_set(w->listener_map, key, a);
    else if (map_get(w->listener_map, key) == a)
        map_del(w->listener_map, key);
}

static void enter_addresses(struct active *a, bool on)
{
    const struct listener *l = listener_of(&a->base);
    char key[ADDRESS_KEY_BYTES];
    for (uint32_t i = 0; i < l->spec->address_count; i++) {
        const struct addr *at = &l->bound[i];
        if (!addr_is_ip(at))
            continue;
        enter(a->base.worker, address_key(key, EXACT, at->sa.sa_family, addr_port(at), ip_bytes(at)), a, on);
        if (takes_both(l, i))
            enter(a->base.worker, address_key(key, COMPATIBLE, AF_INET, addr_port(at), NULL), a, on);
    }
}

struct active *active_at(const struct worker *w, const struct addr *local)
{
    char key[ADDRESS_KEY_BYTES];
    int family = local->sa.sa_family;
    const void *bytes = addr_is_ip(local) ? ip_bytes(local) : NULL;
    if (!w->listener_map || !bytes)
        return NULL;
    if (family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&local->in6.sin6_addr)) {
        family = AF_INET;
        bytes = local->in6.sin6_addr.s6_addr + 12;
    }
    uint16_t port = addr_port(local);
    struct active *a = map_get(w->listener_map, address_key(key, EXACT, family, port, bytes));
    if (!a)
        a = map_get(w->listener_map, address_key(key, EXACT, family, port, NULL));
    if (!a && family == AF_INET)
        a = map_get(w->listener_map, address_key(key, COMPATIBLE, family, port, NULL));
    return a;
}

/* ---- accepting ---- */

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

int active_start(struct active *a, struct err *err)
{
    struct listener *l = listener_of(&a->base);
    struct worker *w = a->base.worker;
    listener_ref(l);
    list_init(&a->base.connections);
    list_push_back(&w->listeners, &a->base.node);
    a->is_started = true;
    enter_addresses(a, true);
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
        if (a->is_paused || (a->is_refusing && s->is_tcp))
            acceptor_pause(s->acceptor);
    }
    return 0;
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
    loop_post(l->server->main_loop, listener_manager_released, l); /* the manager holds it until then */
    listener_unref(l);
}

/* No new connections, and out of the way of whoever follows. */
static void retire(struct active *a)
{
    free_acceptors(a);
    a->socket_count = 0;
    enter_addresses(a, false);
    a->is_stopped = true;
}

void active_stop(struct active *a)
{
    if (!a->is_started || a->is_stopped)
        return;
    retire(a);
    active_connection_gone(a);
}

/* ---- draining ---- */

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

void active_drain(struct active *a, uint64_t drain_us)
{
    struct loop *loop = a->base.worker->loop;
    if (!a->is_started || a->is_released)
        return;
    a->base.draining = true;
    timer_clear(&a->drain_timer);
    timer_init(&a->drain_timer, loop, on_drain_tick);
    a->drain_end_us = loop_now_us(loop) + drain_us;
    on_drain_tick(&a->drain_timer);
}

void active_close_connections(struct active *a)
{
    if (!a->is_started || a->is_released)
        return;
    LIST_EACH(it, safe, &a->base.connections)
        connection_close(LIST_ENTRY(it, downstream, node));
}

/* ---- one generation after the other ---- */

static void move_connections(struct active *from, struct listener *next)
{
    struct active *to = &next->actives[from->base.worker->index];
    LIST_EACH(it, safe, &from->base.connections) {
        struct downstream *d = LIST_ENTRY(it, downstream, node);
        if (d->chain && !is_replaced_by(next, d->chain))
            connection_move(d, to);
    }
}

int active_replace(struct active *a, struct listener *next, uint64_t drain_us)
{
    struct err err = {0};
    int rc = 0;
    bool was_serving = a->is_started && !a->is_stopped;
    if (was_serving)
        retire(a); /* an event loop watches a socket once */
    if (next) {
        struct active *to = &next->actives[a->base.worker->index];
        to->is_refusing = a->is_refusing && was_serving;
        to->is_paused = a->is_paused && was_serving;
        rc = active_start(to, &err);
        if (rc)
            LOG(CONN_HANDLER, CRITICAL, "listener '%.*s': %s", STR_ARG(next->spec->name), err.message);
        if (a->is_started)
            move_connections(a, next);
    }
    a->base.idle_may_wait = true;
    active_drain(a, drain_us);
    if (was_serving)
        active_connection_gone(a);
    return rc;
}

void listeners_leave(struct worker *w)
{
    LIST_EACH(it, safe, &w->listeners) {
        struct active *a = active_of(LIST_ENTRY(it, active_listener, node));
        free_acceptors(a);
        a->socket_count = 0;
        timer_clear(&a->drain_timer);
        LIST_EACH(c, next, &a->base.connections)
            connection_close(LIST_ENTRY(c, downstream, node));
        active_stop(a);
    }
    map_free(&w->listener_map);
}
