/* SPDX-License-Identifier: Apache-2.0
 *
 * Overload manager (Envoy: "Overload manager", config.overload.v3): monitors tell on the main thread how
 * near resources are to their end; actions and load-shed points follow from that. Workers only read
 * levels, relaxed atomics; where nothing is configured they are zero and cost one load.
 */
#ifndef PROXY_OVERLOAD_OVERLOAD_H
#define PROXY_OVERLOAD_OVERLOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/rng.h"
#include "base/str.h"

struct server;
struct resource_monitor_def; /* overload/monitor.h */

#define OVERLOAD_ACTION_TABLE(X)                                                                   \
    X(STOP_ACCEPTING_REQUESTS, "envoy.overload_actions.stop_accepting_requests")                   \
    X(DISABLE_HTTP_KEEPALIVE, "envoy.overload_actions.disable_http_keepalive")                     \
    X(STOP_ACCEPTING_CONNECTIONS, "envoy.overload_actions.stop_accepting_connections")             \
    X(REJECT_INCOMING_CONNECTIONS, "envoy.overload_actions.reject_incoming_connections")           \
    X(SHRINK_HEAP, "envoy.overload_actions.shrink_heap")                                           \
    X(REDUCE_TIMEOUTS, "envoy.overload_actions.reduce_timeouts")                                   \
    X(RESET_HIGH_MEMORY_STREAM, "envoy.overload_actions.reset_high_memory_stream")
/* Where load is shed: each asks before it takes on work. */
#define OVERLOAD_POINT_TABLE(X)                                                                    \
    X(TCP_LISTENER_ACCEPT, "envoy.load_shed_points.tcp_listener_accept")                           \
    X(DECODE_HEADERS, "envoy.load_shed_points.http_connection_manager_decode_headers")             \
    X(CREATING_CODEC, "envoy.load_shed_points.hcm_ondata_creating_codec")                          \
    X(FILTER_CHECK, "envoy.load_shed_points.http_downstream_filter_check")
enum overload_lever { /* actions first, then points */
#define X(id, name) OVERLOAD_##id,
    OVERLOAD_ACTION_TABLE(X) OVERLOAD_POINT_TABLE(X)
#undef X
    OVERLOAD_LEVER_COUNT
};
#define OVERLOAD_FIRST_POINT OVERLOAD_TCP_LISTENER_ACCEPT

/* ---- what a configuration says ---- */
struct overload_trigger {
    uint32_t monitor;            /* index */
    bool is_scaled;
    double from, to;             /* a threshold has only `from` */
};
struct overload_lever_spec {
    enum overload_lever lever;
    struct overload_trigger *triggers; uint32_t trigger_count;
};
struct resource_monitor_spec {
    struct str name;
    const struct resource_monitor_def *def;
    uint64_t limit;              /* bytes or connections; 0: the machine's */
    bool of_container;           /* CPU: this cgroup's share instead of the machine */
    uint64_t window_ms;          /* of workers' readings; 0: 200 */
    struct str path;             /* injected_resource */
};
enum overload_timer { OVERLOAD_TIMER_CONNECTION_IDLE, OVERLOAD_TIMER_STREAM_IDLE, OVERLOAD_TIMER_TRANSPORT_CONNECT,
                      OVERLOAD_TIMER_CONNECTION_MAX, OVERLOAD_TIMER_STREAM_FLUSH, OVERLOAD_TIMER_COUNT };
struct overload_timer_spec { bool on; bool has_floor; uint64_t floor_ms; double floor_share; };
struct overload_spec {
    uint64_t refresh_ms;         /* 1000 */
    struct resource_monitor_spec *monitors; uint32_t monitor_count;
    struct overload_lever_spec *levers; uint32_t lever_count;
    struct overload_timer_spec timers[OVERLOAD_TIMER_COUNT];
    uint8_t account_power_of_two; /* smallest memory of a stream that reset_high_memory_stream looks at; 0: 20 (1 MiB) */
    uint64_t max_connections;    /* downstream_connections; 0 none */
};

/* ---- main thread ---- */
struct overload;
/* `keep_spec` lives as long as the server. */
struct overload *overload_new(struct server *s, const struct overload_spec *keep_spec);
void overload_start(struct overload *o);
void overload_free(struct overload **o);

/* ---- any thread ---- */
#define OVERLOAD_FULL 10000u     /* saturated */
extern _Atomic uint32_t overload_levels[OVERLOAD_LEVER_COUNT];
static inline uint32_t overload_level(enum overload_lever l)
{
    return atomic_load_explicit(&overload_levels[l], memory_order_relaxed);
}
static inline bool overload_is_saturated(enum overload_lever l)
{
    return __builtin_expect(overload_level(l) >= OVERLOAD_FULL, 0);
}
/* As likely as the level is high. At a load-shed point what is shed is counted. */
bool overload_draw(enum overload_lever l, struct rng *rng);
static inline bool overload_hits(enum overload_lever l, struct rng *rng)
{
    return __builtin_expect(overload_level(l) != 0, 0) && overload_draw(l, rng);
}
/* Streams that hold as much are reset now: from 2^account_power_of_two bytes when saturated, up to 2^(classes - 1) times that
 * as the level is lower. And one was. */
uint64_t overload_heavy_bytes(uint32_t classes);
void overload_count_reset(void);
/* A timeout as reduce_timeouts has it now; 0 stays 0. */
uint64_t overload_timeout_us(enum overload_timer t, uint64_t us);

#endif
