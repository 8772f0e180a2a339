/* SPDX-License-Identifier: Apache-2.0
 *
 * One kind of an API server's objects, kept the same in a store: listed in pages, then watched from where the list ended; listed
 * again where the server can't go on from there (410 Gone), and what vanished meanwhile goes. While the server is away the
 * last that was known stays. A kind that the server doesn't have is told of once, and looked for now and then. One loop's
 * thread. ("Efficient detection of changes", kubernetes.io, Kubernetes API Concepts.)
 */
#ifndef CONTROL_KUBE_REFLECTOR_H
#define CONTROL_KUBE_REFLECTOR_H

#include "base/list.h"
#include "control/kube/client.h"
#include "model/store.h"

/* Pages are large: few are under way at a time, and kinds take turns. Shared by reflectors, outlives them. */
#define REFLECTOR_PAGES_MAX 3u
struct reflector_turns {
    struct list waiting;
    uint32_t under_way;
};
void reflector_turns_init(struct reflector_turns *t);

struct reflector_opts {
    struct kube_client *client;  /* kept */
    struct reflector_turns *turns; /* kept */
    struct store *store;         /* kept; puts and removes, and doesn't commit */
    enum kind_id kind;
    const char *fields;          /* a field selector; "" all objects. Static */
    uint64_t absent_ms;          /* how long until a kind that isn't there is looked for again, at most; 0: 20 s */
    void (*on_change)(void *user); /* the store was changed, or the kind is synced */
    void *user;
};
struct reflector;
struct reflector *reflector_new(const struct reflector_opts *o);
void reflector_free(struct reflector **r); /* what it put stays */

struct reflector_state {
    const struct kind *kind;
    bool is_synced;              /* it was listed once, or the server hasn't got it; stays */
    bool is_absent;
    size_t objects, faults;      /* faults: objects that can't be read; they keep what they were when they could */
    uint64_t lists, pages, watches, events, bookmarks, expired, out_of_order, failures;
    const char *trouble;         /* what went wrong last, as long as it does; "" nothing. Borrowed */
};
struct reflector_state reflector_state(const struct reflector *r);
void reflector_faults(const struct reflector *r, struct err_list *out);

#endif
