/* SPDX-License-Identifier: Apache-2.0
 *
 * The shared part of a cluster: what it is configured to be, who its members are now, how much of its
 * circuit breakers is used. Membership is replaced whole on the main thread; a member that stays (same
 * address and attributes) keeps its host object, and with it pools and statistics.
 */
#include "proxy/cluster/cluster_priv.h"

#include "base/mem.h"
#include "proxy/discovery/discovery.h"
#include "proxy/health/health_check.h"
#include "proxy/health/outlier.h"
#include "proxy/cluster/metadata_pool.h"
#include "proxy/stats/h2_stats.h"
#include "proxy/stats/tls_stats.h"
#include "proxy/warm.h"

static const struct stat_desc cluster_rows[] = {CLUSTER_STATS(STAT_DESC_ROW)};
static const struct stat_table cluster_table = {cluster_rows, ARRAY_LEN(cluster_rows)};

struct stat_scope *cluster_scope(const struct cluster_spec *spec, const char *suffix, const struct stat_table *table)
{
    struct strbuf prefix = {0}, bare = {0};
    struct str name = spec->alt_stat_name.n ? spec->alt_stat_name : spec->name;
    strbuf_addz(&prefix, "cluster.");
    strbuf_adds(&prefix, name);
    strbuf_addz(&prefix, suffix);
    strbuf_addz(&bare, "cluster");
    strbuf_addz(&bare, suffix);
    struct stat_tag tag = {STR("envoy.cluster_name"), name};
    struct stat_scope *s = stat_scope_get(strbuf_str(&prefix), table, strbuf_str(&bare), &tag, 1);
    strbuf_fini(&prefix);
    strbuf_fini(&bare);
    return s;
}

static bool may_speak_h2(const struct cluster_http_spec *http)
{
    return http->protocol == HTTP_2 || http->alpn || http->use_downstream_protocol;
}

/* A new state of the membership, by all that it depends on beside the hosts themselves. */
static struct host_set *make_set(struct cluster *c, struct host **take_hosts, uint32_t count)
{
    struct host_set *local = cluster_local_hosts(c);
    struct host_set_opts opts = {
        .overprovisioning_pct = c->load.overprovisioning_pct,
        .weighted_priority_health = c->load.weighted_priority_health,
        .here = clusters_here(),
        .local = local,
        .seed = rng_next(&c->rng),
        .stats = c->stats,
    };
    cluster_zones_note(c, take_hosts, count);
    struct host_set *s = host_set_new(take_hosts, count, c->spec->lb, &opts);
    s->drop_per_million = c->load.drop_per_million;
    host_set_unref(&local);
    return s;
}
static void on_health_changed(struct turn_task *t);

static struct list all = {&all, &all};

void clusters_each(void (*fn)(struct cluster *c, void *arg), void *arg)
{
    LIST_EACH(it, next, &all)
        fn(CONTAINER_OF(it, cluster, all), arg);
}

struct cluster *cluster_new(struct cluster_spec *take_spec, struct err *err)
{
    (void)err;
    struct cluster *c = NEW(cluster);
    c->magic = CLUSTER_MAGIC;
    atomic_init(&c->refs, 1);
    c->spec = take_spec;
    c->stats = cluster_scope(take_spec, ".", &cluster_table);
    if (cluster_may_use_tls(take_spec)) {
        c->tls_stats = cluster_scope(take_spec, ".ssl.", &tls_stat_table);
        c->tls_socket_stats = cluster_scope(take_spec, ".client_ssl_socket_factory.", &tls_socket_stat_table);
    }
    cluster_transport_stats_new(c);
    if (may_speak_h2(take_spec->http))
        c->h2_stats = cluster_scope(take_spec, ".http2.", &h2_stat_table);
    cluster_track(c);
    pthread_mutex_init(&c->hosts_lock, NULL);
    rng_seed(&c->rng, 0);
    c->load = take_spec->load;
    c->hosts = make_set(c, NULL, 0);
    cluster_breakers_init(c);
    if (take_spec->outlier)
        c->outlier = outlier_new(c, take_spec->outlier);
    if (take_spec->check)
        c->checker = health_new(c, take_spec->check);
    c->health_task.run = on_health_changed;
    c->views = mem_zalloc((clusters_worker_count() + 1) * sizeof(*c->views));
    list_push_back(&all, &c->all);
    return c;
}

struct cluster *cluster_ref(struct cluster *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

static void destroy(void *arg)
{
    struct cluster *c = arg;
    list_remove(&c->all);
    cluster_stop(c);
    cluster_leave(c);
    health_free(&c->checker);
    outlier_free(&c->outlier);
    turn_task_cancel(&c->health_task);
    cluster_breakers_fini(c);
    host_set_unref(&c->hosts);
    cluster_untrack(c);
    cluster_zones_fini(c);
    stat_scope_unref(&c->stats);
    stat_scope_unref(&c->tls_stats);
    stat_scope_unref(&c->tls_socket_stats);
    cluster_transport_stats_free(c);
    warmth_free(&c->secrets);
    stat_scope_unref(&c->h2_stats);
    pthread_mutex_destroy(&c->hosts_lock);
    cluster_spec_free(&c->spec);
    c->magic = 0;
    mem_free(c->views);
    mem_free(c);
}

void cluster_unref(struct cluster **cluster)
{
    struct cluster *c = *cluster;
    *cluster = NULL;
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (stat_thread)
        loop_post(clusters_main_loop(), destroy, c);
    else
        destroy(c);
}

const struct cluster_spec *cluster_spec(const struct cluster *c)
{
    return c->spec;
}

struct stat_scope *cluster_stats(const struct cluster *c)
{
    return c->stats;
}

struct outlier_detector *cluster_outlier(const struct cluster *c)
{
    return c->outlier;
}

/* ---- membership ---- */

struct host_set *cluster_hosts(const struct cluster *c)
{
    struct cluster *m = (struct cluster *)(uintptr_t)c;
    pthread_mutex_lock(&m->hosts_lock);
    struct host_set *s = host_set_ref(m->hosts);
    pthread_mutex_unlock(&m->hosts_lock);
    return s;
}

static bool has_addr(const struct addr *addrs, uint32_t n, const struct addr *a)
{
    for (uint32_t i = 0; i < n; i++)
        if (addr_eq(&addrs[i], a))
            return true;
    return false;
}

/* In any order: many servers of names rotate their answers, which must not cost a host its pools. */
static bool has_same_extras(const struct host *h, const struct endpoint_spec *e)
{
    if (h->extra_addr_count != e->extra_addr_count)
        return false;
    for (uint32_t i = 0; i < e->extra_addr_count; i++)
        if (!has_addr(h->extra_addrs, h->extra_addr_count, &e->extra_addrs[i]))
            return false;
    return true;
}

static bool is_same_member(const struct cluster *c, const struct host *h, const struct endpoint_spec *e)
{
    return h->priority == e->priority && h->weight == (e->weight ? e->weight : 1) && h->locality == e->locality &&
           h->locality_weight == e->locality_weight && h->metadata == e->metadata &&
           h->transport == cluster_transport_of(c->spec, e->metadata, e->locality_metadata) && str_eq(h->hostname, e->hostname) &&
           addr_eq(&h->addr, &e->addr) && has_same_extras(h, e);
}

static void addr_key(const struct addr *a, char text[ADDR_TEXT_BYTES])
{
    addr_text(a, text);
}

static struct map *index_members(const struct host_set *s)
{
    struct map *m = map_new();
    char text[ADDR_TEXT_BYTES];
    for (uint32_t i = 0; i < s->count; i++) {
        addr_key(&s->hosts[i]->addr, text);
        map_set(m, str_from(text), s->hosts[i]);
    }
    return m;
}

struct host *cluster_make_member(const struct cluster *c, const struct endpoint_spec *e)
{
    struct host *h = host_new(&e->addr, e->hostname, e->weight, e->priority, e->locality);
    static const struct str canary[] = {{"canary", sizeof("canary") - 1}};
    const struct meta_value *is_canary = metadata_find(e->metadata, STR("envoy.lb"), canary, 1);
    h->outlier = outlier_host_new(c->spec->outlier);
    h->check = health_host_new(c->spec->check, e);
    if (h->check) /* until it has shown otherwise */
        atomic_store(&h->health, HOST_FAILED_ACTIVE_HC | (c->spec->lb->ignore_new_until_checked ? HOST_PENDING_ACTIVE_HC : 0));
    h->metadata = e->has_pooled_metadata ? metadata_pool_ref(e->metadata) : e->metadata;
    h->has_pooled_metadata = e->has_pooled_metadata;
    h->transport = cluster_take_transport(c, e->metadata, e->locality_metadata);
    h->is_canary = is_canary && is_canary->kind == META_BOOL && is_canary->u.boolean;
    h->locality_weight = e->locality_weight;
    if (e->extra_addr_count) {
        h->extra_addrs = mem_zalloc(e->extra_addr_count * sizeof(*h->extra_addrs));
        h->extra_addr_count = e->extra_addr_count;
        for (uint32_t i = 0; i < e->extra_addr_count; i++)
            addr_copy(&h->extra_addrs[i], &e->extra_addrs[i]);
    }
    return h;
}

static void note_subsets(struct cluster *c, const struct host_set *before, const struct host_set *now)
{
    struct lb_subset_counts n = lb_subset_compare(before, now);
    stat_set(c->stats, STAT_CLUSTER_LB_SUBSETS_ACTIVE, n.active);
    if (n.duplicates || stat_sum(c->stats, STAT_CLUSTER_LB_SUBSETS_DUPLICATES))
        stat_set(c->stats, STAT_CLUSTER_LB_SUBSETS_DUPLICATES, n.duplicates);
    stat_add(c->stats, STAT_CLUSTER_LB_SUBSETS_CREATED, n.created);
    stat_add(c->stats, STAT_CLUSTER_LB_SUBSETS_REMOVED, n.removed);
}

static void note_health(struct cluster *c, const struct host_set *s)
{
    uint32_t healthy = 0, degraded = 0, excluded = 0, max_weight = 0;
    for (uint32_t p = 0; p < s->priority_count; p++) {
        healthy += s->priorities[p].healthy.count;
        degraded += s->priorities[p].degraded.count;
        excluded += s->priorities[p].excluded;
    }
    for (uint32_t i = 0; i < s->count; i++)
        if (s->hosts[i]->weight > max_weight)
            max_weight = s->hosts[i]->weight;
    stat_set(c->stats, STAT_CLUSTER_MEMBERSHIP_TOTAL, s->count);
    stat_set(c->stats, STAT_CLUSTER_MEMBERSHIP_HEALTHY, healthy);
    stat_set(c->stats, STAT_CLUSTER_MEMBERSHIP_DEGRADED, degraded);
    stat_set(c->stats, STAT_CLUSTER_MEMBERSHIP_EXCLUDED, excluded);
    stat_set(c->stats, STAT_CLUSTER_MAX_HOST_WEIGHT, max_weight);
}

/* Slow start counts from when a host is first well; one that falls ill and recovers starts over. */
static void note_recoveries(struct cluster *c, const struct host_set *s)
{
    if (!cluster_slow_start_ms(c))
        return;
    uint64_t now_ms = loop_now_us(clusters_main_loop()) / 1000;
    for (uint32_t i = 0; i < s->count; i++) {
        struct host *h = s->hosts[i];
        bool well = host_class(h) == HOST_IS_HEALTHY;
        if (!well)
            atomic_store_explicit(&h->healthy_since_ms, 0, memory_order_relaxed);
        else if (!atomic_load_explicit(&h->healthy_since_ms, memory_order_relaxed))
            atomic_store_explicit(&h->healthy_since_ms, now_ms ? now_ms : 1, memory_order_relaxed);
    }
}

static void publish(struct cluster *c, struct host **take_hosts, uint32_t count, bool members_changed)
{
    struct host_set *before = cluster_hosts(c);
    struct host_set members = {.hosts = take_hosts, .count = count};
    note_recoveries(c, &members);
    struct host_set *s = make_set(c, take_hosts, count);
    s->generation = ++c->generation;
    if (members_changed && c->outlier)
        outlier_members_changed(c->outlier, before, s);
    note_health(c, s);
    note_subsets(c, before, s);
    host_set_ref(s);
    view_publish(c, s);
    if (members_changed && c->checker)
        health_members_changed(c->checker, s);
    host_set_unref(&s);
    host_set_unref(&before);
    clusters_note_change(c);
}

void cluster_health_changed(struct cluster *c)
{
    if (c->is_retired)
        return;
    loop_at_turn_end(clusters_main_loop(), &c->health_task);
}

static void on_health_changed(struct turn_task *t)
{
    cluster_health_publish(CONTAINER_OF(t, cluster, health_task));
}

void cluster_host_failed(struct cluster *c, struct host *h)
{
    view_host_failed(c, h);
}

/* Discovery has dropped it, and now its checks fail as well. */
static bool is_gone_for_good(const struct host *h)
{
    uint32_t both = HOST_PENDING_REMOVAL | HOST_FAILED_ACTIVE_HC;
    return (atomic_load_explicit(&h->health, memory_order_relaxed) & both) == both;
}

void cluster_health_publish(struct cluster *c)
{
    turn_task_cancel(&c->health_task);
    struct host_set *now = cluster_hosts(c);
    struct host **hosts = now->count ? mem_alloc(now->count * sizeof(*hosts)) : NULL;
    uint32_t n = 0;
    for (uint32_t i = 0; i < now->count; i++)
        if (!is_gone_for_good(now->hosts[i]))
            hosts[n++] = host_ref(now->hosts[i]);
    if (n < now->count)
        stat_inc(c->stats, STAT_CLUSTER_MEMBERSHIP_CHANGE);
    publish(c, hosts, n, n < now->count);
    host_set_unref(&now);
}

/* A host that discovery no longer names but that passes its checks stays, until they fail (Envoy: "Health checking
 * and dynamic discovery"): discovery may be wrong. */
static bool stays_without_discovery(const struct cluster *c, const struct host *h)
{
    bool is_dynamic = c->spec->type == CLUSTER_STRICT_DNS || c->spec->type == CLUSTER_EDS;
    uint32_t health = atomic_load_explicit(&h->health, memory_order_relaxed);
    return is_dynamic && c->checker && !c->spec->ignore_health_on_removal && h->check &&
           !(health & (HOST_FAILED_ACTIVE_HC | HOST_FAILED_EDS));
}

static bool is_listed(struct host *const *hosts, uint32_t n, const struct host *h)
{
    for (uint32_t i = 0; i < n; i++)
        if (hosts[i] == h || addr_eq(&hosts[i]->addr, &h->addr))
            return true;
    return false;
}

/* Appends those of `old` that stay; how many there are now. */
static uint32_t keep_dropped(const struct cluster *c, const struct host_set *old, struct host **hosts, uint32_t count)
{
    uint32_t n = count;
    for (uint32_t i = 0; i < old->count; i++) {
        struct host *h = old->hosts[i];
        if (!stays_without_discovery(c, h) || is_listed(hosts, count, h))
            continue;
        atomic_fetch_or_explicit(&h->health, HOST_PENDING_REMOVAL, memory_order_relaxed);
        hosts[n++] = host_ref(h);
    }
    return n;
}

static void set_endpoints(struct cluster *c, const struct endpoint_spec *eps, uint32_t count, bool same_policy)
{
    struct host_set *old = cluster_hosts(c);
    struct map *members = old->count ? index_members(old) : NULL;
    struct host **hosts = count + old->count ? mem_alloc((count + old->count) * sizeof(*hosts)) : NULL;
    bool same = same_policy && c->generation > 0;
    for (uint32_t i = 0; i < count; i++) {
        char text[ADDR_TEXT_BYTES];
        addr_key(&eps[i].addr, text);
        struct host *h = members ? map_get(members, str_from(text)) : NULL;
        bool kept = h && is_same_member(c, h, &eps[i]) && health_host_fits(h->check, c->spec->check, &eps[i]);
        hosts[i] = kept ? host_ref(h) : cluster_make_member(c, &eps[i]);
        uint32_t health = atomic_load(&hosts[i]->health);
        uint32_t from_eds = HOST_FAILED_EDS | HOST_DEGRADED_EDS | HOST_EDS_DRAINING | HOST_PENDING_REMOVAL;
        same = same && kept && (health & from_eds) == eps[i].health;
        atomic_store(&hosts[i]->health, (health & ~from_eds) | eps[i].health);
    }
    map_free(&members);
    count = keep_dropped(c, old, hosts, count);
    same = same && count == old->count;
    if (same) {
        for (uint32_t i = 0; i < count; i++)
            host_unref(&hosts[i]);
        mem_free(hosts);
        stat_inc(c->stats, STAT_CLUSTER_UPDATE_NO_REBUILD);
    } else {
        stat_inc(c->stats, STAT_CLUSTER_MEMBERSHIP_CHANGE);
        publish(c, hosts, count, true);
    }
    host_set_unref(&old);
}

void cluster_set_endpoints(struct cluster *c, const struct endpoint_spec *eps, uint32_t count)
{
    set_endpoints(c, eps, count, true);
}

bool cluster_note_left_out(struct cluster *c, uint32_t count)
{
    if (stat_sum(c->stats, STAT_CLUSTER_MEMBERSHIP_UNSUPPORTED) == count)
        return false;
    stat_set(c->stats, STAT_CLUSTER_MEMBERSHIP_UNSUPPORTED, count);
    return true;
}

void cluster_set_assignment(struct cluster *c, const struct endpoint_spec *eps, uint32_t count, const struct load_policy *load)
{
    bool same = c->load.overprovisioning_pct == load->overprovisioning_pct &&
                c->load.weighted_priority_health == load->weighted_priority_health &&
                c->load.drop_per_million == load->drop_per_million;
    c->load = *load;
    set_endpoints(c, eps, count, same);
}

void cluster_set_members(struct cluster *c, struct host **take_hosts, uint32_t count)
{
    stat_inc(c->stats, STAT_CLUSTER_MEMBERSHIP_CHANGE);
    publish(c, take_hosts, count, true);
}

static void on_warm(void *arg)
{
    struct cluster *c = arg;
    if (c->on_ready)
        c->on_ready(c->on_ready_arg);
}

static void on_secrets(void *arg)
{
    struct cluster *c = arg;
    if (c->checker)
        health_when_known(c->checker, on_warm, c);
    else
        on_warm(c);
}

/* A cluster is warm once its first members are known, its secrets have come, and its members have been checked once (Envoy:
 * "Cluster warming"). */
static void on_members_known(void *arg)
{
    struct cluster *c = arg;
    warmth_free(&c->secrets);
    c->secrets = warmth_new(on_secrets, c);
    cluster_wait_for_secrets(c->spec, c->secrets);
    warmth_start(c->secrets);
}

void cluster_assigned(struct cluster *c)
{
    if (c->is_assigned)
        return;
    c->is_assigned = true;
    on_members_known(c);
}

/* client_side_weighted_round_robin: what hosts report becomes weights every weight_update_period. */
static const struct lb_policy_spec *orca_of(const struct lb_policy_spec *lb)
{
    while (lb && !lb->orca)
        lb = lb->child;
    return lb;
}

static void on_weigh(struct timer *t)
{
    struct cluster *c = CONTAINER_OF(t, cluster, weigh);
    const struct lb_policy_spec *lb = orca_of(c->spec->lb);
    struct host_set *now = cluster_hosts(c);
    if (lb_settle_weights(lb, now, loop_now_us(clusters_main_loop()) / 1000))
        cluster_health_changed(c);
    host_set_unref(&now);
    timer_set_ms(&c->weigh, lb->orca->update_ms);
}

static void start_weighing(struct cluster *c)
{
    const struct lb_policy_spec *lb = orca_of(c->spec->lb);
    if (!lb)
        return;
    timer_init(&c->weigh, clusters_main_loop(), on_weigh);
    timer_set_ms(&c->weigh, lb->orca->update_ms);
}

void cluster_start(struct cluster *c, void (*on_ready)(void *arg), void *arg)
{
    const struct cluster_spec *spec = c->spec;
    c->on_ready = on_ready;
    c->on_ready_arg = arg;
    if (c->outlier)
        outlier_start(c->outlier);
    start_weighing(c);
    switch (spec->type) {
    case CLUSTER_STRICT_DNS:
    case CLUSTER_LOGICAL_DNS:
        cluster_dns_start(c, on_members_known, c);
        return;
    case CLUSTER_EDS:
        assignment_start(c);
        return;
    case CLUSTER_STATIC:
        cluster_set_endpoints(c, spec->endpoints, spec->endpoint_count);
        break;
    case CLUSTER_FORWARD_PROXY:
        forward_proxy_start(c);
        break;
    case CLUSTER_ORIGINAL_DST:
    case CLUSTER_AGGREGATE:
        break;
    }
    on_members_known(c);
}

void cluster_stop(struct cluster *c)
{
    cluster_dns_stop(c);
    discovery_unsubscribe(&c->assignment);
    forward_proxy_stop(c);
    if (orca_of(c->spec->lb) && timer_is_set(&c->weigh))
        timer_clear(&c->weigh);
}

/* ---- choosing ---- */

struct host *view_choose(struct cluster_worker *cw, struct lb_context *ctx)
{
    struct cluster *c = cw->cluster;
    if (c->spec->type == CLUSTER_AGGREGATE)
        return aggregate_choose(cw, ctx);
    ctx->owner = cw;
    ctx->now_ms = loop_now_us(cw->loop) / 1000;
    ctx->stats = c->stats;
    ctx->cluster_active = cluster_breaker_used(c, PRIORITY_DEFAULT, BREAKER_REQUESTS) +
                          cluster_breaker_used(c, PRIORITY_HIGH, BREAKER_REQUESTS);
    struct host *h = host_set_choose(cw->hosts, ctx);
    ctx->priority = h ? h->priority : 0;
    return h;
}

static struct host *choose(struct cluster_worker *cw, struct lb_context *ctx)
{
    const struct lb_policy_spec *lb = cw->cluster->spec->lb;
    if (ctx->override_host.n) {
        struct host *h = lb_host_by_address(cw->hosts, ctx->override_host, lb->override_statuses);
        if (h)
            ctx->priority = h->priority;
        if (h || ctx->override_host_strict)
            return h;
    }
    struct host *ahead = cluster_predicted(cw, ctx);
    if (!ahead)
        return view_choose(cw, ctx);
    ctx->priority = ahead->priority;
    return ahead;
}

struct host *cluster_pick(struct cluster_worker *cw, struct lb_context *ctx)
{
    struct cluster *c = cw->cluster;
    struct host *h;
    ctx->owner = cw;
    ctx->priority = 0;
    if (c->spec->type == CLUSTER_ORIGINAL_DST) {
        h = original_dst_pick(cw, ctx);
    } else if (c->spec->type == CLUSTER_FORWARD_PROXY) {
        h = forward_proxy_pick(cw, ctx);
    } else {
        h = choose(cw, ctx);
        if (h)
            host_ref(h);
    }
    if (!h)
        stat_inc(c->stats, STAT_CLUSTER_UPSTREAM_CX_NONE_HEALTHY);
    return h;
}

bool cluster_drops(struct cluster_worker *cw, struct rng *rng)
{
    uint32_t drop = cw->hosts->drop_per_million;
    if (!drop || rng_below(rng, 1000000) >= drop)
        return false;
    stat_inc(cw->cluster->stats, STAT_CLUSTER_UPSTREAM_RQ_DROP_OVERLOAD); /* Envoy shows it in load reports only */
    return true;
}

uint32_t view_drop_per_million(const struct cluster_worker *cw)
{
    return cw->hosts->drop_per_million;
}

uint32_t cluster_drop_per_million(const struct cluster *c)
{
    struct host_set *s = cluster_hosts(c);
    uint32_t n = s->drop_per_million;
    host_set_unref(&s);
    return n;
}

/* ---- what came of it ---- */

void cluster_note_result(struct cluster *c, struct host *h, const struct host_report *report, uint64_t now_ms)
{
    const struct lb_policy_spec *lb = c->spec->lb;
    switch (report->result) {
    case HOST_CONNECTED:
        return;
    case HOST_CONNECTED_FINAL:
        host_note_attempt(h, false);
        return;
    case HOST_RESPONDED:
        if (report->status) /* 0: trailers only */
            host_note_attempt(h, report->status >= 500);
        lb = orca_of(lb);
        if (lb && report->response)
            lb_load_report(lb, h, report->response, now_ms);
        if (lb && report->trailers)
            lb_load_report(lb, h, report->trailers, now_ms);
        return;
    case HOST_CONNECT_FAILED:
    case HOST_CONNECT_TIMEOUT:
    case HOST_RESET:
    case HOST_TIMED_OUT:
        host_note_attempt(h, true);
        return;
    }
}
