/* SPDX-License-Identifier: Apache-2.0
 *
 * One response of listeners at a time: what hasn't changed costs a look-up and a comparison; a listener that
 * can't be read or opened is refused by name and the rest is taken. What is gone goes first, so that its
 * addresses are free for those that come. Requests for routes, secrets and extensions are held back
 * meanwhile, so that one of them names all that is new. Main thread.
 */
#include "proxy/discovery/lds.h"

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "proxy/config/resources.h"
#include "proxy/discovery/discovery.h"
#include "proxy/listener/listener.h"
#include "proxy/warm.h"

struct lds {
    struct listener_manager *manager;
    struct config_frame *frame;
    struct subscription *subscription;
    struct warm_source first;
};

static const enum resource_type held[] = {RESOURCE_ROUTES, RESOURCE_SCOPED_ROUTES, RESOURCE_SECRET, RESOURCE_EXTENSION};

/* The first line for people who look at the listener; all of them for the management server. */
static void note_faults(struct lds *l, const struct resource *item, struct err_list *faults, size_t from)
{
    char line[ERR_MESSAGE_BYTES + ERR_PATH_BYTES + 4];
    struct listener_origin origin = {item->packed, item->version};
    listener_manager_note_fault(l->manager, item->name, &origin, err_format(&faults->items[from], line, sizeof(line)));
    for (size_t i = from; i < faults->count; i++)
        err_prefix(&faults->items[i], "%.*s", STR_ARG(item->name));
}

static void take(struct lds *l, struct config_batch *b, const struct resource *item, struct err_list *faults)
{
    const struct listener_spec *older[2];
    struct listener_spec *spec = NULL;
    struct err err = {0};
    size_t before = faults->count;
    if (listener_manager_has(l->manager, item->name, item->packed))
        return;
    uint32_t n = listener_manager_generations(l->manager, item->name, older);
    if (config_read_listener(b, item->packed, older, n, &spec, faults) == 0) {
        struct listener_origin origin = {item->packed, item->version};
        if (listener_manager_set(l->manager, spec, &origin, &err) != 0)
            err_list_add(faults, &err);
    }
    if (faults->count > before)
        note_faults(l, item, faults, before);
}

static void remove_absent(struct lds *l, const struct resource_update *u)
{
    struct map *present = map_new();
    for (uint32_t i = 0; i < u->count; i++)
        map_set(present, u->items[i].name, l);
    listener_manager_remove_others(l->manager, present);
    map_free(&present);
}

static void on_update(void *user, const struct resource_update *u, struct err_list *faults)
{
    struct lds *l = user;
    struct config_batch *b = config_batch_new(l->frame);
    for (size_t i = 0; i < ARRAY_LEN(held); i++)
        discovery_hold(held[i]);
    listener_manager_begin_update(l->manager);
    if (u->is_whole)
        remove_absent(l, u);
    for (uint32_t i = 0; i < u->removed_count; i++)
        listener_manager_remove(l->manager, u->removed[i]);
    for (uint32_t i = 0; i < u->count; i++)
        take(l, b, &u->items[i], faults);
    for (size_t i = 0; i < ARRAY_LEN(held); i++)
        discovery_resume(held[i]);
    config_batch_free(&b);
    LOG(UPSTREAM, INFO, "lds: %u listeners came, %u are gone, %zu faults", u->count, u->removed_count, faults->count);
    warm_source_ready(&l->first);
}

static void on_fetch_timeout(void *user)
{
    struct lds *l = user;
    LOG(UPSTREAM, WARNING, "lds: no answer came in time");
    warm_source_ready(&l->first);
}

static const struct subscription_ops ops = {.on_update = on_update, .on_fetch_timeout = on_fetch_timeout};

struct lds *lds_new(struct listener_manager *keep_manager, struct config_frame *keep_frame, const struct config_source *keep_source,
                    struct str locator, struct warmth *init)
{
    struct lds *l = NEW(lds);
    l->manager = keep_manager;
    l->frame = keep_frame;
    warm_source_init(&l->first);
    warmth_wait(init, &l->first);
    l->subscription = discovery_subscribe(keep_source, RESOURCE_LISTENER, locator, STR("listener_manager.lds."), &ops, l);
    return l;
}

void lds_free(struct lds **lds)
{
    struct lds *l = *lds;
    *lds = NULL;
    if (!l)
        return;
    discovery_unsubscribe(&l->subscription);
    warm_source_fini(&l->first);
    mem_free(l);
}
