/* SPDX-License-Identifier: Apache-2.0
 *
 * The end of a cluster while traffic runs, and the reclaiming that it rests on.
 *
 *     found by name -> retired (its name leads elsewhere) -> each thread's view drains -> gone
 *
 * What the main thread takes out of a place where workers look is freed after every worker has
 * finished the turn it was in: workers keep what they found for a turn, and hold it (view_hold) for
 * longer. A retired view goes when nobody holds it and its pools are empty; the cluster goes with its
 * last reference, on the main thread.
 */
#include "base/mem.h"
#include "proxy/cluster/cluster_priv.h"
#include "proxy/health/health_check.h"
#include "proxy/health/outlier.h"

static bool workers_run;

void clusters_workers_run(bool run)
{
    workers_run = run;
}

/* ---- after everybody's turn ---- */

struct round {
    void (*here)(void *arg); /* on each thread; NULL */
    void (*fn)(void *arg);   /* on the main thread, last */
    void *arg;
    _Atomic uint32_t left;
};

static void on_round_over(void *arg)
{
    struct round *r = arg;
    r->fn(r->arg);
    mem_free(r);
}

static void on_turn(void *arg)
{
    struct round *r = arg;
    if (r->here)
        r->here(r->arg);
    if (atomic_fetch_sub_explicit(&r->left, 1, memory_order_acq_rel) == 1)
        loop_post(clusters_main_loop(), on_round_over, r);
}

void clusters_tell_threads(void (*here)(void *arg), void (*fn)(void *arg), void *arg)
{
    uint32_t n = workers_run ? clusters_worker_count() : 0;
    if (here)
        here(arg);
    if (!n) {
        fn(arg);
        return;
    }
    struct round *r = NEW(round);
    *r = (struct round){.here = here, .fn = fn, .arg = arg};
    atomic_init(&r->left, n);
    for (uint32_t i = 1; i <= n; i++)
        loop_post(clusters_worker_loop(i), on_turn, r);
}

void clusters_after_turns(void (*fn)(void *arg), void *arg)
{
    clusters_tell_threads(NULL, fn, arg);
}

/* ---- a view that is over ---- */

static bool is_over(const struct cluster_worker *v)
{
    return v->is_retired && !v->users && !v->pool_count && !v->connections;
}

static void leave_if_over(struct turn_task *t)
{
    struct cluster_worker *v = CONTAINER_OF(t, cluster_worker, over);
    struct cluster *c = v->cluster;
    if (!is_over(v))
        return;
    cluster_leave(c);
    cluster_unref(&c); /* the one that it was retired with */
}

void view_check_over(struct cluster_worker *v)
{
    if (!is_over(v))
        return;
    v->over.run = leave_if_over;
    loop_at_next_turn(v->loop, &v->over); /* what this turn deferred still points to it */
}

struct cluster_worker *view_hold(struct cluster_worker *v)
{
    v->users++;
    return v;
}

void view_release(struct cluster_worker **view)
{
    struct cluster_worker *v = *view;
    *view = NULL;
    if (!v || --v->users)
        return;
    if (v->has_left)
        mem_free(v);
    else
        view_check_over(v);
}

void cluster_hold(struct cluster *c)
{
    view_hold(cluster_here(c));
}

void cluster_release(struct cluster *c)
{
    struct cluster_worker *v = c->views[stat_thread];
    view_release(&v);
}

/* The end of the thread: what it was retired with goes too, whoever still uses the view. */
static void leave_for_good(struct cluster *c, void *arg)
{
    (void)arg;
    struct cluster_worker *v = c->views[stat_thread];
    bool was_retired = v && v->is_retired;
    cluster_leave(c);
    if (was_retired)
        cluster_unref(&c);
}

void clusters_leave(void)
{
    clusters_each(leave_for_good, NULL);
}

static void retire_here(void *arg)
{
    struct cluster *c = arg;
    struct cluster_worker *v = c->views[stat_thread];
    if (!v)
        return;
    v->is_retired = true;
    cluster_ref(c);
    aggregates_forget(v);
    view_drain_all(v);
    view_check_over(v);
}

static void on_retired(void *arg)
{
    struct cluster *c = arg;
    cluster_unref(&c);
}

void cluster_retire(struct cluster **take_cluster)
{
    struct cluster *c = *take_cluster;
    *take_cluster = NULL;
    c->is_retired = true;
    cluster_stop(c);
    turn_task_cancel(&c->health_task);
    health_free(&c->checker);
    if (c->outlier)
        outlier_stop(c->outlier);
    clusters_tell_threads(retire_here, on_retired, c);
}
