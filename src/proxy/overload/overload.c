/* SPDX-License-Identifier: Apache-2.0
 *
 * The overload manager: reads its monitors every refresh interval, derives each lever's level from
 * its triggers (the highest counts), publishes the levels, and does what is the main thread's to do:
 * give heap back, tell workers to stop or go on accepting, to shorten timers, to reset streams.
 */
#include "proxy/overload/overload.h"

#include <malloc.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/hcm/hcm.h"
#include "proxy/listener/listener.h"
#include "proxy/overload/monitor.h"
#include "proxy/server.h"

#define SHRINK_EVERY_US 10000000u
#define COMPLAIN_EVERY_US 60000000u

#define MONITOR_STATS(X)                                                                           \
    X(MONITOR_PRESSURE, GAUGE, NONE, "pressure", "Share of the resource in use, in percent")       \
    X(MONITOR_FAILED_UPDATES, COUNTER, NONE, "failed_updates", "Readings that failed")             \
    X(MONITOR_SKIPPED_UPDATES, COUNTER, NONE, "skipped_updates", "Readings left out; none are here")
enum monitor_stat { MONITOR_STATS(STAT_ENUM_ROW) STAT_MONITOR_COUNT };
#define ACTION_STATS(X)                                                                            \
    X(ACTION_ACTIVE, GAUGE, NONE, "active", "1 while saturated")                                   \
    X(ACTION_SCALE, GAUGE, NONE, "scale_percent", "How far the action is taken")
enum action_stat { ACTION_STATS(STAT_ENUM_ROW) STAT_ACTION_COUNT };
#define RESET_STATS(X) ACTION_STATS(X) X(ACTION_RESETS, COUNTER, NONE, "count", "Streams reset")
enum reset_stat { STAT_RESETS = STAT_ACTION_COUNT, STAT_RESET_COUNT };
#define POINT_STATS(X)                                                                             \
    X(POINT_SCALE, GAUGE, NONE, "scale_percent", "Chance that load is shed here")                  \
    X(POINT_SHED, COUNTER, NONE, "shed_load_count", "Times load was shed")
enum point_stat { POINT_STATS(STAT_ENUM_ROW) STAT_POINT_COUNT };
static const struct stat_desc monitor_rows[] = {MONITOR_STATS(STAT_DESC_ROW)};
static const struct stat_desc action_rows[] = {ACTION_STATS(STAT_DESC_ROW)};
static const struct stat_desc reset_rows[] = {RESET_STATS(STAT_DESC_ROW)};
static const struct stat_desc point_rows[] = {POINT_STATS(STAT_DESC_ROW)};
static const struct stat_table monitor_table = {monitor_rows, STAT_MONITOR_COUNT};
static const struct stat_table action_table = {action_rows, STAT_ACTION_COUNT};
static const struct stat_table reset_table = {reset_rows, STAT_RESET_COUNT};
static const struct stat_table point_table = {point_rows, STAT_POINT_COUNT};

static const char *const lever_names[OVERLOAD_LEVER_COUNT] = {
#define X(id, name) name,
    OVERLOAD_ACTION_TABLE(X) OVERLOAD_POINT_TABLE(X)
#undef X
};

_Atomic uint32_t overload_levels[OVERLOAD_LEVER_COUNT];
static struct stat_scope *lever_scopes[OVERLOAD_LEVER_COUNT];
static uint8_t account_power = 20;
static struct overload_timer_spec timers[OVERLOAD_TIMER_COUNT];

struct overload {
    struct server *server;
    const struct overload_spec *spec;
    struct resource_monitor *monitors;
    struct stat_scope **monitor_scopes;
    double *pressures;
    uint64_t *complained_us;
    struct timer timer;
    uint64_t shrunk_us;
};

/* ---- levels ---- */

static uint32_t level_of(const struct overload_trigger *t, double pressure)
{
    if (pressure >= (t->is_scaled ? t->to : t->from))
        return OVERLOAD_FULL;
    if (!t->is_scaled || pressure <= t->from)
        return 0;
    return (uint32_t)((pressure - t->from) / (t->to - t->from) * OVERLOAD_FULL);
}

static void read_monitor(struct overload *o, uint32_t i)
{
    struct resource_monitor *m = &o->monitors[i];
    struct err err = {0};
    double pressure;
    uint64_t now = loop_now_us(o->server->main_loop);
    if (m->spec->def->read(m, &pressure, &err) < 0) { /* the last known pressure stands */
        stat_inc(o->monitor_scopes[i], STAT_MONITOR_FAILED_UPDATES);
        if (!o->complained_us[i] || now - o->complained_us[i] > COMPLAIN_EVERY_US)
            LOG(MAIN, WARNING, "overload manager: %.*s: %s", STR_ARG(m->spec->name), err.message);
        o->complained_us[i] = now;
        return;
    }
    o->pressures[i] = pressure;
    stat_set(o->monitor_scopes[i], STAT_MONITOR_PRESSURE, (uint64_t)(pressure * 100));
}

static uint32_t lever_level(const struct overload *o, const struct overload_lever_spec *l)
{
    uint32_t level = 0;
    for (uint32_t i = 0; i < l->trigger_count; i++) {
        uint32_t one = level_of(&l->triggers[i], o->pressures[l->triggers[i].monitor]);
        level = one > level ? one : level;
    }
    return level;
}

/* ---- what follows from them ---- */

static void accept_or_not(struct worker *w, void *arg)
{
    listeners_accept(w, arg != NULL);
}

static void shorten_timers(struct worker *w, void *arg)
{
    (void)arg;
    listeners_each_connection(w, hcm_retime);
}

static void reset_streams(struct worker *w, void *arg)
{
    (void)arg;
    listeners_each_connection(w, hcm_reset_heavy);
}

static void act(struct overload *o, enum overload_lever lever, uint32_t before, uint32_t level)
{
    bool was_full = before >= OVERLOAD_FULL, is_full = level >= OVERLOAD_FULL;
    switch (lever) {
    case OVERLOAD_STOP_ACCEPTING_CONNECTIONS:
        if (was_full != is_full)
            server_on_workers(o->server, accept_or_not, NULL, is_full ? NULL : o);
        break;
    case OVERLOAD_REJECT_INCOMING_CONNECTIONS: /* below that, workers close by chance what they accept */
        listener_manager_refuse(o->server->listeners, is_full);
        break;
    case OVERLOAD_REDUCE_TIMEOUTS:
        if (level > before) /* when it eases, timers lengthen as they are set anew */
            server_on_workers(o->server, shorten_timers, NULL, NULL);
        break;
    case OVERLOAD_RESET_HIGH_MEMORY_STREAM:
        if (level)
            server_on_workers(o->server, reset_streams, NULL, NULL);
        break;
    case OVERLOAD_SHRINK_HEAP:
        if (is_full && loop_now_us(o->server->main_loop) - o->shrunk_us >= SHRINK_EVERY_US) {
            o->shrunk_us = loop_now_us(o->server->main_loop);
            malloc_trim(0);
        }
        break;
    default:
        break; /* workers look at the level */
    }
}

static void publish(struct overload *o, const struct overload_lever_spec *l)
{
    uint32_t level = lever_level(o, l), before = overload_level(l->lever);
    struct stat_scope *s = lever_scopes[l->lever];
    atomic_store_explicit(&overload_levels[l->lever], level, memory_order_relaxed);
    if (l->lever < OVERLOAD_FIRST_POINT) {
        stat_set(s, STAT_ACTION_ACTIVE, level >= OVERLOAD_FULL);
        stat_set(s, STAT_ACTION_SCALE, level * 100 / OVERLOAD_FULL);
    } else {
        stat_set(s, STAT_POINT_SCALE, level * 100 / OVERLOAD_FULL);
    }
    act(o, l->lever, before, level);
}

static void refresh(struct timer *t)
{
    struct overload *o = CONTAINER_OF(t, overload, timer);
    for (uint32_t i = 0; i < o->spec->monitor_count; i++)
        read_monitor(o, i);
    for (uint32_t i = 0; i < o->spec->lever_count; i++)
        publish(o, &o->spec->levers[i]);
    timer_set_ms(t, o->spec->refresh_ms);
}

/* ---- any thread ---- */

bool overload_draw(enum overload_lever l, struct rng *rng)
{
    bool hit = rng_below(rng, OVERLOAD_FULL) < overload_level(l);
    if (hit && l >= OVERLOAD_FIRST_POINT)
        stat_inc(lever_scopes[l], STAT_POINT_SHED);
    return hit;
}

uint64_t overload_heavy_bytes(uint32_t classes)
{
    uint32_t level = overload_level(OVERLOAD_RESET_HIGH_MEMORY_STREAM);
    uint32_t above = (OVERLOAD_FULL - (level < OVERLOAD_FULL ? level : OVERLOAD_FULL)) * (classes - 1) / OVERLOAD_FULL;
    return 1ull << (account_power + above);
}

void overload_count_reset(void)
{
    stat_inc(lever_scopes[OVERLOAD_RESET_HIGH_MEMORY_STREAM], STAT_RESETS);
}

uint64_t overload_timeout_us(enum overload_timer t, uint64_t us)
{
    uint32_t level = overload_level(OVERLOAD_REDUCE_TIMEOUTS);
    if (__builtin_expect(!level, 1) || !timers[t].on || !us)
        return us;
    uint64_t floor = timers[t].has_floor ? timers[t].floor_ms * 1000 : (uint64_t)((double)us * timers[t].floor_share);
    if (floor >= us)
        return us;
    uint64_t left = us - (us - floor) * (level < OVERLOAD_FULL ? level : OVERLOAD_FULL) / OVERLOAD_FULL;
    return left ? left : 1;
}

/* ---- life ---- */

static struct stat_scope *scope(struct str name, const struct stat_table *table)
{
    struct strbuf prefix = {0};
    strbuf_addz(&prefix, "overload.");
    strbuf_adds(&prefix, name);
    strbuf_addc(&prefix, '.');
    struct stat_scope *s = stat_scope_get(strbuf_str(&prefix), table, strbuf_str(&prefix), NULL, 0);
    strbuf_fini(&prefix);
    return s;
}

struct overload *overload_new(struct server *s, const struct overload_spec *keep_spec)
{
    struct overload *o = NEW(overload);
    uint32_t n = keep_spec->monitor_count;
    o->server = s;
    o->spec = keep_spec;
    o->monitors = mem_zalloc((n + 1) * sizeof *o->monitors);
    o->monitor_scopes = mem_zalloc((n + 1) * sizeof(struct stat_scope *));
    o->pressures = mem_zalloc((n + 1) * sizeof(double));
    o->complained_us = mem_zalloc((n + 1) * sizeof(uint64_t));
    for (uint32_t i = 0; i < n; i++) {
        o->monitors[i].spec = &keep_spec->monitors[i];
        o->monitors[i].server = s;
        o->monitor_scopes[i] = scope(keep_spec->monitors[i].name, &monitor_table);
    }
    for (uint32_t i = 0; i < keep_spec->lever_count; i++) {
        enum overload_lever l = keep_spec->levers[i].lever;
        const struct stat_table *table = l == OVERLOAD_RESET_HIGH_MEMORY_STREAM ? &reset_table
                                         : l < OVERLOAD_FIRST_POINT ? &action_table : &point_table;
        lever_scopes[l] = scope(str_from(lever_names[l]), table);
    }
    account_power = keep_spec->account_power_of_two ? keep_spec->account_power_of_two : 20;
    memcpy(timers, keep_spec->timers, sizeof timers);
    timer_init(&o->timer, s->main_loop, refresh);
    return o;
}

void overload_start(struct overload *o)
{
    refresh(&o->timer);
}

void overload_free(struct overload **overload)
{
    struct overload *o = *overload;
    *overload = NULL;
    if (!o)
        return;
    timer_clear(&o->timer);
    for (uint32_t i = 0; i < o->spec->monitor_count; i++)
        stat_scope_unref(&o->monitor_scopes[i]);
    for (uint32_t i = 0; i < OVERLOAD_LEVER_COUNT; i++) {
        atomic_store(&overload_levels[i], 0);
        if (lever_scopes[i])
            stat_scope_unref(&lever_scopes[i]);
    }
    mem_free(o->monitors);
    mem_free(o->monitor_scopes);
    mem_free(o->pressures);
    mem_free(o->complained_us);
    mem_free(o);
}
