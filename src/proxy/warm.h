/* SPDX-License-Identifier: Apache-2.0
 *
 * What must be there before what needs it may serve: a listener waits for its routes, secrets and
 * extensions, a cluster for its endpoints and secrets (Envoy: "Initialization", "Cluster warming").
 * Main thread.
 */
#ifndef PROXY_WARM_H
#define PROXY_WARM_H

#include <stdbool.h>

#include "base/list.h"

/* Something that may be waited for; embedded in it. */
struct warm_source {
    struct list waiters;
    bool is_ready;
};
void warm_source_init(struct warm_source *s);
/* It is there, or has been given up (initial_fetch_timeout): nobody waits any more, for good. */
void warm_source_ready(struct warm_source *s);
/* It goes; who still waited for it waits no longer. */
void warm_source_fini(struct warm_source *s);

/* Something that warms up: all that it waits for, then on_warm once. */
struct warmth;
struct warmth *warmth_new(void (*on_warm)(void *arg), void *arg);
void warmth_wait(struct warmth *w, struct warm_source *s); /* NULL and what is ready already aren't waited for */
/* Everything has been named: on_warm comes when nothing is missing, perhaps from inside. */
void warmth_start(struct warmth *w);
/* Also before it is warm, then on_warm never comes; and from inside on_warm. NULL is fine. */
void warmth_free(struct warmth **w);

#endif
