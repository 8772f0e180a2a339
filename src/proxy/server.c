/* SPDX-License-Identifier: Apache-2.0
 *
 * The process from its configuration to its end, on the main thread:
 *
 *     made (sockets open) -> clusters warm -> serving -> draining -> over
 *
 * Sockets are opened before anything starts, so that a fault leaves nothing behind; the kernel
 * holds early connections meanwhile. Workers are in server_workers.c. The first order to stop
 * drains, the second ends at once.
 */
#include "proxy/sink/sink.h"
#include "proxy/overload/overload.h"
#include "proxy/server.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/file_watch.h"
#include "io/signals.h"
#include "proxy/config/bootstrap.h"
#include "proxy/config/dump_store.h"
#include "proxy/discovery/cds.h"
#include "proxy/discovery/lrs.h"
#include "proxy/discovery/rtds.h"
#include "proxy/discovery/lds.h"
#include "proxy/config/tls_source.h"
#include "proxy/log/access_log.h"
#include "proxy/match/string_match.h"
#include "proxy/stats/registry.h"
#include "proxy/stats/stats_config.h"
#include "proxy/server_priv.h"

#define WARM_UP_LIMIT_MS 15000
#define TICK_MS 1000
#define MAIN_NICENESS 10 /* docs/decisions/0010 */
#define SLOW_TICKS 5 /* what costs more is looked at less often */

static const struct stat_desc rows[] = {SERVER_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

static struct frame *frame_of(struct server *s)
{
    return CONTAINER_OF(s, frame, server);
}

static void finish(struct frame *f)
{
    loop_stop(f->server.main_loop);
}

/* ---- once a second ---- */

static uint64_t total_connections(const struct server *s)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < s->worker_count; i++)
        n += __atomic_load_n(&s->workers[i].connections, __ATOMIC_SEQ_CST);
    return n;
}

static void note_memory(struct server *s)
{
    struct mallinfo2 heap = mallinfo2();
    char text[128];
    size_t n = 0;
    struct str rest;
    uint64_t pages;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t got = read(fd, text, sizeof(text));
        n = got > 0 ? (size_t)got : 0;
        close(fd);
    }
    (void)str_split(str_make(text, n), ' ', &rest);
    if (str_to_u64(str_split(rest, ' ', &rest), &pages))
        stat_set(s->stats, STAT_SERVER_MEMORY_PHYSICAL_SIZE,
                 pages * (uint64_t)sysconf(_SC_PAGESIZE));
    stat_set(s->stats, STAT_SERVER_MEMORY_ALLOCATED, heap.uordblks + heap.hblkhd);
    stat_set(s->stats, STAT_SERVER_MEMORY_HEAP_SIZE, heap.arena + heap.hblkhd);
}

struct soonest {
    int64_t now_s, days;
};

static void take_expiry(struct tls_source *source, void *arg)
{
    struct soonest *soonest = arg;
    struct tls_context *ctx = tls_source_get(source);
    if (!ctx)
        return;
    int64_t days = tls_context_days_until_expiry(ctx, soonest->now_s);
    if (days < soonest->days)
        soonest->days = days < 0 ? 0 : days;
    tls_context_unref(&ctx);
}

static void note_expiry(struct server *s)
{
    struct soonest soonest = {(int64_t)(loop_wall_us(s->main_loop) / 1000000), UINT32_MAX};
    tls_sources_each(take_expiry, &soonest);
    stat_set(s->stats, STAT_SERVER_DAYS_UNTIL_FIRST_CERT_EXPIRING, (uint64_t)soonest.days);
}

static void on_tick(struct timer *t)
{
    struct frame *f = CONTAINER_OF(t, frame, tick);
    struct server *s = &f->server;
    int state = atomic_load(&s->state);
    stat_set(s->stats, STAT_SERVER_UPTIME, (loop_now_us(s->main_loop) - s->start_us) / 1000000);
    stat_set(s->stats, STAT_SERVER_CONCURRENCY, s->worker_count);
    stat_set(s->stats, STAT_SERVER_LIVE_GAUGE, state == SERVER_LIVE);
    stat_set(s->stats, STAT_SERVER_STATE_GAUGE, (uint64_t)state);
    stat_set(s->stats, STAT_SERVER_TOTAL_CONNECTIONS, total_connections(s));
    stat_set(s->stats, STAT_SERVER_REGEX_LIMIT, regex_limit_hits());
    if (f->ticks++ % SLOW_TICKS == 0) {
        note_memory(s);
        note_expiry(s);
    }
    const struct overload_spec *overload = s->opts.config->overload;
    uint64_t limit = runtime_u64(STR("overload.global_downstream_max_connections"), overload ? overload->max_connections : 0);
    __atomic_store_n(&s->max_connections_global, limit, __ATOMIC_RELAXED);
    listener_manager_refresh(s->listeners);
    timer_set_ms(t, TICK_MS);
}

static void set_state(struct server *s, enum server_state state)
{
    atomic_store(&s->state, state);
    stat_set(s->stats, STAT_SERVER_LIVE_GAUGE, state == SERVER_LIVE);
    stat_set(s->stats, STAT_SERVER_STATE_GAUGE, state);
}

/* ---- the way up ---- */

/* Where they share a CPU, traffic goes before pages, tables of hosts and certificates. Linux has a niceness a thread. */
static void stand_back(void)
{
    errno = 0;
    if (nice(MAIN_NICENESS) == -1 && errno)
        LOG(MAIN, WARNING, "the main thread can't be given less weight than the workers: %s", strerror(errno));
}

static void go_live(struct frame *f)
{
    struct server *s = &f->server;
    if (f->is_live || f->is_stopping)
        return;
    f->is_live = true;
    warmth_free(&f->init);
    if (s->opts.mode == SERVER_INIT_ONLY) {
        finish(f);
        return;
    }
    if (workers_start(s) != 0) {
        f->exit_code = 1;
        finish(f);
        return;
    }
    stand_back();
    listener_manager_start(s->listeners);
    stats_sinks_start(s->sinks);
    if (s->opts.config->overload) {
        f->overload = overload_new(s, s->opts.config->overload);
        overload_start(f->overload);
    }
    set_state(s, SERVER_LIVE);
    uint64_t took_us = clock_mono_us() - s->start_us;
    stat_record(s->stats, STAT_SERVER_INITIALIZATION_TIME_MS, took_us / 1000);
    LOG(MAIN, INFO, "all dependencies initialized. starting workers");
    LOG(MAIN, DEBUG, "server initialized in %lu us", (unsigned long)took_us);
    malloc_trim(0);
    mem_trim_image();
}

static void on_listeners_warm(void *arg)
{
    go_live(arg);
}

static void warm_listeners(struct frame *f)
{
    struct server *s = &f->server;
    const struct config_result *c = s->opts.config;
    if (f->init || f->is_live || f->is_stopping)
        return;
    timer_clear(&f->warm_up);
    LOG(MAIN, INFO, "all clusters initialized. initializing init manager");
    f->init = warmth_new(on_listeners_warm, f);
    listener_manager_warm_up(s->listeners, f->init);
    if (c->lds && s->opts.mode != SERVER_INIT_ONLY)
        f->lds = lds_new(s->listeners, c->frame, c->lds, c->lds_locator, f->init);
    warmth_start(f->init);
}

/* Names that don't resolve aren't waited for without end; endpoints that discovery promised are (initial_fetch_timeout). */
static void on_warm_up_limit(struct timer *t)
{
    struct frame *f = CONTAINER_OF(t, frame, warm_up);
    if (f->server.opts.config->frame)
        return;
    LOG(MAIN, WARNING, "%u clusters are still without their first members: serving without them",
        cluster_manager_cold_count(f->server.cluster_manager));
    warm_listeners(f);
}

/* Envoy's order: static clusters, runtime, clusters of CDS, then listeners. */
static void on_clusters_discovered(void *arg)
{
    warm_listeners(arg);
}

static void on_runtime_discovered(void *arg)
{
    struct frame *f = arg;
    const struct config_result *c = f->server.opts.config;
    if (c->cds)
        f->cds = cds_new(f->server.cluster_manager, c->frame, c->cds, c->cds_locator, on_clusters_discovered, f);
    else
        on_clusters_discovered(f);
}

static void on_static_clusters_warm(void *arg)
{
    struct frame *f = arg;
    const struct config_result *c = f->server.opts.config;
    f->rtds = rtds_new(c->frame, c->layers, c->layer_count, on_runtime_discovered, f);
}

static void warm_clusters(struct frame *f)
{
    const struct config_result *c = f->server.opts.config;
    f->discovery = (struct discovery_opts){.packed_node = c->node_packed, .ads = c->ads,
                                          .cache_path = str_from(getenv("WEFT_DISCOVERY_CACHE"))};
    discovery_start(&f->server, &f->discovery);
    if (c->lrs)
        f->lrs = lrs_new(&f->server, c->lrs, c->node_packed);
    timer_set_ms(&f->warm_up, WARM_UP_LIMIT_MS);
    cluster_manager_start(f->server.cluster_manager, on_static_clusters_warm, f);
}

/* ---- the way down ---- */

static void on_drain_timeout(struct timer *t)
{
    server_end(&CONTAINER_OF(t, frame, drain)->server);
}

void server_end(struct server *s)
{
    struct frame *f = frame_of(s);
    uint64_t left = total_connections(s);
    if (left)
        LOG(MAIN, INFO, "%lu connections are left at the end of the drain time", (unsigned long)left);
    f->is_stopping = true;
    f->is_forced = left > 0;
    finish(f);
}

static void check_idle(void *arg)
{
    struct frame *f = arg;
    if (f->is_stopping && f->workers_run && total_connections(&f->server) == 0)
        finish(f);
}

void server_note_idle(struct server *s)
{
    loop_post(s->main_loop, check_idle, frame_of(s));
}

void server_shutdown(struct server *s)
{
    struct frame *f = frame_of(s);
    if (f->is_stopping || f->is_terminating || !f->is_live) {
        LOG(MAIN, INFO, "exiting at once");
        f->is_stopping = f->is_forced = true;
        finish(f);
        return;
    }
    LOG(MAIN, INFO, "shutting down: draining %lu connections", (unsigned long)total_connections(s));
    f->is_stopping = true;
    s->draining = true;
    set_state(s, SERVER_DRAINING);
    timer_clear(&f->drain_listeners);
    timer_set_ms(&f->drain, s->opts.shutdown_time_ms ? s->opts.shutdown_time_ms : s->opts.drain_time_s * 1000);
    listener_manager_stop(s->listeners, false);
    listener_manager_drain(s->listeners, false);
    server_note_idle(s);
}

static void on_listeners_drained(struct timer *t)
{
    struct frame *f = CONTAINER_OF(t, frame, drain_listeners);
    listener_manager_stop(f->server.listeners, f->drain_inbound_only);
    listener_manager_drain(f->server.listeners, f->drain_inbound_only); /* who hasn't asked since won't be told any more */
    if (f->drain_then_exit)
        server_shutdown(&f->server);
}

void server_drain_listeners(struct server *s, bool graceful, bool inbound_only, bool exit_after)
{
    struct frame *f = frame_of(s);
    if (!graceful) {
        listener_manager_stop(s->listeners, inbound_only);
        return;
    }
    f->drain_inbound_only = inbound_only;
    f->drain_then_exit = exit_after;
    listener_manager_drain_over(s->listeners, inbound_only,
                                s->opts.drain_immediate ? 0 : s->opts.drain_time_s * 1000000);
    timer_set_ms(&f->drain_listeners, s->opts.drain_time_s * 1000);
}

static void terminate(struct server *s)
{
    struct frame *f = frame_of(s);
    if (!s->opts.hooks.agent_terminate || !f->is_live || f->is_stopping || f->is_terminating) {
        server_shutdown(s);
        return;
    }
    f->is_terminating = true;
    s->opts.hooks.agent_terminate(s);
}

static void on_signal(void *user, int number)
{
    struct server *s = user;
    switch (number) {
    case SIGTERM:
    case SIGINT:
        LOG(MAIN, WARNING, "caught %s", number == SIGTERM ? "SIGTERM" : "SIGINT");
        terminate(s);
        break;
    case SIGUSR1:
        log_reopen();
        log_files_reopen();
        LOG(MAIN, INFO, "log files reopened");
        break;
    default:
        LOG(MAIN, WARNING, "caught and eating SIGHUP");
        break;
    }
}

/* ---- making and unmaking ---- */

static int watch_signals(struct frame *f, struct err *err)
{
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGUSR1);
    sigaddset(&mask, SIGHUP);
    f->signals = signals_new(f->server.main_loop, &mask, on_signal, &f->server, err);
    return f->signals ? 0 : err->code;
}

static void limit_heap(uint32_t workers)
{
    /* An arena a thread and no more; freed memory goes back before it piles up. */
    mallopt(M_ARENA_MAX, (int)workers + 1);
    mallopt(M_TRIM_THRESHOLD, 256 * 1024);
    mallopt(M_MMAP_THRESHOLD, 256 * 1024);
}

static int make_clusters(struct server *s, struct err *err)
{
    struct config_result *c = s->opts.config;
    struct frame *f = frame_of(s);
    f->server.cluster_manager = cluster_manager_new(c->frame);
    s->clusters = cluster_manager_active(f->server.cluster_manager);
    for (uint32_t i = 0; i < c->cluster_count; i++) {
        struct cluster_spec *spec = c->clusters[i];
        c->clusters[i] = NULL;
        if (cluster_manager_add(f->server.cluster_manager, spec, err) != 0)
            return err->code;
    }
    s->sinks = stats_sinks_new(s, c->sinks, c->sink_count, c->stats_flush_on_admin ? 0 : c->stats_flush_interval_ms);
    return 0;
}

static int make_listeners(struct server *s, struct err *err)
{
    struct config_result *c = s->opts.config;
    s->listeners = listener_manager_new(s);
    for (uint32_t i = 0; i < c->listener_count; i++) {
        struct listener_spec *spec = c->listeners[i];
        c->listeners[i] = NULL;
        int rc = listener_manager_add(s->listeners, spec, err);
        if (rc)
            return rc;
    }
    return 0;
}

static void take_config(struct server *s)
{
    struct config_result *c = s->opts.config;
    s->node = c->node;
    bool is_somewhere = c->node.region.n + c->node.zone.n + c->node.sub_zone.n > 0;
    s->here = (struct locality){c->node.region, c->node.zone, c->node.sub_zone};
    clusters_locate(is_somewhere ? &s->here : NULL, c->local_cluster);
    s->has_admin = c->admin.enabled;
    addr_copy(&s->admin_addr, &c->admin.addr);
    s->admin_profile_path = c->admin.profile_path;
    s->unsupported = &c->unsupported;
    s->config_dump = dump_store_new(c->packed, s->start_wall_us);
    c->packed = STR_NULL;
}

/* The log outlives the configuration: it keeps a text of its own. */
static int apply_log_format(struct str format, struct err *err)
{
    static char *kept;
    if (!format.n)
        return 0;
    char *text = mem_strndup(format.p, format.n);
    int rc = log_set_format(text, err);
    mem_free(rc == 0 ? kept : text);
    kept = rc == 0 ? text : kept;
    return rc;
}

static int make(struct frame *f, struct err *err)
{
    struct server *s = &f->server;
    if (apply_log_format(s->opts.config->log_format, err) < 0)
        return err->code;
    s->main_loop = loop_new("main", err);
    if (!s->main_loop)
        return err->code;
    int rc = watch_signals(f, err);
    if (rc)
        return rc;
    timer_init(&f->tick, s->main_loop, on_tick);
    timer_init(&f->warm_up, s->main_loop, on_warm_up_limit);
    timer_init(&f->drain, s->main_loop, on_drain_timeout);
    timer_init(&f->drain_listeners, s->main_loop, on_listeners_drained);
    if (s->opts.concurrency >= STAT_MAX_THREADS)
        return err_set(err, ERR_LIMIT, "--concurrency %u: at most %d workers are possible",
                       s->opts.concurrency, STAT_MAX_THREADS - 1);
    stats_init(s->opts.concurrency + 1);
    if (s->opts.config->stats)
        stats_config_apply(s->opts.config->stats);
    log_files_start();
    f->runtime = runtime_new(s->opts.config->layers, s->opts.config->layer_count);
    s->stats = stat_scope_get(STR("server."), &table, STR("server."), NULL, 0);
    stat_add(s->stats, STAT_SERVER_STATIC_UNKNOWN_FIELDS,
             s->unsupported->count + s->unsupported->dropped);
    set_state(s, SERVER_INITIALIZING);
    rc = workers_make(s, err);
    if (rc)
        return rc;
    clusters_init(s->main_loop, f->worker_loops, s->worker_count);
    s->files = file_watcher_new(s->main_loop, err);
    if (!s->files)
        return err->code;
    tls_sources_watch(s->files);
    rc = make_clusters(s, err);
    if (!rc)
        rc = make_listeners(s, err);
    if (!rc && s->opts.hooks.admin_start && s->has_admin)
        rc = s->opts.hooks.admin_start(s, err);
    if (!rc && s->opts.hooks.agent_start)
        rc = s->opts.hooks.agent_start(s, err);
    return rc;
}

struct server *server_new(const struct server_opts *opts, struct err *err)
{
    struct frame *f = NEW(frame);
    struct server *s = &f->server;
    s->opts = *opts;
    if (!s->opts.concurrency)
        s->opts.concurrency = 1;
    s->start_us = clock_mono_us();
    s->start_wall_us = clock_wall_us();
    check_context.worker = "main";
    limit_heap(s->opts.concurrency);
    take_config(s);
    LOG(MAIN, INFO, "initializing epoch 0 (base id=%lu, workers=%u)",
        (unsigned long)s->opts.base_id, s->opts.concurrency);
    if (make(f, err) == 0)
        return s;
    server_free(&s);
    return NULL;
}

int server_run(struct server *s)
{
    struct frame *f = frame_of(s);
    warm_clusters(f);
    on_tick(&f->tick);
    LOG(MAIN, INFO, "starting main dispatch loop");
    loop_run(s->main_loop);
    LOG(MAIN, INFO, "main dispatch loop exited");
    workers_stop(s, f->is_forced);
    loop_turn(s->main_loop, 0); /* what workers have posted at their end */
    if (!f->is_forced)
        stats_sinks_leave(s->sinks);
    return f->exit_code;
}

void server_free(struct server **server)
{
    struct server *s = *server;
    if (!s)
        return;
    *server = NULL;
    struct frame *f = frame_of(s);
    if (s->admin && s->opts.hooks.admin_stop)
        s->opts.hooks.admin_stop(s);
    discovery_stop(); /* what goes below is neither configured any more nor a server's failure */
    if (s->opts.hooks.agent_stop)
        s->opts.hooks.agent_stop(s);
    access_log_leave_here();
    timer_clear(&f->tick);
    timer_clear(&f->warm_up);
    timer_clear(&f->drain);
    timer_clear(&f->drain_listeners);
    stats_sinks_free(&s->sinks);
    overload_free(&f->overload);
    lds_free(&f->lds);
    warmth_free(&f->init);
    listener_manager_free(&s->listeners);
    workers_free(s);
    cds_free(&f->cds);
    rtds_free(&f->rtds);
    lrs_free(&f->lrs);
    cluster_manager_free(&f->server.cluster_manager);
    tls_sources_watch(NULL);
    file_watcher_free(&s->files);
    clusters_fini();
    dns_resolver_free(&s->dns);
    log_files_flush_all();
    stat_scope_unref(&s->stats);
    stats_config_apply(NULL);
    dump_store_free((struct dump_store **)&s->config_dump);
    config_result_free(&s->opts.config);
    runtime_free(&f->runtime);
    signals_free(&f->signals);
    loop_free(&s->main_loop);
    addr_fini(&s->admin_addr);
    stats_fini();
    mem_free(f);
}

struct cluster *server_find_cluster(struct server *s, struct str name)
{
    return map_get(s->clusters, name);
}
