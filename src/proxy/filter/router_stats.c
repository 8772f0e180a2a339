/* SPDX-License-Identifier: Apache-2.0
 *
 * What the router counts of answers: by code and class for the cluster (all, internal or external, canary, between
 * zones), the virtual cluster and the route; how long they took; and what of it the balancer and outlier detection
 * hear (Envoy: cluster statistics "dynamic", "alternate tree", "per service zone"; router filter's dynamic_stats).
 */
#include "proxy/filter/router_priv.h"
#include "proxy/route/route_stats.h"

/* ---- which counters are this request's ---- */

static bool vcluster_fits(const struct virtual_cluster *v, const struct headers *h)
{
    for (uint32_t i = 0; i < v->header_count; i++)
        if (!header_matches(&v->headers[i], h))
            return false;
    return true;
}

static void find_vcluster(struct router *r, const struct headers *h)
{
    const struct virtual_host *v = r->decision->vhost;
    if (!v || !v->virtual_cluster_count)
        return;
    r->vcluster_stats = v->other_stats;
    for (uint32_t i = 0; i < v->virtual_cluster_count; i++) {
        if (vcluster_fits(&v->virtual_clusters[i], h)) {
            r->vcluster = &v->virtual_clusters[i];
            r->vcluster_stats = r->vcluster->stats;
            exchange_info(r->x)->virtual_cluster = r->vcluster->name;
            break;
        }
    }
}

void stats_settle(struct router *r, struct headers *h)
{
    r->no_http_code_stats = r->is_grpc && r->config->suppress_grpc_stats;
    find_vcluster(r, h);
    if (r->rare_headers) {
        struct str name = headers_get(h, STR("x-envoy-upstream-alt-stat-name"));
        if (name.n) {
            r->alt_stat_name = arena_str(exchange_arena(r->x), name);
            headers_remove(h, STR("x-envoy-upstream-alt-stat-name"));
        }
    }
}

void stats_row(struct router *r, uint32_t route_row)
{
    if (r->vcluster_stats)
        stat_inc(r->vcluster_stats, route_row);
    if (r->route->stats)
        stat_inc(r->route->stats, route_row);
}

/* ---- codes ---- */

/* Rows "completed, 1xx … 5xx" stand one after the other, in every table. */
static void count_code(struct stat_scope *s, uint32_t completed_row, const char *family, unsigned status)
{
    stat_inc(s, completed_row);
    if (status >= 100 && status < 600)
        stat_inc(s, completed_row + status / 100);
    stat_code(s, family, status);
}

bool stats_host_is_canary(const struct host *h)
{
    static const struct str key = {"canary", 6};
    const struct meta_value *v = h && h->metadata ? metadata_find(h->metadata, STR("envoy.lb"), &key, 1) : NULL;
    return v && v->kind == META_BOOL && v->u.boolean;
}

/* On every answer's road: one look over the names, no search by text. */
bool stats_answer_is_canary(const struct headers *response, const struct host *h)
{
    for (uint32_t i = 0; i < response->count; i++)
        if (response->items[i].id == HDR_OTHER && str_eq(response->items[i].name, STR("x-envoy-upstream-canary")))
            return str_eq(response->items[i].value, STR("true")) || stats_host_is_canary(h);
    return stats_host_is_canary(h);
}

void stats_code(struct router *r, unsigned status, bool is_canary, const struct host *h)
{
    struct stat_scope *s = cluster_stats(r->cluster);
    if (h && status >= 500)
        host_stat_add((struct host *)(uintptr_t)h, HOST_RQ_ERROR, 1);
    if (!r->config->dynamic_stats || exchange_info(r->x)->is_health_check)
        return;
    if (r->no_http_code_stats)
        stat_inc(s, STAT_CLUSTER_UPSTREAM_RQ_COMPLETED);
    else
        count_code(s, STAT_CLUSTER_UPSTREAM_RQ_COMPLETED, "upstream_rq", status);
    if (router_is_internal(r))
        count_code(s, STAT_CLUSTER_INTERNAL_RQ_COMPLETED, "internal.upstream_rq", status);
    else
        count_code(s, STAT_CLUSTER_EXTERNAL_RQ_COMPLETED, "external.upstream_rq", status);
    if (is_canary)
        count_code(s, STAT_CLUSTER_CANARY_RQ_COMPLETED, "canary.upstream_rq", status);
    struct stat_scope *zone = cluster_zone_stats(r->cluster, h);
    if (zone)
        count_code(zone, STAT_ZONE_RQ_COMPLETED, "upstream_rq", status);
    if (r->vcluster_stats)
        count_code(r->vcluster_stats, STAT_ROUTE_RQ_COMPLETED, "upstream_rq", status);
    if (r->route->stats)
        count_code(r->route->stats, STAT_ROUTE_RQ_COMPLETED, "upstream_rq", status);
}

/* An answer that is tried again isn't the request's: it counts apart. */
void stats_retried(struct router *r, unsigned status)
{
    count_code(cluster_stats(r->cluster), STAT_CLUSTER_RETRY_RQ_COMPLETED, "retry.upstream_rq", status);
}

/* ---- track_cluster_stats ---- */

static uint64_t percent_of(uint64_t us, uint64_t timeout_ms) /* of no timeout: nothing */
{
    return timeout_ms ? us / 1000 * 100 / timeout_ms : 0;
}

static void record_headers(struct stat_scope *s, enum cluster_size_stat size_row, const struct headers *h)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < h->count; i++)
        bytes += h->items[i].name.n + h->items[i].value.n;
    stat_record(s, size_row, bytes);
    stat_record(s, size_row + 1, h->count);
}

void stats_track_answer(const struct upstream_try *t, const struct headers *h)
{
    struct stat_scope *sizes = cluster_size_stats(t->router->cluster);
    if (sizes)
        record_headers(sizes, STAT_SIZE_RS_HEADERS, h);
}

void stats_track_attempt(const struct upstream_try *t, const struct http_stream *s)
{
    const struct router *r = t->router;
    struct stat_scope *budgets = cluster_budget_stats(r->cluster), *sizes = cluster_size_stats(r->cluster);
    if (budgets)
        stat_record(budgets, STAT_BUDGET_PER_TRY_USED, percent_of(loop_now_us(exchange_loop(r->x)) - t->start_us, r->per_try_ms));
    if (!sizes)
        return;
    record_headers(sizes, STAT_SIZE_RQ_HEADERS, exchange_request_headers(r->x));
    stat_record(sizes, STAT_SIZE_RQ_BODY, s ? s->bytes_sent : 0);
    stat_record(sizes, STAT_SIZE_RS_BODY, s ? s->bytes_received : 0);
}

void stats_time(struct router *r, const struct upstream_try *t)
{
    struct stat_scope *budgets = cluster_budget_stats(r->cluster);
    if (budgets)
        stat_record(budgets, STAT_BUDGET_USED,
                    percent_of(loop_now_us(exchange_loop(r->x)) - exchange_info(r->x)->request_end_us, r->timeout_ms));
    struct stat_scope *s = cluster_stats(r->cluster);
    const struct stream_info *info = exchange_info(r->x);
    if (!r->config->dynamic_stats || info->is_health_check || !info->request_end_us)
        return;
    uint64_t us = loop_now_us(exchange_loop(r->x)) - info->request_end_us, ms = us / 1000;
    if (t->host)
        host_note_time(t->host, us);
    stat_record(s, STAT_CLUSTER_UPSTREAM_RQ_TIME, ms);
    stat_record(s, router_is_internal(r) ? STAT_CLUSTER_INTERNAL_RQ_TIME : STAT_CLUSTER_EXTERNAL_RQ_TIME, ms);
    if (t->is_canary)
        stat_record(s, STAT_CLUSTER_CANARY_RQ_TIME, ms);
    struct stat_scope *zone = cluster_zone_stats(r->cluster, t->host);
    if (zone)
        stat_record(zone, STAT_ZONE_RQ_TIME, ms);
    if (r->vcluster_stats)
        stat_record(r->vcluster_stats, STAT_ROUTE_RQ_TIME, ms);
    if (r->route->stats)
        stat_record(r->route->stats, STAT_ROUTE_RQ_TIME, ms);
}

/* ---- what the balancer hears ---- */

void stats_report(struct router *r, struct upstream_try *t, enum host_result result, unsigned status, const struct headers *h)
{
    if (!t->host)
        return;
    uint64_t now = loop_now_us(exchange_loop(r->x));
    struct host_report report = {
        .result = result,
        .status = status,
        .duration_us = t->first_tx_us ? now - t->first_tx_us : 0,
        .response = h,
    };
    cluster_report(t->view, t->host, &report);
}

void stats_report_trailers(struct upstream_try *t, const struct headers *trailers)
{
    struct host_report report = {.result = HOST_RESPONDED, .trailers = trailers};
    if (t->host)
        cluster_report(t->view, t->host, &report);
}
