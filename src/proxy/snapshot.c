/* SPDX-License-Identifier: Apache-2.0
 *
 * The end of a snapshot:
 *
 *     put in a place -> replaced -> each thread is told, behind the turn in which it may have taken it
 *                                -> the threads that hold it let go -> freed on the main thread
 *
 * A thread's count is its own; the only thing that threads share is how many of them are left, touched
 * once by each, after the replacement. Nobody takes a replaced snapshot: the place shows another one.
 */
#include "proxy/snapshot.h"

#include "base/mem.h"
#include "proxy/cluster/cluster.h"

void snapshot_init(struct snapshot *s, void (*free)(struct snapshot *s), bool is_lasting)
{
    uint32_t threads = is_lasting ? 0 : clusters_worker_count() + 1;
    s->free = free;
    s->holds = threads ? mem_zalloc(threads * sizeof *s->holds) : NULL;
    for (uint32_t i = 0; i < threads; i++)
        s->holds[i].of = s;
    atomic_init(&s->left, 0);
}

static void destroy(void *arg)
{
    struct snapshot *s = arg;
    mem_free(s->holds);
    s->holds = NULL;
    s->free(s);
}

static bool leave(struct snapshot *s)
{
    return atomic_fetch_sub_explicit(&s->left, 1, memory_order_acq_rel) == 1;
}

/* ---- the threads ---- */

static void on_over(struct turn_task *t)
{
    struct snapshot *s = CONTAINER_OF(t, snapshot_hold, over)->of;
    if (leave(s))
        loop_post(clusters_main_loop(), destroy, s);
}

void snapshot_release_old(struct snapshot_hold *h, struct loop *loop)
{
    h->over.run = on_over;
    loop_at_next_turn(loop, &h->over); /* what this turn deferred may still point to it */
}

static void note_old(void *arg)
{
    struct snapshot *s = arg;
    struct snapshot_hold *h = &s->holds[stat_thread];
    h->is_old = true;
    if (h->users)
        atomic_fetch_add_explicit(&s->left, 1, memory_order_relaxed); /* the main thread's own is still in it */
}

/* ---- the main thread ---- */

static void on_all_told(void *arg)
{
    if (leave(arg))
        destroy(arg);
}

void snapshot_put(struct snapshot_place *p, struct snapshot *take_snapshot)
{
    struct snapshot *old = atomic_exchange_explicit(&p->now, take_snapshot, memory_order_acq_rel);
    if (!old)
        return;
    if (!old->holds) {
        destroy(old);
        return;
    }
    atomic_store_explicit(&old->left, 1, memory_order_relaxed);
    clusters_tell_threads(note_old, on_all_told, old);
}
