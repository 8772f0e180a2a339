/* SPDX-License-Identifier: Apache-2.0
 *
 * From a response to who subscribed: everything to who asked for everything, each resource to who asked for its name, an alias of
 * it, or (VHDS) what it stands below. The last good bytes of named resources are kept for who comes later. A subscription that
 * begins during a delivery is told after it. Main thread.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/discovery/discovery_priv.h"

/* ---- one subscription ---- */

/* False: it found faults. */
static bool tell(struct subscription *s, const struct resource_update *u, struct err_list *faults)
{
    size_t before = faults->count + faults->dropped;
    uint64_t begin_us = clock_mono_us();
    timer_clear(&s->fetch);
    s->has_heard = true;
    s->ops->on_update(s->user, u, faults);
    bool is_good = faults->count + faults->dropped == before;
    if (is_good)
        subscription_stats_success(s->stats, u->version, clock_wall_us(), clock_mono_us() - begin_us);
    else
        subscription_stats_rejected(s->stats);
    return is_good;
}

static bool tell_all(struct watched *w, const struct resource_update *u, struct err_list *faults)
{
    bool is_good = true;
    LIST_EACH(it, safe, &w->subscriptions) {
        struct subscription *s = LIST_ENTRY(it, subscription, node);
        if (!s->is_dead && list_is_empty(&s->turn))
            is_good &= tell(s, u, faults);
    }
    return is_good;
}

/* ---- who comes later ---- */

static void keep_text(struct str *kept, struct str text)
{
    if (kept->p && str_eq(*kept, text))
        return;
    str_replace(kept, text);
}

static void convert(const struct xds_update *u, struct resource *items)
{
    for (uint32_t i = 0; i < u->count; i++) {
        const struct xds_resource *from = &u->items[i];
        items[i] = (struct resource){
            .name = from->name, .packed = from->packed, .version = from->version.n ? from->version : u->version,
            .aliases = from->aliases, .alias_count = from->alias_count};
    }
}

static void log_restored_faults(const struct err_list *faults)
{
    char line[ERR_PATH_BYTES + ERR_MESSAGE_BYTES + 2];
    for (size_t i = 0; i < faults->count; i++)
        LOG(CONFIG, WARNING, "what was kept is refused: %s", err_format(&faults->items[i], line, sizeof line));
}

/* Everything of a type, as it was kept on disk. */
static void tell_restored(struct subscription *s, struct err_list *faults)
{
    enum resource_type type = s->watched->type;
    struct xds_update u = {.version = STR("kept")};
    struct xds_resource *kept = cache_all(discovery.cache, type, &u.count);
    struct resource *items = mem_alloc((u.count + 1) * sizeof *items);
    u.items = kept;
    convert(&u, items);
    if (u.count) {
        s->watched->channel->was_restored[type] = channel_is_delta(s->watched->channel);
        tell(s, &(struct resource_update){.items = items, .count = u.count, .version = u.version}, faults);
        log_restored_faults(faults);
    }
    mem_free(items);
    mem_free(kept);
}

/* Who comes later is told of all that is kept. */
struct gathering { struct resource *items; uint32_t count; };

static void gather(const struct resource *r, void *arg)
{
    struct gathering *g = arg;
    g->items[g->count++] = *r;
}

/* What stood below all namespaces, as it was kept on disk. */
static void restore_below(struct channel *c, enum resource_type type)
{
    uint32_t n;
    struct xds_resource *items = cache_all(discovery.cache, type, &n);
    for (uint32_t i = 0; i < n; i++)
        kept_put(c->below, items[i].name, items[i].version, items[i].packed);
    if (n)
        kept_note_restored(c->below);
    mem_free(items);
}

static void tell_kept(struct subscription *s, bool is_restored, struct err_list *faults)
{
    const struct watched *w = s->watched;
    struct kept *below = w->channel->below;
    if (is_restored && !kept_is_answered(below))
        restore_below(w->channel, w->type);
    if (!kept_is_answered(below))
        return;
    struct gathering g = {.items = mem_alloc((kept_count(below, w->name) + 1) * sizeof *g.items)};
    kept_each(below, w->name, gather, &g);
    bool *refused = mem_zalloc(g.count + 1);
    tell(s, &(struct resource_update){.items = g.items, .count = g.count, .refused = refused}, faults);
    mem_free(refused);
    mem_free(g.items);
}

static void tell_latecomer(struct subscription *s)
{
    struct err_list faults = {0};
    struct watched *w = s->watched;
    bool is_restored = w->channel->is_ads && cache_is_restored(discovery.cache);
    struct str version = STR_NULL, kept = is_restored && w->name.n ? cache_find(discovery.cache, w->type, w->name, &version) : STR_NULL;
    list_remove(&s->turn);
    if (is_namespace(w->name))
        tell_kept(s, is_restored, &faults);
    if (!w->body.p && kept.p) {
        keep_text(&w->body, kept);
        keep_text(&w->version, version);
    }
    struct resource item = {.name = w->name, .version = w->version, .packed = w->body};
    if (w->body.p)
        tell(s, &(struct resource_update){.items = &item, .count = 1, .version = w->version}, &faults);
    else if (is_restored && !w->name.n)
        tell_restored(s, &faults);
    err_list_fini(&faults); /* of what the server sent they were named when it came */
}

static void tell_latecomers(struct turn_task *t)
{
    (void)t;
    discovery.depth++;
    for (struct list *node; (node = list_first(&discovery.latecomers));)
        tell_latecomer(LIST_ENTRY(node, subscription, turn));
    discovery.depth--;
}

void discovery_tell_later(struct subscription *s)
{
    list_push_back(&discovery.latecomers, &s->turn);
    discovery.tell.run = tell_latecomers;
    loop_at_turn_end(discovery.server->main_loop, &discovery.tell);
}

/* ---- one name ---- */

static void forget(struct watched *w)
{
    str_free(&w->body);
}

static void deliver_to(struct watched *w, const struct resource *item, struct str version, struct err_list *faults)
{
    struct resource_update u = {.items = item, .count = 1, .version = version};
    if (tell_all(w, &u, faults)) {
        keep_text(&w->body, item->packed);
        keep_text(&w->version, item->version);
    }
}

static void deliver_removal(struct watched *w, struct str name, struct str version, struct err_list *faults)
{
    struct resource_update u = {.removed = &name, .removed_count = 1, .version = version};
    forget(w);
    tell_all(w, &u, faults);
}

static struct watched *find(const struct channel *c, enum resource_type type, struct str name)
{
    return name.n ? map_get(c->by_name[type], name) : NULL;
}

static void deliver_named(struct channel *c, enum resource_type type, const struct resource *item, struct str version,
                          struct err_list *faults)
{
    struct watched *w = find(c, type, item->name);
    if (w)
        deliver_to(w, item, version, faults);
    for (uint32_t i = 0; i < item->alias_count; i++) {
        struct watched *alias = find(c, type, item->aliases[i]);
        if (alias && alias != w)
            deliver_to(alias, item, version, faults);
    }
}

/* ---- what stands below a namespace ---- */

/* The part of an update that stands below one namespace; the arrays have room for all. */
struct part {
    struct str namespace;
    struct resource *items;
    struct str *removed;
    bool *refused;
    struct resource_update u;
};

/* What is new in it, from the i-th item on. */
static void collect(const struct channel *c, const struct resource_update *all, struct part *p)
{
    p->u = (struct resource_update){.items = p->items, .removed = p->removed, .refused = p->refused, .version = all->version};
    memset(p->refused, 0, all->count);
    for (uint32_t i = 0; i < all->count; i++) {
        const struct resource *item = &all->items[i];
        if (str_eq(namespace_of(item->name), p->namespace) && !str_eq(kept_find(c->below, item->name), item->packed))
            p->items[p->u.count++] = *item;
    }
    for (uint32_t i = 0; i < all->removed_count; i++)
        if (str_eq(namespace_of(all->removed[i]), p->namespace))
            p->removed[p->u.removed_count++] = all->removed[i];
}

static void deliver_part(struct channel *c, enum resource_type type, const struct resource_update *all, struct part *p,
                         struct err_list *faults)
{
    struct watched *w = find(c, type, p->namespace);
    collect(c, all, p);
    if (w)
        tell_all(w, &p->u, faults);
    else
        LOG(CONFIG, DEBUG, "%u resources below '%.*s' came; nobody has asked for them yet", p->u.count, STR_ARG(p->namespace));
    for (uint32_t i = 0; i < p->u.count; i++)
        if (!p->refused[i])
            kept_put(c->below, p->items[i].name, p->items[i].version, p->items[i].packed);
    for (uint32_t i = 0; i < p->u.removed_count; i++)
        kept_del(c->below, p->removed[i]);
}

static void note_namespace(struct map *seen, struct str name)
{
    if (namespace_of(name).n)
        map_set(seen, namespace_of(name), seen);
}

/* The first answer tells also those who have nothing in it. */
static void tell_rest(struct channel *c, enum resource_type type, const struct map *seen, struct str version, struct err_list *faults)
{
    LIST_EACH(it, safe, &c->watched) {
        struct watched *w = LIST_ENTRY(it, watched, node);
        if (w->type == type && is_namespace(w->name) && !map_get(seen, w->name))
            tell_all(w, &(struct resource_update){.version = version}, faults);
    }
}

static void deliver_below(struct channel *c, enum resource_type type, const struct resource_update *all, struct err_list *faults)
{
    struct map *seen = map_new();
    struct part p = {.items = mem_alloc((all->count + 1) * sizeof *p.items), .refused = mem_alloc(all->count + 1),
                     .removed = mem_alloc((all->removed_count + 1) * sizeof *p.removed)};
    size_t at = 0;
    void *value;
    for (uint32_t i = 0; i < all->count; i++)
        note_namespace(seen, all->items[i].name);
    for (uint32_t i = 0; i < all->removed_count; i++)
        note_namespace(seen, all->removed[i]);
    while (map_next(seen, &at, &p.namespace, &value))
        deliver_part(c, type, all, &p, faults);
    if (!kept_is_answered(c->below))
        tell_rest(c, type, seen, all->version, faults);
    kept_note_answer(c->below);
    map_free(&seen);
    mem_free(p.items);
    mem_free(p.refused);
    mem_free(p.removed);
}

/* The first answer after a restart without one: what it doesn't have is gone. */
static void deliver_namespaced(struct channel *c, enum resource_type type, const struct resource_update *all, struct err_list *faults)
{
    struct resource_update whole = *all;
    struct str *absent = NULL;
    if (kept_take_restored(c->below)) {
        absent = kept_absent(c->below, all->items, all->count, &whole.removed_count);
        whole.removed = absent;
    }
    deliver_below(c, type, &whole, faults);
    for (uint32_t i = 0; absent && i < whole.removed_count; i++)
        str_free(&absent[i]);
    mem_free(absent);
}

/* ---- a response ---- */

/* State of the world of clusters and listeners: a name that was asked for and isn't in the response is gone. */
static void deliver_absence(struct channel *c, enum resource_type type, const struct xds_update *u, struct err_list *faults)
{
    struct map *present = map_new();
    for (uint32_t i = 0; i < u->count; i++)
        map_set(present, u->items[i].name, present);
    LIST_EACH(it, safe, &c->watched) {
        struct watched *w = LIST_ENTRY(it, watched, node);
        if (w->type == type && w->name.n && w->body.p && !map_get(present, w->name))
            deliver_removal(w, w->name, u->version, faults);
    }
    map_free(&present);
}

void discovery_deliver(struct channel *c, enum resource_type type, const struct xds_update *u, struct err_list *faults)
{
    struct resource *items = mem_alloc((u->count + 1) * sizeof *items);
    const struct resource_update all = {.items = items, .count = u->count, .removed = u->removed, .removed_count = u->removed_count,
                                        .is_whole = u->is_whole, .version = u->version};
    convert(u, items);
    discovery.depth++;
    struct watched *everything = c->by_name[type] ? map_get(c->by_name[type], STR("")) : NULL;
    if (everything)
        tell_all(everything, &all, faults);
    if (c->below && discovery_types[type].is_namespaced)
        deliver_namespaced(c, type, &all, faults);
    for (uint32_t i = 0; c->by_name[type] && i < u->count; i++)
        deliver_named(c, type, &items[i], u->version, faults);
    for (uint32_t i = 0; c->by_name[type] && i < u->removed_count; i++) {
        struct watched *w = find(c, type, u->removed[i]);
        if (w)
            deliver_removal(w, u->removed[i], u->version, faults);
    }
    if (u->is_whole)
        deliver_absence(c, type, u, faults);
    discovery.depth--;
    mem_free(items);
}

void discovery_each_kept(enum resource_type type, void (*fn)(const struct resource *r, void *arg), void *arg)
{
    LIST_EACH(it, next_channel, &discovery.channels) {
        struct channel *c = LIST_ENTRY(it, channel, node);
        LIST_EACH(at, next, &c->watched) {
            struct watched *w = LIST_ENTRY(at, watched, node);
            if (w->type == type && w->body.p)
                fn(&(struct resource){.name = w->name, .version = w->version, .packed = w->body}, arg);
        }
    }
}
