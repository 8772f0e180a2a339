/* SPDX-License-Identifier: Apache-2.0
 *
 * A table of pages over the http room's server.
 */
#include "control/daemon/pages.h"

#include "base/check.h"
#include "base/list.h"
#include "base/mem.h"
#include "http/server.h"
#include "proto/json.h"

struct pages {
    struct loop *loop;
    struct pages_about about;
    struct http_server_opts opts;
    struct list conns;
};
struct page_conn {
    struct list node;
    struct pages *pages;
    struct http_server_conn *http;
    struct deferred deferred;
};
struct asking {
    struct http_sink sink;
    struct http_stream *stream;
    struct pages *pages;
    struct headers *request;
    const char *status; /* of the answer */
};

/* ---- answers ---- */

static void answer(struct asking *q, const char *status, const char *type, struct str text)
{
    struct headers h;
    struct buf body = BUF_INIT;
    char length[24];
    struct str n = str_make(length, u64_format(text.n, length));
    headers_init(&h, q->stream->arena);
    headers_add(&h, STR(":status"), str_from(status));
    headers_add(&h, STR("content-type"), str_from(type));
    headers_add(&h, STR("content-length"), n);
    stream_send_headers(q->stream, &h, text.n == 0);
    if (text.n) {
        buf_append_str(&body, text);
        stream_send_data(q->stream, &body, true);
        buf_fini(&body);
    }
}

static struct str parameter(struct str path, struct str name)
{
    struct str query, pair;
    str_split(path, '?', &query);
    while (query.p) {
        struct str value;
        pair = str_split(query, '&', &query);
        if (str_eq(str_split(pair, '=', &value), name) && value.p)
            return value;
    }
    return STR("");
}

static void page_ready(struct asking *q, struct strbuf *out)
{
    source_waits_for(q->pages->about.source, out);
    if (!out->n)
        strbuf_addz(out, secure_fault(q->pages->about.secure));
    if (out->n)
        q->status = "503";
    strbuf_addz(out, out->n ? "\n" : "OK\n");
}

static void page_version(struct asking *q, struct strbuf *out)
{
    (void)q;
    strbuf_addz(out, "{\"version\":\"" WEFT_VERSION "\"}\n");
}

static void page_syncz(struct asking *q, struct strbuf *out)
{
    push_syncz(view_push(q->pages->about.view), out);
}

static void page_metrics(struct asking *q, struct strbuf *out)
{
    const struct pages_about *a = &q->pages->about;
    struct view_counters v = view_counters(a->view);
    size_t services;
    world_services(a->world, &services);
    push_metrics(view_push(a->view), out);
    secure_metrics(a->secure, out);
    strbuf_addf(out, "# TYPE pilot_services gauge\npilot_services %zu\n", services);
    source_metrics(a->source, out);
    load_reports_metrics(a->reports, out);
    strbuf_addf(out, "# TYPE weftd_parts_translated_total counter\nweftd_parts_translated_total %lu\n", (unsigned long)v.parts_made);
    strbuf_addf(out, "# TYPE weftd_parts_shared_total counter\nweftd_parts_shared_total %lu\n", (unsigned long)v.parts_shared);
    strbuf_addf(out, "# TYPE weftd_parts gauge\nweftd_parts %u\n", v.parts_held);
}

static void page_faults(struct asking *q, struct strbuf *out)
{
    struct err_list faults = {0};
    char line[ERR_MESSAGE_BYTES + ERR_PATH_BYTES];
    source_faults(q->pages->about.source, &faults);
    for (size_t i = 0; i < faults.count; i++)
        strbuf_addf(out, "%s\n", err_format(&faults.items[i], line, sizeof(line)));
    err_list_fini(&faults);
}

/* All objects: istiod's form, a list with their bodies. */
static void page_configz(struct asking *q, struct strbuf *out)
{
    const struct store *store = world_store(q->pages->about.world);
    const char *comma = "";
    strbuf_addc(out, '[');
    for (int k = 0; k < KIND_COUNT; k++) {
        size_t n;
        const struct object *const *all = store_list(store, (enum kind_id)k, &n);
        for (size_t i = 0; i < n; i++) {
            const struct object *o = all[i];
            strbuf_addf(out, "%s{\"kind\":\"%s\",\"metadata\":{\"namespace\":\"%.*s\",\"name\":\"%.*s\"},\"spec\":", comma, o->kind->name,
                        STR_ARG(o->ns), STR_ARG(o->name));
            json_encode(o->body, JSON_CAMEL | JSON_REDACT, out);
            strbuf_addc(out, '}');
            comma = ",\n";
        }
    }
    strbuf_addz(out, "]\n");
}

static void page_registryz(struct asking *q, struct strbuf *out)
{
    size_t n;
    const struct service *const *all = world_services(q->pages->about.world, &n);
    strbuf_addc(out, '[');
    for (size_t i = 0; i < n; i++) {
        const struct endpoint_set *e = world_endpoints(q->pages->about.world, all[i]);
        strbuf_addf(out, "%s{\"hostname\":\"%.*s\",\"namespace\":\"%.*s\",\"ports\":[", i ? ",\n" : "", STR_ARG(all[i]->host),
                    STR_ARG(all[i]->ns));
        for (uint32_t k = 0; k < all[i]->port_count; k++)
            strbuf_addf(out, "%s{\"name\":\"%.*s\",\"port\":%u}", k ? "," : "", STR_ARG(all[i]->ports[k].name), all[i]->ports[k].number);
        strbuf_addf(out, "],\"endpoints\":%u}", e ? e->count : 0);
    }
    strbuf_addz(out, "]\n");
}

static void page_endpointz(struct asking *q, struct strbuf *out)
{
    size_t n;
    const char *comma = "";
    const struct service *const *all = world_services(q->pages->about.world, &n);
    strbuf_addc(out, '[');
    for (size_t i = 0; i < n; i++) {
        const struct endpoint_set *set = world_endpoints(q->pages->about.world, all[i]);
        for (uint32_t k = 0; set && k < set->count; k++) {
            const struct endpoint *e = &set->items[k];
            strbuf_addf(out, "%s{\"service\":\"%.*s\",\"port\":%u,\"address\":\"%.*s\",\"endpointPort\":%u,\"identity\":\"%.*s\",\"tlsMode\":\"%.*s\"}",
                        comma, STR_ARG(all[i]->host), e->service_port, STR_ARG(e->address), e->port, STR_ARG(e->identity), STR_ARG(e->tls_mode));
            comma = ",\n";
        }
    }
    strbuf_addz(out, "]\n");
}

static void page_graph(struct asking *q, struct strbuf *out)
{
    graph_json(q->pages->about.graph, loop_now_us(q->pages->loop), out);
}

/* ---- what one proxy was sent ---- */

static void add_body(const char *type, struct str packed, struct strbuf *out)
{
    struct proto_arena *pa = proto_arena_new(0);
    struct err err;
    ProtobufCMessage *m;
    strbuf_addz(out, ",\"resource\":");
    if (proto_unpack(pa, proto_type_find(str_from(type)), packed, &m, &err) == 0)
        json_encode(m, JSON_REDACT, out);
    else
        strbuf_addz(out, "null");
    proto_arena_free(&pa);
}

/* Of secrets the names alone. */
static void add_resource(enum push_type type, struct xds_item item, const char *comma, struct strbuf *out)
{
    strbuf_addf(out, "%s{\"name\":\"", comma);
    strbuf_add_json(out, item.name);
    strbuf_addf(out, "\",\"version\":\"%lx\"", (unsigned long)item.version);
    if (type != PUSH_SDS)
        add_body(push_type_name(type), item.packed, out);
    strbuf_addc(out, '}');
}

static void add_type(const struct xds_server *server, enum push_type type, struct strbuf *out)
{
    struct xds_type_state state;
    const char *comma = "";
    xds_server_state(server, type, &state);
    strbuf_addf(out, "\"%s\":[", push_type_text(type));
    for (uint32_t p = 0; p < state.part_count; p++)
        for (uint32_t i = 0; state.parts[p] && i < xds_set_count(state.parts[p]); i++) {
            struct xds_item item = xds_set_at(state.parts[p], i);
            struct str rest, above = type == PUSH_VHDS ? str_split(item.name, '/', &rest) : item.name;
            if (!state.is_everything && !xds_names_has(state.names, item.name) && !xds_names_has(state.names, above))
                continue;
            add_resource(type, item, comma, out);
            comma = ",\n";
        }
    strbuf_addc(out, ']');
}

static void page_config_dump(struct asking *q, struct strbuf *out)
{
    struct str id = parameter(headers_get_id(q->request, HDR_PATH), STR("proxyID"));
    const struct xds_server *server = push_state_of(view_push(q->pages->about.view), id);
    if (!server) {
        q->status = "404";
        strbuf_addz(out, "{\"error\":\"no proxy ");
        strbuf_add_json(out, id);
        strbuf_addz(out, "\"}\n");
        return;
    }
    for (int type = 0; type < PUSH_TYPE_COUNT; type++) {
        strbuf_addz(out, type ? ",\n" : "{");
        add_type(server, (enum push_type)type, out);
    }
    strbuf_addz(out, "}\n");
}

static const struct page {
    const char *path, *type;
    void (*fn)(struct asking *q, struct strbuf *out);
} pages[] = {
    {"/ready", "text/plain", page_ready},
    {"/version", "application/json", page_version},
    {"/metrics", "text/plain; version=0.0.4", page_metrics},
    {"/debug/syncz", "application/json", page_syncz},
    {"/debug/configz", "application/json", page_configz},
    {"/debug/registryz", "application/json", page_registryz},
    {"/debug/endpointz", "application/json", page_endpointz},
    {"/debug/config_dump", "application/json", page_config_dump},
    {"/debug/graph", "application/json", page_graph},
    {"/debug/faults", "text/plain", page_faults},
};

static void respond(struct asking *q)
{
    struct str rest, path = str_split(headers_get_id(q->request, HDR_PATH), '?', &rest);
    struct strbuf text = {0};
    if (!str_eq(headers_get_id(q->request, HDR_METHOD), STR("GET"))) {
        answer(q, "405", "text/plain", STR("Method Not Allowed\n"));
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(pages); i++)
        if (str_eq(path, str_from(pages[i].path))) {
            q->status = "200";
            pages[i].fn(q, &text);
            answer(q, q->status, pages[i].type, text.n ? strbuf_str(&text) : STR(""));
            strbuf_fini(&text);
            return;
        }
    answer(q, "404", "text/plain", STR("404 page not found\n"));
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
    (void)sink, (void)why, (void)details;
}

static void on_watermark(struct http_sink *sink, bool above)
{
    (void)sink, (void)above; /* an answer is queued whole */
}

static const struct http_sink_ops sink_ops = {.on_headers = on_headers, .on_data = on_data, .on_trailers = on_trailers,
                                              .on_closed = on_stream_closed, .on_watermark = on_watermark};

static void on_stream(void *user, struct http_server_conn *c, struct http_stream *s)
{
    struct page_conn *pc = user;
    struct asking *q = arena_zalloc(s->arena, sizeof(*q));
    (void)c;
    if (!q) {
        s->sink = &http_deaf_sink;
        stream_reset(s, STREAM_OVERFLOW);
        return;
    }
    q->sink.ops = &sink_ops;
    q->stream = s;
    q->pages = pc->pages;
    s->sink = &q->sink;
}

/* ---- connections ---- */

static void destroy(struct deferred *d)
{
    mem_free(CONTAINER_OF(d, page_conn, deferred));
}

static void on_conn_closed(void *user, struct http_server_conn *c, bool local, enum conn_close why)
{
    struct page_conn *pc = user;
    (void)c, (void)local, (void)why;
    list_remove(&pc->node);
    loop_defer(pc->pages->loop, &pc->deferred, destroy);
}

static const struct http_server_handler handler = {.on_stream = on_stream, .on_closed = on_conn_closed};

void pages_accept(struct pages *p, struct conn *take_conn)
{
    struct page_conn *pc = NEW(page_conn);
    pc->pages = p;
    list_push_back(&p->conns, &pc->node);
    pc->http = http_server_conn_new(take_conn, &p->opts, &handler, pc);
}

struct pages *pages_new(struct loop *loop, const struct pages_about *about)
{
    struct pages *p = NEW(pages);
    p->loop = loop;
    p->about = *about;
    list_init(&p->conns);
    p->opts = (struct http_server_opts){
        .codec = HTTP_CODEC_AUTO,
        .h1 = {.limits = H1_LIMITS_DEFAULT, .is_request = true, .accept_http10 = true, .default_host_http10 = STR("weftd"),
               .allow_absolute_url = true},
        .h2 = h2_opts_default(true),
        .idle_timeout_ms = 300000, .request_headers_timeout_ms = 10000, .drain_timeout_ms = 1000, .delayed_close_ms = 1000,
        .buffer_limit_bytes = 1 << 20};
    return p;
}

void pages_free(struct pages **pp)
{
    struct pages *p = *pp;
    *pp = NULL;
    if (!p)
        return;
    LIST_EACH(it, safe, &p->conns)
        http_server_conn_close(LIST_ENTRY(it, page_conn, node)->http);
    loop_turn(p->loop, 0);
    mem_free(p);
}
