/* SPDX-License-Identifier: Apache-2.0
 *
 * track_cluster_stats: statistics that a cluster has where they are asked for. Shares of timeouts and sizes of messages are
 * scopes of their own, NULL otherwise; what stands in hosts (per_endpoint_stats) is told from there at each look, as
 * "cluster.<name>.endpoint.<address>.". Main thread, but for reading the scopes.
 */
#include "base/map.h"
#include "base/mem.h"
#include "proxy/cluster/cluster_priv.h"
#include "proxy/stats/registry.h"

static const struct stat_desc budget_rows[] = {CLUSTER_BUDGET_STATS(STAT_DESC_ROW)};
static const struct stat_table budget_table = {budget_rows, ARRAY_LEN(budget_rows)};
static const struct stat_desc size_rows[] = {CLUSTER_SIZE_STATS(STAT_DESC_ROW)};
static const struct stat_table size_table = {size_rows, ARRAY_LEN(size_rows)};

struct endpoint_stats {
    struct stat_source source;
    struct cluster *cluster;
    struct map *flushed;       /* by address: counters as they were at the last flush */
    uint64_t turn;
};
struct flushed_host {
    uint64_t turn;
    uint32_t counts[HOST_STAT_COUNT];
};
struct told { /* one host */
    struct strbuf name, extracted;
    struct stat_tag tags[2];
    struct stat_sample sample;
    void (*emit)(const struct stat_sample *s, void *arg);
    void *arg;
};

static const char *const host_names[] = {
#define X(id, name) name,
    HOST_STATS(X)
#undef X
};

static bool is_gauge(enum host_stat s)
{
    return s == HOST_CX_ACTIVE || s == HOST_RQ_ACTIVE || s == HOST_RQ_PENDING_ACTIVE;
}

static void tell(struct told *t, const char *tail, uint8_t kind, uint64_t value, uint64_t delta)
{
    size_t name = t->name.n, extracted = t->extracted.n;
    strbuf_addz(&t->name, tail);
    strbuf_addz(&t->extracted, tail);
    t->sample.name = strbuf_str(&t->name);
    t->sample.extracted = strbuf_str(&t->extracted);
    t->sample.kind = kind;
    t->sample.value = value;
    t->sample.delta = delta;
    t->emit(&t->sample, t->arg);
    t->name.n = name;
    t->extracted.n = extracted;
}

static struct flushed_host *flushed_of(struct endpoint_stats *e, struct str address)
{
    struct flushed_host *f = map_get(e->flushed, address);
    if (!f) {
        f = NEW(flushed_host);
        map_set(e->flushed, address, f);
    }
    f->turn = e->turn;
    return f;
}

static void tell_host(struct endpoint_stats *e, const struct host *h, bool flushing, struct told *t)
{
    char text[ADDR_TEXT_BYTES];
    struct str prefix = e->cluster->stats->prefix, address = str_from(addr_text(&h->addr, text));
    struct flushed_host *before = flushing ? flushed_of(e, address) : NULL;
    t->tags[1] = (struct stat_tag){STR("envoy.endpoint_address"), address};
    strbuf_reset(&t->name);
    strbuf_adds(&t->name, prefix);
    strbuf_addz(&t->name, "endpoint.");
    for (size_t i = 0; i < address.n; i++)
        strbuf_addc(&t->name, address.p[i] == ':' ? '_' : address.p[i]);
    strbuf_addc(&t->name, '.');
    strbuf_reset(&t->extracted);
    strbuf_addz(&t->extracted, "cluster.endpoint.");
    for (uint32_t i = 0; i < HOST_STAT_COUNT; i++) {
        uint32_t now = atomic_load_explicit(&h->stats[i], memory_order_relaxed);
        tell(t, host_names[i], is_gauge(i) ? STAT_GAUGE : STAT_COUNTER, now, before ? now - before->counts[i] : 0);
        if (before)
            before->counts[i] = now;
    }
    tell(t, "healthy", STAT_GAUGE, host_class(h) == HOST_IS_HEALTHY, 0);
}

static void forget_gone(struct endpoint_stats *e)
{
    struct str address;
    void *value;
    for (size_t at = 0; map_next(e->flushed, &at, &address, &value);) {
        struct flushed_host *f = value;
        if (f->turn == e->turn)
            continue;
        map_del(e->flushed, address);
        mem_free(f);
        at = 0;
    }
}

static void tell_all(struct stat_source *s, bool flushing, void (*emit)(const struct stat_sample *s, void *arg), void *arg)
{
    struct endpoint_stats *e = CONTAINER_OF(s, endpoint_stats, source);
    const struct cluster_spec *spec = e->cluster->spec;
    struct host_set *set = cluster_hosts(e->cluster);
    struct told t = {.emit = emit, .arg = arg};
    t.tags[0] = (struct stat_tag){STR("envoy.cluster_name"), spec->alt_stat_name.n ? spec->alt_stat_name : spec->name};
    t.sample = (struct stat_sample){.scope = e->cluster->stats, .tags = t.tags, .tag_count = 2, .used = true, .is_of_host = true};
    e->turn += flushing;
    for (uint32_t i = 0; i < set->count; i++)
        tell_host(e, set->hosts[i], flushing, &t);
    if (flushing)
        forget_gone(e);
    host_set_unref(&set);
    strbuf_fini(&t.name);
    strbuf_fini(&t.extracted);
}

void cluster_track(struct cluster *c)
{
    const struct cluster_spec *spec = c->spec;
    if (spec->track_timeout_budgets)
        c->budget_stats = cluster_scope(spec, ".", &budget_table);
    if (spec->track_request_response_sizes)
        c->size_stats = cluster_scope(spec, ".", &size_table);
    if (!spec->track_endpoints)
        return;
    struct endpoint_stats *e = c->endpoint_stats = NEW(endpoint_stats);
    e->cluster = c;
    e->flushed = map_new();
    e->source.each = tell_all;
    stats_source_add(&e->source);
}

void cluster_untrack(struct cluster *c)
{
    struct endpoint_stats *e = c->endpoint_stats;
    c->endpoint_stats = NULL;
    stat_scope_unref(&c->budget_stats);
    stat_scope_unref(&c->size_stats);
    if (!e)
        return;
    stats_source_remove(&e->source);
    e->turn++;
    forget_gone(e);
    map_free(&e->flushed);
    mem_free(e);
}

struct stat_scope *cluster_budget_stats(const struct cluster *c)
{
    return c->budget_stats;
}

struct stat_scope *cluster_size_stats(const struct cluster *c)
{
    return c->size_stats;
}
