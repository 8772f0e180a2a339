/* SPDX-License-Identifier: Apache-2.0
 *
 * The load reporting service's client. The server says of which clusters it wants to hear and how often; each report tells what
 * happened since the last, by locality and priority, and by endpoint where that is asked for. What happened before a cluster was
 * asked for isn't told. A stream that ends is opened again with back-off, and asks anew what is wanted. Main thread.
 */
#include "proxy/discovery/lrs.h"

#include <stdio.h>

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "proto/wire.h"
#include "proxy/cluster/cluster.h"
#include "proxy/discovery/discovery.h"
#include "proxy/server.h"
#include "proxy/service/grpc_call.h"
#include "proxy/stats/stats.h"

#define BACKOFF_BASE_MS 500u
#define BACKOFF_MAX_MS 30000u
#define TIME_METRIC "weft.upstream_rq_time_ms" /* weftd's graph shows a mean of it; LRS itself has no times */
#define CLUSTERS_MAX 100000u /* names of one response */

#define LRS_STATS(X)                                                                               \
    X(LRS_REQUESTS, COUNTER, NONE, "requests", "Reports sent")                                     \
    X(LRS_RESPONSES, COUNTER, NONE, "responses", "Responses received")                             \
    X(LRS_ERRORS, COUNTER, NONE, "errors", "Streams that failed")                                  \
    X(LRS_RETRIES, COUNTER, NONE, "retries", "Streams opened again")
enum { LRS_STATS(STAT_ENUM_ROW) };
static const struct stat_desc rows[] = {LRS_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

/* A host as it was at the last report. */
struct seen {
    uint64_t turn;
    uint32_t success, error, total, timed;
    uint64_t time_us;
};
struct reported { /* a cluster */
    struct map *hosts; /* "<priority> <address>" -> seen */
    uint64_t since_us, turn;
};
struct lrs {
    struct server *server;
    const struct config_source *source;
    struct str node;
    struct stat_scope *stats;
    struct grpc_call *call;
    struct timer again, report;
    uint64_t wait_ms, interval_us;
    struct map *clusters; /* name -> reported */
    bool sends_all, by_endpoint;
};
/* One locality of a report, or one endpoint. */
struct load {
    const struct locality *locality;
    uint32_t priority;
    uint64_t success, error, total, active, timed, time_us;
    struct strbuf endpoints;
};

/* ---- what happened ---- */

static void reported_free(struct reported *r)
{
    struct str key;
    void *value;
    for (size_t pos = 0; map_next(r->hosts, &pos, &key, &value);)
        mem_free(value);
    map_free(&r->hosts);
    mem_free(r);
}

static struct seen *seen_of(struct reported *r, const struct host *h)
{
    char address[ADDR_TEXT_BYTES], key[ADDR_TEXT_BYTES + 16];
    struct str k = str_make(key, (size_t)snprintf(key, sizeof key, "%u %s", h->priority, addr_text(&h->addr, address)));
    struct seen *s = map_get(r->hosts, k);
    if (!s) {
        s = NEW(seen);
        map_set(r->hosts, k, s);
    }
    s->turn = r->turn;
    return s;
}

static uint32_t now(const struct host *h, enum host_stat which)
{
    return atomic_load_explicit(&h->stats[which], memory_order_relaxed);
}

/* The difference to the last report, which becomes this one. A host that is new began at 0. */
static struct load latch(struct reported *r, const struct host *h)
{
    struct seen *s = seen_of(r, h);
    uint32_t success = now(h, HOST_RQ_SUCCESS), error = now(h, HOST_RQ_ERROR), total = now(h, HOST_RQ_TOTAL);
    uint32_t timed = atomic_load_explicit(&h->timed, memory_order_relaxed);
    uint64_t time_us = atomic_load_explicit(&h->time_us, memory_order_relaxed);
    if (total < s->total || success < s->success || error < s->error || timed < s->timed || time_us < s->time_us)
        *s = (struct seen){.turn = s->turn}; /* another host of this address */
    struct load l = {.locality = h->locality, .priority = h->priority, .success = success - s->success, .error = error - s->error,
                     .total = total - s->total, .active = now(h, HOST_RQ_ACTIVE),
                     .timed = timed - s->timed, .time_us = time_us - s->time_us};
    *s = (struct seen){r->turn, success, error, total, timed, time_us};
    return l;
}

static void forget_gone(struct reported *r)
{
    struct str key;
    void *value;
    for (size_t pos = 0; map_next(r->hosts, &pos, &key, &value);) {
        if (((const struct seen *)value)->turn == r->turn)
            continue;
        mem_free(map_del(r->hosts, key));
        pos = 0;
    }
}

/* ---- a report ---- */

static void add_text(struct strbuf *out, unsigned field, struct str text)
{
    if (text.n)
        wire_bytes(out, field, text.p, text.n);
}

static void add_count(struct strbuf *out, unsigned field, uint64_t n)
{
    if (n)
        wire_uint(out, field, n);
}

static void add_duration(struct strbuf *out, unsigned field, uint64_t us)
{
    size_t duration = wire_open(out, field);
    add_count(out, 1, us / 1000000);
    add_count(out, 2, us % 1000000 * 1000);
    wire_close(out, duration);
}

/* endpoint.v3.UpstreamEndpointStats */
static void add_endpoint(struct strbuf *out, const struct host *h, const struct load *l)
{
    char ip[ADDR_TEXT_BYTES];
    size_t endpoint = wire_open(out, 7), address = wire_open(out, 1), socket = wire_open(out, 1);
    add_text(out, 2, str_from(addr_ip_text(&h->addr, ip)));
    add_count(out, 3, addr_port(&h->addr));
    wire_close(out, socket);
    wire_close(out, address);
    add_count(out, 2, l->success);
    add_count(out, 3, l->active);
    add_count(out, 4, l->error);
    add_count(out, 7, l->total);
    wire_close(out, endpoint);
}

/* endpoint.v3.EndpointLoadMetricStats */
static void add_times(struct strbuf *out, const struct load *l)
{
    if (!l->timed)
        return;
    size_t metric = wire_open(out, 5);
    add_text(out, 1, STR(TIME_METRIC));
    add_count(out, 2, l->timed);
    wire_double(out, 3, (double)l->time_us / 1000);
    wire_close(out, metric);
}

/* endpoint.v3.UpstreamLocalityStats */
static void add_locality(struct strbuf *out, const struct load *l)
{
    size_t stats = wire_open(out, 2), locality = wire_open(out, 1);
    if (l->locality) {
        add_text(out, 1, l->locality->region);
        add_text(out, 2, l->locality->zone);
        add_text(out, 3, l->locality->sub_zone);
    }
    wire_close(out, locality);
    add_count(out, 2, l->success);
    add_count(out, 3, l->active);
    add_count(out, 4, l->error);
    add_times(out, l);
    add_count(out, 6, l->priority);
    strbuf_adds(out, strbuf_str(&l->endpoints));
    add_count(out, 8, l->total);
    wire_close(out, stats);
}

static struct load *load_of(struct load **loads, size_t *count, size_t *cap, const struct host *h)
{
    for (size_t i = 0; i < *count; i++)
        if ((*loads)[i].locality == h->locality && (*loads)[i].priority == h->priority)
            return &(*loads)[i];
    *loads = mem_grow(*loads, cap, *count + 1, sizeof **loads);
    (*loads)[*count] = (struct load){.locality = h->locality, .priority = h->priority};
    return &(*loads)[(*count)++];
}

static void add_hosts(const struct lrs *l, struct reported *r, const struct host_set *set, struct strbuf *out)
{
    struct load *loads = NULL;
    size_t count = 0, cap = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        const struct host *h = set->hosts[i];
        struct load one = latch(r, h), *sum = load_of(&loads, &count, &cap, h);
        if (l->by_endpoint && (one.success || one.error || one.active || one.total))
            add_endpoint(&sum->endpoints, h, &one);
        sum->success += one.success;
        sum->error += one.error;
        sum->active += one.active;
        sum->total += one.total;
        sum->timed += one.timed;
        sum->time_us += one.time_us;
    }
    for (size_t i = 0; i < count; i++) {
        if (out && (loads[i].success || loads[i].error || loads[i].active || loads[i].total || loads[i].timed))
            add_locality(out, &loads[i]);
        strbuf_fini(&loads[i].endpoints);
    }
    mem_free(loads);
}

/* Of a cluster; out NULL: only to begin with it. */
static void add_cluster(const struct lrs *l, struct reported *r, const struct cluster *c, struct strbuf *out)
{
    const struct cluster_spec *spec = cluster_spec(c);
    struct host_set *set = cluster_hosts(c);
    uint64_t at = loop_now_us(l->server->main_loop);
    size_t cluster = out ? wire_open(out, 2) : 0;
    r->turn++;
    if (out)
        add_text(out, 1, spec->name);
    add_hosts(l, r, set, out);
    if (out) {
        add_duration(out, 4, at - r->since_us);
        add_text(out, 6, spec->eds_name);
        wire_close(out, cluster);
    }
    r->since_us = at;
    forget_gone(r);
    host_set_unref(&set);
}

static bool send_report(struct lrs *l, struct str clusters)
{
    struct strbuf out = {0};
    wire_bytes(&out, 1, l->node.p, l->node.n);
    strbuf_adds(&out, clusters);
    bool is_sent = grpc_call_send(l->call, (const uint8_t *)out.p, out.n, false);
    strbuf_fini(&out);
    if (is_sent)
        stat_inc(l->stats, STAT_LRS_REQUESTS);
    return is_sent;
}

static void begin_with(struct lrs *l, struct str name)
{
    struct cluster *c = server_find_cluster(l->server, name);
    if (map_get(l->clusters, name))
        return;
    struct reported *r = NEW(reported);
    r->hosts = map_new();
    r->since_us = loop_now_us(l->server->main_loop);
    map_set(l->clusters, name, r);
    if (c)
        add_cluster(l, r, c, NULL);
}

static void begin_with_all(struct lrs *l)
{
    struct str name;
    void *value;
    for (size_t pos = 0; map_next(l->server->clusters, &pos, &name, &value);)
        begin_with(l, name);
}

static void on_report(struct timer *t)
{
    struct lrs *l = CONTAINER_OF(t, lrs, report);
    struct strbuf clusters = {0};
    struct str name;
    void *value;
    if (l->sends_all)
        begin_with_all(l);
    for (size_t pos = 0; map_next(l->clusters, &pos, &name, &value);) {
        struct cluster *c = server_find_cluster(l->server, name);
        if (c)
            add_cluster(l, value, c, &clusters);
    }
    if (l->call && clusters.n)
        send_report(l, strbuf_str(&clusters));
    strbuf_fini(&clusters);
    timer_set_us(t, l->interval_us);
}

/* ---- what is wanted ---- */

struct wanted { struct str *names; uint32_t count; };

static bool read_interval(struct str packed, uint64_t *us)
{
    struct wire_reader r = wire_read(packed);
    uint64_t seconds = 0, nanos = 0;
    for (struct wire_field f; wire_next(&r, &f);) {
        if (f.number == 1)
            seconds = f.value;
        if (f.number == 2)
            nanos = f.value;
    }
    *us = seconds * 1000000 + nanos / 1000;
    return !r.failed && seconds < 315576000000ull && nanos < 1000000000 && *us >= 1000;
}

/* LoadStatsResponse */
static bool read_wanted(struct lrs *l, struct str packed, struct wanted *w)
{
    struct wire_reader r = wire_read(packed);
    bool is_good = true;
    l->sends_all = l->by_endpoint = false;
    for (struct wire_field f; is_good && wire_next(&r, &f);) {
        if (f.number == 1 && w->count < CLUSTERS_MAX) {
            is_good = f.type == 2 && wire_text_is_valid(f.bytes);
            w->names[w->count++] = f.bytes;
        }
        if (f.number == 2)
            is_good = f.type == 2 && read_interval(f.bytes, &l->interval_us);
        if (f.number == 3)
            l->by_endpoint = f.value != 0;
        if (f.number == 4)
            l->sends_all = f.value != 0;
    }
    return is_good && !r.failed && l->interval_us;
}

static void forget_unwanted(struct lrs *l, const struct wanted *w)
{
    struct map *names = map_new();
    struct str name;
    void *value;
    for (uint32_t i = 0; i < w->count; i++)
        map_set(names, w->names[i], l);
    for (size_t pos = 0; map_next(l->clusters, &pos, &name, &value);) {
        if (l->sends_all || map_get(names, name))
            continue;
        struct reported *r = map_del(l->clusters, name);
        reported_free(r);
        pos = 0;
    }
    map_free(&names);
}

static void fail(struct lrs *l, unsigned status, struct str message)
{
    LOG_SELDOM(CONFIG, WARNING, "load report stream closed: %u, %.*s", status, STR_ARG(message));
    l->call = NULL;
    stat_inc(l->stats, STAT_LRS_ERRORS);
    timer_clear(&l->report);
    timer_set_ms(&l->again, rng_below(loop_rng(l->server->main_loop), l->wait_ms));
    l->wait_ms = l->wait_ms * 2 < BACKOFF_MAX_MS ? l->wait_ms * 2 : BACKOFF_MAX_MS;
}

static void on_message(void *user, const uint8_t *bytes, size_t n)
{
    struct lrs *l = user;
    struct wanted w = {.names = mem_alloc((n / 2 + 1 < CLUSTERS_MAX ? n / 2 + 1 : CLUSTERS_MAX) * sizeof(struct str))};
    l->wait_ms = BACKOFF_BASE_MS;
    stat_inc(l->stats, STAT_LRS_RESPONSES);
    if (read_wanted(l, str_make((const char *)bytes, n), &w)) {
        forget_unwanted(l, &w);
        for (uint32_t i = 0; i < w.count; i++)
            begin_with(l, w.names[i]);
        if (l->sends_all)
            begin_with_all(l);
        timer_set_us(&l->report, l->interval_us);
    } else {
        grpc_call_cancel(&l->call);
        fail(l, GRPC_INTERNAL, STR("not a LoadStatsResponse with an interval"));
    }
    mem_free(w.names);
}

static void on_done(void *user, unsigned status, struct str message)
{
    fail(user, status, message);
}

static const struct grpc_call_handler handler = {.on_message = on_message, .on_done = on_done};

/* ---- its life ---- */

static void open_stream(struct timer *t)
{
    struct lrs *l = CONTAINER_OF(t, lrs, again);
    unsigned status = GRPC_UNAVAILABLE;
    if (stat_sum(l->stats, STAT_LRS_ERRORS))
        stat_inc(l->stats, STAT_LRS_RETRIES);
    l->call = grpc_call_start(&l->source->services[0], STR("/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats"), NULL, NULL,
                              NULL, 0, false, &handler, l, &status);
    if (!l->call)
        fail(l, status, STR("no connection can be made"));
    else
        send_report(l, STR(""));
}

struct lrs *lrs_new(struct server *s, const struct config_source *keep_source, struct str keep_node)
{
    struct lrs *l = NEW(lrs);
    atomic_store_explicit(&host_keeps_times, true, memory_order_relaxed);
    l->server = s;
    l->source = keep_source;
    l->node = keep_node;
    l->wait_ms = BACKOFF_BASE_MS;
    l->clusters = map_new();
    l->stats = stat_scope_get(STR("load_reporter."), &table, STR("load_reporter."), NULL, 0);
    timer_init(&l->again, s->main_loop, open_stream);
    timer_init(&l->report, s->main_loop, on_report);
    timer_set_ms(&l->again, 0);
    return l;
}

void lrs_free(struct lrs **lrs)
{
    struct lrs *l = *lrs;
    struct str name;
    void *value;
    *lrs = NULL;
    if (!l)
        return;
    timer_clear(&l->again);
    timer_clear(&l->report);
    grpc_call_cancel(&l->call);
    for (size_t pos = 0; map_next(l->clusters, &pos, &name, &value);)
        reported_free(value);
    map_free(&l->clusters);
    stat_scope_unref(&l->stats);
    mem_free(l);
}
