/* SPDX-License-Identifier: Apache-2.0
 *
 * Which listeners serve, by name: a generation warms while the one before it serves, takes over, and the
 * old one drains. Main thread; workers are reached by broadcast only.
 *
 *     warming --(what it waits for is there)--> serving --(followed, removed)--> leaving --(last connection)--> gone
 *
 * The manager holds a reference to each until then. Before the workers run there is nothing to drain:
 * generations replace each other at once, and what they wait for holds up the start. Orders to stop, drain
 * and close all are in manager_orders.c.
 */
#include "base/log.h"
#include "base/mem.h"
#include "proxy/listener/manager_priv.h"

static const struct stat_desc manager_rows[] = {MANAGER_STATS(STAT_DESC_ROW)};
static const struct stat_table manager_table = {manager_rows, ARRAY_LEN(manager_rows)};

struct entry {
    struct list node;
    struct listener *active, *warming;
};
struct fault {
    struct list node;
    struct str name, packed, version;
    uint64_t wall_us;
    char *details;
};

static struct str copy(struct str s)
{
    return s.n ? str_dup(s) : STR_NULL;
}

/* ---- what is shown ---- */

static void publish(struct listener_manager *m)
{
    uint32_t active = 0, warming = 0, draining = 0, chains = 0;
    LIST_EACH(it, safe, &m->listeners)
        active += !LIST_ENTRY(it, listener, node)->is_stopped;
    LIST_EACH(it, safe, &m->entries)
        warming += m->is_started && LIST_ENTRY(it, entry, node)->warming;
    LIST_EACH(it, safe, &m->leaving) {
        const struct listener *l = LIST_ENTRY(it, listener, node);
        chains += l->chains_leaving;
        draining += !l->is_followed_in_place;
    }
    stat_set(m->stats, STAT_LM_ACTIVE, m->is_started ? active : 0);
    stat_set(m->stats, STAT_LM_WARMING, warming);
    stat_set(m->stats, STAT_LM_DRAINING, m->ordered_to_drain + draining);
    stat_set(m->stats, STAT_LM_CHAINS_DRAINING, chains);
}

void listener_manager_publish(struct listener_manager *m)
{
    publish(m);
}

static void log_listening(const struct listener *l)
{
    char text[ADDR_TEXT_BYTES];
    for (uint32_t i = 0; i < l->spec->address_count; i++)
        LOG(CONFIG, INFO, "listener '%.*s': %s %s", STR_ARG(l->spec->name),
            l->spec->bind_to_port ? "listening on" : "not bound,", addr_text(&l->bound[i], text));
}

/* ---- two at one address ---- */

static bool shares_address(const struct listener_spec *a, const struct listener_spec *b, const struct addr **which)
{
    if (a->bind_to_port != b->bind_to_port)
        return false;
    for (uint32_t i = 0; i < a->address_count; i++)
        for (uint32_t k = 0; k < b->address_count; k++) {
            *which = &a->addresses[i];
            bool is_chosen = a->bind_to_port && addr_is_ip(*which) && addr_port(*which) == 0;
            if (!is_chosen && addr_eq(*which, &b->addresses[k]))
                return true;
        }
    return false;
}

static int refuse_twin(struct listener_manager *m, const struct listener_spec *spec, struct err *err)
{
    char text[ADDR_TEXT_BYTES];
    LIST_EACH(it, safe, &m->entries) {
        const struct entry *e = LIST_ENTRY(it, entry, node);
        const struct listener *both[] = {e->active, e->warming};
        for (size_t i = 0; i < ARRAY_LEN(both); i++) {
            const struct addr *at = NULL;
            if (both[i] && !str_eq(both[i]->spec->name, spec->name) && shares_address(spec, both[i]->spec, &at))
                return err_set(err, ERR_EXISTS, "has duplicate address '%s' as existing listener '%.*s'", addr_text(at, text),
                               STR_ARG(both[i]->spec->name));
        }
    }
    return 0;
}

static int open_listener(struct listener_manager *m, struct listener *l, struct err *err)
{
    int rc = refuse_twin(m, l->spec, err);
    if (!rc)
        rc = listener_bind(l, m->groups, err);
    if (rc)
        err_prefix(err, "listener '%.*s'", STR_ARG(l->spec->name));
    if (rc)
        stat_inc(m->stats, STAT_LM_CREATE_FAILURE);
    return rc;
}

/* ---- names ---- */

static struct entry *find(struct listener_manager *m, struct str name)
{
    return map_get(m->by_name, name);
}

static struct entry *entry_get(struct listener_manager *m, struct str name)
{
    struct entry *e = find(m, name);
    if (e)
        return e;
    e = NEW(entry);
    list_push_back(&m->entries, &e->node);
    map_set(m->by_name, name, e);
    return e;
}

static void entry_free(struct listener_manager *m, struct str name)
{
    struct entry *e = map_del(m->by_name, name);
    list_remove(&e->node);
    mem_free(e);
}

/* No worker knows it. */
static void discard(struct listener_manager *m, struct listener **listener)
{
    struct listener *l = *listener;
    *listener = NULL;
    if (!l)
        return;
    list_remove(&l->node);
    warmth_free(&l->warmth);
    listener_close(l, m->groups);
    listener_unref(l);
}

/* ---- one after the other ---- */

static void gone(struct listener *l)
{
    struct listener_manager *m = l->manager;
    if (!l->is_draining || !l->has_left || l->released < l->server->worker_count)
        return;
    LOG(CONFIG, DEBUG, "listener '%.*s': an old generation is gone", STR_ARG(l->spec->name));
    timer_clear(&l->drain_limit);
    list_remove(&l->node);
    publish(m);
    listener_unref(l);
}

void listener_manager_released(void *listener)
{
    struct listener *l = listener;
    l->released++;
    gone(l);
}

static void close_on_worker(struct worker *w, void *arg)
{
    struct listener *l = arg;
    active_close_connections(&l->actives[w->index]);
}

static void on_closed(void *arg)
{
    listener_unref(arg);
}

static void on_drain_limit(struct timer *t)
{
    struct listener *l = CONTAINER_OF(t, listener, drain_limit);
    server_on_workers(l->server, close_on_worker, on_closed, listener_ref(l));
}

struct change {
    struct listener *old, *next; /* referenced; either may be NULL */
    struct listener_manager *manager;
    uint64_t drain_us;
};

static void change_on_worker(struct worker *w, void *arg)
{
    struct change *c = arg;
    struct err err = {0};
    int rc = 0;
    if (c->old) {
        rc = active_replace(&c->old->actives[w->index], c->next, c->drain_us);
    } else {
        rc = active_start(&c->next->actives[w->index], &err);
        if (rc)
            LOG(CONN_HANDLER, CRITICAL, "listener '%.*s': %s", STR_ARG(c->next->spec->name), err.message);
    }
    if (c->next)
        stat_inc(c->manager->stats, rc ? STAT_LM_CREATE_FAILURE : STAT_LM_CREATE_SUCCESS);
}

static void on_changed(void *arg)
{
    struct change *c = arg;
    if (c->old) {
        listener_close(c->old, c->manager->groups);
        c->old->has_left = true;
        gone(c->old);
        listener_unref(c->old);
    }
    if (c->next)
        listener_unref(c->next);
    mem_free(c);
}

static void tell_workers(struct listener_manager *m, struct listener *old, struct listener *next)
{
    const struct server_opts *o = &m->server->opts;
    struct change *c = NEW(change);
    c->manager = m;
    c->old = old ? listener_ref(old) : NULL;
    c->next = next ? listener_ref(next) : NULL;
    c->drain_us = o->drain_immediate ? 0 : o->drain_time_s * 1000000;
    server_on_workers(m->server, change_on_worker, on_changed, c);
}

static uint32_t count_leaving(const struct listener_spec *old, const struct listener *next)
{
    uint32_t n = old->default_chain && is_replaced_by(next, old->default_chain);
    for (uint32_t i = 0; i < old->chain_count; i++)
        n += is_replaced_by(next, old->chains[i]);
    return n;
}

/* In place, as Envoy says it: only filter chains differ. */
static bool is_in_place(const struct listener *old, const struct listener *next)
{
    const struct content_digest *a = &old->spec->frame, *b = &next->spec->frame;
    return a->low == b->low && a->high == b->high;
}

/* From the serving ones to those that drain. */
static void leave(struct listener_manager *m, struct listener *old, struct listener *next)
{
    list_remove(&old->node);
    list_push_back(&m->leaving, &old->node);
    old->is_draining = old->is_stopped = true;
    old->left_wall_us = loop_wall_us(m->server->main_loop);
    if (next) {
        old->successor = listener_ref(next);
        next->refuses = old->refuses;
        next->is_suspended = old->is_suspended;
        old->is_followed_in_place = is_in_place(old, next);
        old->chains_leaving = old->is_followed_in_place ? count_leaving(old->spec, next) : 0;
    }
    timer_init(&old->drain_limit, m->server->main_loop, on_drain_limit);
    timer_set_ms(&old->drain_limit, m->server->opts.drain_time_s * 1000);
}

static void mark_chains(struct listener *l)
{
    for (uint32_t i = 0; i < l->spec->chain_count; i++)
        atomic_store_explicit(&l->spec->chains[i]->generation, l->generation, memory_order_relaxed);
    if (l->spec->default_chain)
        atomic_store_explicit(&l->spec->default_chain->generation, l->generation, memory_order_relaxed);
}

static bool is_barred(const struct listener_manager *m, const struct listener_spec *spec)
{
    return m->stopped_all || (m->stopped_inbound && spec->is_inbound);
}

/* Refused by the kernel only now: another process, or a socket without reuse_port. */
static int begin_listening(struct listener_manager *m, struct listener *l)
{
    struct err err = {0};
    int rc = m->is_started ? listener_listen(l, &err) : 0;
    if (rc == 0)
        return 0;
    struct listener_origin from = {l->packed, l->version};
    LOG(CONFIG, ERROR, "listener '%.*s': %s", STR_ARG(l->spec->name), err.message);
    stat_inc(m->stats, STAT_LM_CREATE_FAILURE);
    listener_manager_note_fault(m, l->spec->name, &from, err.message);
    return rc;
}

static void take_over(struct listener_manager *m, struct entry *e)
{
    struct listener *old = e->active, *next = e->warming;
    e->warming = NULL;
    warmth_free(&next->warmth);
    if (is_barred(m, next->spec) || begin_listening(m, next) != 0) {
        struct str name = next->spec->name;
        if (!old)
            entry_free(m, name);
        discard(m, &next);
        publish(m);
        return;
    }
    e->active = next;
    mark_chains(next);
    if (old)
        list_insert_after(&old->node, &next->node);
    else
        list_push_back(&m->listeners, &next->node);
    next->wall_us = loop_wall_us(m->server->main_loop);
    if (!m->is_started) {
        discard(m, &old);
    } else {
        log_listening(next);
        if (old)
            leave(m, old, next);
        tell_workers(m, old, next);
    }
    publish(m);
}

static void on_warm(void *arg)
{
    struct listener *l = arg;
    struct entry *e = find(l->manager, l->spec->name);
    if (!COUNT_IF(!e || e->warming != l, "a listener that isn't warming is warm"))
        take_over(l->manager, e);
}

static void count_kind(struct listener_manager *m, const struct entry *e, const struct listener *l)
{
    if (!e->active && !e->warming) {
        stat_inc(m->stats, STAT_LM_ADDED);
        return;
    }
    stat_inc(m->stats, STAT_LM_MODIFIED);
    if (e->active && is_in_place(e->active, l))
        stat_inc(m->stats, STAT_LM_IN_PLACE_UPDATED);
}

static void warm_up(struct listener_manager *m, struct entry *e, struct listener *l)
{
    count_kind(m, e, l);
    discard(m, &e->warming);
    e->warming = l;
    if (!m->is_started) {
        if (m->init)
            listener_link(l, m->init);
        take_over(m, e);
        return;
    }
    publish(m);
    l->warmth = warmth_new(on_warm, l);
    listener_link(l, l->warmth);
    warmth_start(l->warmth);
}

/* ---- what comes from the bootstrap and from discovery ---- */

int listener_manager_add(struct listener_manager *m, struct listener_spec *take_spec, struct err *err)
{
    struct listener *l = listener_new(m, m->server, take_spec);
    l->is_static = true;
    int rc = open_listener(m, l, err);
    if (!rc && (rc = listener_listen(l, err)) != 0) {
        err_prefix(err, "listener '%.*s'", STR_ARG(take_spec->name));
        stat_inc(m->stats, STAT_LM_CREATE_FAILURE);
    }
    if (rc) {
        discard(m, &l);
        return rc;
    }
    log_listening(l);
    warm_up(m, entry_get(m, take_spec->name), l);
    return 0;
}

int listener_manager_set(struct listener_manager *m, struct listener_spec *take_spec, const struct listener_origin *from,
                         struct err *err)
{
    struct entry *e = find(m, take_spec->name);
    if (is_barred(m, take_spec) || (e && e->active && e->active->is_static)) {
        listener_spec_free(&take_spec);
        return 0;
    }
    struct listener *l = listener_new(m, m->server, take_spec);
    l->packed = copy(from->packed);
    l->version = copy(from->version);
    l->wall_us = loop_wall_us(m->server->main_loop);
    int rc = open_listener(m, l, err);
    if (rc) {
        discard(m, &l);
        return rc;
    }
    warm_up(m, entry_get(m, take_spec->name), l);
    return 0;
}

bool listener_manager_has(struct listener_manager *m, struct str name, struct str packed)
{
    const struct entry *e = find(m, name);
    const struct listener *l = !e ? NULL : e->warming ? e->warming : e->active;
    return l && (l->is_static || str_eq(l->packed, packed));
}

uint32_t listener_manager_generations(struct listener_manager *m, struct str name, const struct listener_spec *out[2])
{
    const struct entry *e = find(m, name);
    uint32_t n = 0;
    if (e && e->active)
        out[n++] = e->active->spec;
    if (e && e->warming)
        out[n++] = e->warming->spec;
    return n;
}

static void remove_entry(struct listener_manager *m, struct entry *e)
{
    struct listener *old = e->active;
    discard(m, &e->warming);
    e->active = NULL;
    stat_inc(m->stats, STAT_LM_REMOVED);
    if (!old)
        return;
    LOG(CONFIG, INFO, "listener '%.*s': removed", STR_ARG(old->spec->name));
    if (!m->is_started) {
        discard(m, &old);
        return;
    }
    leave(m, old, NULL);
    tell_workers(m, old, NULL);
}

void listener_manager_remove(struct listener_manager *m, struct str name)
{
    struct entry *e = find(m, name);
    if (!e || (e->active && e->active->is_static))
        return;
    map_del(m->by_name, name);
    list_remove(&e->node);
    remove_entry(m, e);
    mem_free(e);
    publish(m);
}

void listener_manager_remove_others(struct listener_manager *m, const struct map *names)
{
    LIST_EACH(it, safe, &m->entries) {
        const struct entry *e = LIST_ENTRY(it, entry, node);
        struct str name = e->active ? e->active->spec->name : e->warming->spec->name;
        if (!map_get(names, name))
            listener_manager_remove(m, name);
    }
}

/* ---- faults ---- */

static void forget_faults(struct listener_manager *m)
{
    for (struct list *it; (it = list_pop_front(&m->faults)) != NULL;) {
        struct fault *f = LIST_ENTRY(it, fault, node);
        str_free(&f->name);
        str_free(&f->packed);
        str_free(&f->version);
        mem_free(f->details);
        mem_free(f);
    }
}

void listener_manager_begin_update(struct listener_manager *m)
{
    forget_faults(m);
}

void listener_manager_note_fault(struct listener_manager *m, struct str name, const struct listener_origin *from, const char *details)
{
    struct fault *f = NEW(fault);
    f->name = copy(name);
    f->packed = copy(from->packed);
    f->version = copy(from->version);
    f->details = mem_strdup(details);
    f->wall_us = loop_wall_us(m->server->main_loop);
    list_push_back(&m->faults, &f->node);
}

/* ---- for those who look ---- */

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

static void tell_state(const struct listener *l, enum listener_phase phase, void (*fn)(const struct listener_state *s, void *arg), void *arg)
{
    struct listener_state s = {phase, l->spec->name, l->packed, l->version, phase == LISTENER_DRAINING ? l->left_wall_us : l->wall_us, NULL};
    if (!l->is_static)
        fn(&s, arg);
}

void listener_manager_each_state(struct listener_manager *m, void (*fn)(const struct listener_state *s, void *arg), void *arg)
{
    LIST_EACH(it, safe, &m->entries) {
        const struct entry *e = LIST_ENTRY(it, entry, node);
        if (e->active)
            tell_state(e->active, LISTENER_ACTIVE, fn, arg);
        if (e->warming)
            tell_state(e->warming, LISTENER_WARMING, fn, arg);
    }
    LIST_EACH(it, safe, &m->leaving)
        if (!LIST_ENTRY(it, listener, node)->is_followed_in_place)
            tell_state(LIST_ENTRY(it, listener, node), LISTENER_DRAINING, fn, arg);
    LIST_EACH(it, safe, &m->faults) {
        const struct fault *f = LIST_ENTRY(it, fault, node);
        struct listener_state s = {LISTENER_FAULTY, f->name, f->packed, f->version, f->wall_us, f->details};
        fn(&s, arg);
    }
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
        listener_refresh_limit(LIST_ENTRY(it, listener, node));
}

/* ---- the manager itself ---- */

struct listener_manager *listener_manager_new(struct server *s)
{
    struct listener_manager *m = NEW(listener_manager);
    m->server = s;
    list_init(&m->listeners);
    list_init(&m->leaving);
    list_init(&m->entries);
    list_init(&m->faults);
    m->by_name = map_new();
    m->groups = listen_groups_new();
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
    LIST_EACH(it, safe, &m->leaving) {
        struct listener *l = LIST_ENTRY(it, listener, node);
        timer_clear(&l->drain_limit);
        discard(m, &l);
    }
    for (struct list *it; (it = list_pop_front(&m->entries)) != NULL;) {
        struct entry *e = LIST_ENTRY(it, entry, node);
        discard(m, &e->warming);
        discard(m, &e->active);
        mem_free(e);
    }
    forget_faults(m);
    map_free(&m->by_name);
    listen_groups_free(&m->groups);
    stat_scope_unref(&m->stats);
    mem_free(m);
}

void listener_manager_warm_up(struct listener_manager *m, struct warmth *keep_init)
{
    m->init = keep_init;
    LIST_EACH(it, safe, &m->listeners)
        listener_link(LIST_ENTRY(it, listener, node), m->init);
}

static void on_started(void *arg)
{
    struct listener_manager *m = arg;
    stat_set(m->stats, STAT_LM_WORKERS_STARTED, 1);
}

static void nothing_on_worker(struct worker *w, void *arg)
{
    (void)w, (void)arg;
}

void listener_manager_start(struct listener_manager *m)
{
    m->is_started = true;
    m->init = NULL;
    LIST_EACH(it, safe, &m->listeners) {
        struct listener *l = LIST_ENTRY(it, listener, node);
        bool is_new = !l->is_static;
        if (begin_listening(m, l) == 0) {
            tell_workers(m, NULL, l);
            if (is_new)
                log_listening(l);
            continue;
        }
        entry_free(m, l->spec->name);
        discard(m, &l);
    }
    publish(m);
    server_on_workers(m->server, nothing_on_worker, on_started, m);
}
