/* SPDX-License-Identifier: Apache-2.0
 *
 * Immutable objects that workers look at while the main thread puts newer ones in their place: route
 * tables, filters' settings. A worker takes what stands in a place, for the rest of its turn; what it
 * uses for longer it holds, which is a plain count of that worker's own. What was replaced is freed on
 * the main thread when no worker holds it any more.
 */
#ifndef PROXY_SNAPSHOT_H
#define PROXY_SNAPSHOT_H

#include <stdatomic.h>

#include "io/loop.h"
#include "proxy/stats/stats.h"

struct snapshot_hold { /* one thread's */
    uint32_t users;
    bool is_old;                        /* replaced: it goes with the last user */
    struct snapshot *of;
    struct turn_task over;
    char apart[16];                     /* no two threads count in one cache line */
};

struct snapshot { /* embedded in the object */
    void (*free)(struct snapshot *s);   /* main thread */
    struct snapshot_hold *holds;        /* by stat_thread; NULL: lasting, nobody counts */
    _Atomic uint32_t left;              /* threads that are not through with it, once it is replaced */
};
struct snapshot_place { _Atomic(struct snapshot *) now; /* NULL: nothing yet */ };

/* `is_lasting`: it isn't replaced before its last user is known to be gone. */
void snapshot_init(struct snapshot *s, void (*free)(struct snapshot *s), bool is_lasting);
/* Main thread. Puts the object (NULL: none) where workers look, and lets go of the one before. */
void snapshot_put(struct snapshot_place *p, struct snapshot *take_snapshot);

/* Any thread: good to the end of the turn, or until it is released when it is held. */
static inline struct snapshot *snapshot_now(const struct snapshot_place *p)
{
    return atomic_load_explicit(&((struct snapshot_place *)(uintptr_t)p)->now, memory_order_acquire);
}
static inline void snapshot_hold(struct snapshot *s)
{
    if (s->holds)
        s->holds[stat_thread].users++;
}
void snapshot_release_old(struct snapshot_hold *h, struct loop *loop);
/* By the thread that held it, whose loop is `loop`; what it points to stays to the end of the turn. */
static inline void snapshot_release(struct snapshot *s, struct loop *loop)
{
    struct snapshot_hold *h = s->holds ? &s->holds[stat_thread] : NULL;
    if (h && --h->users == 0 && __builtin_expect(h->is_old, 0))
        snapshot_release_old(h, loop);
}

#endif
