/* SPDX-License-Identifier: Apache-2.0
 *
 * Dynamic forward proxy membership: the endpoint is the name that the request (or the TLS client) asks for, as the DNS
 * cache knows it. The main thread has one host a name, made when the cache has addresses for it, and publishes them as the
 * cluster's members once a turn. Each worker finds hosts in a table by name, of which it is told name by name; a worker
 * that makes its table late copies all there are.
 *
 * The cache tells clusters of a name before it tells workers, and letters keep their order: a request that waited for a
 * name finds its host.
 */
#include "base/mem.h"
#include "proxy/cluster/cluster_priv.h"
#include "proxy/cluster/dns_cache.h"
#include "proxy/filter_state.h"

#include <string.h>

struct named_host {
    struct host *host;
    struct dns_host *name;
};
struct forward_proxy {
    struct cluster *cluster;
    struct dns_cache *cache;
    struct dns_cache_listener listener;
    struct map *hosts;       /* struct named_host; changed under the cluster's hosts_lock */
    struct turn_task publish;
};

static void named_host_free(struct named_host **named)
{
    struct named_host *n = *named;
    *named = NULL;
    if (!n)
        return;
    host_unref(&n->host);
    dns_host_unref(&n->name);
    mem_free(n);
}

static struct named_host *named_host_new(struct host *h, struct dns_host *name)
{
    struct named_host *n = NEW(named_host);
    n->host = host_ref(h);
    n->name = dns_host_ref(name);
    return n;
}

/* ---- workers ---- */

struct host_news {
    struct cluster *cluster;
    struct named_host *named; /* NULL: the name is gone */
    size_t name_bytes;
    char name[];
};

static void take_news(struct cluster_worker *v, struct str name, struct named_host *take_named)
{
    struct named_host *was = take_named ? map_set(v->forward_hosts, name, take_named) : map_del(v->forward_hosts, name);
    if (was && (!take_named || was->host != take_named->host))
        view_drain_pools_of(v, was->host);
    named_host_free(&was);
}

static void on_news(void *arg)
{
    struct host_news *n = arg;
    struct cluster_worker *v = n->cluster->views[stat_thread];
    if (v && v->forward_hosts)
        take_news(v, str_make(n->name, n->name_bytes), n->named);
    else
        named_host_free(&n->named);
    cluster_unref(&n->cluster);
    mem_free(n);
}

/* Entered in the view before the copy, under the lock that the main thread changes its table under: nothing is missed. */
static void copy_all(struct cluster_worker *v)
{
    struct cluster *c = v->cluster;
    size_t at = 0;
    struct str name;
    void *value;
    v->forward_hosts = map_new();
    pthread_mutex_lock(&c->hosts_lock);
    while (c->forward_proxy && map_next(c->forward_proxy->hosts, &at, &name, &value)) {
        const struct named_host *n = value;
        map_set(v->forward_hosts, name, named_host_new(n->host, n->name));
    }
    pthread_mutex_unlock(&c->hosts_lock);
}

void cluster_note_destination(const struct cluster *c, struct lb_context *ctx, const struct filter_state *state, struct str server_name)
{
    uint64_t port = 0;
    if (c->spec->type != CLUSTER_FORWARD_PROXY)
        return;
    const struct filter_state_entry *host = filter_state_find(state, DYNAMIC_HOST_KEY), *p = filter_state_find(state, DYNAMIC_PORT_KEY);
    ctx->dynamic_host = host ? host->value : server_name;
    if (p && str_to_u64(p->value, &port) && port <= UINT16_MAX)
        ctx->dynamic_port = (uint16_t)port;
}

static uint16_t default_port(const struct cluster *c, const struct lb_context *ctx)
{
    return ctx->dynamic_port ? ctx->dynamic_port : c->spec->transport->tls ? 443 : 80;
}

static struct str wanted(const struct lb_context *ctx)
{
    if (ctx->dynamic_host.n)
        return ctx->dynamic_host;
    return ctx->request ? headers_get_id(ctx->request, HDR_AUTHORITY) : STR_NULL;
}

struct host *forward_proxy_pick(struct cluster_worker *v, const struct lb_context *ctx)
{
    char text[DNS_CACHE_NAME_BYTES];
    struct str name = dns_cache_name(wanted(ctx), default_port(v->cluster, ctx), text);
    if (!name.n)
        return NULL;
    if (!v->forward_hosts)
        copy_all(v);
    struct named_host *n = map_get(v->forward_hosts, name);
    if (!n)
        return NULL;
    dns_host_touch(n->name, loop_now_us(v->loop) / 1000);
    return host_ref(n->host);
}

static void free_table(struct map **hosts)
{
    size_t at = 0;
    struct str name;
    void *value;
    while (*hosts && map_next(*hosts, &at, &name, &value)) {
        struct named_host *n = value;
        named_host_free(&n);
    }
    map_free(hosts);
}

void forward_proxy_leave(struct cluster_worker *v)
{
    free_table(&v->forward_hosts);
}

/* ---- main thread ---- */

static void post_news(struct forward_proxy *f, struct str name, const struct named_host *named)
{
    struct cluster *c = f->cluster;
    for (uint32_t i = 0; i <= clusters_worker_count(); i++) {
        if (!__atomic_load_n(&c->views[i], __ATOMIC_ACQUIRE))
            continue;
        struct host_news *n = mem_zalloc(sizeof *n + name.n);
        n->cluster = cluster_ref(c);
        n->named = named ? named_host_new(named->host, named->name) : NULL;
        n->name_bytes = name.n;
        memcpy(n->name, name.p, name.n);
        loop_post(clusters_worker_loop(i), on_news, n);
    }
}

static void on_publish(struct turn_task *t)
{
    struct forward_proxy *f = CONTAINER_OF(t, forward_proxy, publish);
    size_t count = map_count(f->hosts), at = 0;
    struct host **hosts = count ? mem_alloc(count * sizeof(*hosts)) : NULL;
    struct str name;
    void *value;
    for (uint32_t i = 0; map_next(f->hosts, &at, &name, &value); i++)
        hosts[i] = host_ref(((struct named_host *)value)->host);
    cluster_set_members(f->cluster, hosts, (uint32_t)count);
}

/* Before workers are told: who copies the table later sees it there. */
static void set(struct forward_proxy *f, struct str name, struct named_host *take_named)
{
    pthread_mutex_lock(&f->cluster->hosts_lock);
    struct named_host *was = take_named ? map_set(f->hosts, name, take_named) : map_del(f->hosts, name);
    pthread_mutex_unlock(&f->cluster->hosts_lock);
    named_host_free(&was);
    loop_at_turn_end(clusters_main_loop(), &f->publish);
}

static void on_host(struct dns_cache_listener *l, struct dns_host *h)
{
    struct forward_proxy *f = CONTAINER_OF(l, forward_proxy, listener);
    struct endpoint_spec e = {
        .addr = h->addrs[0], .extra_addrs = h->addrs + 1, .extra_addr_count = h->addr_count - 1, .hostname = h->name, .weight = 1,
    };
    struct host *host = cluster_make_member(f->cluster, &e);
    struct named_host *named = named_host_new(host, h);
    host_unref(&host);
    set(f, h->name, named);
    post_news(f, h->name, named);
}

static void on_removed(struct dns_cache_listener *l, struct str name)
{
    struct forward_proxy *f = CONTAINER_OF(l, forward_proxy, listener);
    if (!map_get(f->hosts, name))
        return;
    set(f, name, NULL);
    post_news(f, name, NULL);
}

void forward_proxy_start(struct cluster *c)
{
    if (!c->spec->dns_cache) /* of a form that was taken with --allow-unsupported */
        return;
    struct forward_proxy *f = NEW(forward_proxy);
    f->cluster = c;
    f->hosts = map_new();
    f->publish.run = on_publish;
    f->listener = (struct dns_cache_listener){.on_host = on_host, .on_removed = on_removed};
    f->cache = dns_cache_open(c->spec->dns_cache);
    pthread_mutex_lock(&c->hosts_lock);
    c->forward_proxy = f;
    pthread_mutex_unlock(&c->hosts_lock);
    dns_cache_listen(f->cache, &f->listener);
}

void forward_proxy_stop(struct cluster *c)
{
    struct forward_proxy *f = c->forward_proxy;
    if (!f)
        return;
    pthread_mutex_lock(&c->hosts_lock);
    c->forward_proxy = NULL;
    pthread_mutex_unlock(&c->hosts_lock);
    dns_cache_unlisten(&f->listener);
    turn_task_cancel(&f->publish);
    free_table(&f->hosts);
    dns_cache_unref(&f->cache);
    mem_free(f);
}
