/* SPDX-License-Identifier: Apache-2.0
 *
 * Virtual hosts by domain (Envoy: VirtualHost.domains): exact first, then "*.suffix" from the longest,
 * then "prefix.*" from the longest, then "*". A copy costs nothing, and a change of one virtual host
 * costs its own domains, however many there are (base/pmap.h says which threads may do what).
 */
#ifndef PROXY_ROUTE_DOMAINS_H
#define PROXY_ROUTE_DOMAINS_H

#include "base/err.h"
#include "base/pmap.h"

struct virtual_host; /* proxy/route/route.h */
struct wildcard_length { size_t n; uint32_t users; };
struct wildcards { /* domains with one '*', by the length of their fixed part */
    struct pmap *map;
    struct wildcard_length *lengths; /* descending */
    size_t count, cap;
};
struct domains {
    struct pmap *exact;
    struct wildcards suffixes, prefixes;
    const struct virtual_host *any;
};
void domains_init(struct domains *d);
void domains_copy(struct domains *d, const struct domains *from);
void domains_fini(struct domains *d);
/* All of a virtual host's, or none of them: ERR_EXISTS, and the path to the domain that is taken. */
int domains_add(struct domains *d, const struct virtual_host *v, struct err *err);
void domains_remove(struct domains *d, const struct virtual_host *v); /* which was added */
const struct virtual_host *domains_find(const struct domains *d, struct str host); /* in lower case; NULL: none */

#endif
