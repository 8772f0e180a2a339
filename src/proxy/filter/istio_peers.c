/* SPDX-License-Identifier: Apache-2.0
 *
 * Peers by id, one table a thread, for all configurations: the same proxies come back with every
 * request. What a peer says is compared each time, so that nobody can speak for another id, and one
 * whose labels changed is made anew. Full, a table forgets the quarter that was made first.
 */
#include "base/base64.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "proxy/filter/istio_peer.h"
#include "proxy/stats/stats.h"

struct entry {
    struct list node; /* the oldest first */
    struct str id, said; /* owned */
    struct istio_peer *peer; /* NULL: it says nothing that is understood */
};
struct table {
    struct map *by_id;
    struct list order;
    struct istio_peer *last; /* of a peer without an id */
};
struct istio_peers {
    uint32_t refs;
    struct table *tables[STAT_MAX_THREADS];
};

static struct istio_peers *shared; /* main thread */

struct istio_peers *istio_peers_ref(void)
{
    if (!shared)
        shared = NEW(istio_peers);
    shared->refs++;
    return shared;
}

static void unref_peer(struct istio_peer **p)
{
    struct filter_state_object *o = *p ? &(*p)->object : NULL;
    *p = NULL;
    filter_state_object_unref(&o);
}

static void forget(struct table *t, struct entry *e)
{
    map_del(t->by_id, e->id);
    list_remove(&e->node);
    unref_peer(&e->peer);
    str_free(&e->id);
    str_free(&e->said);
    mem_free(e);
}

static void table_free(struct table *t)
{
    if (!t)
        return;
    LIST_EACH(it, safe, &t->order)
        forget(t, LIST_ENTRY(it, entry, node));
    unref_peer(&t->last);
    map_free(&t->by_id);
    mem_free(t);
}

void istio_peers_unref(struct istio_peers **peers)
{
    struct istio_peers *p = *peers;
    *peers = NULL;
    if (!p || --p->refs)
        return;
    for (uint32_t i = 0; i < STAT_MAX_THREADS; i++)
        table_free(p->tables[i]);
    mem_free(p);
    shared = NULL;
}

static struct table *table_here(struct istio_peers *p)
{
    struct table *t = p->tables[stat_thread];
    if (t)
        return t;
    t = NEW(table);
    t->by_id = map_new();
    list_init(&t->order);
    return p->tables[stat_thread] = t;
}

static struct istio_peer *decode(struct str base64)
{
    struct arena a;
    struct str bytes;
    struct istio_peer *p = NULL;
    if (base64.n > B64_BYTES(ISTIO_PEER_BYTES_MAX))
        return NULL;
    arena_init(&a, 0);
    if (b64_decode_in(&a, base64, &bytes))
        p = istio_peer_from_wire(bytes);
    arena_fini(&a);
    return p;
}

static struct istio_peer *remember(struct table *t, struct str id, struct str said)
{
    if (map_count(t->by_id) >= ISTIO_PEERS_MAX)
        for (int i = 0; i < ISTIO_PEERS_MAX / 4; i++)
            forget(t, LIST_ENTRY(list_first(&t->order), entry, node));
    struct entry *e = NEW(entry);
    e->id = str_dup(id);
    e->said = str_dup(said);
    e->peer = decode(said);
    list_push_back(&t->order, &e->node);
    map_set(t->by_id, e->id, e);
    return e->peer;
}

struct istio_peer *istio_peers_look_up(struct istio_peers *p, struct str id, struct str base64)
{
    struct table *t = table_here(p);
    if (!id.n || id.n > ISTIO_PEER_BYTES_MAX || base64.n > B64_BYTES(ISTIO_PEER_BYTES_MAX)) {
        unref_peer(&t->last);
        return t->last = decode(base64);
    }
    struct entry *e = map_get(t->by_id, id);
    if (e && str_eq(e->said, base64))
        return e->peer;
    if (e)
        forget(t, e);
    return remember(t, id, base64);
}
