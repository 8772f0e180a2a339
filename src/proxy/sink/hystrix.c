/* SPDX-License-Identifier: Apache-2.0
 *
 * hystrix: each cluster as a Hystrix command with a pool of the same name, for dashboards that read
 * /hystrix_event_stream. Counts are of a rolling window of num_buckets flushes, kept whether somebody reads or not;
 * latencies are of the last flush's interval. Retries are attempts of their own; an attempt that timed out is counted as
 * such and not among the errors (504) too. All of Hystrix' fields are told: a dashboard leaves out entries without one.
 *
 * The proxy has no breaker by error rate, so none is ever open. Main thread.
 */
#include "proxy/sink/hystrix.h"

#include "base/map.h"
#include "base/mem.h"
#include "proxy/cluster/cluster.h"
#include "proxy/config/bootstrap.h"
#include "proxy/server.h"

enum { OF_SUCCESS, OF_ERRORS, OF_TIMEOUTS, OF_REJECTED, COUNTS };
struct tally { uint64_t counts[COUNTS], active; };
struct window {
    uint64_t turn;             /* the flush that last saw its cluster */
    uint32_t at, filled;
    struct tally tallies[];    /* totals at the last num_buckets + 1 flushes, a ring */
};

/* What a dashboard shows, by name. */
static const struct { const char *name; double q; } quantiles[] = {{"0", 0}, {"25", .25}, {"50", .5}, {"75", .75}, {"90", .9},
    {"95", .95}, {"99", .99}, {"99.5", .995}, {"100", 1}};
struct latency {
    uint64_t turn;
    double mean, at[ARRAY_LEN(quantiles)];
};

struct hystrix {
    struct stats_sink *sink;
    struct list readers;
    struct map *windows;       /* by cluster's name: struct window */
    struct map *latencies;     /* by the prefix of its statistics: struct latency */
    uint64_t turn;
    struct strbuf events;
};

/* ---- gathering ---- */

static void sample(struct stats_sink *sink, const struct stat_sample *s)
{
    struct hystrix *x = sink->state;
    static const struct str time = {"upstream_rq_time", 16};
    struct str prefix = s->scope->prefix;
    if (s->kind != STAT_HISTOGRAM || list_is_empty(&x->readers) || !s->interval || !s->interval->count ||
        !str_has_prefix(prefix, STR("cluster.")) || s->name.n != prefix.n + time.n ||
        !str_eq(str_make(s->name.p + prefix.n, time.n), time))
        return;
    struct latency *l = map_get(x->latencies, prefix);
    if (!l) {
        l = NEW(latency);
        map_set(x->latencies, prefix, l);
    }
    l->turn = x->turn;
    l->mean = s->interval->sum / (double)s->interval->count;
    for (size_t i = 0; i < ARRAY_LEN(quantiles); i++)
        l->at[i] = histogram_quantile(s->interval, quantiles[i].q);
}

static uint64_t sum_of(const struct cluster *c, uint32_t row, uint32_t retry_row)
{
    return stat_sum(cluster_stats(c), row) + stat_sum(cluster_stats(c), retry_row);
}

static struct tally tally_of(const struct cluster *c)
{
    const struct stat_scope *s = cluster_stats(c);
    uint64_t timeouts = stat_sum(s, STAT_CLUSTER_UPSTREAM_RQ_TIMEOUT);
    uint64_t errors = sum_of(c, STAT_CLUSTER_UPSTREAM_RQ_5XX, STAT_CLUSTER_RETRY_RQ_5XX) +
                      sum_of(c, STAT_CLUSTER_UPSTREAM_RQ_4XX, STAT_CLUSTER_RETRY_RQ_4XX);
    struct tally t = {.active = stat_sum(s, STAT_CLUSTER_UPSTREAM_RQ_ACTIVE)};
    t.counts[OF_SUCCESS] = sum_of(c, STAT_CLUSTER_UPSTREAM_RQ_2XX, STAT_CLUSTER_RETRY_RQ_2XX);
    t.counts[OF_ERRORS] = errors > timeouts ? errors - timeouts : 0;
    t.counts[OF_TIMEOUTS] = timeouts + stat_sum(s, STAT_CLUSTER_UPSTREAM_RQ_PER_TRY_TIMEOUT);
    t.counts[OF_REJECTED] = stat_sum(s, STAT_CLUSTER_UPSTREAM_RQ_PENDING_OVERFLOW);
    return t;
}

static struct window *roll(struct hystrix *x, const struct cluster *c)
{
    uint32_t n = x->sink->spec->buckets + 1;
    struct str name = cluster_spec(c)->name;
    struct window *w = map_get(x->windows, name);
    if (!w) {
        w = mem_zalloc(sizeof *w + n * sizeof w->tallies[0]);
        map_set(x->windows, name, w);
    }
    w->turn = x->turn;
    w->at = (w->at + 1) % n;
    w->filled += w->filled < n;
    w->tallies[w->at] = tally_of(c);
    return w;
}

/* What the window's flushes brought; the first ones that are known where they aren't as many yet. */
static struct tally rolled(const struct hystrix *x, const struct window *w)
{
    uint32_t n = x->sink->spec->buckets + 1, first = (w->at + n + 1 - w->filled) % n;
    struct tally out = {0};
    for (size_t i = 0; i < COUNTS; i++) {
        uint64_t now = w->tallies[w->at].counts[i], then = w->tallies[first].counts[i];
        out.counts[i] = now > then ? now - then : 0;
    }
    for (uint32_t i = 0; i < w->filled; i++) {
        uint64_t active = w->tallies[(first + i) % n].active;
        out.active = active > out.active ? active : out.active;
    }
    return out;
}

/* ---- telling ---- */

static void add_text(struct strbuf *b, const char *key, struct str value)
{
    strbuf_addf(b, ", \"%s\": \"", key);
    strbuf_add_json(b, value);
    strbuf_addc(b, '"');
}

static void add_number(struct strbuf *b, const char *key, uint64_t value)
{
    strbuf_addf(b, ", \"%s\": %llu", key, (unsigned long long)value);
}

static void add_zeros(struct strbuf *b, const char *const *keys, size_t n)
{
    for (size_t i = 0; i < n; i++)
        add_number(b, keys[i], 0);
}

static void add_latency(struct strbuf *b, const char *key, const struct latency *l)
{
    strbuf_addf(b, ", \"%s_mean\": %.0f, \"%s\": {", key, l->mean, key);
    for (size_t i = 0; i < ARRAY_LEN(quantiles); i++)
        strbuf_addf(b, "%s\"%s\": %f", i ? ", " : "", quantiles[i].name, l->at[i]);
    strbuf_addc(b, '}');
}

static void add_counts(struct strbuf *b, const struct tally *t, uint64_t active)
{
    static const char *const zeros[] = {
        "rollingCountCollapsedRequests", "rollingCountExceptionsThrown", "rollingCountFallbackEmit", "rollingCountFallbackFailure",
        "rollingCountFallbackMissing", "rollingCountFallbackRejection", "rollingCountFallbackSuccess",
        "rollingCountResponsesFromCache", "rollingCountShortCircuited", "rollingCountThreadPoolRejected",
        "rollingCountBadRequests", "rollingCountEmit"};
    const uint64_t *n = t->counts;
    uint64_t failed = n[OF_ERRORS] + n[OF_TIMEOUTS] + n[OF_REJECTED], total = failed + n[OF_SUCCESS];
    add_number(b, "errorPercentage", total ? 100 * failed / total : 0);
    add_number(b, "errorCount", n[OF_ERRORS]);
    add_number(b, "requestCount", total);
    add_number(b, "rollingCountFailure", n[OF_ERRORS]);
    add_number(b, "rollingCountSemaphoreRejected", n[OF_REJECTED]);
    add_number(b, "rollingCountSuccess", n[OF_SUCCESS]);
    add_number(b, "rollingCountTimeout", n[OF_TIMEOUTS]);
    add_zeros(b, zeros, ARRAY_LEN(zeros));
    add_number(b, "currentConcurrentExecutionCount", active);
    add_number(b, "rollingMaxConcurrentExecutionCount", t->active);
}

static void add_properties(struct strbuf *b, const struct cluster *c, uint64_t window_ms, uint32_t buckets)
{
    static const char *const zeros[] = {
        "propertyValue_circuitBreakerRequestVolumeThreshold", "propertyValue_circuitBreakerSleepWindowInMilliseconds",
        "propertyValue_circuitBreakerErrorThresholdPercentage", "propertyValue_executionIsolationThreadTimeoutInMilliseconds",
        "propertyValue_executionTimeoutInMilliseconds", "propertyValue_fallbackIsolationSemaphoreMaxConcurrentRequests",
        "propertyValue_metricsRollingPercentileBucketSize"};
    add_zeros(b, zeros, ARRAY_LEN(zeros));
    strbuf_addz(b, ", \"propertyValue_circuitBreakerForceOpen\": false, \"propertyValue_circuitBreakerForceClosed\": true"
                   ", \"propertyValue_circuitBreakerEnabled\": false, \"propertyValue_executionIsolationStrategy\": \"SEMAPHORE\""
                   ", \"propertyValue_executionIsolationThreadInterruptOnTimeout\": false"
                   ", \"propertyValue_executionIsolationThreadPoolKeyOverride\": null"
                   ", \"propertyValue_metricsRollingPercentileEnabled\": true, \"propertyValue_requestCacheEnabled\": false"
                   ", \"propertyValue_requestLogEnabled\": true");
    add_number(b, "propertyValue_executionIsolationSemaphoreMaxConcurrentRequests",
               cluster_spec(c)->breakers->thresholds[PRIORITY_DEFAULT].max_pending);
    add_number(b, "propertyValue_metricsRollingPercentileWindow", window_ms / buckets);
    add_number(b, "propertyValue_metricsRollingPercentileWindowBuckets", 1);
    add_number(b, "propertyValue_metricsRollingStatisticalWindowBuckets", buckets);
    add_number(b, "propertyValue_metricsRollingStatisticalWindowInMilliseconds", window_ms);
}

static void add_pool(struct strbuf *b, const struct cluster *c, uint64_t now_s, uint64_t hosts, uint64_t window_ms)
{
    static const char *const zeros[] = {
        "currentPoolSize", "rollingMaxActiveThreads", "currentActiveCount", "currentCompletedTaskCount", "currentLargestPoolSize",
        "currentCorePoolSize", "currentQueueSize", "currentTaskCount", "rollingCountThreadsExecuted", "currentMaximumPoolSize",
        "rollingCountCommandRejections"};
    strbuf_addz(b, "data: {\"type\": \"HystrixThreadPool\"");
    add_text(b, "name", cluster_spec(c)->name);
    add_number(b, "currentTime", now_s);
    add_zeros(b, zeros, ARRAY_LEN(zeros));
    add_number(b, "propertyValue_queueSizeRejectionThreshold",
               cluster_spec(c)->breakers->thresholds[PRIORITY_DEFAULT].max_pending);
    add_number(b, "propertyValue_metricsRollingStatisticalWindowInMilliseconds", window_ms);
    add_number(b, "reportingHosts", hosts);
    strbuf_addz(b, "}\n\n");
}

static void tell(struct hystrix *x, const struct cluster *c, const struct window *w)
{
    static const struct latency none;
    struct strbuf *b = &x->events;
    struct server *server = x->sink->server;
    uint64_t now_s = loop_wall_us(server->main_loop) / 1000000;
    uint64_t window_ms = x->sink->spec->buckets * server->opts.config->stats_flush_interval_ms;
    uint64_t hosts = stat_sum(cluster_stats(c), STAT_CLUSTER_MEMBERSHIP_TOTAL);
    const struct latency *l = map_get(x->latencies, cluster_stats(c)->prefix);
    if (!l || l->turn != x->turn)
        l = &none;
    struct tally t = rolled(x, w);
    strbuf_addz(b, "data: {\"type\": \"HystrixCommand\"");
    add_text(b, "name", cluster_spec(c)->name);
    strbuf_addz(b, ", \"group\": \"NA\"");
    add_number(b, "currentTime", now_s);
    strbuf_addz(b, ", \"isCircuitBreakerOpen\": false");
    add_counts(b, &t, w->tallies[w->at].active);
    add_latency(b, "latencyExecute", l);
    add_latency(b, "latencyTotal", l);
    add_properties(b, c, window_ms, x->sink->spec->buckets);
    add_number(b, "reportingHosts", hosts);
    add_text(b, "threadPool", cluster_spec(c)->name);
    strbuf_addz(b, "}\n\n");
    add_pool(b, c, now_s, hosts, window_ms);
}

/* ---- the sink ---- */

static void forget_gone(struct hystrix *x)
{
    struct str name;
    void *value;
    for (size_t at = 0; map_next(x->windows, &at, &name, &value);) {
        struct window *w = value;
        if (w->turn == x->turn)
            continue;
        map_del(x->windows, name);
        mem_free(w);
        at = 0;
    }
}

static void broadcast(struct hystrix *x)
{
    strbuf_addz(&x->events, ":\n\n"); /* the ping */
    LIST_EACH(it, safe, &x->readers) {
        struct hystrix_reader *r = LIST_ENTRY(it, hystrix_reader, node);
        r->on_events(r, strbuf_str(&x->events));
    }
}

static void flushed(struct stats_sink *sink)
{
    struct hystrix *x = sink->state;
    bool has_readers = !list_is_empty(&x->readers);
    size_t at = 0;
    struct str name;
    void *c;
    while (map_next(sink->server->clusters, &at, &name, &c)) {
        const struct window *w = roll(x, c);
        if (has_readers)
            tell(x, c, w);
    }
    forget_gone(x);
    if (has_readers)
        broadcast(x);
    strbuf_fini(&x->events);
    x->turn++;
}

void hystrix_subscribe(struct stats_sink *s, struct hystrix_reader *keep_reader)
{
    struct hystrix *x = s->state;
    list_push_back(&x->readers, &keep_reader->node);
}

void hystrix_unsubscribe(struct hystrix_reader *r)
{
    list_remove(&r->node);
}

static int start(struct stats_sink *sink, struct server *server, struct err *err)
{
    (void)server, (void)err;
    struct hystrix *x = NEW(hystrix);
    x->sink = sink;
    x->turn = 1;
    list_init(&x->readers);
    x->windows = map_new();
    x->latencies = map_new();
    sink->state = x;
    return 0;
}

static void free_values(struct map *m)
{
    struct str name;
    void *value;
    for (size_t at = 0; map_next(m, &at, &name, &value);)
        mem_free(value);
}

static void stop(struct stats_sink *sink)
{
    struct hystrix *x = sink->state;
    while (!list_is_empty(&x->readers))
        list_remove(x->readers.next);
    free_values(x->windows);
    free_values(x->latencies);
    map_free(&x->windows);
    map_free(&x->latencies);
    strbuf_fini(&x->events);
    mem_free(x);
}

const struct stats_sink_def hystrix_sink = {"envoy.stat_sinks.hystrix", start, sample, flushed, stop, NULL};
