/* SPDX-License-Identifier: Apache-2.0
 *
 * Names of clusters. Whoever is configured with a cluster's name holds the name's slot; which cluster
 * stands there (discovery may bring, change and take it) is looked up at each use. A slot lives as
 * long as somebody holds it or a cluster stands in it.
 */
#ifndef PROXY_CLUSTER_SLOT_H
#define PROXY_CLUSTER_SLOT_H

#include <stdatomic.h>

#include "base/str.h"

struct cluster;
struct cluster_slot {
    _Atomic(struct cluster *) now; /* NULL: no such cluster */
    uint32_t refs;                 /* main thread */
    uint32_t hash;
    struct str name;
};

/* Main thread. A reference; the slot is made when the name is new. */
struct cluster_slot *cluster_slot_get(struct str name);
struct cluster_slot *cluster_slot_ref(struct cluster_slot *s);
void cluster_slot_unref(struct cluster_slot **s); /* NULL is fine */
/* Main thread. Puts a cluster (borrowed; NULL: none) where the name is looked up; gives back what stood there. */
struct cluster *cluster_slot_put(struct cluster_slot *s, struct cluster *c);

/* Names that an object refers to, released together. */
struct cluster_slots { struct cluster_slot **items; size_t count, cap; };
void cluster_slots_fini(struct cluster_slots *s);

/* Any thread. Good until the end of this turn of the thread's loop; beyond it cluster_hold (cluster.h) is needed. A slot of
 * NULL holds nothing. */
static inline struct cluster *cluster_slot_now(const struct cluster_slot *s)
{
    return s ? atomic_load_explicit(&((struct cluster_slot *)(uintptr_t)s)->now, memory_order_acquire) : NULL;
}
/* Any thread: the same by name, for requests that name their cluster. */
struct cluster *cluster_named(struct str name);

#endif
