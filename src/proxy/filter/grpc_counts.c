/* SPDX-License-Identifier: Apache-2.0
 *
 * See the header. Threads: a worker's map and entries are its own, but `scope` of an entry, which the worker writes when the
 * main thread's answer arrives in its mailbox. The table is referenced by its configuration and by letters on their way; the
 * last reference goes on the main thread or on a worker that the configuration has outlived, and scopes only on main.
 */
#include "proxy/filter/grpc_counts.h"

#include <stdatomic.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/check.h"
#include "io/loop.h"
#include "proxy/cluster/cluster.h"
#include "proxy/server.h"

#define TIMES_KEPT 8 /* of the calls that end before the scope is there */

#define STATUS_ROW(n) {#n, STAT_COUNTER, STAT_UNIT_LAZY, "Calls with this status"},
static const struct stat_desc rows[] = {GRPC_METHOD_STATS(STAT_DESC_ROW) GRPC_STATUS_ROWS(STATUS_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};
_Static_assert(ARRAY_LEN(rows) == STAT_GRPC_METHOD_COUNT, "a row per name");

struct grpc_counts {
    struct stat_scope *scope;               /* NULL: not yet; a reference */
    uint64_t waiting[STAT_GRPC_METHOD_COUNT];
    uint32_t times[TIMES_KEPT], time_count;
};
struct grpc_counts_table {
    _Atomic uint32_t refs;
    struct map *by_thread[STAT_MAX_THREADS]; /* scope prefix -> struct grpc_counts */
};

struct grpc_counts_table *grpc_counts_table_new(void)
{
    struct grpc_counts_table *t = NEW(grpc_counts_table);
    t->refs = 1;
    return t;
}

static void free_counts(struct map **map)
{
    size_t at = 0;
    struct str key;
    void *value;
    while (*map && map_next(*map, &at, &key, &value)) {
        struct grpc_counts *c = value;
        stat_scope_unref(&c->scope);
        mem_free(c);
    }
    map_free(map);
}

void grpc_counts_table_unref(struct grpc_counts_table **t)
{
    struct grpc_counts_table *one = *t;
    *t = NULL;
    if (!one || atomic_fetch_sub_explicit(&one->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < STAT_MAX_THREADS; i++)
        free_counts(&one->by_thread[i]);
    mem_free(one);
}

/* ---- the way to the main thread and back ---- */

struct wish { /* for one scope */
    struct grpc_counts_table *table; /* a reference */
    struct grpc_counts *counts;
    struct loop *main, *worker;
    struct stat_scope *scope;
    struct str prefix, cluster, names; /* names: "<service>.<method>", "" without */
    bool is_web;
};

static void wish_free(void *arg) /* main */
{
    struct wish *w = arg;
    grpc_counts_table_unref(&w->table);
    stat_scope_unref(&w->scope); /* when it wasn't taken */
    mem_free(w);
}

static void take_scope(void *arg) /* worker */
{
    struct wish *w = arg;
    struct grpc_counts *c = w->counts;
    c->scope = w->scope;
    w->scope = NULL;
    for (uint32_t i = 0; i < STAT_GRPC_METHOD_COUNT; i++)
        if (c->waiting[i])
            stat_add(c->scope, i, c->waiting[i]);
    for (uint32_t i = 0; i < c->time_count; i++)
        stat_record(c->scope, STAT_GRPC_METHOD_UPSTREAM_TIME, c->times[i]);
    loop_post(w->main, wish_free, w);
}

/* Envoy takes its tags from the name's segments, wherever they came from: of "a.B.C" the first is the service, the second the
 * method, and the rest stays in the name. */
static void make_scope(void *arg) /* main */
{
    struct wish *w = arg;
    struct strbuf extracted = {0};
    struct str rest = STR_NULL, service, method = STR_NULL;
    service = str_split(w->names, '.', &rest);
    if (rest.p)
        method = str_split(rest, '.', &rest);
    strbuf_addz(&extracted, w->is_web ? "cluster.grpc-web." : "cluster.grpc.");
    if (rest.n) {
        strbuf_adds(&extracted, rest);
        strbuf_addc(&extracted, '.');
    }
    struct stat_tag tags[] = {{STR("envoy.grpc_bridge_method"), method},
                              {STR("envoy.grpc_bridge_service"), service},
                              {STR("envoy.cluster_name"), w->cluster}};
    uint32_t skip = w->names.n ? 0 : 2;
    w->scope = stat_scope_get(w->prefix, &table, strbuf_str(&extracted), tags + skip, ARRAY_LEN(tags) - skip);
    strbuf_fini(&extracted);
    loop_post(w->worker, take_scope, w);
}

static void ask_for_scope(struct grpc_counts_table *t, struct grpc_counts *counts, struct str prefix, struct str cluster,
                          struct str names, bool is_web)
{
    const struct worker *here = worker_current();
    struct wish *w = mem_zalloc(sizeof *w + prefix.n + cluster.n + names.n);
    char *text = (char *)(w + 1);
    w->table = t;
    w->counts = counts;
    w->main = here->server->main_loop;
    w->worker = here->loop;
    w->is_web = is_web;
    w->prefix = str_make(memcpy(text, prefix.p, prefix.n), prefix.n);
    w->cluster = str_make(memcpy(text + prefix.n, cluster.p, cluster.n), cluster.n);
    w->names = str_make(memcpy(text + prefix.n + cluster.n, names.n ? names.p : "", names.n), names.n);
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    loop_post(w->main, make_scope, w);
}

/* ---- workers ---- */

static size_t put(char *out, size_t at, struct str s, bool replace_dots)
{
    for (size_t i = 0; i < s.n; i++)
        out[at + i] = replace_dots && s.p[i] == '.' ? '_' : s.p[i];
    return at + s.n;
}

struct grpc_counts *grpc_counts_of(struct grpc_counts_table *t, const struct cluster *cluster, enum grpc_counts_protocol protocol,
                                   struct str service, struct str method, bool replace_dots)
{
    struct str prefix = cluster_stats(cluster)->prefix; /* "cluster.<name>." */
    struct str family = protocol == GRPC_COUNTS_GRPC_WEB ? STR("grpc-web.") : STR("grpc.");
    struct map **map = &t->by_thread[stat_thread];
    char text[GRPC_METHOD_NAME_MAX];
    if (!*map)
        *map = map_new();
    if (prefix.n + family.n + service.n + method.n + 2 > sizeof text || map_count(*map) >= GRPC_METHODS_MAX)
        service = STR_NULL;
    if (prefix.n + family.n > sizeof text) /* a cluster's name of half a kilobyte is told from others by its beginning */
        prefix.n = sizeof text - family.n;
    size_t n = put(text, put(text, 0, prefix, false), family, false), names_at = n;
    if (service.n) {
        n = put(text, n, service, replace_dots);
        text[n++] = '.';
        n = put(text, n, method, false);
        text[n++] = '.';
    }
    struct grpc_counts *counts = map_get(*map, str_make(text, n));
    if (counts)
        return counts;
    counts = NEW(grpc_counts);
    map_set(*map, str_make(text, n), counts);
    struct str names = service.n ? str_make(text + names_at, n - names_at - 1) : STR_NULL;
    struct str cluster_name = str_make(prefix.p + sizeof "cluster." - 1, prefix.n - sizeof "cluster.");
    ask_for_scope(t, counts, str_make(text, n), cluster_name, names, protocol == GRPC_COUNTS_GRPC_WEB);
    return counts;
}

void grpc_count(struct grpc_counts *c, enum grpc_method_stat row, uint64_t n)
{
    if (c->scope)
        stat_add(c->scope, row, n);
    else
        c->waiting[row] += n;
}

void grpc_count_time(struct grpc_counts *c, uint64_t ms)
{
    if (c->scope)
        stat_record(c->scope, STAT_GRPC_METHOD_UPSTREAM_TIME, ms);
    else if (c->time_count < TIMES_KEPT)
        c->times[c->time_count++] = (uint32_t)ms;
}

void grpc_count_status(struct grpc_counts *c, struct str grpc_status)
{
    uint64_t status;
    if (!grpc_status.p)
        return;
    bool known = str_to_u64(grpc_status, &status) && status <= 16;
    grpc_count(c, known ? STAT_GRPC_METHOD_STATUS_0 + (uint32_t)status : STAT_GRPC_METHOD_STATUS_OTHER, 1);
    grpc_count(c, known && !status ? STAT_GRPC_METHOD_SUCCESS : STAT_GRPC_METHOD_FAILURE, 1);
    grpc_count(c, STAT_GRPC_METHOD_TOTAL, 1);
}
