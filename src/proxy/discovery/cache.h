/* SPDX-License-Identifier: Apache-2.0
 *
 * The last good configuration of ADS in a file, so that a restart without a control plane still serves. Optional
 * (WEFT_DISCOVERY_CACHE names the file). Secrets are never written. Main thread.
 */
#ifndef PROXY_DISCOVERY_CACHE_H
#define PROXY_DISCOVERY_CACHE_H

#include "proxy/discovery/discovery.h"
#include "xds/client.h"

struct loop;
struct cache;
struct cache *cache_new(struct loop *loop, struct str path);
void cache_free(struct cache **c); /* writes what is new; NULL is fine */
/* An update that was taken whole. */
void cache_note(struct cache *c, enum resource_type type, const struct xds_update *u);
/* Reads the file, at the first call. False: it holds nothing. What it holds is given out until cache_settle: the server speaks. */
bool cache_restore(struct cache *c);
void cache_settle(struct cache *c);
bool cache_is_restored(const struct cache *c); /* NULL is fine */
/* A named resource; body.p NULL: none. */
struct str cache_find(const struct cache *c, enum resource_type type, struct str name, struct str *version);
/* All of a type, to be freed with mem_free; what they point to stays until the next cache_note. */
struct xds_resource *cache_all(const struct cache *c, enum resource_type type, uint32_t *count);

#endif
