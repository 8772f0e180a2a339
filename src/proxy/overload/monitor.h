/* SPDX-License-Identifier: Apache-2.0
 *
 * Resource monitors: how much of a resource is used, as a share of what there is. Main thread, read
 * once a refresh.
 */
#ifndef PROXY_OVERLOAD_MONITOR_H
#define PROXY_OVERLOAD_MONITOR_H

#include "proxy/overload/overload.h"

struct resource_monitor { /* what a monitor remembers between readings */
    const struct resource_monitor_spec *spec;
    const struct server *server;
    uint64_t used, total;     /* CPU: ticks, micro- or nanoseconds at the last reading */
    double smoothed;
    bool has_reading;
};
struct resource_monitor_def {
    const char *name;         /* "envoy.resource_monitors.fixed_heap" */
    /* 0 and the pressure (0 to 1, more when past the limit), or an error: counted as failed_updates. */
    int (*read)(struct resource_monitor *m, double *pressure, struct err *err);
};
extern const struct resource_monitor_def monitor_fixed_heap, monitor_cgroup_memory, monitor_cpu, monitor_injected,
    monitor_connections, monitor_workers;

#endif
