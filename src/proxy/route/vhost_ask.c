/* SPDX-License-Identifier: Apache-2.0
 *
 *     worker: vhost_ask_new --letter--> main: waits in the list of its name --letter--> worker: on_answer
 *     worker: vhost_ask_cancel --letter--> main: taken out of the list
 *
 * The main thread's reference goes along with the answer, the worker's with a cancellation, so that neither
 * finds it gone whichever letter is first.
 */
#include "proxy/route/vhost_ask.h"

#include "base/mem.h"
#include "proxy/cluster/cluster.h"
#include "proxy/route/explain.h"
#include "proxy/route/vhds.h"

#define HOST_BYTES_MAX 256 /* a DNS name has 255; longer ones aren't asked for */

static void unref(struct vhost_ask *a)
{
    if (atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) == 1)
        mem_free(a);
}

/* ---- the main thread ---- */

static void ask(void *arg)
{
    struct vhost_ask *a = arg;
    struct vhds *v = route_source_vhds(a->source);
    if (v)
        vhds_ask(v, a);
    else
        vhost_ask_answer(a);
}

static void forget(void *arg)
{
    struct vhost_ask *a = arg;
    if (!list_is_empty(&a->node)) { /* else the answer is on its way */
        vhds_forget(a);
        unref(a);
    }
    unref(a);
}

/* ---- the asker ---- */

static void tell(void *arg)
{
    struct vhost_ask *a = arg;
    if (a->on_answer) {
        a->on_answer(a->arg);
        unref(a);
    }
    unref(a);
}

void vhost_ask_answer(struct vhost_ask *a)
{
    list_remove(&a->node);
    loop_post(a->loop, tell, a);
}

struct vhost_ask *vhost_ask_new(struct route_source *source, const struct route_snapshot *routes, const struct headers *h,
                                struct loop *loop, void (*on_answer)(void *arg), void *arg)
{
    char text[HOST_BYTES_MAX + 1];
    if (!source || !routes || !routes->spec->vhds)
        return NULL;
    struct str host = route_host_asked(routes->spec, h, text, sizeof text);
    if (!host.n || host.n > HOST_BYTES_MAX || str_find_char(host, '/') >= 0)
        return NULL;
    struct vhost_ask *a = mem_zalloc(sizeof *a + host.n);
    list_init(&a->node);
    a->source = source;
    a->loop = loop;
    a->on_answer = on_answer;
    a->arg = arg;
    a->host_bytes = (uint32_t)host.n;
    memcpy(a->host, host.p, host.n);
    atomic_init(&a->refs, 2);
    loop_post(clusters_main_loop(), ask, a);
    return a;
}

void vhost_ask_cancel(struct vhost_ask **held)
{
    struct vhost_ask *a = *held;
    *held = NULL;
    if (!a)
        return;
    a->on_answer = NULL;
    loop_post(clusters_main_loop(), forget, a);
}
