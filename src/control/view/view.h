/* SPDX-License-Identifier: Apache-2.0
 *
 * The push's source (control/push/push.h): what each proxy is to have, made when it is asked for and shared by all for whom it is the
 * same. Between the world, which changes, and the sets, which don't: parts are kept by what they depend on (translate_key), and
 * made again where a change concerns them. Main thread.
 */
#ifndef CONTROL_VIEW_VIEW_H
#define CONTROL_VIEW_VIEW_H

#include "control/push/push.h"
#include "control/translate/translate.h"

struct view;

/* Who may connect. */
struct view_gate {
    /* As push_source_ops.arrive and leave. */
    void *(*arrive)(struct view_gate *g, const struct push_peer *peer, bool *is_asking);
    void (*leave)(struct view_gate *g, void *visitor);
    /* Called with the node when a stream's first request has come. Other than 0 refuses it. */
    int (*check)(struct view_gate *g, const struct push_peer *peer, const struct node *n, struct push_refusal *why);
};

/* Watches the world and tells the push of what changes. `keep_gate` NULL: everybody may. */
struct view *view_new(struct loop *loop, struct world *keep_world, const struct push_opts *opts, struct view_gate *keep_gate);
void view_free(struct view **v); /* after the push's servers */
struct push *view_push(struct view *v);

struct view_counters {
    uint64_t parts_made, parts_shared; /* translated, and found already translated */
    uint32_t parts_held, classes;
};
struct view_counters view_counters(const struct view *v);

#endif
