/* SPDX-License-Identifier: Apache-2.0
 *
 * Health checks from others, of this proxy: answered here (by the admin's word, by how many members
 * of clusters are well), or passed to the service with its last answer kept for a while. Every answer
 * says whose it is; while the admin says "failed", other answers ask to be taken out at once (Envoy:
 * "Health check" HTTP filter). On the exchange's worker; the cache is shared, one relaxed word.
 */
#include "proxy/filter/health_check.h"

#include "proxy/cluster/cluster.h"
#include "proxy/server.h"
#include "proxy/trace/span.h"

struct state {
    bool is_check, handles;
};

/* ---- the cache ---- */

static uint64_t period(const struct http_filter *f, const struct health_filter_config *c)
{
    return loop_now_us(exchange_loop(f->x)) / c->cache_us + 1;
}

/* The answer kept in this period: its status and whether it was degraded. */
static bool cached(const struct http_filter *f, const struct health_filter_config *c, unsigned *status, bool *degraded)
{
    if (!c->cache_us)
        return false;
    uint64_t answer = atomic_load_explicit(&c->cache->answer, memory_order_relaxed);
    *status = (unsigned)(answer & 0xffff);
    *degraded = answer >> 16 & 1;
    return answer >> 17 == period(f, c);
}

static void keep(const struct http_filter *f, const struct health_filter_config *c, const struct headers *h)
{
    uint64_t status = 0, degraded = headers_has_id(h, HDR_ENVOY_DEGRADED);
    if (!c->cache_us || !str_to_u64(headers_get_id(h, HDR_STATUS), &status))
        return;
    atomic_store_explicit(&c->cache->answer, period(f, c) << 17 | degraded << 16 | (status & 0xffff), memory_order_relaxed);
}

/* ---- answering ---- */

static bool is_failed(void)
{
    const struct worker *w = worker_current();
    return w && atomic_load_explicit(&w->server->healthcheck_failed, memory_order_relaxed);
}

static void edit(struct headers *h, void *arg)
{
    if (*(const bool *)arg)
        headers_set_id_ref(h, HDR_ENVOY_DEGRADED, STR(""));
}

/* Why a cluster doesn't have what it needs; NULL: it does. */
static const char *shortage(const struct cluster_minimum *m)
{
    struct cluster *c = cluster_named(m->cluster);
    if (!c)
        return "health_check_no_cluster_found";
    struct stat_scope *s = cluster_stats(c);
    uint64_t total = stat_sum(s, STAT_CLUSTER_MEMBERSHIP_TOTAL);
    uint64_t well = stat_sum(s, STAT_CLUSTER_MEMBERSHIP_HEALTHY) + stat_sum(s, STAT_CLUSTER_MEMBERSHIP_DEGRADED);
    if (!total)
        return m->percent > 0 ? "health_check_cluster_empty" : NULL;
    return 100.0 * (double)well < (double)total * m->percent ? "health_check_cluster_unhealthy" : NULL;
}

static void answer(struct http_filter *f)
{
    const struct health_filter_config *c = f->config;
    unsigned status = 200;
    bool degraded = false;
    const char *details = "health_check_ok";
    if (is_failed()) {
        status = 503;
        details = "health_check_failed";
    } else if (cached(f, c, &status, &degraded)) {
        details = "health_check_cached";
    } else {
        status = 200;
        degraded = false;
        for (uint32_t i = 0; i < c->minimum_count && status == 200; i++) {
            const char *why = shortage(&c->minimums[i]);
            status = why ? 503 : 200;
            details = why ? why : "health_check_cluster_healthy";
        }
    }
    const struct outcome *o = status / 100 == 2 ? OUTCOME(LOCAL_HEALTH_CHECK) : OUTCOME(LOCAL_HEALTH_CHECK_FAILED);
    exchange_local_reply(f->x, o, status, STR_NULL, str_from(details), edit, &degraded);
}

/* ---- events ---- */

static bool is_check(const struct health_filter_config *c, const struct headers *h)
{
    for (uint32_t i = 0; i < c->header_count; i++)
        if (!header_matches(&c->headers[i], h))
            return false;
    return true;
}

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    const struct health_filter_config *c = f->config;
    struct state *s = f->state;
    unsigned status;
    bool degraded;
    if (!is_check(c, h))
        return FILTER_HEADERS_CONTINUE;
    s->is_check = true;
    exchange_info(f->x)->is_health_check = true;
    if (exchange_info(f->x)->span)
        exchange_info(f->x)->span->sampled = false;
    s->handles = !c->pass_through || is_failed() || cached(f, c, &status, &degraded);
    if (!s->handles)
        return FILTER_HEADERS_CONTINUE;
    if (end)
        answer(f);
    return FILTER_HEADERS_STOP;
}

static enum filter_data on_request_data(struct http_filter *f, struct buf *data, bool end)
{
    const struct state *s = f->state;
    if (!s->handles)
        return FILTER_DATA_CONTINUE;
    buf_drain(data, data->len);
    if (end)
        answer(f);
    return FILTER_DATA_STOP_NO_BUFFER;
}

static enum filter_trailers on_request_trailers(struct http_filter *f, struct headers *h)
{
    (void)h;
    const struct state *s = f->state;
    if (!s->handles)
        return FILTER_TRAILERS_CONTINUE;
    answer(f);
    return FILTER_TRAILERS_STOP;
}

static enum filter_headers on_response_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)end;
    const struct state *s = f->state;
    const struct worker *w = worker_current();
    if (s->is_check) {
        if (!s->handles)
            keep(f, f->config, h);
        if (w)
            headers_set(h, STR("x-envoy-upstream-healthchecked-cluster"), w->server->node.cluster);
    }
    if (is_failed())
        headers_set_id_ref(h, HDR_ENVOY_IMMEDIATE_HEALTH_FAIL, STR("true"));
    return FILTER_HEADERS_CONTINUE;
}

const struct http_filter_def health_check_filter = {
    .name = "envoy.filters.http.health_check",
    .state_bytes = sizeof(struct state),
    .on_request_headers = on_request_headers,
    .on_request_data = on_request_data,
    .on_request_trailers = on_request_trailers,
    .on_response_headers = on_response_headers,
};
