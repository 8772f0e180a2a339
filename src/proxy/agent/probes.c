/* SPDX-License-Identifier: Apache-2.0
 *
 * A table of probes by path, read once; asking is probe.c's, with the kubelet's headers. Main loop.
 */
#include "proxy/agent/probes.h"

#include "base/mem.h"
#include "proto/json.h"
#include "proxy/agent/probe.h"

struct entry {
    struct str path; /* of ours */
    struct probe probe;
};
struct probes {
    struct arena arena;
    struct entry *items;
    size_t count;
};

/* ---- reading ---- */

static void read_all(struct probes *p, const struct agent_env *e, const struct doc_node *root, struct err_list *faults)
{
    for (const struct doc_node *n = root->first; n; n = n->next)
        p->count++;
    p->items = p->count ? mem_zalloc(p->count * sizeof *p->items) : NULL;
    struct entry *at = p->items;
    for (const struct doc_node *n = root->first; n; n = n->next, at++) {
        at->path = arena_str(&p->arena, n->key);
        struct str where = arena_printf(&p->arena, "ISTIO_KUBE_APP_PROBERS.%.*s", STR_ARG(at->path));
        struct probe_reading r = {.env = e, .a = &p->arena, .faults = faults, .path = where.p};
        probe_read(&at->probe, &r, n);
    }
}

struct probes *probes_new(const struct agent_env *e, struct err_list *faults)
{
    struct probes *p = NEW(probes);
    arena_init(&p->arena, (size_t)1 << 20);
    if (!e->app_probers.n)
        return p;
    struct proto_arena *pa = proto_arena_new(0);
    const struct doc_node *root = json_read(pa, e->app_probers, "ISTIO_KUBE_APP_PROBERS", faults);
    if (root && root->kind != DOC_MAP)
        err_list_addf(faults, ERR_INVALID, "ISTIO_KUBE_APP_PROBERS", "is no JSON object");
    else if (root)
        read_all(p, e, root, faults);
    proto_arena_free(&pa);
    return p;
}

void probes_free(struct probes **pp)
{
    struct probes *p = *pp;
    *pp = NULL;
    if (!p)
        return;
    for (size_t i = 0; i < p->count; i++)
        probe_fini(&p->items[i].probe);
    mem_free(p->items);
    arena_fini(&p->arena);
    mem_free(p);
}

static const struct probe *find(const struct probes *p, struct str path)
{
    for (size_t i = 0; i < p->count; i++)
        if (str_eq(p->items[i].path, path))
            return &p->items[i].probe;
    return NULL;
}

/* ---- asking ---- */

struct fetch *probes_ask(const struct probes *all, struct str path, const struct headers *request, struct loop *loop,
                         fetch_fn fn, void *user)
{
    const struct probe *p = find(all, path);
    return p ? probe_ask(p, request, loop, fn, user) : NULL;
}

unsigned probes_status(const struct probes *all, struct str path, const struct fetch_answer *a)
{
    const struct probe *p = find(all, path);
    if (!p || a->failure)
        return 500;
    if (p->kind == PROBE_TCP)
        return 200;
    if (p->kind == PROBE_GRPC)
        return probe_is_serving(a) ? 200 : 500;
    return a->status >= 300 && a->status < 400 ? 200 : a->status; /* where it leads to isn't the pod's health */
}
