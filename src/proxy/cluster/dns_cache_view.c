/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker's half of the DNS cache: the names that it knows, and the requests that wait for others. A name is asked of the
 * main thread once, however many requests wait for it; the answer comes by mail, as do changes and removals of names.
 */
#include "proxy/cluster/dns_cache_priv.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "http/codec/uri.h"
#include "proxy/cluster/cluster_priv.h"

struct known_name {
    struct dns_host *host;  /* NULL: asked for */
    struct list waiting;    /* struct dns_cache_wait; only without a host */
};
struct dns_cache_view {
    struct map *names;
    bool is_whole;          /* the main thread has told of all names there were: others are new */
};

/* ---- names ---- */

struct str dns_cache_name(struct str authority, uint16_t default_port, char text[DNS_CACHE_NAME_BYTES])
{
    struct str host;
    int port;
    if (!authority_split(authority, &host, &port) || !host.n || host.n > DNS_CACHE_NAME_BYTES - 10)
        return STR_NULL;
    int n = snprintf(text, DNS_CACHE_NAME_BYTES, "%.*s:%u", STR_ARG(host), (unsigned)(port > 0 ? port : default_port));
    for (int i = 0; i < n; i++)
        if (text[i] >= 'A' && text[i] <= 'Z')
            text[i] += 'a' - 'A';
    return str_make(text, (size_t)n);
}

struct dns_host *dns_host_ref(struct dns_host *h)
{
    atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
    return h;
}

void dns_host_unref(struct dns_host **host)
{
    struct dns_host *h = *host;
    *host = NULL;
    if (!h || atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < h->addr_count; i++)
        addr_fini(&h->addrs[i]);
    mem_free(h->addrs);
    str_free(&h->name);
    mem_free(h);
}

void dns_host_touch(const struct dns_host *h, uint64_t now_ms)
{
    _Atomic uint64_t *used = (_Atomic uint64_t *)(uintptr_t)&h->used_ms;
    if (atomic_load_explicit(used, memory_order_relaxed) != now_ms) /* workers share the line: spare it */
        atomic_store_explicit(used, now_ms, memory_order_relaxed);
}

/* ---- how many wait ---- */

static bool acquire_pending(struct dns_cache *c)
{
    uint32_t limit = c->spec.max_pending;
    uint32_t before = atomic_fetch_add_explicit(&c->pending, 1, memory_order_relaxed);
    if (before >= limit) {
        atomic_fetch_sub_explicit(&c->pending, 1, memory_order_relaxed);
        return false;
    }
    if (before + 1 == limit)
        stat_inc(c->stats, STAT_DNS_CACHE_CB_RQ_PENDING_OPEN);
    stat_dec(c->stats, STAT_DNS_CACHE_CB_RQ_PENDING_REMAINING);
    return true;
}

static void release_pending(struct dns_cache *c)
{
    uint32_t before = atomic_fetch_sub_explicit(&c->pending, 1, memory_order_relaxed);
    if (before == c->spec.max_pending)
        stat_dec(c->stats, STAT_DNS_CACHE_CB_RQ_PENDING_OPEN);
    stat_inc(c->stats, STAT_DNS_CACHE_CB_RQ_PENDING_REMAINING);
}

/* ---- asking ---- */

/* An empty name asks for all there are. */
static void ask(struct dns_cache *c, struct str name)
{
    struct dns_cache_question *q = mem_alloc(sizeof *q + name.n);
    q->cache = dns_cache_ref(c);
    q->thread = stat_thread;
    q->name_bytes = name.n;
    memcpy(q->name, name.p, name.n);
    loop_post(clusters_main_loop(), dns_cache_on_question, q);
}

static struct dns_cache_view *view_here(struct dns_cache *c)
{
    struct dns_cache_view *v = c->views[stat_thread];
    if (!v) {
        v = NEW(dns_cache_view);
        v->names = map_new();
        __atomic_store_n(&c->views[stat_thread], v, __ATOMIC_RELEASE);
        ask(c, STR(""));
    }
    return v;
}

static struct known_name *enter(struct dns_cache_view *v, struct str name)
{
    struct known_name *k = NEW(known_name);
    list_init(&k->waiting);
    map_set(v->names, name, k);
    return k;
}

enum dns_cache_result dns_cache_load(struct dns_cache *c, struct str name, struct dns_cache_wait *w, const struct dns_host **out)
{
    struct dns_cache_view *v = view_here(c);
    struct known_name *k = map_get(v->names, name);
    if (k && k->host) {
        *out = k->host;
        return DNS_CACHE_KNOWN;
    }
    if (!k && v->is_whole && atomic_load_explicit(&c->hosts, memory_order_relaxed) >= c->spec.max_hosts) {
        stat_inc(c->stats, STAT_DNS_CACHE_HOST_OVERFLOW);
        return DNS_CACHE_TOO_MANY_HOSTS;
    }
    if (!acquire_pending(c)) {
        stat_inc(c->stats, STAT_DNS_CACHE_RQ_PENDING_OVERFLOW);
        return DNS_CACHE_TOO_MANY_WAIT;
    }
    if (!k) {
        k = enter(v, name);
        ask(c, name);
    }
    w->cache = c;
    list_push_back(&k->waiting, &w->node);
    return DNS_CACHE_WAIT;
}

static void stop_waiting(struct dns_cache_wait *w)
{
    list_remove(&w->node);
    release_pending(w->cache);
    w->cache = NULL;
}

void dns_cache_cancel(struct dns_cache_wait *w)
{
    if (w->cache)
        stop_waiting(w);
}

/* ---- news ---- */

struct dns_cache_news *dns_cache_news_new(struct dns_cache *c, struct str name, struct dns_host *host)
{
    struct dns_cache_news *n = mem_zalloc(sizeof *n + name.n);
    n->cache = dns_cache_ref(c);
    n->host = host ? dns_host_ref(host) : NULL;
    n->name_bytes = name.n;
    memcpy(n->name, name.p, name.n);
    return n;
}

/* A request that goes on may end others that wait: they are taken one by one. */
static void tell_waiting(struct list *waiting, const struct dns_host *h)
{
    while (!list_is_empty(waiting)) {
        struct dns_cache_wait *w = LIST_ENTRY(waiting->next, dns_cache_wait, node);
        stop_waiting(w);
        w->on_loaded(w, h);
    }
}

/* Moves those who wait to a list of the caller's: the entry may change under them. */
static void take_waiting(struct known_name *k, struct list *to)
{
    list_init(to);
    while (!list_is_empty(&k->waiting)) {
        struct list *n = k->waiting.next;
        list_remove(n);
        list_push_back(to, n);
    }
}

static void forget(struct dns_cache_view *v, struct str name, struct known_name *k)
{
    map_del(v->names, name);
    dns_host_unref(&k->host);
    mem_free(k);
}

static void take_news(struct dns_cache_view *v, const struct dns_cache_news *n)
{
    struct str name = str_make(n->name, n->name_bytes);
    struct known_name *k = map_get(v->names, name);
    struct list waiting;
    if (!name.n) {
        v->is_whole = true;
        return;
    }
    if (!n->host) {
        if (!k || (!k->host && !n->is_refusal)) /* asked for anew meanwhile: that answer is under way */
            return;
        take_waiting(k, &waiting);
        forget(v, name, k);
        tell_waiting(&waiting, NULL);
        return;
    }
    if (!k)
        k = enter(v, name);
    dns_host_unref(&k->host);
    k->host = dns_host_ref(n->host);
    take_waiting(k, &waiting);
    tell_waiting(&waiting, n->host);
}

void dns_cache_on_news(void *arg)
{
    struct dns_cache_news *n = arg;
    struct dns_cache_view *v = n->cache->views[stat_thread];
    if (v)
        take_news(v, n);
    dns_host_unref(&n->host);
    dns_cache_unref(&n->cache);
    mem_free(n);
}

void dns_cache_views_free(struct dns_cache *c)
{
    for (uint32_t i = 0; i < c->view_count; i++) {
        struct dns_cache_view *v = c->views[i];
        size_t at = 0;
        struct str name;
        void *value;
        if (!v)
            continue;
        while (map_next(v->names, &at, &name, &value)) {
            struct known_name *k = value;
            dns_host_unref(&k->host);
            mem_free(k);
        }
        map_free(&v->names);
        mem_free(v);
    }
    mem_free(c->views);
}
