/* SPDX-License-Identifier: Apache-2.0
 *
 * Statistics under Envoy's names. A scope is a prefix ("cluster.a.", "http.in.", "listener.0.0.0.0_80.")
 * with one static table of what it counts. Each thread has its own block of plain integers in each
 * scope, made when it first counts there; whoever looks sums the blocks. No atomics on the path.
 *
 * Scopes are made and freed on the main thread; a scope outlives every thread's use of it (its owner
 * is in the snapshot). Values survive the owner's replacement: stat_scope_get with the same prefix
 * returns the living scope.
 */
#ifndef PROXY_STATS_STATS_H
#define PROXY_STATS_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"

enum stat_kind { STAT_COUNTER, STAT_GAUGE, STAT_HISTOGRAM, STAT_TEXT };
enum stat_unit {
    STAT_UNIT_NONE, STAT_UNIT_MS, STAT_UNIT_US, STAT_UNIT_BYTES, STAT_UNIT_PCT,
    STAT_UNIT_LAZY, /* no unit, and not shown before it first moved */
};

struct stat_desc {
    const char *name;      /* after the prefix: "upstream_rq_total" */
    uint8_t kind, unit;
    const char *help;      /* one line for documentation */
};
/* Table idiom:
 *   #define CLUSTER_STATS(X) X(UPSTREAM_CX_TOTAL, COUNTER, NONE, "upstream_cx_total", "Connections made") ...
 *   STAT_TABLE_DECLARE(cluster, CLUSTER_STATS)  -> enum cluster_stat { CLUSTER_UPSTREAM_CX_TOTAL … } is written out by hand below each table
 */
#define STAT_ENUM_ROW(id, kind, unit, name, help) STAT_##id,
#define STAT_DESC_ROW(id, kind, unit, name, help) {name, STAT_##kind, STAT_UNIT_##unit, help},

struct stat_tag { /* for Prometheus labels */
    struct str name, value;
};
struct stat_table {
    const struct stat_desc *rows;
    uint32_t count;
};

#define STAT_MAX_THREADS 130 /* main + workers */
extern __thread uint32_t stat_thread; /* 0 main, 1.. workers; set once at thread start */

struct stat_block {
    uint64_t *values;  /* one per row; gauges are signed sums; histogram rows unused here */
    void **histograms; /* one per row, lazily */
    uint64_t *touched; /* bitset: written at least once (usedonly) */
    void *codes;       /* lazily: counts per HTTP status for "<row prefix>_<code>" families */
};
struct stat_scope {
    const struct stat_table *table;
    struct str prefix;      /* with the final '.' */
    void *registry_node;
    uint32_t refs;
    struct stat_block *blocks[]; /* per thread, NULL until touched; release/acquire */
};

/* The registry is a process-wide singleton made at start-up with the number of threads. */
void stats_init(uint32_t threads);
void stats_fini(void);
/* `tags` name the dynamic pieces: {"envoy.cluster_name", "a"}; `tag_extracted` is the prefix without them ("cluster.").
 * All copied. Returns a new reference. Main thread. */
struct stat_scope *stat_scope_get(struct str prefix, const struct stat_table *table, struct str tag_extracted,
                                  const struct stat_tag *tags, size_t tag_count);
void stat_scope_unref(struct stat_scope **s);

struct stat_block *stat_scope_touch(struct stat_scope *s); /* makes this thread's block */
static inline struct stat_block *stat_block_of(struct stat_scope *s)
{
    struct stat_block *b = s->blocks[stat_thread];
    return __builtin_expect(b != NULL, 1) ? b : stat_scope_touch(s);
}
static inline void stat_touch(struct stat_block *b, uint32_t row)
{
    uint64_t *word = &b->touched[row >> 6], bit = 1ull << (row & 63);
    if (__builtin_expect(!(*word & bit), 0))
        __atomic_store_n(word, *word | bit, __ATOMIC_RELAXED);
}
static inline void stat_add(struct stat_scope *s, uint32_t row, uint64_t n) /* counters, gauges (n may be a negative cast) */
{
    struct stat_block *b = stat_block_of(s);
    __atomic_store_n(&b->values[row], b->values[row] + n, __ATOMIC_RELAXED); /* one writer: no locked add */
    stat_touch(b, row);
}
static inline void stat_inc(struct stat_scope *s, uint32_t row)
{
    stat_add(s, row, 1);
}
static inline void stat_dec(struct stat_scope *s, uint32_t row)
{
    stat_add(s, row, (uint64_t)-1);
}
/* Gauges that one thread owns (main): sets this thread's share. */
void stat_set(struct stat_scope *s, uint32_t row, uint64_t value);
/* STAT_TEXT. Copied; main thread. */
void stat_set_text(struct stat_scope *s, uint32_t row, struct str text);
void stat_record(struct stat_scope *s, uint32_t row, uint64_t value); /* histogram */
/* Counter "<family>_<status>" (e.g. family "upstream_rq": "cluster.a.upstream_rq_200"); family: static text. */
void stat_code(struct stat_scope *s, const char *family, uint32_t status);
/* Counter "<family>.<name>" for names known only at run time but few (TLS ciphers, versions, curves). Both are static text
 * or outlive the process's use; at most 256 per scope, further ones are dropped. */
void stat_named(struct stat_scope *s, const char *family, const char *name);
/* Sum over threads, any thread; gauges as signed. */
uint64_t stat_sum(const struct stat_scope *s, uint32_t row);

#endif
