/* SPDX-License-Identifier: Apache-2.0
 *
 * From the ground up, and down again in the same order. Proxies are listened to once everything has been read, so that who
 * connects gets all; the pages are there from the start.
 */
#include "control/daemon/daemon.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "control/daemon/entry.h"
#include "control/daemon/pages.h"
#include "control/daemon/secure.h"
#include "control/daemon/source.h"
#include "control/view/view.h"
#include "io/file_watch.h"
#include "io/signals.h"

#define MESH_BYTES_MAX (16u << 20)
#define INTERVAL_MS_MAX 30000u /* the graph is of the last minute */

struct daemon {
    const struct daemon_options *options;
    struct loop *loop;
    struct signals *signals;
    const struct mesh *mesh;
    struct file_watcher *watcher;
    struct store *store;
    struct world *world;
    struct view *view;
    struct source *source;
    struct graph *graph;
    struct load_reports *reports;
    struct grpc_server *plain;
    struct secure *secure;
    struct pages *pages;
    struct entry plain_entry, http_entry, monitoring_entry;
    struct turn_task complete;
    bool is_leaving, failed;
    unsigned draining; /* servers that still are */
};

/* ---- mesh configuration ---- */

static int read_whole(const char *path, struct strbuf *out, struct err *err)
{
    FILE *f = fopen(path, "re");
    char block[8192];
    size_t n;
    if (!f)
        return err_set_errno(err, errno, "cannot read %s", path);
    while ((n = fread(block, 1, sizeof(block), f)) > 0 && out->n <= MESH_BYTES_MAX)
        strbuf_add(out, block, n);
    fclose(f);
    return out->n > MESH_BYTES_MAX ? err_set(err, ERR_LIMIT, "%s is longer than %u bytes", path, MESH_BYTES_MAX) : 0;
}

/* NULL after faults, which are logged. */
static const struct mesh *load_mesh(const char *path)
{
    struct strbuf text = {0};
    struct err err = {0};
    struct err_list faults = {0};
    char line[ERR_MESSAGE_BYTES + ERR_PATH_BYTES];
    const struct mesh *m = NULL;
    if (*path && read_whole(path, &text, &err))
        LOG(CONFIG, ERROR, "%s", err_format(&err, line, sizeof(line)));
    else
        m = mesh_read(text.n ? strbuf_str(&text) : STR(""), path, &faults);
    for (size_t i = 0; i < faults.count; i++)
        LOG(CONFIG, ERROR, "%s", err_format(&faults.items[i], line, sizeof(line)));
    err_list_fini(&faults);
    strbuf_fini(&text);
    return m;
}

static void on_mesh_file(void *user, const char *path)
{
    struct daemon *d = user;
    const struct mesh *next = load_mesh(path), *old = d->mesh;
    if (!next)
        return; /* the last good one stays */
    LOG(CONFIG, INFO, "mesh configuration was read anew");
    d->mesh = next;
    world_set_mesh(d->world, next);
    secure_set_mesh(d->secure, next);
    mesh_unref(&old);
}

/* ---- connections ---- */

static void on_plain(void *user, struct conn *take_conn)
{
    grpc_server_accept(((struct daemon *)user)->plain, take_conn);
}

static void on_http(void *user, struct conn *take_conn)
{
    pages_accept(((struct daemon *)user)->pages, take_conn);
}

static void write_ports(const struct daemon *d)
{
    const char *path = d->options->ports_file;
    FILE *f = *path ? fopen(path, "we") : NULL;
    if (f) {
        fprintf(f, "{\"grpc\":%u,\"secure\":%u,\"http\":%u,\"monitoring\":%u}\n", d->plain_entry.port, secure_port(d->secure),
                d->http_entry.port, d->monitoring_entry.port);
        fclose(f);
    } else if (*path)
        LOG(MAIN, ERROR, "cannot write %s: %s", path, strerror(errno));
}

/* From the start: /ready says what is being waited for. */
static int serve_pages(struct daemon *d, struct err *err)
{
    const struct daemon_options *o = d->options;
    d->pages = pages_new(d->loop, &(struct pages_about){d->world, d->view, d->source, d->secure, d->graph, d->reports});
    int rc = entry_open(&d->http_entry, d->loop, o->http_addr, on_http, d, err);
    return rc ? rc : entry_open(&d->monitoring_entry, d->loop, o->monitoring_addr, on_http, d, err);
}

static int serve_proxies(struct daemon *d, struct err *err)
{
    int rc = entry_open(&d->plain_entry, d->loop, d->options->grpc_addr, on_plain, d, err);
    if (rc == 0)
        rc = secure_serve(d->secure, view_push(d->view), d->reports, err);
    if (rc == 0)
        LOG(MAIN, INFO, "weftd serves: discovery %u, secure %u, pages %u, metrics %u", d->plain_entry.port, secure_port(d->secure),
            d->http_entry.port, d->monitoring_entry.port);
    return rc;
}

/* Everything is read, and the pages are there. */
static void on_complete(struct turn_task *t)
{
    struct daemon *d = CONTAINER_OF(t, daemon, complete);
    struct err err = {0};
    if (d->is_leaving)
        return;
    if (serve_proxies(d, &err)) {
        LOG(MAIN, CRITICAL, "%s", err.message);
        d->failed = true;
        loop_stop(d->loop);
    } else
        write_ports(d);
}

static void on_synced(void *user)
{
    struct daemon *d = user;
    loop_at_turn_end(d->loop, &d->complete);
}

/* ---- the end ---- */

static void on_drained(void *user)
{
    struct daemon *d = user;
    if (--d->draining == 0)
        loop_stop(d->loop);
}

/* SIGUSR2 begins a rotation of the root. At the others proxies are told one after the other; a second one ends at once. */
static void on_signal(void *user, int number)
{
    struct daemon *d = user;
    if (number == SIGUSR2) {
        secure_rotate(d->secure);
        return;
    }
    LOG(MAIN, INFO, "signal %d: %s", number, d->is_leaving ? "ends now" : "proxies are sent away, then weftd ends");
    if (d->is_leaving) {
        loop_stop(d->loop);
        return;
    }
    d->is_leaving = true;
    entry_close(&d->plain_entry);
    d->draining = 2;
    grpc_server_drain(d->plain, on_drained, d);
    secure_drain(d->secure, on_drained, d);
}

static void finish(struct daemon *d)
{
    entry_close(&d->plain_entry);
    turn_task_cancel(&d->complete);
    entry_close(&d->http_entry);
    entry_close(&d->monitoring_entry);
    if (d->plain)
        grpc_server_free(&d->plain);
    pages_free(&d->pages);
    secure_free(&d->secure);
    load_reports_free(&d->reports);
    graph_free(&d->graph);
    view_free(&d->view);
    source_free(&d->source);
    world_free(&d->world);
    store_free(&d->store);
    file_watcher_free(&d->watcher);
    mesh_unref(&d->mesh);
    signals_free(&d->signals);
    conn_close_lingering();
    if (d->loop) {
        loop_turn(d->loop, 0);
        loop_free(&d->loop);
    }
}

/* Who calls whom. */
static int begin_graph(struct daemon *d, struct err *err)
{
    const char *text = d->options->load_report_interval_ms;
    uint64_t ms;
    if (!str_to_u64(str_from(text), &ms) || ms == 0 || ms > INTERVAL_MS_MAX)
        return err_set(err, ERR_INVALID, "--load-report-interval-ms: '%s' is not a number from 1 to %u", text, INTERVAL_MS_MAX);
    d->graph = graph_new(&(struct graph_opts){.domain = str_from(d->options->domain)});
    d->reports = load_reports_new(d->loop, &(struct load_reports_opts){.interval_ms = ms}, d->graph, d->world, secure_gate(d->secure));
    return 0;
}

static int begin(struct daemon *d, struct err *err)
{
    const struct daemon_options *o = d->options;
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGUSR2);
    d->loop = loop_new("main", err);
    if (!d->loop || !(d->signals = signals_new(d->loop, &mask, on_signal, d, err)))
        return ERR_IO;
    d->mesh = load_mesh(o->mesh_config);
    if (!d->mesh)
        return err_set(err, ERR_INVALID, "the mesh configuration was refused");
    d->watcher = file_watcher_new(d->loop, err);
    if (!d->watcher)
        return ERR_IO;
    if (*o->mesh_config)
        file_watch_add(d->watcher, o->mesh_config, on_mesh_file, d);
    d->store = store_new();
    d->world = world_new(d->store, d->mesh, str_from(o->domain));
    d->source = source_new(d->loop, o, err);
    d->secure = d->source ? secure_new(d->loop, o, d->mesh, source_reviewer(d->source), err) : NULL;
    if (!d->secure)
        return ERR_INVALID;
    d->view = view_new(d->loop, d->world, &(struct push_opts){.keep_identifier = STR("{\"Component\":\"weftd\",\"Info\":{\"version\":\"" WEFT_VERSION "\"}}")},
                       secure_gate(d->secure));
    d->plain = grpc_server_new(d->loop, &(struct grpc_server_opts){0});
    push_serve(view_push(d->view), d->plain, true);
    if (begin_graph(d, err))
        return ERR_INVALID;
    load_reports_serve(d->reports, d->plain, true);
    d->complete.run = on_complete;
    int rc = source_begin(d->source, d->store, on_synced, d, err);
    if (rc == 0)
        rc = serve_pages(d, err);
    if (rc == 0 && source_kubernetes(d->source))
        write_ports(d); /* of the pages; the others follow */
    return rc;
}

int daemon_main(const struct daemon_options *o)
{
    struct daemon d = {.options = o};
    struct err err = {0};
    char line[ERR_MESSAGE_BYTES + ERR_PATH_BYTES];
    int rc = begin(&d, &err);
    if (rc)
        fprintf(stderr, "weftd: %s\n", err_format(&err, line, sizeof(line)));
    else
        loop_run(d.loop);
    finish(&d);
    return rc || d.failed ? 1 : 0;
}
