/* SPDX-License-Identifier: Apache-2.0
 *
 * One response of clusters at a time: what hasn't changed costs a look-up and a comparison; a cluster
 * that can't be read is refused by name and the rest is taken. Requests for endpoints are held back
 * meanwhile, so that one of them names all that is new. Main thread.
 */
#include "proxy/discovery/cds.h"

#include "base/log.h"
#include "base/mem.h"
#include "proxy/cluster/manager.h"
#include "proxy/config/resources.h"
#include "proxy/discovery/discovery.h"


struct cds {
    struct cluster_manager *manager;
    struct config_frame *frame;
    struct subscription *subscription;
    void (*on_first)(void *arg);
    void *arg;
};

static void on_warm(void *arg)
{
    struct cds *c = arg;
    void (*told)(void *arg) = c->on_first;
    c->on_first = NULL;
    if (told)
        told(c->arg);
}

static void take(struct cds *c, struct config_batch *b, const struct resource *item, struct err_list *faults)
{
    struct cluster_spec *spec = NULL;
    size_t before = faults->count;
    if (cluster_manager_is_settled(c->manager, item->name, item->packed))
        return;
    if (config_read_cluster(b, item->packed, &spec, faults) == 0)
        cluster_manager_put(c->manager, spec, item->packed, item->version);
    for (size_t i = before; i < faults->count; i++)
        err_prefix(&faults->items[i], "%.*s", STR_ARG(item->name));
}

struct absent {
    struct cds *cds;
    struct map *present;
};

static void remove_if_absent(struct str name, void *arg)
{
    struct absent *a = arg;
    if (!map_get(a->present, name))
        cluster_manager_remove(a->cds->manager, name);
}

static void remove_others(struct cds *c, const struct resource_update *u)
{
    struct absent a = {c, map_new()};
    for (uint32_t i = 0; i < u->count; i++)
        map_set(a.present, u->items[i].name, c);
    cluster_manager_each_dynamic(c->manager, remove_if_absent, &a);
    map_free(&a.present);
}

static void on_update(void *user, const struct resource_update *u, struct err_list *faults)
{
    struct cds *c = user;
    struct config_batch *b = config_batch_new(c->frame);
    discovery_hold(RESOURCE_ENDPOINTS);
    for (uint32_t i = 0; i < u->count; i++)
        take(c, b, &u->items[i], faults);
    for (uint32_t i = 0; i < u->removed_count; i++)
        cluster_manager_remove(c->manager, u->removed[i]);
    if (u->is_whole)
        remove_others(c, u);
    discovery_resume(RESOURCE_ENDPOINTS);
    config_batch_free(&b);
    LOG(UPSTREAM, INFO, "cds: %u clusters came, %u are gone, %zu faults", u->count, u->removed_count, faults->count);
    if (c->on_first)
        cluster_manager_when_warm(c->manager, on_warm, c);
}

static void on_fetch_timeout(void *user)
{
    LOG(UPSTREAM, WARNING, "cds: no answer came in time");
    on_warm(user);
}

static const struct subscription_ops ops = {.on_update = on_update, .on_fetch_timeout = on_fetch_timeout};

struct cds *cds_new(struct cluster_manager *keep_manager, struct config_frame *keep_frame, const struct config_source *keep_source,
                    struct str locator, void (*on_first)(void *arg), void *arg)
{
    struct cds *c = NEW(cds);
    c->manager = keep_manager;
    c->frame = keep_frame;
    c->on_first = on_first;
    c->arg = arg;
    c->subscription = discovery_subscribe(keep_source, RESOURCE_CLUSTER, locator, STR("cluster_manager.cds."), &ops, c);
    return c;
}

void cds_free(struct cds **cds)
{
    struct cds *c = *cds;
    *cds = NULL;
    if (!c)
        return;
    discovery_unsubscribe(&c->subscription);
    mem_free(c);
}
