/* SPDX-License-Identifier: Apache-2.0
 *
 * Scopes by discovery (SRDS): each a resource that names a key and a route configuration (RDS). One source
 * for each (its source, the one of its routes, name), shared by all connection managers that name it; what
 * it shows is an immutable set (snapshot.h).
 */
#ifndef PROXY_ROUTE_SCOPE_SOURCE_H
#define PROXY_ROUTE_SCOPE_SOURCE_H

#include "proxy/route/scopes.h"

struct config_frame;
struct scope_source;
struct warm_source;

struct scope_resource {               /* one scope as it came */
    uint32_t refs;                    /* main thread */
    struct route_scope scope;         /* its strings are the arena's */
    struct arena arena;
    struct str packed, version;       /* heap */
};
void scope_resource_unref(struct scope_resource **r); /* NULL is fine */

/* All main thread, but for scope_source_find. `manager`: whose statistics it is counted among; the first user's stand. */
struct scope_source *scope_source_get(const struct config_source *from, const struct config_source *rds, struct str name,
                                      struct str manager, struct config_frame *keep_frame);
void scope_source_unref(struct scope_source **s); /* NULL is fine */
struct warm_source *scope_source_warm(struct scope_source *s); /* the first scopes, with their routes */
/* Any thread; good to the end of the turn. */
const struct route_scope *scope_source_find(const struct scope_source *s, struct str key);

struct scope_source_state { struct str name, version; uint64_t updated_wall_us; struct scope_resource *const *scopes; uint32_t count; };
void scope_sources_each(void (*fn)(const struct scope_source_state *s, void *arg), void *arg);

#endif
