/* SPDX-License-Identifier: Apache-2.0
 *
 * Aggregate clusters (Envoy: "Aggregate Cluster"): the priorities of other clusters in one line, the first
 * cluster's first. Load is shared over the line as over any cluster's priorities; the cluster whose
 * priority was drawn then chooses, by its own policy, among that priority's hosts. What it is made of follows
 * the views of this thread: when one of them has taken a new membership, the line is drawn up anew.
 * Clusters that aren't there and priorities without hosts are left out, and so are aggregates below
 * aggregates: they have no members of their own.
 */
#include "base/mem.h"
#include "proxy/cluster/cluster_priv.h"

struct child {
    struct cluster_slot *slot;           /* the spec's */
    struct cluster_worker *view;         /* held; NULL: there is no such cluster now */
    struct host_set *seen;               /* referenced: what the line was drawn from */
};
struct place {
    struct cluster_worker *view;
    uint32_t priority;                   /* there */
};
struct aggregate {
    struct list of_thread;
    struct child *children;
    uint32_t child_count;
    struct host_set line;                /* priorities only: each a shallow copy of a child's */
    struct place *places;                /* by the line's priority */
    bool is_drawn;
};

static __thread struct list aggregates; /* of this thread's views */

static struct aggregate *aggregate_of(struct cluster_worker *v)
{
    const struct cluster_spec *spec = v->cluster->spec;
    if (v->aggregate)
        return v->aggregate;
    struct aggregate *a = v->aggregate = NEW(aggregate);
    a->line.lb = spec->lb;
    if (!aggregates.next)
        list_init(&aggregates);
    list_push_back(&aggregates, &a->of_thread);
    a->children = mem_zalloc((spec->child_count + 1) * sizeof(*a->children));
    for (uint32_t i = 0; i < spec->child_count; i++)
        a->children[a->child_count++].slot = spec->children[i];
    return a;
}

static void forget_line(struct aggregate *a)
{
    mem_free(a->line.priorities);
    mem_free(a->places);
    a->line.priorities = NULL;
    a->places = NULL;
    a->line.priority_count = a->line.count = 0;
}

static void add_priorities(struct aggregate *a, struct child *c)
{
    host_set_unref(&c->seen);
    if (!c->view)
        return;
    c->seen = host_set_ref(c->view->hosts);
    for (uint32_t i = 0; i < c->seen->priority_count; i++) {
        if (!c->seen->priorities[i].all.count)
            continue;
        uint32_t at = a->line.priority_count++;
        a->line.priorities[at] = c->seen->priorities[i];
        a->line.count += c->seen->priorities[i].all.count;
        a->places[at] = (struct place){c->view, i};
    }
}

/* Clusters below may have been changed for others of their names. */
static void look_up(struct child *c)
{
    struct cluster *now = cluster_slot_now(c->slot);
    struct cluster_worker *old = c->view;
    c->view = now && now->spec->type != CLUSTER_AGGREGATE ? view_hold(cluster_here(now)) : NULL;
    view_release(&old);
}

static void draw_up(struct aggregate *a)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < a->child_count; i++) {
        look_up(&a->children[i]);
        most += a->children[i].view ? a->children[i].view->hosts->priority_count : 0;
    }
    forget_line(a);
    a->line.priorities = mem_zalloc((most + 1) * sizeof(*a->line.priorities));
    a->places = mem_zalloc((most + 1) * sizeof(*a->places));
    for (uint32_t i = 0; i < a->child_count; i++)
        add_priorities(a, &a->children[i]);
    if (a->line.priority_count)
        priorities_balance(&a->line, a->line.lb->panic_pct);
    a->is_drawn = true;
}

static bool is_current(const struct aggregate *a)
{
    if (!a->is_drawn)
        return false;
    for (uint32_t i = 0; i < a->child_count; i++) {
        const struct child *c = &a->children[i];
        const struct cluster *now = cluster_slot_now(c->slot);
        if (c->view ? c->view->cluster != now || c->seen != c->view->hosts : now != NULL && now->spec->type != CLUSTER_AGGREGATE)
            return false;
    }
    return true;
}

struct host *aggregate_choose(struct cluster_worker *v, struct lb_context *ctx)
{
    struct aggregate *a = aggregate_of(v);
    bool degraded = false;
    if (!is_current(a))
        draw_up(a);
    if (!a->line.priority_count)
        return NULL;
    uint32_t at = host_set_priority_at(&a->line, ctx, (uint32_t)rng_below(ctx->rng, 100), &degraded);
    ctx->one_priority = true;
    ctx->one_degraded = degraded;
    ctx->only_priority = a->places[at].priority;
    struct host *h = view_choose(a->places[at].view, ctx);
    ctx->one_priority = false;
    ctx->priority = at;
    return h;
}

static void let_go(struct aggregate *a)
{
    forget_line(a);
    a->is_drawn = false;
    for (uint32_t i = 0; i < a->child_count; i++) {
        host_set_unref(&a->children[i].seen);
        view_release(&a->children[i].view);
    }
}

static bool has_child(const struct aggregate *a, const struct cluster_worker *child)
{
    for (uint32_t i = 0; i < a->child_count; i++)
        if (a->children[i].view == child)
            return true;
    return false;
}

/* A cluster that is over must not wait for the next request to an aggregate above it. */
void aggregates_forget(const struct cluster_worker *child)
{
    for (struct list *it = aggregates.next; it && it != &aggregates; it = it->next) {
        struct aggregate *a = LIST_ENTRY(it, aggregate, of_thread);
        if (has_child(a, child))
            let_go(a);
    }
}

void aggregate_free(struct aggregate **aggregate)
{
    struct aggregate *a = *aggregate;
    *aggregate = NULL;
    if (!a)
        return;
    list_remove(&a->of_thread);
    let_go(a);
    mem_free(a->children);
    mem_free(a);
}
