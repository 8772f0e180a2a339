/* SPDX-License-Identifier: Apache-2.0
 *
 * Names and what stands behind them:
 *
 *     new -> warming -> active -> retired
 *
 * An entry holds its slot, the cluster that serves and the one that warms. Work for one cluster is
 * one look-up; nothing walks all of them but start and dumps. Main thread.
 */
#include "proxy/cluster/manager.h"

#include "base/log.h"
#include "base/mem.h"
#include "proxy/cluster/cluster_priv.h"

#define MANAGER_STATS(X)                                                                           \
    X(CM_ADDED, COUNTER, NONE, "cluster_added", "Clusters added")                                  \
    X(CM_MODIFIED, COUNTER, NONE, "cluster_modified", "Clusters changed by discovery")             \
    X(CM_REMOVED, COUNTER, NONE, "cluster_removed", "Clusters removed by discovery")               \
    X(CM_UPDATED, COUNTER, NONE, "cluster_updated", "")                                            \
    X(CM_UPDATED_VIA_MERGE, COUNTER, NONE, "cluster_updated_via_merge", "")                        \
    X(CM_MERGE_CANCELLED, COUNTER, NONE, "update_merge_cancelled", "")                             \
    X(CM_OUT_OF_MERGE, COUNTER, NONE, "update_out_of_merge_window", "")                            \
    X(CM_ACTIVE, GAUGE, NONE, "active_clusters", "Clusters that serve")                            \
    X(CM_WARMING, GAUGE, NONE, "warming_clusters", "Clusters that wait for endpoints or secrets")
enum manager_stat { MANAGER_STATS(STAT_ENUM_ROW) };
static const struct stat_desc rows[] = {MANAGER_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

struct version { /* of a cluster that discovery brought */
    struct cluster *cluster;
    struct str packed, text;
    uint64_t wall_us;
};
struct entry {
    struct cluster_manager *manager;
    struct cluster_slot *slot;
    struct version active, warming;
    struct turn_task replace; /* the warm one takes its place when the stack is empty */
    bool is_static, is_awaited;
};
struct cluster_manager {
    struct config_frame *frame;
    struct map *entries;
    struct map *active; /* name -> struct cluster */
    struct stat_scope *stats;
    uint32_t warming, cold; /* cold: static ones that are awaited */
    bool is_started;
    void (*on_static_warm)(void *arg);
    void *on_static_warm_arg;
    void (*on_warm)(void *arg);
    void *on_warm_arg;
};

static struct config_frame *the_frame;

struct config_frame *clusters_frame(void)
{
    return the_frame;
}

static void on_replace(struct turn_task *t);

static struct str copy_str(struct str s)
{
    char *p = mem_alloc(s.n + 1);
    memcpy(p, s.n ? s.p : "", s.n);
    p[s.n] = '\0';
    return str_make(p, s.n);
}

static void version_fini(struct version *v)
{
    str_free(&v->packed);
    str_free(&v->text);
    *v = (struct version){0};
}

static struct entry *entry_get(struct cluster_manager *m, struct str name)
{
    struct entry *e = map_get(m->entries, name);
    if (e)
        return e;
    e = NEW(entry);
    e->manager = m;
    e->slot = cluster_slot_get(name);
    e->replace.run = on_replace;
    map_set(m->entries, name, e);
    return e;
}

static void entry_free(struct entry *e)
{
    turn_task_cancel(&e->replace);
    cluster_slot_unref(&e->slot);
    mem_free(e);
}

/* ---- putting in place ---- */

static void gauge(struct cluster_manager *m)
{
    stat_set(m->stats, STAT_CM_ACTIVE, map_count(m->active));
    stat_set(m->stats, STAT_CM_WARMING, m->warming);
}

static void tell_if_warm(struct cluster_manager *m)
{
    void (*told)(void *arg) = m->on_warm;
    if (m->warming || !told)
        return;
    m->on_warm = NULL;
    told(m->on_warm_arg);
}

static void activate(struct entry *e)
{
    struct cluster_manager *m = e->manager;
    struct version old = e->active;
    e->active = e->warming;
    e->warming = (struct version){0};
    map_set(m->active, e->slot->name, e->active.cluster);
    cluster_slot_put(e->slot, e->active.cluster);
    if (old.cluster)
        cluster_retire(&old.cluster);
    version_fini(&old);
}

static void on_replace(struct turn_task *t)
{
    struct entry *e = CONTAINER_OF(t, entry, replace);
    struct cluster_manager *m = e->manager;
    if (!e->warming.cluster)
        return;
    activate(e);
    m->warming--;
    gauge(m);
    tell_if_warm(m);
}

static void on_dynamic_warm(void *arg)
{
    struct entry *e = arg;
    loop_at_turn_end(clusters_main_loop(), &e->replace);
}

/* ---- static ones ---- */

int cluster_manager_add(struct cluster_manager *m, struct cluster_spec *take_spec, struct err *err)
{
    struct str name = take_spec->name;
    struct cluster *c = cluster_new(take_spec, err);
    if (!c)
        return err->code;
    struct entry *e = entry_get(m, name);
    e->is_static = true;
    e->warming.cluster = c;
    activate(e);
    stat_inc(m->stats, STAT_CM_ADDED);
    gauge(m);
    return 0;
}

static void on_static_ready(void *arg)
{
    struct cluster_manager *m = arg;
    if (--m->cold == 0)
        m->on_static_warm(m->on_static_warm_arg);
}

/* Not waited for (wait_for_warm_on_init). */
static void on_unawaited_ready(void *arg)
{
    (void)arg;
}

void cluster_manager_start(struct cluster_manager *m, void (*on_warm)(void *arg), void *arg)
{
    struct str name;
    void *value;
    m->on_static_warm = on_warm;
    m->on_static_warm_arg = arg;
    m->cold = 1; /* so that none of those that are ready at once ends it early */
    for (size_t pos = 0; map_next(m->active, &pos, &name, &value);) {
        bool waits = cluster_spec(value)->wait_for_warm_on_init;
        m->cold += waits;
        cluster_start(value, waits ? on_static_ready : on_unawaited_ready, m);
    }
    m->is_started = true;
    on_static_ready(m);
}

uint32_t cluster_manager_cold_count(const struct cluster_manager *m)
{
    return m->cold;
}

/* ---- discovery ---- */

bool cluster_manager_is_settled(const struct cluster_manager *m, struct str name, struct str packed)
{
    const struct entry *e = map_get(m->entries, name);
    if (!e)
        return false;
    const struct version *newest = e->warming.cluster ? &e->warming : &e->active;
    return e->is_static || (newest->cluster && str_eq(newest->packed, packed));
}

static void forget_warming(struct entry *e)
{
    if (!e->warming.cluster)
        return;
    turn_task_cancel(&e->replace);
    cluster_retire(&e->warming.cluster);
    version_fini(&e->warming);
    e->manager->warming--;
}

void cluster_manager_put(struct cluster_manager *m, struct cluster_spec *take_spec, struct str packed, struct str version)
{
    struct err err = {0};
    struct str name = take_spec->name;
    struct entry *e = entry_get(m, name);
    struct cluster *c = cluster_new(take_spec, &err);
    if (!c) {
        LOG(UPSTREAM, WARNING, "cluster '%.*s': %s", STR_ARG(e->slot->name), err.message);
        return;
    }
    forget_warming(e);
    stat_inc(m->stats, e->active.cluster ? STAT_CM_MODIFIED : STAT_CM_ADDED);
    e->warming = (struct version){c, copy_str(packed), copy_str(version), loop_wall_us(clusters_main_loop())};
    m->warming++;
    gauge(m);
    cluster_start(c, on_dynamic_warm, e);
}

void cluster_manager_remove(struct cluster_manager *m, struct str name)
{
    struct entry *e = map_get(m->entries, name);
    if (!e || e->is_static)
        return;
    forget_warming(e);
    map_del(m->active, e->slot->name);
    cluster_slot_put(e->slot, NULL);
    if (e->active.cluster)
        cluster_retire(&e->active.cluster);
    version_fini(&e->active);
    map_del(m->entries, e->slot->name);
    entry_free(e);
    stat_inc(m->stats, STAT_CM_REMOVED);
    gauge(m);
    tell_if_warm(m);
}

void cluster_manager_each_dynamic(struct cluster_manager *m, void (*fn)(struct str name, void *arg), void *arg)
{
    size_t n = 0, pos = 0;
    struct str name;
    void *value;
    struct entry **all = mem_alloc((map_count(m->entries) + 1) * sizeof *all);
    while (map_next(m->entries, &pos, &name, &value))
        if (!((struct entry *)value)->is_static)
            all[n++] = value;
    for (size_t i = 0; i < n; i++)
        fn(all[i]->slot->name, arg);
    mem_free(all);
}

void cluster_manager_when_warm(struct cluster_manager *m, void (*on_warm)(void *arg), void *arg)
{
    m->on_warm = on_warm;
    m->on_warm_arg = arg;
    tell_if_warm(m);
}

static void dump(struct str name, const struct version *v, bool is_warming, void (*fn)(const struct dynamic_cluster *d, void *arg), void *arg)
{
    if (v->cluster)
        fn(&(struct dynamic_cluster){name, v->packed, v->text, v->wall_us, is_warming}, arg);
}

void cluster_manager_each_dump(const struct cluster_manager *m, void (*fn)(const struct dynamic_cluster *d, void *arg), void *arg)
{
    struct str name;
    void *value;
    for (size_t pos = 0; map_next(m->entries, &pos, &name, &value);) {
        const struct entry *e = value;
        if (e->is_static)
            continue;
        dump(e->slot->name, &e->active, false, fn, arg);
        dump(e->slot->name, &e->warming, true, fn, arg);
    }
}

/* ---- making and unmaking ---- */

struct cluster_manager *cluster_manager_new(struct config_frame *keep_frame)
{
    struct cluster_manager *m = NEW(cluster_manager);
    m->entries = map_new();
    m->active = map_new();
    m->stats = stat_scope_get(STR("cluster_manager."), &table, STR("cluster_manager."), NULL, 0);
    the_frame = m->frame = keep_frame;
    return m;
}

const struct map *cluster_manager_active(const struct cluster_manager *m)
{
    return m->active;
}

static void end_version(struct version *v)
{
    if (v->cluster)
        cluster_stop(v->cluster);
    cluster_unref(&v->cluster);
    version_fini(v);
}

void cluster_manager_free(struct cluster_manager **manager)
{
    struct cluster_manager *m = *manager;
    struct str name;
    void *value;
    *manager = NULL;
    if (!m)
        return;
    for (size_t pos = 0; map_next(m->entries, &pos, &name, &value);) {
        struct entry *e = value;
        cluster_slot_put(e->slot, NULL);
        end_version(&e->warming);
        end_version(&e->active);
        entry_free(e);
    }
    clusters_leave();
    map_free(&m->entries);
    map_free(&m->active);
    stat_scope_unref(&m->stats);
    the_frame = NULL;
    mem_free(m);
}
