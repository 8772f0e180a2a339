/* SPDX-License-Identifier: Apache-2.0
 *
 * Scoped routes: several route configurations, of which a key built from the request's headers
 * chooses one (Envoy: ScopedRoutes). Immutable once built; the lists are an arena's.
 */
#ifndef PROXY_ROUTE_SCOPES_H
#define PROXY_ROUTE_SCOPES_H

#include "base/map.h"
#include "proxy/route/route_source.h"

struct scope_fragment {              /* one part of the key, from one header's first value */
    struct str header;               /* lower case */
    struct str separator;            /* of elements; "": the value is one element */
    bool by_key;
    uint32_t index;                  /* which element, or … */
    struct str key_separator, key;   /* … the value behind the first one with this key */
};
struct route_scope {
    struct str name;
    struct str *key; uint32_t key_count;
    struct route_config_spec *spec;  /* as it is read; the source's then */
    struct str rds_name;             /* instead: by discovery; "" */
    struct route_source *routes;     /* made by route_scopes_init; by discovery once the manager is linked */
};
struct route_scopes {
    struct scope_fragment *fragments; uint32_t fragment_count;
    struct route_scope *items; uint32_t count;
    const struct config_source *rds; /* where named configurations come from: a reference; NULL */
    struct map *by_key;              /* made by route_scopes_init */
    struct { const struct config_source *source; struct str name; } srds; /* instead of items: a reference; NULL */
    struct scope_source *dynamic;    /* of srds, once the manager is linked (route/scope_source.h) */
};
#define SCOPE_KEY_BYTES_MAX 2048     /* of a request's key; longer ones are nobody's */
/* A scope's key, appended. ERR_LIMIT: too long. */
int route_scope_key(const struct route_scope *s, struct strbuf *out, struct err *err);
/* Tables and the look-up. Two scopes with one key are an error. */
int route_scopes_init(struct route_scopes *s, struct err *err);
/* NULL: the headers give no key, or no scope has it. */
const struct route_scope *route_scopes_find(const struct route_scopes *s, const struct headers *h);
void route_scopes_fini(struct route_scopes *s); /* tables, specs, the map */

#endif
