/* SPDX-License-Identifier: Apache-2.0
 *
 * The process's frame: main thread, workers, the current configuration snapshot, draining, and what
 * admin needs to see of it all. Made once by cmd/; reachable as a parameter, not as a global.
 */
#ifndef PROXY_SERVER_H
#define PROXY_SERVER_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/err.h"
#include "base/map.h"
#include "io/dns.h"
#include "io/loop.h"
#include "proxy/cluster/cluster.h"
#include "proxy/stats/stats.h"

struct agent;
struct buf;
struct cluster_manager;
struct listener_manager;
struct file_watcher; /* io/file_watch.h */
struct server;

struct worker {
    struct server *server;
    struct loop *loop;
    uint32_t index;              /* 0.. ; stat_thread is index + 1 */
    pthread_t thread;
    int tid;                     /* written once by itself, read by the main thread: atomic */
    char name[16];               /* "worker_0" */
    struct list listeners;       /* active_listener on this worker */
    struct map *listener_map;    /* their addresses -> struct active (listener/active.c) */
    uint64_t connections;        /* downstream, on this worker */
    void *log_state;             /* access-log buffers of this worker (proxy/log) */
};

struct node_info { struct str id, cluster, region, zone, sub_zone; };

/* What only cmd/ may wire in: nobody else includes proxy/admin. Any may be NULL. */
struct server_hooks {
    int (*admin_start)(struct server *s, struct err *err);
    void (*admin_stop)(struct server *s);
    int (*agent_start)(struct server *s, struct err *err); /* clusters and listeners are made, nothing runs */
    void (*agent_stop)(struct server *s);
    void (*agent_terminate)(struct server *s);             /* the first SIGTERM of a live server, in draining's place */
    void (*metrics)(struct server *s, struct buf *out);    /* appends the page /stats/prometheus */
};

struct server_opts {             /* from the command line */
    struct str config_json;      /* in place of config_path: the agent's own bootstrap; "" none */
    struct str config_path, config_yaml, service_cluster, service_node, service_zone, admin_address_path;
    uint32_t concurrency;        /* resolved: >= 1 */
    uint64_t base_id;
    uint64_t drain_time_s;       /* 600 */
    uint64_t log_flush_ms;       /* access logs; 0: the default, 1000 */
    bool drain_immediate;        /* --drain-strategy immediate; else gradual */
    bool allow_unsupported;
    enum { SERVER_SERVE, SERVER_VALIDATE, SERVER_INIT_ONLY } mode;
    bool hot_restart_noted;
    uint64_t parent_shutdown_time_s;
    const struct str *argv; uint32_t argc; /* for /server_info command_line_options */
    struct config_result *config;    /* proxy/config/bootstrap.h: from config_load; server_new takes it */
    struct server_hooks hooks;
    struct agent *agent;         /* proxy/agent/agent.h; NULL: none */
    uint64_t shutdown_time_ms;   /* of draining at the end; 0: drain_time_s */
};

enum server_state { SERVER_LIVE, SERVER_DRAINING, SERVER_PRE_INITIALIZING, SERVER_INITIALIZING };

#define SERVER_STATS(X)                                                                            \
    X(SERVER_UPTIME, GAUGE, NONE, "uptime", "Seconds since start")                                 \
    X(SERVER_CONCURRENCY, GAUGE, NONE, "concurrency", "Workers")                                   \
    X(SERVER_MEMORY_ALLOCATED, GAUGE, BYTES, "memory_allocated", "Heap in use")                    \
    X(SERVER_MEMORY_HEAP_SIZE, GAUGE, BYTES, "memory_heap_size", "Heap reserved")                  \
    X(SERVER_MEMORY_PHYSICAL_SIZE, GAUGE, BYTES, "memory_physical_size", "Resident memory")        \
    X(SERVER_LIVE_GAUGE, GAUGE, NONE, "live", "1 when not draining")                               \
    X(SERVER_STATE_GAUGE, GAUGE, NONE, "state", "State as a number")                               \
    X(SERVER_PARENT_CONNECTIONS, GAUGE, NONE, "parent_connections", "0")                           \
    X(SERVER_TOTAL_CONNECTIONS, GAUGE, NONE, "total_connections", "Downstream connections")        \
    X(SERVER_VERSION, GAUGE, NONE, "version", "Version as a number")                               \
    X(SERVER_DAYS_UNTIL_FIRST_CERT_EXPIRING, GAUGE, NONE, "days_until_first_cert_expiring", "")    \
    X(SERVER_SECONDS_UNTIL_FIRST_OCSP, GAUGE, NONE, "seconds_until_first_ocsp_response_expiring", "") \
    X(SERVER_HOT_RESTART_EPOCH, GAUGE, NONE, "hot_restart_epoch", "0")                             \
    X(SERVER_HOT_RESTART_GENERATION, GAUGE, NONE, "hot_restart_generation", "")                    \
    X(SERVER_INITIALIZATION_TIME_MS, HISTOGRAM, MS, "initialization_time_ms", "Start to serving")  \
    X(SERVER_DEBUG_ASSERTION_FAILURES, COUNTER, NONE, "debug_assertion_failures", "")              \
    X(SERVER_ENVOY_BUG_FAILURES, COUNTER, NONE, "envoy_bug_failures", "COUNT_IF hits")             \
    X(SERVER_STATIC_UNKNOWN_FIELDS, COUNTER, NONE, "static_unknown_fields", "Unsupported fields of the bootstrap") \
    X(SERVER_DYNAMIC_UNKNOWN_FIELDS, COUNTER, NONE, "dynamic_unknown_fields", "")                  \
    X(SERVER_WIP_PROTOS, COUNTER, NONE, "wip_protos", "") X(SERVER_STATS_RECENT_LOOKUPS, GAUGE, NONE, "stats_recent_lookups", "") \
    X(SERVER_DROPPED_STAT_FLUSHES, COUNTER, NONE, "dropped_stat_flushes", "")                      \
    X(SERVER_REGEX_LIMIT, COUNTER, NONE, "weft_regex_limit", "Matches of regular expressions given up: too many steps")
enum server_stat {
    SERVER_STATS(STAT_ENUM_ROW)
    STAT_SERVER_COUNT
};

struct server {
    struct server_opts opts;
    struct node_info node;
    struct locality here;           /* the node's, for zone-aware balancing */
    struct loop *main_loop;
    struct worker *workers;
    uint32_t worker_count;
    struct dns_resolver *dns;       /* lazily made default resolver (main thread) */
    struct file_watcher *files;     /* main thread */
    struct listener_manager *listeners;
    struct cluster_manager *cluster_manager; /* cluster/manager.h */
    const struct map *clusters;     /* name -> struct cluster; main thread. Workers find clusters through slots (cluster/slot.h) */
    struct stat_scope *stats;       /* "server." */
    _Atomic int state;              /* enum server_state */
    _Atomic bool healthcheck_failed;
    _Atomic bool draining;
    uint64_t start_wall_us, start_us;
    /* Kept for config_dump: packed bootstrap (proto bytes) and what /unsupported shows. */
    void *config_dump;              /* proxy/config/dump_store.h */
    const struct err_list *unsupported; /* the configuration's: resources add to it */
    /* Limits and options of the bootstrap that others consult. */
    uint64_t max_connections_global; /* runtime overload.global_downstream_max_connections; 0 = none */
    _Atomic uint64_t connections_global;
    struct addr admin_addr; bool has_admin;
    struct str admin_profile_path;
    struct stats_sinks *sinks;       /* main thread */
    void *admin;                     /* proxy/admin */
};

/* cmd/ calls these in order: options -> bootstrap -> run. */
struct server *server_new(const struct server_opts *opts, struct err *err);
/* Starts workers and listeners, serves until a signal or /quitquitquit, drains. Returns the exit code. */
int server_run(struct server *s);
void server_free(struct server **s);

/* Runs fn(worker, arg) on every worker; `done(arg)` on the main thread once all have. done may be NULL. */
void server_on_workers(struct server *s, void (*fn)(struct worker *w, void *arg), void (*done)(void *arg), void *arg);
/* SIGTERM and /quitquitquit: stop listening, drain, exit within drain_time. A second call exits at once. */
void server_shutdown(struct server *s);
/* Ends now; connections that are left are closed. */
void server_end(struct server *s);
void server_drain_listeners(struct server *s, bool graceful, bool inbound_only, bool exit_after);
/* Any thread: while draining, perhaps the last connection has gone. */
void server_note_idle(struct server *s);
struct cluster *server_find_cluster(struct server *s, struct str name); /* main thread; borrowed */
/* The worker of the calling thread; NULL on main. */
struct worker *worker_current(void);

#endif
