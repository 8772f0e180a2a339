/* SPDX-License-Identifier: Apache-2.0
 *
 * Services and sets of endpoints: each in an arena of its own, counted.
 */
#include "model/service_priv.h"

#include <stdlib.h>

#include "base/mem.h"

struct service_body {
    struct service service; /* first: service_ref gets back to this */
    struct arena arena;
    const struct object *object;
    uint32_t refs;
};
struct set_body {
    struct endpoint_set set;
    struct arena arena;
    uint32_t refs;
};

struct service *service_new(const struct object *object, struct arena **arena)
{
    struct service_body *b = NEW(service_body);
    arena_init(&b->arena, 0);
    b->refs = 1;
    b->object = object ? object_ref(object) : NULL;
    b->service.object = object;
    *arena = &b->arena;
    return &b->service;
}

const struct service *service_ref(const struct service *s)
{
    ((struct service_body *)(uintptr_t)s)->refs++;
    return s;
}

void service_unref(const struct service **s)
{
    struct service_body *b = (struct service_body *)(uintptr_t)*s;
    *s = NULL;
    if (!b || --b->refs)
        return;
    if (b->object)
        object_unref(&b->object);
    arena_fini(&b->arena);
    mem_free(b);
}

const struct service_port *service_port_find(const struct service *s, uint32_t number)
{
    for (uint32_t i = 0; i < s->port_count; i++)
        if (s->ports[i].number == number)
            return &s->ports[i];
    return NULL;
}

struct endpoint_set *endpoint_set_new(struct arena **arena)
{
    struct set_body *b = NEW(set_body);
    arena_init(&b->arena, 0);
    b->refs = 1;
    *arena = &b->arena;
    return &b->set;
}

const struct endpoint_set *endpoint_set_ref(const struct endpoint_set *s)
{
    ((struct set_body *)(uintptr_t)s)->refs++;
    return s;
}

void endpoint_set_unref(const struct endpoint_set **s)
{
    struct set_body *b = (struct set_body *)(uintptr_t)*s;
    *s = NULL;
    if (!b || --b->refs)
        return;
    arena_fini(&b->arena);
    mem_free(b);
}

/* ---- hashes: what a thing says, in a fixed order ---- */

uint64_t hash_text(uint64_t h, struct str s)
{
    return str_hash(s, h * 31 + s.n);
}

uint64_t hash_number(uint64_t h, uint64_t v)
{
    return str_hash(str_make((const char *)&v, sizeof(v)), h);
}

uint64_t hash_labels(uint64_t h, const struct labels *l)
{
    for (uint32_t i = 0; i < l->count; i++)
        h = hash_text(hash_text(h, l->items[i].key), l->items[i].value);
    return hash_number(h, l->count);
}

static uint64_t hash_texts(uint64_t h, const struct str *items, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        h = hash_text(h, items[i]);
    return hash_number(h, count);
}

void service_seal(struct service *s)
{
    uint64_t h = hash_text(hash_text(hash_text(1, s->host), s->name), s->ns);
    for (uint32_t i = 0; i < s->port_count; i++) {
        const struct service_port *p = &s->ports[i];
        h = hash_text(hash_text(h, p->name), p->target_name);
        h = hash_number(hash_number(hash_number(h, p->number), p->target), p->protocol);
    }
    h = hash_texts(h, s->addresses, s->address_count);
    h = hash_texts(h, s->sans, s->san_count);
    h = hash_texts(h, s->visibility.namespaces, s->visibility.namespace_count);
    h = hash_number(h, (uint64_t)(s->visibility.everyone | s->visibility.nobody << 1 | s->visibility.own_namespace << 2));
    h = hash_number(h, s->resolution * 16u + s->is_external + s->is_kubernetes * 2u + s->is_headless * 4u + s->publishes_not_ready * 8u);
    h = hash_text(hash_text(h, s->external_name), s->node_local);
    h = hash_labels(hash_labels(h, &s->labels), &s->selector);
    s->hash = hash_number(h, (uint64_t)s->created_s);
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The same for any number of endpoints that are alike in this. */
static uint64_t identities_hash(const struct endpoint_set *set)
{
    uint64_t *all = mem_alloc((set->count + 1) * sizeof(*all)), h = 3;
    for (uint32_t i = 0; i < set->count; i++)
        all[i] = hash_number(hash_text(hash_text(5, set->items[i].identity), set->items[i].tls_mode), set->items[i].service_port);
    qsort(all, set->count, sizeof(*all), by_number);
    for (uint32_t i = 0; i < set->count; i++)
        if (i == 0 || all[i] != all[i - 1])
            h = hash_number(h, all[i]);
    mem_free(all);
    return h;
}

void endpoint_set_seal(struct endpoint_set *set)
{
    set->identities = identities_hash(set);
    uint64_t h = hash_text(hash_text(2, set->host), set->ns);
    for (uint32_t i = 0; i < set->count; i++) {
        const struct endpoint *e = &set->items[i];
        const struct str texts[] = {e->address, e->ns,       e->service_account, e->workload, e->node,    e->region,
                                    e->zone,    e->sub_zone, e->network,         e->identity, e->tls_mode, e->cluster_id};
        h = hash_texts(h, texts, sizeof(texts) / sizeof(texts[0]));
        h = hash_number(hash_number(h, e->port), e->service_port);
        h = hash_number(hash_number(h, e->health * 2u + e->is_hbone), e->weight);
        h = hash_labels(h, &e->labels);
    }
    set->hash = hash_number(h, set->count);
}

int endpoint_compare(const struct endpoint *x, const struct endpoint *y)
{
    if (x->service_port != y->service_port)
        return x->service_port < y->service_port ? -1 : 1;
    int c = str_cmp(x->address, y->address);
    return c ? c : (x->port > y->port) - (x->port < y->port);
}
