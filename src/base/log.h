/* SPDX-License-Identifier: Apache-2.0
 *
 * The process's own log (not access logs). Components bear Envoy's names (`--component-log-level
 * upstream:debug`). Thread-safe: one write(2) a line. Format operators are spdlog's as Envoy takes
 * them: %v message, %n component, %l level, %t thread, %Y-%m-%d %T.%e, %s:%#.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define LOG_LEVELS(X)                                                                              \
    X(TRACE, "trace")                                                                              \
    X(DEBUG, "debug")                                                                              \
    X(INFO, "info")                                                                                \
    X(WARNING, "warning")                                                                          \
    X(ERROR, "error")                                                                              \
    X(CRITICAL, "critical")                                                                        \
    X(OFF, "off")
enum log_level {
#define X(name, text) LOG_##name,
    LOG_LEVELS(X)
#undef X
};

#define LOG_COMPONENTS(X)                                                                          \
    X(ADMIN, "admin")                                                                              \
    X(CLIENT, "client")                                                                            \
    X(CONFIG, "config")                                                                            \
    X(CONNECTION, "connection")                                                                    \
    X(CONN_HANDLER, "conn_handler")                                                                \
    X(DNS, "dns")                                                                                  \
    X(FILE, "file")                                                                                \
    X(FILTER, "filter")                                                                            \
    X(GRPC, "grpc")                                                                                \
    X(HC, "hc")                                                                                    \
    X(HTTP, "http")                                                                                \
    X(HTTP2, "http2")                                                                              \
    X(MAIN, "main")                                                                                \
    X(MISC, "misc")                                                                                \
    X(POOL, "pool")                                                                                \
    X(ROUTER, "router")                                                                            \
    X(RUNTIME, "runtime")                                                                          \
    X(SECRET, "secret")                                                                            \
    X(STATS, "stats")                                                                              \
    X(TLS, "tls")                                                                                  \
    X(TRACING, "tracing")                                                                          \
    X(UPSTREAM, "upstream")
enum log_component {
#define X(name, text) LOG_C_##name,
    LOG_COMPONENTS(X)
#undef X
        LOG_COMPONENT_COUNT
};

/* Relaxed reads: one byte a component. */
extern uint8_t log_levels[LOG_COMPONENT_COUNT];
static inline bool log_is_on(enum log_component c, enum log_level l)
{
    return l >= log_levels[c];
}
void log_write(enum log_component c, enum log_level l, const char *file, int line, const char *fmt,
               ...) __attribute__((format(printf, 5, 6)));

#define LOG(component, level, ...)                                                                 \
    do {                                                                                           \
        if (log_is_on(LOG_C_##component, LOG_##level))                                             \
            log_write(LOG_C_##component, LOG_##level, __FILE__, __LINE__, __VA_ARGS__);            \
    } while (0)

/* What peers can bring about at any rate: a line at most every LOG_SELDOM_S seconds of each place in the source, whatever the
 * thread; it says how many were left out since the last. `fmt` is a literal. */
#define LOG_SELDOM_S 10
struct log_pace { /* static, zeroed */
    uint64_t next_us, left_out;
};
bool log_pace_take(struct log_pace *p, uint64_t *left_out);
#define LOG_SELDOM(component, level, fmt, ...)                                                     \
    do {                                                                                           \
        static struct log_pace pace_;                                                              \
        uint64_t left_out_;                                                                        \
        if (log_is_on(LOG_C_##component, LOG_##level) && log_pace_take(&pace_, &left_out_))        \
            log_write(LOG_C_##component, LOG_##level, __FILE__, __LINE__, fmt " (%llu more like it before)", ##__VA_ARGS__, \
                      (unsigned long long)left_out_);                                              \
    } while (0)

bool log_level_parse(const char *text, enum log_level *out); /* also "warn", "err" */
const char *log_level_text(enum log_level l);
const char *log_component_text(enum log_component c);
void log_set_level_all(enum log_level l);
bool log_set_level(const char *component, enum log_level l); /* false: no such component */
/* NULL path = stderr. Reopened by log_reopen (SIGUSR1). */
int log_open(const char *path, struct err *err);
void log_reopen(void);
int log_check_format(const char *format, struct err *err); /* names an operator that there isn't */
int log_set_format(const char *format, struct err *err); /* borrowed for ever */

#endif
