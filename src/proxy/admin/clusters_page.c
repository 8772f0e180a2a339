/* SPDX-License-Identifier: Apache-2.0
 *
 * /clusters as text and JSON, Envoy's layout; clusters sorted by name. Main thread: it takes a
 * reference to each membership and reads the counters of hosts while workers count on.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "proxy/admin/admin_priv.h"
#include "proxy/admin/json_out.h"
#include "proxy/health/outlier.h"
#include "proxy/match/string_match.h"

static const char *const host_stat_names[HOST_STAT_COUNT] = {
#define X(id, name) [HOST_##id] = name,
    HOST_STATS(X)
#undef X
};

/* What each health bit is called, in the order Envoy writes them; json NULL: told by eds_health_status. */
static const struct health_flag {
    uint32_t bit;
    const char *text, *json;
} health_flags[] = {
    {HOST_FAILED_ACTIVE_HC, "/failed_active_hc", "failed_active_health_check"},
    {HOST_FAILED_OUTLIER, "/failed_outlier_check", "failed_outlier_check"},
    {HOST_FAILED_EDS, "/failed_eds_health", NULL},
    {HOST_DEGRADED_ACTIVE_HC, "/degraded_active_hc", "failed_active_degraded_check"},
    {HOST_DEGRADED_EDS, "/degraded_eds_health", NULL},
    {HOST_PENDING_REMOVAL, "/pending_dynamic_removal", "pending_dynamic_removal"},
    {HOST_PENDING_ACTIVE_HC, "/pending_active_hc", "pending_active_hc"},
    {HOST_EXCLUDED_IMMEDIATE_HC, "/excluded_via_immediate_hc_fail", "excluded_via_immediate_hc_fail"},
    {HOST_ACTIVE_HC_TIMEOUT, "/active_hc_timeout", "active_hc_timeout"},
    {HOST_EDS_DRAINING, "/eds_status_draining", NULL},
};
static const char *const priority_names[ROUTING_PRIORITIES] = {"default", "high"};

/* ---- which ones ---- */

static int by_name(const void *a, const void *b)
{
    return str_cmp(cluster_spec(*(struct cluster *const *)a)->name, cluster_spec(*(struct cluster *const *)b)->name);
}

static struct cluster **sorted_clusters(struct server *s, const struct regex *filter, size_t *count)
{
    struct cluster **all = mem_alloc((map_count(s->clusters) + 1) * sizeof(*all));
    struct str name, groups[REGEX_GROUPS_MAX];
    void *cluster;
    size_t at = 0, n = 0;
    while (map_next(s->clusters, &at, &name, &cluster))
        if (!filter || regex_search(filter, name, groups) > 0)
            all[n++] = cluster;
    qsort(all, n, sizeof(*all), by_name);
    *count = n;
    return all;
}

static struct str observability_name(const struct cluster_spec *spec)
{
    return spec->alt_stat_name.n ? spec->alt_stat_name : spec->name;
}

/* As shown: a draining host is not called failed besides. */
static uint32_t health_of(const struct host *h)
{
    uint32_t health = atomic_load_explicit(&h->health, memory_order_relaxed);
    return health & HOST_EDS_DRAINING ? health & ~(uint32_t)HOST_FAILED_EDS : health;
}

static uint32_t stat_of(const struct host *h, int stat)
{
    return atomic_load_explicit(&h->stats[stat], memory_order_relaxed);
}

/* ---- text ---- */

static void add_line(struct strbuf *b, struct str cluster, const char *middle, const char *key, struct str value)
{
    strbuf_adds(b, cluster);
    strbuf_addz(b, middle);
    strbuf_addz(b, key);
    strbuf_addz(b, "::");
    strbuf_adds(b, value);
    strbuf_addc(b, '\n');
}

static void add_number(struct strbuf *b, struct str cluster, const char *middle, const char *key, uint64_t value)
{
    char digits[20];
    add_line(b, cluster, middle, key, str_make(digits, u64_format(value, digits)));
}

/* The shortest digits that read back as the same number. */
static struct str number_text(double value, char text[32])
{
    int n = 0;
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(text, 32, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    return str_make(text, (size_t)n);
}

static double success_rate(const struct host *h, enum outlier_origin o)
{
    return h->outlier ? h->outlier->success_rate[o] : -1;
}

static void outlier_text(struct strbuf *b, const struct cluster *c)
{
    const struct outlier_detector *d = cluster_outlier(c);
    struct str name = cluster_spec(c)->name;
    char text[32];
    if (!d)
        return;
    add_line(b, name, "::outlier::", "success_rate_average", number_text(outlier_average(d, OUTLIER_EXTERNAL), text));
    add_line(b, name, "::outlier::", "success_rate_ejection_threshold", number_text(outlier_threshold(d, OUTLIER_EXTERNAL), text));
    add_line(b, name, "::outlier::", "local_origin_success_rate_average", number_text(outlier_average(d, OUTLIER_LOCAL), text));
    add_line(b, name, "::outlier::", "local_origin_success_rate_ejection_threshold",
             number_text(outlier_threshold(d, OUTLIER_LOCAL), text));
}

static void breakers_text(struct strbuf *b, const struct cluster_spec *spec)
{
    for (int p = 0; p < ROUTING_PRIORITIES; p++) {
        const struct circuit_thresholds *t = &spec->breakers->thresholds[p];
        char middle[32];
        snprintf(middle, sizeof(middle), "::%s_priority::", priority_names[p]);
        add_number(b, spec->name, middle, "max_connections", t->max_connections);
        add_number(b, spec->name, middle, "max_pending_requests", t->max_pending);
        add_number(b, spec->name, middle, "max_requests", t->max_requests);
        add_number(b, spec->name, middle, "max_retries", t->max_retries);
    }
}

static void add_health_flags(struct strbuf *b, uint32_t health)
{
    size_t before = b->n;
    for (size_t i = 0; i < ARRAY_LEN(health_flags); i++)
        if (health & health_flags[i].bit)
            strbuf_addz(b, health_flags[i].text);
    if (b->n == before)
        strbuf_addz(b, "healthy");
}

static void host_text(struct strbuf *b, struct str cluster, const struct host *h)
{
    static const struct locality nowhere;
    const struct locality *l = h->locality ? h->locality : &nowhere;
    char address[ADDR_TEXT_BYTES], middle[ADDR_TEXT_BYTES + 8], digits[32];
    struct strbuf flags = {0};
    snprintf(middle, sizeof(middle), "::%s::", addr_text(&h->addr, address));
    add_health_flags(&flags, health_of(h));
    for (int i = 0; i < HOST_STAT_COUNT; i++)
        add_number(b, cluster, middle, host_stat_names[i], stat_of(h, i));
    add_line(b, cluster, middle, "hostname", h->hostname);
    add_line(b, cluster, middle, "health_flags", strbuf_str(&flags));
    add_number(b, cluster, middle, "weight", h->weight);
    add_line(b, cluster, middle, "region", l->region);
    add_line(b, cluster, middle, "zone", l->zone);
    add_line(b, cluster, middle, "sub_zone", l->sub_zone);
    add_line(b, cluster, middle, "canary", h->is_canary ? STR("true") : STR("false"));
    add_number(b, cluster, middle, "priority", h->priority);
    add_line(b, cluster, middle, "success_rate", number_text(success_rate(h, OUTLIER_EXTERNAL), digits));
    add_line(b, cluster, middle, "local_origin_success_rate", number_text(success_rate(h, OUTLIER_LOCAL), digits));
    strbuf_fini(&flags);
}

static void cluster_text(struct strbuf *b, const struct cluster *c)
{
    const struct cluster_spec *spec = cluster_spec(c);
    struct host_set *set = cluster_hosts(c);
    add_line(b, spec->name, "::", "observability_name", observability_name(spec));
    outlier_text(b, c);
    breakers_text(b, spec);
    add_line(b, spec->name, "::", "added_via_api", STR("false"));
    if (stat_sum(cluster_stats(c), STAT_CLUSTER_MEMBERSHIP_UNSUPPORTED))
        add_number(b, spec->name, "::", "membership_unsupported", stat_sum(cluster_stats(c), STAT_CLUSTER_MEMBERSHIP_UNSUPPORTED));
    for (uint32_t i = 0; i < set->count; i++)
        host_text(b, spec->name, set->hosts[i]);
    host_set_unref(&set);
}

/* ---- JSON: fields at their defaults are left out ---- */

void admin_json_address(struct json_out *j, const char *key, const struct addr *a)
{
    char text[ADDR_TEXT_BYTES];
    bool ip = addr_is_ip(a);
    json_open(j, key, '{');
    json_open(j, ip ? "socket_address" : "pipe", '{');
    json_str(j, ip ? "address" : "path", str_from(ip ? addr_ip_text(a, text) : addr_text(a, text)));
    if (ip)
        json_uint(j, "port_value", addr_port(a));
    json_close(j, '}');
    json_close(j, '}');
}

static void host_stat_json(struct json_out *j, const struct host *h, int stat, bool gauge)
{
    json_open(j, NULL, '{');
    if (gauge)
        json_str(j, "type", STR("GAUGE"));
    if (stat_of(h, stat))
        json_uint64(j, "value", stat_of(h, stat));
    json_str(j, "name", str_from(host_stat_names[stat]));
    json_close(j, '}');
}

static bool is_gauge(int stat)
{
    return stat == HOST_CX_ACTIVE || stat == HOST_RQ_ACTIVE || stat == HOST_RQ_PENDING_ACTIVE;
}

static void host_stats_json(struct json_out *j, const struct host *h)
{
    json_open(j, "stats", '[');
    for (int gauges = 0; gauges < 2; gauges++)
        for (int i = 0; i < HOST_STAT_COUNT; i++)
            if (is_gauge(i) == (gauges == 1))
                host_stat_json(j, h, i, gauges);
    json_close(j, ']');
}

static struct str eds_status(uint32_t health)
{
    if (health & HOST_FAILED_EDS)
        return STR("UNHEALTHY");
    if (health & HOST_EDS_DRAINING)
        return STR("DRAINING");
    return health & HOST_DEGRADED_EDS ? STR("DEGRADED") : STR("HEALTHY");
}

static void locality_json(struct json_out *j, const struct locality *l)
{
    json_open(j, "locality", '{');
    if (l && l->region.n)
        json_str(j, "region", l->region);
    if (l && l->zone.n)
        json_str(j, "zone", l->zone);
    if (l && l->sub_zone.n)
        json_str(j, "sub_zone", l->sub_zone);
    json_close(j, '}');
}

/* A type.v3.Percent; left out where there is none. */
static void percent_json(struct json_out *j, const char *key, double value)
{
    char text[32];
    if (value < 0)
        return;
    json_open(j, key, '{');
    json_number(j, "value", number_text(value, text));
    json_close(j, '}');
}

static void host_json(struct json_out *j, const struct host *h)
{
    uint32_t health = health_of(h);
    json_open(j, NULL, '{');
    admin_json_address(j, "address", &h->addr);
    host_stats_json(j, h);
    json_open(j, "health_status", '{');
    for (size_t i = 0; i < ARRAY_LEN(health_flags); i++)
        if (health_flags[i].json && health & health_flags[i].bit)
            json_bool(j, health_flags[i].json, true);
    json_str(j, "eds_health_status", eds_status(health));
    json_close(j, '}');
    percent_json(j, "success_rate", success_rate(h, OUTLIER_EXTERNAL));
    json_uint(j, "weight", h->weight);
    if (h->hostname.n)
        json_str(j, "hostname", h->hostname);
    if (h->priority)
        json_uint(j, "priority", h->priority);
    percent_json(j, "local_origin_success_rate", success_rate(h, OUTLIER_LOCAL));
    locality_json(j, h->locality);
    json_close(j, '}');
}

static void breakers_json(struct json_out *j, const struct cluster_breakers_spec *breakers)
{
    json_open(j, "circuit_breakers", '{');
    json_open(j, "thresholds", '[');
    for (int p = 0; p < ROUTING_PRIORITIES; p++) {
        const struct circuit_thresholds *t = &breakers->thresholds[p];
        json_open(j, NULL, '{');
        if (p == PRIORITY_HIGH)
            json_str(j, "priority", STR("HIGH"));
        json_uint(j, "max_connections", t->max_connections);
        json_uint(j, "max_pending_requests", t->max_pending);
        json_uint(j, "max_requests", t->max_requests);
        json_uint(j, "max_retries", t->max_retries);
        json_close(j, '}');
    }
    json_close(j, ']');
    json_close(j, '}');
}

static void cluster_json(struct json_out *j, const struct cluster *c)
{
    const struct cluster_spec *spec = cluster_spec(c);
    struct host_set *set = cluster_hosts(c);
    json_open(j, NULL, '{');
    json_str(j, "name", spec->name);
    if (cluster_outlier(c))
        percent_json(j, "success_rate_ejection_threshold", outlier_threshold(cluster_outlier(c), OUTLIER_EXTERNAL));
    if (set->count) {
        json_open(j, "host_statuses", '[');
        for (uint32_t i = 0; i < set->count; i++)
            host_json(j, set->hosts[i]);
        json_close(j, ']');
    }
    if (cluster_outlier(c))
        percent_json(j, "local_origin_success_rate_ejection_threshold", outlier_threshold(cluster_outlier(c), OUTLIER_LOCAL));
    breakers_json(j, spec->breakers);
    json_str(j, "observability_name", observability_name(spec));
    json_close(j, '}');
    host_set_unref(&set);
}

void page_clusters(struct admin_request *rq)
{
    struct stats_selection sel;
    size_t n;
    if (!stats_selection_read(rq, &sel)) /* `filter` is read alike */
        return;
    struct cluster **all = sorted_clusters(rq->server, sel.filter, &n);
    if (admin_wants_json(rq)) {
        struct json_out j = {.b = &rq->body};
        json_open(&j, NULL, '{');
        if (n) {
            json_open(&j, "cluster_statuses", '[');
            for (size_t i = 0; i < n; i++)
                cluster_json(&j, all[i]);
            json_close(&j, ']');
        }
        json_close(&j, '}');
    } else {
        for (size_t i = 0; i < n; i++)
            cluster_text(&rq->body, all[i]);
    }
    mem_free(all);
    stats_selection_fini(&sel);
}
