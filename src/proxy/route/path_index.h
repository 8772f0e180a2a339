/* SPDX-License-Identifier: Apache-2.0
 *
 * Which routes of a long list can match a path at all, in the order of the list: exact paths by hash,
 * prefixes (of regular expressions and templates their literal beginning) by binary search, and the
 * rest. A look-up costs what it costs for the routes that share the path's own beginning, not what
 * the list is long. Immutable once built.
 */
#ifndef PROXY_ROUTE_PATH_INDEX_H
#define PROXY_ROUTE_PATH_INDEX_H

#include "proxy/route/route_priv.h"

#define PATH_INDEX_MIN_ROUTES 8 /* shorter lists are walked */

struct path_index *path_index_new(struct route_entry *const *routes, uint32_t count);
void path_index_free(struct path_index **x);
/* The first route, in the list's order, that takes the request; NULL: none. */
const struct route_entry *path_index_find(const struct path_index *x, const struct route_look *l);
/* What a regular expression's text begins with for certain; "" where nothing is certain. For tests. */
struct str path_index_literal(struct str regex);

#endif
