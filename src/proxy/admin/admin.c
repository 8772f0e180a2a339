/* SPDX-License-Identifier: Apache-2.0
 *
 * The admin server's connections: accept on the main loop, one answer per request, made whole before it
 * is sent, or begun and then written to (admin_live). What a page wants is in the query or, for POST, in form values, which meet a limit; other
 * bodies are read and dropped.
 */
#include "proxy/admin/admin_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "http/codec/uri.h"
#include "http/server.h"
#include "io/listen.h"
#include "proxy/config/bootstrap.h"

struct admin {
    struct server *server;
    int fd;
    struct acceptor *acceptor;
    struct http_server_opts opts;
    struct list conns;
    uint32_t live_count;
};
struct admin_conn {
    struct list node;
    struct admin *admin;
    struct http_server_conn *http;
    struct deferred deferred;
};
struct admin_stream { /* in the stream's arena */
    struct http_sink sink;
    struct http_stream *stream;
    struct admin *admin;
    struct http_server_conn *conn;
    struct headers *request;
    struct strbuf form;
    uint64_t start_us, start_wall_us, body_bytes;
    struct admin_live live;
};

/* ---- answering ---- */

static const struct admin_page *find_page(struct str path)
{
    for (size_t i = 0; i < admin_page_count; i++)
        if (str_eq(path, str_from(admin_pages[i].path)))
            return &admin_pages[i];
    return NULL;
}

void admin_refuse(struct admin_request *rq, unsigned status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    strbuf_reset(&rq->body);
    strbuf_vaddf(&rq->body, fmt, ap);
    va_end(ap);
    rq->status = status;
    rq->content_type = "text/plain; charset=UTF-8";
}

/* admin.allow_paths; as in Envoy they see the query too. */
static bool is_allowed(const struct admin_request *rq)
{
    const struct config_result *c = rq->server->opts.config;
    if (!c || !c->admin.allow_path_count)
        return true;
    for (uint32_t i = 0; i < c->admin.allow_path_count; i++)
        if (string_matches(&c->admin.allow_paths[i], rq->target))
            return true;
    return false;
}

void admin_run(struct admin_request *rq)
{
    const struct admin_page *page = find_page(rq->path);
    if (!is_allowed(rq)) {
        admin_refuse(rq, 403, "request to path %.*s not allowed", STR_ARG(rq->target));
        return;
    }
    if (!page) {
        admin_refuse(rq, 404, "invalid path. ");
        admin_help_text(&rq->body);
        return;
    }
    if (page->mutates && !str_eq(rq->method, STR("POST"))) {
        admin_refuse(rq, 405, "Method %.*s not allowed, POST required.", STR_ARG(rq->method));
        return;
    }
    page->fn(rq);
}

static size_t answer_length(const struct admin_request *rq)
{
    return rq->body.n + rq->long_body.len;
}

static void add_head(struct headers *h, const struct admin_request *rq)
{
    char digits[20];
    const struct admin_live_def *live = rq->live;
    headers_add(h, STR(":status"), str_make(digits, u64_format(rq->status, digits)));
    headers_add(h, STR("content-type"), str_from(live ? live->content_type : rq->content_type));
    headers_add(h, STR("cache-control"), live ? STR("no-cache") : STR("no-cache, max-age=0"));
    for (size_t i = 0; live && i < live->header_count; i++)
        headers_add(h, str_from(live->headers[i].name), str_from(live->headers[i].value));
    headers_add(h, STR("x-content-type-options"), STR("nosniff"));
    if (!live)
        headers_add(h, STR("content-length"), str_make(digits, u64_format(answer_length(rq), digits)));
}

static void open_live(struct admin_stream *st, const struct admin_live_def *def)
{
    st->live = (struct admin_live){.def = def, .stream = st->stream, .server = st->admin->server};
    st->admin->live_count++;
    def->on_open(&st->live);
}

bool admin_live_write(struct admin_live *l, struct str text)
{
    struct buf data = BUF_INIT;
    if (!l->stream)
        return false;
    if (l->is_behind) {
        LOG(ADMIN, WARNING, "a reader of events is dropped: it has not taken those before");
        stream_reset(l->stream, STREAM_OVERFLOW);
        return false;
    }
    buf_append(&data, text.p, text.n);
    stream_send_data(l->stream, &data, false);
    buf_fini(&data);
    return true;
}

static void send_answer(struct admin_stream *st, struct admin_request *rq)
{
    struct http_stream *s = st->stream;
    struct headers h;
    headers_init(&h, s->arena);
    add_head(&h, rq);
    bool empty = (!answer_length(rq) && !rq->live) || str_eq(rq->method, STR("HEAD"));
    admin_log(rq, st->conn, st->request, &h, st->start_us, st->start_wall_us);
    stream_send_headers(s, &h, empty);
    if (empty || st->stream != s)
        return;
    if (rq->live) {
        open_live(st, rq->live);
        return;
    }
    struct buf data = BUF_INIT;
    buf_append(&data, rq->body.p, rq->body.n);
    buf_move(&data, &rq->long_body);
    stream_send_data(s, &data, true);
    buf_fini(&data);
}

struct afterwards {
    struct turn_task task;
    struct deferred deferred;
    struct server *server;
    void (*fn)(struct server *s);
};

static void afterwards_free(struct deferred *d)
{
    mem_free(CONTAINER_OF(d, afterwards, deferred));
}

static void afterwards_run(struct turn_task *t)
{
    struct afterwards *a = CONTAINER_OF(t, afterwards, task);
    loop_defer(a->server->main_loop, &a->deferred, afterwards_free);
    a->fn(a->server);
}

/* The next turn: writes gathered in this one have been made by then. */
static void run_next_turn(struct server *s, void (*fn)(struct server *s))
{
    struct afterwards *a = NEW(afterwards);
    a->task.run = afterwards_run;
    a->server = s;
    a->fn = fn;
    loop_at_next_turn(s->main_loop, &a->task);
}

static bool has_json(const struct headers *request)
{
    return str_has_prefix_nocase(headers_get_id(request, HDR_CONTENT_TYPE), STR("application/json"));
}

static void answer(struct admin_stream *st)
{
    struct str path = headers_get_id(st->request, HDR_PATH);
    struct admin_request rq = {
        .server = st->admin->server,
        .method = headers_get_id(st->request, HDR_METHOD),
        .path = path_without_query(path),
        .query = path_query(path),
        .target = path,
        .status = 200,
        .content_type = "text/plain; charset=UTF-8",
        .form = strbuf_str(&st->form),
        .accepts_json = header_list_has(headers_get_id(st->request, HDR_ACCEPT), STR("application/json")),
        .body_bytes = st->body_bytes,
    };
    struct server *server = rq.server;
    admin_run(&rq);
    if (rq.live && st->admin->live_count >= ADMIN_LIVE_MAX) {
        rq.live = NULL;
        admin_refuse(&rq, 503, "%d event streams are open, no more are taken\n", ADMIN_LIVE_MAX);
    }
    send_answer(st, &rq);
    strbuf_fini(&rq.body);
    buf_fini(&rq.long_body);
    if (rq.then)
        run_next_turn(server, rq.then);
}

/* ---- query ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char *decode(struct str v)
{
    char *out = mem_alloc(v.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] == '%' && i + 2 < v.n && hex_digit(v.p[i + 1]) >= 0 && hex_digit(v.p[i + 2]) >= 0) {
            out[n++] = (char)(hex_digit(v.p[i + 1]) << 4 | hex_digit(v.p[i + 2]));
            i += 2;
        } else {
            out[n++] = v.p[i];
        }
    }
    out[n] = 0;
    return out;
}

char *admin_param(const struct admin_request *rq, const char *name)
{
    struct str v;
    return query_get(rq->query, str_from(name), &v) ? decode(v) : NULL;
}

bool admin_params_next(struct str *rest, char **key, char **value)
{
    struct str v, k;
    if (!rest->p)
        return false;
    k = str_split(str_split(*rest, '&', rest), '=', &v);
    *key = decode(k);
    *value = decode(v);
    return true;
}

bool admin_param_is_set(const struct admin_request *rq, const char *name)
{
    struct str v, rest = rq->query;
    if (query_get(rq->query, str_from(name), &v))
        return true;
    while (rest.p) { /* "?usedonly" without a value */
        struct str one = str_split(rest, '&', &rest);
        if (str_eq(one, str_from(name)))
            return true;
    }
    return false;
}

bool admin_wants_json(struct admin_request *rq)
{
    struct str v;
    if (!query_get(rq->query, STR("format"), &v) || !str_eq(v, STR("json")))
        return false;
    rq->content_type = "application/json";
    return true;
}

/* ---- streams ---- */

static struct admin_stream *of_sink(struct http_sink *sink)
{
    return CONTAINER_OF(sink, admin_stream, sink);
}

static void on_headers(struct http_sink *sink, struct headers *h, bool end)
{
    struct admin_stream *st = of_sink(sink);
    st->request = h;
    if (end)
        answer(st);
}

static void keep_form(struct admin_stream *st, const struct buf *data)
{
    struct str type = headers_get_id(st->request, HDR_CONTENT_TYPE), piece;
    if (!str_has_prefix_nocase(type, STR("application/x-www-form-urlencoded")) && !has_json(st->request))
        return;
    for (struct buf_iter it = {0}; buf_next(data, &it, &piece);)
        if (st->form.n + piece.n <= ADMIN_FORM_MAX_BYTES)
            strbuf_adds(&st->form, piece);
}

static void on_data(struct http_sink *sink, struct buf *data, bool end)
{
    struct admin_stream *st = of_sink(sink);
    keep_form(st, data);
    st->body_bytes += data->len;
    buf_drain(data, data->len);
    if (end)
        answer(st);
}

static void on_trailers(struct http_sink *sink, struct headers *h)
{
    (void)h;
    answer(of_sink(sink));
}

static void on_stream_closed(struct http_sink *sink, enum stream_reset why, const char *details)
{
    (void)why, (void)details;
    struct admin_stream *st = of_sink(sink);
    st->stream = NULL;
    strbuf_fini(&st->form);
    if (st->live.stream) {
        st->live.stream = NULL;
        st->admin->live_count--;
        st->live.def->on_closed(&st->live);
    }
}

static void on_watermark(struct http_sink *sink, bool above)
{
    of_sink(sink)->live.is_behind = above; /* whole answers are bounded by what the proxy knows; they are queued whole */
}

static const struct http_sink_ops sink_ops = {
    .on_headers = on_headers,
    .on_data = on_data,
    .on_trailers = on_trailers,
    .on_closed = on_stream_closed,
    .on_watermark = on_watermark,
};

static void on_stream(void *user, struct http_server_conn *c, struct http_stream *s)
{
    struct admin_conn *ac = user;
    static struct http_sink none = {&sink_ops};
    struct admin_stream *st = arena_zalloc(s->arena, sizeof(*st));
    if (!st) {
        s->sink = &none;
        stream_reset(s, STREAM_OVERFLOW);
        return;
    }
    *st = (struct admin_stream){{&sink_ops}, s, ac->admin, c, NULL, {0}, 0, 0, 0, {0}};
    st->start_us = loop_now_us(ac->admin->server->main_loop);
    st->start_wall_us = loop_wall_us(ac->admin->server->main_loop);
    s->sink = &st->sink;
}

/* ---- connections ---- */

static void destroy(struct deferred *d)
{
    mem_free(CONTAINER_OF(d, admin_conn, deferred));
}

static void on_conn_closed(void *user, struct http_server_conn *c, bool local, enum conn_close why)
{
    (void)c, (void)local, (void)why;
    struct admin_conn *ac = user;
    list_remove(&ac->node);
    loop_defer(ac->admin->server->main_loop, &ac->deferred, destroy);
}

static const struct http_server_handler handler = {.on_stream = on_stream, .on_closed = on_conn_closed};

static void on_accept(void *user, int fd, const struct addr *remote)
{
    struct admin *a = user;
    struct admin_conn *ac = NEW(admin_conn);
    ac->admin = a;
    list_push_back(&a->conns, &ac->node);
    struct conn *c = conn_new_accepted(a->server->main_loop, fd, remote, NULL);
    ac->http = http_server_conn_new(c, &a->opts, &handler, ac);
}

/* ---- starting and stopping ---- */

static int write_address(const struct server *s, const struct addr *bound, struct err *err)
{
    char text[ADDR_TEXT_BYTES];
    if (!s->opts.admin_address_path.n)
        return 0;
    char *path = mem_strndup(s->opts.admin_address_path.p, s->opts.admin_address_path.n);
    FILE *f = fopen(path, "w");
    int rc = 0;
    if (!f || fputs(addr_text(bound, text), f) < 0)
        rc = err_set_errno(err, errno, "cannot write the admin address to %s", path);
    if (f)
        fclose(f);
    mem_free(path);
    return rc;
}

static struct http_server_opts make_opts(void)
{
    return (struct http_server_opts){
        .codec = HTTP_CODEC_AUTO,
        .h1 = {.limits = H1_LIMITS_DEFAULT, .is_request = true, .accept_http10 = true, .default_host_http10 = STR("admin"),
               .allow_absolute_url = true, .allow_custom_methods = true},
        .h2 = h2_opts_default(true),
        .idle_timeout_ms = 300000,
        .request_headers_timeout_ms = 10000,
        .drain_timeout_ms = 1000,
        .delayed_close_ms = 1000,
        .buffer_limit_bytes = 1 << 20,
    };
}

int admin_start(struct server *s, struct err *err)
{
    if (!s->has_admin)
        return 0;
    const struct config_result *c = s->opts.config;
    struct listen_opts lo = {.backlog = 128,
                             .options = c ? c->admin.sock_opts : NULL,
                             .option_count = c ? c->admin.sock_opt_count : 0};
    struct admin *a = NEW(admin);
    struct addr bound = {0};
    a->server = s;
    a->opts = make_opts();
    list_init(&a->conns);
    s->admin = a;
    if (listen_open(&s->admin_addr, &lo, &a->fd, &bound, err) < 0) {
        a->fd = -1;
        return err_prefix(err, "admin.address");
    }
    int rc = write_address(s, &bound, err);
    if (rc < 0)
        return rc;
    addr_fini(&s->admin_addr);
    s->admin_addr = bound;
    char text[ADDR_TEXT_BYTES];
    LOG(ADMIN, INFO, "admin address: %s", addr_text(&bound, text));
    a->acceptor = acceptor_new(s->main_loop, a->fd, 0, on_accept, a, err);
    return a->acceptor ? 0 : ERR_IO;
}

void admin_stop(struct server *s)
{
    struct admin *a = s->admin;
    if (!a)
        return;
    s->admin = NULL;
    acceptor_free(&a->acceptor);
    if (a->fd >= 0)
        close(a->fd);
    LIST_EACH(it, safe, &a->conns)
        http_server_conn_close(LIST_ENTRY(it, admin_conn, node)->http);
    loop_turn(s->main_loop, 0); /* what was put off to the turn's end still refers to `a` */
    mem_free(a);
}
