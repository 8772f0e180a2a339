/* SPDX-License-Identifier: Apache-2.0
 *
 * SRDS. A response makes the next set: what hasn't changed is shared with the one before. A scope that can't be
 * read is refused by name and the rest is taken; where two would have one key nothing of the response is taken,
 * as Envoy does. A scope's routes are subscribed to as long as a set has the scope; that they come isn't waited
 * for, except by a listener that waits for the first set. Main thread, but for the look-up.
 */
#include "proxy/route/scope_source.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/config/resources.h"
#include "proxy/discovery/discovery.h"
#include "proxy/warm.h"

#define SRDS_STATS(X)                                                                              \
    X(SRDS_CONFIG_RELOAD, COUNTER, NONE, "config_reload", "Updates put to use")                    \
    X(SRDS_UPDATE_EMPTY, COUNTER, NONE, "update_empty", "Updates without a scope")                 \
    X(SRDS_ALL_SCOPES, GAUGE, NONE, "all_scopes", "Scopes there are")                              \
    X(SRDS_ACTIVE_SCOPES, GAUGE, NONE, "active_scopes", "… whose routes are subscribed to: all of them") \
    X(SRDS_ON_DEMAND_SCOPES, GAUGE, NONE, "on_demand_scopes", "… on demand: none")                 \
    X(SRDS_CONFIG_RELOAD_TIME_MS, GAUGE, NONE, "config_reload_time_ms", "When the last update was, since the epoch")
enum srds_stat {
    SRDS_STATS(STAT_ENUM_ROW)
};
static const struct stat_desc rows[] = {SRDS_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

struct scope_set {
    struct snapshot base;
    struct map *by_key; /* -> struct scope_resource */
    struct scope_resource **items; uint32_t count;
};
struct scope_source {
    struct snapshot_place place;
    struct list node;
    uint32_t refs;
    const struct config_source *from, *rds;
    struct str name, manager, version; /* heap */
    struct config_frame *frame;
    struct subscription *subscription;
    struct warm_source warm;
    struct warmth *waiting;            /* for the first set's routes; NULL */
    struct stat_scope *stats;
    uint64_t updated_wall_us;
};
static struct list all = {&all, &all};

/* ---- sets ---- */

static struct scope_resource *scope_resource_ref(struct scope_resource *r)
{
    r->refs++;
    return r;
}

void scope_resource_unref(struct scope_resource **resource)
{
    struct scope_resource *r = *resource;
    *resource = NULL;
    if (!r || --r->refs)
        return;
    route_source_unref(&r->scope.routes);
    str_free(&r->packed);
    str_free(&r->version);
    arena_fini(&r->arena);
    mem_free(r);
}

static void set_free(struct scope_set **set)
{
    struct scope_set *s = *set;
    *set = NULL;
    if (!s)
        return;
    for (uint32_t i = 0; i < s->count; i++)
        scope_resource_unref(&s->items[i]);
    map_free(&s->by_key);
    mem_free(s->items);
    mem_free(s);
}

static void on_unused(struct snapshot *base)
{
    struct scope_set *s = CONTAINER_OF(base, scope_set, base);
    set_free(&s);
}

static struct scope_set *set_now(const struct scope_source *s)
{
    struct snapshot *now = snapshot_now(&s->place);
    return now ? CONTAINER_OF(now, scope_set, base) : NULL;
}

const struct route_scope *scope_source_find(const struct scope_source *s, struct str key)
{
    const struct scope_set *set = set_now(s);
    const struct scope_resource *r = set ? map_get(set->by_key, key) : NULL;
    return r ? &r->scope : NULL;
}

/* ---- one response ---- */

/* What the next set has, by name; a reference for each. */
struct next {
    struct scope_source *source;
    struct map *by_name;
    struct err_list *faults;
};

static void put(struct next *n, struct scope_resource *take_resource)
{
    struct scope_resource *old = map_set(n->by_name, take_resource->scope.name, take_resource);
    scope_resource_unref(&old);
}

static void take_out(struct next *n, struct str name)
{
    struct scope_resource *old = map_del(n->by_name, name);
    scope_resource_unref(&old);
}

static void keep_old(struct next *n, const struct resource_update *u)
{
    const struct scope_set *now = set_now(n->source);
    struct map *present = map_new();
    for (uint32_t i = 0; u->is_whole && i < u->count; i++)
        map_set(present, u->items[i].name, present);
    for (uint32_t i = 0; now && i < now->count; i++)
        if (!u->is_whole || map_get(present, now->items[i]->scope.name))
            put(n, scope_resource_ref(now->items[i]));
    map_free(&present);
    for (uint32_t i = 0; i < u->removed_count; i++)
        take_out(n, u->removed[i]);
}

static void read_one(struct next *n, struct config_batch *b, const struct resource *item)
{
    struct scope_source *s = n->source;
    struct scope_resource *r = NULL, *old = map_get(n->by_name, item->name);
    size_t before = n->faults->count;
    if (old && str_eq(old->packed, item->packed))
        return;
    if (config_read_scope(b, item->packed, item->name, &r, n->faults) == 0) {
        r->packed = str_dup(item->packed);
        r->version = str_dup(item->version);
        r->scope.routes = route_source_get(s->rds, r->scope.rds_name, s->manager, s->frame);
        put(n, r);
    }
    for (size_t i = before; i < n->faults->count; i++)
        err_prefix(&n->faults->items[i], "%.*s", STR_ARG(item->name));
}

/* NULL: two have one key. */
static struct scope_set *set_new(struct next *n)
{
    struct scope_set *set = NEW(scope_set);
    struct strbuf key = {0};
    struct str name;
    void *value;
    bool is_good = true;
    set->by_key = map_new();
    set->items = mem_alloc((map_count(n->by_name) + 1) * sizeof *set->items);
    for (size_t at = 0; map_next(n->by_name, &at, &name, &value);) {
        struct scope_resource *r = value, *other;
        set->items[set->count++] = scope_resource_ref(r);
        strbuf_reset(&key);
        route_scope_key(&r->scope, &key, NULL); /* it was read: it isn't too long */
        if ((other = map_set(set->by_key, strbuf_str(&key), r))) {
            err_list_addf(n->faults, ERR_EXISTS, "", "scopes '%.*s' and '%.*s' have the same key: nothing of the update is taken",
                          STR_ARG(other->scope.name), STR_ARG(r->scope.name));
            is_good = false;
        }
    }
    strbuf_fini(&key);
    if (!is_good)
        set_free(&set);
    return set;
}

static void publish(struct scope_source *s, struct scope_set *take_set, struct str version)
{
    snapshot_init(&take_set->base, on_unused, false);
    snapshot_put(&s->place, &take_set->base);
    str_replace(&s->version, version);
    s->updated_wall_us = clock_wall_us();
    stat_inc(s->stats, STAT_SRDS_CONFIG_RELOAD);
    stat_set(s->stats, STAT_SRDS_ALL_SCOPES, take_set->count);
    stat_set(s->stats, STAT_SRDS_ACTIVE_SCOPES, take_set->count);
    stat_set(s->stats, STAT_SRDS_CONFIG_RELOAD_TIME_MS, s->updated_wall_us / 1000);
}

static void take(struct scope_source *s, const struct resource_update *u, struct err_list *faults)
{
    struct next n = {s, map_new(), faults};
    struct config_batch *b = config_batch_new(s->frame);
    struct str name;
    void *value;
    discovery_hold(RESOURCE_ROUTES); /* one request names all that is new */
    keep_old(&n, u);
    for (uint32_t i = 0; i < u->count; i++)
        read_one(&n, b, &u->items[i]);
    struct scope_set *set = set_new(&n);
    if (set)
        publish(s, set, u->version);
    for (size_t at = 0; map_next(n.by_name, &at, &name, &value);) {
        struct scope_resource *r = value;
        scope_resource_unref(&r);
    }
    map_free(&n.by_name);
    discovery_resume(RESOURCE_ROUTES);
    config_batch_free(&b);
}

static void on_warm(void *arg)
{
    warm_source_ready(&((struct scope_source *)arg)->warm);
}

/* The first scopes count as there once their routes are. */
static void become_ready(struct scope_source *s)
{
    const struct scope_set *set = set_now(s);
    if (s->warm.is_ready)
        return;
    warmth_free(&s->waiting);
    s->waiting = warmth_new(on_warm, s);
    for (uint32_t i = 0; set && i < set->count; i++)
        warmth_wait(s->waiting, route_source_warm(set->items[i]->scope.routes));
    warmth_start(s->waiting);
}

static void on_update(void *user, const struct resource_update *u, struct err_list *faults)
{
    struct scope_source *s = user;
    size_t before = faults->count;
    if (!u->count && !u->removed_count)
        stat_inc(s->stats, STAT_SRDS_UPDATE_EMPTY);
    take(s, u, faults);
    if (faults->count == before)
        become_ready(s);
}

static void on_fetch_timeout(void *user)
{
    struct scope_source *s = user;
    LOG(CONFIG, WARNING, "srds: '%.*s' has not come in time; requests have no routes", STR_ARG(s->name));
    warm_source_ready(&s->warm);
}

static const struct subscription_ops ops = {.on_update = on_update, .on_fetch_timeout = on_fetch_timeout};

/* ---- lives ---- */

static void subscribe(struct scope_source *s)
{
    struct strbuf prefix = {0};
    struct stat_tag tags[] = {{STR("envoy.http_conn_manager_prefix"), s->manager}, {STR("envoy.scoped_rds_config"), s->name}};
    strbuf_addf(&prefix, "http.%.*s.scoped_rds.%.*s.", STR_ARG(s->manager), STR_ARG(s->name));
    s->stats = stat_scope_get(strbuf_str(&prefix), &table, STR("http.scoped_rds."), tags, ARRAY_LEN(tags));
    s->subscription = discovery_subscribe(s->from, RESOURCE_SCOPED_ROUTES, STR(""), strbuf_str(&prefix), &ops, s);
    strbuf_fini(&prefix);
}

/* A source that begins when others of the same origin run already: everything has been told, to them. */
static void catch_up(struct scope_source *s)
{
    LIST_EACH(it, safe, &all) {
        struct scope_source *other = LIST_ENTRY(it, scope_source, node);
        const struct scope_set *set = set_now(other);
        if (other == s || other->from != s->from || !set)
            continue;
        struct resource *items = mem_alloc((set->count + 1) * sizeof *items);
        struct err_list faults = {0};
        for (uint32_t i = 0; i < set->count; i++) {
            const struct scope_resource *r = set->items[i];
            items[i] = (struct resource){.name = r->scope.name, .version = r->version, .packed = r->packed};
        }
        on_update(s, &(struct resource_update){.items = items, .count = set->count, .version = other->version}, &faults);
        err_list_fini(&faults); /* they were told when they came */
        mem_free(items);
        return;
    }
}

struct scope_source *scope_source_get(const struct config_source *from, const struct config_source *rds, struct str name,
                                      struct str manager, struct config_frame *keep_frame)
{
    LIST_EACH(it, safe, &all) {
        struct scope_source *s = LIST_ENTRY(it, scope_source, node);
        if (s->from != from || s->rds != rds || !str_eq(s->name, name))
            continue;
        s->refs++;
        return s;
    }
    struct scope_source *s = NEW(scope_source);
    s->refs = 1;
    s->from = config_source_ref(from);
    s->rds = config_source_ref(rds);
    s->name = str_dup(name);
    s->manager = str_dup(manager);
    s->frame = keep_frame;
    warm_source_init(&s->warm);
    list_push_back(&all, &s->node);
    subscribe(s);
    catch_up(s);
    return s;
}

void scope_source_unref(struct scope_source **source)
{
    struct scope_source *s = *source;
    *source = NULL;
    if (!s || --s->refs)
        return;
    list_remove(&s->node);
    discovery_unsubscribe(&s->subscription);
    snapshot_put(&s->place, NULL);
    warmth_free(&s->waiting);
    warm_source_fini(&s->warm);
    stat_scope_unref(&s->stats);
    config_source_unref(&s->from);
    config_source_unref(&s->rds);
    str_free(&s->name);
    str_free(&s->manager);
    str_free(&s->version);
    mem_free(s);
}

struct warm_source *scope_source_warm(struct scope_source *s)
{
    return &s->warm;
}

void scope_sources_each(void (*fn)(const struct scope_source_state *s, void *arg), void *arg)
{
    LIST_EACH(it, safe, &all) {
        const struct scope_source *s = LIST_ENTRY(it, scope_source, node);
        const struct scope_set *set = set_now(s);
        if (set)
            fn(&(struct scope_source_state){s->name, s->version, s->updated_wall_us, set->items, set->count}, arg);
    }
}
