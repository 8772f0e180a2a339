/* SPDX-License-Identifier: Apache-2.0
 *
 * statsd, dogstatsd (tags after '#') and Graphite's statsd (tags after ';'), over UDP or, statsd alone,
 * over a TCP connection to a cluster. Datagrams go out without waiting: what the socket doesn't take
 * is lost, as UDP is. Over TCP at most STREAM_MAX_BYTES wait; a flush that doesn't fit is dropped whole.
 *
 * Samples of histograms are sent once a bin with the rate "@1/n" instead of n times (statsd's sampling):
 * the receiver counts the same, the wire holds a line a bin. Main thread.
 */
#include "proxy/sink/sink.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "proxy/cluster/cluster.h"
#include "proxy/server.h"

#define STREAM_MAX_BYTES ((size_t)16 << 20) /* a collector that stands still must not take our memory */

struct statsd {
    struct stats_sink *sink;
    int fd;                     /* UDP; -1 */
    struct conn *conn;          /* TCP; NULL */
    bool is_connected;
    struct host *host;
    struct cluster_worker *view; /* the host's */
    struct strbuf lines;        /* of this flush (TCP), or of the datagram that is being filled */
    struct strbuf line;
    struct stat_scope *stats;   /* "statsd." of lost flushes and datagrams */
};

#define STATSD_STATS(X)                                                                            \
    X(STATSD_DROPPED, COUNTER, NONE, "weft_statsd_dropped", "Datagrams or flushes that the receiver didn't take")
enum statsd_stat { STATSD_STATS(STAT_ENUM_ROW) STAT_STATSD_COUNT };
static const struct stat_desc rows[] = {STATSD_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, STAT_STATSD_COUNT};

/* ---- lines ---- */

static bool is_special(enum statsd_dialect dialect, char c)
{
    return c == ':' || c == '|' || c == '\n' || c == '@' || (dialect == STATSD_DOG && (c == '#' || c == ',')) ||
           (dialect == STATSD_GRAPHITE && (c == ';' || c == ' ' || c == '='));
}

static void add_clean(struct strbuf *b, enum statsd_dialect dialect, struct str s, bool is_value)
{
    for (size_t i = 0; i < s.n; i++)
        strbuf_addc(b, is_special(dialect, s.p[i]) && !(is_value && s.p[i] == ':') ? '_' : s.p[i]);
}

/* Graphite puts tags into the name, dogstatsd behind the value. */
static void add_name(struct statsd *d, const struct stat_sample *s)
{
    const struct stats_sink_spec *spec = d->sink->spec;
    strbuf_adds(&d->line, spec->prefix);
    strbuf_addc(&d->line, '.');
    add_clean(&d->line, spec->dialect, spec->dialect == STATSD_PLAIN ? s->name : s->extracted, false);
    for (uint32_t i = 0; spec->dialect == STATSD_GRAPHITE && i < s->tag_count; i++) {
        strbuf_addc(&d->line, ';');
        add_clean(&d->line, STATSD_GRAPHITE, s->tags[i].name, false);
        strbuf_addc(&d->line, '=');
        add_clean(&d->line, STATSD_GRAPHITE, s->tags[i].value, true);
    }
    strbuf_addc(&d->line, ':');
}

static void add_tags(struct statsd *d, const struct stat_sample *s)
{
    for (uint32_t i = 0; d->sink->spec->dialect == STATSD_DOG && i < s->tag_count; i++) {
        strbuf_addz(&d->line, i ? "," : "|#");
        add_clean(&d->line, STATSD_DOG, s->tags[i].name, false);
        strbuf_addc(&d->line, ':');
        add_clean(&d->line, STATSD_DOG, s->tags[i].value, true);
    }
}

static void send_datagram(struct statsd *d)
{
    struct sockaddr_storage to;
    socklen_t n = addr_to_sockaddr(&d->sink->spec->addr, &to);
    if (d->lines.n && sendto(d->fd, d->lines.p, d->lines.n, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to, n) < 0)
        stat_inc(d->stats, STAT_STATSD_DROPPED);
    strbuf_reset(&d->lines);
}

/* The line is done: on its way, or into a datagram with others. */
static void end_line(struct statsd *d)
{
    uint64_t limit = d->sink->spec->max_datagram_bytes;
    if (d->fd < 0) {
        strbuf_adds(&d->lines, strbuf_str(&d->line));
        strbuf_addc(&d->lines, '\n');
    } else {
        if (d->lines.n && d->lines.n + 1 + d->line.n > limit)
            send_datagram(d);
        if (d->lines.n)
            strbuf_addc(&d->lines, '\n');
        strbuf_adds(&d->lines, strbuf_str(&d->line));
        if (!limit)
            send_datagram(d);
    }
    strbuf_reset(&d->line);
}

static void add_bins(struct statsd *d, const struct stat_sample *s)
{
    const char *type = s->unit == STAT_UNIT_PCT ? "h" : "ms";
    double lower, width;
    for (uint32_t i = 0; i < HISTOGRAM_BINS; i++) {
        uint64_t n = s->interval->bins[i];
        if (!n)
            continue;
        histogram_bin(i, &lower, &width);
        if (s->unit == STAT_UNIT_US)
            lower = floor(lower / 1000);
        add_name(d, s);
        strbuf_addf(&d->line, "%.10g|%s", lower, type);
        if (n > 1)
            strbuf_addf(&d->line, "|@%.10g", 1.0 / (double)n);
        add_tags(d, s);
        end_line(d);
    }
}

static void sample(struct stats_sink *sink, const struct stat_sample *s)
{
    struct statsd *d = sink->state;
    if (!s->used)
        return;
    if (s->kind == STAT_HISTOGRAM) {
        if (s->interval)
            add_bins(d, s);
        return;
    }
    add_name(d, s);
    if (s->kind == STAT_COUNTER)
        strbuf_addf(&d->line, "%llu|c", (unsigned long long)s->delta);
    else
        strbuf_addf(&d->line, "%lld|g", (long long)s->value);
    add_tags(d, s);
    end_line(d);
}

/* ---- TCP ---- */

static void forget_conn(struct statsd *d, enum conn_close why)
{
    cluster_tcp_closed(d->view, d->host, d->conn, d->is_connected, why);
    host_unref(&d->host);
    view_release(&d->view);
    d->conn = NULL;
    d->is_connected = false;
}

static void on_connected(struct conn *c, void *user)
{
    (void)c;
    struct statsd *d = user;
    d->is_connected = true;
}

static void on_data(struct conn *c, void *user) /* statsd says nothing */
{
    (void)user;
    buf_drain(conn_in(c), conn_in(c)->len);
}

static void on_end(struct conn *c, void *user)
{
    forget_conn(user, CONN_CLOSE_REMOTE_EOF);
    conn_set_handler(c, NULL, NULL);
    conn_close(c, CONN_CLOSE_LOCAL);
}

static void on_closed(struct conn *c, void *user, enum conn_close why)
{
    (void)c;
    forget_conn(user, why);
}

static const struct conn_handler handler = {.on_connected = on_connected, .on_data = on_data, .on_end = on_end,
                                            .on_closed = on_closed};

static void open_conn(struct statsd *d)
{
    struct cluster *c = cluster_slot_now(d->sink->spec->cluster);
    if (!c)
        return;
    struct lb_context cx = {.rng = loop_rng(d->sink->server->main_loop)};
    d->host = cluster_pick(cluster_here(c), &cx);
    if (!d->host)
        return;
    d->conn = cluster_connect_tcp(cx.owner, d->host, NULL, NULL, &handler, d);
    if (d->conn)
        d->view = view_hold(cx.owner);
    else
        host_unref(&d->host);
}

static void add_output(struct statsd *d)
{
    buf_append(conn_out(d->conn), d->lines.p, d->lines.n);
    conn_flush_later(d->conn);
}

static void send_stream(struct statsd *d)
{
    if (!d->conn)
        open_conn(d);
    if (!d->conn || conn_out(d->conn)->len + d->lines.n > STREAM_MAX_BYTES)
        stat_inc(d->stats, STAT_STATSD_DROPPED);
    else
        add_output(d);
    strbuf_reset(&d->lines);
}

/* ---- the sink ---- */

static void flushed(struct stats_sink *sink)
{
    struct statsd *d = sink->state;
    if (d->fd >= 0)
        send_datagram(d);
    else
        send_stream(d);
}

static int start(struct stats_sink *sink, struct server *server, struct err *err)
{
    (void)server;
    int fd = -1;
    if (sink->spec->has_addr) {
        fd = socket(sink->spec->addr.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
            return err_set_errno(err, errno, "cannot make a UDP socket");
    }
    struct statsd *d = NEW(statsd);
    d->sink = sink;
    d->fd = fd;
    d->stats = stat_scope_get(STR("server."), &table, STR("server."), NULL, 0);
    sink->state = d;
    return 0;
}

static bool leave(struct stats_sink *sink)
{
    const struct statsd *d = sink->state;
    return d->conn && conn_out(d->conn)->len;
}

static void stop(struct stats_sink *sink)
{
    struct statsd *d = sink->state;
    struct conn *c = d->conn;
    if (c) {
        forget_conn(d, CONN_CLOSE_LOCAL);
        conn_set_handler(c, NULL, NULL);
        conn_close(c, CONN_CLOSE_LOCAL);
    }
    if (d->fd >= 0)
        close(d->fd);
    stat_scope_unref(&d->stats);
    strbuf_fini(&d->lines);
    strbuf_fini(&d->line);
    mem_free(d);
}

const struct stats_sink_def statsd_sink = {"envoy.stat_sinks.statsd", start, sample, flushed, stop, leave};
