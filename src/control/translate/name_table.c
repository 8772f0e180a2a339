/* SPDX-License-Identifier: Apache-2.0
 *
 * The names that a sidecar's DNS proxy answers itself: each service of the scope with the addresses by which it is reached. What has
 * none (a host by DNS, ranges) is left to the resolvers.
 */
#include "control/translate/translate_priv.h"

#include <stdlib.h>

#include "base/map.h"
#include "istio/name_table.pb-c.h"

#define TABLE Istio__Networking__Nds__V1__NameTable
#define ENTRY Istio__Networking__Nds__V1__NameTable__TableEntry
#define INFO Istio__Networking__Nds__V1__NameTable__NameInfo

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Of a headless service those of its endpoints that are sent to, each once. */
static void add_endpoints(const struct translation *t, const struct service *s, struct many *ips)
{
    const struct endpoint_set *set = world_endpoints(t->world, s);
    struct map *taken = map_new();
    for (uint32_t i = 0; set && i < set->count; i++) {
        const struct endpoint *e = &set->items[i];
        if ((e->health == ENDPOINT_HEALTHY || e->health == ENDPOINT_UNKNOWN) && !map_set(taken, e->address, taken))
            many_add(t, ips, text(t, e->address));
    }
    map_free(&taken);
    if (ips->count)
        qsort(ips->items, ips->count, sizeof(*ips->items), by_text);
}

static struct many addresses_of(const struct translation *t, const struct service *s)
{
    struct many ips = {0};
    for (uint32_t i = 0; i < s->address_count; i++)
        if (str_find_char(s->addresses[i], '/') < 0)
            many_add(t, &ips, text(t, s->addresses[i]));
    if (s->is_headless && ips.count == 0)
        add_endpoints(t, s, &ips);
    return ips;
}

static ENTRY *entry_of(const struct translation *t, const struct service *s, const struct many *ips)
{
    ENTRY *e = MAKE(t, ENTRY, istio__networking__nds__v1__name_table__table_entry__descriptor);
    INFO *info = MAKE(t, INFO, istio__networking__nds__v1__name_table__name_info__descriptor);
    info->ips = (char **)ips->items;
    info->n_ips = ips->count;
    info->registry = text(t, s->is_kubernetes ? STR("Kubernetes") : STR("External"));
    if (s->is_kubernetes) { /* the proxy makes the shorter names of it */
        info->shortname = text(t, s->name);
        info->namespace_ = text(t, s->ns);
    }
    e->key = text(t, s->host);
    e->value = info;
    return e;
}

void name_table(const struct translation *t, struct resource_sink *out)
{
    TABLE *table = MAKE(t, TABLE, istio__networking__nds__v1__name_table__descriptor);
    struct many entries = {0};
    for (uint32_t i = 0; t->node->type == NODE_SIDECAR && i < t->scope->service_count; i++) { /* others resolve for nobody */
        const struct service *s = t->scope->services[i].service;
        struct many ips = addresses_of(t, s);
        if (ips.count)
            many_add(t, &entries, entry_of(t, s, &ips));
    }
    table->table = (ENTRY **)entries.items;
    table->n_table = entries.count;
    out->add(out, STR("nametable"), &table->base);
}
