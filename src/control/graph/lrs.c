/* SPDX-License-Identifier: Apache-2.0
 *
 * A stream's first request tells the node, and is answered with what is wanted: all clusters, every so often. Each further one is
 * a report. Reports are read field by field: a busy proxy's is long, and a few numbers of it are wanted. Localities are added up;
 * endpoints and categories of drops are of no use here and passed over. What isn't a report, or claims what can't be, ends the
 * stream and nothing of it counts from there on. Main thread.
 *
 *     new --node, gate--> reporting --on_closed--> gone
 */
#include "control/graph/lrs.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/wire.h"

struct door { struct load_reports *reports; bool is_plain; };
struct load_reports {
    struct loop *loop;
    struct load_reports_opts opts;
    struct graph *graph;
    const struct world *world;
    struct view_gate *gate;
    struct door plain, secure;  /* to the methods' owner */
    uint32_t streams;
    uint64_t reports, refused;
};
struct reporting {
    struct load_reports *reports;
    struct grpc_stream *stream;
    struct graph_reporter *reporter; /* NULL until the node is known */
    void *visitor;                   /* the gate's */
    bool is_plain;
    struct deferred deferred;
};

/* ---- reading ---- */

static int broken(struct err *err)
{
    return err_set(err, ERR_INVALID, "is no LoadStatsRequest");
}

/* endpoint.v3.EndpointLoadMetricStats */
static int read_metric(struct str packed, struct graph_load *l, struct err *err)
{
    struct wire_reader r = wire_read(packed);
    bool is_ours = false;
    uint64_t count = 0;
    double total = 0;
    for (struct wire_field f; wire_next(&r, &f);) {
        if (f.number == 1)
            is_ours = f.type == 2 && str_eq(f.bytes, STR(LOAD_REPORT_TIME_METRIC));
        else if (f.number == 2 && f.type == 0)
            count = f.value;
        else if (f.number == 3 && f.type == 1)
            memcpy(&total, &f.value, sizeof(total));
    }
    if (is_ours) {
        l->timed = count;
        l->time_ms = total;
    }
    return r.failed ? broken(err) : 0;
}

/* endpoint.v3.UpstreamLocalityStats */
static int read_locality(struct str packed, struct graph_load *l, struct err *err)
{
    struct wire_reader r = wire_read(packed);
    int rc = 0;
    for (struct wire_field f; rc == 0 && wire_next(&r, &f);)
        switch (f.number) {
        case 2: l->successes = f.value; break;
        case 3: l->active = f.value; break;
        case 4: l->errors = f.value; break;
        case 5: rc = read_metric(f.bytes, l, err); break;
        case 8: l->issued = f.value; break;
        default: break;
        }
    return r.failed ? broken(err) : rc;
}

/* What a cluster is called stands before its loads in every client's message, but needn't. */
static int read_cluster_name(struct str packed, struct str *name, struct err *err)
{
    struct wire_reader r = wire_read(packed);
    *name = STR("");
    for (struct wire_field f; wire_next(&r, &f);)
        if (f.number == 1)
            *name = f.bytes;
    return r.failed || !wire_text_is_valid(*name) ? broken(err) : 0;
}

/* endpoint.v3.ClusterStats */
static int read_cluster(struct graph_reporter *reporter, struct str packed, struct err *err)
{
    struct str name, host;
    int rc = read_cluster_name(packed, &name, err);
    if (rc || !graph_destination(name, &host))
        return rc;
    struct wire_reader r = wire_read(packed);
    for (struct wire_field f; rc == 0 && wire_next(&r, &f);) {
        struct graph_load load = {0};
        if (f.number == 2 && (rc = read_locality(f.bytes, &load, err)) != 0)
            break;
        if (f.number == 3) /* dropped by the cluster's policy: asked for, and not had */
            load.issued = load.errors = f.value;
        if (f.number == 2 || f.number == 3)
            rc = graph_report_add(reporter, host, &load, err);
    }
    return rc;
}

static int read_report(struct reporting *x, struct str message, struct err *err)
{
    struct wire_reader r = wire_read(message);
    uint32_t clusters = 0;
    int rc = 0;
    graph_report_begin(x->reporter, loop_now_us(x->reports->loop));
    for (struct wire_field f; rc == 0 && wire_next(&r, &f);) {
        if (f.number != 2)
            continue;
        if (++clusters > x->reports->opts.clusters_max)
            rc = err_set(err, ERR_LIMIT, "tells of more than %u clusters", x->reports->opts.clusters_max);
        else
            rc = read_cluster(x->reporter, f.bytes, err);
    }
    graph_report_end(x->reporter);
    x->reports->reports++;
    return rc == 0 && r.failed ? broken(err) : rc;
}

/* ---- who reports ---- */

/* By Istio's order of what a workload's canonical service is (istio.io: "Canonical Service"), then the proxy's own name. */
static struct str service_of(const struct node *n)
{
    static const char *const labels[] = {"service.istio.io/canonical-name", "app.kubernetes.io/name", "app"};
    for (size_t i = 0; i < ARRAY_LEN(labels); i++) {
        struct str name = labels_get(&n->labels, str_from(labels[i]));
        if (name.n)
            return name;
    }
    return n->workload_name.n ? n->workload_name : n->name;
}

static struct push_peer peer_of(const struct reporting *x)
{
    return (struct push_peer){.stream = x->stream, .is_plain = x->is_plain, .visitor = x->visitor};
}

static void arrive(struct reporting *x)
{
    struct view_gate *gate = x->reports->gate;
    struct push_peer peer = peer_of(x);
    bool is_asking = false;
    if (gate)
        x->visitor = gate->arrive(gate, &peer, &is_asking);
    if (is_asking)
        grpc_stream_pause(x->stream, true);
}

static int pass_gate(struct reporting *x, const struct node *n, struct push_refusal *why)
{
    struct view_gate *gate = x->reports->gate;
    const struct push_peer peer = peer_of(x);
    int rc = gate ? gate->check(gate, &peer, n, why) : 0;
    if (rc == 0 && (rc = graph_reporter_new(x->reports->graph, n->ns, service_of(n), &x->reporter, &why->err)) != 0)
        why->status = GRPC_INVALID_ARGUMENT;
    return rc;
}

/* The first request: its node, and what comes with it is of before anybody asked. */
static int meet(struct reporting *x, struct str message, struct push_refusal *why)
{
    struct wire_reader r = wire_read(message);
    struct str packed = STR_NULL;
    struct node n;
    struct arena a;
    why->status = GRPC_INVALID_ARGUMENT;
    for (struct wire_field f; wire_next(&r, &f);)
        if (f.number == 1 && f.type == 2)
            packed = f.bytes;
    if (r.failed || !packed.p)
        return r.failed ? broken(&why->err) : err_set(&why->err, ERR_INVALID, "the first request tells no node");
    struct proto_arena *pa = proto_arena_new(0);
    arena_init(&a, 0);
    int rc = node_read(&a, pa, packed, x->reports->world, &n, &why->err);
    if (rc == 0)
        rc = pass_gate(x, &n, why);
    proto_arena_free(&pa);
    arena_fini(&a);
    return rc;
}

/* LoadStatsResponse */
static void ask(const struct reporting *x)
{
    struct strbuf out = {0};
    uint64_t ms = x->reports->opts.interval_ms;
    size_t interval = wire_open(&out, 2);
    wire_uint(&out, 1, ms / 1000);
    wire_uint(&out, 2, ms % 1000 * 1000000);
    wire_close(&out, interval);
    wire_uint(&out, 4, true); /* send_all_clusters */
    grpc_stream_send_bytes(x->stream, strbuf_str(&out));
    strbuf_fini(&out);
}

/* ---- the stream's side ---- */

static void *on_call(void *owner, struct grpc_stream *s)
{
    const struct door *door = owner;
    struct load_reports *l = door->reports;
    if (l->streams >= l->opts.streams_max) {
        l->refused++;
        grpc_stream_end(s, GRPC_RESOURCE_EXHAUSTED, STR("too many proxies report"));
        return NULL;
    }
    struct reporting *x = NEW(reporting);
    x->reports = l;
    x->stream = s;
    x->is_plain = door->is_plain;
    l->streams++;
    arrive(x);
    return x;
}

static void on_message(void *call, struct grpc_stream *s, struct str message)
{
    struct reporting *x = call;
    struct push_refusal why = {0};
    char text[ERR_MESSAGE_BYTES + ERR_PATH_BYTES];
    bool is_first = !x->reporter;
    int rc = is_first ? meet(x, message, &why) : read_report(x, message, &why.err);
    if (rc == 0) {
        if (is_first)
            ask(x);
        return;
    }
    if (!is_first)
        why.status = rc == ERR_LIMIT ? GRPC_RESOURCE_EXHAUSTED : GRPC_INVALID_ARGUMENT;
    const char *reason = err_format(&why.err, text, sizeof(text));
    x->reports->refused++;
    LOG_SELDOM(MAIN, WARNING, "a proxy's load reports are refused: %s", reason);
    grpc_stream_end(s, why.status, str_from(reason));
}

static void destroy(struct deferred *d)
{
    mem_free(CONTAINER_OF(d, reporting, deferred));
}

static void on_closed(void *call, struct grpc_stream *s)
{
    struct reporting *x = call;
    (void)s;
    graph_reporter_free(&x->reporter);
    if (x->visitor)
        x->reports->gate->leave(x->reports->gate, x->visitor);
    x->reports->streams--;
    loop_defer(x->reports->loop, &x->deferred, destroy);
}

static const struct grpc_method_ops ops = {.on_call = on_call, .on_message = on_message, .on_closed = on_closed};

void load_reports_serve(struct load_reports *l, struct grpc_server *g, bool is_plain)
{
    grpc_server_add(g, "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats", &ops, is_plain ? &l->plain : &l->secure);
}

void load_reports_metrics(const struct load_reports *l, struct strbuf *out)
{
    struct graph_counters c = graph_counters(l->graph);
    strbuf_addf(out, "# TYPE weftd_load_report_streams gauge\nweftd_load_report_streams %u\n", l->streams);
    strbuf_addf(out, "# TYPE weftd_load_reports_total counter\nweftd_load_reports_total %lu\n", (unsigned long)l->reports);
    strbuf_addf(out, "# TYPE weftd_load_reports_refused_total counter\nweftd_load_reports_refused_total %lu\n", (unsigned long)l->refused);
    strbuf_addf(out, "# TYPE weftd_graph_edges gauge\nweftd_graph_edges %u\n", c.edges);
    strbuf_addf(out, "# TYPE weftd_graph_dropped_total counter\nweftd_graph_dropped_total %lu\n", (unsigned long)c.dropped);
}

/* ---- making and freeing ---- */

struct load_reports *load_reports_new(struct loop *loop, const struct load_reports_opts *opts, struct graph *keep_graph,
                                      const struct world *keep_world, struct view_gate *keep_gate)
{
    struct load_reports *l = NEW(load_reports);
    l->loop = loop;
    l->opts.interval_ms = opts->interval_ms ? opts->interval_ms : 5000;
    l->opts.streams_max = opts->streams_max ? opts->streams_max : 100000;
    l->opts.clusters_max = opts->clusters_max ? opts->clusters_max : 100000;
    l->graph = keep_graph;
    l->world = keep_world;
    l->gate = keep_gate;
    l->plain = (struct door){l, true};
    l->secure = (struct door){l, false};
    return l;
}

void load_reports_free(struct load_reports **owned)
{
    struct load_reports *l = *owned;
    *owned = NULL;
    if (!l)
        return;
    CHECK(!l->streams);
    mem_free(l);
}
