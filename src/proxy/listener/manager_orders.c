/* SPDX-License-Identifier: Apache-2.0
 *
 * Orders that concern all listeners, or all that face inbound: stop accepting, drain, close. Main thread;
 * each worker does its share.
 */
#include "base/mem.h"
#include "proxy/listener/manager_priv.h"

struct order {
    struct listener_manager *manager;
    bool inbound_only, idle_may_wait;
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
            active_stop(active_of(al));
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
        listener_close(l, m->groups);
        stat_inc(m->stats, STAT_LM_STOPPED);
    }
    listener_manager_publish(m);
    server_note_idle(m->server);
    mem_free(o);
}

void listener_manager_stop(struct listener_manager *m, bool inbound_only)
{
    m->stopped_all |= !inbound_only;
    m->stopped_inbound |= inbound_only;
    if (m->is_started)
        server_on_workers(m->server, stop_on_worker, on_stopped, order_new(m, inbound_only));
}

static void drain_on_worker(struct worker *w, void *arg)
{
    struct order *o = arg;
    LIST_EACH(it, safe, &w->listeners) {
        struct active_listener *al = LIST_ENTRY(it, active_listener, node);
        if (!concerns(o, al))
            continue;
        al->idle_may_wait = o->idle_may_wait;
        active_drain(active_of(al), o->drain_us);
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
    m->ordered_to_drain = n;
    listener_manager_publish(m);
    mem_free(o);
}

static void drain(struct listener_manager *m, bool inbound_only, bool idle_may_wait, uint64_t us)
{
    struct order *o = order_new(m, inbound_only);
    o->idle_may_wait = idle_may_wait;
    o->drain_us = us;
    server_on_workers(m->server, drain_on_worker, on_draining, o);
}

void listener_manager_drain(struct listener_manager *m, bool inbound_only)
{
    drain(m, inbound_only, false, 0);
}

void listener_manager_drain_over(struct listener_manager *m, bool inbound_only, uint64_t us)
{
    drain(m, inbound_only, true, us);
}

static void close_on_worker(struct worker *w, void *arg)
{
    (void)arg;
    LIST_EACH(it, safe, &w->listeners)
        active_close_connections(active_of(LIST_ENTRY(it, active_listener, node)));
}

void listener_manager_close_all(struct listener_manager *m)
{
    server_on_workers(m->server, close_on_worker, NULL, NULL);
}

static uint64_t connections_of(const struct listener_manager *m, const struct list *listeners)
{
    uint64_t sum = 0;
    LIST_EACH(it, safe, listeners) {
        const struct listener *l = LIST_ENTRY(it, listener, node);
        for (uint32_t i = 0; !l->is_static && i < m->server->worker_count; i++)
            sum += atomic_load_explicit(&l->counts[i].connections, memory_order_relaxed);
    }
    return sum;
}

uint64_t listener_manager_connections(const struct listener_manager *m)
{
    return connections_of(m, &m->listeners) + connections_of(m, &m->leaving);
}
