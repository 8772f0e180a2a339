/* SPDX-License-Identifier: Apache-2.0
 *
 * gRPC calls over http_server's streams. A call:
 *
 *     head --(method, limits)--> open --half-close--> open still --end--> ended --> closed
 *
 * The response's head goes out with the first message, or not at all: a call that ends before is answered by trailers only.
 * Messages are gathered whole, bounded by what their own length says, which meets the limit first. Whatever ends a call ends as
 * one gRPC status; on_closed comes from the stream below, once, when both it and the call are over. Thread: the loop's.
 */
#include "http/grpc_server.h"

#include "base/check.h"
#include "base/mem.h"

#define SERVER_MAGIC 0x47525053

struct grpc_method {
    struct list node;
    struct str path;
    const struct grpc_method_ops *ops;
    void *owner;
};
struct grpc_server {
    uint32_t magic;
    bool is_draining, is_drained;
    struct loop *loop;
    struct grpc_server_opts opts;
    struct http_server_opts http;
    struct list methods;
    struct list conns;
    size_t gathered;       /* bytes of messages that have come in part */
    struct grpc_server_counters counters;
    void (*on_drained)(void *user);
    void *drained_user;
    struct turn_task drained;
    struct deferred deferred;
};
struct grpc_conn {
    struct list node;      /* server->conns */
    struct grpc_server *server;
    struct http_server_conn *http;
    struct list streams;
    struct timer end;      /* of its calls, once it is being drained */
    struct deferred deferred;
};
struct grpc_stream {
    struct http_sink sink;
    struct list node;      /* conn->streams */
    struct grpc_conn *conn;
    struct http_stream *http; /* NULL: closed */
    const struct grpc_method *method;
    void *call;
    struct headers *head;
    struct buf in;
    size_t counted;        /* of `in`, in server->gathered */
    uint32_t pauses;
    bool is_responded, is_ended, has_all, told_half_close, is_above;
    struct timer deadline;
    struct turn_task again; /* messages that were left where they are by a pause */
    struct deferred deferred;
};

static struct grpc_server *server_of(const struct grpc_stream *s)
{
    return OBJECT(grpc_server, SERVER_MAGIC, s->conn->server);
}

static struct grpc_stream *stream_of(struct http_sink *sink)
{
    return CONTAINER_OF(sink, grpc_stream, sink);
}

/* ---- responses ---- */

static bool is_open(const struct grpc_stream *s)
{
    return s->http && !s->is_ended;
}

static void begin_head(struct grpc_stream *s, struct headers *h)
{
    headers_init(h, s->http->arena);
    headers_add_id_ref(h, HDR_STATUS, STR("200"));
    headers_add_id_ref(h, HDR_CONTENT_TYPE, STR("application/grpc"));
}

static void respond(struct grpc_stream *s)
{
    struct headers h;
    if (s->is_responded)
        return;
    s->is_responded = true;
    begin_head(s, &h);
    stream_send_headers(s->http, &h, false);
}

void grpc_stream_send(struct grpc_stream *s, struct buf *message)
{
    struct buf out = BUF_INIT;
    size_t n = message->len;
    uint8_t head[GRPC_FRAME_HEADER_BYTES] = {0, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    if (COUNT_IF(n > UINT32_MAX, "a gRPC message of 4 GiB")) {
        buf_fini(message);
        grpc_stream_end(s, GRPC_INTERNAL, STR("the message is too large to be framed"));
    }
    if (!is_open(s)) {
        buf_fini(message);
        return;
    }
    respond(s);
    server_of(s)->counters.messages_out++;
    server_of(s)->counters.bytes_out += n;
    buf_append(&out, head, sizeof head);
    buf_move(&out, message);
    stream_send_data(s->http, &out, false);
}

void grpc_stream_send_bytes(struct grpc_stream *s, struct str message)
{
    struct buf b = BUF_INIT;
    buf_append_str(&b, message);
    grpc_stream_send(s, &b);
}

bool grpc_stream_can_write(const struct grpc_stream *s)
{
    return is_open(s) && !s->is_above;
}

size_t grpc_stream_queued(const struct grpc_stream *s)
{
    return s->http ? s->http->ops->queued(s->http) : 0;
}

static void add_status(struct headers *h, struct arena *a, unsigned status, struct str message)
{
    headers_add_id_ref(h, HDR_GRPC_STATUS, arena_printf(a, "%u", status));
    if (message.n)
        headers_add_id_ref(h, HDR_GRPC_MESSAGE, grpc_message_write(a, message));
    if (status == GRPC_UNIMPLEMENTED) /* what it may have been */
        headers_add(h, STR("grpc-accept-encoding"), STR("identity"));
}

void grpc_stream_end(struct grpc_stream *s, enum grpc_status status, struct str message)
{
    struct headers h;
    if (!is_open(s))
        return;
    s->is_ended = true;
    timer_clear(&s->deadline);
    turn_task_cancel(&s->again);
    if (s->is_responded)
        headers_init(&h, s->http->arena);
    else
        begin_head(s, &h);
    add_status(&h, s->http->arena, status, message);
    if (s->is_responded)
        stream_send_trailers(s->http, &h);
    else
        stream_send_headers(s->http, &h, true);
}

/* ---- requests ---- */

static void count_gathered(struct grpc_stream *s)
{
    struct grpc_server *g = server_of(s);
    g->gathered += s->in.len - s->counted;
    s->counted = s->in.len;
    if (g->gathered > g->opts.gather_bytes_max)
        grpc_stream_end(s, GRPC_RESOURCE_EXHAUSTED, STR("too much is being received at a time"));
}

/* False: the head isn't there, or the call was ended for it. */
static bool read_head(struct grpc_stream *s, uint32_t *length)
{
    uint8_t head[GRPC_FRAME_HEADER_BYTES];
    uint32_t most = server_of(s)->opts.message_bytes_max;
    if (buf_copy_out(&s->in, 0, head, sizeof head) < sizeof head)
        return false;
    *length = (uint32_t)head[1] << 24 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 8 | head[4];
    if (head[0] > 1) {
        grpc_stream_end(s, GRPC_INTERNAL, STR("not a gRPC message"));
    } else if (head[0]) {
        grpc_stream_end(s, GRPC_UNIMPLEMENTED, STR("compressed messages aren't taken"));
    } else if (*length > most) {
        grpc_stream_end(s, GRPC_RESOURCE_EXHAUSTED,
                        arena_printf(s->http->arena, "a message of %u bytes is larger than the limit of %u", *length, most));
    }
    return !s->is_ended;
}

static void finish_reading(struct grpc_stream *s)
{
    if (!s->has_all || s->told_half_close || !is_open(s) || s->pauses)
        return;
    s->told_half_close = true;
    if (s->in.len)
        grpc_stream_end(s, GRPC_INTERNAL, STR("the last message is cut short"));
    else if (s->method->ops->on_half_close)
        s->method->ops->on_half_close(s->call, s);
    else
        grpc_stream_end(s, GRPC_OK, STR(""));
}

static void take_messages(struct grpc_stream *s)
{
    uint32_t length;
    while (is_open(s) && !s->pauses && read_head(s, &length) && s->in.len - GRPC_FRAME_HEADER_BYTES >= length) {
        buf_drain(&s->in, GRPC_FRAME_HEADER_BYTES);
        struct str message = str_make((const char *)buf_pullup(&s->in, length), length);
        server_of(s)->counters.messages_in++;
        server_of(s)->counters.bytes_in += length;
        s->method->ops->on_message(s->call, s, message);
        buf_drain(&s->in, s->http ? length : s->in.len);
    }
    finish_reading(s);
    if (!is_open(s))
        buf_drain(&s->in, s->in.len);
    count_gathered(s);
}

static void on_again(struct turn_task *t)
{
    take_messages(CONTAINER_OF(t, grpc_stream, again));
}

void grpc_stream_pause(struct grpc_stream *s, bool on)
{
    DCHECK(on || s->pauses);
    s->pauses += on ? 1 : (uint32_t)-1;
    if (s->http)
        stream_pause(s->http, on);
    if (!s->pauses && is_open(s))
        loop_at_turn_end(server_of(s)->loop, &s->again);
}

static void on_data(struct http_sink *sink, struct buf *data, bool end)
{
    struct grpc_stream *s = stream_of(sink);
    s->has_all |= end;
    if (!is_open(s)) {
        buf_drain(data, data->len);
        return;
    }
    buf_move(&s->in, data);
    take_messages(s);
}

static void on_trailers(struct http_sink *sink, struct headers *h)
{
    struct grpc_stream *s = stream_of(sink);
    (void)h; /* a gRPC client has none */
    s->has_all = true;
    take_messages(s);
}

/* ---- a call begins ---- */

static const struct grpc_method *find_method(const struct grpc_server *g, struct str path)
{
    for (const struct list *it = g->methods.next; it != &g->methods; it = it->next) {
        const struct grpc_method *m = LIST_ENTRY((struct list *)(uintptr_t)it, grpc_method, node);
        if (str_eq(m->path, path))
            return m;
    }
    return NULL;
}

static void on_deadline(struct timer *t)
{
    grpc_stream_end(CONTAINER_OF(t, grpc_stream, deadline), GRPC_DEADLINE_EXCEEDED, STR("the deadline has passed"));
}

/* What isn't gRPC gets an HTTP answer (PROTOCOL-HTTP2, "Requests"). */
static void refuse_http(struct grpc_stream *s, struct str status)
{
    struct headers h;
    s->is_ended = true;
    headers_init(&h, s->http->arena);
    headers_add_id_ref(&h, HDR_STATUS, status);
    stream_send_headers(s->http, &h, true);
}

static void refuse(struct grpc_stream *s, enum grpc_status status, struct str why)
{
    server_of(s)->counters.refused += status == GRPC_RESOURCE_EXHAUSTED;
    grpc_stream_end(s, status, why);
}

static bool is_compressed(const struct headers *h)
{
    struct str encoding = headers_get(h, STR("grpc-encoding"));
    return encoding.n && !str_eq(encoding, STR("identity"));
}

static void check_call(struct grpc_stream *s, const struct headers *h)
{
    const struct grpc_server *g = server_of(s);
    struct str path = headers_get_id(h, HDR_PATH);
    s->method = find_method(g, path);
    if (!str_eq(headers_get_id(h, HDR_METHOD), STR("POST"))) {
        refuse_http(s, STR("405"));
    } else if (!headers_is_grpc_request(h)) {
        refuse_http(s, STR("415"));
    } else if (g->is_draining) {
        refuse(s, GRPC_UNAVAILABLE, STR("the server is going away"));
    } else if (g->counters.streams > g->opts.streams_max) {
        refuse(s, GRPC_RESOURCE_EXHAUSTED, STR("too many calls at a time"));
    } else if (!s->method) {
        refuse(s, GRPC_UNIMPLEMENTED, arena_printf(s->http->arena, "no method %.*s", STR_ARG(path)));
    } else if (is_compressed(h)) {
        refuse(s, GRPC_UNIMPLEMENTED, STR("compressed messages aren't taken"));
    }
}

static void on_headers(struct http_sink *sink, struct headers *h, bool end)
{
    struct grpc_stream *s = stream_of(sink);
    struct str timeout = headers_get_id(h, HDR_GRPC_TIMEOUT);
    uint64_t ms;
    s->head = h;
    s->has_all = end;
    check_call(s, h);
    if (s->is_ended) {
        s->method = NULL;
        return;
    }
    if (timeout.n && !grpc_timeout_read(timeout, &ms)) {
        s->method = NULL;
        refuse(s, GRPC_INVALID_ARGUMENT, STR("grpc-timeout isn't one"));
        return;
    }
    if (timeout.n)
        timer_set_ms(&s->deadline, ms ? ms : 1);
    s->call = s->method->ops->on_call(s->method->owner, s);
    if (s->is_ended && !s->call)
        s->method = NULL;
    else
        take_messages(s);
}

/* ---- and ends ---- */

static void destroy_stream(struct deferred *d)
{
    mem_free(CONTAINER_OF(d, grpc_stream, deferred));
}

static void on_closed(struct http_sink *sink, enum stream_reset why, const char *details)
{
    struct grpc_stream *s = stream_of(sink);
    struct grpc_server *g = server_of(s);
    (void)why, (void)details;
    timer_clear(&s->deadline);
    turn_task_cancel(&s->again);
    buf_drain(&s->in, s->in.len);
    g->gathered -= s->counted;
    s->counted = 0;
    g->counters.streams--;
    list_remove(&s->node);
    s->is_ended = true;
    if (s->method && s->method->ops->on_closed)
        s->method->ops->on_closed(s->call, s);
    s->http = NULL;
    loop_defer(g->loop, &s->deferred, destroy_stream);
}

static void on_watermark(struct http_sink *sink, bool above)
{
    struct grpc_stream *s = stream_of(sink);
    s->is_above = above;
    if (!above && is_open(s) && s->method && s->method->ops->on_writable)
        s->method->ops->on_writable(s->call, s);
}

static void on_informational(struct http_sink *sink, struct headers *h)
{
    (void)sink, (void)h; /* a client's */
}

static const struct http_sink_ops sink_ops = {on_headers, on_informational, on_data, on_trailers, on_closed, on_watermark};

/* ---- metadata ---- */

struct str grpc_stream_metadata(const struct grpc_stream *s, struct str lower_name)
{
    return s->http ? headers_get(s->head, lower_name) : STR_NULL;
}

struct str grpc_stream_path(const struct grpc_stream *s)
{
    return s->http ? headers_get_id(s->head, HDR_PATH) : STR_NULL;
}

struct conn *grpc_stream_conn(const struct grpc_stream *s)
{
    return s->http ? s->http->conn : NULL;
}

/* ---- connections ---- */

static void on_stream(void *user, struct http_server_conn *c, struct http_stream *http)
{
    struct grpc_conn *conn = user;
    struct grpc_stream *s = NEW(grpc_stream);
    (void)c;
    s->sink.ops = &sink_ops;
    s->conn = conn;
    s->http = http;
    s->again.run = on_again;
    timer_init(&s->deadline, conn->server->loop, on_deadline);
    list_push_back(&conn->streams, &s->node);
    conn->server->counters.streams++;
    conn->server->counters.streams_total++;
    http->sink = &s->sink;
}

static void tell_drained(struct grpc_server *g)
{
    if (g->is_draining && !g->is_drained && list_is_empty(&g->conns))
        loop_at_turn_end(g->loop, &g->drained);
}

static void on_drained(struct turn_task *t)
{
    struct grpc_server *g = CONTAINER_OF(t, grpc_server, drained);
    g->is_drained = true;
    if (g->on_drained)
        g->on_drained(g->drained_user);
}

static void destroy_conn(struct deferred *d)
{
    mem_free(CONTAINER_OF(d, grpc_conn, deferred));
}

static void on_conn_closed(void *user, struct http_server_conn *c, bool local, enum conn_close why)
{
    struct grpc_conn *conn = user;
    (void)c, (void)local, (void)why;
    timer_clear(&conn->end);
    list_remove(&conn->node);
    conn->server->counters.connections--;
    tell_drained(conn->server);
    loop_defer(conn->server->loop, &conn->deferred, destroy_conn);
}

static void end_calls_later(struct grpc_conn *conn)
{
    if (!timer_is_set(&conn->end))
        timer_set_ms(&conn->end, 1 + rng_below(loop_rng(conn->server->loop), conn->server->opts.drain_ms));
}

static void on_end_calls(struct timer *t)
{
    struct grpc_conn *conn = CONTAINER_OF(t, grpc_conn, end);
    LIST_EACH(it, safe, &conn->streams)
        grpc_stream_end(LIST_ENTRY(it, grpc_stream, node), GRPC_UNAVAILABLE, STR("the server is going away"));
}

static void on_limit(void *user, enum http_server_limit which)
{
    if (which == HTTP_LIMIT_AGE)
        end_calls_later(user);
}

static const struct http_server_handler http_handler = {.on_stream = on_stream, .on_limit = on_limit, .on_closed = on_conn_closed};

void grpc_server_accept(struct grpc_server *g, struct conn *take_conn)
{
    if (g->is_draining || g->counters.connections >= g->opts.connections_max) {
        g->counters.refused += !g->is_draining;
        conn_close(take_conn, CONN_CLOSE_LOCAL);
        return;
    }
    struct grpc_conn *conn = NEW(grpc_conn);
    conn->server = g;
    list_init(&conn->streams);
    timer_init(&conn->end, g->loop, on_end_calls);
    list_push_back(&g->conns, &conn->node);
    g->counters.connections++;
    g->counters.connections_total++;
    conn->http = http_server_conn_new(take_conn, &g->http, &http_handler, conn);
}

/* ---- the server ---- */

#define MIB ((size_t)1 << 20)

static void fill_defaults(struct grpc_server_opts *o)
{
#define DEFAULT(field, value) o->field = o->field ? o->field : (value)
    DEFAULT(message_bytes_max, 4 * MIB);
    DEFAULT(connections_max, 100000);
    DEFAULT(streams_max, 100000);
    DEFAULT(connection_streams_max, 100);
    DEFAULT(gather_bytes_max, 256 * MIB);
    DEFAULT(buffer_bytes, MIB / 8);
    DEFAULT(ping_interval_ms, 30000);
    DEFAULT(ping_timeout_ms, 10000);
    DEFAULT(idle_ms, 3600000);
    DEFAULT(drain_ms, 5000);
#undef DEFAULT
}

static struct http_server_opts http_opts_of(const struct grpc_server_opts *o)
{
    struct http_server_opts http = {
        .codec = HTTP_CODEC_H2,
        .h2 = h2_opts_default(true),
        .h2_ping_interval_ms = o->ping_interval_ms,
        .h2_ping_timeout_ms = o->ping_timeout_ms,
        .idle_timeout_ms = o->idle_ms,
        .request_headers_timeout_ms = 10000,
        .max_connection_ms = o->max_connection_ms,
        .drain_timeout_ms = o->drain_ms,
        .delayed_close_ms = 1000,
        .buffer_limit_bytes = o->buffer_bytes,
    };
    http.h2.max_concurrent_streams = o->connection_streams_max;
    http.h2.initial_stream_window = (uint32_t)MIB; /* messages are taken as they come */
    http.h2.initial_connection_window = 2 * (uint32_t)MIB;
    return http;
}

struct grpc_server *grpc_server_new(struct loop *loop, const struct grpc_server_opts *opts)
{
    struct grpc_server *g = NEW(grpc_server);
    g->magic = SERVER_MAGIC;
    g->loop = loop;
    g->opts = *opts;
    fill_defaults(&g->opts);
    g->http = http_opts_of(&g->opts);
    g->drained.run = on_drained;
    list_init(&g->methods);
    list_init(&g->conns);
    return g;
}

void grpc_server_add(struct grpc_server *g, const char *path, const struct grpc_method_ops *keep_ops, void *owner)
{
    struct grpc_method *m = NEW(grpc_method);
    m->path = str_from(path);
    m->ops = keep_ops;
    m->owner = owner;
    list_push_back(&g->methods, &m->node);
}

void grpc_server_drain(struct grpc_server *g, void (*tell)(void *user), void *user)
{
    if (g->is_draining)
        return;
    g->is_draining = true;
    g->on_drained = tell;
    g->drained_user = user;
    LIST_EACH(it, safe, &g->conns) {
        struct grpc_conn *conn = LIST_ENTRY(it, grpc_conn, node);
        end_calls_later(conn);
        http_server_conn_drain(conn->http);
    }
    tell_drained(g);
}

static void destroy(struct deferred *d)
{
    struct grpc_server *g = CONTAINER_OF(d, grpc_server, deferred);
    LIST_EACH(it, safe, &g->methods)
        mem_free(LIST_ENTRY(it, grpc_method, node));
    g->magic = 0;
    mem_free(g);
}

void grpc_server_free(struct grpc_server **owned)
{
    struct grpc_server *g = *owned;
    *owned = NULL;
    if (!g)
        return;
    g->is_draining = g->is_drained = true;
    LIST_EACH(it, safe, &g->conns)
        http_server_conn_close(LIST_ENTRY(it, grpc_conn, node)->http);
    turn_task_cancel(&g->drained);
    loop_defer(g->loop, &g->deferred, destroy);
}

const struct grpc_server_counters *grpc_server_counters(const struct grpc_server *g)
{
    return &g->counters;
}
