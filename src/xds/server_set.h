/* SPDX-License-Identifier: Apache-2.0
 *
 * What a server has to give, in a form that any number of connections share: immutable, reference-counted sets of packed
 * resources, and lists of names. Equal things are one thing: a pool finds a resource by its name and bytes, a set by its
 * resources, a list by its names. So "nothing has changed" is a comparison of pointers, resources that are the same in many
 * sets (or in a set before and after) are held once, and whoever makes sets needn't know who else made the same one.
 * One thread; everything of a pool goes before the pool.
 */
#ifndef XDS_SERVER_SET_H
#define XDS_SERVER_SET_H

#include "base/str.h"

struct xds_pool;
struct xds_set;
struct xds_names;

/* Responses that were encoded are kept for who needs the same; past `kept_bytes_max` the one unused longest goes. */
struct xds_pool *xds_pool_new(size_t kept_bytes_max);
void xds_pool_free(struct xds_pool **pool);
/* Lets go of encoded responses that nobody has asked for since. What is on its way to a peer stays there. */
void xds_pool_trim(struct xds_pool *pool, uint64_t unused_since_us);
struct xds_pool_usage {
    size_t items, item_bytes, sets, name_lists;
    size_t kept, kept_bytes; /* encoded responses */
    uint64_t encoded, reused; /* responses encoded, and found encoded, so far */
};
struct xds_pool_usage xds_pool_usage(const struct xds_pool *pool);

/* ---- resources ---- */

/* One resource of a set. Valid as long as a set holds it. */
struct xds_item {
    struct str name, packed;
    uint64_t version; /* of the bytes; told in hexadecimal */
};

/* A set is made from nothing or from another one (NULL: nothing), whose resources it starts with; they aren't copied.
 * `type`: "envoy.config.cluster.v3.Cluster"; static. `base` is of the same type. */
struct xds_set_builder;
struct xds_set_builder *xds_set_begin(struct xds_pool *pool, const char *type, const struct xds_set *base);
/* Copied, unless the pool has it. Takes the place of one with that name. */
void xds_set_put(struct xds_set_builder *b, struct str name, struct str packed);
void xds_set_drop(struct xds_set_builder *b, struct str name); /* one that isn't there: nothing */
/* As it stands in another set of this pool; false: it isn't there. */
bool xds_set_copy(struct xds_set_builder *b, const struct xds_set *from, struct str name);
struct xds_set *xds_set_end(struct xds_set_builder **b); /* the caller's reference */

struct xds_set *xds_set_ref(struct xds_set *s);
void xds_set_unref(struct xds_set **s); /* NULL is fine */
uint32_t xds_set_count(const struct xds_set *s);
struct xds_item xds_set_at(const struct xds_set *s, uint32_t index); /* by name, bytewise */
bool xds_set_find(const struct xds_set *s, struct str name, struct xds_item *out);

/* ---- names ---- */

/* Sorted, each once; NULL for none. */
struct xds_names *xds_names_new(struct xds_pool *pool, const struct str *names, uint32_t count);
struct xds_names *xds_names_ref(struct xds_names *n);
void xds_names_unref(struct xds_names **n);
uint32_t xds_names_count(const struct xds_names *n); /* of NULL: 0 */
struct str xds_names_at(const struct xds_names *n, uint32_t index);
bool xds_names_has(const struct xds_names *n, struct str name);

#endif
