/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime layers that a management server fills (Envoy: "Runtime Discovery Service"). A resource replaces its layer whole; one that
 * is removed, or that can't be read, leaves it empty and as it is. Workers may be reading the version before until their turn is
 * over. Main thread.
 */
#include "proxy/discovery/rtds.h"

#include "base/arena.h"
#include "base/mem.h"
#include "proxy/cluster/cluster.h"
#include "proxy/config/resources.h"
#include "proxy/discovery/discovery.h"
#include "proxy/runtime.h"

struct layer {
    struct rtds *all;
    uint32_t index;
    struct subscription *subscription;
    bool was_heard;
};
struct rtds {
    struct config_frame *frame;
    struct layer *layers;
    uint32_t count, awaited;
    void (*on_first)(void *arg);
    void *arg;
};

static void note_heard(struct layer *l)
{
    if (l->was_heard)
        return;
    l->was_heard = true;
    if (--l->all->awaited == 0)
        l->all->on_first(l->all->arg);
}

static void replace(const struct layer *l, const struct runtime_values *v)
{
    struct runtime_version *old = runtime_replace_layer(l->index, v->keys, v->values, v->count);
    if (old)
        clusters_after_turns(runtime_version_free, old);
}

static void take(const struct layer *l, const struct resource *item, struct err_list *faults)
{
    struct config_batch *b = config_batch_new(l->all->frame);
    struct runtime_values values;
    struct arena a;
    size_t before = faults->count;
    arena_init(&a, 0);
    if (config_read_runtime(b, item->packed, &a, &values, faults) == 0)
        replace(l, &values);
    for (size_t i = before; i < faults->count; i++)
        err_prefix(&faults->items[i], "%.*s", STR_ARG(item->name));
    arena_fini(&a);
    config_batch_free(&b);
}

static void on_update(void *user, const struct resource_update *u, struct err_list *faults)
{
    struct layer *l = user;
    size_t before = faults->count;
    if (u->removed_count)
        replace(l, &(struct runtime_values){0});
    for (uint32_t i = 0; i < u->count; i++)
        take(l, &u->items[i], faults);
    if (faults->count == before)
        note_heard(l);
}

static void on_fetch_timeout(void *user)
{
    note_heard(user);
}

static const struct subscription_ops ops = {.on_update = on_update, .on_fetch_timeout = on_fetch_timeout};

struct rtds *rtds_new(struct config_frame *keep_frame, const struct runtime_layer_spec *keep_layers, uint32_t count,
                      void (*on_first)(void *arg), void *arg)
{
    struct rtds *r = NEW(rtds);
    *r = (struct rtds){.frame = keep_frame, .on_first = on_first, .arg = arg, .awaited = 1};
    r->layers = mem_zalloc((count + 1) * sizeof *r->layers);
    for (uint32_t i = 0; i < count; i++) {
        if (!keep_layers[i].source)
            continue;
        struct layer *l = &r->layers[r->count++];
        *l = (struct layer){.all = r, .index = i};
        r->awaited++;
        l->subscription = discovery_subscribe(keep_layers[i].source, RESOURCE_RUNTIME, keep_layers[i].rtds_name, STR("runtime."), &ops, l);
    }
    if (--r->awaited == 0)
        on_first(arg);
    return r;
}

void rtds_free(struct rtds **rtds)
{
    struct rtds *r = *rtds;
    *rtds = NULL;
    if (!r)
        return;
    for (uint32_t i = 0; i < r->count; i++)
        discovery_unsubscribe(&r->layers[i].subscription);
    mem_free(r->layers);
    mem_free(r);
}
