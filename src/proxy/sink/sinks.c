/* SPDX-License-Identifier: Apache-2.0
 *
 * The flush: every stats_flush_interval all statistics are walked once, for all sinks together. Also
 * without sinks, for the intervals of histograms that the admin pages show. Main thread.
 */
#include "proxy/sink/sink.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/server.h"

#define LEAVE_US 1000000ull /* a collector that stands still must not hold up an exit */

struct stats_sinks {
    struct server *server;
    struct timer timer;
    uint64_t flush_ms;
    uint32_t count;
    struct stats_sink sinks[];
};

static void on_sample(const struct stat_sample *sample, void *arg)
{
    struct stats_sinks *all = arg;
    for (uint32_t i = 0; i < all->count; i++)
        all->sinks[i].spec->def->sample(&all->sinks[i], sample);
}

void stats_sinks_flush(struct stats_sinks *all)
{
    stats_flush(all->count ? on_sample : NULL, all);
    for (uint32_t i = 0; i < all->count; i++)
        all->sinks[i].spec->def->flushed(&all->sinks[i]);
}

static void on_timer(struct timer *t)
{
    struct stats_sinks *all = CONTAINER_OF(t, stats_sinks, timer);
    stats_sinks_flush(all);
    timer_set_ms(t, all->flush_ms);
}

struct stats_sinks *stats_sinks_new(struct server *s, const struct stats_sink_spec *keep_specs, uint32_t n, uint64_t flush_ms)
{
    struct stats_sinks *all = mem_zalloc(sizeof *all + n * sizeof all->sinks[0]);
    all->server = s;
    all->flush_ms = flush_ms;
    for (uint32_t i = 0; i < n; i++) {
        struct stats_sink *sink = &all->sinks[all->count];
        struct err err = {0};
        sink->spec = &keep_specs[i];
        sink->server = s;
        if (sink->spec->def->start(sink, s, &err) == 0)
            all->count++;
        else
            LOG(STATS, ERROR, "%s: %s; it is left out", sink->spec->def->name, err.message);
    }
    timer_init(&all->timer, s->main_loop, on_timer);
    return all;
}

void stats_sinks_start(struct stats_sinks *all)
{
    if (all->flush_ms) /* 0: only when the admin page asks (stats_flush_on_admin) */
        timer_set_ms(&all->timer, all->flush_ms);
}

struct stats_sink *stats_sinks_find(struct stats_sinks *all, const struct stats_sink_def *def)
{
    for (uint32_t i = 0; all && i < all->count; i++)
        if (all->sinks[i].spec->def == def)
            return &all->sinks[i];
    return NULL;
}

static bool is_busy(struct stats_sinks *all)
{
    bool busy = false;
    for (uint32_t i = 0; i < all->count; i++) {
        struct stats_sink *s = &all->sinks[i];
        busy |= s->spec->def->leave && s->spec->def->leave(s);
    }
    return busy;
}

void stats_sinks_leave(struct stats_sinks *all)
{
    if (!all || !all->count)
        return;
    uint64_t limit_us = clock_mono_us() + LEAVE_US;
    timer_clear(&all->timer);
    stats_sinks_flush(all);
    while (is_busy(all) && clock_mono_us() < limit_us)
        loop_turn(all->server->main_loop, 10);
}

void stats_sinks_free(struct stats_sinks **sinks)
{
    struct stats_sinks *all = *sinks;
    *sinks = NULL;
    if (!all)
        return;
    timer_clear(&all->timer);
    for (uint32_t i = 0; i < all->count; i++)
        all->sinks[i].spec->def->stop(&all->sinks[i]);
    mem_free(all);
}
