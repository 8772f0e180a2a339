/* SPDX-License-Identifier: Apache-2.0
 *
 * The main thread's half of the DNS cache: the names there are, their queries and how long they stay.
 *
 *   asked for -> resolving -> fresh (TTL) -> resolving …    unused for host_ttl -> gone
 *
 * A query that fails or answers with nothing keeps the addresses that were known (Envoy: a name never falls back to none).
 * Every state of a name goes to listeners (clusters) first, then by mail to each worker that has a table. Names beyond
 * max_hosts are refused; what peers may ask for is bounded thereby.
 */
#include "proxy/cluster/dns_cache_priv.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "http/codec/uri.h"
#include "proxy/cluster/cluster_priv.h"

static const struct stat_desc rows[] = {DNS_CACHE_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};
static struct list caches = {&caches, &caches};

struct dns_name {
    struct dns_cache *cache;
    struct str name, host;  /* "host:port" owned; the host within it, without brackets */
    uint16_t port;
    struct dns_host *now;   /* NULL before the first answer */
    struct dns_query *query;
    struct timer wake, timeout;
    uint64_t refresh_at_ms;
    uint32_t failures;      /* in a row */
    const char *failure_kind, *failure_reason; /* of the last query, static */
};

static uint64_t now_ms(void)
{
    return loop_now_us(clusters_main_loop()) / 1000;
}

/* ---- telling ---- */

static void post_news(uint32_t thread, struct dns_cache *c, struct str name, struct dns_host *host, bool is_refusal)
{
    struct dns_cache_news *n = dns_cache_news_new(c, name, host);
    n->is_refusal = is_refusal;
    loop_post(clusters_worker_loop(thread), dns_cache_on_news, n);
}

static void tell_workers(struct dns_cache *c, struct str name, struct dns_host *host)
{
    for (uint32_t i = 0; i <= clusters_worker_count(); i++)
        if (__atomic_load_n(&c->views[i], __ATOMIC_ACQUIRE))
            post_news(i, c, name, host, false);
}

static void tell_listeners(struct dns_cache *c, struct dns_host *h)
{
    LIST_EACH(it, safe, &c->listeners) {
        struct dns_cache_listener *l = LIST_ENTRY(it, dns_cache_listener, node);
        l->on_host(l, h);
    }
}

/* ---- a name's life ---- */

static void free_name(struct dns_name *n)
{
    timer_clear(&n->wake);
    timer_clear(&n->timeout);
    dns_cancel(n->query);
    dns_host_unref(&n->now);
    str_free(&n->name);
    mem_free(n);
}

static void remove_name(struct dns_name *n)
{
    struct dns_cache *c = n->cache;
    stat_inc(c->stats, STAT_DNS_CACHE_HOST_REMOVED);
    stat_dec(c->stats, STAT_DNS_CACHE_NUM_HOSTS);
    atomic_fetch_sub_explicit(&c->hosts, 1, memory_order_relaxed);
    map_del(c->names, n->name);
    LIST_EACH(it, safe, &c->listeners) {
        struct dns_cache_listener *l = LIST_ENTRY(it, dns_cache_listener, node);
        l->on_removed(l, n->name);
    }
    tell_workers(c, n->name, NULL);
    free_name(n);
}

static bool has_same_addrs(const struct dns_host *h, const struct dns_answer *answer, uint16_t port)
{
    if (h->addr_count != answer->count)
        return false;
    for (size_t i = 0; i < answer->count; i++) { /* in any order: servers rotate their answers */
        bool found = false;
        struct addr a = answer->addrs[i];
        addr_set_port(&a, port);
        for (uint32_t k = 0; k < h->addr_count && !found; k++)
            found = addr_eq(&a, &h->addrs[k]);
        if (!found)
            return false;
    }
    return true;
}

/* As Envoy words it: "dns_resolution_failure{cares_norecords:Domain_name_not_found}". */
static void set_failure(struct dns_host *h, const char *kind, const char *reason)
{
    snprintf(h->failure, sizeof h->failure, "dns_resolution_failure{%s%s%s}", kind, reason ? ":" : "", reason ? reason : "");
    for (char *at = h->failure; *at; at++)
        if (*at == ' ')
            *at = '_';
}

static void take_state(struct dns_name *n, const struct dns_answer *answer)
{
    struct dns_host *h = NEW(dns_host), *was = n->now;
    atomic_init(&h->refs, 1);
    atomic_init(&h->used_ms, was ? atomic_load_explicit(&was->used_ms, memory_order_relaxed) : now_ms());
    h->name = str_dup(n->name);
    h->addr_count = answer ? (uint32_t)answer->count : 0;
    h->addrs = h->addr_count ? mem_zalloc(h->addr_count * sizeof *h->addrs) : NULL;
    if (!h->addr_count)
        set_failure(h, n->failure_kind, n->failure_reason);
    for (uint32_t i = 0; i < h->addr_count; i++) {
        addr_copy(&h->addrs[i], &answer->addrs[i]);
        addr_set_port(&h->addrs[i], n->port);
    }
    dns_host_unref(&was);
    n->now = h;
    if (h->addr_count) {
        stat_inc(n->cache->stats, STAT_DNS_CACHE_HOST_ADDRESS_CHANGED);
        tell_listeners(n->cache, h);
    }
    tell_workers(n->cache, n->name, h);
}

static uint64_t next_ms(struct dns_name *n, bool failed, uint32_t ttl_s)
{
    const struct dns_cache_spec *spec = &n->cache->spec;
    if (!failed) {
        uint64_t ttl_ms = (uint64_t)ttl_s * 1000;
        return ttl_ms > spec->min_refresh_ms ? ttl_ms : spec->min_refresh_ms;
    }
    if (!spec->failure_base_ms)
        return spec->refresh_ms;
    uint64_t ceiling = spec->failure_base_ms << (n->failures > 16 ? 16 : n->failures - 1);
    if (ceiling > spec->failure_max_ms)
        ceiling = spec->failure_max_ms;
    return rng_below(loop_rng(clusters_main_loop()), ceiling) + 1; /* full jitter */
}

/* When it has to be asked for again, or may have to go. */
static void sleep_on(struct dns_name *n)
{
    uint64_t now = now_ms(), used = n->now ? atomic_load_explicit(&n->now->used_ms, memory_order_relaxed) : now;
    uint64_t idle_at = used + n->cache->spec.host_ttl_ms;
    uint64_t at = n->refresh_at_ms < idle_at ? n->refresh_at_ms : idle_at;
    timer_set_ms(&n->wake, at > now ? at - now : 0);
}

static void finish(struct dns_name *n, bool failed, const struct dns_answer *answer)
{
    struct dns_cache *c = n->cache;
    timer_clear(&n->timeout);
    n->query = NULL;
    n->failures = failed ? n->failures + 1 : 0;
    stat_inc(c->stats, failed ? STAT_DNS_CACHE_QUERY_FAILURE : STAT_DNS_CACHE_QUERY_SUCCESS);
    bool has_addrs = !failed && answer && answer->count;
    if (has_addrs ? !n->now || !has_same_addrs(n->now, answer, n->port) : !n->now || !n->now->addr_count)
        take_state(n, has_addrs ? answer : NULL);
    if (failed && c->spec.no_refresh_on_failure) {
        remove_name(n);
        return;
    }
    n->refresh_at_ms = now_ms() + next_ms(n, failed, answer ? answer->ttl_s : 0);
    sleep_on(n);
}

static void on_answer(void *user, enum dns_status status, const struct dns_answer *answer)
{
    struct dns_name *n = user;
    bool failed = status == DNS_FAILED || status == DNS_TIMED_OUT;
    if (failed)
        LOG_SELDOM(DNS, WARNING, "cache %.*s: cannot resolve %.*s: %s", STR_ARG(n->cache->spec.name), STR_ARG(n->name), answer->reason);
    n->failure_kind = status == DNS_NOT_FOUND ? "cares_norecords" : "cares_failure";
    n->failure_reason = answer->reason;
    finish(n, failed, failed ? NULL : answer);
}

static void on_timeout(struct timer *t)
{
    struct dns_name *n = CONTAINER_OF(t, dns_name, timeout);
    stat_inc(n->cache->stats, STAT_DNS_CACHE_QUERY_TIMEOUT);
    LOG_SELDOM(DNS, WARNING, "cache %.*s: no answer for %.*s in time", STR_ARG(n->cache->spec.name), STR_ARG(n->name));
    dns_cancel(n->query);
    n->failure_kind = "resolve_timeout";
    n->failure_reason = NULL;
    finish(n, true, NULL);
}

static void resolve(struct dns_name *n)
{
    struct dns_cache *c = n->cache;
    stat_inc(c->stats, STAT_DNS_CACHE_QUERY_ATTEMPT);
    n->query = dns_resolve(c->resolver, n->host, c->spec.family, on_answer, n);
    if (c->spec.query_timeout_ms)
        timer_set_ms(&n->timeout, c->spec.query_timeout_ms);
}

static void on_wake(struct timer *t)
{
    struct dns_name *n = CONTAINER_OF(t, dns_name, wake);
    uint64_t now = now_ms(), used = atomic_load_explicit(&n->now->used_ms, memory_order_relaxed);
    if (now >= used + n->cache->spec.host_ttl_ms)
        remove_name(n);
    else if (now >= n->refresh_at_ms)
        resolve(n);
    else
        sleep_on(n);
}

static void enter(struct dns_cache *c, struct str name)
{
    struct dns_name *n = NEW(dns_name);
    int port = 0;
    n->cache = c;
    n->name = str_dup(name);
    authority_split(n->name, &n->host, &port);
    if (n->host.n > 2 && n->host.p[0] == '[')
        n->host = str_make(n->host.p + 1, n->host.n - 2);
    n->port = (uint16_t)port;
    timer_init(&n->wake, clusters_main_loop(), on_wake);
    timer_init(&n->timeout, clusters_main_loop(), on_timeout);
    map_set(c->names, n->name, n);
    atomic_fetch_add_explicit(&c->hosts, 1, memory_order_relaxed);
    stat_inc(c->stats, STAT_DNS_CACHE_HOST_ADDED);
    stat_inc(c->stats, STAT_DNS_CACHE_NUM_HOSTS);
    resolve(n);
}

/* ---- what workers ask ---- */

static void tell_all(struct dns_cache *c, uint32_t thread)
{
    size_t at = 0;
    struct str name;
    void *value;
    while (map_next(c->names, &at, &name, &value)) {
        struct dns_name *n = value;
        if (n->now)
            post_news(thread, c, name, n->now, false);
    }
    post_news(thread, c, STR(""), NULL, false);
}

static void tell_one(struct dns_cache *c, uint32_t thread, struct str name)
{
    struct dns_name *n = map_get(c->names, name);
    if (n && n->now) {
        post_news(thread, c, name, n->now, false);
    } else if (!n && (!c->resolver || map_count(c->names) >= c->spec.max_hosts)) {
        stat_inc(c->stats, STAT_DNS_CACHE_HOST_OVERFLOW);
        post_news(thread, c, name, NULL, true);
    } else if (!n) {
        enter(c, name);
    } /* else its answer goes to all workers */
}

void dns_cache_on_question(void *arg)
{
    struct dns_cache_question *q = arg;
    if (q->name_bytes)
        tell_one(q->cache, q->thread, str_make(q->name, q->name_bytes));
    else
        tell_all(q->cache, q->thread);
    dns_cache_unref(&q->cache);
    mem_free(q);
}

/* ---- caches ---- */

static void preresolve(struct dns_cache *c, const struct dns_cache_spec *spec)
{
    char text[DNS_CACHE_NAME_BYTES];
    for (uint32_t i = 0; i < spec->preresolve_count; i++) {
        struct str name = dns_cache_name(spec->preresolve[i].host, spec->preresolve[i].port, text);
        if (name.n && !map_get(c->names, name) && map_count(c->names) < c->spec.max_hosts)
            enter(c, name);
    }
}

static struct stat_scope *scope_of(struct str name)
{
    struct strbuf prefix = {0};
    strbuf_addf(&prefix, "dns_cache.%.*s.", STR_ARG(name));
    struct stat_scope *s = stat_scope_get(strbuf_str(&prefix), &table, strbuf_str(&prefix), NULL, 0);
    strbuf_fini(&prefix);
    return s;
}

struct dns_cache *dns_cache_open(const struct dns_cache_spec *spec)
{
    struct err err;
    LIST_EACH(it, safe, &caches) {
        struct dns_cache *c = LIST_ENTRY(it, dns_cache, node);
        if (str_eq(c->spec.name, spec->name))
            return dns_cache_ref(c);
    }
    struct dns_cache *c = NEW(dns_cache);
    atomic_init(&c->refs, 1);
    c->spec = *spec;
    c->spec.name = str_dup(spec->name);
    c->stats = scope_of(spec->name);
    c->names = map_new();
    c->view_count = clusters_worker_count() + 1;
    c->views = mem_zalloc(c->view_count * sizeof(*c->views));
    list_init(&c->listeners);
    list_push_back(&caches, &c->node);
    stat_set(c->stats, STAT_DNS_CACHE_CB_RQ_PENDING_REMAINING, spec->max_pending);
    stat_set(c->stats, STAT_DNS_CACHE_CB_RQ_PENDING_OPEN, !spec->max_pending);
    c->resolver = dns_resolver_new(clusters_main_loop(), &spec->opts, &err);
    if (!c->resolver)
        LOG(DNS, ERROR, "cache %.*s: no resolver: %s", STR_ARG(spec->name), err.message);
    else
        preresolve(c, spec);
    return c;
}

struct dns_cache *dns_cache_ref(struct dns_cache *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

static void destroy(void *arg)
{
    struct dns_cache *c = arg;
    size_t at = 0;
    struct str name;
    void *value;
    while (map_next(c->names, &at, &name, &value))
        free_name(value);
    map_free(&c->names);
    list_remove(&c->node);
    dns_resolver_free(&c->resolver);
    dns_cache_views_free(c);
    stat_scope_unref(&c->stats);
    str_free(&c->spec.name);
    mem_free(c);
}

void dns_cache_unref(struct dns_cache **cache)
{
    struct dns_cache *c = *cache;
    *cache = NULL;
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (stat_thread)
        loop_post(clusters_main_loop(), destroy, c);
    else
        destroy(c);
}

void dns_cache_listen(struct dns_cache *c, struct dns_cache_listener *l)
{
    size_t at = 0;
    struct str name;
    void *value;
    list_push_back(&c->listeners, &l->node);
    while (map_next(c->names, &at, &name, &value)) {
        struct dns_name *n = value;
        if (n->now && n->now->addr_count)
            l->on_host(l, n->now);
    }
}

void dns_cache_unlisten(struct dns_cache_listener *l)
{
    list_remove(&l->node);
}
