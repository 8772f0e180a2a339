/* SPDX-License-Identifier: Apache-2.0
 *
 * What overload asks of listeners: stop and go on accepting, refuse in the kernel, visit every
 * connection. Listeners with bypass_overload_manager are left alone.
 *
 * Refusing (docs/decisions/0011) takes steps on two kinds of threads:
 *
 *     accepting --(main: refuses)--> each worker stops watching --(all have)--> main suspends the sockets
 *     suspended --(main: listens again)--> each worker watches again
 *
 * Invariant: a suspended socket is watched by nobody (it would report EPOLLHUP for ever). Orders to a
 * worker arrive in order; a suspension that was overtaken by another order is dropped.
 */
#include "proxy/listener/listener_priv.h"

#include "base/log.h"
#include "base/mem.h"

void listeners_accept(struct worker *w, bool on)
{
    LIST_EACH(it, safe, &w->listeners) {
        struct active *a = CONTAINER_OF(LIST_ENTRY(it, active_listener, node), active, base);
        if (a->is_stopped || a->base.spec->bypass_overload)
            continue;
        a->is_paused = !on;
        for (uint32_t i = 0; i < a->socket_count; i++) {
            if (on)
                acceptor_resume(a->sockets[i].acceptor);
            else
                acceptor_pause(a->sockets[i].acceptor);
        }
    }
}

void listeners_each_connection(struct worker *w, void (*fn)(struct downstream *d))
{
    LIST_EACH(it, safe, &w->listeners) {
        struct active_listener *a = LIST_ENTRY(it, active_listener, node);
        if (a->spec->bypass_overload)
            continue;
        LIST_EACH(at, next, &a->connections)
            fn(LIST_ENTRY(at, downstream, node));
    }
}

/* ---- refusing in the kernel ---- */

struct refusal {
    struct listener_manager *manager;
    uint64_t number;
};
static uint64_t orders; /* main thread */

static void refuse_here(struct worker *w, bool on)
{
    LIST_EACH(it, safe, &w->listeners) {
        struct active *a = active_of(LIST_ENTRY(it, active_listener, node));
        if (a->is_stopped || a->base.spec->bypass_overload || a->is_refusing == on)
            continue;
        a->is_refusing = on;
        for (uint32_t i = 0; i < a->socket_count; i++) {
            if (!a->sockets[i].is_tcp)
                continue;
            if (on)
                acceptor_pause(a->sockets[i].acceptor);
            else
                acceptor_resume(a->sockets[i].acceptor);
        }
    }
}

static void stop_watching(struct worker *w, void *arg)
{
    (void)arg;
    refuse_here(w, true);
}

static void watch_again(struct worker *w, void *arg)
{
    (void)arg;
    refuse_here(w, false);
}

static void each_tcp_socket(struct listener *l, void (*fn)(struct listener *l, uint32_t address, int fd))
{
    for (uint32_t i = 0; l->fd_count && i < l->spec->address_count; i++)
        for (uint32_t k = l->first_fd[i]; addr_is_ip(&l->bound[i]) && k < l->first_fd[i + 1]; k++)
            fn(l, i, l->fds[k]);
}

static void suspend(struct listener *l, uint32_t address, int fd)
{
    (void)address;
    stat_add(l->stats, STAT_LISTENER_CX_OVERLOAD_REJECT, listen_suspend(fd));
}

static void resume(struct listener *l, uint32_t address, int fd)
{
    struct err err = {0};
    if (listen_resume(fd, &l->spec->listen[address], &err) != 0)
        LOG(CONN_HANDLER, CRITICAL, "listener '%.*s': %s", STR_ARG(l->spec->name), err.message);
}

static void on_unwatched(void *arg)
{
    struct refusal *r = arg;
    LIST_EACH(it, safe, listener_manager_list(r->manager)) {
        struct listener *l = LIST_ENTRY(it, listener, node);
        if (r->number != orders || !l->refuses || l->is_suspended || l->is_stopped)
            continue;
        l->is_suspended = true;
        each_tcp_socket(l, suspend);
    }
    mem_free(r);
}

/* True when that was news to a listener. */
static bool set_refusal(struct listener_manager *m, bool on)
{
    bool is_new = false;
    LIST_EACH(it, safe, listener_manager_list(m)) {
        struct listener *l = LIST_ENTRY(it, listener, node);
        if (l->refuses == on || l->is_stopped || l->spec->bypass_overload)
            continue;
        is_new = true;
        l->refuses = on;
        if (!on && l->is_suspended)
            each_tcp_socket(l, resume);
        l->is_suspended = false;
    }
    return is_new;
}

void listener_manager_refuse(struct listener_manager *m, bool on)
{
    if (!set_refusal(m, on))
        return;
    orders++;
    if (!on) {
        server_on_workers(listener_manager_server(m), watch_again, NULL, NULL);
        return;
    }
    struct refusal *r = NEW(refusal);
    *r = (struct refusal){m, orders};
    server_on_workers(listener_manager_server(m), stop_watching, on_unwatched, r);
}
