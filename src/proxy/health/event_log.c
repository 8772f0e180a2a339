/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of event lines. A path is opened once however many clusters name it; lines are written whole
 * with one write(2) each to an O_APPEND descriptor, so that several processes may share a file. A
 * write that fails is dropped: health must not wait for a disk. Main thread.
 */
#include "proxy/health/event_log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "io/addr.h"

struct event_log {
    uint32_t refs;
    int fd;
    char *path;
};
static struct map *logs;

struct event_log *event_log_get(struct str path)
{
    if (!path.n)
        return NULL;
    struct event_log *l = logs ? map_get(logs, path) : NULL;
    if (l) {
        l->refs++;
        return l;
    }
    char *name = mem_strndup(path.p, path.n);
    int fd = open(name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        LOG(UPSTREAM, ERROR, "event log %s: %s", name, strerror(errno));
        mem_free(name);
        return NULL;
    }
    l = NEW(event_log);
    *l = (struct event_log){.refs = 1, .fd = fd, .path = name};
    if (!logs)
        logs = map_new();
    map_set(logs, path, l);
    return l;
}

void event_log_unref(struct event_log **log)
{
    struct event_log *l = *log;
    *log = NULL;
    if (!l || --l->refs)
        return;
    map_del(logs, str_from(l->path));
    if (!map_count(logs))
        map_free(&logs);
    close(l->fd);
    mem_free(l->path);
    mem_free(l);
}

void event_log_write(struct event_log *l, struct strbuf *line)
{
    strbuf_addc(line, '\n');
    if (write(l->fd, line->p, line->n) != (ssize_t)line->n)
        LOG(UPSTREAM, DEBUG, "event log %s: a line is lost", l->path);
}

/* ---- parts ---- */

static void add_key(struct strbuf *b, const char *key)
{
    if (b->n && b->p[b->n - 1] != '{')
        strbuf_addc(b, ',');
    strbuf_addf(b, "\"%s\":", key);
}

void event_add_text(struct strbuf *b, const char *key, struct str value)
{
    add_key(b, key);
    strbuf_addc(b, '"');
    strbuf_add_json(b, value);
    strbuf_addc(b, '"');
}

void event_add_raw(struct strbuf *b, const char *key, const char *json)
{
    add_key(b, key);
    strbuf_addz(b, json);
}

void event_add_time(struct strbuf *b, uint64_t wall_us)
{
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    add_key(b, "timestamp");
    strbuf_addf(b, "\"%04d-%02d-%02dT%02d:%02d:%02d.%03uZ\"", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                tm.tm_min, tm.tm_sec, (unsigned)(wall_us / 1000 % 1000));
}

void event_add_address(struct strbuf *b, const char *key, const struct addr *a)
{
    char text[ADDR_TEXT_BYTES];
    add_key(b, key);
    if (!addr_is_ip(a)) {
        strbuf_addz(b, "{\"pipe\":{");
        event_add_text(b, "path", str_from(addr_text(a, text)));
        strbuf_addz(b, ",\"mode\":0}}");
        return;
    }
    strbuf_addz(b, "{\"socket_address\":{\"protocol\":\"TCP\"");
    event_add_text(b, "address", str_from(addr_ip_text(a, text)));
    strbuf_addf(b, ",\"port_value\":%u,\"resolver_name\":\"\",\"ipv4_compat\":false,\"network_namespace_filepath\":\"\"}}",
                addr_port(a));
}
