/* SPDX-License-Identifier: Apache-2.0
 *
 * The world's parts: services (world_service.c), workloads (world_workload.c), endpoints (world_endpoint.c), and who keeps them up to
 * date (world.c).
 */
#ifndef MODEL_WORLD_PRIV_H
#define MODEL_WORLD_PRIV_H

#include "base/map.h"
#include "model/service_priv.h"
#include "model/world.h"

/* An array of borrowed pointers without an order. */
struct bag {
    void **items;
    size_t count, cap;
};
void bag_add(struct bag *b, void *item);
void bag_remove(struct bag *b, const void *item);
void bag_fini(struct bag *b);
/* The bag at a key, made when there is none. */
struct bag *bag_at(struct map *m, struct str key);
void bag_map_free(struct map **m);

/* One service and what is known of its endpoints. */
struct place {
    const struct service *service;    /* a reference */
    const struct endpoint_set *set;   /* a reference; NULL: not built */
    bool is_dirty;
    struct map *addresses;            /* those in `set`, so that they can be taken out of the index */
};

/* What was worked out of rules and routes (scope.c); forgotten when they, services or the mesh change. */
struct scopes {
    struct map *by_key;
    struct rule_index *rules;
    struct route_index *routes;
};
void scopes_forget(struct scopes *s);
void scopes_fini(struct scopes *s);

struct world {
    struct store *store;
    const struct mesh *mesh;
    struct str domain;
    struct map *by_object;  /* "kind ns/name" -> bag of places that the object gave */
    struct map *by_host;    /* host -> bag of places, oldest first */
    struct map *slices;     /* "ns/service" -> bag of EndpointSlices (referenced) */
    struct map *workloads;  /* address -> struct workload */
    struct map *at_address; /* address -> bag of places with an endpoint there */
    struct map *selecting;  /* ns -> bag of places that select workloads by labels, Pods too: of ServiceEntries */
    struct map *selecting_entries; /* ns -> bag of those that select WorkloadEntries alone: Services have Pods by slices */
    struct map *pods_in, *entries_in; /* ns -> bag of workloads */
    struct bag places;      /* all */
    struct bag dirty;       /* places whose endpoints have to be worked out again */
    const struct service **sorted;
    size_t sorted_count;
    bool is_sorted;
    /* what the next delta tells */
    struct map *changed_services, *changed_endpoints, *changed_addresses;
    struct scopes scopes;
    world_changed_fn changed;
    void *user;
};

void place_mark(struct world *w, struct place *p);

/* ---- world_service.c ---- */
/* The services that an object gives; references in out (of `arena`). */
size_t services_of_object(const struct world *w, const struct object *o, struct arena *a, const struct service ***out);
bool service_object_gives(enum kind_id kind);

/* ---- world_workload.c ---- */
void workload_changed(struct world *w, const struct change *c); /* Pod, WorkloadEntry */
struct workload *workload_new(const struct world *w, const struct object *o);
void workload_free(struct workload *wl);
/* "region/zone/subzone" or with dots for slashes. */
void locality_split(struct str text, struct str *region, struct str *zone, struct str *sub_zone);

/* ---- world_endpoint.c ---- */
const struct endpoint_set *endpoints_build(const struct world *w, const struct place *p);

#endif
