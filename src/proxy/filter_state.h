/* SPDX-License-Identifier: Apache-2.0
 *
 * Filter state: objects that filters leave to each other under a key, for a request or for its whole
 * connection (Envoy: StreamInfo::FilterState). Each is text, with whether it goes on to the upstream
 * side; some have fields besides (a peer's workload, namespace …), shared and counted. One worker's alone.
 */
#ifndef PROXY_FILTER_STATE_H
#define PROXY_FILTER_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum filter_state_sharing { FILTER_STATE_PRIVATE, FILTER_STATE_SHARED_ONCE, FILTER_STATE_SHARED_TRANSITIVE };
/* An object with fields; immutable. Embedded in what its owner keeps; one thread's alone. */
struct meta_value;
struct filter_state_object {
    const struct meta_value *fields; /* a META_STRUCT (metadata.h) */
    struct str text;                 /* the whole as text */
    uint32_t refs;
    void (*free)(struct filter_state_object *o); /* with the last reference */
};
static inline struct filter_state_object *filter_state_object_ref(struct filter_state_object *o)
{
    o->refs++;
    return o;
}
void filter_state_object_unref(struct filter_state_object **o); /* NULL is fine */

struct filter_state_entry {
    struct str key, value; /* owned; value is the object's where there is one */
    struct filter_state_object *object; /* referenced; NULL: text alone */
    bool is_kept_elsewhere;             /* filter_state_link: neither the entry nor its key is the list's to free */
    bool read_only;
    enum filter_state_sharing sharing;
    struct filter_state_entry *next;
};
struct filter_state { /* zeroed = empty */
    struct filter_state_entry *first;
    const struct filter_state *parent; /* the connection's, looked at second; NULL */
};
const struct filter_state_entry *filter_state_find(const struct filter_state *s, struct str key);
/* False when a read-only entry stands there already. */
bool filter_state_set(struct filter_state *s, struct str key, struct str value, bool read_only, enum filter_state_sharing sharing);
/* An entry with an object, in memory that outlives the list (the exchange's arena), so that nothing is allocated. `key` is
 * borrowed for as long. A reference of the object is taken. False when an entry of that key stands there already. */
bool filter_state_link(struct filter_state *s, struct filter_state_entry *keep_entry, struct str keep_key, struct filter_state_object *o,
                       enum filter_state_sharing sharing);
/* The same with memory of the list's own. */
bool filter_state_set_object(struct filter_state *s, struct str key, struct filter_state_object *o, enum filter_state_sharing sharing);
void filter_state_fini(struct filter_state *s);

#endif
