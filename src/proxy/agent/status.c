/* SPDX-License-Identifier: Apache-2.0
 *
 * The status server's connections and pages. An answer is made whole before it goes; those that wait for the application keep
 * a fetch, which ends with its stream. Where the pod's own address is a loopback one it listens there alone. Main loop.
 * What ends or drains the proxy takes POST from the pod itself alone.
 */
#include "proxy/agent/status_priv.h"

#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "http/codec/uri.h"
#include "proxy/agent/secrets.h"

#define APP_PAGE_MAX_BYTES ((size_t)32 << 20)
#define APP_TIMEOUT_MS 10000
#define TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct status_conn {
    struct list node;
    struct status *status;
    struct http_server_conn *http;
    struct deferred deferred;
};
struct asking { /* a request; in the stream's arena */
    struct http_sink sink;
    struct http_stream *stream;
    struct status *status;
    struct headers *request;
    struct str path;
    struct fetch *fetch;
    struct buf page;                /* what is ready of the answer */
    bool is_local;                  /* the peer is in the pod */
};

/* ---- answering ---- */

static void answer(struct asking *q, unsigned status, struct str type, struct buf *body)
{
    char digits[20];
    struct http_stream *s = q->stream;
    struct headers h;
    if (!s)
        return;
    headers_init(&h, s->arena);
    headers_add(&h, STR(":status"), str_make(digits, u64_format(status, digits)));
    headers_add(&h, STR("content-type"), type);
    headers_add(&h, STR("content-length"), str_make(digits, u64_format(body->len, digits)));
    bool empty = !body->len || str_eq(headers_get_id(q->request, HDR_METHOD), STR("HEAD"));
    stream_send_headers(s, &h, empty);
    if (!empty && q->stream == s)
        stream_send_data(s, body, true);
}

static void answer_text(struct asking *q, unsigned status, const char *text)
{
    struct buf body = BUF_INIT;
    buf_append_str(&body, str_from(text));
    answer(q, status, STR("text/plain; charset=utf-8"), &body);
    buf_fini(&body);
}

/* ---- readiness ---- */

static bool was_accepted(struct str prefix)
{
    uint64_t n = 0;
    return status_stat(prefix, "update_success", &n) && n > 0;
}

static bool has_certificate(const struct status *st)
{
    if (st->env->identity != IDENTITY_CA && st->env->identity != IDENTITY_FILES)
        return true;
    return secret_store_get(STR("default")) != NULL;
}

/* NULL: ready. It stays so: what comes after a first readiness is the business of health checks (pilot-agent's rule). */
static const char *why_unready(struct status *st)
{
    if (st->server->draining)
        return "the proxy drains";
    if (st->was_ready)
        return NULL;
    if (!was_accepted(STR("cluster_manager.cds.")))
        return "no clusters were accepted yet";
    if (!was_accepted(STR("listener_manager.lds.")))
        return "no listeners were accepted yet";
    if (!has_certificate(st))
        return "there is no certificate yet";
    if (st->dns && !dns_proxy_is_ready(st->dns))
        return "the DNS proxy has no table of names yet";
    if (st->server->state != SERVER_LIVE)
        return "the workers don't run yet";
    st->was_ready = true;
    return NULL;
}

static void page_ready(struct asking *q)
{
    const char *why = why_unready(q->status);
    answer_text(q, why ? 503 : 200, why ? why : "");
}

/* ---- metrics ---- */

static struct str with_app(struct asking *q, const struct fetch_answer *a)
{
    struct str type = a->failure ? STR_NULL : headers_get_id(a->headers, HDR_CONTENT_TYPE);
    if (a->failure || a->status != 200) {
        q->status->scrape_failures++;
        LOG(MISC, WARNING, "the application's metrics: %s", a->failure ? a->failure : "its status is not 200");
        return STR(TEXT_TYPE);
    }
    buf_append_str(&q->page, a->body);
    return str_has_prefix_nocase(type, STR("application/openmetrics-text")) ? type : STR(TEXT_TYPE);
}

static void on_app_page(void *user, const struct fetch_answer *a)
{
    struct asking *q = user;
    q->fetch = NULL;
    struct str type = with_app(q, a);
    answer(q, 200, type, &q->page);
}

/* What Prometheus allows, if it says so. */
static uint64_t scrape_ms(const struct asking *q)
{
    double seconds;
    struct str text = headers_get(q->request, STR("x-prometheus-scrape-timeout-seconds"));
    return text.n && str_to_double(text, &seconds) && seconds > 0.1 && seconds < 600 ? (uint64_t)(seconds * 1000) : APP_TIMEOUT_MS;
}

static void ask_app(struct asking *q)
{
    struct status *st = q->status;
    char text[ADDR_TEXT_BYTES];
    struct headers h;
    struct str accept = headers_get_id(q->request, HDR_ACCEPT);
    headers_init(&h, q->stream->arena);
    headers_add(&h, STR(":method"), STR("GET"));
    headers_add(&h, STR(":scheme"), STR("http"));
    headers_add(&h, STR(":path"), st->app_path);
    headers_add(&h, STR(":authority"), str_from(addr_text(&st->app, text)));
    headers_add(&h, STR("accept"), accept.n ? accept : STR("text/plain;version=0.0.4"));
    headers_add(&h, STR("connection"), STR("close"));
    struct fetch_opts o = {.to = &st->app, .request = &h, .timeout_ms = scrape_ms(q), .limit_bytes = APP_PAGE_MAX_BYTES};
    q->fetch = fetch_start(st->server->main_loop, &o, on_app_page, q);
}

static void page_metrics(struct asking *q)
{
    struct status *st = q->status;
    st->scrapes++;
    status_own_metrics(st, &q->page);
    if (st->server->opts.hooks.metrics)
        st->server->opts.hooks.metrics(st->server, &q->page);
    if (st->scrapes_app)
        ask_app(q);
    else
        answer(q, 200, STR(TEXT_TYPE), &q->page);
}

/* ---- the DNS proxy's names ---- */

static void page_names(struct asking *q)
{
    struct strbuf text = {0};
    struct buf body = BUF_INIT;
    bool has_table = q->status->dns && dns_proxy_table_json(q->status->dns, &text);
    buf_append_str(&body, has_table ? strbuf_str(&text) : STR("{}"));
    answer(q, has_table ? 200 : 404, STR("application/json"), &body);
    buf_fini(&body);
    strbuf_fini(&text);
}

/* ---- the application's probes ---- */

static void on_probed(void *user, const struct fetch_answer *a)
{
    struct asking *q = user;
    struct str type = a->headers ? headers_get_id(a->headers, HDR_CONTENT_TYPE) : STR_NULL;
    struct buf body = BUF_INIT;
    q->fetch = NULL;
    buf_append_str(&body, a->failure ? str_from(a->failure) : a->body);
    answer(q, probes_status(q->status->probes, q->path, a), type.n ? type : STR("text/plain; charset=utf-8"), &body);
    buf_fini(&body);
}

static void page_probe(struct asking *q)
{
    q->fetch = probes_ask(q->status->probes, q->path, q->request, q->status->server->main_loop, on_probed, q);
    if (!q->fetch)
        answer_text(q, 400, "no such probe\n");
}

/* ---- the end ---- */

static void leave(struct turn_task *t)
{
    server_shutdown(CONTAINER_OF(t, status, leave)->server);
}

static void page_quit(struct asking *q)
{
    answer_text(q, 200, "OK");
    if (!q->status->server->draining)
        loop_at_next_turn(q->status->server->main_loop, &q->status->leave);
}

static void page_drain(struct asking *q)
{
    server_drain_listeners(q->status->server, true, true, false);
    answer_text(q, 200, "OK");
}

static const struct status_page {
    const char *path;
    bool is_prefix, is_own, is_act; /* is_own: from the pod alone; is_act: POST */
    void (*fn)(struct asking *q);
} pages[] = {
    {"/healthz/ready", false, false, false, page_ready},
    {"/stats/prometheus", false, false, false, page_metrics},
    {"/metrics", false, false, false, page_metrics},
    {"/app-health/", true, false, false, page_probe},
    {"/app-lifecycle/", true, false, false, page_probe},
    {"/debug/ndsz", false, true, false, page_names},
    {"/quitquitquit", false, true, true, page_quit},
    {"/drain", false, true, true, page_drain},
};

static void respond(struct asking *q)
{
    q->path = path_without_query(headers_get_id(q->request, HDR_PATH));
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        const struct status_page *p = &pages[i];
        struct str path = str_from(p->path);
        if (p->is_prefix ? !str_has_prefix(q->path, path) : !str_eq(q->path, path))
            continue;
        if (p->is_own && !q->is_local)
            answer_text(q, 403, "Only requests from localhost are allowed\n");
        else if (p->is_act && !str_eq(headers_get_id(q->request, HDR_METHOD), STR("POST")))
            answer_text(q, 405, "Method Not Allowed\n");
        else
            p->fn(q);
        return;
    }
    answer_text(q, 404, "404 page not found\n");
}

/* ---- streams ---- */

#define OF_SINK(sink) CONTAINER_OF(sink, asking, sink)

static void on_headers(struct http_sink *sink, struct headers *h, bool end)
{
    OF_SINK(sink)->request = h;
    if (end)
        respond(OF_SINK(sink));
}

static void on_data(struct http_sink *sink, struct buf *data, bool end)
{
    buf_drain(data, data->len);
    if (end)
        respond(OF_SINK(sink));
}

static void on_trailers(struct http_sink *sink, struct headers *h)
{
    (void)h;
    respond(OF_SINK(sink));
}

static void on_stream_closed(struct http_sink *sink, enum stream_reset why, const char *details)
{
    (void)why, (void)details;
    struct asking *q = OF_SINK(sink);
    q->stream = NULL;
    fetch_cancel(&q->fetch);
    buf_fini(&q->page);
}

static void on_watermark(struct http_sink *sink, bool above)
{
    (void)sink, (void)above; /* whole answers are bounded; they are queued whole */
}

static const struct http_sink_ops sink_ops = {.on_headers = on_headers, .on_data = on_data, .on_trailers = on_trailers,
                                              .on_closed = on_stream_closed, .on_watermark = on_watermark};

static void on_stream(void *user, struct http_server_conn *c, struct http_stream *s)
{
    struct status_conn *sc = user;
    struct asking *q = arena_zalloc(s->arena, sizeof *q);
    if (!q) {
        s->sink = &http_deaf_sink;
        stream_reset(s, STREAM_OVERFLOW);
        return;
    }
    q->sink.ops = &sink_ops;
    q->stream = s;
    q->status = sc->status;
    q->is_local = addr_is_loopback(conn_remote(http_server_conn_conn(c)));
    s->sink = &q->sink;
}

/* ---- connections ---- */

static void destroy(struct deferred *d)
{
    mem_free(CONTAINER_OF(d, status_conn, deferred));
}

static void on_conn_closed(void *user, struct http_server_conn *c, bool local, enum conn_close why)
{
    (void)c, (void)local, (void)why;
    struct status_conn *sc = user;
    list_remove(&sc->node);
    loop_defer(sc->status->server->main_loop, &sc->deferred, destroy);
}

static const struct http_server_handler handler = {.on_stream = on_stream, .on_closed = on_conn_closed};

static void on_accept(void *user, int fd, const struct addr *remote)
{
    struct status *st = user;
    struct status_conn *sc = NEW(status_conn);
    sc->status = st;
    list_push_back(&st->conns, &sc->node);
    sc->http = http_server_conn_new(conn_new_accepted(st->server->main_loop, fd, remote, NULL), &st->opts, &handler, sc);
}

/* ---- the server ---- */

static int listen_on(struct status *st, struct str ip, bool both, struct err *err)
{
    struct listen_opts o = {.backlog = 128, .ipv4_compat = both};
    struct addr at = {0}, bound = {0};
    int rc = addr_from_ip(&at, ip, (uint16_t)st->env->config.status_port, err);
    if (rc == 0)
        rc = listen_open(&at, &o, &st->fd, &bound, err);
    if (rc == 0)
        st->env->config.status_port = addr_port(&bound);
    else
        st->fd = -1;
    addr_fini(&at);
    addr_fini(&bound);
    return rc;
}

/* The kubelet and Prometheus come from outside. */
static int listen_anywhere(struct status *st, struct err *err)
{
    struct addr own = {0};
    bool is_loopback = addr_from_ip(&own, st->env->ips.items[0], 0, err) == 0 && addr_is_loopback(&own);
    addr_fini(&own);
    if (is_loopback)
        return listen_on(st, st->env->ips.items[0], false, err);
    if (listen_on(st, STR("::"), true, err) == 0)
        return 0;
    *err = (struct err){0};
    return listen_on(st, STR("0.0.0.0"), false, err);
}

struct status *status_new(struct agent_env *e, const struct dns_proxy *keep_dns, struct err_list *faults)
{
    struct status *st = NEW(status);
    struct err err = {0};
    size_t before = faults->count;
    st->env = e;
    st->dns = keep_dns;
    st->leave.run = leave;
    list_init(&st->conns);
    st->opts = (struct http_server_opts){
        .codec = HTTP_CODEC_AUTO,
        .h1 = {.limits = H1_LIMITS_DEFAULT, .is_request = true, .accept_http10 = true, .default_host_http10 = STR("agent"),
               .allow_absolute_url = true},
        .h2 = h2_opts_default(true),
        .idle_timeout_ms = 300000, .request_headers_timeout_ms = 10000, .drain_timeout_ms = 1000, .delayed_close_ms = 1000,
        .buffer_limit_bytes = 1 << 20};
    if (listen_anywhere(st, &err) < 0)
        err_list_addf(faults, err.code, "PROXY_CONFIG.statusPort", "%s", err.message);
    st->probes = probes_new(e, faults);
    status_read_annotations(st, faults);
    if (faults->count > before)
        status_free(&st);
    return st;
}

int status_start(struct status *st, struct server *s, struct err *err)
{
    st->server = s;
    LOG(MAIN, INFO, "status port: %u", st->env->config.status_port);
    st->acceptor = acceptor_new(s->main_loop, st->fd, 0, on_accept, st, err);
    return st->acceptor ? 0 : ERR_IO;
}

void status_stop(struct status *st)
{
    acceptor_free(&st->acceptor);
    if (!st->server)
        return;
    turn_task_cancel(&st->leave);
    LIST_EACH(it, safe, &st->conns)
        http_server_conn_close(LIST_ENTRY(it, status_conn, node)->http);
    loop_turn(st->server->main_loop, 0); /* what was put off to the turn's end still refers to it */
}

void status_free(struct status **p)
{
    struct status *st = *p;
    *p = NULL;
    if (!st)
        return;
    if (st->fd >= 0)
        close(st->fd);
    probes_free(&st->probes);
    addr_fini(&st->app);
    mem_free(st);
}
