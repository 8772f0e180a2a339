/* SPDX-License-Identifier: Apache-2.0
 *
 * The cluster as it stands now: priorities, breakers, endpoints with their health. Numbers are read while workers count on:
 * each is right, together they are about right. Nothing is drawn: a look takes no endpoint's turn. Main thread.
 */
#include "proxy/explain/explain_priv.h"
#include "proxy/health/outlier.h"

static const struct { uint32_t bit; const char *text; } health_words[] = {
    {HOST_FAILED_ACTIVE_HC, "failed active health check"},
    {HOST_ACTIVE_HC_TIMEOUT, "the check timed out"},
    {HOST_FAILED_OUTLIER, "ejected by outlier detection"},
    {HOST_FAILED_EDS, "unhealthy by configuration"},
    {HOST_DEGRADED_ACTIVE_HC, "degraded by its health check"},
    {HOST_DEGRADED_EDS, "degraded by configuration"},
    {HOST_PENDING_REMOVAL, "pending removal"},
    {HOST_PENDING_ACTIVE_HC, "not checked yet"},
    {HOST_EXCLUDED_IMMEDIATE_HC, "excluded by an answer's x-envoy-immediate-health-check-fail"},
    {HOST_EDS_DRAINING, "draining by configuration"},
};

static struct str health_text(struct explain_report *r, uint32_t health)
{
    struct strbuf b = {0};
    for (size_t i = 0; i < sizeof(health_words) / sizeof(health_words[0]); i++)
        if (health & health_words[i].bit)
            strbuf_addf(&b, "%s%s", b.n ? ", " : "", health_words[i].text);
    if (!b.n)
        strbuf_addz(&b, "healthy");
    return explain_take(r, &b);
}

static struct str ejection_text(struct explain_report *r, const struct host *h, uint32_t health)
{
    static const char *const kinds[OUTLIER_KINDS] = {
        [OUTLIER_KIND_5XX] = "consecutive 5xx", [OUTLIER_KIND_GATEWAY] = "consecutive gateway errors",
        [OUTLIER_KIND_SUCCESS_RATE] = "success rate", [OUTLIER_KIND_LOCAL] = "consecutive local failures",
        [OUTLIER_KIND_SUCCESS_RATE_LOCAL] = "local success rate", [OUTLIER_KIND_FAILURES] = "failure percentage",
        [OUTLIER_KIND_FAILURES_LOCAL] = "local failure percentage",
    };
    if (!(health & HOST_FAILED_OUTLIER) || !h->outlier)
        return STR_NULL;
    uint64_t now = loop_now_us(r->server->main_loop), since = h->outlier->ejected_at_us;
    return arena_printf(r->arena, "%s, %llu s ago, for the %u. time", kinds[h->outlier->kind],
                        (unsigned long long)(since && now > since ? (now - since) / 1000000 : 0), h->outlier->ejections);
}

static struct str locality_text(struct explain_report *r, const struct locality *l)
{
    if (!l || !(l->region.n + l->zone.n + l->sub_zone.n))
        return STR_NULL;
    return arena_printf(r->arena, "%.*s/%.*s/%.*s", STR_ARG(l->region), STR_ARG(l->zone), STR_ARG(l->sub_zone));
}

static uint32_t stat_of(const struct host *h, enum host_stat s)
{
    return atomic_load_explicit(&h->stats[s], memory_order_relaxed);
}

/* Of a priority that gets traffic: the healthy, the degraded where they have a share, all in panic. */
static bool stands_by(const struct host_set *set, const struct host *h)
{
    if (h->priority >= set->priority_count)
        return false;
    const struct host_priority *p = &set->priorities[h->priority];
    if (!(p->healthy_load + p->degraded_load))
        return false;
    if (p->panic)
        return !set->lb->fail_on_panic;
    enum host_class c = host_class(h);
    return c == HOST_IS_HEALTHY ? p->healthy_load > 0 : c == HOST_IS_DEGRADED && p->degraded_load > 0;
}

static void look_at_host(struct explain_report *r, struct explain_cluster *c, const struct host_set *set, const struct host *h)
{
    bool ready = stands_by(set, h);
    c->stand_by += ready;
    if (!c->hosts || c->host_count == EXPLAIN_HOSTS_MAX) {
        c->hosts_left_out++;
        return;
    }
    char text[ADDR_TEXT_BYTES];
    uint32_t health = atomic_load_explicit(&h->health, memory_order_relaxed);
    c->hosts[c->host_count++] = (struct explain_host){
        .address = arena_str(r->arena, str_from(addr_text(&h->addr, text))),
        .hostname = arena_str(r->arena, h->hostname),
        .health = health_text(r, health),
        .locality = locality_text(r, h->locality),
        .ejection = ejection_text(r, h, health),
        .stands_by = ready,
        .is_tls = h->transport && h->transport->tls,
        .weight = h->weight,
        .priority = h->priority,
        .active = stat_of(h, HOST_RQ_ACTIVE),
        .connections = stat_of(h, HOST_CX_ACTIVE),
        .successes = stat_of(h, HOST_RQ_SUCCESS),
        .errors = stat_of(h, HOST_RQ_ERROR),
    };
}

static void look_at_members(struct explain_report *r, struct explain_cluster *c, const struct cluster *cluster)
{
    struct host_set *set = cluster_hosts(cluster);
    c->total = set->count;
    uint32_t shown = set->count < EXPLAIN_HOSTS_MAX ? set->count : EXPLAIN_HOSTS_MAX;
    c->hosts = arena_zalloc(r->arena, (shown + 1) * sizeof(*c->hosts));
    c->priorities = arena_zalloc(r->arena, set->priority_count * sizeof(*c->priorities));
    for (uint32_t i = 0; c->priorities && i < set->priority_count && i < EXPLAIN_LIST_MAX; i++) {
        const struct host_priority *p = &set->priorities[i];
        c->priorities[c->priority_count++] = (struct explain_priority){
            p->all.count, p->healthy.count, p->degraded.count, p->excluded, p->healthy_load + p->degraded_load, p->panic};
    }
    for (uint32_t i = 0; i < set->count; i++)
        look_at_host(r, c, set, set->hosts[i]);
    host_set_unref(&set);
}

static void look_at_breakers(struct explain_cluster *c, const struct cluster *cluster)
{
    const struct cluster_spec *spec = cluster_spec(cluster);
    for (unsigned p = 0; p < ROUTING_PRIORITIES; p++) {
        const struct circuit_thresholds *t = &spec->breakers->thresholds[p];
        const struct explain_breaker all[EXPLAIN_BREAKERS] = {
            {"max_connections", cluster_breaker_used(cluster, p, BREAKER_CONNECTIONS), t->max_connections},
            {"max_pending_requests", cluster_breaker_used(cluster, p, BREAKER_PENDING), t->max_pending},
            {"max_requests", cluster_breaker_used(cluster, p, BREAKER_REQUESTS), t->max_requests},
            {"max_retries", cluster_breaker_used(cluster, p, BREAKER_RETRIES), t->max_retries},
            {"max_connection_pools", cluster_breaker_used(cluster, p, BREAKER_POOLS), t->max_pools},
        };
        memcpy(c->breakers[p], all, sizeof(all));
    }
}

static void say_facts(struct explain_report *r, struct explain_cluster *c, const struct cluster_spec *spec, uint32_t drop)
{
    static const char *const protocols[] = {"HTTP/1.1", "HTTP/2"};
    struct explain_list *l = &c->facts;
    explain_object(r, l, spec->metadata);
    explain_note(r, l, STR("protocol"), "%s", spec->http->use_downstream_protocol ? "as downstream"
                                              : spec->http->alpn ? "by ALPN" : protocols[spec->http->protocol == HTTP_2]);
    explain_note(r, l, STR("transport"), "%s%s", spec->transport->tls ? "tls" : "raw",
                 spec->transport_match_count ? " where the endpoint's metadata asks for no other" : "");
    if (spec->transport->sni.n)
        explain_note(r, l, STR("sni"), "%.*s", STR_ARG(spec->transport->sni));
    explain_note(r, l, STR("connect_timeout"), "%llu ms", (unsigned long long)(spec->connection->connect_timeout_us / 1000));
    explain_note(r, l, STR("panic_threshold"), "%u %%", spec->lb->panic_pct);
    if (spec->check)
        explain_note(r, l, STR("health_checks"), "active");
    if (spec->outlier)
        explain_note(r, l, STR("outlier_detection"), "on");
    if (drop)
        explain_note(r, l, STR("drop_overload"), "%u of 1000000 requests", drop);
}

void explain_endpoints(struct explain_report *r)
{
    static const char *const types[] = {
        [CLUSTER_STATIC] = "STATIC", [CLUSTER_STRICT_DNS] = "STRICT_DNS", [CLUSTER_LOGICAL_DNS] = "LOGICAL_DNS",
        [CLUSTER_EDS] = "EDS", [CLUSTER_ORIGINAL_DST] = "ORIGINAL_DST",
    };
    const struct cluster *cluster = r->decision->cluster;
    struct explain_cluster *c = cluster ? arena_zalloc(r->arena, sizeof(*c)) : NULL;
    if (!c)
        return;
    const struct cluster_spec *spec = cluster_spec(cluster);
    c->name = spec->name;
    c->type = (size_t)spec->type < sizeof(types) / sizeof(types[0]) && types[spec->type] ? types[spec->type] : "extension";
    c->policy = spec->lb->policy->name;
    c->child = spec->lb->child ? spec->lb->child->policy->name : NULL;
    c->is_open_ended = spec->type >= CLUSTER_ORIGINAL_DST || spec->lb->policy->choose;
    look_at_members(r, c, cluster);
    look_at_breakers(c, cluster);
    say_facts(r, c, spec, cluster_drop_per_million(cluster));
    r->cluster = c;
}
