/* SPDX-License-Identifier: Apache-2.0
 *
 * Route configurations by discovery: what comes is read, compiled and put in the place of the one
 * before; a faulty one changes nothing, and neither do the same bytes again. A source ends with its
 * last user, and with it the subscription. Removal by the management server is not obeyed: a route
 * configuration stays until its users go (as Envoy's RDS). Main thread.
 */
#include "proxy/route/route_source.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/config/resources.h"
#include "proxy/discovery/discovery.h"
#include "proxy/route/vhds.h"
#include "proxy/warm.h"

#define RDS_STATS(X)                                                                               \
    X(RDS_CONFIG_RELOAD, COUNTER, NONE, "config_reload", "Updates put to use")                     \
    X(RDS_CONFIG_RELOAD_TIME_MS, GAUGE, NONE, "config_reload_time_ms", "When the last one was, since the epoch") \
    X(RDS_UPDATE_EMPTY, COUNTER, NONE, "update_empty", "Updates without the resource")
enum rds_stat {
    RDS_STATS(STAT_ENUM_ROW)
};
static const struct stat_desc rows[] = {RDS_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

struct rds {
    struct route_source source;
    struct list node;
    uint32_t refs;
    const struct config_source *from;
    struct str name, packed, version; /* heap */
    struct config_frame *frame;
    struct subscription *subscription;
    struct str manager;               /* heap */
    struct vhds *vhds;                /* NULL: all virtual hosts are in the configuration */
    struct warmth *waiting;           /* for the first virtual hosts; NULL */
    struct warm_source warm;
    struct stat_scope *stats;
    uint64_t updated_wall_us;
};
static struct list all = {&all, &all};

static struct rds *rds_of(struct route_source *s)
{
    return s->is_dynamic ? CONTAINER_OF(s, rds, source) : NULL;
}

/* ---- snapshots ---- */

static void free_own(struct snapshot *base)
{
    struct route_snapshot *s = CONTAINER_OF(base, route_snapshot, base);
    route_table_free(&s->table);
    if (--s->spec->refs == 0)
        route_config_free(&s->spec);
    mem_free(s);
}

static void free_inline(struct snapshot *base)
{
    struct route_snapshot *s = CONTAINER_OF(base, route_snapshot, base);
    route_table_free(&s->table);
    route_config_fini(s->spec);
    mem_free(s);
}

/* ---- part of a configuration ---- */

struct route_source *route_source_inline(struct route_config_spec *take_spec, struct err *err)
{
    struct route_table *compiled = NULL;
    if (take_spec->vhds)
        err_set(err, ERR_UNSUPPORTED, "vhds: only a route configuration that comes by discovery itself (rds) may have it");
    else
        compiled = route_table_new(take_spec, err);
    if (!compiled) {
        route_config_fini(take_spec);
        return NULL;
    }
    struct route_snapshot *s = NEW(route_snapshot);
    struct route_source *source = NEW(route_source);
    s->spec = take_spec;
    s->table = compiled;
    snapshot_init(&s->base, free_inline, true);
    snapshot_put(&source->place, &s->base);
    return source;
}

/* ---- discovery ---- */

static const struct resource *find(const struct resource_update *u, struct str name)
{
    for (uint32_t i = 0; i < u->count; i++)
        if (str_eq(u->items[i].name, name))
            return &u->items[i];
    return NULL;
}

static struct route_config_spec *read(struct rds *r, struct str packed, struct err_list *faults)
{
    struct route_config_spec *spec = NULL;
    struct config_batch *b = config_batch_new(r->frame);
    config_read_route_config(b, packed, &spec, faults);
    config_batch_free(&b);
    return spec;
}

static struct route_table *compile(const struct route_config_spec *spec, struct err_list *faults)
{
    struct err err = {0};
    struct route_table *compiled = NULL;
    if (spec->vhds && !discovery_is_delta(spec->vhds))
        err_set(&err, ERR_INVALID, "vhds: config_source must speak delta (DELTA_GRPC, or ADS that does)");
    else
        compiled = route_table_new(spec, &err);
    if (!compiled)
        err_list_add(faults, &err);
    return compiled;
}

static void show(struct rds *r, struct route_config_spec *spec, struct route_table *take_table)
{
    struct route_snapshot *s = NEW(route_snapshot);
    s->spec = spec;
    s->table = take_table;
    spec->refs++;
    snapshot_init(&s->base, free_own, false);
    snapshot_put(&r->source.place, &s->base);
}

/* ---- virtual hosts that come by themselves ---- */

static const struct route_table *vhds_table(void *user, const struct route_config_spec **spec)
{
    const struct route_snapshot *s = route_source_now(&((struct rds *)user)->source);
    *spec = s ? s->spec : NULL;
    return s ? s->table : NULL;
}

static void vhds_show(void *user, struct route_table *take_table)
{
    struct rds *r = user;
    show(r, route_source_now(&r->source)->spec, take_table);
}

static const struct vhds_owner owner = {vhds_table, vhds_show};

/* Is it the source that has been asked already? */
static bool keeps_vhds(const struct rds *r, const struct route_config_spec *spec)
{
    return r->vhds && spec->vhds == vhds_source(r->vhds);
}

/* After the table is shown. Another source begins anew: what the one before had told is gone. */
static void follow_vhds(struct rds *r, const struct route_config_spec *spec)
{
    if (keeps_vhds(r, spec))
        return;
    vhds_free(&r->vhds);
    if (spec->vhds)
        r->vhds = vhds_new(spec->vhds, r->name, r->manager, r->frame, &owner, r);
}

static void on_vhds_warm(void *arg)
{
    warm_source_ready(&((struct rds *)arg)->warm);
}

/* The first configuration counts as there once its virtual hosts are. */
static void become_ready(struct rds *r)
{
    if (!r->vhds || r->warm.is_ready) {
        warm_source_ready(&r->warm);
        return;
    }
    warmth_free(&r->waiting);
    r->waiting = warmth_new(on_vhds_warm, r);
    warmth_wait(r->waiting, vhds_warm(r->vhds));
    warmth_start(r->waiting);
}

/* ---- the configuration ---- */

static void publish(struct rds *r, struct route_config_spec *spec, struct route_table *take_table, const struct resource *item)
{
    route_config_link(spec);
    show(r, spec, take_table);
    follow_vhds(r, spec);
    str_replace(&r->packed, item->packed);
    str_replace(&r->version, item->version);
    r->updated_wall_us = clock_wall_us();
    stat_inc(r->stats, STAT_RDS_CONFIG_RELOAD);
    stat_set(r->stats, STAT_RDS_CONFIG_RELOAD_TIME_MS, r->updated_wall_us / 1000);
    LOG(CONFIG, DEBUG, "rds: '%.*s' is at version '%.*s'", STR_ARG(r->name), STR_ARG(r->version));
}

static void take(struct rds *r, const struct resource *item, struct err_list *faults)
{
    size_t before = faults->count;
    if (r->packed.p && str_eq(r->packed, item->packed))
        return;
    struct route_config_spec *spec = read(r, item->packed, faults);
    struct route_table *t = spec ? compile(spec, faults) : NULL;
    if (t && keeps_vhds(r, spec) && !vhds_fill(r->vhds, spec, t, faults))
        route_table_free(&t);
    if (t)
        publish(r, spec, t, item);
    else
        route_config_free(&spec);
    for (size_t i = before; i < faults->count; i++)
        err_prefix(&faults->items[i], "%.*s", STR_ARG(r->name));
}

static void on_update(void *user, const struct resource_update *u, struct err_list *faults)
{
    struct rds *r = user;
    size_t before = faults->count;
    const struct resource *item = find(u, r->name);
    if (item)
        take(r, item, faults);
    else if (!u->count && !u->removed_count)
        stat_inc(r->stats, STAT_RDS_UPDATE_EMPTY);
    else
        return; /* another's, or a removal */
    if (faults->count == before)
        become_ready(r);
}

static void on_fetch_timeout(void *user)
{
    struct rds *r = user;
    LOG(CONFIG, WARNING, "rds: '%.*s' has not come in time; it is served without", STR_ARG(r->name));
    warm_source_ready(&r->warm);
}

static const struct subscription_ops ops = {.on_update = on_update, .on_fetch_timeout = on_fetch_timeout};

static void subscribe(struct rds *r, struct str manager)
{
    struct strbuf prefix = {0};
    struct stat_tag tags[] = {{STR("envoy.http_conn_manager_prefix"), manager}, {STR("envoy.rds_route_config"), r->name}};
    strbuf_addf(&prefix, "http.%.*s.rds.%.*s.", STR_ARG(manager), STR_ARG(r->name));
    r->stats = stat_scope_get(strbuf_str(&prefix), &table, STR("http.rds."), tags, ARRAY_LEN(tags));
    r->subscription = discovery_subscribe(r->from, RESOURCE_ROUTES, r->name, strbuf_str(&prefix), &ops, r);
    strbuf_fini(&prefix);
}

struct route_source *route_source_get(const struct config_source *source, struct str name, struct str manager,
                                      struct config_frame *keep_frame)
{
    LIST_EACH(it, safe, &all) {
        struct rds *r = LIST_ENTRY(it, rds, node);
        if (r->from != source || !str_eq(r->name, name))
            continue;
        r->refs++;
        return &r->source;
    }
    struct rds *r = NEW(rds);
    r->refs = 1;
    r->source.is_dynamic = true;
    r->from = config_source_ref(source);
    r->frame = keep_frame;
    str_replace(&r->name, name);
    str_replace(&r->manager, manager);
    warm_source_init(&r->warm);
    list_push_back(&all, &r->node);
    subscribe(r, manager);
    return &r->source;
}

static void rds_free(struct rds *r)
{
    list_remove(&r->node);
    discovery_unsubscribe(&r->subscription);
    vhds_free(&r->vhds);
    warmth_free(&r->waiting);
    warm_source_fini(&r->warm);
    snapshot_put(&r->source.place, NULL);
    stat_scope_unref(&r->stats);
    config_source_unref(&r->from);
    str_free(&r->name);
    str_free(&r->manager);
    str_free(&r->packed);
    str_free(&r->version);
    mem_free(r);
}

void route_source_unref(struct route_source **source)
{
    struct route_source *s = *source;
    *source = NULL;
    if (!s)
        return;
    struct rds *r = rds_of(s);
    if (!r) {
        snapshot_put(&s->place, NULL);
        mem_free(s);
    } else if (--r->refs == 0) {
        rds_free(r);
    }
}

struct warm_source *route_source_warm(struct route_source *s)
{
    struct rds *r = rds_of(s);
    return r ? &r->warm : NULL;
}

struct vhds *route_source_vhds(struct route_source *s)
{
    struct rds *r = rds_of(s);
    return r ? r->vhds : NULL;
}

void route_sources_each(void (*fn)(const struct route_source_state *s, void *arg), void *arg)
{
    LIST_EACH(it, safe, &all) {
        struct rds *r = LIST_ENTRY(it, rds, node);
        const struct route_source_state state = {r->name, r->version, r->packed, r->vhds, r->updated_wall_us};
        fn(&state, arg);
    }
}
