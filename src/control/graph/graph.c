/* SPDX-License-Identifier: Apache-2.0
 *
 * Edges in a map by source and host, each with a ring of buckets that are stamped with the period that they are of: one of
 * another period is empty, so nothing has to be moved when time passes. What is under way is a sum over reporters, each of which
 * remembers its own share (`under_way`) to take it back. Edges with a share of anybody stay; the others go by a sweep, once a
 * bucket. Sources are counted by the reporters and edges that they have.
 */
#include "control/graph/graph.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"

#define COUNT_MAX ((uint64_t)1 << 40) /* of one report; sums stay far from 2^64 */

struct bucket {
    uint64_t period; /* now_us / bucket_us; 0: never used */
    uint64_t issued, successes, errors, timed;
    double time_ms;
};
struct source {
    struct str key, ns, name; /* key owned: NAMESPACE NUL NAME; the others lie in it */
    uint32_t refs, edges;
};
struct edge {
    struct source *source;    /* a reference */
    struct str key, host;     /* key owned: the source's NUL HOST; host lies in it */
    uint64_t active;
    uint64_t began_us;
    struct bucket buckets[GRAPH_BUCKETS];
};
struct graph {
    struct graph_opts opts;
    struct str domain;        /* owned: ".svc.DOMAIN" */
    struct map *sources, *edges;
    struct strbuf key;        /* scratch */
    uint64_t swept;           /* the period of the last sweep */
    uint32_t reporters;
    uint64_t dropped;
};
struct share {                /* of what is under way on an edge */
    struct list node;         /* reporter->shares */
    struct edge *edge;
    uint64_t active, turn;
};
struct graph_reporter {
    struct graph *graph;
    struct source *source;    /* a reference */
    struct map *under_way;    /* host -> share, of more than 0 between reports */
    struct list shares;       /* the same */
    uint64_t now_us, turn;
};

/* ---- names ---- */

static bool past(struct str *rest, char separator)
{
    struct str head = str_split(*rest, separator, rest);
    return head.p && rest->p;
}

/* "outbound_.9080_.v1_.HOST": the form of names that are themselves server names. */
static bool past_two(struct str *rest)
{
    ptrdiff_t at = str_find(*rest, STR("_."));
    if (at < 0)
        return false;
    *rest = str_make(rest->p + at + 2, rest->n - (size_t)at - 2);
    return true;
}

bool graph_destination(struct str cluster, struct str *host)
{
    struct str rest = cluster;
    *host = cluster;
    if (str_eq(cluster, STR("PassthroughCluster")))
        return true;
    bool is_edge = str_has_prefix(cluster, STR("outbound|")) ? past(&rest, '|') && past(&rest, '|') && past(&rest, '|')
                   : str_has_prefix(cluster, STR("outbound_.")) && past_two(&rest) && past_two(&rest) && past_two(&rest);
    *host = rest;
    return is_edge && rest.n > 0;
}

/* ---- sources ---- */

static struct source *source_ref(struct graph *g, struct str ns, struct str name)
{
    strbuf_reset(&g->key);
    strbuf_adds(&g->key, ns);
    strbuf_addc(&g->key, '\0');
    strbuf_adds(&g->key, name);
    struct source *s = map_get(g->sources, strbuf_str(&g->key));
    if (!s) {
        s = NEW(source);
        s->key = str_dup(strbuf_str(&g->key));
        s->ns = str_make(s->key.p, ns.n);
        s->name = str_make(s->key.p + ns.n + 1, name.n);
        map_set(g->sources, s->key, s);
    }
    s->refs++;
    return s;
}

static void source_unref(struct graph *g, struct source *s)
{
    if (--s->refs)
        return;
    map_del(g->sources, s->key);
    str_free(&s->key);
    mem_free(s);
}

/* ---- edges ---- */

static uint64_t period_of(const struct graph *g, uint64_t now_us)
{
    return now_us / g->opts.bucket_us + 1;
}

static bool is_current(const struct bucket *b, uint64_t period)
{
    return b->period && b->period + GRAPH_BUCKETS > period;
}

static struct edge *edge_make(struct graph *g, struct source *s, struct str host, uint64_t now_us)
{
    if (map_count(g->edges) >= g->opts.edges_max || s->edges >= g->opts.source_edges_max) {
        g->dropped++;
        LOG_SELDOM(MAIN, WARNING, "the service graph is full: calls of %.*s in %.*s to %.*s aren't in it", STR_ARG(s->name), STR_ARG(s->ns),
                   STR_ARG(host));
        return NULL;
    }
    struct edge *e = NEW(edge);
    e->key = str_dup(strbuf_str(&g->key));
    e->host = str_make(e->key.p + e->key.n - host.n, host.n);
    e->source = s;
    e->began_us = now_us;
    s->refs++;
    s->edges++;
    map_set(g->edges, e->key, e);
    return e;
}

/* NULL: there is no room for one more. */
static struct edge *edge_of(struct graph *g, struct source *s, struct str host, uint64_t now_us)
{
    strbuf_reset(&g->key);
    strbuf_adds(&g->key, s->key);
    strbuf_addc(&g->key, '\0');
    strbuf_adds(&g->key, host);
    struct edge *e = map_get(g->edges, strbuf_str(&g->key));
    return e ? e : edge_make(g, s, host, now_us);
}

static void edge_free(struct graph *g, struct edge *e)
{
    e->source->edges--;
    source_unref(g, e->source);
    str_free(&e->key);
    mem_free(e);
}

static bool is_faded(const struct edge *e, uint64_t period)
{
    for (uint32_t i = 0; i < GRAPH_BUCKETS; i++)
        if (is_current(&e->buckets[i], period))
            return false;
    return e->active == 0;
}

static void sweep(struct graph *g, uint64_t now_us)
{
    uint64_t period = period_of(g, now_us);
    struct edge **faded = NULL;
    size_t n = 0, cap = 0;
    struct str key;
    void *value;
    if (period == g->swept)
        return;
    g->swept = period;
    for (size_t pos = 0; map_next(g->edges, &pos, &key, &value);)
        if (is_faded(value, period)) {
            faded = mem_grow(faded, &cap, n + 1, sizeof(*faded));
            faded[n++] = value;
        }
    for (size_t i = 0; i < n; i++) {
        map_del(g->edges, faded[i]->key);
        edge_free(g, faded[i]);
    }
    mem_free(faded);
}

static void edge_count(const struct graph *g, struct edge *e, const struct graph_load *l, uint64_t now_us)
{
    uint64_t period = period_of(g, now_us);
    struct bucket *b = &e->buckets[period % GRAPH_BUCKETS];
    if (b->period != period)
        *b = (struct bucket){.period = period};
    b->issued += l->issued;
    b->successes += l->successes;
    b->errors += l->errors;
    b->timed += l->timed;
    b->time_ms += l->time_ms;
}

/* ---- reporters ---- */

int graph_reporter_new(struct graph *g, struct str ns, struct str name, struct graph_reporter **out, struct err *err)
{
    *out = NULL;
    if (ns.n > GRAPH_NAME_BYTES_MAX || name.n > GRAPH_NAME_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "the name or namespace of the workload is longer than %u bytes", GRAPH_NAME_BYTES_MAX);
    struct graph_reporter *r = NEW(graph_reporter);
    r->graph = g;
    r->source = source_ref(g, ns, name);
    r->under_way = map_new();
    list_init(&r->shares);
    g->reporters++;
    *out = r;
    return 0;
}

void graph_report_begin(struct graph_reporter *r, uint64_t now_us)
{
    r->now_us = now_us;
    r->turn++;
}

/* The first of a report's loads for a host takes the place of the last report's, the next ones add to it. */
static void note_active(struct graph_reporter *r, struct edge *e, uint64_t active)
{
    struct share *s = map_get(r->under_way, e->host);
    if (!s && active == 0)
        return;
    if (!s) {
        s = NEW(share);
        s->edge = e;
        map_set(r->under_way, e->host, s);
        list_push_back(&r->shares, &s->node);
    }
    if (s->turn != r->turn) {
        e->active -= s->active;
        s->active = 0;
        s->turn = r->turn;
    }
    s->active += active;
    e->active += active;
}

int graph_report_add(struct graph_reporter *r, struct str host, const struct graph_load *l, struct err *err)
{
    struct graph *g = r->graph;
    if (host.n > GRAPH_NAME_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "a cluster's host is longer than %u bytes", GRAPH_NAME_BYTES_MAX);
    if (l->issued > COUNT_MAX || l->successes > COUNT_MAX || l->errors > COUNT_MAX || l->active > COUNT_MAX || l->timed > COUNT_MAX ||
        !(l->time_ms >= 0 && l->time_ms <= (double)COUNT_MAX))
        return err_set(err, ERR_LIMIT, "a count of %.*s is below 0 or past 2^40", STR_ARG(host));
    bool happened = l->issued || l->successes || l->errors || l->timed;
    if (!happened && l->active == 0)
        return 0; /* and what was under way ends with the report */
    struct edge *e = edge_of(g, r->source, host, r->now_us);
    if (!e)
        return 0;
    if (happened)
        edge_count(g, e, l, r->now_us);
    note_active(r, e, l->active);
    return 0;
}

/* Lets go of shares that the last report didn't have, or of all. */
static void let_go(struct graph_reporter *r, bool all)
{
    LIST_EACH(it, safe, &r->shares) {
        struct share *s = LIST_ENTRY(it, share, node);
        if (!all && s->turn == r->turn && s->active)
            continue;
        s->edge->active -= s->active;
        map_del(r->under_way, s->edge->host);
        list_remove(&s->node);
        mem_free(s);
    }
}

void graph_report_end(struct graph_reporter *r)
{
    let_go(r, false);
    sweep(r->graph, r->now_us);
}

void graph_reporter_free(struct graph_reporter **owned)
{
    struct graph_reporter *r = *owned;
    *owned = NULL;
    if (!r)
        return;
    let_go(r, true);
    map_free(&r->under_way);
    source_unref(r->graph, r->source);
    r->graph->reporters--;
    mem_free(r);
}

/* ---- what is known ---- */

static struct bucket sum_of(const struct graph *g, const struct edge *e, uint64_t now_us)
{
    uint64_t period = period_of(g, now_us);
    struct bucket sum = {0};
    for (uint32_t i = 0; i < GRAPH_BUCKETS; i++) {
        const struct bucket *b = &e->buckets[i];
        if (!is_current(b, period))
            continue;
        sum.issued += b->issued;
        sum.successes += b->successes;
        sum.errors += b->errors;
        sum.timed += b->timed;
        sum.time_ms += b->time_ms;
    }
    return sum;
}

/* The present bucket has only begun; an edge younger than the window is divided by its age, which is at least a bucket: its first
 * report told of that long, too. */
static double seconds_of(const struct graph *g, const struct edge *e, uint64_t now_us)
{
    uint64_t window = (GRAPH_BUCKETS - 1) * g->opts.bucket_us + now_us % g->opts.bucket_us, age = now_us - e->began_us + g->opts.bucket_us;
    return (double)(age < window ? age : window) / 1e6;
}

static void add_text(struct strbuf *out, const char *key, struct str text)
{
    strbuf_addf(out, "\"%s\":\"", key);
    strbuf_add_json(out, text);
    strbuf_addz(out, "\",");
}

static void add_destination(const struct graph *g, struct str host, struct strbuf *out)
{
    struct str ns = STR(""), name = host;
    if (str_has_suffix(host, g->domain)) {
        struct str rest, head = str_split(str_make(host.p, host.n - g->domain.n), '.', &rest);
        if (rest.n && str_find_char(rest, '.') < 0)
            name = head, ns = rest;
    }
    add_text(out, "destination", name);
    add_text(out, "destination_namespace", ns);
    add_text(out, "destination_host", host);
}

static void add_edge(const struct graph *g, const struct edge *e, uint64_t now_us, struct strbuf *out)
{
    struct bucket sum = sum_of(g, e, now_us);
    uint64_t ended = sum.successes + sum.errors, requests = sum.issued > ended ? sum.issued : ended;
    strbuf_addc(out, '{');
    add_text(out, "source", e->source->name);
    add_text(out, "source_namespace", e->source->ns);
    add_destination(g, e->host, out);
    strbuf_addf(out, "\"requests\":%lu,\"errors\":%lu,\"active\":%lu,\"requests_per_s\":%.3f", (unsigned long)requests,
                (unsigned long)sum.errors, (unsigned long)e->active, (double)requests / seconds_of(g, e, now_us));
    if (sum.timed)
        strbuf_addf(out, ",\"latency_ms\":%.3f", sum.time_ms / (double)sum.timed);
    strbuf_addc(out, '}');
}

static int by_key(const void *a, const void *b)
{
    const struct edge *const *x = a, *const *y = b;
    return str_cmp((*x)->key, (*y)->key);
}

void graph_json(struct graph *g, uint64_t now_us, struct strbuf *out)
{
    size_t n = 0;
    struct str key;
    void *value;
    sweep(g, now_us);
    struct edge **all = mem_alloc((map_count(g->edges) + 1) * sizeof(*all));
    for (size_t pos = 0; map_next(g->edges, &pos, &key, &value);)
        all[n++] = value;
    qsort(all, n, sizeof(*all), by_key);
    strbuf_addf(out, "{\"window_s\":%g,\"dropped\":%lu,\"edges\":[", (double)(GRAPH_BUCKETS * g->opts.bucket_us) / 1e6,
                (unsigned long)g->dropped);
    for (size_t i = 0; i < n; i++) {
        strbuf_addz(out, i ? ",\n" : "");
        add_edge(g, all[i], now_us, out);
    }
    strbuf_addz(out, "]}\n");
    mem_free(all);
}

struct graph_counters graph_counters(const struct graph *g)
{
    return (struct graph_counters){(uint32_t)map_count(g->edges), (uint32_t)map_count(g->sources), g->reporters, g->dropped};
}

/* ---- making and freeing ---- */

struct graph *graph_new(const struct graph_opts *opts)
{
    struct graph *g = NEW(graph);
    struct strbuf domain = {0};
    g->opts = *opts;
    g->opts.bucket_us = opts->bucket_us ? opts->bucket_us : 5000000;
    g->opts.edges_max = opts->edges_max ? opts->edges_max : 65536;
    g->opts.source_edges_max = opts->source_edges_max ? opts->source_edges_max : 4096;
    strbuf_addz(&domain, ".svc.");
    strbuf_adds(&domain, opts->domain.n ? opts->domain : STR("cluster.local"));
    g->domain = str_dup(strbuf_str(&domain));
    strbuf_fini(&domain);
    g->sources = map_new();
    g->edges = map_new();
    return g;
}

void graph_free(struct graph **owned)
{
    struct graph *g = *owned;
    struct str key;
    void *value;
    *owned = NULL;
    if (!g)
        return;
    CHECK(!g->reporters);
    for (size_t pos = 0; map_next(g->edges, &pos, &key, &value);)
        edge_free(g, value);
    map_free(&g->edges);
    map_free(&g->sources);
    str_free(&g->domain);
    strbuf_fini(&g->key);
    mem_free(g);
}
