/* SPDX-License-Identifier: Apache-2.0
 *
 * The mesh as it is: what the objects of the store say, worked out. Kept up to date change by change: work is in proportion to
 * what changed, and what is equal stays the same object. Main thread.
 */
#ifndef MODEL_WORLD_H
#define MODEL_WORLD_H

#include "model/mesh.h"
#include "model/service.h"
#include "model/store.h"

struct world;
/* Watches the store. `domain`: "cluster.local". */
struct world *world_new(struct store *keep_store, const struct mesh *keep_mesh, struct str domain);
void world_free(struct world **w);
void world_set_mesh(struct world *w, const struct mesh *keep_mesh);
const struct mesh *world_mesh(const struct world *w);
const struct store *world_store(const struct world *w);

/* What differs since the last time one asked; the strings live until then. */
struct world_delta {
    uint64_t kinds;    /* 1 << enum kind_id of changed objects that count */
    bool everything;   /* mesh configuration, namespaces' labels, root namespace's policies */
    const struct str *services; uint32_t service_count;   /* hosts whose service came, went or changed (sorted) */
    const struct str *endpoints; uint32_t endpoint_count; /* hosts whose endpoints did (sorted) */
    const struct str *addresses; uint32_t address_count;  /* at which a service has an endpoint more or less, or another (sorted) */
    const struct change *changes; uint32_t change_count;
};
typedef void (*world_changed_fn)(void *user, const struct world_delta *d);
void world_watch(struct world *w, world_changed_fn changed, void *user);

/* Of a host the oldest service that `ns` may see, its own namespace's first (Istio: conflicting hosts); NULL none. */
const struct service *world_service(const struct world *w, struct str host, struct str ns);
/* All, by host and namespace. Valid until the world changes. */
const struct service *const *world_services(const struct world *w, size_t *count);
/* NULL: none known. `s` may be of an earlier time. */
const struct endpoint_set *world_endpoints(const struct world *w, const struct service *s);

/* ---- workloads ---- */

/* A Pod or WorkloadEntry by its address; what a proxy's node metadata doesn't tell. */
struct workload {
    struct str name, ns, service_account, node, address;
    struct str region, zone, sub_zone, network;
    struct labels labels;
    const struct object *object;
};
const struct workload *world_workload(const struct world *w, struct str address);
/* The services (with the port of the workload each of their ports leads to) that have an endpoint at one of the addresses; for
 * headless and selector services by labels where no endpoint is known yet. Sorted by creation, then host. */
struct workload_service { const struct service *service; const struct service_port *port; uint32_t target; };
size_t world_services_of(const struct world *w, const struct str *addresses, size_t address_count, struct str ns,
                         const struct labels *labels, struct arena *a, const struct workload_service **out);

#endif
