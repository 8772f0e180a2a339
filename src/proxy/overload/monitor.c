/* SPDX-License-Identifier: Apache-2.0
 *
 * The resource monitors, a function each: heap in use, the memory of our cgroup (both versions), CPU
 * of the machine or of the cgroup, how busy the workers are, downstream connections, and a number in a
 * file (for tests of configurations). Main thread.
 */
#include "proxy/overload/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "proxy/server.h"

#define CPU_SMOOTHING 0.05 /* weight of the newest reading, as Envoy's */
#define WORKERS_WINDOW_MS 200
#define FILE_BYTES 4096

static int read_text(const char *path, char text[FILE_BYTES], struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, FILE_BYTES - 1);
    int why = errno;
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return err_set(err, ERR_IO, "cannot read %s: %s", path, strerror(why)), ERR_IO;
    text[n] = '\0';
    return 0;
}

static int read_number(const char *path, uint64_t *out, struct err *err)
{
    char text[FILE_BYTES];
    int rc = read_text(path, text, err);
    if (rc < 0)
        return rc;
    if (strncmp(text, "max", 3) == 0) {
        *out = UINT64_MAX;
        return 0;
    }
    if (!str_to_u64(str_trim(str_from(text)), out))
        return err_set(err, ERR_INVALID, "%s: not a number", path);
    return 0;
}

/* ---- memory ---- */

static int read_heap(struct resource_monitor *m, double *pressure, struct err *err)
{
    (void)err;
    struct mallinfo2 heap = mallinfo2();
    *pressure = (double)(heap.uordblks + heap.hblkhd) / (double)m->spec->limit;
    return 0;
}

static int read_cgroup_memory(struct resource_monitor *m, double *pressure, struct err *err)
{
    static const char *const paths[][2] = {
        {"/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.max"},
        {"/sys/fs/cgroup/memory/memory.usage_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes"},
    };
    bool is_v1 = access(paths[0][0], R_OK) != 0;
    uint64_t used, limit = UINT64_MAX;
    int rc = read_number(paths[is_v1][0], &used, err);
    if (rc < 0)
        return rc;
    if (read_number(paths[is_v1][1], &limit, NULL) < 0)
        limit = UINT64_MAX;
    if (m->spec->limit && m->spec->limit < limit)
        limit = m->spec->limit;
    *pressure = limit == UINT64_MAX ? 0 : (double)used / (double)limit;
    return 0;
}

/* ---- CPU ---- */

/* Jiffies since boot: all, and those not idle. */
static int machine_cpu(uint64_t *used, uint64_t *total, struct err *err)
{
    char text[FILE_BYTES];
    int rc = read_text("/proc/stat", text, err);
    if (rc < 0)
        return rc;
    struct str rest = str_from(text), field, line = str_split(rest, '\n', &rest);
    uint64_t value;
    *used = *total = 0;
    for (int i = 0; line.p; ) {
        field = str_split(line, ' ', &line);
        if (!field.n || !str_to_u64(field, &value))
            continue;
        *total += value;
        *used += i == 3 ? 0 : value; /* the fourth is idle */
        i++;
    }
    return *total ? 0 : err_set(err, ERR_INVALID, "/proc/stat has no line of the form \"cpu N N N N\"");
}

/* Microseconds used by our cgroup, against those of the CPUs it may use. */
static int container_cpu(uint64_t *used, uint64_t *total, struct err *err)
{
    char text[FILE_BYTES];
    uint64_t quota = 0, period = 100000;
    double cpus = (double)sysconf(_SC_NPROCESSORS_ONLN);
    if (read_text("/sys/fs/cgroup/cpu.stat", text, NULL) == 0) {
        const char *at = strstr(text, "usage_usec ");
        *used = at ? strtoull(at + 11, NULL, 10) : 0;
        if (read_text("/sys/fs/cgroup/cpu.max", text, NULL) == 0 && strncmp(text, "max", 3) != 0) {
            char *end;
            quota = strtoull(text, &end, 10);
            period = strtoull(end, NULL, 10);
        }
    } else {
        int rc = read_number("/sys/fs/cgroup/cpuacct/cpuacct.usage", used, err);
        if (rc < 0)
            return rc;
        *used /= 1000;
        if (read_number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", &quota, NULL) < 0)
            quota = 0;
        (void)read_number("/sys/fs/cgroup/cpu/cpu.cfs_period_us", &period, NULL);
    }
    if (quota && period)
        cpus = (double)quota / (double)period;
    *total = (uint64_t)((double)clock_mono_us() * cpus);
    return 0;
}

static int read_cpu(struct resource_monitor *m, double *pressure, struct err *err)
{
    uint64_t used, total;
    int rc = m->spec->of_container ? container_cpu(&used, &total, err) : machine_cpu(&used, &total, err);
    if (rc < 0)
        return rc;
    if (m->has_reading && total > m->total && used >= m->used) {
        double now = (double)(used - m->used) / (double)(total - m->total);
        m->smoothed = CPU_SMOOTHING * (now < 1 ? now : 1) + (1 - CPU_SMOOTHING) * m->smoothed;
    }
    m->has_reading = true;
    m->used = used;
    m->total = total;
    *pressure = m->smoothed;
    return 0;
}

/* ---- workers ---- */

/* Nanoseconds that a worker has run, or waited for a CPU to run on: who must wait is no less busy. */
static int worker_busy(const struct worker *w, uint64_t *ns, struct err *err)
{
    char path[64], text[FILE_BYTES];
    int tid = __atomic_load_n(&w->tid, __ATOMIC_RELAXED);
    if (!tid)
        return 0; /* not running yet */
    snprintf(path, sizeof path, "/proc/self/task/%d/schedstat", tid);
    int rc = read_text(path, text, err);
    if (rc < 0)
        return rc;
    struct str rest = str_from(text), ran = str_split(rest, ' ', &rest), waited = str_split(rest, ' ', &rest);
    uint64_t ran_ns, waited_ns;
    if (!str_to_u64(ran, &ran_ns) || !str_to_u64(waited, &waited_ns))
        return err_set(err, ERR_INVALID, "%s: not two numbers", path);
    *ns += ran_ns + waited_ns;
    return 0;
}

static int read_workers(struct resource_monitor *m, double *pressure, struct err *err)
{
    uint64_t used = 0, now = clock_mono_us(), window_us = (m->spec->window_ms ? m->spec->window_ms : WORKERS_WINDOW_MS) * 1000;
    for (uint32_t i = 0; i < m->server->worker_count; i++) {
        int rc = worker_busy(&m->server->workers[i], &used, err);
        if (rc < 0)
            return rc;
    }
    if (m->has_reading && now > m->total && used >= m->used) {
        double passed_us = (double)(now - m->total);
        double share = (double)(used - m->used) / 1000 / passed_us / m->server->worker_count;
        m->smoothed += (1 - exp(-passed_us / (double)window_us)) * ((share < 1 ? share : 1) - m->smoothed);
    }
    m->has_reading = true;
    m->used = used;
    m->total = now;
    *pressure = m->smoothed;
    return 0;
}

/* ---- others ---- */

static int read_injected(struct resource_monitor *m, double *pressure, struct err *err)
{
    char text[FILE_BYTES], *end;
    int rc = read_text(m->spec->path.p, text, err);
    if (rc < 0)
        return rc;
    double value = strtod(text, &end);
    if (end == text || !isfinite(value) || value < 0 || value > 1)
        return err_set(err, ERR_INVALID, "%s: want a number from 0 to 1", m->spec->path.p);
    *pressure = value;
    return 0;
}

static int read_connections(struct resource_monitor *m, double *pressure, struct err *err)
{
    (void)err;
    uint64_t n = 0;
    for (uint32_t i = 0; i < m->server->worker_count; i++)
        n += __atomic_load_n(&m->server->workers[i].connections, __ATOMIC_RELAXED);
    *pressure = (double)n / (double)m->spec->limit;
    return 0;
}

const struct resource_monitor_def monitor_fixed_heap = {"envoy.resource_monitors.fixed_heap", read_heap};
const struct resource_monitor_def monitor_cgroup_memory = {"envoy.resource_monitors.cgroup_memory", read_cgroup_memory};
const struct resource_monitor_def monitor_cpu = {"envoy.resource_monitors.cpu_utilization", read_cpu};
const struct resource_monitor_def monitor_injected = {"envoy.resource_monitors.injected_resource", read_injected};
const struct resource_monitor_def monitor_connections = {"envoy.resource_monitors.global_downstream_max_connections",
                                                         read_connections};
const struct resource_monitor_def monitor_workers = {"weft.resource_monitors.worker_utilization", read_workers};
