/* SPDX-License-Identifier: Apache-2.0
 *
 * Workloads by their addresses: Pods and WorkloadEntries. What depends on one is marked when it changes.
 */
#include "model/world_priv.h"

#include "base/mem.h"
#include "istio/networking/workload_entry.pb-c.h"
#include "k8s/core.pb-c.h"

struct workload_body {
    struct workload workload;
    struct arena arena;
};

void locality_split(struct str text, struct str *region, struct str *zone, struct str *sub_zone)
{
    char sep = str_find_char(text, '/') >= 0 ? '/' : '.';
    struct str rest;
    *zone = *sub_zone = STR("");
    *region = str_split(text, sep, &rest);
    if (rest.p)
        *zone = str_split(rest, sep, &rest);
    if (rest.p)
        *sub_zone = rest;
}

static void locality_of_node(const struct world *w, struct workload *wl)
{
    const struct object *node = store_get(w->store, KIND_NODE, STR(""), wl->node);
    if (!node)
        return;
    wl->region = labels_get(&node->labels, STR("topology.kubernetes.io/region"));
    wl->zone = labels_get(&node->labels, STR("topology.kubernetes.io/zone"));
    wl->sub_zone = labels_get(&node->labels, STR("topology.istio.io/subzone"));
}

static void locality_of_labels(struct workload *wl)
{
    struct str text = labels_get(&wl->labels, STR("topology.istio.io/locality"));
    if (text.n == 0)
        text = labels_get(&wl->labels, STR("istio-locality"));
    if (text.n)
        locality_split(text, &wl->region, &wl->zone, &wl->sub_zone);
}

static void read_pod(const struct world *w, const struct object *o, struct workload *wl)
{
    const K8s__Core__V1__Pod *pod = (const K8s__Core__V1__Pod *)o->body;
    wl->address = pod->status ? str_from(pod->status->podip) : STR("");
    if (pod->spec) {
        wl->service_account = str_from(pod->spec->service_account_name);
        wl->node = str_from(pod->spec->node_name);
    }
    if (wl->service_account.n == 0)
        wl->service_account = STR("default");
    wl->labels = o->labels;
    locality_of_node(w, wl);
    locality_of_labels(wl);
}

static void read_entry(struct arena *a, const struct object *o, struct workload *wl)
{
    const Istio__Networking__V1alpha3__WorkloadEntry *e = (const Istio__Networking__V1alpha3__WorkloadEntry *)o->body;
    struct label *items = arena_alloc(a, (e->n_labels + o->labels.count + 1) * sizeof(*items));
    uint32_t n = 0;
    for (size_t i = 0; i < e->n_labels; i++)
        items[n++] = (struct label){str_from(e->labels[i]->key), str_from(e->labels[i]->value)};
    labels_sort(items, n);
    const struct labels own = {items, n};
    for (uint32_t i = 0; i < o->labels.count; i++) /* those of the spec win */
        if (!labels_get(&own, o->labels.items[i].key).p)
            items[n++] = o->labels.items[i];
    labels_sort(items, n);
    wl->labels = (struct labels){items, n};
    wl->address = str_from(e->address);
    wl->service_account = str_from(e->service_account);
    wl->network = str_from(e->network);
    if (e->locality[0])
        locality_split(str_from(e->locality), &wl->region, &wl->zone, &wl->sub_zone);
    else
        locality_of_labels(wl);
}

struct workload *workload_new(const struct world *w, const struct object *o)
{
    struct workload_body *b = NEW(workload_body);
    struct workload *wl = &b->workload;
    arena_init(&b->arena, 0);
    wl->object = object_ref(o);
    wl->name = o->name;
    wl->ns = o->ns;
    wl->region = wl->zone = wl->sub_zone = wl->network = wl->node = STR("");
    if (o->kind->id == KIND_POD)
        read_pod(w, o, wl);
    else
        read_entry(&b->arena, o, wl);
    struct str network = labels_get(&wl->labels, STR("topology.istio.io/network"));
    if (network.n)
        wl->network = network;
    return wl;
}

void workload_free(struct workload *wl)
{
    struct workload_body *b = (struct workload_body *)wl; /* its first member */
    object_unref(&wl->object);
    arena_fini(&b->arena);
    mem_free(b);
}

/* ---- changes ---- */

static void mark_bag(struct world *w, const struct bag *b)
{
    for (size_t i = 0; b && i < b->count; i++)
        place_mark(w, b->items[i]);
}

static void mark_matching(struct world *w, const struct bag *b, const struct workload *wl)
{
    for (size_t i = 0; b && i < b->count; i++) {
        struct place *p = b->items[i];
        if (labels_have_all(&wl->labels, &p->service->selector))
            place_mark(w, p);
    }
}

/* Places that select by labels, in the workload's namespace. */
static void mark_selecting(struct world *w, const struct workload *wl)
{
    mark_matching(w, map_get(w->selecting, wl->ns), wl);
    if (wl->object->kind->id == KIND_WORKLOAD_ENTRY)
        mark_matching(w, map_get(w->selecting_entries, wl->ns), wl);
}

static struct map *kept_in(struct world *w, const struct workload *wl)
{
    return wl->object->kind->id == KIND_POD ? w->pods_in : w->entries_in;
}

static void leave(struct world *w, struct workload *wl)
{
    bag_remove(map_get(kept_in(w, wl), wl->ns), wl);
    workload_free(wl);
}

static void forget(struct world *w, const struct object *o)
{
    struct workload *probe = workload_new(w, o); /* tells its address */
    struct workload *held = map_get(w->workloads, probe->address);
    if (held && str_eq(held->name, o->name) && str_eq(held->ns, o->ns) && held->object->kind == o->kind) {
        mark_bag(w, map_get(w->at_address, held->address));
        mark_selecting(w, held);
        map_del(w->workloads, held->address);
        leave(w, held);
    }
    workload_free(probe);
}

void workload_changed(struct world *w, const struct change *c)
{
    if (c->before)
        forget(w, c->before);
    if (!c->after)
        return;
    struct workload *wl = workload_new(w, c->after);
    mark_selecting(w, wl);
    if (wl->address.n == 0) { /* not scheduled yet */
        workload_free(wl);
        return;
    }
    mark_bag(w, map_get(w->at_address, wl->address));
    struct workload *old = map_set(w->workloads, wl->address, wl);
    bag_add(bag_at(kept_in(w, wl), wl->ns), wl);
    if (old)
        leave(w, old);
}
