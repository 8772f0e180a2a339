/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker's view of a cluster: the membership it works with and its pools, found by host. Made when
 * the worker first needs the cluster; changed only by its own thread, through the mailbox.
 */
#include <sys/socket.h>

#include "base/map.h"
#include "base/mem.h"
#include "proxy/cluster/cluster_priv.h"

static struct {
    struct loop *main_loop;
    struct loop *const *workers;
    uint32_t worker_count;
    const struct locality *here;
    struct str local_cluster;
} frame;

void clusters_init(struct loop *main_loop, struct loop *const *worker_loops, uint32_t worker_count)
{
    frame.main_loop = main_loop;
    frame.workers = worker_loops;
    frame.worker_count = worker_count;
}

void clusters_fini(void)
{
    frame.workers = NULL;
    frame.worker_count = 0;
}

void clusters_locate(const struct locality *here, struct str local_cluster)
{
    frame.here = here;
    frame.local_cluster = local_cluster;
}

const struct locality *clusters_here(void)
{
    return frame.here;
}

/* ---- zone-aware routing: how the local cluster's members are spread decides where others' requests go ---- */

static bool is_local(const struct cluster *c)
{
    return frame.local_cluster.n && str_eq(c->spec->name, frame.local_cluster);
}

static const struct lb_policy_spec *lowest(const struct lb_policy_spec *lb)
{
    while (lb->child)
        lb = lb->child;
    return lb;
}

struct host_set *cluster_local_hosts(const struct cluster *c)
{
    if (!frame.local_cluster.n || lowest(c->spec->lb)->locality != LB_ZONE_AWARE)
        return NULL;
    struct cluster *local = cluster_named(frame.local_cluster);
    return local ? cluster_hosts(local) : NULL;
}

uint64_t cluster_slow_start_ms(const struct cluster *c)
{
    return lowest(c->spec->lb)->slow_start_ms;
}

static void follow_local(struct cluster *other, void *local)
{
    if (other != local && other->generation && lowest(other->spec->lb)->locality == LB_ZONE_AWARE)
        cluster_health_changed(other);
}

void clusters_note_change(struct cluster *c)
{
    if (is_local(c))
        clusters_each(follow_local, c);
}

struct loop *clusters_main_loop(void)
{
    return frame.main_loop;
}

uint32_t clusters_worker_count(void)
{
    return frame.worker_count;
}

struct loop *clusters_worker_loop(uint32_t thread)
{
    return thread ? frame.workers[thread - 1] : frame.main_loop;
}

/* ---- pools by host ---- */

static uint32_t bucket_of(const struct cluster_worker *v, const struct host *h)
{
    return (uint32_t)(((uintptr_t)h * 0x9e3779b97f4a7c15ull) >> 40) & (v->bucket_count - 1);
}

static void grow(struct cluster_worker *v)
{
    uint32_t old_count = v->bucket_count;
    struct upstream_pool **old = v->buckets;
    v->bucket_count = old_count ? old_count * 2 : 4;
    v->buckets = mem_zalloc(v->bucket_count * sizeof(*v->buckets));
    for (uint32_t i = 0; i < old_count; i++) {
        for (struct upstream_pool *p = old[i], *next; p; p = next) {
            next = p->next;
            uint32_t b = bucket_of(v, p->host);
            p->next = v->buckets[b];
            v->buckets[b] = p;
        }
    }
    mem_free(old);
}

static bool pool_fits(const struct upstream_pool *p, const struct host *h, const struct pool_key *key,
                      struct str authority)
{
    const struct cluster_http_spec *http = p->view->cluster->spec->http;
    if (p->host != h || p->priority != key->priority || p->is_draining)
        return false;
    if (http->use_downstream_protocol && p->downstream_protocol != key->downstream_protocol)
        return false;
    if (!str_eq(p->authority, authority) || p->alpn_count != key->alpn_count)
        return false;
    for (uint32_t i = 0; i < key->alpn_count; i++)
        if (!str_eq(p->alpn[i], key->alpn[i]))
            return false;
    if (!key->source || !p->source)
        return key->source == p->source;
    return key->source->mark == p->source->mark && addr_eq(&key->source->addr, &p->source->addr);
}

static struct str key_authority(const struct cluster_http_spec *http, const struct pool_key *key)
{
    return http->auto_sni || http->auto_san_validation ? key->authority : STR_NULL;
}

struct http_pool *view_http_pool(struct cluster_worker *cw, struct host *h, const struct pool_key *key)
{
    const struct cluster_spec *spec = cw->cluster->spec;
    struct str authority = key_authority(spec->http, key);
    struct str header = STR_NULL;
    if (h->transport->proxy_protocol)
        header = upstream_proxy_header(h->transport, key->downstream);
    if (cw->bucket_count) {
        for (struct upstream_pool *p = cw->buckets[bucket_of(cw, h)]; p; p = p->next) {
            if (pool_fits(p, h, key, authority) && str_eq(p->proxy_header, header)) {
                str_free(&header);
                return p->pool;
            }
        }
    }
    if (!cluster_breaker_acquire(cw->cluster, key->priority, BREAKER_POOLS)) {
        stat_inc(cw->cluster->stats, STAT_CLUSTER_UPSTREAM_CX_POOL_OVERFLOW);
        str_free(&header);
        return NULL;
    }
    struct pool_key full = *key;
    full.authority = authority;
    struct upstream_pool *p = upstream_pool_new(cw, h, &full);
    p->proxy_header = header;
    if (cw->pool_count >= cw->bucket_count)
        grow(cw);
    uint32_t b = bucket_of(cw, h);
    p->next = cw->buckets[b];
    cw->buckets[b] = p;
    cw->pool_count++;
    return p->pool;
}

struct http_pool *cluster_http_pool(struct cluster_worker *cw, struct host *h, const struct pool_key *key)
{
    struct http_pool *pool = view_http_pool(cw, h, key);
    if (pool)
        cluster_predict(cw, key);
    return pool;
}

void view_forget_pool(struct upstream_pool *p)
{
    struct cluster_worker *v = p->view;
    for (struct upstream_pool **at = &v->buckets[bucket_of(v, p->host)]; *at; at = &(*at)->next) {
        if (*at == p) {
            *at = p->next;
            v->pool_count--;
            cluster_breaker_release(v->cluster, p->priority, BREAKER_POOLS);
            view_check_over(v);
            return;
        }
    }
}

/* ---- membership ---- */

struct cluster_worker *cluster_here(struct cluster *c)
{
    struct cluster_worker *v = c->views[stat_thread];
    if (__builtin_expect(v != NULL, 1))
        return v;
    v = NEW(cluster_worker);
    v->cluster = c;
    v->loop = clusters_worker_loop(stat_thread);
    __atomic_store_n(&c->views[stat_thread], v, __ATOMIC_RELAXED);
    v->hosts = cluster_hosts(c);
    return v;
}

struct cluster *cluster_of_view(const struct cluster_worker *cw)
{
    return cw->cluster;
}

static bool set_has(const struct host_set *s, const struct host *h)
{
    for (uint32_t i = 0; i < s->count; i++)
        if (s->hosts[i] == h)
            return true;
    return false;
}

void view_drain_pools_of(struct cluster_worker *v, const struct host *h)
{
    for (struct upstream_pool *p = v->bucket_count ? v->buckets[bucket_of(v, h)] : NULL, *next; p; p = next) {
        next = p->next;
        if (p->host == h && !p->is_draining) {
            p->is_draining = true;
            http_pool_drain(p->pool);
        }
    }
}

/* Pools of hosts that left finish what they have and go. */
static void drain_absent(struct cluster_worker *v)
{
    for (uint32_t b = 0; b < v->bucket_count; b++) {
        for (struct upstream_pool *p = v->buckets[b], *next; p; p = next) {
            next = p->next;
            if (p->is_draining || set_has(v->hosts, p->host))
                continue;
            p->is_draining = true;
            http_pool_drain(p->pool);
        }
    }
}

/* ---- a member that failed ---- */

struct failed_host {
    struct cluster *cluster;
    struct host *host;
};

void view_note_tcp(struct cluster_worker *v, struct host *h, struct conn *c)
{
    if (!v->cluster->spec->close_on_health_failure)
        return;
    if (v->tcp_count == v->tcp_cap) {
        v->tcp_cap = v->tcp_cap ? 2 * v->tcp_cap : 8;
        v->tcp = mem_realloc(v->tcp, v->tcp_cap * sizeof(*v->tcp));
    }
    v->tcp[v->tcp_count++] = (struct tcp_member){c, h};
}

void view_forget_tcp(struct cluster_worker *v, const struct conn *c)
{
    for (uint32_t i = 0; i < v->tcp_count; i++) {
        if (v->tcp[i].conn == c) {
            v->tcp[i] = v->tcp[--v->tcp_count];
            return;
        }
    }
}

/* Its owner sees the end that a peer would make, and does what it does then. */
static void end_tcp_of(struct cluster_worker *v, const struct host *h)
{
    for (uint32_t i = 0; i < v->tcp_count; i++)
        if (v->tcp[i].host == h)
            shutdown(conn_fd(v->tcp[i].conn), SHUT_RDWR);
}

static void let_go_of(struct cluster_worker *v, const struct host *h)
{
    for (struct upstream_pool *p = v->bucket_count ? v->buckets[bucket_of(v, h)] : NULL, *next; p; p = next) {
        next = p->next;
        if (p->host == h)
            http_pool_retire_connections(p->pool);
    }
    end_tcp_of(v, h);
}

static void on_host_failed(void *arg)
{
    struct failed_host *f = arg;
    struct cluster_worker *v = f->cluster->views[stat_thread];
    if (v)
        let_go_of(v, f->host);
    host_unref(&f->host);
    cluster_unref(&f->cluster);
    mem_free(f);
}

/* Its connections may all go the same bad way (Envoy does so too): what comes later gets new ones. */
void view_host_failed(struct cluster *c, struct host *h)
{
    for (uint32_t i = 0; i < frame.worker_count; i++) {
        if (!__atomic_load_n(&c->views[i + 1], __ATOMIC_RELAXED))
            continue;
        struct failed_host *f = NEW(failed_host);
        *f = (struct failed_host){cluster_ref(c), host_ref(h)};
        loop_post(frame.workers[i], on_host_failed, f);
    }
    if (c->views[0])
        let_go_of(c->views[0], h);
}

struct publication {
    struct cluster *cluster;
    struct host_set *hosts;
};

static bool has_same_members(const struct host_set *a, const struct host_set *b)
{
    bool same = a->count == b->count;
    for (uint32_t i = 0; same && i < a->count; i++)
        same = set_has(b, a->hosts[i]);
    return same;
}

/* close_connections_on_host_set_change: a change of members ends all connections, so that a hash table holds for all at once. */
void view_drain_all(struct cluster_worker *v)
{
    for (uint32_t b = 0; b < v->bucket_count; b++) {
        for (struct upstream_pool *p = v->buckets[b], *next; p; p = next) {
            next = p->next;
            if (p->is_draining)
                continue;
            p->is_draining = true;
            http_pool_drain(p->pool);
        }
    }
}

static void adopt_here(struct cluster_worker *v, struct host_set *hosts)
{
    if (v->hosts->generation >= hosts->generation)
        return;
    if (v->cluster->spec->lb->close_on_set_change && !has_same_members(v->hosts, hosts))
        view_drain_all(v);
    cluster_forget_predictions(v);
    host_set_unref(&v->hosts);
    v->hosts = host_set_ref(hosts);
    drain_absent(v);
}

static void adopt(void *arg)
{
    struct publication *pub = arg;
    struct cluster_worker *v = pub->cluster->views[stat_thread];
    if (v)
        adopt_here(v, pub->hosts);
    host_set_unref(&pub->hosts);
    cluster_unref(&pub->cluster);
    mem_free(pub);
}

static void post_to(struct loop *loop, struct cluster *c, struct host_set *hosts)
{
    struct publication *pub = NEW(publication);
    pub->cluster = cluster_ref(c);
    pub->hosts = host_set_ref(hosts);
    loop_post(loop, adopt, pub);
}

/* A worker enters its view before it takes the membership under the lock, so whoever took the old one is seen here. */
void view_publish(struct cluster *c, struct host_set *take_hosts)
{
    bool *has_view = mem_zalloc(frame.worker_count + 1);
    pthread_mutex_lock(&c->hosts_lock);
    struct host_set *old = c->hosts;
    c->hosts = take_hosts;
    bool by_name = c->spec->type == CLUSTER_FORWARD_PROXY; /* workers choose by name and are told of each (forward_proxy.c) */
    for (uint32_t i = 0; i < frame.worker_count && !by_name; i++)
        has_view[i] = __atomic_load_n(&c->views[i + 1], __ATOMIC_RELAXED) != NULL;
    pthread_mutex_unlock(&c->hosts_lock);
    for (uint32_t i = 0; i < frame.worker_count; i++)
        if (has_view[i])
            post_to(frame.workers[i], c, take_hosts);
    if (c->views[0]) /* the main thread's own, for calls that it makes */
        adopt_here(c->views[0], take_hosts);
    mem_free(has_view);
    host_set_unref(&old);
}

void cluster_leave(struct cluster *c)
{
    struct cluster_worker *v = c->views[stat_thread];
    if (!v)
        return;
    for (uint32_t b = 0; b < v->bucket_count; b++)
        for (struct upstream_pool *p = v->buckets[b], *next; p; p = next) {
            next = p->next;
            cluster_breaker_release(c, p->priority, BREAKER_POOLS);
            upstream_pool_free(p);
        }
    original_dst_free(&v->original_dst);
    forward_proxy_leave(v);
    aggregate_free(&v->aggregate);
    host_set_unref(&v->hosts);
    turn_task_cancel(&v->over);
    mem_free(v->buckets);
    mem_free(v->tcp);
    c->views[stat_thread] = NULL;
    v->has_left = true;
    if (!v->users)
        mem_free(v);
}
