/* SPDX-License-Identifier: Apache-2.0
 *
 * VHDS. One response is one next table: what hasn't changed is shared with the one before. A virtual host
 * that can't be read is refused by name and the rest is taken; so is one whose domain is another's, whose
 * old version then stays. What a response takes away or changes gives its domains free before anything is
 * put in their place, so that a domain may move between virtual hosts of one response. Main thread.
 */
#include "proxy/route/vhds.h"

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "proxy/cluster/cluster.h"
#include "proxy/config/resources.h"
#include "proxy/discovery/discovery.h"
#include "proxy/route/vhost_ask.h"
#include "proxy/stats/stats.h"
#include "proxy/warm.h"

#define ROUNDS_MAX 4 /* of placing: each leaves out what collided in the one before */

#define ASKED_MAX 10000 /* names that requests bring: with more of them the server isn't asked */

#define VHDS_STATS(X)                                                                              \
    X(VHDS_CONFIG_RELOAD, COUNTER, NONE, "config_reload", "Updates put to use")                    \
    X(VHDS_UPDATE_EMPTY, COUNTER, NONE, "update_empty", "Updates without a virtual host")
enum vhds_stat {
    VHDS_STATS(STAT_ENUM_ROW)
};
static const struct stat_desc rows[] = {VHDS_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

/* A host that a request has asked for. It stays subscribed to while there is such a virtual host, or somebody waits. */
struct asked {
    struct vhds *vhds;
    struct str host; /* heap */
    struct subscription *subscription;
    struct list waiting;
    struct list gone; /* vhds->gone: known not to be there; of itself: not so */
    bool is_there;
};

struct vhds {
    struct map *asked;                /* host -> struct asked */
    struct list gone;
    struct turn_task sweep;
    struct str config_name;           /* heap */
    const struct config_source *from;
    struct config_frame *frame;
    const struct vhds_owner *owner;
    void *user;
    struct subscription *subscription;
    struct warm_source warm;
    struct stat_scope *stats;
};

/* ---- reading ---- */

static struct vhost_resource *read_one(struct config_batch *b, const struct resource *item, const struct route_config_spec *spec,
                                       struct err_list *faults)
{
    struct vhost_resource *r = NULL;
    size_t before = faults->count;
    config_read_virtual_host(b, item->packed, spec, &r, faults);
    for (size_t i = before; i < faults->count; i++)
        err_prefix(&faults->items[i], "%.*s", STR_ARG(item->name));
    return r;
}

/* ---- one response ---- */

struct placing {
    const struct resource_update *u;
    struct vhost_resource **read; /* by item; NULL: refused */
    struct err_list *faults;
};

static void refuse(struct placing *p, uint32_t i, const struct err *err)
{
    err_list_add(p->faults, err);
    err_prefix(&p->faults->items[p->faults->count - 1], "%.*s", STR_ARG(p->u->items[i].name));
    vhost_resource_unref(&p->read[i]);
    p->u->refused[i] = true;
}

/* False: something collided and is left out from now on. */
static bool place(struct placing *p, struct route_table *t, bool is_last)
{
    const struct resource_update *u = p->u;
    bool is_good = true;
    for (uint32_t i = 0; i < u->removed_count; i++)
        route_table_remove(t, u->removed[i]);
    for (uint32_t i = 0; i < u->count; i++)
        if (p->read[i])
            route_table_remove(t, u->items[i].name);
    for (uint32_t i = 0; i < u->count; i++) {
        struct err err = {0};
        if (!p->read[i] || route_table_put(t, u->items[i].name, p->read[i], &err) == 0)
            continue;
        refuse(p, i, &err);
        is_good = is_last; /* else the old version has to stand in the next round */
    }
    return is_good;
}

static struct route_table *place_all(struct placing *p, const struct route_table *now)
{
    for (int round = 1;; round++) {
        struct route_table *t = route_table_copy(now);
        if (place(p, t, round == ROUNDS_MAX))
            return t;
        route_table_free(&t);
    }
}

static void take(struct vhds *v, const struct resource_update *u, struct err_list *faults)
{
    const struct route_config_spec *spec;
    const struct route_table *now = v->owner->table(v->user, &spec);
    struct placing p = {u, mem_zalloc((u->count + 1) * sizeof *p.read), faults};
    struct config_batch *b = config_batch_new(v->frame);
    if (!now)
        goto out;
    for (uint32_t i = 0; i < u->count; i++) {
        p.read[i] = read_one(b, &u->items[i], spec, faults);
        if (!p.read[i])
            u->refused[i] = true;
        else
            vhost_resource_link(p.read[i]);
    }
    v->owner->show(v->user, place_all(&p, now));
    stat_inc(v->stats, STAT_VHDS_CONFIG_RELOAD);
out:
    for (uint32_t i = 0; i < u->count; i++)
        vhost_resource_unref(&p.read[i]);
    config_batch_free(&b);
    mem_free(p.read);
}

static void on_update(void *user, const struct resource_update *u, struct err_list *faults)
{
    struct vhds *v = user;
    if (u->count || u->removed_count)
        take(v, u, faults);
    else
        stat_inc(v->stats, STAT_VHDS_UPDATE_EMPTY);
    warm_source_ready(&v->warm);
}

static void on_fetch_timeout(void *user)
{
    struct vhds *v = user;
    LOG(CONFIG, WARNING, "vhds: no answer came in time; what is there is served without");
    warm_source_ready(&v->warm);
}

static const struct subscription_ops ops = {.on_update = on_update, .on_fetch_timeout = on_fetch_timeout};

/* ---- another configuration above ---- */

struct filling {
    struct config_batch *batch;
    const struct route_config_spec *spec;
    struct route_table *table;
    struct err_list *faults;
};

static void fill_one(const struct resource *item, void *arg)
{
    struct filling *f = arg;
    struct err err = {0};
    struct vhost_resource *r = read_one(f->batch, item, f->spec, f->faults);
    if (!r)
        return;
    vhost_resource_link(r);
    if (route_table_put(f->table, item->name, r, &err) < 0) {
        err_prefix(&err, "%.*s", STR_ARG(item->name));
        err_list_add(f->faults, &err);
    }
    vhost_resource_unref(&r);
}

bool vhds_fill(struct vhds *v, const struct route_config_spec *spec, struct route_table *t, struct err_list *faults)
{
    size_t before = faults->count;
    struct filling f = {config_batch_new(v->frame), spec, t, faults};
    discovery_each_below(v->subscription, fill_one, &f);
    config_batch_free(&f.batch);
    return faults->count == before;
}

void vhds_each(const struct vhds *v, void (*fn)(const struct resource *r, void *arg), void *arg)
{
    discovery_each_below(v->subscription, fn, arg);
}

/* ---- on demand ---- */

static void asked_answer(struct asked *a)
{
    for (struct list *node; (node = list_first(&a->waiting));)
        vhost_ask_answer(LIST_ENTRY(node, vhost_ask, node));
}

static void asked_free(struct asked *a)
{
    asked_answer(a);
    list_remove(&a->gone);
    map_del(a->vhds->asked, a->host);
    discovery_unsubscribe(&a->subscription);
    str_free(&a->host);
    mem_free(a);
}

static void sweep(struct turn_task *t)
{
    struct vhds *v = CONTAINER_OF(t, vhds, sweep);
    for (struct list *node; (node = list_first(&v->gone));)
        asked_free(LIST_ENTRY(node, asked, gone));
}

/* It goes at the turn's end: a name that is given up and asked for again within a turn wouldn't be told to the server. */
static void asked_retire(struct asked *a)
{
    asked_answer(a);
    if (!list_is_empty(&a->gone))
        return;
    list_push_back(&a->vhds->gone, &a->gone);
    a->vhds->sweep.run = sweep;
    loop_at_turn_end(clusters_main_loop(), &a->vhds->sweep);
}

/* The table has it by now, if it can be had. */
static void on_asked_update(void *user, const struct resource_update *u, struct err_list *faults)
{
    struct asked *a = user;
    (void)faults;
    a->is_there = u->count > 0;
    if (a->is_there)
        asked_answer(a);
    else if (u->removed_count)
        asked_retire(a);
}

static const struct subscription_ops asked_ops = {.on_update = on_asked_update};

static struct asked *asked_new(struct vhds *v, struct str host)
{
    struct asked *a = NEW(asked);
    struct strbuf name = {0};
    a->vhds = v;
    a->host = str_dup(host);
    list_init(&a->waiting);
    list_init(&a->gone);
    map_set(v->asked, host, a);
    strbuf_addf(&name, "%.*s/%.*s", STR_ARG(v->config_name), STR_ARG(host));
    a->subscription = discovery_subscribe(v->from, RESOURCE_VIRTUAL_HOST, strbuf_str(&name), STR(""), &asked_ops, a);
    strbuf_fini(&name);
    return a;
}

void vhds_ask(struct vhds *v, struct vhost_ask *take_ask)
{
    struct str host = str_make(take_ask->host, take_ask->host_bytes);
    const struct route_config_spec *spec;
    const struct route_table *now = v->owner->table(v->user, &spec);
    struct asked *a = map_get(v->asked, host);
    bool is_known = now && route_table_knows(now, host);
    if (!a && !is_known && map_count(v->asked) < ASKED_MAX)
        a = asked_new(v, host);
    if (!a && !is_known)
        LOG_SELDOM(CONFIG, WARNING, "vhds: %d hosts of '%.*s' have been asked for; no more are", ASKED_MAX, STR_ARG(v->config_name));
    if (!a || is_known || a->is_there || !list_is_empty(&a->gone)) {
        vhost_ask_answer(take_ask);
        if (a && !is_known)
            asked_retire(a); /* it was there and is gone: the next one asks anew */
        return;
    }
    take_ask->waited_for = a;
    list_push_back(&a->waiting, &take_ask->node);
}

void vhds_forget(struct vhost_ask *ask)
{
    struct asked *a = ask->waited_for;
    list_remove(&ask->node);
    if (list_is_empty(&a->waiting) && !a->is_there)
        asked_free(a);
}

/* ---- lives ---- */

static void subscribe(struct vhds *v, struct str config_name, struct str manager)
{
    struct strbuf prefix = {0}, name = {0};
    struct stat_tag tags[] = {{STR("envoy.http_conn_manager_prefix"), manager}, {STR("envoy.vhds_route_config"), config_name}};
    strbuf_addf(&prefix, "http.%.*s.rds.vhds.%.*s.", STR_ARG(manager), STR_ARG(config_name));
    strbuf_addf(&name, "%.*s/", STR_ARG(config_name));
    v->stats = stat_scope_get(strbuf_str(&prefix), &table, STR("http.rds.vhds."), tags, ARRAY_LEN(tags));
    v->subscription = discovery_subscribe(v->from, RESOURCE_VIRTUAL_HOST, strbuf_str(&name), strbuf_str(&prefix), &ops, v);
    strbuf_fini(&prefix);
    strbuf_fini(&name);
}

struct vhds *vhds_new(const struct config_source *source, struct str config_name, struct str manager, struct config_frame *keep_frame,
                      const struct vhds_owner *keep_owner, void *user)
{
    struct vhds *v = NEW(vhds);
    v->from = config_source_ref(source);
    v->frame = keep_frame;
    v->owner = keep_owner;
    v->user = user;
    v->config_name = str_dup(config_name);
    v->asked = map_new();
    list_init(&v->gone);
    warm_source_init(&v->warm);
    subscribe(v, config_name, manager);
    return v;
}

void vhds_free(struct vhds **vhds)
{
    struct vhds *v = *vhds;
    *vhds = NULL;
    struct str host;
    void *asked;
    if (!v)
        return;
    for (size_t at = 0; map_next(v->asked, &at, &host, &asked); at = 0)
        asked_free(asked);
    turn_task_cancel(&v->sweep);
    map_free(&v->asked);
    str_free(&v->config_name);
    discovery_unsubscribe(&v->subscription);
    warm_source_fini(&v->warm);
    stat_scope_unref(&v->stats);
    config_source_unref(&v->from);
    mem_free(v);
}

const struct config_source *vhds_source(const struct vhds *v)
{
    return v->from;
}

struct warm_source *vhds_warm(struct vhds *v)
{
    return &v->warm;
}
